//! The states of aggregates: from memory, or folded from their events page by page, so that a load
//! takes as much memory as a page and the state, however long the stream (ADR-0024).

use super::whole::Page;
use super::{EventStore, ReadError};
use crate::cache::Entry;
use crate::personal;
use std::collections::HashSet;
use std::sync::Arc;
use touchline_domain::aggregate::Decider;
use touchline_domain::event::Event as _;
use touchline_domain::id::UserId;
use uuid::Uuid;

/// The most events of one aggregate that are in memory while it is folded.
pub const LOAD_PAGE_EVENTS: u16 = 200;

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
    /// Whose personal data the events have, each once.
    owners: Vec<UserId>,
    /// How many people this process had forgotten before the state was read.
    forgotten: u64,
}

impl<A> Clone for Loaded<A> {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
            version: self.version,
            owners: self.owners.clone(),
            forgotten: self.forgotten,
        }
    }
}

impl<A: Stored> Loaded<A> {
    /// Whether these events would make the stream longer than it may be.
    #[must_use]
    pub fn has_no_room_for(&self, events: &[<A as Decider>::Event]) -> bool {
        let room = i64::from(A::EVENTS_MAX).saturating_sub(self.version);
        i64::try_from(events.len()).map_or(true, |events| events > room)
    }

    /// The aggregate after these further events.
    #[must_use]
    pub fn after(&self, events: &[<A as Decider>::Event]) -> Self {
        let mut fold = Fold::from(self);
        for event in events {
            fold.apply(event);
        }
        fold.loaded()
    }
}

/// An aggregate that is being folded.
struct Fold<A> {
    state: A,
    version: i64,
    owners: Vec<UserId>,
    forgotten: u64,
}

impl<A: Stored> Fold<A> {
    fn from(loaded: &Loaded<A>) -> Self {
        Self {
            state: A::clone(&loaded.state),
            version: loaded.version,
            owners: loaded.owners.clone(),
            forgotten: loaded.forgotten,
        }
    }

    fn apply(&mut self, event: &<A as Decider>::Event) {
        for owner in event.owners() {
            if !self.owners.contains(&owner) {
                self.owners.push(owner);
            }
        }
        Decider::evolve(&mut self.state, event);
        self.version += 1;
    }

    fn loaded(self) -> Loaded<A> {
        Loaded {
            state: Arc::new(self.state),
            version: self.version,
            owners: self.owners,
            forgotten: self.forgotten,
        }
    }
}

