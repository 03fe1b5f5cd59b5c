//! `touchline log list`.

use super::output::Output;
use super::slice::SliceOptions;
use super::{Archive, INDEX_PATIENCE, Look, explain, shown_time};
use crate::cli::InstanceOptions;
use clap::Args;
use touchline_domain::audit::LookOperation;
use touchline_eventstore::LogEvent;

/// How many events are read at a time.
const PAGE_EVENTS: usize = 1_000;

#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    slice: SliceOptions,
    /// At most so many events
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: u32,
    /// With what is personal in them; that it was looked at is recorded
    #[arg(long)]
    personal: bool,
    /// Events as JSON, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceOptions,
}

pub(super) async fn list(options: ListOptions) -> anyhow::Result<()> {
    let slice = options.slice.slice()?;
    let archive = Archive::open(&options.instance).await?;
    let done = write(&archive, &options, slice).await;
    archive.close().await;
    done
}

async fn write(
    archive: &Archive,
    options: &ListOptions,
    slice: touchline_domain::audit::Slice,
) -> anyhow::Result<()> {
    let reader = &archive.reader;
    let walk = reader.walk(slice, INDEX_PATIENCE).await;
    let mut walk = walk.map_err(explain)?;
    let look = Look {
        operation: LookOperation::List,
        slice: walk.slice(),
        events_max: Some(options.limit),
        personal: options.personal,
    };
    archive.record(look).await?;
    let mut output = Output::new();
    if !options.json {
        output.line(&row([
            "POSITION",
            "RECORDED AT",
            "EVENT",
            "AGGREGATE",
            "ACTOR",
        ]))?;
    }
    let mut left = usize::try_from(options.limit)?;
    while left > 0 && !walk.is_at_end() {
        let events = walk.page(left.min(PAGE_EVENTS)).await.map_err(explain)?;
        left -= events.len();
        let events = reader.show(events, options.personal).await;
        for event in events.map_err(explain)? {
            if options.json {
                output.json(&event)?;
            } else {
                output.line(&line(&event))?;
            }
        }
    }
    if !options.json && !walk.is_at_end() {
        let (after, _) = walk.left();
        output.line(&format!("There may be more: go on with --after {after}"))?;
    }
    output.end()?;
    Ok(())
}

fn line(event: &LogEvent) -> String {
    let metadata = event.metadata_map();
    row([
        &event.position.to_string(),
        &shown_time(event.recorded_at),
        &event.event_type,
        &format!("{} {}", event.aggregate_type, event.aggregate_id),
        metadata.get("actor").map_or("-", String::as_str),
    ])
}

fn row([position, recorded_at, event_type, aggregate, actor]: [&str; 5]) -> String {
    format!("{position:>9}  {recorded_at:<24}  {event_type:<28}  {aggregate:<45}  {actor}")
}
