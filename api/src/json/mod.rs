//! Request bodies: read, bounded, parsed into domain values, every wrong value pointed at.

mod field;
mod shape;
mod tree;

pub(crate) use field::{Change, FieldErrors};

use crate::limits::{BODY_BYTES_MAX, JSON_DEPTH_MAX};
use crate::problem::{Place, Problem, ProblemCode};
use crate::state::ApiState;
use axum::body::{Body, HttpBody as _};
use axum::extract::{FromRequest, OptionalFromRequest, Request};
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tree::Tree;

/// The shape of a request body, and how it becomes domain values.
pub(crate) trait RequestBody: DeserializeOwned {
    /// What the body means.
    type Value;

    /// The values that the fields stand for. Every field that is none is reported to `errors`; none
    /// is returned only when at least one was.
    fn parse(self, errors: &mut FieldErrors) -> Option<Self::Value>;
}

/// A request body that has been read and is valid.
pub(crate) struct ValidJson<T: RequestBody> {
    /// What it means.
    pub(crate) value: T::Value,
    /// The one text that stands for every way of writing it.
    pub(crate) canonical: String,
}

impl<T: RequestBody> FromRequest<ApiState> for ValidJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        check_media_type(&parts.headers)?;
        let bytes = tokio::time::timeout(state.deadlines().body, read(&parts.headers, body))
            .await
            .map_err(|_elapsed| Problem::new(ProblemCode::BodyTimeout))??;
        Self::from_bytes(&bytes)
    }
}

/// None for a request without a body, whatever its headers say of one.
impl<T: RequestBody> OptionalFromRequest<ApiState> for ValidJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ApiState) -> Result<Option<Self>, Problem> {
        if request.body().is_end_stream() {
            return Ok(None);
        }
        <Self as FromRequest<ApiState>>::from_request(request, state)
            .await
            .map(Some)
    }
}

impl<T: RequestBody> ValidJson<T> {
    fn from_bytes(bytes: &[u8]) -> Result<Self, Problem> {
        check_depth(bytes)?;
        let tree: Tree = serde_json::from_slice(bytes).map_err(|error| syntax_problem(&error))?;
        let shape = T::deserialize(&tree)?;
        let mut errors = FieldErrors::default();
        let value = match shape.parse(&mut errors) {
            Some(value) if errors.is_empty() => value,
            _ => return Err(errors.into_problem()),
        };
        let mut canonical = String::with_capacity(bytes.len());
        tree.write_canonical(&mut canonical);
        Ok(Self { value, canonical })
    }
}

/// `application/json`, or any `…+json` (RFC 6839), in UTF-8 and not compressed.
fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let unsupported = || Problem::new(ProblemCode::UnsupportedMediaType);
    let plain = headers
        .get(header::CONTENT_ENCODING)
        .is_none_or(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
    let essence = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|essence| essence.trim().to_ascii_lowercase())
        .ok_or_else(unsupported)?;
    let json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    if json && plain {
        Ok(())
    } else {
        Err(unsupported())
    }
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Problem> {
    let too_large = || {
        Problem::with_detail(
            ProblemCode::BodyTooLarge,
            format!("The body has more than {BODY_BYTES_MAX} bytes."),
        )
    };
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|length| length > BODY_BYTES_MAX) {
        return Err(too_large());
    }
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes().to_vec()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_cut) => Err(Problem::with_detail(
            ProblemCode::BadRequest,
            "The body did not arrive whole.",
        )),
    }
}

/// Counts brackets outside of texts before anything recurses.
fn check_depth(bytes: &[u8]) -> Result<(), Problem> {
    let mut depth = 0_usize;
    let (mut in_text, mut escaped) = (false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > JSON_DEPTH_MAX {
            return Err(Problem::with_detail(
                ProblemCode::JsonTooDeep,
                format!("The body nests arrays and objects more than {JSON_DEPTH_MAX} deep."),
            ));
        }
    }
    Ok(())
}

fn syntax_problem(error: &serde_json::Error) -> Problem {
    Problem::with_detail(
        ProblemCode::InvalidJson,
        format!(
            "The body is not JSON: line {}, column {}.",
            error.line(),
            error.column()
        ),
    )
}

/// The place of a field right below the body.
pub(crate) fn field(name: &str) -> Place {
    Place::Pointer(format!("/{name}"))
}

/// The place of an item of a list right below the body.
pub(crate) fn field_at(name: &str, index: usize) -> Place {
    Place::Pointer(format!("/{name}/{index}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> String {
        format!("{}{}", "[".repeat(depth), "]".repeat(depth))
    }

    #[test]
    fn the_depth_is_limited_at_its_value() {
        assert!(check_depth(nested(JSON_DEPTH_MAX).as_bytes()).is_ok());
        assert!(check_depth(nested(JSON_DEPTH_MAX + 1).as_bytes()).is_err());
        let in_a_text = format!(r#"["\"{}"]"#, "[".repeat(1_000));
        assert!(check_depth(in_a_text.as_bytes()).is_ok());
    }

    #[test]
    fn writing_the_same_otherwise_is_the_same() {
        let canonical = |json: &str| {
            let tree: Tree = serde_json::from_str(json).unwrap();
            let mut text = String::new();
            tree.write_canonical(&mut text);
            text
        };
        let one = canonical(r#"{"a":"\u0041","b":[1,-2,1.5,null,true]}"#);
        assert_eq!(
            one,
            canonical("{ \"b\" : [1, -2, 1.50, null, true],\n\"a\" : \"A\" }")
        );
        assert_eq!(one, r#"{"a":"A","b":[1,-2,1.5,null,true]}"#);
        assert_ne!(one, canonical(r#"{"a":"A","b":[1,-2,1.5,null,false]}"#));
    }
}
