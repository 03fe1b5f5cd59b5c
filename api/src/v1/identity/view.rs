//! What accounts and sessions look like.

use crate::openapi::values;
use chrono::{DateTime, Utc};
use serde::Serialize;

use touchline_domain::identity::{Gender, Registration, RoleDetails};
use utoipa::ToSchema;
use uuid::Uuid;

/// One's own account.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Account)]
pub(super) struct AccountView {
    /// The account, and the person.
    user_id: Uuid,
    /// The address that signs in.
    #[schema(value_type = values::Email)]
    email: String,
    /// The public short name.
    #[schema(value_type = values::Handle)]
    handle: String,
    /// The full name given at sign-up; the profile may have another by now.
    #[schema(value_type = values::DisplayName)]
    display_name: String,
    /// The sport that the account is about.
    #[schema(value_type = values::Sport)]
    sport: String,
    /// As told by the person.
    #[schema(value_type = values::Gender)]
    gender: &'static str,
    /// The role.
    #[schema(value_type = values::Role)]
    role: &'static str,
    /// The fields of the role.
    role_details: RoleDetailsView,
    /// `active`, or `pending_approval` while staff have not approved the role.
    #[schema(value_type = values::AccountStatus)]
    status: &'static str,
    /// What it may do as staff; empty for nearly everybody.
    #[schema(value_type = Vec<values::Permission>)]
    permissions: Vec<&'static str>,
    /// When it was registered.
    registered_at: DateTime<Utc>,
}

impl From<&Registration> for AccountView {
    fn from(account: &Registration) -> Self {
        Self {
            user_id: account.user_id.uuid(),
            email: account.email.to_string(),
            handle: account.handle.to_string(),
            display_name: account.display_name.to_string(),
            sport: account.sport.to_string(),
            gender: account
                .gender
                .known()
                .unwrap_or(&Gender::Undisclosed)
                .as_str(),
            role: account.role.as_str(),
            role_details: account
                .role_details
                .known()
                .map(RoleDetailsView::of_oneself)
                .unwrap_or_default(),
            status: account.status.as_str(),
            permissions: account.permissions.iter().map(|it| it.as_str()).collect(),
            registered_at: account.registered_at,
        }
    }
}

/// That a person is forgotten.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AccountErased)]
pub(super) struct ErasedView {
    /// Who.
    pub(super) user_id: Uuid,
    /// Always true.
    pub(super) erased: bool,
}

/// The fields of a role; those of other roles are absent.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = RoleDetails)]
pub(crate) struct RoleDetailsView {
    /// The year of birth of a player; shown to themselves only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<values::BirthYear>)]
    birth_year: Option<u16>,
    /// What a player plays.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<values::PlayingRole>)]
    playing_role: Option<String>,
    /// What a player plays in cricket.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<values::CricketRole>)]
    cricket_role: Option<&'static str>,
    /// Years of experience of a coach or a scout.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<values::ExperienceYears>)]
    experience_years: Option<u8>,
    /// Where an academy or a club is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<values::Address>)]
    location: Option<String>,
    /// How to reach an academy or a club.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<values::Contact>)]
    contact: Option<String>,
    /// For whom a scout looks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<values::Organization>)]
    organization: Option<String>,
}

impl RoleDetailsView {
    /// As the person sees it.
    pub(crate) fn of_oneself(role: &RoleDetails) -> Self {
        match role {
            RoleDetails::Player {
                birth_year,
                playing_role,
                cricket_role,
            } => Self {
                birth_year: Some(birth_year.get()),
                playing_role: Some(playing_role.to_string()),
                cricket_role: cricket_role.map(touchline_domain::identity::CricketRole::as_str),
                ..Self::default()
            },
            RoleDetails::Fan => Self::default(),
            RoleDetails::Coach { experience_years } => Self {
                experience_years: Some(experience_years.get()),
                ..Self::default()
            },
            RoleDetails::Academy { location, contact }
            | RoleDetails::Club { location, contact } => Self {
                location: Some(location.to_string()),
                contact: Some(contact.to_string()),
                ..Self::default()
            },
            RoleDetails::Scout {
                organization,
                experience_years,
            } => Self {
                organization: Some(organization.to_string()),
                experience_years: Some(experience_years.get()),
                ..Self::default()
            },
        }
    }

    /// As others see it.
    pub(crate) fn of_another(role: &RoleDetails) -> Self {
        Self {
            birth_year: None,
            ..Self::of_oneself(role)
        }
    }
}

/// An access token.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub(super) struct SessionView {
    /// Goes into `Authorization: Bearer …`.
    #[schema(value_type = values::AccessToken)]
    pub(super) access_token: String,
    /// `Bearer`.
    pub(super) token_type: &'static str,
    /// For how many seconds it is good.
    #[schema(example = 600)]
    pub(super) expires_in: u64,
    /// Whose it is.
    pub(super) user_id: Uuid,
}

/// A JSON Web Key Set (RFC 7517, 5).
#[derive(Serialize, ToSchema)]
pub(super) struct JsonWebKeySet {
    /// The public keys whose signatures are good now.
    keys: Vec<JsonWebKey>,
}

/// An Ed25519 public key (RFC 8037, 2).
#[derive(Serialize, ToSchema)]
struct JsonWebKey {
    /// The kind of key: `OKP`.
    kty: String,
    /// The curve: `Ed25519`.
    crv: String,
    /// The key.
    x: String,
    /// Its name, as in the head of a token.
    kid: String,
    /// The algorithm: `EdDSA`.
    alg: String,
    /// What it is for: `sig`.
    #[serde(rename = "use")]
    purpose: String,
}
