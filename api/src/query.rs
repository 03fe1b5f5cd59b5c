//! The query of a request, held against what the operation documents.

use crate::problem::{Place, Problem, ProblemCode};
use axum::http::Uri;
use std::borrow::Cow;

/// The parameters of a query, decoded, in their order.
pub(crate) struct QueryParameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> QueryParameters<'a> {
    /// The parameters of this URI.
    pub(crate) fn of(uri: &'a Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        Self(form_urlencoded::parse(query.as_bytes()).collect())
    }

    /// The value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_ref())
    }

    /// Refuses a parameter that is not `allowed`, and one that is given twice.
    ///
    /// # Errors
    /// The first of either.
    pub(crate) fn check(&self, allowed: &[String]) -> Result<(), Problem> {
        for (index, (name, _)) in self.0.iter().enumerate() {
            let place = || Place::Parameter(name.chars().take(64).collect());
            if !allowed.iter().any(|known| known == name) {
                return Err(Problem::at(
                    ProblemCode::UnknownParameter,
                    place(),
                    "is not a parameter of this operation",
                ));
            }
            if self
                .0
                .iter()
                .skip(index + 1)
                .any(|(other, _)| other == name)
            {
                return Err(Problem::at(
                    ProblemCode::DuplicateParameter,
                    place(),
                    "is given more than once",
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str) -> Result<(), ProblemCode> {
        let uri: Uri = uri.parse().unwrap();
        QueryParameters::of(&uri)
            .check(&["limit".to_owned(), "cursor".to_owned()])
            .map_err(|problem| problem.code())
    }

    #[test]
    fn only_known_parameters_once_each() {
        assert_eq!(check("/x"), Ok(()));
        assert_eq!(check("/x?"), Ok(()));
        assert_eq!(check("/x?limit=1&cursor=a%20b"), Ok(()));
        assert_eq!(
            check("/x?limit=1&LIMIT=2"),
            Err(ProblemCode::UnknownParameter)
        );
        assert_eq!(
            check("/x?limit=1&limit=1"),
            Err(ProblemCode::DuplicateParameter)
        );
        assert_eq!(
            check("/x?limit=1&%6Cimit=2"),
            Err(ProblemCode::DuplicateParameter)
        );
    }
}
