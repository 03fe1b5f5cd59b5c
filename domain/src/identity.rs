//! Accounts: who may enter, in which role.
//!
//! Secrets (password hashes) are never part of this state nor of any event.

mod events;
mod value;

pub use events::*;
pub use value::*;
