//! Parked aggregates: listed, retried in order, or given up by somebody with a reason.
//!
//! Both change the read model beside its runner. They hold its checkpoint meanwhile, so that no batch
//! comes between, and the checkpoint's generation tells the runner to read again what is parked.

use crate::checkpoint;
use crate::projection::{ProjectError, ReadModel, chain};
use crate::rebuild;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use thiserror::Error;
use touchline_eventstore::store::{READ_EVENTS_MAX, ReadError};
use touchline_eventstore::{EventStore, Position};

/// How many parked aggregates are listed: a projection with more is halted.
const LISTED_MAX: i64 = 1_000;

/// An aggregate whose events wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Parked {
    /// The kind of aggregate.
    pub aggregate_type: String,
    /// Which one.
    pub aggregate_id: String,
    /// The event that failed.
    pub first_position: Position,
    /// The last event that waits behind it.
    pub last_position: Position,
    /// How many events wait, with the one that failed.
    pub events: i64,
    /// Why it failed, the last time it was tried.
    pub reason: String,
    /// Since when it waits.
    pub parked_at: DateTime<Utc>,
}

/// Why parked events were neither retried nor given up.
#[derive(Debug, Error)]
pub enum ParkedError {
    /// Nothing of this aggregate is parked.
    #[error("nothing of this aggregate is parked")]
    NotParked,
    /// A rebuild is under way, whose tables would not know of it.
    #[error("the projection is being rebuilt: wait until that is over, or cancel it")]
    RebuildRunning,
    /// The tables are another version's.
    #[error("the tables were filled by version {stored} and this program has version {ours}")]
    OtherVersion {
        /// The version that filled them.
        stored: i32,
        /// The version of the code here.
        ours: i32,
    },
    /// It was not said why, or by whom.
    #[error("giving up events needs a reason and a name")]
    Unsigned,
    /// The events cannot be read.
    #[error("the log cannot be read")]
    Read(#[from] ReadError),
    /// The rows cannot be written for now: no event is to blame.
    #[error("the read model cannot be written now")]
    Write(#[source] ProjectError),
    /// The database cannot be reached or refused a statement.
    #[error("the database cannot be reached or refused a statement")]
    Database(#[from] sqlx::Error),
}

/// What came of a retry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Retried {
    /// All events were folded, and the aggregate goes on as every other. They were folded after
    /// events that came later, which is not the same for all: a rebuild was asked for, too.
    Unparked {
        /// How many events they were.
        events: usize,
    },
    /// One of them failed again, and nothing has changed but the reason.
    StillParked {
        /// Why.
        reason: String,
    },
}

/// What is parked of a projection, the oldest first.
///
/// # Errors
/// When the database cannot be reached.
pub async fn list(pool: &PgPool, projection: &str) -> Result<Vec<Parked>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT parked.aggregate_type, parked.aggregate_id, parked.first_position, parked.reason,
               parked.parked_at, waiting.events AS "events!", waiting.last AS "last!"
        FROM operations.parked_aggregates AS parked
        CROSS JOIN LATERAL (
            SELECT count(*) AS events, coalesce(max(events.position), parked.first_position) AS last
            FROM operations.parked_events AS events
            WHERE events.projection = parked.projection
              AND events.aggregate_type = parked.aggregate_type
              AND events.aggregate_id = parked.aggregate_id
        ) AS waiting
        WHERE parked.projection = $1
        ORDER BY parked.first_position
        LIMIT $2
        "#,
        projection,
        LISTED_MAX,
    )
    .fetch_all(pool)
    .await?;
    let parked = rows.into_iter().map(|row| Parked {
        aggregate_type: row.aggregate_type,
        aggregate_id: row.aggregate_id,
        first_position: checkpoint::position(row.first_position),
        last_position: checkpoint::position(row.last),
        events: row.events,
        reason: row.reason,
        parked_at: row.parked_at,
    });
    Ok(parked.collect())
}

