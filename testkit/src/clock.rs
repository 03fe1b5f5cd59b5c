//! Time that stands still until a test moves it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use touchline_domain::clock::{Clock, Timestamp};

/// A clock that shows what the test set.
#[derive(Debug)]
pub struct MockClock {
    now: Mutex<Timestamp>,
}

impl MockClock {
    /// A clock that shows `time`, written as in RFC 3339 (`2022-12-18T15:00:00Z`).
    #[must_use]
    pub fn at(time: &str) -> Self {
        Self {
            now: Mutex::new(time.parse().expect("a time as in RFC 3339")),
        }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now += by;
    }
}

impl Clock for MockClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
