//! What admins do with accounts: approve them, and say who is staff.

use crate::command::CommandContext;
use crate::openapi::values;
use crate::path::PathId;
use crate::problem::{Problem, ProblemCode};
use crate::respond::Written;
use crate::routes::{Access, Kind, Routes};
use crate::state::ApiState;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Serialize;
use touchline_commands::{Outcome, identity, permissions};
use touchline_domain::id::UserId;
use touchline_domain::identity::{Account, Permission};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes() -> Routes {
    use ProblemCode as P;
    let access = Access::Staff(Permission::Admin);
    Routes::new()
        .route(
            access,
            Kind::Command,
            &[P::AccountNotActive, P::ChangeLimitReached],
            routes!(grant),
        )
        .route(access, Kind::Command, &[P::FirstAdmin], routes!(revoke))
        .route(
            access,
            Kind::Command,
            &[P::ApprovalNotNeeded],
            routes!(approve),
        )
}

/// An account, as an admin sees it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StaffAccount)]
struct StaffView {
    /// The account.
    user_id: Uuid,
    /// `active`, or `pending_approval` while staff have not approved the role.
    #[schema(value_type = values::AccountStatus)]
    status: &'static str,
    /// What it may do as staff.
    #[schema(value_type = Vec<values::Permission>)]
    permissions: Vec<&'static str>,
    /// Whether it is the first admin, who stays one.
    is_first_admin: bool,
}

/// The answer of a write to an account.
fn written(outcome: &Outcome<Account>) -> Result<Written<StaffView>, Problem> {
    let account = outcome.state.registration().ok_or(ProblemCode::NotFound)?;
    let view = StaffView {
        user_id: account.user_id.uuid(),
        status: account.status.as_str(),
        permissions: account.permissions.iter().map(|it| it.as_str()).collect(),
        is_first_admin: account.is_root,
    };
    Ok(Written::of(StatusCode::OK, outcome, view))
}

/// The account and the permission in the path. What is neither is not found.
struct AccountPermission {
    user_id: UserId,
    permission: Permission,
}

impl FromRequestParts<ApiState> for AccountPermission {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let not_found = || Problem::new(ProblemCode::NotFound);
        let Path((id, permission)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|_not_two_texts| not_found())?;
        Ok(Self {
            user_id: id.parse().map_err(|_no_id| not_found())?,
            permission: permission.parse().map_err(|_unknown| not_found())?,
        })
    }
}

/// Grant a permission
///
/// Done again, it changes nothing. No permission includes another.
#[utoipa::path(
    put, path = "/v1/accounts/{id}/permissions/{permission}", tag = "identity",
    operation_id = "grant_permission",
    params(
        ("id" = Uuid, Path, description = "The account."),
        ("permission" = inline(values::Permission), Path, description = "What it is to be allowed.", example = "auditor"),
    ),
    responses((status = 200, description = "The account.", body = StaffView)),
)]
async fn grant(
    State(state): State<ApiState>,
    context: CommandContext,
    path: AccountPermission,
) -> Result<Written<StaffView>, Problem> {
    let envelope = context.envelope(&state, "");
    let outcome = permissions::grant(state.bus(), &envelope, path.user_id, path.permission).await?;
    written(&outcome)
}

/// Revoke a permission
///
/// It counts at once. Done again, it changes nothing.
#[utoipa::path(
    delete, path = "/v1/accounts/{id}/permissions/{permission}", tag = "identity",
    operation_id = "revoke_permission",
    params(
        ("id" = Uuid, Path, description = "The account."),
        ("permission" = inline(values::Permission), Path, description = "What it is allowed no more.", example = "auditor"),
    ),
    responses((status = 200, description = "The account.", body = StaffView)),
)]
async fn revoke(
    State(state): State<ApiState>,
    context: CommandContext,
    path: AccountPermission,
) -> Result<Written<StaffView>, Problem> {
    let envelope = context.envelope(&state, "");
    let outcome =
        permissions::revoke(state.bus(), &envelope, path.user_id, path.permission).await?;
    written(&outcome)
}

/// Approve an account
///
/// Done again, it changes nothing.
#[utoipa::path(
    put, path = "/v1/accounts/{id}/approval", tag = "identity", operation_id = "approve_account",
    params(("id" = Uuid, Path, description = "The account.")),
    responses((status = 200, description = "The account.", body = StaffView)),
)]
async fn approve(
    State(state): State<ApiState>,
    context: CommandContext,
    PathId(user_id): PathId<UserId>,
) -> Result<Written<StaffView>, Problem> {
    let envelope = context.envelope(&state, "");
    let outcome = identity::approve(state.bus(), &envelope, user_id).await?;
    written(&outcome)
}
