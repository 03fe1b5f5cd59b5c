//! A command that spans several aggregates: all its events are appended, or none is.

use super::{Bus, CONFLICTS_MAX, Failure, Intent, Verdict, decide, stream_full};
use crate::envelope::Envelope;
use futures::future::{BoxFuture, try_join_all};
use std::error::Error;
use thiserror::Error;
use touchline_domain::aggregate::Decider;
use touchline_eventstore::append::{Appended, StoredCommand};
use touchline_eventstore::store::{Loaded, Stored};
use touchline_eventstore::{Append, Claim, EventStore, NewEvent, Position, StreamAppend};
use uuid::Uuid;

/// What one aggregate has to do in a command that spans several: an [`Intent`].
pub trait Part: Send + Sync {
    /// The aggregate: its stored type and its id.
    fn aggregate(&self) -> (&'static str, Uuid);

    /// What the aggregate decides; on its newest state if `is_newest`, else on the one in memory.
    fn decide<'a>(
        &'a self,
        bus: &'a Bus,
        is_newest: bool,
    ) -> BoxFuture<'a, Result<Decided, ExecuteManyError>>;
}

/// What one aggregate has decided, and what to keep in memory once that is appended.
pub struct Decided {
    stream: StreamAppend,
    take: Vec<Claim>,
    release: Vec<Claim>,
    remember: Box<dyn FnOnce(&EventStore) + Send>,
}

/// The answer to a command that spans several aggregates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// A read model that has folded the log up to here shows the states that the command made, or
    /// later ones.
    pub position: Position,
    /// Whether the command had been applied before.
    pub replayed: bool,
}

/// Why a command that spans several aggregates was applied to none.
#[derive(Debug, Error)]
pub enum ExecuteManyError {
    /// One of the aggregates refused its part, by the state that the log has now.
    #[error("an aggregate refused its part of the command")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
    /// It was not carried through.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl<A> Part for Intent<A>
where
    A: Stored,
    <A as Decider>::Command: Clone + Sync,
{
    fn aggregate(&self) -> (&'static str, Uuid) {
        (<A as Decider>::TYPE, self.id)
    }

    fn decide<'a>(
        &'a self,
        bus: &'a Bus,
        is_newest: bool,
    ) -> BoxFuture<'a, Result<Decided, ExecuteManyError>> {
        Box::pin(async move {
            let loaded: Loaded<A> = if is_newest {
                bus.refresh(self.id).await?
            } else {
                bus.load(self.id).await?
            };
            let events = match decide(&loaded, self) {
                Verdict::Happens(events) => events,
                Verdict::NothingToDo => Vec::new(),
                Verdict::Refused(reason) => return Err(ExecuteManyError::Refused(reason.into())),
                Verdict::VersionMismatch => {
                    let actual = loaded.version;
                    return Err(Failure::VersionMismatch { actual }.into());
                }
                Verdict::Full => return Err(stream_full::<A>().into()),
            };
            Ok(self.decided(bus, &loaded, &events)?)
        })
    }
}

impl<A: Stored> Intent<A> {
    fn decided(
        &self,
        bus: &Bus,
        on: &Loaded<A>,
        events: &[<A as Decider>::Event],
    ) -> Result<Decided, Failure> {
        let encoded = events
            .iter()
            .map(|event| NewEvent::encode(bus.ids.next(), event))
            .collect::<Result<_, _>>()?;
        let stream = StreamAppend {
            aggregate_type: <A as Decider>::TYPE,
            aggregate_id: self.id,
            expected_version: on.version,
            events: encoded,
        };
        let (id, after) = (self.id, on.after(events));
        Ok(Decided {
            stream,
            take: self.take.clone(),
            release: self.release.clone(),
            remember: Box::new(move |store| store.remember(id, after)),
        })
    }
}

