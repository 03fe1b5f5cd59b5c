//! Reading one's own writes: tokens, and waiting for a read model to reach them (ADR-0021).

use crate::etag::{malformed, only};
use crate::limits::WAIT_MAX;
use crate::problem::{Problem, ProblemCode};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::time::Duration;
use touchline_eventstore::{Anchor, Position};

/// What a write answers and a read sends.
pub(crate) const CONSISTENCY_TOKEN: HeaderName = HeaderName::from_static("consistency-token");
/// How far the read model of an answer had folded the log, at least.
pub(crate) const PROJECTION_POSITION: HeaderName = HeaderName::from_static("projection-position");
/// What a client would like (RFC 7240).
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// Which of it was done.
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What a token begins with: the version of its form.
const VERSION: &str = "c2.";
/// How many bytes of a digest are in a token: a history that has other events agrees by chance once in
/// 2⁶⁴.
const DIGEST_BYTES: usize = 8;

/// A place in one history of a log: a position, and the first bytes of the digest of the event there.
/// Opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConsistencyToken {
    position: Position,
    digest: [u8; DIGEST_BYTES],
}

impl ConsistencyToken {
    /// What a token looks like, as a regular expression: 16 bytes, the first bit of them zero.
    pub(crate) const PATTERN: &str = r"^c2\.[A-Za-f][A-Za-z0-9_-]{20}[AQgw]$";

    /// The token of whoever wrote this event.
    pub(crate) fn of(end: Anchor) -> Self {
        Self {
            position: end.position,
            digest: short(end),
        }
    }

    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// Whether the event here is the one that the token is of.
    pub(crate) fn is_of(&self, here: Anchor) -> bool {
        *self == Self::of(here)
    }

    pub(crate) fn header(&self) -> HeaderValue {
        let mut bytes = self.position.get().to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.digest);
        let text = format!("{VERSION}{}", URL_SAFE_NO_PAD.encode(bytes));
        HeaderValue::try_from(text).unwrap_or_else(|_never| HeaderValue::from_static(VERSION))
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(VERSION)?).ok()?;
        let (position, digest) = bytes.split_first_chunk()?;
        Some(Self {
            position: Position::new(i64::from_be_bytes(*position)).ok()?,
            digest: digest.try_into().ok()?,
        })
    }

    /// The token that a read sends, if it does.
    ///
    /// # Errors
    /// When it is none of ours.
    pub(crate) fn sent(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let Some(text) = only(headers, &CONSISTENCY_TOKEN)? else {
            return Ok(None);
        };
        Self::parse(text)
            .map(Some)
            .ok_or_else(|| Problem::new(ProblemCode::InvalidConsistencyToken))
    }
}

fn short(end: Anchor) -> [u8; DIGEST_BYTES] {
    let first = end.digest.as_bytes().first_chunk();
    first.copied().unwrap_or_default()
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
    use touchline_eventstore::event::Digest;

    fn end(number: i64, digest: u8) -> Anchor {
        Anchor {
            position: Position::new(number).unwrap(),
            digest: Digest::new([digest; 32]),
        }
    }

    #[test]
    fn a_token_comes_back_as_it_went() {
        for number in [0, 1, i64::MAX] {
            let mut headers = HeaderMap::new();
            let token = ConsistencyToken::of(end(number, 7));
            headers.insert(CONSISTENCY_TOKEN, token.header());
            assert_eq!(ConsistencyToken::sent(&headers).unwrap(), Some(token));
            assert!(token.is_of(end(number, 7)));
        }
    }

    #[test]
    fn a_token_is_of_one_event_in_one_history() {
        let token = ConsistencyToken::of(end(5, 7));
        for other in [end(5, 8), end(4, 7), end(6, 7), Anchor::START] {
            assert!(!token.is_of(other), "{other:?}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for junk in [
            "",
            "c2.",
            "c1.AAAAAAAAAAcAAAAAAAAAAQ",
            "c2.AAAA",
            "c2.!",
            "c2._________________w",
        ] {
            assert_eq!(ConsistencyToken::parse(junk), None, "{junk}");
        }
        // A negative position.
        let negative = format!("c2.{}", URL_SAFE_NO_PAD.encode([0xff; 16]));
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
