//! Which part of the log somebody asks for.

use crate::CATALOGUE;
use crate::clock::Timestamp;
use crate::id::UserId;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

/// A part of the log: the events for which every condition holds that is given, in log order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// Of aggregates of this type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate_type: Option<String>,
    /// Of the aggregates with this id: at most one per type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate_id: Option<Uuid>,
    /// Of this event type, or of a context: `posts.` stands for all types that begin so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Made to happen by this account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<UserId>,
    /// Set in motion by the request with this correlation id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Uuid>,
    /// Recorded at this time or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Recorded before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// After this position; 0 for the beginning.
    #[serde(default)]
    pub after: i64,
    /// Up to this position, which included; none for the end as it was when somebody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
}

/// Why a slice cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SliceError {
    /// No aggregate is of this type.
    #[error("there is no aggregate type {name}")]
    UnknownAggregateType {
        /// The type asked for.
        name: String,
    },
    /// No event has this type, and no context this name.
    #[error("there is no event type {name}; a context ends with a dot, such as posts.")]
    UnknownEventType {
        /// The type asked for.
        name: String,
    },
    /// The end of the time is not after its beginning.
    #[error("the time ends before it begins: from must be before to")]
    BackwardsTime,
    /// The last position is not after the first.
    #[error("the range is backwards: after {after} there is nothing up to {until}")]
    BackwardsRange {
        /// After which position.
        after: i64,
        /// Up to which.
        until: i64,
    },
}

impl Slice {
    /// The whole log.
    #[must_use]
    pub fn whole() -> Self {
        Self::default()
    }

    /// The history of one aggregate.
    #[must_use]
    pub fn of_aggregate(aggregate_type: &str, id: Uuid) -> Self {
        Self {
            aggregate_type: Some(aggregate_type.to_owned()),
            aggregate_id: Some(id),
            ..Self::default()
        }
    }

    /// Whether every event of the log from the first on is in it, up to where it ends.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let whole = Self {
            until: self.until,
            ..Self::default()
        };
        *self == whole
    }

    /// The event types that can be in it; none when all can.
    ///
    /// # Errors
    /// [`SliceError`] when a name is unknown or a range is backwards.
    pub fn check(&self) -> Result<Option<Vec<&'static str>>, SliceError> {
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from >= to
        {
            return Err(SliceError::BackwardsTime);
        }
        if let Some(until) = self.until
            && until < self.after
        {
            return Err(SliceError::BackwardsRange {
                after: self.after,
                until,
            });
        }
        let of_aggregate = self.types_of_aggregate()?;
        let of_name = self.types_of_name()?;
        Ok(match (of_aggregate, of_name) {
            (Some(mut types), Some(named)) => {
                types.retain(|name| named.contains(name));
                Some(types)
            }
            (types, None) | (None, types) => types,
        })
    }

    /// The types of aggregate whose events can be in it.
    #[must_use]
    pub fn aggregate_types(&self) -> Vec<&'static str> {
        let all = CATALOGUE.iter().map(|kind| kind.aggregate_type);
        let wanted = self.aggregate_type.as_deref();
        all.filter(|name| wanted.is_none_or(|wanted| wanted == *name))
            .collect()
    }

    fn types_of_aggregate(&self) -> Result<Option<Vec<&'static str>>, SliceError> {
        let Some(wanted) = &self.aggregate_type else {
            return Ok(None);
        };
        let kind = crate::kind(wanted).ok_or_else(|| SliceError::UnknownAggregateType {
            name: wanted.clone(),
        })?;
        Ok(Some(kind.events.iter().map(|(name, _)| *name).collect()))
    }

    fn types_of_name(&self) -> Result<Option<Vec<&'static str>>, SliceError> {
        let Some(wanted) = &self.event_type else {
            return Ok(None);
        };
        let is_context = wanted.ends_with('.');
        let types: Vec<&str> = CATALOGUE
            .iter()
            .flat_map(|kind| kind.events)
            .map(|(name, _)| *name)
            .filter(|name| name == wanted || (is_context && name.starts_with(wanted.as_str())))
            .collect();
        if types.is_empty() {
            return Err(SliceError::UnknownEventType {
                name: wanted.clone(),
            });
        }
        Ok(Some(types))
    }
}
