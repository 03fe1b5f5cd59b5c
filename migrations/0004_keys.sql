-- Personal data (L8, ADR-0016): the keys under which it lies in the log, and who was erased. This
-- schema is backed up apart from the log, so that a key that was destroyed does not come back with it.

CREATE SCHEMA keys;
GRANT USAGE ON SCHEMA keys TO touchline_app;

-- One key a person, wrapped by a master key that is never in the database. A destroyed key leaves
-- its row behind, without the key: nobody can be given a new one under the same id.
CREATE TABLE keys.data_keys (
    subject      uuid        NOT NULL,
    wrapped      bytea,
    -- The id of the master key that wraps it.
    master_key   text        COLLATE "C",
    created_at   timestamptz NOT NULL DEFAULT now(),
    destroyed_at timestamptz,
    CONSTRAINT data_keys_pkey PRIMARY KEY (subject),
    CONSTRAINT data_keys_live_or_destroyed CHECK (
        (wrapped IS NULL) = (destroyed_at IS NOT NULL) AND (wrapped IS NULL) = (master_key IS NULL))
);
CREATE INDEX data_keys_by_master_key ON keys.data_keys (master_key, subject) WHERE wrapped IS NOT NULL;
CREATE INDEX data_keys_destroyed ON keys.data_keys (destroyed_at) WHERE destroyed_at IS NOT NULL;
GRANT SELECT, INSERT, UPDATE ON keys.data_keys TO touchline_app;

CREATE FUNCTION keys.refuse_return() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the key of % was destroyed and does not come back (L8)', OLD.subject
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER data_keys_stay_destroyed BEFORE UPDATE OR DELETE ON keys.data_keys
    FOR EACH ROW WHEN (OLD.destroyed_at IS NOT NULL) EXECUTE FUNCTION keys.refuse_return();

-- Who asked to be erased, or was erased by staff. A row is written before anything else is done, so
-- that an erasure that was cut short is carried through; the list is replayed over a restored backup.
CREATE TABLE keys.erasures (
    subject      uuid        NOT NULL,
    requested_by uuid,
    requested_at timestamptz NOT NULL,
    CONSTRAINT erasures_pkey PRIMARY KEY (subject)
);
GRANT SELECT, INSERT ON keys.erasures TO touchline_app;

-- What is claimed is personal too: from now on the log keeps its HMAC under the fingerprint key.
-- HMAC-SHA256 of the framed parts, as commands/src/fingerprint.rs makes it.
CREATE INDEX claims_by_owner ON log.claims (owner);
DO $$
DECLARE
    v_inner bytea;
    v_outer bytea;
BEGIN
    SELECT key || decode(repeat('00', 32), 'hex') INTO v_inner FROM credentials.fingerprint_key;
    v_outer := v_inner;
    FOR i IN 0 .. 63 LOOP
        v_outer := set_byte(v_outer, i, get_byte(v_outer, i) # 92);
        v_inner := set_byte(v_inner, i, get_byte(v_inner, i) # 54);
    END LOOP;
    UPDATE log.claims SET key = encode(sha256(v_outer || sha256(v_inner
        || int8send(5) || 'claim'::bytea
        || int8send(octet_length(claims.scope)) || convert_to(claims.scope, 'UTF8')
        || int8send(octet_length(claims.key)) || convert_to(claims.key, 'UTF8'))), 'hex');
END
$$;
