//! Read models, for the data team: how they stand, rebuilding, verifying, pausing, and what is
//! parked. None of it is a command: it changes what is derived from the log, never the log.

mod body;
mod view;

use crate::auth::Principal;
use crate::json::ValidJson;
use crate::openapi::values;
use crate::path::InPath;
use crate::problem::{Problem, ProblemCode};
use crate::respond::json;
use crate::routes::{Access, Kind, Routes};
use crate::state::ApiState;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use body::{DiscardBody, ReasonBody};
use std::sync::Arc;
use touchline_domain::identity::Permission;
use touchline_projections::overview::overview;
use touchline_projections::{ReadModel, parked, pause, rebuild, registry, verify};
use utoipa_axum::routes;
use uuid::Uuid;
use view::{
    DiscardedView, ParkedListView, ParkedView, ProjectionListView, ProjectionView, RebuildView,
    RetriedView, VerificationView,
};

pub(crate) fn routes() -> Routes {
    use ProblemCode as P;
    let access = Access::Staff(Permission::DataEngineer);
    let parked = [P::RebuildRunning, P::ReadModelChanging];
    Routes::new()
        .route(access, Kind::Service, &[], routes!(list))
        .route(access, Kind::Service, &[], routes!(show))
        .route(access, Kind::Service, &[], routes!(request_rebuild))
        .route(access, Kind::Service, &[], routes!(show_rebuild))
        .route(
            access,
            Kind::Service,
            &[P::RebuildOver],
            routes!(cancel_rebuild),
        )
        .route(access, Kind::Service, &[], routes!(request_verification))
        .route(access, Kind::Service, &[], routes!(show_verification))
        .route(access, Kind::Service, &[], routes!(set_paused))
        .route(access, Kind::Service, &[], routes!(resume))
        .route(access, Kind::Service, &[], routes!(list_parked))
        .route(access, Kind::Service, &parked, routes!(retry))
        .route(access, Kind::Service, &parked, routes!(discard))
}

/// The read model of this name.
///
/// # Errors
/// When there is none.
fn find(name: &str) -> Result<Arc<dyn ReadModel>, Problem> {
    registry::find(name).ok_or_else(|| ProblemCode::NotFound.into())
}

async fn standing(state: &ApiState, model: Arc<dyn ReadModel>) -> Result<Response, Problem> {
    let all = overview(state.store(), &[model]).await?;
    let one = all.into_iter().next().ok_or(ProblemCode::NotFound)?;
    json(StatusCode::OK, &ProjectionView::from(one))
}

/// All read models
///
/// How each of them stands, whatever process leads it.
#[utoipa::path(
    get, path = "/v1/projections", tag = "projections", operation_id = "list_projections",
    responses((status = 200, description = "All read models.", body = ProjectionListView)),
)]
async fn list(State(state): State<ApiState>) -> Result<Response, Problem> {
    let all = overview(state.store(), &registry::all()).await?;
    let items = all.into_iter().map(ProjectionView::from).collect();
    json(StatusCode::OK, &ProjectionListView { items })
}

/// A read model
#[utoipa::path(
    get, path = "/v1/projections/{name}", tag = "projections", operation_id = "show_projection",
    params(("name" = inline(values::ProjectionName), Path, description = "Its name.", example = "posts")),
    responses((status = 200, description = "How it stands.", body = ProjectionView)),
)]
async fn show(
    State(state): State<ApiState>,
    InPath(name): InPath<String>,
) -> Result<Response, Problem> {
    standing(&state, find(&name)?).await
}

/// Rebuild a read model
///
/// Its tables are filled anew from the log, beside those that serve, and take their place at once when
/// they are as far. There is one rebuild of a read model at a time: while one is under way, that is
/// the answer.
#[utoipa::path(
    post, path = "/v1/projections/{name}/rebuilds", tag = "projections",
    operation_id = "rebuild_projection",
    params(("name" = inline(values::ProjectionName), Path, description = "Its name.", example = "posts")),
    request_body = Option<ReasonBody>,
    responses((status = 202, description = "The rebuild under way.", body = RebuildView)),
)]
async fn request_rebuild(
    State(state): State<ApiState>,
    principal: Principal,
    InPath(name): InPath<String>,
    body: Option<ValidJson<ReasonBody>>,
) -> Result<Response, Problem> {
    let model = find(&name)?;
    let reason = body.map(|body| body.value).unwrap_or_default();
    let (pool, by) = (state.store().pool(), principal.user_id.to_string());
    let requested =
        rebuild::request(pool, model.name(), model.version(), &by, reason.as_str()).await?;
    let view = RebuildView::from(requested.into_inner());
    let location = format!("/v1/projections/{name}/rebuilds/{}", view.rebuild_id);
    accepted(&location, &view)
}

