//! People who were erased, as read models keep them: an id, and nothing else.
//!
//! A read model forgets a person at the event that says so, whatever was written of them before. A
//! process that had them in memory may append something of theirs a moment later; and when a log is
//! folded again their key is gone from the beginning. All three must lead to the same rows (L7), so
//! batches end with an erasure, and what comes after it is passed over.

use crate::projection::ProjectError;
use sqlx::PgConnection;
use std::collections::BTreeSet;
use touchline_eventstore::LogEvent;
use uuid::Uuid;

/// The event that erases a person.
pub(crate) const ACCOUNT_ERASED: &str = "identity.account_erased";

/// What a fold of events tells of people.
pub(crate) trait People: Sized {
    /// What `events` change, passing over everything by and about those in `erased`.
    fn fold(events: &[LogEvent], erased: &BTreeSet<Uuid>) -> Result<Self, ProjectError>;

    /// Everybody of whom something would be written.
    fn mentioned(&self) -> BTreeSet<Uuid>;
}

/// `events` in parts that each end with an erasure, but for the last.
pub(crate) fn parts(events: &[LogEvent]) -> impl Iterator<Item = &[LogEvent]> {
    events.split_inclusive(|event| event.event_type == ACCOUNT_ERASED)
}

/// Folds a part, as it is for those who are not erased yet.
pub(crate) async fn fold<F: People>(
    connection: &mut PgConnection,
    part: &[LogEvent],
) -> Result<F, ProjectError> {
    let fold = F::fold(part, &BTreeSet::new())?;
    let mentioned: Vec<Uuid> = fold.mentioned().into_iter().collect();
    if mentioned.is_empty() {
        return Ok(fold);
    }
    let erased: Vec<Uuid> =
        sqlx::query_scalar("SELECT erased.user_id FROM erased WHERE erased.user_id = ANY ($1)")
            .bind(mentioned)
            .fetch_all(connection)
            .await?;
    if erased.is_empty() {
        return Ok(fold);
    }
    F::fold(part, &erased.into_iter().collect())
}
