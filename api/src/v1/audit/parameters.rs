//! What the queries of auditors say.

use crate::limits::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, POSITION_DIGITS_MAX};
use crate::openapi::values;
use crate::problem::{Place, Problem, ProblemCode};
use crate::query::QueryParameters;
use crate::state::ApiState;
use axum::extract::{FromRequestParts, Path};
use axum::http::Uri;
use axum::http::request::Parts;
use chrono::{DateTime, Utc};
use std::str::FromStr;
use touchline_domain::Kind;
use touchline_domain::audit::{Slice, SliceError};
use touchline_eventstore::Position;
use touchline_projections::history::{AsOf, ReadHistoryError};
use utoipa::IntoParams;
use uuid::Uuid;

/// A slice of the log, as the document describes it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "describes the parameters; `SliceRequest` reads them"
)]
pub(super) struct SliceParameters {
    /// Of aggregates of this type.
    #[param(inline, value_type = Option<values::AggregateType>, example = "post")]
    aggregate_type: Option<String>,
    /// Of the aggregates with this id.
    aggregate_id: Option<Uuid>,
    /// Of this event type, or of a context: `posts.` stands for all types that begin so.
    #[param(inline, value_type = Option<values::EventType>, example = "posts.post_published")]
    r#type: Option<String>,
    /// Made to happen by this account.
    actor: Option<Uuid>,
    /// Set in motion by the request with this correlation id.
    correlation_id: Option<Uuid>,
    /// Recorded at this time or later (RFC 3339).
    #[param(format = "date-time")]
    from: Option<String>,
    /// Recorded before this time (RFC 3339).
    #[param(format = "date-time")]
    to: Option<String>,
    /// After this position.
    #[param(inline, value_type = Option<values::Position>)]
    after: Option<String>,
    /// Up to this position, which included; the end of the log when it is not given.
    #[param(inline, value_type = Option<values::Position>)]
    until: Option<String>,
}

/// Whether personal fields are opened, as the document describes it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameter; `Parameters` reads it")]
pub(super) struct PersonalParameter {
    /// With what is personal in it; needs the permission `auditor_personal` too.
    #[param(default = false)]
    personal: Option<bool>,
}

/// How many events are wanted, as the document describes it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameter; `Parameters` reads it")]
pub(super) struct LimitParameter {
    /// How many events to answer at most.
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: Option<u16>,
}

/// The parameters of a query, read one by one.
pub(super) struct Parameters<'a>(QueryParameters<'a>);

