//! The stream LOG is the log, whatever happens to it and to those who fill it (L6).

use crate::log::{self, Log};
use crate::running::{PATIENCE, RunningRelay, SETTINGS, append, assert_mirrored, bodies, wait};
use async_nats::jetstream;
use async_nats::jetstream::stream::Config;
use futures::StreamExt as _;
use std::sync::mpsc;
use std::thread;
use tokio_util::sync::CancellationToken;
use touchline_eventstore::relay::{Nudger, Relay};
use touchline_eventstore::stream::{Comparison, Divergence, LogStream, NAME};
use touchline_eventstore::{Anchor, EventStore, Position};
use touchline_testkit::{eventually, nats, private_postgres};
use uuid::Uuid;

#[tokio::test]
async fn every_message_stands_at_its_position() {
    let (log, nats) = (Log::new().await, nats().await);
    let client = nats.client().await;
    append(&log.store, 300).await;
    let mut relay = RunningRelay::start(&log.store, client.clone(), 1);
    relay.published(300).await;
    append(&log.store, 200).await;
    relay.published(500).await;
    assert_mirrored(&log, &client, 1).await;
    assert_eq!(relay.alarms(), 0);
    relay.stop().await;
}

#[tokio::test]
async fn more_than_a_page_and_a_window_arrive_whole() {
    let (log, nats) = (Log::new().await, nats().await);
    let client = nats.client().await;
    for number in 1..=5 {
        let answer = log
            .store
            .append(log::command(number, [log::stream(number, 0, 999)]))
            .await;
        answer.unwrap();
    }
    let mut relay = RunningRelay::start(&log.store, client.clone(), 1);
    relay.published(4_995).await;
    assert_mirrored(&log, &client, 1).await;
    relay.stop().await;
}

#[tokio::test]
async fn a_deleted_stream_comes_back_byte_for_byte() {
    let (log, nats) = (Log::new().await, nats().await);
    let client = nats.client().await;
    let authenticator = log.store.authenticator().await.unwrap();
    let mut relay = RunningRelay::start(&log.store, client.clone(), 1);
    append(&log.store, 100).await;
    relay.published(100).await;
    let before = bodies(&client, &authenticator, Anchor::START).await;

    jetstream::new(client.clone())
        .delete_stream(NAME)
        .await
        .unwrap();
    eventually(PATIENCE, "the stream is refilled", || {
        refilled(&client, 100)
    })
    .await;
    assert!(
        bodies(&client, &authenticator, Anchor::START).await == before,
        "the same events in the same bytes"
    );

    // And once more while events come.
    let (appends, deletion) = (append(&log.store, 400), async {
        jetstream::new(client.clone())
            .delete_stream(NAME)
            .await
            .unwrap();
    });
    tokio::join!(appends, deletion);
    relay.published(500).await;
    eventually(PATIENCE, "the stream is refilled", || {
        refilled(&client, 500)
    })
    .await;
    assert_mirrored(&log, &client, 1).await;
    assert_eq!(relay.alarms(), 0, "a lost stream is no sign of a wrong one");
    relay.stop().await;
}

#[tokio::test]
async fn a_stream_rolled_back_to_an_older_copy_catches_up() {
    let (log, mut nats) = (Log::new().await, nats().await);
    let client = nats.client().await;
    let mut relay = RunningRelay::start(&log.store, client.clone(), 1);
    append(&log.store, 50).await;
    relay.published(50).await;
    let copies = tempfile::tempdir().unwrap();
    let copy = copies.path().join("store");
    nats.stop().await;
    nats.copy_store_to(&copy);
    nats.start().await;
    append(&log.store, 50).await;
    relay.published(100).await;

    nats.stop().await;
    nats.restore_store_from(&copy);
    nats.start().await;
    eventually(PATIENCE, "the stream catches up", || refilled(&client, 100)).await;
    append(&log.store, 10).await;
    relay.published(110).await;
    assert_mirrored(&log, &client, 1).await;
    assert_eq!(
        relay.alarms(),
        0,
        "an older copy of the same log is no other log"
    );
    relay.stop().await;
}

