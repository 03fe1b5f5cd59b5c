//! The swap, as readers and workers see it.

use crate::counted;
use crate::history::user;
use crate::rebuild::{Worker, community, led};
use crate::site::{PATIENCE, Site};
use sqlx::PgConnection;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;
use touchline_domain::posts::Visibility::Public;
use touchline_eventstore::LogEvent;
use touchline_projections::posts::PostsProjection;
use touchline_projections::rebuild::{self, RebuildState};
use touchline_projections::users::UsersProjection;
use touchline_projections::{ProjectError, Projection, ProjectionState};
use touchline_testkit::eventually;

/// How far the log goes ahead of a rebuild, or of where it began.
const AHEAD_MAX: i64 = 100;

/// Readers ask all the while, by prepared statements that name two tables.
#[tokio::test]
async fn no_reader_sees_an_empty_a_mixed_or_an_older_model() {
    let site = Arc::new(Site::new().await);
    let mut history = community(50);
    let head = site.append(&history, 0).await;
    let running = led(&site, PostsProjection::default(), head).await;
    let worker = Worker::start(&site, PostsProjection::default(), 1);
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::new(AtomicI64::new(0));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn(read_until(
                Arc::clone(&site),
                Arc::clone(&stop),
                Arc::clone(&seen),
            ))
        })
        .collect();
    for round in 0..4_u128 {
        let begun = site.store.head().await.unwrap();
        let requested = site
            .request_rebuild("posts", PostsProjection::VERSION)
            .await;
        // Events come while it fills and while it swaps; never so many that a slow machine would
        // fill for ever.
        let appending = async {
            for number in 0.. {
                let known = history.steps.len();
                let post = 1_000 + round * 10_000 + number;
                history.publish(number % 50 + 1, post, Public);
                history.like(number % 50 + 1, post);
                let head = site.append(&history, known).await;
                site.until_rebuild(&requested, |now| {
                    let done = now.position.max(begun);
                    done.get() + AHEAD_MAX >= head.get() || now.state.is_over()
                })
                .await;
            }
        };
        let done = tokio::select! {
            () = appending => unreachable!("it goes on for ever"),
            done = site.until_rebuilt(&requested) => done,
        };
        assert_eq!(done.state, RebuildState::Done, "{done:?}");
        assert_eq!(done.drift_rows, Some(0));
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    assert!(
        seen.load(Ordering::Relaxed) > 100,
        "the readers hardly read"
    );
    // What was on its way when appending was stopped comes before this one.
    let known = history.steps.len();
    history.register(51);
    let head = site.append(&history, known).await;
    let mut running = running;
    running.until_at(head).await;
    site.assert_exact(&PostsProjection::default()).await;
    running.stop().await;
    worker.stop().await;
}

async fn read_until(site: Arc<Site>, stop: Arc<AtomicBool>, seen: Arc<AtomicI64>) {
    let mut connection = site.pool().acquire().await.unwrap();
    let (mut posts_before, mut position_before) = (50, 0);
    while !stop.load(Ordering::Relaxed) {
        // Mixed tables would disagree on the counts.
        let (posts, wrong): (i64, i64) = sqlx::query_as(
            "SELECT count(*), count(*) FILTER (WHERE posts.like_count <> coalesce(counted.likes, 0))
             FROM posts.posts LEFT JOIN (
                 SELECT likes.post_id, count(*) AS likes FROM posts.likes GROUP BY 1) AS counted USING (post_id)",
        )
        .fetch_one(&mut *connection)
        .await
        .unwrap();
        assert_eq!(wrong, 0, "posts and likes of different times");
        assert!(posts >= posts_before, "{posts} posts after {posts_before}");
        let position: i64 = sqlx::query_scalar(
            "SELECT position FROM operations.checkpoints WHERE projection = 'posts'",
        )
        .fetch_one(&mut *connection)
        .await
        .unwrap();
        assert!(position >= position_before);
        (posts_before, position_before) = (posts, position);
        seen.fetch_add(1, Ordering::Relaxed);
    }
}

/// `users` in a later version, with a column of another type.
struct Later;

impl Projection for Later {
    const NAME: &'static str = "users";
    const VERSION: i32 = UsersProjection::VERSION + 1;
    const SCHEMA: &'static str = "CREATE TABLE users (user_id text PRIMARY KEY, position bigint)";

    fn handles(&self, event_type: &str) -> bool {
        event_type == "identity.account_registered"
    }

