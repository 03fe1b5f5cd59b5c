//! Events in order, each once, from wherever they are.
//!
//! PostgreSQL is read until the stream LOG can take over, and whenever it cannot be relied on. The
//! stream spares PostgreSQL: the relay reads each event once for all subscriptions.
//!
//! Nothing is believed of the stream that the relay did not authenticate, and nothing of PostgreSQL
//! that does not follow on what was read before: when the log has been restored or replaced, the
//! subscription ends in [`ReadError::OtherHistory`] rather than mix two histories.

mod follower;

use crate::anchor::Anchor;
use crate::causes::Causes;
use crate::event::LogEvent;
use crate::position::Position;
use crate::store::{EventStore, ReadError, appended_beyond};
use async_nats::Client;
use follower::{AttachError, FollowError, Follower};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

/// How many events one read of the log asks for.
const READ_EVENTS: usize = 2_000;
/// How often PostgreSQL is asked for appends of other processes, while the stream is not followed.
const POLL: Duration = Duration::from_millis(100);
/// How long an event that this process has appended may stay away from the stream.
const LATE_AFTER: Duration = Duration::from_millis(250);
/// How long the stream may be quiet until PostgreSQL is asked whether it should be.
const QUIET_AFTER: Duration = Duration::from_secs(1);
/// The pause before the stream is tried again.
const ATTACH_PAUSE: Duration = Duration::from_secs(1);
/// The pause before PostgreSQL is tried again after a failure.
const READ_PAUSE: Duration = Duration::from_millis(200);

/// Follows the log from a position on: the events after it, in order, without a gap, each once.
pub struct Subscription {
    store: EventStore,
    client: Option<Client>,
    /// The last event given to the caller.
    position: Position,
    /// The last event taken from a source; unknown until PostgreSQL has said what stands where the
    /// subscription begins.
    tail: Option<Anchor>,
    /// Events taken from their source and not given to the caller yet; they follow `position`.
    ready: VecDeque<LogEvent>,
    source: Source,
    appended: watch::Receiver<Position>,
    /// When PostgreSQL is to be read next, while the stream is not followed.
    read_at: Instant,
    /// Whether PostgreSQL could not be read last time.
    failed: bool,
    /// When the stream sent something last, or was found to have nothing to send.
    moved_at: Instant,
    /// When PostgreSQL is to be asked, if it has nothing new, whether it still has what was read.
    check_at: Instant,
    /// Since when the stream has owed an event that this process has appended.
    owed_since: Option<Instant>,
}

/// Where the next events come from.
enum Source {
    /// PostgreSQL; the stream is not tried before that time.
    Log { attach_at: Instant },
    /// PostgreSQL, until the stream can be followed.
    Attaching(AbortOnDropHandle<Result<Follower, AttachError>>),
    /// The stream.
    Stream(Box<Follower>),
}

impl Subscription {
    /// Follows the log of `store` after the position `after`; from PostgreSQL alone without `nats`.
    #[must_use]
    pub fn new(store: EventStore, nats: Option<Client>, after: Position) -> Self {
        let appended = store.appended();
        let now = Instant::now();
        Self {
            store,
            client: nats,
            position: after,
            tail: (after == Position::START).then_some(Anchor::START),
            ready: VecDeque::new(),
            source: Source::Log { attach_at: now },
            appended,
            read_at: now,
            failed: false,
            moved_at: now,
            check_at: now,
            owed_since: None,
        }
    }

    /// The position of the last event returned, or where the subscription began.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether the events come from the stream LOG now, and not from PostgreSQL.
    #[must_use]
    pub fn follows_stream(&self) -> bool {
        matches!(self.source, Source::Stream(_))
    }

    /// Waits for an event, then gathers more until there are `events_max` or `linger` has passed
    /// since the first one came. Never empty. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the events are to be had from PostgreSQL alone and it cannot be read; the next call tries
    /// again, after a short pause. [`ReadError::OtherHistory`] when the log no longer has the event
    /// read last: then this subscription is at its end, and what was made of its events is in doubt.
    pub async fn next_batch(
        &mut self,
        events_max: usize,
        linger: Duration,
    ) -> Result<Vec<LogEvent>, ReadError> {
        let events_max = events_max.max(1);
        while self.ready.is_empty() {
            self.advance(events_max, None).await?;
        }
        let deadline = Instant::now() + linger;
        while self.ready.len() < events_max && Instant::now() < deadline {
            // What has come is returned first; a failure that lasts is told by the next call.
            if self.advance(events_max, Some(deadline)).await.is_err() {
                break;
            }
        }
        let batch: Vec<_> = self
            .ready
            .drain(..events_max.min(self.ready.len()))
            .collect();
        self.position = batch.last().map_or(self.position, |last| last.position);
        Ok(batch)
    }

