//! The two kinds of answers: what a write made, and what a read found.

use crate::consistency::{
    CONSISTENCY_TOKEN, ConsistencyToken, PREFERENCE_APPLIED, PROJECTION_POSITION, wait,
};
use crate::etag::{EntityTag, if_none_match};
use crate::limits::WAIT_MAX;
use crate::page::{Page, PageRequest};
use crate::problem::{Problem, ProblemCode};
use crate::state::ApiState;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::time::Duration;
use touchline_commands::Outcome;
use touchline_domain::aggregate::Decider;
use touchline_eventstore::Position;
use utoipa::ToSchema;

/// That an answer repeats the one of an earlier request with the same `Idempotency-Key`.
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What a write made: the resulting state, its version, and where the log has it.
pub(crate) struct Written<T> {
    pub(crate) status: StatusCode,
    pub(crate) body: T,
    pub(crate) tag: EntityTag,
    pub(crate) token: ConsistencyToken,
    pub(crate) replayed: bool,
    /// Where the state can be read, when it is new.
    pub(crate) location: Option<String>,
}

impl<T> Written<T> {
    /// What a command has led to, as `body` shows it.
    pub(crate) fn of<A: Decider>(status: StatusCode, outcome: &Outcome<A>, body: T) -> Self {
        Self {
            status,
            body,
            tag: EntityTag::of_version(A::TYPE, outcome.version),
            token: ConsistencyToken::of(outcome.end),
            replayed: outcome.replayed,
            location: None,
        }
    }
}

impl<T: Serialize> IntoResponse for Written<T> {
    fn into_response(self) -> Response {
        let mut response =
            json(self.status, &self.body).unwrap_or_else(IntoResponse::into_response);
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.tag.header());
        headers.insert(CONSISTENCY_TOKEN, self.token.header());
        if self.replayed {
            headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
        }
        if let Some(location) = self
            .location
            .and_then(|location| HeaderValue::try_from(location).ok())
        {
            headers.insert(header::LOCATION, location);
        }
        response
    }
}

/// What a read asks besides its path and query.
#[derive(Debug)]
pub(crate) struct Reading {
    token: Option<ConsistencyToken>,
    wait: Option<Duration>,
    known: Vec<String>,
}

impl FromRequestParts<ApiState> for Reading {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &ApiState) -> Result<Self, Problem> {
        Ok(Self {
            token: ConsistencyToken::sent(&parts.headers)?,
            wait: wait(&parts.headers)?,
            known: if_none_match(&parts.headers),
        })
    }
}

impl Reading {
    /// Waits until the read model has reached the token, and says how far it is. What is read after
    /// that is at least so fresh.
    ///
    /// # Errors
    /// When it does not get there in time; at once when the log does not have the token's event.
    pub(crate) async fn begin(&self, state: &ApiState, projection: &str) -> Result<Stamp, Problem> {
        self.begin_all(state, &[projection]).await
    }

    /// The position that the read model must have reached; none without a token.
    ///
    /// A token that was made up, or whose event was lost, is told apart here and now, by its digest:
    /// it never waits. A log that lost the event has another one at its position, or none yet.
    async fn wanted(&self, state: &ApiState) -> Result<Option<Position>, Problem> {
        let Some(token) = self.token else {
            return Ok(None);
        };
        let position = token.position();
        match state.log().anchor(position).await? {
            Some(here) if token.is_of(here) => Ok(Some(position)),
            _ => Err(ProblemCode::PositionUnknown.into()),
        }
    }

    async fn reach(
        &self,
        state: &ApiState,
        projection: &str,
        wanted: Option<Position>,
    ) -> Result<Stamp, Problem> {
        let freshness = state.freshness();
        let position = match wanted {
            None => freshness.position(projection),
            Some(wanted) => freshness
                .wait_for(projection, wanted, self.patience())
                .await
                .map_err(|behind| Problem::caused_by(ProblemCode::ProjectionBehind, behind))?,
        };
        Ok(Stamp {
            position,
            applied: self.token.and(self.wait),
        })
    }

