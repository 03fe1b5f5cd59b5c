//! What happens to a profile, and between two people.

use super::{Bio, Locale, Location, TimeZone};
use crate::clock::Timestamp;
use crate::event::same_shape;
use crate::id::UserId;
use crate::identity::DisplayName;
use crate::personal::Personal;
use serde::{Deserialize, Serialize};

/// A person changed what others see of them. Only the fields that changed are present; an empty
/// text clears its field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProfileChanged {
    /// Whose profile.
    pub user_id: UserId,
    /// The new full name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<Personal<DisplayName>>,
    /// The new text about oneself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bio: Option<Personal<Bio>>,
    /// The new place, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Personal<Location>>,
    /// The new language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<Personal<Locale>>,
    /// The new IANA time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<Personal<TimeZone>>,
    /// When.
    pub changed_at: Timestamp,
}

/// One person began to follow another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserFollowed {
    /// Who follows.
    pub follower_id: UserId,
    /// Who is followed.
    pub followee_id: UserId,
    /// When.
    pub followed_at: Timestamp,
}

/// One person stopped following another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserUnfollowed {
    /// Who followed.
    pub follower_id: UserId,
    /// Who was followed.
    pub followee_id: UserId,
    /// When.
    pub unfollowed_at: Timestamp,
}

crate::events! {
    /// What happens to a profile.
    pub enum ProfileEvent {
        "users.profile_changed" v "2" => ProfileChanged
            personal(user_id: display_name, bio, location, locale, time_zone)
            from "1" by same_shape,
    }
}

impl FollowEvent {
    /// Who follows or did, and who is followed or was.
    #[must_use]
    pub const fn pair(&self) -> (UserId, UserId) {
        match self {
            Self::UserFollowed(event) => (event.follower_id, event.followee_id),
            Self::UserUnfollowed(event) => (event.follower_id, event.followee_id),
        }
    }
}

crate::events! {
    /// What happens between a follower and the one followed.
    pub enum FollowEvent {
        "users.user_followed" v "1" => UserFollowed,
        "users.user_unfollowed" v "1" => UserUnfollowed,
    }
}
