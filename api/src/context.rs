//! What surrounds every request: its id, its span, the headers that every answer has, and the one
//! place where problems become bodies and server errors reach the log.

use crate::limits::{REQUEST_ID_CHARS_MAX, REQUEST_ID_CHARS_MIN};
use crate::problem::{PROBLEM_JSON, Problem, ProblemCode};
use crate::state::ApiState;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tracing::{Instrument as _, error, info_span};
use uuid::Uuid;

/// The request's id, in both directions.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The W3C trace context of the caller.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The namespace under which a request id that is no UUID becomes a correlation id.
const CORRELATIONS: Uuid = Uuid::from_u128(0x1f52_80d0_5c1e_5f3a_9d43_6f0f_b0f3_2c11);

/// What is known of a request besides what it asks.
#[derive(Debug, Clone)]
pub(crate) struct RequestContext {
    /// Its id, from the client or new.
    pub(crate) request_id: String,
    /// The same as a UUID, as the log stores it.
    pub(crate) correlation_id: Uuid,
}

impl RequestContext {
    fn of(headers: &HeaderMap, state: &ApiState) -> Self {
        let given = headers
            .get(X_REQUEST_ID)
            .and_then(|value| value.to_str().ok())
            .filter(|id| (REQUEST_ID_CHARS_MIN..=REQUEST_ID_CHARS_MAX).contains(&id.len()))
            .filter(|id| {
                id.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            });
        let Some(id) = given else {
            let id = state.new_id();
            return Self {
                request_id: id.to_string(),
                correlation_id: id,
            };
        };
        Self {
            request_id: id.to_owned(),
            correlation_id: Uuid::try_parse(id)
                .unwrap_or_else(|_other| Uuid::new_v5(&CORRELATIONS, id.as_bytes())),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts
            .extensions
            .get()
            .cloned()
            .ok_or_else(|| Problem::new(ProblemCode::Internal))
    }
}

/// The outermost layer.
pub(crate) async fn surround(
    State(state): State<ApiState>,
    mut request: Request,
    next: Next,
) -> Response {
    let context = RequestContext::of(request.headers(), &state);
    let path = request.uri().path().to_owned();
    // The template and not the path: a path holds ids, and a span's fields are kept for long.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unknown".to_owned(), |path| path.as_str().to_owned());
    let span = info_span!(
        "api.request",
        method = %request.method(),
        route,
        request_id = context.request_id,
        trace_id = trace_id(request.headers()).unwrap_or_default(),
    );
    request.extensions_mut().insert(context.clone());
    let response = next.run(request).instrument(span.clone()).await;
    let mut response = span.in_scope(|| finish(response, &path, &context.request_id));
    add_headers(response.headers_mut(), &context.request_id);
    response
}

/// The answer to a panic below: what it said is for the log only.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the form that the layer calls"
)]
pub(crate) fn answer_panic(panic: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&'static str>().copied())
        .unwrap_or("of an unknown kind");
    error!(panic = message, "a handler panicked");
    Problem::new(ProblemCode::Internal).into_response()
}

/// Gives up requests that take too long.
pub(crate) async fn limit_time(
    State(state): State<ApiState>,
    request: Request,
    next: Next,
) -> Response {
    match tokio::time::timeout(state.deadlines().request, next.run(request)).await {
        Ok(response) => response,
        Err(_elapsed) => Problem::new(ProblemCode::HandlerTimeout).into_response(),
    }
}

/// Gives a problem its body, and makes a problem of every other error.
fn finish(mut response: Response, path: &str, request_id: &str) -> Response {
    let status = response.status();
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None if (status.is_client_error() || status.is_server_error())
            && !has_problem_body(&response) =>
        {
            Problem::for_status(status)
        }
        None => return response,
    };
    if status.is_server_error() {
        let causes = problem.causes().unwrap_or_default();
        let code = problem.code().as_str();
        if problem.code() == ProblemCode::Internal || !causes.is_empty() {
            error!(code, causes, "request failed: code={code}");
        } else {
            tracing::warn!(code, "request refused: code={code}");
        }
    }
    let mut rendered = problem.render(path, request_id);
    for name in [header::ALLOW, header::CACHE_CONTROL, header::VARY] {
        if let Some(value) = response.headers_mut().remove(&name) {
            rendered.headers_mut().insert(name, value);
        }
    }
    rendered
}

/// A health check answers 503 with a body of its own.
fn has_problem_body(response: &Response) -> bool {
    response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value.starts_with(PROBLEM_JSON) || value.starts_with("application/health+json")
        })
}

fn add_headers(headers: &mut HeaderMap, request_id: &str) {
    if let Ok(value) = HeaderValue::try_from(request_id) {
        headers.insert(X_REQUEST_ID, value);
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    // JSON is never a page: whatever a browser is led to make of it may do nothing.
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'",
        ));
}

/// The trace id of `traceparent` (W3C Trace Context, 3.2); none when it is not well formed.
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut fields = headers.get(TRACEPARENT)?.to_str().ok()?.split('-');
    let (version, trace) = (fields.next()?, fields.next()?);
    let hexadecimal = |text: &str| {
        text.bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let good = version.len() == 2
        && version != "ff"
        && hexadecimal(version)
        && trace.len() == 32
        && hexadecimal(trace)
        && trace.bytes().any(|byte| byte != b'0');
    good.then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_context_is_read_when_it_is_well_formed() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, value.parse().unwrap());
            trace_id(&headers).map(ToOwned::to_owned)
        };
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(
            read(&format!("00-{id}-00f067aa0ba902b7-01")).as_deref(),
            Some(id)
        );
        assert_eq!(read(&format!("ff-{id}-00f067aa0ba902b7-01")), None);
        assert_eq!(
            read(&format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32))),
            None
        );
        assert_eq!(
            read("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"),
            None
        );
        assert_eq!(read("junk"), None);
    }
}