    /// The same for an answer that is put together from several read models.
    ///
    /// # Errors
    /// As [`Reading::begin`].
    pub(crate) async fn begin_all(
        &self,
        state: &ApiState,
        projections: &[&str],
    ) -> Result<Stamp, Problem> {
        let wanted = self.wanted(state).await?;
        let mut stamp = Stamp {
            position: Position::START,
            applied: None,
        };
        for (index, projection) in projections.iter().enumerate() {
            let next = self.reach(state, projection, wanted).await?;
            stamp = if index == 0 || next.position < stamp.position {
                next
            } else {
                stamp
            };
        }
        Ok(stamp)
    }

    /// The freshness of what is read from the log itself: it is never behind, but a token can be of a
    /// part that was lost.
    ///
    /// # Errors
    /// When the log does not have the token's event.
    pub(crate) async fn of_log(&self, state: &ApiState) -> Result<Stamp, Problem> {
        self.wanted(state).await?;
        Ok(Stamp::of_log(state.log().head().await?))
    }

    /// How long the client is ready to wait.
    pub(crate) fn patience(&self) -> Duration {
        self.wait.unwrap_or(WAIT_MAX)
    }

    /// The answer of a single thing, or 304 when the client has it already.
    ///
    /// # Errors
    /// Never in practice: when the answer is no JSON.
    pub(crate) fn answer<T: Serialize>(
        &self,
        stamp: Stamp,
        body: &T,
        aggregate_type: &str,
        version: i64,
    ) -> Result<Response, Problem> {
        let bytes = to_bytes(body)?;
        let tag = EntityTag::of_answer(aggregate_type, version, &bytes);
        let mut response = if tag.is_among(&self.known) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            json_bytes(StatusCode::OK, bytes)
        };
        response.headers_mut().insert(header::ETAG, tag.header());
        stamp.put(&mut response);
        Ok(response)
    }
}

/// How fresh an answer is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) position: Position,
    applied: Option<Duration>,
}

impl Stamp {
    /// The freshness of what is read from the log itself.
    pub(crate) const fn of_log(position: Position) -> Self {
        Self {
            position,
            applied: None,
        }
    }

    /// The answer of a list.
    ///
    /// # Errors
    /// Never in practice: when the answer is no JSON.
    pub(crate) fn page<T: Serialize + ToSchema>(
        self,
        request: &PageRequest,
        page: &Page<T>,
        filter: &str,
    ) -> Result<Response, Problem> {
        let mut response = json(StatusCode::OK, page)?;
        if let Some((name, value)) = request.link(page, filter) {
            response.headers_mut().insert(name, value);
        }
        self.put(&mut response);
        Ok(response)
    }

    /// The answer of a list that is read on by position and not by cursor.
    ///
    /// # Errors
    /// Never in practice: when the answer is no JSON.
    pub(crate) fn list<T: Serialize>(self, body: &T) -> Result<Response, Problem> {
        let mut response = json(StatusCode::OK, body)?;
        self.put(&mut response);
        Ok(response)
    }

    fn put(self, response: &mut Response) {
        let headers = response.headers_mut();
        headers.insert(PROJECTION_POSITION, HeaderValue::from(self.position.get()));
        if let Some(value) = self
            .applied
            .and_then(|wait| HeaderValue::try_from(format!("wait={}", wait.as_secs())).ok())
        {
            headers.insert(PREFERENCE_APPLIED, value);
        }
    }
}

/// An answer in JSON.
///
/// # Errors
/// Never in practice: when `body` is no JSON.
pub(crate) fn json<T: Serialize>(status: StatusCode, body: &T) -> Result<Response, Problem> {
    to_bytes(body).map(|bytes| json_bytes(status, bytes))
}

fn to_bytes<T: Serialize>(body: &T) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(body).map_err(|error| Problem::caused_by(ProblemCode::Internal, error))
}

fn json_bytes(status: StatusCode, bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}
