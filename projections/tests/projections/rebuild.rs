//! Rebuilding beside the serving tables, and the swap.

use crate::counted::Counted;
use crate::history::History;
use crate::site::{PATIENCE, Running, Site};
use crate::tables::{dump, fill};
use sqlx::{Executor as _, PgConnection};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use touchline_domain::posts::Visibility::Public;
use touchline_eventstore::lease::Lease;
use touchline_eventstore::{LogEvent, Position};
use touchline_projections::posts::PostsProjection;
use touchline_projections::rebuild::{self, Rebuild, RebuildState, Requested};
use touchline_projections::users::UsersProjection;
use touchline_projections::{Maintenance, ProjectError, Projection};
use touchline_testkit::eventually;
use uuid::Uuid;

/// A worker's maintenance of one read model.
pub(crate) struct Worker {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Worker {
    /// A worker that goes through the log in such small chunks that a short one has many.
    pub(crate) fn start(site: &Site, projection: impl Projection, holder: u128) -> Self {
        Self::start_with(site, projection, holder, 20)
    }

    pub(crate) fn start_in_large_chunks(
        site: &Site,
        projection: impl Projection,
        holder: u128,
    ) -> Self {
        Self::start_with(site, projection, holder, 10_000)
    }

    /// A worker that takes one sample after the other.
    pub(crate) fn start_sampling(site: &Site, projection: impl Projection, holder: u128) -> Self {
        let maintenance = maintenance(site, projection, holder);
        Self::run(maintenance.with_sample_pause(Duration::from_millis(1)))
    }

    pub(crate) fn start_with(
        site: &Site,
        projection: impl Projection,
        holder: u128,
        chunk_positions: u32,
    ) -> Self {
        Self::run(maintenance(site, projection, holder).with_chunks(chunk_positions))
    }

    fn run(maintenance: Maintenance) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(maintenance.run(stop.clone()));
        Self { stop, task }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// Ends it where it is, as a killed process does.
    async fn kill(self) {
        self.task.abort();
        let _aborted = self.task.await;
    }
}

fn maintenance(site: &Site, projection: impl Projection, holder: u128) -> Maintenance {
    Maintenance::new(
        Arc::new(projection),
        site.store.clone(),
        site.database.clone(),
        Uuid::from_u128(holder),
    )
}

impl Site {
    pub(crate) async fn request_rebuild(&self, projection: &str, version: i32) -> Rebuild {
        rebuild::request(self.store.pool(), projection, version, "a test", "")
            .await
            .unwrap()
            .into_inner()
    }

    pub(crate) async fn until_rebuilt(&self, rebuild: &Rebuild) -> Rebuild {
        self.until_rebuild(rebuild, |now| now.state.is_over()).await
    }

    pub(crate) async fn until_rebuild(
        &self,
        rebuild: &Rebuild,
        mut what: impl FnMut(&Rebuild) -> bool,
    ) -> Rebuild {
        let mut last = None;
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let now = rebuild::find(self.pool(), &rebuild.projection, rebuild.rebuild_id)
                    .await
                    .unwrap()
                    .unwrap();
                if what(&now) {
                    return now;
                }
                last = Some(now);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let Ok(found) = found.await else {
            unreachable!("the rebuild does not get there: {last:?}")
        };
        found
    }

    /// Schemas beside the serving ones.
    pub(crate) async fn leftovers(&self) -> Vec<String> {
        sqlx::query_scalar(
            "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE '%\\_\\_%'
             UNION ALL SELECT projection FROM operations.checkpoints WHERE projection LIKE '%\\_\\_%'",
        )
        .fetch_all(self.pool())
        .await
        .unwrap()
    }

    async fn until_clean(&self) {
        let what = "nothing is left beside the serving tables";
        eventually(PATIENCE, what, || async {
            self.leftovers().await.is_empty()
        })
        .await;
    }

