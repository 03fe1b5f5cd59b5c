//! Posts, likes, comments, feeds.

mod body;
mod comments;
mod feeds;
mod likes;
mod view;

use crate::auth::{Principal, Viewer};
use crate::command::CommandContext;
use crate::etag::if_match;
use crate::json::ValidJson;
use crate::path::PathId;
use crate::problem::{Problem, ProblemCode};
use crate::respond::{Reading, Written};
use crate::routes::{Access, Kind, Routes};
use crate::state::ApiState;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use body::{EditPostBody, PublishBody};
use touchline_commands::posts as commands;
use touchline_domain::aggregate::Decider as _;
use touchline_domain::id::{PostId, UserId};
use touchline_domain::identity::Account;
use touchline_domain::posts::Post;
use touchline_domain::users::Profile;
use touchline_projections::Projection as _;
use touchline_projections::posts::{self as queries, PostsProjection};
use utoipa_axum::routes;
use view::{AuthorView, Counts, DeletedView, PostView};

/// The read model behind these operations.
pub(super) const POSTS: &str = PostsProjection::NAME;

pub(crate) fn routes() -> Routes {
    use ProblemCode as P;
    Routes::new()
        .route(
            Access::Account,
            Kind::Command,
            &[P::AccountPending],
            routes!(publish),
        )
        .route(Access::Public, Kind::Query, &[], routes!(show))
        .route(
            Access::Account,
            Kind::Edit,
            &[P::AccountPending, P::NotAuthor, P::ChangeLimitReached],
            routes!(edit),
        )
        .route(
            Access::Account,
            Kind::Edit,
            &[P::AccountPending, P::NotAuthor],
            routes!(delete),
        )
        .merge(likes::routes())
        .merge(comments::routes())
        .merge(feeds::routes())
}

/// Publish a post
#[utoipa::path(
    post, path = "/v1/posts", tag = "posts", operation_id = "publish_post",
    request_body = PublishBody,
    responses((status = 201, description = "The new post.", body = PostView)),
)]
async fn publish(
    State(state): State<ApiState>,
    principal: Principal,
    context: CommandContext,
    body: ValidJson<PublishBody>,
) -> Result<Written<PostView>, Problem> {
    let envelope = context.envelope(&state, &body.canonical);
    let outcome = commands::publish(state.bus(), &envelope, body.value).await?;
    let post = outcome.state.published().ok_or(ProblemCode::Internal)?;
    let author = author(&state, principal.user_id).await?;
    let view = PostView::of_state(post, author, Counts::default());
    let mut written = Written::of(StatusCode::CREATED, &outcome, view);
    written.location = Some(format!("/v1/posts/{}", outcome.id));
    Ok(written)
}

/// How somebody who has just written something is shown. Their account lies in memory then and
/// keeps its name; their profile may have been changed on another node.
async fn author(state: &ApiState, user_id: UserId) -> Result<AuthorView, Problem> {
    let account = state.store().load::<Account>(user_id.uuid()).await?;
    let profile = state.store().refresh::<Profile>(user_id.uuid()).await?;
    let account = account.state.registration().ok_or(ProblemCode::Internal)?;
    Ok(AuthorView::of_state(account, &profile.state))
}

/// A post
#[utoipa::path(
    get, path = "/v1/posts/{post_id}", tag = "posts", operation_id = "show_post",
    params(("post_id" = Uuid, Path, description = "The id of the post.")),
    responses(
        (status = 200, description = "The post.", body = PostView),
        (status = 304, description = "As `If-None-Match` has it."),
    ),
)]
async fn show(
    State(state): State<ApiState>,
    Viewer(viewer): Viewer,
    reading: Reading,
    PathId(post_id): PathId<PostId>,
) -> Result<Response, Problem> {
    let stamp = reading.begin(&state, POSTS).await?;
    let post = queries::by_id(state.queries(), post_id, viewer)
        .await?
        .ok_or(ProblemCode::NotFound)?;
    let version = post.version;
    reading.answer(stamp, &PostView::from(post), Post::TYPE, version)
}

/// Edit one's post
///
/// Fields that are absent stay as they are; null clears `category` and `tags` (RFC 7396).
#[utoipa::path(
    patch, path = "/v1/posts/{post_id}", tag = "posts", operation_id = "edit_post",
    params(("post_id" = Uuid, Path, description = "The id of the post.")),
    request_body(content((EditPostBody = "application/json"), (EditPostBody = "application/merge-patch+json"))),
    responses((status = 200, description = "The post as it is now.", body = PostView)),
)]
async fn edit(
    State(state): State<ApiState>,
    principal: Principal,
    context: CommandContext,
    PathId(post_id): PathId<PostId>,
    headers: HeaderMap,
    body: ValidJson<EditPostBody>,
) -> Result<Written<PostView>, Problem> {
    let expected = if_match(&headers, Post::TYPE)?.version();
    let envelope = context.envelope(&state, &body.canonical);
    let outcome = commands::edit(state.bus(), &envelope, post_id, body.value, expected).await?;
    let post = outcome.state.published().ok_or(ProblemCode::NotFound)?;
    let author = author(&state, principal.user_id).await?;
    let seen = queries::by_id(state.queries(), post_id, Some(principal.user_id)).await?;
    let counts = seen.as_ref().map(Counts::from).unwrap_or_default();
    let view = PostView::of_state(post, author, counts);
    Ok(Written::of(StatusCode::OK, &outcome, view))
}

/// Delete one's post
#[utoipa::path(
    delete, path = "/v1/posts/{post_id}", tag = "posts", operation_id = "delete_post",
    params(("post_id" = Uuid, Path, description = "The id of the post.")),
    responses((status = 200, description = "It is gone.", body = DeletedView)),
)]
async fn delete(
    State(state): State<ApiState>,
    context: CommandContext,
    PathId(post_id): PathId<PostId>,
    headers: HeaderMap,
) -> Result<Written<DeletedView>, Problem> {
    let expected = if_match(&headers, Post::TYPE)?.version();
    let envelope = context.envelope(&state, "");
    let outcome = commands::delete(state.bus(), &envelope, post_id, expected).await?;
    let view = DeletedView {
        post_id: post_id.uuid(),
        deleted: true,
    };
    Ok(Written::of(StatusCode::OK, &outcome, view))
}
