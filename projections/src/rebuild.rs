//! Rebuilding a read model beside the one that serves (blue/green), and swapping the two.
//!
//! A request is a row; a worker takes it ([`Maintenance`](crate::Maintenance)). It fills the schema
//! `<name>__next`, whose checkpoint moves with the rows, so that a killed worker's successor goes
//! on; when the new tables are where the serving ones are, both are renamed in one transaction.

mod gate;
mod job;
mod swap;

pub(crate) use job::{Ended, RebuildError, Rebuilding, drop_leftovers, next_of, old_of};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use std::collections::HashMap;
use touchline_eventstore::Position;
use uuid::Uuid;

/// How far a rebuild is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RebuildState {
    /// It waits for a worker with the same version of the code.
    Requested,
    /// The new tables are being filled.
    Running,
    /// The new tables are nearly where the serving ones are, and are to take their place.
    Swapping,
    /// The new tables serve.
    Done,
    /// Somebody cancelled it; the old tables still serve.
    Cancelled,
    /// It cannot go on; the old tables still serve.
    Failed,
}

impl RebuildState {
    /// Its frozen word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Running => "running",
            Self::Swapping => "swapping",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing more will happen.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled | Self::Failed)
    }

    fn parse(word: &str) -> Self {
        match word {
            "requested" => Self::Requested,
            "running" => Self::Running,
            "swapping" => Self::Swapping,
            "done" => Self::Done,
            "cancelled" => Self::Cancelled,
            // The column is checked to be one of the six.
            _ => Self::Failed,
        }
    }
}

/// A rebuild, asked for at some time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rebuild {
    /// Which one.
    pub rebuild_id: Uuid,
    /// Of which read model.
    pub projection: String,
    /// The version of the code that fills the tables.
    pub version: i32,
    /// How far it is.
    pub state: RebuildState,
    /// Who asked.
    pub requested_by: String,
    /// Why; empty when nobody said.
    pub reason: String,
    /// Up to where the new tables are filled.
    pub position: Position,
    /// Up to where they must be; none before it runs.
    pub target: Option<Position>,
    /// How many events the new tables took in: not every event of the log matters to them.
    pub events: i64,
    /// How many rows of the tables before were wrong, missing or extra; none when they were another
    /// version's or it has not come that far.
    pub drift_rows: Option<i64>,
    /// How long readers could not begin to read while the tables changed places, in microseconds.
    pub swap_pause_us: Option<i64>,
    /// Why it failed.
    pub failure: Option<String>,
    /// When it was asked for.
    pub requested_at: DateTime<Utc>,
    /// When a worker took it first.
    pub started_at: Option<DateTime<Utc>>,
    /// When it last moved.
    pub updated_at: DateTime<Utc>,
    /// When it was over.
    pub finished_at: Option<DateTime<Utc>>,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Requested<T> {
    /// There is a new one.
    New(T),
    /// One was under way already.
    UnderWay(T),
}

impl<T> Requested<T> {
    /// The one that is under way now, whoever asked for it.
    pub fn into_inner(self) -> T {
        match self {
            Self::New(it) | Self::UnderWay(it) => it,
        }
    }
}

/// A row, for the checked statements.
struct Row {
    rebuild_id: Uuid,
    projection: String,
    version: i32,
    state: String,
    requested_by: String,
    reason: String,
    position: i64,
    target: Option<i64>,
    events: i64,
    drift_rows: Option<i64>,
    swap_pause_us: Option<i64>,
    failure: Option<String>,
    requested_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    updated_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
}

impl From<Row> for Rebuild {
    fn from(row: Row) -> Self {
        Self {
            rebuild_id: row.rebuild_id,
            projection: row.projection,
            version: row.version,
            state: RebuildState::parse(&row.state),
            requested_by: row.requested_by,
            reason: row.reason,
            position: crate::checkpoint::position(row.position),
            target: row.target.map(crate::checkpoint::position),
            events: row.events,
            drift_rows: row.drift_rows,
            swap_pause_us: row.swap_pause_us,
            failure: row.failure,
            requested_at: row.requested_at,
            started_at: row.started_at,
            updated_at: row.updated_at,
            finished_at: row.finished_at,
        }
    }
}

