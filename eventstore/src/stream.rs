//! The stream LOG in JetStream: the log's copy, whose sequence is the position (L6).
//!
//! The stream can be lost, cut short or tampered with at any time; [`LogStream::compare`] finds
//! out, and the relay makes it anew from PostgreSQL.

mod authenticator;
mod message;

pub use authenticator::Authenticator;
pub use message::{ForeignMessage, Message, PARTITIONS, decode, partition, subject};

use crate::anchor::Anchor;
use crate::position::Position;
use crate::store::{EventStore, ReadError};
use async_nats::Client;
use async_nats::jetstream::context::{
    Context, CreateStreamError, DeleteStreamError, GetStreamError, GetStreamErrorKind,
};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, RawMessageError, RetentionPolicy, Stream,
};
use async_nats::jetstream::{self, ErrorCode};
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// The name of the stream.
pub const NAME: &str = "LOG";
/// The subjects that the stream keeps.
pub const SUBJECTS: &str = "touchline.log.>";

/// The key of the stream's metadata under which the log's id stands.
const LOG_ID: &str = "touchline-log-id";
/// The key of the stream's metadata under which the id of the master key stands that authenticates
/// its messages.
const MASTER_KEY: &str = "touchline-master-key";
/// How long JetStream may take to answer a question about the stream.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The stream LOG as the copy of one log.
#[derive(Debug, Clone)]
pub struct LogStream {
    context: Context,
    authenticator: Authenticator,
    replicas: usize,
}

/// How the stream stands to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// There is no stream.
    Missing,
    /// Everything in the stream is in the log, at the same place.
    InStep {
        /// The first event in the stream; the one after `last` when it is empty.
        first: Position,
        /// The last event in the stream.
        last: Anchor,
    },
    /// Its messages are authenticated under a master key that is no longer the current one. It has to
    /// be made anew, or those who know only the current one could not follow it.
    OtherKey,
    /// The stream is no copy of the log: it has to be made anew.
    Diverged(Divergence),
}

/// Why a stream is no copy of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Divergence {
    /// It was made from another log.
    OtherLog,
    /// Somebody changed its settings so that it may forget or refuse events.
    Settings,
    /// Events are missing between its first and its last.
    Holes,
    /// It has more than the log: the database was restored from an older backup, or somebody else
    /// publishes.
    Ahead,
    /// Its last message is no event of this log.
    Foreign,
    /// Its last event is another than the log's, or not authenticated: the database was restored and
    /// went another way, or somebody else publishes.
    OtherEvent,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherLog => "it was made from another log",
            Self::Settings => "its settings were changed",
            Self::Holes => "events are missing inside it",
            Self::Ahead => "it has more than the log",
            Self::Foreign => "its last message is no event of this log",
            Self::OtherEvent => "its last event differs from the log's, or is not authenticated",
        })
    }
}

