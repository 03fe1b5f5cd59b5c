//! Bodies of the right shape whose values break a rule.

use crate::client::Answer;
use crate::instance::{sign_up_body, start};
use reqwest::Method;
use serde_json::{Value, json};

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
