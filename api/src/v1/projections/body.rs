//! What the data team sends.

use crate::json::{FieldErrors, RequestBody};
use crate::openapi::values;
use serde::Deserialize;
use touchline_domain::reason::Reason;
use utoipa::ToSchema;

/// Somebody gives parked events up.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DiscardParked)]
pub(super) struct DiscardBody {
    /// Why; kept for ever, with the account that did it.
    #[schema(value_type = values::GivenReason)]
    reason: String,
}

impl RequestBody for DiscardBody {
    type Value = Reason;

    fn parse(self, errors: &mut FieldErrors) -> Option<Reason> {
        let reason: Reason = errors.text("reason", &self.reason)?;
        errors.value("reason", reason.given())
    }
}

/// Why somebody does something to a read model, for others.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReasonGiven)]
pub(super) struct ReasonBody {
    /// Why.
    #[serde(default)]
    #[schema(value_type = values::Reason, required = false)]
    reason: String,
}

impl RequestBody for ReasonBody {
    type Value = Reason;

    fn parse(self, errors: &mut FieldErrors) -> Option<Reason> {
        errors.text("reason", &self.reason)
    }
}
