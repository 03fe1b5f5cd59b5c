//! Outside witnesses, each a process of its own, and what they find that nothing else does.

use crate::chance::PATIENCE;
use crate::instance::{Folder, Instance};
use crate::mirror;
use crate::process::{Ended, Process, run, touchline};
use async_nats::jetstream;
use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::PgPool;
use std::fs;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use touchline_eventstore::database::Database;
use touchline_eventstore::seal::STREAM_NAME;
use touchline_eventstore::seal::witness::REQUEST_BYTES_MAX;
use touchline_eventstore::{EventStore, MasterKeys, Position};
use touchline_testkit::{MockClock, eventually};

/// A witness of the log whose key lies in `log.key`.
struct Witness {
    process: Process,
    name: &'static str,
    url: String,
    key: String,
}

impl Witness {
    async fn start(folder: &Folder, name: &'static str, address: &str) -> Self {
        let file = folder.path().join(format!("{name}.json"));
        let _was_there = fs::remove_file(&file);
        let (listen, ready) = (format!("--listen={address}"), file.to_str().unwrap());
        let signs_as = format!("witness.example/{name}");
        let arguments = [
            "log",
            "witness",
            "--data-dir",
            name,
            &listen,
            "--name",
            &signs_as,
            "--log",
            "log.key",
            "--ready-file",
            ready,
        ];
        let command = touchline(folder.path(), &arguments);
        let mut process = Process::start(folder.path(), name, command);
        let said = process.ready(&file).await;
        Self {
            process,
            name,
            url: said["url"].as_str().unwrap().to_owned(),
            key: said["key"].as_str().unwrap().to_owned(),
        }
    }

    /// Kills it, and starts it again where it was.
    async fn kill_and_start(&mut self, folder: &Folder) {
        self.process.kill().await;
        let address = self.url.trim_start_matches("http://").to_owned();
        let again = Self::start(folder, self.name, &address).await;
        assert_eq!(again.key, self.key);
        *self = again;
    }

    fn line(&self) -> String {
        format!("witness {} {} {}\n", self.name, self.key, self.url)
    }
}

/// Runs it on the instance of the folder.
async fn on(folder: &Folder, arguments: &[&str]) -> Ended {
    let mut command = touchline(folder.path(), arguments);
    command.env("TOUCHLINE_DATA_DIR", folder.data());
    run(command).await
}

