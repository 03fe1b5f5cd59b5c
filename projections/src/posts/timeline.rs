//! The home feeds written ahead. Each statement keeps `timeline` equal to its definition in
//! `schema.sql`: rows go by what held before the batch, and come by what holds after it.

use crate::relation::Columns;
use sqlx::PgConnection;
use std::collections::BTreeMap;
use uuid::Uuid;

/// The circles that a batch changes.
pub(super) struct Audiences {
    author_ids: Vec<Uuid>,
    follower_counts: Vec<i64>,
    at_read: Vec<bool>,
    /// Those whose posts leave the timeline, because the circle grew over the threshold.
    pub(super) outgrown: Vec<Uuid>,
}

impl Audiences {
    /// Takes every step of every circle in log order: it counts that the threshold was passed, even
    /// when the circle is smaller again at the end of the batch.
    pub(super) async fn grow(
        connection: &mut PgConnection,
        steps: &BTreeMap<Uuid, Vec<i64>>,
        followers_max: i64,
    ) -> Result<Self, sqlx::Error> {
        let mut grown = Self {
            author_ids: steps.keys().copied().collect(),
            follower_counts: Vec::with_capacity(steps.len()),
            at_read: Vec::with_capacity(steps.len()),
            outgrown: Vec::new(),
        };
        if steps.is_empty() {
            return Ok(grown);
        }
        let before: Vec<(Uuid, i64, bool)> = sqlx::query_as(
            "SELECT audiences.author_id, audiences.follower_count, audiences.at_read
             FROM audiences WHERE audiences.author_id = ANY ($1)",
        )
        .bind(&grown.author_ids)
        .fetch_all(connection)
        .await?;
        let before: BTreeMap<Uuid, (i64, bool)> = before
            .into_iter()
            .map(|(author_id, count, at_read)| (author_id, (count, at_read)))
            .collect();
        for (author_id, steps) in steps {
            let (mut count, was_at_read) = before.get(author_id).copied().unwrap_or_default();
            let mut at_read = was_at_read;
            for step in steps {
                count += step;
                at_read |= count > followers_max;
            }
            grown.follower_counts.push(count);
            grown.at_read.push(at_read);
            if at_read && !was_at_read {
                grown.outgrown.push(*author_id);
            }
        }
        Ok(grown)
    }

    /// Writes the circles, and marks the follows of those who outgrew the threshold.
    pub(super) async fn write(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if self.author_ids.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO audiences (author_id, follower_count, at_read)
             SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::boolean[])
             ON CONFLICT (author_id) DO UPDATE
                SET follower_count = excluded.follower_count, at_read = excluded.at_read",
        )
        .bind(self.author_ids)
        .bind(self.follower_counts)
        .bind(self.at_read)
        .execute(&mut *connection)
        .await?;
        if self.outgrown.is_empty() {
            return Ok(());
        }
        sqlx::query("UPDATE follows SET at_read = true WHERE follows.followee_id = ANY ($1)")
            .bind(self.outgrown)
            .execute(connection)
            .await
            .map(drop)
    }
}

/// Takes the posts of the unfollowed out of their former followers' feeds.
pub(super) async fn forget_unfollowed(
    connection: &mut PgConnection,
    lost: &Columns,
) -> Result<(), sqlx::Error> {
    if lost.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "DELETE FROM timeline
         USING unnest($1::uuid[], $2::uuid[]) AS lost (follower_id, followee_id)
         JOIN posts ON posts.author_id = lost.followee_id
         WHERE timeline.user_id = lost.follower_id
           AND timeline.published_at = posts.published_at
           AND timeline.post_id = posts.post_id",
    )
    .bind(&lost.left)
    .bind(&lost.right)
    .execute(connection)
    .await
    .map(drop)
}

/// Takes posts out of all feeds.
pub(super) async fn forget_posts(
    connection: &mut PgConnection,
    post_ids: &[Uuid],
) -> Result<(), sqlx::Error> {
    if post_ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "DELETE FROM timeline
         USING posts JOIN follows ON follows.followee_id = posts.author_id
         WHERE posts.post_id = ANY ($1)
           AND timeline.user_id = follows.follower_id
           AND timeline.published_at = posts.published_at
           AND timeline.post_id = posts.post_id",
    )
    .bind(post_ids)
    .execute(connection)
    .await
    .map(drop)
}

/// Takes all posts of these authors out of all feeds.
pub(super) async fn forget_authors(
    connection: &mut PgConnection,
    author_ids: &[Uuid],
) -> Result<(), sqlx::Error> {
    if author_ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "DELETE FROM timeline
         USING posts JOIN follows ON follows.followee_id = posts.author_id
         WHERE posts.author_id = ANY ($1)
           AND timeline.user_id = follows.follower_id
           AND timeline.published_at = posts.published_at
           AND timeline.post_id = posts.post_id",
    )
    .bind(author_ids)
    .execute(connection)
    .await
    .map(drop)
}

/// Brings the posts of the newly followed into their followers' feeds.
pub(super) async fn add_followed(
    connection: &mut PgConnection,
    gained: &Columns,
) -> Result<(), sqlx::Error> {
    if gained.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO timeline (user_id, published_at, post_id)
         SELECT gained.follower_id, posts.published_at, posts.post_id
         FROM unnest($1::uuid[], $2::uuid[]) AS gained (follower_id, followee_id)
         JOIN audiences ON audiences.author_id = gained.followee_id AND NOT audiences.at_read
         JOIN posts ON posts.author_id = gained.followee_id AND posts.visibility <> 'only_me'
         ON CONFLICT DO NOTHING",
    )
    .bind(&gained.left)
    .bind(&gained.right)
    .execute(connection)
    .await
    .map(drop)
}

/// Brings posts into the feeds of all who follow their authors.
pub(super) async fn add_posts(
    connection: &mut PgConnection,
    post_ids: &[Uuid],
) -> Result<(), sqlx::Error> {
    if post_ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO timeline (user_id, published_at, post_id)
         SELECT follows.follower_id, posts.published_at, posts.post_id
         FROM posts JOIN follows ON follows.followee_id = posts.author_id AND NOT follows.at_read
         WHERE posts.post_id = ANY ($1)
         ORDER BY follows.follower_id, posts.published_at, posts.post_id
         ON CONFLICT DO NOTHING",
    )
    .bind(post_ids)
    .execute(connection)
    .await
    .map(drop)
}
