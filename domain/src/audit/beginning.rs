//! The beginning aggregate: an operator says that the log goes on without something that was signed.

use crate::aggregate::Decider;
use crate::clock::Timestamp;
use crate::cqrs_aggregate;
use crate::id::BeginningId;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;

/// The log goes on without a checkpoint that was signed: an older backup was restored, say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogBegunAnew {
    /// The new beginning.
    pub beginning_id: BeginningId,
    /// How many events the abandoned checkpoint was over; 0 when only the key was lost.
    pub abandoned_size: u64,
    /// How many events were sealed when the log went on.
    pub size: u64,
    /// Whether a new key had to be made.
    pub key_made: bool,
    /// When.
    pub begun_at: Timestamp,
}

crate::events! {
    /// What happens to a new beginning.
    pub enum BeginningEvent {
        "audit.log_begun_anew" v "1" => LogBegunAnew,
    }
}

/// A new beginning, as its event tells it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewBeginning {
    /// Nobody said so under this id.
    #[default]
    Absent,
    /// An operator did.
    Acknowledged(LogBegunAnew),
}

/// What may be asked of a new beginning.
#[derive(Debug, Clone, PartialEq)]
pub enum BeginningCommand {
    /// Keep that an operator says so.
    Acknowledge(LogBegunAnew),
}

impl Decider for NewBeginning {
    const TYPE: &'static str = "beginning";
    const EVENTS_MAX: u32 = 1;
    type Command = BeginningCommand;
    type Event = BeginningEvent;
    type Error = Infallible;

    fn decide(&self, command: BeginningCommand) -> Result<Vec<BeginningEvent>, Infallible> {
        let BeginningCommand::Acknowledge(begun) = command;
        Ok(match self {
            Self::Absent => vec![begun.into()],
            Self::Acknowledged(_) => Vec::new(),
        })
    }

    fn takes_back(_command: &BeginningCommand) -> bool {
        false
    }

    fn evolve(&mut self, event: &BeginningEvent) {
        let BeginningEvent::LogBegunAnew(begun) = event;
        *self = Self::Acknowledged(begun.clone());
    }
}

cqrs_aggregate!(NewBeginning);
