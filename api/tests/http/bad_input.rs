//! Everything that a client can get wrong, and what it is told.

use crate::client::{Answer, Person};
use crate::instance::{Api, PASSWORD, sign_up_body, start};
use reqwest::Method;
use serde_json::{Value, json};
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
async fn all_wrong_values_are_told_at_once() {
    let api = start().await;
    let mut body = sign_up_body("ana");
    body["email"] = json!("not an address");
    body["password"] = json!("short");
    body["handle"] = json!("A b");
    body["display_name"] = json!(" ");
    body["gender"] = json!("unknown");
    body["role"] = json!("player");
    body["birth_year"] = json!(1899);
    body["organization"] = json!("Acme");
    let answer = api.post("/v1/accounts", &body).await;
    assert_eq!(answer.code(), "validation-failed");
    let mut places = answer.places();
    places.sort_unstable();
    let expected = [
        "/birth_year",
        "/display_name",
        "/email",
        "/gender",
        "/handle",
        "/organization",
        "/password",
        "/playing_role",
    ];
    assert_eq!(places, expected);
    assert!(
        !answer.body.to_string().contains("not an address"),
        "what was typed is repeated"
    );
    assert_eq!(api.events().await, 0);
}

#[tokio::test]
async fn values_are_limited_at_their_limits() {
    let api = start().await;
    let ana = api.fan("ana").await;
    let path = api.publish(&ana, "First").await.header("location");
    let comments = format!("{path}/comments");
    let publish = async |body: Value| api.call_with(&ana, Method::POST, "/v1/posts", &body).await;
    let comment = async |text: String| {
        api.call_with(&ana, Method::POST, &comments, &json!({"text": text}))
            .await
    };
    let long = |length: usize| "é".repeat(length);
    let tags = |count: usize| {
        (0..count)
            .map(|number| format!("t{number}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(publish(json!({"caption": long(2200)})).await.status, 201);
    assert_eq!(
        publish(json!({"caption": long(2201)})).await.only_reason(),
        "too-long"
    );
    assert_eq!(
        publish(json!({"caption": " "})).await.only_reason(),
        "empty"
    );
    assert_eq!(
        publish(json!({"caption": "a\u{0}b"})).await.only_reason(),
        "malformed"
    );
    assert_eq!(
        publish(json!({"caption": "x", "tags": tags(30)}))
            .await
            .status,
        201
    );
    assert_eq!(
        publish(json!({"caption": "x", "tags": tags(31)}))
            .await
            .only_reason(),
        "too-many"
    );
    assert_eq!(
        publish(json!({"caption": "x", "tags": ["a b"]}))
            .await
            .places(),
        ["/tags/0"]
    );
    assert_eq!(
        publish(json!({"caption": "x", "category": long(51)}))
            .await
            .places(),
        ["/category"]
    );
    assert_eq!(
        publish(json!({"caption": "x", "device": long(81)}))
            .await
            .places(),
        ["/device"]
    );
    assert_eq!(
        publish(json!({"caption": "x", "visibility": "friends"}))
            .await
            .places(),
        ["/visibility"]
    );
    assert_eq!(comment(long(500)).await.status, 201);
    assert_eq!(comment(long(501)).await.only_reason(), "too-long");
    let password = async |length: usize| {
        let mut body = sign_up_body(&format!("p{length}"));
        body["password"] = json!("p".repeat(length));
        api.post("/v1/accounts", &body).await
    };
    assert_eq!(
        (password(12).await.status, password(128).await.status),
        (201, 201)
    );
    assert_eq!(password(11).await.only_reason(), "too-short");
    assert_eq!(password(129).await.only_reason(), "too-long");
}

#[tokio::test]
async fn the_rules_of_a_role_are_pointed_at() {
    let api = start().await;
    let sign_up = async |changes: Value| {
        let mut body = sign_up_body("ana");
        for (name, value) in changes.as_object().unwrap() {
            body[name] = value.clone();
        }
        api.post("/v1/accounts", &body).await
    };
    let player = |sport: &str, cricket_role: Value| json!({"role": "player", "sport": sport, "birth_year": 2000, "playing_role": "any", "cricket_role": cricket_role});
    for (changes, pointer, reason) in [
        (json!({"handle": "admin"}), "/handle", "reserved"),
        (json!({"role": "boss"}), "/role", "malformed"),
        (player("cricket", Value::Null), "/cricket_role", "required"),
        (
            player("football", json!("bowler")),
            "/cricket_role",
            "not-for-sport",
        ),
        (
            player("cricket", json!("pitcher")),
            "/cricket_role",
            "malformed",
        ),
        (
            json!({"role": "player", "birth_year": 2023, "playing_role": "any"}),
            "/birth_year",
            "in-future",
        ),
        (
            json!({"role": "fan", "experience_years": 3}),
            "/experience_years",
            "not-for-role",
        ),
        (json!({"role": "coach"}), "/experience_years", "required"),
        (
            json!({"role": "coach", "experience_years": 81}),
            "/experience_years",
            "out-of-range",
        ),
        (
            json!({"role": "club", "location": "Lisbon"}),
            "/contact",
            "required",
        ),
        (
            json!({"role": "scout", "experience_years": 1}),
            "/organization",
            "required",
        ),
    ] {
        let answer = sign_up(changes.clone()).await;
        assert_eq!(
            (answer.code(), answer.places()),
            ("validation-failed", vec![pointer]),
            "{changes}"
        );
        assert_eq!(answer.only_reason(), reason, "{changes}");
    }
    for staff in [
        "moderator",
        "responder",
        "auditor",
        "data_engineer",
        "admin",
    ] {
        assert_eq!(
            sign_up(json!({"role": staff})).await.code(),
            "staff-role",
            "{staff}"
        );
    }
    for mass in ["is_admin", "permissions", "status", "user_id", "verified"] {
        let answer = sign_up(json!({mass: true})).await;
        assert_eq!(
            (answer.code(), answer.places()),
            ("unknown-field", vec![format!("/{mass}").as_str()])
        );
    }
    assert_eq!(
        sign_up(player("cricket", json!("bowler"))).await.status,
        201
    );
    assert_eq!(
        sign_up(json!({"handle": "other"})).await.code(),
        "email-taken"
    );
    assert_eq!(
        sign_up(json!({"email": "other@example.org"})).await.code(),
        "handle-taken"
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

#[tokio::test]
async fn a_comment_answers_a_comment_below_the_same_post() {
    let api = start().await;
    let ana = api.fan("ana").await;
    let (one, other) = (
        api.publish(&ana, "One").await,
        api.publish(&ana, "Other").await,
    );
    let comment = async |post: &Answer, parent: Value| {
        let path = format!("{}/comments", post.header("location"));
        api.call_with(
            &ana,
            Method::POST,
            &path,
            &json!({"text": "x", "parent_id": parent}),
        )
        .await
    };
    let first = comment(&one, Value::Null).await;
    assert_eq!(first.status, 201);
    let elsewhere = comment(&other, first.body["comment_id"].clone()).await;
    assert_eq!(
        (elsewhere.only_reason(), elsewhere.places()),
        ("not-found", vec!["/parent_id"])
    );
    assert_eq!(
        comment(&one, json!(uuid::Uuid::nil())).await.only_reason(),
        "not-found"
    );
    assert_eq!(
        comment(&one, json!("junk")).await.only_reason(),
        "malformed"
    );
    assert_eq!(comment(&one, json!(7)).await.code(), "wrong-type");
}
