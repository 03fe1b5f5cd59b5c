//! One person's client: HTTP, with answers taken for what they promise.

use crate::history::Outcome;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, Response};
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

/// What is sent, and again in each attempt.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Option<Value>,
    pub(crate) key: Option<Uuid>,
    pub(crate) if_match: Option<String>,
}

/// An answer, read whole.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) etag: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) body: Value,
}

/// Sends to the nodes of one API, now to this one and now to that.
pub(crate) struct Http {
    client: reqwest::Client,
    nodes: Vec<String>,
}

impl Request {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            body: None,
            key: None,
            if_match: None,
        }
    }

    pub(crate) fn post(path: impl Into<String>, body: Value, key: Uuid) -> Self {
        Self {
            body: Some(body),
            key: Some(key),
            ..Self::new(Method::POST, path)
        }
    }
}

impl Http {
    pub(crate) fn to(nodes: &[&str]) -> Self {
        // It repeats nothing by itself: each request is one attempt.
        let client = reqwest::Client::builder()
            .retry(reqwest::retry::never())
            .build()
            .unwrap();
        Self {
            client,
            nodes: nodes.iter().map(|&node| node.to_owned()).collect(),
        }
    }

    /// One attempt; none when there was no whole answer in time.
    pub(crate) async fn send(
        &self,
        request: &Request,
        id: Uuid,
        bearer: Option<&str>,
        within: Duration,
    ) -> Option<Answer> {
        let url = format!("{}{}", self.node(id), request.path);
        let mut outgoing = self
            .client
            .request(request.method.clone(), url)
            .timeout(within)
            .header("X-Request-Id", id.to_string());
        if let Some(token) = bearer {
            outgoing = outgoing.bearer_auth(token);
        }
        if let Some(body) = &request.body {
            outgoing = outgoing.json(body);
        }
        if let Some(key) = request.key {
            outgoing = outgoing.header("Idempotency-Key", key.to_string());
        }
        if let Some(tag) = &request.if_match {
            outgoing = outgoing.header("If-Match", tag);
        }
        Answer::read(outgoing.send().await.ok()?).await
    }

    /// Reads `path` as it is once the read model has reached `token`.
    pub(crate) async fn read(
        &self,
        path: &str,
        id: Uuid,
        bearer: &str,
        token: &str,
    ) -> Option<Answer> {
        let outgoing = self
            .client
            .get(format!("{}{path}", self.node(id)))
            .timeout(Duration::from_secs(20))
            .bearer_auth(bearer)
            .header("Consistency-Token", token);
        Answer::read(outgoing.send().await.ok()?).await
    }

    /// The node that the request with this random id goes to.
    fn node(&self, id: Uuid) -> &str {
        &self.nodes[usize::from(id.as_bytes()[0]) % self.nodes.len()]
    }
}

impl Answer {
    async fn read(response: Response) -> Option<Self> {
        let status = response.status().as_u16();
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        let (etag, token) = (header("etag"), header("consistency-token"));
        let bytes = response.bytes().await.ok()?;
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Some(Self {
            status,
            etag,
            token,
            body,
        })
    }

    /// What the answer promises.
    pub(crate) fn outcome(&self) -> Outcome {
        match (self.status, &self.token) {
            (200..=299, Some(token)) => Outcome::Acknowledged {
                position: position_of(token),
            },
            (400..=499, _) => Outcome::Refused {
                status: self.status,
                code: self.text("code"),
            },
            _ => Outcome::Unknown,
        }
    }

    /// A text at the top of the body; empty when there is none.
    pub(crate) fn text(&self, field: &str) -> String {
        self.body[field].as_str().unwrap_or_default().to_owned()
    }
}

/// The position inside a consistency token. Clients are not to look; a test may.
fn position_of(token: &str) -> i64 {
    let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix("c2.").unwrap());
    let bytes = bytes.unwrap();
    i64::from_be_bytes(bytes[..8].try_into().unwrap())
}
