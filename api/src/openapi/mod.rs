//! The OpenAPI document: what the operations say of themselves, and what their kinds add.

mod complete;
pub(crate) mod values;

pub(crate) use complete::complete;

use crate::limits::{REQUEST_ID_CHARS_MAX, REQUEST_ID_CHARS_MIN};
use crate::problem::{PROBLEM_JSON, ProblemCode, ProblemSchema};
use crate::routes::{Access, Kind};
use std::collections::BTreeMap;
use utoipa::openapi::header::Header;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{Object, ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, OpenApi as Document, Ref, RefOr, Required, Response};
use utoipa::{Modify, OpenApi, PartialSchema as _};

/// The name of the security scheme.
const BEARER: &str = "access_token";

/// The document before any operation is in it.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Touchline",
        description = "A sports community: people, posts, and the feed.\n\n\
            Errors are problems (RFC 9457) with a stable `code`; `GET /problems` lists them. Writes answer the state that they \
            made, its `ETag`, and a `Consistency-Token`; a read that sends the token sees the write. \
            Lists come in pages with opaque cursors. Every POST honours `Idempotency-Key`.",
    ),
    servers((url = "/", description = "This instance")),
    components(schemas(ProblemSchema)),
    tags(
        (name = "identity", description = "Accounts and sessions"),
        (name = "users", description = "Profiles and follows"),
        (name = "posts", description = "Posts, likes, comments, feeds"),
        (name = "audit", description = "History, for auditors"),
        (name = "projections", description = "Read models, for the data team"),
        (name = "operations", description = "Health, keys, this document"),
    ),
    modifiers(&AccessToken),
)]
struct Skeleton;

struct AccessToken;

impl Modify for AccessToken {
    fn modify(&self, document: &mut Document) {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.bearer_format = Some("JWT".to_owned());
        scheme.description =
            Some("The `access_token` of `POST /v1/sessions`, good for 10 minutes.".to_owned());
        document
            .components
            .get_or_insert_default()
            .add_security_scheme(BEARER, SecurityScheme::Http(scheme));
    }
}

pub(crate) fn skeleton() -> Document {
    let mut document = Skeleton::openapi();
    // The derive takes the licence of the package, which has none; an empty name is not allowed.
    document.info.license = None;
    document
}

/// Adds to an operation what follows from who may use it and what kind it is.
pub(crate) fn describe(
    operation: &mut Operation,
    path: &str,
    method: &str,
    access: Access,
    kind: Kind,
    problems: &[ProblemCode],
) {
    let token = SecurityRequirement::new(BEARER, Vec::<String>::new());
    operation.security = Some(match access {
        Access::Account => vec![token],
        Access::Staff(permission) => vec![SecurityRequirement::new(BEARER, [permission.as_str()])],
        // Optional: without a token one reads as anybody.
        Access::Public if kind == Kind::Query => vec![SecurityRequirement::default(), token],
        Access::Public => Vec::new(),
    });
    if let Access::Staff(permission) = access {
        let description = operation.description.get_or_insert_default();
        if !description.is_empty() {
            description.push_str("\n\n");
        }
        description.push_str("Needs the permission `");
        description.push_str(permission.as_str());
        description.push_str("`.");
    }
    let parameters = operation.parameters.get_or_insert_default();
    parameters.extend(request_headers(method, kind).into_iter().map(RefOr::T));
    if parameters.is_empty() {
        operation.parameters = None;
    }
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        body.content.values_mut().for_each(leave_null_out);
    }
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response {
            response
                .headers
                .extend(response_headers(status, method, kind));
        }
    }
    let mut codes = of_kind(access, kind, method, path, operation.request_body.is_some());
    codes.extend_from_slice(problems);
    codes.sort_unstable();
    codes.dedup();
    let mut by_status = BTreeMap::<String, Vec<ProblemCode>>::new();
    for code in codes {
        by_status
            .entry(code.status().as_str().to_owned())
            .or_default()
            .push(code);
    }
    for (status, codes) in by_status {
        operation
            .responses
            .responses
            .entry(status)
            .or_insert_with(|| RefOr::T(problem_response(&codes)));
    }
}

/// A body that may be left out is not `null` in its place, as utoipa has it.
fn leave_null_out(content: &mut RefOr<Content>) {
    let RefOr::T(content) = content else {
        return;
    };
    if let Some(RefOr::T(Schema::OneOf(either))) = &content.schema {
        let body = either.items.iter().find(|it| matches!(it, RefOr::Ref(_)));
        if let Some(body) = body.cloned() {
            content.schema = Some(body);
        }
    }
}

/// The problems that every operation of a kind can have.
fn of_kind(
    access: Access,
    kind: Kind,
    method: &str,
    path: &str,
    has_body: bool,
) -> Vec<ProblemCode> {
    use ProblemCode as P;
    let mut codes = vec![
        P::UnknownParameter,
        P::DuplicateParameter,
        P::InvalidToken,
        P::TokenExpired,
        P::Internal,
    ];
    codes.push(P::HandlerTimeout);
    if access != Access::Public {
        codes.push(P::AuthenticationRequired);
    }
    if matches!(access, Access::Staff(_)) {
        codes.extend([P::PermissionRequired, P::AccountPending, P::Unavailable]);
    }
    if path.contains('{') {
        codes.push(P::NotFound);
    }
    if has_body {
        codes.extend([
            P::InvalidJson,
            P::JsonTooDeep,
            P::UnknownField,
            P::DuplicateField,
            P::MissingField,
        ]);
        codes.extend([
            P::WrongType,
            P::BodyTimeout,
            P::BodyTooLarge,
            P::UnsupportedMediaType,
            P::ValidationFailed,
        ]);
    }
    match kind {
        Kind::Service => {}
        Kind::Query => {
            codes.extend([
                P::InvalidConsistencyToken,
                P::InvalidHeader,
                P::PositionUnknown,
            ]);
            codes.extend([P::ProjectionBehind, P::Unavailable]);
        }
        Kind::Command | Kind::Edit => {
            codes.extend([P::ConcurrentModification, P::Busy, P::Unavailable]);
        }
    }
    if kind == Kind::Edit {
        codes.extend([
            P::InvalidHeader,
            P::VersionMismatch,
            P::PreconditionRequired,
        ]);
    }
    if method == "post" {
        codes.push(P::InvalidHeader);
    }
    if method == "post" && kind == Kind::Command {
        codes.push(P::IdempotencyKeyReused);
    }
    codes
}

