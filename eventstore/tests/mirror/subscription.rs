//! A subscription yields every event once and in order, whatever happens to the stream.

use crate::log::{self, Log};
use crate::reader::{LINGER, Reader, assert_same};
use crate::running::{PATIENCE, RunningRelay, append};
use async_nats::jetstream;
use std::time::Duration;
use tokio::time::timeout;
use touchline_eventstore::Position;
use touchline_eventstore::stream::{LogStream, NAME};
use touchline_eventstore::subscription::Subscription;
use touchline_testkit::{eventually, nats, private_postgres};

/// Long enough to attach to the stream on a busy machine, before one looks whether it is done.
const ATTACH_PATIENCE: Duration = Duration::from_millis(250);

#[tokio::test]
async fn it_goes_over_to_the_stream_and_misses_nothing() {
    let (log, nats) = (Log::new().await, nats().await);
    let client = nats.client().await;
    let mut relay = RunningRelay::start(&log.store, client.clone(), 1);
    append(&log.store, 100).await;
    relay.published(100).await;
    let mut reader = Reader::start(log.store.clone(), Some(client), Position::START);
    reader.read_up_to(100).await;
    reader.follows_stream().await;
    append(&log.store, 100).await;
    reader.read_up_to(200).await;
    assert_same(&log.store, reader.stop().await).await;
    relay.stop().await;
}

#[tokio::test]
async fn without_nats_postgres_is_enough() {
    let log = Log::new().await;
    append(&log.store, 50).await;
    let mut reader = Reader::start(log.store.clone(), None, Position::START);
    reader.read_up_to(50).await;
    append(&log.store, 50).await;
    reader.read_up_to(100).await;
    // And what another process appends, of which this one hears nothing.
    let other = log::store_on(&log.database.url);
    append(&other, 50).await;
    reader.read_up_to(150).await;
    assert_same(&log.store, reader.stop().await).await;
}

#[tokio::test]
async fn a_stream_without_a_relay_does_not_hold_it_up() {
    let (log, nats) = (Log::new().await, nats().await);
    let client = nats.client().await;
    let mut relay = RunningRelay::start(&log.store, client.clone(), 1);
    append(&log.store, 10).await;
    relay.published(10).await;
    let mut reader = Reader::start(log.store.clone(), Some(client), Position::START);
    reader.follows_stream().await;
    relay.stop().await;
    append(&log.store, 10).await;
    reader.read_up_to(20).await;
    let other = log::store_on(&log.database.url);
    append(&other, 10).await;
    reader.read_up_to(30).await;
    assert_same(&log.store, reader.stop().await).await;
}

#[tokio::test]
async fn it_yields_everything_once_across_all_that_can_happen_to_the_stream() {
    let (log, mut nats) = (Log::new().await, nats().await);
    let client = nats.client().await;
    let context = jetstream::new(client.clone());
    let mut relay = RunningRelay::start(&log.store, client.clone(), 1);
    let mut reader = Reader::start(log.store.clone(), Some(client.clone()), Position::START);
    append(&log.store, 100).await;
    reader.read_up_to(100).await;
    reader.follows_stream().await;

    let ((), deleted) = tokio::join!(append(&log.store, 100), context.delete_stream(NAME));
    deleted.unwrap();
    reader.read_up_to(200).await;
    reader.follows_stream().await;

    let (foreign, ()) = tokio::join!(
        context.publish("touchline.log.00.tests.foreign", "{}".into()),
        append(&log.store, 100)
    );
    drop(foreign);
    reader.read_up_to(300).await;
    reader.follows_stream().await;
    relay.published(300).await;

    nats.stop().await;
    let copies = tempfile::tempdir().unwrap();
    nats.copy_store_to(&copies.path().join("store"));
    append(&log.store, 100).await;
    reader.read_up_to(400).await;
    nats.start().await;
    relay.published(400).await;
    reader.follows_stream().await;

    nats.kill().await;
    nats.restore_store_from(&copies.path().join("store"));
    let ((), ()) = tokio::join!(append(&log.store, 100), nats.start());
    reader.read_up_to(500).await;
    relay.published(500).await;
    append(&log.store, 100).await;
    reader.read_up_to(600).await;
    reader.follows_stream().await;
    assert_same(&log.store, reader.stop().await).await;
    relay.stop().await;
}

#[tokio::test]
async fn a_late_subscriber_reads_from_postgres_what_the_stream_no_longer_has() {
    let (log, nats) = (Log::new().await, nats().await);
    let client = nats.client().await;
    append(&log.store, 50).await;
    let stream = LogStream::new(&client, log.store.authenticator().await.unwrap(), 1);
    stream.create(Position::new(51).unwrap()).await.unwrap();
    append(&log.store, 50).await;
    let mut relay = RunningRelay::start(&log.store, client.clone(), 1);
    relay.published(100).await;
    crate::running::assert_mirrored(&log, &client, 51).await;
    assert_eq!(
        relay.alarms(),
        0,
        "a stream that starts later is a copy too"
    );

    let mut reader = Reader::start(log.store.clone(), Some(client), Position::START);
    reader.read_up_to(100).await;
    reader.follows_stream().await;
    append(&log.store, 10).await;
    reader.read_up_to(110).await;
    assert_same(&log.store, reader.stop().await).await;
    relay.stop().await;
}