    async fn project(
        &self,
        connection: &mut PgConnection,
        events: &[LogEvent],
    ) -> Result<(), ProjectError> {
        let ids: Vec<_> = events.iter().map(|it| it.aggregate_id.clone()).collect();
        let positions: Vec<_> = events.iter().map(|it| it.position.get()).collect();
        sqlx::query("INSERT INTO users SELECT * FROM unnest($1::text[], $2::bigint[])")
            .bind(ids)
            .bind(positions)
            .execute(connection)
            .await?;
        Ok(())
    }
}

#[tokio::test]
async fn tables_of_an_earlier_version_serve_until_the_worker_has_rebuilt_them() {
    let site = Site::new().await;
    let mut history = community(10);
    let head = site.append(&history, 0).await;
    led(&site, UsersProjection, head).await.stop().await;

    let mut later = site.run(Later, 2);
    later
        .until(|status| matches!(&status.state, ProjectionState::Halted { reason, .. } if reason.contains("rebuild")))
        .await;
    let found = touchline_projections::users::by_id(site.pool(), user(1)).await;
    assert!(found.unwrap().is_some(), "the old tables do not serve");
    let worker = Worker::start(&site, Later, 2);
    later.until_at(head).await;
    let known = history.steps.len();
    history.register(11);
    let head = site.append(&history, known).await;
    later.until_at(head).await;
    site.assert_exact(&Later).await;
    let rebuilt: (String, String, Option<i64>) =
        sqlx::query_as("SELECT state, requested_by, drift_rows FROM operations.rebuilds")
            .fetch_one(site.pool())
            .await
            .unwrap();
    assert_eq!(rebuilt, ("done".to_owned(), "worker".to_owned(), None));

    // Who runs the earlier code leaves the new tables alone.
    later.stop().await;
    let mut earlier = site.run(UsersProjection, 3);
    earlier
        .until(|status| matches!(&status.state, ProjectionState::Halted { reason, .. } if reason.contains("update this process")))
        .await;
    let idle = Worker::start(&site, UsersProjection, 3);
    site.assert_exact(&Later).await;
    earlier.stop().await;
    worker.stop().await;
    idle.stop().await;
}

/// All reads are longer than the swap waits for readers at first, and some are always under way.
#[tokio::test]
async fn a_swap_comes_through_long_reads_that_overlap() {
    let site = Arc::new(Site::new().await);
    let head = site.append(&community(10), 0).await;
    let running = led(&site, PostsProjection::default(), head).await;
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..8)
        .map(|reader| {
            let (site, stop) = (Arc::clone(&site), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut connection = site.database.connect(&[]).await.unwrap();
                // Of different lengths, or they would soon all begin and end together.
                let seconds = 0.1 + 0.02 * f64::from(reader);
                while !stop.load(Ordering::Relaxed) {
                    let read = "SELECT count(*), pg_sleep($1)::text FROM posts.posts";
                    let (posts, _): (i64, String) = sqlx::query_as(read)
                        .bind(seconds)
                        .fetch_one(&mut connection)
                        .await
                        .unwrap();
                    assert_eq!(posts, 10);
                }
            })
        })
        .collect();
    let worker = Worker::start(&site, PostsProjection::default(), 1);
    let requested = site
        .request_rebuild("posts", PostsProjection::VERSION)
        .await;
    let done = site.until_rebuilt(&requested).await;
    assert_eq!(done.state, RebuildState::Done);
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    running.stop().await;
    worker.stop().await;
}

/// Statements take the locks of their tables one after the other, each in its own order. One that is
/// kept from its second table keeps the first: whoever locks the tables one after the other, too,
/// waits for it for ever, and it for them.
#[tokio::test]
async fn a_swap_comes_through_reads_that_lock_tables_in_any_order() {
    let site = Arc::new(Site::new().await);
    let head = site.append(&community(10), 0).await;
    let running = led(&site, PostsProjection::default(), head).await;
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..8)
        .map(|reader| {
            let (site, stop) = (Arc::clone(&site), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut connection = site.database.connect(&[]).await.unwrap();
                let tables = ["posts.posts", "posts.likes", "posts.comments"];
                let [one, two, three] = [0, 1, 2].map(|index| tables[(reader + index) % 3]);
                let read = format!(
                    "SELECT (SELECT count(*) FROM {one}), (SELECT count(*) FROM {two}),
                            (SELECT count(*) FROM {three}), pg_sleep(0.005)::text",
                );
                while !stop.load(Ordering::Relaxed) {
                    let counts: (i64, i64, i64, String) = sqlx::query_as(&read)
                        .fetch_one(&mut connection)
                        .await
                        .unwrap();
                    assert_eq!((counts.0, counts.1, counts.2), (10, 10, 10));
                }
            })
        })
        .collect();
    let worker = Worker::start(&site, PostsProjection::default(), 1);
    for _ in 0..3 {
        let requested = site
            .request_rebuild("posts", PostsProjection::VERSION)
            .await;
        let done = site.until_rebuilt(&requested).await;
        assert_eq!(done.state, RebuildState::Done);
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    running.stop().await;
    worker.stop().await;
}

