//! A rebuild under way: from the empty tables to the swap.

use super::swap::Swapped;
use super::{Rebuild, RebuildState, fail};
use crate::batch::Writer;
use crate::checkpoint::{self, Standing};
use crate::fill::{FillError, Filled, Filling, Split};
use crate::projection::ReadModel;
use crate::verify::compare::{self, Comparison};
use crate::verify::snapshot::{Snapshot, Taken};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use std::time::Duration;
use thiserror::Error;
use tokio::time::sleep;
use touchline_eventstore::Position;
use touchline_eventstore::store::ReadError;

/// The pause after a swap from which the runner ran away.
const SWAP_PAUSE: Duration = Duration::from_millis(50);
/// How long new readers may be kept waiting behind a swap that waits for earlier ones; it doubles with
/// each swap that they do not let through, since their reads may all be longer.
const READERS_WAIT: Duration = Duration::from_millis(50);
/// The longest such wait.
const READERS_WAIT_MAX: Duration = Duration::from_millis(800);
/// How many times as long as readers were kept waiting they are left alone afterwards.
const READERS_REST: u32 = 20;

/// What ends a rebuild's turn. It may go away by itself, and the next turn goes on.
#[derive(Debug, Error)]
pub(crate) enum RebuildError {
    #[error("the database cannot be reached or refused a statement")]
    Database(#[from] sqlx::Error),
    #[error("the log cannot be read")]
    Read(#[from] ReadError),
    #[error("the tables cannot be filled")]
    Fill(#[from] FillError),
}

/// How a rebuild's turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The new tables serve.
    Done,
    /// It cannot go on, and says so.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
    /// Another worker has it.
    Fenced,
}

/// A rebuild on its way.
pub(crate) struct Rebuilding {
    pub(crate) filling: Filling,
    pub(crate) rebuild: Rebuild,
}

/// The name of the schema and checkpoint that a rebuild fills.
pub(crate) fn next_of(name: &str) -> String {
    format!("{name}__next")
}

/// The name of the schema that served before the swap.
pub(crate) fn old_of(name: &str) -> String {
    format!("{name}__old")
}

impl Rebuilding {
    pub(super) fn model(&self) -> &dyn ReadModel {
        &*self.filling.model
    }

    pub(super) fn pool(&self) -> &PgPool {
        self.filling.store.pool()
    }

    /// Goes on from wherever it is, to the end.
    pub(crate) async fn run(&self) -> Result<Ended, RebuildError> {
        let split = match self.begin().await? {
            Ok(split) => split,
            Err(ended) => return Ok(ended),
        };
        let next = next_of(self.model().name());
        let done = checkpoint::standing(self.pool(), &next).await?;
        let done = done.map_or(Position::START, |done| done.position);
        self.filling.progress.resume(done, self.rebuild.events);
        match self.filling.fill_split(&split).await? {
            Filled::Reached => {}
            other => return self.give_up(other).await,
        }
        let Some(mut writer) = self.filling.writer(&next).await? else {
            return Ok(Ended::Fenced);
        };
        let mut compared = false;
        let mut wait = READERS_WAIT;
        loop {
            let goal = self.goal().await?;
            if !self.filling.is_near(writer.position(), goal) {
                let (filled, writers) = self.filling.fill(vec![writer], goal).await?;
                let Some(same) = writers.into_iter().next() else {
                    return Ok(Ended::Fenced);
                };
                writer = same;
                if filled != Filled::Reached {
                    return self.give_up(filled).await;
                }
                continue;
            }
            if !compared {
                self.analyze().await?;
                let Some(found) = self.compare(&mut writer).await? else {
                    continue;
                };
                self.report_drift(found.drift_rows).await?;
                compared = true;
            }
            match self.swap(&mut writer, wait).await? {
                Swapped::Done { pause } => {
                    self.report_pause(pause).await?;
                    return Ok(Ended::Done);
                }
                Swapped::NotYet => sleep(SWAP_PAUSE).await,
                Swapped::InUse => {
                    sleep(wait * READERS_REST).await;
                    wait = (wait * 2).min(READERS_WAIT_MAX);
                }
                Swapped::Cancelled => return Ok(Ended::Cancelled),
                Swapped::Not(filled) => return self.give_up(filled).await,
            }
        }
    }

    async fn give_up(&self, filled: Filled) -> Result<Ended, RebuildError> {
        let Filled::Halted { reason, position } = filled else {
            return Ok(Ended::Fenced);
        };
        let name = self.model().name();
        tracing::error!(projection = name, reason, %position, "rebuild of projection {name} failed");
        let failure = format!("at position {position}: {reason}");
        fail(self.pool(), self.rebuild.rebuild_id, &failure).await?;
        Ok(Ended::Failed)
    }

    /// Makes the tables and the checkpoints when this is the first turn, and says how the work is
    /// shared.
    async fn begin(&self) -> Result<Result<Split, Ended>, RebuildError> {
        let name = self.model().name();
        let next = next_of(name);
        let goal = self.goal().await?;
        let mut connection = self.pool().acquire().await?.detach();
        let mut transaction = connection.begin().await?;
        checkpoint::lock_schema(&mut transaction, &next).await?;
        let state = sqlx::query!(
            r#"
            SELECT rebuilds.state, rebuilds.writers, rebuilds.split_until,
                   checkpoints.version AS "version?", checkpoints.epoch AS "epoch?",
                   EXISTS (SELECT FROM pg_namespace WHERE pg_namespace.nspname = $2) AS "has_schema!"
            FROM operations.rebuilds LEFT JOIN operations.checkpoints ON checkpoints.projection = $2
            WHERE rebuilds.rebuild_id = $1 FOR UPDATE OF rebuilds
            "#,
            self.rebuild.rebuild_id,
            next,
        )
        .fetch_one(&mut *transaction)
        .await?;
        if RebuildState::parse(&state.state).is_over() {
            return Ok(Err(Ended::Cancelled));
        }
        if state.epoch.is_some_and(|epoch| epoch > self.filling.epoch) {
            return Ok(Err(Ended::Fenced));
        }
        let goes_on = RebuildState::parse(&state.state) != RebuildState::Requested
            && state.has_schema
            && state.version == Some(self.model().version());
        let split = if goes_on {
            Split {
                writers: usize::try_from(state.writers).unwrap_or(1),
                until: checkpoint::position(state.split_until),
            }
        } else {
            let split = self.filling.plan(goal);
            self.start(&mut transaction, &split).await?;
            split
        };
        transaction.commit().await?;
        connection.close().await?;
        Ok(Ok(split))
    }

    /// The empty tables, with a checkpoint for each writer.
    async fn start(&self, connection: &mut PgConnection, split: &Split) -> Result<(), sqlx::Error> {
        self.filling.make(connection, split).await?;
        let writers = i32::try_from(split.writers).unwrap_or(1);
        sqlx::query!(
            "
            UPDATE operations.rebuilds
            SET state = 'running', writers = $2, split_until = $3, position = 0, events = 0,
                started_at = coalesce(rebuilds.started_at, now()), updated_at = now()
            WHERE rebuilds.rebuild_id = $1
            ",
            self.rebuild.rebuild_id,
            writers,
            split.until.get(),
        )
        .execute(connection)
        .await
        .map(drop)
    }

    /// Where the serving tables of this version are. While nobody moves those, the end of the log.
    async fn goal(&self) -> Result<Position, RebuildError> {
        match checkpoint::standing(self.pool(), self.model().name()).await? {
            Some(live) if self.is_led(&live) => Ok(live.position),
            live => {
                let head = self.filling.store.head().await?;
                Ok(live.map_or(head, |live| head.max(live.position)))
            }
        }
    }

    fn is_led(&self, live: &Standing) -> bool {
        live.version == self.model().version() && !live.is_halted
    }

    /// What the planner has to know of the new tables before anybody reads them.
    async fn analyze(&self) -> Result<(), RebuildError> {
        let next = next_of(self.model().name());
        let mut connection = self.filling.connect().await?;
        let tables = compare::tables(&mut connection, &next).await?;
        if !tables.is_empty() {
            let statement = format!("ANALYZE {}", tables.join(", "));
            connection.execute(statement.as_str()).await?;
        }
        connection.close().await?;
        Ok(())
    }

    /// Compares the serving tables with the new ones at the same position. None when the serving
    /// ones have gone too far ahead meanwhile.
    async fn compare(&self, writer: &mut Writer) -> Result<Option<Comparison>, RebuildError> {
        match Snapshot::take(&self.filling, writer).await? {
            Taken::Same(snapshot) => Ok(Some(snapshot.compare().await?)),
            Taken::TooFar => Ok(None),
            // Nothing to compare with; or the swap comes to the same end, and tells.
            Taken::Incomparable | Taken::Not(_) => Ok(Some(Comparison::default())),
        }
    }

    async fn report_drift(&self, drift_rows: Option<i64>) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "
            UPDATE operations.rebuilds SET state = 'swapping', drift_rows = $2, updated_at = now()
            WHERE rebuilds.rebuild_id = $1 AND rebuilds.state = 'running'
            ",
            self.rebuild.rebuild_id,
            drift_rows,
        )
        .execute(self.pool())
        .await
        .map(drop)
    }

