//! The log: append, load, read in order, mirror into JetStream, and follow.
//!
//! # Map
//! - [`database`]: connections as the application's role, and the migrations.
//! - [`position`], [`event`]: where an event stands, and what is stored of it (with its digest);
//!   [`anchor`]: both, which tells one history of the log from another.
//! - [`append`]: what goes in and what comes out of an append.
//! - `appender`: group commit; commands waiting at one moment share one call of `log.append`.
//! - [`keys`]: one key a person, under which their data lies in the log (L8); [`personal`]: sealing
//!   and opening the fields of an event.
//! - [`store`]: [`EventStore`], the door for all others: append, load, read.
//! - [`history`]: the log read by position and by aggregate, for whoever looks at history.
//! - `causes`: an error in one line.
//! - `cache`, [`turns`]: states kept in memory, and one command and one load at a time per aggregate.
//! - [`export`]: the file that an auditor takes away.
//! - [`lease`]: one holder at a time, fenced by an epoch.
//! - [`seal`]: the Merkle tree over the log, its signed checkpoints, and what proves them (L9).
//! - [`stream`], [`relay`]: the stream LOG in JetStream, whose sequence is the position (L6).
//! - [`tasks`]: what runs as long as the process, and is started again when it fails.
//! - [`subscription`]: events in order from JetStream or PostgreSQL, whichever is there.
//!
//! # Invariants
//! - L1 to L6 of docs/architecture.md hold here and nowhere else: no other crate writes to schema
//!   `log`.
//! - Nothing here knows a context: events are names and bytes.
//! - LISTEN/NOTIFY is not used: it serialises commits across the cluster.
//! - JetStream is a copy. Nothing is read from it that PostgreSQL could not give, and no message is
//!   believed that the relay did not authenticate.

pub mod anchor;
pub mod append;
mod appender;
mod cache;
mod causes;
pub mod database;
pub mod event;
pub mod export;
pub mod history;
pub mod keys;
pub mod lease;
pub mod personal;
pub mod position;
mod range;
pub mod relay;
pub mod seal;
pub mod store;
pub mod stream;
pub mod subscription;
pub mod tasks;
pub mod turns;

pub use anchor::Anchor;
pub use append::{Append, Appended, Claim, NewEvent, StreamAppend};
pub use event::LogEvent;
pub use keys::{Keys, MasterKeys};
pub use position::Position;
pub use store::EventStore;
pub use tasks::Tasks;
