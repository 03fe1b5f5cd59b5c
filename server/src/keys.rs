//! The file of the master keys, and erasing people.

use crate::UsageError;
use crate::admin;
use crate::cli::{EraseOptions, ErasuresCommand, KeysCommand};
use crate::instance::ServerUrls;
use crate::roles::Parts;
use crate::up::say;
use anyhow::Context as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use touchline_commands::credentials::CredentialsError;
use touchline_commands::erasure::{self, EraseError, Sweep};
use touchline_commands::identity::Identity;
use touchline_commands::{Credentials, Fingerprints};
use touchline_domain::id::UserId;
use touchline_domain::identity::AccountError;
use touchline_embedded::{DataDir, write_private};
use touchline_eventstore::keys::{Erasure, KeyError, MasterKey};
use touchline_eventstore::seal::{SealKeyError, Seals};
use touchline_eventstore::{EventStore, MasterKeys};
use touchline_projections::pause;

/// How often a worker looks for erasures that were cut short.
const FINISH_PAUSE: Duration = Duration::from_mins(1);

/// The master keys in a file.
pub(crate) fn read_master_keys(file: &Path) -> Result<MasterKeys, UsageError> {
    let name = file.display();
    let text = fs::read_to_string(file).map_err(|error| {
        UsageError::new(format!(
            "the master keys cannot be read from {name} ({error}): name their file in TOUCHLINE_MASTER_KEY_FILE"
        ))
    })?;
    MasterKeys::parse(&text).map_err(|error| UsageError::new(format!("{name}: {error}")))
}

/// The file of the instance's own master key, made when it is not there. Lost, it takes everything
/// personal with it.
pub(crate) fn own_master_key_file(folder: &DataDir) -> anyhow::Result<PathBuf> {
    let file = folder.path().join("master.key");
    if !file.exists() {
        let key = MasterKey::generate()?;
        write_private(&file, &format!("{key}\n"))
            .with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok(file)
}

/// Refuses master keys that do not open what is stored.
pub(crate) async fn check(store: &EventStore, file: &Path) -> anyhow::Result<()> {
    let seals = Seals::new(store.pool().clone());
    let checked = match store.keys().check().await {
        Ok(()) => seals.check_keys(store.keys()).await,
        Err(error) => Err(error.into()),
    };
    match checked {
        Err(SealKeyError::Wrapping(KeyError::UnknownMasterKey(id))) => {
            Err(does_not_fit(&id, file).into())
        }
        checked => Ok(checked.context("the keys cannot be read")?),
    }
}

fn does_not_fit(id: &str, file: &Path) -> UsageError {
    UsageError::new(format!(
        "the keys in this database are wrapped by the master key {id}, which {} does not hold: give the file that does",
        file.display()
    ))
}

/// What makes claims and fingerprints, if `file` holds the master key that it is under.
pub(crate) async fn fingerprints(
    credentials: &Credentials,
    file: &Path,
) -> anyhow::Result<Fingerprints> {
    match credentials.fingerprints().await {
        Err(CredentialsError::Wrapping(KeyError::UnknownMasterKey(id))) => {
            Err(does_not_fit(&id, file).into())
        }
        Err(error @ CredentialsError::FingerprintKeyMissing) => {
            Err(UsageError::new(error.to_string()).into())
        }
        read => read.context("the fingerprint key cannot be read"),
    }
}

/// Forgets what is in this process's memory of people whom another one erases.
pub(crate) async fn forget_erased(store: EventStore, stop: CancellationToken) {
    let keys = store.keys().clone();
    keys.watch_erasures(|subject| store.forget_states_of(UserId::new(subject)), stop)
        .await;
}

/// Carries through erasures that were cut short, and removes secrets that belong to nobody, at once
/// and from time to time.
pub(crate) async fn finish_erasures(identity: Identity, stop: CancellationToken) {
    let mut sweep = Sweep::default();
    loop {
        match erasure::finish(&identity).await {
            Ok(finished) => {
                let erased = finished.erased;
                if erased > 0 {
                    tracing::info!(erased, "keys: erasures carried through");
                }
                for (user_id, error) in finished.failed {
                    let error = chain(error);
                    tracing::warn!(%user_id, error, "keys: an erasure was not carried through");
                }
            }
            Err(error) => {
                let error = chain(error);
                tracing::warn!(error, "keys: unfinished erasures cannot be found");
            }
        }
        match erasure::sweep(&identity, &mut sweep).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "keys: secrets of nobody removed"),
            Err(error) => {
                let error = chain(error);
                tracing::warn!(error, "keys: secrets of nobody cannot be looked for");
            }
        }
        let pause = stop.run_until_cancelled(sleep(FINISH_PAUSE));
        if pause.await.is_none() {
            return;
        }
    }
}

