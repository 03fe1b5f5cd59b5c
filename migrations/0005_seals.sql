-- Seals: what shows that the log is the one that was (L9, ADR-0014). Nothing of it is personal.

CREATE SCHEMA seals;
GRANT USAGE ON SCHEMA seals TO touchline_app;

-- The keys that sign checkpoints. The secret half is wrapped under the master key that `master_key`
-- names; rotating that rewraps it, and changes nothing else.
CREATE TABLE seals.keys (
    public_key bytea       NOT NULL CHECK (octet_length(public_key) = 32),
    name       text        NOT NULL COLLATE "C",
    secret     bytea       NOT NULL,
    master_key text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT keys_pkey PRIMARY KEY (public_key),
    -- Two sealers that start at once on a new log agree on one key.
    CONSTRAINT keys_name_key UNIQUE (name)
);
GRANT SELECT, INSERT ON seals.keys TO touchline_app;
GRANT UPDATE (secret, master_key) ON seals.keys TO touchline_app;

-- One row a signed checkpoint. `leaves` are the digests of the events since the one before, 32 bytes
-- each: with them a changed event is named, and not only known to be somewhere below a root.
CREATE TABLE seals.checkpoints (
    tree_size bigint      NOT NULL CHECK (tree_size > 0),
    root      bytea       NOT NULL CHECK (octet_length(root) = 32),
    note      text        NOT NULL,
    leaves    bytea       NOT NULL CHECK (octet_length(leaves) > 0 AND octet_length(leaves) % 32 = 0),
    signed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT checkpoints_pkey PRIMARY KEY (tree_size)
);
-- Digests do not compress.
ALTER TABLE seals.checkpoints ALTER COLUMN leaves SET STORAGE EXTERNAL;
GRANT SELECT, INSERT ON seals.checkpoints TO touchline_app;

-- The roots of complete subtrees of 2^level leaves, from 256 leaves on. Each is written with the
-- checkpoint that completes it and never changes; a proof reads a handful of them.
CREATE TABLE seals.hashes (
    level smallint NOT NULL CHECK (level BETWEEN 8 AND 62),
    index bigint   NOT NULL CHECK (index >= 0),
    hash  bytea    NOT NULL CHECK (octet_length(hash) = 32),
    CONSTRAINT hashes_pkey PRIMARY KEY (level, index)
);
GRANT SELECT, INSERT ON seals.hashes TO touchline_app;

CREATE TRIGGER checkpoints_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON seals.checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();
CREATE TRIGGER hashes_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON seals.hashes
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();
