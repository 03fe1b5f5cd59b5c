//! `touchline projections`: read models for the data team.
//!
//! A rebuild or a verification is only asked for here. A worker does it, and goes on with it when
//! this program, or the worker itself, ends.

mod follow;
mod list;
mod parked;
mod rebuild;
mod verify;

use crate::UsageError;
use crate::cli::InstanceOptions;
use crate::instance::ServerUrls;
use crate::roles::Parts;
use crate::up::say;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Serialize;
use std::sync::Arc;
use touchline_domain::reason::Reason;
use touchline_projections::{ReadModel, pause, registry};

#[derive(Debug, Subcommand)]
pub(crate) enum ProjectionsCommand {
    /// How every read model stands
    List(ListOptions),
    /// Fill the tables anew beside those that serve, and swap them
    Rebuild(rebuild::RebuildOptions),
    /// Fold the log once more, and name every row that is not what the log says
    Verify(verify::VerifyOptions),
    /// Fold nothing until resumed; readers see the read model as it was
    Pause(PauseOptions),
    /// Go on after a pause
    Resume(NamedOptions),
    /// The aggregates whose events wait; retry them in order, or give them up
    Parked(parked::ParkedOptions),
}

#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceOptions,
}

#[derive(Debug, Args)]
pub(crate) struct NamedOptions {
    /// The read model
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    instance: InstanceOptions,
}

#[derive(Debug, Args)]
pub(crate) struct PauseOptions {
    /// The read model
    #[arg(value_name = "NAME")]
    name: String,
    /// Why, for others
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: Reason,
    #[command(flatten)]
    instance: InstanceOptions,
}

/// One read model or all of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Selection {
    /// The read model
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Every read model
    #[arg(long)]
    all: bool,
}

impl Selection {
    fn models(&self) -> Result<Vec<Arc<dyn ReadModel>>, UsageError> {
        match &self.name {
            Some(name) => Ok(vec![find(name)?]),
            None => Ok(registry::all()),
        }
    }
}

/// The read model of this name.
fn find(name: &str) -> Result<Arc<dyn ReadModel>, UsageError> {
    registry::find(name).ok_or_else(|| {
        let known = registry::names().join(", ");
        UsageError::new(format!("there is no projection {name}: there are {known}"))
    })
}

/// Who asks, for the records: the account on this machine.
fn operator() -> String {
    let user = std::env::var("USER").or_else(|_unset| std::env::var("LOGNAME"));
    user.unwrap_or_else(|_unset| "operator".to_owned())
}

/// Runs one of them.
pub(crate) async fn projections(command: ProjectionsCommand) -> anyhow::Result<()> {
    match command {
        ProjectionsCommand::List(options) => list::list(options).await,
        ProjectionsCommand::Rebuild(options) => rebuild::rebuild(options).await,
        ProjectionsCommand::Verify(options) => verify::verify(options).await,
        ProjectionsCommand::Pause(options) => set_paused(options).await,
        ProjectionsCommand::Resume(options) => resume(options).await,
        ProjectionsCommand::Parked(options) => parked::parked(options).await,
    }
}

async fn open(instance: &InstanceOptions) -> anyhow::Result<Parts> {
    Parts::prepare(&ServerUrls::of(instance)?, false).await
}

async fn set_paused(options: PauseOptions) -> anyhow::Result<()> {
    let model = find(&options.name)?;
    let parts = open(&options.instance).await?;
    let paused = pause::pause(
        parts.store.pool(),
        model.name(),
        &operator(),
        options.reason.as_str(),
    )
    .await;
    parts.close().await;
    say(&if paused.context("it cannot be paused")? {
        format!("{} is paused", model.name())
    } else {
        format!("{} was paused already", model.name())
    })
}

async fn resume(options: NamedOptions) -> anyhow::Result<()> {
    let model = find(&options.name)?;
    let parts = open(&options.instance).await?;
    let resumed = pause::resume(parts.store.pool(), model.name(), &operator()).await;
    parts.close().await;
    say(&if resumed.context("it cannot be resumed")? {
        format!("{} goes on", model.name())
    } else {
        format!("{} was not paused", model.name())
    })
}

fn say_json(value: &impl Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string(value)?)
}
