//! Leads one projection: one process at a time follows the log and writes the read model.
//!
//! A leader that was paused past its lease does not know it. What protects the rows is not the lease
//! but the epoch: a new leader writes its own into the checkpoint first, and from then on the old
//! one's compare-and-set finds nothing to move.

use crate::batch::{Writer, Written};
use crate::checkpoint::{self, Checkpoint};
use crate::projection::{ProjectError, Projection, ReadModel, chain};
use crate::status::{ProjectionState, ProjectionStatus};
use sqlx::PgPool;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use touchline_eventstore::database::{BY_KEY, Database};
use touchline_eventstore::lease::{LEASE, Lease};
use touchline_eventstore::store::ReadError;
use touchline_eventstore::subscription::Subscription;
use touchline_eventstore::{EventStore, LogEvent, Position};
use uuid::Uuid;

/// The most events in one transaction. When a projection is behind, each statement's fixed price is
/// shared by so many events, and a row that changes often is written once for all of them.
const EVENTS_MAX: usize = 5_000;
/// How long to wait for more events after the first. Short, because somebody may wait to read their
/// own write; and more events gather by themselves while the batch before is written.
const LINGER: Duration = Duration::from_millis(2);
/// How many batches are read ahead while one is written.
const READ_AHEAD_BATCHES: usize = 2;
/// How often in the time of a lease it is renewed; and as often a leader to whom nothing comes looks
/// whether its checkpoint is where it left it.
const LOOKS_PER_LEASE: u32 = 3;
/// How often a standby asks for the lease.
const STANDBY_PAUSE: Duration = Duration::from_secs(1);
/// How often a halted projection looks whether it can go on.
const HALTED_PAUSE: Duration = Duration::from_secs(10);
/// The pause after the first failure in a row; it doubles with each.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause after a failure.
const FAILURE_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Follows the log for one projection, whenever this process leads it. A clone takes its place after
/// a panic, and tells of the same status.
#[derive(Clone)]
pub struct Runner {
    model: Arc<dyn ReadModel>,
    store: EventStore,
    database: Database,
    nats: Option<async_nats::Client>,
    holder: Uuid,
    status: watch::Sender<ProjectionStatus>,
}

/// How a term of leadership ended.
enum End {
    Stopped,
    Deposed,
    /// Something was done beside this runner: a new term reads all again.
    Changed,
    Paused,
    /// The tables are an earlier version's, and are being rebuilt.
    Outdated,
    Halted,
}

/// A runner that has ended, or panicked, does not lead.
struct StandbyAtTheEnd<'a>(&'a Runner);

impl Drop for StandbyAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.report(ProjectionState::Standby);
    }
}

