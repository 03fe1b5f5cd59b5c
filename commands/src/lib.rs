//! From a command to appended events: authorise, load, decide, append, answer.
//!
//! # Map
//! - [`bus`]: what is the same for every command; a command is decided again when its aggregate has
//!   moved on, and answered as the first time when it comes again.
//! - [`envelope`]: what comes with every command: its id, who, when, caused by what.
//! - [`claims`]: the claims in the log, compared with the accounts that hold them.
//! - [`fingerprint`]: command ids and fingerprints of requests, under a secret key.
//! - [`credentials`]: the tables of secrets, which never enter the log.
//! - [`passwords`]: the port that hashes passwords, and its adapter, Argon2id.
//! - [`permissions`]: what staff may do.
//! - [`identity`], [`users`], [`posts`], [`audit`]: the handlers per context.
//!
//! # Invariants
//! - A handler writes through the bus only. It writes no read model and reads none.
//! - Nothing here knows HTTP; the API maps the errors.
//! - The time and the actor of a command are those of its envelope, ids come from the bus.
//! - No password, hash or key is ever logged or shown by `Debug`.
//! - What a command was allowed by is named in its append, whatever aggregate it was read from: the
//!   log refuses it when any of that has changed, on whatever node (ADR-0022). No command is refused
//!   without having asked the log.

pub mod audit;
pub mod bus;
pub mod claims;
pub mod credentials;
pub mod envelope;
pub mod erasure;
pub mod fingerprint;
pub mod identity;
pub mod passwords;
pub mod permissions;
pub mod posts;
pub mod users;

pub use bus::{Bus, ExecuteError, Failure, Intent, Outcome, ReadSet};
pub use credentials::{Credentials, SigningKey};
pub use envelope::Envelope;
pub use fingerprint::Fingerprints;
pub use passwords::{Argon2Hasher, Password, PasswordHasher};
