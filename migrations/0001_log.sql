-- The log: the only truth (DESIGN.md §3, ADR-0002). Its schema holds nothing that can be derived.

-- What the application runs as. Its rights are the invariants L1 and L3 in the database's own words.
DO $$
BEGIN
    CREATE ROLE touchline_app NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$$;
DO $$
BEGIN
    EXECUTE format('GRANT touchline_app TO %I', current_user);
    EXECUTE format('GRANT CONNECT, CREATE, TEMPORARY ON DATABASE %I TO touchline_app', current_database());
END
$$;

CREATE SCHEMA log;
GRANT USAGE ON SCHEMA log TO touchline_app;

-- Which log this is. A copy (a stream, a read model) carries the id of the log that it was made from.
CREATE TABLE log.origin (
    only_one   boolean     PRIMARY KEY DEFAULT true CHECK (only_one),
    log_id     uuid        NOT NULL DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO log.origin DEFAULT VALUES;
GRANT SELECT ON log.origin TO touchline_app;

-- The columns from aggregate_type to metadata are those of postgres-es 0.5, so that its repository
-- reads this table. Payload and metadata are json, not jsonb: the bytes are kept as they were digested.
CREATE TABLE log.events (
    position       bigint             NOT NULL CHECK (position > 0),
    event_id       uuid               NOT NULL,
    aggregate_type text COLLATE "C"   NOT NULL,
    aggregate_id   text COLLATE "C"   NOT NULL,
    sequence       bigint             NOT NULL CHECK (sequence > 0),
    event_type     text COLLATE "C"   NOT NULL,
    event_version  text COLLATE "C"   NOT NULL,
    payload        json               NOT NULL,
    metadata       json               NOT NULL,
    recorded_at    timestamptz        NOT NULL,
    digest         bytea              NOT NULL CHECK (octet_length(digest) = 32),
    CONSTRAINT events_pkey PRIMARY KEY (position),
    CONSTRAINT events_event_id_key UNIQUE (event_id),
    CONSTRAINT events_aggregate_key UNIQUE (aggregate_type, aggregate_id, sequence)
);
-- Rows are only ever inserted, so nothing but freezing is left for vacuum to do.
ALTER TABLE log.events SET (autovacuum_vacuum_insert_scale_factor = 0.05);
GRANT SELECT, INSERT ON log.events TO touchline_app;

CREATE FUNCTION log.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is append-only: % on %.% is refused (L3)',
        TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log.events
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();

-- One row a command that appended something (L5). The answer that it got is not stored: it is the
-- fold of its first aggregate up to `version`, so that nothing personal lies here.
CREATE TABLE log.commands (
    command_id     uuid   NOT NULL,
    fingerprint    bytea  NOT NULL CHECK (octet_length(fingerprint) = 32),
    aggregate_type text   COLLATE "C" NOT NULL,
    aggregate_id   text   COLLATE "C" NOT NULL,
    version        bigint NOT NULL,
    first_position bigint NOT NULL,
    last_position  bigint NOT NULL,
    CONSTRAINT commands_pkey PRIMARY KEY (command_id)
);
GRANT SELECT, INSERT ON log.commands TO touchline_app;
CREATE TRIGGER commands_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log.commands
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();

-- What must be unique across aggregates: an e-mail address, a handle.
CREATE TABLE log.claims (
    scope        text COLLATE "C" NOT NULL,
    key          text COLLATE "C" NOT NULL,
    owner        text COLLATE "C" NOT NULL,
    CONSTRAINT claims_pkey PRIMARY KEY (scope, key)
);
GRANT SELECT, INSERT, DELETE ON log.claims TO touchline_app;

-- Appends a batch of commands, each wholly or not at all, and answers one row a command (L1, L2, L5).
--
-- Within one batch no two commands may name the same command id, aggregate or claim: the appender
-- puts such commands into different batches. A batch that breaks this ends in a unique violation
-- and appends nothing. `p_event_offsets` is how many events the commands before have together.
--
-- The advisory lock comes first and is held until the commit is visible: all that follows sees
-- every earlier append, so positions are dense and in commit order. `outcome` is
-- 0 committed, 1 duplicate (same command id and fingerprint: the first answer is given again),
-- 2 command id used before with another fingerprint, 3 version conflict, 4 claim taken.
CREATE FUNCTION log.append(
    p_command_ids       uuid[],
    p_fingerprints      bytea[],
    p_subject_types     text[],
    p_subject_ids       text[],
    p_subject_versions  bigint[],
    p_event_counts      integer[],
    p_event_offsets     integer[],
    p_expect_commands   integer[],
    p_expect_types      text[],
    p_expect_ids        text[],
    p_expect_versions   bigint[],
    p_event_commands    integer[],
    p_event_ids         uuid[],
    p_event_aggregates  text[],
    p_event_aggregate_ids text[],
    p_event_sequences   bigint[],
    p_event_types       text[],
    p_event_versions    text[],
    p_payloads          text[],
    p_metadata          text[],
    p_digests           bytea[],
    p_recorded_at       timestamptz,
    p_take_commands     integer[],
    p_take_scopes       text[],
    p_take_keys         text[],
    p_take_owners       text[],
    p_release_commands  integer[],
    p_release_scopes    text[],
    p_release_keys      text[],
    p_release_owners    text[]
) RETURNS TABLE (
    command        integer,
    outcome        smallint,
    first_position bigint,
    last_position  bigint,
    aggregate_type text,
    aggregate_id   text,
    version        bigint,
    claim_scope    text,
    claim_key      text
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_head    bigint;
    v_trouble boolean;
    v_passed  boolean[];
    v_row     record;
BEGIN
    -- An expression in IF is evaluated without a statement of its own; a PERFORM would cost one.
    IF pg_advisory_xact_lock(7262171) IS NULL THEN RETURN; END IF;

    SELECT coalesce((SELECT e.position FROM log.events e ORDER BY e.position DESC LIMIT 1), 0),
           EXISTS (SELECT 1 FROM unnest(p_command_ids) c(id) JOIN log.commands k ON k.command_id = c.id)
        OR EXISTS (
               SELECT 1 FROM unnest(p_expect_types, p_expect_ids, p_expect_versions) x(type, id, version)
               WHERE x.version <> coalesce((
                   SELECT e.sequence FROM log.events e
                   WHERE e.aggregate_type = x.type AND e.aggregate_id = x.id
                   ORDER BY e.sequence DESC LIMIT 1), 0))
      INTO v_head, v_trouble;

    IF NOT v_trouble AND cardinality(p_take_commands) = 0 AND cardinality(p_release_commands) = 0 THEN
        INSERT INTO log.events (position, event_id, aggregate_type, aggregate_id, sequence, event_type,
                                event_version, payload, metadata, recorded_at, digest)
        SELECT v_head + e.ordinality, e.event_id, e.aggregate_type, e.aggregate_id, e.sequence, e.event_type,
               e.event_version, e.payload::json, e.metadata::json, p_recorded_at, e.digest
        FROM unnest(p_event_ids, p_event_aggregates, p_event_aggregate_ids, p_event_sequences, p_event_types,
                    p_event_versions, p_payloads, p_metadata, p_digests)
             WITH ORDINALITY e(event_id, aggregate_type, aggregate_id, sequence, event_type,
                               event_version, payload, metadata, digest, ordinality);

        INSERT INTO log.commands (command_id, fingerprint, aggregate_type, aggregate_id, version,
                                  first_position, last_position)
        SELECT c.command_id, c.fingerprint, c.type, c.id, c.version,
               v_head + c.before + 1, v_head + c.before + c.events
        FROM unnest(p_command_ids, p_fingerprints, p_subject_types, p_subject_ids, p_subject_versions,
                    p_event_counts, p_event_offsets) c(command_id, fingerprint, type, id, version, events, before);

        outcome := 0;
        FOR i IN 1 .. cardinality(p_command_ids) LOOP
            command := i;
            first_position := v_head + 1;
            v_head := v_head + p_event_counts[i];
            last_position := v_head;
            RETURN NEXT;
        END LOOP;
        RETURN;
    END IF;

    -- Something is to be looked at more closely: one verdict a command, then the same two inserts for
    -- those that passed.
    FOR v_row IN
        SELECT c.n::integer AS n, c.events, c.fingerprint,
               k.fingerprint AS seen, k.first_position AS seen_first, k.last_position AS seen_last,
               k.aggregate_type AS seen_type, k.aggregate_id AS seen_id, k.version AS seen_version,
               x.type, x.id, x.actual, t.scope, t.key
        FROM unnest(p_command_ids, p_fingerprints, p_event_counts)
             WITH ORDINALITY c(command_id, fingerprint, events, n)
        LEFT JOIN log.commands k ON k.command_id = c.command_id
        LEFT JOIN LATERAL (
            SELECT x.type, x.id, coalesce(e.sequence, 0) AS actual
            FROM unnest(p_expect_commands, p_expect_types, p_expect_ids, p_expect_versions)
                 x(command, type, id, version)
            LEFT JOIN LATERAL (
                SELECT e.sequence FROM log.events e
                WHERE e.aggregate_type = x.type AND e.aggregate_id = x.id
                ORDER BY e.sequence DESC LIMIT 1) e ON true
            WHERE x.command = c.n AND x.version <> coalesce(e.sequence, 0)
            LIMIT 1) x ON true
        LEFT JOIN LATERAL (
            SELECT t.scope, t.key
            FROM unnest(p_take_commands, p_take_scopes, p_take_keys) t(command, scope, key)
            JOIN log.claims held ON held.scope = t.scope AND held.key = t.key
            WHERE t.command = c.n
            LIMIT 1) t ON true
        ORDER BY c.n
    LOOP
        command := v_row.n;
        first_position := NULL; last_position := NULL; aggregate_type := NULL; aggregate_id := NULL;
        version := NULL; claim_scope := NULL; claim_key := NULL;
        IF v_row.seen IS NOT NULL THEN
            outcome := CASE WHEN v_row.seen = v_row.fingerprint THEN 1 ELSE 2 END;
            first_position := v_row.seen_first; last_position := v_row.seen_last;
            aggregate_type := v_row.seen_type; aggregate_id := v_row.seen_id; version := v_row.seen_version;
        ELSIF v_row.type IS NOT NULL THEN
            outcome := 3;
            aggregate_type := v_row.type; aggregate_id := v_row.id; version := v_row.actual;
        ELSIF v_row.scope IS NOT NULL THEN
            outcome := 4;
            claim_scope := v_row.scope; claim_key := v_row.key;
        ELSE
            outcome := 0;
            first_position := v_head + 1;
            v_head := v_head + v_row.events;
            last_position := v_head;
        END IF;
        v_passed[v_row.n] := outcome = 0;
        RETURN NEXT;
    END LOOP;

    IF NOT (true = ANY (v_passed)) THEN RETURN; END IF;
    v_head := coalesce((SELECT e.position FROM log.events e ORDER BY e.position DESC LIMIT 1), 0);

    INSERT INTO log.events (position, event_id, aggregate_type, aggregate_id, sequence, event_type,
                            event_version, payload, metadata, recorded_at, digest)
    SELECT v_head + row_number() OVER (ORDER BY e.ordinality), e.event_id, e.aggregate_type, e.aggregate_id,
           e.sequence, e.event_type, e.event_version, e.payload::json, e.metadata::json, p_recorded_at, e.digest
    FROM unnest(p_event_commands, p_event_ids, p_event_aggregates, p_event_aggregate_ids, p_event_sequences,
                p_event_types, p_event_versions, p_payloads, p_metadata, p_digests)
         WITH ORDINALITY e(command, event_id, aggregate_type, aggregate_id, sequence, event_type,
                           event_version, payload, metadata, digest, ordinality)
    WHERE v_passed[e.command];

    INSERT INTO log.commands (command_id, fingerprint, aggregate_type, aggregate_id, version,
                              first_position, last_position)
    SELECT c.command_id, c.fingerprint, c.type, c.id, c.version,
           v_head + 1 + coalesce(sum(c.events) OVER (ORDER BY c.n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0),
           v_head + sum(c.events) OVER (ORDER BY c.n)
    FROM unnest(p_command_ids, p_fingerprints, p_subject_types, p_subject_ids, p_subject_versions,
                p_event_counts)
         WITH ORDINALITY c(command_id, fingerprint, type, id, version, events, n)
    WHERE v_passed[c.n];

    DELETE FROM log.claims held
    USING unnest(p_release_commands, p_release_scopes, p_release_keys, p_release_owners)
          r(command, scope, key, owner)
    WHERE v_passed[r.command]
      AND held.scope = r.scope AND held.key = r.key AND held.owner = r.owner;

    INSERT INTO log.claims (scope, key, owner)
    SELECT t.scope, t.key, t.owner
    FROM unnest(p_take_commands, p_take_scopes, p_take_keys, p_take_owners) t(command, scope, key, owner)
    WHERE v_passed[t.command];
END
$$;
