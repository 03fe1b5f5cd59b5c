//! Reading one's own writes: tokens, and waiting for a read model to reach them.

use crate::etag::{malformed, only};
use crate::limits::WAIT_MAX;
use crate::problem::{Problem, ProblemCode};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::time::Duration;
use touchline_eventstore::Position;
use uuid::Uuid;

/// What a write answers and a read sends.
pub(crate) const CONSISTENCY_TOKEN: HeaderName = HeaderName::from_static("consistency-token");
/// How far the read model of an answer had folded the log, at least.
pub(crate) const PROJECTION_POSITION: HeaderName = HeaderName::from_static("projection-position");
/// What a client would like (RFC 7240).
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// Which of it was done.
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What a token begins with: the version of its form.
const VERSION: &str = "c1.";

/// A place in one log. Opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConsistencyToken {
    log: [u8; 8],
    pub(crate) position: Position,
}

impl ConsistencyToken {
    pub(crate) fn new(log_id: Uuid, position: Position) -> Self {
        Self {
            log: short(log_id),
            position,
        }
    }

    /// Whether the place is in this log.
    pub(crate) fn is_of(&self, log_id: Uuid) -> bool {
        self.log == short(log_id)
    }

    pub(crate) fn header(&self) -> HeaderValue {
        let mut bytes = self.log.to_vec();
        bytes.extend_from_slice(&self.position.get().to_be_bytes());
        let text = format!("{VERSION}{}", URL_SAFE_NO_PAD.encode(bytes));
        HeaderValue::try_from(text).unwrap_or_else(|_never| HeaderValue::from_static(VERSION))
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(VERSION)?).ok()?;
        let (log, position) = bytes.split_first_chunk::<8>()?;
        let position = i64::from_be_bytes(position.try_into().ok()?);
        Some(Self {
            log: *log,
            position: Position::new(position).ok()?,
        })
    }

    /// The token that a read sends, if it does.
    ///
    /// # Errors
    /// When it is none of ours.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let Some(text) = only(headers, &CONSISTENCY_TOKEN)? else {
            return Ok(None);
        };
        Self::parse(text)
            .map(Some)
            .ok_or_else(|| Problem::new(ProblemCode::InvalidConsistencyToken))
    }
}

/// The first half is enough to tell logs apart, and keeps the token short.
fn short(log_id: Uuid) -> [u8; 8] {
    log_id.as_u64_pair().0.to_be_bytes()
}

/// How long a read is ready to wait: `Prefer: wait=` in seconds (RFC 7240, 4.3), at most
/// [`WAIT_MAX`]; none when it does not say.
///
/// # Errors
/// When `wait` is given without a whole number.
pub(crate) fn wait(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    let wait = headers
        .get_all(PREFER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|preference| preference.split(';').next())
        .filter_map(|preference| preference.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"));
    let Some((_, seconds)) = wait else {
        return Ok(None);
    };
    let seconds: u64 = seconds
        .trim()
        .trim_matches('"')
        .parse()
        .map_err(|_no_number| malformed("Prefer", "must give wait as a whole number of seconds"))?;
    Ok(Some(Duration::from_secs(seconds).min(WAIT_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: i64) -> ConsistencyToken {
        ConsistencyToken::new(Uuid::from_u128(7 << 64), Position::new(number).unwrap())
    }

    #[test]
    fn a_token_comes_back_as_it_went() {
        for number in [0, 1, i64::MAX] {
            let mut headers = HeaderMap::new();
            headers.insert(CONSISTENCY_TOKEN, token(number).header());
            assert_eq!(ConsistencyToken::of(&headers).unwrap(), Some(token(number)));
        }
        assert!(token(1).is_of(Uuid::from_u128(7 << 64)));
        assert!(!token(1).is_of(Uuid::from_u128(8 << 64)));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for junk in [
            "",
            "c1.",
            "c2.AAAAAAAAAAcAAAAAAAAAAQ",
            "c1.AAAA",
            "c1.!",
            "c1._________________w",
        ] {
            assert_eq!(ConsistencyToken::parse(junk), None, "{junk}");
        }
        // A negative position.
        let negative = format!("c1.{}", URL_SAFE_NO_PAD.encode([0xff; 16]));
        assert_eq!(ConsistencyToken::parse(&negative), None);
    }

    #[test]
    fn a_wait_is_read_among_other_preferences() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(PREFER, value.parse().unwrap());
            wait(&headers).map_err(|problem| problem.code())
        };
        assert_eq!(
            read("respond-async, wait=2"),
            Ok(Some(Duration::from_secs(2)))
        );
        assert_eq!(read("Wait=0"), Ok(Some(Duration::ZERO)));
        assert_eq!(read("wait=5"), Ok(Some(WAIT_MAX)));
        assert_eq!(read("wait=6"), Ok(Some(WAIT_MAX)));
        assert_eq!(read("handling=strict"), Ok(None));
        assert_eq!(read("wait=soon"), Err(ProblemCode::InvalidHeader));
    }
}
