//! How the values of requests and answers are described: each has its limits and its form from where
//! they are checked, and is a schema of its own to which fields refer.

use crate::consistency::ConsistencyToken as Token;
use crate::limits;
use touchline_commands::Password as PasswordValue;
use touchline_domain::reason::Reason as ReasonValue;
use touchline_domain::{CATALOGUE, identity, posts, users};
use touchline_projections::registry;
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, Object, ObjectBuilder, Schema, Type,
};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

/// Declares schemas: the name under which it stands in the document, what it means, and how it is
/// built. What it means is its description too.
macro_rules! schemas {
    ($($(#[doc = $doc:literal])+ $name:ident = $schema:expr;)+) => {$(
        $(#[doc = $doc])+
        pub(crate) enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let schema: ObjectBuilder = $schema;
                let description = concat!($($doc),+).trim_start();
                RefOr::T(schema.description(Some(description)).into())
            }
        }

        impl ToSchema for $name {}
    )+};
}

/// The schema of a text value of the domain.
macro_rules! value {
    ($value:ty) => {
        text(<$value>::MIN_CHARS, <$value>::MAX_CHARS).pattern(Some(<$value>::PATTERN))
    };
}

/// The schema of a closed choice of the domain.
macro_rules! choice {
    ($value:ty) => {
        words(<$value>::ALL.iter().map(|choice| choice.as_str()))
    };
}

