//! Who leads a projection, what fences it, and what it survives.

use crate::history::{History, user};
use crate::site::{PATIENCE, Site};
use crate::tables::{dump, fill};
use sqlx::PgConnection;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use touchline_domain::posts::Visibility::Public;
use touchline_eventstore::relay::{Relay, RelaySettings};
use touchline_eventstore::{LogEvent, Position, Tasks};
use touchline_projections::posts::PostsProjection;
use touchline_projections::users::UsersProjection;
use touchline_projections::{ProjectError, Projection, ProjectionState, Runner};
use touchline_testkit::eventually;
use uuid::Uuid;

/// `users`, waiting for a permit before each batch is written.
struct Gated {
    gate: Arc<Semaphore>,
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
        self.gate.acquire().await.expect("open").forget();
        Ok(())
    }
}

/// Some people, and some that follow each other.
fn people(numbers: std::ops::Range<u128>) -> History {
    let mut history = History::default();
    for number in numbers.clone() {
        history.register(number);
    }
    for number in numbers.clone() {
        history.follow(number, numbers.start);
    }
    history
}

/// The rows of a read model are those of a fresh fold of the log.
async fn assert_exact<P: Projection>(site: &Site, projection: &P) {
    let events = site.store.read(Position::START, 10_000).await.unwrap();
    let events = site.store.open(events).await.unwrap();
    let mut connection = site.pool().acquire().await.unwrap();
    fill(
        &mut connection,
        projection,
        "fresh",
        &events,
        [events.len()],
    )
    .await;
    let fresh = dump(&mut connection, "fresh").await;
    assert_eq!(dump(&mut connection, P::NAME).await, fresh);
}

pub(crate) async fn expire_lease(site: &Site, projection: &str) {
    sqlx::query("UPDATE operations.leases SET expires_at = '-infinity' WHERE name = $1")
        .bind(format!("projection.{projection}"))
        .execute(site.pool())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_runner_folds_the_log_and_goes_on_where_it_stopped() {
    let site = Site::new().await;
    let mut history = people(1..50);
    let head = site.append(&history, 0).await;
    let mut running = site.run(UsersProjection, 1);
    running.until_at(head).await;
    let known = history.steps.len();
    history.register(50);
    let head = site.append(&history, known).await;
    running.until_at(head).await;
    running.stop().await;

    let known = history.steps.len();
    history.follow(50, 1);
    let head = site.append(&history, known).await;
    let mut running = site.run(UsersProjection, 2);
    running.until_at(head).await;
    assert_exact(&site, &UsersProjection).await;
    running.stop().await;
}

#[tokio::test]
async fn a_standby_takes_over_when_the_leader_stops() {
    let site = Site::new().await;
    let mut leader = site.run(UsersProjection, 1);
    leader
        .until(|status| status.state == ProjectionState::Running)
        .await;
    let mut standby = site.run(UsersProjection, 2);
    assert_eq!(
        standby.status.borrow_and_update().state,
        ProjectionState::Standby
    );
    leader.stop().await;
    let head = site.append(&people(1..5), 0).await;
    standby.until_at(head).await;
    assert_exact(&site, &UsersProjection).await;
    standby.stop().await;
}

/// A leader that was paused between two batches while another one led: its next batch must not go
/// in, though it still believes in its lease.
#[tokio::test]
async fn a_leader_of_an_older_epoch_writes_nothing() {
    let site = Site::new().await;
    let mut history = people(1..5);
    let head = site.append(&history, 0).await;
    let mut old = site.run(UsersProjection, 1);
    old.until_at(head).await;

    // What a new leader does first, by hand.
    let rival = Uuid::from_u128(2);
    sqlx::query("UPDATE operations.leases SET holder = $1, epoch = epoch + 1 WHERE name = 'projection.users'")
        .bind(rival)
        .execute(site.pool())
        .await
        .unwrap();
    sqlx::query("UPDATE operations.checkpoints SET epoch = epoch + 1 WHERE projection = 'users'")
        .execute(site.pool())
        .await
        .unwrap();
    let known = history.steps.len();
    history.register(9);
    let new_head = site.append(&history, known).await;
    old.until(|status| status.state == ProjectionState::Standby)
        .await;
    assert_eq!(site.checkpoint("users").await, Some(head.get()));
    let user9: i64 = sqlx::query_scalar("SELECT count(*) FROM users.users WHERE user_id = $1")
        .bind(user(9).uuid())
        .fetch_one(site.pool())
        .await
        .unwrap();
    assert_eq!(user9, 0);

    // The rival goes away without a word; the old leader is elected again, under a new epoch.
    expire_lease(&site, "users").await;
    old.until_at(new_head).await;
    assert_exact(&site, &UsersProjection).await;
    old.stop().await;
}

/// A leader that hangs in the middle of a transaction is left behind by the next one.
#[tokio::test]
async fn a_leader_that_hangs_in_a_batch_is_replaced() {
    let site = Site::new().await;
    let head = site.append(&people(1..20), 0).await;
    let gate = Arc::new(Semaphore::new(0));
    let hanging = site.run(
        Gated {
            gate: Arc::clone(&gate),
        },
        1,
    );
    eventually(PATIENCE, "the first leader is in a transaction", || async {
        let open: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE state = 'idle in transaction' AND datname = current_database()",
        )
        .fetch_one(site.pool())
        .await
        .unwrap();
        open == 1
    })
    .await;
    expire_lease(&site, "users").await;
    let mut next = site.run(UsersProjection, 2);
    next.until_at(head).await;
    gate.add_permits(100);
    assert_exact(&site, &UsersProjection).await;
    hanging.stop().await;
    next.stop().await;
}

