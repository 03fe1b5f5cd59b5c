//! The whole way, as a client goes it.

use crate::instance::{PASSWORD, sign_up_body, start};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn somebody_signs_up_follows_posts_likes_comments_and_reads_the_feed() {
    let api = start().await;
    let argentina = api.fan("argentina").await;
    let ana = api.fan("ana").await;

    let follow_path = format!("/v1/users/{}/follow", argentina.user_id);
    let followed = api.call(&ana, Method::PUT, &follow_path).await;
    assert_eq!(followed.status, 200);
    assert_eq!(followed.body["following"], true);
    assert_eq!(followed.body["follower_count"], 1);

    let post = json!({
        "caption": "Argentina 3–3 France, 4–2 on penalties",
        "category": "match",
        "tags": ["#WorldCup", "final", "worldcup"],
        "device": "phone",
    });
    let published = api
        .call_with(&argentina, Method::POST, "/v1/posts", &post)
        .await;
    assert_eq!(published.status, 201);
    assert_eq!(published.body["tags"], json!(["worldcup", "final"]));
    assert_eq!(published.body["visibility"], "public");
    assert_eq!(published.body["author"]["handle"], "argentina");
    assert_eq!(published.body["published_at"], "2022-12-18T12:00:00Z");
    let path = published.header("location");
    assert_eq!(path, format!("/v1/posts/{}", published.text("post_id")));

    let feed = api.get_after(&ana, "/v1/feed", &published).await;
    assert_eq!(
        feed.each("caption"),
        ["Argentina 3–3 France, 4–2 on penalties"]
    );
    assert_eq!(feed.body["has_more"], false);
    assert!(feed.header("projection-position").parse::<i64>().unwrap() >= api.events().await);

    let liked = api.call(&ana, Method::PUT, &format!("{path}/like")).await;
    assert_eq!(
        (&liked.body["liked"], &liked.body["like_count"]),
        (&json!(true), &json!(1))
    );
    let again = api.call(&ana, Method::PUT, &format!("{path}/like")).await;
    assert_eq!(again.body["like_count"], 1);
    assert_eq!(again.header("etag"), liked.header("etag"));
    let likers = api.get_after(&ana, &format!("{path}/likes"), &again).await;
    assert_eq!(likers.items()[0]["user"]["handle"], "ana");

    let comment = json!({"text": "What a match!"});
    let first = api
        .call_with(&ana, Method::POST, &format!("{path}/comments"), &comment)
        .await;
    assert_eq!(first.status, 201);
    let answer = json!({"text": "It was.", "parent_id": first.text("comment_id")});
    let second = api
        .call_with(
            &argentina,
            Method::POST,
            &format!("{path}/comments"),
            &answer,
        )
        .await;
    let comments = api
        .get_after(&ana, &format!("{path}/comments"), &second)
        .await;
    assert_eq!(comments.each("text"), ["What a match!", "It was."]);
    assert_eq!(comments.items()[1]["depth"], 1);

    let read = api.get_after(&ana, &path, &second).await;
    assert_eq!(
        (&read.body["like_count"], &read.body["comment_count"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(read.body["liked_by_me"], true);
    let anybody = api.get(&path).await;
    assert_eq!(anybody.body["liked_by_me"], false);

    let unliked = api
        .call(&ana, Method::DELETE, &format!("{path}/like"))
        .await;
    assert_eq!(
        (&unliked.body["liked"], &unliked.body["like_count"]),
        (&json!(false), &json!(0))
    );
    let unfollowed = api.call(&ana, Method::DELETE, &follow_path).await;
    assert_eq!(
        (
            &unfollowed.body["following"],
            &unfollowed.body["follower_count"]
        ),
        (&json!(false), &json!(0))
    );
    let feed = api
        .get_after(&ana, "/v1/feed?rank=newest", &unfollowed)
        .await;
    assert!(feed.items().is_empty());
}

#[tokio::test]
async fn a_post_is_edited_and_deleted_by_its_author_only() {
    let api = start().await;
    let (ana, ben) = (api.fan("ana").await, api.fan("ben").await);
    let published = api.publish(&ana, "First").await;
    let path = published.header("location");
    let edit = |who: &str, tag: String, body: Value| {
        api.send(
            api.request(Method::PATCH, &path)
                .bearer_auth(who)
                .header("If-Match", tag)
                .json(&body),
        )
    };
    let body =
        json!({"caption": "Second", "category": "news", "tags": ["x"], "visibility": "followers"});
    let edited = edit(&ana.token, published.header("etag"), body).await;
    assert_eq!(
        (edited.status, edited.text("caption").as_str()),
        (200, "Second")
    );
    assert_eq!(edited.header("etag"), "\"post-2\"");
    assert!(edited.body["edited_at"].is_string());
    let body = json!({"category": null, "tags": null});
    let cleared = edit(&ana.token, edited.header("etag"), body).await;
    assert_eq!(
        (&cleared.body["category"], &cleared.body["tags"]),
        (&json!(null), &json!([]))
    );

    // Ben does not follow Ana: for him there is no such post any more.
    assert_eq!(
        edit(
            &ben.token,
            cleared.header("etag"),
            json!({"caption": "Mine"})
        )
        .await
        .code(),
        "not-found"
    );
    let read = api.get_after(&ben, &path, &cleared).await;
    assert_eq!(read.code(), "not-found");
    api.call(
        &ben,
        Method::PUT,
        &format!("/v1/users/{}/follow", ana.user_id),
    )
    .await;
    assert_eq!(
        edit(
            &ben.token,
            cleared.header("etag"),
            json!({"caption": "Mine"})
        )
        .await
        .code(),
        "not-author"
    );

    let delete = |tag: String| {
        api.send(
            api.request(Method::DELETE, &path)
                .bearer_auth(&ana.token)
                .header("If-Match", tag),
        )
    };
    let deleted = delete(cleared.header("etag")).await;
    assert_eq!(
        (deleted.status, &deleted.body["deleted"]),
        (200, &json!(true))
    );
    assert_eq!(delete("*".to_owned()).await.code(), "not-found");
    assert_eq!(
        api.get_after(&ana, &path, &deleted).await.code(),
        "not-found"
    );
    let comment = json!({"text": "Gone?"});
    let late = api
        .call_with(&ana, Method::POST, &format!("{path}/comments"), &comment)
        .await;
    assert_eq!(late.code(), "not-found");
}

#[tokio::test]
async fn a_profile_is_changed_and_shown_to_each_as_they_may_see_it() {
    let api = start().await;
    let mut body = sign_up_body("ana");
    body["role"] = json!("player");
    body["birth_year"] = json!(1999);
    body["playing_role"] = json!("striker");
    let signed_up = api.post("/v1/accounts", &body).await;
    assert_eq!(signed_up.status, 201);
    assert_eq!(
        signed_up.body["role_details"],
        json!({"birth_year": 1999, "playing_role": "striker"})
    );
    assert!(!signed_up.body.to_string().contains(PASSWORD));
    let (ana, ben) = (api.sign_in("ana").await, api.fan("ben").await);
    let account = api.call(&ana, Method::GET, "/v1/accounts/me").await;
    assert_eq!(account.body, signed_up.body);

    let before = api.get_after(&ana, "/v1/users/me", &signed_up).await;
    assert_eq!(before.body["display_name"], "The ana");
    let change = json!({"display_name": "Ana Sousa", "bio": "Left foot.", "location": "Lisbon", "locale": "pt-pt", "time_zone": "Europe/Lisbon"});
    let patch = |tag: String, change: Value| {
        api.send(
            api.request(Method::PATCH, "/v1/users/me")
                .bearer_auth(&ana.token)
                .header("If-Match", tag)
                .json(&change),
        )
    };
    let changed = patch(before.header("etag"), change).await;
    assert_eq!(
        (changed.status, changed.text("locale").as_str()),
        (200, "pt-PT")
    );
    assert_eq!(changed.header("etag"), "\"profile-1\"");

    let own = api.get_after(&ana, "/v1/users/ana", &changed).await;
    assert_eq!(
        (
            own.text("time_zone").as_str(),
            &own.body["role_details"]["birth_year"]
        ),
        ("Europe/Lisbon", &json!(1999))
    );
    assert!(own.body.get("relation").is_none());
    let others = api
        .get_after(&ben, &format!("/v1/users/{}", ana.user_id), &changed)
        .await;
    assert_eq!(others.text("display_name"), "Ana Sousa");
    assert_eq!(
        others.body["relation"],
        json!({"following": false, "followed_by": false})
    );
    for hidden in ["email", "locale", "time_zone"] {
        assert!(
            others.body.get(hidden).is_none(),
            "{hidden} is shown to others"
        );
    }
    assert!(others.body["role_details"].get("birth_year").is_none());
    let cleared = patch(
        "\"profile-1\"".to_owned(),
        json!({"bio": null, "location": null}),
    )
    .await;
    assert_eq!(
        (cleared.text("bio"), cleared.text("location")),
        (String::new(), String::new())
    );
    let unchanged = patch("*".to_owned(), json!({})).await;
    assert_eq!(
        (unchanged.status, unchanged.header("etag")),
        (200, "\"profile-2\"".to_owned())
    );
}

#[tokio::test]
async fn an_account_that_waits_may_look_and_not_act() {
    let api = start().await;
    let mut body = sign_up_body("club");
    body["role"] = json!("club");
    body["location"] = json!("Lisbon");
    body["contact"] = json!("+351 1");
    let signed_up = api.post("/v1/accounts", &body).await;
    assert_eq!(signed_up.text("status"), "pending_approval");
    let club = api.sign_in("club").await;
    assert_eq!(
        api.get_after(&club, "/v1/feed", &signed_up).await.status,
        200
    );
    let refused = api
        .call_with(&club, Method::POST, "/v1/posts", &json!({"caption": "x"}))
        .await;
    assert_eq!(refused.code(), "account-pending");
}

#[tokio::test]
async fn who_may_see_a_post_is_kept_to_everywhere() {
    let api = start().await;
    let (ana, ben, eve) = (
        api.fan("ana").await,
        api.fan("ben").await,
        api.fan("eve").await,
    );
    api.call(
        &ben,
        Method::PUT,
        &format!("/v1/users/{}/follow", ana.user_id),
    )
    .await;
    let mut last = None;
    for visibility in ["public", "followers", "only_me"] {
        let body = json!({"caption": visibility, "visibility": visibility});
        last = Some(api.call_with(&ana, Method::POST, "/v1/posts", &body).await);
    }
    let last = last.unwrap();
    let sees = async |who| {
        let answer = api.get_after(who, "/v1/users/ana/posts", &last).await;
        answer
            .each("caption")
            .into_iter()
            .map(ToOwned::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(sees(&ana).await, ["only_me", "followers", "public"]);
    assert_eq!(sees(&ben).await, ["followers", "public"]);
    assert_eq!(sees(&eve).await, ["public"]);
    assert_eq!(
        api.get("/v1/users/ana/posts").await.each("caption"),
        ["public"]
    );
    assert_eq!(
        api.get_after(&ben, "/v1/feed", &last).await.each("caption"),
        ["followers", "public"]
    );
    let hidden = last.header("location");
    for path in [
        hidden.clone(),
        format!("{hidden}/likes"),
        format!("{hidden}/comments"),
    ] {
        assert_eq!(api.get(&path).await.code(), "not-found", "{path}");
    }
    assert_eq!(
        api.call(&ben, Method::PUT, &format!("{hidden}/like"))
            .await
            .code(),
        "not-found"
    );
}

#[tokio::test]
async fn health_tells_what_is_away() {
    let api = start().await;
    for path in [
        "/livez",
        "/readyz",
        "/health",
        "/health/database",
        "/health/nats",
    ] {
        let answer = api.get(path).await;
        assert_eq!(
            (answer.status, answer.text("status").as_str()),
            (200, "pass"),
            "{path}"
        );
    }
    api.nats_connected.send_replace(false);
    let whole = api.get("/health").await;
    assert_eq!(
        (
            whole.status,
            whole.text("status").as_str(),
            whole.text("nats").as_str()
        ),
        (200, "warn", "warn")
    );
    assert_eq!(api.get("/health/nats").await.status, 503);
    assert_eq!(api.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_request_keeps_its_id_down_to_the_log() {
    let api = start().await;
    let ana = api.fan("ana").await;
    let id = "5b1c7c52-93f4-4b8f-8f7c-0d8f7d8f9a10";
    let request = api
        .request(Method::POST, "/v1/posts")
        .bearer_auth(&ana.token)
        .header("X-Request-Id", id)
        .header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )
        .json(&json!({"caption": "x"}));
    assert_eq!(api.send(request).await.header("x-request-id"), id);
    let stored: String = sqlx::query_scalar(
        "SELECT metadata->>'correlation_id' FROM log.events ORDER BY position DESC LIMIT 1",
    )
    .fetch_one(api.pool())
    .await
    .unwrap();
    assert_eq!(stored, id);
    // What cannot be an id is replaced and not repeated.
    for odd in ["short", &"x".repeat(65), "with blanks in it"] {
        let answer = api
            .send(
                api.request(Method::GET, "/livez")
                    .header("X-Request-Id", odd),
            )
            .await;
        assert_ne!(answer.header("x-request-id"), odd);
    }
    for good in ["12345678", &"x".repeat(64)] {
        let answer = api
            .send(
                api.request(Method::GET, "/livez")
                    .header("X-Request-Id", good),
            )
            .await;
        assert_eq!(answer.header("x-request-id"), good);
    }
}
