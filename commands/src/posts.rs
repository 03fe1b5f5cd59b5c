//! Posts: publish, edit, delete, like, unlike, comment.
//!
//! A post that who asks may not see is not found, exactly as one that never was.

use crate::bus::{Bus, ExecuteError, Failure, Intent, Outcome, ReadSet};
use crate::envelope::Envelope;
use std::convert::Infallible;
use std::sync::Arc;
use thiserror::Error;
use touchline_domain::id::{CommentId, FollowId, LikeId, PostId, UserId};
use touchline_domain::identity::Account;
use touchline_domain::posts::{
    AddComment, Caption, Category, CategoryChange, Comment, CommentCommand, CommentError,
    CommentText, DeletePost, Device, EditPost, Like, LikeCommand, LikePair, ParentComment, Post,
    PostCommand, PostError, PublishPost, Tags, Visibility,
};
use touchline_domain::users::Follow;

/// What somebody wants to publish.
#[derive(Debug, Clone)]
pub struct NewPost {
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
}

/// What an author wants their post to be. A field that is none stays as it is.
#[derive(Debug, Clone, Default)]
pub struct PostChanges {
    /// The text.
    pub caption: Option<Caption>,
    /// The category, or that it goes.
    pub category: Option<CategoryChange>,
    /// The tags.
    pub tags: Option<Tags>,
    /// The circle of readers.
    pub visibility: Option<Visibility>,
}

