//! Ids in paths.

use crate::problem::{Problem, ProblemCode};
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use std::str::FromStr;
use touchline_domain::id::UserId;
use touchline_domain::identity::Handle;

/// The id in the path. What is no id names nothing: it is answered like the id of nothing (404), so
/// that a client has one case and not two.
pub(crate) struct PathId<T>(pub(crate) T);

impl<T: FromStr, S: Send + Sync> FromRequestParts<S> for PathId<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_not_one_text| Problem::new(ProblemCode::NotFound))?;
        text.parse()
            .map(Self)
            .map_err(|_no_id| Problem::new(ProblemCode::NotFound))
    }
}

/// Everything that stands in the path. What does not have the form that is expected names nothing.
pub(crate) struct InPath<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for InPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Path::<T>::from_request_parts(parts, state)
            .await
            .map(|Path(found)| Self(found))
            .map_err(|_other_form| Problem::new(ProblemCode::NotFound))
    }
}

/// A person, named by id or by handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UserName {
    /// By id.
    Id(UserId),
    /// By handle, in its canonical form.
    Handle(Handle),
}

impl FromStr for UserName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        text.parse()
            .map(Self::Id)
            .or_else(|_no_id| text.parse().map(Self::Handle).map_err(|_no_handle| ()))
    }
}
