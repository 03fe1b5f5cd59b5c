//! A whole aggregate by the repository of postgres-es, page by page.
//!
//! Of the three ways that the repository has to read an aggregate, one answers all its events at
//! once, one streams them and ends a stream that failed as if it were complete, and one answers those
//! after a sequence, or an error: that one is used. It has no upper end; the table that it reads from
//! is therefore named as that part of the log which ends where the page does. It writes the sequence
//! into the text of the statement, so that pages begin at fixed sequences: as many statements are
//! prepared as the longest stream has pages. And it gives no event ids, without which a sealed field
//! does not open: they come as the metadata, which no fold reads.

use super::ReadError;
use super::state::{LOAD_PAGE_EVENTS, Stored, StoredEvent};
use cqrs_es::persist::{PersistedEventRepository as _, SerializedEvent};
use postgres_es::PostgresEventRepository;
use serde_json::Value;
use sqlx::PgPool;
use touchline_domain::aggregate::Decider;
use uuid::Uuid;

/// A page: the events after this sequence.
pub(super) struct Page {
    after: u32,
}

impl Page {
    pub(super) const fn first() -> Self {
        Self { after: 0 }
    }

    pub(super) fn next(&self) -> Self {
        Self { after: self.end() }
    }

    /// The last sequence that the page can have.
    fn end(&self) -> u32 {
        self.after.saturating_add(u32::from(LOAD_PAGE_EVENTS))
    }

    /// The events of the page, all that the log had when it was read.
    pub(super) async fn read<A: Stored>(
        &self,
        pool: &PgPool,
        id: Uuid,
    ) -> Result<Vec<StoredEvent>, ReadError> {
        let events = format!(
            "(SELECT events.aggregate_type, events.aggregate_id, events.sequence, events.event_type,
                     events.event_version, events.payload, to_json(events.event_id) AS metadata
              FROM log.events WHERE events.sequence <= {}) AS page",
            self.end()
        );
        let repository = PostgresEventRepository::new(pool.clone());
        let repository = repository.with_tables(&events, "log.snapshots");
        let after = usize::try_from(self.after).unwrap_or(usize::MAX);
        let events = repository
            .get_last_events::<A>(&id.to_string(), after)
            .await?;
        let stored = events.into_iter().map(|event| {
            stored(event).ok_or(ReadError::Incomplete {
                aggregate_type: <A as Decider>::TYPE,
                aggregate_id: id,
                sequence: i64::from(self.after) + 1,
            })
        });
        stored.collect()
    }
}

fn stored(event: SerializedEvent) -> Option<StoredEvent> {
    let Value::String(event_id) = event.metadata else {
        return None;
    };
    Some(StoredEvent {
        sequence: i64::try_from(event.sequence).ok()?,
        event_id: event_id.parse().ok()?,
        event_type: event.event_type,
        event_version: event.event_version,
        payload: event.payload.to_string(),
    })
}
