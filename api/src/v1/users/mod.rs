//! Profiles and follows.

mod body;
mod view;

use crate::auth::{Principal, Viewer};
use crate::command::CommandContext;
use crate::etag::if_match;
use crate::json::ValidJson;
use crate::openapi::values;
use crate::page::{Page, PageParameters, PageRequest};
use crate::path::{PathId, UserName};
use crate::problem::{Problem, ProblemCode};
use crate::respond::{Reading, Written};
use crate::routes::{Access, Kind, Routes};
use crate::state::ApiState;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use body::ChangeProfileBody;
use touchline_commands::{Outcome, users as commands};
use touchline_domain::aggregate::Decider as _;
use touchline_domain::id::UserId;
use touchline_domain::identity::Account;
use touchline_domain::users::{Follow, Profile};
use touchline_projections::users::{self as queries, FollowCursor, User, UsersProjection};
use touchline_projections::{Page as Rows, Projection as _};
use utoipa_axum::routes;
use view::{FollowListedView, FollowView, ProfileView, UserView};

/// The read model behind these operations.
pub(crate) const USERS: &str = UsersProjection::NAME;

pub(crate) fn routes() -> Routes {
    use ProblemCode as P;
    let list = [P::InvalidParameter, P::InvalidCursor];
    Routes::new()
        .route(
            Access::Account,
            Kind::Query,
            &[P::NotFound],
            routes!(show_me),
        )
        .route(
            Access::Account,
            Kind::Edit,
            &[P::AccountPending, P::ChangeLimitReached],
            routes!(change_me),
        )
        .route(Access::Public, Kind::Query, &[], routes!(show))
        .route(
            Access::Account,
            Kind::Command,
            &[
                P::AccountPending,
                P::CannotFollowOneself,
                P::ChangeLimitReached,
            ],
            routes!(follow),
        )
        .route(
            Access::Account,
            Kind::Command,
            &[P::AccountPending, P::CannotFollowOneself],
            routes!(unfollow),
        )
        .route(Access::Public, Kind::Query, &list, routes!(followers))
        .route(Access::Public, Kind::Query, &list, routes!(following))
}

/// One's own profile
#[utoipa::path(
    get, path = "/v1/users/me", tag = "users", operation_id = "show_me",
    responses(
        (status = 200, description = "The profile.", body = UserView),
        (status = 304, description = "As `If-None-Match` has it."),
    ),
)]
async fn show_me(
    State(state): State<ApiState>,
    principal: Principal,
    reading: Reading,
) -> Result<Response, Problem> {
    let viewer = Viewer(Some(principal.user_id));
    answer_user(&state, viewer, &reading, &UserName::Id(principal.user_id)).await
}

/// A profile
#[utoipa::path(
    get, path = "/v1/users/{user}", tag = "users", operation_id = "show_user",
    params(("user" = inline(values::UserName), Path, description = "The id or the handle.", example = "ana")),
    responses(
        (status = 200, description = "The profile.", body = UserView),
        (status = 304, description = "As `If-None-Match` has it."),
    ),
)]
async fn show(
    State(state): State<ApiState>,
    viewer: Viewer,
    reading: Reading,
    PathId(name): PathId<UserName>,
) -> Result<Response, Problem> {
    answer_user(&state, viewer, &reading, &name).await
}

async fn answer_user(
    state: &ApiState,
    Viewer(viewer): Viewer,
    reading: &Reading,
    name: &UserName,
) -> Result<Response, Problem> {
    let stamp = reading.begin(state, USERS).await?;
    let user = find(state, name).await?;
    let relation = match viewer {
        Some(viewer) if viewer != user.user_id => {
            Some(queries::relation(state.queries(), viewer, user.user_id).await?)
        }
        _ => None,
    };
    let version = user.profile_version;
    let view = UserView::new(user, viewer, relation);
    reading.answer(stamp, &view, Profile::TYPE, version)
}

/// The person of this name.
///
/// # Errors
/// When there is none.
pub(crate) async fn find(state: &ApiState, name: &UserName) -> Result<User, Problem> {
    let found = match name {
        UserName::Id(id) => queries::by_id(state.queries(), *id).await?,
        UserName::Handle(handle) => queries::by_handle(state.queries(), handle.as_str()).await?,
    };
    found.ok_or_else(|| ProblemCode::NotFound.into())
}

/// Change one's profile
///
/// Fields that are absent stay as they are; null clears `bio` and `location` (RFC 7396).
#[utoipa::path(
    patch, path = "/v1/users/me", tag = "users", operation_id = "change_profile",
    request_body(content((ChangeProfileBody = "application/json"), (ChangeProfileBody = "application/merge-patch+json"))),
    responses((status = 200, description = "The profile as it is now.", body = ProfileView)),
)]
async fn change_me(
    State(state): State<ApiState>,
    principal: Principal,
    context: CommandContext,
    headers: HeaderMap,
    body: ValidJson<ChangeProfileBody>,
) -> Result<Written<ProfileView>, Problem> {
    let expected = if_match(&headers, Profile::TYPE)?;
    let envelope = context.envelope(&state, &body.canonical);
    let outcome =
        commands::change_profile(state.bus(), &envelope, body.value, expected.version()).await?;
    let account = state
        .store()
        .load::<Account>(principal.user_id.uuid())
        .await?;
    let account = account.state.registration().ok_or(ProblemCode::Internal)?;
    let view = ProfileView::new(account, &outcome.state);
    Ok(Written::of(StatusCode::OK, &outcome, view))
}

