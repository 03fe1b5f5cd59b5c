//! What staff may do: asking, granting, revoking.

use crate::bus::{Bus, ExecuteError, Failure, Intent, Outcome};
use crate::envelope::Envelope;
use thiserror::Error;
use touchline_domain::id::UserId;
use touchline_domain::identity::{
    Account, AccountCommand, AccountError, AccountStatus, ChangePermission, Permission,
};

/// Why somebody may not do what staff do.
#[derive(Debug, Error)]
pub enum StaffError {
    /// The account has not the permission.
    #[error("the account has not the permission {permission}")]
    PermissionRequired {
        /// What it would need.
        permission: Permission,
    },
    /// Whether it has was not found out, or it may do nothing at all.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Why a permission was neither granted nor revoked.
#[derive(Debug, Error)]
pub enum ChangePermissionError {
    /// There is no such account.
    #[error("there is no such account")]
    NotFound,
    /// The account waits for approval, so that it can be no staff.
    #[error("the account is not active")]
    NotActive,
    /// It is the first admin, who stays one.
    #[error("the first admin cannot be demoted")]
    IsRoot,
    /// The command was not carried through.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<ExecuteError<AccountError>> for ChangePermissionError {
    fn from(error: ExecuteError<AccountError>) -> Self {
        match error {
            ExecuteError::Refused(AccountError::NotActive) => Self::NotActive,
            ExecuteError::Refused(AccountError::IsRoot) => Self::IsRoot,
            ExecuteError::Refused(_) => Self::NotFound,
            ExecuteError::Failed(failure) => Self::Failed(failure),
        }
    }
}

/// Whether an account has a permission, by the log as it is now: what was revoked anywhere a moment
/// ago is revoked here.
///
/// # Errors
/// [`StaffError`] when it has not.
pub async fn check(bus: &Bus, user_id: UserId, permission: Permission) -> Result<(), StaffError> {
    let account = bus.store().refresh::<Account>(user_id.uuid()).await;
    let account = account.map_err(Failure::Read)?.state;
    if account.may(permission) {
        return Ok(());
    }
    Err(match account.status() {
        Some(AccountStatus::Active) => StaffError::PermissionRequired { permission },
        Some(AccountStatus::PendingApproval) => Failure::AccountPending.into(),
        None => Failure::NotAuthenticated.into(),
    })
}

/// Lets an account do what staff do. Done again, it changes nothing. Whether who asks may grant is
/// for the caller to know.
///
/// # Errors
/// [`ChangePermissionError`].
#[tracing::instrument(name = "permissions.grant", skip_all, fields(%user_id, %permission), err(level = "debug"))]
pub async fn grant(
    bus: &Bus,
    envelope: &Envelope,
    user_id: UserId,
    permission: Permission,
) -> Result<Outcome<Account>, ChangePermissionError> {
    let change = AccountCommand::Grant(change(envelope, permission));
    Ok(bus
        .execute(envelope, Intent::new(user_id.uuid(), change))
        .await?)
}

/// Lets an account do that no more. Done again, it changes nothing. Whether who asks may revoke is
/// for the caller to know.
///
/// # Errors
/// [`ChangePermissionError`].
#[tracing::instrument(name = "permissions.revoke", skip_all, fields(%user_id, %permission), err(level = "debug"))]
pub async fn revoke(
    bus: &Bus,
    envelope: &Envelope,
    user_id: UserId,
    permission: Permission,
) -> Result<Outcome<Account>, ChangePermissionError> {
    let change = AccountCommand::Revoke(change(envelope, permission));
    Ok(bus
        .execute(envelope, Intent::new(user_id.uuid(), change))
        .await?)
}

fn change(envelope: &Envelope, permission: Permission) -> ChangePermission {
    ChangePermission {
        permission,
        changed_by: envelope.actor,
        at: envelope.at,
    }
}
