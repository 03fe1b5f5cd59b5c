//! The registry of typed ids. Each is a UUID that cannot be mistaken for another kind.
//!
//! Ids of things that are created are UUID v7, given by the caller. Ids of relations (a like, a
//! follow) are UUID v5 of the pair that they relate, so that the relation is one small stream
//! whoever creates it first (ADR-0005).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// The namespace under which relation ids are derived. It never changes: stored ids depend on it.
const RELATIONS: Uuid = Uuid::from_u128(0x6f0f_7bb1_4f0e_5d51_9a6e_3d1f_7c2a_9e44);

macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// The id with this UUID.
            #[must_use]
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID behind the id.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl Default for $name {
            /// The nil id, which names nothing: the id inside a state that no event has reached.
            fn default() -> Self {
                Self(Uuid::nil())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    )+};
}

ids! {
    /// One new beginning of the log, acknowledged by an operator.
    BeginningId,
    /// One command, applied at most once (L5).
    CommandId,
    /// One comment below a post.
    CommentId,
    /// That one person follows another; derived from the pair.
    FollowId,
    /// That one person likes one post; derived from the pair.
    LikeId,
    /// One look at history.
    LookId,
    /// One post.
    PostId,
    /// One person or organisation: the account, and the profile that goes with it.
    UserId,
}

impl FollowId {
    /// The id of "`from` follows `to`".
    #[must_use]
    pub fn of(from: UserId, to: UserId) -> Self {
        Self(relation("follow", from.0, to.0))
    }
}

impl LikeId {
    /// The id of "`user` likes `post`".
    #[must_use]
    pub fn of(user: UserId, post: PostId) -> Self {
        Self(relation("like", user.0, post.0))
    }
}

fn relation(kind: &str, from: Uuid, to: Uuid) -> Uuid {
    let mut name = Vec::with_capacity(kind.len() + 32);
    name.extend_from_slice(kind.as_bytes());
    name.extend_from_slice(from.as_bytes());
    name.extend_from_slice(to.as_bytes());
    Uuid::new_v5(&RELATIONS, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relation_ids_are_frozen_and_directed() {
        let ana = UserId::new(Uuid::from_u128(1));
        let ben = UserId::new(Uuid::from_u128(2));
        assert_eq!(
            FollowId::of(ana, ben).to_string(),
            "738dc915-0b88-55d3-8a24-235cd096f9c3"
        );
        assert_eq!(
            LikeId::of(ana, PostId::new(ben.uuid())).to_string(),
            "9fd024fc-1ebc-5c62-933f-221885ba0a0f"
        );
        assert_ne!(FollowId::of(ana, ben), FollowId::of(ben, ana));
    }
}
