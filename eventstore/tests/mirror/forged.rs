//! Who can publish to the stream but has no right in PostgreSQL makes nobody believe anything.

use crate::log::{self, Log};
use crate::reader::{LINGER, Reader, assert_same};
use crate::running::{PATIENCE, RunningRelay, append, assert_mirrored, bodies};
use async_nats::jetstream;
use async_nats::{Client, HeaderMap};
use serde_json::value::RawValue;
use tokio::time::timeout;
use touchline_eventstore::event::Digest;
use touchline_eventstore::store::ReadError;
use touchline_eventstore::stream::{self, Comparison, LogStream};
use touchline_eventstore::subscription::Subscription;
use touchline_eventstore::{Anchor, LogEvent, Position};
use touchline_testkit::nats;

#[tokio::test]
async fn a_forged_message_is_not_believed() {
    let (log, nats) = (Log::new().await, nats().await);
    let client = nats.client().await;
    let mut relay = RunningRelay::start(&log.store, client.clone(), 1);
    append(&log.store, 10).await;
    relay.published(10).await;
    let mut reader = Reader::start(log.store.clone(), Some(client.clone()), Position::START);
    reader.read_up_to(10).await;
    reader.follows_stream().await;
    relay.stop().await;

    // One message at head + 1, as the log would write it, with a digest of zeros.
    let last = log.store.read(Position::new(9).unwrap(), 1).await.unwrap();
    let [last] = last.as_slice() else {
        panic!("{last:?}");
    };
    let forged = LogEvent {
        position: Position::new(11).unwrap(),
        payload: RawValue::from_string(r#"{"forged":true}"#.to_owned()).unwrap(),
        digest: Digest::new([0; 32]),
        ..last.clone()
    };
    publish(&client, log.store.log_id().await.unwrap(), &forged).await;
    reader.left_stream().await;
    append(&log.store, 1).await;
    reader.read_up_to(11).await;
    assert_same(&log.store, reader.stop().await).await;
}

/// What is read before and after a restore does not mix, whoever sends it.
#[tokio::test]
async fn a_subscription_ends_when_the_log_has_another_history() {
    for with_stream in [false, true] {
        let (log, nats) = (Log::new().await, nats().await);
        let client = nats.client().await;
        let mut relay = RunningRelay::start(&log.store, client.clone(), 1);
        append(&log.store, 10).await;
        relay.published(10).await;
        let nats = with_stream.then_some(client);
        let mut subscription = Subscription::new(log.store.clone(), nats, Position::START);
        while subscription.position().get() < 10 || subscription.follows_stream() != with_stream {
            let _elapsed = timeout(LINGER * 50, subscription.next_batch(100, LINGER)).await;
        }
        relay.stop().await;
        log.database.lose_events_after(5).await;
        ends(&mut subscription).await;
        // The same once the log has grown past it, for that one and for one that begins there.
        let others = (1_000..1_010).map(|number| log::command(number, [log::stream(number, 0, 1)]));
        for other in others {
            log.store.append(other).await.unwrap();
        }
        ends(&mut subscription).await;
    }
}

#[tokio::test]
async fn a_subscription_cannot_begin_beyond_the_end_of_the_log() {
    let log = Log::new().await;
    append(&log.store, 2).await;
    let beyond = Position::new(3).unwrap();
    ends(&mut Subscription::new(log.store.clone(), None, beyond)).await;
}

async fn ends(subscription: &mut Subscription) {
    let at = subscription.position();
    let next = timeout(PATIENCE, subscription.next_batch(100, LINGER)).await;
    let error = next.expect("it must end").unwrap_err();
    let is_at = matches!(error, ReadError::OtherHistory { position } if position == at);
    assert!(is_at, "{error}");
}

/// A relay under way when the log is restored does not mix histories in the stream.
#[tokio::test]
async fn a_relay_follows_the_log_into_another_history() {
    let (log, nats) = (Log::new().await, nats().await);
    let client = nats.client().await;
    let mut relay = RunningRelay::start(&log.store, client.clone(), 1);
    append(&log.store, 10).await;
    relay.published(10).await;
    log.database.lose_events_after(5).await;
    for number in 1_000..1_010 {
        let other = log::command(number, [log::stream(number, 0, 1)]);
        log.store.append(other).await.unwrap();
    }
    relay
        .wait("an alarm", |status| {
            status.alarms == 1 && status.published.get() == 15
        })
        .await;
    assert_mirrored(&log, &client, 1).await;
    relay.stop().await;
}

#[tokio::test]
async fn a_new_master_key_makes_the_stream_anew_without_an_alarm() {
    let (log, nats) = (Log::new().await, nats().await);
    let client = nats.client().await;
    let mut relay = RunningRelay::start(&log.store, client.clone(), 1);
    append(&log.store, 10).await;
    relay.published(10).await;
    relay.stop().await;
    let masters = format!("{}\n{}", "0c".repeat(32), touchline_testkit::MASTER_KEY);
    let rotated = log::store_with(&log.database.url, &masters);
    let stream = LogStream::new(&client, rotated.authenticator().await.unwrap(), 1);
    let compared = stream.compare(&rotated).await.unwrap();
    assert_eq!(compared, Comparison::OtherKey);
    let mut relay = RunningRelay::start(&rotated, client.clone(), 1);
    relay.published(10).await;
    let only_new = log::store_with(&log.database.url, &"0c".repeat(32));
    let authenticator = only_new.authenticator().await.unwrap();
    assert_eq!(
        bodies(&client, &authenticator, Anchor::START).await.len(),
        10
    );
    assert_eq!(relay.alarms(), 0);
    relay.stop().await;
}

/// Publishes an event as the relay does, but without the key.
async fn publish(client: &Client, log_id: uuid::Uuid, event: &LogEvent) {
    let mut headers = HeaderMap::new();
    headers.insert("Touchline-Log-Id", log_id.to_string());
    headers.insert("Touchline-Hmac", "00".repeat(32));
    let body = serde_json::to_vec(event).unwrap().into();
    jetstream::new(client.clone())
        .publish_with_headers(stream::subject(event), headers, body)
        .await
        .unwrap()
        .await
        .unwrap();
}
