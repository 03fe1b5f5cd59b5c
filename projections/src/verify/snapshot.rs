//! The serving tables and others, seen at exactly the same position.

use super::compare::{self, Comparison, Pair};
use crate::batch::{Writer, Written};
use crate::checkpoint;
use crate::fill::{FillError, Filled, Filling, Pace};
use crate::sweep;
use sqlx::{Connection as _, Executor as _, PgConnection};
use std::sync::Arc;
use tokio_util::task::AbortOnDropHandle;
use touchline_eventstore::Position;

/// The settings of sessions that read whole tables: each takes the core that it was given, and no
/// more.
const ONE_CORE: [(&str, &str); 1] = [("max_parallel_workers_per_gather", "0")];

/// How many steps of a sweep are taken on each side while the runner waits. Whoever deletes all the time
/// leaves a few tombstones in each moment; there must be moments with none.
const SWEEPS_UNDER_LOCK: usize = 5;

/// Serving tables and others at one position, as long as this lives.
pub(crate) struct Snapshot {
    live: PgConnection,
    other: PgConnection,
    pair: Pair,
    pace: Arc<Pace>,
    _watching: AbortOnDropHandle<()>,
    pub(crate) position: Position,
}

/// What came of taking a snapshot.
pub(crate) enum Taken {
    /// Here it is.
    Same(Box<Snapshot>),
    /// The serving tables have gone too far ahead, or something was taken away whose rows are not gone
    /// yet: fill more, and try again.
    TooFar,
    /// The serving tables are another version's, or behind.
    Incomparable,
    /// The other tables cannot be brought there.
    Not(Filled),
}

impl Snapshot {
    /// Brings the tables of `filling` to where the serving ones are. The runner waits meanwhile, for
    /// as few events as [`Filling::is_near`] says; readers do not.
    pub(crate) async fn take(filling: &Filling, writer: &mut Writer) -> Result<Taken, FillError> {
        let name = filling.model.name();
        // Tables are compared when nothing is left behind their tombstones.
        sweep::settle(filling.store.pool(), &*filling.model).await?;
        while !writer.is_swept() {
            if writer.sweep().await? != Written::Committed {
                return Ok(Taken::Not(Filled::Fenced));
            }
        }
        // The runner waits from the lock on, so that everything slow comes before it.
        let mut seeing = [
            filling.database.connect(&ONE_CORE).await?,
            filling.database.connect(&ONE_CORE).await?,
        ];
        let mut sweeping = filling.database.connect(&[]).await?;
        let mut holding = filling.database.connect(&[]).await?;
        let mut hold = holding.begin().await?;
        hold.execute(
            "SET LOCAL lock_timeout = '3s'; SET LOCAL idle_in_transaction_session_timeout = '10s'",
        )
        .await?;
        let live = match checkpoint::lock(&mut hold, name).await {
            Err(error) if checkpoint::is_locked(&error) => return Ok(Taken::TooFar),
            live => live?,
        };
        if live.version != filling.model.version() || live.position < writer.position() {
            return Ok(Taken::Incomparable);
        }
        if !filling.is_near(writer.position(), live.position) {
            filling.pace.outran();
            return Ok(Taken::TooFar);
        }
        match filling.catch_up(writer, live.position).await? {
            Filled::Reached => {}
            other => return Ok(Taken::Not(other)),
        }
        // Nobody else takes steps of the serving tables, whose checkpoint is held.
        for _ in 0..SWEEPS_UNDER_LOCK {
            if writer.sweep().await? != Written::Committed {
                return Ok(Taken::Not(Filled::Fenced));
            }
            if sweep::is_unswept(&mut sweeping, &*filling.model, Some(name)).await? {
                sweep::step(&mut sweeping, &*filling.model).await?;
            } else if writer.is_swept() {
                break;
            }
        }
        for schema in [name, filling.schema.as_str()] {
            if sweep::is_unswept(&mut hold, &*filling.model, Some(schema)).await? {
                return Ok(Taken::TooFar);
            }
        }
        let pair = Pair {
            live: name.to_owned(),
            other: filling.schema.clone(),
        };
        for connection in &mut seeing {
            see(connection).await?;
        }
        hold.rollback().await?;
        let [live_tables, other_tables] = seeing;
        let snapshot = Self {
            live: live_tables,
            other: other_tables,
            pair,
            pace: Arc::clone(&filling.pace),
            _watching: filling.pace.watch(filling.store.pool()).await,
            position: live.position,
        };
        Ok(Taken::Same(Box::new(snapshot)))
    }

    /// Compares them, table by table.
    pub(crate) async fn compare(mut self) -> Result<Comparison, sqlx::Error> {
        compare::compare(&mut self.live, &mut self.other, &self.pair, &self.pace).await
    }
}

/// Lets a connection see from now on what is there now.
async fn see(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    connection
        .execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    // The first statement with a table takes the snapshot.
    connection
        .execute("SELECT FROM operations.checkpoints LIMIT 1")
        .await
        .map(drop)
}
