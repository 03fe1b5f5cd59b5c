//! A private PostgreSQL, with the real binaries.

#![expect(clippy::unwrap_used, reason = "test support")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use touchline_embedded::{Durability, Postgres, PostgresSettings, StartPostgresError, StopMode};

/// A temporary folder. The cluster goes with it too when it lies elsewhere.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Where the cluster of the server that lives in this folder lies.
    fn cluster(&self) -> PathBuf {
        let location = fs::read_to_string(self.path().join("location"));
        location.map_or_else(
            |_| self.path().join("cluster"),
            |elsewhere| elsewhere.trim().into(),
        )
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let cluster = self.cluster();
        if cluster.exists() {
            fs::remove_dir_all(cluster).unwrap();
        }
    }
}

/// Small and quick to make, but durable.
fn settings() -> PostgresSettings {
    PostgresSettings {
        shared_buffers_mb: 16,
        sync_new: false,
        ..PostgresSettings::default()
    }
}

async fn connect(postgres: &Postgres) -> PgConnection {
    PgConnection::connect(&postgres.url("touchline"))
        .await
        .unwrap()
}

async fn note(postgres: &Postgres, text: &str) {
    let mut connection = connect(postgres).await;
    sqlx::query("CREATE TABLE IF NOT EXISTS note (text text)")
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::query("INSERT INTO note VALUES ($1)")
        .bind(text)
        .execute(&mut connection)
        .await
        .unwrap();
}

async fn notes(postgres: &Postgres) -> Vec<String> {
    let mut connection = connect(postgres).await;
    sqlx::query_scalar("SELECT text FROM note ORDER BY text")
        .fetch_all(&mut connection)
        .await
        .unwrap()
}

fn is_running(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_is_committed_survives_each_kind_of_stop_on_the_same_port() {
    let dir = Folder::new();
    let postgres = Postgres::start(dir.path(), &settings()).await.unwrap();
    let port = postgres.port();
    let pid = postgres.pid();
    note(&postgres, "before a fast stop").await;
    assert!(postgres.stop(StopMode::Fast).await.unwrap().success());
    assert!(!is_running(pid));

    let postgres = Postgres::start(dir.path(), &settings()).await.unwrap();
    assert_eq!(postgres.port(), port);
    note(&postgres, "before an immediate stop").await;
    postgres.stop(StopMode::Immediate).await.unwrap();

    let postgres = Postgres::start(dir.path(), &settings()).await.unwrap();
    note(&postgres, "before a kill").await;
    postgres.kill().await.unwrap();

    let postgres = Postgres::start(dir.path(), &settings()).await.unwrap();
    assert_eq!(
        notes(&postgres).await,
        [
            "before a fast stop",
            "before a kill",
            "before an immediate stop"
        ]
    );
    postgres.stop(StopMode::Fast).await.unwrap();
}

#[tokio::test]
async fn it_is_durable_and_lets_nobody_in_without_the_password() {
    let dir = Folder::new();
    let postgres = Postgres::start(dir.path(), &PostgresSettings::default())
        .await
        .unwrap();
    let mut connection = connect(&postgres).await;
    for (setting, wanted) in [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("listen_addresses", "127.0.0.1"),
        ("jit", "off"),
    ] {
        let value: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(setting)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(value, wanted, "{setting}");
    }
    let without = format!(
        "postgres://postgres:wrong@127.0.0.1:{}/touchline",
        postgres.port()
    );
    PgConnection::connect(&without).await.unwrap_err();
    let password = fs::metadata(dir.path().join("password")).unwrap();
    assert_eq!(password.permissions().mode() & 0o777, 0o600);
    postgres.stop(StopMode::Fast).await.unwrap();
}

#[tokio::test]
async fn dropping_it_leaves_no_process() {
    let dir = Folder::new();
    let settings = PostgresSettings {
        durability: Durability::Scratch,
        ..settings()
    };
    let postgres = Postgres::start(dir.path(), &settings).await.unwrap();
    let pid = postgres.pid();
    drop(postgres);
    assert!(!is_running(pid));
}

#[tokio::test]
async fn a_server_that_an_earlier_owner_left_is_stopped_first() {
    let dir = Folder::new();
    let mut left = Postgres::start(dir.path(), &settings()).await.unwrap();
    note(&left, "kept").await;
    let left_pid = left.pid();
    let postgres = Postgres::start(dir.path(), &settings()).await.unwrap();
    left.exited().await.unwrap();
    assert!(!is_running(left_pid));
    assert_eq!(notes(&postgres).await, ["kept"]);
    postgres.stop(StopMode::Fast).await.unwrap();
}

#[tokio::test]
async fn a_server_whose_owner_is_killed_stops_by_itself() {
    let dir = Folder::new();
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "an_owner_that_waits_to_be_killed", "--ignored"])
        .env("OWNED_DIR", dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid_file = dir.path().join("pid");
    until("the owner has started a server", || pid_file.exists()).await;
    let pid: u32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    assert!(is_running(pid));
    owner.kill().unwrap();
    owner.wait().unwrap();
    // Started at once, it has to wait for the one that is on its way out.
    let postgres = Postgres::start(dir.path(), &settings()).await.unwrap();
    assert!(!is_running(pid));
    assert_eq!(notes(&postgres).await, ["by the owner"]);
    let stopped = postgres.pid();
    postgres.stop(StopMode::Fast).await.unwrap();
    assert!(!is_running(stopped));
}

