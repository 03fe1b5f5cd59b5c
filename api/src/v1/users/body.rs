//! What a change of a profile sends.

use crate::json::{Change, FieldErrors, RequestBody};
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
    #[schema(value_type = String, required = false, min_length = 1, max_length = 80, example = "Ana Sousa")]
    display_name: Change<String>,
    /// What one tells about oneself; null clears it.
    #[serde(default)]
    #[schema(value_type = Option<String>, required = false, max_length = 500)]
    bio: Change<String>,
    /// Where one is, in words; null clears it.
    #[serde(default)]
    #[schema(value_type = Option<String>, required = false, max_length = 120, example = "Lisbon")]
    location: Change<String>,
    /// The language, as a BCP 47 tag.
    #[serde(default)]
    #[schema(value_type = String, required = false, min_length = 2, max_length = 35, example = "pt-PT")]
    locale: Change<String>,
    /// The time zone, by its IANA name.
    #[serde(default)]
    #[schema(value_type = String, required = false, min_length = 2, max_length = 64, example = "Europe/Lisbon")]
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
