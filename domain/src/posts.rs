//! Posts, likes and comments.

mod events;
mod value;

pub use events::*;
pub use value::*;
