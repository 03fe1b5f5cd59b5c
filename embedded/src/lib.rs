//! Private PostgreSQL and NATS servers, run from binaries that are already on the machine.
//!
//! `touchline up` and the tests use this crate to have both services without Docker, without a
//! system service and without a fixed port. What it starts belongs to one folder and one process.
//!
//! The map:
//!
//! - [`tools`] finds the binaries and says in one line what to do when one is missing;
//! - [`DataDir`] is the folder of one instance, held by one process at a time;
//! - [`Postgres`] and [`Nats`] start, supervise and stop one server each.
//!
//! What always holds:
//!
//! - A server listens on loopback only, and asks for a password that only the owner of the folder
//!   can read: another user of the machine cannot get in.
//! - A server never outlives its owner. Its owner stops it in order; [`Drop`] is the last resort;
//!   and should the owner be killed with SIGKILL, a leash (a waiting shell at the other end of a
//!   pipe) stops the server in its place. A server that escaped all three is found in `/proc` by
//!   its folder at the next start, and stopped first.
//! - A half-made cluster is never used: it is made under another name and renamed when whole.
//! - Nothing here speaks SQL or the NATS protocol beyond its greeting; schemas and streams are
//!   made by those who use them.

mod account;
mod cluster;
mod data_dir;
mod leash;
mod memory;
mod nats;
mod port;
mod postgres;
mod process;
mod procfs;
mod secret;
pub mod tools;

pub use data_dir::{DataDir, OpenDataDirError};
pub use nats::{Nats, NatsSettings, StartNatsError};
pub use postgres::{Durability, Postgres, PostgresSettings, StartPostgresError, StopMode};
pub use process::StopError;
pub use secret::write_private;
