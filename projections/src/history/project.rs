//! Events to rows.

use crate::projection::{Origin, ProjectError, Projection, SampledTable};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::PgConnection;
use std::collections::BTreeMap;
use touchline_eventstore::LogEvent;
use uuid::Uuid;

/// How many positions share a row of `blocks`. It is part of what the rows mean: another number is
/// another version.
pub(super) const BLOCK: i64 = 4_096;

/// The read model of who did what and when.
#[derive(Debug, Clone, Copy, Default)]
pub struct HistoryProjection;

/// What of the metadata is indexed. A value that is no UUID is as good as none.
#[derive(Default, Deserialize)]
struct Metadata<'a> {
    #[serde(borrow, default)]
    actor: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    correlation_id: Option<std::borrow::Cow<'a, str>>,
}

/// New rows, as columns.
#[derive(Default)]
struct Columns<'a> {
    positions: Vec<i64>,
    recorded_at: Vec<DateTime<Utc>>,
    event_types: Vec<&'a str>,
    actors: Vec<Option<Uuid>>,
    correlation_ids: Vec<Option<Uuid>>,
}

impl Projection for HistoryProjection {
    const NAME: &'static str = "history";
    const VERSION: i32 = 1;
    const SCHEMA: &'static str = include_str!("schema.sql");
    const PARTITIONED: bool = true;
    const SAMPLED: &'static [SampledTable] = &[SampledTable {
        table: "entries",
        columns: &["recorded_at", "event_type", "actor", "correlation_id"],
        origin: Origin::Position { column: "position" },
    }];

    fn handles(&self, _event_type: &str) -> bool {
        true
    }

    async fn project(
        &self,
        connection: &mut PgConnection,
        events: &[LogEvent],
    ) -> Result<(), ProjectError> {
        let mut rows = Columns::default();
        let mut blocks = BTreeMap::new();
        for event in events {
            rows.push(event);
            let block = (event.position.get() - 1) / BLOCK;
            let (first_at, last_at) = blocks
                .entry(block)
                .or_insert((event.recorded_at, event.recorded_at));
            *first_at = event.recorded_at.min(*first_at);
            *last_at = event.recorded_at.max(*last_at);
        }
        insert(connection, rows, blocks).await?;
        Ok(())
    }
}

impl<'a> Columns<'a> {
    fn push(&mut self, event: &'a LogEvent) {
        let metadata: Metadata<'_> = serde_json::from_str(event.metadata.get()).unwrap_or_default();
        let id = |text: Option<std::borrow::Cow<'_, str>>| Uuid::try_parse(&text?).ok();
        self.positions.push(event.position.get());
        self.recorded_at.push(event.recorded_at);
        self.event_types.push(&event.event_type);
        self.actors.push(id(metadata.actor));
        self.correlation_ids.push(id(metadata.correlation_id));
    }
}

/// One statement for both tables. Blocks are written in their order, so that two writers of a
/// rebuild never wait for each other in a circle; and at the end of the statement, where PostgreSQL
/// runs what nothing reads from, so that they wait hardly at all.
async fn insert(
    connection: &mut PgConnection,
    rows: Columns<'_>,
    blocks: BTreeMap<i64, (DateTime<Utc>, DateTime<Utc>)>,
) -> Result<(), sqlx::Error> {
    let numbers: Vec<i64> = blocks.keys().copied().collect();
    let (first_at, last_at): (Vec<_>, Vec<_>) = blocks.into_values().unzip();
    sqlx::query(
        "WITH bounds AS (
            INSERT INTO blocks (block, first_at, last_at)
            SELECT new.block, new.first_at, new.last_at
            FROM unnest($6::bigint[], $7::timestamptz[], $8::timestamptz[])
                 AS new (block, first_at, last_at)
            ORDER BY new.block
            ON CONFLICT (block) DO UPDATE
               SET first_at = least(blocks.first_at, excluded.first_at),
                   last_at = greatest(blocks.last_at, excluded.last_at)
        )
        INSERT INTO entries (position, recorded_at, event_type, actor, correlation_id)
        SELECT * FROM unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::uuid[], $5::uuid[])",
    )
    .bind(rows.positions)
    .bind(rows.recorded_at)
    .bind(rows.event_types)
    .bind(rows.actors)
    .bind(rows.correlation_ids)
    .bind(numbers)
    .bind(first_at)
    .bind(last_at)
    .execute(connection)
    .await
    .map(drop)
}
