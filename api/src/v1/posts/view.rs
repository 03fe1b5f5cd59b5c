//! What posts, likes and comments look like.

use crate::openapi::values;
use chrono::{DateTime, Utc};
use serde::Serialize;

use touchline_domain::identity::Registration;
use touchline_domain::posts::{AddedComment, PublishedPost};
use touchline_domain::users::Profile;
use touchline_projections::posts::{Author, Comment, Liker, Post};
use utoipa::ToSchema;
use uuid::Uuid;

/// Who wrote something, or likes it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Author)]
pub(super) struct AuthorView {
    /// Who.
    user_id: Uuid,
    /// The public short name.
    #[schema(value_type = values::Handle)]
    handle: String,
    /// The public full name.
    #[schema(value_type = values::DisplayName)]
    display_name: String,
}

impl AuthorView {
    /// As the aggregates have it.
    pub(super) fn of_state(account: &Registration, profile: &Profile) -> Self {
        Self {
            user_id: account.user_id.uuid(),
            handle: account.handle.to_string(),
            display_name: profile
                .display_name
                .as_ref()
                .unwrap_or(&account.display_name)
                .to_string(),
        }
    }
}

impl From<Author> for AuthorView {
    fn from(author: Author) -> Self {
        Self {
            user_id: author.user_id.uuid(),
            handle: author.handle,
            display_name: author.display_name,
        }
    }
}

/// A post, as the viewer sees it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Post)]
pub(super) struct PostView {
    /// The post.
    post_id: Uuid,
    /// Who wrote it.
    author: AuthorView,
    /// Its text.
    #[schema(value_type = values::Caption)]
    caption: String,
    /// What it is about; null when the author did not say.
    #[schema(value_type = Option<values::Category>)]
    category: Option<String>,
    /// What it was written on; null when unknown.
    #[schema(value_type = Option<values::Device>)]
    device: Option<String>,
    /// Its tags, without `#`.
    #[schema(value_type = Vec<values::Tag>, example = json!(["worldcup", "final"]))]
    tags: Vec<String>,
    /// Who may see it: `public`, `followers` or `only_me`.
    #[schema(value_type = values::Visibility)]
    visibility: String,
    /// When it appeared.
    published_at: DateTime<Utc>,
    /// When it was last edited; null when never.
    edited_at: Option<DateTime<Utc>>,
    /// What others make of it.
    #[serde(flatten)]
    counts: Counts,
}

/// What others make of a post.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
#[schema(as = PostCounts)]
pub(super) struct Counts {
    /// How many like it.
    like_count: i64,
    /// How many comments are below it.
    comment_count: i64,
    /// Whether the viewer likes it; false for anybody.
    liked_by_me: bool,
}

impl From<&Post> for Counts {
    fn from(post: &Post) -> Self {
        Self {
            like_count: post.like_count,
            comment_count: post.comment_count,
            liked_by_me: post.liked_by_viewer,
        }
    }
}

impl From<Post> for PostView {
    fn from(post: Post) -> Self {
        Self {
            counts: Counts::from(&post),
            post_id: post.post_id.uuid(),
            author: post.author.into(),
            caption: post.caption,
            category: post.category,
            device: post.device,
            tags: post.tags,
            visibility: post.visibility,
            published_at: post.published_at,
            edited_at: post.edited_at,
        }
    }
}

impl PostView {
    /// As the aggregate has it.
    pub(super) fn of_state(post: &PublishedPost, author: AuthorView, counts: Counts) -> Self {
        Self {
            post_id: post.post_id.uuid(),
            author,
            caption: post.caption.to_string(),
            category: post.category.as_ref().map(ToString::to_string),
            device: post.device.as_ref().map(ToString::to_string),
            tags: post
                .tags
                .known()
                .map(|tags| tags.iter().map(ToString::to_string).collect())
                .unwrap_or_default(),
            visibility: post.visibility.to_string(),
            published_at: post.published_at,
            edited_at: post.edited_at,
            counts,
        }
    }
}

/// That a post is gone.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeletedPost)]
pub(super) struct DeletedView {
    /// The post.
    pub(super) post_id: Uuid,
    /// True.
    pub(super) deleted: bool,
}

/// Whether one likes a post.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Like)]
pub(super) struct LikeView {
    /// The post.
    pub(super) post_id: Uuid,
    /// Whether one likes it now.
    pub(super) liked: bool,
    /// Since when; null when one does not.
    pub(super) liked_at: Option<DateTime<Utc>>,
    /// How many like it, this like included.
    pub(super) like_count: i64,
}

/// Somebody who likes a post.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Liker)]
pub(super) struct LikerView {
    /// Who.
    user: AuthorView,
    /// Since when.
    liked_at: DateTime<Utc>,
}

impl From<Liker> for LikerView {
    fn from(liker: Liker) -> Self {
        Self {
            user: liker.user.into(),
            liked_at: liker.liked_at,
        }
    }
}

/// A comment below a post.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Comment)]
pub(super) struct CommentView {
    /// The comment.
    comment_id: Uuid,
    /// The post that it is below.
    post_id: Uuid,
    /// The comment that it answers; null when it answers the post.
    parent_id: Option<Uuid>,
    /// How deep it is shown in its thread; absent right after it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    depth: Option<usize>,
    /// Who wrote it.
    author: AuthorView,
    /// Its text.
    #[schema(value_type = values::CommentText)]
    text: String,
    /// When it was written.
    commented_at: DateTime<Utc>,
}

impl From<Comment> for CommentView {
    fn from(comment: Comment) -> Self {
        Self {
            comment_id: comment.comment_id.uuid(),
            post_id: comment.post_id.uuid(),
            parent_id: comment.parent_id.map(touchline_domain::id::CommentId::uuid),
            depth: Some(comment.depth),
            author: comment.author.into(),
            text: comment.text,
            commented_at: comment.commented_at,
        }
    }
}

impl CommentView {
    /// As the aggregate has it.
    pub(super) fn of_state(comment: &AddedComment, author: AuthorView) -> Self {
        Self {
            comment_id: comment.comment_id.uuid(),
            post_id: comment.post_id.uuid(),
            parent_id: comment.parent_id.map(touchline_domain::id::CommentId::uuid),
            depth: None,
            author,
            text: comment.text.to_string(),
            commented_at: comment.commented_at,
        }
    }
}
