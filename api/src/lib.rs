//! The HTTP API: extract, authorise, dispatch or query, map. Nothing else.
//!
//! # Map
//! - [`state`]: what the composition root must supply, and [`router`] makes a service of.
//! - `routes`: how an operation is registered, with its access and its kind; the gate before it.
//! - `v1`: the operations, a module per context; `operations`: health, problems, documents.
//! - [`problem`]: every error, and the catalogue of codes.
//! - `json`, `query`, `path`, `page`: what a request says, parsed into values.
//! - [`auth`]: access tokens and the caller.
//! - `command`, `etag`, `consistency`, `respond`: idempotency keys, versions, reading one's own
//!   writes, and the answers that carry them.
//! - `context`: what surrounds every request. `openapi`: the document. [`limits`]: every limit.
//!
//! # Invariants
//! - Every error is a problem with a code of the catalogue, whoever made it: a handler, axum, or a
//!   panic. A 5xx tells the client nothing internal.
//! - A route exists only together with its access and its kind, and only so reaches the document.
//! - A handler never writes a read model and never reads one for a decision; it knows no SQL.
//! - The time and ids come from the state, never from the machine.
//!
//! # What the server must supply
//! Besides [`ApiParts`]: a limit on connections and on the time that the head of a
//! request may take (hyper's header read timeout), and a bound on the size of heads; hyper's
//! defaults do for the latter. The router does the rest.

pub mod auth;
mod command;
mod consistency;
mod context;
mod etag;
mod health;
mod json;
pub mod limits;
mod openapi;
mod operations;
mod page;
mod path;
pub mod problem;
mod query;
mod respond;
mod routes;
mod secret;
pub mod state;
mod v1;

pub use state::{ApiParts, ApiState};

use axum::Router;
use axum::middleware;
use routes::Routes;
use tower_http::catch_panic::CatchPanicLayer;

/// The whole API as a router.
pub fn router(state: ApiState) -> Router {
    let (router, document) = all_routes().build(openapi::skeleton(), Some(&state));
    let router = router.merge(operations::documentation(&document));
    surround(router, &state).with_state(state)
}

/// The OpenAPI document, as `/openapi.json` serves it.
#[must_use]
pub fn openapi_document() -> utoipa::openapi::OpenApi {
    all_routes().build(openapi::skeleton(), None).1
}

fn all_routes() -> Routes {
    operations::routes().merge(v1::routes())
}

/// Puts around a router what every request goes through, the outermost last.
fn surround(router: Router<ApiState>, state: &ApiState) -> Router<ApiState> {
    router
        .fallback(operations::unknown_route)
        .method_not_allowed_fallback(operations::method_not_allowed)
        .layer(middleware::from_fn_with_state(
            state.clone(),
            context::limit_time,
        ))
        .layer(CatchPanicLayer::custom(context::answer_panic))
        .layer(middleware::from_fn_with_state(
            state.clone(),
            context::surround,
        ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use axum::response::Response;
    use axum::routing::get;
    use http_body_util::BodyExt as _;
    use std::num::NonZeroUsize;
    use std::sync::Arc;
    use std::time::Duration;
    use touchline_commands::identity::Identity;
    use touchline_commands::{Argon2Hasher, Bus, Credentials};
    use touchline_eventstore::database::Database;
    use touchline_eventstore::{EventStore, MasterKeys};
    use touchline_projections::Freshness;
    use touchline_testkit::{MockClock, SequentialIds};
    use tower::ServiceExt as _;

    async fn state(database: &touchline_testkit::TestDatabase) -> ApiState {
        let clock = Arc::new(MockClock::at("2022-12-18T12:00:00Z"));
        let ids = Arc::new(SequentialIds::new(1));
        let connections = Database::new(&database.url).unwrap();
        let pool = connections.pool(2);
        let masters = MasterKeys::parse(touchline_testkit::MASTER_KEY).unwrap();
        let store = EventStore::new(connections.clone(), pool.clone(), masters, clock.clone());
        let credentials = Credentials::new(pool.clone(), store.keys().clone());
        ApiState::new(ApiParts {
            keys: auth::KeyRing::load(credentials.clone(), chrono::DateTime::UNIX_EPOCH)
                .await
                .unwrap(),
            identity: Identity {
                bus: Bus::new(store, clock.clone(), ids.clone()),
                fingerprints: credentials.fingerprints().await.unwrap(),
                credentials,
                hasher: Arc::new(Argon2Hasher::new(NonZeroUsize::MIN)),
            },
            freshness: Freshness::new(pool.clone(), &[], &[]),
            database: connections,
            queries: pool,
            log_id: uuid::Uuid::nil(),
            clock,
            ids,
            nats_connected: tokio::sync::watch::channel(true).1,
            deadlines: limits::Deadlines {
                request: Duration::from_millis(50),
                ..limits::Deadlines::default()
            },
            tasks: touchline_eventstore::Tasks::default(),
        })
    }

    async fn problem(response: Response) -> serde_json::Value {
        assert_eq!(response.headers()["content-type"], problem::PROBLEM_JSON);
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&bytes).unwrap()
    }

    /// Whoever makes an error, and whatever it says: a client sees a problem and nothing internal.
    #[tokio::test]
    async fn every_error_becomes_a_problem() {
        let database = touchline_testkit::database().await;
        let state = state(&database).await;
        let routes: Router<ApiState> = Router::new()
            .route(
                "/panics",
                get(async || -> &'static str { panic!("a secret of the inside") }),
            )
            .route("/hangs", get(std::future::pending::<&'static str>))
            .route(
                "/bare",
                get(async || (StatusCode::IM_A_TEAPOT, "a secret of the inside")),
            )
            .route(
                "/fails",
                get(async || (StatusCode::BAD_GATEWAY, "a secret of the inside")),
            );
        let service = surround(routes, &state).with_state(state);
        for (path, code) in [
            ("/panics", "internal"),
            ("/hangs", "handler-timeout"),
            ("/bare", "bad-request"),
            ("/fails", "internal"),
        ] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = service.clone().oneshot(request).await.unwrap();
            let request_id = response.headers()["x-request-id"]
                .to_str()
                .unwrap()
                .to_owned();
            let body = problem(response).await;
            assert_eq!(body["code"], code, "{path}");
            assert_eq!(body["request_id"], request_id);
            assert!(!body.to_string().contains("secret"), "{body}");
        }
    }
}
