//! What read models, their rebuilds and their verifications look like.

use crate::openapi::values;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use touchline_projections::overview::Overview;
use touchline_projections::parked::{Parked, Retried};
use touchline_projections::rebuild::Rebuild;
use touchline_projections::verify::{Finding, Verification};
use utoipa::ToSchema;
use uuid::Uuid;

/// All read models.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProjectionList)]
pub(super) struct ProjectionListView {
    /// Each of them.
    pub(super) items: Vec<ProjectionView>,
}

/// How a read model stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Projection)]
pub(super) struct ProjectionView {
    /// Its name.
    #[schema(example = "posts")]
    name: String,
    /// `running`, `paused`, `halted`, or `idle` while no worker leads it.
    #[schema(example = "running")]
    activity: &'static str,
    /// The version of the code that answers here.
    version: i32,
    /// The version that filled the tables. When it is smaller, a rebuild is under way.
    stored_version: i32,
    /// Up to where the log is folded: a whole number as text.
    #[schema(value_type = values::Position)]
    position: String,
    /// The end of the log: a whole number as text.
    #[schema(value_type = values::Position)]
    head: String,
    /// How many events are still to be folded.
    behind: u64,
    /// Why it is halted; null when it is not.
    halted: Option<String>,
    /// Who paused it; null when it is not paused.
    paused_by: Option<String>,
    /// When it was paused.
    paused_at: Option<DateTime<Utc>>,
    /// Why it was paused.
    pause_reason: Option<String>,
    /// How many aggregates are parked.
    parked_aggregates: i64,
    /// How many rows the sampling verifier knows to be wrong, missing or extra. It should be 0.
    drift_rows: i64,
    /// How many aggregates the sampling verifier has compared since these tables were made.
    sampled_aggregates: i64,
    /// When it compared some last.
    sampled_at: Option<DateTime<Utc>>,
    /// The latest rebuild; null when there was none.
    rebuild: Option<RebuildView>,
    /// The latest verification; null when there was none.
    verification: Option<VerificationView>,
}

impl From<Overview> for ProjectionView {
    fn from(one: Overview) -> Self {
        Self {
            name: one.name.to_owned(),
            activity: one.activity.as_str(),
            version: one.version,
            stored_version: one.stored_version,
            position: one.position.to_string(),
            head: one.head.to_string(),
            behind: one.behind,
            halted: one.halted,
            paused_by: one.paused_by,
            paused_at: one.paused_at,
            pause_reason: one.pause_reason,
            parked_aggregates: one.parked_aggregates,
            drift_rows: one.drift_rows,
            sampled_aggregates: one.sampled_aggregates,
            sampled_at: one.sampled_at,
            rebuild: one.rebuild.map(RebuildView::from),
            verification: one.verification.map(VerificationView::from),
        }
    }
}

/// A rebuild of a read model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rebuild)]
pub(super) struct RebuildView {
    /// Which one.
    pub(super) rebuild_id: Uuid,
    /// Of which read model.
    projection: String,
    /// The version of the code that fills the tables.
    version: i32,
    /// `requested`, `running`, `swapping`, `done`, `cancelled` or `failed`.
    #[schema(example = "running")]
    state: &'static str,
    /// Who asked: the id of an account, or a name from the command line.
    requested_by: String,
    /// Why; empty when nobody said.
    reason: String,
    /// Up to where the new tables are filled: a whole number as text.
    #[schema(value_type = values::Position)]
    position: String,
    /// Up to where they must be; null before a worker has taken it.
    #[schema(value_type = Option<values::Position>)]
    target: Option<String>,
    /// How many events the new tables took in.
    events: i64,
    /// How many rows of the tables before were wrong, missing or extra; null when they could not be
    /// compared, or were not yet.
    drift_rows: Option<i64>,
    /// How long readers could not begin to read at the swap, in microseconds.
    swap_pause_us: Option<i64>,
    /// Why it failed; null when it did not.
    failure: Option<String>,
    /// When it was asked for.
    requested_at: DateTime<Utc>,
    /// When a worker took it.
    started_at: Option<DateTime<Utc>>,
    /// When it last moved.
    updated_at: DateTime<Utc>,
    /// When it was over.
    finished_at: Option<DateTime<Utc>>,
}

impl From<Rebuild> for RebuildView {
    fn from(rebuild: Rebuild) -> Self {
        Self {
            rebuild_id: rebuild.rebuild_id,
            projection: rebuild.projection,
            version: rebuild.version,
            state: rebuild.state.as_str(),
            requested_by: rebuild.requested_by,
            reason: rebuild.reason,
            position: rebuild.position.to_string(),
            target: rebuild.target.map(|target| target.to_string()),
            events: rebuild.events,
            drift_rows: rebuild.drift_rows,
            swap_pause_us: rebuild.swap_pause_us,
            failure: rebuild.failure,
            requested_at: rebuild.requested_at,
            started_at: rebuild.started_at,
            updated_at: rebuild.updated_at,
            finished_at: rebuild.finished_at,
        }
    }
}