    /// The rows are those of a fold of the log up to the checkpoint, event by event.
    pub(crate) async fn assert_exact<P: Projection>(&self, projection: &P) {
        let position = self.checkpoint(P::NAME).await.unwrap();
        let mut events = Vec::new();
        let mut after = Position::START;
        while after.get() < position {
            let more = self.store.read(after, 10_000).await.unwrap();
            after = more.last().unwrap().position;
            events.extend(self.store.open(more).await.unwrap());
        }
        events.retain(|event| event.position.get() <= position);
        let mut connection = self.pool().acquire().await.unwrap();
        fill(
            &mut connection,
            projection,
            "fresh",
            &events,
            vec![1_000; events.len()],
        )
        .await;
        let fresh = dump(&mut connection, "fresh").await;
        let live = dump(&mut connection, P::NAME).await;
        for (table, rows) in &fresh {
            let differ = live[table]
                .iter()
                .zip(rows)
                .find(|(one, other)| one != other);
            assert_eq!(differ, None, "{table}");
            assert_eq!(live[table].len(), rows.len(), "{table}");
        }
        assert_eq!(live.len(), fresh.len());
    }
}

/// People who follow each other, write and like.
pub(crate) fn community(people: u128) -> History {
    let mut history = History::default();
    for number in 1..=people {
        history.register(number);
    }
    for number in 1..=people {
        history.publish(number, number, Public);
        history.follow(number, number % people + 1);
        history.follow(number, (number * 7) % people + 1);
        history.like(number, (number * 3) % people + 1);
        history.add_comment(number, number, (number * 5) % people + 1, None);
    }
    history
}

pub(crate) async fn led<P: Projection>(site: &Site, projection: P, head: Position) -> Running {
    let mut running = site.run(projection, 1);
    running.until_at(head).await;
    running
}

#[tokio::test]
async fn a_rebuild_leaves_the_fold_of_the_log_and_the_runner_goes_on() {
    let site = Site::new().await;
    let mut history = community(60);
    let head = site.append(&history, 0).await;
    let mut running = led(&site, PostsProjection::with_fan_out(2), head).await;
    // What was wrong before is right after, and was counted.
    sqlx::raw_sql(
        "UPDATE posts.posts SET caption = 'wrong'
         WHERE ctid = (SELECT min(ctid) FROM posts.posts);
         DELETE FROM posts.likes WHERE ctid = (SELECT min(ctid) FROM posts.likes)",
    )
    .execute(site.pool())
    .await
    .unwrap();

    let worker = Worker::start(&site, PostsProjection::with_fan_out(2), 1);
    let requested = site
        .request_rebuild("posts", PostsProjection::VERSION)
        .await;
    let done = site.until_rebuilt(&requested).await;
    assert_eq!(done.state, RebuildState::Done, "{done:?}");
    assert_eq!((done.position, done.drift_rows), (head, Some(2)));
    assert_eq!(done.events, head.get());
    site.assert_exact(&PostsProjection::with_fan_out(2)).await;

    // The runner of before is still the leader, and its statements have followed the tables.
    let known = history.steps.len();
    history.publish(1, 61, Public);
    history.like(2, 61);
    let head = site.append(&history, known).await;
    running.until_at(head).await;
    site.assert_exact(&PostsProjection::with_fan_out(2)).await;
    let terms: i64 =
        sqlx::query_scalar("SELECT epoch FROM operations.leases WHERE name = 'projection.posts'")
            .fetch_one(site.pool())
            .await
            .unwrap();
    assert_eq!(terms, 1);
    site.until_clean().await;
    running.stop().await;
    worker.stop().await;
}

#[tokio::test]
async fn a_second_request_answers_with_the_rebuild_under_way() {
    let site = Site::new().await;
    let pool = site.store.pool();
    let first = rebuild::request(pool, "users", 1, "one", "a reason")
        .await
        .unwrap();
    let Requested::New(first) = first else {
        unreachable!("{first:?}")
    };
    let second = rebuild::request(pool, "users", 1, "two", "").await.unwrap();
    let Requested::UnderWay(second) = second else {
        unreachable!("{second:?}")
    };
    assert_eq!(second, first);
    assert_eq!(
        (&*second.requested_by, &*second.reason),
        ("one", "a reason")
    );
    let other = rebuild::request(pool, "posts", 1, "two", "").await.unwrap();
    assert!(matches!(other, Requested::New(_)));
    assert!(
        rebuild::cancel(pool, "users", first.rebuild_id)
            .await
            .unwrap()
    );
    assert!(
        !rebuild::cancel(pool, "users", first.rebuild_id)
            .await
            .unwrap()
    );
    let third = rebuild::request(pool, "users", 1, "three", "")
        .await
        .unwrap();
    assert!(matches!(third, Requested::New(_)));
}

/// `users`, waiting for a permit before each batch of the new tables is written.
#[derive(Clone)]
struct Gated {
    gate: Arc<Semaphore>,
    /// The first event that was folded.
    first: Arc<AtomicI64>,
}

impl Gated {
    fn new(permits: usize) -> Self {
        Self {
            gate: Arc::new(Semaphore::new(permits)),
            first: Arc::new(AtomicI64::new(i64::MAX)),
        }
    }
}

impl Projection for Gated {
    const NAME: &'static str = "users";
    const VERSION: i32 = UsersProjection::VERSION;
    const SCHEMA: &'static str = UsersProjection::SCHEMA;

    fn handles(&self, event_type: &str) -> bool {
        UsersProjection.handles(event_type)
    }