/// A crash may take back what was filled and not flushed, while the swap waits for a reader.
#[tokio::test]
async fn tables_that_went_back_do_not_take_the_place_of_those_that_serve() {
    let site = Site::new().await;
    let head = site.append(&community(10), 0).await;
    let running = led(&site, UsersProjection, head).await;
    let mut reading = site.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM users.users LIMIT 1")
        .execute(&mut *reading)
        .await
        .unwrap();
    let worker = Worker::start(&site, UsersProjection, 1);
    let requested = site
        .request_rebuild("users", UsersProjection::VERSION)
        .await;
    site.until_rebuild(&requested, |now| now.state == RebuildState::Swapping)
        .await;
    eventually(
        PATIENCE,
        "the new tables are as they were in the beginning",
        || async {
            // The swap holds them now and then.
            let back = "BEGIN;
            SET LOCAL lock_timeout = '1s';
            SELECT FROM operations.checkpoints WHERE projection = 'users__next' FOR UPDATE;
            TRUNCATE users__next.users, users__next.follows, users__next.erased;
            UPDATE operations.checkpoints SET position = 0 WHERE projection = 'users__next';
            COMMIT";
            let mut connection = site.database.connect(&[]).await.unwrap();
            let back = sqlx::raw_sql(back).execute(&mut connection).await;
            back.is_ok()
        },
    )
    .await;
    reading.rollback().await.unwrap();
    assert_eq!(
        site.until_rebuilt(&requested).await.state,
        RebuildState::Done
    );
    site.assert_exact(&UsersProjection).await;
    running.stop().await;
    worker.stop().await;
}

/// A read model that says how many events it was given at once.
#[derive(Clone, Default)]
struct Bites {
    largest: Arc<AtomicUsize>,
}

impl Projection for Bites {
    const NAME: &'static str = "bites";
    const VERSION: i32 = 1;
    const SCHEMA: &'static str = "CREATE TABLE bites (position bigint PRIMARY KEY)";

    fn handles(&self, event_type: &str) -> bool {
        event_type.starts_with("users.")
    }

    async fn project(
        &self,
        connection: &mut PgConnection,
        events: &[LogEvent],
    ) -> Result<(), ProjectError> {
        self.largest.fetch_max(events.len(), Ordering::Relaxed);
        let positions: Vec<i64> = events.iter().map(|event| event.position.get()).collect();
        sqlx::query("INSERT INTO bites SELECT unnest($1::bigint[])")
            .bind(positions)
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// The most events that a rebuild folded at once, and in one transaction, seen without being taken
/// for a reader.
async fn largest_bites(site: &Site, bites: &Bites) -> (usize, i64) {
    bites.largest.store(0, Ordering::Relaxed);
    let pool = site.store.pool();
    let requested = rebuild::request(pool, "bites", 1, "a test", "")
        .await
        .unwrap();
    let id = requested.into_inner().rebuild_id;
    eventually(PATIENCE, "the rebuild is done", || async {
        let found = rebuild::find(pool, "bites", id).await.unwrap().unwrap();
        found.state == RebuildState::Done
    })
    .await;
    let in_transaction =
        "SELECT max(count) FROM (SELECT count(*) FROM bites.bites GROUP BY xmin) AS counted";
    let in_transaction = sqlx::query_scalar(in_transaction)
        .fetch_one(pool)
        .await
        .unwrap();
    (bites.largest.load(Ordering::Relaxed), in_transaction)
}

#[tokio::test]
async fn a_rebuild_takes_small_bites_while_others_read() {
    let site = Site::new().await;
    counted::append(&site, 3_000).await;
    let running = led(&site, Bites::default(), site.store.head().await.unwrap()).await;
    let bites = Bites::default();
    let worker = Worker::start_in_large_chunks(&site, bites.clone(), 2);

    let queries = site.database.query_pool(1);
    let stop = Arc::new(AtomicBool::new(false));
    let reading = {
        let (queries, stop) = (queries.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM bites.bites")
                    .fetch_one(&queries)
                    .await
                    .unwrap();
                assert_eq!(rows, 3_000);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
    };
    assert_eq!(largest_bites(&site, &bites).await, (5, 50));
    stop.store(true, Ordering::Relaxed);
    reading.await.unwrap();
    // A reader counts as one for a moment longer.
    eventually(PATIENCE, "the whole log is one bite", || async {
        largest_bites(&site, &bites).await == (3_000, 3_000)
    })
    .await;
    running.stop().await;
    worker.stop().await;
}
