//! Lists in pages: opaque cursors, never offsets.

use crate::limits::{CURSOR_BYTES_MAX, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use crate::openapi::values;
use crate::problem::{Place, Problem, ProblemCode};
use crate::query::QueryParameters;
use crate::state::ApiState;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, header};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::{IntoParams, ToSchema};

/// The query of a list, as the document describes it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "describes the parameters; `PageRequest` reads them"
)]
pub(crate) struct PageParameters {
    /// How many items to answer at most.
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: Option<u16>,
    /// Where to go on: the `next_cursor` of the page before. It holds for the same path and filters
    /// only.
    #[param(inline, value_type = Option<values::Cursor>)]
    cursor: Option<String>,
}

/// Which page of a list is asked for.
#[derive(Debug)]
pub(crate) struct PageRequest {
    /// How many items at most.
    pub(crate) limit: u16,
    cursor: Option<String>,
    path: String,
}

impl FromRequestParts<ApiState> for PageRequest {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, Problem> {
        let parameters = QueryParameters::of(&parts.uri);
        let limit = match parameters.get("limit") {
            None => PAGE_ITEMS_DEFAULT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=PAGE_ITEMS_MAX).contains(limit))
                .ok_or_else(|| {
                    Problem::at(
                        ProblemCode::InvalidParameter,
                        Place::Parameter("limit".to_owned()),
                        format!("must be a whole number from 1 to {PAGE_ITEMS_MAX}"),
                    )
                })?,
        };
        let cursor = parameters.get("cursor").map(ToOwned::to_owned);
        Ok(Self {
            limit,
            cursor,
            path: parts.uri.path().to_owned(),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Sealed<K> {
    /// The version of the form of the keys.
    v: u8,
    k: K,
}

/// The form of the keys that is written today.
const CURSOR_VERSION: u8 = 1;

impl PageRequest {
    /// After which key to go on; none for the first page.
    ///
    /// # Errors
    /// When the cursor was not made for this list.
    pub(crate) fn after<K: DeserializeOwned>(
        &self,
        state: &ApiState,
        filter: &str,
    ) -> Result<Option<K>, Problem> {
        let Some(cursor) = &self.cursor else {
            return Ok(None);
        };
        Some(cursor)
            .filter(|cursor| cursor.len() <= CURSOR_BYTES_MAX)
            .and_then(|cursor| state.cursors().open(&self.scope(filter), cursor))
            .and_then(|payload| serde_json::from_slice::<Sealed<K>>(&payload).ok())
            .filter(|sealed| sealed.v == CURSOR_VERSION)
            .map(|sealed| Some(sealed.k))
            .ok_or_else(|| Problem::new(ProblemCode::InvalidCursor))
    }

    /// The page of `items`, which goes on after `next` if there is more.
    pub(crate) fn answer<T: ToSchema, K: Serialize>(
        &self,
        state: &ApiState,
        filter: &str,
        items: Vec<T>,
        next: Option<K>,
    ) -> Page<T> {
        let next_cursor = next
            .and_then(|k| {
                serde_json::to_vec(&Sealed {
                    v: CURSOR_VERSION,
                    k,
                })
                .ok()
            })
            .map(|payload| state.cursors().seal(&self.scope(filter), &payload));
        Page {
            has_more: next_cursor.is_some(),
            items,
            next_cursor,
        }
    }

    /// `Link: …; rel="next"` (RFC 8288) of a page. `filter` is the rest of the query.
    pub(crate) fn link<T: ToSchema>(
        &self,
        page: &Page<T>,
        filter: &str,
    ) -> Option<(HeaderName, HeaderValue)> {
        let cursor = page.next_cursor.as_ref()?;
        let separator = if filter.is_empty() { "" } else { "&" };
        let target = format!(
            "<{}?{filter}{separator}limit={}&cursor={cursor}>; rel=\"next\"",
            self.path, self.limit
        );
        HeaderValue::try_from(target)
            .ok()
            .map(|value| (header::LINK, value))
    }

    fn scope(&self, filter: &str) -> String {
        format!("{}?{filter}", self.path)
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T: ToSchema> {
    /// The items, in the order of the list.
    pub(crate) items: Vec<T>,
    /// Where the next page begins; null on the last one.
    #[schema(value_type = Option<values::Cursor>)]
    pub(crate) next_cursor: Option<String>,
    /// Whether there is a next page.
    pub(crate) has_more: bool,
}