/// Asks for a rebuild of `projection` by code of `version`. There is at most one at a time: the one
/// under way is the answer then.
///
/// # Errors
/// When the database cannot be reached or refuses.
pub async fn request(
    pool: &PgPool,
    projection: &str,
    version: i32,
    requested_by: &str,
    reason: &str,
) -> Result<Requested<Rebuild>, sqlx::Error> {
    loop {
        let inserted = sqlx::query_scalar!(
            "
            INSERT INTO operations.rebuilds (projection, version, requested_by, reason)
            VALUES ($1, $2, $3, $4)
            ON CONFLICT (projection) WHERE state IN ('requested', 'running', 'swapping') DO NOTHING
            RETURNING rebuilds.rebuild_id
            ",
            projection,
            version,
            requested_by,
            reason,
        )
        .fetch_optional(pool)
        .await?;
        match inserted {
            Some(id) => {
                if let Some(rebuild) = find(pool, projection, id).await? {
                    return Ok(Requested::New(rebuild));
                }
            }
            None => {
                if let Some(rebuild) = open(pool, projection).await? {
                    return Ok(Requested::UnderWay(rebuild));
                }
            }
        }
        // It was over between the two statements: the next round inserts.
    }
}

/// Asks for a rebuild in the transaction of what makes it necessary, unless one is open.
pub(crate) async fn follow_up(
    connection: &mut PgConnection,
    projection: &str,
    version: i32,
    requested_by: &str,
    reason: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        INSERT INTO operations.rebuilds (projection, version, requested_by, reason)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (projection) WHERE state IN ('requested', 'running', 'swapping') DO NOTHING
        ",
        projection,
        version,
        requested_by,
        reason,
    )
    .execute(connection)
    .await
    .map(drop)
}

/// The rebuild with this id of this projection; none when there is no such.
///
/// # Errors
/// When the database cannot be reached.
pub async fn find(
    pool: &PgPool,
    projection: &str,
    id: Uuid,
) -> Result<Option<Rebuild>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "
        SELECT rebuilds.rebuild_id, rebuilds.projection, rebuilds.version, rebuilds.state,
               rebuilds.requested_by, rebuilds.reason, rebuilds.position, rebuilds.target,
               rebuilds.events, rebuilds.drift_rows, rebuilds.swap_pause_us, rebuilds.failure,
               rebuilds.requested_at, rebuilds.started_at, rebuilds.updated_at, rebuilds.finished_at
        FROM operations.rebuilds
        WHERE rebuilds.rebuild_id = $1 AND rebuilds.projection = $2
        ",
        id,
        projection,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(Rebuild::from))
}

/// The rebuild of this projection that is not over; none when there is none.
///
/// # Errors
/// When the database cannot be reached.
pub async fn open(pool: &PgPool, projection: &str) -> Result<Option<Rebuild>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "
        SELECT rebuilds.rebuild_id, rebuilds.projection, rebuilds.version, rebuilds.state,
               rebuilds.requested_by, rebuilds.reason, rebuilds.position, rebuilds.target,
               rebuilds.events, rebuilds.drift_rows, rebuilds.swap_pause_us, rebuilds.failure,
               rebuilds.requested_at, rebuilds.started_at, rebuilds.updated_at, rebuilds.finished_at
        FROM operations.rebuilds
        WHERE rebuilds.projection = $1 AND rebuilds.state IN ('requested', 'running', 'swapping')
        ",
        projection,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(Rebuild::from))
}