#[tokio::test]
async fn without_a_new_start_the_leash_stops_a_killed_owners_server() {
    let dir = Folder::new();
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "an_owner_that_waits_to_be_killed", "--ignored"])
        .env("OWNED_DIR", dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid_file = dir.path().join("pid");
    until("the owner has started a server", || pid_file.exists()).await;
    let pid: u32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    owner.kill().unwrap();
    owner.wait().unwrap();
    until("the server has gone", || !is_running(pid)).await;
}

#[tokio::test]
#[ignore = "the other half of the tests that kill an owner"]
async fn an_owner_that_waits_to_be_killed() {
    let Some(dir) = std::env::var_os("OWNED_DIR") else {
        return;
    };
    let dir = Path::new(&dir);
    let mut postgres = Postgres::start(dir, &settings()).await.unwrap();
    note(&postgres, "by the owner").await;
    fs::write(dir.join("pid.new"), postgres.pid().to_string()).unwrap();
    fs::rename(dir.join("pid.new"), dir.join("pid")).unwrap();
    postgres.exited().await.unwrap();
}

#[tokio::test]
async fn a_folder_that_the_servers_account_cannot_reach_has_its_cluster_elsewhere() {
    let closed = tempfile::tempdir().unwrap();
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let dir = Folder(tempfile::tempdir_in(closed.path()).unwrap());
    let postgres = Postgres::start(dir.path(), &settings()).await.unwrap();
    note(&postgres, "kept").await;
    postgres.stop(StopMode::Fast).await.unwrap();
    let postgres = Postgres::start(dir.path(), &settings()).await.unwrap();
    assert_eq!(notes(&postgres).await, ["kept"]);
    postgres.stop(StopMode::Fast).await.unwrap();
    // Only root lends PostgreSQL another account; anyone else's own can reach the folder.
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    assert_eq!(dir.cluster().starts_with("/var/lib/touchline"), is_root);
    if is_root {
        let owner = fs::read_to_string(dir.cluster().join("belongs-to")).unwrap();
        assert_eq!(Path::new(owner.trim()), dir.path());
    }
    assert!(dir.cluster().join("data/PG_VERSION").exists());
}

#[tokio::test]
async fn a_large_log_is_set_aside() {
    let dir = Folder::new();
    let log = dir.path().join("server.log");
    fs::write(&log, vec![b'x'; 17 * 1024 * 1024]).unwrap();
    let postgres = Postgres::start(dir.path(), &settings()).await.unwrap();
    assert_eq!(postgres.log(), fs::canonicalize(&log).unwrap());
    assert!(fs::metadata(&log).unwrap().len() < 1024 * 1024);
    assert!(dir.path().join("server.old.log").exists());
    postgres.stop(StopMode::Fast).await.unwrap();
}

#[tokio::test]
async fn a_half_made_cluster_is_made_anew() {
    let dir = Folder::new();
    let postgres = Postgres::start(dir.path(), &settings()).await.unwrap();
    postgres.stop(StopMode::Fast).await.unwrap();
    let home = dir.cluster();
    fs::rename(home.join("data"), home.join("data.new")).unwrap();
    fs::remove_file(home.join("data.new/PG_VERSION")).unwrap();
    let postgres = Postgres::start(dir.path(), &settings()).await.unwrap();
    assert!(!home.join("data.new").exists());
    postgres.stop(StopMode::Fast).await.unwrap();
}

#[tokio::test]
async fn a_cluster_of_a_version_that_is_not_installed_is_one_clear_line() {
    let dir = Folder::new();
    let postgres = Postgres::start(dir.path(), &settings()).await.unwrap();
    postgres.stop(StopMode::Fast).await.unwrap();
    fs::write(dir.cluster().join("data/PG_VERSION"), "99\n").unwrap();
    let refused = Postgres::start(dir.path(), &settings()).await.unwrap_err();
    assert!(matches!(refused, StartPostgresError::Tools(_)));
    assert!(refused.to_string().contains("PostgreSQL 99"), "{refused}");
    assert_eq!(refused.to_string().lines().count(), 1);
}
