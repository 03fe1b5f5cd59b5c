//! The look aggregate: one look at history, one stream with one event.

use super::Slice;
use crate::aggregate::Decider;
use crate::clock::Timestamp;
use crate::cqrs_aggregate;
use crate::id::{LookId, UserId};
use crate::value::choice;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;

choice! {
    /// By which way somebody looked.
    Surface, "cli or api" {
        /// At the command line, where whoever can reach the servers is the operator.
        Cli = "cli",
        /// Over HTTP, with an account.
        Api = "api",
    }
}

choice! {
    /// What was asked. Verifying the log and proving from it are not among it: neither tells what an
    /// event says.
    LookOperation, "list, show, state or export" {
        /// The events of a slice.
        List = "list",
        /// Single events, or what each event of an aggregate changed.
        Show = "show",
        /// The state of an aggregate as of some event.
        State = "state",
        /// A slice as a file.
        Export = "export",
    }
}

/// Somebody read a part of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryRead {
    /// The look.
    pub look_id: LookId,
    /// Who looked; none for the operator at the command line.
    pub reader: Option<UserId>,
    /// By which way.
    pub surface: Surface,
    /// What was asked.
    pub operation: LookOperation,
    /// Of which part of the log.
    pub slice: Slice,
    /// At most how many events of it; none for all.
    pub events_max: Option<u32>,
    /// Whether personal fields were opened.
    pub personal: bool,
    /// When.
    pub read_at: Timestamp,
}

crate::events! {
    /// What happens to a look.
    pub enum LookEvent {
        "audit.history_read" v "1" => HistoryRead,
    }
}

/// A look, as its event tells it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Look {
    /// Nobody looked under this id.
    #[default]
    Absent,
    /// Somebody did.
    Taken(Box<HistoryRead>),
}

/// What may be asked of a look.
#[derive(Debug, Clone, PartialEq)]
pub enum LookCommand {
    /// Keep that somebody looks.
    Record(HistoryRead),
}

impl Decider for Look {
    const TYPE: &'static str = "look";
    const EVENTS_MAX: u32 = 1;
    type Command = LookCommand;
    type Event = LookEvent;
    type Error = Infallible;

    fn decide(&self, command: LookCommand) -> Result<Vec<LookEvent>, Infallible> {
        let LookCommand::Record(look) = command;
        Ok(match self {
            Self::Absent => vec![look.into()],
            Self::Taken(_) => Vec::new(),
        })
    }

    fn takes_back(_command: &LookCommand) -> bool {
        false
    }

    fn evolve(&mut self, event: &LookEvent) {
        let LookEvent::HistoryRead(look) = event;
        *self = Self::Taken(Box::new(look.clone()));
    }
}

cqrs_aggregate!(Look);
