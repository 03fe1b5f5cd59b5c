//! The API as a client sees it: over HTTP, on a real database with real projections.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test support: a panic is the report"
)]

mod audit;
mod bad_input;
mod bad_values;
mod bounds;
mod client;
mod consistency;
mod contract;
mod control_characters;
mod documents;
mod erasure;
mod faults;
mod idempotency;
mod instance;
mod nodes;
mod pages;
mod projections;
mod proofs;
mod schema;
mod slice;
mod staff;
mod tokens;
mod versions;
