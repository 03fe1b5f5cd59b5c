//! Checks a whole log, or an export of it, against its digests, its order, its tree and its
//! signatures.
//!
//! - [`log`]: the log in PostgreSQL, against every checkpoint that is stored.
//! - [`export`]: a file, with nothing but a key.
//! - `commands`: the table of commands, derived from the events.
//! - `witnesses`: the cosignatures that a policy demands.
//! - `order`: the numbers of events within their aggregates, in flat memory.
//!
//! Whatever the size, memory stays flat, and all cores hash.

mod block;
mod checkpoints;
mod commands;
pub mod export;
pub mod log;
mod order;
mod witnesses;

use super::note::NoteError;
use crate::event::{Digest, LogEvent};
use crate::export::BadLine;
use crate::position::Position;
use serde::Deserialize;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use thiserror::Error;
use uuid::Uuid;

/// The most findings that are kept; the rest are counted.
pub const FINDINGS_MAX: usize = 100;

/// Something that is not as it was sealed. As text it names the position and what is wrong.
#[derive(Debug, Error)]
pub enum Finding {
    /// Events are missing.
    #[error("{}: missing", Positions(*first, *last))]
    Missing {
        /// The first of them.
        first: Position,
        /// The last of them.
        last: Position,
    },
    /// A stored field was changed, or the digest was.
    #[error("position {position}: the stored fields do not give the stored digest")]
    Digest {
        /// Where.
        position: Position,
    },
    /// An event and its digest agree, but it is not the event that was sealed.
    #[error("position {position}: not the event that was sealed there")]
    Replaced {
        /// Where.
        position: Position,
    },
    /// An event has another number within its aggregate than the next one.
    #[error("position {position}: number {found} of its aggregate comes after number {before}")]
    Sequence {
        /// Where.
        position: Position,
        /// The number that it has.
        found: i64,
        /// The number of the event of its aggregate before it; 0 when there is none.
        before: i64,
    },
    /// The events do not give the root that was signed, and which of them is to blame cannot be said.
    #[error("{}: not the events that were sealed, though each fits its own digest: events were exchanged, moved or replaced", Positions(*first, *last))]
    Root {
        /// The first that may be to blame.
        first: Position,
        /// The last.
        last: Position,
    },
    /// A checkpoint cannot be believed.
    #[error("position {size}: the checkpoint that seals the log up to here cannot be believed")]
    Checkpoint {
        /// The size of its tree, as it says.
        size: Position,
        /// Why not.
        #[source]
        source: NoteError,
    },
    /// What is stored beside a note is not what the note says.
    #[error(
        "position {size}: the checkpoint that seals the log up to here is not stored as it was signed"
    )]
    CheckpointRow {
        /// The size that is stored.
        size: Position,
    },
    /// A stored hash of the tree is wrong or missing, so that proofs fail.
    #[error("{}: the stored hash over them is not theirs", Positions(*first, *last))]
    Hash {
        /// The first event below it.
        first: Position,
        /// The last event below it.
        last: Position,
    },
    /// The log does not go on from a checkpoint that the auditor kept.
    #[error("position {size}: the log up to here is not the one of the checkpoint that was given")]
    Kept {
        /// The size of its tree.
        size: Position,
    },
    /// The log does not go on from a checkpoint that a witness cosigned.
    #[error("position {size}: the log up to here is not the one that {witness} cosigned")]
    Witnessed {
        /// The size of its tree.
        size: Position,
        /// The name of the witness.
        witness: String,
    },
    /// Not enough of the witnesses that are demanded say that the log ends where it does.
    #[error("positions after {size}: not cosigned as demanded: {why}")]
    NotWitnessed {
        /// Up to where every demanded cosignature holds that does.
        size: Position,
        /// What is wrong with each witness that does not count.
        why: String,
    },
    /// Events have waited longer for their checkpoint than they ever do while all is well.
    #[error("{}: not sealed, and older than a minute", Positions(*first, *last))]
    Unsealed {
        /// The first of them.
        first: Position,
        /// The last of them.
        last: Position,
    },
    /// A command is not recorded as its events say: a repetition would get another answer.
    #[error("position {position}: the command {command} is not recorded as its events say")]
    Command {
        /// Its first event.
        position: Position,
        /// The command.
        command: Uuid,
    },
    /// A command is not recorded: a repetition would be applied again.
    #[error("position {position}: the command {command} is not recorded")]
    CommandMissing {
        /// Its first event.
        position: Position,
        /// The command.
        command: Uuid,
    },
    /// A command is recorded that no event is of: whoever sends it is told that it was done.
    #[error("position {position}: the command {command} is recorded there, and no event is of it")]
    CommandSurplus {
        /// Where its first event should be.
        position: Position,
        /// The command.
        command: Uuid,
    },
    /// Events of a file are not in the order of the log.
    #[error("line {line}: position {position} comes after position {after}")]
    Order {
        /// The line.
        line: u64,
        /// The position in it.
        position: Position,
        /// The position before.
        after: Position,
    },
    /// A line of a file is no event.
    #[error("line {line}, after position {after}: no event")]
    Line {
        /// The line.
        line: u64,
        /// The last position before it.
        after: Position,
        /// What is wrong with it.
        #[source]
        source: BadLine,
    },
    /// A file was cut.
    #[error("the file is cut after position {after}: it has no trailer")]
    Cut {
        /// The last position in it.
        after: Position,
    },
    /// Something follows where the file should have ended, or is too long to be an event.
    #[error("line {line}, after position {after}: more than an export can have there")]
    Surplus {
        /// The line.
        line: u64,
        /// The last position before it.
        after: Position,
    },
    /// The trailer does not fit the file.
    #[error(
        "position {last}: the file has {events} events up to here, and its trailer says otherwise"
    )]
    Trailer {
        /// The last position in the file.
        last: Position,
        /// How many events there are.
        events: u64,
    },
}

