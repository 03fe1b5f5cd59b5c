//! Reads of the log from end to end, for whoever folds all of it.

use crate::event::LogEvent;
use crate::position::Position;
use crate::store::{EventRow, EventStore, ReadError, events};
use serde_json::value::RawValue;
use sqlx::types::Json;

impl EventStore {
    /// The events after a position up to another, which included, in order, but for those whose type
    /// is one of `except`. The caller bounds how many they are by the distance.
    ///
    /// # Errors
    /// When the database cannot be reached or a row is damaged.
    pub async fn read_range(
        &self,
        after: Position,
        to: Position,
        except: &[&str],
    ) -> Result<Vec<LogEvent>, ReadError> {
        let except: Vec<String> = except.iter().map(|name| (*name).to_owned()).collect();
        let rows = sqlx::query_as!(
            EventRow,
            r#"
            SELECT events.position, events.event_id, events.aggregate_type, events.aggregate_id,
                   events.sequence, events.event_type, events.event_version,
                   events.payload AS "payload: Json<Box<RawValue>>",
                   events.metadata AS "metadata: Json<Box<RawValue>>",
                   events.recorded_at, events.digest
            FROM log.events
            WHERE events.position > $1 AND events.position <= $2
              AND events.event_type <> ALL ($3)
            ORDER BY events.position
            "#,
            after.get(),
            to.get(),
            &except,
        )
        .fetch_all(self.pool())
        .await?;
        events(rows)
    }

    /// All events of these aggregates, each named by type and id, up to a position, in log order. The
    /// caller bounds how many they are by how many aggregates it names.
    ///
    /// # Errors
    /// When the database cannot be reached or a row is damaged.
    pub async fn read_aggregates(
        &self,
        aggregates: &[(String, String)],
        until: Position,
    ) -> Result<Vec<LogEvent>, ReadError> {
        let (types, ids): (Vec<String>, Vec<String>) = aggregates.iter().cloned().unzip();
        let rows = sqlx::query_as!(
            EventRow,
            r#"
            SELECT events.position, events.event_id, events.aggregate_type, events.aggregate_id,
                   events.sequence, events.event_type, events.event_version,
                   events.payload AS "payload: Json<Box<RawValue>>",
                   events.metadata AS "metadata: Json<Box<RawValue>>",
                   events.recorded_at, events.digest
            FROM unnest($1::text[], $2::text[]) AS wanted (aggregate_type, aggregate_id)
            JOIN log.events ON events.aggregate_type = wanted.aggregate_type
                           AND events.aggregate_id = wanted.aggregate_id
            WHERE events.position <= $3
            ORDER BY events.position
            "#,
            &types,
            &ids,
            until.get(),
        )
        .fetch_all(self.pool())
        .await?;
        events(rows)
    }
}
