//! The bounds of `posts` as they are in production, each at its value and one beyond. What only a
//! bound's size matters for is written by SQL, and the event that comes to it is folded.

use crate::history::{History, user};
use crate::stars::{IDS, ROWS_MAX, rows, touched};
use crate::tables::make;
use sqlx::{Connection as _, Executor as _, PgConnection};
use touchline_domain::posts::Visibility::Public;
use touchline_projections::Projection as _;
use touchline_projections::posts::{
    FAN_OUT_FOLLOWERS_MAX, FEED_AUTHORS_ASKED_MAX, FEED_ENTRIES_MAX, FEED_POSTS_SEEN_MAX,
    PostsProjection, home_feed,
};
use touchline_projections::sweep::SWEEP_ROWS;
use touchline_testkit::TestDatabase;

async fn tables() -> (PgConnection, TestDatabase) {
    let database = touchline_testkit::database().await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    make::<PostsProjection>(&mut connection, "posts").await;
    connection.execute(IDS).await.unwrap();
    // As the sessions of projections are.
    connection
        .execute("SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off")
        .await
        .unwrap();
    (connection, database)
}

async fn execute(connection: &mut PgConnection, statements: &str) {
    connection.execute(statements).await.unwrap();
}

/// Folds what `history` has beyond `folded` events, and returns how many rows that touched.
async fn fold(connection: &mut PgConnection, history: &History, folded: &mut usize) -> i64 {
    let events = history.events();
    let mut transaction = connection.begin().await.unwrap();
    let before = touched(&mut transaction).await;
    PostsProjection::default()
        .project(&mut transaction, &events[*folded..])
        .await
        .unwrap();
    let rows = touched(&mut transaction).await - before;
    transaction.commit().await.unwrap();
    *folded = events.len();
    rows
}

/// The dearest event that there is: as many followers as are written to, whose feeds are all full. A
/// follower more, and it costs none of them a row.
#[tokio::test]
async fn a_post_is_written_to_the_feeds_of_so_many_followers_and_no_more() {
    let (mut connection, _database) = tables().await;
    let connection = &mut connection;
    let (mut history, mut folded) = (History::default(), 0);
    for number in 1..=3 {
        history.register(number);
    }
    fold(connection, &history, &mut folded).await;
    let others = FAN_OUT_FOLLOWERS_MAX - 1;
    // Of a full feed its oldest entry is touched, however many newer ones there are. These have few, as
    // the average feed has: for such a table the planner reads a whole feed, if the statement lets it.
    let circle = format!(
        "INSERT INTO follows SELECT pg_temp.person(100000 + n), pg_temp.person(1), false, n, now()
         FROM generate_series(1, {others}) AS n;
         INSERT INTO audiences VALUES (pg_temp.person(1), {others}, false);
         INSERT INTO timeline
         SELECT pg_temp.person(reader), timestamptz '2020-01-01' + n * interval '1 s', pg_temp.post(n)
         FROM (SELECT 2 UNION ALL SELECT 100000 + n FROM generate_series(1, {others}) AS n)
              AS readers (reader), generate_series(100001, 100020) AS n;
         INSERT INTO feeds SELECT DISTINCT user_id, {FEED_ENTRIES_MAX} FROM timeline;
         ANALYZE"
    );
    execute(connection, &circle).await;
    let entries = rows(connection, "timeline").await;
    history.follow(2, 1);
    fold(connection, &history, &mut folded).await;

    history.publish(1, 1, Public);
    let touched = fold(connection, &history, &mut folded).await;
    assert!(touched <= ROWS_MAX, "publishing touches {touched} rows");
    let written = "timeline WHERE post_id = pg_temp.post(1)";
    assert_eq!(rows(connection, written).await, FAN_OUT_FOLLOWERS_MAX);
    assert_eq!(rows(connection, "timeline").await, entries);

    history.follow(3, 1);
    let touched = fold(connection, &history, &mut folded).await;
    assert!(touched <= ROWS_MAX, "outgrowing touches {touched} rows");
    history.publish(1, 2, Public);
    fold(connection, &history, &mut folded).await;
    let written = "timeline WHERE post_id = pg_temp.post(2)";
    assert_eq!(rows(connection, written).await, 0);
}

