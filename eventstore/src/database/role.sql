-- Makes the application's role of this database and lets this user become it. Run again, it changes
-- nothing. One statement, so that it is a transaction of its own.
DO $$
DECLARE
    v_role text := (SELECT 'touchline_app_' || oid FROM pg_database WHERE datname = current_database());
BEGIN
    PERFORM pg_advisory_xact_lock(7262172);
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = v_role) THEN
        EXECUTE format('CREATE ROLE %I NOLOGIN', v_role);
    END IF;
    IF NOT pg_has_role(current_user, v_role, 'USAGE') THEN
        EXECUTE format('GRANT %I TO %I', v_role, current_user);
    END IF;
END
$$;
