//! The home feeds written ahead. A post enters the feeds of those who follow its author when it is
//! published, and a feed keeps its newest entries: so `timeline` follows from what happened and in
//! which order, and neither from what became of a post since nor from where the log is cut.

use super::fold::{Circle, Entry};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The circles that a batch changes, and those of whoever publishes in it.
pub(super) struct Audiences {
    author_ids: Vec<Uuid>,
    follower_counts: Vec<i64>,
    at_read: Vec<bool>,
    /// With which step of the batch each circle grew over the threshold; 0 when it was before.
    outgrown: BTreeMap<Uuid, usize>,
}

impl Audiences {
    /// Takes every step of every circle in log order: it counts that the threshold was passed, even
    /// when the circle is smaller again at the end of the batch.
    pub(super) async fn grow(
        connection: &mut PgConnection,
        circles: &BTreeMap<Uuid, Circle>,
        entries: &[Entry],
        followers_max: i64,
    ) -> Result<Self, sqlx::Error> {
        let mut grown = Self {
            author_ids: circles.keys().copied().collect(),
            follower_counts: Vec::with_capacity(circles.len()),
            at_read: Vec::with_capacity(circles.len()),
            outgrown: BTreeMap::new(),
        };
        let authors = entries.iter().map(|entry| entry.author_id);
        let authors: BTreeSet<Uuid> = authors.chain(circles.keys().copied()).collect();
        if authors.is_empty() {
            return Ok(grown);
        }
        let before: Vec<(Uuid, i64, bool)> = sqlx::query_as(
            "SELECT audiences.author_id, audiences.follower_count, audiences.at_read
             FROM audiences WHERE audiences.author_id = ANY ($1)",
        )
        .bind(authors.into_iter().collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
        let mut counts = BTreeMap::new();
        for (author_id, count, at_read) in before {
            counts.insert(author_id, count);
            if at_read {
                grown.outgrown.insert(author_id, 0);
            }
        }
        for (author_id, circle) in circles {
            let mut count = counts.get(author_id).copied().unwrap_or_default();
            for (index, step) in circle.steps.iter().enumerate() {
                count += step;
                if count > followers_max {
                    grown.outgrown.entry(*author_id).or_insert(index + 1);
                }
            }
            grown.follower_counts.push(count);
            let at_read = grown.outgrown.contains_key(author_id);
            grown.at_read.push(at_read);
        }
        Ok(grown)
    }

    /// Whether the author of `entry` was to be merged when read already.
    fn is_at_read(&self, entry: &Entry) -> bool {
        let outgrown = self.outgrown.get(&entry.author_id);
        outgrown.is_some_and(|step| *step <= entry.steps)
    }

    /// Writes the circles, and marks the follows of those who outgrew the threshold: no more than the
    /// threshold each, and one.
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
        let outgrown = self.outgrown.into_iter().filter(|(_, step)| *step > 0);
        let outgrown: Vec<Uuid> = outgrown.map(|(author_id, _)| author_id).collect();
        if outgrown.is_empty() {
            return Ok(());
        }
        sqlx::query("UPDATE follows SET at_read = true WHERE follows.followee_id = ANY ($1)")
            .bind(outgrown)
            .execute(connection)
            .await
            .map(drop)
    }
}

/// New entries, as columns, with in what the circles of their authors are other ones than in the
/// tables.
#[derive(Default)]
struct Columns {
    post_ids: Vec<Uuid>,
    author_ids: Vec<Uuid>,
    published_at: Vec<DateTime<Utc>>,
    changed_post_ids: Vec<Uuid>,
    changed_user_ids: Vec<Uuid>,
    follow: Vec<bool>,
}

