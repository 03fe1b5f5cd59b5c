//! Erasing a person (L8).
//!
//! Three things happen, in this order, and each may be done again: the request is written down; the
//! log says `identity.account_erased`, upon which every read model forgets; the key is destroyed,
//! and with it everything that the person wrote, wherever the log was copied to. A process that dies
//! in between leaves a request that [`finish`] carries through.

use crate::bus::{ExecuteError, Failure, Intent, Outcome};
use crate::credentials::CredentialsError;
use crate::envelope::Envelope;
use crate::identity::{EMAIL_CLAIM, Identity};
use thiserror::Error;
use touchline_domain::aggregate::Decider;
use touchline_domain::id::UserId;
use touchline_domain::identity::{Account, AccountCommand, AccountError, Erase};
use touchline_eventstore::Claim;
use touchline_eventstore::keys::{Erasure, KeyError};

/// The event that says so, for a look into the log that decodes nothing.
const ERASED: &str = "identity.account_erased";

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
    let command = AccountCommand::Erase(Erase {
        erased_by: envelope.actor,
        user_id,
        at: envelope.at,
    });
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
    // The address may sign up again. The handle is never given to anybody else, who would pass for
    // the one that is gone.
    let addresses = store
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
    let outcome = identity.bus.execute(envelope, intent).await?;
    store.keys().destroy(user_id.uuid()).await?;
    identity.credentials.delete_password_hash(user_id).await?;
    store.forget_states();
    Ok(outcome)
}

/// Carries through every erasure that was cut short, or undone by a restored backup, and says how
/// many there were.
///
/// # Errors
/// [`EraseError`] of the first that failed.
pub async fn finish(identity: &Identity) -> Result<usize, EraseError> {
    let keys = identity.bus.store().keys();
    let unfinished = keys
        .unfinished_erasures(<Account as Decider>::TYPE, ERASED)
        .await?;
    for erasure in &unfinished {
        let actor = erasure.requested_by.map(UserId::new);
        let envelope = identity.bus.envelope(actor);
        erase(identity, &envelope, UserId::new(erasure.subject)).await?;
    }
    Ok(unfinished.len())
}

/// Replays a list of erasures over this database: everybody on it who is here is erased, and nobody
/// on it can come back. Says how many had to be erased.
///
/// # Errors
/// [`EraseError`] of the first that failed; the same list may be applied again.
pub async fn apply(identity: &Identity, list: &[Erasure]) -> Result<usize, EraseError> {
    let keys = identity.bus.store().keys();
    for erasure in list {
        keys.request_erasure(erasure).await?;
    }
    let erased = finish(identity).await?;
    for erasure in list {
        // Also of those whose account this database does not have: their key may be here.
        keys.destroy(erasure.subject).await?;
    }
    Ok(erased)
}
