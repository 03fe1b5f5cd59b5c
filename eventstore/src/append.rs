//! What goes into an append, and what comes out of it.

use crate::anchor::Anchor;
use crate::keys::KeyError;
use crate::personal::SealError;
use crate::position::Position;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use thiserror::Error;
use touchline_domain::event::Event;
use touchline_domain::id::CommandId;
use touchline_domain::personal::PersonalFields;
use uuid::Uuid;

/// The most events that one command may append.
pub const EVENTS_PER_COMMAND_MAX: usize = 1_000;
/// The most streams that one command may expect or extend.
pub const STREAMS_PER_COMMAND_MAX: usize = 100;
/// The most bytes of one event's payload. JetStream's message limit of 1 MiB leaves room for the rest.
pub const PAYLOAD_BYTES_MAX: usize = 512 * 1024;

/// The most bytes of a command's metadata, keys and values together. With the payload it must fit
/// into one message of JetStream.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;

/// One command's events, appended wholly or not at all.
#[derive(Debug, Clone)]
pub struct Append {
    /// The command; it is applied at most once (L5).
    pub command_id: CommandId,
    /// What the command asked for, hashed: the same id with another fingerprint is refused.
    pub fingerprint: [u8; 32],
    /// Who, caused by what; stored with each event. The command is added under `command_id`.
    pub metadata: BTreeMap<String, String>,
    /// The streams that the command read or extends. The first one is the command's subject: a
    /// repetition of the command is answered with its state at this version.
    pub streams: Vec<StreamAppend>,
    /// Claims to take. A claim that somebody holds refuses the whole command.
    pub take: Vec<Claim>,
    /// Claims to give back, if their owner holds them.
    pub release: Vec<Claim>,
}

/// What one command expects of, and adds to, one aggregate.
#[derive(Debug, Clone)]
pub struct StreamAppend {
    /// The frozen name of the kind of aggregate.
    pub aggregate_type: &'static str,
    /// The aggregate.
    pub aggregate_id: Uuid,
    /// The sequence of its last event when the command was decided; 0 when it had none.
    pub expected_version: i64,
    /// What happened to it. Empty for an aggregate that the command depends on: it was read, and
    /// must not have changed. Any number of commands may depend on one aggregate at once.
    pub events: Vec<NewEvent>,
}

/// An event on its way into the log.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Its id, UUID v7.
    pub event_id: Uuid,
    /// The frozen name.
    pub event_type: &'static str,
    /// The version of the payload's shape.
    pub event_version: &'static str,
    /// Compact JSON, without a line feed.
    pub payload: Box<RawValue>,
    /// Which fields of which events are personal, and whose: [`EventStore::append`] seals them.
    ///
    /// [`EventStore::append`]: crate::EventStore::append
    pub personal: &'static [PersonalFields],
}

impl NewEvent {
    /// `event` ready to be appended under `event_id`.
    ///
    /// # Errors
    /// When the event cannot be written as JSON (a map with keys that are no texts, say).
    pub fn encode<E: Event>(event_id: Uuid, event: &E) -> Result<Self, serde_json::Error> {
        Ok(Self {
            event_id,
            event_type: event.name(),
            event_version: event.version(),
            payload: serde_json::value::to_raw_value(event)?,
            personal: E::PERSONAL,
        })
    }

    /// The personal fields that an event of this type has.
    pub(crate) fn personal(&self) -> impl Iterator<Item = &'static PersonalFields> {
        let event_type = self.event_type;
        self.personal
            .iter()
            .filter(move |personal| personal.event == event_type)
    }
}

/// Something that only one owner can hold at a time, such as a handle.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Claim {
    /// The frozen name of the kind of claim, for instance `identity.handle`.
    pub scope: &'static str,
    /// What is claimed, in its canonical form.
    pub key: String,
    /// Who holds it.
    pub owner: Uuid,
}

