//! The follow aggregate: whether one person follows another. One small stream per ordered pair,
//! named by [`FollowId::of`](crate::id::FollowId::of).

use super::{FollowEvent, UserFollowed, UserUnfollowed};
use crate::aggregate::Decider;
use crate::clock::Timestamp;
use crate::cqrs_aggregate;
use crate::id::UserId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Whether the follower follows, as the events tell it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follow {
    /// Since when; none while they do not follow.
    pub followed_at: Option<Timestamp>,
}

impl Follow {
    /// Whether the follower follows.
    #[must_use]
    pub const fn is_following(&self) -> bool {
        self.followed_at.is_some()
    }
}

/// What may be asked of a pair of people. Asked again, it changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowCommand {
    /// Let the follower follow.
    Follow(FollowPair),
    /// Let the follower follow no more.
    Unfollow(FollowPair),
}

/// Who follows whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowPair {
    /// Who follows.
    pub follower_id: UserId,
    /// Who is followed.
    pub followee_id: UserId,
    /// Now.
    pub at: Timestamp,
}

/// Why a pair refuses a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FollowError {
    /// The follower and the followed are the same person.
    #[error("nobody can follow themselves")]
    Oneself,
}

impl Decider for Follow {
    const TYPE: &'static str = "follow";
    /// Five hundred times followed and unfollowed.
    const EVENTS_MAX: u32 = 1_000;
    type Command = FollowCommand;
    type Event = FollowEvent;
    type Error = FollowError;

    fn decide(&self, command: FollowCommand) -> Result<Vec<FollowEvent>, FollowError> {
        let (FollowCommand::Follow(pair) | FollowCommand::Unfollow(pair)) = command;
        if pair.follower_id == pair.followee_id {
            return Err(FollowError::Oneself);
        }
        Ok(match (command, self.is_following()) {
            (FollowCommand::Follow(pair), false) => vec![
                UserFollowed {
                    follower_id: pair.follower_id,
                    followee_id: pair.followee_id,
                    followed_at: pair.at,
                }
                .into(),
            ],
            (FollowCommand::Unfollow(pair), true) => vec![
                UserUnfollowed {
                    follower_id: pair.follower_id,
                    followee_id: pair.followee_id,
                    unfollowed_at: pair.at,
                }
                .into(),
            ],
            (FollowCommand::Follow(_), true) | (FollowCommand::Unfollow(_), false) => Vec::new(),
        })
    }

    fn takes_back(command: &FollowCommand) -> bool {
        matches!(command, FollowCommand::Unfollow(_))
    }

    fn evolve(&mut self, event: &FollowEvent) {
        self.followed_at = match event {
            FollowEvent::UserFollowed(event) => Some(event.followed_at),
            FollowEvent::UserUnfollowed(_) => None,
        };
    }
}

cqrs_aggregate!(Follow);
