//! Reading one's own writes.

use crate::instance::{sign_up_body, start};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::stream::{self, StreamExt as _};
use reqwest::Method;
use serde_json::json;
use std::time::Duration;
use touchline_api::limits::Deadlines;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_writes_are_read_with_their_tokens() {
    let api = start().await;
    let (ana, ben) = (api.fan("ana").await, api.fan("ben").await);
    api.call(
        &ben,
        Method::PUT,
        &format!("/v1/users/{}/follow", ana.user_id),
    )
    .await;
    let stale = stream::iter(0..1_000)
        .map(async |number| {
            let caption = format!("Post {number}");
            let published = api.publish(&ana, &caption).await;
            let path = if number % 2 == 0 {
                published.header("location")
            } else {
                "/v1/feed?limit=100".to_owned()
            };
            let read = api.get_after(&ben, &path, &published).await;
            assert_eq!(read.status, 200, "{}", read.body);
            !read.body.to_string().contains(&format!("\"{caption}\""))
        })
        .buffer_unordered(16)
        .filter(|stale| std::future::ready(*stale))
        .count()
        .await;
    assert_eq!(stale, 0);
}

#[tokio::test]
async fn a_read_model_that_does_not_get_there_is_said_to_be_behind() {
    let api = start().await;
    let ana = api.fan("ana").await;
    let first = api.publish(&ana, "First").await;
    assert_eq!(
        api.get_after(&ana, &first.header("location"), &first)
            .await
            .status,
        200
    );
    api.stop_projections().await;
    let second = api.publish(&ana, "Second").await;
    let read = |prefer: &str| {
        let request = api.request(Method::GET, "/v1/feed").bearer_auth(&ana.token);
        let token = second.header("consistency-token");
        api.send(
            request
                .header("Consistency-Token", token)
                .header("Prefer", prefer),
        )
    };
    let behind = read("wait=0").await;
    assert_eq!(
        (behind.code(), behind.header("retry-after").as_str()),
        ("projection-behind", "1")
    );
    assert_eq!(read("wait=1").await.code(), "projection-behind");
    let odd = read("wait=soon").await;
    assert_eq!(
        (odd.code(), odd.places()),
        ("invalid-header", vec!["Prefer"])
    );
    // Without the token the old state is good enough, and says how old it is.
    let feed = api.call(&ana, Method::GET, "/v1/feed").await;
    assert_eq!(feed.each("caption"), ["First"]);
    assert!(feed.header("projection-position").parse::<i64>().unwrap() < api.events().await);
    // The write itself answered its state, and the log is never behind.
    assert_eq!(second.text("caption"), "Second");
    assert_eq!(
        api.get_after(&ana, "/v1/accounts/me", &second).await.status,
        200
    );
}

#[tokio::test]
async fn a_wait_that_was_wanted_is_said_to_be_applied() {
    let api = start().await;
    let ana = api.fan("ana").await;
    let published = api.publish(&ana, "First").await;
    let request = api.request(Method::GET, "/v1/feed").bearer_auth(&ana.token);
    let request = request
        .header("Consistency-Token", published.header("consistency-token"))
        .header("Prefer", "wait=60");
    assert_eq!(
        api.send(request).await.header("preference-applied"),
        "wait=5"
    );
}

#[tokio::test]
async fn a_token_of_elsewhere_is_told() {
    let api = start().await;
    let ana = api.fan("ana").await;
    let published = api.publish(&ana, "First").await;
    let token = published.header("consistency-token");
    assert_eq!(
        api.get_after(&ana, "/v1/feed", &published).await.status,
        200
    );
    let read = |token: &str| {
        let request = api
            .request(Method::GET, "/v1/feed")
            .bearer_auth(&ana.token)
            .header("Prefer", "wait=0");
        api.send(request.header("Consistency-Token", token))
    };
    assert_eq!(read(&token).await.status, 200);
    for junk in ["junk", "c2.", "c2.AAAA", "c1.AAAAAAAAAAAAAAAAAAAAAA", ""] {
        assert_eq!(
            read(junk).await.code(),
            "invalid-consistency-token",
            "{junk}"
        );
    }
    // A position that this log does not have, and another event at one that it has.
    for byte in [4, 8, 15] {
        assert_eq!(
            read(&changed(&token, byte)).await.code(),
            "position-unknown",
            "byte {byte}"
        );
    }
    let twice = api.request(Method::GET, "/v1/feed").bearer_auth(&ana.token);
    let twice = twice
        .header("Consistency-Token", &token)
        .header("Consistency-Token", &token);
    assert_eq!(api.send(twice).await.code(), "invalid-header");
    let body = json!({"caption": "Second"});
    assert_eq!(
        api.call_with(&ana, Method::POST, "/v1/posts", &body)
            .await
            .status,
        201
    );
}

