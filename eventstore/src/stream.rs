//! The stream LOG in JetStream: the log's copy, whose sequence is the position (L6).
//!
//! The stream can be lost, cut short or tampered with at any time; [`LogStream::compare`] finds
//! out, and the relay makes it anew from PostgreSQL.

mod message;

pub use message::{ForeignMessage, Message, PARTITIONS, decode, partition, subject};

use crate::event::LogEvent;
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
use uuid::Uuid;

/// The name of the stream.
pub const NAME: &str = "LOG";
/// The subjects that the stream keeps.
pub const SUBJECTS: &str = "touchline.log.>";

/// The key of the stream's metadata under which the log's id stands.
const LOG_ID: &str = "touchline-log-id";
/// How long JetStream may take to answer a question about the stream.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The stream LOG as the copy of one log.
#[derive(Debug, Clone)]
pub struct LogStream {
    context: Context,
    log_id: Uuid,
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
        last: Position,
    },
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
    /// Its last event is another than the log's: the database was restored and went another way.
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
            Self::OtherEvent => "its last event differs from the log's",
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
    /// The stream that mirrors the log `log_id`, kept by `replicas` servers when it is made here.
    #[must_use]
    pub fn new(client: &Client, log_id: Uuid, replicas: usize) -> Self {
        let mut context = jetstream::new(client.clone());
        context.set_timeout(ANSWER_TIMEOUT);
        Self {
            context,
            log_id,
            replicas,
        }
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn log_id(&self) -> Uuid {
        self.log_id
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
        if info.config.metadata.get(LOG_ID) != Some(&self.log_id.to_string()) {
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
        if info.state.messages == 0 {
            return Ok(Comparison::InStep {
                first: last.next(),
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
        last: Position,
        store: &EventStore,
    ) -> Result<Option<Divergence>, CompareError> {
        let message = stream
            .get_raw_message(last.sequence())
            .await
            .map_err(CompareError::Message)?;
        let Ok(copy) = decode(self.log_id, last, Some(&message.headers), &message.payload) else {
            return Ok(Some(Divergence::Foreign));
        };
        let original = store.read(last.previous(), 1).await?;
        let same = original
            .first()
            .is_some_and(|event: &LogEvent| event.digest == copy.digest);
        Ok((!same).then_some(Divergence::OtherEvent))
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
            metadata: HashMap::from([(LOG_ID.to_owned(), self.log_id.to_string())]),
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