#[tokio::test]
async fn what_somebody_else_publishes_is_thrown_out() {
    let (log, nats) = (Log::new().await, nats().await);
    let client = nats.client().await;
    let mut relay = RunningRelay::start(&log.store, client.clone(), 1);
    append(&log.store, 20).await;
    relay.published(20).await;
    let context = jetstream::new(client.clone());
    context
        .publish("touchline.log.00.tests.foreign", "{}".into())
        .await
        .unwrap()
        .await
        .unwrap();
    relay
        .wait("an alarm", |status| {
            status.alarms == 1 && status.published.get() == 20
        })
        .await;
    append(&log.store, 5).await;
    relay.published(25).await;
    assert_mirrored(&log, &client, 1).await;
    relay.stop().await;
}

#[tokio::test]
async fn a_foreign_message_in_the_place_of_the_next_event_is_thrown_out() {
    let (log, nats) = (Log::new().await, nats().await);
    let client = nats.client().await;
    append(&log.store, 20).await;
    let stream = LogStream::new(&client, log.store.authenticator().await.unwrap(), 1);
    stream.create(Position::START.next()).await.unwrap();
    let context = jetstream::new(client.clone());
    context
        .publish("touchline.log.00.tests.foreign", "{}".into())
        .await
        .unwrap()
        .await
        .unwrap();
    let found = stream.compare(&log.store).await.unwrap();
    assert_eq!(found, Comparison::Diverged(Divergence::Foreign));
    let mut relay = RunningRelay::start(&log.store, client.clone(), 1);
    relay.published(20).await;
    assert_eq!(relay.alarms(), 1);
    assert_mirrored(&log, &client, 1).await;
    relay.stop().await;
}

#[tokio::test]
async fn a_stream_of_another_log_or_generation_is_made_anew() {
    let nats = nats().await;
    let client = nats.client().await;
    let original = Log::new().await;
    let log_id = original.store.log_id().await.unwrap();
    append(&original.store, 30).await;
    fill(&original, &client, 30, 0).await;

    // A database restored from a backup of an hour ago: the same id, fewer events.
    let restored = Log::new().await;
    set_log_id(&restored, log_id).await;
    restored
        .store
        .append(log::command(1_000, [log::stream(1_000, 0, 10)]))
        .await
        .unwrap();
    let stream = LogStream::new(&client, restored.store.authenticator().await.unwrap(), 1);
    assert_eq!(diverged(&stream, &restored).await, Divergence::Ahead);
    // It goes on, another way.
    restored
        .store
        .append(log::command(1_001, [log::stream(1_001, 0, 30)]))
        .await
        .unwrap();
    assert_eq!(diverged(&stream, &restored).await, Divergence::OtherEvent);
    fill(&restored, &client, 40, 1).await;

    // A new database altogether.
    let other = Log::new().await;
    set_log_id(&other, Uuid::from_u128(1)).await;
    append(&other.store, 40).await;
    let stream = LogStream::new(&client, other.store.authenticator().await.unwrap(), 1);
    assert_eq!(diverged(&stream, &other).await, Divergence::OtherLog);
    fill(&other, &client, 40, 1).await;

    // Settings under which the stream would forget.
    let mut config = jetstream::new(client.clone())
        .get_stream(NAME)
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    config.max_messages = 10_000;
    jetstream::new(client.clone())
        .update_stream(&config)
        .await
        .unwrap();
    assert_eq!(diverged(&stream, &other).await, Divergence::Settings);
    fill(&other, &client, 40, 1).await;
}

#[tokio::test]
async fn a_stream_with_holes_is_made_anew() {
    let (log, nats) = (Log::new().await, nats().await);
    let client = nats.client().await;
    append(&log.store, 10).await;
    fill(&log, &client, 10, 0).await;
    // JetStream refuses to delete from the stream, so one that allows it is put in its place, and
    // the settings are put right afterwards.
    let context = jetstream::new(client.clone());
    let stream = context.get_stream(NAME).await.unwrap();
    let right = stream.cached_info().config.clone();
    let mut messages = Vec::new();
    for sequence in 1..=10 {
        messages.push(stream.get_raw_message(sequence).await.unwrap());
    }
    stream
        .delete_message(5)
        .await
        .expect_err("the stream denies deletion");
    context.delete_stream(NAME).await.unwrap();
    let lax = Config {
        deny_delete: false,
        ..right.clone()
    };
    let stream = context.create_stream(&lax).await.unwrap();
    for message in messages {
        let sent = context
            .publish_with_headers(message.subject, message.headers, message.payload)
            .await;
        sent.unwrap().await.unwrap();
    }
    stream.delete_message(5).await.unwrap();
    context.update_stream(&right).await.unwrap();

    let stream = LogStream::new(&client, log.store.authenticator().await.unwrap(), 1);
    assert_eq!(diverged(&stream, &log).await, Divergence::Holes);
    fill(&log, &client, 10, 1).await;
}

