//! The real clock and the real ids. Everything else gets them from here.

use touchline_domain::clock::{Clock, IdSource, Timestamp, to_micros};
use uuid::Uuid;

/// The system's clock and generator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct System;

impl System {
    /// A password that nobody guesses: 122 bits of the system's randomness.
    #[expect(
        clippy::disallowed_methods,
        reason = "the composition root is where chance comes from"
    )]
    pub(crate) fn password() -> String {
        Uuid::new_v4().simple().to_string()
    }
}

impl Clock for System {
    #[expect(
        clippy::disallowed_methods,
        reason = "the composition root is where time comes from"
    )]
    fn now(&self) -> Timestamp {
        to_micros(chrono::Utc::now())
    }
}

impl IdSource for System {
    #[expect(
        clippy::disallowed_methods,
        reason = "the composition root is where ids come from"
    )]
    fn next(&self) -> Uuid {
        Uuid::now_v7()
    }
}