impl Bus {
    /// Lets every part be decided and appends all that they decide, or nothing. A part that has
    /// nothing to do still has a say: its aggregate must not have changed when the others' events
    /// are appended. The limits are those of one append: 100 aggregates, 1,000 events.
    ///
    /// # Errors
    /// [`ExecuteManyError::Refused`] with one aggregate's reason, else [`ExecuteManyError::Failed`].
    pub async fn execute_many(
        &self,
        envelope: &Envelope,
        parts: &[Box<dyn Part>],
    ) -> Result<Receipt, ExecuteManyError> {
        // Taken in one order by everybody, so that no two commands wait for each other.
        let mut aggregates: Vec<_> = parts.iter().map(|part| part.aggregate()).collect();
        aggregates.sort_unstable();
        aggregates.dedup();
        let mut turns = Vec::with_capacity(aggregates.len());
        for (kind, id) in aggregates {
            turns.push(self.store.turn(kind, id).await);
        }
        let mut is_newest = false;
        let mut conflicts = 0;
        loop {
            let decided = try_join_all(parts.iter().map(|part| part.decide(self, is_newest))).await;
            match decided {
                Ok(decided) if decided.iter().any(Decided::happens) => {
                    if let Some(receipt) = self.append_all(envelope, decided).await? {
                        return Ok(receipt);
                    }
                    if conflicts == CONFLICTS_MAX {
                        return Err(Failure::Contended.into());
                    }
                    conflicts += 1;
                    self.pause(conflicts).await;
                }
                decided if is_newest => return self.settle_all(envelope, decided).await,
                _ => {}
            }
            is_newest = true;
        }
    }

    /// Appends what was decided. `None` when an aggregate has moved on meanwhile.
    async fn append_all(
        &self,
        envelope: &Envelope,
        mut decided: Vec<Decided>,
    ) -> Result<Option<Receipt>, Failure> {
        // The log wants the command's subject first, which is a stream with events.
        decided.sort_by_key(|part| !part.happens());
        let append = Append {
            command_id: envelope.command_id,
            fingerprint: envelope.fingerprint,
            metadata: envelope.metadata(),
            streams: decided.iter().map(|part| part.stream.clone()).collect(),
            take: decided.iter().flat_map(|part| part.take.clone()).collect(),
            release: decided
                .iter()
                .flat_map(|part| part.release.clone())
                .collect(),
        };
        match self.store.append(append).await? {
            Appended::Committed { last, .. } => {
                for part in decided {
                    (part.remember)(&self.store);
                }
                Ok(Some(Receipt {
                    position: last.position,
                    replayed: false,
                }))
            }
            Appended::Duplicate(stored) => Ok(Some(receipt(envelope, &stored))),
            Appended::Reused => Err(Failure::CommandReused),
            Appended::Conflict { .. } => Ok(None),
            Appended::ClaimTaken { scope, .. } => Err(Failure::ClaimTaken { scope }),
        }
    }

    /// Answers a command that appends nothing, as `settle` does for one aggregate.
    async fn settle_all(
        &self,
        envelope: &Envelope,
        decided: Result<Vec<Decided>, ExecuteManyError>,
    ) -> Result<Receipt, ExecuteManyError> {
        if let Some(receipt) = self.find_receipt(envelope).await? {
            return Ok(receipt);
        }
        decided?;
        Ok(Receipt {
            position: self.store.head().await.map_err(Failure::Read)?,
            replayed: false,
        })
    }

    async fn find_receipt(&self, envelope: &Envelope) -> Result<Option<Receipt>, Failure> {
        let stored = self.find_applied(envelope).await?;
        Ok(stored.map(|stored| receipt(envelope, &stored)))
    }
}

impl Decided {
    fn happens(&self) -> bool {
        !self.stream.events.is_empty()
    }
}

const fn receipt(envelope: &Envelope, stored: &StoredCommand) -> Receipt {
    Receipt {
        position: stored.last,
        replayed: envelope.keyed,
    }
}
