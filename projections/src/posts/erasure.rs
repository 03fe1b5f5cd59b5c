//! Forgetting people: their posts, likes, comments and follows, and that they were there.

use super::{project, timeline};
use sqlx::PgConnection;
use std::collections::BTreeSet;
use uuid::Uuid;

/// Forgets everybody in `erased`, after everything that was written before.
pub(super) async fn forget(
    connection: &mut PgConnection,
    erased: &BTreeSet<Uuid>,
) -> Result<(), sqlx::Error> {
    if erased.is_empty() {
        return Ok(());
    }
    let erased: Vec<Uuid> = erased.iter().copied().collect();
    let posts: Vec<Uuid> =
        sqlx::query_scalar("SELECT posts.post_id FROM posts WHERE posts.author_id = ANY ($1)")
            .bind(&erased)
            .fetch_all(&mut *connection)
            .await?;
    // While the follows are there by which the feeds are found.
    timeline::forget_posts(connection, &posts).await?;
    project::delete(connection, &posts.into_iter().collect()).await?;
    forget_doings(connection, &erased).await?;
    forget_relations(connection, &erased).await
}

/// What they did below the posts of others. A comment stays as a place for its answers.
async fn forget_doings(connection: &mut PgConnection, erased: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "WITH unliked AS (
            DELETE FROM likes WHERE likes.user_id = ANY ($1) RETURNING likes.post_id
        ), emptied AS (
            UPDATE comments SET author_id = NULL, text = ''
            WHERE comments.author_id = ANY ($1)
            RETURNING comments.post_id
        ), counted AS (
            SELECT done.post_id, sum(done.likes) AS likes, sum(done.comments) AS comments
            FROM (SELECT unliked.post_id, 1 AS likes, 0 AS comments FROM unliked
                  UNION ALL SELECT emptied.post_id, 0, 1 FROM emptied) AS done
            GROUP BY done.post_id
        )
        UPDATE posts SET like_count = posts.like_count - counted.likes,
                         comment_count = posts.comment_count - counted.comments
        FROM counted WHERE posts.post_id = counted.post_id",
    )
    .bind(erased)
    .execute(connection)
    .await
    .map(drop)
}

/// Whom they followed and who followed them, and who they were.
async fn forget_relations(
    connection: &mut PgConnection,
    erased: &[Uuid],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "WITH marked AS (
            INSERT INTO erased (user_id) SELECT * FROM unnest($1::uuid[]) ON CONFLICT DO NOTHING
        ), unnamed AS (
            DELETE FROM authors WHERE authors.user_id = ANY ($1)
        ), unread AS (
            DELETE FROM timeline WHERE timeline.user_id = ANY ($1)
        ), unheard AS (
            DELETE FROM audiences WHERE audiences.author_id = ANY ($1)
        ), ended AS (
            DELETE FROM follows
            WHERE follows.follower_id = ANY ($1) OR follows.followee_id = ANY ($1)
            RETURNING follows.followee_id
        )
        UPDATE audiences SET follower_count = audiences.follower_count - counted.followers
        FROM (SELECT ended.followee_id, count(*) AS followers FROM ended
              WHERE ended.followee_id <> ALL ($1) GROUP BY ended.followee_id) AS counted
        WHERE audiences.author_id = counted.followee_id",
    )
    .bind(erased)
    .execute(connection)
    .await
    .map(drop)
}
