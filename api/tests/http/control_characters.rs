//! Characters that no text holds, in every string of every operation that the document names.

use crate::client::{Answer, Person};
use crate::instance::{Api, start};
use crate::schema::Contract;
use crate::staff::staff;
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use touchline_domain::identity::Permission;

/// NUL, which PostgreSQL's text cannot hold; others of C0, DEL, and of C1.
const CONTROLS: [char; 6] = ['\0', '\u{1}', '\u{1b}', '\u{7f}', '\u{85}', '\u{9f}'];
/// What a header can hold of the kind: a tab, and bytes that are no ASCII.
const HEADER_BYTES: [&[u8]; 3] = [b"a\tb", b"\x80", b"a\xffb"];

#[tokio::test]
async fn no_string_of_any_operation_breaks_on_control_characters() {
    let api = start().await;
    let every = [
        Permission::Admin,
        Permission::Auditor,
        Permission::DataEngineer,
    ];
    let boss = staff(&api, "boss", &every).await;
    let contract = Contract::generated();
    let mut strings = 0;
    for (path, method, operation) in contract.operations() {
        let method: Method = method.parse().unwrap();
        let body = contract.example(operation);
        let case = Case {
            api: &api,
            boss: &boss,
            method,
            path: &path,
            body: body.as_ref(),
        };
        let parameters = operation["parameters"].as_array();
        for parameter in parameters.into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap();
            strings += case
                .parameter(name, parameter["in"].as_str().unwrap())
                .await;
        }
        for field in body.iter().filter_map(Value::as_object).flatten() {
            strings += case.field(field.0, field.1).await;
        }
    }
    assert!(strings > 100, "only {strings} strings were found");
}

/// An operation, and what is sent to it where nothing is odd.
struct Case<'a> {
    api: &'a Api,
    boss: &'a Person,
    method: Method,
    path: &'a str,
    body: Option<&'a Value>,
}

impl Case<'_> {
    async fn send(&self, path: &str, query: &[(&str, &str)], body: Option<&Value>) -> Answer {
        let mut request = self.api.request(self.method.clone(), path);
        request = request.bearer_auth(&self.boss.token);
        let query: Vec<_> = query
            .iter()
            .map(|(name, value)| format!("{name}={}", percent(value)))
            .collect();
        let path = match query.as_slice() {
            [] => path.to_owned(),
            some => format!("{path}?{}", some.join("&")),
        };
        if !query.is_empty() {
            request = self.api.request(self.method.clone(), &path);
            request = request.bearer_auth(&self.boss.token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        self.api.send(request).await
    }

    async fn parameter(&self, name: &str, place: &str) -> usize {
        if place == "header" {
            for bytes in HEADER_BYTES {
                let request = self.api.request(self.method.clone(), &self.filled(None));
                let mut request = request.bearer_auth(&self.boss.token);
                if let Some(body) = self.body {
                    request = request.json(body);
                }
                let value = HeaderValue::from_bytes(bytes).unwrap();
                let answer = self.api.send(request.header(name, value)).await;
                self.check(&answer, name);
            }
            return 1;
        }
        for control in CONTROLS {
            for text in [control.to_string(), format!("a{control}b")] {
                let answer = if place == "path" {
                    self.send(&self.filled(Some((name, &text))), &[], self.body)
                        .await
                } else {
                    self.send(&self.filled(None), &[(name, &text)], None).await
                };
                self.check(&answer, name);
                assert!(
                    answer.status >= 400,
                    "{} {}: {name} takes {text:?}",
                    self.method,
                    self.path
                );
            }
        }
        1
    }

    async fn field(&self, name: &str, example: &Value) -> usize {
        if !example.is_string() && !example.is_array() {
            return 0;
        }
        for control in CONTROLS {
            let text = format!("a{control}b");
            let odd = if example.is_array() {
                json!([text])
            } else {
                json!(text)
            };
            let mut body = self.body.unwrap().clone();
            body[name] = odd;
            let answer = self.send(&self.filled(None), &[], Some(&body)).await;
            self.check(&answer, name);
            assert!(
                answer.status >= 400,
                "{} {}: {name} takes {text:?}",
                self.method,
                self.path
            );
        }
        1
    }

    fn check(&self, answer: &Answer, name: &str) {
        assert!(
            answer.status < 500,
            "{} {}: {name}: {answer:?}",
            self.method,
            self.path
        );
    }

    /// The path with something good in each of its places, but for an odd one.
    fn filled(&self, odd: Option<(&str, &str)>) -> String {
        let steps = self.path.split('/').map(|step| {
            let Some(name) = step.strip_prefix('{').and_then(|it| it.strip_suffix('}')) else {
                return step.to_owned();
            };
            match odd {
                Some((place, text)) if place == name => percent(text),
                _ => match name {
                    "name" => "users".to_owned(),
                    "type" => "account".to_owned(),
                    "code" => "not-found".to_owned(),
                    "permission" => "auditor".to_owned(),
                    "user" => "boss".to_owned(),
                    _ => self.boss.user_id.clone(),
                },
            }
        });
        steps.collect::<Vec<_>>().join("/")
    }
}

fn percent(text: &str) -> String {
    let encoded = text.bytes().map(|byte| format!("%{byte:02X}"));
    encoded.collect::<Vec<_>>().concat()
}
