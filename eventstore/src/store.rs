//! The door to the log.

mod anchored;
mod row;
mod state;
mod whole;

pub use crate::cache::CACHE_BYTES_MAX;
pub(crate) use row::{EventRow, events};
pub use state::{LOAD_PAGE_EVENTS, Loaded, Stored};

use crate::append::{Append, AppendError, Appended, StoredCommand};
use crate::appender::Appender;
use crate::cache::AggregateCache;
use crate::database::Database;
use crate::event::LogEvent;
use crate::keys::{KeyError, Keys, MasterKeys};
use crate::personal;
use crate::position::Position;
use crate::tasks::Tasks;
use crate::turns::{Turn, Turns};
use cqrs_es::persist::PersistenceError;
use serde_json::value::RawValue;
use sqlx::PgPool;
use sqlx::types::Json;
use std::collections::HashSet;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::watch;
use touchline_domain::clock::Clock;
use touchline_domain::event::DecodeError;
use touchline_domain::id::{CommandId, UserId};
use uuid::Uuid;

/// The most events that one [`EventStore::read`] returns.
pub const READ_EVENTS_MAX: usize = 10_000;

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
    /// A stream lacks one of its events.
    #[error("{aggregate_type} {aggregate_id} lacks its event {sequence}")]
    Incomplete {
        /// The frozen name of the kind of aggregate.
        aggregate_type: &'static str,
        /// Which one.
        aggregate_id: Uuid,
        /// The event.
        sequence: i64,
    },
    /// A row of the log breaks the log's own rules.
    #[error("the row at position {position} is damaged")]
    Damaged {
        /// Where.
        position: i64,
    },
    /// The log has another history than the one read so far: it was restored, or is another log.
    #[error("the log has no longer the event that was read at position {position}")]
    OtherHistory {
        /// The last event that was read.
        position: Position,
    },
}

/// The turn of one aggregate, or a share in it, until dropped.
pub type StreamTurn = Turn<(&'static str, Uuid)>;

/// Append to, load from and read the log. Cheap to clone.
#[derive(Clone)]
pub struct EventStore {
    shared: Arc<Shared>,
    keys: Keys,
    pool: PgPool,
}

/// What every clone uses, whatever pool it reads through.
struct Shared {
    appender: Appender,
    cache: AggregateCache,
    turns: Turns<(&'static str, Uuid)>,
    /// Who reads an aggregate: one at a time, so that the next finds in memory what the last has read.
    reading: Turns<(&'static str, Uuid)>,
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
            cache: AggregateCache::new(CACHE_BYTES_MAX),
            turns: Turns::default(),
            reading: Turns::default(),
        };
        Self {
            shared: Arc::new(shared),
            keys: Keys::new(pool.clone(), masters),
            pool,
        }
    }

    /// The task that appends.
    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        self.shared.appender.tasks()
    }

    /// The same store, reading through another pool: whoever must not wait behind others, such as
    /// the relay behind the API, brings connections of its own.
    #[must_use]
    pub fn through(&self, pool: PgPool) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
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

    /// Forgets the states in memory that may hold what this person wrote: they were erased. Readings
    /// that are under way are not kept either.
    pub fn forget_states_of(&self, person: UserId) {
        self.shared.cache.forget(person);
    }

    /// Waits for the turn of one aggregate: until the returned value is dropped, no other command of
    /// this process that takes its turn decides on it.
    pub async fn turn(&self, kind: &'static str, id: Uuid) -> StreamTurn {
        self.shared.turns.take((kind, id)).await
    }

    /// Waits for a turn that others who depend on the aggregate may have at once: until the returned
    /// value is dropped, nobody has [the turn](EventStore::turn) to change it.
    pub async fn shared_turn(&self, kind: &'static str, id: Uuid) -> StreamTurn {
        self.shared.turns.share((kind, id)).await
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
        // What is recorded of a command can be derived from its events.
        let command_id = append.command_id.to_string();
        append.metadata.insert("command_id".to_owned(), command_id);
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

    /// Who holds a claim; none also when it is held for good by nobody.
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
        Ok(owner.flatten().and_then(|owner| owner.parse().ok()))
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

    /// Takes the owner's name from what somebody claims of a kind. Nobody can claim it again, and
    /// nobody can tell whose it was.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn disown_claims(&self, scope: &str, owner: Uuid) -> Result<(), ReadError> {
        sqlx::query!(
            "UPDATE log.claims SET owner = NULL WHERE claims.owner = $1 AND claims.scope = $2",
            owner.to_string(),
            scope,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
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
        events(rows)
    }
}

/// Waits until this process has appended beyond `known`; for ever when it appends no more.
pub(crate) async fn appended_beyond(known: Position, appended: &mut watch::Receiver<Position>) {
    if appended.wait_for(|last| *last > known).await.is_err() {
        std::future::pending::<()>().await;
    }
}
