//! Random choices that can be made again.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::env;
use std::ops::Range;
use std::time::Duration;
use touchline_testkit::Direction;
use uuid::{Builder, Uuid};

/// Longer than anything here may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// Where the random choices of a test come from.
pub(crate) struct Chance {
    seed: u64,
    draws: StdRng,
    dealt: u64,
}

impl Chance {
    /// The choices of one test, from the seed that the environment names, else from a new one.
    pub(crate) fn of_test() -> Self {
        let seed = env::var("TOUCHLINE_TEST_SEED")
            .map_or_else(|_unset| rand::random(), |seed| seed.parse().unwrap());
        // Shown only when the test fails.
        eprintln!("TOUCHLINE_TEST_SEED={seed} makes the same choices again");
        Self::from_seed(seed)
    }

    fn from_seed(seed: u64) -> Self {
        Self {
            seed,
            draws: StdRng::seed_from_u64(seed),
            dealt: 0,
        }
    }

    /// Choices of its own for a client that runs beside others.
    pub(crate) fn deal(&mut self) -> Self {
        self.dealt += 1;
        Self::from_seed(self.seed.wrapping_mul(1_000_003).wrapping_add(self.dealt))
    }

    /// A number from the range.
    pub(crate) fn number(&mut self, range: Range<u64>) -> u64 {
        self.draws.random_range(range)
    }

    /// True in `percent` of a hundred cases.
    pub(crate) fn hits(&mut self, percent: u64) -> bool {
        self.number(0..100) < percent
    }

    /// One of these; none when there are none.
    pub(crate) fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        (!all.is_empty()).then(|| &all[self.draws.random_range(0..all.len())])
    }

    /// One of the two directions of a connection.
    pub(crate) fn direction(&mut self) -> Direction {
        if self.hits(50) {
            Direction::ToServer
        } else {
            Direction::ToClient
        }
    }

    /// An id that nothing else has.
    pub(crate) fn id(&mut self) -> Uuid {
        Builder::from_random_bytes(self.draws.random()).into_uuid()
    }
}

/// How often to break something: more when `TOUCHLINE_TEST_LONG` asks for the long tests.
pub(crate) fn rounds(short: u64) -> u64 {
    match env::var_os("TOUCHLINE_TEST_LONG") {
        Some(_) => short * 10,
        None => short,
    }
}
