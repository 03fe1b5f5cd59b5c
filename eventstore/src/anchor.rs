//! A place in one history of the log.

use crate::event::Digest;
use crate::position::Position;

/// A position and the digest of the event there.
///
/// A position alone does not tell histories apart: a log that was restored to an earlier state, or
/// failed over to a replica that was behind, soon has other events at the positions of those that it
/// lost. Their digests differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// Where the event stands.
    pub position: Position,
    /// Its digest.
    pub digest: Digest,
}

impl Anchor {
    /// Before the first event; it is in every history.
    pub const START: Self = Self {
        position: Position::START,
        digest: Digest::new([0; 32]),
    };
}
