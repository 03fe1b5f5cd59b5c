//! What history looks like.

use crate::openapi::values;
use crate::problem::{Problem, ProblemCode};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use touchline_domain::replay::Change;
use touchline_eventstore::LogEvent;
use touchline_projections::history::{AggregateState, ChangedBy};
use utoipa::ToSchema;
use uuid::Uuid;

/// An event of the log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LogEvent)]
pub(super) struct EventView {
    /// Where it stands in the log: a whole number as text.
    #[schema(value_type = values::Position)]
    position: String,
    /// Its own id.
    event_id: Uuid,
    /// The kind of aggregate.
    #[schema(example = "post")]
    aggregate_type: String,
    /// The aggregate that it happened to.
    aggregate_id: String,
    /// Its number within the aggregate, from 1.
    sequence: i64,
    /// What happened.
    #[schema(example = "posts.post_published")]
    event_type: String,
    /// The version of the payload's shape.
    #[schema(example = "2")]
    event_version: String,
    /// When it was recorded.
    recorded_at: DateTime<Utc>,
    /// Who, by which command, caused by what.
    #[schema(value_type = values::AnyObject)]
    metadata: Value,
    /// What happened, below the name of the event. What is personal is `{"sealed":true}` for who may
    /// not see it, and `{"erased":true}` for ever once its owner is erased.
    #[schema(value_type = values::AnyObject)]
    payload: Value,
    /// The SHA-256 of the event as it is stored, with its personal fields sealed.
    #[schema(value_type = values::Hash)]
    digest: String,
}

impl TryFrom<LogEvent> for EventView {
    type Error = Problem;

    fn try_from(event: LogEvent) -> Result<Self, Problem> {
        let json = |raw: &RawValue| {
            serde_json::from_str(raw.get())
                .map_err(|error| Problem::caused_by(ProblemCode::Internal, error))
        };
        Ok(Self {
            position: event.position.to_string(),
            event_id: event.event_id,
            metadata: json(&event.metadata)?,
            payload: json(&event.payload)?,
            aggregate_type: event.aggregate_type,
            aggregate_id: event.aggregate_id,
            sequence: event.sequence,
            event_type: event.event_type,
            event_version: event.event_version,
            recorded_at: event.recorded_at,
            digest: event.digest.to_string(),
        })
    }
}

/// Events in log order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventList)]
pub(super) struct EventListView {
    /// The events.
    pub(super) items: Vec<EventView>,
    /// After which position to go on; null on the last page.
    #[schema(value_type = Option<values::Position>)]
    pub(super) next_after: Option<String>,
    /// Whether there may be more.
    pub(super) has_more: bool,
    /// Up to which position was looked. Send it with the next page, and new events do not come in.
    #[schema(value_type = values::Position)]
    pub(super) until: String,
}

/// An event, and what it changed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChangedBy)]
pub(super) struct ChangedByView {
    /// The event.
    event: EventView,
    /// What is different in the state of the aggregate after it.
    changes: Vec<ChangeView>,
}

impl TryFrom<ChangedBy> for ChangedByView {
    type Error = Problem;

    fn try_from(changed: ChangedBy) -> Result<Self, Problem> {
        Ok(Self {
            event: changed.event.try_into()?,
            changes: changed.changes.into_iter().map(ChangeView::from).collect(),
        })
    }
}

/// One thing that an event changed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Change)]
struct ChangeView {
    /// Where in the state: a JSON pointer (RFC 6901).
    #[schema(example = "/published/caption")]
    path: String,
    /// What stood there before; absent when nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value)]
    old: Option<Value>,
    /// What stands there now; absent when nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value)]
    new: Option<Value>,
}

impl From<Change> for ChangeView {
    fn from(change: Change) -> Self {
        Self {
            path: change.path,
            old: change.old,
            new: change.new,
        }
    }
}

/// The history of an aggregate.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AggregateHistory)]
pub(super) struct AggregateHistoryView {
    /// Its events, each with what it changed.
    pub(super) items: Vec<ChangedByView>,
    /// After which position to go on; null on the last page.
    #[schema(value_type = Option<values::Position>)]
    pub(super) next_after: Option<String>,
    /// Whether there may be more.
    pub(super) has_more: bool,
}

/// What an aggregate was.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AggregateState)]
pub(super) struct StateView {
    /// The kind of aggregate.
    #[schema(example = "post")]
    aggregate_type: String,
    /// Which one.
    aggregate_id: Uuid,
    /// The number of its last event by then.
    version: i64,
    /// Where that event stands in the log.
    #[schema(value_type = values::Position)]
    position: String,
    /// When that event was recorded.
    recorded_at: DateTime<Utc>,
    /// The state: the fold of its events by the code that decides on them.
    #[schema(value_type = Value)]
    state: Value,
}

impl From<AggregateState> for StateView {
    fn from(state: AggregateState) -> Self {
        Self {
            aggregate_type: state.aggregate_type,
            aggregate_id: state.aggregate_id,
            version: state.version,
            position: state.position.to_string(),
            recorded_at: state.recorded_at,
            state: state.state,
        }
    }
}
