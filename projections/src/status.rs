//! What a runner tells about its projection.

use touchline_eventstore::Position;

/// How a projection stands, as the runner in this process sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectionStatus {
    /// The projection's name.
    pub name: &'static str,
    /// Up to where the log was folded when this runner last led; it moves only while it does.
    pub position: Position,
    /// What the runner does.
    pub state: ProjectionState,
    /// How many aggregates are parked.
    pub parked_aggregates: u64,
}

/// What a runner does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProjectionState {
    /// It leads, and folds what comes.
    Running,
    /// It does not lead: another process does, or the database is away.
    Standby,
    /// Somebody paused it.
    Paused {
        /// Who.
        by: String,
    },
    /// It met something that this build cannot go past. It looks again from time to time.
    Halted {
        /// Why, for an operator.
        reason: String,
        /// The first event that is not folded.
        position: Position,
    },
}
