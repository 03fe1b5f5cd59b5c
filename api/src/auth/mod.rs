//! Who is calling: access tokens, the keys behind them, and the caller that a handler sees.

mod keys;
mod token;
mod viewer;

pub use keys::{KeyRing, KeyRingError};
pub(crate) use token::bearer;
pub(crate) use viewer::{Principal, Viewer};
