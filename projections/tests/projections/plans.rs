//! How PostgreSQL reads for each hot query: by an index, whatever the size of the tables.

use serde_json::Value;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Executor as _, PgPool};
use touchline_domain::id::{PostId, UserId};
use touchline_projections::posts::{self, CommentCursor, LikeCursor, PostCursor};
use touchline_projections::users::{self, FollowCursor};
use touchline_testkit::TestDatabase;
use uuid::Uuid;

/// 2,000 people who each follow 20, and number 0 whom all follow; 20,000 posts; 100,000 likes;
/// 40,000 comments.
const COMMUNITY: &str = "
    INSERT INTO users.users (user_id, handle, display_name, role, sport, gender, role_details,
                             status, registered_at, follower_count, following_count)
    SELECT pg_temp.id(1, n), 'user' || n, 'User ' || n, 'fan', 'football', 'undisclosed',
           '{\"role\": \"fan\"}', 'active', now(), 20, 20
    FROM generate_series(0, 1999) AS n;
    INSERT INTO users.follows
    SELECT pg_temp.id(1, n), pg_temp.id(1, (n + k * k) % 2000), n * 21 + k, now()
    FROM generate_series(0, 1999) AS n, generate_series(1, 20) AS k;
    INSERT INTO users.follows
    SELECT pg_temp.id(1, n), pg_temp.id(1, 0), 100000 + n, now()
    FROM generate_series(1, 1999) AS n ON CONFLICT DO NOTHING;
    INSERT INTO posts.authors SELECT user_id, handle, display_name FROM users.users;
    INSERT INTO posts.audiences SELECT user_id, 20, handle = 'user0' FROM users.users;
    INSERT INTO posts.follows
    SELECT follower_id, followee_id, followee_id = pg_temp.id(1, 0), position, '2022-11-01'
    FROM users.follows;
    INSERT INTO posts.posts
    SELECT pg_temp.id(2, n), pg_temp.id(1, n % 2000), repeat('Full time ', 20), NULL, NULL, '{}',
           (ARRAY['public', 'followers'])[1 + n / 2000 % 2], timestamptz '2022-11-20' + n * interval '1 min',
           200000 + n, NULL, 1, 5, 2
    FROM generate_series(0, 19999) AS n;
    INSERT INTO posts.likes
    SELECT pg_temp.id(2, n), pg_temp.id(1, (n + k) % 2000), n * 5 + k, now()
    FROM generate_series(0, 19999) AS n, generate_series(0, 4) AS k;
    INSERT INTO posts.comments
    SELECT pg_temp.id(3, n * 2 + k), pg_temp.id(2, n), NULL, pg_temp.id(1, (n + k) % 2000), 'Well played',
           now(), ARRAY[n::bigint * 2 + k]
    FROM generate_series(0, 19999) AS n, generate_series(0, 1) AS k;
    INSERT INTO posts.timeline
    SELECT follows.follower_id, posts.published_at, posts.post_id
    FROM posts.posts JOIN posts.follows ON follows.followee_id = posts.author_id
    WHERE NOT follows.at_read;
    ANALYZE";

fn id(kind: u128, number: u128) -> Uuid {
    Uuid::from_u128((kind << 64) + number)
}

/// The one connection of `pool` prepares what a query sends: `statement` picks it by a piece of its
/// text, and it is explained as it stands, with the planner's choice for these arguments and for any.
async fn explain(pool: &PgPool, piece: &str, arguments: &str) -> Vec<Value> {
    let name: String = sqlx::query_scalar(
        "SELECT name FROM pg_prepared_statements
         WHERE statement LIKE '%' || $1 || '%' AND statement NOT LIKE '%pg_prepared_statements%'",
    )
    .bind(piece)
    .fetch_one(pool)
    .await
    .expect(piece);
    let mut plans = Vec::new();
    for mode in ["force_custom_plan", "force_generic_plan"] {
        pool.execute(format!("SET plan_cache_mode = {mode}").as_str())
            .await
            .unwrap();
        let explain = format!("EXPLAIN (FORMAT JSON) EXECUTE {name} ({arguments})");
        let row = pool.fetch_one(explain.as_str()).await.unwrap();
        plans.push(sqlx::Row::get::<Value, _>(&row, 0)[0]["Plan"].clone());
    }
    plans
}

/// Every node of a plan.
pub(crate) fn nodes(plan: &Value) -> Vec<&Value> {
    let below = plan["Plans"].as_array();
    let below = below.into_iter().flatten().flat_map(nodes);
    std::iter::once(plan).chain(below).collect()
}

pub(crate) async fn assert_indexed(pool: &PgPool, piece: &str, arguments: &str, indexes: &[&str]) {
    for plan in explain(pool, piece, arguments).await {
        let nodes = nodes(&plan);
        let used: Vec<_> = nodes
            .iter()
            .filter_map(|node| node["Index Name"].as_str())
            .collect();
        for index in indexes {
            assert!(
                used.contains(index),
                "{piece}: {index} is not used in {plan:#}"
            );
        }
        let scans = nodes.iter().filter(|node| node["Node Type"] == "Seq Scan");
        let scans: Vec<_> = scans
            .filter_map(|node| node["Relation Name"].as_str())
            .collect();
        assert!(
            scans.is_empty(),
            "{piece}: {scans:?} read from end to end in {plan:#}"
        );
    }
}

