//! What Touchline knows: per context the events, the state that they fold into, the commands and
//! the decisions. Everything here is a plain function of its arguments.
//!
//! # Map
//! - [`aggregate`]: what an aggregate is (`decide` and `evolve`), and the bridge to cqrs-es.
//! - [`event`]: frozen event names and versions.
//! - [`id`]: the registry of typed ids.
//! - [`clock`]: where time and ids come from; the traits only.
//! - [`value`]: how values parse, and why one did not.
//! - [`identity`], [`users`], [`posts`]: the contexts.
//!
//! # Invariants
//! - No I/O, no time, no chance: ids and the time arrive inside the command. A test of the
//!   dependency graph refuses any I/O crate here.
//! - Contexts do not call each other. They meet through events and policies.
//! - A stored event name is a frozen string; it is never derived from a Rust name.
//! - No state grows without a bound that is written down at the type.

pub mod aggregate;
pub mod clock;
pub mod event;
pub mod id;
pub mod identity;
pub mod posts;
pub mod users;
pub mod value;

use aggregate::Decider;
use event::Event;

/// The name and version of every event that an aggregate writes today.
pub type EventTypes = &'static [(&'static str, &'static str)];

/// Every aggregate of every context: its stored type, and the events that it writes.
#[must_use]
pub fn catalogue() -> Vec<(&'static str, EventTypes)> {
    fn entry<A: Decider>() -> (&'static str, EventTypes) {
        (A::TYPE, A::Event::TYPES)
    }
    vec![
        entry::<identity::Account>(),
        entry::<users::Profile>(),
        entry::<users::Follow>(),
        entry::<posts::Post>(),
        entry::<posts::Like>(),
        entry::<posts::Comment>(),
    ]
}
