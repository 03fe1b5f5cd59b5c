//! The comment aggregate: one stream per comment, not a member of its post's.

use super::{CommentAdded, CommentEvent, CommentText};
use crate::aggregate::Decider;
use crate::clock::Timestamp;
use crate::cqrs_aggregate;
use crate::id::{CommentId, PostId, UserId};
use crate::personal::Personal;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A comment, as its events tell it. Its size is bounded by the limits of its values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comment {
    /// Nothing was written under this id.
    #[default]
    Absent,
    /// It can be read.
    Added(AddedComment),
}

/// A comment that can be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedComment {
    /// The comment.
    pub comment_id: CommentId,
    /// The post that it is below.
    pub post_id: PostId,
    /// The comment that it answers; none when it answers the post.
    pub parent_id: Option<CommentId>,
    /// Who wrote it.
    pub author_id: UserId,
    /// Its text.
    pub text: Personal<CommentText>,
    /// When it was written.
    pub commented_at: Timestamp,
}

impl Comment {
    /// The comment as it can be read; none when nothing was written under its id.
    #[must_use]
    pub const fn added(&self) -> Option<&AddedComment> {
        match self {
            Self::Absent => None,
            Self::Added(comment) => Some(comment),
        }
    }
}

/// What may be asked of a comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommentCommand {
    /// Write it.
    Add(AddComment),
}

/// Write a comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddComment {
    /// The new comment.
    pub comment_id: CommentId,
    /// The post that it is below.
    pub post_id: PostId,
    /// The comment that it answers; none when it answers the post.
    pub parent: Option<ParentComment>,
    /// Who writes it.
    pub author_id: UserId,
    /// Its text.
    pub text: CommentText,
    /// Now.
    pub at: Timestamp,
}

/// The comment that another one answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParentComment {
    /// The comment.
    pub comment_id: CommentId,
    /// The post that it is below.
    pub post_id: PostId,
}

/// Why a comment refuses a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CommentError {
    /// A comment was already written under this id.
    #[error("the comment is already written")]
    AlreadyAdded,
    /// The comment to answer is below another post.
    #[error("the comment to answer is below another post")]
    ParentOfOtherPost,
}

impl Decider for Comment {
    const TYPE: &'static str = "comment";
    const EVENTS_MAX: u32 = 1;
    type Command = CommentCommand;
    type Event = CommentEvent;
    type Error = CommentError;

    fn decide(&self, command: CommentCommand) -> Result<Vec<CommentEvent>, CommentError> {
        let CommentCommand::Add(command) = command;
        if self.added().is_some() {
            return Err(CommentError::AlreadyAdded);
        }
        if command
            .parent
            .is_some_and(|parent| parent.post_id != command.post_id)
        {
            return Err(CommentError::ParentOfOtherPost);
        }
        Ok(vec![
            CommentAdded {
                comment_id: command.comment_id,
                post_id: command.post_id,
                parent_id: command.parent.map(|parent| parent.comment_id),
                author_id: command.author_id,
                text: command.text.into(),
                commented_at: command.at,
            }
            .into(),
        ])
    }

    fn takes_back(_command: &CommentCommand) -> bool {
        false
    }

    fn evolve(&mut self, event: &CommentEvent) {
        let CommentEvent::CommentAdded(event) = event;
        *self = Self::Added(AddedComment {
            comment_id: event.comment_id,
            post_id: event.post_id,
            parent_id: event.parent_id,
            author_id: event.author_id,
            text: event.text.clone(),
            commented_at: event.commented_at,
        });
    }
}

cqrs_aggregate!(Comment);