schemas! {
    /// An e-mail address. Two that differ in case only are the same.
    Email = value!(identity::Email)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Email)))
        .examples(["ana@example.org"]);
    /// A password: any characters.
    Password = text(PasswordValue::MIN_CHARS, PasswordValue::MAX_CHARS)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Password)))
        .examples(["correct horse battery"]);
    /// The public short name of a person: letters a-z, digits, `_` and `.`, beginning with a letter or
    /// a digit. Capitals become small.
    Handle = value!(identity::Handle).examples(["ana"]);
    /// The public full name of a person, one line.
    DisplayName = value!(identity::DisplayName).examples(["Ana Sousa"]);
    /// A sport: words of letters and digits. They become small, joined by `-`.
    Sport = value!(identity::Sport).examples(["football"]);
    /// What a player plays, in their own word.
    PlayingRole = value!(identity::PlayingRole).examples(["striker"]);
    /// Where an academy or a club is, in words.
    Address = value!(identity::Address).examples(["Lisbon"]);
    /// How to reach an academy or a club.
    Contact = value!(identity::Contact).examples(["office@example.org"]);
    /// For whom a scout looks.
    Organization = value!(identity::Organization).examples(["Sporting"]);
    /// The year somebody was born in.
    BirthYear = number(identity::BirthYear::MIN.into(), identity::BirthYear::MAX.into());
    /// For how many years somebody has done their work.
    ExperienceYears = number(
        identity::ExperienceYears::MIN.into(),
        identity::ExperienceYears::MAX.into(),
    );
    /// As told by the person.
    Gender = choice!(identity::Gender);
    /// What an account is in the community.
    Role = choice!(identity::Role);
    /// What a cricketer plays.
    CricketRole = choice!(identity::CricketRole);
    /// Whether an account may act: `pending_approval` while staff have not approved its role.
    AccountStatus = choice!(identity::AccountStatus);
    /// What staff may do. None includes another.
    Permission = choice!(identity::Permission);
    /// What somebody tells about themselves.
    Bio = value!(users::Bio);
    /// Where somebody is, in words.
    Location = value!(users::Location).examples(["Lisbon"]);
    /// A language, as a BCP 47 tag.
    Locale = value!(users::Locale).examples(["pt-PT"]);
    /// A time zone, by its name in the IANA database.
    TimeZone = value!(users::TimeZone).examples(["Europe/Lisbon"]);
    /// The text of a post.
    Caption = value!(posts::Caption).examples(["Argentina 3–3 France, 4–2 on penalties"]);
    /// What a post is about, in the author's word.
    Category = value!(posts::Category).examples(["match"]);
    /// What a post was written on.
    Device = value!(posts::Device);
    /// A hashtag, with or without its `#`: letters, marks and digits of any script, and `_`. It becomes
    /// small, and loses the `#`.
    Tag = value!(posts::Tag).examples(["worldcup"]);
    /// Who may see a post, besides its author.
    Visibility = choice!(posts::Visibility);
    /// The text of a comment.
    CommentText = value!(posts::CommentText).examples(["What a match!"]);
    /// Why staff did something.
    Reason = value!(ReasonValue).examples(["looking at something"]);
    /// Why staff did something, where they must say.
    GivenReason = value!(ReasonValue)
        .min_length(Some(1))
        .pattern(Some(ReasonValue::GIVEN_PATTERN))
        .examples(["a test account, made by a broken build"]);
    /// A place in the log: a whole number as text, since a JavaScript number is not exact beyond 2⁵³.
    Position = text(1, limits::POSITION_DIGITS_MAX)
        .pattern(Some("^[0-9]+$"))
        .examples(["12"]);
    /// Where an event stands in the log, or how many there are: a whole number from 1, as text.
    EventPosition = text(1, limits::POSITION_DIGITS_MAX)
        .pattern(Some("^0*[1-9][0-9]*$"))
        .examples(["12"]);
    /// A hash (SHA-256), in hexadecimal digits.
    Hash = text(64, 64).pattern(Some("^[0-9a-f]+$"));
    /// Where the next page of a list begins. Opaque.
    Cursor = text(1, limits::CURSOR_BYTES_MAX).pattern(Some("^[A-Za-z0-9_-]+$"));
    /// What a write answers, and a read sends to see that write. Opaque.
    ConsistencyToken = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(Token::PATTERN));
    /// An access token (RFC 9068). Opaque.
    AccessToken = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$"));
    /// The client's name for a request: visible ASCII, without white space around it.
    IdempotencyKey = text(1, limits::IDEMPOTENCY_KEY_CHARS_MAX)
        .pattern(Some(r"^[\x21-\x7E]([\t\x20-\x7E]*[\x21-\x7E])?$"));
    /// The version of something, as an entity tag (RFC 9110, 8.8.3).
    EntityTag = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(r#"^"[\t\x20\x21\x23-\x7E]*"$"#))
        .examples([r#""post-3""#]);
    /// The version that something must have, or `*` for any.
    IfMatch = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(r#"^(\*|"[\t\x20\x21\x23-\x7E]*")$"#))
        .examples(["*"]);
    /// The type of an aggregate.
    AggregateType = words(CATALOGUE.iter().map(|kind| kind.aggregate_type));
    /// A type of event, or a context with a dot behind it, which stands for all types that begin so.
    EventType = event_types().examples(["posts.post_published"]);
    /// The name of a read model.
    ProjectionName = words(registry::all().iter().map(|model| model.name()));
    /// How an export is written.
    ExportFormat = words(["ndjson", "csv"].into_iter()).default(Some("ndjson".into()));
    /// The order of a feed.
    FeedOrder = words(["newest"].into_iter()).default(Some("newest".into()));
    /// An object with any fields.
    AnyObject = ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(AdditionalProperties::FreeForm(true)));
}

/// When something was: a position in the log, or a time.
pub(crate) enum PositionOrTime {}

impl PartialSchema for PositionOrTime {
    fn schema() -> RefOr<Schema> {
        AnyOfBuilder::new()
            .item(Position::schema())
            .item(time())
            .description(Some("A position, or a time (RFC 3339)."))
            .into()
    }
}

impl ToSchema for PositionOrTime {}

/// A person, by id or by handle.
pub(crate) enum UserName {}

impl PartialSchema for UserName {
    fn schema() -> RefOr<Schema> {
        let id = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)));
        AnyOfBuilder::new()
            .item(id)
            .item(Handle::schema())
            .description(Some("The id or the handle of a person."))
            .into()
    }
}

impl ToSchema for UserName {}

/// A time (RFC 3339).
fn time() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .build()
}

/// One of these words.
pub(crate) fn words(words: impl Iterator<Item = &'static str>) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words))
}

fn text(chars_min: usize, chars_max: usize) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length((chars_min > 0).then_some(chars_min))
        .max_length(Some(chars_max))
}

fn number(min: i64, max: i64) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(min))
        .maximum(Some(max))
}

fn event_types() -> ObjectBuilder {
    let names = || CATALOGUE.iter().flat_map(|kind| kind.events);
    let contexts: std::collections::BTreeSet<&'static str> = names()
        .filter_map(|(name, _)| name.find('.').and_then(|dot| name.get(..=dot)))
        .collect();
    words(contexts.into_iter().chain(names().map(|(name, _)| *name)))
}
