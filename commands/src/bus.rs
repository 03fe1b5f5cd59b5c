//! What is the same for every command: load its aggregate, decide, append, answer.

mod read_set;
mod several;

pub use read_set::ReadSet;
pub use several::{Decided, ExecuteManyError, Part, Receipt};

use crate::envelope::Envelope;
use futures::future::BoxFuture;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use touchline_domain::aggregate::Decider;
use touchline_domain::clock::{Clock, IdSource};
use touchline_domain::id::{CommandId, UserId};
use touchline_domain::identity::Permission;
use touchline_eventstore::append::{AppendError, Appended, StoredCommand};
use touchline_eventstore::store::{Loaded, ReadError, Stored, StreamTurn};
use touchline_eventstore::{Anchor, Append, Claim, EventStore, NewEvent, StreamAppend};
use uuid::Uuid;

/// How often a command is decided again because an aggregate that it names had moved on.
const CONFLICTS_MAX: u8 = 3;
/// The longest pause before a command is decided again, per conflict that it had.
const PAUSE_MS_MAX: u64 = 16;

/// Carries commands to aggregates. Cheap to clone.
#[derive(Clone)]
pub struct Bus {
    store: EventStore,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
}

/// What is to be done to one aggregate.
#[derive(Debug, Clone)]
pub struct Intent<A: Decider> {
    id: Uuid,
    command: A::Command,
    expected_version: Option<i64>,
    presumed_new: bool,
    take: Vec<Claim>,
    release: Vec<Claim>,
}

impl<A: Decider> Intent<A> {
    /// Let the aggregate `id` decide `command`.
    #[must_use]
    pub const fn new(id: Uuid, command: A::Command) -> Self {
        Self {
            id,
            command,
            expected_version: None,
            presumed_new: false,
            take: Vec::new(),
            release: Vec::new(),
        }
    }

    /// Only if the sequence of the aggregate's last event is `version`; `None` asks for nothing.
    #[must_use]
    pub const fn at_version(mut self, version: Option<i64>) -> Self {
        self.expected_version = version;
        self
    }

    /// The aggregate has most likely no event yet. Unless it is in memory the command is first
    /// decided on an empty state, which saves a look into the log; if that was wrong, the append
    /// says so and the command is decided again.
    #[must_use]
    pub const fn presuming_new(mut self) -> Self {
        self.presumed_new = true;
        self
    }

    /// And take `claim`, or refuse everything.
    #[must_use]
    pub fn taking(mut self, claim: Claim) -> Self {
        self.take.push(claim);
        self
    }

    /// And give `claim` back.
    #[must_use]
    pub fn releasing(mut self, claim: Claim) -> Self {
        self.release.push(claim);
        self
    }
}

/// The answer to a command.
#[derive(Debug)]
pub struct Outcome<A> {
    /// The aggregate. For a repetition the one of the first time, whatever was asked now.
    pub id: Uuid,
    /// Its state after the command.
    pub state: Arc<A>,
    /// The sequence of its last event; 0 when it has none.
    pub version: i64,
    /// A read model that has folded the log up to here shows this state, or a later one.
    pub end: Anchor,
    /// Whether the command had been applied before and this is the first answer again.
    pub replayed: bool,
}

