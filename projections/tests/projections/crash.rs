//! What was shown is not taken back: a database that crashes, or goes back in time, while nothing
//! is written.

use crate::history::History;
use crate::rebuild::community;
use crate::site::{PATIENCE, Site};
use crate::{counted, leading};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{Connection as _, PgConnection};
use std::sync::{Arc, Mutex};
use tokio::time::timeout;
use touchline_eventstore::LogEvent;
use touchline_projections::users::UsersProjection;
use touchline_projections::{ProjectError, Projection, ProjectionState, ProjectionStatus};
use touchline_testkit::{PrivatePostgres, eventually, private_postgres};

/// One whose sessions alone bring what they commit to the disk.
async fn lazy_server() -> PrivatePostgres {
    let server = private_postgres().await;
    let site = Site::on(&server);
    for statement in [
        "ALTER SYSTEM SET wal_writer_delay = '10s'",
        "ALTER SYSTEM SET wal_writer_flush_after = '1GB'",
        "SELECT pg_reload_conf()",
    ] {
        sqlx::query(statement).execute(site.pool()).await.unwrap();
    }
    server
}

/// A killed backend takes the whole server down for a moment, and with it whatever was not on disk.
#[tokio::test]
async fn a_crash_takes_nothing_back_that_was_shown() {
    let server = lazy_server().await;
    let site = Site::on(&server);
    let mut history = History::default();
    for round in 1..=3_u128 {
        let mut running = site.run(UsersProjection, round);
        running
            .until(|status| status.state == ProjectionState::Running)
            .await;
        let mut victim = PgConnection::connect(server.url()).await.unwrap();
        let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
            .fetch_one(&mut victim)
            .await
            .unwrap();
        let mut bystander = PgConnection::connect(server.url()).await.unwrap();
        let known = history.steps.len();
        history.register(round);
        let head = site.append(&history, known).await;
        running.until_at(head).await;
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        // Nobody is there who would fold it again.
        running.kill().await;
        let gone = async { while bystander.ping().await.is_ok() {} };
        let gone = timeout(PATIENCE, gone).await;
        gone.expect("every session must be gone");
        eventually(PATIENCE, "the server is back", || async {
            PgConnection::connect(server.url()).await.is_ok()
        })
        .await;
        assert_eq!(site.checkpoint("users").await, Some(head.get()));
        site.assert_exact(&UsersProjection).await;
        leading::expire_lease(&site, "users").await;
    }
}

/// Whoever waits for a batch sees its rows when they are on disk: a commit that is not waits for
/// nothing, and is visible before.
#[tokio::test]
async fn every_batch_is_on_disk_before_it_is_seen() {
    let site = Site::new().await;
    counted::append(&site, 12_000).await;
    let settings = Settings::default();
    let mut running = site.run(settings.clone(), 1);
    running.until_at(site.store.head().await.unwrap()).await;
    running.stop().await;
    let seen = settings.seen.lock().unwrap();
    assert!(!seen.is_empty());
    assert!(seen.iter().all(|setting| setting == "on"), "{seen:?}");
}

/// Notes under which setting each batch is committed.
#[derive(Clone, Default)]
struct Settings {
    seen: Arc<Mutex<Vec<String>>>,
}

impl Projection for Settings {
    const NAME: &'static str = "settings";
    const VERSION: i32 = 1;
    const SCHEMA: &'static str = "CREATE TABLE settings (id bigint PRIMARY KEY)";

    fn handles(&self, _event_type: &str) -> bool {
        true
    }

    async fn project(
        &self,
        connection: &mut PgConnection,
        _events: &[LogEvent],
    ) -> Result<(), ProjectError> {
        let setting = sqlx::query_scalar("SELECT current_setting('synchronous_commit')")
            .fetch_one(connection)
            .await?;
        self.seen.lock().unwrap().push(setting);
        Ok(())
    }
}

/// As when a standby takes over that lacks the last commits: the log has them again, the rows do not.
#[tokio::test]
async fn a_checkpoint_that_went_back_is_noticed_while_nothing_is_written() {
    let site = Site::new().await;
    let head = site.append(&community(10), 0).await;
    let mut running = site.run(UsersProjection, 1);
    running.until_at(head).await;
    sqlx::raw_sql(
        "BEGIN;
         SELECT FROM operations.checkpoints WHERE projection = 'users' FOR UPDATE;
         TRUNCATE users.users, users.follows, users.erased;
         UPDATE operations.checkpoints SET position = 0 WHERE projection = 'users';
         COMMIT",
    )
    .execute(site.pool())
    .await
    .unwrap();
    eventually(PATIENCE, "the events are folded again", || async {
        site.checkpoint("users").await == Some(head.get())
    })
    .await;
    site.assert_exact(&UsersProjection).await;
    running.until_at(head).await;
    running.stop().await;
}

/// A leader without a session cannot tell whether it still leads.
#[tokio::test]
async fn a_term_ends_when_its_session_is_gone() {
    let site = Site::new().await;
    let head = site.append(&community(2), 0).await;
    let mut running = site.run(UsersProjection, 1);
    running.until_at(head).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut status = running.status.clone();
    let watching = tokio::spawn({
        let seen = Arc::clone(&seen);
        async move {
            while status.changed().await.is_ok() {
                let now: ProjectionStatus = status.borrow_and_update().clone();
                seen.lock().unwrap().push(now.state);
            }
        }
    });
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE application_name = 'touchline' AND datname = current_database()",
    )
    .execute(site.pool())
    .await
    .unwrap();
    eventually(PATIENCE, "another term begins", || async {
        *seen.lock().unwrap() == [ProjectionState::Standby, ProjectionState::Running]
    })
    .await;
    assert_eq!(running.status.borrow().position, head);
    running.stop().await;
    watching.await.unwrap();
}
