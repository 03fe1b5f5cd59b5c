//! One batch of events, one transaction: the checkpoint moves and the rows are written, or neither.

use crate::checkpoint::{self, Advanced, Aggregate, Checkpoint, Fence, ParkedAggregate};
use crate::erased::ACCOUNT_ERASED;
use crate::projection::{ProjectError, ReadModel, chain};
use crate::sweep::{self, SWEEP_ROWS};
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};
use std::collections::HashSet;
use std::sync::Arc;
use touchline_eventstore::event::Digest;
use touchline_eventstore::{LogEvent, Position};

/// How often an event may fail before its aggregate is parked.
const ATTEMPTS_MAX: u32 = 5;
/// How many aggregates may be parked. More than that is no matter of odd events but a broken
/// projection, and is better halted.
const PARKED_AGGREGATES_MAX: usize = 1_000;

/// Writes the batches of one term of leadership, or of one rebuild.
pub(crate) struct Writer {
    model: Arc<dyn ReadModel>,
    /// The name of the checkpoint.
    name: String,
    connection: PgConnection,
    epoch: i64,
    generation: i64,
    position: Position,
    parked: HashSet<Aggregate>,
    /// Events that were given up: they are no part of the fold.
    discarded: HashSet<Position>,
    /// Whether nothing is left behind tombstones, as far as this writer knows.
    swept: bool,
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is written.
    Committed,
    /// Somebody else leads: nothing is written.
    Fenced,
    /// Somebody did something to the read model beside this writer: nothing is written.
    Changed,
    /// The log does not have the last event: nothing is written.
    NotInLog,
    /// What stands before `position` is written; the event there stops the projection.
    Halted {
        /// Why.
        reason: String,
        /// The first event that is not folded.
        position: Position,
    },
}

impl Fence {
    /// What became of a checkpoint that was left like this.
    fn judge(self, found: Option<Self>) -> Written {
        match found {
            Some(found) if found == self => Written::Committed,
            Some(found) if found.epoch != self.epoch => Written::Fenced,
            _ => Written::Changed,
        }
    }
}

/// Where a batch ends: what is written holds up to there.
#[derive(Clone, Copy)]
struct End {
    position: Position,
    /// The digest of the event there, unless that was left out of the batch.
    digest: Option<Digest>,
}

/// What became of the transaction.
enum Outcome {
    Committed,
    Fenced,
    Changed,
    NotInLog,
    TooManyParked,
}

/// A transaction that has moved the checkpoint, so that no other can; or why there is none.
enum Begun<'a> {
    Moved(Transaction<'a, Postgres>),
    Not(Outcome),
}

impl Writer {
    /// A writer that goes on after `checkpoint`, which is called `name` and was claimed for `epoch`.
    /// `connection` finds the schema of these tables first.
    pub(crate) fn new(
        model: Arc<dyn ReadModel>,
        name: String,
        connection: PgConnection,
        epoch: i64,
        checkpoint: &Checkpoint,
        parked: HashSet<Aggregate>,
    ) -> Self {
        Self {
            model,
            name,
            connection,
            epoch,
            generation: checkpoint.generation,
            position: checkpoint.position,
            parked,
            discarded: HashSet::new(),
            swept: false,
        }
    }

    /// The same, leaving out events that were given up.
    pub(crate) fn without(mut self, discarded: HashSet<Position>) -> Self {
        self.discarded = discarded;
        self
    }

    /// The last event written.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// Whether nothing is left behind tombstones.
    pub(crate) fn is_swept(&self) -> bool {
        self.swept
    }

