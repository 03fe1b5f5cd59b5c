//! `touchline projections parked`.

use super::{find, open, operator, say_json};
use crate::UsageError;
use crate::cli::InstanceOptions;
use crate::roles::Parts;
use crate::up::say;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use touchline_projections::ReadModel;
use touchline_projections::parked::{self as queries, Parked, ParkedError, Retried};

#[derive(Debug, Args)]
#[command(subcommand_negates_reqs = false)]
pub(crate) struct ParkedOptions {
    /// The read model
    #[arg(value_name = "NAME")]
    name: String,
    /// One JSON object a line
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    instance: InstanceOptions,
    #[command(subcommand)]
    action: Option<ParkedAction>,
}

#[derive(Debug, Subcommand)]
enum ParkedAction {
    /// Fold the waiting events of an aggregate in order: all of them or none
    Retry {
        /// The id of the aggregate
        #[arg(value_name = "AGGREGATE")]
        aggregate_id: String,
    },
    /// Give the waiting events of an aggregate up, for this version of the read model
    Discard {
        /// The id of the aggregate
        #[arg(value_name = "AGGREGATE")]
        aggregate_id: String,
        /// Why; kept for ever
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Who answers for it; kept for ever
        #[arg(long, value_name = "NAME")]
        by: String,
    },
}

pub(super) async fn parked(options: ParkedOptions) -> anyhow::Result<()> {
    let model = find(&options.name)?;
    let parts = open(&options.instance).await?;
    let done = match &options.action {
        None => list(&parts, &*model, options.json).await,
        Some(ParkedAction::Retry { aggregate_id }) => {
            retry(&parts, &*model, aggregate_id, options.json).await
        }
        Some(ParkedAction::Discard {
            aggregate_id,
            reason,
            by,
        }) => discard(&parts, &*model, aggregate_id, (reason, by)).await,
    };
    parts.close().await;
    done
}

async fn list(parts: &Parts, model: &dyn ReadModel, json: bool) -> anyhow::Result<()> {
    let all = queries::list(parts.store.pool(), model.name())
        .await
        .context("what is parked cannot be read")?;
    if json {
        return all.iter().try_for_each(say_json);
    }
    if all.is_empty() {
        return say(&format!("{}: nothing is parked", model.name()));
    }
    all.iter().try_for_each(|one| say(&line(one)))
}

fn line(one: &Parked) -> String {
    format!(
        "{} {}: {} events wait from position {} on, since {}: {}",
        one.aggregate_type,
        one.aggregate_id,
        one.events,
        one.first_position,
        one.parked_at.format("%Y-%m-%d %H:%M:%S UTC"),
        one.reason,
    )
}

async fn retry(
    parts: &Parts,
    model: &dyn ReadModel,
    aggregate_id: &str,
    json: bool,
) -> anyhow::Result<()> {
    let retried = queries::retry(&parts.store, model, aggregate_id, &operator())
        .await
        .map_err(explain)?;
    if json {
        say_json(&retried)?;
    }
    match retried {
        Retried::Unparked { .. } if json => Ok(()),
        Retried::Unparked { events } => say(&format!(
            "{events} events were folded, and the aggregate goes on"
        )),
        Retried::StillParked { reason } => anyhow::bail!("still parked: {reason}"),
    }
}

async fn discard(
    parts: &Parts,
    model: &dyn ReadModel,
    aggregate_id: &str,
    (reason, by): (&str, &str),
) -> anyhow::Result<()> {
    let events = queries::discard(parts.store.pool(), model, aggregate_id, reason, by)
        .await
        .map_err(explain)?;
    say(&format!(
        "{events} events were given up; who did it and why is kept"
    ))
}

/// What was asked for wrongly is told in one line; the rest is a failure.
fn explain(error: ParkedError) -> anyhow::Error {
    match error {
        ParkedError::Read(_) | ParkedError::Write(_) | ParkedError::Database(_) => error.into(),
        wrong => UsageError::new(wrong.to_string()).into(),
    }
}