    async fn report_pause(&self, pause: Duration) -> Result<(), sqlx::Error> {
        let name = self.model().name();
        let micros = i64::try_from(pause.as_micros()).unwrap_or(i64::MAX);
        tracing::info!(
            projection = name,
            pause_us = micros,
            "projection {name} was rebuilt"
        );
        sqlx::query!(
            "UPDATE operations.rebuilds SET swap_pause_us = $2 WHERE rebuilds.rebuild_id = $1",
            self.rebuild.rebuild_id,
            micros,
        )
        .execute(self.pool())
        .await
        .map(drop)
    }
}

/// Drops a schema beside the serving one, with its checkpoints, unless a later epoch has it.
pub(crate) async fn drop_leftovers(
    pool: &PgPool,
    schema: &str,
    epoch: i64,
) -> Result<(), sqlx::Error> {
    let mut connection = pool.acquire().await?.detach();
    let mut transaction = connection.begin().await?;
    // Whoever still reads the old tables is waited for, but new readers must not wait long behind.
    transaction
        .execute("SET LOCAL lock_timeout = '200ms'")
        .await?;
    checkpoint::lock_schema(&mut transaction, schema).await?;
    let later = sqlx::query_scalar!(
        r#"
        SELECT EXISTS (SELECT FROM operations.checkpoints
                       WHERE checkpoints.projection = $1 AND checkpoints.epoch > $2) AS "later!"
        "#,
        schema,
        epoch,
    )
    .fetch_one(&mut *transaction)
    .await?;
    if later {
        return Ok(());
    }
    checkpoint::forget(&mut transaction, schema).await?;
    let statement = format!(r#"DROP SCHEMA IF EXISTS "{schema}" CASCADE"#);
    transaction.execute(statement.as_str()).await?;
    transaction.commit().await?;
    connection.close().await
}
