//! Health, the catalogue of problems, the OpenAPI document and its page.

use crate::problem::{Problem, ProblemCode};
use crate::respond::json;
use crate::routes::{Access, Kind, Routes};
use crate::state::ApiState;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa::openapi::OpenApi;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

/// The media type of health answers (draft-inadarei-api-health-check).
const HEALTH_JSON: &str = "application/health+json";

/// What the page may load: what this server serves, and the pictures inside it. The styles that the
/// page sets on its own elements need the word that allows them.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; font-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

pub(crate) fn routes() -> Routes {
    let public = |routes: Routes, router| routes.route(Access::Public, Kind::Service, &[], router);
    let routes = public(Routes::new(), routes!(livez));
    let routes = public(routes, routes!(readyz));
    let routes = public(routes, routes!(health));
    let routes = public(routes, routes!(health_database));
    let routes = public(routes, routes!(health_nats));
    let routes = public(routes, routes!(problems));
    let routes = public(routes, routes!(problem));
    public(routes, routes!(crate::v1::identity::jwks))
}

/// The document at `/openapi.json`, and a page at `/docs` that shows it without the internet.
pub(crate) fn documentation(document: &OpenApi) -> Router<ApiState> {
    let text: Arc<str> = document.to_json().unwrap_or_default().into();
    let page: Router<ApiState> = SwaggerUi::new("/docs")
        .config(
            Config::from("/openapi.json")
                .try_it_out_enabled(true)
                .validator_url("none"),
        )
        .into();
    let page = page.layer(axum::middleware::map_response(
        |mut response: Response| async {
            let headers = response.headers_mut();
            headers.insert(
                header::CONTENT_SECURITY_POLICY,
                HeaderValue::from_static(DOCS_POLICY),
            );
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            response
        },
    ));
    let serve = move || async move {
        (
            [
                (header::CONTENT_TYPE, "application/json"),
                (header::CACHE_CONTROL, "no-cache"),
            ],
            text.to_string(),
        )
    };
    Router::new()
        .route("/openapi.json", axum::routing::get(serve))
        .merge(page)
}

/// Whether something works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Health {
    /// It works.
    Pass,
    /// It works, but less well than it could.
    Warn,
    /// It does not work.
    Fail,
}

/// The health of the whole, and of what it stands on.
#[derive(Debug, Serialize, ToSchema)]
struct HealthReport {
    /// The worst that matters.
    status: Health,
    /// PostgreSQL: without it nothing works.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    database: Option<Health>,
    /// NATS: without it everything works, but more slowly.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    nats: Option<Health>,
    /// The seals of the log: `warn` when an event has waited for its checkpoint for half a minute, or the
    /// sealer refuses to sign because the log is not what was sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    seals: Option<Health>,
    /// The witnesses of the log: `warn` when they have not cosigned it as their policy demands.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    witnesses: Option<Health>,
    /// The keys of personal data: `warn` when this process met people whose keys are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    keys: Option<Health>,
    /// The read models: `warn` when one is halted, has something parked, or has an event wait for half
    /// a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    projections: Option<Health>,
    /// The tasks of this process: `warn` when one failed within the last minute and was started again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    tasks: Option<Health>,
}

impl HealthReport {
    const fn of(status: Health) -> Self {
        Self {
            status,
            database: None,
            nats: None,
            seals: None,
            witnesses: None,
            keys: None,
            projections: None,
            tasks: None,
        }
    }

    fn respond(&self) -> Result<Response, Problem> {
        let status = if self.status == Health::Fail {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::OK
        };
        let mut response = json(status, self)?;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(HEALTH_JSON));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

const fn pass_or(good: bool, otherwise: Health) -> Health {
    if good { Health::Pass } else { otherwise }
}

/// Whether the process lives
///
/// It asks nobody: a process that answers is not to be restarted because a database is away.
#[utoipa::path(
    get, path = "/livez", tag = "operations",
    responses((status = 200, description = "It lives.", body = HealthReport, content_type = HEALTH_JSON)),
)]
async fn livez() -> Result<Response, Problem> {
    HealthReport::of(Health::Pass).respond()
}

/// Whether the process can serve
///
/// The database answers and has the migrations of this build.
#[utoipa::path(
    get, path = "/readyz", tag = "operations",
    responses(
        (status = 200, description = "It can.", body = HealthReport, content_type = HEALTH_JSON),
        (status = 503, description = "It cannot.", body = HealthReport, content_type = HEALTH_JSON),
    ),
)]
async fn readyz(State(state): State<ApiState>) -> Result<Response, Problem> {
    let database = pass_or(state.is_ready().await, Health::Fail);
    HealthReport {
        database: Some(database),
        ..HealthReport::of(database)
    }
    .respond()
}