#[tokio::test]
async fn two_relays_that_both_lead_do_no_harm() {
    let (log, nats) = (Log::new().await, nats().await);
    let client = nats.client().await;
    // With the same name both are given the lease.
    let mut first = RunningRelay::start(&log.store, nats.client().await, 7);
    let mut second = RunningRelay::start(&log.store, nats.client().await, 7);
    first.wait("leads", |status| status.leader).await;
    second.wait("leads", |status| status.leader).await;
    for _ in 0..20 {
        append(&log.store, 50).await;
    }
    first.published(1_000).await;
    second.published(1_000).await;
    assert_mirrored(&log, &client, 1).await;
    assert_eq!(first.alarms() + second.alarms(), 0);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_relay_that_stops_hands_over_and_one_that_cannot_lead_waits() {
    let (log, nats) = (Log::new().await, nats().await);
    let mut first = RunningRelay::start(&log.store, nats.client().await, 1);
    first.wait("leads", |status| status.leader).await;
    let mut second = RunningRelay::start(&log.store, nats.client().await, 2);
    append(&log.store, 10).await;
    first.published(10).await;
    assert!(!second.status.borrow().leader);
    first.stop().await;
    second.wait("leads", |status| status.leader).await;
    append(&log.store, 10).await;
    second.published(20).await;
    assert_mirrored(&log, &nats.client().await, 1).await;
    second.stop().await;
}

#[tokio::test]
async fn a_relay_paused_past_its_lease_steps_down() {
    let (log, nats) = (Log::new().await, nats().await);
    let client = nats.client().await;
    // Its own runtime with one thread: a task that blocks it stops all of it, connections included.
    let (url, nats_url, stop) = (
        log.database.url.clone(),
        nats.url().to_owned(),
        CancellationToken::new(),
    );
    let (ready, started) = mpsc::channel();
    let stopped = stop.clone();
    let paused = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let relay = Relay::new(
                log::store_on(&url),
                async_nats::connect(nats_url).await.unwrap(),
                Uuid::from_u128(1),
                SETTINGS,
            );
            ready
                .send((tokio::runtime::Handle::current(), relay.status()))
                .unwrap();
            relay.run(stopped).await;
        });
    });
    let (runtime, mut status) = tokio::task::spawn_blocking(move || started.recv().unwrap())
        .await
        .unwrap();
    append(&log.store, 10).await;
    wait(&mut status, "the first leads", |status| {
        status.leader && status.published.get() == 10
    })
    .await;

    let (resume, resumed) = mpsc::channel::<()>();
    let (blocking, blocked) = tokio::sync::oneshot::channel();
    runtime.spawn(async move {
        blocking.send(()).unwrap();
        resumed.recv().unwrap();
    });
    blocked.await.unwrap();
    let mut second = RunningRelay::start(&log.store, client.clone(), 2);
    append(&log.store, 10).await;
    second.published(20).await;
    assert!(status.borrow().leader, "the first knows nothing yet");

    resume.send(()).unwrap();
    wait(&mut status, "the first steps down", |status| !status.leader).await;
    append(&log.store, 10).await;
    second.published(30).await;
    assert!(second.status.borrow().leader);
    assert_eq!(second.alarms() + status.borrow().alarms, 0);
    assert_mirrored(&log, &client, 1).await;
    stop.cancel();
    tokio::task::spawn_blocking(move || paused.join().unwrap())
        .await
        .unwrap();
    second.stop().await;
}

