//! What staff may do: asking, granting, revoking.

use crate::bus::{Bus, ExecuteError, Failure, Intent, Outcome, ReadSet};
use crate::envelope::Envelope;
use thiserror::Error;
use touchline_domain::id::UserId;
use touchline_domain::identity::{
    Account, AccountCommand, AccountError, ChangePermission, Permission,
};

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
/// ago is revoked here. This is for what is only read; a command names the permission itself
/// ([`ReadSet::require`]).
///
/// # Errors
/// [`Failure::PermissionRequired`], [`Failure::NotAuthenticated`], [`Failure::AccountPending`],
/// [`Failure::Read`].
pub async fn check(bus: &Bus, user_id: UserId, permission: Permission) -> Result<(), Failure> {
    ReadSet::new(bus, Some(user_id), true)
        .require(permission)
        .await
}

/// Lets an account do what staff do. Done again, it changes nothing. Who asks is an admin or the
/// operator.
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
    as_admin(bus, envelope, user_id, change).await
}

/// Lets an account do that no more. Done again, it changes nothing. Who asks is an admin or the
/// operator.
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
    as_admin(bus, envelope, user_id, change).await
}

/// Lets an admin or the operator do something to an account.
pub(crate) async fn as_admin<E>(
    bus: &Bus,
    envelope: &Envelope,
    user_id: UserId,
    command: AccountCommand,
) -> Result<Outcome<Account>, E>
where
    E: From<Failure> + From<ExecuteError<AccountError>> + Send,
{
    let command = &command;
    bus.decide(envelope, |reads| {
        Box::pin(async move {
            reads.require(Permission::Admin).await?;
            Ok(Intent::new(user_id.uuid(), command.clone()))
        })
    })
    .await
}

fn change(envelope: &Envelope, permission: Permission) -> ChangePermission {
    ChangePermission {
        permission,
        changed_by: envelope.actor,
        at: envelope.at,
    }
}
