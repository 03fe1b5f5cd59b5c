//! The log as one history among those that it may have had.

use super::{EventRow, EventStore, READ_EVENTS_MAX, ReadError, events};
use crate::anchor::Anchor;
use crate::event::{Digest, LogEvent};
use crate::position::Position;
use crate::stream::Authenticator;
use serde_json::value::RawValue;
use sqlx::types::Json;
use std::sync::Arc;

impl EventStore {
    /// The end of the log; [`Anchor::START`] while it is empty.
    ///
    /// # Errors
    /// When the database cannot be reached or the row is damaged.
    pub async fn end(&self) -> Result<Anchor, ReadError> {
        let row = sqlx::query!(
            "
            SELECT events.position, events.digest
            FROM log.events ORDER BY events.position DESC LIMIT 1
            "
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map_or(Ok(Anchor::START), |row| anchor(row.position, &row.digest))
    }

    /// The event at `position` in the history that the log has now; none beyond its end.
    ///
    /// # Errors
    /// When the database cannot be reached or the row is damaged.
    pub async fn anchor(&self, position: Position) -> Result<Option<Anchor>, ReadError> {
        if position == Position::START {
            return Ok(Some(Anchor::START));
        }
        let digest = sqlx::query_scalar!(
            "SELECT events.digest FROM log.events WHERE events.position = $1",
            position.get(),
        )
        .fetch_optional(&self.pool)
        .await?;
        digest
            .map(|digest| anchor(position.get(), &digest))
            .transpose()
    }

    /// The events after `after`, as [`EventStore::read`] gives them, but only while the log still has
    /// that event there: a log that was restored has another history, and nothing in it follows on
    /// one that was lost.
    ///
    /// # Errors
    /// When the database cannot be reached or a row is damaged.
    pub async fn read_after(
        &self,
        after: Anchor,
        limit: usize,
    ) -> Result<Vec<LogEvent>, ReadError> {
        let limit = i64::try_from(limit.min(READ_EVENTS_MAX)).unwrap_or(i64::MAX);
        let rows = sqlx::query_as!(
            EventRow,
            r#"
            SELECT events.position, events.event_id, events.aggregate_type, events.aggregate_id,
                   events.sequence, events.event_type, events.event_version,
                   events.payload AS "payload: Json<Box<RawValue>>",
                   events.metadata AS "metadata: Json<Box<RawValue>>",
                   events.recorded_at, events.digest
            FROM log.events
            WHERE events.position > $1
              AND ($1 = 0 OR EXISTS (SELECT FROM log.events AS before
                                     WHERE before.position = $1 AND before.digest = $3))
            ORDER BY events.position
            LIMIT $2
            "#,
            after.position.get(),
            limit,
            after.digest.as_bytes().as_slice(),
        )
        .fetch_all(&self.pool)
        .await?;
        events(rows)
    }

    /// Authenticates the messages of this log's stream.
    ///
    /// # Errors
    /// When the database cannot be asked for the log's id.
    pub async fn authenticator(&self) -> Result<Authenticator, ReadError> {
        let masters = Arc::clone(self.keys.masters());
        Ok(Authenticator::new(self.log_id().await?, masters))
    }
}

fn anchor(position: i64, digest: &[u8]) -> Result<Anchor, ReadError> {
    let damaged = || ReadError::Damaged { position };
    Ok(Anchor {
        position: Position::new(position).map_err(|_negative| damaged())?,
        digest: Digest::new(digest.try_into().map_err(|_length| damaged())?),
    })
}
