//! Entity tags: nobody overwrites what they have not seen.

use crate::instance::start;
use futures::future::join_all;
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn of_two_writers_with_one_tag_one_writes() {
    let api = start().await;
    let ana = api.fan("ana").await;
    let published = api.publish(&ana, "First").await;
    let (path, tag) = (published.header("location"), published.header("etag"));
    for round in 0..5 {
        let tag = if round == 0 {
            tag.clone()
        } else {
            format!("\"post-{}\"", round + 1)
        };
        let answers = join_all((0..8).map(|writer| {
            let request = api
                .request(Method::PATCH, &path)
                .bearer_auth(&ana.token)
                .header("If-Match", &tag);
            api.send(request.json(&json!({"caption": format!("{round}/{writer}")})))
        }))
        .await;
        let written: Vec<_> = answers
            .iter()
            .filter(|answer| answer.status == 200)
            .collect();
        assert_eq!(written.len(), 1);
        assert_eq!(written[0].header("etag"), format!("\"post-{}\"", round + 2));
        let refused = answers
            .iter()
            .filter(|answer| answer.code() == "version-mismatch")
            .count();
        assert_eq!(refused, 7);
    }
}

#[tokio::test]
async fn a_change_names_the_version_it_was_decided_on() {
    let api = start().await;
    let ana = api.fan("ana").await;
    let published = api.publish(&ana, "First").await;
    let path = published.header("location");
    for (method, path) in [
        (Method::PATCH, path.as_str()),
        (Method::DELETE, &path),
        (Method::PATCH, "/v1/users/me"),
    ] {
        let send = |tag: Option<&str>| {
            let mut request = api
                .request(method.clone(), path)
                .bearer_auth(&ana.token)
                .json(&json!({}));
            if let Some(tag) = tag {
                request = request.header("If-Match", tag);
            }
            api.send(request)
        };
        assert_eq!(
            send(None).await.code(),
            "precondition-required",
            "{method} {path}"
        );
        let malformed = send(Some("post-1")).await;
        assert_eq!(
            (malformed.code(), malformed.places()),
            ("invalid-header", vec!["If-Match"])
        );
        assert_eq!(send(Some("W/\"post-1\"")).await.code(), "invalid-header");
        assert_eq!(send(Some("\"post-99\"")).await.code(), "version-mismatch");
        assert_eq!(
            send(Some("\"elsewhere-1\"")).await.code(),
            "version-mismatch"
        );
    }
}

#[tokio::test]
async fn what_a_client_has_is_not_sent_again_until_it_changes() {
    let api = start().await;
    let (ana, ben) = (api.fan("ana").await, api.fan("ben").await);
    let published = api.publish(&ana, "First").await;
    let path = published.header("location");
    let first = api.get_after(&ana, &path, &published).await;
    let read = |tag: String| {
        api.send(
            api.request(Method::GET, &path)
                .bearer_auth(&ana.token)
                .header("If-None-Match", tag),
        )
    };
    let same = read(first.header("etag")).await;
    assert_eq!(
        (same.status, same.header("etag")),
        (304, first.header("etag"))
    );
    assert!(same.body.is_null());
    // A like is no new version of the post, and yet another answer.
    let liked = api.call(&ben, Method::PUT, &format!("{path}/like")).await;
    let after = api.get_after(&ana, &path, &liked).await;
    assert_ne!(after.header("etag"), first.header("etag"));
    let newer = read(first.header("etag")).await;
    assert_eq!((newer.status, &newer.body["like_count"]), (200, &json!(1)));
    // The tag of a read will do for a change.
    let edit = api
        .request(Method::PATCH, &path)
        .bearer_auth(&ana.token)
        .header("If-Match", first.header("etag"));
    assert_eq!(
        api.send(edit.json(&json!({"caption": "Second"})))
            .await
            .status,
        200
    );
    let account = api.call(&ana, Method::GET, "/v1/accounts/me").await;
    let again = api
        .request(Method::GET, "/v1/accounts/me")
        .bearer_auth(&ana.token);
    assert_eq!(
        api.send(again.header("If-None-Match", account.header("etag")))
            .await
            .status,
        304
    );
}
