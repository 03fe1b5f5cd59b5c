//! What Touchline knows: per context the events, the state that they fold into, the commands and
//! the decisions. Everything here is a plain function of its arguments.
//!
//! # Map
//! - [`aggregate`]: what an aggregate is (`decide` and `evolve`), and the bridge to cqrs-es.
//! - [`event`]: frozen event names and versions, and how older versions are read.
//! - [`personal`]: what identifies a person, and whose it is.
//! - [`id`]: the registry of typed ids.
//! - [`clock`]: where time and ids come from; the traits only.
//! - [`value`]: how values parse, and why one did not.
//! - [`reason`]: why staff did something.
//! - [`replay`]: folding an aggregate whose type is known only by its stored name.
//! - [`identity`], [`users`], [`posts`], [`audit`]: the contexts.
//!
//! # Invariants
//! - No I/O, no time, no chance: ids and the time arrive inside the command. A test of the
//!   dependency graph refuses any I/O crate here.
//! - Contexts do not call each other. They meet through events and policies.
//! - A stored event name is a frozen string; it is never derived from a Rust name.
//! - No state and no stream grows without a bound that is written down at the type (L11).

pub mod aggregate;
pub mod audit;
pub mod clock;
pub mod event;
pub mod id;
pub mod identity;
pub mod personal;
pub mod posts;
pub mod reason;
pub mod replay;
pub mod users;
pub mod value;

use aggregate::Decider;
use event::{DecodeError, Event, Upcaster};
use personal::PersonalFields;
use replay::{Replay, ReplayError};
use serde_json::Value;

/// The name and version of every event that an aggregate writes today.
pub type EventTypes = &'static [(&'static str, &'static str)];

/// An aggregate, and what happens to it.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// The frozen name stored with each event as `aggregate_type`.
    pub aggregate_type: &'static str,
    /// The name and version of every event that it writes today.
    pub events: EventTypes,
    /// The most events that its stream may have, those that only take back not counted.
    pub events_max: u32,
    /// Which fields of them are personal, and whose.
    pub personal: &'static [PersonalFields],
    /// How older versions are read.
    pub upcasters: &'static [Upcaster],
    check: fn(&str, &str) -> Result<(), DecodeError>,
    replay: fn() -> Box<dyn Replay>,
    replay_withheld: fn() -> Box<dyn Replay>,
    withhold: fn(&str, &str, &str) -> Result<Value, ReplayError>,
}

impl Kind {
    const fn of<A: Decider>() -> Self {
        Self {
            aggregate_type: A::TYPE,
            events: A::Event::TYPES,
            events_max: A::EVENTS_MAX,
            personal: A::Event::PERSONAL,
            upcasters: A::Event::UPCASTERS,
            check: A::Event::check,
            replay: replay::open::<A>,
            replay_withheld: replay::withheld::<A>,
            withhold: replay::withheld_payload::<A::Event>,
        }
    }

    /// The aggregate before its first event, to fold its history into. Only who may see what is
    /// `personal` gets it back.
    #[must_use]
    pub fn replay(&self, personal: bool) -> Box<dyn Replay> {
        if personal {
            (self.replay)()
        } else {
            (self.replay_withheld)()
        }
    }

    /// The payload of an event, whose personal fields are opened, as somebody sees it who may not
    /// see what is personal: in the shape of today's version, `{"sealed":true}` for each.
    ///
    /// # Errors
    /// [`ReplayError`] when this build does not understand the event.
    pub fn withhold(&self, name: &str, version: &str, payload: &str) -> Result<Value, ReplayError> {
        (self.withhold)(name, version, payload)
    }
}

/// Every aggregate of every context.
pub const CATALOGUE: &[Kind] = &[
    Kind::of::<identity::Account>(),
    Kind::of::<users::Profile>(),
    Kind::of::<users::Follow>(),
    Kind::of::<posts::Post>(),
    Kind::of::<posts::Like>(),
    Kind::of::<posts::Comment>(),
    Kind::of::<audit::Look>(),
    Kind::of::<audit::NewBeginning>(),
];

/// Whether this build understands events of this name and version, written today or before.
#[must_use]
pub fn understands(name: &str, version: &str) -> bool {
    CATALOGUE
        .iter()
        .any(|kind| (kind.check)(name, version).is_ok())
}

/// The aggregate of this stored type; none when there is no such.
#[must_use]
pub fn kind(aggregate_type: &str) -> Option<&'static Kind> {
    CATALOGUE
        .iter()
        .find(|kind| kind.aggregate_type == aggregate_type)
}
