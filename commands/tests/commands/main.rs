//! The handlers and the bus on a real log. One binary, so that it is linked once.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop where it stands"
)]

mod bounds;
mod bus;
mod claims;
mod contention;
mod credentials;
mod elsewhere;
mod erasure;
mod erasure_traces;
mod identity;
mod permissions;
mod posts;
mod several;
mod users;
mod world;