    /// Takes events from the source, or waits for some until the deadline, or changes the source.
    async fn advance(
        &mut self,
        events_max: usize,
        deadline: Option<Instant>,
    ) -> Result<(), ReadError> {
        let tail = match self.tail {
            Some(tail) => tail,
            None => self.begin().await?,
        };
        if let (Source::Log { attach_at }, Some(client)) = (&self.source, &self.client)
            && Instant::now() >= *attach_at
        {
            let attaching = Follower::attach(self.store.clone(), client.clone(), tail);
            self.source = Source::Attaching(AbortOnDropHandle::new(tokio::spawn(attaching)));
        }
        match self.source {
            Source::Stream(_) => self.follow(tail, events_max, deadline).await,
            Source::Log { .. } | Source::Attaching(_) => self.read(tail, deadline).await,
        }
    }

    /// Asks PostgreSQL for the event where the subscription begins.
    async fn begin(&mut self) -> Result<Anchor, ReadError> {
        let position = self.position;
        sleep_until(self.read_at).await;
        let found = self.store.anchor(position).await;
        match found.and_then(|found| found.ok_or(ReadError::OtherHistory { position })) {
            Ok(tail) => {
                self.tail = Some(tail);
                Ok(tail)
            }
            Err(error) => {
                self.read_at = Instant::now() + READ_PAUSE;
                Err(error)
            }
        }
    }

    /// Takes what the stream sends; what it keeps back too long is read from PostgreSQL.
    async fn follow(
        &mut self,
        tail: Anchor,
        events_max: usize,
        deadline: Option<Instant>,
    ) -> Result<(), ReadError> {
        let known = *self.appended.borrow();
        let patience = if known > tail.position {
            *self.owed_since.get_or_insert_with(Instant::now) + LATE_AFTER
        } else {
            self.moved_at + QUIET_AFTER
        };
        let Source::Stream(follower) = &mut self.source else {
            return Ok(());
        };
        tokio::select! {
            biased;
            next = follower.next() => self.take(next, events_max),
            () = reached(deadline) => {}
            () = appended_beyond(known.max(tail.position), &mut self.appended) => {}
            () = sleep_until(patience) => return self.read_behind(tail).await,
        }
        Ok(())
    }

    /// Takes a message of the stream and those that have come as well.
    fn take(&mut self, first: Result<LogEvent, FollowError>, events_max: usize) {
        self.moved_at = Instant::now();
        self.owed_since = None;
        let mut next = first;
        loop {
            let tail = self.tail();
            match next {
                Ok(event) if event.position == tail.next() => self.keep(event),
                // It was read from PostgreSQL meanwhile.
                Ok(event) if event.position <= tail => {}
                Ok(event) => {
                    tracing::warn!(%tail, position = %event.position, "subscription: the stream LOG has a gap");
                    return self.leave_stream();
                }
                Err(FollowError::Foreign(error)) => {
                    tracing::error!(
                        %tail,
                        error = %Causes(&error),
                        "subscription: somebody else publishes to the stream LOG; reading from PostgreSQL"
                    );
                    return self.leave_stream();
                }
                Err(error) => {
                    tracing::info!(%tail, error = %Causes(&error), "subscription: leaving the stream LOG");
                    return self.leave_stream();
                }
            }
            let Source::Stream(follower) = &mut self.source else {
                return;
            };
            // One that is taken and not kept would be lost.
            if self.ready.len() >= events_max {
                return;
            }
            match follower.next_ready() {
                Some(more) => next = more,
                None => return,
            }
        }
    }

    /// Asks PostgreSQL for what the stream may be keeping back.
    async fn read_behind(&mut self, tail: Anchor) -> Result<(), ReadError> {
        let events = self.read_log(tail).await;
        self.moved_at = Instant::now();
        self.owed_since = None;
        match events {
            Ok(events) if events.is_empty() => {}
            Ok(events) => {
                tracing::info!(tail = %tail.position, "subscription: the stream LOG is late; leaving it");
                for event in events {
                    self.keep(event);
                }
                self.leave_stream();
            }
            Err(error @ ReadError::OtherHistory { .. }) => {
                self.leave_stream();
                return Err(error);
            }
            // Without PostgreSQL nothing is appended either; the stream may still have events.
            Err(error) => tracing::debug!(error = %error, "subscription: the log cannot be read"),
        }
        Ok(())
    }

