-- Rebuilding, verifying, pausing and parking of read models (ADR-0015).

-- `generation` grows with everything that is done to a read model beside its runner: tables swapped,
-- a pause, an aggregate retried or discarded. A runner that knows an older one reads all again before
-- it writes.
ALTER TABLE operations.checkpoints
    ADD COLUMN generation   bigint NOT NULL DEFAULT 0,
    ADD COLUMN paused_at    timestamptz,
    ADD COLUMN paused_by    text,
    ADD COLUMN pause_reason text,
    ADD CONSTRAINT checkpoints_paused_whole CHECK ((paused_at IS NULL) = (paused_by IS NULL));

-- Read models that were, or are to be, filled anew beside the ones that serve.
CREATE TABLE operations.rebuilds (
    rebuild_id    uuid        NOT NULL DEFAULT gen_random_uuid(),
    projection    text        NOT NULL,
    -- Of the code that is to fill the tables; only a worker with the same takes the request.
    version       integer     NOT NULL,
    state         text        NOT NULL DEFAULT 'requested'
                  CHECK (state IN ('requested', 'running', 'swapping', 'done', 'cancelled', 'failed')),
    requested_by  text        NOT NULL,
    reason        text        NOT NULL DEFAULT '',
    -- How many writers share the first part, up to `split_until`.
    writers       integer     NOT NULL DEFAULT 1 CHECK (writers > 0),
    split_until   bigint      NOT NULL DEFAULT 0,
    -- How far the new tables are, how far they must come, and how many events they took in.
    position      bigint      NOT NULL DEFAULT 0,
    target        bigint,
    events        bigint      NOT NULL DEFAULT 0,
    -- How many rows of the tables before differed; none when they could not be compared.
    drift_rows    bigint,
    swap_pause_us bigint,
    failure       text,
    requested_at  timestamptz NOT NULL DEFAULT now(),
    started_at    timestamptz,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    finished_at   timestamptz,
    CONSTRAINT rebuilds_pkey PRIMARY KEY (rebuild_id)
);
CREATE UNIQUE INDEX rebuilds_one_open ON operations.rebuilds (projection)
    WHERE state IN ('requested', 'running', 'swapping');
CREATE INDEX rebuilds_by_projection ON operations.rebuilds (projection, requested_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON operations.rebuilds TO touchline_app;

-- Read models that were, or are to be, compared with a fold of the log.
CREATE TABLE operations.verifications (
    verification_id uuid        NOT NULL DEFAULT gen_random_uuid(),
    projection      text        NOT NULL,
    version         integer     NOT NULL,
    state           text        NOT NULL DEFAULT 'requested'
                    CHECK (state IN ('requested', 'running', 'done', 'cancelled', 'failed')),
    requested_by    text        NOT NULL,
    position        bigint      NOT NULL DEFAULT 0,
    target          bigint,
    events          bigint      NOT NULL DEFAULT 0,
    rows_compared   bigint,
    drift_rows      bigint,
    -- Which rows differ: tables, keys and names of columns, never what stands in them.
    findings        jsonb       NOT NULL DEFAULT '[]',
    failure         text,
    requested_at    timestamptz NOT NULL DEFAULT now(),
    started_at      timestamptz,
    updated_at      timestamptz NOT NULL DEFAULT now(),
    finished_at     timestamptz,
    CONSTRAINT verifications_pkey PRIMARY KEY (verification_id)
);
CREATE UNIQUE INDEX verifications_one_open ON operations.verifications (projection)
    WHERE state IN ('requested', 'running');
CREATE INDEX verifications_by_projection ON operations.verifications (projection, requested_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON operations.verifications TO touchline_app;

-- Parked events that somebody gave up. This version of the read model is the fold of the log without
-- them, in every rebuild too. Nothing here is ever changed.
CREATE TABLE operations.discarded_events (
    projection     text        NOT NULL,
    version        integer     NOT NULL,
    position       bigint      NOT NULL,
    aggregate_type text        NOT NULL,
    aggregate_id   text        NOT NULL,
    parked_because text        NOT NULL,
    reason         text        NOT NULL CHECK (reason <> ''),
    discarded_by   text        NOT NULL CHECK (discarded_by <> ''),
    discarded_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT discarded_events_pkey PRIMARY KEY (projection, version, position)
);
GRANT SELECT, INSERT ON operations.discarded_events TO touchline_app;

-- What the sampling verifier has found of each read model.
CREATE TABLE operations.samples (
    projection   text        NOT NULL,
    version      integer     NOT NULL,
    -- How many aggregates were folded again and compared since this version's tables were made.
    aggregates   bigint      NOT NULL DEFAULT 0,
    -- How many different rows are known to be wrong, missing or extra now.
    drift_rows   bigint      NOT NULL DEFAULT 0,
    findings     jsonb       NOT NULL DEFAULT '[]',
    sampled_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT samples_pkey PRIMARY KEY (projection)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON operations.samples TO touchline_app;
