//! Posts, likes and comments.

mod comment;
mod events;
mod like;
mod post;
mod value;

pub use comment::*;
pub use events::*;
pub use like::*;
pub use post::*;
pub use value::*;
