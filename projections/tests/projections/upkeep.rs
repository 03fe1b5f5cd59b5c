//! Pausing, and what is done about parked aggregates.

use crate::history::{History, user};
use crate::parking::{Payloads, append_in_order};
use crate::rebuild::Worker;
use crate::site::Site;
use sqlx::Executor as _;
use touchline_projections::parked::{self, ParkedError, Retried};
use touchline_projections::rebuild::{self, RebuildState};
use touchline_projections::users::UsersProjection;
use touchline_projections::{Projection as _, ProjectionState, overview, pause};

impl Site {
    async fn written(&self) -> Vec<i64> {
        self.numbers("SELECT position FROM payloads.payloads ORDER BY position")
            .await
    }

    async fn let_everything_in(&self) {
        let allow = "ALTER TABLE payloads.payloads DROP CONSTRAINT payloads_clean";
        self.pool().execute(allow).await.unwrap();
    }
}

/// Two people, one of whom is parked from position 4 on with three events.
async fn parked_site() -> (Site, History) {
    let site = Site::new().await;
    let mut history = History::default();
    history.register(1); // position 1
    history.register(2); // 2
    history.change_profile(1, "Clean", "clean"); // 3
    history.change_profile(2, "Two", "poison"); // 4
    history.change_profile(2, "Two again", "poison gone"); // 5
    history.change_profile(1, "Clean still", "clean"); // 6
    history.change_profile(2, "Two", "healed"); // 7
    append_in_order(&site, &history, 0).await;
    (site, history)
}

#[tokio::test]
async fn a_paused_projection_folds_nothing_until_it_is_resumed() {
    let site = Site::new().await;
    let mut history = History::default();
    history.register(1);
    let before = site.append(&history, 0).await;
    let mut running = site.run(UsersProjection, 1);
    running.until_at(before).await;
    let pool = site.store.pool();
    assert!(pause::pause(pool, "users", "ana", "a look").await.unwrap());
    assert!(!pause::pause(pool, "users", "ben", "").await.unwrap());
    let known = history.steps.len();
    history.register(2);
    let head = site.append(&history, known).await;
    let paused = running
        .until(|status| matches!(status.state, ProjectionState::Paused { .. }))
        .await;
    assert_eq!(
        paused.state,
        ProjectionState::Paused {
            by: "ana".to_owned()
        }
    );
    assert_eq!(site.checkpoint("users").await, Some(before.get()));
    // It outlives the process.
    running.stop().await;
    let mut running = site.run(UsersProjection, 2);
    running
        .until(|status| matches!(status.state, ProjectionState::Paused { .. }))
        .await;
    let model: std::sync::Arc<dyn touchline_projections::ReadModel> =
        std::sync::Arc::new(UsersProjection);
    let seen = overview::overview(&site.store, &[model]).await.unwrap();
    assert_eq!(seen[0].activity, overview::Activity::Paused);
    assert_eq!(
        (seen[0].behind, seen[0].pause_reason.as_deref()),
        (1, Some("a look"))
    );

    // A rebuild comes to where the paused one stands, and it stays paused.
    let worker = Worker::start(&site, UsersProjection, 2);
    let rebuild = site
        .request_rebuild("users", UsersProjection::VERSION)
        .await;
    let done = site.until_rebuilt(&rebuild).await;
    assert_eq!((done.state, done.position), (RebuildState::Done, before));
    assert!(pause::resume(pool, "users", "ana").await.unwrap());
    assert!(!pause::resume(pool, "users", "ana").await.unwrap());
    running.until_at(head).await;
    site.assert_exact(&UsersProjection).await;
    running.stop().await;
    worker.stop().await;
}

#[tokio::test]
async fn parked_events_are_retried_in_order_once_they_can_be_folded() {
    let (site, mut history) = parked_site().await;
    let mut running = site.run(Payloads::default(), 1);
    running.until_at(site.store.head().await.unwrap()).await;
    let pool = site.store.pool();
    let (model, id) = (Payloads::default(), user(2).to_string());
    let listed = parked::list(pool, "payloads").await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&*listed[0].aggregate_type, &*listed[0].aggregate_id),
        ("profile", &*id)
    );
    assert_eq!(listed[0].first_position.get(), 4);
    assert_eq!((listed[0].last_position.get(), listed[0].events), (7, 3));
    assert!(listed[0].reason.contains("payloads_clean"), "{listed:?}");

    let again = parked::retry(&site.store, &model, &id, "ana")
        .await
        .unwrap();
    assert!(matches!(again, Retried::StillParked { .. }), "{again:?}");
    assert_eq!(site.written().await, [1, 2, 3, 6]);
    assert_eq!(site.parked_events().await, [4, 5, 7]);

    site.let_everything_in().await;
    let now = parked::retry(&site.store, &model, &id, "ana")
        .await
        .unwrap();
    assert_eq!(now, Retried::Unparked { events: 3 });
    assert_eq!(site.written().await, [1, 2, 3, 4, 5, 6, 7]);
    let during = parked::retry(&site.store, &model, &id, "ana").await;
    assert!(
        matches!(during, Err(ParkedError::RebuildRunning)),
        "{during:?}"
    );
    let requested = rebuild::open(pool, "payloads").await.unwrap().unwrap();
    assert_eq!(requested.requested_by, "ana");
    rebuild::cancel(pool, "payloads", requested.rebuild_id)
        .await
        .unwrap();
    let nothing = parked::retry(&site.store, &model, &id, "ana").await;
    assert!(
        matches!(nothing, Err(ParkedError::NotParked)),
        "{nothing:?}"
    );

    // The runner knows: what comes is folded, not parked.
    let known = history.steps.len();
    history.change_profile(2, "Two", "later"); // 8
    append_in_order(&site, &history, known).await;
    running.until_at(site.store.head().await.unwrap()).await;
    assert_eq!(running.status.borrow().parked_aggregates, 0);
    assert_eq!(site.written().await.last(), Some(&8));
    running.stop().await;
}

