//! Erasing a person (L8, ADR-0027).
//!
//! In this order, and each step may be done again: the request is written down; the person's secrets
//! go; the key is destroyed, and with it everything that the person wrote, wherever the log was copied
//! to; the claim of their handle loses its owner; the log says `identity.account_erased`, upon which
//! every read model forgets. A process that dies in between leaves traces by which [`finish`] and
//! [`sweep`] find what is still to be done.

use crate::bus::{ExecuteError, Failure, Intent, Outcome};
use crate::credentials::CredentialsError;
use crate::envelope::Envelope;
use crate::identity::{EMAIL_CLAIM, HANDLE_CLAIM, Identity};
use std::collections::HashSet;
use std::time::Duration;
use thiserror::Error;
use touchline_domain::aggregate::Decider;
use touchline_domain::id::UserId;
use touchline_domain::identity::{Account, AccountCommand, AccountError, Erase};
use touchline_eventstore::Claim;
use touchline_eventstore::keys::{Erasure, KeyError};
use uuid::Uuid;

/// The event that says so, for a look into the log that decodes nothing.
const ERASED: &str = "identity.account_erased";
/// How many keys and how many password hashes one [`sweep`] looks at.
const SWEEP_ROWS: i64 = 10_000;
/// How old a password hash without an account is before it counts as left behind. A sign-up takes
/// seconds; the rest is for clocks that differ.
const ORPHAN_AGE: Duration = Duration::from_hours(1);