/// Brings what was published into the feeds, and takes out of them what is more than they keep. The
/// follows are as they were before the batch.
pub(super) async fn enter(
    connection: &mut PgConnection,
    entries: &[Entry],
    audiences: &Audiences,
    entries_max: i64,
) -> Result<(), sqlx::Error> {
    let mut rows = Columns::default();
    for entry in entries.iter().filter(|it| !audiences.is_at_read(it)) {
        rows.post_ids.push(entry.post_id);
        rows.author_ids.push(entry.author_id);
        rows.published_at.push(entry.published_at);
        for (user_id, follows) in &entry.followers {
            rows.changed_post_ids.push(entry.post_id);
            rows.changed_user_ids.push(*user_id);
            rows.follow.push(*follows);
        }
    }
    if rows.post_ids.is_empty() {
        return Ok(());
    }
    let too_many: Vec<(Uuid, i64)> = sqlx::query_as(ENTER)
        .bind(rows.post_ids)
        .bind(rows.author_ids)
        .bind(rows.published_at)
        .bind(rows.changed_post_ids)
        .bind(rows.changed_user_ids)
        .bind(rows.follow)
        .bind(entries_max)
        .fetch_all(&mut *connection)
        .await?;
    trim(connection, too_many).await
}

/// Answers whose feed has how many entries too many.
const ENTER: &str = "
    WITH new AS (
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[])
                      AS new (post_id, author_id, published_at)
    ), changed AS (
        SELECT * FROM unnest($4::uuid[], $5::uuid[], $6::boolean[])
                      AS changed (post_id, user_id, follows)
    ), entered AS (
        INSERT INTO timeline (user_id, published_at, post_id)
        SELECT reader.user_id, reader.published_at, reader.post_id
        FROM (
            SELECT follows.follower_id AS user_id, new.published_at, new.post_id
            FROM new JOIN follows ON follows.followee_id = new.author_id
            WHERE NOT EXISTS (SELECT FROM changed WHERE changed.post_id = new.post_id
                                                    AND changed.user_id = follows.follower_id)
            UNION ALL
            SELECT changed.user_id, new.published_at, new.post_id
            FROM changed JOIN new ON new.post_id = changed.post_id
            WHERE changed.follows
        ) AS reader
        ORDER BY reader.user_id, reader.published_at, reader.post_id
        ON CONFLICT DO NOTHING
        RETURNING timeline.user_id
    ), counted AS (
        SELECT entered.user_id, count(*) AS entries FROM entered GROUP BY entered.user_id
    ), kept AS (
        INSERT INTO feeds (user_id, entry_count)
        SELECT counted.user_id, least(counted.entries, $7) FROM counted
        ON CONFLICT (user_id) DO UPDATE
           SET entry_count = least(feeds.entry_count + excluded.entry_count, $7)
           WHERE feeds.entry_count < $7
    )
    SELECT counted.user_id, coalesce(feeds.entry_count, 0) + counted.entries - $7
    FROM counted LEFT JOIN feeds ON feeds.user_id = counted.user_id
    WHERE coalesce(feeds.entry_count, 0) + counted.entries > $7";

/// Takes the oldest entries out of feeds. They are named by their places: joined by their keys, each
/// whole feed is read where feeds are small on the average, and these are full ones.
async fn trim(
    connection: &mut PgConnection,
    too_many: Vec<(Uuid, i64)>,
) -> Result<(), sqlx::Error> {
    if too_many.is_empty() {
        return Ok(());
    }
    let (user_ids, counts): (Vec<Uuid>, Vec<i64>) = too_many.into_iter().unzip();
    sqlx::query(
        "DELETE FROM timeline
         WHERE timeline.ctid = ANY (ARRAY(
            SELECT old.place
            FROM unnest($1::uuid[], $2::bigint[]) AS feed (user_id, too_many)
            CROSS JOIN LATERAL (
                SELECT oldest.ctid AS place FROM timeline AS oldest
                WHERE oldest.user_id = feed.user_id
                ORDER BY oldest.published_at, oldest.post_id
                LIMIT feed.too_many) AS old))",
    )
    .bind(user_ids)
    .bind(counts)
    .execute(connection)
    .await
    .map(drop)
}
