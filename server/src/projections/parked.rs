//! `touchline projections parked`.

use super::{find, open, operator, say_json};
use crate::UsageError;
use crate::cli::InstanceOptions;
use crate::roles::Parts;
use crate::up::say;
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use touchline_domain::reason::Reason;
use touchline_projections::ReadModel;
use touchline_projections::parked::{self as queries, Parked, ParkedError, Retried};

/// The most characters of a name that is kept with what somebody did.
const NAME_CHARS_MAX: usize = 100;

#[derive(Debug, Args)]
pub(crate) struct ParkedOptions {
    /// The read model
    #[arg(value_name = "NAME")]
    name: String,
    /// What to do about the waiting events of an aggregate; without it, all are listed
    #[arg(value_name = "ACTION", requires = "aggregate_id")]
    action: Option<Action>,
    /// The id of the aggregate
    #[arg(value_name = "AGGREGATE")]
    aggregate_id: Option<String>,
    /// Why they are given up; kept for ever
    #[arg(long, value_name = "TEXT", required_if_eq("action", "discard"))]
    reason: Option<Reason>,
    /// Who answers for it; kept for ever
    #[arg(long, value_name = "NAME", value_parser = somebody, required_if_eq("action", "discard"))]
    by: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceOptions,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Action {
    /// Fold them in order: all of them or none
    Retry,
    /// Give them up, for this version of the read model
    Discard,
}

/// A name, without white space around it.
fn somebody(text: &str) -> Result<String, String> {
    let name = text.trim();
    if !(1..=NAME_CHARS_MAX).contains(&name.chars().count()) {
        return Err(format!("must have 1 to {NAME_CHARS_MAX} characters"));
    }
    Ok(name.to_owned())
}

pub(super) async fn parked(options: ParkedOptions) -> anyhow::Result<()> {
    let model = find(&options.name)?;
    let parts = open(&options.instance).await?;
    let id = options.aggregate_id.as_deref().unwrap_or_default();
    let done = match options.action {
        None => list(&parts, &*model, options.json).await,
        Some(Action::Retry) => retry(&parts, &*model, id, options.json).await,
        Some(Action::Discard) => {
            let (reason, by) = (
                options.reason.unwrap_or_default(),
                options.by.unwrap_or_default(),
            );
            discard(&parts, &*model, id, (reason.as_str(), &by)).await
        }
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
            "{events} events were folded, and the aggregate goes on; a rebuild was requested, which folds them in their order and tries whatever else is parked"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_as_many_characters_as_the_limit_and_not_one_more() {
        let longest = "é".repeat(NAME_CHARS_MAX);
        assert_eq!(somebody(&format!(" {longest} ")), Ok(longest.clone()));
        for wrong in [format!("{longest}x"), " ".to_owned()] {
            let error = Err("must have 1 to 100 characters".to_owned());
            assert_eq!(somebody(&wrong), error);
        }
    }
}
