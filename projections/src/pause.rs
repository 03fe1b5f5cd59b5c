//! Pausing a read model: its runner folds nothing until it is resumed. Readers see it as it was.

use crate::registry;
use sqlx::PgPool;

/// Pauses a projection. False when it was paused already, or there is none of this name: then who
/// paused it first, and why, stays.
///
/// # Errors
/// When the database cannot be reached or refuses.
pub async fn pause(
    pool: &PgPool,
    projection: &str,
    by: &str,
    reason: &str,
) -> Result<bool, sqlx::Error> {
    let paused = sqlx::query!(
        "
        UPDATE operations.checkpoints
        SET paused_at = now(), paused_by = $2, pause_reason = $3,
            generation = checkpoints.generation + 1
        WHERE checkpoints.projection = $1 AND checkpoints.paused_at IS NULL
        ",
        projection,
        by,
        reason,
    )
    .execute(pool)
    .await?;
    let paused = paused.rows_affected() == 1;
    if paused {
        tracing::info!(projection, by, reason, "projection {projection} is paused");
    }
    Ok(paused)
}

/// Lets a paused projection go on, within a second. False when it was not paused.
///
/// # Errors
/// When the database cannot be reached or refuses.
pub async fn resume(pool: &PgPool, projection: &str, by: &str) -> Result<bool, sqlx::Error> {
    let resumed = sqlx::query!(
        "
        UPDATE operations.checkpoints
        SET paused_at = NULL, paused_by = NULL, pause_reason = NULL,
            generation = checkpoints.generation + 1
        WHERE checkpoints.projection = $1 AND checkpoints.paused_at IS NOT NULL
        ",
        projection,
    )
    .execute(pool)
    .await?;
    let resumed = resumed.rows_affected() == 1;
    if resumed {
        tracing::info!(projection, by, "projection {projection} goes on");
    }
    Ok(resumed)
}

/// The read models that fold nothing until somebody sees to them, since they are paused or halted. They
/// answer as they were: also of people who were erased meanwhile.
///
/// # Errors
/// When the database cannot be reached.
pub async fn standing_still(pool: &PgPool) -> Result<Vec<String>, sqlx::Error> {
    let names: Vec<String> = registry::names().into_iter().map(str::to_owned).collect();
    sqlx::query_scalar!(
        "
        SELECT checkpoints.projection FROM operations.checkpoints
        WHERE checkpoints.projection = ANY ($1)
          AND (checkpoints.paused_at IS NOT NULL OR checkpoints.halted IS NOT NULL)
        ORDER BY checkpoints.projection
        ",
        &names,
    )
    .fetch_all(pool)
    .await
}
