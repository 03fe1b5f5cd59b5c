//! The real binary on real servers: its life cycle, and what holds when everything around it
//! breaks.
//!
//! - `faults`: random clients at work while something is broken again and again. Afterwards a
//!   checker holds what the clients were told against the log, the stream and the read models.
//! - `checker_itself`: the checker finds what it is there to find.
//! - `connections`: how many clients are let in.
//! - `cosigning`: outside witnesses, and what they find that nothing else does.
//! - `up`, `demo`: how an instance starts, refuses to start, stops and goes on; the demo.
//!
//! `TOUCHLINE_TEST_LONG=1` breaks things about ten times as often. A failure prints the seed of its
//! random choices; `TOUCHLINE_TEST_SEED` makes the same choices again.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod audit;
mod chance;
mod checker;
mod checker_itself;
mod client;
mod connections;
mod cosigning;
mod crowd;
mod demo;
mod erasure;
mod faults;
mod history;
mod instance;
mod mirror;
mod process;
mod read_models;
mod rebuild;
mod seals;
mod site;
mod up;
mod usage;
mod witness;
