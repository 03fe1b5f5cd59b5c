//! What profiles and follows look like.

use crate::openapi::values;
use crate::v1::identity::RoleDetailsView;
use chrono::{DateTime, Utc};
use serde::Serialize;

use touchline_domain::id::UserId;
use touchline_domain::identity::Registration;
use touchline_domain::users::Profile;
use touchline_projections::users::{FollowListed, Relation, User};
use utoipa::ToSchema;
use uuid::Uuid;

/// A person or an organisation, as the viewer sees them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub(super) struct UserView {
    /// Who.
    user_id: Uuid,
    /// The public short name.
    #[schema(value_type = values::Handle)]
    handle: String,
    /// The public full name.
    #[schema(value_type = values::DisplayName)]
    display_name: String,
    /// The sport that the account is about.
    #[schema(value_type = values::Sport)]
    sport: String,
    /// As told by the person.
    #[schema(value_type = values::Gender)]
    gender: String,
    /// The role.
    #[schema(value_type = values::Role)]
    role: &'static str,
    /// The fields of the role.
    role_details: RoleDetailsView,
    /// What they tell about themselves; may be empty.
    #[schema(value_type = values::Bio)]
    bio: String,
    /// Where they are, in words; may be empty.
    #[schema(value_type = values::Location)]
    location: String,
    /// The language; shown to themselves only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<values::Locale>)]
    locale: Option<String>,
    /// The IANA time zone; shown to themselves only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<values::TimeZone>)]
    time_zone: Option<String>,
    /// `active`, or `pending_approval` while staff have not approved the role.
    #[schema(value_type = values::AccountStatus)]
    status: String,
    /// When the account was registered.
    registered_at: DateTime<Utc>,
    /// How many follow them.
    follower_count: i64,
    /// How many they follow.
    following_count: i64,
    /// How the viewer and they stand to each other; absent for oneself and for anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    relation: Option<RelationView>,
}

/// How the viewer and another stand to each other.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = Relation)]
struct RelationView {
    /// The viewer follows the other.
    following: bool,
    /// The other follows the viewer.
    followed_by: bool,
}

impl From<Relation> for RelationView {
    fn from(relation: Relation) -> Self {
        Self {
            following: relation.following,
            followed_by: relation.followed_by,
        }
    }
}

impl UserView {
    pub(super) fn new(user: User, viewer: Option<UserId>, relation: Option<Relation>) -> Self {
        let is_oneself = viewer == Some(user.user_id);
        Self {
            user_id: user.user_id.uuid(),
            handle: user.handle,
            display_name: user.display_name,
            sport: user.sport,
            gender: user.gender,
            role: user.role.role().as_str(),
            role_details: if is_oneself {
                RoleDetailsView::of_oneself(&user.role)
            } else {
                RoleDetailsView::of_another(&user.role)
            },
            bio: user.bio,
            location: user.location,
            locale: user.locale.filter(|_| is_oneself),
            time_zone: user.time_zone.filter(|_| is_oneself),
            status: user.status,
            registered_at: user.registered_at,
            follower_count: user.follower_count,
            following_count: user.following_count,
            relation: relation.map(RelationView::from),
        }
    }
}

/// One's profile right after a change.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Profile)]
pub(super) struct ProfileView {
    /// Who.
    user_id: Uuid,
    /// The public short name.
    #[schema(value_type = values::Handle)]
    handle: String,
    /// The public full name.
    #[schema(value_type = values::DisplayName)]
    display_name: String,
    /// What one tells about oneself; may be empty.
    #[schema(value_type = values::Bio)]
    bio: String,
    /// Where one is, in words; may be empty.
    #[schema(value_type = values::Location)]
    location: String,
    /// The language; null when never told.
    #[schema(value_type = Option<values::Locale>)]
    locale: Option<String>,
    /// The IANA time zone; null when never told.
    #[schema(value_type = Option<values::TimeZone>)]
    time_zone: Option<String>,
}

impl ProfileView {
    pub(super) fn new(account: &Registration, profile: &Profile) -> Self {
        Self {
            user_id: account.user_id.uuid(),
            handle: account.handle.to_string(),
            display_name: profile
                .display_name
                .as_ref()
                .unwrap_or(&account.display_name)
                .to_string(),
            bio: profile.bio.to_string(),
            location: profile.location.to_string(),
            locale: profile.locale.as_ref().map(ToString::to_string),
            time_zone: profile.time_zone.as_ref().map(ToString::to_string),
        }
    }
}

/// Whether one follows somebody.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Follow)]
pub(super) struct FollowView {
    /// Whom.
    pub(super) user_id: Uuid,
    /// Whether one follows them now.
    pub(super) following: bool,
    /// Since when; null when one does not.
    pub(super) followed_at: Option<DateTime<Utc>>,
    /// How many follow them, this follow included.
    pub(super) follower_count: i64,
}

/// Somebody in a list of followers or followed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FollowListed)]
pub(super) struct FollowListedView {
    /// Who.
    user_id: Uuid,
    /// The public short name.
    #[schema(value_type = values::Handle)]
    handle: String,
    /// The public full name.
    #[schema(value_type = values::DisplayName)]
    display_name: String,
    /// The role.
    #[schema(value_type = values::Role)]
    role: String,
    /// The sport that the account is about.
    #[schema(value_type = values::Sport)]
    sport: String,
    /// Since when the one follows the other.
    followed_at: DateTime<Utc>,
    /// How the viewer and this person stand to each other; absent for anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    relation: Option<RelationView>,
}

impl FollowListedView {
    pub(super) fn new(row: FollowListed, viewer: Option<UserId>) -> Self {
        Self {
            user_id: row.user_id.uuid(),
            handle: row.handle,
            display_name: row.display_name,
            role: row.role,
            sport: row.sport,
            followed_at: row.followed_at,
            relation: viewer.map(|_| row.relation.into()),
        }
    }
}
