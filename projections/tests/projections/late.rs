//! Parked events that are folded after later ones, and what does not wait for them.

use crate::history::{History, comment, user};
use crate::parking::append_in_order;
use crate::rebuild::Worker;
use crate::site::{PATIENCE, Site};
use crate::tables::dump;
use sqlx::PgConnection;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use touchline_domain::posts::Visibility::Public;
use touchline_eventstore::LogEvent;
use touchline_projections::parked::{self, Retried};
use touchline_projections::posts::PostsProjection;
use touchline_projections::users::UsersProjection;
use touchline_projections::{ProjectError, Projection, rebuild};
use touchline_testkit::eventually;

/// A read model that refuses the event at one position, until that is 0.
#[derive(Clone)]
struct Refusing<P> {
    projection: P,
    position: Arc<AtomicI64>,
}

impl<P> Refusing<P> {
    fn new(projection: P, position: i64) -> Self {
        let position = Arc::new(AtomicI64::new(position));
        Self {
            projection,
            position,
        }
    }
}

impl<P: Projection> Projection for Refusing<P> {
    const NAME: &'static str = P::NAME;
    const VERSION: i32 = P::VERSION;
    const SCHEMA: &'static str = P::SCHEMA;

    fn handles(&self, event_type: &str) -> bool {
        self.projection.handles(event_type)
    }

    async fn project(
        &self,
        connection: &mut PgConnection,
        events: &[LogEvent],
    ) -> Result<(), ProjectError> {
        let refused = self.position.load(Ordering::Relaxed);
        if events.iter().any(|event| event.position.get() == refused) {
            return Err(ProjectError::Database(sqlx::Error::RowNotFound));
        }
        self.projection.project(connection, events).await
    }
}

/// An answer comes while the comment that it answers is parked.
#[tokio::test]
async fn a_retry_ends_like_a_rebuild() {
    let site = Site::new().await;
    let mut history = History::default();
    history.register(1);
    history.publish(1, 1, Public);
    append_in_order(&site, &history, 0).await;
    let refused = site.store.head().await.unwrap().next();
    let known = history.steps.len();
    history.add_comment(1, 1, 1, None);
    history.add_comment(1, 2, 1, Some(1));
    append_in_order(&site, &history, known).await;
    let model = Refusing::new(PostsProjection::default(), refused.get());
    let mut running = site.run(model.clone(), 1);
    running.until_at(site.store.head().await.unwrap()).await;
    let pool = site.store.pool();
    let id = comment(1).to_string();
    assert_eq!(parked::list(pool, "posts").await.unwrap().len(), 1);

    model.position.store(0, Ordering::Relaxed);
    let retried = parked::retry(&site.store, &model, &id, "ana")
        .await
        .unwrap();
    assert_eq!(retried, Retried::Unparked { events: 1 });
    let worker = Worker::start(&site, model, 1);
    eventually(PATIENCE, "what it asked for is done", || async {
        rebuild::open(pool, "posts").await.unwrap().is_none()
    })
    .await;
    site.assert_exact(&PostsProjection::default()).await;
    running.stop().await;
    worker.stop().await;
}

/// An account is parked, and erased while it is.
#[tokio::test]
async fn what_is_parked_keeps_no_words_of_somebody_erased() {
    let site = Site::new().await;
    let mut history = History::default();
    history.register(1);
    history.change_profile(1, "Clear Words", "in clear words");
    append_in_order(&site, &history, 0).await;
    let refused = site.store.head().await.unwrap().next();
    let known = history.steps.len();
    history.approve(1);
    history.erase(1);
    append_in_order(&site, &history, known).await;
    let model = Refusing::new(UsersProjection, refused.get());
    let mut running = site.run(model.clone(), 1);
    running.until_at(site.store.head().await.unwrap()).await;
    assert_eq!(running.status.borrow().parked_aggregates, 1);
    let mut connection = site.pool().acquire().await.unwrap();
    let tables = dump(&mut connection, "users").await;
    let rows: Vec<_> = tables.values().flatten().collect();
    assert!(
        rows.iter()
            .all(|row| !row.to_lowercase().contains("clear words")),
        "{rows:?}"
    );

    // What waited is folded after the erasure, and brings nothing back.
    model.position.store(0, Ordering::Relaxed);
    let id = user(1).to_string();
    let retried = parked::retry(&site.store, &model, &id, "ana")
        .await
        .unwrap();
    assert_eq!(retried, Retried::Unparked { events: 1 });
    assert_eq!(dump(&mut connection, "users").await, tables);
    running.stop().await;
}
