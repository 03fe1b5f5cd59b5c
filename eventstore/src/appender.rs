//! Group commit: the commands that wait at one moment share one call of `log.append`.
//!
//! While one batch is on its way to the disk the next one forms, so latency stays near one flush
//! and throughput grows with load. A second batch may be under way when it is large enough to be
//! worth the call. No command id and no claim is in both, and neither appends to an aggregate that the
//! other one names.

mod batch;

use crate::append::{Append, AppendError, Appended};
use crate::database::{BY_KEY, Database};
use crate::position::Position;
use crate::tasks::Tasks;
use batch::{Batch, Keys};
use sqlx::PgConnection;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use touchline_domain::clock::Clock;

/// The most commands that wait; more wait at the door of the queue.
const QUEUE_MAX: usize = 4_096;
/// How many batches are on their way at once. The lock in `log.append` lets them pass one after the
/// other; the second is for the time that the first spends on the network and in this process.
const FLIGHTS_MAX: usize = 2;
/// How long a command may wait for an answer, a stopped database included.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one call may take before its connection counts as lost.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause before a lost connection is made anew: at first, and at most.
const RECONNECT_MIN: Duration = Duration::from_millis(20);
const RECONNECT_MAX: Duration = Duration::from_millis(500);

/// The settings of the appender's sessions beside [`BY_KEY`]. Durability is said out loud, so that no
/// server default can lower it (L4).
const SETTINGS: [(&str, &str); 2] = [("synchronous_commit", "on"), ("jit", "off")];

/// A command on its way, and where its answer goes.
struct Submission {
    append: Append,
    reply: oneshot::Sender<Result<Appended, AppendError>>,
    deadline: Instant,
}

/// The handle on the task that appends.
pub(crate) struct Appender {
    /// Dropped before the queue, which ends the task.
    stop: DropGuard,
    queue: Mutex<Option<mpsc::Sender<Submission>>>,
    committed: watch::Receiver<Position>,
    tasks: Tasks,
}

impl Appender {
    pub(crate) fn start(database: Database, clock: Arc<dyn Clock>) -> Self {
        let (queue, submissions) = mpsc::channel(QUEUE_MAX);
        let (announce, committed) = watch::channel(Position::START);
        let flight = Arc::new(FlightPlan {
            database,
            clock,
            announce,
        });
        let submissions = Arc::new(tokio::sync::Mutex::new(submissions));
        let (tasks, stop) = (Tasks::default(), CancellationToken::new());
        tasks.keep("appender", stop.clone(), move || {
            let worker = Worker::new(Arc::clone(&flight));
            let submissions = Arc::clone(&submissions);
            async move { worker.run(&mut *submissions.lock().await).await }
        });
        Self {
            stop: stop.drop_guard(),
            queue: Mutex::new(Some(queue)),
            committed,
            tasks,
        }
    }

    pub(crate) fn committed(&self) -> watch::Receiver<Position> {
        self.committed.clone()
    }

    pub(crate) async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        let queue = self
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let (reply, answer) = oneshot::channel();
        let submission = Submission {
            append,
            reply,
            deadline: Instant::now() + DEADLINE,
        };
        queue
            .ok_or(AppendError::Closed)?
            .send(submission)
            .await
            .map_err(|_closed| AppendError::Closed)?;
        // Only a worker that panicked answers nothing; its batch may have been sent.
        answer.await.map_err(|_gone| AppendError::Unavailable {
            outcome_unknown: true,
        })?
    }

    pub(crate) const fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    pub(crate) async fn close(&self) {
        self.stop.token().cancel();
        drop(
            self.queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        self.tasks.ended().await;
    }
}

/// Forms batches and sends them, two at a time.
struct Worker {
    flight: Arc<FlightPlan>,
    waiting: VecDeque<Submission>,
    /// Connections that no flight uses.
    idle: Vec<PgConnection>,
    flights: JoinSet<Landed>,
    /// What the commands of each flight name, and how many they are.
    in_flight: HashMap<Id, (usize, Keys)>,
    /// Whether all that waited names what is in flight. Then a landing is waited for, and not all of
    /// it looked through again for each command that comes.
    is_stuck: bool,
}

/// What a flight gives back.
type Landed = Option<PgConnection>;

impl Worker {
    fn new(flight: Arc<FlightPlan>) -> Self {
        Self {
            flight,
            waiting: VecDeque::new(),
            idle: Vec::with_capacity(FLIGHTS_MAX),
            flights: JoinSet::new(),
            in_flight: HashMap::new(),
            is_stuck: false,
        }
    }

    async fn run(mut self, submissions: &mut mpsc::Receiver<Submission>) {
        let mut open = true;
        while open || !self.waiting.is_empty() || !self.flights.is_empty() {
            tokio::select! {
                submission = submissions.recv(), if open && self.waiting.len() < QUEUE_MAX => match submission {
                    Some(submission) => {
                        self.waiting.push_back(submission);
                        // Those answered just now are about to ask again: let them, before a batch
                        // is closed.
                        tokio::task::yield_now().await;
                        while self.waiting.len() < QUEUE_MAX
                            && let Ok(more) = submissions.try_recv()
                        {
                            self.waiting.push_back(more);
                        }
                    }
                    None => open = false,
                },
                Some(landed) = self.flights.join_next_with_id() => self.land(landed),
            }
            self.launch();
        }
    }

