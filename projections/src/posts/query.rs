//! Rows to answers. Every statement that shows a post says who may see it.

use crate::page::{Page, one_more};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use touchline_domain::id::{PostId, UserId};
use uuid::Uuid;

/// Who wrote something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// Who.
    pub user_id: UserId,
    /// The public short name.
    pub handle: String,
    /// The public full name.
    pub display_name: String,
}

/// A post, as a viewer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// The post.
    pub post_id: PostId,
    /// Who wrote it.
    pub author: Author,
    /// Its text.
    pub caption: String,
    /// What it is about; none when the author did not say.
    pub category: Option<String>,
    /// What it was written on; none when unknown.
    pub device: Option<String>,
    /// Its tags, without `#`.
    pub tags: Vec<String>,
    /// The word of [`Visibility`](touchline_domain::posts::Visibility).
    pub visibility: String,
    /// When it appeared.
    pub published_at: DateTime<Utc>,
    /// When it was last edited; none when never.
    pub edited_at: Option<DateTime<Utc>>,
    /// Its version: the sequence of its last event.
    pub version: i64,
    /// How many like it.
    pub like_count: i64,
    /// How many comments are below it.
    pub comment_count: i64,
    /// Whether the viewer likes it; false for an anonymous viewer.
    pub liked_by_viewer: bool,
}

/// A row of `posts` with its author, for the checked statements.
pub(super) struct PostRow {
    pub(super) post_id: Uuid,
    pub(super) author_id: Uuid,
    pub(super) handle: String,
    pub(super) display_name: String,
    pub(super) caption: String,
    pub(super) category: Option<String>,
    pub(super) device: Option<String>,
    pub(super) tags: Vec<String>,
    pub(super) visibility: String,
    pub(super) published_at: DateTime<Utc>,
    pub(super) edited_at: Option<DateTime<Utc>>,
    pub(super) version: i64,
    pub(super) like_count: i64,
    pub(super) comment_count: i64,
    pub(super) liked_by_viewer: bool,
}

impl From<PostRow> for Post {
    fn from(row: PostRow) -> Self {
        Self {
            post_id: PostId::new(row.post_id),
            author: Author {
                user_id: UserId::new(row.author_id),
                handle: row.handle,
                display_name: row.display_name,
            },
            caption: row.caption,
            category: row.category,
            device: row.device,
            tags: row.tags,
            visibility: row.visibility,
            published_at: row.published_at,
            edited_at: row.edited_at,
            version: row.version,
            like_count: row.like_count,
            comment_count: row.comment_count,
            liked_by_viewer: row.liked_by_viewer,
        }
    }
}

/// Where a page of posts ends: at its last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostCursor {
    /// When it was published.
    pub published_at: DateTime<Utc>,
    /// Which it is, among those published at the same time.
    pub post_id: PostId,
}

impl PostCursor {
    /// What every post of the page lies before. Without a cursor that is later than any post, so
    /// that the statement has one form and one plan.
    pub(super) fn before(after: Option<Self>) -> (DateTime<Utc>, Uuid) {
        after.map_or((DateTime::<Utc>::MAX_UTC, Uuid::max()), |cursor| {
            (cursor.published_at, cursor.post_id.uuid())
        })
    }
}

pub(super) fn page(rows: Vec<PostRow>, limit: usize) -> Page<Post, PostCursor> {
    let rows = rows.into_iter().map(Post::from).collect();
    Page::cut(rows, limit, |post: &Post| PostCursor {
        published_at: post.published_at,
        post_id: post.post_id,
    })
}

/// The post with this id; none when there is none, or the viewer may not see it.
///
/// # Errors
/// When the database cannot be read.
pub async fn by_id(
    pool: &PgPool,
    post_id: PostId,
    viewer: Option<UserId>,
) -> Result<Option<Post>, sqlx::Error> {
    let row = sqlx::query_as!(
        PostRow,
        r#"
        SELECT posts.post_id, posts.author_id, authors.handle, authors.display_name, posts.caption,
               posts.category, posts.device, posts.tags, posts.visibility, posts.published_at,
               posts.edited_at, posts.version, posts.like_count, posts.comment_count,
               EXISTS (SELECT FROM posts.likes
                       WHERE likes.post_id = posts.post_id AND likes.user_id = $2)
                   AS "liked_by_viewer!"
        FROM posts.posts JOIN posts.authors ON authors.user_id = posts.author_id
        WHERE posts.post_id = $1
          AND (posts.visibility = 'public' OR posts.author_id = $2
               OR posts.visibility = 'followers'
                  AND EXISTS (SELECT FROM posts.follows
                              WHERE follows.follower_id = $2
                                AND follows.followee_id = posts.author_id))
        "#,
        post_id.uuid(),
        viewer.map(UserId::uuid),
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(Post::from))
}

