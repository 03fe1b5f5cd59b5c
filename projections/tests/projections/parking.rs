//! Events that a read model refuses: their aggregates wait, the others go on.

use crate::history::{History, user};
use crate::site::{Running, Site};
use sqlx::PgConnection;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use touchline_eventstore::LogEvent;
use touchline_projections::posts::PostsProjection;
use touchline_projections::users::UsersProjection;
use touchline_projections::{ProjectError, Projection};
use uuid::Uuid;

/// Keeps every payload, and refuses those with the word "poison".
#[derive(Clone, Default)]
pub(crate) struct Payloads {
    /// How often a batch of a single poisoned event was tried.
    lone_attempts: Arc<AtomicU32>,
}

impl Projection for Payloads {
    const NAME: &'static str = "payloads";
    const VERSION: i32 = 1;
    const SCHEMA: &'static str = "CREATE TABLE payloads (
        position bigint PRIMARY KEY,
        payload  text   NOT NULL CONSTRAINT payloads_clean CHECK (payload NOT LIKE '%poison%')
    )";

    fn handles(&self, event_type: &str) -> bool {
        event_type != "identity.account_approved"
    }

    async fn project(
        &self,
        connection: &mut PgConnection,
        events: &[LogEvent],
    ) -> Result<(), ProjectError> {
        if let [event] = events
            && event.payload.get().contains("poison")
        {
            self.lone_attempts.fetch_add(1, Ordering::Relaxed);
        }
        let positions: Vec<i64> = events.iter().map(|event| event.position.get()).collect();
        let payloads: Vec<&str> = events.iter().map(|event| event.payload.get()).collect();
        sqlx::query("INSERT INTO payloads SELECT * FROM unnest($1::bigint[], $2::text[])")
            .bind(positions)
            .bind(payloads)
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// The same, mended: it refuses nothing.
pub(crate) struct Mended;

impl Projection for Mended {
    const NAME: &'static str = Payloads::NAME;
    const VERSION: i32 = Payloads::VERSION;
    const SCHEMA: &'static str = "CREATE TABLE payloads (
        position bigint PRIMARY KEY,
        payload  text   NOT NULL
    )";

    fn handles(&self, event_type: &str) -> bool {
        Payloads::default().handles(event_type)
    }

    async fn project(
        &self,
        connection: &mut PgConnection,
        events: &[LogEvent],
    ) -> Result<(), ProjectError> {
        Payloads::default().project(connection, events).await
    }
}

impl Site {
    pub(crate) async fn numbers(&self, query: &str) -> Vec<i64> {
        sqlx::query_scalar(query)
            .fetch_all(self.pool())
            .await
            .unwrap()
    }

    pub(crate) async fn parked_events(&self) -> Vec<i64> {
        self.numbers("SELECT position FROM operations.parked_events ORDER BY position")
            .await
    }
}

/// Appends what is new in a history, one event after the other, so that positions are its order.
pub(crate) async fn append_in_order(site: &Site, history: &History, from: usize) {
    for append in history.appends(from) {
        site.store.append(append).await.unwrap();
    }
}

async fn until_head<P: Projection>(site: &Site, projection: P, holder: u128) -> Running {
    let head = site.store.head().await.unwrap();
    let mut running = site.run(projection, holder);
    running.until_at(head).await;
    running
}

