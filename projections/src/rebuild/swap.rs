//! The swap: the new tables take the serving ones' name in one transaction.
//!
//! Renaming a schema waits for nobody, and that is not enough: a statement that names two tables
//! looks up one after the other, and could find one before the renaming and one after. So the
//! serving tables are locked against everybody for the moment of the renaming ([`Gate`]). Whoever has
//! begun to read is waited for, for a bounded time; whoever comes then finds the new tables.

use super::gate::{Closing, Gate};
use super::job::{RebuildError, Rebuilding, next_of, old_of};
use super::{drop_leftovers, finish};
use crate::batch::Writer;
use crate::checkpoint;
use crate::fill::Filled;
use crate::verify::compare;
use sqlx::{Connection as _, Executor as _, PgConnection};
use std::time::{Duration, Instant};
use touchline_eventstore::Position;

/// How long the swap may wait for what keeps no reader waiting: the runner's batch, a vacuum.
pub(super) const WRITERS_WAIT_MAX: &str = "3s";

/// How an attempt to swap ended.
pub(super) enum Swapped {
    /// The new tables serve.
    Done {
        /// How long nobody could begin to read.
        pause: Duration,
    },
    /// The runner was in the way, or went ahead; nothing has happened.
    NotYet,
    /// Readers were in the way; nothing has happened.
    InUse,
    /// The rebuild was cancelled.
    Cancelled,
    /// The new tables could not be brought up to the serving ones.
    Not(Filled),
}

impl Rebuilding {
    /// Tries once, and keeps new readers waiting for `readers_wait` at most.
    pub(super) async fn swap(
        &self,
        writer: &mut Writer,
        readers_wait: Duration,
    ) -> Result<Swapped, RebuildError> {
        match self.try_swap(writer, readers_wait).await {
            Err(RebuildError::Database(error)) if checkpoint::is_locked(&error) => {
                Ok(Swapped::NotYet)
            }
            other => other,
        }
    }

    async fn try_swap(
        &self,
        writer: &mut Writer,
        readers_wait: Duration,
    ) -> Result<Swapped, RebuildError> {
        let old = old_of(self.model().name());
        drop_leftovers(self.pool(), &old, self.filling.epoch).await?;
        let mut connection = self.pool().acquire().await?.detach();
        self.swap_on(&mut connection, writer, readers_wait).await
    }

    async fn swap_on(
        &self,
        connection: &mut PgConnection,
        writer: &mut Writer,
        readers_wait: Duration,
    ) -> Result<Swapped, RebuildError> {
        let name = self.model().name();
        let (next, old) = (next_of(name), old_of(name));
        let mut transaction = connection.begin().await?;
        // It must not outlive the gate when this process is paused.
        let settings = format!(
            "SET LOCAL lock_timeout = '{WRITERS_WAIT_MAX}';
             SET LOCAL idle_in_transaction_session_timeout = '5s'"
        );
        transaction.execute(settings.as_str()).await?;
        checkpoint::lock_schema(&mut transaction, name).await?;
        let tables = compare::tables(&mut transaction, name).await?;
        let mut gate = Gate::before(&self.filling.database, tables).await?;

        let live = checkpoint::lock(&mut transaction, name).await?;
        // Tables of a history that the log has lost are nothing to catch up with.
        let is_in_log = checkpoint::is_in_log(&mut *transaction, name).await?;
        let goal = if is_in_log {
            live.position
        } else {
            writer.position()
        };
        if !self.filling.is_near(writer.position(), goal) {
            self.filling.pace.outran();
            return Ok(Swapped::NotYet);
        }
        match self.filling.catch_up(writer, goal).await? {
            Filled::Reached => {}
            other => return Ok(Swapped::Not(other)),
        }
        if !is_ours(
            &mut transaction,
            &next,
            self.filling.epoch,
            writer.position(),
        )
        .await?
        {
            return Ok(Swapped::Not(Filled::Fenced));
        }
        let events = self.filling.progress.events();
        let (id, position) = (self.rebuild.rebuild_id, writer.position());
        if !finish(&mut transaction, id, position, events).await? {
            return Ok(Swapped::Cancelled);
        }
        let same = is_in_log && (live.version, live.position) == (self.model().version(), position);
        self.take_over(&mut transaction, same, position).await?;

        let begun = Instant::now();
        match gate.close(readers_wait).await? {
            Closing::Closed => {}
            Closing::InUse => return Ok(Swapped::InUse),
        }
        let swap = format!(
            r#"ALTER SCHEMA "{name}" RENAME TO "{old}"; ALTER SCHEMA "{next}" RENAME TO "{name}""#
        );
        transaction.execute(swap.as_str()).await?;
        gate.hold().await?;
        transaction.commit().await?;
        gate.open().await?;
        let pause = begun.elapsed();
        Ok(Swapped::Done { pause })
    }

    /// Gives the serving checkpoint what belongs to the new tables. When they are of the `same` version
    /// and position as those that served, the runner goes on as if nothing had happened, unless what it
    /// knows of parked aggregates is no more true.
    async fn take_over(
        &self,
        connection: &mut PgConnection,
        same: bool,
        position: Position,
    ) -> Result<(), sqlx::Error> {
        let name = self.model().name();
        let next = next_of(name);
        sqlx::query!(
            "
            UPDATE operations.checkpoints
            SET version = $2, position = $3, halted = NULL, updated_at = now(),
                digest = (SELECT events.digest FROM log.events WHERE events.position = $3),
                generation = checkpoints.generation + CASE
                    WHEN $4 AND NOT EXISTS (
                        SELECT FROM operations.parked_aggregates
                        WHERE parked_aggregates.projection IN ($1, $5)) THEN 0 ELSE 1 END
            WHERE checkpoints.projection = $1
            ",
            name,
            self.model().version(),
            position.get(),
            same,
            next,
        )
        .execute(&mut *connection)
        .await?;
        checkpoint::unpark_all(connection, name).await?;
        checkpoint::move_parked(connection, std::slice::from_ref(&next), name).await?;
        // What was sampled before says nothing about the new tables.
        sqlx::query!(
            "
            WITH sampled AS (DELETE FROM operations.samples WHERE samples.projection = $1)
            DELETE FROM operations.checkpoints WHERE checkpoints.projection = $2
            ",
            name,
            next,
        )
        .execute(connection)
        .await
        .map(drop)
    }
}

/// Whether the new tables are this worker's, and filled as far as it believes, until the transaction
/// ends.
async fn is_ours(
    connection: &mut PgConnection,
    next: &str,
    epoch: i64,
    position: Position,
) -> Result<bool, sqlx::Error> {
    let found = sqlx::query!(
        "
        SELECT checkpoints.epoch, checkpoints.position FROM operations.checkpoints
        WHERE checkpoints.projection = $1 FOR UPDATE
        ",
        next,
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.is_some_and(|found| found.epoch == epoch && found.position == position.get()))
}
