//! What a command tells besides its body: whose it is, and whether it is the repetition of another.

use crate::auth::Viewer;
use crate::context::RequestContext;
use crate::etag::{malformed, only};
use crate::limits::IDEMPOTENCY_KEY_CHARS_MAX;
use crate::problem::{Problem, ProblemCode};
use crate::state::ApiState;
use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method};
use touchline_commands::Envelope;
use touchline_domain::id::{CommandId, UserId};

/// The client's name for a request, so that a repetition is known.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What surrounds a command.
#[derive(Debug)]
pub(crate) struct CommandContext {
    actor: Option<UserId>,
    method: Method,
    route: String,
    path: String,
    key: Option<String>,
    context: RequestContext,
}

impl FromRequestParts<ApiState> for CommandContext {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let Viewer(actor) = Viewer::from_request_parts(parts, state).await?;
        let context = RequestContext::from_request_parts(parts, state).await?;
        let path = parts.uri.path().to_owned();
        let route = parts
            .extensions
            .get::<MatchedPath>()
            .map_or_else(|| path.clone(), |matched| matched.as_str().to_owned());
        // Without a gate there is no key: the route was not registered as it must be.
        let key: Option<&IdempotencyKey> = parts.extensions.get();
        let IdempotencyKey(key) = key.cloned().ok_or(ProblemCode::Internal)?;
        Ok(Self {
            actor,
            method: parts.method.clone(),
            route,
            path,
            key,
            context,
        })
    }
}

/// The idempotency key of a request, if it has one. The gate reads it, so that one that is malformed
/// is refused by every operation that takes one.
#[derive(Debug, Clone)]
pub(crate) struct IdempotencyKey(Option<String>);

impl IdempotencyKey {
    /// # Errors
    /// When it is empty, too long, or not visible ASCII.
    pub(crate) fn of(method: &Method, headers: &HeaderMap) -> Result<Self, Problem> {
        match *method {
            Method::POST => idempotency_key(headers).map(Self),
            // The other methods say which state there is to be, and may be repeated as they are.
            _ => Ok(Self(None)),
        }
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    match only(headers, &IDEMPOTENCY_KEY)? {
        None => Ok(None),
        Some(key) if key.is_empty() || key.len() > IDEMPOTENCY_KEY_CHARS_MAX => Err(malformed(
            "Idempotency-Key",
            &format!("must have 1 to {IDEMPOTENCY_KEY_CHARS_MAX} characters"),
        )),
        Some(key) => Ok(Some(key.to_owned())),
    }
}

impl CommandContext {
    /// What the command bus needs to know. `body` is the canonical text of the body.
    ///
    /// The key counts per caller and route; the fingerprint covers the whole path as well as the
    /// body, so that one key for two posts is told as reuse and not answered for the wrong one.
    pub(crate) fn envelope(&self, state: &ApiState, body: &str) -> Envelope {
        let caller = self
            .actor
            .map_or_else(|| "anonymous".to_owned(), |actor| actor.to_string());
        let (method, caller) = (self.method.as_str().as_bytes(), caller.as_bytes());
        let fingerprints = state.fingerprints();
        let command_id = match &self.key {
            Some(key) => {
                fingerprints.command_id(&[method, self.route.as_bytes(), caller, key.as_bytes()])
            }
            None => CommandId::new(state.new_id()),
        };
        let fingerprint = fingerprints.of(&[method, self.path.as_bytes(), caller, body.as_bytes()]);
        Envelope {
            command_id,
            keyed: self.key.is_some(),
            fingerprint,
            actor: self.actor,
            correlation_id: self.context.correlation_id,
            causation_id: None,
            at: state.now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_limited_at_its_value() {
        let read = |key: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IDEMPOTENCY_KEY, key.parse().unwrap());
            idempotency_key(&headers).map_err(|problem| problem.code())
        };
        let longest = "k".repeat(IDEMPOTENCY_KEY_CHARS_MAX);
        assert_eq!(read(&longest), Ok(Some(longest.clone())));
        assert_eq!(
            read(&format!("{longest}k")),
            Err(ProblemCode::InvalidHeader)
        );
        assert_eq!(read(""), Err(ProblemCode::InvalidHeader));
    }
}