/// A rebuild
#[utoipa::path(
    get, path = "/v1/projections/{name}/rebuilds/{rebuild_id}", tag = "projections",
    operation_id = "show_rebuild",
    params(
        ("name" = inline(values::ProjectionName), Path, description = "The read model.", example = "posts"),
        ("rebuild_id" = Uuid, Path, description = "The rebuild."),
    ),
    responses((status = 200, description = "How far it is.", body = RebuildView)),
)]
async fn show_rebuild(
    State(state): State<ApiState>,
    InPath((name, id)): InPath<(String, Uuid)>,
) -> Result<Response, Problem> {
    let found = rebuild::find(state.store().pool(), find(&name)?.name(), id).await?;
    let found = found.ok_or(ProblemCode::NotFound)?;
    json(StatusCode::OK, &RebuildView::from(found))
}

/// Cancel a rebuild
///
/// The tables of before go on serving, and the rebuild can still be looked at. Done again, it changes
/// nothing.
#[utoipa::path(
    delete, path = "/v1/projections/{name}/rebuilds/{rebuild_id}", tag = "projections",
    operation_id = "cancel_rebuild",
    params(
        ("name" = inline(values::ProjectionName), Path, description = "The read model.", example = "posts"),
        ("rebuild_id" = Uuid, Path, description = "The rebuild."),
    ),
    responses((status = 200, description = "The rebuild, cancelled.", body = RebuildView)),
)]
async fn cancel_rebuild(
    State(state): State<ApiState>,
    InPath((name, id)): InPath<(String, Uuid)>,
) -> Result<Response, Problem> {
    let model = find(&name)?;
    let pool = state.store().pool();
    rebuild::cancel(pool, model.name(), id).await?;
    let found = rebuild::find(pool, model.name(), id).await?;
    let found = found.ok_or(ProblemCode::NotFound)?;
    if found.state == rebuild::RebuildState::Cancelled {
        json(StatusCode::OK, &RebuildView::from(found))
    } else {
        Err(ProblemCode::RebuildOver.into())
    }
}

/// Verify a read model
///
/// The log is folded once more, and what comes out is compared with the tables that serve. While a
/// verification is under way, that is the answer.
#[utoipa::path(
    post, path = "/v1/projections/{name}/verifications", tag = "projections",
    operation_id = "verify_projection",
    params(("name" = inline(values::ProjectionName), Path, description = "Its name.", example = "posts")),
    responses((status = 202, description = "The verification under way.", body = VerificationView)),
)]
async fn request_verification(
    State(state): State<ApiState>,
    principal: Principal,
    InPath(name): InPath<String>,
) -> Result<Response, Problem> {
    let model = find(&name)?;
    let (pool, by) = (state.store().pool(), principal.user_id.to_string());
    let requested = verify::request(pool, model.name(), model.version(), &by).await?;
    let view = VerificationView::from(requested.into_inner());
    let id = view.verification_id;
    accepted(&format!("/v1/projections/{name}/verifications/{id}"), &view)
}

/// A verification
#[utoipa::path(
    get, path = "/v1/projections/{name}/verifications/{verification_id}", tag = "projections",
    operation_id = "show_verification",
    params(
        ("name" = inline(values::ProjectionName), Path, description = "The read model.", example = "posts"),
        ("verification_id" = Uuid, Path, description = "The verification."),
    ),
    responses((status = 200, description = "What it found.", body = VerificationView)),
)]
async fn show_verification(
    State(state): State<ApiState>,
    InPath((name, id)): InPath<(String, Uuid)>,
) -> Result<Response, Problem> {
    let found = verify::find(state.store().pool(), find(&name)?.name(), id).await?;
    let found = found.ok_or(ProblemCode::NotFound)?;
    json(StatusCode::OK, &VerificationView::from(found))
}

