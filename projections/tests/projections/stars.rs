//! No event makes a read model read or write more than 10,000 rows in a transaction, however many
//! follow its author, and whatever came of it before.

use crate::history::History;
use crate::tables::make;
use sqlx::{Connection as _, Executor as _, PgConnection};
use touchline_domain::posts::Visibility::{OnlyMe, Public};
use touchline_eventstore::LogEvent;
use touchline_projections::Projection;
use touchline_projections::posts::PostsProjection;
use touchline_projections::sweep::SWEEP_ROWS;
use touchline_projections::users::UsersProjection;

/// L11.
pub(crate) const ROWS_MAX: i64 = 10_000;

/// Everything that this session has read from tables and indexes and written, since it last said so to
/// the statistics, which it does between transactions.
const TOUCHED: &str = "
    SELECT sum(pg_stat_get_xact_tuples_returned(oid) + pg_stat_get_xact_tuples_inserted(oid)
               + pg_stat_get_xact_tuples_updated(oid) + pg_stat_get_xact_tuples_deleted(oid))::bigint
    FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'i')";

/// The ids of the histories: people and posts.
pub(crate) const IDS: &str = "
    CREATE FUNCTION pg_temp.person(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
    AS $$ SELECT lpad(to_hex(4096 + n), 32, '0')::uuid $$;
    CREATE FUNCTION pg_temp.post(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
    AS $$ SELECT lpad(to_hex(8192 + n), 32, '0')::uuid $$;";

/// People 100,000 and up follow person 1, who follows them; and the posts of person 1 beside the one
/// of the history, which they all like.
const STAR: &str = "
    INSERT INTO follows SELECT pg_temp.person(n), pg_temp.person(1), true, n, now()
    FROM generate_series(100000, 130000) AS n;
    INSERT INTO follows SELECT pg_temp.person(1), pg_temp.person(n), false, n, now()
    FROM generate_series(100000, 112000) AS n;
    INSERT INTO audiences SELECT pg_temp.person(n), 1, false FROM generate_series(100000, 112000) AS n;
    INSERT INTO audiences VALUES (pg_temp.person(1), 30001, true)
    ON CONFLICT (author_id) DO UPDATE SET follower_count = 30001, at_read = true;
    INSERT INTO posts
    SELECT pg_temp.post(n), pg_temp.person(1), '', NULL, NULL, '{}', 'public',
           timestamptz '2022-12-01' + n * interval '1 s', n, NULL, 1, 1, 1
    FROM generate_series(100000, 122000) AS n;
    INSERT INTO likes SELECT pg_temp.post(1), pg_temp.person(n), n, now()
    FROM generate_series(100000, 130000) AS n;
    INSERT INTO likes SELECT pg_temp.post(n), pg_temp.person(1), n, now()
    FROM generate_series(100000, 122000) AS n;
    INSERT INTO comments
    SELECT gen_random_uuid(), pg_temp.post(1), NULL, pg_temp.person(n), '', now(), ARRAY[n]
    FROM generate_series(100000, 112000) AS n;
    INSERT INTO comments
    SELECT gen_random_uuid(), pg_temp.post(n), NULL, pg_temp.person(1), '', now(), ARRAY[n]
    FROM generate_series(100000, 122000) AS n;
    UPDATE posts SET like_count = 30001, comment_count = 12001 WHERE post_id = pg_temp.post(1);
    ANALYZE";

/// What must be left of each table at the end.
pub(crate) async fn rows(connection: &mut PgConnection, table: &str) -> i64 {
    let count = format!("SELECT count(*) FROM {table}");
    sqlx::query_scalar(&count)
        .fetch_one(connection)
        .await
        .unwrap()
}

pub(crate) async fn touched(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar(TOUCHED)
        .fetch_one(connection)
        .await
        .unwrap()
}

/// What autovacuum does: entries of tombstones that are swept leave the index of those that are not.
/// Other tests in the cluster keep index scans from passing over them.
async fn vacuum_tombstones<P: Projection>(connection: &mut PgConnection) {
    for table in P::TOMBSTONES {
        let vacuum = format!("VACUUM (INDEX_CLEANUP ON) {table}");
        connection.execute(vacuum.as_str()).await.unwrap();
    }
}

/// Folds one event and takes the steps that it leaves, each in a transaction within the bound.
/// Returns how many steps there were.
async fn fold_one<P: Projection>(
    connection: &mut PgConnection,
    projection: &P,
    event: &LogEvent,
    what: &str,
) -> usize {
    let mut transaction = connection.begin().await.unwrap();
    let before = touched(&mut transaction).await;
    let events = std::slice::from_ref(event);
    projection.project(&mut transaction, events).await.unwrap();
    let rows = touched(&mut transaction).await - before;
    assert!(rows <= ROWS_MAX, "{what} touches {rows} rows");
    transaction.commit().await.unwrap();
    let tombstones = P::TOMBSTONES.iter();
    let left: Vec<String> = tombstones
        .map(|table| format!("EXISTS (SELECT FROM {table} WHERE NOT swept)"))
        .collect();
    let left = format!("SELECT {}", left.join(" OR "));
    let mut steps = 0;
    loop {
        if steps % 50 == 0 {
            vacuum_tombstones::<P>(connection).await;
        }
        let mut step = connection.begin().await.unwrap();
        let is_left: bool = sqlx::query_scalar(&left)
            .fetch_one(&mut *step)
            .await
            .unwrap();
        if !is_left {
            return steps;
        }
        let before = touched(&mut step).await;
        projection.sweep(&mut step, SWEEP_ROWS).await.unwrap();
        let rows = touched(&mut step).await - before;
        assert!(
            rows <= ROWS_MAX,
            "step {steps} of {what} touches {rows} rows"
        );
        step.commit().await.unwrap();
        steps += 1;
        assert!(steps < 1_000, "{what} does not end");
    }
}

/// A star with one post, and what happens then.
async fn star(
    then: impl FnOnce(&mut History),
) -> (PgConnection, touchline_testkit::TestDatabase, LogEvent) {
    let database = touchline_testkit::database().await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let mut history = History::default();
    history.register(1);
    history.register(2);
    history.publish(1, 1, Public);
    let begun = history.events().len();
    then(&mut history);
    let mut events = history.events();
    let last = events.remove(begun);
    make::<PostsProjection>(&mut connection, "posts").await;
    let projection = PostsProjection::default();
    projection
        .project(&mut connection, &events[..begun])
        .await
        .unwrap();
    connection.execute(IDS).await.unwrap();
    connection.execute(STAR).await.unwrap();
    // As the sessions of projections are.
    connection
        .execute("SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off")
        .await
        .unwrap();
    (connection, database, last)
}

#[tokio::test]
async fn what_a_star_does_costs_no_row_for_each_follower() {
    type Act = fn(&mut History);
    let acts: [(&str, Act); 4] = [
        ("publishing", |history| history.publish(1, 2, Public)),
        ("deleting", |history| history.delete(1, 1)),
        ("hiding", |history| {
            history.edit(1, 1, "Private", Some(OnlyMe));
        }),
        ("being followed", |history| history.follow(2, 1)),
    ];
    for (what, act) in acts {
        let (mut connection, _database, event) = star(act).await;
        fold_one(&mut connection, &PostsProjection::default(), &event, what).await;
        let timeline = rows(&mut connection, "timeline").await;
        assert_eq!(timeline, 0, "{what}");
    }
}

#[tokio::test]
async fn a_post_with_many_likes_is_deleted_in_steps() {
    let (mut connection, _database, event) = star(|history| history.delete(1, 1)).await;
    let projection = PostsProjection::default();
    let steps = fold_one(&mut connection, &projection, &event, "deleting").await;
    assert!(steps > 10, "{steps} steps");
    assert_eq!(rows(&mut connection, "likes").await, 22_001);
    assert_eq!(rows(&mut connection, "comments").await, 22_001);
}

#[tokio::test]
async fn somebody_with_much_of_everything_is_erased_in_steps() {
    let (mut connection, _database, event) = star(|history| history.erase(1)).await;
    let projection = PostsProjection::default();
    fold_one(&mut connection, &projection, &event, "erasing").await;
    for table in ["authors", "posts", "follows", "likes", "timeline", "feeds"] {
        let left = i64::from(table == "authors");
        assert_eq!(rows(&mut connection, table).await, left, "{table}");
    }
    assert_eq!(rows(&mut connection, "comments").await, 0);
    assert_eq!(rows(&mut connection, "deleted_posts").await, 22_002);
}

/// Somebody below the threshold with many posts: following and unfollowing copies none of them, and
/// neither does passing the threshold.
#[tokio::test]
async fn following_an_author_with_many_posts_copies_none() {
    let database = touchline_testkit::database().await;
    let connection = &mut PgConnection::connect(&database.url).await.unwrap();
    let mut history = History::default();
    for number in 1..=4 {
        history.register(number);
    }
    history.follow(2, 1);
    let begun = history.events().len();
    history.unfollow(2, 1);
    history.follow(2, 1);
    history.follow(3, 1);
    history.follow(4, 1);
    let events = history.events();
    make::<PostsProjection>(connection, "posts").await;
    let projection = PostsProjection::with_fan_out(2);
    projection
        .project(connection, &events[..begun])
        .await
        .unwrap();
    connection.execute(IDS).await.unwrap();
    let many = "
        INSERT INTO posts
        SELECT pg_temp.post(n), pg_temp.person(1), '', NULL, NULL, '{}', 'public',
               timestamptz '2022-12-01' + n * interval '1 s', n, NULL, 1, 0, 0
        FROM generate_series(100000, 122000) AS n;
        INSERT INTO timeline
        SELECT pg_temp.person(2), published_at, post_id FROM posts ORDER BY 2 DESC LIMIT 1000;
        INSERT INTO feeds VALUES (pg_temp.person(2), 1000);
        ANALYZE";
    connection.execute(many).await.unwrap();
    for event in &events[begun..] {
        let mut transaction = connection.begin().await.unwrap();
        let before = touched(&mut transaction).await;
        let events = std::slice::from_ref(event);
        projection.project(&mut transaction, events).await.unwrap();
        let rows = touched(&mut transaction).await - before;
        assert!(rows < 100, "{} touches {rows} rows", event.event_type);
        transaction.commit().await.unwrap();
    }
}

/// A feed keeps its newest entries: one more takes the oldest out, and one that is older than all
/// does not come in.
#[tokio::test]
async fn a_feed_keeps_its_newest_entries() {
    let database = touchline_testkit::database().await;
    let connection = &mut PgConnection::connect(&database.url).await.unwrap();
    make::<PostsProjection>(connection, "posts").await;
    let mut history = History::default();
    history.register(1);
    history.register(2);
    history.follow(2, 1);
    for number in [10, 30, 20] {
        let at = crate::history::minute(number);
        history.publish_at(1, u128::try_from(number).unwrap(), Public, at);
    }
    let projection = PostsProjection::default().with_feeds_of(3);
    let minutes = "SELECT extract(minute FROM published_at)::bigint FROM timeline ORDER BY 1";
    let mut folded = 0;
    for (number, expected) in [(0, [10, 20, 30]), (5, [10, 20, 30]), (40, [20, 30, 40])] {
        if number > 0 {
            let at = crate::history::minute(number);
            history.publish_at(1, u128::try_from(number).unwrap(), Public, at);
        }
        let events = history.events();
        projection
            .project(connection, &events[folded..])
            .await
            .unwrap();
        folded = events.len();
        let kept: Vec<i64> = sqlx::query_scalar(minutes)
            .fetch_all(&mut *connection)
            .await
            .unwrap();
        assert_eq!(kept, expected);
    }
    assert_eq!(rows(connection, "feeds").await, 1);
}

#[tokio::test]
async fn somebody_with_many_followers_is_forgotten_in_steps() {
    let database = touchline_testkit::database().await;
    let connection = &mut PgConnection::connect(&database.url).await.unwrap();
    let mut history = History::default();
    history.register(1);
    history.register(2);
    history.erase(1);
    let events = history.events();
    make::<UsersProjection>(connection, "users").await;
    UsersProjection
        .project(connection, &events[..2])
        .await
        .unwrap();
    connection.execute(IDS).await.unwrap();
    let many = "
        INSERT INTO follows SELECT pg_temp.person(n), pg_temp.person(1), n, now()
        FROM generate_series(100000, 130000) AS n;
        INSERT INTO follows SELECT pg_temp.person(1), pg_temp.person(n), n, now()
        FROM generate_series(100000, 112000) AS n;
        INSERT INTO follows VALUES (pg_temp.person(2), pg_temp.person(1), 1, now());
        UPDATE users SET following_count = 1 WHERE user_id = pg_temp.person(2);
        ANALYZE";
    connection.execute(many).await.unwrap();
    fold_one(connection, &UsersProjection, &events[2], "erasing").await;
    assert_eq!(rows(connection, "follows").await, 0);
    let following: i64 = sqlx::query_scalar("SELECT sum(following_count)::bigint FROM users")
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    assert_eq!(following, 0);
}
