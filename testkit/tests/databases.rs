//! The databases and servers that tests are given.

#![expect(clippy::unwrap_used, reason = "test support")]

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use touchline_testkit::{DATABASE_URL_VARIABLE, SharedServer, eventually};

const PATIENCE: Duration = Duration::from_secs(30);

async fn exists(url: &str, name: &str) -> bool {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(name)
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn each_database_is_migrated_and_its_own() {
    let (one, other) = tokio::join!(touchline_testkit::database(), touchline_testkit::database());
    sqlx::query("CREATE TABLE mark (only_here int)")
        .execute(&one.pool)
        .await
        .unwrap();
    for (database, marked) in [(&one, true), (&other, false)] {
        let migrated: bool = sqlx::query_scalar("SELECT to_regclass('log.events') IS NOT NULL")
            .fetch_one(&database.pool)
            .await
            .unwrap();
        assert!(migrated);
        let found: bool = sqlx::query_scalar("SELECT to_regclass('mark') IS NOT NULL")
            .fetch_one(&database.pool)
            .await
            .unwrap();
        assert_eq!(found, marked);
    }
}

#[tokio::test]
async fn a_database_has_the_grants_that_the_migrations_gave() {
    let database = touchline_testkit::database().await;
    let may_create: bool =
        sqlx::query_scalar("SELECT has_database_privilege($1, current_database(), 'CREATE')")
            .bind(database.role())
            .fetch_one(&database.pool)
            .await
            .unwrap();
    assert!(may_create);
}

#[tokio::test]
async fn an_empty_database_has_no_tables() {
    let database = touchline_testkit::empty_database().await;
    let tables: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
         WHERE relkind = 'r' AND nspname NOT IN ('pg_catalog', 'information_schema')",
    )
    .fetch_one(&database.pool)
    .await
    .unwrap();
    assert_eq!(tables, 0);
}

#[tokio::test]
async fn a_dropped_database_goes_from_the_server() {
    let kept = touchline_testkit::empty_database().await;
    let dropped = touchline_testkit::empty_database().await;
    let name = dropped.name().to_owned();
    assert!(exists(&kept.url, &name).await);
    drop(dropped);
    eventually(PATIENCE, "the database has gone", || async {
        !exists(&kept.url, &name).await
    })
    .await;
}

#[tokio::test]
async fn a_private_server_keeps_what_it_acknowledged_through_a_kill() {
    let mut postgres = touchline_testkit::private_postgres().await;
    let mut connection = PgConnection::connect(postgres.url()).await.unwrap();
    sqlx::query("CREATE TABLE note AS SELECT 1 AS number")
        .execute(&mut connection)
        .await
        .unwrap();
    postgres.kill().await;
    sqlx::query("SELECT 1")
        .execute(&mut connection)
        .await
        .unwrap_err();
    postgres.start().await;
    postgres.stop_immediate().await;
    postgres.start().await;
    let mut connection = PgConnection::connect(postgres.url()).await.unwrap();
    let (number, fsync): (i32, String) =
        sqlx::query_as("SELECT number, current_setting('fsync') FROM note")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!((number, fsync.as_str()), (1, "on"));
}

#[tokio::test]
async fn with_services_gives_the_command_a_server_and_its_exit_code() {
    let script = format!("echo \"${DATABASE_URL_VARIABLE}\"; exit 7");
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_with-services"))
        .args(["sh", "-c", &script])
        .env_remove(DATABASE_URL_VARIABLE)
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(7));
    let url = String::from_utf8(output.stdout).unwrap();
    assert!(url.starts_with("postgres://"), "{url}");
    // It has stopped with the command.
    PgConnection::connect(url.trim()).await.unwrap_err();
}

#[tokio::test]
async fn a_shared_server_leaves_nothing_behind() {
    let server = SharedServer::start().await;
    let url = server.url();
    PgConnection::connect(&url).await.unwrap();
    server.stop().await;
    PgConnection::connect(&url).await.unwrap_err();
}