/// Pause a read model
///
/// It folds nothing until it is resumed; readers see it as it was. Done again, it changes nothing.
#[utoipa::path(
    put, path = "/v1/projections/{name}/pause", tag = "projections",
    operation_id = "pause_projection",
    params(("name" = inline(values::ProjectionName), Path, description = "Its name.", example = "posts")),
    request_body = Option<ReasonBody>,
    responses((status = 200, description = "How it stands.", body = ProjectionView)),
)]
async fn set_paused(
    State(state): State<ApiState>,
    principal: Principal,
    InPath(name): InPath<String>,
    body: Option<ValidJson<ReasonBody>>,
) -> Result<Response, Problem> {
    let model = find(&name)?;
    let reason = body.map(|body| body.value).unwrap_or_default();
    let (pool, by) = (state.store().pool(), principal.user_id.to_string());
    pause::pause(pool, model.name(), &by, reason.as_str()).await?;
    standing(&state, model).await
}

/// Resume a read model
///
/// It goes on within a second. Done again, it changes nothing.
#[utoipa::path(
    put, path = "/v1/projections/{name}/resume", tag = "projections",
    operation_id = "resume_projection",
    params(("name" = inline(values::ProjectionName), Path, description = "Its name.", example = "posts")),
    responses((status = 200, description = "How it stands.", body = ProjectionView)),
)]
async fn resume(
    State(state): State<ApiState>,
    principal: Principal,
    InPath(name): InPath<String>,
) -> Result<Response, Problem> {
    let model = find(&name)?;
    let (pool, by) = (state.store().pool(), principal.user_id.to_string());
    pause::resume(pool, model.name(), &by).await?;
    standing(&state, model).await
}

/// What is parked of a read model
///
/// Aggregates with an event that could not be folded: that and all later ones of the same aggregate
/// wait in order, everything else goes on.
#[utoipa::path(
    get, path = "/v1/projections/{name}/parked", tag = "projections",
    operation_id = "list_parked",
    params(("name" = inline(values::ProjectionName), Path, description = "The read model.", example = "posts")),
    responses((status = 200, description = "At most 1,000: with more, it is halted.", body = ParkedListView)),
)]
async fn list_parked(
    State(state): State<ApiState>,
    InPath(name): InPath<String>,
) -> Result<Response, Problem> {
    let all = parked::list(state.store().pool(), find(&name)?.name()).await?;
    let items = all.into_iter().map(ParkedView::from).collect();
    json(StatusCode::OK, &ParkedListView { items })
}

/// Retry a parked aggregate
///
/// Its events are folded in order: all of them or none.
#[utoipa::path(
    post, path = "/v1/projections/{name}/parked/{aggregate_id}/retry", tag = "projections",
    operation_id = "retry_parked",
    params(
        ("name" = inline(values::ProjectionName), Path, description = "The read model.", example = "posts"),
        ("aggregate_id" = Uuid, Path, description = "The aggregate."),
    ),
    responses((status = 200, description = "What came of it.", body = RetriedView)),
)]
async fn retry(
    State(state): State<ApiState>,
    principal: Principal,
    InPath((name, aggregate_id)): InPath<(String, Uuid)>,
) -> Result<Response, Problem> {
    let (model, by) = (find(&name)?, principal.user_id.to_string());
    let retried = parked::retry(state.store(), &*model, &aggregate_id.to_string(), &by).await?;
    json(StatusCode::OK, &RetriedView::from(retried))
}

/// Give parked events up
///
/// The read model is from now on the fold of the log without them, until its code has a newer version.
/// The reason and the account that gave it are kept for ever.
#[utoipa::path(
    post, path = "/v1/projections/{name}/parked/{aggregate_id}/discard", tag = "projections",
    operation_id = "discard_parked",
    params(
        ("name" = inline(values::ProjectionName), Path, description = "The read model.", example = "posts"),
        ("aggregate_id" = Uuid, Path, description = "The aggregate."),
    ),
    request_body = DiscardBody,
    responses((status = 200, description = "They are given up.", body = DiscardedView)),
)]
async fn discard(
    State(state): State<ApiState>,
    principal: Principal,
    InPath((name, aggregate_id)): InPath<(String, Uuid)>,
    body: ValidJson<DiscardBody>,
) -> Result<Response, Problem> {
    let (model, by) = (find(&name)?, principal.user_id.to_string());
    let pool = state.store().pool();
    let (id, reason) = (aggregate_id.to_string(), body.value.as_str());
    let events = parked::discard(pool, &*model, &id, reason, &by).await?;
    json(StatusCode::OK, &DiscardedView { events })
}

/// Something is under way, and can be looked at under `location`.
fn accepted<T: serde::Serialize>(location: &str, body: &T) -> Result<Response, Problem> {
    let mut response = json(StatusCode::ACCEPTED, body)?;
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}
