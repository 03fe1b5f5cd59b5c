//! What signing up and signing in send.

use crate::json::{FieldErrors, RequestBody};
use crate::problem::ProblemCode;
use serde::Deserialize;
use touchline_commands::Password;
use touchline_commands::identity::SignUp;
use touchline_domain::identity::{BirthYear, ExperienceYears, Permission, Role, RoleDetails};
use utoipa::ToSchema;

/// Somebody wants an account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SignUp)]
pub(super) struct SignUpBody {
    /// The address to sign in with. Two that differ in case only are the same.
    #[schema(
        format = "email",
        min_length = 3,
        max_length = 254,
        example = "ana@example.org"
    )]
    email: String,
    /// The password to sign in with: any characters.
    #[schema(
        format = "password",
        min_length = 12,
        max_length = 128,
        example = "correct horse battery"
    )]
    password: String,
    /// The public short name: letters a-z, digits, `_` and `.`, beginning with a letter or a digit.
    #[schema(min_length = 3, max_length = 30, example = "ana")]
    handle: String,
    /// The public full name.
    #[schema(min_length = 1, max_length = 80, example = "Ana Sousa")]
    display_name: String,
    /// The sport that the account is about.
    #[schema(min_length = 1, max_length = 40, example = "football")]
    sport: String,
    /// `male`, `female`, `other` or `undisclosed`.
    #[schema(schema_with = crate::openapi::gender)]
    gender: String,
    /// `player`, `fan`, `coach`, `academy`, `club` or `scout`.
    #[schema(schema_with = crate::openapi::role)]
    role: String,
    /// The year of birth. Players only, who must give it.
    #[schema(minimum = 1900, maximum = 2100)]
    birth_year: Option<i64>,
    /// What they play. Players only, who must give it.
    #[schema(min_length = 1, max_length = 60)]
    playing_role: Option<String>,
    /// `batsman`, `bowler`, `all_rounder` or `wicket_keeper`. Players of cricket only, who must give it.
    #[schema(schema_with = crate::openapi::cricket_role)]
    cricket_role: Option<String>,
    /// Years of experience. Coaches and scouts only, who must give it.
    #[schema(minimum = 0, maximum = 80)]
    experience_years: Option<i64>,
    /// Where it is. Academies and clubs only, which must give it.
    #[schema(min_length = 1, max_length = 120)]
    location: Option<String>,
    /// How to reach it. Academies and clubs only, which must give it.
    #[schema(min_length = 1, max_length = 200)]
    contact: Option<String>,
    /// For whom they look. Scouts only, who must give it.
    #[schema(min_length = 1, max_length = 120)]
    organization: Option<String>,
}

impl RequestBody for SignUpBody {
    type Value = SignUp;

    fn parse(mut self, errors: &mut FieldErrors) -> Option<SignUp> {
        let email = errors.text("email", &self.email);
        let password = errors.value("password", Password::parse(&self.password));
        let handle = errors.text("handle", &self.handle);
        let display_name = errors.text("display_name", &self.display_name);
        let sport = errors.text("sport", &self.sport);
        let gender = errors.text("gender", &self.gender);
        let role = self.role(errors);
        Some(SignUp {
            email: email?,
            password: password?,
            handle: handle?,
            display_name: display_name?,
            sport: sport?,
            gender: gender?,
            role: role?,
        })
    }
}

impl SignUpBody {
    fn role(&mut self, errors: &mut FieldErrors) -> Option<RoleDetails> {
        if self.role.parse::<Permission>().is_ok() {
            errors.refuse(ProblemCode::StaffRole);
            return None;
        }
        let role: Role = errors.text("role", &self.role)?;
        let details = match role {
            Role::Player => self.player(errors),
            Role::Fan => Some(RoleDetails::Fan),
            Role::Coach => self
                .experience(errors)
                .map(|experience_years| RoleDetails::Coach { experience_years }),
            Role::Academy => self
                .premises(errors)
                .map(|(location, contact)| RoleDetails::Academy { location, contact }),
            Role::Club => self
                .premises(errors)
                .map(|(location, contact)| RoleDetails::Club { location, contact }),
            Role::Scout => self.scout(errors),
        };
        self.report_what_is_left(role, errors);
        details
    }

    fn player(&mut self, errors: &mut FieldErrors) -> Option<RoleDetails> {
        let birth_year = errors
            .required("birth_year", self.birth_year.take())
            .and_then(|year| errors.value("birth_year", BirthYear::try_from(year)));
        let playing_role = text(errors, "playing_role", &mut self.playing_role);
        let cricket_role = errors.optional("cricket_role", self.cricket_role.take().as_deref());
        Some(RoleDetails::Player {
            birth_year: birth_year?,
            playing_role: playing_role?,
            cricket_role: cricket_role?,
        })
    }

    fn scout(&mut self, errors: &mut FieldErrors) -> Option<RoleDetails> {
        let organization = text(errors, "organization", &mut self.organization);
        let experience_years = self.experience(errors);
        Some(RoleDetails::Scout {
            organization: organization?,
            experience_years: experience_years?,
        })
    }

    fn experience(&mut self, errors: &mut FieldErrors) -> Option<ExperienceYears> {
        let years = errors.required("experience_years", self.experience_years.take())?;
        errors.value("experience_years", ExperienceYears::try_from(years))
    }

    fn premises(
        &mut self,
        errors: &mut FieldErrors,
    ) -> Option<(
        touchline_domain::identity::Address,
        touchline_domain::identity::Contact,
    )> {
        let location = text(errors, "location", &mut self.location);
        let contact = text(errors, "contact", &mut self.contact);
        Some((location?, contact?))
    }

    /// Whatever the role has not taken is none of its fields.
    fn report_what_is_left(&self, role: Role, errors: &mut FieldErrors) {
        let left = [
            ("birth_year", self.birth_year.is_some()),
            ("playing_role", self.playing_role.is_some()),
            ("cricket_role", self.cricket_role.is_some()),
            ("experience_years", self.experience_years.is_some()),
            ("location", self.location.is_some()),
            ("contact", self.contact.is_some()),
            ("organization", self.organization.is_some()),
        ];
        for (name, _) in left.into_iter().filter(|(_, is_left)| *is_left) {
            errors.report(name, "not-for-role", format!("is not a field of a {role}"));
        }
    }
}

/// A text that must be given.
fn text<T: std::str::FromStr<Err = touchline_domain::value::ValueError>>(
    errors: &mut FieldErrors,
    name: &str,
    field: &mut Option<String>,
) -> Option<T> {
    let text = errors.required(name, field.take())?;
    errors.text(name, &text)
}

/// Somebody shows that an account is theirs.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SignIn)]
pub(super) struct SignInBody {
    /// The e-mail address of the account.
    #[schema(format = "email", example = "ana@example.org")]
    pub(super) email: String,
    /// Its password.
    #[schema(format = "password", example = "correct horse battery")]
    pub(super) password: String,
}

impl RequestBody for SignInBody {
    type Value = Self;

    /// What could never have been an address or a password is simply wrong, and told no better.
    fn parse(self, _: &mut FieldErrors) -> Option<Self> {
        Some(self)
    }
}
