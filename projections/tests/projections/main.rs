//! The read models against a real PostgreSQL: what they hold, how they are led, how they are read.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test support"
)]

mod bounds;
mod counted;
mod crash;
mod cuts;
mod feed;
mod fold;
mod freshness;
mod history;
mod history_index;
mod history_states;
mod late;
mod leading;
mod parking;
mod plans;
mod quiet;
mod rebuild;
mod restored;
mod sample;
mod site;
mod stars;
mod swap;
mod tables;
mod upkeep;
mod verify;
mod versions;
