//! What a client is told while something is broken.

use crate::instance::{PASSWORD, Setup, sign_up_body, start, start_on, start_with};
use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use testkit::{eventually, proxy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;
use touchline_api::limits::Deadlines;
use touchline_eventstore::Position;
use touchline_eventstore::seal::Sealer;
use touchline_testkit as testkit;

#[tokio::test]
async fn without_its_database_every_operation_says_so_and_lives() {
    let database = testkit::database().await;
    let server = database
        .url
        .split_once("127.0.0.1:")
        .unwrap()
        .1
        .split(['/', '?'])
        .next()
        .unwrap();
    let cable = proxy(&format!("127.0.0.1:{server}")).await;
    let through = cable.url(&database.url);
    let setup = Setup {
        database_url: Some(through),
        ..Setup::default()
    };
    let api = start_on(Arc::new(database), setup).await;
    let ana = api.fan("ana").await;
    let path = api.publish(&ana, "First").await.header("location");
    cable.refuse(true);
    cable.cut();
    let unavailable = async |method: Method, path: &str, body: serde_json::Value| {
        let request = api
            .request(method.clone(), path)
            .bearer_auth(&ana.token)
            .header("If-Match", "*");
        let answer = api.send(request.json(&body)).await;
        assert_eq!(
            answer.code(),
            "unavailable",
            "{method} {path}: {}",
            answer.body
        );
        assert_eq!(answer.header("retry-after"), "1");
    };
    let like = format!("{path}/like");
    let (likes, comments) = (format!("{path}/likes"), format!("{path}/comments"));
    let follow = format!("/v1/users/{}/follow", uuid::Uuid::from_u128(9));
    let nothing = || json!({});
    tokio::join!(
        unavailable(Method::GET, &path, nothing()),
        unavailable(Method::GET, "/v1/users/ana", nothing()),
        unavailable(Method::GET, "/v1/users/me", nothing()),
        unavailable(Method::GET, "/v1/accounts/me", nothing()),
        unavailable(Method::GET, "/v1/feed", nothing()),
        unavailable(Method::GET, &likes, nothing()),
        unavailable(Method::GET, &comments, nothing()),
        unavailable(Method::PUT, &follow, nothing()),
        unavailable(Method::POST, "/v1/posts", json!({"caption": "x"})),
        unavailable(Method::PATCH, &path, json!({"caption": "x"})),
        unavailable(Method::DELETE, &path, nothing()),
        unavailable(Method::PUT, &like, nothing()),
        unavailable(Method::POST, &comments, json!({"text": "x"})),
        unavailable(Method::POST, "/v1/accounts", sign_up_body("ben")),
        unavailable(
            Method::POST,
            "/v1/sessions",
            json!({"email": "ana@example.org", "password": PASSWORD})
        ),
    );
    assert_eq!(api.get("/livez").await.status, 200);
    for path in ["/readyz", "/health", "/health/database"] {
        eventually(Duration::from_secs(10), path, || async {
            api.get(path).await.status == 503
        })
        .await;
    }
    cable.refuse(false);
    eventually(Duration::from_secs(30), "it recovers", || async {
        api.call(&ana, Method::GET, "/v1/feed").await.status == 200
            && api.get("/readyz").await.status == 200
    })
    .await;
}

#[tokio::test]
async fn more_passwords_than_can_be_hashed_soon_are_told_to_come_back() {
    let api = start_with(Setup {
        hashers: 1,
        ..Setup::default()
    })
    .await;
    let body = json!({"email": "ana@example.org", "password": PASSWORD});
    let answers = join_all((0..20).map(|_| api.post("/v1/sessions", &body))).await;
    let count = |code: &str| {
        answers
            .iter()
            .filter(|answer| answer.code() == code)
            .count()
    };
    assert!(count("busy") > 0, "one is hashed and four wait");
    assert!(count("invalid-credentials") > 0);
    assert_eq!(count("busy") + count("invalid-credentials"), 20);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let deadlines = Deadlines {
        body: Duration::from_millis(200),
        ..Deadlines::default()
    };
    let api = start_with(Setup {
        deadlines,
        ..Setup::default()
    })
    .await;
    let mut socket = tokio::net::TcpStream::connect(api.url.trim_start_matches("http://"))
        .await
        .unwrap();
    let head = "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"email\"";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&answer).contains("request_id") {
        let read = socket.read(&mut buffer).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..read]);
    }
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.starts_with("HTTP/1.1 408") && answer.contains("body-timeout"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() {
    let deadlines = Deadlines {
        request: Duration::from_millis(200),
        ..Deadlines::default()
    };
    let patient = start().await;
    let hasty = patient.another_node_with(deadlines).await;
    patient.stop_projections().await;
    hasty.stop_projections().await;
    // It waits for an event that nobody folds.
    let written = patient.post("/v1/accounts", &sign_up_body("ana")).await;
    let request = hasty
        .request(Method::GET, "/v1/users/ana")
        .header("Consistency-Token", written.header("consistency-token"));
    assert_eq!(hasty.send(request).await.code(), "handler-timeout");
}

#[tokio::test]
async fn people_whose_keys_are_missing_are_a_warning() {
    let api = start().await;
    let _ana = api.fan("ana").await;
    sqlx::query("TRUNCATE keys.data_keys")
        .execute(api.pool())
        .await
        .unwrap();
    // A process that met them before has their keys in memory.
    assert_eq!(api.get("/health").await.body["keys"], "pass");
    let another = api.another_node().await;
    let events = another.store.read(Position::START, 100).await.unwrap();
    another.store.open(events).await.unwrap();
    let health = another.get("/health").await.body;
    assert_eq!(
        (&health["keys"], &health["status"]),
        (&json!("warn"), &json!("warn"))
    );
}

#[tokio::test]
async fn a_read_model_that_needs_somebody_is_a_warning() {
    let api = start().await;
    let ana = api.fan("ana").await;
    let health = async || api.get("/health").await.body["projections"].clone();
    let halt = "UPDATE operations.checkpoints SET halted = $1 WHERE projection = 'posts'";
    let park = "INSERT INTO operations.parked_aggregates (projection, aggregate_type, aggregate_id, first_position, reason)
        SELECT 'users', 'account', $1, 1, 'for the test' WHERE $1 IS NOT NULL";
    let unpark = "DELETE FROM operations.parked_aggregates WHERE $1::text IS NULL";
    let nothing = None::<String>;
    for (change, undo) in [(halt, halt), (park, unpark)] {
        for (statement, value, expected) in [
            (change, Some(ana.user_id.clone()), "warn"),
            (undo, nothing.clone(), "pass"),
        ] {
            let changed = sqlx::query(statement).bind(value).execute(api.pool()).await;
            changed.unwrap();
            // An answer counts for a second.
            eventually(Duration::from_secs(30), statement, || async {
                health().await == json!(expected)
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_task_that_failed_is_a_warning() {
    for group in 0..3 {
        let api = start().await;
        let health = async || {
            let body = api.get("/health").await.body;
            (body["tasks"].clone(), body["status"].clone())
        };
        assert_eq!(health().await.0, json!("pass"));
        let groups = [&api.tasks, api.store.tasks(), api.freshness.tasks()];
        groups[group].keep("example", api.stop.clone(), || async {});
        eventually(Duration::from_secs(30), "it is seen", || async {
            health().await == (json!("warn"), json!("warn"))
        })
        .await;
        api.stop.cancel();
    }
}

#[tokio::test]
async fn a_log_that_nobody_seals_is_a_warning_after_half_a_minute() {
    let api = start().await;
    let _ana = api.fan("ana").await;
    let health = async || {
        let answer = api.get("/health").await;
        assert_eq!(answer.status, 200);
        (answer.body["status"].clone(), answer.body["seals"].clone())
    };
    assert_eq!(health().await, (json!("pass"), json!("pass")));
    api.clock.advance(Duration::from_secs(31));
    // An answer counts for a second.
    eventually(Duration::from_secs(10), "it is seen", || async {
        health().await == (json!("warn"), json!("warn"))
    })
    .await;
    let stop = CancellationToken::new();
    let sealer = Sealer::new(api.store.clone(), uuid::Uuid::from_u128(7));
    let sealing = tokio::spawn(sealer.run(stop.clone()));
    eventually(Duration::from_secs(10), "it is sealed", || async {
        health().await == (json!("pass"), json!("pass"))
    })
    .await;
    stop.cancel();
    sealing.await.unwrap();
}
