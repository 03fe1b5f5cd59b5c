//! What a change of a profile sends.

use crate::json::{Change, FieldErrors, RequestBody};
use crate::openapi::values;
use serde::Deserialize;
use touchline_commands::users::ProfileChanges;
use utoipa::ToSchema;

/// What a profile is to say. Absent fields stay as they are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProfileChange)]
pub(super) struct ChangeProfileBody {
    /// The public full name.
    #[serde(default)]
    #[schema(value_type = values::DisplayName, required = false)]
    display_name: Change<String>,
    /// What one tells about oneself; null clears it.
    #[serde(default)]
    #[schema(value_type = Option<values::Bio>, required = false)]
    bio: Change<String>,
    /// Where one is, in words; null clears it.
    #[serde(default)]
    #[schema(value_type = Option<values::Location>, required = false)]
    location: Change<String>,
    /// The language, as a BCP 47 tag.
    #[serde(default)]
    #[schema(value_type = values::Locale, required = false)]
    locale: Change<String>,
    /// The time zone, by its IANA name.
    #[serde(default)]
    #[schema(value_type = values::TimeZone, required = false)]
    time_zone: Change<String>,
}

impl RequestBody for ChangeProfileBody {
    type Value = ProfileChanges;

    fn parse(self, errors: &mut FieldErrors) -> Option<ProfileChanges> {
        let display_name = errors.settable("display_name", &self.display_name);
        let bio = errors.clearable("bio", &self.bio);
        let location = errors.clearable("location", &self.location);
        let locale = errors.settable("locale", &self.locale);
        let time_zone = errors.settable("time_zone", &self.time_zone);
        Some(ProfileChanges {
            display_name: display_name?,
            bio: bio?,
            location: location?,
            locale: locale?,
            time_zone: time_zone?,
        })
    }
}
