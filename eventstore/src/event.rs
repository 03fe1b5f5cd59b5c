//! What the log stores of one event, and the digest that seals it.

use crate::anchor::Anchor;
use crate::position::Position;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use touchline_domain::event::{DecodeError, Event};
use uuid::Uuid;

/// One event as it stands in the log, bytes included. As JSON it is the message that the stream LOG
/// carries.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogEvent {
    /// Where it stands.
    pub position: Position,
    /// Its own id, UUID v7.
    pub event_id: Uuid,
    /// The frozen name of the kind of aggregate.
    pub aggregate_type: String,
    /// The aggregate that it happened to.
    pub aggregate_id: String,
    /// Its number within the aggregate, from 1.
    pub sequence: i64,
    /// The frozen name of what happened.
    pub event_type: String,
    /// The version of the payload's shape.
    pub event_version: String,
    /// When the appender took it, in whole microseconds. Not when it happened: that is in the payload.
    pub recorded_at: DateTime<Utc>,
    /// Who, by which command, caused by what: an object of texts, exactly as stored.
    pub metadata: Box<RawValue>,
    /// What happened, exactly as stored.
    pub payload: Box<RawValue>,
    /// SHA-256 of the fields above but the position, in the encoding of ADR-0003.
    pub digest: Digest,
}

impl LogEvent {
    /// The domain event inside.
    ///
    /// # Errors
    /// [`DecodeError`] when this build does not know the type or version, or the payload does not fit.
    pub fn decode<E: Event>(&self) -> Result<E, DecodeError> {
        E::decode(&self.event_type, &self.event_version, self.payload.get())
    }

    /// The event's place in the history that it belongs to.
    #[must_use]
    pub const fn anchor(&self) -> Anchor {
        Anchor {
            position: self.position,
            digest: self.digest,
        }
    }

    /// The context that the event belongs to: its name up to the first dot.
    #[must_use]
    pub fn context(&self) -> &str {
        self.event_type.split('.').next().unwrap_or_default()
    }

    /// The metadata as a map; empty when it is no object of texts.
    #[must_use]
    pub fn metadata_map(&self) -> BTreeMap<String, String> {
        serde_json::from_str(self.metadata.get()).unwrap_or_default()
    }

    /// The digest that the stored fields have now; it equals [`LogEvent::digest`] unless somebody
    /// changed one.
    #[must_use]
    pub fn computed_digest(&self) -> Digest {
        digest(&Digested {
            event_id: self.event_id,
            aggregate_type: &self.aggregate_type,
            aggregate_id: &self.aggregate_id,
            sequence: self.sequence,
            event_type: &self.event_type,
            event_version: &self.event_version,
            recorded_at: self.recorded_at,
            metadata: self.metadata.get(),
            payload: self.payload.get(),
        })
    }
}

/// The fields that a digest covers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digested<'a> {
    pub(crate) event_id: Uuid,
    pub(crate) aggregate_type: &'a str,
    pub(crate) aggregate_id: &'a str,
    pub(crate) sequence: i64,
    pub(crate) event_type: &'a str,
    pub(crate) event_version: &'a str,
    pub(crate) recorded_at: DateTime<Utc>,
    pub(crate) metadata: &'a str,
    pub(crate) payload: &'a str,
}

/// SHA-256 over ten lines of text, each ended by a line feed: the word `touchline-event/1`, then the
/// fields in the order of [`Digested`], the time as RFC 3339 in UTC with six decimals and `Z`
/// (ADR-0003). No field can hold a line feed, so different events have different texts. Anyone can
/// make the text with `printf` and check it with `sha256sum`.
pub(crate) fn digest(event: &Digested<'_>) -> Digest {
    let mut hash = Sha256::new();
    let mut line = |text: &str| {
        hash.update(text.as_bytes());
        hash.update(b"\n");
    };
    line("touchline-event/1");
    line(
        event
            .event_id
            .hyphenated()
            .encode_lower(&mut Uuid::encode_buffer()),
    );
    line(event.aggregate_type);
    line(event.aggregate_id);
    line(&event.sequence.to_string());
    line(event.event_type);
    line(event.event_version);
    line(
        &event
            .recorded_at
            .to_rfc3339_opts(SecondsFormat::Micros, true),
    );
    line(event.metadata);
    line(event.payload);
    Digest(hash.finalize().into())
}

/// A SHA-256 value; 64 lower-case hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest with these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.as_bytes(), &mut bytes).map_err(de::Error::custom)?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf` of the ten lines piped into `sha256sum` gave this value.
    #[test]
    fn the_encoding_of_the_digest_is_frozen() {
        let digest = digest(&Digested {
            event_id: Uuid::from_u128(1),
            aggregate_type: "post",
            aggregate_id: "00000000-0000-0000-0000-000000000002",
            sequence: 3,
            event_type: "posts.post_deleted",
            event_version: "1",
            recorded_at: DateTime::from_timestamp_micros(1_671_379_200_000_001).unwrap(),
            metadata: r#"{"actor":"x"}"#,
            payload: r#"{"a":1}"#,
        });
        assert_eq!(
            digest.to_string(),
            "114d9d2d8fd092fcba0f57c9de3a22c61fb473774018bbce0c0c2f79557a27e4"
        );
    }
}
