//! `touchline log begin-anew`: an operator says that the log goes on without something that was signed.

use super::output::Output;
use crate::UsageError;
use crate::cli::InstanceOptions;
use crate::instance::ServerUrls;
use crate::roles::{Parts, kept_in};
use anyhow::Context as _;
use clap::Args;
use touchline_commands::audit;
use touchline_eventstore::seal::{BeginError, Beginning, Keeping, Pending, Seals};

#[derive(Debug, Args)]
pub(crate) struct BeginAnewOptions {
    /// How many events the checkpoint is over that is abandoned, as the refusal of the sealer says;
    /// without it, what would be abandoned is only told
    #[arg(long, value_name = "SIZE")]
    abandon: Option<u64>,
    #[command(flatten)]
    instance: InstanceOptions,
}

pub(super) async fn begin_anew(options: BeginAnewOptions) -> anyhow::Result<()> {
    let parts = Parts::prepare(&ServerUrls::of(&options.instance)?, false).await?;
    parts.nats_tried().await;
    let keeping = parts.keeping(&kept_in(&options.instance.data_dir));
    let begun = begin(&parts, &keeping, options.abandon).await;
    parts.close().await;
    let begun = begun?;
    let mut output = Output::new();
    output.line("The log goes on; the sealer follows within seconds")?;
    for beginning in &begun {
        output.line(&told(beginning))?;
    }
    Ok(output.end()?)
}

async fn begin(
    parts: &Parts,
    keeping: &Keeping,
    abandon: Option<u64>,
) -> anyhow::Result<Vec<Beginning>> {
    let seals = Seals::new(parts.store.pool().clone());
    let keys = parts.store.keys();
    let pending = seals.pending(keys, keeping).await.map_err(explain)?;
    if pending.is_empty() {
        return Err(UsageError::new(format!(
            "nothing contradicts the log that is kept here, so that there is nothing to acknowledge{}",
            if pending.complete { "" } else { "; NATS was not asked, since it does not answer" }
        ))
        .into());
    }
    if abandon != Some(pending.size()) {
        return Err(UsageError::new(refusal(&pending)).into());
    }
    let sealed = seals.latest().await.context("the seals cannot be read")?;
    let sealed = sealed.map_or(0, |last| last.size.sequence());
    let bus = &parts.identity.bus;
    let envelope = bus.envelope(None);
    audit::begin_anew(bus, &envelope, pending.size(), sealed, pending.key_missing)
        .await
        .context("it cannot be recorded, so nothing is begun")?;
    let begun = seals.begin_anew(keys, &pending, envelope.at).await;
    begun.map_err(explain)
}

fn refusal(pending: &Pending) -> String {
    let reasons = pending.contradictions.iter();
    let mut reasons: Vec<_> = reasons.map(|(reason, _)| reason.to_string()).collect();
    if pending.key_missing {
        reasons.push("the log has events and no key".to_owned());
    }
    format!(
        "{}: if that is right, because you restored an older backup, say --abandon {}",
        reasons.join("; "),
        pending.size()
    )
}

/// A new beginning, for a person.
pub(super) fn told(beginning: &Beginning) -> String {
    format!(
        "New beginning {}, acknowledged at {}: the checkpoint of {} events was abandoned, and the log went on from {}",
        beginning.number,
        super::shown_time(beginning.begun_at),
        beginning.abandoned.size,
        beginning.size
    )
}

fn explain(error: BeginError) -> anyhow::Error {
    match error {
        BeginError::KeyOfCheckpointsGone | BeginError::Forged => {
            UsageError::new(error.to_string()).into()
        }
        error => error.into(),
    }
}
