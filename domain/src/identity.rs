//! Accounts: who may enter, in which role.
//!
//! Secrets (password hashes) are never part of this state nor of any event.

mod account;
mod events;
mod value;

pub use account::*;
pub use events::*;
pub use value::*;
