//! Entity tags (RFC 9110, 8.8.3): which version of an aggregate a client has seen.
//!
//! A write answers `"post-3"`: the aggregate and its version. A read answers `"post-3-1f2e…"`, with
//! a digest of the answer behind it, because a read shows counts that change without the aggregate.
//! `If-Match` takes either and compares the version; `If-None-Match` compares the whole.

use crate::problem::{Place, Problem, ProblemCode};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use sha2::{Digest as _, Sha256};

/// A strong entity tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntityTag(String);

impl EntityTag {
    /// The tag of an aggregate at a version.
    pub(crate) fn of_version(aggregate_type: &str, version: i64) -> Self {
        Self(format!("\"{aggregate_type}-{version}\""))
    }

    /// The tag of an answer that shows an aggregate at a version.
    pub(crate) fn of_answer(aggregate_type: &str, version: i64, body: &[u8]) -> Self {
        let digest = Sha256::digest(body);
        let short: u64 = digest
            .iter()
            .take(8)
            .fold(0, |number, byte| (number << 8) | u64::from(*byte));
        Self(format!("\"{aggregate_type}-{version}-{short:016x}\""))
    }

    pub(crate) fn header(&self) -> HeaderValue {
        HeaderValue::try_from(self.0.as_str())
            .unwrap_or_else(|_never| HeaderValue::from_static("\"\""))
    }

    /// Whether `If-None-Match` named this tag, so that the client has the answer already. The
    /// comparison is weak (RFC 9110, 13.1.2).
    pub(crate) fn is_among(&self, if_none_match: &[String]) -> bool {
        if_none_match
            .iter()
            .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.0)
    }
}

/// The tags that `If-None-Match` names.
pub(crate) fn if_none_match(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().to_owned())
        .collect()
}

/// The version that `If-Match` demands of an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Whichever it is, if there is one (`*`).
    Any,
    /// This one.
    Version(i64),
    /// One that this kind of aggregate never has: a tag of something else.
    Never,
}

impl Expected {
    /// The version for the command bus: none for whichever it is, and one that no aggregate has for
    /// a tag that none of this kind has.
    pub(crate) const fn version(self) -> Option<i64> {
        match self {
            Self::Any => None,
            Self::Version(version) => Some(version),
            Self::Never => Some(-1),
        }
    }
}

/// What `If-Match` demands of an aggregate of this kind.
///
/// # Errors
/// When the header is missing or does not have its form. A list of several tags is refused, since
/// nobody who has read one version needs it.
pub(crate) fn if_match(headers: &HeaderMap, aggregate_type: &str) -> Result<Expected, Problem> {
    let value = only(headers, &header::IF_MATCH)?
        .ok_or_else(|| Problem::new(ProblemCode::PreconditionRequired))?;
    if value == "*" {
        return Ok(Expected::Any);
    }
    let tag = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .filter(|tag| !tag.contains('"'))
        .ok_or_else(|| {
            malformed(
                "If-Match",
                "must be one strong entity tag, as the ETag of an answer",
            )
        })?;
    let version = tag
        .strip_prefix(aggregate_type)
        .and_then(|rest| rest.strip_prefix('-'))
        .and_then(|rest| rest.split('-').next())
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok());
    Ok(version.map_or(Expected::Never, Expected::Version))
}

/// The text of a header that may come once.
///
/// # Errors
/// When it comes more often, or is not visible ASCII.
pub(crate) fn only<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(malformed(name.as_str(), "must not be given more than once"));
    }
    let text = value
        .to_str()
        .map_err(|_not_ascii| malformed(name.as_str(), "must be visible ASCII"))?;
    Ok(Some(text.trim()))
}

/// A header without the form that it must have.
pub(crate) fn malformed(name: &str, detail: &str) -> Problem {
    Problem::at(
        ProblemCode::InvalidHeader,
        Place::Header(name.to_owned()),
        detail,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(value: &str) -> Result<Expected, ProblemCode> {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MATCH, value.parse().unwrap());
        if_match(&headers, "post").map_err(|problem| problem.code())
    }

    #[test]
    fn if_match_takes_the_tag_of_a_write_and_of_a_read() {
        assert_eq!(expected("\"post-3\""), Ok(Expected::Version(3)));
        let read = EntityTag::of_answer("post", 3, b"{}");
        assert_eq!(
            expected(read.header().to_str().unwrap()),
            Ok(Expected::Version(3))
        );
        assert_eq!(expected("*"), Ok(Expected::Any));
        assert_eq!(expected("\"profile-3\""), Ok(Expected::Never));
        assert_eq!(expected("\"post--3\""), Ok(Expected::Never));
        for wrong in ["post-3", "W/\"post-3\"", "\"post-3\", \"post-4\"", "\"", ""] {
            assert_eq!(expected(wrong), Err(ProblemCode::InvalidHeader), "{wrong}");
        }
        let missing = if_match(&HeaderMap::new(), "post").map_err(|problem| problem.code());
        assert_eq!(missing, Err(ProblemCode::PreconditionRequired));
    }

    #[test]
    fn if_none_match_knows_the_whole_answer_only() {
        let tag = EntityTag::of_answer("post", 3, b"one");
        let known = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, value.parse().unwrap());
            tag.is_among(&if_none_match(&headers))
        };
        let text = tag.header().to_str().unwrap().to_owned();
        assert!(known(&text) && known("*") && known(&format!("\"a\", W/{text}")));
        assert!(!known("\"post-3\""));
        assert!(!known(
            EntityTag::of_answer("post", 3, b"two")
                .header()
                .to_str()
                .unwrap()
        ));
    }
}
