//! Where time and ids come from. The composition root supplies the real ones; tests supply fixed
//! ones, so that a run can be repeated to the byte.

use chrono::{DateTime, SubsecRound, Utc};
use uuid::Uuid;

/// An instant in UTC with microsecond precision, which is what the log stores.
pub type Timestamp = DateTime<Utc>;

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The time now, cut to whole microseconds.
    fn now(&self) -> Timestamp;
}

/// Makes new ids.
pub trait IdSource: Send + Sync + 'static {
    /// A new UUID v7, never given before.
    fn next(&self) -> Uuid;
}

/// `time` without the nanoseconds that PostgreSQL would lose, so that a value read back equals the
/// value written.
#[must_use]
pub fn to_micros(time: DateTime<Utc>) -> Timestamp {
    time.trunc_subsecs(6)
}