fn problem_response(codes: &[ProblemCode]) -> Response {
    let mut description = String::new();
    for code in codes {
        if !description.is_empty() {
            description.push('\n');
        }
        description.push_str("- `");
        description.push_str(code.as_str());
        description.push_str("`: ");
        description.push_str(code.title());
    }
    let mut response = Response::new(description);
    let schema = Ref::from_schema_name("Problem");
    response.content.insert(
        PROBLEM_JSON.to_owned(),
        RefOr::T(Content::new(Some(schema))),
    );
    if codes.iter().any(|code| code.retry_after_s().is_some()) {
        response.headers.insert(
            "Retry-After".to_owned(),
            header("In how many seconds to try again.", seconds()),
        );
    }
    if codes.iter().any(|code| code.status().as_u16() == 401) {
        response.headers.insert(
            "WWW-Authenticate".to_owned(),
            header("What is wrong with the token (RFC 6750).", any_text()),
        );
    }
    response
}

fn request_headers(method: &str, kind: Kind) -> Vec<Parameter> {
    let mut headers = Vec::new();
    if method == "post" {
        let what = if kind == Kind::Service {
            "Taken and checked, but without effect: nothing is stored that could be repeated."
        } else {
            "Any text of the client's, new for each new request: sent again, the same request is done once and \
             answered as the first time, with `Idempotency-Replayed: true`."
        };
        headers.push(parameter(
            "Idempotency-Key",
            what,
            values::IdempotencyKey::schema(),
            Required::False,
        ));
    }
    match kind {
        Kind::Edit => {
            let what = "The `ETag` of what the change was decided on.";
            headers.push(parameter(
                "If-Match",
                what,
                values::IfMatch::schema(),
                Required::True,
            ));
        }
        Kind::Query => {
            let what = "The token of a write: the answer shows that write and all before it.";
            let schema = values::ConsistencyToken::schema();
            headers.push(parameter(
                "Consistency-Token",
                what,
                schema,
                Required::False,
            ));
            let what = "`wait=` and how many seconds to wait for the token, 0 to 5; 5 when not given (RFC 7240).";
            headers.push(parameter("Prefer", what, any_text(), Required::False));
        }
        Kind::Service | Kind::Command => {}
    }
    headers
}

fn response_headers(status: &str, method: &str, kind: Kind) -> Vec<(String, RefOr<Header>)> {
    let mut headers = vec![(
        "X-Request-Id".to_owned(),
        header("The id of the request.", request_id()),
    )];
    if !status.starts_with('2') && status != "304" {
        return headers;
    }
    match kind {
        Kind::Service => {}
        Kind::Query => {
            headers.push((
                "ETag".to_owned(),
                header(
                    "The version of a single thing.",
                    values::EntityTag::schema(),
                ),
            ));
            let what = "How far the read model had folded the log, at least.";
            headers.push((
                "Projection-Position".to_owned(),
                header(what, values::Position::schema()),
            ));
            let what = "Where the next page of a list is (RFC 8288), if there is one.";
            headers.push(("Link".to_owned(), header(what, any_text())));
            let what = "What of `Prefer` was done.";
            headers.push(("Preference-Applied".to_owned(), header(what, any_text())));
        }
        Kind::Command | Kind::Edit => {
            headers.push((
                "ETag".to_owned(),
                header(
                    "The version that the write made.",
                    values::EntityTag::schema(),
                ),
            ));
            let what = "Send it with a read to see the write.";
            headers.push((
                "Consistency-Token".to_owned(),
                header(what, values::ConsistencyToken::schema()),
            ));
            if method == "post" {
                let what =
                    "`true` when this is the answer of an earlier request with the same key.";
                let yes = values::words(["true"].into_iter()).build().into();
                headers.push(("Idempotency-Replayed".to_owned(), header(what, yes)));
            }
            if status == "201" {
                let what = "Where it can be read, if it can be read alone.";
                headers.push(("Location".to_owned(), header(what, any_text())));
            }
        }
    }
    headers
}

fn header(description: &str, schema: RefOr<Schema>) -> RefOr<Header> {
    let mut header = Header::new(schema);
    header.description = Some(description.to_owned());
    RefOr::T(header)
}

fn parameter(
    name: &str,
    description: &str,
    schema: RefOr<Schema>,
    required: Required,
) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .description(Some(description))
        .required(required)
        .schema(Some(schema))
        .build()
}

fn any_text() -> RefOr<Schema> {
    Object::with_type(Type::String).into()
}

fn seconds() -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1))
        .into()
}

fn request_id() -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(REQUEST_ID_CHARS_MIN))
        .max_length(Some(REQUEST_ID_CHARS_MAX))
        .pattern(Some("^[A-Za-z0-9-]+$"))
        .into()
}
