//! Errors as problem details (RFC 9457). Nothing else in this crate makes an error response.
//!
//! A handler returns a [`Problem`]. It travels to the outermost layer inside the response, and only
//! there becomes a body, because only there the request's id and path are known, and because that
//! layer also sees the answers that axum itself gives.

mod code;
mod mapping;

pub use code::ProblemCode;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;
use utoipa::ToSchema;

/// The media type of every error.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Something that went wrong, on its way to the client.
#[derive(Debug, Clone)]
pub struct Problem {
    code: ProblemCode,
    detail: Option<Cow<'static, str>>,
    errors: Vec<FieldProblem>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

/// One value of the request that is wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldProblem {
    #[serde(flatten)]
    place: Place,
    /// Why: a stable word.
    #[schema(example = "too-long")]
    code: Cow<'static, str>,
    /// Why, for people.
    #[schema(example = "must have at most 80 characters")]
    detail: String,
}

/// Where in a request a value stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In the body: a JSON Pointer (RFC 6901).
    #[schema(example = "/display_name")]
    Pointer(String),
    /// A parameter of the query.
    Parameter(String),
    /// A header.
    Header(String),
}

impl FieldProblem {
    /// What is wrong at `place`.
    pub fn new(
        place: Place,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            place,
            code: code.into(),
            detail: detail.into(),
        }
    }
}

impl Problem {
    /// A problem of the catalogue, without more to say.
    #[must_use]
    pub const fn new(code: ProblemCode) -> Self {
        Self {
            code,
            detail: None,
            errors: Vec::new(),
            headers: Vec::new(),
            cause: None,
        }
    }

    /// A problem of the catalogue, with what is particular this time. The detail is for people.
    pub fn with_detail(code: ProblemCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..Self::new(code)
        }
    }

    /// A problem with one value of the request, coded like the problem itself.
    pub fn at(code: ProblemCode, place: Place, detail: impl Into<String>) -> Self {
        Self {
            errors: vec![FieldProblem::new(place, code.as_str(), detail)],
            ..Self::new(code)
        }
    }

    /// Values that break a rule, all of them.
    #[must_use]
    pub fn invalid(errors: Vec<FieldProblem>) -> Self {
        Self {
            errors,
            ..Self::new(ProblemCode::ValidationFailed)
        }
    }

    /// A problem whose cause goes to the log and never to the client.
    pub fn caused_by(code: ProblemCode, cause: impl Error + Send + Sync + 'static) -> Self {
        Self {
            cause: Some(Arc::new(cause)),
            ..Self::new(code)
        }
    }

    /// The same with a response header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// What went wrong.
    #[must_use]
    pub const fn code(&self) -> ProblemCode {
        self.code
    }

    /// What went wrong below, for the log: the cause and its causes.
    pub(crate) fn causes(&self) -> Option<String> {
        let mut next: Option<&(dyn Error + 'static)> = match &self.cause {
            Some(cause) => Some(cause.as_ref()),
            None => None,
        };
        let mut text = String::new();
        while let Some(error) = next {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&error.to_string());
            next = error.source();
        }
        (!text.is_empty()).then_some(text)
    }

    /// The response as it is sent. `instance` is the path of the request.
    pub(crate) fn render(&self, instance: &str, request_id: &str) -> Response {
        let document = ProblemDocument {
            type_uri: self.code.type_uri(),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: self.detail.as_deref().unwrap_or(self.code.meaning()),
            instance,
            code: self.code.as_str(),
            request_id,
            errors: &self.errors,
        };
        // Texts and numbers only: writing them cannot fail.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.code.retry_after_s() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = self.challenge() {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(challenge),
            );
        }
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        response
    }

    /// What `WWW-Authenticate` says (RFC 6750, 3): a 401 must have it.
    fn challenge(&self) -> Option<&'static str> {
        match self.code {
            ProblemCode::AuthenticationRequired | ProblemCode::InvalidCredentials => {
                Some(r#"Bearer realm="touchline""#)
            }
            ProblemCode::InvalidToken => Some(
                r#"Bearer realm="touchline", error="invalid_token", error_description="The access token is invalid""#,
            ),
            ProblemCode::TokenExpired => Some(
                r#"Bearer realm="touchline", error="invalid_token", error_description="The access token has expired""#,
            ),
            _ => None,
        }
    }

    /// The problem that stands for a bare error status, such as axum's own answers have.
    pub(crate) fn for_status(status: StatusCode) -> Self {
        let code = match status {
            StatusCode::NOT_FOUND => ProblemCode::UnknownRoute,
            StatusCode::METHOD_NOT_ALLOWED => ProblemCode::MethodNotAllowed,
            StatusCode::REQUEST_TIMEOUT => ProblemCode::BodyTimeout,
            StatusCode::PAYLOAD_TOO_LARGE => ProblemCode::BodyTooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => ProblemCode::UnsupportedMediaType,
            status if status.is_server_error() => ProblemCode::Internal,
            _ => ProblemCode::BadRequest,
        };
        Self::new(code)
    }
}

impl From<ProblemCode> for Problem {
    fn from(code: ProblemCode) -> Self {
        Self::new(code)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The body of a problem.
#[derive(Serialize)]
struct ProblemDocument<'a> {
    #[serde(rename = "type")]
    type_uri: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    code: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldProblem],
}

/// A problem (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemSchema {
    /// Where the problem is described: a URI reference.
    #[serde(rename = "type")]
    #[schema(example = "/problems/validation-failed")]
    type_uri: String,
    /// A few words for people.
    #[schema(example = "Some values are not allowed")]
    title: String,
    /// The HTTP status.
    #[schema(example = 422)]
    status: u16,
    /// What is particular this time, for people.
    detail: String,
    /// The path of the request.
    #[schema(example = "/v1/posts")]
    instance: String,
    /// What went wrong: one of the frozen codes of the catalogue.
    #[schema(example = "validation-failed")]
    code: String,
    /// The id of the request, as in `X-Request-Id` and in the log.
    request_id: String,
    /// Every value of the request that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    errors: Option<Vec<FieldProblem>>,
}
