//! What a star costs: an author with a million followers, a post with a million likes, people with
//! tens of thousands of posts, and readers who follow tens of thousands.
//!
//! The tables are filled by statements of SQL, as the fold of such a log would leave them; what is
//! measured is the fold of single events and the queries.

use crate::report::{Report, quantile_ms};
use crate::servers::Servers;
use anyhow::Context as _;
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use std::time::{Duration, Instant};
use touchline_domain::event::Event;
use touchline_domain::id::{FollowId, PostId, UserId};
use touchline_domain::identity::{AccountErased, AccountEvent};
use touchline_domain::posts::{Caption, PostDeleted, PostEvent, PostPublished, Tags, Visibility};
use touchline_domain::users::{FollowEvent, UserFollowed, UserUnfollowed};
use touchline_eventstore::database::BY_KEY;
use touchline_eventstore::event::Digest;
use touchline_eventstore::{LogEvent, NewEvent, Position};
use touchline_projections::posts::{PostCursor, PostsProjection, by_author, home_feed};
use touchline_projections::sweep::SWEEP_ROWS;
use touchline_projections::users::UsersProjection;
use touchline_projections::{Projection, registry};
use uuid::Uuid;

/// Who there is, by number.
const STAR: u128 = 1;
const ORDINARY_READER: u128 = 2;
const NEW_READER: u128 = 3;
const STAR_READER: u128 = 4;
const PRIVATE_AUTHOR: u128 = 5;
const WRITER: u128 = 6;
/// The first of twelve who follow one another.
const CHURNING: u128 = 10;
const CHURNERS: u128 = 12;

