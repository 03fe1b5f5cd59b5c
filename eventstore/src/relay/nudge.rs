//! How an append in one process wakes the relay in another: a message of core NATS after the commit.
//!
//! It may be lost; the relay polls as well.

use crate::position::Position;
use crate::store::EventStore;
use async_nats::connection::State;
use async_nats::{Client, Subscriber};
use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

/// Where nudges go. The body is the position appended last, as text.
pub(super) const SUBJECT: &str = "touchline.nudge";

/// Tells the relay of other processes what this one has appended.
pub struct Nudger {
    store: EventStore,
    client: Client,
}

impl Nudger {
    /// A nudger for the appends of `store`.
    #[must_use]
    pub fn new(store: EventStore, client: Client) -> Self {
        Self { store, client }
    }

    /// Works until `stop` is cancelled or the store is closed.
    pub async fn run(self, stop: CancellationToken) {
        let mut appended = self.store.appended();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = appended.changed() => if changed.is_err() {
                    return;
                },
            }
            let last = *appended.borrow_and_update();
            // What is sent while there is no connection would pile up in the client.
            if self.client.connection_state() != State::Connected {
                continue;
            }
            let sending = self.client.publish(SUBJECT, last.to_string().into());
            match stop.run_until_cancelled(sending).await {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::debug!(error = %error, "nudger: a nudge was not sent"),
            }
        }
    }
}

/// Waits until somebody says that the log goes beyond `known`.
pub(super) async fn received(nudges: &mut Subscriber, known: Position) {
    while let Some(nudge) = nudges.next().await {
        let last = std::str::from_utf8(&nudge.payload)
            .ok()
            .and_then(|text| text.parse().ok());
        if last.is_some_and(|last: Position| last > known) {
            return;
        }
    }
    std::future::pending::<()>().await;
}
