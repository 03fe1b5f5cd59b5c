//! One batch of events, one transaction: the checkpoint moves and the rows are written, or neither.

use crate::checkpoint::{self, Aggregate, ParkedAggregate};
use crate::projection::{ProjectError, Projection, chain};
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};
use std::collections::{HashMap, HashSet};
use touchline_eventstore::{LogEvent, Position};

/// How often an event may fail before its aggregate is parked.
const ATTEMPTS_MAX: u32 = 5;
/// How many aggregates may be parked. More than that is no matter of odd events but a broken
/// projection, and is better halted.
const PARKED_AGGREGATES_MAX: usize = 1_000;

/// Writes the batches of one term of leadership.
pub(crate) struct Writer<'a, P> {
    projection: &'a P,
    connection: PgConnection,
    epoch: i64,
    position: Position,
    parked: HashSet<Aggregate>,
    /// Every event type that this build knows, with its version.
    known: HashMap<&'static str, &'static str>,
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is written.
    Committed,
    /// Somebody else leads: nothing is written.
    Fenced,
    /// What stands before `position` is written; the event there stops the projection.
    Halted {
        /// Why.
        reason: String,
        /// The first event that is not folded.
        position: Position,
    },
}

/// What became of the transaction.
enum Outcome {
    Committed,
    Fenced,
    TooManyParked,
}

impl<'a, P: Projection> Writer<'a, P> {
    /// A writer that goes on after `position`. `connection` finds the projection's schema first.
    pub(crate) fn new(
        projection: &'a P,
        connection: PgConnection,
        epoch: i64,
        position: Position,
        parked: HashSet<Aggregate>,
    ) -> Self {
        let known = touchline_domain::catalogue();
        let known = known
            .into_iter()
            .flat_map(|(_, types)| types.iter().copied());
        Self {
            projection,
            connection,
            epoch,
            position,
            parked,
            known: known.collect(),
        }
    }

    /// The last event written.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// How many aggregates are parked.
    pub(crate) fn parked_aggregates(&self) -> u64 {
        u64::try_from(self.parked.len()).unwrap_or(u64::MAX)
    }

    /// Writes `events`, which follow what was written before, without a gap.
    ///
    /// # Errors
    /// A passing error of the database. Whether the batch was written is open then: the checkpoint
    /// tells.
    pub(crate) async fn write(
        &mut self,
        mut events: Vec<LogEvent>,
    ) -> Result<Written, ProjectError> {
        let halted = self.cut_at_unknown(&mut events);
        if let Some(last) = events.last().map(|event| event.position) {
            let first = events.first().map(|event| event.position);
            match self.commit(events, last).await? {
                Outcome::Committed => self.position = last,
                Outcome::Fenced => return Ok(Written::Fenced),
                Outcome::TooManyParked => {
                    return Ok(Written::Halted {
                        reason: format!("more than {PARKED_AGGREGATES_MAX} aggregates are parked"),
                        position: first.unwrap_or(last),
                    });
                }
            }
        }
        Ok(halted.unwrap_or(Written::Committed))
    }

    /// Cuts off the first event that matters and that this build does not know, with all behind it.
    fn cut_at_unknown(&self, events: &mut Vec<LogEvent>) -> Option<Written> {
        let index = events.iter().position(|event| {
            self.projection.handles(&event.event_type)
                && self.known.get(&*event.event_type) != Some(&&*event.event_version)
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
        to: Position,
    ) -> Result<Outcome, ProjectError> {
        events.retain(|event| self.projection.handles(&event.event_type));
        let waiting = take_parked(&mut events, &self.parked);
        match self.commit_whole(&events, &waiting, to).await {
            Err(error) if !error.is_passing() => self.commit_isolated(events, &waiting, to).await,
            outcome => outcome,
        }
    }

    /// A transaction that has moved the checkpoint, so that no other can; none when fenced.
    async fn begin(
        &mut self,
        waiting: &[LogEvent],
        to: Position,
    ) -> Result<Option<Transaction<'_, Postgres>>, ProjectError> {
        let mut transaction = self.connection.begin().await?;
        let (name, epoch, from) = (P::NAME, self.epoch, self.position);
        if !checkpoint::advance(&mut transaction, name, epoch, from, to).await? {
            transaction.rollback().await?;
            return Ok(None);
        }
        checkpoint::park(&mut transaction, name, &[], waiting).await?;
        Ok(Some(transaction))
    }

    async fn commit_whole(
        &mut self,
        events: &[LogEvent],
        waiting: &[LogEvent],
        to: Position,
    ) -> Result<Outcome, ProjectError> {
        let projection = self.projection;
        let Some(mut transaction) = self.begin(waiting, to).await? else {
            return Ok(Outcome::Fenced);
        };
        if !events.is_empty()
            && let Err(error) = projection.project(&mut transaction, events).await
        {
            transaction.rollback().await?;
            return Err(error);
        }
        transaction.commit().await?;
        Ok(Outcome::Committed)
    }

    /// Commits everything but the events that spoil the batch.
    async fn commit_isolated(
        &mut self,
        events: Vec<LogEvent>,
        waiting: &[LogEvent],
        to: Position,
    ) -> Result<Outcome, ProjectError> {
        let isolation = Isolation::new(self.projection, self.parked.clone());
        let Some(mut transaction) = self.begin(waiting, to).await? else {
            return Ok(Outcome::Fenced);
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

/// Takes the events of parked aggregates out of `events`, in order.
fn take_parked(events: &mut Vec<LogEvent>, parked: &HashSet<Aggregate>) -> Vec<LogEvent> {
    if parked.is_empty() {
        return Vec::new();
    }
    let is_parked = |event: &mut LogEvent| {
        parked.contains(&(event.aggregate_type.clone(), event.aggregate_id.clone()))
    };
    events.extract_if(.., is_parked).collect()
}

/// The search for the events that spoil a batch: halve until one is left. It ends with everything
/// written that can be, and the aggregates of the others parked.
struct Isolation<'a, P> {
    projection: &'a P,
    parked: HashSet<Aggregate>,
}

impl<'a, P: Projection> Isolation<'a, P> {
    fn new(projection: &'a P, parked: HashSet<Aggregate>) -> Self {
        Self { projection, parked }
    }

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
            checkpoint::park(connection, P::NAME, &[], &waiting).await?;
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
            let written = self.projection.project(&mut savepoint, events).await;
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
            projection = P::NAME,
            aggregate_type = event.aggregate_type,
            aggregate_id = event.aggregate_id,
            position = %event.position,
            reason = parked.reason,
            "projection {}: an event failed {ATTEMPTS_MAX} times, its aggregate is parked",
            P::NAME,
        );
        let event = std::slice::from_ref(event);
        checkpoint::park(connection, P::NAME, &[parked], event).await?;
        self.parked.insert(aggregate);
        Ok(())
    }
}
