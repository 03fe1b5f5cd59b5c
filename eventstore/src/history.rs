//! Reads of the log that are not in its order from end to end: single positions, and the events of
//! aggregates, both by the log's own unique indexes.

use crate::event::LogEvent;
use crate::position::Position;
use crate::store::{EventRow, EventStore, READ_EVENTS_MAX, ReadError, events};
use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::types::Json;
use uuid::Uuid;

/// Which events of the aggregates with one id are wanted. Every condition must hold.
#[derive(Debug, Clone)]
pub struct AggregateEvents<'a> {
    /// Of aggregates of these types.
    pub aggregate_types: &'a [&'a str],
    /// Their id.
    pub aggregate_id: Uuid,
    /// Of these types; none for all.
    pub event_types: Option<&'a [&'a str]>,
    /// Whose metadata name this actor; none for anybody.
    pub actor: Option<Uuid>,
    /// Whose metadata name this correlation id; none for any.
    pub correlation_id: Option<Uuid>,
    /// Recorded at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Recorded before this time.
    pub to: Option<DateTime<Utc>>,
    /// Up to this position, which included.
    pub until: Position,
}

impl<'a> AggregateEvents<'a> {
    /// All events of one aggregate up to a position.
    #[must_use]
    pub const fn all(aggregate_types: &'a [&'a str], aggregate_id: Uuid, until: Position) -> Self {
        Self {
            aggregate_types,
            aggregate_id,
            event_types: None,
            actor: None,
            correlation_id: None,
            from: None,
            to: None,
            until,
        }
    }
}

impl EventStore {
    /// The events at these positions, in log order; those beyond the end are left out. At most
    /// [`READ_EVENTS_MAX`].
    ///
    /// # Errors
    /// When the database cannot be reached or a row is damaged.
    pub async fn read_at(&self, positions: &[Position]) -> Result<Vec<LogEvent>, ReadError> {
        let positions: Vec<i64> = positions
            .iter()
            .take(READ_EVENTS_MAX)
            .map(|position| position.get())
            .collect();
        let rows = sqlx::query_as!(
            EventRow,
            r#"
            SELECT events.position, events.event_id, events.aggregate_type, events.aggregate_id,
                   events.sequence, events.event_type, events.event_version,
                   events.payload AS "payload: Json<Box<RawValue>>",
                   events.metadata AS "metadata: Json<Box<RawValue>>",
                   events.recorded_at, events.digest
            FROM log.events
            WHERE events.position = ANY ($1)
            ORDER BY events.position
            "#,
            &positions,
        )
        .fetch_all(self.pool())
        .await?;
        events(rows)
    }

    /// The events after a position of the aggregates with one id, in log order: at most `limit`, and
    /// at most [`READ_EVENTS_MAX`]. Within an aggregate, log order is that of the sequence (L2), so that
    /// the range of positions is a range of each aggregate's sequence, found by halving; in it, the
    /// other conditions are looked at event by event.
    ///
    /// # Errors
    /// When the database cannot be reached or a row is damaged.
    pub async fn read_matching(
        &self,
        wanted: &AggregateEvents<'_>,
        after: Position,
        limit: usize,
    ) -> Result<Vec<LogEvent>, ReadError> {
        let limit = i64::try_from(limit.min(READ_EVENTS_MAX)).unwrap_or(i64::MAX);
        let owned = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let event_types = wanted.event_types.map(owned);
        let rows = sqlx::query_as!(
            EventRow,
            r#"
            SELECT events.position, events.event_id, events.aggregate_type, events.aggregate_id,
                   events.sequence, events.event_type, events.event_version,
                   events.payload AS "payload: Json<Box<RawValue>>",
                   events.metadata AS "metadata: Json<Box<RawValue>>",
                   events.recorded_at, events.digest
            FROM unnest($1::text[]) AS wanted (aggregate_type)
            CROSS JOIN LATERAL (
                SELECT * FROM log.events AS event
                WHERE event.aggregate_type = wanted.aggregate_type COLLATE "C"
                  AND event.aggregate_id = $2
                  AND event.sequence > log.sequence_at(wanted.aggregate_type, $2, $3)
                  AND event.sequence <= log.sequence_at(wanted.aggregate_type, $2, $4)
                  AND ($5::text[] IS NULL OR event.event_type = ANY ($5))
                  AND ($6::text IS NULL OR event.metadata ->> 'actor' = $6)
                  AND ($7::text IS NULL OR event.metadata ->> 'correlation_id' = $7)
                  AND ($8::timestamptz IS NULL OR event.recorded_at >= $8)
                  AND ($9::timestamptz IS NULL OR event.recorded_at < $9)
                ORDER BY event.sequence
                LIMIT $10
            ) AS events
            ORDER BY events.position
            LIMIT $10
            "#,
            &owned(wanted.aggregate_types),
            wanted.aggregate_id.to_string(),
            after.get(),
            wanted.until.get(),
            event_types.as_deref(),
            wanted.actor.map(|id| id.to_string()),
            wanted.correlation_id.map(|id| id.to_string()),
            wanted.from,
            wanted.to,
            limit,
        )
        .fetch_all(self.pool())
        .await?;
        events(rows)
    }
}
