//! Read models, as the data team asks for them.

use crate::client::Person;
use crate::instance::{Api, start};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use touchline_commands::{Bus, permissions};
use touchline_domain::id::UserId;
use touchline_domain::identity::Permission;
use touchline_testkit::{SequentialIds, eventually_some};

async fn data_engineer(api: &Api) -> Person {
    let person = api.fan("dea").await;
    let ids = Arc::new(SequentialIds::new(78));
    let bus = Bus::new(api.store.clone(), api.clock.clone(), ids);
    let id: UserId = person.user_id.parse().unwrap();
    let permission = Permission::DataEngineer;
    let granted = permissions::grant(&bus, &bus.envelope(None), id, permission).await;
    granted.unwrap();
    person
}

/// What stands under `path` once it is over.
async fn until_over(api: &Api, person: &Person, path: &str) -> serde_json::Value {
    eventually_some(Duration::from_secs(30), "it is over", || async {
        let answer = api.call(person, Method::GET, path).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let open = ["requested", "running", "swapping"];
        let is_over = !open.contains(&answer.body["state"].as_str().unwrap());
        is_over.then_some(answer.body)
    })
    .await
}

#[tokio::test]
async fn the_data_team_rebuilds_verifies_and_pauses() {
    let api = start().await;
    let dea = data_engineer(&api).await;
    api.publish(&dea, "one").await;
    let all = api.call(&dea, Method::GET, "/v1/projections").await;
    assert_eq!(all.status, 200, "{}", all.body);
    let names: Vec<_> = all.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].clone())
        .collect();
    assert_eq!(names, ["users", "posts", "history"]);

    let asked = api
        .call(&dea, Method::POST, "/v1/projections/posts/rebuilds")
        .await;
    assert_eq!(asked.status, 202, "{}", asked.body);
    let id = asked.text("rebuild_id");
    let path = format!("/v1/projections/posts/rebuilds/{id}");
    assert_eq!(asked.header("location"), path);
    let done = until_over(&api, &dea, &path).await;
    assert_eq!(
        (&done["state"], &done["drift_rows"]),
        (&json!("done"), &json!(0)),
        "{done}"
    );
    assert_eq!(done["requested_by"], json!(dea.user_id));
    let late = api.call(&dea, Method::DELETE, &path).await;
    assert_eq!((late.status, late.code()), (409, "rebuild-over"));

    let asked = api
        .call(&dea, Method::POST, "/v1/projections/posts/verifications")
        .await;
    assert_eq!(asked.status, 202, "{}", asked.body);
    let id = asked.text("verification_id");
    let path = format!("/v1/projections/posts/verifications/{id}");
    assert_eq!(asked.header("location"), path);
    let verified = until_over(&api, &dea, &path).await;
    assert_eq!(verified["findings"], json!([]), "{verified}");
    assert_eq!(verified["drift_rows"], 0);

    for _again in 0..2 {
        let answer = api
            .call(&dea, Method::PUT, "/v1/projections/users/pause")
            .await;
        assert_eq!(
            (answer.status, &answer.body["activity"]),
            (200, &json!("paused"))
        );
        assert_eq!(answer.body["paused_by"], json!(dea.user_id));
    }
    let resumed = api
        .call(&dea, Method::PUT, "/v1/projections/users/resume")
        .await;
    assert_eq!(resumed.body["paused_by"], json!(null));
    let parked = api
        .call(&dea, Method::GET, "/v1/projections/users/parked")
        .await;
    assert_eq!(parked.body, json!({"items": []}));
}

#[tokio::test]
async fn a_reason_is_kept_and_has_a_limit() {
    let api = start().await;
    let dea = data_engineer(&api).await;
    let send = async |method: Method, path: &str, body: &Value| {
        let request = api.request(method, path).bearer_auth(&dea.token);
        api.send(request.json(body)).await
    };
    let longest = "x".repeat(500);
    let (pause, rebuilds) = (
        "/v1/projections/users/pause",
        "/v1/projections/posts/rebuilds",
    );
    let paused = send(Method::PUT, pause, &json!({"reason": longest})).await;
    assert_eq!(
        paused.body["pause_reason"],
        json!(longest),
        "{}",
        paused.body
    );
    let asked = send(Method::POST, rebuilds, &json!({"reason": "to be sure"})).await;
    assert_eq!(asked.body["reason"], "to be sure", "{}", asked.body);
    let nothing = send(Method::POST, "/v1/projections/history/rebuilds", &json!({})).await;
    assert_eq!(nothing.body["reason"], "", "{}", nothing.body);

    for (method, path) in [(Method::PUT, pause), (Method::POST, rebuilds)] {
        let too_long = json!({"reason": format!("{longest}x")});
        let answer = send(method.clone(), path, &too_long).await;
        assert_eq!((answer.status, answer.code()), (422, "validation-failed"));
        assert_eq!(
            answer.body["errors"][0]["pointer"], "/reason",
            "{}",
            answer.body
        );
        let answer = send(method, path, &json!({"raeson": "a slip"})).await;
        assert_eq!((answer.status, answer.code()), (400, "unknown-field"));
        assert_eq!(answer.body["errors"][0]["pointer"], "/raeson");
    }
}

#[tokio::test]
async fn what_the_data_team_asks_for_wrongly_has_its_code() {
    let api = start().await;
    let dea = data_engineer(&api).await;
    let none = "00000000-0000-0000-0000-000000000000";
    for (method, path) in [
        (Method::GET, "/v1/projections/nothing".to_owned()),
        (Method::POST, "/v1/projections/nothing/rebuilds".to_owned()),
        (
            Method::GET,
            format!("/v1/projections/posts/rebuilds/{none}"),
        ),
        (Method::GET, "/v1/projections/posts/rebuilds/x".to_owned()),
        (
            Method::DELETE,
            format!("/v1/projections/posts/rebuilds/{none}"),
        ),
        (
            Method::GET,
            format!("/v1/projections/posts/verifications/{none}"),
        ),
        (Method::PUT, "/v1/projections/nothing/pause".to_owned()),
        (Method::GET, "/v1/projections/nothing/parked".to_owned()),
        (
            Method::POST,
            format!("/v1/projections/posts/parked/{none}/retry"),
        ),
    ] {
        let answer = api.call(&dea, method.clone(), &path).await;
        assert_eq!(
            (answer.status, answer.code()),
            (404, "not-found"),
            "{method} {path}"
        );
    }
    let stranger = api.fan("eve").await;
    for (method, path) in [
        (Method::GET, "/v1/projections"),
        (Method::POST, "/v1/projections/posts/rebuilds"),
        (Method::PUT, "/v1/projections/posts/pause"),
        (Method::POST, "/v1/projections/posts/parked/x/retry"),
    ] {
        let answer = api.call(&stranger, method.clone(), path).await;
        assert_eq!(answer.code(), "permission-required", "{method} {path}");
    }
}