fn chain(error: EraseError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

/// `touchline keys`.
pub(crate) async fn keys(command: KeysCommand) -> anyhow::Result<()> {
    match command {
        KeysCommand::Generate => say(&MasterKey::generate()?),
        KeysCommand::Rewrap(options) => {
            let parts = Parts::prepare(&ServerUrls::of(&options)?, false).await?;
            let rewrapped = rewrap(&parts).await;
            parts.close().await;
            let rewrapped = rewrapped.context("not every key was rewrapped: run it again")?;
            say(&format!(
                "{rewrapped} keys rewrapped; older master keys are not needed any more"
            ))
        }
    }
}

/// The keys of people, those that sign access tokens, and those that sign checkpoints.
async fn rewrap(parts: &Parts) -> anyhow::Result<u64> {
    let store = &parts.store;
    let people = store.keys().rewrap().await?;
    let tokens = parts.identity.credentials.rewrap().await?;
    let seals = Seals::new(store.pool().clone());
    Ok(people + tokens + seals.rewrap(store.keys()).await?)
}

/// `touchline erase`.
pub(crate) async fn erase(options: EraseOptions) -> anyhow::Result<()> {
    let parts = Parts::prepare(&ServerUrls::of(&options.instance)?, false).await?;
    let erased = erase_one(&parts.identity, &options.who).await;
    let standing = pause::standing_still(parts.store.pool()).await;
    parts.close().await;
    let user_id = erased?;
    say(&format!("{user_id} is erased"))?;
    for projection in standing.context("whether a read model is paused cannot be read")? {
        say(&format!(
            "The read model {projection} stands still, and shows them until it goes on: see `touchline projections list`"
        ))?;
    }
    Ok(())
}

async fn erase_one(identity: &Identity, who: &str) -> anyhow::Result<UserId> {
    let nobody = || UsageError::new(format!("{who} is neither the id nor the handle of anybody"));
    let user_id = admin::find(identity, who).await?.ok_or_else(nobody)?;
    let envelope = identity.bus.envelope(None);
    match erasure::erase(identity, &envelope, user_id).await {
        Ok(_) => Ok(user_id),
        Err(EraseError::Refused(AccountError::NotRegistered)) => Err(nobody().into()),
        Err(error) => Err(error.into()),
    }
}

/// `touchline erasures`.
pub(crate) async fn erasures(command: ErasuresCommand) -> anyhow::Result<()> {
    match command {
        ErasuresCommand::Export(options) => {
            let parts = Parts::prepare(&ServerUrls::of(&options)?, false).await?;
            let list = parts.store.keys().erasures().await;
            parts.close().await;
            write_list(&list?)
        }
        ErasuresCommand::Apply(options) => {
            let list = read_list(&options.file)?;
            let parts = Parts::prepare(&ServerUrls::of(&options.instance)?, false).await?;
            let applied = erasure::apply(&parts.identity, &list).await;
            parts.close().await;
            let applied = applied.context("the list was not applied wholly: apply it again")?;
            say(&format!(
                "{} erasures in the list, {} had to be carried out again",
                list.len(),
                applied.erased
            ))?;
            let failed = applied.failed.into_iter();
            let failed: Vec<_> = failed
                .map(|(user_id, error)| format!("{user_id}: {}", chain(error)))
                .collect();
            if failed.is_empty() {
                return Ok(());
            }
            anyhow::bail!(
                "{} were not carried out wholly, a worker tries them again: {}",
                failed.len(),
                failed.join("; ")
            )
        }
    }
}

fn write_list(list: &[Erasure]) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    for erasure in list {
        writeln!(output, "{}", serde_json::to_string(erasure)?)?;
    }
    Ok(output.flush()?)
}

fn read_list(file: &Path) -> anyhow::Result<Vec<Erasure>> {
    let name = file.display();
    let text = fs::read_to_string(file)
        .map_err(|error| UsageError::new(format!("{name} cannot be read: {error}")))?;
    (1..)
        .zip(text.lines())
        .map(|(line, erasure): (usize, _)| {
            serde_json::from_str(erasure).map_err(|error| {
                UsageError::new(format!("{name}, line {line}: no erasure ({error}); give what `touchline erasures export` wrote")).into()
            })
        })
        .collect()
}
