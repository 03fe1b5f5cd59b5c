//! The post aggregate: one stream per post. Likes and comments are streams of their own.

use super::{
    Caption, Category, CategoryChange, Device, PostDeleted, PostEdited, PostEvent, PostPublished,
    Tags, Visibility,
};
use crate::aggregate::Decider;
use crate::clock::Timestamp;
use crate::cqrs_aggregate;
use crate::id::{PostId, UserId};
use crate::personal::{Personal, changed};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A post, as its events tell it. Its size is bounded by the limits of its values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Post {
    /// Nothing was published under this id.
    #[default]
    Absent,
    /// It can be read.
    Published(PublishedPost),
    /// Its author took it away; what it said is gone.
    Deleted {
        /// Who had written it.
        author_id: UserId,
    },
}

/// A post that can be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPost {
    /// The post.
    pub post_id: PostId,
    /// Who wrote it.
    pub author_id: UserId,
    /// Its text.
    pub caption: Personal<Caption>,
    /// What it is about; none when the author did not say.
    pub category: Option<Personal<Category>>,
    /// What it was written on; none when unknown.
    pub device: Option<Personal<Device>>,
    /// Its tags.
    pub tags: Personal<Tags>,
    /// Who may see it.
    pub visibility: Visibility,
    /// When it appeared.
    pub published_at: Timestamp,
    /// When it was last edited; none when never.
    pub edited_at: Option<Timestamp>,
}

impl Post {
    /// The post as it can be read; none when it never was, or is deleted.
    #[must_use]
    pub const fn published(&self) -> Option<&PublishedPost> {
        match self {
            Self::Published(post) => Some(post),
            Self::Absent | Self::Deleted { .. } => None,
        }
    }
}

impl PublishedPost {
    /// Whether `viewer` may see the post. `follows` says whether they follow its author.
    #[must_use]
    pub fn is_visible_to(&self, viewer: UserId, follows: bool) -> bool {
        viewer == self.author_id
            || match self.visibility {
                Visibility::Public => true,
                Visibility::Followers => follows,
                Visibility::OnlyMe => false,
            }
    }
}

/// What may be asked of a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostCommand {
    /// Let it appear.
    Publish(PublishPost),
    /// Change it.
    Edit(EditPost),
    /// Take it away.
    Delete(DeletePost),
}

/// Let a post appear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishPost {
    /// The new post.
    pub post_id: PostId,
    /// Who writes it.
    pub author_id: UserId,
    /// Its text.
    pub caption: Caption,
    /// What it is about, if the author says so.
    pub category: Option<Category>,
    /// What it is written on, if known.
    pub device: Option<Device>,
    /// Its tags.
    pub tags: Tags,
    /// Who may see it.
    pub visibility: Visibility,
    /// Now.
    pub at: Timestamp,
}

/// Set the fields that are given; the others stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditPost {
    /// Who edits.
    pub editor_id: UserId,
    /// The text to have.
    pub caption: Option<Caption>,
    /// The category to have, or to lose.
    pub category: Option<CategoryChange>,
    /// The tags to have.
    pub tags: Option<Tags>,
    /// The circle of readers to have.
    pub visibility: Option<Visibility>,
    /// Now.
    pub at: Timestamp,
}

/// Take a post away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeletePost {
    /// Who deletes.
    pub deleter_id: UserId,
    /// Now.
    pub at: Timestamp,
}

/// Why a post refuses a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PostError {
    /// A post was already published under this id.
    #[error("the post is already published")]
    AlreadyPublished,
    /// Nothing was published under this id.
    #[error("there is no such post")]
    NotFound,
    /// Its author has taken it away.
    #[error("the post is deleted")]
    Deleted,
    /// Only its author may do that.
    #[error("only the author may change or delete a post")]
    NotAuthor,
}

impl Decider for Post {
    const TYPE: &'static str = "post";
    /// An edit a day for nearly three years.
    const EVENTS_MAX: u32 = 1_000;
    type Command = PostCommand;
    type Event = PostEvent;
    type Error = PostError;

    fn decide(&self, command: PostCommand) -> Result<Vec<PostEvent>, PostError> {
        match command {
            PostCommand::Publish(command) => self.publish(command),
            PostCommand::Edit(command) => self.edit(command),
            PostCommand::Delete(command) => self.delete(command),
        }
    }

