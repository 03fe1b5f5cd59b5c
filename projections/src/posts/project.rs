//! Changes to rows: the statements of one batch, in an order that needs each table once.

use super::fold::{Edit, FAN_OUT_FOLLOWERS_MAX, FEED_ENTRIES_MAX, Fold, Name, NewPost};
use super::timeline::{self, Audiences};
use super::{comments, sample, sweep};
use crate::erased;
use crate::projection::{Derived, ProjectError, Projection, SampledTable};
use crate::relation::Columns;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use std::collections::{BTreeMap, BTreeSet};
use touchline_domain::posts::{CategoryChange, Tags, Visibility};
use touchline_eventstore::LogEvent;
use uuid::Uuid;

/// Folds accounts, follows, posts, likes and comments into the schema `posts`.
#[derive(Debug, Clone, Copy)]
pub struct PostsProjection {
    fan_out_followers_max: i64,
    feed_entries_max: i64,
}

impl Default for PostsProjection {
    fn default() -> Self {
        Self::with_fan_out(FAN_OUT_FOLLOWERS_MAX)
    }
}

impl PostsProjection {
    /// A projection with another threshold than [`FAN_OUT_FOLLOWERS_MAX`]: the rows depend on it,
    /// so that a schema must be filled with the same one from first to last.
    #[must_use]
    pub const fn with_fan_out(followers_max: i64) -> Self {
        Self {
            fan_out_followers_max: followers_max,
            feed_entries_max: FEED_ENTRIES_MAX,
        }
    }

    /// The same with feeds of another length than [`FEED_ENTRIES_MAX`].
    #[must_use]
    pub const fn with_feeds_of(self, entries_max: i64) -> Self {
        Self {
            feed_entries_max: entries_max,
            ..self
        }
    }
}

impl Projection for PostsProjection {
    const NAME: &'static str = "posts";
    const VERSION: i32 = 3;
    const SCHEMA: &'static str = include_str!("schema.sql");
    const SAMPLED: &'static [SampledTable] = sample::SAMPLED;
    const DERIVED: &'static [Derived] = sample::DERIVED;
    const REFERENCES: &'static [(&'static str, &'static [&'static str])] = sample::REFERENCES;
    const TOMBSTONES: &'static [&'static str] = &["deleted_posts", "erased"];

    fn handles(&self, event_type: &str) -> bool {
        ["identity.", "users.", "posts."]
            .iter()
            .any(|context| event_type.starts_with(context))
    }

    async fn project(
        &self,
        connection: &mut PgConnection,
        events: &[LogEvent],
    ) -> Result<(), ProjectError> {
        for part in erased::parts(events) {
            let fold = erased::fold(connection, part).await?;
            self.write(connection, &fold).await?;
        }
        Ok(())
    }

    async fn sweep(&self, connection: &mut PgConnection, rows: i64) -> Result<(), sqlx::Error> {
        sweep::step(connection, rows).await
    }
}

impl PostsProjection {
    async fn write(&self, connection: &mut PgConnection, fold: &Fold) -> Result<(), sqlx::Error> {
        register(connection, &fold.registered).await?;
        rename(connection, &fold.renamed).await?;

        let followers_max = self.fan_out_followers_max;
        let audiences =
            Audiences::grow(connection, &fold.circles, &fold.entries, followers_max).await?;
        // By the follows as they were before, and what the events say of them since.
        timeline::enter(connection, &fold.entries, &audiences, self.feed_entries_max).await?;
        audiences.write(connection).await?;
        unfollow(connection, &fold.follows.outdated()).await?;
        follow(connection, &fold.follows.begun()).await?;

        delete(connection, &fold.deleted).await?;
        publish(connection, &fold.published).await?;
        edit(connection, &fold.edited).await?;
        unlike(connection, &fold.likes.outdated()).await?;
        like(connection, &fold.likes.begun()).await?;
        comments::add(connection, &fold.comments).await?;
        forget(connection, &fold.erased).await
    }
}

/// Forgets people at once: without a name nothing of theirs is shown. What they left goes in steps.
async fn forget(connection: &mut PgConnection, erased: &BTreeSet<Uuid>) -> Result<(), sqlx::Error> {
    if erased.is_empty() {
        return Ok(());
    }
    let erased: Vec<Uuid> = erased.iter().copied().collect();
    sqlx::query(
        "WITH marked AS (
            INSERT INTO erased (user_id) SELECT * FROM unnest($1::uuid[]) ON CONFLICT DO NOTHING
        ), unheard AS (
            DELETE FROM audiences WHERE audiences.author_id = ANY ($1)
        )
        DELETE FROM authors WHERE authors.user_id = ANY ($1)",
    )
    .bind(erased)
    .execute(connection)
    .await
    .map(drop)
}

