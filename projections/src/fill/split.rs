//! Several writers for the first part of the log.

use super::{FillError, Filled, Filling};
use crate::checkpoint;
use sqlx::{Connection as _, PgConnection};
use touchline_eventstore::Position;

/// From how many events on several writers are worth their connections.
const SPLIT_EVENTS_MIN: i64 = 20_000;
/// The most writers at once.
const WRITERS_MAX: usize = 8;

/// How the first part is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Split {
    pub(crate) writers: usize,
    /// The last position of that part.
    pub(crate) until: Position,
}

impl Filling {
    /// One writer a core for all that is there, when the read model allows it and it is worth it.
    pub(crate) fn plan(&self, goal: Position) -> Split {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let worth = self.model.is_partitioned() && goal.get() >= SPLIT_EVENTS_MIN;
        Split {
            writers: if worth { cores.min(WRITERS_MAX) } else { 1 },
            until: if worth { goal } else { Position::START },
        }
    }

    /// Makes empty tables, with a checkpoint for each writer.
    pub(crate) async fn make(
        &self,
        connection: &mut PgConnection,
        split: &Split,
    ) -> Result<(), sqlx::Error> {
        checkpoint::forget(connection, &self.schema).await?;
        checkpoint::make_schema(connection, &self.schema, self.model.schema()).await?;
        let mut names = self.parts(split);
        names.push(self.schema.clone());
        sqlx::query!(
            "
            INSERT INTO operations.checkpoints (projection, version, position, epoch)
            SELECT names.*, $2, 0, $3 FROM unnest($1::text[]) AS names
            ",
            &names,
            self.model.version(),
            self.epoch,
        )
        .execute(connection)
        .await
        .map(drop)
    }

    /// Fills the part that several writers share, and makes one checkpoint of theirs.
    pub(crate) async fn fill_split(&self, split: &Split) -> Result<Filled, FillError> {
        let standing = checkpoint::standing(self.pool(), &self.schema).await?;
        let done = standing.map_or(Position::START, |standing| standing.position);
        if split.writers <= 1 || done >= split.until {
            return Ok(Filled::Reached);
        }
        let names = self.parts(split);
        let mut writers = Vec::with_capacity(names.len());
        for name in &names {
            let Some(writer) = self.writer(name).await? else {
                return Ok(Filled::Fenced);
            };
            writers.push(writer);
        }
        let (filled, writers) = self.fill(writers, split.until).await?;
        drop(writers);
        if filled == Filled::Reached && !self.merge(&names, split.until).await? {
            return Ok(Filled::Fenced);
        }
        Ok(filled)
    }

    /// False when a later epoch has it. The checkpoint is still that of whoever began.
    async fn merge(&self, parts: &[String], until: Position) -> Result<bool, sqlx::Error> {
        let mut connection = self.pool().acquire().await?.detach();
        let mut transaction = connection.begin().await?;
        let merged = sqlx::query!(
            "
            UPDATE operations.checkpoints
            SET position = $3, digest = NULL, epoch = $2, updated_at = now()
            WHERE checkpoints.projection = $1 AND checkpoints.epoch <= $2
            ",
            self.schema,
            self.epoch,
            until.get(),
        )
        .execute(&mut *transaction)
        .await?;
        if merged.rows_affected() == 0 {
            return Ok(false);
        }
        checkpoint::move_parked(&mut transaction, parts, &self.schema).await?;
        sqlx::query!(
            "DELETE FROM operations.checkpoints WHERE checkpoints.projection = ANY ($1)",
            parts,
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        connection.close().await?;
        Ok(true)
    }

    /// The names of the checkpoints of several writers.
    fn parts(&self, split: &Split) -> Vec<String> {
        if split.writers <= 1 {
            return Vec::new();
        }
        (1..=split.writers)
            .map(|part| format!("{}/{part}", self.schema))
            .collect()
    }
}
