//! A range of the log, read and hashed: a task for one core.

use super::Seen;
use crate::event::Digested;
use crate::position::Position;
use crate::seal::record::{decode, digest};
use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use sqlx::PgPool;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use uuid::Uuid;

/// How many events one task reads.
pub(super) const BLOCK_EVENTS: i64 = 4_096;

/// What a range of positions holds.
pub(super) struct Block {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) seen: Vec<Seen>,
}

struct Row {
    position: i64,
    event_id: Uuid,
    aggregate_type: String,
    aggregate_id: String,
    sequence: i64,
    event_type: String,
    event_version: String,
    payload: String,
    metadata: String,
    recorded_at: DateTime<Utc>,
    digest: Vec<u8>,
}

/// Reads the positions from one to another, which included. Rows are hashed as they come, so that their
/// payloads are not kept.
pub(super) async fn read_block(
    pool: PgPool,
    hasher: Arc<RandomState>,
    (first, last): (i64, i64),
) -> Result<Block, sqlx::Error> {
    let mut rows = sqlx::query_as!(
        Row,
        r#"
        SELECT events.position, events.event_id, events.aggregate_type, events.aggregate_id,
               events.sequence, events.event_type, events.event_version,
               events.payload::text AS "payload!", events.metadata::text AS "metadata!",
               events.recorded_at, events.digest
        FROM log.events
        WHERE events.position BETWEEN $1 AND $2
        ORDER BY events.position
        "#,
        first,
        last,
    )
    .fetch(&pool);
    let mut seen = Vec::new();
    while let Some(row) = rows.try_next().await? {
        seen.push(Seen::of_row(&row, &hasher)?);
    }
    Ok(Block { first, last, seen })
}

impl Seen {
    fn of_row(row: &Row, hasher: &RandomState) -> Result<Self, sqlx::Error> {
        let computed = crate::event::digest(&Digested {
            event_id: row.event_id,
            aggregate_type: &row.aggregate_type,
            aggregate_id: &row.aggregate_id,
            sequence: row.sequence,
            event_type: &row.event_type,
            event_version: &row.event_version,
            recorded_at: row.recorded_at,
            metadata: &row.metadata,
            payload: &row.payload,
        });
        let stored = digest(&row.digest)?;
        Ok(Self {
            position: Position::new(row.position).map_err(decode)?,
            digest: stored,
            intact: computed == stored,
            aggregate: hasher.hash_one((&row.aggregate_type, &row.aggregate_id)),
            sequence: row.sequence,
            command: super::command_of(&row.metadata),
        })
    }
}