/// Why a person was not erased, or not wholly. What was begun is carried through by [`finish`].
#[derive(Debug, Error)]
pub enum EraseError {
    /// A rule of accounts refuses it.
    #[error("the erasure is refused")]
    Refused(#[source] AccountError),
    /// The key was not destroyed.
    #[error("the keys of personal data cannot be had")]
    Keys(#[from] KeyError),
    /// The password was not taken away.
    #[error("the password was not taken away")]
    Credentials(#[from] CredentialsError),
    /// The command was not carried through.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<ExecuteError<AccountError>> for EraseError {
    fn from(error: ExecuteError<AccountError>) -> Self {
        match error {
            ExecuteError::Refused(reason) => Self::Refused(reason),
            ExecuteError::Failed(failure) => Self::Failed(failure),
        }
    }
}

/// Erases a person for good. Done again, it changes nothing. Whether who asks may erase is for the
/// caller to know.
///
/// # Errors
/// [`EraseError`].
#[tracing::instrument(name = "identity.erase", skip_all, fields(%user_id), err(level = "debug"))]
pub async fn erase(
    identity: &Identity,
    envelope: &Envelope,
    user_id: UserId,
) -> Result<Outcome<Account>, EraseError> {
    let store = identity.bus.store();
    let command = command(envelope, user_id);
    // What would be refused is not even requested.
    let newest = store.refresh::<Account>(user_id.uuid()).await;
    let newest = newest.map_err(Failure::Read)?.state;
    newest
        .decide(command.clone())
        .map_err(EraseError::Refused)?;
    let request = Erasure {
        subject: user_id.uuid(),
        requested_by: envelope.actor.map(UserId::uuid),
        requested_at: envelope.at,
    };
    store.keys().request_erasure(&request).await?;
    take_secrets(identity, user_id).await?;
    append(identity, envelope, user_id, command).await
}

/// What identifies the person, or would let somebody sign in as them.
async fn take_secrets(identity: &Identity, user_id: UserId) -> Result<(), EraseError> {
    let store = identity.bus.store();
    identity.credentials.delete_password_hash(user_id).await?;
    store.keys().destroy(user_id.uuid()).await?;
    store.forget_states_of(user_id);
    // The handle is never given to anybody else, who would pass for the one that is gone.
    let disowned = store.disown_claims(HANDLE_CLAIM, user_id.uuid()).await;
    disowned.map_err(Failure::Read)?;
    Ok(())
}

/// Lets the log say it. The address may sign up again.
async fn append(
    identity: &Identity,
    envelope: &Envelope,
    user_id: UserId,
    command: AccountCommand,
) -> Result<Outcome<Account>, EraseError> {
    let addresses = identity
        .bus
        .store()
        .claims_of(EMAIL_CLAIM, user_id.uuid())
        .await
        .map_err(Failure::Read)?;
    let mut intent = Intent::<Account>::new(user_id.uuid(), command);
    for key in addresses {
        intent = intent.releasing(Claim {
            scope: EMAIL_CLAIM,
            key,
            owner: user_id.uuid(),
        });
    }
    Ok(identity.bus.execute(envelope, intent).await?)
}

/// What became of erasures that were to be carried through.
#[derive(Debug, Default)]
pub struct Finished {
    /// How many were.
    pub erased: usize,
    /// Who was not, or not wholly, and why. It is tried again the next time.
    pub failed: Vec<(UserId, EraseError)>,
}

/// Carries through every erasure that was cut short, or undone by a restored backup. One that fails
/// holds up no other.
///
/// # Errors
/// [`EraseError`] when it cannot be found out which those are.
pub async fn finish(identity: &Identity) -> Result<Finished, EraseError> {
    let keys = identity.bus.store().keys();
    let mut unfinished = keys
        .unfinished_erasures(<Account as Decider>::TYPE, ERASED, HANDLE_CLAIM)
        .await?;
    let found: HashSet<_> = unfinished.iter().map(|erasure| erasure.subject).collect();
    let signing_in = identity.credentials.passwords_of_erased().await?;
    unfinished.extend(
        signing_in
            .into_iter()
            .filter(|erasure| !found.contains(&erasure.subject)),
    );
    let mut finished = Finished::default();
    for erasure in unfinished {
        match finish_one(identity, &erasure).await {
            Ok(()) => finished.erased += 1,
            Err(error) => {
                let user_id = UserId::new(erasure.subject);
                finished.failed.push((user_id, error));
            }
        }
    }
    Ok(finished)
}

/// The same for one. What has an account that cannot be understood loses its secrets all the same,
/// after which it often can be.
async fn finish_one(identity: &Identity, erasure: &Erasure) -> Result<(), EraseError> {
    let store = identity.bus.store();
    let user_id = UserId::new(erasure.subject);
    let envelope = identity.bus.envelope(erasure.requested_by.map(UserId::new));
    let command = command(&envelope, user_id);
    if let Ok(newest) = store.refresh::<Account>(user_id.uuid()).await
        && let Err(AccountError::IsRoot) = newest.state.decide(command.clone())
    {
        return Err(EraseError::Refused(AccountError::IsRoot));
    }
    take_secrets(identity, user_id).await?;
    let newest = store.refresh::<Account>(user_id.uuid()).await;
    // Whoever has no account here is on the list only so that nobody comes back.
    if *newest.map_err(Failure::Read)?.state != Account::Absent {
        append(identity, &envelope, user_id, command).await?;
    }
    Ok(())
}

/// How far a round over all keys and passwords has come.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sweep {
    keys: Uuid,
    passwords: Uuid,
}

/// Looks through some keys and password hashes for what no request leads to: those of people whom
/// the log says to be erased, and passwords whose account never came to be. Called again and again it
/// gets through all of them. Says how many keys and passwords were removed.
///
/// # Errors
/// [`EraseError`]; the round goes on where it was.
pub async fn sweep(identity: &Identity, sweep: &mut Sweep) -> Result<usize, EraseError> {
    let keys = identity.bus.store().keys();
    let account = <Account as Decider>::TYPE;
    let page = keys
        .live_though_erased(account, ERASED, sweep.keys, SWEEP_ROWS)
        .await?;
    let now = identity.bus.envelope(None).at;
    for subject in &page.subjects {
        // The list of erasures is as old as the keys.
        let request = Erasure {
            subject: *subject,
            requested_by: None,
            requested_at: now,
        };
        keys.request_erasure(&request).await?;
        keys.destroy(*subject).await?;
    }
    sweep.keys = page.last.unwrap_or_default();
    let swept = identity
        .credentials
        .sweep_password_hashes(
            account,
            ERASED,
            now - ORPHAN_AGE,
            sweep.passwords,
            SWEEP_ROWS,
        )
        .await?;
    sweep.passwords = swept.last.unwrap_or_default();
    Ok(page.subjects.len() + usize::try_from(swept.removed).unwrap_or(0))
}

/// Replays a list of erasures over this database: everybody on it who is here is erased, and nobody
/// on it can come back.
///
/// # Errors
/// [`EraseError`] when the list cannot be written down; it may be applied again.
pub async fn apply(identity: &Identity, list: &[Erasure]) -> Result<Finished, EraseError> {
    for erasure in list {
        identity.bus.store().keys().request_erasure(erasure).await?;
    }
    finish(identity).await
}

fn command(envelope: &Envelope, user_id: UserId) -> AccountCommand {
    AccountCommand::Erase(Erase {
        erased_by: envelope.actor,
        user_id,
        at: envelope.at,
    })
}