    /// Sends what waits, as long as there is room for a flight. Beside a flight under way only a
    /// batch of some size is worth the call: a few commands wait for its end instead, and for more.
    fn launch(&mut self) {
        while self.in_flight.len() < FLIGHTS_MAX && !self.waiting.is_empty() {
            let busy = self.in_flight.values().map(|(commands, _)| *commands).max();
            if self.is_stuck || self.waiting.len() * 2 < busy.unwrap_or(0) {
                return;
            }
            let under_way: Vec<_> = self.in_flight.values().map(|(_, keys)| keys).collect();
            let (batch, keys) = Batch::form(&mut self.waiting, &under_way);
            if batch.len() == 0 {
                self.is_stuck = true;
                return;
            }
            let commands = batch.len();
            let flight = Arc::clone(&self.flight).fly(self.idle.pop(), batch);
            let id = self.flights.spawn(flight).id();
            self.in_flight.insert(id, (commands, keys));
        }
    }

    fn land(&mut self, landed: Result<(Id, Landed), JoinError>) {
        self.is_stuck = false;
        match landed {
            Ok((id, connection)) => {
                self.in_flight.remove(&id);
                self.idle.extend(connection);
            }
            Err(error) => {
                tracing::error!(error = %error, "appender: a flight ended badly");
                self.in_flight.remove(&error.id());
            }
        }
    }
}

/// What every flight needs.
struct FlightPlan {
    database: Database,
    clock: Arc<dyn Clock>,
    announce: watch::Sender<Position>,
}

impl FlightPlan {
    /// Appends a batch, answers each of its commands, and gives the connection back.
    async fn fly(self: Arc<Self>, mut connection: Landed, batch: Batch) -> Landed {
        let recorded_at = touchline_domain::clock::to_micros(self.clock.now());
        match self.send(&mut connection, &batch, recorded_at).await {
            Ok(answers) => self.answer(batch, answers),
            // One command that the database refuses must not take the others of its batch with it.
            Err(AppendError::Rejected(_)) if batch.len() > 1 => {
                for single in batch.split() {
                    match self.send(&mut connection, &single, recorded_at).await {
                        Ok(answers) => self.answer(single, answers),
                        Err(error) => single.fail(&error),
                    }
                }
            }
            Err(error) => batch.fail(&error),
        }
        connection
    }

    fn answer(&self, batch: Batch, answers: Vec<Appended>) {
        let last = answers.iter().filter_map(|answer| match answer {
            Appended::Committed { last, .. } => Some(last.position),
            Appended::Duplicate(stored) => Some(stored.last),
            _ => None,
        });
        if let Some(last) = last.max() {
            self.announce.send_if_modified(|known| {
                let newer = last > *known;
                *known = last.max(*known);
                newer
            });
        }
        batch.answer(answers);
    }

    /// Calls `log.append` until it answers or the deadline of the batch has passed. A call whose
    /// connection broke may have committed; repeating it is safe, because its command ids are known
    /// then (L5).
    async fn send(
        &self,
        connection: &mut Landed,
        batch: &Batch,
        recorded_at: touchline_domain::clock::Timestamp,
    ) -> Result<Vec<Appended>, AppendError> {
        let rows = batch.rows(recorded_at);
        let mut outcome_unknown = false;
        let mut pause = RECONNECT_MIN;
        loop {
            let failure = match self.connected(connection).await {
                Ok(connection) => match timeout(CALL_TIMEOUT, rows.append(connection)).await {
                    Ok(Ok(answers)) => return Ok(answers),
                    Ok(Err(error)) if !is_passing(&error) => {
                        return Err(AppendError::Rejected(Arc::new(error)));
                    }
                    Ok(Err(error)) => {
                        outcome_unknown = true;
                        error
                    }
                    Err(_elapsed) => {
                        outcome_unknown = true;
                        sqlx::Error::WorkerCrashed
                    }
                },
                Err(error) => error,
            };
            *connection = None;
            tracing::warn!(error = %failure, commands = batch.len(), "appender: trying again");
            if Instant::now() + pause > batch.deadline() {
                return Err(AppendError::Unavailable { outcome_unknown });
            }
            sleep_until(Instant::now() + pause).await;
            pause = (pause * 2).min(RECONNECT_MAX);
        }
    }

    async fn connected<'a>(
        &self,
        connection: &'a mut Landed,
    ) -> Result<&'a mut PgConnection, sqlx::Error> {
        if connection.is_none() {
            let settings = [BY_KEY.as_slice(), &SETTINGS].concat();
            let connecting = self.database.connect(&settings);
            let connected = timeout(CONNECT_TIMEOUT, connecting)
                .await
                .map_err(|_elapsed| sqlx::Error::PoolTimedOut)??;
            *connection = Some(connected);
        }
        connection.as_mut().ok_or(sqlx::Error::PoolClosed)
    }
}

/// Whether the failure is of the connection or of the moment, so that the same call may pass later.
fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(database) => database.code().is_some_and(|code| {
            // Connection exceptions, rollbacks of the moment, lack of resources, operator intervention.
            ["08", "40", "53", "57"]
                .iter()
                .any(|class| code.starts_with(class))
        }),
        sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => false,
        _ => true,
    }
}
