//! Verifying a read model: folding the log once more, and comparing (L7).
//!
//! A request is a row; a worker takes it ([`Maintenance`](crate::Maintenance)). It fills the schema
//! `<name>__verify` and compares it with the serving one, both at exactly the same position.

pub(crate) mod compare;
mod finding;
mod job;
pub(crate) mod sample;
pub(crate) mod snapshot;

pub use finding::{Difference, Finding};
pub(crate) use job::{Verifying, verify_of};

use crate::rebuild::Requested;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::types::Json;
use std::collections::HashMap;
use touchline_eventstore::Position;
use uuid::Uuid;

/// How far a verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerificationState {
    /// It waits for a worker with the same version of the code.
    Requested,
    /// The log is being folded, or the tables compared.
    Running,
    /// The tables were compared.
    Done,
    /// Somebody cancelled it.
    Cancelled,
    /// It cannot go on.
    Failed,
}

impl VerificationState {
    /// Its frozen word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Running => "running",
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
            "done" => Self::Done,
            "cancelled" => Self::Cancelled,
            // The column is checked to be one of the five.
            _ => Self::Failed,
        }
    }
}

/// A verification, asked for at some time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verification {
    /// Which one.
    pub verification_id: Uuid,
    /// Of which read model.
    pub projection: String,
    /// The version of the code that folds the log.
    pub version: i32,
    /// How far it is.
    pub state: VerificationState,
    /// Who asked.
    pub requested_by: String,
    /// Up to where the log is folded; once it is done, the position at which was compared.
    pub position: Position,
    /// Up to where it must be; none before it runs.
    pub target: Option<Position>,
    /// How many events were folded: not every event of the log matters to every read model.
    pub events: i64,
    /// How many rows there should be; none before it is done.
    pub rows_compared: Option<i64>,
    /// How many rows are wrong, missing or extra; none before it is done.
    pub drift_rows: Option<i64>,
    /// The first thousand of them.
    pub findings: Vec<Finding>,
    /// Why it failed.
    pub failure: Option<String>,
    /// When it was asked for.
    pub requested_at: DateTime<Utc>,
    /// When a worker took it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it last moved.
    pub updated_at: DateTime<Utc>,
    /// When it was over.
    pub finished_at: Option<DateTime<Utc>>,
}

/// A row, for the checked statements.
struct Row {
    verification_id: Uuid,
    projection: String,
    version: i32,
    state: String,
    requested_by: String,
    position: i64,
    target: Option<i64>,
    events: i64,
    rows_compared: Option<i64>,
    drift_rows: Option<i64>,
    findings: Json<Vec<Finding>>,
    failure: Option<String>,
    requested_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    updated_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
}

impl From<Row> for Verification {
    fn from(row: Row) -> Self {
        Self {
            verification_id: row.verification_id,
            projection: row.projection,
            version: row.version,
            state: VerificationState::parse(&row.state),
            requested_by: row.requested_by,
            position: crate::checkpoint::position(row.position),
            target: row.target.map(crate::checkpoint::position),
            events: row.events,
            rows_compared: row.rows_compared,
            drift_rows: row.drift_rows,
            findings: row.findings.0,
            failure: row.failure,
            requested_at: row.requested_at,
            started_at: row.started_at,
            updated_at: row.updated_at,
            finished_at: row.finished_at,
        }
    }
}

/// Asks for a verification of `projection` by code of `version`. There is at most one at a time: the
/// one under way is the answer then.
///
/// # Errors
/// When the database cannot be reached or refuses.
pub async fn request(
    pool: &PgPool,
    projection: &str,
    version: i32,
    requested_by: &str,
) -> Result<Requested<Verification>, sqlx::Error> {
    loop {
        let inserted = sqlx::query_scalar!(
            "
            INSERT INTO operations.verifications (projection, version, requested_by)
            VALUES ($1, $2, $3)
            ON CONFLICT (projection) WHERE state IN ('requested', 'running') DO NOTHING
            RETURNING verifications.verification_id
            ",
            projection,
            version,
            requested_by,
        )
        .fetch_optional(pool)
        .await?;
        match inserted {
            Some(id) => {
                if let Some(verification) = find(pool, projection, id).await? {
                    return Ok(Requested::New(verification));
                }
            }
            None => {
                if let Some(verification) = open(pool, projection).await? {
                    return Ok(Requested::UnderWay(verification));
                }
            }
        }
        // It was over between the two statements: the next round inserts.
    }
}

/// The verification with this id of this projection; none when there is no such.
///
/// # Errors
/// When the database cannot be reached.
pub async fn find(
    pool: &PgPool,
    projection: &str,
    id: Uuid,
) -> Result<Option<Verification>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"
        SELECT verifications.verification_id, verifications.projection, verifications.version,
               verifications.state, verifications.requested_by, verifications.position,
               verifications.target, verifications.events, verifications.rows_compared,
               verifications.drift_rows, verifications.findings AS "findings: Json<Vec<Finding>>",
               verifications.failure, verifications.requested_at, verifications.started_at,
               verifications.updated_at, verifications.finished_at
        FROM operations.verifications
        WHERE verifications.verification_id = $1 AND verifications.projection = $2
        "#,
        id,
        projection,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(Verification::from))
}

/// The verification of this projection that is not over; none when there is none.
///
/// # Errors
/// When the database cannot be reached.
pub async fn open(pool: &PgPool, projection: &str) -> Result<Option<Verification>, sqlx::Error> {
    let id = sqlx::query_scalar!(
        "
        SELECT verifications.verification_id FROM operations.verifications
        WHERE verifications.projection = $1 AND verifications.state IN ('requested', 'running')
        ",
        projection,
    )
    .fetch_optional(pool)
    .await?;
    match id {
        Some(id) => find(pool, projection, id).await,
        None => Ok(None),
    }
}

/// The latest verification of each projection that ever had one, by name.
pub(crate) async fn latest(pool: &PgPool) -> Result<HashMap<String, Verification>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        SELECT DISTINCT ON (verifications.projection)
               verifications.verification_id, verifications.projection, verifications.version,
               verifications.state, verifications.requested_by, verifications.position,
               verifications.target, verifications.events, verifications.rows_compared,
               verifications.drift_rows, verifications.findings AS "findings: Json<Vec<Finding>>",
               verifications.failure, verifications.requested_at, verifications.started_at,
               verifications.updated_at, verifications.finished_at
        FROM operations.verifications
        ORDER BY verifications.projection, verifications.requested_at DESC
        "#,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.projection.clone(), Verification::from(row)))
        .collect())
}

/// Cancels a verification that is not over. False when it was over already, or there is none with
/// this id.
///
/// # Errors
/// When the database cannot be reached.
pub async fn cancel(pool: &PgPool, projection: &str, id: Uuid) -> Result<bool, sqlx::Error> {
    let cancelled = sqlx::query!(
        "
        UPDATE operations.verifications
        SET state = 'cancelled', finished_at = now(), updated_at = now()
        WHERE verifications.verification_id = $1 AND verifications.projection = $2
          AND verifications.state IN ('requested', 'running')
        ",
        id,
        projection,
    )
    .execute(pool)
    .await?;
    Ok(cancelled.rows_affected() == 1)
}

/// Whether somebody cancelled it, or it is not there at all.
pub(crate) async fn is_cancelled(
    pool: &PgPool,
    projection: &str,
    id: Uuid,
) -> Result<bool, sqlx::Error> {
    let found = find(pool, projection, id).await?;
    Ok(found.is_none_or(|found| found.state == VerificationState::Cancelled))
}