/// Why a post was not published.
#[derive(Debug, Error)]
pub enum PublishError {
    /// A rule of posts refuses it.
    #[error("the post is refused")]
    Refused(#[source] PostError),
    /// The command was not carried through.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<ExecuteError<PostError>> for PublishError {
    fn from(error: ExecuteError<PostError>) -> Self {
        match error {
            ExecuteError::Refused(reason) => Self::Refused(reason),
            ExecuteError::Failed(failure) => Self::Failed(failure),
        }
    }
}

/// Why a post was neither edited nor deleted.
#[derive(Debug, Error)]
pub enum ChangePostError {
    /// There is no such post, not any more, or not for who asks.
    #[error("there is no such post")]
    NotFound,
    /// Who asks can see the post and did not write it.
    #[error("only the author may change or delete a post")]
    NotAuthor,
    /// The command was not carried through.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<ExecuteError<PostError>> for ChangePostError {
    fn from(error: ExecuteError<PostError>) -> Self {
        match error {
            ExecuteError::Refused(PostError::NotAuthor) => Self::NotAuthor,
            ExecuteError::Refused(
                PostError::NotFound | PostError::Deleted | PostError::AlreadyPublished,
            ) => Self::NotFound,
            ExecuteError::Failed(failure) => Self::Failed(failure),
        }
    }
}

/// Why a post was neither liked nor unliked.
#[derive(Debug, Error)]
pub enum LikePostError {
    /// There is no such post, not any more, or not for who asks.
    #[error("there is no such post")]
    NotFound,
    /// The command was not carried through.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<ExecuteError<Infallible>> for LikePostError {
    fn from(error: ExecuteError<Infallible>) -> Self {
        match error {
            ExecuteError::Refused(never) => match never {},
            ExecuteError::Failed(failure) => Self::Failed(failure),
        }
    }
}

/// Why a comment was not written.
#[derive(Debug, Error)]
pub enum CommentOnPostError {
    /// There is no such post, not any more, or not for who asks.
    #[error("there is no such post")]
    NotFound,
    /// There is no such comment to answer below this post.
    #[error("there is no such comment below the post")]
    ParentNotFound,
    /// A rule of comments refuses it.
    #[error("the comment is refused")]
    Refused(#[source] CommentError),
    /// The command was not carried through.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<ExecuteError<CommentError>> for CommentOnPostError {
    fn from(error: ExecuteError<CommentError>) -> Self {
        match error {
            ExecuteError::Refused(CommentError::ParentOfOtherPost) => Self::ParentNotFound,
            ExecuteError::Refused(reason) => Self::Refused(reason),
            ExecuteError::Failed(failure) => Self::Failed(failure),
        }
    }
}

/// Publishes a post of who asks.
///
/// # Errors
/// [`PublishError`].
#[tracing::instrument(name = "posts.publish", skip_all, err(level = "debug"))]
pub async fn publish(
    bus: &Bus,
    envelope: &Envelope,
    post: NewPost,
) -> Result<Outcome<Post>, PublishError> {
    let (post, post_id) = (&post, PostId::new(bus.new_id()));
    bus.decide(envelope, |reads| {
        Box::pin(async move {
            let (author_id, _) = reads.actor().await?;
            let post = post.clone();
            let command = PostCommand::Publish(PublishPost {
                post_id,
                author_id,
                caption: post.caption,
                category: post.category,
                device: post.device,
                tags: post.tags,
                visibility: post.visibility,
                at: envelope.at,
            });
            Ok(Intent::new(post_id.uuid(), command).presuming_new())
        })
    })
    .await
}

/// Edits a post of who asks. `expected_version` is the version that they have seen; none changes
/// whatever there is.
///
/// # Errors
/// [`ChangePostError`].
#[tracing::instrument(name = "posts.edit", skip_all, fields(%post_id), err(level = "debug"))]
pub async fn edit(
    bus: &Bus,
    envelope: &Envelope,
    post_id: PostId,
    changes: PostChanges,
    expected_version: Option<i64>,
) -> Result<Outcome<Post>, ChangePostError> {
    let command = |editor_id| {
        let changes = changes.clone();
        PostCommand::Edit(EditPost {
            editor_id,
            caption: changes.caption,
            category: changes.category,
            tags: changes.tags,
            visibility: changes.visibility,
            at: envelope.at,
        })
    };
    change(bus, envelope, post_id, command, expected_version).await
}

/// Deletes a post of who asks. `expected_version` is the version that they have seen; none deletes
/// whatever there is.
///
/// # Errors
/// [`ChangePostError`].
#[tracing::instrument(name = "posts.delete", skip_all, fields(%post_id), err(level = "debug"))]
pub async fn delete(
    bus: &Bus,
    envelope: &Envelope,
    post_id: PostId,
    expected_version: Option<i64>,
) -> Result<Outcome<Post>, ChangePostError> {
    let command = |deleter_id| {
        PostCommand::Delete(DeletePost {
            deleter_id,
            at: envelope.at,
        })
    };
    change(bus, envelope, post_id, command, expected_version).await
}

async fn change(
    bus: &Bus,
    envelope: &Envelope,
    post_id: PostId,
    command: impl Fn(UserId) -> PostCommand + Send + Sync,
    expected_version: Option<i64>,
) -> Result<Outcome<Post>, ChangePostError> {
    let command = &command;
    bus.decide(envelope, |reads| {
        Box::pin(async move {
            let (actor, _) = reads.actor().await?;
            // Who may not change the post hears so before hearing that its version is another.
            let post = readable_post(reads, actor, post_id)
                .await?
                .ok_or(ChangePostError::NotFound)?;
            if post.published().is_some_and(|post| post.author_id != actor) {
                return Err(ChangePostError::NotAuthor);
            }
            Ok(Intent::new(post_id.uuid(), command(actor)).at_version(expected_version))
        })
    })
    .await
}

/// Lets who asks like a post. Done again, it changes nothing.
///
/// # Errors
/// [`LikePostError`].
#[tracing::instrument(name = "posts.like", skip_all, fields(%post_id), err(level = "debug"))]
pub async fn like(
    bus: &Bus,
    envelope: &Envelope,
    post_id: PostId,
) -> Result<Outcome<Like>, LikePostError> {
    relate(bus, envelope, post_id, LikeCommand::Like).await
}

/// Takes a like of who asks back. Done again, it changes nothing.
///
/// # Errors
/// [`LikePostError`].
#[tracing::instrument(name = "posts.unlike", skip_all, fields(%post_id), err(level = "debug"))]
pub async fn unlike(
    bus: &Bus,
    envelope: &Envelope,
    post_id: PostId,
) -> Result<Outcome<Like>, LikePostError> {
    relate(bus, envelope, post_id, LikeCommand::Unlike).await
}

async fn relate(
    bus: &Bus,
    envelope: &Envelope,
    post_id: PostId,
    command: impl Fn(LikePair) -> LikeCommand + Send + Sync,
) -> Result<Outcome<Like>, LikePostError> {
    let command = &command;
    bus.decide(envelope, |reads| {
        Box::pin(async move {
            let (user_id, _) = reads.actor().await?;
            readable_post(reads, user_id, post_id)
                .await?
                .ok_or(LikePostError::NotFound)?;
            let pair = LikePair {
                post_id,
                user_id,
                at: envelope.at,
            };
            let id = LikeId::of(user_id, post_id).uuid();
            Ok(Intent::new(id, command(pair)).presuming_new())
        })
    })
    .await
}

/// Writes a comment of who asks below a post, or below the comment `parent_id`.
///
/// # Errors
/// [`CommentOnPostError`].
#[tracing::instrument(name = "posts.comment", skip_all, fields(%post_id), err(level = "debug"))]
pub async fn comment(
    bus: &Bus,
    envelope: &Envelope,
    post_id: PostId,
    parent_id: Option<CommentId>,
    text: CommentText,
) -> Result<Outcome<Comment>, CommentOnPostError> {
    let (text, comment_id) = (&text, CommentId::new(bus.new_id()));
    bus.decide(envelope, |reads| {
        Box::pin(async move {
            let (author_id, _) = reads.actor().await?;
            readable_post(reads, author_id, post_id)
                .await?
                .ok_or(CommentOnPostError::NotFound)?;
            let parent = match parent_id {
                None => None,
                Some(parent_id) => Some(parent(reads, parent_id).await?),
            };
            let command = CommentCommand::Add(AddComment {
                comment_id,
                post_id,
                parent,
                author_id,
                text: text.clone(),
                at: envelope.at,
            });
            Ok(Intent::new(comment_id.uuid(), command).presuming_new())
        })
    })
    .await
}

/// The comment, if it is there: one whose author is erased is not.
async fn parent(
    reads: &mut ReadSet<'_>,
    comment_id: CommentId,
) -> Result<ParentComment, CommentOnPostError> {
    let comment = reads.load::<Comment>(comment_id.uuid()).await?;
    let comment = comment.added().ok_or(CommentOnPostError::ParentNotFound)?;
    if !is_known(reads, comment.author_id).await? {
        return Err(CommentOnPostError::ParentNotFound);
    }
    Ok(ParentComment {
        comment_id,
        post_id: comment.post_id,
    })
}

/// The post, if `viewer` may see it. With its author's account it is erased.
async fn readable_post(
    reads: &mut ReadSet<'_>,
    viewer: UserId,
    post_id: PostId,
) -> Result<Option<Arc<Post>>, Failure> {
    let post = reads.load::<Post>(post_id.uuid()).await?;
    let Some(published) = post.published() else {
        return Ok(None);
    };
    let author_id = published.author_id;
    if !published.is_visible_to(viewer, true) || !is_known(reads, author_id).await? {
        return Ok(None);
    }
    if published.is_visible_to(viewer, false) {
        return Ok(Some(post));
    }
    let id = FollowId::of(viewer, author_id).uuid();
    let follow = reads.load::<Follow>(id).await?;
    Ok(follow.is_following().then_some(post))
}

async fn is_known(reads: &mut ReadSet<'_>, user_id: UserId) -> Result<bool, Failure> {
    let account = reads.load::<Account>(user_id.uuid()).await?;
    Ok(account.registration().is_some())
}
