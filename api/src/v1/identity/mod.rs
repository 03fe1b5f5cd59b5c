//! Accounts and sessions.

mod body;
mod sign_up;
mod staff;
mod view;

pub(crate) use view::RoleDetailsView;

use crate::auth::Principal;
use crate::command::CommandContext;
use crate::json::ValidJson;
use crate::limits::ACCESS_TOKEN_LIFETIME;
use crate::problem::{Problem, ProblemCode};
use crate::respond::{Reading, Written, json};
use crate::routes::{Access, Kind, Routes};
use crate::state::ApiState;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use body::{SignInBody, SignUpBody};
use sign_up::SignUp;
use touchline_commands::{erasure, identity};
use touchline_domain::aggregate::Decider as _;
use touchline_domain::identity::Account;
use utoipa_axum::routes;
use view::{AccountView, ErasedView, JsonWebKeySet, SessionView};

pub(crate) fn routes() -> Routes {
    use ProblemCode as P;
    Routes::new()
        .route(
            Access::Public,
            Kind::Command,
            &[P::StaffRole, P::EmailTaken, P::HandleTaken],
            routes!(sign_up),
        )
        .route(Access::Account, Kind::Query, &[], routes!(show_account))
        .route(
            Access::Account,
            Kind::Command,
            &[P::FirstAdmin],
            routes!(erase_account),
        )
        .route(
            Access::Public,
            Kind::Service,
            &[P::InvalidCredentials, P::Busy, P::Unavailable],
            routes!(sign_in),
        )
        .merge(staff::routes())
}

/// Sign up
///
/// Players and fans may act at once; coaches, academies, clubs and scouts wait until staff have
/// approved them. Each role demands fields of its own; fields of other roles are refused.
#[utoipa::path(
    post, path = "/v1/accounts", tag = "identity", operation_id = "sign_up",
    request_body = SignUp,
    responses((status = 201, description = "The new account.", body = AccountView)),
)]
async fn sign_up(
    State(state): State<ApiState>,
    context: CommandContext,
    body: ValidJson<SignUpBody>,
) -> Result<Written<AccountView>, Problem> {
    let envelope = context.envelope(&state, &body.canonical);
    let outcome = identity::sign_up(state.identity(), &envelope, body.value).await?;
    let account = outcome.state.registration().ok_or(ProblemCode::Internal)?;
    let mut written = Written::of(StatusCode::CREATED, &outcome, AccountView::from(account));
    written.location = Some(format!("/v1/users/{}", account.user_id));
    Ok(written)
}

/// Erase one's account
///
/// For good: the account, the profile, and everything one posted, wrote, liked and followed. What
/// others wrote stays. The e-mail address may sign up again; the handle is never given away. Done
/// again, it changes nothing.
#[utoipa::path(
    delete, path = "/v1/accounts/me", tag = "identity", operation_id = "erase_account",
    responses((status = 200, description = "It is gone.", body = ErasedView)),
)]
async fn erase_account(
    State(state): State<ApiState>,
    principal: Principal,
    context: CommandContext,
) -> Result<Written<ErasedView>, Problem> {
    let envelope = context.envelope(&state, "");
    let outcome = erasure::erase(state.identity(), &envelope, principal.user_id).await?;
    let view = ErasedView {
        user_id: principal.user_id.uuid(),
        erased: true,
    };
    Ok(Written::of(StatusCode::OK, &outcome, view))
}

/// One's own account
///
/// Read from the log itself: it is never behind.
#[utoipa::path(
    get, path = "/v1/accounts/me", tag = "identity", operation_id = "show_account",
    responses(
        (status = 200, description = "The account.", body = AccountView),
        (status = 304, description = "As `If-None-Match` has it."),
    ),
)]
async fn show_account(
    State(state): State<ApiState>,
    principal: Principal,
    reading: Reading,
) -> Result<Response, Problem> {
    let stamp = reading.of_log(&state).await?;
    let account = state
        .store()
        .refresh::<Account>(principal.user_id.uuid())
        .await?;
    let registration = account
        .state
        .registration()
        .ok_or(ProblemCode::InvalidToken)?;
    reading.answer(
        stamp,
        &AccountView::from(registration),
        Account::TYPE,
        account.version,
    )
}

/// Sign in
///
/// The access token is good for 10 minutes. An unknown address and a wrong password are answered
/// alike, and after as much work.
#[utoipa::path(
    post, path = "/v1/sessions", tag = "identity", operation_id = "sign_in",
    request_body = SignInBody,
    responses((status = 201, description = "An access token.", body = SessionView)),
)]
async fn sign_in(
    State(state): State<ApiState>,
    body: ValidJson<SignInBody>,
) -> Result<Response, Problem> {
    let SignInBody { email, password } = body.value;
    let signed_in = identity::sign_in(state.identity(), &email, &password).await?;
    let access_token = state
        .keys()
        .current()
        .issue(signed_in.user_id, state.new_id(), state.now())
        .map_err(|error| Problem::caused_by(ProblemCode::Internal, error))?;
    let session = SessionView {
        access_token,
        token_type: "Bearer",
        expires_in: ACCESS_TOKEN_LIFETIME.as_secs(),
        user_id: signed_in.user_id.uuid(),
    };
    let mut response = json(StatusCode::CREATED, &session)?;
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The keys that access tokens are signed with
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "operations",
    responses((status = 200, description = "The public keys.", body = JsonWebKeySet)),
)]
pub(crate) async fn jwks(State(state): State<ApiState>) -> Result<Response, Problem> {
    let mut response = json(StatusCode::OK, state.keys().current().jwks())?;
    let headers = response.headers_mut();
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=60"),
    );
    Ok(response)
}
