//! How far a projection has folded the log and what it parked, as rows of schema `operations`.

use crate::projection::ReadModel;
use sqlx::{Connection as _, Executor as _, PgConnection, PgExecutor, PgPool};
use std::collections::HashSet;
use touchline_eventstore::event::Digest;
use touchline_eventstore::{LogEvent, Position};

/// Where a projection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The version of the projection that filled the schema.
    pub(crate) version: i32,
    /// The last event folded.
    pub(crate) position: Position,
    /// Grows with everything that is done to the read model beside its runner.
    pub(crate) generation: i64,
    /// Who paused it.
    pub(crate) paused_by: Option<String>,
}

/// Makes the schema and the checkpoint of a projection when either is missing, or when nothing was
/// folded yet by another version. Whoever comes second finds the work done.
pub(crate) async fn prepare(pool: &PgPool, model: &dyn ReadModel) -> Result<(), sqlx::Error> {
    let name = model.name();
    // Out of the pool for good: a pool takes a connection back with its transaction open when this
    // future is dropped while the transaction begins.
    let mut connection = pool.acquire().await?.detach();
    let mut transaction = connection.begin().await?;
    lock_schema(&mut transaction, name).await?;
    let current = sqlx::query!(
        r#"
        SELECT checkpoints.version, checkpoints.position,
               EXISTS (SELECT FROM pg_namespace WHERE pg_namespace.nspname = $1) AS "has_schema!"
        FROM operations.checkpoints WHERE checkpoints.projection = $1
        "#,
        name,
    )
    .fetch_optional(&mut *transaction)
    .await?;
    let done = current.is_some_and(|current| {
        current.has_schema && (current.version == model.version() || current.position > 0)
    });
    if done {
        transaction.rollback().await?;
        return connection.close().await;
    }
    make_schema(&mut transaction, name, model.schema()).await?;
    // The epoch stays: an older leader must not find its way back through a new row.
    sqlx::query!(
        "
        INSERT INTO operations.checkpoints (projection, version, position) VALUES ($1, $2, 0)
        ON CONFLICT (projection) DO UPDATE
           SET version = excluded.version, position = 0, digest = NULL, halted = NULL,
               updated_at = now()
        ",
        name,
        model.version(),
    )
    .execute(&mut *transaction)
    .await?;
    unpark_all(&mut transaction, name).await?;
    transaction.commit().await?;
    connection.close().await
}

/// Lets no other session make, drop or swap the schema `name` until the transaction ends.
pub(crate) async fn lock_schema(
    connection: &mut PgConnection,
    name: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"SELECT pg_advisory_xact_lock(hashtextextended('projection.' || $1, 0)) AS "void!: ()""#,
        name,
    )
    .fetch_one(connection)
    .await
    .map(drop)
}

/// Makes the schema `name` with these tables, after dropping what has the name.
pub(crate) async fn make_schema(
    connection: &mut PgConnection,
    name: &str,
    tables: &str,
) -> Result<(), sqlx::Error> {
    let statements = format!(
        r#"DROP SCHEMA IF EXISTS "{name}" CASCADE; CREATE SCHEMA "{name}";
           SET LOCAL search_path TO "{name}"; {tables}"#,
    );
    connection.execute(statements.as_str()).await.map(drop)
}

/// Makes `epoch` the only one that may move the checkpoint, and says where it stands. None when a
/// later epoch has it already.
pub(crate) async fn claim(
    pool: &PgPool,
    projection: &str,
    epoch: i64,
) -> Result<Option<Checkpoint>, sqlx::Error> {
    let row = sqlx::query!(
        "
        UPDATE operations.checkpoints SET epoch = $2
        WHERE checkpoints.projection = $1 AND checkpoints.epoch <= $2
        RETURNING checkpoints.version, checkpoints.position, checkpoints.generation,
                  checkpoints.paused_by
        ",
        projection,
        epoch,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| Checkpoint {
        version: row.version,
        position: position(row.position),
        generation: row.generation,
        paused_by: row.paused_by,
    }))
}

/// Whether the log has the event where a checkpoint stands, as far as the checkpoint tells.
pub(crate) async fn is_in_log(
    connection: impl PgExecutor<'_>,
    projection: &str,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        SELECT NOT EXISTS (
            SELECT FROM operations.checkpoints
            WHERE checkpoints.projection = $1 AND checkpoints.position > 0
              AND NOT EXISTS (
                  SELECT FROM log.events
                  WHERE events.position = checkpoints.position
                    AND events.digest = coalesce(checkpoints.digest, events.digest))
        ) AS "is_in_log!"
        "#,
        projection,
    )
    .fetch_one(connection)
    .await
}

/// What became of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advanced {
    /// It is where it was to go.
    Moved {
        /// Its generation, which is another one when something was done beside the runner.
        generation: i64,
    },
    /// It is not where this epoch left it: somebody else leads.
    Refused,
    /// The log does not have the event that it was to go to: it has another history than the events
    /// that were folded.
    NotInLog,
}

