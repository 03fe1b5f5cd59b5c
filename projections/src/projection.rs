//! What a read model is to the runner.

use sqlx::PgConnection;
use std::error::Error;
use std::fmt::Write as _;
use std::pin::Pin;
use thiserror::Error;
use touchline_domain::event::{DecodeError, Event};
use touchline_eventstore::{LogEvent, Position};
use uuid::Uuid;

/// Folds events into the tables of one schema.
///
/// The tables must be a function of the log alone: the same however the log is cut into batches,
/// and with nothing in them that an event does not say. A projection reaches nothing but the
/// connection it is given (L10).
pub trait Projection: Send + Sync + 'static {
    /// The frozen name: of the schema, the checkpoint and the lease. Letters a-z and `_` only.
    const NAME: &'static str;
    /// The version of tables and fold together. A change of either is a new one.
    const VERSION: i32;
    /// The statements that make the tables, with unqualified names.
    const SCHEMA: &'static str;
    /// Whether events of different aggregates may be written in any order and at the same time, so
    /// that a rebuild may use every core.
    const PARTITIONED: bool = false;
    /// The tables whose rows follow from the streams of a few aggregates, which the sampling verifier
    /// folds again.
    const SAMPLED: &'static [SampledTable] = &[];
    /// What follows from many more, and from other rows of the same read model: a count or a feed.
    const DERIVED: &'static [Derived] = &[];
    /// The fields of payloads that name other aggregates, by type, on which those rows depend.
    const REFERENCES: &'static [(&'static str, &'static [&'static str])] = &[];
    /// The tables of tombstones: what an event took away at once, whatever the number of rows. Each
    /// has a column `swept`, which is false while rows are left that [`Projection::sweep`] removes.
    const TOMBSTONES: &'static [&'static str] = &[];

    /// Whether events of this name matter here. One that does, in a type or version that this
    /// build does not know, halts the projection.
    fn handles(&self, event_type: &str) -> bool;

    /// Writes what `events` change, in few statements. They are in log order, follow what was
    /// written before, and are all handled. Unqualified names mean the projection's own schema.
    ///
    /// # Errors
    /// [`ProjectError`]; the caller rolls back.
    fn project(
        &self,
        connection: &mut PgConnection,
        events: &[LogEvent],
    ) -> impl Future<Output = Result<(), ProjectError>> + Send;

    /// Removes what tombstones cover and is left: `rows` rows at most. When nothing is left, all
    /// tombstones are `swept`, and the tables are the same whenever the steps were taken.
    ///
    /// # Errors
    /// When the database refuses or goes away; the caller rolls back.
    fn sweep(
        &self,
        _connection: &mut PgConnection,
        _rows: i64,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send {
        std::future::ready(Ok(()))
    }
}

/// A table of which the sampling verifier compares rows.
#[derive(Debug, Clone, Copy)]
pub struct SampledTable {
    /// Its name.
    pub table: &'static str,
    /// The columns that follow from the streams.
    pub columns: &'static [&'static str],
    /// Where a row comes from.
    pub origin: Origin,
}

/// Rows or columns that follow from other tables of the same read model.
#[derive(Debug, Clone, Copy)]
pub struct Derived {
    /// The table that they stand in.
    pub table: &'static str,
    /// The table of which rows are picked at random, as `picked`.
    pub picked: &'static str,
    /// `SELECT key, difference, columns` of what is not as it should be, by the rows in `picked`: the
    /// key of `table` as JSON, `wrong`, `missing` or `extra`, and the names of the columns that are
    /// wrong. `$1` is an array of the keys of `table` that were found before, as JSON.
    pub statement: &'static str,
}

