//! Profiles and relations between people.

mod events;
mod value;

pub use events::*;
pub use value::*;
