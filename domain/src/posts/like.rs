//! The like aggregate: whether one person likes one post. One small stream per pair, named by
//! [`LikeId::of`](crate::id::LikeId::of).

use super::{LikeEvent, PostLiked, PostUnliked};
use crate::aggregate::Decider;
use crate::clock::Timestamp;
use crate::cqrs_aggregate;
use crate::id::{PostId, UserId};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;

/// Whether the person likes the post, as the events tell it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Like {
    /// Since when; none while they do not like it.
    pub liked_at: Option<Timestamp>,
}

impl Like {
    /// Whether the person likes the post.
    #[must_use]
    pub const fn is_liked(&self) -> bool {
        self.liked_at.is_some()
    }
}

/// What may be asked of a person and a post. Asked again, it changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LikeCommand {
    /// Let the person like the post.
    Like(LikePair),
    /// Take the like back.
    Unlike(LikePair),
}

/// Who likes which post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LikePair {
    /// The post.
    pub post_id: PostId,
    /// Who likes it.
    pub user_id: UserId,
    /// Now.
    pub at: Timestamp,
}

impl Decider for Like {
    const TYPE: &'static str = "like";
    /// Five hundred times liked and unliked.
    const EVENTS_MAX: u32 = 1_000;
    type Command = LikeCommand;
    type Event = LikeEvent;
    type Error = Infallible;

    fn decide(&self, command: LikeCommand) -> Result<Vec<LikeEvent>, Infallible> {
        Ok(match (command, self.is_liked()) {
            (LikeCommand::Like(pair), false) => vec![
                PostLiked {
                    post_id: pair.post_id,
                    user_id: pair.user_id,
                    liked_at: pair.at,
                }
                .into(),
            ],
            (LikeCommand::Unlike(pair), true) => vec![
                PostUnliked {
                    post_id: pair.post_id,
                    user_id: pair.user_id,
                    unliked_at: pair.at,
                }
                .into(),
            ],
            (LikeCommand::Like(_), true) | (LikeCommand::Unlike(_), false) => Vec::new(),
        })
    }

    fn takes_back(command: &LikeCommand) -> bool {
        matches!(command, LikeCommand::Unlike(_))
    }

    fn evolve(&mut self, event: &LikeEvent) {
        self.liked_at = match event {
            LikeEvent::PostLiked(event) => Some(event.liked_at),
            LikeEvent::PostUnliked(_) => None,
        };
    }
}

cqrs_aggregate!(Like);