/// Moves the checkpoint to an event of the log: the one with this digest, when it is known. So it
/// never passes the log's end, and never stands in a history that the log does not have.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    projection: &str,
    epoch: i64,
    from: Position,
    to: Position,
    digest: Option<Digest>,
) -> Result<Advanced, sqlx::Error> {
    let digest = digest.as_ref().map(|digest| digest.as_bytes().as_slice());
    let moved = sqlx::query_scalar!(
        "
        UPDATE operations.checkpoints
        SET position = events.position, digest = events.digest, halted = NULL, updated_at = now()
        FROM log.events
        WHERE checkpoints.projection = $1 AND checkpoints.epoch = $2 AND checkpoints.position = $3
          AND events.position = $4 AND events.digest = coalesce($5, events.digest)
        RETURNING checkpoints.generation
        ",
        projection,
        epoch,
        from.get(),
        to.get(),
        digest,
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(generation) = moved {
        return Ok(Advanced::Moved { generation });
    }
    let is_in_log = sqlx::query_scalar!(
        r#"
        SELECT EXISTS (
            SELECT FROM log.events
            WHERE events.position = $1 AND events.digest = coalesce($2, events.digest)
        ) AS "is_in_log!"
        "#,
        to.get(),
        digest,
    )
    .fetch_one(connection)
    .await?;
    Ok(if is_in_log {
        Advanced::Refused
    } else {
        Advanced::NotInLog
    })
}

/// What a batch finds its checkpoint by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fence {
    pub(crate) epoch: i64,
    pub(crate) generation: i64,
    pub(crate) position: Position,
}

/// Where the checkpoint is, and whose; none when it is gone.
pub(crate) async fn fence(
    connection: &mut PgConnection,
    projection: &str,
) -> Result<Option<Fence>, sqlx::Error> {
    let row = sqlx::query!(
        "
        SELECT checkpoints.epoch, checkpoints.generation, checkpoints.position
        FROM operations.checkpoints WHERE checkpoints.projection = $1
        ",
        projection,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Fence {
        epoch: row.epoch,
        generation: row.generation,
        position: position(row.position),
    }))
}

/// The same, and keeps it there for as long as the transaction lasts.
pub(crate) async fn hold(
    connection: &mut PgConnection,
    projection: &str,
) -> Result<Option<Fence>, sqlx::Error> {
    let row = sqlx::query!(
        "
        SELECT checkpoints.epoch, checkpoints.generation, checkpoints.position
        FROM operations.checkpoints WHERE checkpoints.projection = $1
        FOR UPDATE
        ",
        projection,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Fence {
        epoch: row.epoch,
        generation: row.generation,
        position: position(row.position),
    }))
}

/// Writes down why the projection does not go on.
pub(crate) async fn halt(
    pool: &PgPool,
    projection: &str,
    epoch: i64,
    reason: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        UPDATE operations.checkpoints SET halted = $3, updated_at = now()
        WHERE checkpoints.projection = $1 AND checkpoints.epoch = $2
          AND checkpoints.halted IS DISTINCT FROM $3
        ",
        projection,
        epoch,
        reason,
    )
    .execute(pool)
    .await
    .map(drop)
}

/// How far every projection is.
pub(crate) async fn positions(pool: &PgPool) -> Result<Vec<(String, Position)>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT checkpoints.projection, checkpoints.position FROM operations.checkpoints"
    )
    .fetch_all(pool)
    .await?;
    let positions = rows
        .into_iter()
        .map(|row| (row.projection, position(row.position)));
    Ok(positions.collect())
}

/// The column is checked to be no less than 0.
pub(crate) fn position(number: i64) -> Position {
    Position::new(number).unwrap_or_default()
}

/// An aggregate by type and id.
pub(crate) type Aggregate = (String, String);

/// The aggregates that a projection parked.
pub(crate) async fn parked(
    pool: &PgPool,
    projection: &str,
) -> Result<HashSet<Aggregate>, sqlx::Error> {
    let rows = sqlx::query!(
        "
        SELECT parked_aggregates.aggregate_type, parked_aggregates.aggregate_id
        FROM operations.parked_aggregates WHERE parked_aggregates.projection = $1
        ",
        projection,
    )
    .fetch_all(pool)
    .await?;
    let aggregates = rows
        .into_iter()
        .map(|row| (row.aggregate_type, row.aggregate_id));
    Ok(aggregates.collect())
}

/// Forgets everything that a projection parked.
pub(crate) async fn unpark_all(
    connection: &mut PgConnection,
    projection: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM operations.parked_aggregates WHERE parked_aggregates.projection = $1",
        projection,
    )
    .execute(connection)
    .await
    .map(drop)
}

/// An aggregate whose event failed too often.
#[derive(Debug)]
pub(crate) struct ParkedAggregate {
    pub(crate) aggregate: Aggregate,
    pub(crate) first: Position,
    pub(crate) reason: String,
}

