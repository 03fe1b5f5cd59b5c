//! The stream LOG, the relay that fills it, and the subscriptions that follow it; in order and in
//! disorder.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod forged;
mod lease;
#[path = "../append/log.rs"]
#[expect(dead_code, reason = "the append tests need more of it")]
mod log;
mod message;
mod reader;
mod relay;
mod running;
mod subscription;