#[tokio::test]
async fn a_long_log_is_caught_up_with_while_it_grows() {
    let (log, nats) = (Log::new().await, nats().await);
    let client = nats.client().await;
    let append_many = async |numbers: std::ops::RangeInclusive<u128>| {
        for number in numbers {
            log.store
                .append(log::command(number, [log::stream(number, 0, 1_000)]))
                .await
                .unwrap();
        }
    };
    append_many(1..=10).await;
    let mut relay = RunningRelay::start(&log.store, client.clone(), 1);
    let mut reader = Reader::start(log.store.clone(), Some(client), Position::START);
    append_many(11..=20).await;
    reader.read_up_to(20_000).await;
    relay.published(20_000).await;
    let events = reader.stop().await;
    assert!(
        events
            .iter()
            .zip(1..)
            .all(|(event, position)| event.position.get() == position)
    );
    assert_eq!(events.len(), 20_000);
    relay.stop().await;
}

#[tokio::test]
async fn batches_are_bounded_and_a_dropped_wait_loses_nothing() {
    let (log, nats) = (Log::new().await, nats().await);
    let client = nats.client().await;
    let relay = RunningRelay::start(&log.store, client.clone(), 1);
    let mut subscription = Subscription::new(log.store.clone(), Some(client), Position::START);
    let mut seen = 0;
    // Most waits are dropped somewhere in the middle of waiting or reading. Some are long enough for
    // a read on a busy machine, or the test would never end there.
    let mut patience_ms = [1, 2, 3, 5, 8, 250].into_iter().cycle();
    for round in 1..=30 {
        append(&log.store, 10).await;
        while seen < round * 10 {
            let patience = Duration::from_millis(patience_ms.next().unwrap());
            let batch = timeout(patience, subscription.next_batch(7, LINGER)).await;
            for event in batch.map_or_else(
                |_elapsed| Vec::new(),
                |batch| {
                    let batch = batch.unwrap();
                    assert!((1..=7).contains(&batch.len()));
                    batch
                },
            ) {
                seen += 1;
                assert_eq!(event.position.get(), seen);
                assert!(event.position <= subscription.position());
            }
        }
    }
    relay.stop().await;
}

#[tokio::test]
async fn small_batches_of_a_long_stream_take_every_message() {
    let (log, nats) = (Log::new().await, nats().await);
    let client = nats.client().await;
    let mut relay = RunningRelay::start(&log.store, client.clone(), 1);
    append(&log.store, 1).await;
    relay.published(1).await;
    // As in another process: what is appended wakes it through the stream alone.
    let store = log::store_on(&log.database.url);
    let mut subscription = Subscription::new(store, Some(client), Position::START);
    while !subscription.follows_stream() {
        let _elapsed = timeout(ATTACH_PATIENCE, subscription.next_batch(1, LINGER)).await;
    }
    for number in 2..=4 {
        let append = log::command(number, [log::stream(number, 0, 1_000)]);
        log.store.append(append).await.unwrap();
    }
    relay.published(3_001).await;
    while subscription.position().get() < 3_001 {
        let batch = timeout(PATIENCE, subscription.next_batch(7, LINGER)).await;
        assert!(batch.unwrap().unwrap().len() <= 7);
        // A message dropped on the way would be a gap, and the end of following the stream.
        assert!(subscription.follows_stream(), "it left the stream");
    }
    relay.stop().await;
}

#[tokio::test]
async fn a_failure_of_postgres_is_told_and_survived() {
    let mut postgres = private_postgres().await;
    let store = log::store_on(postgres.url());
    append(&store, 10).await;
    let mut subscription = Subscription::new(store.clone(), None, Position::START);
    assert_eq!(
        subscription
            .next_batch(100, Duration::ZERO)
            .await
            .unwrap()
            .len(),
        10
    );
    postgres.stop_immediate().await;
    timeout(PATIENCE, subscription.next_batch(100, LINGER))
        .await
        .unwrap()
        .unwrap_err();
    postgres.start().await;
    eventually(PATIENCE, "PostgreSQL answers again", || async {
        store.head().await.is_ok()
    })
    .await;
    append(&store, 10).await;
    let mut seen = 10;
    while seen < 20 {
        let batch = timeout(PATIENCE, subscription.next_batch(100, LINGER))
            .await
            .unwrap();
        seen += batch.map_or(0, |batch| batch.len());
    }
    assert_eq!(subscription.position().get(), 20);
}
