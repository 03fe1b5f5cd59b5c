//! What readers of another version may rely on while an update is rolled out (ADR-0015).

use crate::rebuild::{Worker, community};
use crate::site::Site;
use sqlx::PgConnection;
use touchline_eventstore::LogEvent;
use touchline_projections::rebuild::RebuildState;
use touchline_projections::{ProjectError, Projection};

/// The ids of accounts, in versions that differ by columns.
struct Ids<const VERSION: i32>;

impl<const VERSION: i32> Ids<VERSION> {
    async fn write(connection: &mut PgConnection, events: &[LogEvent]) -> Result<(), sqlx::Error> {
        let ids: Vec<_> = events.iter().map(|it| it.aggregate_id.clone()).collect();
        sqlx::query("INSERT INTO people (id) SELECT * FROM unnest($1::text[])")
            .bind(ids)
            .execute(connection)
            .await
            .map(drop)
    }
}

macro_rules! version {
    ($version:literal, $schema:literal) => {
        impl Projection for Ids<$version> {
            const NAME: &'static str = "ids";
            const VERSION: i32 = $version;
            const SCHEMA: &'static str = $schema;

            fn handles(&self, event_type: &str) -> bool {
                event_type == "identity.account_registered"
            }

            async fn project(
                &self,
                connection: &mut PgConnection,
                events: &[LogEvent],
            ) -> Result<(), ProjectError> {
                Ok(Self::write(connection, events).await?)
            }
        }
    };
}

version!(1, "CREATE TABLE people (id text PRIMARY KEY, old text)");
version!(
    2,
    "CREATE TABLE people (id text PRIMARY KEY, new bigint NOT NULL DEFAULT 7)"
);

fn code(error: &sqlx::Error) -> String {
    let error = error.as_database_error().expect("the database refuses");
    error.code().unwrap().into_owned()
}

#[tokio::test]
async fn statements_of_both_versions_work_on_one_connection_as_far_as_columns_are_there() {
    let site = Site::new().await;
    let head = site.append(&community(5), 0).await;
    let mut first = site.run(Ids::<1>, 1);
    first.until_at(head).await;
    first.stop().await;

    // One session that is never closed, as in a pool.
    let mut reader = site.pool().acquire().await.unwrap();
    let in_both = "SELECT count(id) FROM ids.people";
    let of_old = "SELECT count(*) FILTER (WHERE old IS NULL) FROM ids.people";
    let of_new = "SELECT count(*) FILTER (WHERE new = 7) FROM ids.people";
    let mut ask = async |statement: &'static str| {
        let answer: Result<i64, sqlx::Error> =
            sqlx::query_scalar(statement).fetch_one(&mut *reader).await;
        answer
    };
    for _ in 0..3 {
        assert_eq!(ask(in_both).await.unwrap(), 5);
        assert_eq!(ask(of_old).await.unwrap(), 5);
        // What the API answers with 503 `read-model-changing`.
        assert_eq!(code(&ask(of_new).await.unwrap_err()), "42703");
    }
    let worker = Worker::start(&site, Ids::<2>, 2);
    let rebuild = site.request_rebuild("ids", 2).await;
    let done = site.until_rebuilt(&rebuild).await;
    assert_eq!((done.state, done.version), (RebuildState::Done, 2));
    for _ in 0..3 {
        assert_eq!(ask(in_both).await.unwrap(), 5);
        assert_eq!(code(&ask(of_old).await.unwrap_err()), "42703");
        assert_eq!(ask(of_new).await.unwrap(), 5);
    }
    worker.stop().await;
}
