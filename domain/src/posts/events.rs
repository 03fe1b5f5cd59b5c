//! What happens to a post, and around it.

use super::{Caption, Category, CommentText, Device, Tags, Visibility};
use crate::clock::Timestamp;
use crate::event::same_shape;
use crate::id::{CommentId, PostId, UserId};
use crate::personal::Personal;
use serde::{Deserialize, Serialize};

/// A post appeared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PostPublished {
    /// The post.
    pub post_id: PostId,
    /// Who wrote it.
    pub author_id: UserId,
    /// Its text.
    pub caption: Personal<Caption>,
    /// What it is about, in the author's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Personal<Category>>,
    /// What it was written on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Personal<Device>>,
    /// Its tags, without `#`, in lower case, each once.
    pub tags: Personal<Tags>,
    /// Who may see it.
    pub visibility: Visibility,
    /// When.
    pub published_at: Timestamp,
}

/// The author changed a post. Only the fields that changed are present; an empty category clears
/// the category.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PostEdited {
    /// The post.
    pub post_id: PostId,
    /// Who wrote it; none in events of version 1, which did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author_id: Option<UserId>,
    /// The new text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<Personal<Caption>>,
    /// The new category, or none inside when it was cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Personal<CategoryChange>>,
    /// The new tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Personal<Tags>>,
    /// The new circle of readers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// When.
    pub edited_at: Timestamp,
}

/// What became of a post's category.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CategoryChange {
    /// It was set.
    Set(Category),
    /// It was taken away.
    Cleared,
}

/// A post was taken away by its author.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PostDeleted {
    /// The post.
    pub post_id: PostId,
    /// Who had written it.
    pub author_id: UserId,
    /// When.
    pub deleted_at: Timestamp,
}

/// Somebody liked a post.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PostLiked {
    /// The post.
    pub post_id: PostId,
    /// Who likes it.
    pub user_id: UserId,
    /// When.
    pub liked_at: Timestamp,
}

/// Somebody took a like back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PostUnliked {
    /// The post.
    pub post_id: PostId,
    /// Who liked it.
    pub user_id: UserId,
    /// When.
    pub unliked_at: Timestamp,
}

/// Somebody wrote a comment below a post, or below another comment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommentAdded {
    /// The comment.
    pub comment_id: CommentId,
    /// The post that it is below.
    pub post_id: PostId,
    /// The comment that it answers, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<CommentId>,
    /// Who wrote it.
    pub author_id: UserId,
    /// Its text.
    pub text: Personal<CommentText>,
    /// When.
    pub commented_at: Timestamp,
}

crate::events! {
    /// What happens to a post.
    pub enum PostEvent {
        "posts.post_published" v "2" => PostPublished
            personal(author_id: caption, category, device, tags)
            from "1" by same_shape,
        "posts.post_edited" v "2" => PostEdited
            personal(author_id: caption, category, tags)
            from "1" by same_shape,
        "posts.post_deleted" v "1" => PostDeleted,
    }
}

impl LikeEvent {
    /// The post, and who likes it or did.
    #[must_use]
    pub const fn pair(&self) -> (PostId, UserId) {
        match self {
            Self::PostLiked(event) => (event.post_id, event.user_id),
            Self::PostUnliked(event) => (event.post_id, event.user_id),
        }
    }
}

crate::events! {
    /// What happens between a person and a post.
    pub enum LikeEvent {
        "posts.post_liked" v "1" => PostLiked,
        "posts.post_unliked" v "1" => PostUnliked,
    }
}

crate::events! {
    /// What happens to a comment.
    pub enum CommentEvent {
        "posts.comment_added" v "2" => CommentAdded personal(author_id: text) from "1" by same_shape,
    }
}