    /// Takes one bounded step of what is left behind tombstones, and none when nothing is.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub(crate) async fn sweep(&mut self) -> Result<Written, ProjectError> {
        if self.swept {
            return Ok(Written::Committed);
        }
        let model = Arc::clone(&self.model);
        // The tables that unqualified names mean are this writer's.
        if !sweep::is_unswept(&mut self.connection, &*model, None).await? {
            self.swept = true;
            return Ok(Written::Committed);
        }
        let left = self.fence();
        let mut step = self.connection.begin().await?;
        let held = left.judge(checkpoint::hold(&mut step, &self.name).await?);
        if held == Written::Committed {
            model.clear(&mut step, SWEEP_ROWS).await?;
            step.commit().await?;
        }
        Ok(held)
    }

    /// How many aggregates are parked.
    pub(crate) fn parked_aggregates(&self) -> u64 {
        u64::try_from(self.parked.len()).unwrap_or(u64::MAX)
    }

    /// Looks whether the checkpoint is where this writer left it, by the session that would write:
    /// a crash, a standby that took over, or an operator may have changed either. What others left to
    /// sweep, as a swap or a retry does, is looked for, too.
    ///
    /// # Errors
    /// When the session is gone.
    pub(crate) async fn look(&mut self) -> Result<Written, ProjectError> {
        self.swept = false;
        let found = checkpoint::fence(&mut self.connection, &self.name).await?;
        Ok(self.fence().judge(found))
    }

    fn fence(&self) -> Fence {
        Fence {
            epoch: self.epoch,
            generation: self.generation,
            position: self.position,
        }
    }

    /// Writes `events`, which follow what was written before, without a gap.
    ///
    /// # Errors
    /// A passing error of the database. Whether the batch was written is open then: the checkpoint
    /// tells.
    pub(crate) async fn write(&mut self, events: Vec<LogEvent>) -> Result<Written, ProjectError> {
        let to = events.last().map_or(self.position, |last| last.position);
        self.write_up_to(events, to, usize::MAX).await
    }

    /// The same for events out of which those were left that do not matter here: what is written
    /// holds up to `to`. No more than `fold_events` are folded at once, for shorter statements.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub(crate) async fn write_up_to(
        &mut self,
        mut events: Vec<LogEvent>,
        to: Position,
        fold_events: usize,
    ) -> Result<Written, ProjectError> {
        let halted = self.cut_at_unknown(&mut events);
        let to = match &halted {
            Some(Written::Halted { position, .. }) => position.previous(),
            _ => to,
        };
        if to > self.position {
            let first = events.first().map_or(to, |event| event.position);
            let last = events.last().filter(|event| event.position == to);
            let end = End {
                position: to,
                digest: last.map(|event| event.digest),
            };
            match self.commit(events, end, fold_events).await? {
                Outcome::Committed => {
                    self.position = to;
                    self.swept = false;
                }
                Outcome::Fenced => return Ok(Written::Fenced),
                Outcome::Changed => return Ok(Written::Changed),
                Outcome::NotInLog => return Ok(Written::NotInLog),
                Outcome::TooManyParked => {
                    return Ok(Written::Halted {
                        reason: format!("more than {PARKED_AGGREGATES_MAX} aggregates are parked"),
                        position: first,
                    });
                }
            }
        }
        Ok(halted.unwrap_or(Written::Committed))
    }

    /// Cuts off the first event that matters and that this build does not know, with all behind it.
    fn cut_at_unknown(&self, events: &mut Vec<LogEvent>) -> Option<Written> {
        let index = events.iter().position(|event| {
            self.model.takes(&event.event_type)
                && !touchline_domain::understands(&event.event_type, &event.event_version)
        })?;
        let unknown = events.drain(index..).next()?;
        Some(Written::Halted {
            reason: format!(
                "event type {} in version {} is not known to this build",
                unknown.event_type, unknown.event_version,
            ),
            position: unknown.position,
        })
    }

    async fn commit(
        &mut self,
        mut events: Vec<LogEvent>,
        to: End,
        fold_events: usize,
    ) -> Result<Outcome, ProjectError> {
        events.retain(|event| {
            self.model.takes(&event.event_type) && !self.discarded.contains(&event.position)
        });
        let waiting = take_parked(&mut events, &self.parked);
        match self
            .commit_whole(events.chunks(fold_events), &waiting, to)
            .await
        {
            Err(error) if !error.is_passing() => self.commit_isolated(events, &waiting, to).await,
            outcome => outcome,
        }
    }

    async fn begin(&mut self, waiting: &[LogEvent], to: End) -> Result<Begun<'_>, ProjectError> {
        let mut transaction = self.connection.begin().await?;
        let (name, epoch, from) = (&self.name, self.epoch, self.position);
        let End { position, digest } = to;
        let advanced =
            checkpoint::advance(&mut transaction, name, epoch, from, position, digest).await?;
        let refused = match advanced {
            Advanced::Moved { generation } if generation == self.generation => {
                checkpoint::park(&mut transaction, name, &[], waiting).await?;
                return Ok(Begun::Moved(transaction));
            }
            Advanced::Moved { .. } => Outcome::Changed,
            Advanced::Refused => Outcome::Fenced,
            Advanced::NotInLog => Outcome::NotInLog,
        };
        transaction.rollback().await?;
        Ok(Begun::Not(refused))
    }

    async fn commit_whole(
        &mut self,
        parts: std::slice::Chunks<'_, LogEvent>,
        waiting: &[LogEvent],
        to: End,
    ) -> Result<Outcome, ProjectError> {
        let model = Arc::clone(&self.model);
        let mut transaction = match self.begin(waiting, to).await? {
            Begun::Moved(transaction) => transaction,
            Begun::Not(outcome) => return Ok(outcome),
        };
        for events in parts {
            if let Err(error) = model.fold(&mut transaction, events).await {
                transaction.rollback().await?;
                return Err(error);
            }
        }
        transaction.commit().await?;
        Ok(Outcome::Committed)
    }

    /// Commits everything but the events that spoil the batch.
    async fn commit_isolated(
        &mut self,
        events: Vec<LogEvent>,
        waiting: &[LogEvent],
        to: End,
    ) -> Result<Outcome, ProjectError> {
        let isolation = Isolation {
            model: Arc::clone(&self.model),
            name: self.name.clone(),
            parked: self.parked.clone(),
        };
        let mut transaction = match self.begin(waiting, to).await? {
            Begun::Moved(transaction) => transaction,
            Begun::Not(outcome) => return Ok(outcome),
        };
        let parked = isolation.run(&mut transaction, events).await?;
        if parked.len() > PARKED_AGGREGATES_MAX {
            transaction.rollback().await?;
            return Ok(Outcome::TooManyParked);
        }
        transaction.commit().await?;
        self.parked = parked;
        Ok(Outcome::Committed)
    }
}

