//! The states of aggregates: from memory, or folded from their events.

use super::{EventStore, ReadError};
use crate::personal;
use cqrs_es::persist::PersistedEventRepository as _;
use std::collections::HashSet;
use std::sync::Arc;
use touchline_domain::aggregate::Decider;
use touchline_domain::event::Event as _;
use uuid::Uuid;

/// An aggregate that can be stored: a [`Decider`] that cqrs-es knows too.
pub trait Stored: Decider + cqrs_es::Aggregate<Event = <Self as Decider>::Event> {}

impl<A> Stored for A where A: Decider + cqrs_es::Aggregate<Event = <A as Decider>::Event> {}

/// An aggregate's state at a version.
#[derive(Debug)]
pub struct Loaded<A> {
    /// The fold of its events.
    pub state: Arc<A>,
    /// The sequence of the last event folded; 0 for an aggregate without events.
    pub version: i64,
}

impl<A: Default> Default for Loaded<A> {
    /// An aggregate without events.
    fn default() -> Self {
        Self {
            state: Arc::default(),
            version: 0,
        }
    }
}

impl<A> Clone for Loaded<A> {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
            version: self.version,
        }
    }
}

impl EventStore {
    /// The state of an aggregate, from memory when it is there. It may lag behind another process's
    /// appends; a decision on a stale state ends in a conflict, never in a wrong event.
    ///
    /// # Errors
    /// [`ReadError`] when the log cannot be read or understood.
    pub async fn load<A: Stored>(&self, id: Uuid) -> Result<Loaded<A>, ReadError> {
        if let Some(remembered) = self.remembered(id) {
            return Ok(remembered);
        }
        let stored = self.repository.get_events::<A>(&id.to_string()).await?;
        let mut texts: Vec<String> = stored.iter().map(|it| it.payload.to_string()).collect();
        if texts.iter().any(|text| personal::is_sealed(text)) {
            let event_ids = self.event_ids(<A as Decider>::TYPE, id).await?;
            texts = self
                .open_texts(event_ids.into_iter().zip(texts).collect())
                .await?;
        }
        let mut state = A::default();
        let mut version = 0;
        for (stored, payload) in stored.iter().zip(&texts) {
            let event =
                <A as Decider>::Event::decode(&stored.event_type, &stored.event_version, payload)?;
            Decider::evolve(&mut state, &event);
            version += 1;
        }
        let state = Arc::new(state);
        self.shared
            .cache
            .put(<A as Decider>::TYPE, id, Arc::clone(&state), version);
        Ok(Loaded { state, version })
    }

    /// The state of an aggregate that is at least as new as everything committed before this call:
    /// what is in memory plus the tail that is not.
    ///
    /// # Errors
    /// [`ReadError`] when the log cannot be read or understood.
    pub async fn refresh<A: Stored>(&self, id: Uuid) -> Result<Loaded<A>, ReadError> {
        let known = self.remembered(id).unwrap_or_default();
        self.fold(id, known, i64::MAX).await
    }

    /// The state of an aggregate right after the event with this sequence.
    ///
    /// # Errors
    /// [`ReadError`] when the log cannot be read or understood.
    pub async fn load_at<A: Stored>(&self, id: Uuid, version: i64) -> Result<Loaded<A>, ReadError> {
        self.fold(id, Loaded::default(), version).await
    }

    /// The state that is in memory, without asking the log.
    #[must_use]
    pub fn remembered<A: Stored>(&self, id: Uuid) -> Option<Loaded<A>> {
        let (state, version) = self.shared.cache.get(<A as Decider>::TYPE, id)?;
        Some(Loaded { state, version })
    }

    /// Keeps the state that a command of this process has just made.
    pub fn remember<A: Stored>(&self, id: Uuid, state: Arc<A>, version: i64) {
        self.shared
            .cache
            .put(<A as Decider>::TYPE, id, state, version);
    }

    async fn fold<A: Stored>(
        &self,
        id: Uuid,
        from: Loaded<A>,
        to: i64,
    ) -> Result<Loaded<A>, ReadError> {
        let rows = sqlx::query!(
            r#"
            SELECT events.event_id, events.event_type, events.event_version,
                   events.payload::text AS "payload!"
            FROM log.events
            WHERE events.aggregate_type = $1 AND events.aggregate_id = $2
              AND events.sequence > $3 AND events.sequence <= $4
            ORDER BY events.sequence
            "#,
            <A as Decider>::TYPE,
            id.to_string(),
            from.version,
            to,
        )
        .fetch_all(&self.pool)
        .await?;
        if rows.is_empty() {
            return Ok(from);
        }
        let (types, texts): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .map(|row| {
                let shape = (row.event_type, row.event_version);
                (shape, (row.event_id, row.payload))
            })
            .unzip();
        let texts = self.open_texts(texts).await?;
        let mut state = A::clone(&from.state);
        let mut version = from.version;
        for ((event_type, event_version), payload) in types.iter().zip(&texts) {
            let event = <A as Decider>::Event::decode(event_type, event_version, payload)?;
            Decider::evolve(&mut state, &event);
            version += 1;
        }
        let state = Arc::new(state);
        if to == i64::MAX {
            self.remember(id, Arc::clone(&state), version);
        }
        Ok(Loaded { state, version })
    }

    /// The payloads of events with their personal fields opened.
    async fn open_texts(&self, texts: Vec<(Uuid, String)>) -> Result<Vec<String>, ReadError> {
        let subjects: HashSet<_> = texts
            .iter()
            .flat_map(|(_, text)| personal::subjects(text))
            .collect();
        let ring = self.keys.find(&subjects).await?;
        let opened = texts.into_iter().map(|(event_id, text)| {
            match personal::open(event_id, &text, &ring) {
                Some(opened) => opened.get().to_owned(),
                None => text,
            }
        });
        Ok(opened.collect())
    }

    /// The ids of an aggregate's events, in order. The repository of postgres-es does not give them,
    /// and a sealed field opens only together with its event's.
    async fn event_ids(&self, kind: &str, id: Uuid) -> Result<Vec<Uuid>, ReadError> {
        Ok(sqlx::query_scalar!(
            "
            SELECT events.event_id FROM log.events
            WHERE events.aggregate_type = $1 AND events.aggregate_id = $2
            ORDER BY events.sequence
            ",
            kind,
            id.to_string(),
        )
        .fetch_all(&self.pool)
        .await?)
    }
}
