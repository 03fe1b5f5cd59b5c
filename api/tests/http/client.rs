//! What a client gets, and what must hold of every answer.

use crate::schema::Contract;
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use touchline_api::problem::ProblemCode;

/// Somebody with an access token.
pub(crate) struct Person {
    pub(crate) user_id: String,
    pub(crate) token: String,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// Sends and reads, and checks what holds of every answer whatsoever.
    pub(crate) async fn to(client: &Client, contract: &Contract, request: RequestBuilder) -> Self {
        let request = request.build().unwrap();
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = client.execute(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let answer = Self {
            status,
            headers,
            body,
        };
        answer.check(&path);
        if method != reqwest::Method::HEAD {
            contract.check(method.as_str(), &path, status, &answer.body);
        }
        answer
    }

    fn check(&self, path: &str) {
        assert_eq!(self.header("x-content-type-options"), "nosniff");
        assert!(self.headers.contains_key("cache-control") && !self.headers.contains_key("server"));
        let request_id = self.header("x-request-id");
        let health = self
            .header_or("content-type", "")
            .starts_with("application/health+json");
        if self.status < 400 || health {
            return;
        }
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{path}"
        );
        let code = ProblemCode::from_code(self.body["code"].as_str().unwrap())
            .expect("a code of the catalogue");
        assert_eq!(self.status, code.status().as_u16());
        assert_eq!(self.body["status"], self.status);
        assert_eq!(self.body["type"], code.type_uri());
        assert_eq!(self.body["title"], code.title());
        assert_eq!(self.body["instance"], path);
        assert_eq!(self.body["request_id"], request_id);
        assert_eq!(
            self.headers.contains_key("retry-after"),
            code.retry_after_s().is_some()
        );
        assert_eq!(
            self.headers.contains_key("www-authenticate"),
            self.status == 401
        );
        let text = self.body.to_string();
        for inner in ["sqlx", "postgres", "SELECT", "panicked", ".rs", "serde"] {
            assert!(
                !text.contains(inner),
                "an error tells what is inside: {text}"
            );
        }
    }

    pub(crate) fn header(&self, name: &str) -> String {
        let value = self
            .headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name}: {self:?}"));
        value.to_str().unwrap().to_owned()
    }

    pub(crate) fn header_or(&self, name: &str, otherwise: &str) -> String {
        self.headers
            .get(name)
            .map_or(otherwise, |value| value.to_str().unwrap())
            .to_owned()
    }

    /// A text at the top of the body.
    pub(crate) fn text(&self, field: &str) -> String {
        self.body[field]
            .as_str()
            .unwrap_or_else(|| panic!("no {field}: {}", self.body))
            .to_owned()
    }

    /// The code of the problem; empty when it is none.
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// The places that the problem names.
    pub(crate) fn places(&self) -> Vec<&str> {
        let errors = self.body["errors"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        errors
            .iter()
            .filter_map(|error| {
                ["pointer", "parameter", "header"]
                    .iter()
                    .find_map(|kind| error[kind].as_str())
            })
            .collect()
    }

    /// The problem with the stable code of its only value.
    pub(crate) fn only_reason(&self) -> &str {
        assert_eq!(
            self.body["errors"].as_array().map(Vec::len),
            Some(1),
            "{}",
            self.body
        );
        self.body["errors"][0]["code"].as_str().unwrap()
    }

    /// The items of a page.
    pub(crate) fn items(&self) -> &[Value] {
        let items = self.body["items"].as_array();
        items.unwrap_or_else(|| panic!("no page: {}", self.body))
    }

    /// This field of each item of a page.
    pub(crate) fn each(&self, field: &str) -> Vec<&str> {
        self.items()
            .iter()
            .map(|item| item[field].as_str().unwrap())
            .collect()
    }
}
