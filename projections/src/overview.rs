//! How every read model stands, as the database knows it: for operators, whatever process leads.

use crate::checkpoint;
use crate::projection::ReadModel;
use crate::rebuild::{self, Rebuild};
use crate::registry;
use crate::verify::{self, Verification};
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use std::collections::HashMap;
use std::sync::Arc;
use touchline_eventstore::store::ReadError;
use touchline_eventstore::{EventStore, Position};

/// What a read model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// A process leads it, and folds what comes.
    Running,
    /// Somebody paused it.
    Paused,
    /// It met something that it cannot go past.
    Halted,
    /// No process leads it.
    Idle,
}

impl Activity {
    /// Its frozen word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Halted => "halted",
            Self::Idle => "idle",
        }
    }
}

/// How a read model stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overview {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub activity: Activity,
    /// The version of the code here.
    pub version: i32,
    /// The version that filled the tables that serve.
    pub stored_version: i32,
    /// Up to where the log is folded.
    pub position: Position,
    /// The end of the log.
    pub head: Position,
    /// How many events are still to be folded.
    pub behind: u64,
    /// Why it is halted.
    pub halted: Option<String>,
    /// Who paused it.
    pub paused_by: Option<String>,
    /// When.
    pub paused_at: Option<DateTime<Utc>>,
    /// Why.
    pub pause_reason: Option<String>,
    /// How many aggregates are parked.
    pub parked_aggregates: i64,
    /// How many rows are known to be wrong, missing or extra: from the sampling verifier.
    pub drift_rows: i64,
    /// How many aggregates the sampling verifier has compared since these tables were made.
    pub sampled_aggregates: i64,
    /// When it compared some last.
    pub sampled_at: Option<DateTime<Utc>>,
    /// The latest rebuild.
    pub rebuild: Option<Rebuild>,
    /// The latest verification.
    pub verification: Option<Verification>,
}

/// A row, for the checked statement.
struct Row {
    projection: String,
    version: i32,
    position: i64,
    halted: Option<String>,
    paused_by: Option<String>,
    paused_at: Option<DateTime<Utc>>,
    pause_reason: Option<String>,
    is_led: bool,
    parked_aggregates: i64,
    drift_rows: i64,
    sampled_aggregates: i64,
    sampled_at: Option<DateTime<Utc>>,
}

/// How these read models stand, in their order. One that was never prepared is left out.
///
/// # Errors
/// When the database cannot be reached.
pub async fn overview(
    store: &EventStore,
    models: &[Arc<dyn ReadModel>],
) -> Result<Vec<Overview>, ReadError> {
    let pool = store.pool();
    let head = store.head().await?;
    let rows = sqlx::query_as!(
        Row,
        r#"
        SELECT checkpoints.projection AS "projection!", checkpoints.version AS "version!",
               checkpoints.position AS "position!", checkpoints.halted,
               checkpoints.paused_by, checkpoints.paused_at, checkpoints.pause_reason,
               EXISTS (SELECT FROM operations.leases
                       WHERE leases.name = 'projection.' || checkpoints.projection
                         AND leases.expires_at > now()) AS "is_led!",
               (SELECT count(*) FROM operations.parked_aggregates
                WHERE parked_aggregates.projection = checkpoints.projection) AS "parked_aggregates!",
               coalesce(samples.drift_rows, 0) AS "drift_rows!",
               coalesce(samples.aggregates, 0) AS "sampled_aggregates!",
               samples.sampled_at AS "sampled_at?"
        FROM operations.checkpoints LEFT JOIN operations.samples USING (projection)
        "#,
    )
    .fetch_all(pool)
    .await?;
    let mut rows: HashMap<String, Row> = rows
        .into_iter()
        .map(|row| (row.projection.clone(), row))
        .collect();
    let mut rebuilds = rebuild::latest(pool).await?;
    let mut verifications = verify::latest(pool).await?;
    let mut all = Vec::with_capacity(models.len());
    for model in models {
        let name = model.name();
        if let Some(row) = rows.remove(name) {
            let (rebuild, verification) = (rebuilds.remove(name), verifications.remove(name));
            all.push(row.into_overview(&**model, head, rebuild, verification));
        }
    }
    Ok(all)
}

impl Row {
    fn into_overview(
        self,
        model: &dyn ReadModel,
        head: Position,
        rebuild: Option<Rebuild>,
        verification: Option<Verification>,
    ) -> Overview {
        let position = checkpoint::position(self.position);
        let activity = if self.paused_at.is_some() {
            Activity::Paused
        } else if self.halted.is_some() {
            Activity::Halted
        } else if self.is_led {
            Activity::Running
        } else {
            Activity::Idle
        };
        Overview {
            name: model.name(),
            activity,
            version: model.version(),
            stored_version: self.version,
            position,
            head: head.max(position),
            behind: head.since(position),
            halted: self.halted,
            paused_by: self.paused_by,
            paused_at: self.paused_at,
            pause_reason: self.pause_reason,
            parked_aggregates: self.parked_aggregates,
            drift_rows: self.drift_rows,
            sampled_aggregates: self.sampled_aggregates,
            sampled_at: self.sampled_at,
            rebuild,
            verification,
        }
    }
}

/// Whether a read model needs somebody: it is halted, something of it is parked, or an event that was
/// recorded before `since` is not folded, whatever the reason.
///
/// # Errors
/// When the database cannot be reached.
pub async fn needs_attention(pool: &PgPool, since: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    let names: Vec<String> = registry::names().into_iter().map(str::to_owned).collect();
    sqlx::query_scalar!(
        r#"
        SELECT EXISTS (
            SELECT FROM operations.checkpoints
            WHERE checkpoints.projection = ANY ($1)
              AND (checkpoints.halted IS NOT NULL
                   OR EXISTS (SELECT FROM operations.parked_aggregates
                              WHERE parked_aggregates.projection = checkpoints.projection)
                   OR EXISTS (SELECT FROM log.events
                              WHERE events.position = checkpoints.position + 1
                                AND events.recorded_at < $2))) AS "needs_attention!"
        "#,
        &names,
        since,
    )
    .fetch_one(pool)
    .await
}