const FILL: &[&str] = &[
    "CREATE FUNCTION pg_temp.person(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
     AS $$ SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid $$",
    "CREATE FUNCTION pg_temp.post(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
     AS $$ SELECT ('00000000-0000-7000-9000-' || lpad(to_hex(n), 12, '0'))::uuid $$",
    // A million people.
    "INSERT INTO posts.authors
     SELECT pg_temp.person(n), 'user' || n, 'User ' || n FROM generate_series(1, 1000000) AS n",
    // They all follow the star, and like its post.
    "INSERT INTO posts.audiences VALUES (pg_temp.person(1), 1000000, true)",
    "INSERT INTO posts.follows
     SELECT pg_temp.person(n), pg_temp.person(1), true, n, '2022-11-01'
     FROM generate_series(1000, 1000000) AS n",
    "INSERT INTO posts.posts VALUES
     (pg_temp.post(1), pg_temp.person(1), 'Full time', NULL, NULL, '{}', 'public', '2022-11-19', 1, NULL, 1,
      999001, 0)",
    "INSERT INTO posts.likes SELECT pg_temp.post(1), pg_temp.person(n), n, now()
     FROM generate_series(1000, 1000000) AS n",
    // 300 whom two readers follow, one for long and one since today: 100 posts each.
    "INSERT INTO posts.audiences
     SELECT pg_temp.person(n), 2, false FROM generate_series(2001, 2300) AS n",
    "INSERT INTO posts.follows
     SELECT pg_temp.person(2), pg_temp.person(n), false, 1, timestamptz '2022-11-01'
     FROM generate_series(2001, 2300) AS n
     UNION ALL
     SELECT pg_temp.person(3), pg_temp.person(n), false, 1000000000, timestamptz '2023-01-01'
     FROM generate_series(2001, 2300) AS n",
    "INSERT INTO posts.posts
     SELECT pg_temp.post(1000000 + n), pg_temp.person(2001 + n % 300), repeat('Full time ', 20), NULL,
            NULL, '{}', 'public', timestamptz '2022-11-20' + n * interval '1 min', n, NULL, 1, 0, 0
     FROM generate_series(0, 29999) AS n",
    "INSERT INTO posts.timeline
     SELECT pg_temp.person(2), published_at, post_id FROM posts.posts
     WHERE post_id >= pg_temp.post(1000000) ORDER BY published_at DESC LIMIT 1000",
    "INSERT INTO posts.feeds VALUES (pg_temp.person(2), 1000)",
    // 50,000 stars whom one reader follows: 4 posts each, among as many of others.
    "INSERT INTO posts.audiences
     SELECT pg_temp.person(n), 2000, true FROM generate_series(100001, 150000) AS n",
    "INSERT INTO posts.follows
     SELECT pg_temp.person(4), pg_temp.person(n), true, 1, '2022-11-01'
     FROM generate_series(100001, 150000) AS n",
    "INSERT INTO posts.posts
     SELECT pg_temp.post(2000000 + n), pg_temp.person(100001 + n::bigint * 7919 % 100000), repeat('Full time ', 20), NULL,
            NULL, '{}', 'public', timestamptz '2022-11-20' + n * interval '4.5 s', n, NULL, 1, 0, 0
     FROM generate_series(0, 399999) AS n",
    // 200,000 private posts among 100 that everybody may see.
    "INSERT INTO posts.posts
     SELECT pg_temp.post(3000000 + n), pg_temp.person(5), repeat('Full time ', 20), NULL,
            NULL, '{}', CASE WHEN n < 100 THEN 'public' ELSE 'only_me' END,
            timestamptz '2022-10-20' + n * interval '1 s', n, NULL, 1, 0, 0
     FROM generate_series(0, 200099) AS n",
    // Somebody with 10,000 posts, 10,000 likes and 1,000 followers whose feeds are full.
    "INSERT INTO posts.posts
     SELECT pg_temp.post(4000000 + n), pg_temp.person(6), repeat('Full time ', 20), NULL,
            NULL, '{}', 'public', timestamptz '2022-10-20' + n * interval '1 s', n, NULL, 1, 0, 0
     FROM generate_series(1, 10000) AS n",
    "INSERT INTO posts.likes SELECT pg_temp.post(1000000 + n), pg_temp.person(6), n, now()
     FROM generate_series(0, 9999) AS n",
    "UPDATE posts.posts SET like_count = 1
     WHERE post_id BETWEEN pg_temp.post(1000000) AND pg_temp.post(1009999)",
    "INSERT INTO posts.audiences VALUES (pg_temp.person(6), 1000, false)",
    "INSERT INTO posts.follows
     SELECT pg_temp.person(n), pg_temp.person(6), false, n, '2022-11-01'
     FROM generate_series(200001, 201000) AS n",
    "INSERT INTO posts.timeline
     SELECT pg_temp.person(200000 + n), published_at, post_id FROM generate_series(1, 1000) AS n
     CROSS JOIN (SELECT published_at, post_id FROM posts.posts WHERE author_id = pg_temp.person(6)
                 ORDER BY published_at DESC LIMIT 1000) AS newest",
    "INSERT INTO posts.feeds SELECT pg_temp.person(n), 1000 FROM generate_series(200001, 201000) AS n",
    // Twelve people with 22,000 posts each.
    "INSERT INTO posts.posts
     SELECT pg_temp.post(5000000 + n), pg_temp.person(10 + n % 12), repeat('Full time ', 20), NULL,
            NULL, '{}', 'public', timestamptz '2022-10-01' + n * interval '1 s', n, NULL, 1, 0, 0
     FROM generate_series(0, 263999) AS n",
    // The same followers for the other read model.
    "INSERT INTO users.users (user_id, handle, display_name, role, sport, gender, role_details,
                              status, registered_at, follower_count, following_count)
     SELECT user_id, handle, display_name, 'fan', 'football', 'undisclosed', '{\"role\": \"fan\"}',
            'active', now(), 0, 1 FROM posts.authors",
    "INSERT INTO users.follows
     SELECT follower_id, followee_id, position, begun_at FROM posts.follows
     WHERE followee_id = pg_temp.person(1)",
    "VACUUM ANALYZE",
    "CHECKPOINT",
];

fn person(number: u128) -> UserId {
    UserId::new(Uuid::from_u128(0x7000_8000_0000_0000_0000 + number))
}

fn post(number: u128) -> PostId {
    PostId::new(Uuid::from_u128(0x7000_9000_0000_0000_0000 + number))
}

/// An event as the log gives it.
fn event(aggregate: (&str, Uuid), position: i64, event: &impl Event) -> anyhow::Result<LogEvent> {
    let new = NewEvent::encode(Uuid::now_v7(), event)?;
    Ok(LogEvent {
        position: Position::new(position)?,
        event_id: new.event_id,
        aggregate_type: aggregate.0.to_owned(),
        aggregate_id: aggregate.1.to_string(),
        sequence: 1,
        event_type: new.event_type.to_owned(),
        event_version: new.event_version.to_owned(),
        recorded_at: chrono::Utc::now(),
        metadata: serde_json::value::RawValue::from_string("{}".to_owned())?,
        payload: new.payload,
        digest: Digest::new([0; 32]),
    })
}

/// What one event took, and the steps after it.
#[derive(Default)]
struct Cost {
    event: Duration,
    steps: usize,
    longest_step: Duration,
    all: Duration,
}

