//! `touchline projections rebuild`.

use super::follow::{Bars, Stage, Watched, speed};
use super::{Selection, open, operator, say_json};
use crate::cli::InstanceOptions;
use crate::roles::Parts;
use crate::up::say;
use anyhow::Context as _;
use clap::Args;
use futures::future::try_join_all;
use std::sync::Arc;
use touchline_domain::reason::Reason;
use touchline_eventstore::Position;
use touchline_projections::ReadModel;
use touchline_projections::rebuild::{self, Rebuild, RebuildState, Requested};

#[derive(Debug, Args)]
pub(crate) struct RebuildOptions {
    #[command(flatten)]
    selection: Selection,
    /// Why, for others
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: Reason,
    /// Do not wait until it is done
    #[arg(long)]
    detach: bool,
    /// Cancel the rebuild under way
    #[arg(long, conflicts_with_all = ["reason", "detach"])]
    cancel: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceOptions,
}

impl Watched for Rebuild {
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

pub(super) async fn rebuild(options: RebuildOptions) -> anyhow::Result<()> {
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
        let cancelled = match rebuild::open(pool, name).await? {
            Some(under_way) => rebuild::cancel(pool, name, under_way.rebuild_id).await?,
            None => false,
        };
        say(&if cancelled {
            format!("{name}: the rebuild is cancelled, the tables of before still serve")
        } else {
            format!("{name}: no rebuild is under way")
        })?;
    }
    Ok(())
}

async fn run(
    parts: &Parts,
    models: &[Arc<dyn ReadModel>],
    options: &RebuildOptions,
) -> anyhow::Result<()> {
    let pool = parts.store.pool();
    let mut under_way = Vec::with_capacity(models.len());
    for model in models {
        let (name, version) = (model.name(), model.version());
        let requested = rebuild::request(pool, name, version, &operator(), options.reason.as_str())
            .await
            .context("a rebuild cannot be asked for")?;
        if let Requested::UnderWay(it) = &requested {
            let by = &it.requested_by;
            tracing::warn!(projection = name, by, "a rebuild is under way already");
        }
        under_way.push(requested.into_inner());
    }
    if options.detach {
        return under_way.iter().try_for_each(|it| show(it, options.json));
    }
    let bars = Bars::new();
    let follow = |it| {
        bars.follow(it, async |now: &Rebuild| {
            let found = rebuild::find(pool, &now.projection, now.rebuild_id).await?;
            found.context("the rebuild has gone")
        })
    };
    let over = try_join_all(under_way.into_iter().map(follow)).await?;
    over.iter().try_for_each(|it| show(it, options.json))?;
    let not_done: Vec<&str> = over
        .iter()
        .filter(|it| it.state != RebuildState::Done)
        .map(|it| &*it.projection)
        .collect();
    anyhow::ensure!(not_done.is_empty(), "not rebuilt: {}", not_done.join(", "));
    Ok(())
}

fn show(rebuild: &Rebuild, json: bool) -> anyhow::Result<()> {
    if json {
        return say_json(rebuild);
    }
    let name = &rebuild.projection;
    say(&match rebuild.state {
        RebuildState::Done => {
            let folded = rebuild.position.since(Position::START);
            let speed = speed(folded, rebuild.started_at, rebuild.finished_at);
            let pause = rebuild.swap_pause_us.map_or_else(String::new, |micros| {
                format!("; readers waited {micros} µs at the swap")
            });
            let drift = match rebuild.drift_rows {
                None => String::new(),
                Some(rows) => format!("; {rows} rows had been wrong"),
            };
            format!("{name}: rebuilt, {speed}{drift}{pause}")
        }
        RebuildState::Failed => {
            let why = rebuild.failure.as_deref().unwrap_or_default();
            format!("{name}: failed, the tables of before still serve: {why}")
        }
        state => format!("{name}: {}", state.as_str()),
    })
}