/// Folds the parked events of the aggregates with this id, in order and in one transaction: all of
/// them or none. Other events have been folded meanwhile that may have needed these: an answer to a
/// comment, or a follow that made an author too popular to be copied. So in the same transaction a
/// rebuild is asked for, which folds all in their order, and tries whatever else is parked.
///
/// # Errors
/// [`ParkedError`]; nothing has changed then.
pub async fn retry(
    store: &EventStore,
    model: &dyn ReadModel,
    aggregate_id: &str,
    by: &str,
) -> Result<Retried, ParkedError> {
    let name = model.name();
    let mut connection = store.pool().acquire().await?.detach();
    let mut transaction = connection.begin().await?;
    hold(&mut transaction, store.pool(), model).await?;
    let positions = waiting(&mut transaction, name, aggregate_id).await?;
    if positions.is_empty() {
        return Err(ParkedError::NotParked);
    }
    let mut savepoint = transaction.begin().await?;
    let search_path = format!(r#"SET LOCAL search_path TO "{name}""#);
    savepoint.execute(search_path.as_str()).await?;
    let folded = fold(store, model, &mut savepoint, &positions).await;
    let retried = match folded {
        Ok(()) => {
            savepoint.commit().await?;
            unpark(&mut transaction, name, aggregate_id).await?;
            let reason = "parked events were folded after later ones";
            rebuild::follow_up(&mut transaction, name, model.version(), by, reason).await?;
            Retried::Unparked {
                events: positions.len(),
            }
        }
        Err(ParkedError::Write(error)) if !error.is_passing() => {
            savepoint.rollback().await?;
            let reason = chain(&error);
            blame(&mut transaction, name, aggregate_id, &reason).await?;
            Retried::StillParked { reason }
        }
        Err(error) => return Err(error),
    };
    transaction.commit().await?;
    tracing::info!(projection = name, aggregate_id, by, outcome = ?retried, "projection {name}: a parked aggregate was retried");
    Ok(retried)
}

/// Gives up the parked events of the aggregates with this id: the read model, in this version, is
/// from now on the fold of the log without them. Who did it and why is kept for ever. Later events
/// of the aggregate are folded as any others. Returns how many events were given up.
///
/// # Errors
/// [`ParkedError`]; nothing has changed then.
pub async fn discard(
    pool: &PgPool,
    model: &dyn ReadModel,
    aggregate_id: &str,
    reason: &str,
    by: &str,
) -> Result<u64, ParkedError> {
    if reason.trim().is_empty() || by.trim().is_empty() {
        return Err(ParkedError::Unsigned);
    }
    let name = model.name();
    let mut connection = pool.acquire().await?.detach();
    let mut transaction = connection.begin().await?;
    hold(&mut transaction, pool, model).await?;
    let discarded = sqlx::query!(
        "
        INSERT INTO operations.discarded_events
               (projection, version, position, aggregate_type, aggregate_id, parked_because, reason,
                discarded_by)
        SELECT events.projection, $2, events.position, events.aggregate_type, events.aggregate_id,
               parked.reason, $4, $5
        FROM operations.parked_events AS events
        JOIN operations.parked_aggregates AS parked
             USING (projection, aggregate_type, aggregate_id)
        WHERE events.projection = $1 AND events.aggregate_id = $3
        ",
        name,
        model.version(),
        aggregate_id,
        reason,
        by,
    )
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if discarded == 0 {
        return Err(ParkedError::NotParked);
    }
    unpark(&mut transaction, name, aggregate_id).await?;
    transaction.commit().await?;
    tracing::warn!(
        projection = name,
        aggregate_id,
        by,
        reason,
        events = discarded,
        "projection {name}: parked events were given up"
    );
    Ok(discarded)
}

/// Keeps the runner from writing until the transaction ends.
async fn hold(
    connection: &mut PgConnection,
    pool: &PgPool,
    model: &dyn ReadModel,
) -> Result<(), ParkedError> {
    connection.execute("SET LOCAL lock_timeout = '5s'").await?;
    let live = checkpoint::lock(connection, model.name()).await?;
    let (stored, ours) = (live.version, model.version());
    if stored != ours {
        return Err(ParkedError::OtherVersion { stored, ours });
    }
    if rebuild::open(pool, model.name()).await?.is_some() {
        return Err(ParkedError::RebuildRunning);
    }
    Ok(())
}

async fn waiting(
    connection: &mut PgConnection,
    projection: &str,
    aggregate_id: &str,
) -> Result<Vec<Position>, sqlx::Error> {
    let positions = sqlx::query_scalar!(
        "
        SELECT parked_events.position FROM operations.parked_events
        WHERE parked_events.projection = $1 AND parked_events.aggregate_id = $2
        ORDER BY parked_events.position
        ",
        projection,
        aggregate_id,
    )
    .fetch_all(connection)
    .await?;
    Ok(positions.into_iter().map(checkpoint::position).collect())
}

async fn fold(
    store: &EventStore,
    model: &dyn ReadModel,
    connection: &mut PgConnection,
    positions: &[Position],
) -> Result<(), ParkedError> {
    for positions in positions.chunks(READ_EVENTS_MAX) {
        let events = store.open(store.read_at(positions).await?).await?;
        let folded = model.fold(connection, &events).await;
        folded.map_err(ParkedError::Write)?;
    }
    Ok(())
}

async fn unpark(
    connection: &mut PgConnection,
    projection: &str,
    aggregate_id: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        WITH unparked AS (
            DELETE FROM operations.parked_aggregates
            WHERE parked_aggregates.projection = $1 AND parked_aggregates.aggregate_id = $2
        )
        UPDATE operations.checkpoints SET generation = checkpoints.generation + 1
        WHERE checkpoints.projection = $1
        ",
        projection,
        aggregate_id,
    )
    .execute(connection)
    .await
    .map(drop)
}

async fn blame(
    connection: &mut PgConnection,
    projection: &str,
    aggregate_id: &str,
    reason: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        UPDATE operations.parked_aggregates SET reason = $3
        WHERE parked_aggregates.projection = $1 AND parked_aggregates.aggregate_id = $2
        ",
        projection,
        aggregate_id,
        reason,
    )
    .execute(connection)
    .await
    .map(drop)
}
