//! Comments.

use super::body::CommentBody;
use super::view::CommentView;
use super::{POSTS, author};
use crate::auth::{Principal, Viewer};
use crate::command::CommandContext;
use crate::json::ValidJson;
use crate::page::{Page, PageParameters, PageRequest};
use crate::path::PathId;
use crate::problem::{Problem, ProblemCode};
use crate::respond::{Reading, Written};
use crate::routes::{Access, Kind, Routes};
use crate::state::ApiState;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use touchline_commands::posts as commands;
use touchline_domain::id::PostId;
use touchline_projections::posts as queries;
use utoipa_axum::routes;

pub(super) fn routes() -> Routes {
    use ProblemCode as P;
    Routes::new()
        .route(
            Access::Account,
            Kind::Command,
            &[P::AccountPending],
            routes!(comment),
        )
        .route(
            Access::Public,
            Kind::Query,
            &[P::InvalidParameter, P::InvalidCursor],
            routes!(comments),
        )
}

/// Comment on a post
#[utoipa::path(
    post, path = "/v1/posts/{post_id}/comments", tag = "posts", operation_id = "add_comment",
    params(("post_id" = Uuid, Path, description = "The id of the post.")),
    request_body = CommentBody,
    responses((status = 201, description = "The new comment.", body = CommentView)),
)]
async fn comment(
    State(state): State<ApiState>,
    principal: Principal,
    context: CommandContext,
    PathId(post_id): PathId<PostId>,
    body: ValidJson<CommentBody>,
) -> Result<Written<CommentView>, Problem> {
    let envelope = context.envelope(&state, &body.canonical);
    let (text, parent_id) = body.value;
    let outcome = commands::comment(state.bus(), &envelope, post_id, parent_id, text).await?;
    let comment = outcome.state.added().ok_or(ProblemCode::Internal)?;
    let author = author(&state, principal.user_id).await?;
    let view = CommentView::of_state(comment, author);
    Ok(Written::of(StatusCode::CREATED, &outcome, view))
}

/// The comments below a post
///
/// In thread order: the oldest thread first, each answer below what it answers.
#[utoipa::path(
    get, path = "/v1/posts/{post_id}/comments", tag = "posts", operation_id = "list_comments",
    params(("post_id" = Uuid, Path, description = "The id of the post."), PageParameters),
    responses((status = 200, description = "A page of comments.", body = Page<CommentView>)),
)]
async fn comments(
    State(state): State<ApiState>,
    Viewer(viewer): Viewer,
    reading: Reading,
    PathId(post_id): PathId<PostId>,
    request: PageRequest,
) -> Result<Response, Problem> {
    let after = request.after(&state, "")?;
    let stamp = reading.begin(&state, POSTS).await?;
    let rows = queries::comments(
        state.queries(),
        post_id,
        viewer,
        after,
        request.limit.into(),
    )
    .await?
    .ok_or(ProblemCode::NotFound)?;
    let items = rows.items.into_iter().map(CommentView::from).collect();
    stamp.page(&request, &request.answer(&state, "", items, rows.next), "")
}
