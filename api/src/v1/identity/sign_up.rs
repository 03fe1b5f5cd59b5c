//! How signing up is described: a shape for each role, told apart by `role`.

use super::body::SignUpBody;
use crate::openapi::values;
use std::borrow::Cow;
use touchline_domain::identity::Role;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    AdditionalProperties, Discriminator, Object, OneOfBuilder, Ref, Schema,
};
use utoipa::{PartialSchema, ToSchema};

/// Somebody wants an account: with the fields of everybody and of their role, and no others.
pub(super) enum SignUp {}

/// The fields of a role: those that it must give, and those that it may.
const fn fields(role: Role) -> (&'static [&'static str], &'static [&'static str]) {
    match role {
        Role::Player => (&["birth_year", "playing_role"], &["cricket_role"]),
        Role::Fan => (&[], &[]),
        Role::Coach => (&["experience_years"], &[]),
        Role::Academy | Role::Club => (&["location", "contact"], &[]),
        Role::Scout => (&["organization", "experience_years"], &[]),
    }
}

/// The name of the shape of a role.
const fn name(role: Role) -> &'static str {
    match role {
        Role::Player => "SignUpPlayer",
        Role::Fan => "SignUpFan",
        Role::Coach => "SignUpCoach",
        Role::Academy => "SignUpAcademy",
        Role::Club => "SignUpClub",
        Role::Scout => "SignUpScout",
    }
}

/// The shape of a role, cut from that of all fields.
fn shape(role: Role, all: &Object) -> Object {
    let (must, may) = fields(role);
    let of_some_role = |field: &str| {
        Role::ALL.iter().any(|other| {
            let (must, may) = fields(*other);
            must.contains(&field) || may.contains(&field)
        })
    };
    let mut shape = all.clone();
    shape.properties.retain(|field, _| {
        let field = field.as_str();
        must.contains(&field) || may.contains(&field) || !of_some_role(field)
    });
    let everybodys = shape.properties.keys().filter(|field| !of_some_role(field));
    shape.required = everybodys.cloned().collect();
    shape
        .required
        .extend(must.iter().map(|&field| field.to_owned()));
    if let Some(one) = shape.properties.get_mut("role") {
        let mut word = values::words([role.as_str()].into_iter());
        word = word.description(Some("What the account is in the community."));
        *one = word.into();
    }
    shape.description = Some(format!("Somebody wants an account as {role}."));
    shape.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    shape
}

impl PartialSchema for SignUp {
    fn schema() -> RefOr<Schema> {
        let mut discriminator = Discriminator::new("role");
        let mut shapes = OneOfBuilder::new()
            .description(Some("Somebody wants an account: a shape for each role."));
        for role in Role::ALL {
            let shape = Ref::from_schema_name(name(*role));
            let location = shape.ref_location.clone();
            discriminator.mapping.insert(role.to_string(), location);
            shapes = shapes.item(shape);
        }
        shapes.discriminator(Some(discriminator)).into()
    }
}

impl ToSchema for SignUp {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("SignUp")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        SignUpBody::schemas(schemas);
        if let RefOr::T(Schema::Object(all)) = SignUpBody::schema() {
            schemas.extend(
                Role::ALL
                    .iter()
                    .map(|role| (name(*role).to_owned(), RefOr::T(shape(*role, &all).into()))),
            );
        }
    }
}
