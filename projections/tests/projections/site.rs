//! A log with runners on it.

use crate::history::History;
use futures::future::join_all;
use sqlx::PgPool;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use touchline_eventstore::database::Database;
use touchline_eventstore::{Appended, EventStore, MasterKeys, Position};
use touchline_projections::{Projection, ProjectionState, ProjectionStatus, Runner};
use touchline_testkit::{MockClock, PrivatePostgres, TestDatabase};
use uuid::Uuid;

/// How long a test waits for what must come, on a machine as busy as it may be.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) struct Site {
    pub(crate) database: Database,
    pub(crate) store: EventStore,
    /// What the log takes for the time.
    pub(crate) clock: Arc<MockClock>,
    pub(crate) url: String,
    pool: PgPool,
    /// Dropped last: the database goes with it.
    test: Option<TestDatabase>,
}

/// A runner that runs.
pub(crate) struct Running {
    pub(crate) status: watch::Receiver<ProjectionStatus>,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

impl Site {
    pub(crate) async fn new() -> Self {
        let test = touchline_testkit::database().await;
        let (url, pool) = (test.url.clone(), test.pool.clone());
        Self::of(url, pool, Some(test))
    }

    /// A log on a server in the hands of a test.
    pub(crate) fn on(server: &PrivatePostgres) -> Self {
        let pool = PgPool::connect_lazy(server.url()).unwrap();
        Self::of(server.url().to_owned(), pool, None)
    }

    fn of(url: String, pool: PgPool, test: Option<TestDatabase>) -> Self {
        let database = Database::new(&url).unwrap();
        let clock = Arc::new(MockClock::at("2022-12-18T15:00:00Z"));
        let masters = MasterKeys::parse(touchline_testkit::MASTER_KEY).unwrap();
        let store = EventStore::new(database.clone(), database.pool(8), masters, clock.clone());
        Self {
            database,
            store,
            clock,
            url,
            pool,
            test,
        }
    }

    /// The database that was made for this test.
    pub(crate) fn test(&self) -> &TestDatabase {
        self.test.as_ref().unwrap()
    }

    /// Connections as the owner of the database.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Appends a history from the event with index `from` on, and returns the head.
    ///
    /// Events of one aggregate wait for each other; otherwise as many as fit go together, which
    /// keeps the order within each aggregate, though not that of the history.
    pub(crate) async fn append(&self, history: &History, from: usize) -> Position {
        let mut head = Position::START;
        let mut wave: Vec<touchline_eventstore::Append> = Vec::new();
        for append in history.appends(from) {
            let aggregate = append.streams[0].aggregate_id;
            if wave.len() == 200
                || wave
                    .iter()
                    .any(|it| it.streams[0].aggregate_id == aggregate)
            {
                head = self.append_wave(std::mem::take(&mut wave)).await.max(head);
            }
            wave.push(append);
        }
        self.append_wave(wave).await.max(head)
    }

    async fn append_wave(&self, wave: Vec<touchline_eventstore::Append>) -> Position {
        let appended = join_all(wave.into_iter().map(|append| self.store.append(append))).await;
        let last = appended.into_iter().map(|appended| {
            let Ok(Appended::Committed { last, .. }) = appended else {
                unreachable!("not appended: {appended:?}");
            };
            last.position
        });
        last.max().unwrap_or_default()
    }

    /// Starts a runner whose process is `holder`.
    pub(crate) fn run<P: Projection>(&self, projection: P, holder: u128) -> Running {
        self.run_with(projection, holder, None)
    }

    /// Starts a runner whose process is `holder`, on JetStream as long as that is there.
    pub(crate) fn run_with<P: Projection>(
        &self,
        projection: P,
        holder: u128,
        nats: Option<async_nats::Client>,
    ) -> Running {
        let runner = Runner::new(
            projection,
            self.store.clone(),
            self.database.clone(),
            nats,
            Uuid::from_u128(holder),
        );
        let status = runner.status();
        let stop = CancellationToken::new();
        let task = tokio::spawn(runner.run(stop.clone()));
        Running { status, stop, task }
    }

    /// The position of a projection's checkpoint; none while it has none.
    pub(crate) async fn checkpoint(&self, projection: &str) -> Option<i64> {
        sqlx::query_scalar("SELECT position FROM operations.checkpoints WHERE projection = $1")
            .bind(projection)
            .fetch_optional(self.pool())
            .await
            .unwrap()
    }
}

impl Running {
    pub(crate) async fn until(
        &mut self,
        what: impl FnMut(&ProjectionStatus) -> bool,
    ) -> ProjectionStatus {
        let status = tokio::time::timeout(PATIENCE, self.status.wait_for(what)).await;
        status.expect("the status does not come").unwrap().clone()
    }

    pub(crate) async fn until_at(&mut self, position: Position) {
        self.until(|status| {
            status.position == position && status.state == ProjectionState::Running
        })
        .await;
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// Ends it where it is, as a killed process does.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _aborted = self.task.await;
    }
}
