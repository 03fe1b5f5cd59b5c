//! A row of the log, for the checked statements.

use super::ReadError;
use crate::event::{Digest, LogEvent};
use crate::position::Position;
use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::types::Json;
use uuid::Uuid;

pub(crate) struct EventRow {
    pub(crate) position: i64,
    pub(crate) event_id: Uuid,
    pub(crate) aggregate_type: String,
    pub(crate) aggregate_id: String,
    pub(crate) sequence: i64,
    pub(crate) event_type: String,
    pub(crate) event_version: String,
    pub(crate) payload: Json<Box<RawValue>>,
    pub(crate) metadata: Json<Box<RawValue>>,
    pub(crate) recorded_at: DateTime<Utc>,
    pub(crate) digest: Vec<u8>,
}

impl TryFrom<EventRow> for LogEvent {
    type Error = ReadError;

    fn try_from(row: EventRow) -> Result<Self, Self::Error> {
        let damaged = || ReadError::Damaged {
            position: row.position,
        };
        Ok(Self {
            position: Position::new(row.position).map_err(|_negative| damaged())?,
            digest: Digest::new(
                row.digest
                    .as_slice()
                    .try_into()
                    .map_err(|_length| damaged())?,
            ),
            event_id: row.event_id,
            aggregate_type: row.aggregate_type,
            aggregate_id: row.aggregate_id,
            sequence: row.sequence,
            event_type: row.event_type,
            event_version: row.event_version,
            recorded_at: row.recorded_at,
            metadata: row.metadata.0,
            payload: row.payload.0,
        })
    }
}

/// What stands in these rows, in their order.
pub(crate) fn events(rows: Vec<EventRow>) -> Result<Vec<LogEvent>, ReadError> {
    rows.into_iter().map(LogEvent::try_from).collect()
}
