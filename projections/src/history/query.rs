//! From a slice to positions, by the most telling index that it names.
//!
//! A range within one key is written as a comparison of rows, `(key, position) > (k, p)`: only the
//! index that begins with the key can serve it, whereas for `key = k AND position > p` a generic plan
//! may take the primary key and read every event of the log.

use super::project::BLOCK;
use chrono::{DateTime, Utc};
use sqlx::PgPool;
use touchline_domain::audit::Slice;
use touchline_eventstore::Position;
use uuid::Uuid;

/// Where a page of a slice begins and ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// After this position.
    pub(super) after: Position,
    /// Up to this one, which included.
    pub(super) until: Position,
    /// At most so many events.
    pub(super) limit: i64,
}

/// The window narrowed to the positions between which everything stands that was recorded in this
/// range of times.
pub(super) async fn narrow(
    pool: &PgPool,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    (after, until): (Position, Position),
) -> Result<(Position, Position), sqlx::Error> {
    // The events up to the checkpoint are all in a block: without one that fits there is nothing.
    let first = match from {
        None => 0,
        Some(from) => sqlx::query_scalar!(
            "SELECT blocks.block FROM history.blocks WHERE blocks.last_at >= $1
             ORDER BY blocks.block LIMIT 1",
            from,
        )
        .fetch_optional(pool)
        .await?
        .map_or(until.get(), |block| block * BLOCK),
    };
    let last = match to {
        None => i64::MAX,
        Some(to) => sqlx::query_scalar!(
            "SELECT blocks.block FROM history.blocks WHERE blocks.first_at < $1
             ORDER BY blocks.block DESC LIMIT 1",
            to,
        )
        .fetch_optional(pool)
        .await?
        .map_or(0, |block| (block + 1) * BLOCK),
    };
    let position = |number: i64| Position::new(number).unwrap_or_default();
    Ok((after.max(position(first)), until.min(position(last))))
}

/// The positions of the next events of a slice, in log order. `types` are those that it names.
pub(super) async fn positions(
    pool: &PgPool,
    slice: &Slice,
    types: Option<&[String]>,
    window: Window,
) -> Result<Vec<Position>, sqlx::Error> {
    let rows = if let Some(correlation_id) = slice.correlation_id {
        by_correlation(pool, correlation_id, slice, types, window).await?
    } else if let Some(actor) = slice.actor {
        by_actor(pool, actor.uuid(), slice, types, window).await?
    } else if let Some(types) = types {
        by_types(pool, types, slice, window).await?
    } else {
        by_time(pool, slice, window).await?
    };
    Ok(rows
        .into_iter()
        .filter_map(|number| Position::new(number).ok())
        .collect())
}

async fn by_correlation(
    pool: &PgPool,
    correlation_id: Uuid,
    slice: &Slice,
    types: Option<&[String]>,
    window: Window,
) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "
        SELECT entries.position FROM history.entries
        WHERE (entries.correlation_id, entries.position) > ($1, $2)
          AND (entries.correlation_id, entries.position) <= ($1, $3)
          AND ($4::uuid IS NULL OR entries.actor = $4)
          AND ($5::text[] IS NULL OR entries.event_type = ANY ($5))
          AND ($6::timestamptz IS NULL OR entries.recorded_at >= $6)
          AND ($7::timestamptz IS NULL OR entries.recorded_at < $7)
        ORDER BY entries.correlation_id, entries.position
        LIMIT $8
        ",
        correlation_id,
        window.after.get(),
        window.until.get(),
        slice.actor.map(touchline_domain::id::UserId::uuid),
        types,
        slice.from,
        slice.to,
        window.limit,
    )
    .fetch_all(pool)
    .await
}

async fn by_actor(
    pool: &PgPool,
    actor: Uuid,
    slice: &Slice,
    types: Option<&[String]>,
    window: Window,
) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "
        SELECT entries.position FROM history.entries
        WHERE (entries.actor, entries.position) > ($1, $2)
          AND (entries.actor, entries.position) <= ($1, $3)
          AND ($4::text[] IS NULL OR entries.event_type = ANY ($4))
          AND ($5::timestamptz IS NULL OR entries.recorded_at >= $5)
          AND ($6::timestamptz IS NULL OR entries.recorded_at < $6)
        ORDER BY entries.actor, entries.position
        LIMIT $7
        ",
        actor,
        window.after.get(),
        window.until.get(),
        types,
        slice.from,
        slice.to,
        window.limit,
    )
    .fetch_all(pool)
    .await
}

/// For each type the next ones, and of all those the first: a context of many types costs no more
/// than a page of each.
async fn by_types(
    pool: &PgPool,
    types: &[String],
    slice: &Slice,
    window: Window,
) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        SELECT next.position AS "position!"
        FROM unnest($1::text[]) AS wanted (event_type)
        CROSS JOIN LATERAL (
            SELECT entries.position FROM history.entries
            WHERE (entries.event_type, entries.position) > (wanted.event_type, $2)
              AND (entries.event_type, entries.position) <= (wanted.event_type, $3)
              AND ($4::timestamptz IS NULL OR entries.recorded_at >= $4)
              AND ($5::timestamptz IS NULL OR entries.recorded_at < $5)
            ORDER BY entries.event_type, entries.position
            LIMIT $6
        ) AS next
        ORDER BY next.position
        LIMIT $6
        "#,
        types,
        window.after.get(),
        window.until.get(),
        slice.from,
        slice.to,
        window.limit,
    )
    .fetch_all(pool)
    .await
}

async fn by_time(pool: &PgPool, slice: &Slice, window: Window) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "
        SELECT entries.position FROM history.entries
        WHERE entries.position > $1 AND entries.position <= $2
          AND ($3::timestamptz IS NULL OR entries.recorded_at >= $3)
          AND ($4::timestamptz IS NULL OR entries.recorded_at < $4)
        ORDER BY entries.position
        LIMIT $5
        ",
        window.after.get(),
        window.until.get(),
        slice.from,
        slice.to,
        window.limit,
    )
    .fetch_all(pool)
    .await
}
