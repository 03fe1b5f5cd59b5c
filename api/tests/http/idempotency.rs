//! The same request twice.

use crate::instance::{sign_up_body, start};
use futures::future::join_all;
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn fifty_identical_posts_at_once_are_one() {
    let api = start().await;
    let ana = api.fan("ana").await;
    let before = api.events().await;
    let answers = join_all((0..50).map(|_| {
        let request = api
            .request(Method::POST, "/v1/posts")
            .bearer_auth(&ana.token)
            .header("Idempotency-Key", "one-and-only")
            .json(&json!({"caption": "Once"}));
        api.send(request)
    }))
    .await;
    assert_eq!(api.events().await, before + 1);
    let first = &answers[0];
    let mut originals = 0;
    for answer in &answers {
        assert_eq!(answer.status, 201);
        assert_eq!(answer.body, first.body);
        for header in ["etag", "location", "consistency-token"] {
            assert_eq!(answer.header(header), first.header(header));
        }
        originals += usize::from(answer.header_or("idempotency-replayed", "false") == "false");
    }
    assert_eq!(originals, 1);
}

#[tokio::test]
async fn a_repetition_is_known_however_it_is_written_and_when_the_state_has_moved_on() {
    let api = start().await;
    let ana = api.fan("ana").await;
    let send = |body: &'static str| {
        let request = api
            .request(Method::POST, "/v1/posts")
            .bearer_auth(&ana.token)
            .header("Idempotency-Key", "k")
            .header("Content-Type", "application/json")
            .body(body);
        api.send(request)
    };
    let first = send(r#"{"caption":"Once","tags":["x"]}"#).await;
    let path = first.header("location");
    let edit = api
        .request(Method::PATCH, &path)
        .bearer_auth(&ana.token)
        .header("If-Match", "*");
    assert_eq!(
        api.send(edit.json(&json!({"caption": "Twice"})))
            .await
            .status,
        200
    );
    let again = send("{ \"tags\": [\"x\"],\n \"caption\": \"\\u004fnce\" }").await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.body, first.body);
    assert_eq!(
        send(r#"{"caption":"Another","tags":["x"]}"#).await.code(),
        "idempotency-key-reused"
    );
    assert_eq!(api.events().await, 3);
}

#[tokio::test]
async fn a_key_counts_for_one_caller_and_one_route() {
    let api = start().await;
    let (ana, ben) = (api.fan("ana").await, api.fan("ben").await);
    let post = |token: &str, path: &str, body: &serde_json::Value| {
        api.send(
            api.request(Method::POST, path)
                .bearer_auth(token)
                .header("Idempotency-Key", "k")
                .json(body),
        )
    };
    let one = post(&ana.token, "/v1/posts", &json!({"caption": "Hers"})).await;
    let other = post(&ben.token, "/v1/posts", &json!({"caption": "His"})).await;
    assert_eq!((one.status, other.status), (201, 201));
    let (hers, his) = (one.header("location"), other.header("location"));
    let text = json!({"text": "Same"});
    let comment = post(&ana.token, &format!("{hers}/comments"), &text).await;
    assert_eq!(comment.status, 201);
    // The same route and body below another post is another request.
    assert_eq!(
        post(&ana.token, &format!("{his}/comments"), &text)
            .await
            .code(),
        "idempotency-key-reused"
    );
    assert_eq!(
        post(&ana.token, &format!("{hers}/comments"), &text)
            .await
            .body,
        comment.body
    );
}

#[tokio::test]
async fn signing_up_twice_with_one_key_makes_one_account() {
    let api = start().await;
    let sign_up = |handle: &str| {
        let request = api
            .request(Method::POST, "/v1/accounts")
            .header("Idempotency-Key", "sign-up");
        api.send(request.json(&sign_up_body(handle)))
    };
    let first = sign_up("ana").await;
    let again = sign_up("ana").await;
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(api.events().await, 1);
    assert_eq!(sign_up("ben").await.code(), "idempotency-key-reused");
    // The stored fingerprint is no hash of the body that a reader of the log could try passwords on.
    let stored: Vec<u8> = sqlx::query_scalar("SELECT fingerprint FROM log.commands")
        .fetch_one(api.pool())
        .await
        .unwrap();
    assert_eq!(stored.len(), 32);
    api.sign_in("ana").await;
}

#[tokio::test]
async fn without_a_key_every_request_is_new() {
    let api = start().await;
    let ana = api.fan("ana").await;
    let (one, other) = (
        api.publish(&ana, "Same").await,
        api.publish(&ana, "Same").await,
    );
    assert_ne!(one.text("post_id"), other.text("post_id"));
}
