//! The door to the log.

use crate::append::{Append, AppendError, Appended, StoredCommand};
use crate::appender::Appender;
use crate::cache::AggregateCache;
use crate::database::Database;
use crate::event::{Digest, LogEvent};
use crate::keys::{KeyError, Keys, MasterKeys};
use crate::personal;
use crate::position::Position;
use crate::turns::{Turn, Turns};
use chrono::{DateTime, Utc};
use cqrs_es::persist::{PersistedEventRepository as _, PersistenceError};
use postgres_es::PostgresEventRepository;
use serde_json::value::RawValue;
use sqlx::PgPool;
use sqlx::types::Json;
use std::collections::HashSet;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::watch;
use touchline_domain::aggregate::Decider;
use touchline_domain::clock::Clock;
use touchline_domain::event::{DecodeError, Event};
use touchline_domain::id::CommandId;
use uuid::Uuid;

/// The most events that one [`EventStore::read`] returns.
pub const READ_EVENTS_MAX: usize = 10_000;

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

/// Why an aggregate or a piece of the log could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The database could not be reached, or refused.
    #[error("the log cannot be read")]
    Database(#[from] sqlx::Error),
    /// The repository of postgres-es failed.
    #[error("the aggregate cannot be read")]
    Repository(#[from] PersistenceError),
    /// A stored event is not understood.
    #[error("a stored event cannot be understood")]
    Decode(#[from] DecodeError),
    /// The keys of personal data could not be had.
    #[error("the keys of personal data cannot be had")]
    Keys(#[from] KeyError),
    /// A row of the log breaks the log's own rules.
    #[error("the row at position {position} is damaged")]
    Damaged {
        /// Where.
        position: i64,
    },
}

/// Append to, load from and read the log. Cheap to clone.
#[derive(Clone)]
pub struct EventStore {
    shared: Arc<Shared>,
    repository: Arc<PostgresEventRepository>,
    keys: Keys,
    pool: PgPool,
}

/// What every clone uses, whatever pool it reads through.
struct Shared {
    appender: Appender,
    cache: AggregateCache,
    turns: Turns<(&'static str, Uuid)>,
}

impl EventStore {
    /// A store on the log in `database`, reading through `pool`, with its personal data under keys
    /// that `masters` wrap. Its appender runs, with a connection of its own, until the last clone is
    /// dropped or [`EventStore::close`] is called.
    #[must_use]
    pub fn new(
        database: Database,
        pool: PgPool,
        masters: MasterKeys,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let shared = Shared {
            appender: Appender::start(database, clock),
            cache: AggregateCache::new(),
            turns: Turns::default(),
        };
        Self {
            shared: Arc::new(shared),
            repository: repository(&pool),
            keys: Keys::new(pool.clone(), masters),
            pool,
        }
    }

    /// The same store, reading through another pool: whoever must not wait behind others, such as
    /// the relay behind the API, brings connections of its own.
    #[must_use]
    pub fn through(&self, pool: PgPool) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            repository: repository(&pool),
            keys: self.keys.through(pool.clone()),
            pool,
        }
    }

    /// The pool that the store reads through.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The keys of personal data.
    #[must_use]
    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Forgets every state in memory: somebody was erased, and states may hold what they wrote.
    pub fn forget_states(&self) {
        self.shared.cache.clear();
    }

    /// Waits for the turn of one aggregate: until the returned value is dropped, no other command of
    /// this process that takes its turn decides on it.
    pub async fn turn(&self, kind: &'static str, id: Uuid) -> Turn<(&'static str, Uuid)> {
        self.shared.turns.take((kind, id)).await
    }

    /// Appends one command's events, their personal fields sealed, together with those of other
    /// commands that wait at this moment. When it answers `Committed`, they are durable (L4).
    ///
    /// # Errors
    /// [`AppendError`]; only `Unavailable` leaves it open whether the events are in the log, and the
    /// same command id sent again finds out.
    pub async fn append(&self, mut append: Append) -> Result<Appended, AppendError> {
        self.seal(&mut append).await?;
        append.check()?;
        self.shared.appender.append(append).await
    }

    /// Seals the personal fields of a command's events.
    async fn seal(&self, append: &mut Append) -> Result<(), AppendError> {
        let mut owners = HashSet::new();
        for event in append.streams.iter().flat_map(|stream| &stream.events) {
            owners.extend(personal::owners(event).map_err(AppendError::Seal)?);
        }
        let ring = self
            .keys
            .provide(&owners)
            .await
            .map_err(|error| AppendError::Keys(Arc::new(error)))?;
        let events = append.streams.iter_mut().flat_map(|it| &mut it.events);
        for event in events {
            personal::seal(event, &ring).map_err(AppendError::Seal)?;
        }
        Ok(())
    }

    /// The same events with their personal fields opened, those of erased people marked as erased.
    /// The digests are still those of the stored events.
    ///
    /// # Errors
    /// [`ReadError::Keys`].
    pub async fn open(&self, mut events: Vec<LogEvent>) -> Result<Vec<LogEvent>, ReadError> {
        let payloads = events.iter().map(|event| event.payload.get());
        let subjects: HashSet<_> = payloads.flat_map(personal::subjects).collect();
        if subjects.is_empty() {
            return Ok(events);
        }
        let ring = self.keys.find(&subjects).await?;
        for event in &mut events {
            if let Some(opened) = personal::open(event.event_id, event.payload.get(), &ring) {
                event.payload = opened;
            }
        }
        Ok(events)
    }

    /// The position of the last event that this process has seen committed by its own appender.
    /// It wakes the relay and the read-your-writes waiters without a database.
    #[must_use]
    pub fn appended(&self) -> watch::Receiver<Position> {
        self.shared.appender.committed()
    }

    /// Stops taking appends and waits until those taken are answered.
    pub async fn close(&self) {
        self.shared.appender.close().await;
    }

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

    /// What the log keeps of a command, if it was applied.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn find_command(&self, id: CommandId) -> Result<Option<StoredCommand>, ReadError> {
        let row = sqlx::query!(
            r#"
            SELECT commands.fingerprint, commands.aggregate_type, commands.aggregate_id,
                   commands.version, commands.first_position, commands.last_position
            FROM log.commands
            WHERE commands.command_id = $1
            "#,
            id.uuid(),
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| {
            let damaged = || ReadError::Damaged {
                position: row.first_position,
            };
            Ok(StoredCommand {
                version: row.version,
                first: Position::new(row.first_position).map_err(|_negative| damaged())?,
                last: Position::new(row.last_position).map_err(|_negative| damaged())?,
                fingerprint: row
                    .fingerprint
                    .as_slice()
                    .try_into()
                    .map_err(|_length| damaged())?,
                aggregate_type: row.aggregate_type,
                aggregate_id: row.aggregate_id,
            })
        })
        .transpose()
    }

    /// Who holds a claim.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn claim_owner(&self, scope: &str, key: &str) -> Result<Option<Uuid>, ReadError> {
        let owner = sqlx::query_scalar!(
            "SELECT claims.owner FROM log.claims WHERE claims.scope = $1 AND claims.key = $2",
            scope,
            key,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(owner.and_then(|owner| owner.parse().ok()))
    }

    /// What somebody claims of a kind.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn claims_of(&self, scope: &str, owner: Uuid) -> Result<Vec<String>, ReadError> {
        Ok(sqlx::query_scalar!(
            "SELECT claims.key FROM log.claims WHERE claims.owner = $1 AND claims.scope = $2",
            owner.to_string(),
            scope,
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// The position of the last event in the log.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn head(&self) -> Result<Position, ReadError> {
        let head = sqlx::query_scalar!("SELECT max(events.position) FROM log.events")
            .fetch_one(&self.pool)
            .await?
            .unwrap_or(0);
        Position::new(head).map_err(|_negative| ReadError::Damaged { position: head })
    }

    /// Which log this is: an id made when the log was, and kept by every copy and backup of it.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn log_id(&self) -> Result<Uuid, ReadError> {
        Ok(sqlx::query_scalar!("SELECT origin.log_id FROM log.origin")
            .fetch_one(&self.pool)
            .await?)
    }

    /// The events after a position, in order: at most `limit`, and at most [`READ_EVENTS_MAX`].
    ///
    /// # Errors
    /// When the database cannot be reached or a row is damaged.
    pub async fn read(&self, after: Position, limit: usize) -> Result<Vec<LogEvent>, ReadError> {
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
            ORDER BY events.position
            LIMIT $2
            "#,
            after.get(),
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(LogEvent::try_from).collect()
    }
}

/// Waits until this process has appended beyond `known`; for ever when it appends no more.
pub(crate) async fn appended_beyond(known: Position, appended: &mut watch::Receiver<Position>) {
    if appended.wait_for(|last| *last > known).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn repository(pool: &PgPool) -> Arc<PostgresEventRepository> {
    let repository = PostgresEventRepository::new(pool.clone());
    Arc::new(repository.with_tables("log.events", "log.snapshots"))
}

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