/// Keeps what a savepoint holds, or takes it back. The outer error is a passing one; the inner one
/// means that an event is to blame.
async fn settle(
    savepoint: Transaction<'_, Postgres>,
    written: Result<(), ProjectError>,
) -> Result<Result<(), ProjectError>, ProjectError> {
    match written {
        Ok(()) => savepoint.commit().await?,
        Err(error) if error.is_passing() => return Err(error),
        Err(error) => {
            savepoint.rollback().await?;
            return Ok(Err(error));
        }
    }
    Ok(Ok(()))
}

/// Takes the events of parked aggregates out of `events`, in order. An erasure waits for nobody: it
/// leaves an id, whatever was written before it, and what is retried after it is passed over.
fn take_parked(events: &mut Vec<LogEvent>, parked: &HashSet<Aggregate>) -> Vec<LogEvent> {
    if parked.is_empty() {
        return Vec::new();
    }
    let is_parked = |event: &mut LogEvent| {
        event.event_type != ACCOUNT_ERASED
            && parked.contains(&(event.aggregate_type.clone(), event.aggregate_id.clone()))
    };
    events.extract_if(.., is_parked).collect()
}

/// The search for the events that spoil a batch: halve until one is left. It ends with everything
/// written that can be, and the aggregates of the others parked.
struct Isolation {
    model: Arc<dyn ReadModel>,
    /// The name of the checkpoint.
    name: String,
    parked: HashSet<Aggregate>,
}

impl Isolation {
    /// Returns all parked aggregates, with those from before. It gives up when there are too many.
    async fn run(
        mut self,
        connection: &mut PgConnection,
        events: Vec<LogEvent>,
    ) -> Result<HashSet<Aggregate>, ProjectError> {
        // The last part is the next in log order.
        let mut parts = vec![events];
        while self.parked.len() <= PARKED_AGGREGATES_MAX
            && let Some(mut part) = parts.pop()
        {
            let waiting = take_parked(&mut part, &self.parked);
            checkpoint::park(connection, &self.name, &[], &waiting).await?;
            if part.is_empty() {
                continue;
            }
            let attempts = if part.len() == 1 { ATTEMPTS_MAX } else { 1 };
            let Err(error) = self.attempt(connection, &part, attempts).await? else {
                continue;
            };
            if let [event] = part.as_slice() {
                self.park(connection, event, &error).await?;
            } else {
                let second = part.split_off(part.len() / 2);
                parts.push(second);
                parts.push(part);
            }
        }
        Ok(self.parked)
    }

    async fn attempt(
        &self,
        connection: &mut PgConnection,
        events: &[LogEvent],
        attempts: u32,
    ) -> Result<Result<(), ProjectError>, ProjectError> {
        let mut attempt = 1;
        loop {
            let mut savepoint = connection.begin().await?;
            let written = self.model.fold(&mut savepoint, events).await;
            let written = settle(savepoint, written).await?;
            if written.is_ok() || attempt == attempts {
                return Ok(written);
            }
            attempt += 1;
        }
    }

    async fn park(
        &mut self,
        connection: &mut PgConnection,
        event: &LogEvent,
        error: &ProjectError,
    ) -> Result<(), ProjectError> {
        let aggregate = (event.aggregate_type.clone(), event.aggregate_id.clone());
        let parked = ParkedAggregate {
            aggregate: aggregate.clone(),
            first: event.position,
            reason: chain(error),
        };
        tracing::error!(
            projection = self.name,
            aggregate_type = event.aggregate_type,
            aggregate_id = event.aggregate_id,
            position = %event.position,
            reason = parked.reason,
            "projection {}: an event failed {ATTEMPTS_MAX} times, its aggregate is parked",
            self.name,
        );
        let event = std::slice::from_ref(event);
        checkpoint::park(connection, &self.name, &[parked], event).await?;
        self.parked.insert(aggregate);
        Ok(())
    }
}