#[tokio::test]
async fn a_feed_keeps_so_many_entries_and_no_more() {
    let (mut connection, _database) = tables().await;
    let connection = &mut connection;
    let (mut history, mut folded) = (History::default(), 0);
    history.register(1);
    history.register(2);
    history.follow(2, 1);
    fold(connection, &history, &mut folded).await;
    let older = FEED_ENTRIES_MAX - 1;
    let feed = format!(
        "INSERT INTO timeline
         SELECT pg_temp.person(2), timestamptz '2020-01-01' + n * interval '1 s',
                pg_temp.post(100000 + n)
         FROM generate_series(1, {older}) AS n;
         INSERT INTO feeds VALUES (pg_temp.person(2), {older})"
    );
    execute(connection, &feed).await;
    let oldest = "timeline WHERE post_id = pg_temp.post(100001)";
    for (number, oldest_left) in [(1, 1), (2, 0)] {
        history.publish(1, number, Public);
        fold(connection, &history, &mut folded).await;
        assert_eq!(rows(connection, "timeline").await, FEED_ENTRIES_MAX);
        assert_eq!(rows(connection, oldest).await, oldest_left, "{number}");
    }
}

/// So many authors are asked each; of more, so many posts of anybody are looked at.
#[tokio::test]
async fn a_page_asks_so_many_authors_or_looks_at_so_many_posts() {
    const LIMIT: usize = 50;
    let (mut connection, database) = tables().await;
    let connection = &mut connection;
    let (mut history, mut folded) = (History::default(), 0);
    history.register(2);
    history.register(3);
    fold(connection, &history, &mut folded).await;
    let stars = format!(
        "INSERT INTO authors
         SELECT pg_temp.person(100000 + n), 'star' || n, '' FROM generate_series(1, {FEED_AUTHORS_ASKED_MAX} + 1) AS n;
         INSERT INTO posts
         SELECT pg_temp.post(100000 + n), pg_temp.person(100000 + n), '', NULL, NULL, '{{}}', 'public',
                timestamptz '2020-01-01' + n * interval '1 s', n, NULL, 1, 0, 0
         FROM generate_series(1, {FEED_AUTHORS_ASKED_MAX} + 1) AS n;
         INSERT INTO follows SELECT pg_temp.person(2), pg_temp.person(100000 + n), true, n, now()
         FROM generate_series(1, {FEED_AUTHORS_ASKED_MAX}) AS n;
         INSERT INTO posts
         SELECT pg_temp.post(200000 + n), pg_temp.person(3), '', NULL, NULL, '{{}}', 'public',
                timestamptz '2021-01-01' + n * interval '1 s', n, NULL, 1, 0, 0
         FROM generate_series(1, {FEED_POSTS_SEEN_MAX}) AS n;
         ANALYZE"
    );
    execute(connection, &stars).await;
    let page = async |after| {
        let page = home_feed(&database.pool, user(2), after, LIMIT).await;
        page.unwrap()
    };
    assert_eq!(page(None).await.items.len(), LIMIT);

    let one_more = format!(
        "INSERT INTO follows VALUES
         (pg_temp.person(2), pg_temp.person(100001 + {FEED_AUTHORS_ASKED_MAX}), true, 0, now())"
    );
    execute(connection, &one_more).await;
    let one_less = "DELETE FROM posts WHERE post_id = pg_temp.post(200001)";
    for (statement, expected) in [("", 0), (one_less, 1)] {
        execute(connection, statement).await;
        let first = page(None).await;
        assert_eq!(first.items.len(), expected);
        assert!(first.next.is_some(), "a short page has a next one");
        assert_eq!(page(first.next).await.items.len(), LIMIT);
    }
}

#[tokio::test]
async fn a_step_removes_so_many_rows_and_no_more() {
    for (likes, left) in [(SWEEP_ROWS, 0), (SWEEP_ROWS + 1, 1)] {
        let (mut connection, _database) = tables().await;
        let connection = &mut connection;
        let (mut history, mut folded) = (History::default(), 0);
        history.register(1);
        history.publish(1, 1, Public);
        fold(connection, &history, &mut folded).await;
        let liked = format!(
            "INSERT INTO likes SELECT pg_temp.post(1), pg_temp.person(100000 + n), n, now()
             FROM generate_series(1, {likes}) AS n;
             UPDATE posts SET like_count = {likes}"
        );
        execute(connection, &liked).await;
        history.delete(1, 1);
        fold(connection, &history, &mut folded).await;
        assert_eq!(rows(connection, "likes").await, likes);
        let projection = PostsProjection::default();
        projection.sweep(connection, SWEEP_ROWS).await.unwrap();
        assert_eq!(rows(connection, "likes").await, left);
        projection.sweep(connection, SWEEP_ROWS).await.unwrap();
        assert_eq!(rows(connection, "likes").await, 0);
        assert_eq!(rows(connection, "deleted_posts WHERE swept").await, 1);
    }
}