    async fn project(
        &self,
        connection: &mut PgConnection,
        events: &[LogEvent],
    ) -> Result<(), ProjectError> {
        UsersProjection.project(connection, events).await?;
        if let Some(event) = events.first() {
            self.first
                .fetch_min(event.position.get(), Ordering::Relaxed);
        }
        self.gate.acquire().await.expect("open").forget();
        Ok(())
    }
}

#[tokio::test]
async fn a_cancelled_rebuild_leaves_the_serving_tables_and_nothing_else() {
    let site = Site::new().await;
    let head = site.append(&community(20), 0).await;
    let running = led(&site, UsersProjection, head).await;
    let gated = Gated::new(0);
    let worker = Worker::start(&site, gated.clone(), 1);
    let requested = site
        .request_rebuild("users", UsersProjection::VERSION)
        .await;
    site.until_rebuild(&requested, |now| now.state == RebuildState::Running)
        .await;
    assert!(!site.leftovers().await.is_empty());
    let pool = site.store.pool();
    assert!(
        rebuild::cancel(pool, "users", requested.rebuild_id)
            .await
            .unwrap()
    );
    site.until_clean().await;
    gated.gate.add_permits(1_000);
    let after = site.until_rebuilt(&requested).await;
    assert_eq!(after.state, RebuildState::Cancelled);
    site.assert_exact(&UsersProjection).await;
    // The next one is not in its way.
    let again = site
        .request_rebuild("users", UsersProjection::VERSION)
        .await;
    assert_eq!(site.until_rebuilt(&again).await.state, RebuildState::Done);
    running.stop().await;
    worker.stop().await;
}

/// Of two workers one fills the tables; when it is killed, the other goes on.
#[tokio::test]
async fn a_killed_workers_successor_goes_on() {
    let site = Site::new().await;
    let history = community(80);
    let head = site.append(&history, 0).await;
    let running = led(&site, UsersProjection, head).await;
    let gated = Gated::new(0);
    let worker = Worker::start(&site, gated.clone(), 1);
    let requested = site
        .request_rebuild("users", UsersProjection::VERSION)
        .await;
    // A chunk of 20 positions is folded in one to four parts: these are three to twelve chunks.
    gated.gate.add_permits(12);
    site.until_rebuild(&requested, |now| now.position.get() >= 60)
        .await;
    let successor = Gated::new(1_000_000);
    let second = Worker::start(&site, successor.clone(), 2);
    worker.kill().await;
    sqlx::query(
        "UPDATE operations.leases SET expires_at = '-infinity' WHERE name = 'rebuild.users'",
    )
    .execute(site.pool())
    .await
    .unwrap();
    let done = site.until_rebuilt(&requested).await;
    assert_eq!(done.state, RebuildState::Done, "{done:?}");
    assert!(
        successor.first.load(Ordering::Relaxed) > 60,
        "it began anew"
    );
    site.assert_exact(&UsersProjection).await;
    site.until_clean().await;
    running.stop().await;
    second.stop().await;
}

/// A worker that was killed between its swap and its clean-up leaves the old tables to the others,
/// which found it at work.
#[tokio::test]
async fn what_a_killed_worker_leaves_is_cleaned_up_by_another() {
    let site = Site::new().await;
    let head = site.append(&community(2), 0).await;
    let running = led(&site, UsersProjection, head).await;
    let pool = site.store.pool();
    let role = "rebuild.users";
    let lease = Lease::acquire(pool, role, Uuid::from_u128(1))
        .await
        .unwrap();
    assert!(lease.is_some());
    pool.execute("CREATE SCHEMA users__old").await.unwrap();
    let worker = Worker::start(&site, UsersProjection, 2);
    // It asks for the lease twice a second.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(site.leftovers().await, ["users__old"]);
    sqlx::query("UPDATE operations.leases SET expires_at = '-infinity' WHERE name = $1")
        .bind(role)
        .execute(site.pool())
        .await
        .unwrap();
    site.until_clean().await;
    running.stop().await;
    worker.stop().await;
}

/// With several writers each has a checkpoint of its own; killed again and again, they go on.
#[tokio::test]
async fn several_writers_that_are_killed_lose_and_repeat_nothing() {
    let site = Site::new().await;
    crate::counted::append(&site, 20_000).await;
    let head = site.store.head().await.unwrap();
    let running = led(&site, Counted, head).await;
    let requested = site.request_rebuild("counted", 1).await;
    for (holder, position) in [(1, 1), (2, 5_000), (3, 12_000)] {
        let worker = Worker::start_with(&site, Counted, holder, 500);
        site.until_rebuild(&requested, |now| {
            now.position.get() >= position || now.state.is_over()
        })
        .await;
        worker.kill().await;
        sqlx::query(
            "UPDATE operations.leases SET expires_at = '-infinity' WHERE name = 'rebuild.counted'",
        )
        .execute(site.pool())
        .await
        .unwrap();
    }
    let last = Worker::start_with(&site, Counted, 4, 500);
    let done = site.until_rebuilt(&requested).await;
    assert_eq!((done.state, done.drift_rows), (RebuildState::Done, Some(0)));
    let writers: i32 = sqlx::query_scalar("SELECT writers FROM operations.rebuilds")
        .fetch_one(site.pool())
        .await
        .unwrap();
    assert!(writers > 1, "one core shows nothing");
    let rows: (i64, i64) = sqlx::query_as("SELECT count(*), max(position) FROM counted.rows")
        .fetch_one(site.pool())
        .await
        .unwrap();
    assert_eq!(rows, (20_000, 20_000));
    site.until_clean().await;
    running.stop().await;
    last.stop().await;
}