async fn fold<P: Projection>(
    connection: &mut PgConnection,
    projection: &P,
    events: &[LogEvent],
) -> anyhow::Result<Cost> {
    let begun = Instant::now();
    let mut transaction = connection.begin().await?;
    projection.project(&mut transaction, events).await?;
    transaction.commit().await?;
    let mut cost = Cost {
        event: begun.elapsed(),
        ..Cost::default()
    };
    let left: Vec<String> = P::TOMBSTONES
        .iter()
        .map(|table| format!("EXISTS (SELECT FROM {table} WHERE NOT swept)"))
        .collect();
    let left = format!("SELECT {}", left.join(" OR "));
    while sqlx::query_scalar(&left)
        .fetch_one(&mut *connection)
        .await?
    {
        let step = Instant::now();
        let mut transaction = connection.begin().await?;
        projection.sweep(&mut transaction, SWEEP_ROWS).await?;
        transaction.commit().await?;
        cost.steps += 1;
        cost.longest_step = cost.longest_step.max(step.elapsed());
    }
    cost.all = begun.elapsed();
    Ok(cost)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// The cost of what stars do and of reading them.
pub async fn stars(servers: &Servers, report: &mut Report) -> anyhow::Result<()> {
    let (database, owner) = servers.database_and_owner().await?;
    registry::prepare(&database.pool(2)).await?;
    let mut filling = owner.acquire().await?;
    filling.execute("SET synchronous_commit = off").await?;
    for statement in FILL {
        filling
            .execute(*statement)
            .await
            .with_context(|| (*statement).to_owned())?;
    }
    drop(filling);
    reads(&database.query_pool(1), report).await?;
    let settings = [("search_path", "posts"), ("synchronous_commit", "off")];
    let mut posts = database
        .connect(&[BY_KEY.as_slice(), &settings].concat())
        .await?;
    fan_out(&mut posts, report).await?;
    churn(&mut posts, report).await?;
    removals(&mut posts, report).await?;
    let settings = [("search_path", "users"), ("synchronous_commit", "off")];
    let mut users = database
        .connect(&[BY_KEY.as_slice(), &settings].concat())
        .await?;
    let cost = fold(&mut users, &UsersProjection, &[erased(STAR)?]).await?;
    removal(
        "users: erasing somebody with 1 million followers",
        &cost,
        report,
    );
    Ok(())
}

const PAGES: u32 = 400;

/// The median of a query, after some that warm it up.
async fn median<F, R>(query: impl Fn() -> F) -> anyhow::Result<f64>
where
    F: Future<Output = Result<R, sqlx::Error>>,
{
    let mut times = Vec::new();
    for number in 0..PAGES {
        let begun = Instant::now();
        query().await?;
        if number >= PAGES / 4 {
            times.push(begun.elapsed());
        }
    }
    Ok(quantile_ms(&mut times, 0.5))
}

async fn reads(pool: &PgPool, report: &mut Report) -> anyhow::Result<()> {
    let feed = |reader: u128, after: Option<PostCursor>| {
        median(move || home_feed(pool, person(reader), after, 50))
    };
    let ordinary = feed(ORDINARY_READER, None).await?;
    report.figure("feed of 50, 300 followed for long, p50", "ms", ordinary, "");
    let beside = ("300 followed", ordinary);
    let cases = [
        ("50,000 stars followed", STAR_READER, None, "within 2 times"),
        ("300 followed since today", NEW_READER, None, ""),
        (
            "beyond the 1,000 entries",
            ORDINARY_READER,
            beyond(pool).await?,
            "",
        ),
    ];
    for (name, reader, after, asked) in cases {
        let figure = feed(reader, after).await?;
        let name = format!("feed of 50, {name}, p50");
        report.comparison(&name, "ms", figure, beside, asked);
    }
    let profile =
        |author: u128| median(move || by_author(pool, person(author), Some(person(2)), None, 50));
    let ordinary = profile(2_001).await?;
    let private = profile(PRIVATE_AUTHOR).await?;
    report.comparison(
        "posts of an author with 200,000 private ones, 50 a page, p50",
        "ms",
        private,
        ("100 public", ordinary),
        "within 2 times",
    );
    Ok(())
}

/// Where the entries that a feed keeps end.
async fn beyond(pool: &PgPool) -> anyhow::Result<Option<PostCursor>> {
    let mut after = None;
    for _ in 0..20 {
        after = home_feed(pool, person(ORDINARY_READER), after, 50)
            .await?
            .next;
    }
    Ok(after)
}

fn published(author: u128, number: u128, position: i64) -> anyhow::Result<LogEvent> {
    let published = PostPublished {
        post_id: post(number),
        author_id: person(author),
        caption: Caption::parse("Full time")?.into(),
        category: None,
        device: None,
        tags: Tags::default().into(),
        visibility: Visibility::Public,
        published_at: chrono::Utc::now(),
    };
    event(
        ("post", post(number).uuid()),
        position,
        &PostEvent::from(published),
    )
}

fn deleted(number: u128) -> anyhow::Result<LogEvent> {
    let deleted = PostDeleted {
        post_id: post(number),
        author_id: person(STAR),
        deleted_at: chrono::Utc::now(),
    };
    event(("post", post(number).uuid()), 1, &PostEvent::from(deleted))
}

fn erased(number: u128) -> anyhow::Result<LogEvent> {
    let erased = AccountErased {
        user_id: person(number),
        erased_by: None,
        erased_at: chrono::Utc::now(),
    };
    event(
        ("account", person(number).uuid()),
        1,
        &AccountEvent::from(erased),
    )
}

/// How often something is published and deleted.
const ROUNDS: u128 = 20;

/// Publishing and deleting, by a star and by somebody at the threshold.
async fn fan_out(posts: &mut PgConnection, report: &mut Report) -> anyhow::Result<()> {
    let projection = PostsProjection::default();
    for (name, author) in [("1 million followers", STAR), ("1,000 followers", WRITER)] {
        let (mut publishing, mut deleting) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let number = 9_000_000 + author * ROUNDS + round;
            let event = published(author, number, 1)?;
            publishing.push(fold(posts, &projection, &[event]).await?.event);
            deleting.push(fold(posts, &projection, &[deleted(number)?]).await?.all);
        }
        let figure = quantile_ms(&mut publishing, 0.5);
        report.figure(&format!("publishing to {name}, p50"), "ms", figure, "");
        let figure = quantile_ms(&mut deleting, 0.5);
        report.figure(&format!("deleting with {name}, p50"), "ms", figure, "");
    }
    Ok(())
}