    /// To let nobody else see the post is taking back, as deleting it is.
    fn takes_back(command: &PostCommand) -> bool {
        match command {
            PostCommand::Publish(_) => false,
            PostCommand::Edit(edit) => {
                edit.visibility == Some(Visibility::OnlyMe)
                    && edit.caption.is_none()
                    && edit.category.is_none()
                    && edit.tags.is_none()
            }
            PostCommand::Delete(_) => true,
        }
    }

    fn evolve(&mut self, event: &PostEvent) {
        match event {
            PostEvent::PostPublished(event) => {
                *self = Self::Published(PublishedPost {
                    post_id: event.post_id,
                    author_id: event.author_id,
                    caption: event.caption.clone(),
                    category: event.category.clone(),
                    device: event.device.clone(),
                    tags: event.tags.clone(),
                    visibility: event.visibility,
                    published_at: event.published_at,
                    edited_at: None,
                });
            }
            PostEvent::PostEdited(event) => {
                if let Self::Published(post) = self {
                    post.evolve(event);
                }
            }
            PostEvent::PostDeleted(event) => {
                *self = Self::Deleted {
                    author_id: event.author_id,
                };
            }
        }
    }
}

cqrs_aggregate!(Post);

impl Post {
    fn publish(&self, command: PublishPost) -> Result<Vec<PostEvent>, PostError> {
        match self {
            Self::Published(_) => return Err(PostError::AlreadyPublished),
            Self::Deleted { .. } => return Err(PostError::Deleted),
            Self::Absent => {}
        }
        Ok(vec![
            PostPublished {
                post_id: command.post_id,
                author_id: command.author_id,
                caption: command.caption.into(),
                category: command.category.map(Personal::Known),
                device: command.device.map(Personal::Known),
                tags: command.tags.into(),
                visibility: command.visibility,
                published_at: command.at,
            }
            .into(),
        ])
    }

    fn edit(&self, command: EditPost) -> Result<Vec<PostEvent>, PostError> {
        let post = self.written_by(command.editor_id)?;
        let edited = PostEdited {
            post_id: post.post_id,
            author_id: Some(post.author_id),
            caption: changed(command.caption, |it| post.caption.is(it)),
            category: changed(command.category, |it| match (it, &post.category) {
                (CategoryChange::Set(category), Some(now)) => now.is(category),
                (CategoryChange::Set(_), None) => false,
                (CategoryChange::Cleared, now) => now.is_none(),
            }),
            tags: changed(command.tags, |it| post.tags.is(it)),
            visibility: command.visibility.filter(|it| *it != post.visibility),
            edited_at: command.at,
        };
        let changes_anything = edited.caption.is_some()
            || edited.category.is_some()
            || edited.tags.is_some()
            || edited.visibility.is_some();
        Ok(if changes_anything {
            vec![edited.into()]
        } else {
            Vec::new()
        })
    }

    fn delete(&self, command: DeletePost) -> Result<Vec<PostEvent>, PostError> {
        let post = self.written_by(command.deleter_id)?;
        Ok(vec![
            PostDeleted {
                post_id: post.post_id,
                author_id: post.author_id,
                deleted_at: command.at,
            }
            .into(),
        ])
    }

    /// The post, if it can be read and `user_id` wrote it.
    fn written_by(&self, user_id: UserId) -> Result<&PublishedPost, PostError> {
        match self {
            Self::Absent => Err(PostError::NotFound),
            Self::Deleted { .. } => Err(PostError::Deleted),
            Self::Published(post) if post.author_id != user_id => Err(PostError::NotAuthor),
            Self::Published(post) => Ok(post),
        }
    }
}

impl PublishedPost {
    fn evolve(&mut self, event: &PostEdited) {
        if let Some(caption) = &event.caption {
            self.caption.clone_from(caption);
        }
        match &event.category {
            None => {}
            Some(Personal::Known(CategoryChange::Set(category))) => {
                self.category = Some(category.clone().into());
            }
            Some(Personal::Known(CategoryChange::Cleared)) => self.category = None,
            Some(Personal::Erased) => self.category = Some(Personal::Erased),
        }
        if let Some(tags) = &event.tags {
            self.tags.clone_from(tags);
        }
        if let Some(visibility) = event.visibility {
            self.visibility = visibility;
        }
        self.edited_at = Some(event.edited_at);
    }
}
