//! Ids that a test knows beforehand.

use std::sync::atomic::{AtomicU64, Ordering};

use touchline_domain::clock::IdSource;
use uuid::{Builder, Uuid};

/// Gives UUIDs of version 7 in rising order. The same seed gives the same ids in every run, and two
/// seeds never give the same id.
#[derive(Debug)]
pub struct SequentialIds {
    seed: u32,
    next: AtomicU64,
}

impl SequentialIds {
    /// A source whose first id is number 1 of `seed`.
    #[must_use]
    pub fn new(seed: u32) -> Self {
        Self {
            seed,
            next: AtomicU64::new(1),
        }
    }
}

impl IdSource for SequentialIds {
    fn next(&self) -> Uuid {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut random = [0; 10];
        random[6..].copy_from_slice(&self.seed.to_be_bytes());
        Builder::from_unix_timestamp_millis(number, &random).into_uuid()
    }
}
