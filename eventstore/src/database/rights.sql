-- Gives the application's role of this database what any other role of Touchline's may do here or
-- owns here: the role that all databases of a cluster once shared and, in a restored copy, the role of
-- the database that was copied. Other databases are not touched. Run again, it changes nothing.
DO $$
DECLARE
    v_database name := current_database();
    v_oid      oid  := (SELECT oid FROM pg_database WHERE datname = v_database);
    v_role     name := 'touchline_app_' || v_oid;
    v_others   oid[] := ARRAY(SELECT oid FROM pg_roles
                              WHERE rolname ~ '^touchline_app(_[0-9]+)?$' AND rolname <> v_role);
    v_move     record;
BEGIN
    PERFORM pg_advisory_xact_lock(7262172);
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', v_database);
    EXECUTE format('GRANT CONNECT, CREATE, TEMPORARY ON DATABASE %I TO %I', v_database, v_role);
    FOR v_move IN
        SELECT pg_get_userbyid(a.grantee) AS other, string_agg(a.privilege_type, ', ') AS rights
        FROM pg_database d, aclexplode(d.datacl) a
        WHERE d.oid = v_oid AND a.grantee = ANY (v_others) GROUP BY a.grantee
    LOOP
        EXECUTE format('REVOKE %s ON DATABASE %I FROM %I', v_move.rights, v_database, v_move.other);
    END LOOP;
    IF to_regclass('_sqlx_migrations') IS NOT NULL THEN
        EXECUTE format('GRANT SELECT ON _sqlx_migrations TO %I', v_role);
    END IF;

    -- What another role owns: the read models, which the application makes.
    FOR v_move IN
        SELECT DISTINCT pg_get_userbyid(refobjid) AS other FROM pg_shdepend
        WHERE dbid = v_oid AND refclassid = 'pg_authid'::regclass AND refobjid = ANY (v_others) AND deptype = 'o'
    LOOP
        EXECUTE format('REASSIGN OWNED BY %I TO %I', v_move.other, v_role);
    END LOOP;

    -- What another role was granted.
    FOR v_move IN
        WITH named (classid, objid) AS (
            SELECT DISTINCT classid, objid FROM pg_shdepend
            WHERE dbid = v_oid AND refclassid = 'pg_authid'::regclass AND refobjid = ANY (v_others) AND deptype = 'a'
        ), granted (object, field, acl) AS (
            SELECT format('SCHEMA %I', n.nspname), '', n.nspacl
            FROM named JOIN pg_namespace n ON n.oid = objid WHERE classid = 'pg_namespace'::regclass
            UNION ALL
            SELECT format(CASE c.relkind WHEN 'S' THEN 'SEQUENCE %s' ELSE 'TABLE %s' END, objid::regclass), '', c.relacl
            FROM named JOIN pg_class c ON c.oid = objid WHERE classid = 'pg_class'::regclass
            UNION ALL
            SELECT format('TABLE %s', objid::regclass), format(' (%I)', t.attname), t.attacl
            FROM named JOIN pg_attribute t ON t.attrelid = objid WHERE classid = 'pg_class'::regclass
            UNION ALL
            SELECT format('ROUTINE %s', objid::regprocedure), '', p.proacl
            FROM named JOIN pg_proc p ON p.oid = objid WHERE classid = 'pg_proc'::regclass
        )
        SELECT g.object, pg_get_userbyid(a.grantee) AS other,
               string_agg(a.privilege_type || g.field, ', ') AS rights
        FROM granted g, aclexplode(g.acl) a
        WHERE a.grantee = ANY (v_others) GROUP BY g.object, a.grantee
    LOOP
        EXECUTE format('GRANT %s ON %s TO %I', v_move.rights, v_move.object, v_role);
        EXECUTE format('REVOKE %s ON %s FROM %I', v_move.rights, v_move.object, v_move.other);
    END LOOP;
END
$$;