#[tokio::test]
async fn nats_may_go_and_come_while_events_are_appended() {
    let (log, mut nats) = (Log::new().await, nats().await);
    let client = nats.client().await;
    let mut relay = RunningRelay::start(&log.store, client.clone(), 1);
    append(&log.store, 10).await;
    relay.published(10).await;
    nats.kill().await;
    append(&log.store, 300).await;
    relay
        .wait("it says what is wrong", |status| {
            status.last_error.is_some()
        })
        .await;
    let ((), ()) = tokio::join!(append(&log.store, 300), nats.start());
    relay.published(610).await;
    relay
        .wait("all is well", |status| status.last_error.is_none())
        .await;
    assert_mirrored(&log, &client, 1).await;
    assert_eq!(relay.alarms(), 0);
    relay.stop().await;
}

#[tokio::test]
async fn postgres_may_go_and_come() {
    let (mut postgres, nats) = (private_postgres().await, nats().await);
    let store: EventStore = log::store_on(postgres.url());
    let client = nats.client().await;
    let mut relay = RunningRelay::start(&store, client.clone(), 1);
    append(&store, 10).await;
    relay.published(10).await;
    postgres.stop_immediate().await;
    relay
        .wait("it says what is wrong", |status| {
            status.last_error.is_some()
        })
        .await;
    // It cannot know whether another one leads by now.
    relay.wait("steps down", |status| !status.leader).await;
    postgres.start().await;
    eventually(PATIENCE, "PostgreSQL answers again", || async {
        store.head().await.is_ok()
    })
    .await;
    append(&store, 10).await;
    relay.published(20).await;
    assert_eq!(
        bodies(
            &client,
            &store.authenticator().await.unwrap(),
            Anchor::START
        )
        .await
        .len(),
        20
    );
    assert_eq!(relay.alarms(), 0);
    relay.stop().await;
}

#[tokio::test]
async fn an_append_nudges_the_relays_of_other_processes() {
    let (log, nats) = (Log::new().await, nats().await);
    let client = nats.client().await;
    let mut nudges = client.subscribe("touchline.nudge").await.unwrap();
    client.flush().await.unwrap();
    let stop = CancellationToken::new();
    let working = tokio::spawn(Nudger::new(log.store.clone(), client.clone()).run(stop.clone()));
    append(&log.store, 1).await;
    let nudge = tokio::time::timeout(PATIENCE, nudges.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(nudge.payload, "1");
    stop.cancel();
    working.await.unwrap();
}

/// What cannot be sent piles up in the client, and then holds up whoever sends: that must be
/// nobody whom a process waits for when it stops.
#[tokio::test]
async fn a_nudger_ends_when_told_though_nats_is_away() {
    let (log, mut nats) = (Log::new().await, nats().await);
    let options = async_nats::ConnectOptions::new().client_capacity(1);
    let client = options.connect(nats.url()).await.unwrap();
    let stop = CancellationToken::new();
    let working = tokio::spawn(Nudger::new(log.store.clone(), client.clone()).run(stop.clone()));
    nats.stop().await;
    for _ in 0..20 {
        append(&log.store, 1).await;
    }
    stop.cancel();
    let ended = tokio::time::timeout(PATIENCE, working).await;
    ended.expect("the nudger must end").unwrap();
}

/// Whether the stream has exactly this many messages.
async fn refilled(client: &async_nats::Client, messages: u64) -> bool {
    let stream = jetstream::new(client.clone()).get_stream(NAME).await;
    stream.is_ok_and(|stream| stream.cached_info().state.messages == messages)
}

/// Lets a relay fill the stream and stop, and asserts that it raised so many alarms.
async fn fill(log: &Log, client: &async_nats::Client, head: i64, alarms: u64) {
    let mut relay = RunningRelay::start(&log.store, client.clone(), 1);
    relay
        .wait("filled", |status| {
            status.published.get() == head && status.alarms == alarms
        })
        .await;
    relay.stop().await;
    assert_mirrored(log, client, 1).await;
}

async fn diverged(stream: &LogStream, log: &Log) -> Divergence {
    match stream.compare(&log.store).await.unwrap() {
        Comparison::Diverged(divergence) => divergence,
        other => panic!("{other:?}"),
    }
}

async fn set_log_id(log: &Log, log_id: Uuid) {
    sqlx::query("UPDATE log.origin SET log_id = $1")
        .bind(log_id)
        .execute(&log.database.pool)
        .await
        .unwrap();
}
