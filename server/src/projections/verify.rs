//! `touchline projections verify`.

use super::follow::{Bars, Stage, Watched, speed};
use super::{Selection, open, operator, say_json};
use crate::cli::InstanceOptions;
use crate::roles::Parts;
use crate::up::say;
use anyhow::Context as _;
use clap::Args;
use futures::future::try_join_all;
use std::sync::Arc;
use touchline_eventstore::Position;
use touchline_projections::ReadModel;
use touchline_projections::verify::{self, Finding, Verification, VerificationState};

#[derive(Debug, Args)]
pub(crate) struct VerifyOptions {
    #[command(flatten)]
    selection: Selection,
    /// Do not wait until it is done
    #[arg(long)]
    detach: bool,
    /// Cancel the verification under way
    #[arg(long, conflicts_with = "detach")]
    cancel: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceOptions,
}

impl Watched for Verification {
    fn name(&self) -> &str {
        &self.projection
    }

    fn stage(&self) -> Stage {
        Stage {
            state: self.state.as_str(),
            is_over: self.state.is_over(),
            position: self.position,
            target: self.target,
        }
    }
}

pub(super) async fn verify(options: VerifyOptions) -> anyhow::Result<()> {
    let models = options.selection.models()?;
    let parts = open(&options.instance).await?;
    let done = if options.cancel {
        cancel(&parts, &models).await
    } else {
        run(&parts, &models, &options).await
    };
    parts.close().await;
    done
}

async fn cancel(parts: &Parts, models: &[Arc<dyn ReadModel>]) -> anyhow::Result<()> {
    let pool = parts.store.pool();
    for model in models {
        let name = model.name();
        let cancelled = match verify::open(pool, name).await? {
            Some(under_way) => verify::cancel(pool, name, under_way.verification_id).await?,
            None => false,
        };
        say(&if cancelled {
            format!("{name}: the verification is cancelled")
        } else {
            format!("{name}: no verification is under way")
        })?;
    }
    Ok(())
}

async fn run(
    parts: &Parts,
    models: &[Arc<dyn ReadModel>],
    options: &VerifyOptions,
) -> anyhow::Result<()> {
    let pool = parts.store.pool();
    let mut under_way = Vec::with_capacity(models.len());
    for model in models {
        let requested = verify::request(pool, model.name(), model.version(), &operator())
            .await
            .context("a verification cannot be asked for")?;
        under_way.push(requested.into_inner());
    }
    if options.detach {
        return under_way.iter().try_for_each(|it| show(it, options.json));
    }
    let bars = Bars::new();
    let follow = |it| {
        bars.follow(it, async |now: &Verification| {
            let found = verify::find(pool, &now.projection, now.verification_id).await?;
            found.context("the verification has gone")
        })
    };
    let over = try_join_all(under_way.into_iter().map(follow)).await?;
    over.iter().try_for_each(|it| show(it, options.json))?;
    let is_clean = |it: &Verification| {
        it.state == VerificationState::Done && it.drift_rows.is_none_or(|rows| rows == 0)
    };
    let unclean: Vec<&str> = over
        .iter()
        .filter(|it| !is_clean(it))
        .map(|it| &*it.projection)
        .collect();
    anyhow::ensure!(
        unclean.is_empty(),
        "not what the log says: {}",
        unclean.join(", ")
    );
    Ok(())
}

fn show(verification: &Verification, json: bool) -> anyhow::Result<()> {
    if json {
        return say_json(verification);
    }
    let name = &verification.projection;
    match verification.state {
        VerificationState::Done => {
            let folded = verification.position.since(Position::START);
            let speed = speed(folded, verification.started_at, verification.finished_at);
            let rows = verification.rows_compared.unwrap_or_default();
            let drift = verification.drift_rows.unwrap_or_default();
            say(&format!(
                "{name}: {rows} rows compared at position {}, {drift} differ; {speed}",
                verification.position
            ))?;
            let named = u64::try_from(verification.findings.len()).unwrap_or(u64::MAX);
            verification
                .findings
                .iter()
                .try_for_each(|it| say(&describe(it)))?;
            let unnamed = u64::try_from(drift)
                .unwrap_or_default()
                .saturating_sub(named);
            if unnamed > 0 {
                say(&format!("  … and {unnamed} more"))?;
            }
            Ok(())
        }
        VerificationState::Failed => {
            let why = verification.failure.as_deref().unwrap_or_default();
            say(&format!("{name}: cannot be verified: {why}"))
        }
        state => say(&format!("{name}: {}", state.as_str())),
    }
}

fn describe(finding: &Finding) -> String {
    let (difference, table) = (finding.difference.as_str(), &finding.table);
    let columns = if finding.columns.is_empty() {
        String::new()
    } else {
        format!(" in {}", finding.columns.join(", "))
    };
    format!("  {difference:<7} {table} {}{columns}", finding.key)
}
