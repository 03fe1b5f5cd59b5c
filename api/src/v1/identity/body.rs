//! What signing up and signing in send.

use crate::json::{Change, FieldErrors, RequestBody};
use crate::openapi::values;
use crate::problem::ProblemCode;
use serde::Deserialize;
use touchline_commands::Password;
use touchline_commands::identity::SignUp;
use touchline_domain::identity::{BirthYear, ExperienceYears, Permission, Role, RoleDetails};
use utoipa::ToSchema;

/// Somebody wants an account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SignUpBody {
    /// The address to sign in with.
    #[schema(value_type = values::Email)]
    email: String,
    /// The password to sign in with.
    #[schema(value_type = values::Password)]
    password: String,
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
    /// What the account is in the community.
    #[schema(value_type = values::Role)]
    role: String,
    /// The year of birth.
    #[serde(default)]
    #[schema(value_type = values::BirthYear)]
    birth_year: Change<i64>,
    /// What they play.
    #[serde(default)]
    #[schema(value_type = values::PlayingRole)]
    playing_role: Change<String>,
    /// What they play in cricket: to be given if their sport is cricket, and only then.
    #[serde(default)]
    #[schema(value_type = Option<values::CricketRole>)]
    cricket_role: Change<String>,
    /// Years of experience.
    #[serde(default)]
    #[schema(value_type = values::ExperienceYears)]
    experience_years: Change<i64>,
    /// Where it is.
    #[serde(default)]
    #[schema(value_type = values::Address)]
    location: Change<String>,
    /// How to reach it.
    #[serde(default)]
    #[schema(value_type = values::Contact)]
    contact: Change<String>,
    /// For whom they look.
    #[serde(default)]
    #[schema(value_type = values::Organization)]
    organization: Change<String>,
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
            .required("birth_year", self.birth_year.take().set())
            .and_then(|year| errors.value("birth_year", BirthYear::try_from(year)));
        let playing_role = text(errors, "playing_role", &mut self.playing_role);
        let cricket_role =
            errors.optional("cricket_role", self.cricket_role.take().set().as_deref());
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
        let years = errors.required("experience_years", self.experience_years.take().set())?;
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
            ("birth_year", self.birth_year.is_given()),
            ("playing_role", self.playing_role.is_given()),
            ("cricket_role", self.cricket_role.is_given()),
            ("experience_years", self.experience_years.is_given()),
            ("location", self.location.is_given()),
            ("contact", self.contact.is_given()),
            ("organization", self.organization.is_given()),
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
    field: &mut Change<String>,
) -> Option<T> {
    let text = errors.required(name, field.take().set())?;
    errors.text(name, &text)
}

/// Somebody shows that an account is theirs.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SignIn)]
pub(super) struct SignInBody {
    /// The e-mail address of the account.
    #[schema(example = "ana@example.org")]
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
