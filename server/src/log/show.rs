//! `touchline log show`.

use super::output::Output;
use super::{Archive, Look, aggregate, explain, position, shown_time};
use crate::UsageError;
use crate::cli::InstanceOptions;
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use touchline_domain::audit::{LookOperation, Slice};
use touchline_domain::replay::Change;
use touchline_eventstore::{LogEvent, Position};

/// The most events that are shown at once.
const EVENTS_MAX: u32 = 1_000;

#[derive(Debug, Args)]
pub(crate) struct ShowOptions {
    /// The position of an event, or the type of an aggregate
    #[arg(value_name = "POSITION|TYPE")]
    what: String,
    /// The id of the aggregate
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// With what each event changed in its aggregate
    #[arg(long)]
    changes: bool,
    /// The aggregate's events after this position
    #[arg(long, value_name = "POSITION")]
    after: Option<String>,
    /// With what is personal in them; that it was looked at is recorded
    #[arg(long)]
    personal: bool,
    /// Events as JSON, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceOptions,
}

/// An event, and what it changed if that is wanted.
#[derive(Serialize)]
struct Shown {
    event: LogEvent,
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Vec<Change>>,
}

pub(super) async fn show(options: ShowOptions) -> anyhow::Result<()> {
    let slice = slice(&options)?;
    let archive = Archive::open(&options.instance).await?;
    let done = write(&archive, &options, slice).await;
    archive.close().await;
    done
}

/// The slice that the words name.
fn slice(options: &ShowOptions) -> Result<Slice, UsageError> {
    let after = options.after.as_deref().map(position).transpose()?;
    match (&options.id, after) {
        (Some(id), after) => {
            let (kind, id) = aggregate(&options.what, id)?;
            Ok(Slice {
                after: after.unwrap_or_default().get(),
                ..Slice::of_aggregate(kind.aggregate_type, id)
            })
        }
        (None, None) if options.what.bytes().all(|byte| byte.is_ascii_digit()) => {
            let position = position(&options.what)?;
            if position == Position::START {
                return Err(UsageError::new("positions of events begin at 1"));
            }
            Ok(Slice {
                after: position.previous().get(),
                until: Some(position.get()),
                ..Slice::whole()
            })
        }
        (None, _) => Err(UsageError::new(
            "name a position, or the type and the id of an aggregate",
        )),
    }
}

async fn write(archive: &Archive, options: &ShowOptions, slice: Slice) -> anyhow::Result<()> {
    let walk = archive.reader.walk(slice, super::INDEX_PATIENCE).await;
    let mut walk = walk.map_err(explain)?;
    let look = Look {
        operation: LookOperation::Show,
        slice: walk.slice(),
        events_max: Some(EVENTS_MAX),
        personal: options.personal,
    };
    archive.record(look).await?;
    let (after, until) = walk.left();
    let limit = usize::try_from(EVENTS_MAX)?;
    let events = walk.page(limit).await.map_err(explain)?;
    if let (Some(id), true) = (&options.id, events.is_empty()) {
        let what = &options.what;
        let line = if after == Position::START {
            format!("there is no {what} {id}")
        } else {
            format!("nothing happened to {what} {id} after position {after}")
        };
        return Err(UsageError::new(line).into());
    }
    let shown = if options.changes {
        changed(archive, options, &events, (after, until)).await?
    } else {
        let events = archive.reader.show(events, options.personal).await;
        let events = events.map_err(explain)?.into_iter();
        let shown = events.map(|event| Shown {
            event,
            changes: None,
        });
        shown.collect()
    };
    let mut output = Output::new();
    for shown in &shown {
        if options.json {
            output.json(shown)?;
        } else {
            tell(&mut output, shown)?;
        }
    }
    if !options.json && !walk.is_at_end() {
        let (after, _) = walk.left();
        output.line(&format!("There may be more: go on with --after {after}"))?;
    }
    output.end()?;
    Ok(())
}

/// What the events changed, which are all of one aggregate.
async fn changed(
    archive: &Archive,
    options: &ShowOptions,
    events: &[LogEvent],
    range: (Position, Position),
) -> anyhow::Result<Vec<Shown>> {
    let Some(first) = events.first() else {
        return Ok(Vec::new());
    };
    let (kind, id) = aggregate(&first.aggregate_type, &first.aggregate_id)?;
    let changes = archive
        .reader
        .changes(kind, id, range, events.len(), options.personal)
        .await
        .map_err(explain)?;
    let shown = changes.into_iter().map(|changed| Shown {
        event: changed.event,
        changes: Some(changed.changes),
    });
    Ok(shown.collect())
}

fn tell(output: &mut Output, shown: &Shown) -> anyhow::Result<()> {
    let event = &shown.event;
    output.line(&format!(
        "{}  {} v{}",
        event.position, event.event_type, event.event_version
    ))?;
    output.line(&format!(
        "  aggregate       {} {}, event {}",
        event.aggregate_type, event.aggregate_id, event.sequence
    ))?;
    output.line(&format!(
        "  recorded        {}",
        shown_time(event.recorded_at)
    ))?;
    output.line(&format!("  event id        {}", event.event_id))?;
    for (key, value) in event.metadata_map() {
        output.line(&format!("  {:<15} {value}", key.replace('_', " ")))?;
    }
    output.line(&format!("  digest          {}", event.digest))?;
    let payload: Value = serde_json::from_str(event.payload.get())?;
    for (field, value) in payload
        .get(&event.event_type)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        output.line(&format!("    {field}: {value}"))?;
    }
    for change in shown.changes.iter().flatten() {
        let side = |value: &Option<Value>| {
            value
                .as_ref()
                .map_or_else(|| "nothing".to_owned(), ToString::to_string)
        };
        let (old, new) = (side(&change.old), side(&change.new));
        output.line(&format!("  changed {}: {old} → {new}", change.path))?;
    }
    output.line("")?;
    Ok(())
}