/// Whether there is such a post and the viewer may see it.
pub(super) async fn is_visible(
    pool: &PgPool,
    post_id: PostId,
    viewer: Option<UserId>,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        SELECT EXISTS (
            SELECT FROM posts.posts JOIN posts.authors ON authors.user_id = posts.author_id
            WHERE posts.post_id = $1
              AND (posts.visibility = 'public' OR posts.author_id = $2
                   OR posts.visibility = 'followers'
                      AND EXISTS (SELECT FROM posts.follows
                                  WHERE follows.follower_id = $2
                                    AND follows.followee_id = posts.author_id))
        ) AS "visible!"
        "#,
        post_id.uuid(),
        viewer.map(UserId::uuid),
    )
    .fetch_one(pool)
    .await
}

/// A page of an author's posts, newest first: those that the viewer may see.
///
/// # Errors
/// When the database cannot be read.
pub async fn by_author(
    pool: &PgPool,
    author_id: UserId,
    viewer: Option<UserId>,
    after: Option<PostCursor>,
    limit: usize,
) -> Result<Page<Post, PostCursor>, sqlx::Error> {
    let (published_before, post_before) = PostCursor::before(after);
    let rows = sqlx::query_as!(
        PostRow,
        r#"
        SELECT posts.post_id, posts.author_id, authors.handle, authors.display_name, posts.caption,
               posts.category, posts.device, posts.tags, posts.visibility, posts.published_at,
               posts.edited_at, posts.version, posts.like_count, posts.comment_count,
               EXISTS (SELECT FROM posts.likes
                       WHERE likes.post_id = posts.post_id AND likes.user_id = $2)
                   AS "liked_by_viewer!"
        FROM (SELECT 'public' AS visibility
              UNION ALL
              SELECT 'followers' WHERE $2::uuid = $1::uuid
                  OR EXISTS (SELECT FROM posts.follows
                             WHERE follows.follower_id = $2 AND follows.followee_id = $1)
              UNION ALL
              SELECT 'only_me' WHERE $2::uuid = $1::uuid) AS seen
        CROSS JOIN LATERAL (
            SELECT own.* FROM posts.posts AS own
            WHERE own.author_id = $1 AND own.visibility = seen.visibility
              AND (own.published_at, own.post_id) < ($3, $4)
            ORDER BY own.published_at DESC, own.post_id DESC
            LIMIT $5) AS posts
        JOIN posts.authors ON authors.user_id = posts.author_id
        ORDER BY posts.published_at DESC, posts.post_id DESC
        LIMIT $5
        "#,
        author_id.uuid(),
        viewer.map(UserId::uuid),
        published_before,
        post_before,
        one_more(limit),
    )
    .fetch_all(pool)
    .await?;
    Ok(page(rows, limit))
}

/// Where a page of likers ends: the position of its last like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LikeCursor {
    /// The position of the event that began the like.
    pub position: i64,
}

/// Somebody who likes a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Liker {
    /// Who.
    pub user: Author,
    /// Since when.
    pub liked_at: DateTime<Utc>,
    /// The position of the event that began it.
    pub position: i64,
}

/// A row of `likes`, for the checked statement.
struct LikeRow {
    user_id: Uuid,
    handle: String,
    display_name: String,
    liked_at: DateTime<Utc>,
    position: i64,
}

impl From<LikeRow> for Liker {
    fn from(row: LikeRow) -> Self {
        Self {
            user: Author {
                user_id: UserId::new(row.user_id),
                handle: row.handle,
                display_name: row.display_name,
            },
            liked_at: row.liked_at,
            position: row.position,
        }
    }
}

/// A page of those who like a post, the newest like first. None when the viewer may not see the
/// post.
///
/// # Errors
/// When the database cannot be read.
pub async fn likers(
    pool: &PgPool,
    post_id: PostId,
    viewer: Option<UserId>,
    after: Option<LikeCursor>,
    limit: usize,
) -> Result<Option<Page<Liker, LikeCursor>>, sqlx::Error> {
    if !is_visible(pool, post_id, viewer).await? {
        return Ok(None);
    }
    let rows = sqlx::query_as!(
        LikeRow,
        r#"
        SELECT likes.user_id, authors.handle, authors.display_name, likes.liked_at, likes.position
        FROM posts.likes JOIN posts.authors ON authors.user_id = likes.user_id
        WHERE likes.post_id = $1 AND likes.position < $2
        ORDER BY likes.position DESC
        LIMIT $3
        "#,
        post_id.uuid(),
        after.map_or(i64::MAX, |cursor| cursor.position),
        one_more(limit),
    )
    .fetch_all(pool)
    .await?;
    let rows = rows.into_iter().map(Liker::from).collect();
    Ok(Some(Page::cut(rows, limit, |liker: &Liker| LikeCursor {
        position: liker.position,
    })))
}