/// Follow somebody
///
/// Done again, it changes nothing.
#[utoipa::path(
    put, path = "/v1/users/{user}/follow", tag = "users", operation_id = "follow_user",
    params(("user" = Uuid, Path, description = "The id of whom to follow.")),
    responses((status = 200, description = "The follow as it is now.", body = FollowView)),
)]
async fn follow(
    State(state): State<ApiState>,
    principal: Principal,
    context: CommandContext,
    PathId(followee): PathId<UserId>,
) -> Result<Written<FollowView>, Problem> {
    let envelope = context.envelope(&state, "");
    let outcome = commands::follow(state.bus(), &envelope, followee).await?;
    answer_follow(&state, principal, followee, &outcome).await
}

/// Follow somebody no more
///
/// Done again, it changes nothing.
#[utoipa::path(
    delete, path = "/v1/users/{user}/follow", tag = "users", operation_id = "unfollow_user",
    params(("user" = Uuid, Path, description = "The id of whom not to follow.")),
    responses((status = 200, description = "The follow as it is now.", body = FollowView)),
)]
async fn unfollow(
    State(state): State<ApiState>,
    principal: Principal,
    context: CommandContext,
    PathId(followee): PathId<UserId>,
) -> Result<Written<FollowView>, Problem> {
    let envelope = context.envelope(&state, "");
    let outcome = commands::unfollow(state.bus(), &envelope, followee).await?;
    answer_follow(&state, principal, followee, &outcome).await
}

/// The count is the read model's, corrected by this follow if the read model has not seen it yet.
async fn answer_follow(
    state: &ApiState,
    principal: Principal,
    followee: UserId,
    outcome: &Outcome<Follow>,
) -> Result<Written<FollowView>, Problem> {
    let follow = &outcome.state;
    let seen = queries::followership(state.queries(), followee, principal.user_id).await?;
    let seen = seen.unwrap_or_default();
    let view = FollowView {
        user_id: followee.uuid(),
        following: follow.is_following(),
        followed_at: follow.followed_at,
        follower_count: corrected(
            seen.follower_count,
            seen.includes_viewer,
            follow.is_following(),
        ),
    };
    Ok(Written::of(StatusCode::OK, outcome, view))
}

/// A count that contains one relation as it `was`, with that relation as it `is`.
pub(crate) const fn corrected(count: i64, was: bool, is: bool) -> i64 {
    match (was, is) {
        (false, true) => count.saturating_add(1),
        (true, false) if count > 0 => count - 1,
        _ => count,
    }
}

/// Who follows somebody
///
/// The newest follow comes first.
#[utoipa::path(
    get, path = "/v1/users/{user}/followers", tag = "users", operation_id = "list_followers",
    params(("user" = inline(values::UserName), Path, description = "The id or the handle."), PageParameters),
    responses((status = 200, description = "A page of followers.", body = Page<FollowListedView>)),
)]
async fn followers(
    State(state): State<ApiState>,
    Viewer(viewer): Viewer,
    reading: Reading,
    PathId(name): PathId<UserName>,
    request: PageRequest,
) -> Result<Response, Problem> {
    let after = request.after(&state, "")?;
    let stamp = reading.begin(&state, USERS).await?;
    let user = find(&state, &name).await?;
    let limit = usize::from(request.limit);
    let rows = queries::followers(state.queries(), user.user_id, viewer, after, limit).await?;
    stamp.page(&request, &listed(&state, &request, rows, viewer), "")
}

/// Whom somebody follows
///
/// The newest follow comes first.
#[utoipa::path(
    get, path = "/v1/users/{user}/following", tag = "users", operation_id = "list_following",
    params(("user" = inline(values::UserName), Path, description = "The id or the handle."), PageParameters),
    responses((status = 200, description = "A page of those who are followed.", body = Page<FollowListedView>)),
)]
async fn following(
    State(state): State<ApiState>,
    Viewer(viewer): Viewer,
    reading: Reading,
    PathId(name): PathId<UserName>,
    request: PageRequest,
) -> Result<Response, Problem> {
    let after = request.after(&state, "")?;
    let stamp = reading.begin(&state, USERS).await?;
    let user = find(&state, &name).await?;
    let limit = usize::from(request.limit);
    let rows = queries::following(state.queries(), user.user_id, viewer, after, limit).await?;
    stamp.page(&request, &listed(&state, &request, rows, viewer), "")
}

fn listed(
    state: &ApiState,
    request: &PageRequest,
    rows: Rows<queries::FollowListed, FollowCursor>,
    viewer: Option<UserId>,
) -> Page<FollowListedView> {
    let items = rows
        .items
        .into_iter()
        .map(|row| FollowListedView::new(row, viewer))
        .collect();
    request.answer(state, "", items, rows.next)
}

#[cfg(test)]
mod tests {
    use super::corrected;

    #[test]
    fn a_count_has_the_own_relation_as_it_is() {
        assert_eq!(corrected(3, false, true), 4);
        assert_eq!(corrected(3, true, true), 3);
        assert_eq!(corrected(3, true, false), 2);
        assert_eq!(corrected(3, false, false), 3);
        assert_eq!(corrected(0, true, false), 0);
    }
}
