//! The committed documents are those of the code, and the pages that show them work.

use crate::instance::start;
use crate::schema::Contract;
use reqwest::Method;
use std::collections::BTreeSet;
use std::path::PathBuf;
use touchline_api::limits;
use touchline_api::problem::ProblemCode;
use touchline_domain::CATALOGUE;
use touchline_eventstore::store::{CACHE_BYTES_MAX, LOAD_PAGE_EVENTS};

/// Set to write the documents anew instead of comparing them.
const UPDATE: &str = "TOUCHLINE_UPDATE_DOCS";

fn compare(name: &str, made: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, made).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "docs/{name} is not what the code says: run with {UPDATE}=1 to write it anew"
    );
}

#[test]
fn the_catalogue_of_problems_is_that_of_the_code() {
    compare("problems.md", &ProblemCode::catalogue());
}

#[test]
fn the_openapi_document_is_that_of_the_code() {
    let mut made = touchline_api::openapi_document().to_pretty_json().unwrap();
    made.push('\n');
    compare("openapi.json", &made);
}

#[test]
fn the_page_of_limits_has_the_values_of_the_code() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/limits.md");
    let page = std::fs::read_to_string(path).unwrap();
    let deadlines = limits::Deadlines::default();
    for (name, value) in [
        (
            "bytes of a request body",
            limits::BODY_BYTES_MAX.to_string(),
        ),
        ("nesting of a JSON body", limits::JSON_DEPTH_MAX.to_string()),
        (
            "characters of an `Idempotency-Key`",
            limits::IDEMPOTENCY_KEY_CHARS_MAX.to_string(),
        ),
        ("items of a page", limits::PAGE_ITEMS_MAX.to_string()),
        ("bytes of a cursor", limits::CURSOR_BYTES_MAX.to_string()),
        (
            "digits of a position",
            limits::POSITION_DIGITS_MAX.to_string(),
        ),
        (
            "connections that are open at once",
            limits::CONNECTIONS_MAX.to_string(),
        ),
        (
            "connections from one address",
            limits::CONNECTIONS_PER_ADDRESS_MAX.to_string(),
        ),
        (
            "seconds that a read waits",
            limits::WAIT_MAX.as_secs().to_string(),
        ),
        (
            "seconds that an access token is good",
            limits::ACCESS_TOKEN_LIFETIME.as_secs().to_string(),
        ),
        (
            "seconds for a body to arrive",
            deadlines.body.as_secs().to_string(),
        ),
        (
            "seconds for a request",
            deadlines.request.as_secs().to_string(),
        ),
        (
            "bytes of the states of aggregates",
            CACHE_BYTES_MAX.to_string(),
        ),
        (
            "events of an aggregate that are in memory",
            LOAD_PAGE_EVENTS.to_string(),
        ),
    ] {
        let line = page
            .lines()
            .find(|line| line.contains(name))
            .unwrap_or_else(|| panic!("no line on {name}"));
        assert!(
            line.contains(&format!("| {value} |")),
            "{line} should say {value}"
        );
    }
    for kind in CATALOGUE {
        let line = format!("| `{}` | {} |", kind.aggregate_type, kind.events_max);
        assert!(page.contains(&line), "no line {line}");
    }
}

#[test]
fn every_operation_says_who_may_use_it_and_has_a_name_of_its_own() {
    let contract = Contract::generated();
    let mut names = BTreeSet::new();
    for (path, method, operation) in contract.operations() {
        assert!(
            operation["security"].is_array(),
            "{method} {path} does not say who may use it"
        );
        assert!(
            operation["summary"].is_string(),
            "{method} {path} has no summary"
        );
        let name = operation["operationId"].as_str().unwrap().to_owned();
        assert!(
            names.insert(name),
            "{method} {path} has the name of another operation"
        );
        assert!(
            operation["responses"]["500"].is_object(),
            "{method} {path} cannot fail?"
        );
    }
    assert_eq!(contract.document()["openapi"], "3.1.0");
}

/// Every operation that demands an account refuses whoever has none, and no other does.
#[tokio::test]
async fn the_gate_stands_before_every_operation() {
    let api = start().await;
    let contract = Contract::generated();
    for (path, method, operation) in contract.operations() {
        let path = path
            .replace("{user}", "nobody")
            .replace("{post_id}", &uuid::Uuid::nil().to_string());
        let method: Method = method.parse().unwrap();
        let answer = api.send(api.request(method.clone(), &path)).await;
        let demands_an_account = operation["security"]
            .as_array()
            .unwrap()
            .iter()
            .all(|way| way.get("access_token").is_some())
            && operation["security"] != serde_json::json!([]);
        // Whoever has none needs no permission either.
        assert_eq!(
            answer.code() == "authentication-required",
            demands_an_account,
            "{method} {path}"
        );
        // A bad token is refused where none is needed as well.
        let answer = api
            .send(api.request(method.clone(), &path).bearer_auth("junk"))
            .await;
        assert_eq!(answer.code(), "invalid-token", "{method} {path}");
        let answer = api
            .send(api.request(method.clone(), &format!("{path}?surprise=1")))
            .await;
        assert_eq!(answer.code(), "unknown-parameter", "{method} {path}");
    }
}

#[tokio::test]
async fn the_served_document_is_the_committed_one() {
    let api = start().await;
    let served = api.get("/openapi.json").await;
    assert_eq!(&served.body, Contract::generated().document());
}

/// Whatever the page loads comes from here, and is allowed by its own policy.
#[tokio::test]
async fn the_docs_page_needs_no_internet() {
    let api = start().await;
    let page = api
        .client
        .get(format!("{}/docs/", api.url))
        .send()
        .await
        .unwrap();
    assert_eq!(page.status(), 200);
    let policy = page.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(policy.contains("script-src 'self';"), "{policy}");
    let html = page.text().await.unwrap();
    assert!(
        !html.contains("http://") && !html.contains("https://"),
        "the page names another host"
    );
    assert!(
        !html.contains("<script>"),
        "the policy forbids scripts inside the page"
    );
    let mut loaded = 0;
    for attribute in ["src=\"", "href=\""] {
        for rest in html.split(attribute).skip(1) {
            let target = rest.split('"').next().unwrap().trim_start_matches("./");
            let answer = api
                .client
                .get(format!("{}/docs/{target}", api.url))
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 200, "{target}");
            loaded += 1;
        }
    }
    assert!(loaded >= 4, "{html}");
    let script = api
        .client
        .get(format!("{}/docs/swagger-initializer.js", api.url))
        .send()
        .await
        .unwrap();
    assert!(script.text().await.unwrap().contains("/openapi.json"));
}

#[tokio::test]
async fn the_catalogue_is_served() {
    let api = start().await;
    let all = api.get("/problems").await;
    assert_eq!(all.items().len(), ProblemCode::ALL.len());
    for code in ProblemCode::ALL {
        let entry = api.get(&code.type_uri()).await;
        assert_eq!(
            (entry.status, entry.text("code").as_str()),
            (200, code.as_str())
        );
    }
    assert_eq!(api.get("/problems/no-such").await.code(), "not-found");
}
