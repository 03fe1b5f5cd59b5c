//! Read models filled without a runner, and what is in them.

use sqlx::{Executor as _, PgConnection, PgPool};
use std::collections::BTreeMap;
use touchline_eventstore::LogEvent;
use touchline_projections::Projection;

/// The rows of every table of a schema, as texts in a fixed order.
pub(crate) type Tables = BTreeMap<String, Vec<String>>;

/// Makes the tables of `P` in `schema`, which is emptied first.
pub(crate) async fn make<P: Projection>(connection: &mut PgConnection, schema: &str) {
    let statements = format!(
        "DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}; \
         SET search_path TO {schema}; {}",
        P::SCHEMA
    );
    connection.execute(statements.as_str()).await.unwrap();
}

/// Folds `events` into `schema` in batches of these sizes; the last one takes the rest. After some of
/// them a small step is taken of what is left behind tombstones, and at the end all.
pub(crate) async fn fill<P: Projection>(
    connection: &mut PgConnection,
    projection: &P,
    schema: &str,
    events: &[LogEvent],
    sizes: impl IntoIterator<Item = usize>,
) {
    fold(connection, projection, schema, events, sizes, 3).await;
    sweep_all(connection, projection).await;
}

/// The same, with steps of `sweep_rows` after every other batch, and without the last ones.
pub(crate) async fn fold<P: Projection>(
    connection: &mut PgConnection,
    projection: &P,
    schema: &str,
    events: &[LogEvent],
    sizes: impl IntoIterator<Item = usize>,
    sweep_rows: i64,
) {
    make::<P>(connection, schema).await;
    let mut sizes = sizes.into_iter();
    let mut rest: Vec<LogEvent> = events
        .iter()
        .filter(|event| projection.handles(&event.event_type))
        .cloned()
        .collect();
    while !rest.is_empty() {
        let size = sizes.next().unwrap_or(rest.len()).clamp(1, rest.len());
        let batch: Vec<LogEvent> = rest.drain(..size).collect();
        projection.project(connection, &batch).await.unwrap();
        if rest.len().is_multiple_of(2) && sweep_rows > 0 {
            projection.sweep(connection, sweep_rows).await.unwrap();
        }
    }
}

/// Takes the steps that are left.
pub(crate) async fn sweep_all<P: Projection>(connection: &mut PgConnection, projection: &P) {
    for table in P::TOMBSTONES {
        let left = format!("SELECT EXISTS (SELECT FROM {table} WHERE NOT swept)");
        while sqlx::query_scalar::<_, bool>(&left)
            .fetch_one(&mut *connection)
            .await
            .unwrap()
        {
            projection.sweep(connection, 1_000).await.unwrap();
        }
    }
}

/// Folds `events` into the schema of the projection's name, one by one, as they come in life.
pub(crate) async fn fill_live<P: Projection>(pool: &PgPool, projection: &P, events: &[LogEvent]) {
    let mut connection = pool.acquire().await.unwrap();
    let sizes = vec![1; events.len()];
    fill(&mut connection, projection, P::NAME, events, sizes).await;
    connection.execute("RESET search_path").await.unwrap();
}

/// Every row of every table of `schema`.
pub(crate) async fn dump(connection: &mut PgConnection, schema: &str) -> Tables {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT tablename::text FROM pg_tables WHERE schemaname = $1 ORDER BY 1",
    )
    .bind(schema)
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    let mut tables = Tables::new();
    for name in names {
        let rows = format!("SELECT t::text FROM {schema}.{name} AS t ORDER BY 1");
        let rows = sqlx::query_scalar(&rows).fetch_all(&mut *connection).await;
        tables.insert(name, rows.unwrap());
    }
    tables
}