/// How everything is
#[utoipa::path(
    get, path = "/health", tag = "operations",
    responses(
        (status = 200, description = "It works; `warn` when something of it needs somebody.", body = HealthReport, content_type = HEALTH_JSON),
        (status = 503, description = "The database is away.", body = HealthReport, content_type = HEALTH_JSON),
    ),
)]
async fn health(State(state): State<ApiState>) -> Result<Response, Problem> {
    let database = pass_or(state.database_answers().await, Health::Fail);
    let nats = pass_or(state.nats_is_connected(), Health::Warn);
    // Without a database there is nobody to ask.
    let sealed = database == Health::Pass && state.is_sealed().await;
    let seals = pass_or(sealed, Health::Warn);
    let cosigned = database == Health::Pass && state.is_cosigned().await;
    let witnesses = pass_or(cosigned, Health::Warn);
    let keys = pass_or(!state.store().keys().are_lacking(), Health::Warn);
    let projected = database == Health::Pass && state.is_projected().await;
    let projections = pass_or(projected, Health::Warn);
    let tasks = pass_or(state.tasks_run(), Health::Warn);
    let status = if database == Health::Fail {
        database
    } else {
        let all = [nats, seals, witnesses, keys, projections, tasks];
        pass_or(all == [Health::Pass; 6], Health::Warn)
    };
    HealthReport {
        status,
        database: Some(database),
        nats: Some(nats),
        seals: Some(seals),
        witnesses: Some(witnesses),
        keys: Some(keys),
        projections: Some(projections),
        tasks: Some(tasks),
    }
    .respond()
}

/// Whether the database answers
#[utoipa::path(
    get, path = "/health/database", tag = "operations",
    responses(
        (status = 200, description = "It answers.", body = HealthReport, content_type = HEALTH_JSON),
        (status = 503, description = "It does not.", body = HealthReport, content_type = HEALTH_JSON),
    ),
)]
async fn health_database(State(state): State<ApiState>) -> Result<Response, Problem> {
    let database = pass_or(state.database_answers().await, Health::Fail);
    HealthReport {
        database: Some(database),
        ..HealthReport::of(database)
    }
    .respond()
}

/// Whether NATS is connected
#[utoipa::path(
    get, path = "/health/nats", tag = "operations",
    responses(
        (status = 200, description = "It is.", body = HealthReport, content_type = HEALTH_JSON),
        (status = 503, description = "It is not.", body = HealthReport, content_type = HEALTH_JSON),
    ),
)]
async fn health_nats(State(state): State<ApiState>) -> Result<Response, Problem> {
    let nats = pass_or(state.nats_is_connected(), Health::Fail);
    HealthReport {
        nats: Some(nats),
        ..HealthReport::of(nats)
    }
    .respond()
}

/// A problem of the catalogue.
#[derive(Debug, Serialize, ToSchema)]
struct CatalogueEntry {
    /// The URI reference that problems carry as their `type`.
    #[serde(rename = "type")]
    #[schema(example = "/problems/not-found")]
    type_uri: String,
    /// The frozen word.
    #[schema(example = "not-found")]
    code: &'static str,
    /// The HTTP status.
    #[schema(example = 404)]
    status: u16,
    /// A few words for people.
    title: &'static str,
    /// What it means, and what to do about it.
    meaning: &'static str,
}

/// Every problem of the catalogue.
#[derive(Debug, Serialize, ToSchema)]
struct Catalogue {
    /// By status.
    items: Vec<CatalogueEntry>,
}

impl From<ProblemCode> for CatalogueEntry {
    fn from(code: ProblemCode) -> Self {
        Self {
            type_uri: code.type_uri(),
            code: code.as_str(),
            status: code.status().as_u16(),
            title: code.title(),
            meaning: code.meaning(),
        }
    }
}

/// Every problem that this API can answer
#[utoipa::path(
    get, path = "/problems", tag = "operations",
    responses((status = 200, description = "The catalogue.", body = Catalogue)),
)]
async fn problems() -> Result<Response, Problem> {
    let items = ProblemCode::ALL
        .iter()
        .copied()
        .map(CatalogueEntry::from)
        .collect();
    json(StatusCode::OK, &Catalogue { items })
}

/// What a problem means
#[utoipa::path(
    get, path = "/problems/{code}", tag = "operations",
    params(("code" = String, Path, description = "The code of a problem.")),
    responses((status = 200, description = "Its entry in the catalogue.", body = CatalogueEntry)),
)]
async fn problem(Path(code): Path<String>) -> Result<Response, Problem> {
    let code = ProblemCode::from_code(&code).ok_or_else(|| Problem::new(ProblemCode::NotFound))?;
    json(StatusCode::OK, &CatalogueEntry::from(code))
}

/// The answer under a path that the API does not have.
pub(crate) async fn unknown_route() -> Response {
    Problem::new(ProblemCode::UnknownRoute).into_response()
}

/// The answer to a method that a path does not have. axum adds `Allow`.
pub(crate) async fn method_not_allowed() -> Response {
    Problem::new(ProblemCode::MethodNotAllowed).into_response()
}
