//! Requests that cannot be understood, and what is told of them.

use crate::client::{Answer, Person};
use crate::instance::{Api, PASSWORD, sign_up_body, start};
use reqwest::Method;
use serde_json::json;
use touchline_api::limits::{BODY_BYTES_MAX, IDEMPOTENCY_KEY_CHARS_MAX, JSON_DEPTH_MAX};

/// Sends these bytes as a post.
async fn raw(api: &Api, who: &Person, body: impl Into<reqwest::Body>) -> Answer {
    let request = api
        .request(Method::POST, "/v1/posts")
        .bearer_auth(&who.token);
    api.send(
        request
            .header("Content-Type", "application/json")
            .body(body),
    )
    .await
}

#[tokio::test]
async fn a_body_of_another_shape_is_pointed_at() {
    let api = start().await;
    let ana = api.fan("ana").await;
    for (body, code, pointer) in [
        ("{", "invalid-json", None),
        ("", "invalid-json", None),
        ("{}{}", "invalid-json", None),
        ("{'caption':1}", "invalid-json", None),
        ("\u{feff}{}", "invalid-json", None),
        (
            r#"{"caption":"x","is_admin":true}"#,
            "unknown-field",
            Some("/is_admin"),
        ),
        (
            r#"{"caption":"x","a/b~c":1}"#,
            "unknown-field",
            Some("/a~1b~0c"),
        ),
        (
            r#"{"caption":"x","caption":"y"}"#,
            "duplicate-field",
            Some("/caption"),
        ),
        (r#"{"tags":[]}"#, "missing-field", Some("/caption")),
        (r#"{"caption":7}"#, "wrong-type", Some("/caption")),
        (r#"{"caption":null}"#, "wrong-type", Some("/caption")),
        (r#"{"caption":"x","tags":"y"}"#, "wrong-type", Some("/tags")),
        (
            r#"{"caption":"x","tags":["y",{"z":1}]}"#,
            "wrong-type",
            Some("/tags/1"),
        ),
        (r#"["x"]"#, "wrong-type", Some("")),
        ("null", "wrong-type", Some("")),
        (r#""caption""#, "wrong-type", Some("")),
    ] {
        let answer = raw(&api, &ana, body).await;
        assert_eq!(answer.code(), code, "{body}");
        assert_eq!(
            answer.places(),
            pointer.into_iter().collect::<Vec<_>>(),
            "{body}"
        );
    }
    let broken = raw(&api, &ana, "{\n  \"caption\": oops\n}").await;
    assert!(
        broken.text("detail").contains("line 2, column 14"),
        "{}",
        broken.body
    );
    assert_eq!(
        raw(&api, &ana, vec![b'"', 0xff, b'"']).await.code(),
        "invalid-json"
    );
    assert_eq!(api.events().await, 1);
}

#[tokio::test]
async fn a_body_is_limited_in_size_and_depth() {
    let api = start().await;
    let ana = api.fan("ana").await;
    let padded = |length: usize| {
        let mut body = r#"{"caption":"x"}"#.to_owned();
        body.push_str(&" ".repeat(length - body.len()));
        body
    };
    assert_eq!(raw(&api, &ana, padded(BODY_BYTES_MAX)).await.status, 201);
    assert_eq!(
        raw(&api, &ana, padded(BODY_BYTES_MAX + 1)).await.code(),
        "body-too-large"
    );
    // Without a length told beforehand, too.
    let pieces = vec![
        Ok::<_, std::io::Error>(padded(BODY_BYTES_MAX)),
        Ok(" ".to_owned()),
    ];
    let endless = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    assert_eq!(raw(&api, &ana, endless).await.code(), "body-too-large");
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(
        raw(&api, &ana, nested(JSON_DEPTH_MAX)).await.code(),
        "wrong-type"
    );
    assert_eq!(
        raw(&api, &ana, nested(JSON_DEPTH_MAX + 1)).await.code(),
        "json-too-deep"
    );
    assert_eq!(
        raw(&api, &ana, nested(100_000)).await.code(),
        "json-too-deep"
    );
}

#[tokio::test]
async fn a_body_is_json_and_plain() {
    let api = start().await;
    let ana = api.fan("ana").await;
    let send = |content_type: Option<&str>, encoding: Option<&str>| {
        let mut request = api
            .request(Method::POST, "/v1/posts")
            .bearer_auth(&ana.token)
            .body(r#"{"caption":"x"}"#);
        if let Some(content_type) = content_type {
            request = request.header("Content-Type", content_type);
        }
        if let Some(encoding) = encoding {
            request = request.header("Content-Encoding", encoding);
        }
        api.send(request)
    };
    for good in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/vnd.touchline+json",
    ] {
        assert_eq!(send(Some(good), None).await.status, 201, "{good}");
    }
    for bad in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "multipart/form-data",
    ] {
        assert_eq!(
            send(Some(bad), None).await.code(),
            "unsupported-media-type",
            "{bad}"
        );
    }
    assert_eq!(send(None, None).await.code(), "unsupported-media-type");
    assert_eq!(
        send(Some("application/json"), Some("gzip")).await.code(),
        "unsupported-media-type"
    );
    assert_eq!(
        send(Some("application/json"), Some("identity"))
            .await
            .status,
        201
    );
}

#[tokio::test]
async fn unknown_paths_methods_parameters_and_ids_are_told() {
    let api = start().await;
    let ana = api.fan("ana").await;
    for path in [
        "/",
        "/v1",
        "/v1/nothing",
        "/v2/posts",
        "/v1/posts/",
        "//",
        "/v1/users/ana/enemies",
        "/%00",
        "/v1/%ff",
    ] {
        assert_eq!(api.get(path).await.code(), "unknown-route", "{path}");
    }
    for (method, path, allowed) in [
        (Method::DELETE, "/v1/posts", "POST"),
        (Method::POST, "/v1/users/me", "GET,HEAD,PATCH"),
        (Method::GET, "/v1/sessions", "POST"),
        (Method::TRACE, "/v1/feed", "GET,HEAD"),
        (Method::OPTIONS, "/livez", "GET,HEAD"),
    ] {
        let answer = api.call(&ana, method.clone(), path).await;
        assert_eq!(answer.code(), "method-not-allowed", "{method} {path}");
        let allow = answer.header("allow");
        let mut names: Vec<_> = allow.split(',').map(str::trim).collect();
        names.sort_unstable();
        assert_eq!(names.join(","), allowed, "{method} {path}");
    }
    for (query, code, name) in [
        ("limits=1", "unknown-parameter", "limits"),
        ("limit=1&limit=2", "duplicate-parameter", "limit"),
        ("limit=1&%6cimit=1", "duplicate-parameter", "limit"),
        ("Limit=1", "unknown-parameter", "Limit"),
    ] {
        let answer = api
            .call(&ana, Method::GET, &format!("/v1/feed?{query}"))
            .await;
        assert_eq!(
            (answer.code(), answer.places()),
            (code, vec![name]),
            "{query}"
        );
    }
    // What is no id names nothing.
    for id in [
        "junk",
        "00000000-0000-0000-0000-000000000000",
        "%ff",
        "' OR 1=1 --",
    ] {
        assert_eq!(
            api.get(&format!("/v1/posts/{id}")).await.code(),
            "not-found",
            "{id}"
        );
        assert_eq!(
            api.get(&format!("/v1/users/{id}")).await.code(),
            "not-found",
            "{id}"
        );
        let follow = api
            .call(&ana, Method::PUT, &format!("/v1/users/{id}/follow"))
            .await;
        assert_eq!(follow.code(), "not-found", "{id}");
    }
    let oneself = api
        .call(
            &ana,
            Method::PUT,
            &format!("/v1/users/{}/follow", ana.user_id),
        )
        .await;
    assert_eq!(oneself.code(), "cannot-follow-oneself");
    let head = api.send(api.request(Method::HEAD, "/livez")).await;
    assert_eq!(head.status, 200);
}

#[tokio::test]
async fn an_idempotency_key_has_1_to_255_characters() {
    let api = start().await;
    let ana = api.fan("ana").await;
    let path = api.publish(&ana, "First").await.header("location");
    let comments = format!("{path}/comments");
    for (path, body) in [
        ("/v1/posts", json!({"caption": "x"})),
        (comments.as_str(), json!({"text": "x"})),
        ("/v1/accounts", sign_up_body("ben")),
        (
            "/v1/sessions",
            json!({"email": "ana@example.org", "password": PASSWORD}),
        ),
    ] {
        let send = |key: String| {
            let request = api
                .request(Method::POST, path)
                .bearer_auth(&ana.token)
                .header("Idempotency-Key", key);
            api.send(request.json(&body))
        };
        assert_eq!(
            send("k".repeat(IDEMPOTENCY_KEY_CHARS_MAX)).await.status,
            201,
            "{path}"
        );
        for wrong in ["k".repeat(IDEMPOTENCY_KEY_CHARS_MAX + 1), String::new()] {
            let answer = send(wrong).await;
            assert_eq!(
                (answer.code(), answer.places()),
                ("invalid-header", vec!["Idempotency-Key"]),
                "{path}"
            );
        }
    }
}