/// One position, or several.
struct Positions(Position, Position);

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == self.1 {
            write!(f, "position {}", self.0)
        } else {
            write!(f, "positions {} to {}", self.0, self.1)
        }
    }
}

impl Finding {
    /// Where it is: findings are shown in this order.
    #[must_use]
    pub const fn position(&self) -> Position {
        match self {
            Self::Missing { first, .. }
            | Self::Root { first, .. }
            | Self::Hash { first, .. }
            | Self::Unsealed { first, .. } => *first,
            Self::Digest { position }
            | Self::Replaced { position }
            | Self::Sequence { position, .. }
            | Self::Command { position, .. }
            | Self::CommandMissing { position, .. }
            | Self::CommandSurplus { position, .. }
            | Self::Order { position, .. } => *position,
            Self::Checkpoint { size, .. }
            | Self::CheckpointRow { size }
            | Self::Kept { size }
            | Self::Witnessed { size, .. }
            | Self::NotWitnessed { size, .. } => *size,
            Self::Line { after, .. } | Self::Cut { after } | Self::Surplus { after, .. } => *after,
            Self::Trailer { last, .. } => *last,
        }
    }
}

/// What was found, as far as it is kept.
#[derive(Debug, Default)]
pub struct Findings {
    kept: Vec<Finding>,
    total: u64,
}

impl Findings {
    fn add(&mut self, finding: Finding) {
        self.total += 1;
        if self.kept.len() < FINDINGS_MAX {
            self.kept.push(finding);
        }
    }

    fn sort(&mut self) {
        self.kept.sort_by_key(Finding::position);
    }

    /// The first [`FINDINGS_MAX`], in the order of their positions.
    #[must_use]
    pub fn kept(&self) -> &[Finding] {
        &self.kept
    }

    /// How many there are, those that are not kept included.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }
}

/// An event, as far as its place is concerned.
#[derive(Debug, Clone, Copy)]
struct Seen {
    position: Position,
    digest: Digest,
    /// Whether the stored fields give the digest.
    intact: bool,
    /// Its aggregate, hashed.
    aggregate: u64,
    sequence: i64,
    /// The command that it is of, as its metadata say.
    command: Option<Uuid>,
}

/// The part of the metadata that names the command.
#[derive(Deserialize)]
struct OfCommand {
    command_id: Uuid,
}

/// The command that these metadata name.
fn command_of(metadata: &str) -> Option<Uuid> {
    let named: Result<OfCommand, _> = serde_json::from_str(metadata);
    named.ok().map(|named| named.command_id)
}

impl Seen {
    fn of(event: &LogEvent, hasher: &RandomState) -> Self {
        Self {
            position: event.position,
            digest: event.digest,
            intact: event.computed_digest() == event.digest,
            aggregate: hasher.hash_one((&event.aggregate_type, &event.aggregate_id)),
            sequence: event.sequence,
            command: command_of(event.metadata.get()),
        }
    }
}
