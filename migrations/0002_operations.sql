-- Operational tables: who leads, how far each projection is. All of it can be lost and made again.

CREATE SCHEMA operations;
GRANT USAGE ON SCHEMA operations TO touchline_app;

-- One row a role that must have one holder at a time. The epoch grows by one with each new holder,
-- and everything that the holder writes is fenced by it.
CREATE TABLE operations.leases (
    name       text        PRIMARY KEY,
    holder     uuid        NOT NULL,
    epoch      bigint      NOT NULL,
    expires_at timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON operations.leases TO touchline_app;

-- How far a read model has folded the log. It moves in the transaction that writes the rows.
CREATE TABLE operations.checkpoints (
    projection text        PRIMARY KEY,
    version    integer     NOT NULL,
    position   bigint      NOT NULL CHECK (position >= 0),
    epoch      bigint      NOT NULL DEFAULT 0,
    halted     text,
    updated_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, UPDATE, DELETE ON operations.checkpoints TO touchline_app;

-- An aggregate whose event failed too often: its tail waits here in order, everything else goes on.
CREATE TABLE operations.parked_aggregates (
    projection     text        NOT NULL REFERENCES operations.checkpoints,
    aggregate_type text        NOT NULL,
    aggregate_id   text        NOT NULL,
    first_position bigint      NOT NULL,
    reason         text        NOT NULL,
    parked_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (projection, aggregate_type, aggregate_id)
);
CREATE TABLE operations.parked_events (
    projection     text   NOT NULL,
    aggregate_type text   NOT NULL,
    aggregate_id   text   NOT NULL,
    position       bigint NOT NULL,
    PRIMARY KEY (projection, position),
    FOREIGN KEY (projection, aggregate_type, aggregate_id)
        REFERENCES operations.parked_aggregates ON DELETE CASCADE
);
GRANT SELECT, INSERT, UPDATE, DELETE ON operations.parked_aggregates, operations.parked_events TO touchline_app;