/// What ended a term before its time. It may go away by itself.
#[derive(Debug, Error)]
enum TermError {
    #[error("the database cannot be reached or refused a statement")]
    Database(#[from] sqlx::Error),
    #[error("a batch could not be written")]
    Write(#[from] ProjectError),
    #[error("the subscription gave position {found} after {after}")]
    Gap { found: Position, after: Position },
    #[error("the subscription has ended")]
    Ended,
    #[error("the log does not have the events that follow position {after} in the stream")]
    NotInLog { after: Position },
}

impl Runner {
    /// A runner that takes part in the election for `projection` once it runs. `holder` tells
    /// processes apart; two runners of one projection must not share it.
    #[must_use]
    pub fn new(
        projection: impl Projection,
        store: EventStore,
        database: Database,
        nats: Option<async_nats::Client>,
        holder: Uuid,
    ) -> Self {
        Self::of(Arc::new(projection), store, database, nats, holder)
    }

    /// The same for a projection whose type is forgotten.
    #[must_use]
    pub fn of(
        model: Arc<dyn ReadModel>,
        store: EventStore,
        database: Database,
        nats: Option<async_nats::Client>,
        holder: Uuid,
    ) -> Self {
        let status = watch::Sender::new(ProjectionStatus {
            name: model.name(),
            position: Position::START,
            state: ProjectionState::Standby,
            parked_aggregates: 0,
        });
        Self {
            model,
            store,
            database,
            nats,
            holder,
            status,
        }
    }

    /// How the projection stands.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<ProjectionStatus> {
        self.status.subscribe()
    }

    /// Leads the projection whenever nobody else does, until `stop`. It outlives every failure of
    /// the database and of NATS.
    pub async fn run(self, stop: CancellationToken) {
        let _standby = StandbyAtTheEnd(&self);
        let mut failure_pause = FAILURE_PAUSE;
        while !stop.is_cancelled() {
            let pause = match self.stand(&stop).await {
                Ok(End::Stopped) => break,
                Ok(End::Changed) => Duration::ZERO,
                Ok(End::Deposed | End::Paused | End::Outdated) => STANDBY_PAUSE,
                Ok(End::Halted) => HALTED_PAUSE,
                Err(error) => {
                    let name = self.model.name();
                    let reason = chain(&error);
                    tracing::warn!(
                        projection = name,
                        reason,
                        "projection {name}: will try again"
                    );
                    self.report(ProjectionState::Standby);
                    let pause = failure_pause;
                    failure_pause = (pause * 2).min(FAILURE_PAUSE_MAX);
                    let _stopped = stop.run_until_cancelled(sleep(pause)).await;
                    continue;
                }
            };
            failure_pause = FAILURE_PAUSE;
            let _stopped = stop.run_until_cancelled(sleep(pause)).await;
        }
    }

    /// Stands for election once, and serves the term when elected.
    async fn stand(&self, stop: &CancellationToken) -> Result<End, TermError> {
        let pool = self.store.pool();
        let role = format!("projection.{}", self.model.name());
        let Some(lease) = Lease::acquire(pool, &role, self.holder).await? else {
            self.report(ProjectionState::Standby);
            return Ok(End::Deposed);
        };
        let lost = CancellationToken::new();
        let renewal = renew(lease.clone(), pool.clone(), lost.clone());
        let renewal = AbortOnDropHandle::new(tokio::spawn(renewal));
        let end = self.lead(&lease, &lost, stop).await;
        drop(renewal);
        // If it cannot be given back it runs out by itself.
        if let Err(error) = lease.release(pool).await {
            let reason = chain(&error);
            tracing::debug!(
                projection = self.model.name(),
                reason,
                "lease not given back"
            );
        }
        end
    }

    /// Serves one term: until stopped, deposed, halted, or failed.
    async fn lead(
        &self,
        lease: &Lease,
        lost: &CancellationToken,
        stop: &CancellationToken,
    ) -> Result<End, TermError> {
        let pool = self.store.pool();
        let model = &*self.model;
        let name = model.name();
        checkpoint::prepare(pool, model).await?;
        let Some(checkpoint) = checkpoint::claim(pool, name, lease.epoch).await? else {
            return Ok(End::Deposed);
        };
        if checkpoint.version != model.version() {
            return self.refuse_version(lease, &checkpoint).await;
        }
        if let Some(by) = checkpoint.paused_by {
            self.status.send_modify(|status| {
                status.position = checkpoint.position;
                status.state = ProjectionState::Paused { by };
            });
            return Ok(End::Paused);
        }
        if !checkpoint::is_in_log(pool, name).await? {
            let at = checkpoint.position;
            let reason = format!(
                "the log no longer has the event at position {at} that was folded last: it was restored without this read model; rebuild it",
            );
            return self.halt(lease, reason, at).await;
        }
        let parked = checkpoint::parked(pool, name).await?;
        let connection = self.connect().await?;
        let after = checkpoint.position;
        let epoch = lease.epoch;
        let mut writer = Writer::new(
            Arc::clone(&self.model),
            name.to_owned(),
            connection,
            epoch,
            &checkpoint,
            parked,
        );
        let subscription = Subscription::new(self.store.clone(), self.nats.clone(), after);
        let mut feed = Feed::start(name, self.store.clone(), subscription);
        self.progress(&writer);
        tracing::info!(projection = name, epoch, %after, "projection {name} leads");
        loop {
            // Between two batches, one step of what is left behind tombstones.
            let swept = tokio::select! {
                biased;
                () = lost.cancelled() => return Ok(End::Deposed),
                swept = writer.sweep() => swept?,
            };
            match swept {
                Written::Changed => return Ok(End::Changed),
                Written::Fenced => return Ok(End::Deposed),
                Written::Committed | Written::Halted { .. } | Written::NotInLog => {}
            }
            let events = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(End::Stopped),
                () = lost.cancelled() => return Ok(End::Deposed),
                events = feed.next(writer.position()) => Some(events?),
                () = std::future::ready(()), if !writer.is_swept() => continue,
                () = sleep(LEASE / LOOKS_PER_LEASE) => None,
            };
            let writing = async {
                match events {
                    Some(events) => writer.write(events).await,
                    None => writer.look().await,
                }
            };
            let written = tokio::select! {
                biased;
                // Leaving a transaction open behind rolls it back.
                () = lost.cancelled() => return Ok(End::Deposed),
                written = writing => written?,
            };
            match written {
                Written::Committed => self.progress(&writer),
                Written::Fenced => return Ok(End::Deposed),
                Written::Changed => return Ok(End::Changed),
                Written::NotInLog => {
                    let after = writer.position();
                    tracing::error!(projection = name, %after, "projection {name}: the events read are not the log's");
                    return Err(TermError::NotInLog { after });
                }
                Written::Halted { reason, position } => {
                    self.progress(&writer);
                    return self.halt(lease, reason, position).await;
                }
            }
        }
    }

