//! Relays that run beside a test, and a look into the stream that they fill.

use crate::log::{Log, command, stream};
use async_nats::Client;
use async_nats::jetstream;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use touchline_eventstore::relay::{Relay, RelaySettings, RelayStatus};
use touchline_eventstore::stream::{self, Authenticator, Message};
use touchline_eventstore::{Anchor, EventStore, Position};
use uuid::Uuid;

/// Longer than anything here may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A relay that compares often, so that a test need not wait.
pub(crate) const SETTINGS: RelaySettings = RelaySettings {
    replicas: 1,
    compare_every: Duration::from_millis(200),
};

/// A relay at work.
pub(crate) struct RunningRelay {
    pub(crate) status: watch::Receiver<RelayStatus>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl RunningRelay {
    /// Starts a relay that calls itself `holder`.
    pub(crate) fn start(store: &EventStore, client: Client, holder: u128) -> Self {
        let relay = Relay::new(store.clone(), client, Uuid::from_u128(holder), SETTINGS);
        let (status, stop) = (relay.status(), CancellationToken::new());
        let task = tokio::spawn(relay.run(stop.clone()));
        Self { status, stop, task }
    }

    /// Waits until `condition` holds of its status.
    pub(crate) async fn wait(&mut self, what: &str, condition: impl FnMut(&RelayStatus) -> bool) {
        wait(&mut self.status, what, condition).await;
    }

    /// Waits until it has published exactly up to `position`.
    pub(crate) async fn published(&mut self, position: i64) {
        self.wait("published", |status| status.published.get() == position)
            .await;
    }

    pub(crate) fn alarms(&self) -> u64 {
        self.status.borrow().alarms
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task)
            .await
            .expect("the relay must stop")
            .unwrap();
    }
}

/// Waits until `condition` holds of a relay's status.
pub(crate) async fn wait(
    status: &mut watch::Receiver<RelayStatus>,
    what: &str,
    condition: impl FnMut(&RelayStatus) -> bool,
) {
    let reached = timeout(PATIENCE, status.wait_for(condition))
        .await
        .map(|found| drop(found.unwrap()));
    assert!(
        reached.is_ok(),
        "not in time: {what}; {:?}",
        status.borrow()
    );
}

/// Appends `events` more events, one a command, to aggregates of their own.
pub(crate) async fn append(store: &EventStore, events: u128) {
    let head = u128::try_from(store.head().await.unwrap().get()).unwrap();
    let appends = (head + 1..=head + events)
        .map(|number| store.append(command(number, [stream(number, 0, 1)])));
    for answer in futures::future::join_all(appends).await {
        answer.unwrap();
    }
}

/// The bodies in the stream, from the sequence `first` to its end; each at its sequence, with the
/// subject and the headers that the log asks for.
pub(crate) async fn bodies(
    client: &Client,
    authenticator: &Authenticator,
    before: Anchor,
) -> Vec<Vec<u8>> {
    let first = before.position.next().sequence();
    let stream = jetstream::new(client.clone())
        .get_stream(stream::NAME)
        .await
        .unwrap();
    let state = &stream.cached_info().state;
    assert_eq!(state.first_sequence, first, "the stream starts elsewhere");
    assert_eq!(
        state.messages,
        state.last_sequence + 1 - first,
        "the stream has holes"
    );
    let (mut bodies, mut before) = (Vec::new(), before);
    for sequence in first..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await.unwrap();
        let (headers, body) = (Some(&message.headers), &message.payload);
        let event = stream::decode(authenticator, before, headers, body).unwrap();
        let expected = Message::encode(authenticator, before, &event).unwrap();
        before = event.anchor();
        assert_eq!(message.subject.as_str(), expected.subject);
        assert_eq!(message.headers, expected.headers);
        bodies.push(message.payload.to_vec());
    }
    bodies
}

/// Asserts that the stream is the log, byte for byte, from position `first` on (L6).
pub(crate) async fn assert_mirrored(log: &Log, client: &Client, first: i64) {
    let after = Position::new(first - 1).unwrap();
    let events = log.store.read(after, 10_000).await.unwrap();
    let originals: Vec<_> = events
        .iter()
        .map(|event| serde_json::to_vec(event).unwrap())
        .collect();
    let authenticator = log.store.authenticator().await.unwrap();
    let before = log.store.anchor(after).await.unwrap().unwrap();
    let copies = bodies(client, &authenticator, before).await;
    assert_eq!(
        copies.len(),
        originals.len(),
        "the stream and the log are of different length"
    );
    assert!(copies == originals, "the stream differs from the log");
}
