//! Events in order, each once, from wherever they are.

use crate::event::LogEvent;
use crate::position::Position;
use crate::store::{EventStore, ReadError};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How many events one read of the log asks for.
const READ_EVENTS: usize = 2_000;
/// How long an idle subscription waits before it asks PostgreSQL whether another process appended.
const POLL: Duration = Duration::from_millis(100);

/// Follows the log from a position on: the events after it, in order, without a gap, each once.
pub struct Subscription {
    store: EventStore,
    /// The last event given to the caller.
    position: Position,
    /// Events taken from their source and not given to the caller yet; they follow `position`.
    ready: VecDeque<LogEvent>,
    appended: watch::Receiver<Position>,
}

impl Subscription {
    /// Follows the log of `store` after the position `after`.
    #[must_use]
    pub fn new(store: EventStore, nats: Option<async_nats::Client>, after: Position) -> Self {
        drop(nats);
        let appended = store.appended();
        Self { store, position: after, ready: VecDeque::new(), appended }
    }

    /// The position of the last event returned, or where the subscription began.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Waits for an event, then gathers more until there are `events_max` or `linger` has passed
    /// since the first one came. Never empty, as long as `events_max` is not 0. Dropping the future
    /// loses nothing.
    ///
    /// # Errors
    /// When the events are to be had from PostgreSQL alone and it cannot be read. The next call
    /// tries again.
    pub async fn next_batch(
        &mut self,
        events_max: usize,
        linger: Duration,
    ) -> Result<Vec<LogEvent>, ReadError> {
        while self.ready.is_empty() {
            let pause = Instant::now() + POLL;
            self.read().await?;
            if self.ready.is_empty() {
                self.wait(pause).await;
            }
        }
        let deadline = Instant::now() + linger;
        while self.ready.len() < events_max && Instant::now() < deadline {
            self.wait(deadline).await;
            self.read().await?;
        }
        let batch: Vec<_> = self.ready.drain(..events_max.min(self.ready.len())).collect();
        self.position = batch.last().map_or(self.position, |last| last.position);
        Ok(batch)
    }

    fn tail(&self) -> Position {
        self.ready.back().map_or(self.position, |last| last.position)
    }

    async fn read(&mut self) -> Result<(), ReadError> {
        self.appended.mark_unchanged();
        let events = self.store.read(self.tail(), READ_EVENTS).await?;
        self.ready.extend(events);
        Ok(())
    }

    async fn wait(&mut self, deadline: Instant) {
        tokio::select! {
            changed = self.appended.changed() => if changed.is_err() {
                sleep_until(deadline).await;
            },
            () = sleep_until(deadline) => {}
        }
    }
}