/// Killed after each few rows, again and again: in the end every event was folded exactly once.
#[tokio::test]
async fn a_runner_killed_anywhere_loses_and_repeats_nothing() {
    let site = Site::new().await;
    let mut history = people(1..60);
    for number in 1..60 {
        history.publish(number, number, Public);
        history.like(number, 1);
    }
    let head = site.append(&history, 0).await;
    for round in 0..10_u128 {
        let gate = Arc::new(Semaphore::new(usize::try_from(round).unwrap()));
        let users = site.run(
            Gated {
                gate: Arc::clone(&gate),
            },
            100 + round,
        );
        let posts = site.run(PostsProjection::default(), 200 + round);
        let known = history.steps.len();
        history.change_profile(1 + round, &format!("Round {round}"), "");
        site.append(&history, known).await;
        eventually(PATIENCE, "the batch hangs or is written", || async {
            gate.available_permits() == 0 || site.checkpoint("users").await > Some(0)
        })
        .await;
        users.kill().await;
        posts.kill().await;
        expire_lease(&site, "users").await;
        expire_lease(&site, "posts").await;
    }
    let head = site.store.head().await.unwrap().max(head);
    let mut users = site.run(UsersProjection, 1);
    let mut posts = site.run(PostsProjection::default(), 2);
    users.until_at(head).await;
    posts.until_at(head).await;
    assert_exact(&site, &UsersProjection).await;
    assert_exact(&site, &PostsProjection::default()).await;
    users.stop().await;
    posts.stop().await;
}

#[tokio::test]
async fn a_runner_survives_the_loss_of_its_connections() {
    let site = Site::new().await;
    let mut history = people(1..5);
    let head = site.append(&history, 0).await;
    let mut running = site.run(UsersProjection, 1);
    running.until_at(head).await;
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE application_name = 'touchline' AND datname = current_database()",
    )
    .execute(site.pool())
    .await
    .unwrap();
    let known = history.steps.len();
    history.register(9);
    let head = site.append(&history, known).await;
    running.until_at(head).await;
    assert_exact(&site, &UsersProjection).await;
    running.stop().await;
}

#[tokio::test]
async fn a_schema_that_was_dropped_is_filled_again() {
    let site = Site::new().await;
    let mut history = people(1..20);
    let head = site.append(&history, 0).await;
    let mut running = site.run(UsersProjection, 1);
    running.until_at(head).await;
    sqlx::raw_sql("DROP SCHEMA users CASCADE")
        .execute(site.pool())
        .await
        .unwrap();
    let known = history.steps.len();
    history.register(20);
    let head = site.append(&history, known).await;
    running.until_at(head).await;
    assert_exact(&site, &UsersProjection).await;
    assert_eq!(running.status.borrow().parked_aggregates, 0);
    running.stop().await;
}

/// The log comes by JetStream while it can, and by PostgreSQL otherwise; the rows do not tell.
#[tokio::test]
async fn a_runner_does_not_stop_because_nats_did() {
    let site = Site::new().await;
    let mut nats = touchline_testkit::nats().await;
    let client = nats.client().await;
    let holder = Uuid::from_u128(9);
    let relay = Relay::new(
        site.store.clone(),
        client.clone(),
        holder,
        RelaySettings::default(),
    );
    let mut relayed = relay.status();
    let stop = CancellationToken::new();
    let relaying = tokio::spawn(relay.run(stop.clone()));

    let mut history = people(1..50);
    let head = site.append(&history, 0).await;
    let mirrored = relayed.wait_for(|status| status.published >= head);
    tokio::time::timeout(PATIENCE, mirrored)
        .await
        .expect("the stream is filled")
        .unwrap();
    let mut running = site.run_with(UsersProjection, 1, Some(client));
    running.until_at(head).await;
    nats.stop().await;
    for number in 50..60 {
        let known = history.steps.len();
        history.register(number);
        let head = site.append(&history, known).await;
        running.until_at(head).await;
    }
    nats.start().await;
    let known = history.steps.len();
    history.follow(50, 1);
    let head = site.append(&history, known).await;
    running.until_at(head).await;
    assert_exact(&site, &UsersProjection).await;
    running.stop().await;
    stop.cancel();
    relaying.await.unwrap();
}

