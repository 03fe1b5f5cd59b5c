-- Secrets. None of them ever enters the log; this schema can be backed up apart from it.

CREATE SCHEMA credentials;
GRANT USAGE ON SCHEMA credentials TO touchline_app;

-- The password of an account, as a PHC string with its algorithm, parameters and salt. A row is
-- written before its account's first event, so that no account is without a password; a row whose
-- account never came to be is harmless, because nothing names it.
CREATE TABLE credentials.password_hashes (
    user_id    uuid        NOT NULL,
    phc        text        NOT NULL CHECK (length(phc) BETWEEN 1 AND 512),
    changed_at timestamptz NOT NULL,
    CONSTRAINT password_hashes_pkey PRIMARY KEY (user_id)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON credentials.password_hashes TO touchline_app;

-- The Ed25519 keys of access tokens. The newest signs, those before it still verify; what a retired
-- key has signed is worth nothing from then on.
CREATE TABLE credentials.signing_keys (
    kid        text        NOT NULL,
    public_key bytea       NOT NULL CHECK (octet_length(public_key) = 32),
    pkcs8      bytea       NOT NULL,
    created_at timestamptz NOT NULL,
    retired_at timestamptz,
    CONSTRAINT signing_keys_pkey PRIMARY KEY (kid)
);
GRANT SELECT, INSERT, UPDATE ON credentials.signing_keys TO touchline_app;

-- The key of the request fingerprints that the log keeps with each command (L5): without it, the
-- fingerprint of a sign-up would let somebody who reads the log try passwords against it. Three
-- random UUIDs hold 366 bits of the server's strong randomness.
CREATE TABLE credentials.fingerprint_key (
    only_one   boolean     NOT NULL DEFAULT true CHECK (only_one),
    key        bytea       NOT NULL CHECK (octet_length(key) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT fingerprint_key_pkey PRIMARY KEY (only_one)
);
INSERT INTO credentials.fingerprint_key (key)
SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));
GRANT SELECT ON credentials.fingerprint_key TO touchline_app;
