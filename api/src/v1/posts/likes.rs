//! Likes.

use super::POSTS;
use super::view::{LikeView, LikerView};
use crate::auth::{Principal, Viewer};
use crate::command::CommandContext;
use crate::page::{Page, PageParameters, PageRequest};
use crate::path::PathId;
use crate::problem::{Problem, ProblemCode};
use crate::respond::{Reading, Written};
use crate::routes::{Access, Kind, Routes};
use crate::state::ApiState;
use crate::v1::users::corrected;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use touchline_commands::{Outcome, posts as commands};
use touchline_domain::id::PostId;
use touchline_domain::posts::Like;
use touchline_projections::posts as queries;
use utoipa_axum::routes;

pub(super) fn routes() -> Routes {
    use ProblemCode as P;
    Routes::new()
        .route(
            Access::Account,
            Kind::Command,
            &[P::AccountPending, P::ChangeLimitReached],
            routes!(like),
        )
        .route(
            Access::Account,
            Kind::Command,
            &[P::AccountPending],
            routes!(unlike),
        )
        .route(
            Access::Public,
            Kind::Query,
            &[P::InvalidParameter, P::InvalidCursor],
            routes!(likers),
        )
}

/// Like a post
///
/// Done again, it changes nothing.
#[utoipa::path(
    put, path = "/v1/posts/{post_id}/like", tag = "posts", operation_id = "like_post",
    params(("post_id" = Uuid, Path, description = "The id of the post.")),
    responses((status = 200, description = "The like as it is now.", body = LikeView)),
)]
async fn like(
    State(state): State<ApiState>,
    principal: Principal,
    context: CommandContext,
    PathId(post_id): PathId<PostId>,
) -> Result<Written<LikeView>, Problem> {
    let envelope = context.envelope(&state, "");
    let outcome = commands::like(state.bus(), &envelope, post_id).await?;
    answer_like(&state, principal, post_id, &outcome).await
}

/// Take a like back
///
/// Done again, it changes nothing.
#[utoipa::path(
    delete, path = "/v1/posts/{post_id}/like", tag = "posts", operation_id = "unlike_post",
    params(("post_id" = Uuid, Path, description = "The id of the post.")),
    responses((status = 200, description = "The like as it is now.", body = LikeView)),
)]
async fn unlike(
    State(state): State<ApiState>,
    principal: Principal,
    context: CommandContext,
    PathId(post_id): PathId<PostId>,
) -> Result<Written<LikeView>, Problem> {
    let envelope = context.envelope(&state, "");
    let outcome = commands::unlike(state.bus(), &envelope, post_id).await?;
    answer_like(&state, principal, post_id, &outcome).await
}

/// The count is the read model's, corrected by this like if the read model has not seen it yet.
async fn answer_like(
    state: &ApiState,
    principal: Principal,
    post_id: PostId,
    outcome: &Outcome<Like>,
) -> Result<Written<LikeView>, Problem> {
    let seen = queries::by_id(state.queries(), post_id, Some(principal.user_id)).await?;
    let (count, was) = seen.map_or((0, false), |post| (post.like_count, post.liked_by_viewer));
    let view = LikeView {
        post_id: post_id.uuid(),
        liked: outcome.state.is_liked(),
        liked_at: outcome.state.liked_at,
        like_count: corrected(count, was, outcome.state.is_liked()),
    };
    Ok(Written::of(StatusCode::OK, outcome, view))
}

/// Who likes a post
///
/// The newest like comes first.
#[utoipa::path(
    get, path = "/v1/posts/{post_id}/likes", tag = "posts", operation_id = "list_likes",
    params(("post_id" = Uuid, Path, description = "The id of the post."), PageParameters),
    responses((status = 200, description = "A page of likes.", body = Page<LikerView>)),
)]
async fn likers(
    State(state): State<ApiState>,
    Viewer(viewer): Viewer,
    reading: Reading,
    PathId(post_id): PathId<PostId>,
    request: PageRequest,
) -> Result<Response, Problem> {
    let after = request.after(&state, "")?;
    let stamp = reading.begin(&state, POSTS).await?;
    let rows = queries::likers(
        state.queries(),
        post_id,
        viewer,
        after,
        request.limit.into(),
    )
    .await?
    .ok_or(ProblemCode::NotFound)?;
    let items = rows.items.into_iter().map(LikerView::from).collect();
    stamp.page(&request, &request.answer(&state, "", items, rows.next), "")
}
