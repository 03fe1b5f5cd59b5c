//! Subscriptions that are read beside a test.

use crate::running::PATIENCE;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use touchline_eventstore::subscription::Subscription;
use touchline_eventstore::{EventStore, LogEvent, Position};

pub(crate) const LINGER: Duration = Duration::from_millis(5);

/// A task that reads a subscription, and what it has read.
pub(crate) struct Reader {
    state: watch::Receiver<(Position, bool)>,
    stop: tokio::sync::oneshot::Sender<()>,
    task: JoinHandle<Vec<LogEvent>>,
}

impl Reader {
    pub(crate) fn start(
        store: EventStore,
        client: Option<async_nats::Client>,
        after: Position,
    ) -> Self {
        let (report, state) = watch::channel((after, false));
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let mut subscription = Subscription::new(store, client, after);
        let task = tokio::spawn(async move {
            let mut events = Vec::new();
            loop {
                tokio::select! {
                    batch = subscription.next_batch(1_000, LINGER) => events.extend(batch.unwrap()),
                    // So that a change of the source is reported while nothing is read.
                    () = tokio::time::sleep(Duration::from_millis(50)) => {}
                    _ = &mut stopped => return events,
                }
                report.send_replace((subscription.position(), subscription.follows_stream()));
            }
        });
        Self { state, stop, task }
    }

    pub(crate) async fn read_up_to(&mut self, position: i64) {
        let reached = timeout(
            PATIENCE,
            self.state.wait_for(|(at, _)| at.get() >= position),
        )
        .await;
        assert!(reached.is_ok(), "{position} was not read in time");
    }

    pub(crate) async fn follows_stream(&mut self) {
        let followed = timeout(PATIENCE, self.state.wait_for(|(_, follows)| *follows)).await;
        assert!(followed.is_ok(), "the stream was not followed in time");
    }

    pub(crate) async fn left_stream(&mut self) {
        let left = timeout(PATIENCE, self.state.wait_for(|(_, follows)| !*follows)).await;
        assert!(left.is_ok(), "the stream is still followed");
    }

    pub(crate) async fn stop(self) -> Vec<LogEvent> {
        self.stop.send(()).unwrap();
        self.task.await.unwrap()
    }
}

/// Asserts that these events are the log, byte for byte.
pub(crate) async fn assert_same(store: &EventStore, events: Vec<LogEvent>) {
    let json = |events: Vec<LogEvent>| -> Vec<String> {
        events
            .iter()
            .map(|event| serde_json::to_string(event).unwrap())
            .collect()
    };
    let log = store.read(Position::START, 10_000).await.unwrap();
    assert_eq!(events.len(), log.len());
    assert!(
        json(events) == json(log),
        "what was read differs from the log"
    );
}
