//! What the data team sends.

use crate::json::{FieldErrors, RequestBody};
use serde::Deserialize;
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
    type Value = String;

    fn parse(self, errors: &mut FieldErrors) -> Option<String> {
        let length = self.reason.trim().chars().count();
        if (1..=500).contains(&length) {
            Some(self.reason)
        } else {
            errors.report("reason", "length", "must have 1 to 500 characters");
            None
        }
    }
}