/// The latest rebuild of each projection that ever had one, by name.
pub(crate) async fn latest(pool: &PgPool) -> Result<HashMap<String, Rebuild>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "
        SELECT DISTINCT ON (rebuilds.projection)
               rebuilds.rebuild_id, rebuilds.projection, rebuilds.version, rebuilds.state,
               rebuilds.requested_by, rebuilds.reason, rebuilds.position, rebuilds.target,
               rebuilds.events, rebuilds.drift_rows, rebuilds.swap_pause_us, rebuilds.failure,
               rebuilds.requested_at, rebuilds.started_at, rebuilds.updated_at, rebuilds.finished_at
        FROM operations.rebuilds
        ORDER BY rebuilds.projection, rebuilds.requested_at DESC
        ",
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.projection.clone(), Rebuild::from(row)))
        .collect())
}

/// Cancels a rebuild that is not over. The worker that fills the tables drops them within a second.
/// False when it was over already, or there is none with this id.
///
/// # Errors
/// When the database cannot be reached.
pub async fn cancel(pool: &PgPool, projection: &str, id: Uuid) -> Result<bool, sqlx::Error> {
    let cancelled = sqlx::query!(
        "
        UPDATE operations.rebuilds
        SET state = 'cancelled', finished_at = now(), updated_at = now()
        WHERE rebuilds.rebuild_id = $1 AND rebuilds.projection = $2
          AND rebuilds.state IN ('requested', 'running', 'swapping')
        ",
        id,
        projection,
    )
    .execute(pool)
    .await?;
    Ok(cancelled.rows_affected() == 1)
}

/// Cancels what waits for an earlier version of the code than `version`: no worker of it may be left.
pub(crate) async fn supersede(
    pool: &PgPool,
    projection: &str,
    version: i32,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        UPDATE operations.rebuilds
        SET state = 'cancelled', failure = 'a later version is rebuilt instead',
            finished_at = now(), updated_at = now()
        WHERE rebuilds.projection = $1 AND rebuilds.version < $2
          AND rebuilds.state IN ('requested', 'running', 'swapping')
        ",
        projection,
        version,
    )
    .execute(pool)
    .await
    .map(drop)
}

/// Writes down how far a rebuild is. False when it is not to go on.
pub(crate) async fn report(
    pool: &PgPool,
    id: Uuid,
    position: i64,
    target: i64,
    events: i64,
) -> Result<bool, sqlx::Error> {
    let reported = sqlx::query!(
        "
        UPDATE operations.rebuilds
        SET position = $2, target = greatest($3::bigint, $2::bigint), events = $4, updated_at = now()
        WHERE rebuilds.rebuild_id = $1 AND rebuilds.state IN ('running', 'swapping')
        ",
        id,
        position,
        target,
        events,
    )
    .execute(pool)
    .await?;
    Ok(reported.rows_affected() == 1)
}

/// Ends a rebuild that cannot go on.
pub(crate) async fn fail(pool: &PgPool, id: Uuid, failure: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        UPDATE operations.rebuilds
        SET state = 'failed', failure = $2, finished_at = now(), updated_at = now()
        WHERE rebuilds.rebuild_id = $1 AND rebuilds.state IN ('running', 'swapping')
        ",
        id,
        failure,
    )
    .execute(pool)
    .await
    .map(drop)
}

/// Ends a rebuild in the transaction of its swap. False when it was cancelled meanwhile.
pub(crate) async fn finish(
    connection: &mut PgConnection,
    id: Uuid,
    position: Position,
    events: i64,
) -> Result<bool, sqlx::Error> {
    let finished = sqlx::query!(
        "
        UPDATE operations.rebuilds
        SET state = 'done', position = $2, target = $2, events = $3, failure = NULL,
            finished_at = now(), updated_at = now()
        WHERE rebuilds.rebuild_id = $1 AND rebuilds.state IN ('running', 'swapping')
        ",
        id,
        position.get(),
        events,
    )
    .execute(connection)
    .await?;
    Ok(finished.rows_affected() == 1)
}

/// Whether somebody cancelled it, or it is not there at all.
pub(crate) async fn is_cancelled(
    pool: &PgPool,
    projection: &str,
    id: Uuid,
) -> Result<bool, sqlx::Error> {
    let found = find(pool, projection, id).await?;
    Ok(found.is_none_or(|found| found.state == RebuildState::Cancelled))
}
