//! The caller, as the gate of the route has found them.

use crate::problem::{Problem, ProblemCode};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use touchline_domain::id::UserId;

/// Who reads: somebody signed in, or anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Viewer(pub(crate) Option<UserId>);

/// Who acts: an account, shown by its access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Principal {
    /// The account.
    pub(crate) user_id: UserId,
}

impl<S: Sync> FromRequestParts<S> for Viewer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Without a gate there is no viewer: the route was not registered as it must be.
        parts
            .extensions
            .get()
            .copied()
            .ok_or_else(|| Problem::new(ProblemCode::Internal))
    }
}

impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Viewer(user_id) = Viewer::from_request_parts(parts, state).await?;
        user_id
            .map(|user_id| Self { user_id })
            .ok_or_else(|| Problem::new(ProblemCode::AuthenticationRequired))
    }
}