#[tokio::test]
async fn an_event_unknown_to_this_build_halts_only_who_handles_it() {
    for kind in [("posts.post_pinned", "1"), ("posts.post_published", "99")] {
        let site = Site::new().await;
        let mut history = people(1..5);
        let before = site.append(&history, 0).await;
        let known = history.steps.len();
        history.force(("post", Uuid::from_u128(7)), kind, "{}");
        site.append(&history, known).await;
        let known = history.steps.len();
        history.register(9);
        let head = site.append(&history, known).await;

        let mut users = site.run(UsersProjection, 1);
        let mut posts = site.run(PostsProjection::default(), 1);
        users.until_at(head).await;
        let halted = posts
            .until(|status| matches!(status.state, ProjectionState::Halted { .. }))
            .await;
        let ProjectionState::Halted { reason, position } = halted.state else {
            unreachable!()
        };
        assert!(reason.contains(kind.0), "{reason}");
        assert_eq!(position, before.next());
        assert_eq!(halted.position, before);
        assert_eq!(site.checkpoint("posts").await, Some(before.get()));
        let written: Option<String> = sqlx::query_scalar(
            "SELECT halted FROM operations.checkpoints WHERE projection = 'posts'",
        )
        .fetch_one(site.pool())
        .await
        .unwrap();
        assert_eq!(written, Some(reason));
        users.stop().await;
        posts.stop().await;
    }
}

/// `users` in a later version.
struct Later;

impl Projection for Later {
    const NAME: &'static str = "users";
    const VERSION: i32 = UsersProjection::VERSION + 1;
    const SCHEMA: &'static str = "CREATE TABLE later (id bigint)";

    fn handles(&self, _event_type: &str) -> bool {
        true
    }

    async fn project(&self, _: &mut PgConnection, _: &[LogEvent]) -> Result<(), ProjectError> {
        Ok(())
    }
}

#[tokio::test]
async fn tables_of_another_version_halt_the_projection_unless_they_are_empty() {
    let site = Site::new().await;
    touchline_projections::registry::prepare(site.pool())
        .await
        .unwrap();
    // Its tables belong to the owner of the database here; the runner must be able to drop them.
    let owner = format!("ALTER SCHEMA users OWNER TO {}", site.test().role());
    sqlx::raw_sql(&owner).execute(site.pool()).await.unwrap();
    let mut later = site.run(Later, 1);
    later
        .until(|status| status.state == ProjectionState::Running)
        .await;
    let head = site.append(&people(1..5), 0).await;
    later.until_at(head).await;
    later.stop().await;

    let mut earlier = site.run(UsersProjection, 1);
    let halted = earlier
        .until(|status| matches!(status.state, ProjectionState::Halted { .. }))
        .await;
    let ProjectionState::Halted { reason, position } = halted.state else {
        unreachable!()
    };
    assert!(reason.contains("rebuild"), "{reason}");
    assert_eq!(position, head.next());
    earlier.stop().await;
}

/// Panics at its first events, and is like another then.
struct Panicking(AtomicBool);

impl Projection for Panicking {
    const NAME: &'static str = "panicking";
    const VERSION: i32 = 1;
    const SCHEMA: &'static str = "CREATE TABLE nothing (id bigint)";

    fn handles(&self, _event_type: &str) -> bool {
        true
    }

    async fn project(&self, _: &mut PgConnection, _: &[LogEvent]) -> Result<(), ProjectError> {
        assert!(self.0.swap(true, Ordering::SeqCst), "for the test");
        Ok(())
    }
}

#[tokio::test]
async fn a_runner_that_panics_is_started_again_and_its_readers_go_on() {
    let site = Site::new().await;
    let projection = Panicking(AtomicBool::new(false));
    let (store, database) = (site.store.clone(), site.database.clone());
    let runner = Runner::new(projection, store, database, None, Uuid::from_u128(1));
    let mut status = runner.status();
    let (tasks, stop) = (Tasks::default(), CancellationToken::new());
    let told = stop.clone();
    tasks.keep("runner", stop.clone(), move || {
        runner.clone().run(told.clone())
    });
    let head = site.append(&people(1..5), 0).await;
    let folded = status.wait_for(|status| status.position == head);
    timeout(PATIENCE, folded).await.unwrap().unwrap();
    assert_eq!(tasks.failing(), ["runner"]);
    stop.cancel();
    tasks.ended().await;
    assert_eq!(status.borrow().state, ProjectionState::Standby);
}
