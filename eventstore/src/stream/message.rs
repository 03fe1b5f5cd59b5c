//! An event as a message of the stream LOG, and back.

use super::Authenticator;
use crate::anchor::Anchor;
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
/// The header that authenticates the message.
static HMAC: HeaderName = HeaderName::from_static("Touchline-Hmac");

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
    /// The log's id, the HMAC, and the sequence after which alone the server may take the message.
    pub headers: HeaderMap,
    /// The event as JSON.
    pub body: Bytes,
}

impl Message {
    /// The message for `event`, which follows `before` in the log.
    ///
    /// # Errors
    /// When the event cannot be written as JSON.
    pub fn encode(
        authenticator: &Authenticator,
        before: Anchor,
        event: &LogEvent,
    ) -> Result<Self, serde_json::Error> {
        let log_id = authenticator.log_id();
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SEQUENCE, before.position.to_string());
        headers.insert(
            LOG_ID.clone(),
            &*log_id.hyphenated().encode_lower(&mut Uuid::encode_buffer()),
        );
        headers.insert(HMAC.clone(), authenticator.tag(before, event.anchor()));
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
    /// Its digest is not the one of its event.
    #[error("the message at sequence {sequence} has another digest than its event")]
    OtherDigest {
        /// Where it stands.
        sequence: Position,
    },
    /// Whoever published it does not have the key, or it belongs to a history that the log has lost.
    #[error("the message at sequence {sequence} is not authenticated as the next of this log")]
    NotAuthenticated {
        /// Where it stands.
        sequence: Position,
    },
}

/// The event in the message that follows `before` in the stream.
///
/// # Errors
/// [`ForeignMessage`] when it is not the event that follows `before` in this log, as far as that can
/// be told from whoever has the key.
pub fn decode(
    authenticator: &Authenticator,
    before: Anchor,
    headers: Option<&HeaderMap>,
    body: &[u8],
) -> Result<LogEvent, ForeignMessage> {
    let sequence = before.position.next();
    let header = |name: &HeaderName| headers.and_then(|headers| headers.get(name.clone()));
    let named = header(&LOG_ID).and_then(|named| Uuid::try_parse(named.as_str()).ok());
    if named != Some(authenticator.log_id()) {
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
    if event.computed_digest() != event.digest {
        return Err(ForeignMessage::OtherDigest { sequence });
    }
    let is_authentic = header(&HMAC)
        .is_some_and(|tag| authenticator.verifies(before, event.anchor(), tag.as_str()));
    if !is_authentic {
        return Err(ForeignMessage::NotAuthenticated { sequence });
    }
    Ok(event)
}
