-- What goes with the copies of the last checkpoint that are kept outside PostgreSQL (ADR-0029).

-- One row a new beginning: an operator has acknowledged that the log does not go on from a checkpoint
-- that was signed. The note says which, and is signed by the key of the log, so that nobody adds a row
-- with SQL alone.
CREATE TABLE seals.beginnings (
    number   integer     NOT NULL CHECK (number > 0),
    note     text        NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT beginnings_pkey PRIMARY KEY (number)
);
CREATE TRIGGER beginnings_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON seals.beginnings
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();

-- How the sealer fares, for /health of processes that do not seal.
CREATE TABLE operations.sealing (
    only_one      boolean     PRIMARY KEY DEFAULT true CHECK (only_one),
    -- Why it refuses to sign; null while it does not.
    refusal       text,
    refused_since timestamptz,
    -- How often it began to refuse.
    refusals      bigint      NOT NULL DEFAULT 0
);

-- The application's role has the rights here that it has on the tables beside.
DO $$
DECLARE
    v_role name;
BEGIN
    FOR v_role IN
        SELECT DISTINCT grants.grantee FROM information_schema.role_table_grants grants
        WHERE grants.table_schema = 'seals' AND grants.table_name = 'checkpoints'
          AND grants.privilege_type = 'INSERT' AND grants.grantee <> current_user
    LOOP
        EXECUTE format('GRANT SELECT, INSERT ON seals.beginnings TO %I', v_role);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE ON operations.sealing TO %I', v_role);
    END LOOP;
END
$$;
