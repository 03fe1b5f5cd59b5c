//! `touchline log state`.

use super::output::Output;
use super::{Archive, Look, aggregate, explain, position, shown_time, time};
use crate::UsageError;
use crate::cli::InstanceOptions;
use clap::Args;
use touchline_domain::audit::LookOperation;
use touchline_eventstore::Position;
use touchline_projections::history::AsOf;

#[derive(Debug, Args)]
pub(crate) struct StateOptions {
    /// The type of the aggregate, such as post
    #[arg(value_name = "TYPE")]
    kind: String,
    /// Its id
    #[arg(value_name = "ID")]
    id: String,
    /// As of when: right after a position, or at a time; now when it is not given
    #[arg(long, value_name = "POSITION|TIME")]
    at: Option<String>,
    /// With what is personal in it; that it was looked at is recorded
    #[arg(long)]
    personal: bool,
    /// As one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceOptions,
}

pub(super) async fn state(options: StateOptions) -> anyhow::Result<()> {
    let as_of = as_of(options.at.as_deref())?;
    let (kind, id) = aggregate(&options.kind, &options.id)?;
    let archive = Archive::open(&options.instance).await?;
    let done = async {
        let look = Look {
            operation: LookOperation::State,
            slice: as_of.slice(kind, id),
            events_max: None,
            personal: options.personal,
        };
        archive.record(look).await?;
        let state = archive.reader.state(kind, id, as_of, options.personal);
        let state = state.await.map_err(explain)?.ok_or_else(|| {
            let when = options.at.as_ref();
            let when = when.map_or_else(String::new, |at| format!(" at {at}"));
            UsageError::new(format!("there was no {} {id}{when}", options.kind))
        })?;
        let mut output = Output::new();
        if options.json {
            output.json(&state)?;
        } else {
            output.line(&format!(
                "{} {} at version {}, by the event at position {} of {}",
                state.aggregate_type,
                state.aggregate_id,
                state.version,
                state.position,
                shown_time(state.recorded_at),
            ))?;
            output.line(&serde_json::to_string_pretty(&state.state)?)?;
        }
        output.end()?;
        anyhow::Ok(())
    }
    .await;
    archive.close().await;
    done
}

/// A number is a position, everything else a time.
fn as_of(at: Option<&str>) -> Result<AsOf, UsageError> {
    match at {
        None => Ok(AsOf::Now),
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            let position = position(text)?;
            if position == Position::START {
                return Err(UsageError::new("positions of events begin at 1"));
            }
            Ok(AsOf::Position(position))
        }
        Some(text) => time(text).map(AsOf::Time),
    }
}