/// A large community, and the one connection that asks it.
async fn community(database: &TestDatabase) -> PgPool {
    touchline_projections::registry::prepare(&database.pool)
        .await
        .unwrap();
    let one = PgPoolOptions::new().max_connections(1);
    let pool = one.connect(&database.url).await.unwrap();
    let make_id =
        "CREATE FUNCTION pg_temp.id(kind bigint, number bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
        AS $$ SELECT (lpad(to_hex(kind), 16, '0') || lpad(to_hex(number), 16, '0'))::uuid $$";
    pool.execute(make_id).await.unwrap();
    pool.execute(COMMUNITY).await.unwrap();
    pool
}

fn reader() -> UserId {
    UserId::new(id(1, 7))
}

fn other() -> UserId {
    UserId::new(id(1, 3))
}

fn post() -> PostId {
    PostId::new(id(2, 4_000))
}

/// Where pages of posts begin here, as arguments of a statement.
const BEFORE: &str = "'2022-12-01', 'ffffffff-ffff-ffff-ffff-ffffffffffff'";

fn cursor() -> PostCursor {
    PostCursor {
        published_at: "2022-12-01T00:00:00Z".parse().unwrap(),
        post_id: PostId::new(Uuid::max()),
    }
}

#[tokio::test]
async fn people_are_read_by_index() {
    let database = touchline_testkit::database().await;
    let pool = &community(&database).await;
    let (one, two) = (reader(), other());
    let cursor = Some(FollowCursor { position: 50_000 });

    users::by_id(pool, one).await.unwrap().unwrap();
    let arguments = format!("'{one}'");
    assert_indexed(pool, "users.user_id = $1", &arguments, &["users_pkey"]).await;

    users::by_handle(pool, "user7").await.unwrap().unwrap();
    assert_indexed(pool, "users.handle = $1", "'user7'", &["users_handle_key"]).await;

    users::relation(pool, one, two).await.unwrap();
    let arguments = format!("'{one}', '{two}'");
    assert_indexed(pool, "followed_by!", &arguments, &["follows_pkey"]).await;

    let page = users::followers(pool, one, Some(two), cursor, 10).await;
    assert_eq!(page.unwrap().items.len(), 10);
    let arguments = format!("'{one}', 50000, 11, '{two}'");
    let indexes = ["follows_by_followee", "users_pkey"];
    assert_indexed(pool, "follows.followee_id = $1 AND", &arguments, &indexes).await;

    let page = users::following(pool, one, Some(two), cursor, 10).await;
    assert_eq!(page.unwrap().items.len(), 10);
    let indexes = ["follows_by_follower", "users_pkey"];
    let piece = "follows.follower_id = $1 AND follows.position";
    assert_indexed(pool, piece, &arguments, &indexes).await;
}

#[tokio::test]
async fn posts_and_feeds_are_read_by_index() {
    let database = touchline_testkit::database().await;
    let pool = &community(&database).await;
    let (one, two) = (reader(), other());

    posts::by_id(pool, post(), Some(two))
        .await
        .unwrap()
        .unwrap();
    let arguments = format!("'{}', '{two}'", post());
    let indexes = ["posts_pkey", "authors_pkey", "likes_pkey"];
    let piece = "WHERE posts.post_id = $1\n          AND";
    assert_indexed(pool, piece, &arguments, &indexes).await;

    let page = posts::by_author(pool, two, Some(one), Some(cursor()), 3).await;
    assert_eq!(page.unwrap().items.len(), 3);
    let arguments = format!("'{two}', '{one}', {BEFORE}, 4");
    let indexes = ["posts_by_author", "likes_pkey"];
    let piece = "own.author_id = $1 AND";
    assert_indexed(pool, piece, &arguments, &indexes).await;

    let page = posts::home_feed(pool, one, Some(cursor()), 20).await;
    assert_eq!(page.unwrap().items.len(), 20);
    let arguments = format!("'{one}', {BEFORE}, 21, 300, 2000");
    let indexes = [
        "timeline_pkey",
        "follows_at_read",
        "follows_by_beginning",
        "posts_by_author",
        "posts_by_time",
        "posts_pkey",
        "likes_pkey",
    ];
    assert_indexed(pool, "LATERAL", &arguments, &indexes).await;
}

#[tokio::test]
async fn what_stands_below_a_post_is_read_by_index() {
    let database = touchline_testkit::database().await;
    let pool = &community(&database).await;
    let two = other();

    let cursor = Some(LikeCursor { position: i64::MAX });
    let page = posts::likers(pool, post(), Some(two), cursor, 3).await;
    assert_eq!(page.unwrap().unwrap().items.len(), 3);
    let arguments = format!("'{}', '{two}'", post());
    assert_indexed(pool, "visible!", &arguments, &["posts_pkey"]).await;
    let arguments = format!("'{}', 1000000, 4", post());
    let indexes = ["likes_by_position", "authors_pkey"];
    assert_indexed(pool, "likes.position DESC", &arguments, &indexes).await;

    let cursor = Some(CommentCursor { path: vec![1] });
    let page = posts::comments(pool, post(), Some(two), cursor, 3).await;
    assert_eq!(page.unwrap().unwrap().items.len(), 2);
    let arguments = format!("'{}', '{{1}}', 4", post());
    let indexes = ["comments_by_path", "authors_pkey"];
    assert_indexed(pool, "comments.path > $2", &arguments, &indexes).await;
}
