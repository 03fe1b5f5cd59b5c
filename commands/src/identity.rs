//! Accounts: sign up, sign in, approve.

use crate::bus::{Bus, ExecuteError, Failure, Intent, Outcome};
use crate::credentials::{Credentials, CredentialsError};
use crate::envelope::Envelope;
use crate::fingerprint::Fingerprints;
use crate::passwords::{Password, PasswordError, PasswordHash, PasswordHasher, Verdict};
use crate::permissions;
use std::sync::Arc;
use thiserror::Error;
use touchline_domain::id::UserId;
use touchline_domain::identity::{
    Account, AccountCommand, AccountError, Approve, DisplayName, Email, Gender, Handle, Register,
    RoleDetails, Sport,
};
use touchline_eventstore::Claim;

/// The claim on an e-mail address, in lower case, as [`Fingerprints::claim`] writes it.
pub const EMAIL_CLAIM: &str = "identity.email";
/// The claim on a handle, as [`Fingerprints::claim`] writes it.
pub const HANDLE_CLAIM: &str = "identity.handle";
/// The claim on being the first admin, of whom there is one.
pub const ROOT_CLAIM: &str = "identity.root";

/// What the handlers of accounts need beside the bus. Cheap to clone.
#[derive(Clone)]
pub struct Identity {
    /// Carries the commands.
    pub bus: Bus,
    /// Keeps the password hashes.
    pub credentials: Credentials,
    /// Hashes.
    pub hasher: Arc<dyn PasswordHasher>,
    /// Makes claims that tell nothing to whoever reads the log.
    pub fingerprints: Fingerprints,
}

impl Identity {
    /// Who has this handle.
    ///
    /// # Errors
    /// [`Failure::Read`].
    pub async fn owner_of_handle(&self, handle: &Handle) -> Result<Option<UserId>, Failure> {
        let key = self.fingerprints.claim(HANDLE_CLAIM, handle.as_str());
        let owner = self.bus.store().claim_owner(HANDLE_CLAIM, &key).await?;
        Ok(owner.map(UserId::new))
    }
}

/// Somebody wants an account.
#[derive(Debug, Clone)]
pub struct SignUp {
    /// The address to sign in with.
    pub email: Email,
    /// The password to sign in with.
    pub password: Password,
    /// The public short name.
    pub handle: Handle,
    /// The public full name.
    pub display_name: DisplayName,
    /// The sport that the account is about.
    pub sport: Sport,
    /// As told by the person.
    pub gender: Gender,
    /// The role with its fields.
    pub role: RoleDetails,
}

/// Why nobody was signed up.
#[derive(Debug, Error)]
pub enum SignUpError {
    /// Another account has the address.
    #[error("another account has the e-mail address")]
    EmailTaken,
    /// Another account has the handle.
    #[error("another account has the handle")]
    HandleTaken,
    /// There is a first admin already.
    #[error("there is a first admin already")]
    RootTaken,
    /// A rule of accounts refuses it.
    #[error("the account is refused")]
    Refused(#[source] AccountError),
    /// The password was not hashed.
    #[error("the password was not hashed")]
    Password(#[from] PasswordError),
    /// The password was not stored.
    #[error("the password was not stored")]
    Credentials(#[from] CredentialsError),
    /// The command was not carried through.
    #[error(transparent)]
    Failed(Failure),
}

impl From<Failure> for SignUpError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::ClaimTaken { scope } if scope == EMAIL_CLAIM => Self::EmailTaken,
            Failure::ClaimTaken { scope } if scope == HANDLE_CLAIM => Self::HandleTaken,
            Failure::ClaimTaken { scope } if scope == ROOT_CLAIM => Self::RootTaken,
            failure => Self::Failed(failure),
        }
    }
}

impl From<ExecuteError<AccountError>> for SignUpError {
    fn from(error: ExecuteError<AccountError>) -> Self {
        match error {
            ExecuteError::Refused(reason) => Self::Refused(reason),
            ExecuteError::Failed(failure) => failure.into(),
        }
    }
}

/// Somebody who has shown that an account is theirs.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// The account.
    pub user_id: UserId,
    /// What is known of it. It may wait for approval: then it may look, and do nothing.
    pub account: Arc<Account>,
}