/// A token with one bit changed.
fn changed(token: &str, byte: usize) -> String {
    let mut bytes = URL_SAFE_NO_PAD
        .decode(token.strip_prefix("c2.").unwrap())
        .unwrap();
    bytes[byte] ^= 1;
    format!("c2.{}", URL_SAFE_NO_PAD.encode(&bytes))
}

#[tokio::test]
async fn a_repeated_request_gets_the_token_of_the_first() {
    let api = start().await;
    let ana = api.fan("ana").await;
    let publish = || {
        let request = api
            .request(Method::POST, "/v1/posts")
            .bearer_auth(&ana.token);
        let request = request.header("Idempotency-Key", "once");
        api.send(request.json(&json!({"caption": "Once"})))
    };
    let first = publish().await;
    api.publish(&ana, "Something else").await;
    let again = publish().await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    let token = first.header("consistency-token");
    assert_eq!(again.header("consistency-token"), token);
    assert_eq!(api.get_after(&ana, "/v1/feed", &again).await.status, 200);
}

/// What cannot come is not waited for: a node that gives every request up after a moment answers it.
#[tokio::test]
async fn a_token_that_cannot_be_reached_does_not_wait() {
    let api = start().await;
    let deadlines = Deadlines {
        request: Duration::from_secs(4),
        ..Deadlines::default()
    };
    let hasty = api.another_node_with(deadlines).await;
    api.stop_projections().await;
    hasty.stop_projections().await;
    let written = api.post("/v1/accounts", &sign_up_body("ana")).await;
    let token = written.header("consistency-token");
    let read = |token: &str| {
        let request = hasty.request(Method::GET, "/v1/users/ana");
        hasty.send(request.header("Consistency-Token", token))
    };
    assert_eq!(read(&token).await.code(), "handler-timeout");
    for byte in [0, 4, 8, 15] {
        let forged = changed(&token, byte);
        assert_eq!(
            read(&forged).await.code(),
            "position-unknown",
            "byte {byte}"
        );
    }
}

#[tokio::test]
async fn the_token_of_a_lost_write_is_told_on_every_node_also_when_the_log_has_grown_past_it() {
    let one = start().await;
    let other = one.another_node().await;
    let ana = one.fan("ana").await;
    let kept = one.publish(&ana, "Kept").await;
    let kept_until = one.events().await;
    let (lost, also_lost) = (
        one.publish(&ana, "Lost").await,
        other.publish(&ana, "Lost as well").await,
    );
    for node in [&one, &other] {
        assert_eq!(node.get_after(&ana, "/v1/feed", &lost).await.status, 200);
    }
    // A restore takes the read models back with the log; here they are made anew.
    one.stop_projections().await;
    other.stop_projections().await;
    one.lose_events_after(kept_until).await;
    for node in [&one, &other] {
        for token in [&lost, &also_lost] {
            let read = node.get_after(&ana, "/v1/feed", token).await;
            assert_eq!(read.code(), "position-unknown");
        }
    }
    sqlx::query("DELETE FROM operations.checkpoints")
        .execute(one.pool())
        .await
        .unwrap();
    for schema in ["posts", "users", "history"] {
        sqlx::query(&format!("DROP SCHEMA {schema} CASCADE"))
            .execute(one.pool())
            .await
            .unwrap();
    }
    let third = one.another_node().await;
    for number in 0..4 {
        one.publish(&ana, &format!("New {number}")).await;
    }
    let new = third.publish(&ana, "Newest").await;
    assert!(one.events().await > kept_until + 2);
    for node in [&third, &one, &other] {
        for token in [&new, &kept] {
            let read = node.get_after(&ana, "/v1/feed", token).await;
            assert_eq!(read.status, 200, "{}", read.body);
        }
        for token in [&lost, &also_lost] {
            let read = node.get_after(&ana, "/v1/feed", token).await;
            assert_eq!(read.code(), "position-unknown");
        }
    }
}