/// Writes down newly parked aggregates, and events that wait behind parked ones.
pub(crate) async fn park(
    connection: &mut PgConnection,
    projection: &str,
    aggregates: &[ParkedAggregate],
    events: &[LogEvent],
) -> Result<(), sqlx::Error> {
    if !aggregates.is_empty() {
        let (types, ids): (Vec<_>, Vec<_>) = aggregates
            .iter()
            .map(|parked| parked.aggregate.clone())
            .unzip();
        let firsts: Vec<_> = aggregates.iter().map(|parked| parked.first.get()).collect();
        let reasons: Vec<_> = aggregates.iter().map(|it| it.reason.clone()).collect();
        sqlx::query!(
            "
            INSERT INTO operations.parked_aggregates
                   (projection, aggregate_type, aggregate_id, first_position, reason)
            SELECT $1, new.* FROM unnest($2::text[], $3::text[], $4::bigint[], $5::text[]) AS new
            ",
            projection,
            &types,
            &ids,
            &firsts,
            &reasons,
        )
        .execute(&mut *connection)
        .await?;
    }
    if !events.is_empty() {
        let types: Vec<_> = events.iter().map(|it| it.aggregate_type.clone()).collect();
        let ids: Vec<_> = events.iter().map(|it| it.aggregate_id.clone()).collect();
        let positions: Vec<_> = events.iter().map(|event| event.position.get()).collect();
        sqlx::query!(
            "
            INSERT INTO operations.parked_events (projection, aggregate_type, aggregate_id, position)
            SELECT $1, new.* FROM unnest($2::text[], $3::text[], $4::bigint[]) AS new
            ",
            projection,
            &types,
            &ids,
            &positions,
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// Gives what was parked under some names to another: rows of a rebuild to those that serve.
pub(crate) async fn move_parked(
    connection: &mut PgConnection,
    from: &[String],
    to: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        INSERT INTO operations.parked_aggregates
               (projection, aggregate_type, aggregate_id, first_position, reason, parked_at)
        SELECT $2, parked.aggregate_type, parked.aggregate_id, parked.first_position, parked.reason,
               parked.parked_at
        FROM operations.parked_aggregates AS parked WHERE parked.projection = ANY ($1)
        ",
        from,
        to,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "
        INSERT INTO operations.parked_events (projection, aggregate_type, aggregate_id, position)
        SELECT $2, parked.aggregate_type, parked.aggregate_id, parked.position
        FROM operations.parked_events AS parked WHERE parked.projection = ANY ($1)
        ",
        from,
        to,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "DELETE FROM operations.parked_aggregates WHERE parked_aggregates.projection = ANY ($1)",
        from,
    )
    .execute(connection)
    .await
    .map(drop)
}

/// The events that were given up for this version of a projection.
pub(crate) async fn discarded(
    pool: &PgPool,
    projection: &str,
    version: i32,
) -> Result<HashSet<Position>, sqlx::Error> {
    let positions = sqlx::query_scalar!(
        "
        SELECT discarded_events.position FROM operations.discarded_events
        WHERE discarded_events.projection = $1 AND discarded_events.version = $2
        ",
        projection,
        version,
    )
    .fetch_all(pool)
    .await?;
    Ok(positions.into_iter().map(position).collect())
}

/// Where a projection stands, for others than its leader.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) version: i32,
    pub(crate) position: Position,
    pub(crate) is_halted: bool,
    pub(crate) is_paused: bool,
}

/// Where a projection stands now; none while it has no checkpoint.
pub(crate) async fn standing(
    connection: impl PgExecutor<'_>,
    projection: &str,
) -> Result<Option<Standing>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        SELECT checkpoints.version, checkpoints.position, checkpoints.halted IS NOT NULL AS "halted!",
               checkpoints.paused_at IS NOT NULL AS "paused!"
        FROM operations.checkpoints WHERE checkpoints.projection = $1
        "#,
        projection,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Standing {
        version: row.version,
        position: position(row.position),
        is_halted: row.halted,
        is_paused: row.paused,
    }))
}

/// Where a projection stands, and keeps its runner from moving it until the transaction ends.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    projection: &str,
) -> Result<Standing, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        SELECT checkpoints.version, checkpoints.position, checkpoints.halted IS NOT NULL AS "halted!",
               checkpoints.paused_at IS NOT NULL AS "paused!"
        FROM operations.checkpoints WHERE checkpoints.projection = $1 FOR UPDATE
        "#,
        projection,
    )
    .fetch_one(connection)
    .await?;
    Ok(Standing {
        version: row.version,
        position: position(row.position),
        is_halted: row.halted,
        is_paused: row.paused,
    })
}

/// Whether a lock was not to be had in time, or only by a deadlock.
pub(crate) fn is_locked(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| ["55P03", "40P01"].contains(&&*code))
}

/// Forgets the checkpoint of this name, those of its parts, and what they parked.
pub(crate) async fn forget(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        DELETE FROM operations.parked_aggregates
        WHERE parked_aggregates.projection = $1
           OR starts_with(parked_aggregates.projection, $1 || '/')
        ",
        name,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "
        DELETE FROM operations.checkpoints
        WHERE checkpoints.projection = $1 OR starts_with(checkpoints.projection, $1 || '/')
        ",
        name,
    )
    .execute(connection)
    .await
    .map(drop)
}