async fn register(
    connection: &mut PgConnection,
    registered: &BTreeMap<Uuid, Name>,
) -> Result<(), sqlx::Error> {
    if registered.is_empty() {
        return Ok(());
    }
    let user_ids: Vec<Uuid> = registered.keys().copied().collect();
    let handles: Vec<&str> = registered.values().map(|name| &*name.handle).collect();
    let names: Vec<&str> = registered
        .values()
        .map(|name| &*name.display_name)
        .collect();
    sqlx::query(
        "INSERT INTO authors (user_id, handle, display_name)
         SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[])",
    )
    .bind(user_ids)
    .bind(handles)
    .bind(names)
    .execute(connection)
    .await
    .map(drop)
}

async fn rename(
    connection: &mut PgConnection,
    renamed: &BTreeMap<Uuid, String>,
) -> Result<(), sqlx::Error> {
    if renamed.is_empty() {
        return Ok(());
    }
    let user_ids: Vec<Uuid> = renamed.keys().copied().collect();
    let names: Vec<&str> = renamed.values().map(String::as_str).collect();
    sqlx::query(
        "UPDATE authors SET display_name = renamed.display_name
         FROM unnest($1::uuid[], $2::text[]) AS renamed (user_id, display_name)
         WHERE authors.user_id = renamed.user_id",
    )
    .bind(user_ids)
    .bind(names)
    .execute(connection)
    .await
    .map(drop)
}

async fn unfollow(connection: &mut PgConnection, ended: &Columns) -> Result<(), sqlx::Error> {
    if ended.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "DELETE FROM follows
         USING unnest($1::uuid[], $2::uuid[]) AS ended (follower_id, followee_id)
         WHERE follows.follower_id = ended.follower_id AND follows.followee_id = ended.followee_id",
    )
    .bind(&ended.left)
    .bind(&ended.right)
    .execute(connection)
    .await
    .map(drop)
}

async fn follow(connection: &mut PgConnection, begun: &Columns) -> Result<(), sqlx::Error> {
    if begun.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO follows (follower_id, followee_id, at_read, position, begun_at)
         SELECT begun.follower_id, begun.followee_id, audiences.at_read, begun.position,
                begun.begun_at
         FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[])
              AS begun (follower_id, followee_id, position, begun_at)
         JOIN audiences ON audiences.author_id = begun.followee_id
         ON CONFLICT DO NOTHING",
    )
    .bind(&begun.left)
    .bind(&begun.right)
    .bind(&begun.positions)
    .bind(&begun.times)
    .execute(connection)
    .await
    .map(drop)
}

/// Deletes posts at once. Their likes and comments go in steps, and nobody sees them without it.
async fn delete(
    connection: &mut PgConnection,
    deleted: &BTreeSet<Uuid>,
) -> Result<(), sqlx::Error> {
    if deleted.is_empty() {
        return Ok(());
    }
    let deleted: Vec<Uuid> = deleted.iter().copied().collect();
    sqlx::query(
        "WITH deleted AS (
            INSERT INTO deleted_posts (post_id) SELECT * FROM unnest($1::uuid[])
            ON CONFLICT DO NOTHING
        )
        DELETE FROM posts WHERE posts.post_id = ANY ($1)",
    )
    .bind(deleted)
    .execute(connection)
    .await
    .map(drop)
}

async fn publish(
    connection: &mut PgConnection,
    published: &BTreeMap<Uuid, NewPost>,
) -> Result<(), sqlx::Error> {
    if published.is_empty() {
        return Ok(());
    }
    let mut rows = NewPosts::default();
    for (post_id, post) in published {
        rows.push(*post_id, post);
    }
    // A post that was parked and is published late finds its likes and comments waiting.
    sqlx::query(
        "INSERT INTO posts (post_id, author_id, caption, category, device, tags, visibility,
                            published_at, position, edited_at, version, like_count, comment_count)
         SELECT new.post_id, new.author_id, new.caption, new.category, new.device,
                string_to_array(new.tags, ' '), new.visibility, new.published_at, new.position,
                new.edited_at, new.version,
                (SELECT count(*) FROM likes WHERE likes.post_id = new.post_id),
                (SELECT count(comments.author_id) FROM comments
                 WHERE comments.post_id = new.post_id)
         FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[],
                     $7::text[], $8::timestamptz[], $9::bigint[], $10::timestamptz[], $11::bigint[])
              AS new (post_id, author_id, caption, category, device, tags, visibility,
                      published_at, position, edited_at, version)",
    )
    .bind(rows.post_ids)
    .bind(rows.author_ids)
    .bind(rows.captions)
    .bind(rows.categories)
    .bind(rows.devices)
    .bind(rows.tags)
    .bind(rows.visibilities)
    .bind(rows.published_at)
    .bind(rows.positions)
    .bind(rows.edited_at)
    .bind(rows.versions)
    .execute(connection)
    .await
    .map(drop)
}

