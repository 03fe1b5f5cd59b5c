//! Looks at history: who read which part of the log, and when.
//!
//! Whoever reads what others did leaves a fact of their own. It says which part of the log was
//! asked for, by ids and names, and nothing of what stood there.

mod look;
mod slice;

pub use look::*;
pub use slice::*;
