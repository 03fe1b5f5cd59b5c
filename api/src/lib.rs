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
//! Besides [`ApiParts`](state::ApiParts): a limit on connections and on the time that the head of a
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