/// New rows of `posts`, as columns.
#[derive(Default)]
struct NewPosts<'a> {
    post_ids: Vec<Uuid>,
    author_ids: Vec<Uuid>,
    captions: Vec<&'a str>,
    categories: Vec<Option<&'a str>>,
    devices: Vec<Option<&'a str>>,
    tags: Vec<String>,
    visibilities: Vec<&'static str>,
    published_at: Vec<DateTime<Utc>>,
    positions: Vec<i64>,
    edited_at: Vec<Option<DateTime<Utc>>>,
    versions: Vec<i64>,
}

impl<'a> NewPosts<'a> {
    fn push(&mut self, post_id: Uuid, post: &'a NewPost) {
        self.post_ids.push(post_id);
        self.author_ids.push(post.author_id);
        self.captions.push(&post.caption);
        self.categories.push(post.category.as_deref());
        self.devices.push(post.device.as_deref());
        self.tags.push(joined(&post.tags));
        self.visibilities.push(post.visibility.as_str());
        self.published_at.push(post.published_at);
        self.positions.push(post.position);
        self.edited_at.push(post.edited_at);
        self.versions.push(post.version);
    }
}

/// The tags as one text, since arrays of different lengths cannot be unnested. No tag holds a blank.
fn joined(tags: &Tags) -> String {
    let tags: Vec<&str> = tags.iter().map(AsRef::as_ref).collect();
    tags.join(" ")
}

/// Edits posts; not those of erased people, which are on their way out.
async fn edit(
    connection: &mut PgConnection,
    edited: &BTreeMap<Uuid, Edit>,
) -> Result<(), sqlx::Error> {
    fn column<'a, T>(edited: &'a BTreeMap<Uuid, Edit>, take: impl Fn(&'a Edit) -> T) -> Vec<T> {
        edited.values().map(take).collect()
    }
    if edited.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE posts SET caption = coalesce(edited.caption, posts.caption),
                          category = CASE WHEN edited.category_changed THEN edited.category
                                          ELSE posts.category END,
                          tags = coalesce(string_to_array(edited.tags, ' '), posts.tags),
                          visibility = coalesce(edited.visibility, posts.visibility),
                          edited_at = edited.edited_at,
                          version = edited.version
         FROM unnest($1::uuid[], $2::text[], $3::boolean[], $4::text[], $5::text[], $6::text[],
                     $7::timestamptz[], $8::bigint[])
              AS edited (post_id, caption, category_changed, category, tags, visibility, edited_at,
                         version)
         WHERE posts.post_id = edited.post_id
           AND NOT EXISTS (SELECT FROM erased WHERE erased.user_id = posts.author_id)",
    )
    .bind(edited.keys().copied().collect::<Vec<_>>())
    .bind(column(edited, |edit| edit.caption.as_deref()))
    .bind(column(edited, |edit| edit.category.is_some()))
    .bind(column(edited, |edit| match &edit.category {
        Some(CategoryChange::Set(category)) => Some(category.as_str()),
        Some(CategoryChange::Cleared) | None => None,
    }))
    .bind(column(edited, |edit| edit.tags.as_ref().map(joined)))
    .bind(column(edited, |edit| {
        edit.visibility.map(Visibility::as_str)
    }))
    .bind(column(edited, |edit| edit.edited_at))
    .bind(column(edited, |edit| edit.version))
    .execute(connection)
    .await
    .map(drop)
}

async fn unlike(connection: &mut PgConnection, ended: &Columns) -> Result<(), sqlx::Error> {
    if ended.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "WITH ended AS (
            DELETE FROM likes
            USING unnest($1::uuid[], $2::uuid[]) AS old (post_id, user_id)
            WHERE likes.post_id = old.post_id AND likes.user_id = old.user_id
            RETURNING likes.post_id
        )
        UPDATE posts SET like_count = posts.like_count - counted.likes
        FROM (SELECT ended.post_id, count(*) AS likes FROM ended GROUP BY ended.post_id) AS counted
        WHERE posts.post_id = counted.post_id",
    )
    .bind(&ended.left)
    .bind(&ended.right)
    .execute(connection)
    .await
    .map(drop)
}

async fn like(connection: &mut PgConnection, begun: &Columns) -> Result<(), sqlx::Error> {
    if begun.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "WITH begun AS (
            INSERT INTO likes (post_id, user_id, position, liked_at)
            SELECT new.post_id, new.user_id, new.position, new.liked_at
            FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[])
                 AS new (post_id, user_id, position, liked_at)
            WHERE NOT EXISTS (SELECT FROM deleted_posts
                              WHERE deleted_posts.post_id = new.post_id)
            ON CONFLICT DO NOTHING
            RETURNING likes.post_id
        )
        UPDATE posts SET like_count = posts.like_count + counted.likes
        FROM (SELECT begun.post_id, count(*) AS likes FROM begun GROUP BY begun.post_id) AS counted
        WHERE posts.post_id = counted.post_id",
    )
    .bind(&begun.left)
    .bind(&begun.right)
    .bind(&begun.positions)
    .bind(&begun.times)
    .execute(connection)
    .await
    .map(drop)
}
