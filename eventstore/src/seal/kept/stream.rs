//! The copies in JetStream: the stream CHECKPOINTS, whose last message counts.
//!
//! Whoever can publish there must not be able to stop the sealer, nor to make it believe anything: each
//! message is authenticated under a master key, and what is not is passed over.

use super::Kept;
use crate::keys::{Keys, Wrapped};
use async_nats::connection::State;
use async_nats::header::HeaderName;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RawMessageErrorKind};
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Client, HeaderMap};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::time::Duration;
use tokio::time::timeout;

/// The name of the stream.
pub const NAME: &str = "CHECKPOINTS";
/// The subject that it keeps.
const SUBJECT: &str = "touchline.checkpoint";

/// The most messages that it keeps; the oldest go first.
const MESSAGES_MAX: i64 = 10_000;
/// How many messages that nobody authenticated are passed over, from the last one back.
const FOREIGN_MAX: u64 = 1_000;
/// How long JetStream may take for everything that is asked at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it may take to acknowledge a copy.
const ACK_TIMEOUT: Duration = Duration::from_secs(1);

/// The SHA-256 of the message, wrapped under the master key that the other header names.
static PROOF: HeaderName = HeaderName::from_static("Touchline-Proof");
static MASTER_KEY: HeaderName = HeaderName::from_static("Touchline-Master-Key");
/// What the SHA-256 is wrapped for.
const PURPOSE: &str = "kept-checkpoint";

#[derive(Clone)]
pub(in crate::seal) struct Stream {
    client: Client,
    keys: Keys,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

impl Stream {
    pub(super) const fn new(client: Client, keys: Keys) -> Self {
        Self { client, keys }
    }

    /// The last copy. The outer none when the stream does not answer, the inner one when there is none.
    pub(super) async fn read(&self) -> Option<Option<Kept>> {
        if self.client.connection_state() != State::Connected {
            return None;
        }
        match timeout(ANSWER_TIMEOUT, self.last()).await {
            Ok(Ok(last)) => Some(last),
            Ok(Err(error)) => {
                tracing::debug!(error, "sealer: the stream CHECKPOINTS cannot be read");
                None
            }
            Err(_elapsed) => None,
        }
    }

    async fn last(&self) -> Result<Option<Kept>, String> {
        let context = jetstream::new(self.client.clone());
        let stream = match context.get_stream(NAME).await {
            Ok(stream) => stream,
            Err(error) => {
                return match error.kind() {
                    jetstream::context::GetStreamErrorKind::JetStream(answer)
                        if answer.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                    {
                        Ok(None)
                    }
                    _ => Err(error.to_string()),
                };
            }
        };
        let state = &stream.cached_info().state;
        let first = state
            .first_sequence
            .max(state.last_sequence.saturating_sub(FOREIGN_MAX - 1));
        for sequence in (first.max(1)..=state.last_sequence).rev() {
            match stream.get_raw_message(sequence).await {
                Ok(message) => {
                    if let Some(kept) = self.authentic(&message.headers, &message.payload) {
                        return Ok(Some(kept));
                    }
                    tracing::warn!(
                        sequence,
                        "sealer: a message in the stream CHECKPOINTS is not by a sealer, and passed over"
                    );
                }
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(None)
    }

    fn authentic(&self, headers: &HeaderMap, payload: &[u8]) -> Option<Kept> {
        let wrapped = Wrapped {
            bytes: BASE64_STANDARD
                .decode(headers.get(PROOF.clone())?.as_str())
                .ok()?,
            master_key: headers.get(MASTER_KEY.clone())?.as_str().to_owned(),
        };
        let hash = self.keys.unwrap(PURPOSE, &wrapped).ok()?;
        if hash != Sha256::digest(payload)[..] {
            return None;
        }
        Kept::parse(std::str::from_utf8(payload).ok()?).ok()
    }

    /// Leaves a copy, if JetStream answers in time.
    pub(super) async fn write(&self, kept: &Kept) {
        if self.client.connection_state() != State::Connected {
            return;
        }
        match timeout(ACK_TIMEOUT, self.publish(kept)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(
                    error,
                    "sealer: no copy of the checkpoint was left in the stream CHECKPOINTS"
                );
            }
            Err(_elapsed) => {
                tracing::warn!("sealer: the stream CHECKPOINTS did not take a copy in time");
            }
        }
    }

    async fn publish(&self, kept: &Kept) -> Result<(), String> {
        let payload = kept.to_string();
        let wrapped = self.keys.wrap(PURPOSE, &Sha256::digest(payload.as_bytes()));
        let wrapped = wrapped.map_err(|error| error.to_string())?;
        let mut headers = HeaderMap::new();
        headers.insert(PROOF.clone(), BASE64_STANDARD.encode(&wrapped.bytes));
        headers.insert(MASTER_KEY.clone(), wrapped.master_key);
        let context = jetstream::new(self.client.clone());
        let made = context.get_or_create_stream(config()).await;
        made.map_err(|error| error.to_string())?;
        let sent = context
            .publish_with_headers(SUBJECT, headers, payload.into())
            .await;
        let acknowledged = sent.map_err(|error| error.to_string())?.await;
        acknowledged.map(drop).map_err(|error| error.to_string())
    }
}

fn config() -> Config {
    Config {
        name: NAME.to_owned(),
        description: Some("What the log signed last; the last message counts.".to_owned()),
        subjects: vec![SUBJECT.to_owned()],
        max_messages: MESSAGES_MAX,
        discard: DiscardPolicy::Old,
        deny_delete: true,
        deny_purge: true,
        ..Config::default()
    }
}
