//! How an instance starts, refuses to start, stops, and goes on.

use crate::chance::PATIENCE;
use crate::instance::{Folder, Instance, until_nothing_lives};
use crate::process::{Ended, Process, living, run, touchline};
use crate::site::Site;
use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tokio::process::Command;
use touchline_eventstore::database::MIGRATOR;
use touchline_testkit::eventually;

/// `touchline up` on the folder, to be refused.
fn up(folder: &Folder, data: &Path, listen: &str) -> Command {
    let data = data.to_str().unwrap();
    let arguments = ["up", "--data-dir", data, "--listen", listen];
    touchline(folder.path(), &arguments)
}

/// It was refused for a reason in the set-up: with the exit code for that, nothing but one line,
/// and nothing left behind that runs. The line has these words.
fn is_refused(folder: &Folder, ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(ended.output, "", "{ended:?}");
    assert_eq!(ended.errors.lines().count(), 1, "{ended:?}");
    for word in words {
        assert!(ended.errors.contains(word), "{word} is not in {ended:?}");
    }
    assert_eq!(living(folder.path()), Vec::<String>::new());
}

async fn connect(instance: &Instance) -> PgConnection {
    PgConnection::connect(&instance.database_url).await.unwrap()
}

async fn is_ready(url: &str) -> bool {
    let answer = reqwest::get(format!("{url}/readyz")).await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

/// The log's id: another one means another database.
async fn log_id(instance: &Instance) -> String {
    sqlx::query_scalar("SELECT log_id::text FROM log.origin")
        .fetch_one(&mut connect(instance).await)
        .await
        .unwrap()
}

#[tokio::test]
async fn instances_run_beside_each_other_and_say_where() {
    let folders = [Folder::new(), Folder::new()];
    let (mut one, mut two) =
        tokio::join!(Instance::start(&folders[0]), Instance::start(&folders[1]));
    for (folder, instance) in folders.iter().zip([&one, &two]) {
        assert!(is_ready(&instance.url).await);
        for file in [folder.ready_file(), folder.data().join("instance.json")] {
            let said: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            let fields: Vec<_> = said.as_object().unwrap().keys().collect();
            assert_eq!(
                fields,
                ["database_url", "master_key_file", "nats_url", "url"]
            );
            assert_eq!(said["url"], instance.url);
            // There are passwords in it.
            let mode = fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let said = instance.process.said();
        assert!(
            said.contains(&format!("Touchline serves at {}\n", instance.url)),
            "{said}"
        );
    }
    assert_ne!(log_id(&one).await, log_id(&two).await);
    assert!(one.stop().await.success());
    assert!(is_ready(&two.url).await);
    assert!(two.stop().await.success());
}

#[tokio::test]
async fn a_stopped_instance_leaves_nothing_that_runs_and_goes_on_where_it_was() {
    let folder = Folder::new();
    let mut instance = Instance::start(&folder).await;
    let before = log_id(&instance).await;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        assert!(instance.process.stop(signal).await.success());
        assert_eq!(living(folder.path()), Vec::<String>::new());
        assert!(!folder.data().join("instance.json").exists());
        instance = Instance::start(&folder).await;
        assert_eq!(log_id(&instance).await, before);
    }
    assert!(instance.stop().await.success());
}

#[tokio::test]
async fn a_killed_instance_takes_its_servers_with_it() {
    let folder = Folder::new();
    let mut instance = Instance::start(&folder).await;
    let before = log_id(&instance).await;
    instance.process.kill().await;
    until_nothing_lives(&folder).await;
    let mut instance = Instance::start(&folder).await;
    assert_eq!(log_id(&instance).await, before);
    assert!(instance.stop().await.success());
}

/// Whatever it was at when it was killed, the next start finds nothing half-made.
#[tokio::test]
async fn an_instance_killed_while_it_starts_starts_the_next_time() {
    let folder = Folder::new();
    let cluster = folder.data().join("postgres/cluster");
    let steps = [
        folder.data().join("lock"),
        cluster.join("data.new"),
        cluster.join("data.new/global"),
        cluster.join("data"),
        folder.cluster().join("postmaster.pid"),
        folder.data().join("nats/nats.pid"),
        folder.data().join("instance.json"),
    ];
    for step in steps {
        let command = up(&folder, &folder.data(), "127.0.0.1:0");
        let mut process = Process::start(folder.path(), "killed", command);
        let what = format!("{} is there", step.display());
        eventually(PATIENCE, &what, || async { step.exists() }).await;
        process.kill().await;
    }
    let mut instance = Instance::start(&folder).await;
    assert!(is_ready(&instance.url).await);
    assert!(instance.stop().await.success());
    assert!(!cluster.join("data.new").exists());
}

#[tokio::test]
async fn a_folder_has_one_instance() {
    let folder = Folder::new();
    let mut instance = Instance::start(&folder).await;
    let other = Folder::new();
    let ended = run(up(&other, &folder.data(), "127.0.0.1:0")).await;
    let holder = fs::read_to_string(folder.data().join("lock")).unwrap();
    is_refused(
        &other,
        &ended,
        &["already runs", holder.trim(), "--data-dir"],
    );
    assert!(is_ready(&instance.url).await);
    assert!(folder.data().join("instance.json").exists());
    assert!(instance.stop().await.success());
}

#[tokio::test]
async fn a_taken_port_is_refused_before_anything_is_started() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let ended = run(up(&folder, &folder.data(), &address.to_string())).await;
    is_refused(
        &folder,
        &ended,
        &[&format!("port {}", address.port()), "--listen"],
    );
    assert!(!folder.data().join("postgres").exists());
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_refused() {
    let folder = Folder::new();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let ended = run(up(&folder, &file.join("below"), "127.0.0.1:0")).await;
    is_refused(&folder, &ended, &["cannot be written", "--data-dir"]);
}

#[tokio::test]
async fn a_ready_file_that_cannot_be_written_is_refused() {
    let folder = Folder::new();
    let mut command = up(&folder, &folder.data(), "127.0.0.1:0");
    command.args(["--ready-file", "no/such/folder/ready.json"]);
    let ended = run(command).await;
    is_refused(&folder, &ended, &["ready.json", "cannot be written"]);
    assert!(!folder.data().join("postgres").exists());
}

/// A program that says that it is of this version, and can nothing else.
fn impostor(folder: &Folder, name: &str, version: &str) -> PathBuf {
    let file = folder.path().join(name);
    fs::write(&file, format!("#!/bin/sh\necho '{version}'\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    file
}

#[tokio::test]
async fn servers_that_are_missing_or_too_old_are_refused_before_anything_is_started() {
    let folder = Folder::new();
    let old_nats = impostor(&folder, "nats-server", "nats-server: v2.9.10");
    impostor(&folder, "initdb", "initdb (PostgreSQL) 14.1");
    impostor(&folder, "postgres", "postgres (PostgreSQL) 14.1");
    let nowhere = folder.path().join("nowhere");
    let cases = [
        (
            "TOUCHLINE_NATS_SERVER",
            nowhere.as_path(),
            ["no working nats-server", "set it"],
        ),
        ("TOUCHLINE_NATS_SERVER", &old_nats, ["2.9.10", "too old"]),
        (
            "TOUCHLINE_POSTGRES_BIN",
            &nowhere,
            ["no working `postgres`", "set it"],
        ),
        (
            "TOUCHLINE_POSTGRES_BIN",
            folder.path(),
            ["PostgreSQL 14", "too old"],
        ),
    ];
    for (variable, value, words) in cases {
        let mut command = up(&folder, &folder.data(), "127.0.0.1:0");
        command.env(variable, value);
        let ended = run(command).await;
        is_refused(&folder, &ended, &[variable]);
        is_refused(&folder, &ended, &words);
        assert!(
            !folder.data().join("postgres/cluster/data").exists(),
            "{variable}"
        );
    }
}

/// Somebody has run a newer version on the folder; this one must not touch the data.
#[tokio::test]
async fn a_database_from_a_newer_version_is_refused() {
    let folder = Folder::new();
    let mut instance = Instance::start(&folder).await;
    let newer = MIGRATOR.iter().map(|known| known.version).max().unwrap() + 1;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES ($1, 'from a newer version', true, '', 0)",
    )
    .bind(newer)
    .execute(&mut connect(&instance).await)
    .await
    .unwrap();
    assert!(instance.stop().await.success());
    let mut command = up(&folder, &folder.data(), "127.0.0.1:0");
    // What the servers log on their way is not of interest here.
    command.env("TOUCHLINE_LOG", "off");
    let ended = run(command).await;
    is_refused(&folder, &ended, &["newer Touchline", &newer.to_string()]);
    assert!(!folder.data().join("instance.json").exists());
}

#[tokio::test]
async fn roles_that_need_servers_say_so() {
    let folder = Folder::new();
    for role in ["serve", "work", "migrate"] {
        let ended = run(touchline(folder.path(), &[role])).await;
        is_refused(&folder, &ended, &["TOUCHLINE_DATABASE_URL"]);
    }
}

/// Neither a worker nor a request under way may keep it from ending.
#[tokio::test]
async fn it_stops_in_order_while_its_servers_are_away() {
    let mut site = Site::new().await;
    let mut up = site.serve("up", "127.0.0.1:0").await;
    assert!(is_ready(&up.url).await);
    tokio::join!(site.postgres.kill(), site.nats.kill());
    let is_red = || async { !is_ready(&up.url).await };
    eventually(PATIENCE, "readyz turns red", is_red).await;
    assert!(up.process.stop(Signal::SIGTERM).await.success());
}