/// An instance was there, and its key is in `log.key`.
async fn log_key(folder: &Folder) {
    let mut instance = Instance::start(folder).await;
    let loaded = on(folder, &["demo"]).await;
    assert_eq!(loaded.code, Some(0), "{loaded:?}");
    let told = on(folder, &["log", "key", "--output", "log.key"]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(instance.stop().await.success());
}

async fn start(folder: &Folder, policy: &str) -> (Instance, PgPool) {
    fs::write(folder.path().join("policy"), policy).unwrap();
    let options = ["--listen", "127.0.0.1:0", "--witness-policy", "policy"];
    let instance = Instance::start_with(folder, &options).await;
    let pool = PgPool::connect(&instance.database_url).await.unwrap();
    (instance, pool)
}

/// Waits until as many witnesses have cosigned the whole log.
async fn cosigned(pool: &PgPool, witnesses: i64) {
    eventually(PATIENCE, "the log is cosigned", || async {
        sqlx::query_scalar(
            "SELECT count(*) = $1 FROM seals.cosignatures
             WHERE tree_size = (SELECT max(position) FROM log.events)",
        )
        .bind(witnesses)
        .fetch_one(pool)
        .await
        .unwrap_or_default()
    })
    .await;
}

async fn health(instance: &Instance) -> Value {
    let answer = reqwest::get(format!("{}/health", instance.url)).await;
    answer.unwrap().json().await.unwrap()
}

async fn health_becomes(instance: &Instance, witnesses: &str) {
    eventually(PATIENCE, "the health of the witnesses", || async {
        health(instance).await["witnesses"] == witnesses
    })
    .await;
}

#[tokio::test]
async fn a_log_is_cosigned_as_its_policy_demands() {
    let folder = Folder::new();
    log_key(&folder).await;
    let mut north = Witness::start(&folder, "north", "127.0.0.1:0").await;
    let mut south = Witness::start(&folder, "south", "127.0.0.1:0").await;
    south.process.kill().await;
    let quorum = "group both all north south\nquorum both\n";
    let policy = format!("{}{}{quorum}", north.line(), south.line());
    let (mut instance, pool) = start(&folder, &policy).await;

    // One is away: the log is sealed all the same, and that a cosignature lacks is told.
    cosigned(&pool, 1).await;
    health_becomes(&instance, "warn").await;
    let one = on(&folder, &["log", "verify", "--witness", &north.key]).await;
    assert_eq!(one.code, Some(0), "{one:?}");
    assert!(
        one.output
            .contains("Cosigned by witness.example/north up to"),
        "{one:?}"
    );
    let both = on(&folder, &["log", "verify", "--witness-policy", "policy"]).await;
    assert_eq!(both.code, Some(1), "{both:?}");
    assert!(
        both.output
            .contains("witness.example/south: it has cosigned nothing"),
        "{both:?}"
    );

    south.kill_and_start(&folder).await;
    cosigned(&pool, 2).await;
    health_becomes(&instance, "pass").await;
    let both = on(&folder, &["log", "verify", "--witness-policy", "policy"]).await;
    assert_eq!(both.code, Some(0), "{both:?}");

    // A witness goes on from where it was; each look is an event.
    north.kill_and_start(&folder).await;
    let looked = on(&folder, &["log", "list", "--limit", "1"]).await;
    assert_eq!(looked.code, Some(0), "{looked:?}");
    cosigned(&pool, 2).await;
    // So does whoever asks, and does not know where the witnesses are, or what it knows is not so.
    for forgotten in [
        "DELETE FROM seals.cosignatures",
        "UPDATE seals.cosignatures SET tree_size = tree_size + 1000",
        "UPDATE seals.cosignatures SET tree_size = 1",
    ] {
        sqlx::query(forgotten).execute(&pool).await.unwrap();
        cosigned(&pool, 2).await;
    }
    let note = on(&folder, &["log", "checkpoint", "--cosigned"]).await;
    assert_eq!(note.output.matches("\n— ").count(), 3, "{note:?}");
    assert!(instance.stop().await.success());
    for witness in [&mut north, &mut south] {
        assert!(witness.process.stop(Signal::SIGTERM).await.success());
    }
}

/// Somebody who holds the machine, the database and the master key: all but the witness.
#[tokio::test]
async fn a_history_rewritten_and_sealed_anew_by_its_owner_is_found() {
    let folder = Folder::new();
    log_key(&folder).await;
    let mut north = Witness::start(&folder, "north", "127.0.0.1:0").await;
    let policy = format!("{}quorum north\n", north.line());
    let (mut instance, pool) = start(&folder, &policy).await;
    cosigned(&pool, 1).await;

    rewrite(&instance, &pool).await;
    let context = jetstream::new(mirror::connect(&instance.nats_url).await);
    context.delete_stream(STREAM_NAME).await.unwrap();
    assert!(instance.stop().await.success());
    fs::remove_file(folder.data().join("seals/kept-checkpoint.json")).unwrap();

    let (mut instance, pool) = start(&folder, &policy).await;
    eventually(PATIENCE, "the log is sealed anew", || async {
        sqlx::query_scalar("SELECT count(*) > 0 FROM seals.checkpoints")
            .fetch_one(&pool)
            .await
            .unwrap_or_default()
    })
    .await;
    let deceived = on(&folder, &["log", "verify"]).await;
    assert_eq!(deceived.code, Some(0), "{deceived:?}");
    let found = on(&folder, &["log", "verify", "--witness", &north.key]).await;
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(
        found
            .output
            .contains("not cosigned as demanded: witness.example/north"),
        "{found:?}"
    );
    // The witness does not cosign it either.
    health_becomes(&instance, "warn").await;
    eventually(PATIENCE, "the witness refuses", || async {
        let problem: Option<String> =
            sqlx::query_scalar("SELECT problem FROM operations.witnessing")
                .fetch_one(&pool)
                .await
                .unwrap_or_default();
        problem.is_some_and(|problem| problem.contains("it refuses: the log is not the one"))
    })
    .await;
    assert!(
        north.process.said().contains("does not go on"),
        "{}",
        north.process.said()
    );
    assert!(instance.stop().await.success());
    assert!(north.process.stop(Signal::SIGTERM).await.success());
}

/// Changes an event and its digest, and takes every seal away.
async fn rewrite(instance: &Instance, pool: &PgPool) {
    let database = Database::new(&instance.database_url).unwrap();
    let masters = fs::read_to_string(&instance.master_key_file).unwrap();
    let masters = MasterKeys::parse(&masters).unwrap();
    let clock = Arc::new(MockClock::at("2022-12-18T15:00:00Z"));
    let store = EventStore::new(database.clone(), database.pool(1), masters, clock);
    let replica = "SET LOCAL session_replication_role = replica";
    sqlx::raw_sql(&format!(
        "BEGIN; {replica};
         UPDATE log.events SET recorded_at = recorded_at - interval '1 hour' WHERE position = 17;
         DELETE FROM seals.checkpoints; DELETE FROM seals.hashes; COMMIT"
    ))
    .execute(pool)
    .await
    .unwrap();
    let event = store
        .read(Position::new(16).unwrap(), 1)
        .await
        .unwrap()
        .remove(0);
    let mut transaction = pool.begin().await.unwrap();
    sqlx::query(replica)
        .execute(&mut *transaction)
        .await
        .unwrap();
    sqlx::query("UPDATE log.events SET digest = $1 WHERE position = 17")
        .bind(&event.computed_digest().as_bytes()[..])
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn a_witness_and_a_policy_refuse_what_they_cannot_take() {
    let folder = Folder::new();
    log_key(&folder).await;
    let refused = async |arguments: &[&str], line: &str| {
        let ended = on(&folder, arguments).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert_eq!(ended.errors.lines().count(), 1, "{ended:?}");
        assert!(ended.errors.contains(line), "{ended:?}");
    };
    let witness = ["log", "witness", "--data-dir", "w"];
    let with = |rest: &[&'static str]| [&witness[..], rest].concat();
    refused(&with(&["--log", "log.key"]), "say with --name").await;
    refused(
        &with(&["--name", "a b", "--log", "log.key"]),
        "cannot be the name",
    )
    .await;
    refused(&with(&["--name", "w.example"]), "no log is named").await;
    refused(&with(&["--log", "absent"]), "cannot be read").await;
    refused(
        &with(&["--name", "other", "--log", "log.key"]),
        "signs as w.example",
    )
    .await;
    fs::write(folder.path().join("policy"), "quorum nobody\n").unwrap();
    refused(
        &["up", "--witness-policy", "policy"],
        "policy: line 1: nothing before",
    )
    .await;
    let north = Witness::start(&folder, "north", "127.0.0.1:0").await;
    refused(
        &["log", "witness", "--data-dir", "north", "--log", "log.key"],
        "already runs",
    )
    .await;
    let without_url = format!("witness north {}\nquorum north\n", north.key);
    fs::write(folder.path().join("policy"), without_url).unwrap();
    refused(&["up", "--witness-policy", "policy"], "has no address").await;

    let add = async |body: String| {
        let url = format!("{}/add-checkpoint", north.url);
        let answer = reqwest::Client::new().post(url).body(body).send().await;
        answer.unwrap().status().as_u16()
    };
    assert_eq!(add("x".repeat(REQUEST_BYTES_MAX)).await, 400);
    assert_eq!(add("x".repeat(REQUEST_BYTES_MAX + 1)).await, 413);
    assert_eq!(
        add("old 0\n\nother\n1\nAAAA\n\n— other AAAA\n".to_owned()).await,
        404
    );
    let name = fs::read_to_string(folder.path().join("log.key")).unwrap();
    let name = name.split('+').next().unwrap();
    let root = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let unsigned = format!("old 0\n\n{name}\n1\n{root}\n\n— {name} AAAAAAAA\n");
    assert_eq!(add(unsigned).await, 403);
    // Whoever does not send what was announced holds no connection for long.
    let address = north.url.trim_start_matches("http://");
    let mut slow = TcpStream::connect(address).await.unwrap();
    let head =
        format!("POST /add-checkpoint HTTP/1.1\r\nHost: {address}\r\nContent-Length: 9\r\n\r\nx");
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    let answered = tokio::time::timeout(PATIENCE, slow.read_exact(&mut answer)).await;
    answered.expect("it must not wait").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}
