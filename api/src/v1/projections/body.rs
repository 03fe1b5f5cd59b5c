//! What the data team sends.

use crate::json::{FieldErrors, RequestBody};
use serde::Deserialize;
use touchline_projections::reason::{Reason, ReasonError};
use utoipa::ToSchema;

/// Somebody gives parked events up.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DiscardParked)]
pub(super) struct DiscardBody {
    /// Why; kept for ever, with the account that did it.
    #[schema(
        min_length = 1,
        max_length = 500,
        example = "a test account, made by a broken build"
    )]
    reason: String,
}

impl RequestBody for DiscardBody {
    type Value = Reason;

    fn parse(self, errors: &mut FieldErrors) -> Option<Reason> {
        let reason = parse(&self.reason, errors)?;
        if reason.is_empty() {
            errors.report("reason", "empty", "must not be empty");
            return None;
        }
        Some(reason)
    }
}

/// Why somebody does something to a read model, for others.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Reason)]
pub(super) struct ReasonBody {
    /// Why.
    #[serde(default)]
    #[schema(max_length = 500, example = "looking at something")]
    reason: String,
}

impl RequestBody for ReasonBody {
    type Value = Reason;

    fn parse(self, errors: &mut FieldErrors) -> Option<Reason> {
        parse(&self.reason, errors)
    }
}

fn parse(reason: &str, errors: &mut FieldErrors) -> Option<Reason> {
    let reason: Result<Reason, ReasonError> = reason.parse();
    reason
        .map_err(|error| {
            let code = match error {
                ReasonError::TooLong => "too-long",
                ReasonError::ControlCharacter => "malformed",
            };
            errors.report("reason", code, error.to_string());
        })
        .ok()
}