impl<'a> Parameters<'a> {
    pub(super) fn of(uri: &'a Uri) -> Self {
        Self(QueryParameters::of(uri))
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).map(ToOwned::to_owned)
    }

    pub(super) fn value<T: FromStr>(
        &self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, Problem> {
        let parsed = self.0.get(name).map(str::parse).transpose();
        parsed.map_err(|_malformed| invalid(name, format!("must be {expected}")))
    }

    pub(super) fn position(&self, name: &str) -> Result<Option<Position>, Problem> {
        let expected = format!("a whole number of at most {POSITION_DIGITS_MAX} digits");
        let given = self.0.get(name);
        if given.is_some_and(|text| text.len() > POSITION_DIGITS_MAX) {
            return Err(invalid(name, format!("must be {expected}")));
        }
        self.value(name, &expected)
    }

    fn time(&self, name: &str) -> Result<Option<DateTime<Utc>>, Problem> {
        let Some(text) = self.0.get(name) else {
            return Ok(None);
        };
        let malformed = || invalid(name, "must be a time as in RFC 3339".to_owned());
        time(text).map(Some).ok_or_else(malformed)
    }

    pub(super) fn personal(&self) -> Result<bool, Problem> {
        let personal = self.value("personal", "true or false")?;
        Ok(personal.unwrap_or_default())
    }

    pub(super) fn limit(&self) -> Result<u16, Problem> {
        let expected = format!("a whole number from 1 to {PAGE_ITEMS_MAX}");
        let limit = self
            .value("limit", &expected)?
            .unwrap_or(PAGE_ITEMS_DEFAULT);
        if (1..=PAGE_ITEMS_MAX).contains(&limit) {
            Ok(limit)
        } else {
            Err(invalid("limit", format!("must be {expected}")))
        }
    }

    /// As of when a state is wanted: a number is a position, everything else a time.
    pub(super) fn as_of(&self) -> Result<AsOf, Problem> {
        let Some(text) = self.0.get("at") else {
            return Ok(AsOf::Now);
        };
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(self.position("at")?.map_or(AsOf::Now, AsOf::Position));
        }
        time(text).map(AsOf::Time).ok_or_else(|| {
            let detail = "must be a position, or a time as in RFC 3339";
            invalid("at", detail.to_owned())
        })
    }

    pub(super) fn slice(&self) -> Result<Slice, Problem> {
        let uuid = "a UUID";
        let slice = Slice {
            aggregate_type: self.text("aggregate_type"),
            aggregate_id: self.value("aggregate_id", uuid)?,
            event_type: self.text("type"),
            actor: self.value("actor", uuid)?,
            correlation_id: self.value("correlation_id", uuid)?,
            from: self.time("from")?,
            to: self.time("to")?,
            after: self.position("after")?.unwrap_or_default().get(),
            until: self.position("until")?.map(Position::get),
        };
        slice.check().map_err(ReadHistoryError::from)?;
        Ok(slice)
    }
}

/// The time written as `text` (RFC 3339); no other form, though chrono would read some.
fn time(text: &str) -> Option<DateTime<Utc>> {
    let text = Some(text).filter(|text| !text.contains(' '))?;
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some(time.to_utc())
}

fn invalid(name: &str, detail: String) -> Problem {
    let place = Place::Parameter(name.to_owned());
    Problem::at(ProblemCode::InvalidParameter, place, detail)
}

impl From<ReadHistoryError> for Problem {
    fn from(error: ReadHistoryError) -> Self {
        let at = |code, name: &str, detail: String| {
            Self::at(code, Place::Parameter(name.to_owned()), detail)
        };
        match error {
            ReadHistoryError::Slice(reason) => {
                let (code, name) = match &reason {
                    SliceError::UnknownAggregateType { .. } => {
                        (ProblemCode::InvalidParameter, "aggregate_type")
                    }
                    SliceError::UnknownEventType { .. } => (ProblemCode::InvalidParameter, "type"),
                    SliceError::BackwardsTime => (ProblemCode::BackwardsRange, "to"),
                    SliceError::BackwardsRange { .. } => (ProblemCode::BackwardsRange, "until"),
                };
                at(code, name, reason.to_string())
            }
            ReadHistoryError::BeyondHead { position, head } => Self::with_detail(
                ProblemCode::PositionBeyondEnd,
                format!("The log ends at position {head}, and {position} was asked for."),
            ),
            ReadHistoryError::Behind(_) => Self::caused_by(ProblemCode::ProjectionBehind, error),
            ReadHistoryError::Read(error) => error.into(),
            ReadHistoryError::Index(error) => error.into(),
            ReadHistoryError::Replay(_) | ReadHistoryError::Drift => {
                Self::caused_by(ProblemCode::Internal, error)
            }
        }
    }
}

/// The aggregate in the path. What is of no known type or has no id is not found.
pub(super) struct AggregateInPath {
    pub(super) kind: &'static Kind,
    pub(super) id: Uuid,
}

impl FromRequestParts<ApiState> for AggregateInPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let not_found = || Problem::new(ProblemCode::NotFound);
        let Path((kind, id)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|_not_two_texts| not_found())?;
        Ok(Self {
            kind: touchline_domain::kind(&kind).ok_or_else(not_found)?,
            id: id.parse().map_err(|_no_id| not_found())?,
        })
    }
}
