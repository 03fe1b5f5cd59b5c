//! The read models that there are.

use crate::checkpoint;
use crate::freshness::Freshness;
use crate::history::HistoryProjection;
use crate::maintenance::{Maintenance, spare_cores};
use crate::posts::PostsProjection;
use crate::projection::ReadModel;
use crate::runner::Runner;
use crate::status::ProjectionStatus;
use crate::users::UsersProjection;
use sqlx::PgPool;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use touchline_eventstore::EventStore;
use touchline_eventstore::database::Database;
use uuid::Uuid;

/// Every read model. Whatever goes through all of them goes through this list.
#[must_use]
pub fn all() -> Vec<Arc<dyn ReadModel>> {
    vec![
        Arc::new(UsersProjection),
        Arc::new(PostsProjection::default()),
        Arc::new(HistoryProjection),
    ]
}

/// The name of every read model, in the order of [`all`].
#[must_use]
pub fn names() -> Vec<&'static str> {
    all().iter().map(|model| model.name()).collect()
}

/// The read model of this name; none when there is no such.
#[must_use]
pub fn find(name: &str) -> Option<Arc<dyn ReadModel>> {
    all().into_iter().find(|model| model.name() == name)
}

/// Makes the schemas that are missing, so that queries find tables, if empty ones, before any runner
/// has led.
///
/// # Errors
/// When the database cannot be reached or refuses.
pub async fn prepare(pool: &PgPool) -> Result<(), sqlx::Error> {
    for model in all() {
        checkpoint::prepare(pool, &*model).await?;
    }
    Ok(())
}

/// The runners of this process, with the maintenance of their read models.
pub struct Projections {
    statuses: Vec<watch::Receiver<ProjectionStatus>>,
    tasks: TaskTracker,
}

impl Projections {
    /// Starts a runner and the maintenance of every projection; they run until `stop`. `holder` is
    /// this process's own.
    #[must_use]
    pub fn start(
        store: &EventStore,
        database: &Database,
        nats: Option<&async_nats::Client>,
        holder: Uuid,
        stop: &CancellationToken,
    ) -> Self {
        let mut projections = Self {
            statuses: Vec::new(),
            tasks: TaskTracker::new(),
        };
        let cores = spare_cores();
        for model in all() {
            let nats = nats.cloned();
            let again = Arc::clone(&model);
            let runner = Runner::of(again, store.clone(), database.clone(), nats, holder);
            projections.statuses.push(runner.status());
            projections.tasks.spawn(runner.run(stop.clone()));
            let maintenance = Maintenance::new(model, store.clone(), database.clone(), holder);
            let maintenance = maintenance.sharing(&cores);
            projections.tasks.spawn(maintenance.run(stop.clone()));
        }
        projections.tasks.close();
        projections
    }

    /// How each projection stands, in the order of [`all`].
    #[must_use]
    pub fn statuses(&self) -> &[watch::Receiver<ProjectionStatus>] {
        &self.statuses
    }

    /// What readers in this process ask how far the read models are.
    #[must_use]
    pub fn freshness(&self, pool: PgPool) -> Freshness {
        Freshness::new(pool, &names(), &self.statuses)
    }

    /// Waits until every runner has ended, after `stop`.
    pub async fn stopped(&self) {
        self.tasks.wait().await;
    }
}
