//! Access tokens: expired, forged, rotated.

use crate::instance::{NOON, sign_up_body, start};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use touchline_domain::clock::{Clock as _, Timestamp};
use touchline_testkit::eventually;

#[tokio::test]
async fn a_token_is_good_for_ten_minutes() {
    let api = start().await;
    let ana = api.fan("ana").await;
    api.clock.advance(Duration::from_mins(10));
    assert_eq!(
        api.call(&ana, Method::GET, "/v1/accounts/me").await.status,
        200
    );
    api.clock.advance(Duration::from_secs(5));
    let expired = api.call(&ana, Method::GET, "/v1/accounts/me").await;
    assert_eq!(expired.code(), "token-expired");
    assert!(expired.header("www-authenticate").contains("invalid_token"));
    // Where none is needed, a bad one is refused all the same: the client believes to be signed in.
    assert_eq!(
        api.call(&ana, Method::GET, "/v1/users/ana").await.code(),
        "token-expired"
    );
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let api = start().await;
    let ana = api.fan("ana").await;
    let jwks = api.get("/.well-known/jwks.json").await;
    let kid = jwks.body["keys"][0]["kid"].as_str().unwrap().to_owned();
    let now: Timestamp = NOON.parse().unwrap();
    let claims = json!({
        "iss": "touchline", "aud": "touchline-api", "sub": ana.user_id, "jti": ana.user_id,
        "iat": now.timestamp(), "nbf": now.timestamp(), "exp": now.timestamp() + 600,
    });
    let mut der = vec![
        0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
    ];
    der.extend([7; 32]);
    let own = EncodingKey::from_ed_der(&der);
    let header = |alg, kid: &str| Header {
        typ: Some("at+jwt".to_owned()),
        kid: Some(kid.to_owned()),
        ..Header::new(alg)
    };
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let public = URL_SAFE_NO_PAD
        .decode(jwks.body["keys"][0]["x"].as_str().unwrap())
        .unwrap();
    let mut payload = ana.token.split('.');
    let signature = payload.nth(2).unwrap();
    for (what, token) in [
        (
            "another key under a known name",
            encode(&header(Algorithm::EdDSA, &kid), &claims, &own).unwrap(),
        ),
        (
            "a key that nobody knows",
            encode(&header(Algorithm::EdDSA, "mine"), &claims, &own).unwrap(),
        ),
        (
            "the public key as a shared secret",
            encode(
                &header(Algorithm::HS256, &kid),
                &claims,
                &EncodingKey::from_secret(&public),
            )
            .unwrap(),
        ),
        (
            "no signature",
            format!(
                "{}.{}.",
                part(&json!({"alg": "none", "typ": "at+jwt", "kid": kid})),
                part(&claims)
            ),
        ),
        (
            "another payload under a good signature",
            format!(
                "{}.{}.{signature}",
                ana.token.split('.').next().unwrap(),
                part(&claims)
            ),
        ),
        ("junk", "junk".to_owned()),
        ("nothing", String::new()),
    ] {
        let answer = api
            .send(
                api.request(Method::GET, "/v1/accounts/me")
                    .bearer_auth(&token),
            )
            .await;
        assert_eq!(answer.code(), "invalid-token", "{what}");
    }
    let basic = api
        .request(Method::GET, "/v1/accounts/me")
        .basic_auth("ana", Some("x"));
    assert_eq!(api.send(basic).await.code(), "invalid-token");
}

#[tokio::test]
async fn keys_rotate_without_anybody_signing_in_again() {
    let api = start().await;
    let before = api.fan("ana").await;
    let old = api.get("/.well-known/jwks.json").await.body["keys"][0]["kid"]
        .as_str()
        .unwrap()
        .to_owned();
    let new = api
        .credentials
        .rotate_signing_key(api.clock.now() + Duration::from_secs(1))
        .await
        .unwrap();
    // Another node signs with the new key. This one reads it when it meets it, if the last time is
    // not too short ago.
    let claims = json!({
        "iss": "touchline", "aud": "touchline-api", "sub": before.user_id, "jti": before.user_id,
        "iat": api.clock.now().timestamp(), "nbf": api.clock.now().timestamp(), "exp": api.clock.now().timestamp() + 600,
    });
    let header = Header {
        typ: Some("at+jwt".to_owned()),
        kid: Some(new.kid.clone()),
        ..Header::new(Algorithm::EdDSA)
    };
    let token = encode(&header, &claims, &EncodingKey::from_ed_der(new.pkcs8())).unwrap();
    eventually(Duration::from_secs(10), "the new key is known", || async {
        let request = api
            .request(Method::GET, "/v1/accounts/me")
            .bearer_auth(&token);
        api.send(request).await.status == 200
    })
    .await;
    assert_eq!(
        api.call(&before, Method::GET, "/v1/accounts/me")
            .await
            .status,
        200
    );
    let jwks = api.get("/.well-known/jwks.json").await;
    let kids: Vec<_> = jwks.body["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["kid"].as_str().unwrap())
        .collect();
    assert_eq!(kids, [new.kid.as_str(), old.as_str()]);
}

#[tokio::test]
async fn signing_in_does_not_tell_who_has_an_account() {
    let api = start().await;
    api.post("/v1/accounts", &sign_up_body("ana")).await;
    let attempt = async |email: &str, password: &str| {
        let mut answer = api
            .post(
                "/v1/sessions",
                &json!({"email": email, "password": password}),
            )
            .await;
        answer.body["request_id"] = Value::Null;
        answer
    };
    let wrong = attempt("ana@example.org", "not her password").await;
    assert_eq!(wrong.code(), "invalid-credentials");
    for (email, password) in [
        ("eve@example.org", "not her password"),
        ("no address", ""),
        ("ANA@example.org", ""),
    ] {
        let answer = attempt(email, password).await;
        assert_eq!(answer.body, wrong.body, "{email}");
    }
    let other_case = json!({"email": "ANA@Example.org", "password": crate::instance::PASSWORD});
    assert_eq!(api.post("/v1/sessions", &other_case).await.status, 201);
}

#[tokio::test]
async fn the_token_of_an_account_that_is_not_there_names_nobody() {
    let api = start().await;
    let key = api
        .credentials
        .signing_keys(api.clock.now())
        .await
        .unwrap()
        .remove(0);
    let at = api.clock.now().timestamp();
    let id = uuid::Uuid::from_u128(404);
    let claims = json!({"iss": "touchline", "aud": "touchline-api", "sub": id, "jti": id, "iat": at, "nbf": at, "exp": at + 600});
    let header = Header {
        typ: Some("at+jwt".to_owned()),
        kid: Some(key.kid.clone()),
        ..Header::new(Algorithm::EdDSA)
    };
    let token = encode(&header, &claims, &EncodingKey::from_ed_der(key.pkcs8())).unwrap();
    let call = |method, path: &str| {
        api.send(
            api.request(method, path)
                .bearer_auth(&token)
                .json(&json!({"caption": "x"})),
        )
    };
    assert_eq!(
        call(Method::GET, "/v1/accounts/me").await.code(),
        "invalid-token"
    );
    assert_eq!(
        call(Method::POST, "/v1/posts").await.code(),
        "invalid-token"
    );
    assert_eq!(call(Method::GET, "/v1/users/me").await.code(), "not-found");
}