    /// What the log has after `tail`. When that is nothing, it may be because the log has another
    /// history now, and is asked that now and then.
    async fn read_log(&mut self, tail: Anchor) -> Result<Vec<LogEvent>, ReadError> {
        let events = self.store.read_after(tail, READ_EVENTS).await?;
        let position = tail.position;
        if events.is_empty() && Instant::now() >= self.check_at {
            if self.store.anchor(position).await? != Some(tail) {
                tracing::error!(%position, "subscription: the log no longer has the event read last");
                return Err(ReadError::OtherHistory { position });
            }
            self.check_at = Instant::now() + QUIET_AFTER;
        }
        Ok(events)
    }

    fn keep(&mut self, event: LogEvent) {
        self.tail = Some(event.anchor());
        self.ready.push_back(event);
    }

    fn leave_stream(&mut self) {
        let now = Instant::now();
        self.source = Source::Log {
            attach_at: now + ATTACH_PAUSE,
        };
        self.read_at = now;
    }

    /// Reads the log when it may have grown, unless the stream can be followed before.
    async fn read(&mut self, tail: Anchor, deadline: Option<Instant>) -> Result<(), ReadError> {
        let attached = async {
            match &mut self.source {
                Source::Attaching(attaching) => attaching.await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            attached = attached => {
                self.enter_stream(attached);
                return Ok(());
            }
            () = reached(deadline) => return Ok(()),
            () = appended_beyond(tail.position, &mut self.appended), if !self.failed => {}
            () = sleep_until(self.read_at) => {}
        }
        match self.read_log(tail).await {
            Ok(events) => {
                let pause = if events.len() < READ_EVENTS {
                    POLL
                } else {
                    Duration::ZERO
                };
                self.read_at = Instant::now() + pause;
                self.failed = false;
                for event in events {
                    self.keep(event);
                }
                Ok(())
            }
            Err(error) => {
                self.read_at = Instant::now() + READ_PAUSE;
                self.failed = true;
                Err(error)
            }
        }
    }

    fn enter_stream(&mut self, attached: Result<Result<Follower, AttachError>, JoinError>) {
        self.moved_at = Instant::now();
        self.owed_since = None;
        self.source = match attached {
            Ok(Ok(follower)) => Source::Stream(Box::new(follower)),
            Ok(Err(error)) => {
                tracing::debug!(error = %Causes(&error), "subscription: the stream LOG cannot be followed");
                Source::Log {
                    attach_at: self.moved_at + ATTACH_PAUSE,
                }
            }
            Err(error) => {
                tracing::error!(error = %error, "subscription: following the stream LOG ended badly");
                Source::Log {
                    attach_at: self.moved_at + ATTACH_PAUSE,
                }
            }
        };
    }

    /// The last event taken from a source.
    fn tail(&self) -> Position {
        self.tail.map_or(self.position, |tail| tail.position)
    }
}

async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Database;
    use crate::event::Digest;
    use crate::keys::MasterKeys;
    use serde_json::value::RawValue;
    use std::sync::Arc;
    use touchline_testkit::MockClock;
    use uuid::Uuid;

    fn event(position: i64) -> LogEvent {
        LogEvent {
            position: Position::new(position).unwrap(),
            event_id: Uuid::nil(),
            aggregate_type: String::new(),
            aggregate_id: String::new(),
            sequence: 1,
            event_type: String::new(),
            event_version: String::new(),
            recorded_at: chrono::DateTime::UNIX_EPOCH,
            metadata: RawValue::from_string("{}".to_owned()).unwrap(),
            payload: RawValue::from_string("{}".to_owned()).unwrap(),
            digest: Digest::new([0; 32]),
        }
    }

    #[tokio::test]
    async fn a_message_is_taken_only_if_it_is_next() {
        // Nothing here asks the database, so there is none.
        let database = Database::new("postgres://nobody@127.0.0.1:1/none").unwrap();
        let pool = database.pool(1);
        let clock = Arc::new(MockClock::at("2022-12-18T15:00:00Z"));
        let masters = MasterKeys::parse(touchline_testkit::MASTER_KEY).unwrap();
        let store = EventStore::new(database, pool, masters, clock);
        let mut subscription = Subscription::new(store, None, Position::new(5).unwrap());
        subscription.tail = Some(event(5).anchor());
        let follows_on = |subscription: &Subscription| matches!(subscription.source, Source::Log { attach_at } if attach_at <= Instant::now());
        for (position, tail) in [(6, 6), (6, 6), (3, 6), (7, 7)] {
            subscription.take(Ok(event(position)), 100);
            assert_eq!(subscription.tail().get(), tail);
            assert!(
                follows_on(&subscription),
                "{position} is no reason to leave"
            );
        }
        subscription.take(Ok(event(9)), 100);
        assert_eq!(subscription.tail().get(), 7, "a gap is not jumped");
        assert!(!follows_on(&subscription), "what has a gap is left");
    }
}