    /// What to do about tables of another version: an earlier one is rebuilt by this build, while
    /// its tables serve; a later one is for another build to lead.
    async fn refuse_version(
        &self,
        lease: &Lease,
        checkpoint: &Checkpoint,
    ) -> Result<End, TermError> {
        let (stored, ours) = (checkpoint.version, self.model.version());
        let next = checkpoint.position.next();
        if stored > ours {
            let reason = format!(
                "the tables were filled by version {stored} and this build has version {ours}: update this process, or rebuild with it",
            );
            return self.halt(lease, reason, next).await;
        }
        let reason = format!(
            "the tables were filled by version {stored} and this build has version {ours}: a rebuild fills new ones beside them",
        );
        checkpoint::halt(self.store.pool(), self.model.name(), lease.epoch, &reason).await?;
        self.report(ProjectionState::Halted {
            reason,
            position: next,
        });
        Ok(End::Outdated)
    }

    /// A connection whose unqualified names are the projection's, tuned for its one use.
    async fn connect(&self) -> Result<sqlx::PgConnection, sqlx::Error> {
        let search_path = format!("\"{}\"", self.model.name());
        let idle_max_ms = LEASE.as_millis().to_string();
        let settings = [
            ("search_path", search_path.as_str()),
            // What readers were shown, no crash takes back.
            ("synchronous_commit", "on"),
            // A leader that is paused inside a transaction must not hold up the next one.
            ("idle_in_transaction_session_timeout", idle_max_ms.as_str()),
        ];
        self.database
            .connect(&[BY_KEY.as_slice(), &settings].concat())
            .await
    }

    async fn halt(
        &self,
        lease: &Lease,
        reason: String,
        position: Position,
    ) -> Result<End, TermError> {
        let name = self.model.name();
        tracing::error!(projection = name, reason, %position, "projection {name} is halted");
        checkpoint::halt(self.store.pool(), name, lease.epoch, &reason).await?;
        self.report(ProjectionState::Halted { reason, position });
        Ok(End::Halted)
    }

    fn progress(&self, writer: &Writer) {
        self.status.send_modify(|status| {
            status.position = writer.position();
            status.parked_aggregates = writer.parked_aggregates();
            status.state = ProjectionState::Running;
        });
    }

    fn report(&self, state: ProjectionState) {
        self.status.send_if_modified(|status| {
            let changed = status.state != state;
            status.state = state;
            changed
        });
    }
}

/// Lengthens the lease until it is lost, or could not be lengthened for as long as it lasts.
pub(crate) async fn renew(lease: Lease, pool: PgPool, lost: CancellationToken) {
    // However this ends, the term ends too.
    let _lost = lost.drop_guard();
    let mut renewed_at = Instant::now();
    while renewed_at.elapsed() < LEASE {
        sleep(LEASE / LOOKS_PER_LEASE).await;
        let asked_at = Instant::now();
        // A connection that is cut somewhere on the way answers nothing at all.
        match timeout_at(renewed_at + LEASE, lease.renew(&pool)).await {
            Err(_elapsed) => break,
            Ok(Ok(true)) => renewed_at = asked_at,
            Ok(Ok(false)) => break,
            Ok(Err(error)) => {
                let reason = chain(&error);
                tracing::warn!(lease = lease.name, reason, "lease not renewed");
            }
        }
    }
}

/// Reads batches ahead while others are written.
struct Feed {
    batches: mpsc::Receiver<Vec<LogEvent>>,
    _reader: AbortOnDropHandle<()>,
}

impl Feed {
    fn start(name: &'static str, store: EventStore, mut subscription: Subscription) -> Self {
        let (sender, batches) = mpsc::channel(READ_AHEAD_BATCHES);
        let reader = async move {
            let mut failure_pause = FAILURE_PAUSE;
            loop {
                match subscription.next_batch(EVENTS_MAX, LINGER).await {
                    Ok(events) => {
                        failure_pause = FAILURE_PAUSE;
                        match store.open(events).await {
                            Ok(events) => {
                                if sender.send(events).await.is_err() {
                                    return;
                                }
                            }
                            // The term ends, and the next one reads the same events again.
                            Err(error) => {
                                let reason = chain(&error);
                                tracing::warn!(projection = name, reason, "events not opened");
                                return;
                            }
                        }
                    }
                    // The term ends, and the next one begins where the checkpoint stands by then.
                    Err(ReadError::OtherHistory { .. }) => return,
                    Err(error) => {
                        let reason = chain(&error);
                        tracing::warn!(projection = name, reason, "log not read");
                        sleep(failure_pause).await;
                        failure_pause = (failure_pause * 2).min(FAILURE_PAUSE_MAX);
                    }
                }
            }
        };
        Self {
            batches,
            _reader: AbortOnDropHandle::new(tokio::spawn(reader)),
        }
    }

    /// All events that wait, at least one, after `after` without a gap.
    async fn next(&mut self, after: Position) -> Result<Vec<LogEvent>, TermError> {
        let mut events = self.batches.recv().await.ok_or(TermError::Ended)?;
        while events.len() < EVENTS_MAX
            && let Ok(more) = self.batches.try_recv()
        {
            events.extend(more);
        }
        let mut previous = after;
        for event in &events {
            if event.position != previous.next() {
                let found = event.position;
                return Err(TermError::Gap {
                    found,
                    after: previous,
                });
            }
            previous = event.position;
        }
        Ok(events)
    }
}