/// Why a command was not carried through, whatever it was.
#[derive(Debug, Error)]
pub enum Failure {
    /// The command needs somebody who is signed in to an account that exists.
    #[error("the command needs an account")]
    NotAuthenticated,
    /// The account of who asks waits for approval.
    #[error("the account waits for approval")]
    AccountPending,
    /// The account of who asks has not the permission.
    #[error("the account has not the permission {permission}")]
    PermissionRequired {
        /// What it would need.
        permission: Permission,
    },
    /// The aggregate does not have the version that the caller has seen.
    #[error("the aggregate is at version {actual}")]
    VersionMismatch {
        /// The sequence of its last event now; 0 when it has none.
        actual: i64,
    },
    /// The aggregate has all the events that its stream may have.
    #[error("a {aggregate_type} may have {events_max} events, and has them")]
    StreamFull {
        /// The frozen name of its type.
        aggregate_type: &'static str,
        /// How many it may have.
        events_max: u32,
    },
    /// The command id was used before for something else.
    #[error("the command id was used before for another command")]
    CommandReused,
    /// An aggregate that the command names moved on again and again while it was decided.
    #[error("an aggregate is changed by too many at once")]
    Contended,
    /// Somebody holds what the command claims.
    #[error("somebody holds the claim on {scope}")]
    ClaimTaken {
        /// The kind of claim.
        scope: String,
    },
    /// The log could not be read.
    #[error("the aggregate cannot be loaded")]
    Read(#[from] ReadError),
    /// The log could not be appended to.
    #[error("the events cannot be appended")]
    Append(#[from] AppendError),
    /// An event could not be written as JSON.
    #[error("an event cannot be encoded")]
    Encode(#[from] serde_json::Error),
}

/// Why the bus did not apply a command to an aggregate.
#[derive(Debug, Error)]
pub enum ExecuteError<E: Error + 'static> {
    /// The aggregate refused it, by the state that the log has now.
    #[error("the aggregate refused the command")]
    Refused(#[source] E),
    /// It was not carried through.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// The answer of an aggregate at one version.
enum Verdict<A: Decider> {
    Happens(Vec<A::Event>),
    NothingToDo,
    Refused(A::Error),
    VersionMismatch,
    Full,
}

impl Bus {
    /// A bus on `store`.
    #[must_use]
    pub fn new(store: EventStore, clock: Arc<dyn Clock>, ids: Arc<dyn IdSource>) -> Self {
        Self { store, clock, ids }
    }

    /// The log behind the bus.
    #[must_use]
    pub const fn store(&self) -> &EventStore {
        &self.store
    }

    /// A new id for something that a command creates.
    #[must_use]
    pub fn new_id(&self) -> Uuid {
        self.ids.next()
    }

    /// An envelope for a command that `actor` sends now and once.
    #[must_use]
    pub fn envelope(&self, actor: Option<UserId>) -> Envelope {
        Envelope {
            command_id: CommandId::new(self.ids.next()),
            keyed: false,
            fingerprint: [0; 32],
            actor,
            correlation_id: self.ids.next(),
            causation_id: None,
            at: self.clock.now(),
        }
    }

    /// Applies the command that `check` answers, to the aggregate that it names: at most once, and
    /// durably when it answers.
    ///
    /// `check` looks at other aggregates through the [`ReadSet`] only. What it looked at is named in
    /// the append, so that the command is right by the log at the moment of its append. It may be
    /// made again: when something that it saw has moved on, and before it refuses a command by what
    /// was only in memory. A command that is refused, or that changes nothing, is so by the log as it
    /// is now.
    ///
    /// A repetition of a command that was applied gets its first answer before any check.
    ///
    /// # Errors
    /// What `check` refuses, [`ExecuteError`].
    pub async fn decide<'c, A, E, C>(
        &'c self,
        envelope: &'c Envelope,
        check: C,
    ) -> Result<Outcome<A>, E>
    where
        A: Stored,
        <A as Decider>::Command: Clone + Sync,
        E: From<Failure> + From<ExecuteError<<A as Decider>::Error>>,
        C: for<'r> Fn(&'r mut ReadSet<'c>) -> BoxFuture<'r, Result<Intent<A>, E>> + Sync,
    {
        if let Some(first) = self.replay(envelope).await? {
            return Ok(first);
        }
        let mut turns = Vec::new();
        let mut is_newest = false;
        let mut conflicts = 0;
        loop {
            let mut reads = ReadSet::new(self, envelope.actor, is_newest);
            let intent = match check(&mut reads).await {
                Ok(intent) => intent,
                Err(refusal) if is_newest => {
                    return self.replay(envelope).await?.ok_or(refusal);
                }
                Err(_) => {
                    is_newest = true;
                    continue;
                }
            };
            let subject = (<A as Decider>::TYPE, intent.id);
            if turns.is_empty() {
                turns.push(self.store.turn(subject.0, subject.1).await);
                if reads.seen::<A>(intent.id).is_some() {
                    // Others may have changed it before this turn.
                    continue;
                }
            }
            let loaded = self.subject(&intent, &reads, is_newest).await?;
            match decide(&loaded, &intent) {
                Verdict::Happens(events) => {
                    let appended = self.append(envelope, &intent, &loaded, &reads, events);
                    if let Some(outcome) = appended.await? {
                        return Ok(outcome);
                    }
                    turns.clear();
                    if conflicts == CONFLICTS_MAX {
                        return Err(Failure::Contended.into());
                    }
                    conflicts += 1;
                    self.pause(conflicts).await;
                    turns = self.turns(subject, &reads).await;
                }
                answer if is_newest => {
                    return Ok(self.settle(envelope, &intent, &loaded, answer).await?);
                }
                _ => {}
            }
            is_newest = true;
        }
    }

    /// [`Bus::decide`] without a look at any other aggregate.
    ///
    /// # Errors
    /// [`ExecuteError::Refused`] with the aggregate's reason, else [`ExecuteError::Failed`].
    pub async fn execute<A>(
        &self,
        envelope: &Envelope,
        intent: Intent<A>,
    ) -> Result<Outcome<A>, ExecuteError<<A as Decider>::Error>>
    where
        A: Stored,
        <A as Decider>::Command: Clone + Sync,
    {
        let intent = &intent;
        self.decide(envelope, |_| Box::pin(async move { Ok(intent.clone()) }))
            .await
    }

    /// The first answer to a command whose caller chose its id, if it was applied before. A handler
    /// that does something before [`Bus::decide`] asks this first, so that a repetition gets its
    /// answer even when the command would be refused by now.
    ///
    /// # Errors
    /// [`Failure::CommandReused`] when the id belongs to another command, [`Failure::Read`].
    pub async fn replay<A: Stored>(
        &self,
        envelope: &Envelope,
    ) -> Result<Option<Outcome<A>>, Failure> {
        match self.find_applied(envelope).await? {
            None => Ok(None),
            Some(stored) => self.first_answer(envelope, &stored).await.map(Some),
        }
    }

    /// What the log keeps of the command, if it is a repetition.
    async fn find_applied(&self, envelope: &Envelope) -> Result<Option<StoredCommand>, Failure> {
        if !envelope.keyed {
            return Ok(None);
        }
        let stored = self.store.find_command(envelope.command_id).await?;
        if stored
            .as_ref()
            .is_some_and(|stored| stored.fingerprint != envelope.fingerprint)
        {
            return Err(Failure::CommandReused);
        }
        Ok(stored)
    }

    /// The state on which a command is decided: what its check saw of it, else the newest, or the
    /// one in memory.
    async fn subject<A: Stored>(
        &self,
        intent: &Intent<A>,
        reads: &ReadSet<'_>,
        is_newest: bool,
    ) -> Result<Loaded<A>, Failure> {
        if let Some(seen) = reads.seen(intent.id) {
            return Ok(seen.clone());
        }
        if is_newest {
            return self.refresh(intent.id).await;
        }
        if intent.presumed_new {
            let remembered = self.store.remembered(intent.id);
            return Ok(remembered.unwrap_or_else(|| self.store.presumed_new()));
        }
        self.load(intent.id).await
    }

    /// The turns of a command that had a conflict: with everything that it names, so that nobody in
    /// this process changes any of it until the command is appended. Taken in one order by everybody,
    /// so that no two commands wait for each other.
    async fn turns(&self, subject: (&'static str, Uuid), reads: &ReadSet<'_>) -> Vec<StreamTurn> {
        let mut named: Vec<_> = reads.aggregates().chain([subject]).collect();
        named.sort_unstable();
        named.dedup();
        let mut turns = Vec::with_capacity(named.len());
        for (kind, id) in named {
            turns.push(if (kind, id) == subject {
                self.store.turn(kind, id).await
            } else {
                self.store.shared_turn(kind, id).await
            });
        }
        turns
    }

    async fn load<A: Stored>(&self, id: Uuid) -> Result<Loaded<A>, Failure> {
        Ok(self.store.load(id).await?)
    }

    async fn refresh<A: Stored>(&self, id: Uuid) -> Result<Loaded<A>, Failure> {
        Ok(self.store.refresh(id).await?)
    }

    /// Appends `events` after the version that they were decided on, if nothing that was looked at has
    /// changed. `None` when the aggregate or one of those has moved on meanwhile.
    async fn append<A: Stored>(
        &self,
        envelope: &Envelope,
        intent: &Intent<A>,
        on: &Loaded<A>,
        reads: &ReadSet<'_>,
        events: Vec<<A as Decider>::Event>,
    ) -> Result<Option<Outcome<A>>, Failure> {
        let encoded = events
            .iter()
            .map(|event| NewEvent::encode(self.ids.next(), event))
            .collect::<Result<Vec<_>, _>>()?;
        let stream = StreamAppend {
            aggregate_type: <A as Decider>::TYPE,
            aggregate_id: intent.id,
            expected_version: on.version,
            events: encoded,
        };
        let dependencies = reads.dependencies((<A as Decider>::TYPE, intent.id));
        let append = Append {
            command_id: envelope.command_id,
            fingerprint: envelope.fingerprint,
            metadata: envelope.metadata(),
            streams: std::iter::once(stream).chain(dependencies).collect(),
            take: intent.take.clone(),
            release: intent.release.clone(),
        };
        match self.store.append(append).await? {
            Appended::Committed { last, .. } => {
                let after = on.after(&events);
                self.store.remember(intent.id, after.clone());
                Ok(Some(Outcome {
                    id: intent.id,
                    state: after.state,
                    version: after.version,
                    end: last,
                    replayed: false,
                }))
            }
            Appended::Duplicate(stored) => self.first_answer(envelope, &stored).await.map(Some),
            Appended::Reused => Err(Failure::CommandReused),
            Appended::Conflict { .. } => Ok(None),
            Appended::ClaimTaken { scope, .. } => Err(Failure::ClaimTaken { scope }),
        }
    }

    /// Answers a command that appends nothing. Another process may have applied it just before,
    /// which is why there is nothing left to do: then that is the answer.
    async fn settle<A: Stored>(
        &self,
        envelope: &Envelope,
        intent: &Intent<A>,
        newest: &Loaded<A>,
        verdict: Verdict<A>,
    ) -> Result<Outcome<A>, ExecuteError<<A as Decider>::Error>> {
        if let Some(outcome) = self.replay(envelope).await? {
            return Ok(outcome);
        }
        match verdict {
            Verdict::Refused(reason) => Err(ExecuteError::Refused(reason)),
            Verdict::VersionMismatch => Err(Failure::VersionMismatch {
                actual: newest.version,
            }
            .into()),
            Verdict::Full => Err(stream_full::<A>().into()),
            Verdict::NothingToDo | Verdict::Happens(_) => Ok(Outcome {
                id: intent.id,
                state: Arc::clone(&newest.state),
                version: newest.version,
                // Read after the state, so it is at or after the state's last event.
                end: self.store.end().await.map_err(Failure::Read)?,
                replayed: false,
            }),
        }
    }

    /// The answer that a command got when it was applied: its subject's state right after it.
    async fn first_answer<A: Stored>(
        &self,
        envelope: &Envelope,
        stored: &StoredCommand,
    ) -> Result<Outcome<A>, Failure> {
        if stored.aggregate_type != <A as Decider>::TYPE {
            return Err(Failure::CommandReused);
        }
        let id =
            Uuid::try_parse(&stored.aggregate_id).map_err(|_malformed| ReadError::Damaged {
                position: stored.first.get(),
            })?;
        let loaded = self.store.load_at(id, stored.version).await?;
        let end = self.store.anchor(stored.last).await?;
        Ok(Outcome {
            id,
            state: loaded.state,
            version: loaded.version,
            end: end.ok_or_else(|| ReadError::Damaged {
                position: stored.last.get(),
            })?,
            // An id made for this one call is a duplicate only of itself: the answer to the append
            // was lost on its way and asked for again.
            replayed: envelope.keyed,
        })
    }

    /// Waits a little, and not as long as others that had the same conflict: the last bits of a new
    /// id are as good as dice.
    async fn pause(&self, conflicts: u8) {
        let [.., dice] = self.ids.next().into_bytes();
        let pause_ms = u64::from(conflicts) * (u64::from(dice) % PAUSE_MS_MAX);
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
}

fn decide<A>(loaded: &Loaded<A>, intent: &Intent<A>) -> Verdict<A>
where
    A: Stored,
    <A as Decider>::Command: Clone,
{
    if intent
        .expected_version
        .is_some_and(|expected| expected != loaded.version)
    {
        return Verdict::VersionMismatch;
    }
    match Decider::decide(loaded.state.as_ref(), intent.command.clone()) {
        Ok(events) if events.is_empty() => Verdict::NothingToDo,
        Ok(events) if loaded.has_no_room_for(&events) && !A::takes_back(&intent.command) => {
            Verdict::Full
        }
        Ok(events) => Verdict::Happens(events),
        Err(reason) => Verdict::Refused(reason),
    }
}

const fn stream_full<A: Decider>() -> Failure {
    Failure::StreamFull {
        aggregate_type: A::TYPE,
        events_max: A::EVENTS_MAX,
    }
}
