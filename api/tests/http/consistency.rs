//! Reading one's own writes.

use crate::instance::start;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::stream::{self, StreamExt as _};
use reqwest::Method;
use serde_json::json;

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
    for junk in ["junk", "c1.", "c1.AAAA", "c2.AAAAAAAAAAAAAAAAAAAAAA", ""] {
        assert_eq!(
            read(junk).await.code(),
            "invalid-consistency-token",
            "{junk}"
        );
    }
    let mut bytes = URL_SAFE_NO_PAD
        .decode(token.strip_prefix("c1.").unwrap())
        .unwrap();
    // A position that this log does not have: it was restored from a backup.
    bytes[12] = 1;
    assert_eq!(
        read(&format!("c1.{}", URL_SAFE_NO_PAD.encode(&bytes)))
            .await
            .code(),
        "position-unknown"
    );
    // Another log.
    bytes[0] ^= 1;
    assert_eq!(
        read(&format!("c1.{}", URL_SAFE_NO_PAD.encode(&bytes)))
            .await
            .code(),
        "position-unknown"
    );
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
