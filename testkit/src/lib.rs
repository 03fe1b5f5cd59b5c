//! What the tests of every crate stand on: real servers of their own, and means to break them.
//!
//! The map:
//!
//! - [`database`] and [`empty_database`]: a database per test on one shared server;
//! - [`private_postgres`]: a server per test, durable, to be stopped and killed;
//! - [`nats`]: a NATS server per test, to be stopped, killed and rolled back;
//! - [`proxy`]: a TCP proxy that cuts connections where a test wants them cut;
//! - [`temporary_dir`] and [`remove_cluster`]: a folder that servers can live in;
//! - [`eventually`]: waiting for a condition, in place of sleeping;
//! - [`MockClock`] and [`SequentialIds`]: time and ids that a test knows beforehand.
//!
//! What always holds:
//!
//! - Nothing collides: any number of test processes run at once, each test on data of its own.
//! - Nothing is mocked that a fault can come from: PostgreSQL and NATS are the real ones.
//! - Only the shared server is without durability; what tests faults runs on a durable one.
//!
//! The shared server is the one behind `TOUCHLINE_TEST_DATABASE_URL`, which `with-services` sets
//! for the command that it runs. Without it, each test process starts one of its own.
//!
//! Everything here panics when it cannot do its work: in a test, that is a failure with a reason.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "test support: a panic is the report"
)]
#![expect(clippy::missing_panics_doc, reason = "said once, above")]

/// A master key for tests, as a file of master keys would have it.
pub const MASTER_KEY: &str = "7465737465737465737465737465737465737465737465737465737465737465";

mod clock;
mod database;
mod eventually;
mod ids;
mod nats;
mod private_postgres;
mod proxy;
mod shared_server;

pub use clock::MockClock;
pub use database::{TestDatabase, database, empty_database, migrate};
pub use eventually::{eventually, eventually_some};
pub use ids::SequentialIds;
pub use nats::{TestNats, nats};
pub use private_postgres::{PrivatePostgres, private_postgres};
pub use proxy::{Direction, TcpProxy, proxy};
pub use shared_server::{DATABASE_URL_VARIABLE, SharedServer, remove_cluster, temporary_dir};
