//! Looks at history: who read which part of the log, and when.
//!
//! Whoever reads what others did leaves a fact of their own. It says which part of the log was
//! asked for, by ids and names, and nothing of what stood there. That an operator goes on without a
//! part of the log that was sealed is a fact too.

mod beginning;
mod look;
mod slice;

pub use beginning::*;
pub use look::*;
pub use slice::*;
