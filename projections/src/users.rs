//! The read model `users`: who people are, and who follows whom.

mod project;
mod query;
mod sample;
mod sweep;

pub use project::UsersProjection;
pub use query::{
    FollowCursor, FollowListed, Followership, Relation, User, by_handle, by_id, followers,
    followership, following, relation,
};
