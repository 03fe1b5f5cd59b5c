//! Publishing in order, with many messages on their way at once.

use crate::anchor::Anchor;
use crate::event::LogEvent;
use crate::position::Position;
use crate::stream::{Authenticator, Message};
use async_nats::connection::State;
use async_nats::{Client, StatusCode, SubscribeError, Subscriber};
use futures::{FutureExt as _, StreamExt as _};
use serde::Deserialize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

/// The most messages on their way. The server's own queue for a stream takes 10,000.
const IN_FLIGHT_MAX: u64 = 2_000;
/// A full window is let run down to this before more is sent, so that both sides work in strides.
const IN_FLIGHT_LOW: u64 = IN_FLIGHT_MAX / 2;
/// How long the next acknowledgement may take.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(3);

/// Why publishing stopped.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The log skipped a position.
    #[error("the log goes from position {from} to {to}")]
    Gap {
        /// The event before.
        from: Position,
        /// The event that follows it.
        to: Position,
    },
    /// The event cannot be written as JSON.
    #[error("the event at position {position} cannot be encoded")]
    Encode {
        /// Which event.
        position: Position,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// There is no connection at the moment.
    #[error("NATS is not connected")]
    Disconnected,
    /// The client did not take the message.
    #[error("the event at position {position} cannot be sent")]
    Send {
        /// Which event.
        position: Position,
        /// Why not.
        #[source]
        source: async_nats::PublishError,
    },
    /// The server refused the message: the stream is not where the relay believes it is.
    #[error("JetStream refused the event at position {position}: {reason}")]
    Refused {
        /// Which event.
        position: Position,
        /// What the server said.
        reason: String,
    },
    /// Nobody listens: the stream is gone.
    #[error("there is no stream for the event at position {position}")]
    NoStream {
        /// Which event.
        position: Position,
    },
    /// The server stored the message elsewhere, or answered out of order.
    #[error("JetStream answered for position {position} with sequence {sequence}")]
    Misplaced {
        /// The position whose turn it was.
        position: Position,
        /// What the server said.
        sequence: u64,
    },
    /// The acknowledgements stay away.
    #[error("JetStream has not acknowledged the event at position {position} in time")]
    Late {
        /// Which event.
        position: Position,
    },
}

/// JetStream's answer to a message.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    seq: u64,
    error: Option<Refusal>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    #[serde(default)]
    description: String,
}

/// Publishes events and counts their acknowledgements. All answers come to one inbox.
pub(super) struct Publisher {
    client: Client,
    authenticator: Authenticator,
    inbox: String,
    answers: Subscriber,
    /// Tells the answers to messages sent since the last restart from older ones.
    round: u64,
    sent: Anchor,
    acknowledged: Position,
    /// When an answer came last, or the oldest of those still to come was asked for.
    moved: Instant,
}

impl Publisher {
    pub(super) async fn open(
        client: &Client,
        authenticator: Authenticator,
    ) -> Result<Self, SubscribeError> {
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*.*")).await?;
        Ok(Self {
            client: client.clone(),
            authenticator,
            inbox,
            answers,
            round: 0,
            sent: Anchor::START,
            acknowledged: Position::START,
            moved: Instant::now(),
        })
    }

    /// Goes on after `last`, and forgets what is on its way.
    pub(super) fn restart_after(&mut self, last: Anchor) {
        self.round += 1;
        self.sent = last;
        self.acknowledged = last.position;
    }

    pub(super) fn sent(&self) -> Anchor {
        self.sent
    }

    pub(super) fn acknowledged(&self) -> Position {
        self.acknowledged
    }

    /// How many messages have no answer yet.
    pub(super) fn in_flight(&self) -> u64 {
        self.sent.position.since(self.acknowledged)
    }

    /// How often the connection has been made.
    pub(super) fn connects(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    /// Sends the events that follow what was sent, waiting for answers when too many are missing.
    pub(super) async fn send(&mut self, events: &[LogEvent]) -> Result<(), PublishError> {
        for event in events {
            let position = event.position;
            if position != self.sent.position.next() {
                return Err(PublishError::Gap {
                    from: self.sent.position,
                    to: position,
                });
            }
            if self.in_flight() >= IN_FLIGHT_MAX {
                while self.in_flight() > IN_FLIGHT_LOW {
                    self.acknowledge().await?;
                }
            }
            // What is sent while there is no connection would pile up in the client.
            if self.client.connection_state() != State::Connected {
                return Err(PublishError::Disconnected);
            }
            let message = Message::encode(&self.authenticator, self.sent, event)
                .map_err(|source| PublishError::Encode { position, source })?;
            let reply = format!("{}.{}.{position}", self.inbox, self.round);
            self.client
                .publish_with_reply_and_headers(
                    message.subject,
                    reply,
                    message.headers,
                    message.body,
                )
                .await
                .map_err(|source| PublishError::Send { position, source })?;
            if self.in_flight() == 0 {
                self.moved = Instant::now();
            }
            self.sent = event.anchor();
        }
        Ok(())
    }

    /// Waits for an answer, then takes those that are there as well. Dropping the future loses none.
    pub(super) async fn acknowledge(&mut self) -> Result<(), PublishError> {
        let late = PublishError::Late {
            position: self.acknowledged.next(),
        };
        let Ok(first) = timeout_at(self.moved + ACKNOWLEDGE_TIMEOUT, self.answers.next()).await
        else {
            return Err(late);
        };
        let mut next = first;
        while let Some(answer) = next {
            self.take(&answer)?;
            self.moved = Instant::now();
            match self.answers.next().now_or_never() {
                Some(more) => next = more,
                None => return Ok(()),
            }
        }
        // The client was closed: nothing more will come.
        Err(PublishError::Disconnected)
    }

    fn take(&mut self, answer: &async_nats::Message) -> Result<(), PublishError> {
        let position = self.acknowledged.next();
        let mut tokens = answer.subject.rsplit('.');
        let about = tokens
            .next()
            .and_then(|token| token.parse::<Position>().ok());
        let round = tokens.next().and_then(|token| token.parse::<u64>().ok());
        if round != Some(self.round) {
            return Ok(());
        }
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(PublishError::NoStream { position });
        }
        let Ok(Answer { seq, error }) = serde_json::from_slice(&answer.payload) else {
            return Err(PublishError::Misplaced {
                position,
                sequence: 0,
            });
        };
        if let Some(refusal) = error {
            let position = about.unwrap_or(position);
            return Err(PublishError::Refused {
                position,
                reason: refusal.description,
            });
        }
        if about != Some(position) || seq != position.sequence() {
            return Err(PublishError::Misplaced {
                position,
                sequence: seq,
            });
        }
        self.acknowledged = position;
        Ok(())
    }
}
