//! A feed shows what it should, however it is put together.

use crate::history::{History, user};
use crate::tables::{fold, sweep_all};
use proptest::prelude::*;
use sqlx::{Executor as _, PgConnection, PgPool};
use touchline_projections::posts::{PostCursor, PostsProjection, by_author, home_feed_within};
use uuid::Uuid;

/// What a feed is: the posts of those whom the reader follows, but for the private ones, and the
/// reader's own, the newest first.
const FEED: &str = "
    SELECT posts.post_id FROM posts.posts JOIN posts.authors ON authors.user_id = posts.author_id
    WHERE posts.author_id = $1
       OR posts.visibility <> 'only_me'
          AND EXISTS (SELECT FROM posts.follows WHERE follower_id = $1 AND followee_id = author_id)
    ORDER BY posts.published_at DESC, posts.post_id DESC";

const THERE: &str = "SELECT EXISTS (SELECT FROM posts.authors WHERE user_id = $1)";

/// What a page of an author's posts is, for a viewer.
const PROFILE: &str = "
    SELECT posts.post_id FROM posts.posts JOIN posts.authors ON authors.user_id = posts.author_id
    WHERE posts.author_id = $1
      AND (posts.visibility = 'public' OR posts.author_id = $2
           OR posts.visibility = 'followers'
              AND EXISTS (SELECT FROM posts.follows WHERE follower_id = $2 AND followee_id = author_id))
    ORDER BY posts.published_at DESC, posts.post_id DESC";

/// More pages than any feed of these histories has.
const PAGES_MAX: usize = 1_000;

/// Every page of a feed, one after the other.
async fn read(pool: &PgPool, reader: u128, limit: usize, within: (i64, i64)) -> Vec<Uuid> {
    let mut seen = Vec::new();
    let mut after: Option<PostCursor> = None;
    for _ in 0..PAGES_MAX {
        let page = home_feed_within(pool, user(reader), after, limit, within)
            .await
            .unwrap();
        assert!(page.items.len() <= limit);
        seen.extend(page.items.iter().map(|post| post.post_id.uuid()));
        after = page.next;
        if after.is_none() {
            return seen;
        }
    }
    unreachable!("the feed does not end");
}

async fn expected(pool: &PgPool, reader: u128) -> Vec<Uuid> {
    let posts = sqlx::query_scalar(FEED).bind(user(reader).uuid());
    posts.fetch_all(pool).await.unwrap()
}

async fn check_profiles(pool: &PgPool, author: u128, viewer: u128) {
    let expected: Vec<Uuid> = sqlx::query_scalar(PROFILE)
        .bind(user(author).uuid())
        .bind(user(viewer).uuid())
        .fetch_all(pool)
        .await
        .unwrap();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = by_author(pool, user(author), Some(user(viewer)), after, 2);
        let page = page.await.unwrap();
        seen.extend(page.items.iter().map(|post| post.post_id.uuid()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(
        seen, expected,
        "the posts of {author} as {viewer} sees them"
    );
}

#[derive(Debug, Clone)]
struct Reading {
    followers_max: i64,
    entries_max: i64,
    limit: usize,
    within: (i64, i64),
}

async fn check(connection: &mut PgConnection, pool: &PgPool, history: &History, it: &Reading) {
    let projection = PostsProjection::with_fan_out(it.followers_max).with_feeds_of(it.entries_max);
    let events = history.events();
    let sizes = (1_usize..).map(|size| size % 7 + 1);
    fold(connection, &projection, "posts", &events, sizes, 0).await;
    let mut before = Vec::new();
    for reader in 0..5 {
        before.push(read(pool, reader, it.limit, it.within).await);
    }
    // What is gone is gone at once, before its rows are.
    sweep_all(connection, &projection).await;
    for (reader, before) in (0..5).zip(before) {
        // Nobody asks for the feed of somebody erased.
        let there = sqlx::query_scalar::<_, bool>(THERE).bind(user(reader).uuid());
        if !there.fetch_one(pool).await.unwrap() {
            continue;
        }
        let expected = expected(pool, reader).await;
        assert_eq!(
            before, expected,
            "the feed of {reader} before the last steps"
        );
        let after = read(pool, reader, it.limit, it.within).await;
        assert_eq!(after, expected, "the feed of {reader}");
        check_profiles(pool, reader, (reader + 1) % 5).await;
        check_profiles(pool, reader, reader).await;
    }
}

#[test]
fn a_feed_shows_what_it_should_however_it_is_put_together() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(touchline_testkit::database());
    let mut connection = runtime.block_on(database.pool.acquire()).unwrap().detach();
    runtime
        .block_on(connection.execute("SET client_min_messages TO warning"))
        .unwrap();
    let actions = proptest::collection::vec(any::<(u8, u8, u8, u8)>(), 1..150);
    let reading = (0_i64..4, 1_i64..6, 1_usize..5, 0_i64..4, 1_i64..6).prop_map(
        |(followers_max, entries_max, limit, asked_max, seen_max)| Reading {
            followers_max,
            entries_max,
            limit,
            within: (asked_max, seen_max),
        },
    );
    let config = ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..Default::default()
    };
    let connection = std::cell::RefCell::new(connection);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner
        .run(&(actions, reading), |(actions, reading)| {
            // Everybody is there, so that whatever follows is about posts and follows.
            let mut history = History::default();
            (0..5).for_each(|number| history.register(number));
            history.act_all(&actions);
            let mut connection = connection.borrow_mut();
            runtime.block_on(check(&mut connection, &database.pool, &history, &reading));
            Ok(())
        })
        .unwrap();
}
