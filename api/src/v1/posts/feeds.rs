//! Lists of posts: the home feed, and what somebody wrote.

use super::POSTS;
use super::view::PostView;
use crate::auth::{Principal, Viewer};
use crate::openapi::values;
use crate::page::{Page, PageParameters, PageRequest};
use crate::path::{PathId, UserName};
use crate::problem::{Place, Problem, ProblemCode};
use crate::query::QueryParameters;
use crate::respond::Reading;
use crate::routes::{Access, Kind, Routes};
use crate::state::ApiState;
use crate::v1::users;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use touchline_projections::posts as queries;
use utoipa::IntoParams;
use utoipa_axum::routes;

pub(super) fn routes() -> Routes {
    let problems = [ProblemCode::InvalidParameter, ProblemCode::InvalidCursor];
    Routes::new()
        .route(Access::Account, Kind::Query, &problems, routes!(feed))
        .route(Access::Public, Kind::Query, &problems, routes!(by_user))
}

/// The one order of the feed that there is.
const NEWEST: &str = "newest";
/// The same as the rest of the query, for cursors and links.
const RANK_NEWEST: &str = "rank=newest";

/// The order of the feed, as the document describes it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameter; the handler reads it")]
struct FeedParameters {
    /// The order: `newest` first.
    #[param(inline, value_type = Option<values::FeedOrder>)]
    rank: Option<String>,
}

/// One's home feed
///
/// The posts of those whom one follows and one's own, the newest first.
#[utoipa::path(
    get, path = "/v1/feed", tag = "posts", operation_id = "home_feed",
    params(FeedParameters, PageParameters),
    responses((status = 200, description = "A page of the feed.", body = Page<PostView>)),
)]
async fn feed(
    State(state): State<ApiState>,
    principal: Principal,
    reading: Reading,
    request: PageRequest,
    uri: Uri,
) -> Result<Response, Problem> {
    if QueryParameters::of(&uri)
        .get("rank")
        .is_some_and(|rank| rank != NEWEST)
    {
        let place = Place::Parameter("rank".to_owned());
        return Err(Problem::at(
            ProblemCode::InvalidParameter,
            place,
            "must be newest",
        ));
    }
    let after = request.after(&state, RANK_NEWEST)?;
    let stamp = reading.begin(&state, POSTS).await?;
    let rows = queries::home_feed(
        state.queries(),
        principal.user_id,
        after,
        request.limit.into(),
    )
    .await?;
    let items = rows.items.into_iter().map(PostView::from).collect();
    stamp.page(
        &request,
        &request.answer(&state, RANK_NEWEST, items, rows.next),
        RANK_NEWEST,
    )
}

/// What somebody wrote
///
/// Their posts that the viewer may see, the newest first.
#[utoipa::path(
    get, path = "/v1/users/{user}/posts", tag = "posts", operation_id = "list_posts_of_user",
    params(("user" = inline(values::UserName), Path, description = "The id or the handle."), PageParameters),
    responses((status = 200, description = "A page of posts.", body = Page<PostView>)),
)]
async fn by_user(
    State(state): State<ApiState>,
    Viewer(viewer): Viewer,
    reading: Reading,
    PathId(name): PathId<UserName>,
    request: PageRequest,
) -> Result<Response, Problem> {
    let after = request.after(&state, "")?;
    let stamp = reading.begin_all(&state, &[POSTS, users::USERS]).await?;
    let user = users::find(&state, &name).await?;
    let limit = request.limit.into();
    let rows = queries::by_author(state.queries(), user.user_id, viewer, after, limit).await?;
    let items = rows.items.into_iter().map(PostView::from).collect();
    stamp.page(&request, &request.answer(&state, "", items, rows.next), "")
}
