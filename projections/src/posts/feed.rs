//! The home feed: what was written ahead, and what is merged when it is read.

use super::query::{Post, PostCursor, PostRow, page};
use crate::page::{Page, one_more};
use chrono::{DateTime, Utc};
use sqlx::PgPool;
use touchline_domain::id::{PostId, UserId};
use uuid::Uuid;

/// How many authors are asked for their posts, one by one, for one page. Whoever would have to ask
/// more gets what they follow out of all posts by time, which is the cheaper the more they follow.
pub const FEED_AUTHORS_ASKED_MAX: i64 = 300;
/// How many posts by time are looked through for one page. When so many have too few of whom the
/// reader follows, the page is shorter than asked for, and the next one goes on from there.
pub const FEED_POSTS_SEEN_MAX: i64 = 2_000;

/// A row of a feed, for the checked statement: none of a post where the page has none.
struct FeedRow {
    seen_at: Option<DateTime<Utc>>,
    seen_id: Option<Uuid>,
    post_id: Option<Uuid>,
    author_id: Option<Uuid>,
    handle: Option<String>,
    display_name: Option<String>,
    caption: Option<String>,
    category: Option<String>,
    device: Option<String>,
    tags: Option<Vec<String>>,
    visibility: Option<String>,
    published_at: Option<DateTime<Utc>>,
    edited_at: Option<DateTime<Utc>>,
    version: Option<i64>,
    like_count: Option<i64>,
    comment_count: Option<i64>,
    liked_by_viewer: bool,
}

impl FeedRow {
    fn post(self) -> Option<PostRow> {
        Some(PostRow {
            post_id: self.post_id?,
            author_id: self.author_id?,
            handle: self.handle?,
            display_name: self.display_name?,
            caption: self.caption?,
            category: self.category,
            device: self.device,
            tags: self.tags?,
            visibility: self.visibility?,
            published_at: self.published_at?,
            edited_at: self.edited_at,
            version: self.version?,
            like_count: self.like_count?,
            comment_count: self.comment_count?,
            liked_by_viewer: self.liked_by_viewer,
        })
    }

    /// The last post that was looked at, when the page ends there.
    fn seen(&self) -> Option<PostCursor> {
        Some(PostCursor {
            published_at: self.seen_at?,
            post_id: PostId::new(self.seen_id?),
        })
    }
}

/// A page of a person's home feed, newest first: the posts of those whom they follow, and their
/// own. It can be shorter than `limit` and still have a next one ([`FEED_POSTS_SEEN_MAX`]).
///
/// # Errors
/// When the database cannot be read.
pub async fn home_feed(
    pool: &PgPool,
    user_id: UserId,
    after: Option<PostCursor>,
    limit: usize,
) -> Result<Page<Post, PostCursor>, sqlx::Error> {
    home_feed_within(
        pool,
        user_id,
        after,
        limit,
        (FEED_AUTHORS_ASKED_MAX, FEED_POSTS_SEEN_MAX),
    )
    .await
}

/// The same with other bounds than [`FEED_AUTHORS_ASKED_MAX`] and [`FEED_POSTS_SEEN_MAX`].
///
/// # Errors
/// When the database cannot be read.
pub async fn home_feed_within(
    pool: &PgPool,
    user_id: UserId,
    after: Option<PostCursor>,
    limit: usize,
    (authors_asked_max, posts_seen_max): (i64, i64),
) -> Result<Page<Post, PostCursor>, sqlx::Error> {
    let (published_before, post_before) = PostCursor::before(after);
    let rows = sqlx::query_file_as!(
        FeedRow,
        "src/posts/feed.sql",
        user_id.uuid(),
        published_before,
        post_before,
        one_more(limit),
        authors_asked_max,
        posts_seen_max,
    )
    .fetch_all(pool)
    .await?;
    let seen = rows.first().and_then(FeedRow::seen);
    let mut page = page(rows.into_iter().filter_map(FeedRow::post).collect(), limit);
    page.next = page.next.or(seen);
    Ok(page)
}
