//! The read models that there are.

use crate::checkpoint;
use crate::freshness::Freshness;
use crate::posts::PostsProjection;
use crate::projection::Projection;
use crate::runner::Runner;
use crate::status::ProjectionStatus;
use crate::users::UsersProjection;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use touchline_eventstore::EventStore;
use touchline_eventstore::database::Database;
use uuid::Uuid;

/// The name of every projection.
pub const NAMES: &[&str] = &[UsersProjection::NAME, PostsProjection::NAME];

/// Makes the schemas that are missing, so that queries find tables, if empty ones, before any runner
/// has led.
///
/// # Errors
/// When the database cannot be reached or refuses.
pub async fn prepare(pool: &PgPool) -> Result<(), sqlx::Error> {
    checkpoint::prepare::<UsersProjection>(pool).await?;
    checkpoint::prepare::<PostsProjection>(pool).await
}

/// The runners of this process.
pub struct Projections {
    statuses: Vec<watch::Receiver<ProjectionStatus>>,
    tasks: TaskTracker,
}

impl Projections {
    /// Starts a runner for every projection; they run until `stop`. `holder` is this process's own.
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
        let nats = || nats.cloned();
        let users = UsersProjection;
        let posts = PostsProjection::default();
        let users = Runner::new(users, store.clone(), database.clone(), nats(), holder);
        let posts = Runner::new(posts, store.clone(), database.clone(), nats(), holder);
        projections.statuses = vec![users.status(), posts.status()];
        projections.tasks.spawn(users.run(stop.clone()));
        projections.tasks.spawn(posts.run(stop.clone()));
        projections.tasks.close();
        projections
    }

    /// How each projection stands, in the order of [`NAMES`].
    #[must_use]
    pub fn statuses(&self) -> &[watch::Receiver<ProjectionStatus>] {
        &self.statuses
    }

    /// What readers in this process ask how far the read models are.
    #[must_use]
    pub fn freshness(&self, pool: PgPool) -> Freshness {
        Freshness::new(pool, NAMES, &self.statuses)
    }

    /// Waits until every runner has ended, after `stop`.
    pub async fn stopped(&self) {
        self.tasks.wait().await;
    }
}