#[tokio::test]
async fn discarded_events_are_no_part_of_the_fold_any_more() {
    let (site, mut history) = parked_site().await;
    let mut running = site.run(Payloads::default(), 1);
    running.until_at(site.store.head().await.unwrap()).await;
    let pool = site.store.pool();
    let (model, id) = (Payloads::default(), user(2).to_string());
    let unsigned = parked::discard(pool, &model, &id, " ", "ana").await;
    assert!(
        matches!(unsigned, Err(ParkedError::Unsigned)),
        "{unsigned:?}"
    );
    let gone = parked::discard(pool, &model, &id, "spoilt by a test", "ana").await;
    assert_eq!(gone.unwrap(), 3);
    assert_eq!(site.parked_events().await, Vec::<i64>::new());
    let known = history.steps.len();
    history.change_profile(2, "Two", "later"); // 8
    append_in_order(&site, &history, known).await;
    running.until_at(site.store.head().await.unwrap()).await;
    assert_eq!(site.written().await, [1, 2, 3, 6, 8]);
    let signed: Vec<(i64, String, String)> = sqlx::query_as(
        "SELECT position, reason, discarded_by FROM operations.discarded_events ORDER BY position",
    )
    .fetch_all(site.pool())
    .await
    .unwrap();
    let by_ana = |position| (position, "spoilt by a test".to_owned(), "ana".to_owned());
    assert_eq!(signed, [4, 5, 7].map(by_ana));
    let changed = sqlx::query("UPDATE operations.discarded_events SET reason = 'x'")
        .execute(pool)
        .await;
    assert!(
        changed.is_err(),
        "the application may change what was signed"
    );

    // Nor of the fold of a rebuild or a verification.
    let worker = Worker::start(&site, Payloads::default(), 1);
    let rebuild = site.request_rebuild("payloads", 1).await;
    let done = site.until_rebuilt(&rebuild).await;
    assert_eq!((done.state, done.drift_rows), (RebuildState::Done, Some(0)));
    assert_eq!(site.written().await, [1, 2, 3, 6, 8]);
    assert_eq!(site.verify("payloads", 1).await.drift_rows, Some(0));
    running.stop().await;
    worker.stop().await;
}

#[tokio::test]
async fn a_rebuild_forgets_or_finds_what_is_parked() {
    let (site, mut history) = parked_site().await;
    let mut running = site.run(Payloads::default(), 1);
    running.until_at(site.store.head().await.unwrap()).await;
    let worker = Worker::start(&site, Payloads::default(), 1);
    let rebuild = site.request_rebuild("payloads", 1).await;
    let done = site.until_rebuilt(&rebuild).await;
    assert_eq!((done.state, done.drift_rows), (RebuildState::Done, Some(0)));
    assert_eq!(site.written().await, [1, 2, 3, 6]);
    assert_eq!(site.parked_events().await, [4, 5, 7]);
    let known = history.steps.len();
    history.change_profile(2, "Two", "behind a parked one"); // 8
    append_in_order(&site, &history, known).await;
    running.until_at(site.store.head().await.unwrap()).await;
    assert_eq!(site.parked_events().await, [4, 5, 7, 8]);
    worker.stop().await;

    // Mended code parks nothing, and the runner notices.
    let mended = Worker::start(&site, crate::parking::Mended, 1);
    let rebuild = site.request_rebuild("payloads", 1).await;
    let done = site.until_rebuilt(&rebuild).await;
    assert_eq!((done.state, done.drift_rows), (RebuildState::Done, Some(4)));
    assert_eq!(site.parked_events().await, Vec::<i64>::new());
    assert_eq!(site.written().await, [1, 2, 3, 4, 5, 6, 7, 8]);
    let known = history.steps.len();
    history.change_profile(2, "Two", "free"); // 9
    append_in_order(&site, &history, known).await;
    running.until_at(site.store.head().await.unwrap()).await;
    assert_eq!(site.written().await.last(), Some(&9));
    running.stop().await;
    mended.stop().await;
}

#[tokio::test]
async fn while_a_rebuild_runs_nothing_parked_is_touched() {
    let (site, _) = parked_site().await;
    let mut running = site.run(Payloads::default(), 1);
    running.until_at(site.store.head().await.unwrap()).await;
    site.request_rebuild("payloads", 1).await;
    let (model, id) = (Payloads::default(), user(2).to_string());
    let retried = parked::retry(&site.store, &model, &id, "ana").await;
    assert!(
        matches!(retried, Err(ParkedError::RebuildRunning)),
        "{retried:?}"
    );
    let pool = site.store.pool();
    let discarded = parked::discard(pool, &model, &id, "why", "ana").await;
    assert!(
        matches!(discarded, Err(ParkedError::RebuildRunning)),
        "{discarded:?}"
    );
    running.stop().await;
}