/// Why the stream could not be compared with the log.
#[derive(Debug, Error)]
pub enum CompareError {
    /// JetStream did not say how the stream stands.
    #[error("the state of the stream LOG cannot be read")]
    State(#[source] GetStreamError),
    /// JetStream did not give the last message.
    #[error("the last message of the stream LOG cannot be read")]
    Message(#[source] RawMessageError),
    /// A number that is no position.
    #[error("the stream LOG counts beyond 9223372036854775807")]
    Position(#[from] crate::position::PositionError),
    /// The log cannot be read.
    #[error("the log cannot be read to compare it with the stream LOG")]
    Log(#[from] ReadError),
}

impl LogStream {
    /// The stream that mirrors the log of `authenticator`, kept by `replicas` servers when it is made
    /// here.
    #[must_use]
    pub fn new(client: &Client, authenticator: Authenticator, replicas: usize) -> Self {
        let mut context = jetstream::new(client.clone());
        context.set_timeout(ANSWER_TIMEOUT);
        Self {
            context,
            authenticator,
            replicas,
        }
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) const fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// Looks whether the stream is a copy of a beginning of the log.
    ///
    /// # Errors
    /// [`CompareError`] when either of the two cannot be reached.
    pub async fn compare(&self, store: &EventStore) -> Result<Comparison, CompareError> {
        let stream = match self.context.get_stream(NAME).await {
            Ok(stream) => stream,
            Err(error) if is_missing(&error) => return Ok(Comparison::Missing),
            Err(error) => return Err(CompareError::State(error)),
        };
        let info = stream.cached_info();
        let metadata = &info.config.metadata;
        if metadata.get(LOG_ID) != Some(&self.authenticator.log_id().to_string()) {
            return Ok(Comparison::Diverged(Divergence::OtherLog));
        }
        if !keeps_everything(&info.config) {
            return Ok(Comparison::Diverged(Divergence::Settings));
        }
        if has_holes(info) {
            return Ok(Comparison::Diverged(Divergence::Holes));
        }
        let last = Position::try_from(info.state.last_sequence)?;
        // Read after the stream's state: the log only grows, and what is published is in it before.
        if last > store.head().await? {
            return Ok(Comparison::Diverged(Divergence::Ahead));
        }
        if metadata.get(MASTER_KEY).map(String::as_str) != Some(self.authenticator.key_id()) {
            return Ok(Comparison::OtherKey);
        }
        // The log can be restored to an earlier state between the two questions.
        let Some(last) = store.anchor(last).await? else {
            return Ok(Comparison::Diverged(Divergence::Ahead));
        };
        if info.state.messages == 0 {
            return Ok(Comparison::InStep {
                first: last.position.next(),
                last,
            });
        }
        if let Some(divergence) = self.compare_last(&stream, last, store).await? {
            return Ok(Comparison::Diverged(divergence));
        }
        Ok(Comparison::InStep {
            first: Position::try_from(info.state.first_sequence)?,
            last,
        })
    }

    async fn compare_last(
        &self,
        stream: &Stream,
        last: Anchor,
        store: &EventStore,
    ) -> Result<Option<Divergence>, CompareError> {
        let message = stream
            .get_raw_message(last.position.sequence())
            .await
            .map_err(CompareError::Message)?;
        let Some(before) = store.anchor(last.position.previous()).await? else {
            return Ok(Some(Divergence::Ahead));
        };
        let (headers, body) = (Some(&message.headers), &message.payload);
        Ok(match decode(&self.authenticator, before, headers, body) {
            Ok(copy) if copy.digest == last.digest => None,
            // One of a history that the log has lost follows on another event than the log's.
            Ok(_) | Err(ForeignMessage::NotAuthenticated { .. }) => Some(Divergence::OtherEvent),
            Err(_) => Some(Divergence::Foreign),
        })
    }

    /// Makes the stream, empty, so that the next message gets the sequence `first`.
    ///
    /// # Errors
    /// When JetStream cannot be reached or refuses; also when a different stream LOG is there.
    pub async fn create(&self, first: Position) -> Result<(), CreateStreamError> {
        self.context
            .create_stream(self.config(first))
            .await
            .map(drop)
    }

    /// Removes the stream. Nothing is lost that the log does not have.
    ///
    /// # Errors
    /// When JetStream cannot be reached or refuses.
    pub async fn delete(&self) -> Result<(), DeleteStreamError> {
        self.context.delete_stream(NAME).await.map(drop)
    }

    fn config(&self, first: Position) -> Config {
        Config {
            name: NAME.to_owned(),
            description: Some(
                "The log's copy: the sequence of a message is its position.".to_owned(),
            ),
            subjects: vec![SUBJECTS.to_owned()],
            num_replicas: self.replicas,
            // Should somebody set a limit later, refuse the new rather than forget the old.
            discard: DiscardPolicy::New,
            deny_delete: true,
            deny_purge: true,
            first_sequence: Some(first.sequence()),
            metadata: HashMap::from([
                (LOG_ID.to_owned(), self.authenticator.log_id().to_string()),
                (
                    MASTER_KEY.to_owned(),
                    self.authenticator.key_id().to_owned(),
                ),
            ]),
            ..Config::default()
        }
    }
}

fn is_missing(error: &GetStreamError) -> bool {
    match error.kind() {
        GetStreamErrorKind::JetStream(answer) => answer.error_code() == ErrorCode::STREAM_NOT_FOUND,
        _ => false,
    }
}

fn keeps_everything(config: &Config) -> bool {
    let unlimited = config.max_messages <= 0
        && config.max_bytes <= 0
        && config.max_messages_per_subject <= 0
        && config.max_message_size <= 0
        && config.max_age.is_zero();
    unlimited
        && config.subjects == [SUBJECTS]
        && config.retention == RetentionPolicy::Limits
        && config.deny_delete
        && config.deny_purge
        && !config.sealed
        && !config.no_ack
}

fn has_holes(info: &Info) -> bool {
    let state = &info.state;
    let span = match state.messages {
        0 => 0,
        _ => state
            .last_sequence
            .saturating_sub(state.first_sequence)
            .saturating_add(1),
    };
    state.deleted_count.unwrap_or(0) > 0 || state.messages != span
}