/// Which aggregate a row comes from.
#[derive(Debug, Clone, Copy)]
pub enum Origin {
    /// The one whose id stands in a column of the key.
    Id {
        /// Its type.
        aggregate_type: &'static str,
        /// The column.
        column: &'static str,
    },
    /// The one that the event at a position happened to.
    Position {
        /// The column of the key with the position.
        column: &'static str,
    },
    /// The one whose id is made of two columns of the key.
    Pair {
        /// Its type.
        aggregate_type: &'static str,
        /// The columns.
        columns: [&'static str; 2],
        /// How its id is made of them.
        id: fn(Uuid, Uuid) -> Uuid,
    },
}

/// Rows on their way out of the tables.
pub type Sweeping<'a> = Pin<Box<dyn Future<Output = Result<(), sqlx::Error>> + Send + 'a>>;

/// Rows on their way into the tables.
pub type Folding<'a> = Pin<Box<dyn Future<Output = Result<(), ProjectError>> + Send + 'a>>;

/// A [`Projection`] whose type is forgotten, so that all of them fit into one list.
pub trait ReadModel: Send + Sync + 'static {
    /// [`Projection::NAME`].
    fn name(&self) -> &'static str;
    /// [`Projection::VERSION`].
    fn version(&self) -> i32;
    /// [`Projection::SCHEMA`].
    fn schema(&self) -> &'static str;
    /// [`Projection::PARTITIONED`].
    fn is_partitioned(&self) -> bool;
    /// [`Projection::SAMPLED`].
    fn sampled(&self) -> &'static [SampledTable];
    /// [`Projection::DERIVED`].
    fn derived(&self) -> &'static [Derived];
    /// [`Projection::REFERENCES`].
    fn references(&self) -> &'static [(&'static str, &'static [&'static str])];
    /// [`Projection::TOMBSTONES`].
    fn tombstones(&self) -> &'static [&'static str];
    /// [`Projection::handles`].
    fn takes(&self, event_type: &str) -> bool;
    /// [`Projection::project`].
    fn fold<'a>(&'a self, connection: &'a mut PgConnection, events: &'a [LogEvent]) -> Folding<'a>;
    /// [`Projection::sweep`].
    fn clear<'a>(&'a self, connection: &'a mut PgConnection, rows: i64) -> Sweeping<'a>;
}

impl<P: Projection> ReadModel for P {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn version(&self) -> i32 {
        P::VERSION
    }

    fn schema(&self) -> &'static str {
        P::SCHEMA
    }

    fn is_partitioned(&self) -> bool {
        P::PARTITIONED
    }

    fn sampled(&self) -> &'static [SampledTable] {
        P::SAMPLED
    }

    fn derived(&self) -> &'static [Derived] {
        P::DERIVED
    }

    fn references(&self) -> &'static [(&'static str, &'static [&'static str])] {
        P::REFERENCES
    }

    fn tombstones(&self) -> &'static [&'static str] {
        P::TOMBSTONES
    }

    fn takes(&self, event_type: &str) -> bool {
        self.handles(event_type)
    }

    fn fold<'a>(&'a self, connection: &'a mut PgConnection, events: &'a [LogEvent]) -> Folding<'a> {
        Box::pin(self.project(connection, events))
    }

    fn clear<'a>(&'a self, connection: &'a mut PgConnection, rows: i64) -> Sweeping<'a> {
        Box::pin(self.sweep(connection, rows))
    }
}

/// Why a batch of events could not be written.
#[derive(Debug, Error)]
pub enum ProjectError {
    /// The payload of an event does not have the shape of its type.
    #[error("the event at position {position} cannot be understood")]
    Decode {
        /// Where the event stands.
        position: Position,
        /// What did not fit.
        #[source]
        source: DecodeError,
    },
    /// The database refused the rows, or went away.
    #[error("the read model cannot be written")]
    Database(#[from] sqlx::Error),
}

impl ProjectError {
    /// Whether it may go away by itself: then the events are not to blame.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Decode { .. } => false,
            Self::Database(error) => is_passing(error),
        }
    }
}

/// Whether a database error may go away by itself: a lost connection, a deadlock or a failed
/// serialisation, a lack of resources, an operator's intervention, a failed disk. So may tables or
/// columns that are not there: no event is to blame for them, and a new term makes a missing schema.
pub(crate) fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.code().is_none_or(|code| {
            ["08", "25", "3F", "40", "42", "53", "55", "57", "58"]
                .iter()
                .any(|class| code.starts_with(class))
        }),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing into a string cannot fail.
        let _written = write!(line, ": {error}");
        cause = error.source();
    }
    line
}

/// The domain event inside `event`, for a projector.
pub(crate) fn decode<E: Event>(event: &LogEvent) -> Result<E, ProjectError> {
    event.decode().map_err(|source| ProjectError::Decode {
        position: event.position,
        source,
    })
}
