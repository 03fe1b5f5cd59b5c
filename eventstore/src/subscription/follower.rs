//! The end of the stream LOG, as a subscription follows it.

use crate::anchor::Anchor;
use crate::event::LogEvent;
use crate::position::{Position, PositionError};
use crate::store::{EventStore, ReadError};
use crate::stream::{self, Authenticator, CompareError, Comparison, ForeignMessage, LogStream};
use async_nats::Client;
use async_nats::connection::State;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull::{self, MessagesError};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, StreamError};
use async_nats::jetstream::stream::ConsumerError;
use futures::{FutureExt as _, StreamExt as _};
use std::time::Duration;
use thiserror::Error;

/// How many messages the server may send ahead of the reader.
const PREFETCH_MESSAGES: usize = 2_000;
/// How far the stream may be behind the subscriber. If further, it is being refilled, and the log
/// is the better source.
const BEHIND_EVENTS_MAX: u64 = 1_000;
/// How long the server remembers a follower that is gone.
const FORGET_AFTER: Duration = Duration::from_secs(30);

/// Receives the messages of the stream from a position on. The server keeps no state of it that
/// matters: another one is made at any time.
pub(super) struct Follower {
    authenticator: Authenticator,
    /// The event in the message taken last.
    last: Anchor,
    messages: pull::Stream,
}

/// Why the stream cannot be followed now.
#[derive(Debug, Error)]
pub(super) enum AttachError {
    #[error("NATS is not connected")]
    Disconnected,
    #[error("the log cannot be asked for its id")]
    Log(#[from] ReadError),
    #[error("the stream LOG cannot be compared with the log")]
    Compare(#[from] CompareError),
    #[error("the stream LOG does not reach this position, or is no copy of the log: {0:?}")]
    Elsewhere(Comparison),
    #[error("JetStream refuses a consumer")]
    Consumer(#[source] ConsumerError),
    #[error("JetStream refuses a pull")]
    Pull(#[source] StreamError),
}

/// Why a follower has to be given up.
#[derive(Debug, Error)]
pub(super) enum FollowError {
    #[error("the messages have ended")]
    Ended,
    #[error("JetStream stopped sending")]
    Messages(#[from] MessagesError),
    #[error("a message does not say its sequence")]
    NoSequence(#[source] async_nats::Error),
    #[error("a sequence is no position")]
    Sequence(#[from] PositionError),
    #[error("the stream LOG goes from position {from} to {to}")]
    Gap { from: Position, to: Position },
    #[error("the stream is not a copy of the log")]
    Foreign(#[from] ForeignMessage),
}

impl Follower {
    /// Follows the stream after a position, if it is a copy of the log and has what comes next.
    pub(super) async fn attach(
        store: EventStore,
        client: Client,
        after: Anchor,
    ) -> Result<Self, AttachError> {
        if client.connection_state() != State::Connected {
            return Err(AttachError::Disconnected);
        }
        let log = LogStream::new(&client, store.authenticator().await?, 1);
        match log.compare(&store).await? {
            Comparison::InStep { first, last }
                if first <= after.position.next()
                    && after.position.since(last.position) <= BEHIND_EVENTS_MAX => {}
            elsewhere => return Err(AttachError::Elsewhere(elsewhere)),
        }
        let consumer = log
            .context()
            .create_consumer_on_stream(
                pull::Config {
                    deliver_policy: DeliverPolicy::ByStartSequence {
                        start_sequence: after.position.next().sequence(),
                    },
                    // Order is checked here, and what is missing is read from the log.
                    ack_policy: AckPolicy::None,
                    memory_storage: true,
                    num_replicas: 1,
                    inactive_threshold: FORGET_AFTER,
                    ..pull::Config::default()
                },
                stream::NAME,
            )
            .await
            .map_err(AttachError::Consumer)?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(PREFETCH_MESSAGES)
            .messages()
            .await
            .map_err(AttachError::Pull)?;
        Ok(Self {
            authenticator: log.authenticator().clone(),
            last: after,
            messages,
        })
    }

    /// Waits for the next message. Dropping the future loses none.
    pub(super) async fn next(&mut self) -> Result<LogEvent, FollowError> {
        let message = self.messages.next().await.ok_or(FollowError::Ended)??;
        self.decode(&message)
    }

    /// The next message, if it is there already.
    pub(super) fn next_ready(&mut self) -> Option<Result<LogEvent, FollowError>> {
        self.next().now_or_never()
    }

    fn decode(&mut self, message: &Message) -> Result<LogEvent, FollowError> {
        let sequence = message
            .info()
            .map_err(FollowError::NoSequence)?
            .stream_sequence;
        let (from, to) = (self.last.position, Position::try_from(sequence)?);
        if to != from.next() {
            return Err(FollowError::Gap { from, to });
        }
        let (headers, body) = (message.headers.as_ref(), &message.payload);
        let event = stream::decode(&self.authenticator, self.last, headers, body)?;
        self.last = event.anchor();
        Ok(event)
    }
}
