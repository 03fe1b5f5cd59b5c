//! The read models that there are.

use crate::checkpoint;
use crate::fill::Cores;
use crate::freshness::Freshness;
use crate::history::HistoryProjection;
use crate::maintenance::Maintenance;
use crate::posts::PostsProjection;
use crate::projection::ReadModel;
use crate::runner::Runner;
use crate::status::ProjectionStatus;
use crate::users::UsersProjection;
use futures::future::join_all;
use sqlx::PgPool;
use std::sync::Arc;
use tokio::runtime::Builder;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use touchline_eventstore::database::Database;
use touchline_eventstore::{EventStore, Tasks};
use uuid::Uuid;

/// Connections for rebuilding and verifying.
const MAINTENANCE_CONNECTIONS: u32 = 8;

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
    maintenance: TaskTracker,
    tasks: Tasks,
}

impl Projections {
    /// Starts a runner and the maintenance of every projection among `tasks`; they run until `stop`.
    /// `holder` is this process's own.
    #[must_use]
    pub fn start(
        store: &EventStore,
        database: &Database,
        nats: Option<&async_nats::Client>,
        holder: Uuid,
        stop: &CancellationToken,
        tasks: &Tasks,
    ) -> Self {
        let mut projections = Self {
            statuses: Vec::new(),
            maintenance: TaskTracker::new(),
            tasks: tasks.clone(),
        };
        for model in all() {
            let (name, nats) = (format!("projection {}", model.name()), nats.cloned());
            let runner = Runner::of(model, store.clone(), database.clone(), nats, holder);
            projections.statuses.push(runner.status());
            let told = stop.clone();
            tasks.keep(name, stop.clone(), move || runner.clone().run(told.clone()));
        }
        let ended = maintain(store, database, holder, stop, tasks);
        projections.maintenance.spawn(async move {
            // It says nothing, and only goes.
            let _gone = ended.await;
        });
        projections.maintenance.close();
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

    /// Waits until every runner, and whatever else is among the tasks, has ended, after `stop`.
    pub async fn stopped(&self) {
        self.maintenance.wait().await;
        self.tasks.ended().await;
    }
}

/// Starts the maintenance of every read model, on threads of its own: folding large batches keeps a
/// thread busy for tens of milliseconds, for which nobody's request should wait. What is returned
/// resolves when it has ended.
fn maintain(
    store: &EventStore,
    database: &Database,
    holder: Uuid,
    stop: &CancellationToken,
    tasks: &Tasks,
) -> oneshot::Receiver<()> {
    let (running, ended) = oneshot::channel();
    // Connections belong to the runtime that opened them.
    let store = store.through(database.pool(MAINTENANCE_CONNECTIONS));
    let (database, stop, tasks) = (database.clone(), stop.clone(), tasks.clone());
    let thread = std::thread::Builder::new().name("maintenance".to_owned());
    let started = thread.spawn(move || {
        let _running = running;
        let runtime = Builder::new_multi_thread()
            .thread_name("maintenance")
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "read models are not maintained");
                return;
            }
        };
        let cores = Arc::new(Cores::of_this_machine());
        let work = all().into_iter().map(async |model| {
            let name = format!("maintenance of {}", model.name());
            let start = || {
                let model = Arc::clone(&model);
                let maintenance = Maintenance::new(model, store.clone(), database.clone(), holder);
                maintenance.sharing(&cores).run(stop.clone())
            };
            tasks.run(&name, &stop, start).await;
        });
        runtime.block_on(join_all(work));
    });
    if let Err(error) = started {
        tracing::error!(%error, "read models are not maintained");
    }
    ended
}