/// Twelve people with 22,000 posts each follow and unfollow one another, each event on its own.
async fn churn(posts: &mut PgConnection, report: &mut Report) -> anyhow::Result<()> {
    let mut events = Vec::new();
    for round in 0..4 {
        for pair in 0..CHURNERS * CHURNERS {
            let (one, other) = (pair / CHURNERS, pair % CHURNERS);
            if one == other {
                continue;
            }
            let (by, whom) = (person(CHURNING + one), person(CHURNING + other));
            let at = chrono::Utc::now();
            let follow = if round % 2 == 0 {
                FollowEvent::from(UserFollowed {
                    follower_id: by,
                    followee_id: whom,
                    followed_at: at,
                })
            } else {
                FollowEvent::from(UserUnfollowed {
                    follower_id: by,
                    followee_id: whom,
                    unfollowed_at: at,
                })
            };
            let id = FollowId::of(by, whom).uuid();
            let position = 10_000_000 + i64::try_from(events.len())?;
            events.push(event(("follow", id), position, &follow)?);
        }
    }
    let begun = Instant::now();
    for event in &events {
        fold(
            posts,
            &PostsProjection::default(),
            std::slice::from_ref(event),
        )
        .await?;
    }
    let rate = crate::report::rate(events.len(), begun.elapsed());
    report.figure(
        "following and unfollowing authors of 22,000 posts, one by one",
        "events/s",
        rate,
        "60 come in",
    );
    Ok(())
}

async fn removals(posts: &mut PgConnection, report: &mut Report) -> anyhow::Result<()> {
    let projection = PostsProjection::default();
    let cost = fold(posts, &projection, &[deleted(1)?]).await?;
    removal("deleting a post with 1 million likes", &cost, report);
    let cost = fold(posts, &projection, &[erased(WRITER)?]).await?;
    removal("erasing an author of 10,000 posts and likes", &cost, report);
    let cost = fold(posts, &projection, &[erased(STAR)?]).await?;
    removal("erasing an author with 1 million followers", &cost, report);
    Ok(())
}

fn removal(name: &str, cost: &Cost, report: &mut Report) {
    report.figure(
        &format!("{name}, until nobody sees it"),
        "ms",
        ms(cost.event),
        "",
    );
    report.figure(
        "  the longest of its steps",
        "ms",
        ms(cost.longest_step),
        "",
    );
    let steps = u32::try_from(cost.steps).unwrap_or(u32::MAX);
    report.figure("  its steps", "", f64::from(steps), "");
    report.figure("  all of them", "s", cost.all.as_secs_f64(), "");
}
