-- The read model `history`: which events there are. Rows are only ever inserted, and depend on
-- nothing but their own event.

CREATE TABLE entries (
    position       bigint      NOT NULL,
    recorded_at    timestamptz NOT NULL,
    event_type     text COLLATE "C" NOT NULL,
    -- From the metadata; null when it does not say.
    actor          uuid,
    correlation_id uuid,
    CONSTRAINT entries_pkey PRIMARY KEY (position)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05);
CREATE INDEX entries_by_type ON entries (event_type, position);
CREATE INDEX entries_by_actor ON entries (actor, position);
CREATE INDEX entries_by_correlation ON entries (correlation_id, position);

-- Between which times the events of 4,096 positions were recorded: block 0 has the positions 1 to
-- 4096. Times follow positions only roughly, because clocks differ; these rows turn a range of times
-- into the range of positions outside of which no event of it stands.
CREATE TABLE blocks (
    block    bigint      NOT NULL,
    first_at timestamptz NOT NULL,
    last_at  timestamptz NOT NULL,
    CONSTRAINT blocks_pkey PRIMARY KEY (block)
-- The newest row changes with every batch: room for its versions on the same page spares the index.
) WITH (fillfactor = 50);
