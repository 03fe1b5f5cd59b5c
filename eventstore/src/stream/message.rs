//! An event as a message of the stream LOG, and back.

use crate::event::LogEvent;
use crate::position::Position;
use async_nats::HeaderMap;
use async_nats::header::{HeaderName, NATS_EXPECTED_LAST_SEQUENCE};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use uuid::Uuid;

/// How many partitions the subjects are divided into.
pub const PARTITIONS: u8 = 64;

/// The header that names the log which an event belongs to.
static LOG_ID: HeaderName = HeaderName::from_static("Touchline-Log-Id");

/// The partition of an aggregate, from 0 to 63: the first byte of the SHA-256 of its id as text,
/// modulo 64. Frozen, because consumers of one partition rely on it.
#[must_use]
pub fn partition(aggregate_id: &str) -> u8 {
    let hash: [u8; 32] = Sha256::digest(aggregate_id.as_bytes()).into();
    hash.first().map_or(0, |first| first % PARTITIONS)
}

/// The subject of an event: `touchline.log.<partition, two digits>.<event type>`. No id is in it.
///
/// What NATS would not take in a subject is replaced by `_`, so that no event can stop the relay.
#[must_use]
pub fn subject(event: &LogEvent) -> String {
    let mut subject = format!("touchline.log.{:02}", partition(&event.aggregate_id));
    for token in event.event_type.split('.') {
        subject.push('.');
        if token.is_empty() {
            subject.push('_');
        }
        subject.extend(token.chars().map(|letter| match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => letter,
            _ => '_',
        }));
    }
    subject
}

/// What the relay publishes for one event.
#[derive(Debug, Clone)]
pub struct Message {
    /// Where to.
    pub subject: String,
    /// The log's id, and the sequence after which alone the server may take the message.
    pub headers: HeaderMap,
    /// The event as JSON.
    pub body: Bytes,
}

impl Message {
    /// The message for `event` of the log `log_id`.
    ///
    /// # Errors
    /// When the event cannot be written as JSON.
    pub fn encode(log_id: Uuid, event: &LogEvent) -> Result<Self, serde_json::Error> {
        let mut headers = HeaderMap::new();
        headers.insert(
            NATS_EXPECTED_LAST_SEQUENCE,
            event.position.previous().to_string(),
        );
        headers.insert(
            LOG_ID.clone(),
            &*log_id.hyphenated().encode_lower(&mut Uuid::encode_buffer()),
        );
        Ok(Self {
            subject: subject(event),
            headers,
            body: serde_json::to_vec(event)?.into(),
        })
    }
}

/// Why a message is no event of this log.
#[derive(Debug, Error)]
pub enum ForeignMessage {
    /// It does not name this log.
    #[error("the message at sequence {sequence} does not belong to this log")]
    OtherLog {
        /// Where it stands.
        sequence: Position,
    },
    /// It is no event.
    #[error("the message at sequence {sequence} is no event")]
    NoEvent {
        /// Where it stands.
        sequence: Position,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// It is an event of another place.
    #[error("the message at sequence {sequence} holds the event of position {position}")]
    OtherPosition {
        /// Where it stands.
        sequence: Position,
        /// Where its event belongs.
        position: Position,
    },
}

/// The event in the message that stands at `sequence` in the stream.
///
/// # Errors
/// [`ForeignMessage`] when it is no event of the log `log_id`, or one of another place.
pub fn decode(
    log_id: Uuid,
    sequence: Position,
    headers: Option<&HeaderMap>,
    body: &[u8],
) -> Result<LogEvent, ForeignMessage> {
    let named = headers.and_then(|headers| headers.get(LOG_ID.clone()));
    if named.and_then(|named| Uuid::try_parse(named.as_str()).ok()) != Some(log_id) {
        return Err(ForeignMessage::OtherLog { sequence });
    }
    let event: LogEvent = serde_json::from_slice(body)
        .map_err(|source| ForeignMessage::NoEvent { sequence, source })?;
    if event.position != sequence {
        return Err(ForeignMessage::OtherPosition {
            sequence,
            position: event.position,
        });
    }
    Ok(event)
}
