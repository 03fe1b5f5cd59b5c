//! A private NATS, with the real binary.

#![expect(clippy::unwrap_used, reason = "test support")]

use std::fs;

use async_nats::jetstream::{self, stream};
use touchline_embedded::{Nats, NatsSettings};

fn is_running(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

async fn jetstream(nats: &Nats) -> jetstream::Context {
    let address: async_nats::ServerAddr = nats.url().parse().unwrap();
    let (user, password) = (address.username().unwrap(), address.password().unwrap());
    let options =
        async_nats::ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned());
    jetstream::new(options.connect(address).await.unwrap())
}

async fn messages(nats: &Nats) -> u64 {
    jetstream(nats)
        .await
        .get_stream("S")
        .await
        .unwrap()
        .cached_info()
        .state
        .messages
}

async fn publish(nats: &Nats) {
    let jetstream = jetstream(nats).await;
    let config = stream::Config {
        name: "S".to_owned(),
        subjects: vec!["s".to_owned()],
        ..Default::default()
    };
    jetstream.get_or_create_stream(config).await.unwrap();
    jetstream
        .publish("s", "text".into())
        .await
        .unwrap()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_stream_survives_stop_and_kill_on_the_same_port() {
    let dir = tempfile::tempdir().unwrap();
    let nats = Nats::start(dir.path(), NatsSettings::default())
        .await
        .unwrap();
    let (port, pid) = (nats.port(), nats.pid());
    publish(&nats).await;
    nats.stop().await.unwrap();
    assert!(!is_running(pid));

    let nats = Nats::start(dir.path(), NatsSettings::default())
        .await
        .unwrap();
    assert_eq!(nats.port(), port);
    assert_eq!(messages(&nats).await, 1);
    publish(&nats).await;
    nats.kill().await.unwrap();

    let nats = Nats::start(dir.path(), NatsSettings::default())
        .await
        .unwrap();
    assert_eq!(messages(&nats).await, 2);
    nats.stop().await.unwrap();
}

#[tokio::test]
async fn nobody_gets_in_without_the_password() {
    let dir = tempfile::tempdir().unwrap();
    let nats = Nats::start(dir.path(), NatsSettings::default())
        .await
        .unwrap();
    let address = format!("nats://127.0.0.1:{}", nats.port());
    async_nats::connect(address).await.unwrap_err();
    nats.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_an_earlier_owner_left_is_stopped_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut left = Nats::start(dir.path(), NatsSettings::default())
        .await
        .unwrap();
    let left_pid = left.pid();
    let nats = Nats::start(dir.path(), NatsSettings::default())
        .await
        .unwrap();
    left.exited().await.unwrap();
    assert!(!is_running(left_pid));
    let pid = nats.pid();
    drop(nats);
    assert!(!is_running(pid));
}

#[tokio::test]
async fn two_servers_run_side_by_side() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = tokio::join!(
        Nats::start(one.path(), NatsSettings::default()),
        Nats::start(other.path(), NatsSettings::default())
    );
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_ne!(one.port(), other.port());
    one.stop().await.unwrap();
    other.stop().await.unwrap();
}
