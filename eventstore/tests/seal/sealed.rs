//! A log that is being sealed, and means to tamper with it.

use crate::log::{Log, command, stream};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use touchline_eventstore::seal::verify::log::{Against, LogReport, verify_log};
use touchline_eventstore::seal::{Keeping, Sealer, SealerStatus, Seals};
use touchline_eventstore::{EventStore, Position};
use uuid::Uuid;

/// Longer than anything here may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A minute before this, everything that the tests append was not there.
pub(crate) const NOW: &str = "2022-12-18T15:00:30Z";

/// A log with its key, as every process finds or makes it.
pub(crate) async fn new_log() -> Log {
    with_key(Log::new().await).await
}

pub(crate) async fn with_key(log: Log) -> Log {
    let log_id = log.store.log_id().await.unwrap();
    let prepared = seals(&log).prepare_key(log.store.keys(), log_id).await;
    prepared.unwrap();
    log
}

/// A sealer at work.
pub(crate) struct RunningSealer {
    status: watch::Receiver<SealerStatus>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl RunningSealer {
    /// Starts a sealer that calls itself `holder`.
    pub(crate) fn start(store: &EventStore, holder: u128) -> Self {
        Self::keeping(store, holder, Keeping::default())
    }

    /// The same, with places for copies of what it signs.
    pub(crate) fn keeping(store: &EventStore, holder: u128, keeping: Keeping) -> Self {
        let sealer = Sealer::new(store.clone(), Uuid::from_u128(holder)).keeping(keeping);
        let (status, stop) = (sealer.status(), CancellationToken::new());
        let task = tokio::spawn(sealer.run(stop.clone()));
        Self { status, stop, task }
    }

    /// Waits until `condition` holds of its status, and returns that.
    pub(crate) async fn wait(
        &mut self,
        what: &str,
        condition: impl FnMut(&SealerStatus) -> bool,
    ) -> SealerStatus {
        let reached = timeout(PATIENCE, self.status.wait_for(condition))
            .await
            .map(|found| found.unwrap().clone());
        reached.unwrap_or_else(|_elapsed| {
            unreachable!("not in time: {what}; {:?}", self.status.borrow())
        })
    }

    /// Waits until everything up to `position` is sealed.
    pub(crate) async fn sealed(&mut self, position: i64) {
        self.wait("sealed", |status| status.sealed.get() >= position)
            .await;
    }

    /// Waits until it refuses to sign, and returns why.
    pub(crate) async fn refused(&mut self) -> String {
        let status = self
            .wait("refused", |status| status.refusal.is_some())
            .await;
        status.refusal.unwrap()
    }

    /// Ends it in order.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }

    /// Ends it as `kill -9` would: wherever it is. Its lease stays until it runs out.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let ended = self.task.await;
        assert!(ended.is_err_and(|error| error.is_cancelled()));
    }
}

/// Appends events, `each` in a stream of their own with one command, until the log has `events`.
pub(crate) async fn fill(log: &Log, events: usize, each: usize) {
    let mut head = usize::try_from(log.store.head().await.unwrap().get()).unwrap();
    while head < events {
        let count = each.min(events - head);
        let number = u128::try_from(head).unwrap() + 1;
        let append = command(number, [stream(number, 0, count)]);
        log.store.append(append).await.unwrap();
        head += count;
    }
}

/// Seals all that there is, in one checkpoint for each 10,000 events, and stops.
pub(crate) async fn seal(log: &Log) {
    let mut sealer = RunningSealer::start(&log.store, 1);
    sealer.sealed(log.store.head().await.unwrap().get()).await;
    sealer.stop().await;
}

/// A log of `sizes` checkpoints, at these positions.
pub(crate) async fn sealed_log(sizes: &[usize]) -> Log {
    let log = new_log().await;
    for size in sizes {
        fill(&log, *size, 2).await;
        seal(&log).await;
    }
    log
}

pub(crate) fn seals(log: &Log) -> Seals {
    Seals::new(log.store.pool().clone())
}

/// The check of the whole log.
pub(crate) async fn verify(log: &Log) -> LogReport {
    verify_at(log, NOW).await
}

/// The same at another time.
async fn verify_at(log: &Log, now: &str) -> LogReport {
    verify_log(
        &seals(log),
        Against::default(),
        now.parse().unwrap(),
        |_, _| (),
    )
    .await
    .unwrap()
}

/// What the check finds, as texts.
pub(crate) async fn findings(log: &Log) -> Vec<String> {
    findings_at(log, NOW).await
}

/// The same at another time.
pub(crate) async fn findings_at(log: &Log, now: &str) -> Vec<String> {
    let report = verify_at(log, now).await;
    let kept = report.findings.kept();
    kept.iter().map(ToString::to_string).collect()
}

/// Does what the database refuses to everybody: as its owner, with the triggers off.
pub(crate) async fn tamper(log: &Log, statement: &str) {
    let statement =
        format!("BEGIN; SET LOCAL session_replication_role = replica; {statement}; COMMIT");
    sqlx::raw_sql(&statement)
        .execute(&log.database.pool)
        .await
        .unwrap();
}

pub(crate) fn position(number: i64) -> Position {
    Position::new(number).unwrap()
}