/// Why nobody was signed in.
#[derive(Debug, Error)]
pub enum SignInError {
    /// There is no such account, or the password is another: which, is not told.
    #[error("the e-mail address or the password is wrong")]
    InvalidCredentials,
    /// The password was not verified.
    #[error("the password was not verified")]
    Password(#[from] PasswordError),
    /// The password was not read.
    #[error("the password was not read")]
    Credentials(#[from] CredentialsError),
    /// The account was not read.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Why an account was not approved.
#[derive(Debug, Error)]
pub enum ApproveError {
    /// A rule of accounts refuses it.
    #[error("the approval is refused")]
    Refused(#[source] AccountError),
    /// The command was not carried through.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<ExecuteError<AccountError>> for ApproveError {
    fn from(error: ExecuteError<AccountError>) -> Self {
        match error {
            ExecuteError::Refused(reason) => Self::Refused(reason),
            ExecuteError::Failed(failure) => Self::Failed(failure),
        }
    }
}

/// Signs somebody up. The password is stored before the account, so that no account is ever without
/// one; when the account does not come to be, it is taken away again.
///
/// # Errors
/// [`SignUpError`].
#[tracing::instrument(name = "identity.sign_up", skip_all, err(level = "debug"))]
pub async fn sign_up(
    identity: &Identity,
    envelope: &Envelope,
    sign_up: SignUp,
) -> Result<Outcome<Account>, SignUpError> {
    enter(identity, envelope, sign_up, false).await
}

/// Signs the first admin up. Whether who asks may do so is for the caller to know: here nobody but
/// the operator can.
///
/// # Errors
/// [`SignUpError`]; [`SignUpError::RootTaken`] when there is one.
#[tracing::instrument(name = "identity.create_root", skip_all, err(level = "debug"))]
pub async fn create_root(
    identity: &Identity,
    envelope: &Envelope,
    sign_up: SignUp,
) -> Result<Outcome<Account>, SignUpError> {
    enter(identity, envelope, sign_up, true).await
}

async fn enter(
    identity: &Identity,
    envelope: &Envelope,
    sign_up: SignUp,
    is_root: bool,
) -> Result<Outcome<Account>, SignUpError> {
    if let Some(first) = identity.bus.replay(envelope).await? {
        return Ok(first);
    }
    let user_id = UserId::new(identity.bus.new_id());
    let hash = identity.hasher.hash(sign_up.password.clone()).await?;
    identity
        .credentials
        .insert_password_hash(user_id, &hash, envelope.at)
        .await?;
    let answer = register(identity, envelope, user_id, sign_up, is_root).await;
    if is_unregistered(&answer, user_id)
        && let Err(error) = identity.credentials.delete_password_hash(user_id).await
    {
        // Nothing names the row: it is in nobody's way.
        tracing::warn!(%user_id, error = %error, "identity: a password without an account is left");
    }
    Ok(answer?)
}

async fn register(
    identity: &Identity,
    envelope: &Envelope,
    user_id: UserId,
    sign_up: SignUp,
    is_root: bool,
) -> Result<Outcome<Account>, ExecuteError<AccountError>> {
    let claim = |scope, key: &str| Claim {
        scope,
        key: identity.fingerprints.claim(scope, key),
        owner: user_id.uuid(),
    };
    let email = claim(EMAIL_CLAIM, &sign_up.email.claim_key());
    let handle = claim(HANDLE_CLAIM, sign_up.handle.as_str());
    let register = Register {
        user_id,
        email: sign_up.email,
        handle: sign_up.handle,
        display_name: sign_up.display_name,
        sport: sign_up.sport,
        gender: sign_up.gender,
        role: sign_up.role,
        at: envelope.at,
    };
    let command = if is_root {
        AccountCommand::RegisterRoot(register)
    } else {
        AccountCommand::Register(register)
    };
    let mut intent = Intent::new(user_id.uuid(), command)
        .presuming_new()
        .taking(email)
        .taking(handle);
    if is_root {
        intent = intent.taking(claim(ROOT_CLAIM, ROOT_CLAIM));
    }
    identity.bus.execute(envelope, intent).await
}

/// Whether it is certain that no account `user_id` came to be. After a failure of the database it
/// may have, and its password is kept.
fn is_unregistered(
    answer: &Result<Outcome<Account>, ExecuteError<AccountError>>,
    user_id: UserId,
) -> bool {
    match answer {
        Ok(outcome) => outcome.id != user_id.uuid(),
        Err(ExecuteError::Refused(_)) => true,
        Err(ExecuteError::Failed(failure)) => {
            matches!(
                failure,
                Failure::ClaimTaken { .. } | Failure::CommandReused | Failure::Contended
            )
        }
    }
}

/// Whose account it is, if the address and the password are right. As much is done for an address
/// that nobody has as for one that somebody has.
///
/// # Errors
/// [`SignInError`].
#[tracing::instrument(name = "identity.sign_in", skip_all, err(level = "debug"))]
pub async fn sign_in(
    identity: &Identity,
    email: &str,
    password: &str,
) -> Result<SignedIn, SignInError> {
    let password = Password::attempt(password);
    let key = Email::parse(email).map_or_else(|_no_address| String::new(), |it| it.claim_key());
    let key = identity.fingerprints.claim(EMAIL_CLAIM, &key);
    let owner = identity
        .bus
        .store()
        .claim_owner(EMAIL_CLAIM, &key)
        .await
        .map_err(Failure::Read)?;
    let user_id = UserId::new(owner.unwrap_or_default());
    let hash = identity.credentials.password_hash(user_id).await?;
    let verdict = identity
        .hasher
        .verify(password.clone(), hash.clone())
        .await?;
    match (verdict, hash) {
        (Verdict::Right, _) => {}
        (Verdict::RightButOutdated, Some(old)) => {
            hash_again(identity, user_id, password, &old).await;
        }
        _ => return Err(SignInError::InvalidCredentials),
    }
    let account = identity.bus.store().refresh::<Account>(user_id.uuid());
    let account = account.await.map_err(Failure::Read)?.state;
    if account.registration().is_none() {
        return Err(SignInError::InvalidCredentials);
    }
    Ok(SignedIn { user_id, account })
}

/// Puts a password under today's parameters. Signing in does not depend on it: it is tried again
/// the next time.
async fn hash_again(identity: &Identity, user_id: UserId, password: Password, old: &PasswordHash) {
    let hashed = identity.hasher.hash(password).await;
    let replaced = match &hashed {
        Ok(new) => {
            let replacing = identity
                .credentials
                .replace_password_hash(user_id, old, new);
            replacing.await.map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = replaced {
        tracing::debug!(%user_id, error, "identity: the password keeps its old hash");
    }
}

/// Lets a waiting account in. Done again, it changes nothing. Who asks is an admin or the operator.
///
/// # Errors
/// [`ApproveError`].
#[tracing::instrument(name = "identity.approve", skip_all, fields(%user_id), err(level = "debug"))]
pub async fn approve(
    bus: &Bus,
    envelope: &Envelope,
    user_id: UserId,
) -> Result<Outcome<Account>, ApproveError> {
    let command = AccountCommand::Approve(Approve {
        approved_by: envelope.actor,
        at: envelope.at,
    });
    permissions::as_admin(bus, envelope, user_id, command).await
}
