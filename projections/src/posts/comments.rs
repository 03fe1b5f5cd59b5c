//! Comments: a tree below each post, stored and read in thread order.

use super::fold::NewComment;
use super::query::Author;
use crate::page::{Page, one_more};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use std::collections::HashMap;
use touchline_domain::id::{CommentId, PostId, UserId};
use uuid::Uuid;

/// How deep a thread is shown: a comment on a post has depth 0. An answer to a comment of this
/// depth stands beside it and still names it as its parent, so that paths do not grow for ever.
pub const COMMENT_DEPTH_MAX: usize = 7;

/// Writes comments with their places in the threads.
pub(super) async fn add(
    connection: &mut PgConnection,
    comments: &[NewComment],
) -> Result<(), sqlx::Error> {
    if comments.is_empty() {
        return Ok(());
    }
    let paths = paths(connection, comments).await?;
    let column = |take: fn(&NewComment) -> Uuid| comments.iter().map(take).collect::<Vec<_>>();
    let parents = comments.iter().map(|comment| comment.parent_id);
    let authors = comments.iter().map(|comment| comment.author_id);
    let texts = comments.iter().map(|comment| comment.text.as_str());
    let times = comments.iter().map(|comment| comment.commented_at);
    sqlx::query(
        "WITH added AS (
            INSERT INTO comments (comment_id, post_id, parent_id, author_id, text, commented_at, path)
            SELECT new.comment_id, new.post_id, new.parent_id, new.author_id, new.text,
                   new.commented_at, new.path::bigint[]
            FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[],
                        $6::timestamptz[], $7::text[])
                 AS new (comment_id, post_id, parent_id, author_id, text, commented_at, path)
            WHERE NOT EXISTS (SELECT FROM deleted_posts
                              WHERE deleted_posts.post_id = new.post_id)
            RETURNING comments.post_id, comments.author_id
        )
        UPDATE posts SET comment_count = posts.comment_count + counted.comments
        FROM (SELECT added.post_id, count(added.author_id) AS comments
              FROM added GROUP BY added.post_id) AS counted
        WHERE posts.post_id = counted.post_id",
    )
    .bind(column(|comment| comment.comment_id))
    .bind(column(|comment| comment.post_id))
    .bind(parents.collect::<Vec<_>>())
    .bind(authors.collect::<Vec<_>>())
    .bind(texts.collect::<Vec<_>>())
    .bind(times.collect::<Vec<_>>())
    .bind(paths)
    .execute(connection)
    .await
    .map(drop)
}

/// The path of each comment, as the text of a PostgreSQL array. A comment whose parent is not there
/// begins a thread.
async fn paths(
    connection: &mut PgConnection,
    comments: &[NewComment],
) -> Result<Vec<String>, sqlx::Error> {
    let parents: Vec<Uuid> = comments.iter().filter_map(|it| it.parent_id).collect();
    let mut known: HashMap<(Uuid, Uuid), Vec<i64>> = HashMap::new();
    if !parents.is_empty() {
        let stored: Vec<(Uuid, Uuid, Vec<i64>)> = sqlx::query_as(
            "SELECT comments.post_id, comments.comment_id, comments.path
             FROM comments WHERE comments.comment_id = ANY ($1)",
        )
        .bind(parents)
        .fetch_all(connection)
        .await?;
        known.extend(
            stored
                .into_iter()
                .map(|(post_id, comment_id, path)| ((post_id, comment_id), path)),
        );
    }
    let mut paths = Vec::with_capacity(comments.len());
    for comment in comments {
        let post_id = comment.post_id;
        let above = comment.parent_id;
        let above = above.and_then(|parent| known.get(&(post_id, parent)));
        let mut path = above.cloned().unwrap_or_default();
        path.truncate(COMMENT_DEPTH_MAX);
        path.push(comment.position);
        let numbers: Vec<String> = path.iter().map(i64::to_string).collect();
        paths.push(format!("{{{}}}", numbers.join(",")));
        known.insert((post_id, comment.comment_id), path);
    }
    Ok(paths)
}

/// Where a page of comments ends: the place of its last one in the threads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommentCursor {
    /// The positions from the thread's first comment down.
    pub path: Vec<i64>,
}

/// A comment below a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// The comment.
    pub comment_id: CommentId,
    /// The post that it is below.
    pub post_id: PostId,
    /// The comment that it answers; none when it answers the post.
    pub parent_id: Option<CommentId>,
    /// How deep it is shown, from 0 to [`COMMENT_DEPTH_MAX`].
    pub depth: usize,
    /// Who wrote it.
    pub author: Author,
    /// Its text.
    pub text: String,
    /// When it was written.
    pub commented_at: DateTime<Utc>,
    /// Its place in the threads.
    pub path: Vec<i64>,
}

/// A row of `comments`, for the checked statement.
struct CommentRow {
    comment_id: Uuid,
    post_id: Uuid,
    parent_id: Option<Uuid>,
    author_id: Uuid,
    handle: String,
    display_name: String,
    text: String,
    commented_at: DateTime<Utc>,
    path: Vec<i64>,
}

impl From<CommentRow> for Comment {
    fn from(row: CommentRow) -> Self {
        Self {
            comment_id: CommentId::new(row.comment_id),
            post_id: PostId::new(row.post_id),
            parent_id: row.parent_id.map(CommentId::new),
            depth: row.path.len().saturating_sub(1),
            author: Author {
                user_id: UserId::new(row.author_id),
                handle: row.handle,
                display_name: row.display_name,
            },
            text: row.text,
            commented_at: row.commented_at,
            path: row.path,
        }
    }
}

/// A page of the comments below a post in thread order: the oldest thread first, each answer below
/// what it answers. None when the viewer may not see the post.
///
/// # Errors
/// When the database cannot be read.
pub async fn comments(
    pool: &PgPool,
    post_id: PostId,
    viewer: Option<UserId>,
    after: Option<CommentCursor>,
    limit: usize,
) -> Result<Option<Page<Comment, CommentCursor>>, sqlx::Error> {
    if !super::query::is_visible(pool, post_id, viewer).await? {
        return Ok(None);
    }
    let after = after.map(|cursor| cursor.path).unwrap_or_default();
    let rows = sqlx::query_as!(
        CommentRow,
        r#"
        SELECT comments.comment_id, comments.post_id, comments.parent_id,
               authors.user_id AS author_id, authors.handle, authors.display_name, comments.text, comments.commented_at,
               comments.path
        FROM posts.comments JOIN posts.authors ON authors.user_id = comments.author_id
        WHERE comments.post_id = $1 AND comments.path > $2
        ORDER BY comments.path
        LIMIT $3
        "#,
        post_id.uuid(),
        &after,
        one_more(limit),
    )
    .fetch_all(pool)
    .await?;
    let rows = rows.into_iter().map(Comment::from).collect();
    Ok(Some(Page::cut(rows, limit, |row: &Comment| {
        CommentCursor {
            path: row.path.clone(),
        }
    })))
}
