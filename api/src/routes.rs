//! How routes are registered: only here, and only together with who may use them and what kind of
//! operation they are. From the two follow the gate before the handler and the parts of the OpenAPI
//! document that all operations of a kind share, so that neither can be forgotten.

use crate::auth::{Viewer, bearer};
use crate::command::IdempotencyKey;
use crate::openapi::{complete, describe};
use crate::problem::{Problem, ProblemCode};
use crate::query::QueryParameters;
use crate::state::ApiState;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use std::sync::Arc;
use touchline_commands::permissions;
use touchline_domain::identity::Permission;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::{RefOr, path::Parameter};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt as _};

/// Who may use an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anybody. A token is not needed, but when one is sent it must be good.
    Public,
    /// Whoever has an account.
    Account,
    /// Whoever was granted this permission, by the log as it is when the request comes.
    Staff(Permission),
}

/// What kind of operation it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Neither a command nor a read of a read model: health, keys, documents, signing in.
    Service,
    /// A read of a read model, or of the log.
    Query,
    /// A command.
    Command,
    /// A command that names the version it was decided on, by `If-Match`.
    Edit,
}

/// Operations with the access that each demands.
#[derive(Default)]
pub(crate) struct Routes(Vec<Route>);

struct Route {
    access: Access,
    router: UtoipaMethodRouter<ApiState>,
    query: Arc<[String]>,
}

impl Routes {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// One operation, and the problems that it can have besides those of its kind.
    pub(crate) fn route(
        mut self,
        access: Access,
        kind: Kind,
        problems: &[ProblemCode],
        router: UtoipaMethodRouter<ApiState>,
    ) -> Self {
        let (schemas, mut paths, methods) = router;
        let mut query = Vec::new();
        for (path, item) in &mut paths.paths {
            for (method, operation) in operations(item) {
                describe(operation, path, method, access, kind, problems);
                query.extend(query_parameters(operation));
            }
        }
        self.0.push(Route {
            access,
            router: (schemas, paths, methods),
            query: query.into(),
        });
        self
    }

    /// These and those.
    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The router of all operations and the document that describes them.
    pub(crate) fn build(
        self,
        document: OpenApi,
        state: Option<&ApiState>,
    ) -> (axum::Router<ApiState>, OpenApi) {
        let (router, mut document) =
            self.0
                .into_iter()
                .fold(OpenApiRouter::with_openapi(document), |all, route| {
                    let Some(state) = state else {
                        return all.routes(route.router);
                    };
                    let gate = Gate {
                        state: state.clone(),
                        access: route.access,
                        query: route.query,
                    };
                    all.routes(route.router.map(|methods| {
                        methods.route_layer(middleware::from_fn_with_state(gate, pass))
                    }))
                })
                .split_for_parts();
        complete(&mut document);
        (router, document)
    }
}

/// The operations of a path, each with its method.
pub(crate) fn operations(
    item: &mut PathItem,
) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("get", item.get.as_mut()),
        ("put", item.put.as_mut()),
        ("post", item.post.as_mut()),
        ("patch", item.patch.as_mut()),
        ("delete", item.delete.as_mut()),
    ]
    .into_iter()
    .filter_map(|(method, operation)| operation.map(|operation| (method, operation)))
}

fn query_parameters(operation: &Operation) -> impl Iterator<Item = String> {
    operation
        .parameters
        .iter()
        .flatten()
        .filter_map(|parameter| match parameter {
            RefOr::T(Parameter {
                name,
                parameter_in: ParameterIn::Query,
                ..
            }) => Some(name.clone()),
            _ => None,
        })
}

/// What stands before a handler.
#[derive(Clone)]
struct Gate {
    state: ApiState,
    access: Access,
    query: Arc<[String]>,
}

impl Gate {
    /// Who asks, and the request's idempotency key.
    async fn admit(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(Viewer, IdempotencyKey), Problem> {
        QueryParameters::of(uri).check(&self.query)?;
        let viewer = self.viewer(headers).await?;
        Ok((viewer, IdempotencyKey::of(method, headers)?))
    }

    async fn viewer(&self, headers: &HeaderMap) -> Result<Viewer, Problem> {
        match (bearer(headers)?, self.access) {
            (Some(token), _) => {
                let user_id = self.state.keys().verify(token, self.state.now()).await?;
                if let Access::Staff(permission) = self.access {
                    permissions::check(self.state.bus(), user_id, permission).await?;
                }
                Ok(Viewer(Some(user_id)))
            }
            (None, Access::Public) => Ok(Viewer(None)),
            (None, Access::Account | Access::Staff(_)) => {
                Err(ProblemCode::AuthenticationRequired.into())
            }
        }
    }
}

async fn pass(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let admitted = gate
        .admit(request.method(), request.uri(), request.headers())
        .await;
    let (viewer, key) = match admitted {
        Ok(admitted) => admitted,
        Err(problem) => return problem.into_response(),
    };
    request.extensions_mut().insert(viewer);
    request.extensions_mut().insert(key);
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    if gate.access != Access::Public || viewer.0.is_some() {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    } else {
        headers
            .entry(header::CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-cache"));
    }
    headers.insert(header::VARY, HeaderValue::from_static("Authorization"));
    response
}