#[tokio::test]
async fn a_refused_event_parks_its_aggregate_and_nothing_else() {
    let site = Site::new().await;
    let mut history = History::default();
    history.register(1); // position 1
    history.register(2); // 2
    history.change_profile(1, "Clean", "clean"); // 3
    history.change_profile(2, "Two", "poison"); // 4
    history.change_profile(1, "Clean still", "clean"); // 5
    history.change_profile(2, "Two again", "poison gone"); // 6: refused too, had it been tried
    history.approve(1); // 7: not handled
    history.change_profile(2, "Two", "healed"); // 8: fine in itself, but behind a parked one
    append_in_order(&site, &history, 0).await;

    let payloads = Payloads::default();
    let mut running = until_head(&site, payloads.clone(), 1).await;
    assert_eq!(payloads.lone_attempts.load(Ordering::Relaxed), 5);
    let written = "SELECT position FROM payloads.payloads ORDER BY position";
    assert_eq!(site.numbers(written).await, [1, 2, 3, 5]);
    assert_eq!(site.parked_events().await, [4, 6, 8]);
    let (kind, id, first, reason): (String, String, i64, String) = sqlx::query_as(
        "SELECT aggregate_type, aggregate_id, first_position, reason FROM operations.parked_aggregates",
    )
    .fetch_one(site.pool())
    .await
    .unwrap();
    assert_eq!((&*kind, id, first), ("profile", user(2).to_string(), 4));
    assert!(reason.contains("payloads_clean"), "{reason}");
    assert_eq!(running.status.borrow().parked_aggregates, 1);

    // What comes later, and what comes after a restart, is treated the same.
    let known = history.steps.len();
    history.change_profile(2, "Two", "later"); // 9
    history.change_profile(1, "One", "later"); // 10
    append_in_order(&site, &history, known).await;
    running.until_at(site.store.head().await.unwrap()).await;
    running.stop().await;
    let known = history.steps.len();
    history.change_profile(2, "Two", "after the restart"); // 11
    history.change_profile(1, "One", "after the restart"); // 12
    append_in_order(&site, &history, known).await;
    let running = until_head(&site, Payloads::default(), 2).await;
    assert_eq!(running.status.borrow().parked_aggregates, 1);
    assert_eq!(site.numbers(written).await, [1, 2, 3, 5, 10, 12]);
    assert_eq!(site.parked_events().await, [4, 6, 8, 9, 11]);
    running.stop().await;
}

#[tokio::test]
async fn many_refused_events_are_each_found_in_one_batch() {
    let site = Site::new().await;
    let mut history = History::default();
    for number in 1..=300 {
        history.change_profile(
            number,
            "Name",
            if number % 30 == 0 { "poison" } else { "clean" },
        );
    }
    site.append(&history, 0).await;
    let running = until_head(&site, Payloads::default(), 1).await;
    assert_eq!(running.status.borrow().parked_aggregates, 10);
    assert_eq!(site.parked_events().await.len(), 10);
    assert_eq!(
        site.numbers("SELECT count(*) FROM payloads.payloads").await,
        [290]
    );
    running.stop().await;
}

#[tokio::test]
async fn a_broken_rule_or_payload_parks_in_the_real_read_models() {
    let site = Site::new().await;
    let mut history = History::default();
    history.register(1);
    history.register_as(2, "user1"); // 2: two people with one handle
    history.register(3);
    history.follow(3, 2); // 4: its own aggregate, which is not to blame
    let odd = Uuid::from_u128(7);
    history.force(
        ("post", odd),
        ("posts.post_deleted", "1"),
        r#"{"posts.post_deleted":{}}"#,
    ); // 5
    append_in_order(&site, &history, 0).await;

    let users = until_head(&site, UsersProjection, 1).await;
    assert_eq!(site.parked_events().await, [2]);
    let counts = "SELECT following_count FROM users.users ORDER BY user_id";
    assert_eq!(site.numbers(counts).await, [0, 1]);
    users.stop().await;
    let posts = until_head(&site, PostsProjection::default(), 1).await;
    assert_eq!(site.parked_events().await, [2, 5]);
    assert_eq!(posts.status.borrow().parked_aggregates, 1);
    posts.stop().await;
}

/// A thousand odd aggregates are no oddity but a broken projection.
#[tokio::test]
async fn a_projection_that_refuses_everything_is_halted() {
    let site = Site::new().await;
    let mut history = History::default();
    for number in 1..=1_001 {
        history.change_profile(number, "Name", "poison");
    }
    site.append(&history, 0).await;
    let mut running = site.run(Payloads::default(), 1);
    let halted = |status: &touchline_projections::ProjectionStatus| {
        matches!(
            status.state,
            touchline_projections::ProjectionState::Halted { .. }
        )
    };
    running.until(halted).await;
    assert_eq!(site.parked_events().await, Vec::<i64>::new());
    running.stop().await;
}
