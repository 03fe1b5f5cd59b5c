//! History as auditors read it, and what is recorded of their looks.

use crate::client::{Answer, Person};
use crate::instance::{Api, start};
use crate::staff::staff;
use reqwest::Method;
use serde_json::{Value, json};
use touchline_domain::identity::Permission;
use touchline_eventstore::LogEvent;
use touchline_eventstore::Position;
use touchline_eventstore::export::{Reader, Record};

/// An auditor, and a community in which Ana publishes a post and edits it.
struct Community {
    api: Api,
    auditor: Person,
    ana: Person,
    post: String,
}

impl Community {
    async fn new() -> Self {
        let api = start().await;
        let auditor = staff(&api, "auditor", &[Permission::Auditor]).await;
        let ana = api.fan("ana").await;
        let published = api.publish(&ana, "Half time").await;
        let post = published.text("post_id");
        let edit = api
            .request(Method::PATCH, &format!("/v1/posts/{post}"))
            .bearer_auth(&ana.token)
            .header("If-Match", published.header("etag"))
            .json(&json!({"caption": "Full time"}));
        assert_eq!(api.send(edit).await.status, 200);
        Self {
            api,
            auditor,
            ana,
            post,
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.api.call(&self.auditor, Method::GET, path).await
    }

    /// The looks that were recorded after a position.
    async fn looks_after(&self, position: i64) -> Vec<Value> {
        let after = Position::new(position).unwrap();
        let events = self.api.store.read(after, 1_000).await.unwrap();
        let look = |event: &LogEvent| {
            let payload: Value = serde_json::from_str(event.payload.get()).unwrap();
            payload.get("audit.history_read").cloned()
        };
        events.iter().filter_map(look).collect()
    }
}

fn names(answer: &Answer) -> Vec<&str> {
    answer.each("event_type")
}

#[tokio::test]
async fn a_slice_is_read_in_pages_and_each_look_is_recorded() {
    let community = Community::new().await;
    let head = community.api.events().await;
    let path = "/v1/audit/events?type=posts.";
    let all = community.get(path).await;
    assert_eq!(all.status, 200, "{}", all.body);
    assert_eq!(names(&all), ["posts.post_published", "posts.post_edited"]);
    assert_eq!(all.body["until"], head.to_string());
    assert_eq!(all.header("projection-position"), head.to_string());

    let first = community.get(&format!("{path}&limit=1&until={head}")).await;
    assert_eq!(names(&first), ["posts.post_published"]);
    assert_eq!(first.body["has_more"], true);
    let after = first.text("next_after");
    let second = community
        .get(&format!("{path}&limit=1&until={head}&after={after}"))
        .await;
    assert_eq!(names(&second), ["posts.post_edited"]);

    let looks = community.looks_after(head).await;
    assert_eq!(looks.len(), 3, "each page is a look");
    let look = &looks[2];
    assert_eq!(look["reader"], community.auditor.user_id);
    assert_eq!(look["surface"], "api");
    assert_eq!(look["operation"], "list");
    assert_eq!(look["events_max"], 1);
    assert_eq!(look["personal"], false);
    let after: i64 = after.parse().unwrap();
    assert_eq!(
        look["slice"],
        json!({"event_type": "posts.", "after": after, "until": head})
    );
}

#[tokio::test]
async fn every_condition_narrows_the_slice() {
    let community = Community::new().await;
    let (ana, post) = (&community.ana.user_id, &community.post);
    let whole = community.get("/v1/audit/events").await;
    let correlation = whole.items().iter().find_map(|event| {
        let is_edit = event["event_type"] == "posts.post_edited";
        is_edit.then(|| event["metadata"]["correlation_id"].as_str().unwrap())
    });
    let correlation = correlation.unwrap();
    for (query, expected) in [
        (format!("actor={ana}"), 2),
        (format!("aggregate_id={post}"), 2),
        (format!("aggregate_type=post&aggregate_id={post}"), 2),
        (format!("aggregate_type=like&aggregate_id={post}"), 0),
        ("aggregate_type=post".to_owned(), 2),
        (format!("actor={ana}&type=posts.post_edited"), 1),
        (format!("correlation_id={correlation}"), 1),
        ("type=posts.&from=2022-12-18T12:00:00Z".to_owned(), 2),
        ("type=posts.&to=2022-12-18T12:00:00Z".to_owned(), 0),
        ("type=posts.&from=2022-12-18T12:00:00.000001Z".to_owned(), 0),
        ("type=identity.".to_owned(), 3),
    ] {
        let answer = community.get(&format!("/v1/audit/events?{query}")).await;
        assert_eq!(answer.items().len(), expected, "{query}: {}", answer.body);
    }
}

#[tokio::test]
async fn what_is_personal_needs_the_further_permission() {
    let community = Community::new().await;
    let post = &community.post;
    let head = community.api.events().await;
    for path in [
        "/v1/audit/events?type=posts.".to_owned(),
        format!("/v1/audit/aggregates/post/{post}/events"),
        format!("/v1/audit/aggregates/post/{post}"),
    ] {
        let answer = community.get(&path).await;
        let text = answer.body.to_string();
        assert_eq!(answer.status, 200, "{path}: {text}");
        assert!(text.contains(r#"{"sealed":true}"#), "{path}: {text}");
        assert!(!text.contains("time\""), "{path}: {text}");

        let separator = if path.contains('?') { '&' } else { '?' };
        let personal = format!("{path}{separator}personal=true");
        let refused = community.get(&personal).await;
        assert_eq!(
            (refused.status, refused.code()),
            (403, "permission-required")
        );
    }
    assert_eq!(community.looks_after(head).await.len(), 3);

    let further = [Permission::Auditor, Permission::AuditorPersonal];
    let cleo = staff(&community.api, "cleo", &further).await;
    let path = format!("/v1/audit/aggregates/post/{post}?personal=true");
    let state = community.api.call(&cleo, Method::GET, &path).await;
    assert_eq!(state.body["state"]["published"]["caption"], "Full time");
    let looks = community.looks_after(head).await;
    assert_eq!(looks[3]["personal"], true);
    assert_eq!(looks[3]["operation"], "state");
}

#[tokio::test]
async fn an_aggregate_has_a_history_and_a_state_at_every_point() {
    let community = Community::new().await;
    let further = [Permission::Auditor, Permission::AuditorPersonal];
    let cleo = staff(&community.api, "cleo", &further).await;
    let get = async |path: &str| community.api.call(&cleo, Method::GET, path).await;
    let of_post = format!("/v1/audit/aggregates/post/{}", community.post);
    let history = get(&format!("{of_post}/events?personal=true")).await;
    assert_eq!(history.status, 200, "{}", history.body);
    let edit = &history.items()[1];
    assert_eq!(edit["event"]["sequence"], 2);
    let change = edit["changes"].as_array().unwrap().iter();
    let mut change = change.filter(|it| it["path"] == "/published/caption");
    assert_eq!(
        change.next().unwrap(),
        &json!({"path": "/published/caption", "old": "Half time", "new": "Full time"})
    );
    let page = get(&format!("{of_post}/events?limit=1")).await;
    let after = page.text("next_after");
    let rest = get(&format!("{of_post}/events?after={after}")).await;
    assert_eq!(
        (rest.items().len(), &rest.body["has_more"]),
        (1, &json!(false))
    );

    let at = history.items()[0]["event"]["position"].as_str().unwrap();
    let then = get(&format!("{of_post}?at={at}&personal=true")).await;
    assert_eq!(then.body["state"]["published"]["caption"], "Half time");
    assert_eq!(then.body["version"], 1);
    let now = get(&format!("{of_post}?personal=true")).await;
    assert_eq!(now.body["state"]["published"]["caption"], "Full time");
    let by_time = get(&format!("{of_post}?at=2022-12-18T12:00:00Z&personal=true")).await;
    assert_eq!(by_time.body["state"], now.body["state"]);
    let known = community
        .api
        .request(Method::GET, &format!("{of_post}?personal=true"))
        .bearer_auth(&cleo.token)
        .header("If-None-Match", now.header("etag"));
    assert_eq!(community.api.send(known).await.status, 304);
    for path in [
        format!("{of_post}?at=1"),
        format!("{of_post}?at=2022-12-18T11:59:59Z"),
        "/v1/audit/aggregates/post/01920000-0000-7000-8000-000000000003".to_owned(),
        "/v1/audit/aggregates/post/01920000-0000-7000-8000-000000000003/events".to_owned(),
        format!("/v1/audit/aggregates/posts/{}", community.post),
        "/v1/audit/aggregates/post/half-time".to_owned(),
    ] {
        assert_eq!(get(&path).await.code(), "not-found", "{path}");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_and_no_look() {
    let community = Community::new().await;
    let head = community.api.events().await;
    for (query, code, place) in [
        ("type=posts.post_adored", "invalid-parameter", Some("type")),
        (
            "aggregate_type=posts",
            "invalid-parameter",
            Some("aggregate_type"),
        ),
        ("actor=ana", "invalid-parameter", Some("actor")),
        (
            "correlation_id=7",
            "invalid-parameter",
            Some("correlation_id"),
        ),
        ("aggregate_id=", "invalid-parameter", Some("aggregate_id")),
        ("from=yesterday", "invalid-parameter", Some("from")),
        ("after=-1", "invalid-parameter", Some("after")),
        ("until=1.5", "invalid-parameter", Some("until")),
        ("personal=yes", "invalid-parameter", Some("personal")),
        ("limit=101", "invalid-parameter", Some("limit")),
        ("after=3&until=2", "backwards-range", Some("until")),
        (
            "from=2022-12-18T12:00:00Z&to=2022-12-18T12:00:00Z",
            "backwards-range",
            Some("to"),
        ),
        ("after=99999", "position-beyond-end", None),
        ("until=99999", "position-beyond-end", None),
        ("colour=red", "unknown-parameter", Some("colour")),
    ] {
        let answer = community.get(&format!("/v1/audit/events?{query}")).await;
        assert_eq!((answer.status, answer.code()), (400, code), "{query}");
        assert_eq!(answer.places(), Vec::from_iter(place), "{query}");
        if !query.contains("limit") {
            let answer = community.get(&format!("/v1/audit/export?{query}")).await;
            assert_eq!((answer.status, answer.code()), (400, code), "{query}");
        }
    }
    let of_post = format!("/v1/audit/aggregates/post/{}", community.post);
    let answer = community.get(&format!("{of_post}?at=noon")).await;
    assert_eq!(
        (answer.code(), answer.places()),
        ("invalid-parameter", vec!["at"])
    );
    let answer = community.get(&format!("{of_post}?at=99999")).await;
    assert_eq!(answer.code(), "position-beyond-end");
    let answer = community.get("/v1/audit/export?format=parquet").await;
    assert_eq!(answer.places(), ["format"]);
    assert_eq!(
        community.looks_after(head).await.len(),
        1,
        "the look beyond the end"
    );
}

async fn download(community: &Community, query: &str) -> (String, Vec<LogEvent>, Value) {
    let path = format!("/v1/audit/export{query}");
    let request = community.api.request(Method::GET, &path);
    let answer = request.bearer_auth(&community.auditor.token).send().await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 200);
    let media_type = answer.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    let bytes = answer.bytes().await.unwrap();
    let mut reader = Reader::open(&bytes[..]).unwrap();
    let header = serde_json::to_value(reader.header()).unwrap();
    let mut events = Vec::new();
    loop {
        match reader.next_record().unwrap() {
            Record::Event(event) => events.push(event),
            Record::End(trailer) => {
                assert_eq!(trailer.events, u64::try_from(events.len()).unwrap());
                return (media_type, events, header);
            }
        }
    }
}

#[tokio::test]
async fn an_export_holds_the_slice_as_it_is_stored() {
    let community = Community::new().await;
    let head = community.api.events().await;
    let stored = community.api.store.read(Position::START, 1_000).await;
    let stored = stored.unwrap();
    let text = |events: &[LogEvent]| serde_json::to_string(events).unwrap();

    let (media_type, events, header) = download(&community, "").await;
    assert_eq!(media_type, "application/x-ndjson");
    assert_eq!(text(&events), text(&stored));
    assert_eq!(header["slice"], json!({}));
    let (media_type, events, header) = download(&community, "?format=csv&type=posts.").await;
    assert!(media_type.starts_with("text/csv"));
    assert_eq!(text(&events), text(&stored[stored.len() - 2..]));
    assert_eq!(header["slice"], json!({"type": "posts."}));
    for event in &events {
        assert_eq!(event.computed_digest(), event.digest);
    }
    let looks = community.looks_after(head).await;
    assert_eq!(looks.len(), 2);
    assert_eq!(looks[1]["operation"], "export");
    assert_eq!(looks[1]["slice"]["event_type"], "posts.");

    // What is missing of a file that was cut is another file, which begins where that one ends.
    let (_, rest, _) = download(&community, "?after=2&until=4").await;
    assert_eq!(text(&rest), text(&stored[2..4]));
}

/// What cannot be recorded is not shown.
#[tokio::test]
async fn nothing_is_shown_when_the_look_cannot_be_recorded() {
    let community = Community::new().await;
    let role = community.api.role();
    let closed = format!("REVOKE INSERT ON log.events FROM {role}");
    sqlx::query(&closed)
        .execute(community.api.pool())
        .await
        .unwrap();
    let post = &community.post;
    for path in [
        "/v1/audit/events".to_owned(),
        format!("/v1/audit/aggregates/post/{post}"),
        format!("/v1/audit/aggregates/post/{post}/events"),
        "/v1/audit/export".to_owned(),
    ] {
        let answer = community.get(&path).await;
        assert_eq!((answer.status, answer.code()), (500, "internal"), "{path}");
    }
}

/// What is found by the index is complete or refused; what needs no index is never behind.
#[tokio::test]
async fn a_slice_waits_for_its_index() {
    let community = Community::new().await;
    let by_ana = format!("/v1/audit/events?actor={}", community.ana.user_id);
    let of_ana = format!("/v1/audit/aggregates/account/{}", community.ana.user_id);
    assert_eq!(community.get(&by_ana).await.items().len(), 2);
    community.api.stop_projections().await;
    community
        .api
        .publish(&community.ana, "After extra time")
        .await;
    let impatient = async |path: &str| {
        let request = community.api.request(Method::GET, path);
        let request = request.bearer_auth(&community.auditor.token);
        community.api.send(request.header("Prefer", "wait=0")).await
    };
    let behind = impatient(&by_ana).await;
    assert_eq!((behind.status, behind.code()), (503, "projection-behind"));
    for path in ["/v1/audit/events", of_ana.as_str()] {
        assert_eq!(impatient(path).await.status, 200, "{path}");
    }
}
