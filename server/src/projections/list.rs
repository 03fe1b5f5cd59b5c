//! `touchline projections list`.

use super::{ListOptions, open, say_json};
use crate::up::say;
use anyhow::Context as _;
use touchline_projections::overview::{Overview, overview};
use touchline_projections::registry;

pub(super) async fn list(options: ListOptions) -> anyhow::Result<()> {
    let parts = open(&options.instance).await?;
    let all = overview(&parts.store, &registry::all()).await;
    parts.close().await;
    let all = all.context("the projections cannot be read")?;
    if options.json {
        return all.iter().try_for_each(say_json);
    }
    say(&format!(
        "{:<10} {:<8} {:>7} {:>12} {:>8} {:>6} {:>6}  {}",
        "projection", "state", "version", "position", "behind", "parked", "drift", "note"
    ))?;
    all.iter().try_for_each(|one| say(&line(one)))
}

fn line(one: &Overview) -> String {
    let line = format!(
        "{:<10} {:<8} {:>7} {:>12} {:>8} {:>6} {:>6}  {}",
        one.name,
        one.activity.as_str(),
        one.stored_version,
        one.position,
        one.behind,
        one.parked_aggregates,
        one.drift_rows,
        note(one),
    );
    line.trim_end().to_owned()
}

/// What is out of the ordinary.
fn note(one: &Overview) -> String {
    if let Some(halted) = &one.halted {
        return halted.clone();
    }
    if let Some(by) = &one.paused_by {
        let reason = one.pause_reason.as_deref().unwrap_or_default();
        return format!("paused by {by}: {reason}");
    }
    match &one.rebuild {
        Some(rebuild) if !rebuild.state.is_over() => {
            let target = rebuild.target.unwrap_or(one.position);
            format!(
                "rebuild {} at {} of {target}",
                rebuild.state.as_str(),
                rebuild.position
            )
        }
        _ => String::new(),
    }
}
