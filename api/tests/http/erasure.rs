//! Erasing one's account.

use crate::instance::{PASSWORD, start};
use reqwest::Method;
use serde_json::json;
use std::time::Duration;
use touchline_testkit::eventually;

#[tokio::test]
async fn everything_that_a_person_did_is_gone_and_what_others_did_stays() {
    let api = start().await;
    let (ana, ben) = (api.fan("ana").await, api.fan("ben").await);
    let of_ana = api.publish(&ana, "by ana").await.header("location").clone();
    let of_ben = api.publish(&ben, "by ben").await.header("location").clone();
    for (who, other, post) in [(&ana, &ben, &of_ben), (&ben, &ana, &of_ana)] {
        let follow = format!("/v1/users/{}/follow", other.user_id);
        api.call(who, Method::PUT, &follow).await;
        api.call(who, Method::PUT, &format!("{post}/like")).await;
    }
    let comments = format!("{of_ben}/comments");
    let question = json!({"text": "a question of ana"});
    let question = api
        .call_with(&ana, Method::POST, &comments, &question)
        .await;
    let answer = json!({"text": "an answer", "parent_id": question.text("comment_id")});
    let answer = api.call_with(&ben, Method::POST, &comments, &answer).await;
    let before = api.get_after(&ben, &of_ben, &answer).await;
    assert_eq!(
        (&before.body["like_count"], &before.body["comment_count"]),
        (&json!(1), &json!(2))
    );

    let erased = api.call(&ana, Method::DELETE, "/v1/accounts/me").await;
    assert_eq!(erased.status, 200, "{erased:?}");
    assert_eq!(erased.body, json!({"user_id": ana.user_id, "erased": true}));
    let again = api.call(&ana, Method::DELETE, "/v1/accounts/me").await;
    assert_eq!(
        (again.status, again.header("etag")),
        (200, erased.header("etag"))
    );

    for path in [
        of_ana.as_str(),
        "/v1/users/ana",
        &format!("/v1/users/{}", ana.user_id),
    ] {
        assert_eq!(
            api.get_after(&ben, path, &erased).await.status,
            404,
            "{path}"
        );
    }
    // Nobody is shown what is gone; the counts follow step by step (ADR-0025).
    eventually(Duration::from_secs(30), "the counts follow", || async {
        let after = api.get_after(&ben, &of_ben, &erased).await;
        let counts = (&after.body["like_count"], &after.body["comment_count"]);
        counts == (&json!(0), &json!(1))
    })
    .await;
    let left = api.get_after(&ben, &comments, &erased).await;
    assert_eq!(left.each("text"), ["an answer"]);
    assert_eq!(left.items()[0]["depth"], 1, "the answer keeps its place");
    assert_eq!(
        api.get_after(&ben, "/v1/feed", &erased)
            .await
            .each("caption"),
        ["by ben"]
    );
    let followers = format!("/v1/users/{}/followers", ben.user_id);
    assert!(
        api.get_after(&ben, &followers, &erased)
            .await
            .items()
            .is_empty()
    );

    let session = json!({"email": "ana@example.org", "password": PASSWORD});
    assert_eq!(
        api.post("/v1/sessions", &session).await.body["code"],
        "invalid-credentials"
    );
    let late = api.call(&ana, Method::PUT, &format!("{of_ben}/like")).await;
    assert_eq!(
        (late.status, &late.body["code"]),
        (401, &json!("invalid-token"))
    );
    let nobody = api
        .send(api.request(Method::DELETE, "/v1/accounts/me"))
        .await;
    assert_eq!(nobody.body["code"], "authentication-required");
}
