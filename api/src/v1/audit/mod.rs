//! History, for auditors. Every look is recorded before it is answered: each page and each export is
//! one.

mod export;
mod parameters;
mod proofs;
mod view;

use crate::auth::Principal;
use crate::command::CommandContext;
use crate::openapi::values;
use crate::problem::{Problem, ProblemCode};
use crate::respond::{Reading, Stamp};
use crate::routes::{Access, Kind, Routes};
use crate::state::ApiState;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use parameters::{AggregateInPath, LimitParameter, Parameters, PersonalParameter, SliceParameters};
use touchline_commands::{audit, permissions};
use touchline_domain::audit::{LookOperation, Slice, Surface};
use touchline_domain::identity::Permission;
use touchline_eventstore::Position;
use touchline_projections::history::HistoryReader;
use utoipa_axum::routes;
use view::{AggregateHistoryView, ChangedByView, EventListView, EventView, StateView};

pub(crate) fn routes() -> Routes {
    use ProblemCode as P;
    let access = Access::Staff(Permission::Auditor);
    let problems = [P::InvalidParameter, P::BackwardsRange, P::PositionBeyondEnd];
    Routes::new()
        .route(access, Kind::Query, &problems, routes!(list))
        .route(access, Kind::Query, &problems, routes!(changes))
        .route(access, Kind::Query, &problems, routes!(state_of))
        .route(access, Kind::Query, &problems, routes!(export::export))
        .merge(proofs::routes())
}

/// A look that is about to be taken.
struct Look {
    operation: LookOperation,
    slice: Slice,
    events_max: Option<u16>,
    personal: bool,
}

/// Whoever looks, and what they look with.
struct Auditor {
    state: ApiState,
    principal: Principal,
    context: CommandContext,
    reader: HistoryReader,
}

impl Auditor {
    /// Refuses who asks for what is personal without the permission for that.
    async fn new(
        state: ApiState,
        principal: Principal,
        context: CommandContext,
        personal: bool,
    ) -> Result<Self, Problem> {
        if personal {
            let permission = Permission::AuditorPersonal;
            permissions::check(state.bus(), principal.user_id, permission).await?;
        }
        Ok(Self {
            reader: state.history(),
            state,
            principal,
            context,
        })
    }

    /// Records the look. Nothing may be answered before.
    async fn record(&self, look: Look) -> Result<(), Problem> {
        let envelope = self.context.envelope(&self.state, "");
        debug_assert_eq!(envelope.actor, Some(self.principal.user_id));
        let reading = audit::Reading {
            surface: Surface::Api,
            operation: look.operation,
            slice: look.slice,
            events_max: look.events_max.map(u32::from),
            personal: look.personal,
        };
        audit::record(self.state.bus(), &envelope, reading).await?;
        Ok(())
    }
}

/// The events of a slice
///
/// In log order. Page by `after` and `until`; each page is a look of its own, and recorded as
/// `audit.history_read`.
#[utoipa::path(
    get, path = "/v1/audit/events", tag = "audit", operation_id = "list_events",
    params(SliceParameters, LimitParameter, PersonalParameter),
    responses((status = 200, description = "A page of events.", body = EventListView)),
)]
async fn list(
    State(state): State<ApiState>,
    principal: Principal,
    context: CommandContext,
    reading: Reading,
    uri: Uri,
) -> Result<Response, Problem> {
    let parameters = Parameters::of(&uri);
    let (slice, limit) = (parameters.slice()?, parameters.limit()?);
    let personal = parameters.personal()?;
    let auditor = Auditor::new(state, principal, context, personal).await?;
    reading.of_log(&auditor.state).await?;
    let mut walk = auditor.reader.walk(slice, reading.patience()).await?;
    let look = Look {
        operation: LookOperation::List,
        slice: walk.slice(),
        events_max: Some(limit),
        personal,
    };
    auditor.record(look).await?;
    let events = walk.page(limit.into()).await?;
    let events = auditor.reader.show(events, personal).await?;
    let items = events
        .into_iter()
        .map(EventView::try_from)
        .collect::<Result<Vec<_>, _>>()?;
    let has_more = !walk.is_at_end();
    let body = EventListView {
        items,
        next_after: has_more.then(|| walk.left().0.to_string()),
        has_more,
        until: walk.through().to_string(),
    };
    Stamp::of_log(walk.through()).list(&body)
}