/// What became of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// Its events stand at these positions, durably.
    Committed {
        /// The position of its first event.
        first: Position,
        /// Its last event.
        last: Anchor,
    },
    /// This very command had been applied before; nothing was appended now.
    Duplicate(StoredCommand),
    /// The command id belongs to a different command; nothing was appended.
    Reused,
    /// An aggregate had moved on; nothing was appended.
    Conflict {
        /// Its kind.
        aggregate_type: String,
        /// Its id.
        aggregate_id: String,
        /// The sequence of its last event now.
        actual_version: i64,
    },
    /// Somebody holds a claim that the command wanted; nothing was appended.
    ClaimTaken {
        /// The kind of claim.
        scope: String,
        /// What is claimed.
        key: String,
    },
}

/// What the log keeps of a command that appended something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCommand {
    /// The kind of its subject.
    pub aggregate_type: String,
    /// Its subject: the first aggregate it named.
    pub aggregate_id: String,
    /// The subject's version right after the command.
    pub version: i64,
    /// The position of its first event.
    pub first: Position,
    /// The position of its last event.
    pub last: Position,
    /// What it asked for, hashed.
    pub fingerprint: [u8; 32],
}

/// Why an append got no answer.
#[derive(Debug, Clone, Error)]
pub enum AppendError {
    /// The command breaks a limit of this module or appends nothing.
    #[error("the command cannot be appended: {reason}")]
    Refused {
        /// Which limit.
        reason: &'static str,
    },
    /// The database could not be reached, or stopped answering, before the deadline. When
    /// `outcome_unknown` the events may be in the log; the same command id finds out.
    #[error("the log cannot be reached")]
    Unavailable {
        /// Whether the batch had been sent at least once.
        outcome_unknown: bool,
    },
    /// The database refused this command for a reason that no retry mends.
    #[error("the log refused the command")]
    Rejected(#[source] std::sync::Arc<sqlx::Error>),
    /// The key of somebody whose data the events hold could not be had.
    #[error("the keys of personal data cannot be had")]
    Keys(#[source] std::sync::Arc<KeyError>),
    /// A personal field could not be sealed.
    #[error("a personal field cannot be sealed")]
    Seal(#[source] SealError),
    /// The appender has stopped: the process is going down.
    #[error("the log is closing")]
    Closed,
}

impl Append {
    /// Checks the limits of this module, so that one command cannot spoil a batch.
    pub(crate) fn check(&self) -> Result<(), AppendError> {
        let refuse = |reason| Err(AppendError::Refused { reason });
        let events = self
            .streams
            .iter()
            .map(|stream| stream.events.len())
            .sum::<usize>();
        if self
            .streams
            .first()
            .is_none_or(|subject| subject.events.is_empty())
        {
            return refuse("its first stream has no event");
        }
        if events > EVENTS_PER_COMMAND_MAX {
            return refuse("more than 1000 events");
        }
        if self.streams.len() > STREAMS_PER_COMMAND_MAX {
            return refuse("more than 100 streams");
        }
        let metadata = self
            .metadata
            .iter()
            .map(|(key, value)| key.len() + value.len());
        if metadata.sum::<usize>() > METADATA_BYTES_MAX {
            return refuse("more than 16384 bytes of metadata");
        }
        for (index, stream) in self.streams.iter().enumerate() {
            let twice = self.streams.iter().skip(index + 1).any(|other| {
                other.aggregate_id == stream.aggregate_id
                    && other.aggregate_type == stream.aggregate_type
            });
            if twice {
                return refuse("it names one aggregate twice");
            }
            for event in &stream.events {
                if event.payload.get().len() > PAYLOAD_BYTES_MAX {
                    return refuse("a payload of more than 524288 bytes");
                }
                // PostgreSQL's text cannot hold NUL, and a line feed would make the digest ambiguous.
                if event.payload.get().contains('\n') || event.payload.get().contains("\\u0000") {
                    return refuse("a payload with a line feed or a NUL character");
                }
            }
        }
        Ok(())
    }

    /// The version of the subject once the command is applied.
    pub(crate) fn subject_version(&self) -> i64 {
        self.streams.first().map_or(0, StreamAppend::version_after)
    }
}

impl StreamAppend {
    /// Whether the aggregate was only read.
    pub(crate) const fn is_dependency(&self) -> bool {
        self.events.is_empty()
    }

    /// The aggregate's version once its events are in.
    #[must_use]
    pub fn version_after(&self) -> i64 {
        let added = i64::try_from(self.events.len()).unwrap_or(i64::MAX);
        self.expected_version.saturating_add(added)
    }
}