/// An event of one aggregate as stored.
pub(super) struct StoredEvent {
    pub(super) sequence: i64,
    pub(super) event_id: Uuid,
    pub(super) event_type: String,
    pub(super) event_version: String,
    pub(super) payload: String,
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
        let _reading = self.shared.reading.take((<A as Decider>::TYPE, id)).await;
        if let Some(read_meanwhile) = self.remembered(id) {
            return Ok(read_meanwhile);
        }
        self.read_whole(id).await
    }

    /// The state of an aggregate that is at least as new as everything committed before this call:
    /// what is in memory plus the tail that is not. Those who ask at once share one reading.
    ///
    /// # Errors
    /// [`ReadError`] when the log cannot be read or understood.
    pub async fn refresh<A: Stored>(&self, id: Uuid) -> Result<Loaded<A>, ReadError> {
        let asked = self.shared.cache.tick();
        let _reading = self.shared.reading.take((<A as Decider>::TYPE, id)).await;
        match self.shared.cache.get::<A>(<A as Decider>::TYPE, id) {
            None => self.read_whole(id).await,
            Some(entry) if entry.read_at > asked => Ok(Loaded::from(entry)),
            Some(entry) => self.read_tail(id, &Loaded::from(entry)).await,
        }
    }

    /// The state of an aggregate right after the event with this sequence.
    ///
    /// # Errors
    /// [`ReadError`] when the log cannot be read or understood.
    pub async fn load_at<A: Stored>(&self, id: Uuid, version: i64) -> Result<Loaded<A>, ReadError> {
        if let Some(remembered) = self.remembered(id)
            && remembered.version == version
        {
            return Ok(remembered);
        }
        self.fold_tail(id, &self.presumed_new(), version).await
    }

    /// The state that is in memory, without asking the log.
    #[must_use]
    pub fn remembered<A: Stored>(&self, id: Uuid) -> Option<Loaded<A>> {
        let entry = self.shared.cache.get(<A as Decider>::TYPE, id)?;
        Some(Loaded::from(entry))
    }

    /// An aggregate that nothing is known of, before its first event.
    #[must_use]
    pub fn presumed_new<A: Stored>(&self) -> Loaded<A> {
        Loaded {
            state: Arc::default(),
            version: 0,
            owners: Vec::new(),
            forgotten: self.shared.cache.forgotten(),
        }
    }

    /// Keeps the state that a command of this process has just made.
    pub fn remember<A: Stored>(&self, id: Uuid, loaded: Loaded<A>) {
        self.keep(id, loaded, 0);
    }

    fn keep<A: Stored>(&self, id: Uuid, loaded: Loaded<A>, read_at: u64) {
        let entry = Entry {
            state: loaded.state,
            version: loaded.version,
            owners: loaded.owners.into(),
            forgotten: loaded.forgotten,
            read_at,
        };
        self.shared.cache.put(<A as Decider>::TYPE, id, entry);
    }

    /// Folds every event, by pages of the repository of postgres-es.
    async fn read_whole<A: Stored>(&self, id: Uuid) -> Result<Loaded<A>, ReadError> {
        let read_at = self.shared.cache.tick();
        let mut fold = Fold::from(&self.presumed_new());
        let mut page = Page::first();
        loop {
            let events = page.read::<A>(&self.pool, id).await?;
            let is_last = events.len() < usize::from(LOAD_PAGE_EVENTS);
            self.fold_page(&mut fold, id, events).await?;
            if is_last {
                break;
            }
            page = page.next();
        }
        let loaded = fold.loaded();
        self.keep(id, loaded.clone(), read_at);
        Ok(loaded)
    }

    /// Folds the events that `known` lacks.
    async fn read_tail<A: Stored>(
        &self,
        id: Uuid,
        known: &Loaded<A>,
    ) -> Result<Loaded<A>, ReadError> {
        let read_at = self.shared.cache.tick();
        let loaded = self.fold_tail(id, known, i64::MAX).await?;
        self.keep(id, loaded.clone(), read_at);
        Ok(loaded)
    }

    async fn fold_tail<A: Stored>(
        &self,
        id: Uuid,
        from: &Loaded<A>,
        to: i64,
    ) -> Result<Loaded<A>, ReadError> {
        let mut fold = None;
        loop {
            let after = fold
                .as_ref()
                .map_or(from.version, |it: &Fold<A>| it.version);
            let events = sqlx::query_as!(
                StoredEvent,
                r#"
                SELECT events.sequence, events.event_id, events.event_type, events.event_version,
                       events.payload::text AS "payload!"
                FROM log.events
                WHERE events.aggregate_type = $1 AND events.aggregate_id = $2
                  AND events.sequence > $3 AND events.sequence <= $4
                ORDER BY events.sequence
                LIMIT $5
                "#,
                <A as Decider>::TYPE,
                id.to_string(),
                after,
                to,
                i64::from(LOAD_PAGE_EVENTS),
            )
            .fetch_all(&self.pool)
            .await?;
            let is_last = events.len() < usize::from(LOAD_PAGE_EVENTS);
            if !events.is_empty() {
                let fold = fold.get_or_insert_with(|| Fold::from(from));
                self.fold_page(fold, id, events).await?;
            }
            if is_last {
                return Ok(fold.map_or_else(|| from.clone(), Fold::loaded));
            }
        }
    }

    /// Folds events that must be the very next ones.
    async fn fold_page<A: Stored>(
        &self,
        fold: &mut Fold<A>,
        id: Uuid,
        events: Vec<StoredEvent>,
    ) -> Result<(), ReadError> {
        let payloads = events.iter().map(|event| event.payload.as_str());
        let subjects: HashSet<_> = payloads.flat_map(personal::subjects).collect();
        let ring = self.keys.find(&subjects).await?;
        for event in events {
            if event.sequence != fold.version + 1 {
                return Err(ReadError::Incomplete {
                    aggregate_type: <A as Decider>::TYPE,
                    aggregate_id: id,
                    sequence: fold.version + 1,
                });
            }
            let opened = personal::open(event.event_id, &event.payload, &ring);
            let payload = opened.as_ref().map_or(&*event.payload, |it| it.get());
            let (name, version) = (&event.event_type, &event.event_version);
            fold.apply(&<A as Decider>::Event::decode(name, version, payload)?);
        }
        Ok(())
    }
}

impl<A> From<Entry<A>> for Loaded<A> {
    fn from(entry: Entry<A>) -> Self {
        Self {
            state: entry.state,
            version: entry.version,
            owners: entry.owners.to_vec(),
            forgotten: entry.forgotten,
        }
    }
}
