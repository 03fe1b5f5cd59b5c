//! What an event takes away is gone at once, and its rows go in bounded steps.
//!
//! A deleted post can have a million likes, an erased person a million followers. The event writes a
//! tombstone, which every query and every later event heeds, and the rows behind it go in transactions
//! of at most [`SWEEP_ROWS`] rows each, between batches. Tables are compared with others only when
//! nothing is left: then they are the fold of the log up to the checkpoint, whenever the steps were
//! taken (L7).

use crate::checkpoint;
use crate::projection::ReadModel;
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use uuid::Uuid;

/// The most rows that one step removes. Each is found by an index, fetched and written, and can be
/// another one that is found and written where something is counted: a step reads and writes less than
/// 10,000 (L11).
pub const SWEEP_ROWS: i64 = 1_000;
/// The most tombstones that one step takes up: each is one more row, and a few look-ups.
const SWEEP_TOMBSTONES: i64 = 100;

/// A table of tombstones, and what each of them covers.
///
/// A step goes through an index from where the last one left off (`sweep_of` says in which stage,
/// `sweep_after` behind which key), because entries of rows that are gone stay in an index until a
/// vacuum, and would be read again by each step. Nothing comes in behind a tombstone, so nothing is
/// passed over.
pub(crate) struct Tombstones {
    /// The table.
    pub(crate) table: &'static str,
    /// Its key.
    pub(crate) key: &'static str,
    /// Each removes at most `$2` rows behind the tombstones `picked (id, after)`: common table
    /// expressions, of which `old (id, key)` has the tombstone and the key of each row.
    pub(crate) stages: &'static [&'static str],
    /// A common table expression that removes what there is one of, in the end.
    pub(crate) last: &'static str,
}

impl Tombstones {
    /// Removes at most `rows` rows, marks the tombstones behind which nothing is left, and returns how
    /// many rows of the budget are left.
    pub(crate) async fn step(
        &self,
        connection: &mut PgConnection,
        mut rows: i64,
    ) -> Result<i64, sqlx::Error> {
        let Self { table, key, .. } = self;
        let pick =
            format!("SELECT {key} FROM {table} WHERE NOT {table}.swept ORDER BY {key} LIMIT $1");
        let ids: Vec<Uuid> = sqlx::query_scalar(&pick)
            .bind(SWEEP_TOMBSTONES)
            .fetch_all(&mut *connection)
            .await?;
        if ids.is_empty() {
            return Ok(rows);
        }
        for (stage, remove) in self.stages.iter().enumerate() {
            // Where it left off is of use only to the next step.
            let statement = format!(
                "WITH picked AS (
                    SELECT {key} AS id, CASE WHEN sweep_of = {stage} THEN sweep_after END AS after
                    FROM {table} WHERE {key} = ANY ($1) AND sweep_of <= {stage}
                ), {remove}, moved AS (
                    UPDATE {table} SET sweep_of = {stage}, sweep_after = last.key
                    FROM (SELECT DISTINCT ON (old.id) old.id, old.key::text AS key FROM old
                          ORDER BY old.id, old.key DESC) AS last
                    WHERE {table}.{key} = last.id AND (SELECT count(*) FROM old) = $2
                )
                SELECT count(*) FROM old"
            );
            let removed: i64 = sqlx::query_scalar(&statement)
                .bind(&ids)
                .bind(rows)
                .fetch_one(&mut *connection)
                .await?;
            rows -= removed;
            if rows <= 0 {
                return Ok(0);
            }
        }
        let mark = format!(
            "{} UPDATE {table} SET swept = true, sweep_of = 0, sweep_after = NULL
             WHERE {key} = ANY ($1)",
            self.last
        );
        sqlx::query(&mark).bind(ids).execute(connection).await?;
        Ok(rows)
    }
}

/// Whether rows are left behind a tombstone in `schema`; in the one that unqualified names mean when
/// it is none.
pub(crate) async fn is_unswept(
    connection: &mut PgConnection,
    model: &dyn ReadModel,
    schema: Option<&str>,
) -> Result<bool, sqlx::Error> {
    let schema = schema.map_or_else(String::new, |schema| format!(r#""{schema}"."#));
    let tables = model.tombstones().iter();
    let left: Vec<String> = tables
        .map(|table| format!(r#"EXISTS (SELECT FROM {schema}"{table}" WHERE NOT swept)"#))
        .collect();
    if left.is_empty() {
        return Ok(false);
    }
    let statement = format!("SELECT {}", left.join(" OR "));
    sqlx::query_scalar(&statement).fetch_one(connection).await
}

/// Takes the steps of the serving tables that are left, each under the lock of their checkpoint:
/// nobody else may be there to take them.
pub(crate) async fn settle(pool: &PgPool, model: &dyn ReadModel) -> Result<(), sqlx::Error> {
    let name = model.name();
    let mut connection = pool.acquire().await?;
    loop {
        let mut step = connection.begin().await?;
        let live = checkpoint::lock(&mut step, name).await?;
        if live.version != model.version() || !is_unswept(&mut step, model, Some(name)).await? {
            return Ok(());
        }
        clear(&mut step, model).await?;
        step.commit().await?;
    }
}

/// Takes one step of the serving tables. Whoever calls this holds their checkpoint.
pub(crate) async fn step(
    connection: &mut PgConnection,
    model: &dyn ReadModel,
) -> Result<(), sqlx::Error> {
    let mut step = connection.begin().await?;
    clear(&mut step, model).await?;
    step.commit().await
}

async fn clear(connection: &mut PgConnection, model: &dyn ReadModel) -> Result<(), sqlx::Error> {
    let names = format!(r#"SET LOCAL search_path TO "{}""#, model.name());
    connection.execute(names.as_str()).await?;
    model.clear(connection, SWEEP_ROWS).await
}
