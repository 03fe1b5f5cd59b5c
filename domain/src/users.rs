//! Profiles and relations between people.

mod events;
mod follow;
mod profile;
mod value;

pub use events::*;
pub use follow::*;
pub use profile::*;
pub use value::*;
