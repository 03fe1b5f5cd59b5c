//! A verification under way.

use super::Verification;
use super::compare::{self, Comparison};
use super::snapshot::{Snapshot, Taken};
use crate::batch::Writer;
use crate::checkpoint;
use crate::fill::{FillError, Filled, Filling, Split};
use sqlx::types::Json;
use sqlx::{Connection as _, Executor as _, PgPool};
use std::time::Duration;
use tokio::time::sleep;
use touchline_eventstore::Position;

/// How often is looked whether the runner has come to the end of the log.
const BEHIND_PAUSE: Duration = Duration::from_millis(100);

/// A verification on its way.
pub(crate) struct Verifying {
    pub(crate) filling: Filling,
    pub(crate) verification: Verification,
}

/// The name of the schema that is filled to compare with.
pub(crate) fn verify_of(name: &str) -> String {
    format!("{name}__verify")
}

impl Verifying {
    fn pool(&self) -> &PgPool {
        self.filling.store.pool()
    }

    /// Folds, compares, and writes down what was found. Whatever stopped an earlier turn, this one
    /// begins anew: its tables are not safe from a crash of the server.
    pub(crate) async fn run(&self) -> Result<(), FillError> {
        if !self.begin().await? {
            return Ok(());
        }
        let Some(live) = self.settled().await? else {
            return Ok(());
        };
        let split = self.filling.plan(live);
        self.make(&split).await?;
        match self.filling.fill_split(&split).await? {
            Filled::Reached => {}
            other => return self.give_up(other).await,
        }
        let Some(mut writer) = self.filling.writer(&self.filling.schema).await? else {
            return Ok(());
        };
        loop {
            let goal = self.live_position().await?;
            if !self.filling.is_near(writer.position(), goal) {
                let (filled, writers) = self.filling.fill(vec![writer], goal).await?;
                let Some(same) = writers.into_iter().next() else {
                    return Ok(());
                };
                writer = same;
                if filled != Filled::Reached {
                    return self.give_up(filled).await;
                }
            }
            if self.compare(&mut writer).await? {
                return Ok(());
            }
        }
    }

    /// False when the serving tables have gone too far ahead.
    async fn compare(&self, writer: &mut Writer) -> Result<bool, FillError> {
        match Snapshot::take(&self.filling, writer).await? {
            Taken::Same(snapshot) => {
                let position = snapshot.position;
                let found = snapshot.compare().await?;
                self.finish(position, &found).await?;
            }
            Taken::TooFar => return Ok(false),
            Taken::Incomparable => {
                self.fail("the serving tables are another version's, or were swapped meanwhile")
                    .await?;
            }
            Taken::Not(filled) => self.give_up(filled).await?,
        }
        Ok(true)
    }

    async fn begin(&self) -> Result<bool, sqlx::Error> {
        let begun = sqlx::query!(
            "
            UPDATE operations.verifications
            SET state = 'running', position = 0, events = 0, updated_at = now(),
                started_at = coalesce(verifications.started_at, now())
            WHERE verifications.verification_id = $1
              AND verifications.state IN ('requested', 'running')
            ",
            self.verification.verification_id,
        )
        .execute(self.pool())
        .await?;
        Ok(begun.rows_affected() == 1)
    }

    /// The position of the serving tables once they have passed what is in the log now: of a person
    /// erased a moment ago, the key may be gone and the rows not yet. None while a rebuild must come
    /// first. Tables that nobody moves are compared where they are.
    async fn settled(&self) -> Result<Option<Position>, FillError> {
        let head = self.filling.store.head().await?;
        loop {
            let name = self.filling.model.name();
            let live = checkpoint::standing(self.pool(), name).await?;
            let Some(live) = live.filter(|live| live.version == self.filling.model.version())
            else {
                self.fail("the serving tables are another version's: rebuild first")
                    .await?;
                return Ok(None);
            };
            if live.position >= head || live.is_halted || live.is_paused {
                return Ok(Some(live.position));
            }
            sleep(BEHIND_PAUSE).await;
        }
    }

    async fn live_position(&self) -> Result<Position, FillError> {
        let live = checkpoint::standing(self.pool(), self.filling.model.name()).await?;
        Ok(live.map_or(Position::START, |live| live.position))
    }

    /// Empty tables. They are written once and read once, and a crash may take them.
    async fn make(&self, split: &Split) -> Result<(), sqlx::Error> {
        let schema = &self.filling.schema;
        let mut connection = self.pool().acquire().await?.detach();
        let mut transaction = connection.begin().await?;
        checkpoint::lock_schema(&mut transaction, schema).await?;
        self.filling.make(&mut transaction, split).await?;
        for table in compare::tables(&mut transaction, schema).await? {
            let statement = format!("ALTER TABLE {table} SET UNLOGGED");
            transaction.execute(statement.as_str()).await?;
        }
        transaction.commit().await?;
        connection.close().await
    }

    async fn give_up(&self, filled: Filled) -> Result<(), FillError> {
        let Filled::Halted { reason, position } = filled else {
            return Ok(());
        };
        self.fail(&format!("at position {position}: {reason}"))
            .await?;
        Ok(())
    }

    async fn finish(&self, position: Position, found: &Comparison) -> Result<(), sqlx::Error> {
        let name = self.filling.model.name();
        let drift_rows = found.drift_rows.unwrap_or_default();
        if drift_rows > 0 {
            tracing::error!(projection = name, drift_rows, %position, "projection {name} is not what the log says");
        }
        sqlx::query!(
            "
            UPDATE operations.verifications
            SET state = 'done', position = $2, target = $2, events = $3, rows_compared = $4,
                drift_rows = $5, findings = $6, finished_at = now(), updated_at = now()
            WHERE verifications.verification_id = $1 AND verifications.state = 'running'
            ",
            self.verification.verification_id,
            position.get(),
            self.filling.progress.events(),
            found.rows,
            found.drift_rows,
            Json(&found.findings) as _,
        )
        .execute(self.pool())
        .await
        .map(drop)
    }

    async fn fail(&self, failure: &str) -> Result<(), sqlx::Error> {
        let name = self.filling.model.name();
        tracing::error!(
            projection = name,
            failure,
            "projection {name} cannot be verified"
        );
        sqlx::query!(
            "
            UPDATE operations.verifications
            SET state = 'failed', failure = $2, finished_at = now(), updated_at = now()
            WHERE verifications.verification_id = $1 AND verifications.state = 'running'
            ",
            self.verification.verification_id,
            failure,
        )
        .execute(self.pool())
        .await
        .map(drop)
    }

    /// Writes down how far it is. False when it is not to go on.
    pub(crate) async fn report(&self) -> Result<bool, sqlx::Error> {
        let progress = &self.filling.progress;
        let reported = sqlx::query!(
            "
            UPDATE operations.verifications
            SET position = $2, target = $3, events = $4, updated_at = now()
            WHERE verifications.verification_id = $1 AND verifications.state = 'running'
            ",
            self.verification.verification_id,
            progress.position(),
            progress.target(),
            progress.events(),
        )
        .execute(self.pool())
        .await?;
        Ok(reported.rows_affected() == 1)
    }
}
