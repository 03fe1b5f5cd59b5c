-- What witnesses have cosigned (ADR-0030).

-- The last cosignature of each witness, over the checkpoint of this size.
CREATE TABLE seals.cosignatures (
    -- Its verifier key, as text.
    witness     text        NOT NULL,
    tree_size   bigint      NOT NULL CHECK (tree_size > 0),
    -- As the witness's clock had it.
    cosigned_at timestamptz NOT NULL,
    -- The signature line of the note.
    line        text        NOT NULL,
    CONSTRAINT cosignatures_pkey PRIMARY KEY (witness)
);

-- Why the log is not cosigned as the policy demands, for /health of every process.
CREATE TABLE operations.witnessing (
    only_one boolean     PRIMARY KEY DEFAULT true CHECK (only_one),
    -- Null while it is.
    problem  text,
    since    timestamptz
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
        EXECUTE format('GRANT SELECT, INSERT, UPDATE ON seals.cosignatures TO %I', v_role);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE ON operations.witnessing TO %I', v_role);
    END LOOP;
END
$$;
