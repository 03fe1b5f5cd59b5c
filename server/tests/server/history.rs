//! What the clients did, and what they were told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use uuid::Uuid;

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Something new, under an idempotency key: whatever was lost on the way, there is one of it.
    Create,
    /// A post of one's own changed from the version that was seen.
    Change,
    /// A relation that is to be there or not. Asked for again, it changes nothing.
    Relate(Relation),
    /// Something that must be refused.
    Nonsense,
}

/// Whether somebody likes a post or follows somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    /// The two whom it relates, as its events name them.
    pub(crate) pair: [String; 2],
    /// Whether it is to be there.
    pub(crate) wanted: bool,
}

/// One request on its way: its id becomes the correlation id of the events that it makes.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) request: Uuid,
    pub(crate) outcome: Outcome,
}

/// What the client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was done: this position has it.
    Acknowledged { position: i64 },
    /// It was not done.
    Refused { status: u16, code: String },
    /// No answer, or one that leaves open whether it was done.
    Unknown,
}

/// An intent with all its attempts, in order.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    #[expect(dead_code, reason = "shown when a check fails")]
    pub(crate) what: String,
    pub(crate) intent: Intent,
    pub(crate) attempts: Vec<Attempt>,
}

/// Everything that happened to the clients of one test.
#[derive(Default)]
pub(crate) struct History {
    operations: Mutex<Vec<Operation>>,
    complaints: Mutex<Vec<String>>,
    sent: AtomicU64,
    acknowledged: AtomicU64,
    unknown: AtomicU64,
}

impl History {
    /// Notes that a request goes out.
    pub(crate) fn sends(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes what became of a request.
    pub(crate) fn hears(&self, outcome: &Outcome) {
        let count = match outcome {
            Outcome::Acknowledged { .. } => &self.acknowledged,
            Outcome::Unknown => &self.unknown,
            Outcome::Refused { .. } => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds an operation that is over.
    pub(crate) fn add(&self, operation: Operation) {
        let mut operations = self
            .operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        operations.push(operation);
    }

    /// Notes an answer that a client must never get.
    pub(crate) fn complain(&self, complaint: String) {
        let mut complaints = self
            .complaints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        complaints.push(complaint);
    }

    /// How many requests went out.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How many requests were acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// How many requests got no answer that says whether they were done.
    pub(crate) fn unknown(&self) -> u64 {
        self.unknown.load(Ordering::Relaxed)
    }

    pub(crate) fn operations(&self) -> Vec<Operation> {
        let operations = self
            .operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        operations.clone()
    }

    pub(crate) fn complaints(&self) -> Vec<String> {
        let complaints = self
            .complaints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        complaints.clone()
    }
}
