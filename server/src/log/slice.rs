//! The options that every slice of the log is named by.

use super::{position, time, uuid};
use crate::UsageError;
use clap::Args;
use touchline_domain::audit::Slice;
use touchline_domain::id::UserId;

/// Which events: every condition that is given must hold.
#[derive(Debug, Args)]
pub(crate) struct SliceOptions {
    /// Of aggregates of this type, such as post
    #[arg(long, value_name = "TYPE")]
    aggregate_type: Option<String>,
    /// Of the aggregates with this id
    #[arg(long, value_name = "UUID")]
    aggregate_id: Option<String>,
    /// Of this event type, or of a context: `posts.` stands for all types that begin so
    #[arg(long = "type", value_name = "EVENT_TYPE")]
    event_type: Option<String>,
    /// Made to happen by this account
    #[arg(long, value_name = "UUID")]
    actor: Option<String>,
    /// Set in motion by the request with this correlation id
    #[arg(long, value_name = "UUID")]
    correlation_id: Option<String>,
    /// Recorded at this time or later, as in 2022-12-18T15:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Recorded before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// After this position
    #[arg(long, value_name = "POSITION")]
    after: Option<String>,
    /// Up to this position, which included
    #[arg(long, value_name = "POSITION")]
    until: Option<String>,
}

impl SliceOptions {
    /// The slice that they name. Whether it can be is seen when it is looked at.
    pub(super) fn slice(&self) -> Result<Slice, UsageError> {
        let slice = Slice {
            aggregate_type: self.aggregate_type.clone(),
            aggregate_id: self.aggregate_id.as_deref().map(uuid).transpose()?,
            event_type: self.event_type.clone(),
            actor: self
                .actor
                .as_deref()
                .map(uuid)
                .transpose()?
                .map(UserId::new),
            correlation_id: self.correlation_id.as_deref().map(uuid).transpose()?,
            from: self.from.as_deref().map(time).transpose()?,
            to: self.to.as_deref().map(time).transpose()?,
            after: self
                .after
                .as_deref()
                .map(position)
                .transpose()?
                .unwrap_or_default()
                .get(),
            until: self
                .until
                .as_deref()
                .map(position)
                .transpose()?
                .map(touchline_eventstore::Position::get),
        };
        slice
            .check()
            .map_err(|error| UsageError::new(error.to_string()))?;
        Ok(slice)
    }
}
