//! `touchline log`: reading history, for auditors.
//!
//! Every look is recorded before anything is shown: without an account it is the operator's.

mod begin_anew;
mod export;
mod list;
mod output;
mod proof;
mod show;
mod slice;
mod state;
mod verify;
mod witness;

use crate::UsageError;
use crate::cli::InstanceOptions;
use crate::instance::ServerUrls;
use crate::roles::Parts;
use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};
use clap::Subcommand;
use std::time::Duration;
use touchline_commands::audit::{self, Reading};
use touchline_domain::Kind;
use touchline_domain::audit::{LookOperation, Slice, Surface};
use touchline_eventstore::Position;
use touchline_projections::history::{HistoryReader, ReadHistoryError};
use touchline_projections::{Freshness, registry};
use uuid::Uuid;

/// How long the index on who did what and when is waited for.
const INDEX_PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// The events of a slice of the log
    List(list::ListOptions),
    /// One event, or the history of one aggregate, and what each event changed
    Show(show::ShowOptions),
    /// What an aggregate was right after a position, or at a time
    State(state::StateOptions),
    /// A slice of the log as a file that shows when it is cut
    Export(export::ExportOptions),
    /// Is the log, or an export of it, what it was? Digests, order, tree and signatures
    Verify(verify::VerifyOptions),
    /// Go on without a checkpoint that was signed, after an older backup was restored
    BeginAnew(begin_anew::BeginAnewOptions),
    /// What shows somebody else that an event, or an older log, is in the log
    #[command(subcommand)]
    Proof(proof::ProofCommand),
    /// The last signed checkpoint, to be kept elsewhere
    Checkpoint(proof::CheckpointOptions),
    /// Cosign the checkpoints of logs that go on from what was seen of them, for others to rely on
    Witness(witness::WitnessOptions),
    /// The key that checkpoints are verified with
    Key(proof::KeyOptions),
}

/// Runs one of them.
pub(crate) async fn log(command: LogCommand) -> anyhow::Result<()> {
    let done = match command {
        LogCommand::List(options) => list::list(options).await,
        LogCommand::Show(options) => show::show(options).await,
        LogCommand::State(options) => state::state(options).await,
        LogCommand::Export(options) => export::export(options).await,
        LogCommand::Verify(options) => verify::verify(options).await,
        LogCommand::BeginAnew(options) => begin_anew::begin_anew(options).await,
        LogCommand::Proof(command) => proof::proof(command).await,
        LogCommand::Checkpoint(options) => proof::checkpoint(options).await,
        LogCommand::Witness(options) => witness::witness(options).await,
        LogCommand::Key(options) => proof::key(options).await,
    };
    output::unless_closed(done)
}

/// The log of one run, and whoever reads it.
pub(crate) struct Archive {
    parts: Parts,
    pub(crate) reader: HistoryReader,
}

impl Archive {
    pub(crate) async fn open(options: &InstanceOptions) -> anyhow::Result<Self> {
        let parts = Parts::prepare(&ServerUrls::of(options)?, false).await?;
        let pool = parts.store.pool().clone();
        let freshness = Freshness::new(pool, &registry::names(), &[]);
        let reader = HistoryReader::new(parts.store.clone(), freshness);
        Ok(Self { parts, reader })
    }

    /// Records that the operator looks. Nothing may be shown before.
    pub(crate) async fn record(&self, look: Look) -> anyhow::Result<()> {
        let bus = &self.parts.identity.bus;
        let reading = Reading {
            surface: Surface::Cli,
            operation: look.operation,
            slice: look.slice,
            events_max: look.events_max,
            personal: look.personal,
        };
        audit::record(bus, &bus.envelope(None), reading)
            .await
            .context("the look cannot be recorded, so nothing is shown")?;
        Ok(())
    }

    pub(crate) async fn close(self) {
        self.parts.close().await;
    }
}

/// What is about to be read.
pub(crate) struct Look {
    pub(crate) operation: LookOperation,
    pub(crate) slice: Slice,
    pub(crate) events_max: Option<u32>,
    pub(crate) personal: bool,
}

/// What was asked for wrongly is told in one line; the rest is a failure.
pub(crate) fn explain(error: ReadHistoryError) -> anyhow::Error {
    match error {
        ReadHistoryError::Slice(_) | ReadHistoryError::BeyondHead { .. } => {
            UsageError::new(error.to_string()).into()
        }
        ReadHistoryError::Behind(_) => {
            anyhow::Error::from(error).context("the index is behind: does a worker run?")
        }
        error => error.into(),
    }
}

/// The aggregate that two words name.
pub(crate) fn aggregate(kind: &str, id: &str) -> Result<(&'static Kind, Uuid), UsageError> {
    let found = touchline_domain::kind(kind).ok_or_else(|| {
        let known: Vec<_> = touchline_domain::CATALOGUE
            .iter()
            .map(|kind| kind.aggregate_type)
            .collect();
        UsageError::new(format!(
            "there is no aggregate type {kind}: it is one of {}",
            known.join(", ")
        ))
    })?;
    Ok((found, uuid(id)?))
}

pub(crate) fn uuid(text: &str) -> Result<Uuid, UsageError> {
    Uuid::try_parse(text).map_err(|_malformed| UsageError::new(format!("{text} is no UUID")))
}

pub(crate) fn position(text: &str) -> Result<Position, UsageError> {
    text.parse().map_err(|_malformed| {
        UsageError::new(format!(
            "{text} is no position: it is a whole number from 0"
        ))
    })
}

pub(crate) fn time(text: &str) -> Result<DateTime<Utc>, UsageError> {
    text.parse().map_err(|_malformed| {
        UsageError::new(format!(
            "{text} is no time: write it as 2022-12-18T15:00:00Z"
        ))
    })
}

/// A time as it is shown.
pub(crate) fn shown_time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