/// A comparison of a read model with the log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Verification)]
pub(super) struct VerificationView {
    /// Which one.
    pub(super) verification_id: Uuid,
    /// Of which read model.
    projection: String,
    /// The version of the code that folds the log.
    version: i32,
    /// `requested`, `running`, `done`, `cancelled` or `failed`.
    #[schema(example = "done")]
    state: &'static str,
    /// Who asked: the id of an account, or a name from the command line.
    requested_by: String,
    /// Up to where the log is folded; once it is done, the position at which was compared: a whole
    /// number as text.
    #[schema(value_type = values::Position)]
    position: String,
    /// Up to where it must be; null before a worker has taken it.
    #[schema(value_type = Option<values::Position>)]
    target: Option<String>,
    /// How many events were folded.
    events: i64,
    /// How many rows there should be; null before it is done.
    rows_compared: Option<i64>,
    /// How many rows are wrong, missing or extra; null before it is done. It should be 0.
    drift_rows: Option<i64>,
    /// The first thousand of them. What stands in them is not said, since it may be personal.
    findings: Vec<FindingView>,
    /// Why it failed; null when it did not.
    failure: Option<String>,
    /// When it was asked for.
    requested_at: DateTime<Utc>,
    /// When a worker took it.
    started_at: Option<DateTime<Utc>>,
    /// When it last moved.
    updated_at: DateTime<Utc>,
    /// When it was over.
    finished_at: Option<DateTime<Utc>>,
}

impl From<Verification> for VerificationView {
    fn from(verification: Verification) -> Self {
        Self {
            verification_id: verification.verification_id,
            projection: verification.projection,
            version: verification.version,
            state: verification.state.as_str(),
            requested_by: verification.requested_by,
            position: verification.position.to_string(),
            target: verification.target.map(|target| target.to_string()),
            events: verification.events,
            rows_compared: verification.rows_compared,
            drift_rows: verification.drift_rows,
            findings: verification
                .findings
                .into_iter()
                .map(FindingView::from)
                .collect(),
            failure: verification.failure,
            requested_at: verification.requested_at,
            started_at: verification.started_at,
            updated_at: verification.updated_at,
            finished_at: verification.finished_at,
        }
    }
}

/// A row that is not what the log says.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Finding)]
struct FindingView {
    /// The table.
    #[schema(example = "posts")]
    table: String,
    /// `wrong`, `missing` or `extra`.
    #[schema(example = "wrong")]
    difference: &'static str,
    /// The columns of its key.
    #[schema(value_type = values::AnyObject)]
    key: Value,
    /// The columns that differ; empty unless it is wrong.
    columns: Vec<String>,
}

impl From<Finding> for FindingView {
    fn from(finding: Finding) -> Self {
        Self {
            table: finding.table,
            difference: finding.difference.as_str(),
            key: finding.key,
            columns: finding.columns,
        }
    }
}

/// What is parked of a read model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ParkedList)]
pub(super) struct ParkedListView {
    /// Each aggregate, the one that waits longest first.
    pub(super) items: Vec<ParkedView>,
}

/// An aggregate whose events wait.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Parked)]
pub(super) struct ParkedView {
    /// The kind of aggregate.
    #[schema(example = "post")]
    aggregate_type: String,
    /// Which one.
    aggregate_id: String,
    /// The event that failed: a whole number as text.
    #[schema(value_type = values::Position)]
    first_position: String,
    /// The last event that waits behind it: a whole number as text.
    #[schema(value_type = values::Position)]
    last_position: String,
    /// How many events wait.
    events: i64,
    /// Why it failed, the last time it was tried.
    reason: String,
    /// Since when it waits.
    parked_at: DateTime<Utc>,
}

impl From<Parked> for ParkedView {
    fn from(parked: Parked) -> Self {
        Self {
            aggregate_type: parked.aggregate_type,
            aggregate_id: parked.aggregate_id,
            first_position: parked.first_position.to_string(),
            last_position: parked.last_position.to_string(),
            events: parked.events,
            reason: parked.reason,
            parked_at: parked.parked_at,
        }
    }
}

/// What came of a retry.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Retried)]
pub(super) struct RetriedView {
    /// Whether the aggregate goes on as every other.
    unparked: bool,
    /// How many events were folded.
    events: usize,
    /// Why it is still parked; null when it is not.
    reason: Option<String>,
}

impl From<Retried> for RetriedView {
    fn from(retried: Retried) -> Self {
        match retried {
            Retried::Unparked { events } => Self {
                unparked: true,
                events,
                reason: None,
            },
            Retried::StillParked { reason } => Self {
                unparked: false,
                events: 0,
                reason: Some(reason),
            },
        }
    }
}

/// What came of giving events up.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Discarded)]
pub(super) struct DiscardedView {
    /// How many events were given up.
    pub(super) events: u64,
}
