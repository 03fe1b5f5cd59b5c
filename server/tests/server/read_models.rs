//! L7: the read models against a fresh fold of the log.

use crate::chance::{Chance, PATIENCE};
use sqlx::{Connection as _, Executor as _, PgConnection};
use touchline_eventstore::LogEvent;
use touchline_projections::Projection;
use touchline_projections::history::HistoryProjection;
use touchline_projections::posts::PostsProjection;
use touchline_projections::registry;
use touchline_projections::sweep::SWEEP_ROWS;
use touchline_projections::users::UsersProjection;
use touchline_testkit::eventually_some;

/// The schema of the fresh fold.
const FOLD: &str = "fresh_fold";

/// Waits until every read model has folded `events` events, with nothing parked and nothing halted, and
/// nothing left behind tombstones.
pub(crate) async fn converge(connection: &mut PgConnection, events: usize) {
    let events = i64::try_from(events).unwrap();
    let connection = tokio::sync::Mutex::new(connection);
    eventually_some(
        PATIENCE,
        "L7: the read models come to the end of the log",
        || async {
            let mut connection = connection.lock().await;
            let at: Vec<(String, i64, Option<String>)> =
                sqlx::query_as("SELECT projection, position, halted FROM operations.checkpoints")
                    .fetch_all(&mut **connection)
                    .await
                    .unwrap();
            let done = at.len() == registry::names().len()
                && at
                    .iter()
                    .all(|(_, position, halted)| *position == events && halted.is_none());
            let done = done
                && !is_unswept::<UsersProjection>(&mut connection, UsersProjection::NAME).await
                && !is_unswept::<PostsProjection>(&mut connection, PostsProjection::NAME).await;
            done.then_some(())
        },
    )
    .await;
    let parked: i64 = sqlx::query_scalar("SELECT count(*) FROM operations.parked_aggregates")
        .fetch_one(&mut **connection.lock().await)
        .await
        .unwrap();
    assert_eq!(parked, 0, "L7: aggregates are parked");
}

/// Waits until every read model is at the end of the log behind `url`, whether anybody writes or not.
pub(crate) async fn settle(url: &str) {
    let settled = || async {
        let mut connection = PgConnection::connect(url).await.ok()?;
        let at_the_end = "SELECT count(*) FROM operations.checkpoints
            WHERE position = (SELECT coalesce(max(position), 0) FROM log.events)
              AND halted IS NULL AND projection = ANY ($1)";
        let at_the_end: i64 = sqlx::query_scalar(at_the_end)
            .bind(registry::names())
            .fetch_one(&mut connection)
            .await
            .ok()?;
        (usize::try_from(at_the_end).unwrap() == registry::names().len()).then_some(())
    };
    eventually_some(PATIENCE, "L7: the read models settle", settled).await;
}

/// Folds the log afresh, in batches of other sizes, and compares every table.
pub(crate) async fn check(connection: &mut PgConnection, events: &[LogEvent], chance: &mut Chance) {
    compare(connection, &UsersProjection, events, chance).await;
    compare(connection, &PostsProjection::default(), events, chance).await;
    compare(connection, &HistoryProjection, events, chance).await;
}

/// Whether rows are left behind tombstones.
async fn is_unswept<P: Projection>(connection: &mut PgConnection, schema: &str) -> bool {
    let mut left = false;
    for table in P::TOMBSTONES {
        let statement = format!("SELECT EXISTS (SELECT FROM {schema}.{table} WHERE NOT swept)");
        left |= sqlx::query_scalar::<_, bool>(&statement)
            .fetch_one(&mut *connection)
            .await
            .unwrap();
    }
    left
}

async fn compare<P: Projection>(
    connection: &mut PgConnection,
    projection: &P,
    events: &[LogEvent],
    chance: &mut Chance,
) {
    let make = format!(
        "DROP SCHEMA IF EXISTS {FOLD} CASCADE; CREATE SCHEMA {FOLD}; SET search_path TO {FOLD}; {}",
        P::SCHEMA
    );
    connection.execute(make.as_str()).await.unwrap();
    let handled = events
        .iter()
        .filter(|event| projection.handles(&event.event_type));
    let mut rest: Vec<LogEvent> = handled.cloned().collect();
    while !rest.is_empty() {
        let size = usize::try_from(chance.number(1..2_000)).unwrap();
        let batch: Vec<_> = rest.drain(..size.min(rest.len())).collect();
        projection.project(connection, &batch).await.unwrap();
    }
    while is_unswept::<P>(connection, FOLD).await {
        projection.sweep(connection, SWEEP_ROWS).await.unwrap();
    }
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = $1")
            .bind(FOLD)
            .fetch_all(&mut *connection)
            .await
            .unwrap();
    assert!(!tables.is_empty());
    for table in tables {
        let (live, fold) = (format!("{}.{table}", P::NAME), format!("{FOLD}.{table}"));
        let drift: Vec<String> = sqlx::query_scalar(&format!(
            "(SELECT 'only live: ' || t::text FROM (TABLE {live} EXCEPT ALL TABLE {fold}) AS t)
             UNION ALL
             (SELECT 'only in the fold: ' || t::text FROM (TABLE {fold} EXCEPT ALL TABLE {live}) AS t)"
        ))
        .fetch_all(&mut *connection)
        .await
        .unwrap();
        assert_eq!(
            drift,
            Vec::<String>::new(),
            "L7: {live} is not the fold of the log"
        );
    }
    let drop = format!("DROP SCHEMA {FOLD} CASCADE; RESET search_path");
    connection.execute(drop.as_str()).await.unwrap();
}