/// The history of an aggregate
///
/// Its events, each with what it changed in the state of the aggregate.
#[utoipa::path(
    get, path = "/v1/audit/aggregates/{type}/{id}/events", tag = "audit",
    operation_id = "list_changes",
    params(
        ("type" = inline(values::AggregateType), Path, description = "The type of the aggregate.", example = "post"),
        ("id" = Uuid, Path, description = "Its id."),
        ("after" = inline(Option<values::Position>), Query, description = "After this position."),
        LimitParameter, PersonalParameter,
    ),
    responses((status = 200, description = "A page of events.", body = AggregateHistoryView)),
)]
async fn changes(
    State(state): State<ApiState>,
    principal: Principal,
    context: CommandContext,
    reading: Reading,
    AggregateInPath { kind, id }: AggregateInPath,
    uri: Uri,
) -> Result<Response, Problem> {
    let parameters = Parameters::of(&uri);
    let after = parameters.position("after")?.unwrap_or_default();
    let (limit, personal) = (parameters.limit()?, parameters.personal()?);
    let auditor = Auditor::new(state, principal, context, personal).await?;
    let slice = Slice {
        after: after.get(),
        ..Slice::of_aggregate(kind.aggregate_type, id)
    };
    reading.of_log(&auditor.state).await?;
    let walk = auditor.reader.walk(slice, reading.patience()).await?;
    let look = Look {
        operation: LookOperation::Show,
        slice: walk.slice(),
        events_max: Some(limit),
        personal,
    };
    auditor.record(look).await?;
    let (range, limit) = (walk.left(), usize::from(limit));
    let one_more = limit.saturating_add(1);
    let changes = auditor.reader.changes(kind, id, range, one_more, personal);
    let mut changes = changes.await?;
    if changes.is_empty() && after == Position::START {
        return Err(ProblemCode::NotFound.into());
    }
    let has_more = changes.len() > limit;
    changes.truncate(limit);
    let last = changes.last().map(|last| last.event.position.to_string());
    let items = changes
        .into_iter()
        .map(ChangedByView::try_from)
        .collect::<Result<Vec<_>, _>>()?;
    let body = AggregateHistoryView {
        items,
        next_after: last.filter(|_| has_more),
        has_more,
    };
    Stamp::of_log(walk.through()).list(&body)
}

/// What an aggregate was
///
/// The fold of its events right after a position, or before the first of them that was recorded after
/// a time; as it is now when `at` is not given.
#[utoipa::path(
    get, path = "/v1/audit/aggregates/{type}/{id}", tag = "audit",
    operation_id = "show_aggregate_state",
    params(
        ("type" = inline(values::AggregateType), Path, description = "The type of the aggregate.", example = "post"),
        ("id" = Uuid, Path, description = "Its id."),
        ("at" = inline(Option<values::PositionOrTime>), Query, description = "A position, or a time (RFC 3339); now when it is not given."),
        PersonalParameter,
    ),
    responses(
        (status = 200, description = "The state.", body = StateView),
        (status = 304, description = "As `If-None-Match` has it."),
    ),
)]
async fn state_of(
    State(state): State<ApiState>,
    principal: Principal,
    context: CommandContext,
    reading: Reading,
    AggregateInPath { kind, id }: AggregateInPath,
    uri: Uri,
) -> Result<Response, Problem> {
    let parameters = Parameters::of(&uri);
    let (as_of, personal) = (parameters.as_of()?, parameters.personal()?);
    let auditor = Auditor::new(state, principal, context, personal).await?;
    let look = Look {
        operation: LookOperation::State,
        slice: as_of.slice(kind, id),
        events_max: None,
        personal,
    };
    auditor.record(look).await?;
    let stamp = reading.of_log(&auditor.state).await?;
    let found = auditor.reader.state(kind, id, as_of, personal).await?;
    let found = found.ok_or(ProblemCode::NotFound)?;
    let version = found.version;
    let view = StateView::from(found);
    reading.answer(stamp, &view, kind.aggregate_type, version)
}
