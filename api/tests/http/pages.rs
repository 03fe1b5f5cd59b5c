//! Lists in pages.

use crate::client::{Answer, Person};
use crate::instance::Api;
use crate::instance::start;
use reqwest::Method;
use std::collections::BTreeSet;
use std::time::Duration;
use touchline_testkit::eventually;

async fn page(api: &Api, who: &Person, path: &str, cursor: Option<&str>) -> Answer {
    let mut request = api.request(Method::GET, path).bearer_auth(&who.token);
    if let Some(cursor) = cursor {
        request = request.query(&[("cursor", cursor)]);
    }
    api.send(request).await
}

#[tokio::test]
async fn a_walk_through_the_pages_meets_everything_once_while_more_is_written() {
    let api = start().await;
    let ana = api.fan("ana").await;
    let mut there = BTreeSet::new();
    let mut last = None;
    for number in 0..25 {
        if number % 3 == 0 {
            api.clock.advance(Duration::from_secs(1));
        }
        let published = api.publish(&ana, &format!("Post {number}")).await;
        there.insert(published.text("post_id"));
        last = Some(published);
    }
    for path in ["/v1/feed?limit=4", "/v1/users/ana/posts?limit=4"] {
        api.get_after(&ana, path, last.as_ref().unwrap()).await;
        let mut met = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let answer = page(&api, &ana, path, cursor.as_deref()).await;
            assert!(answer.items().len() <= 4);
            met.extend(answer.each("post_id").into_iter().map(ToOwned::to_owned));
            assert_eq!(
                answer.body["has_more"].as_bool().unwrap(),
                answer.body["next_cursor"].is_string()
            );
            assert_eq!(
                answer.headers.contains_key("link"),
                answer.body["has_more"].as_bool().unwrap()
            );
            let Some(next) = answer.body["next_cursor"].as_str() else {
                break;
            };
            cursor = Some(next.to_owned());
            api.clock.advance(Duration::from_secs(1));
            last = Some(api.publish(&ana, "Meanwhile").await);
        }
        let all: BTreeSet<_> = met.iter().cloned().collect();
        assert_eq!(all.len(), met.len(), "something came twice");
        assert!(there.is_subset(&all), "something was missed");
        there = all;
        let now = api
            .get_after(&ana, "/v1/feed?limit=100", last.as_ref().unwrap())
            .await;
        there.extend(now.each("post_id").into_iter().map(ToOwned::to_owned));
    }
}

#[tokio::test]
async fn the_link_leads_to_the_next_page() {
    let api = start().await;
    let ana = api.fan("ana").await;
    let mut last = None;
    for follower in ["ben", "cleo", "dan"] {
        let person = api.fan(follower).await;
        last = Some(
            api.call(
                &person,
                Method::PUT,
                &format!("/v1/users/{}/follow", ana.user_id),
            )
            .await,
        );
    }
    let first = api
        .get_after(&ana, "/v1/users/ana/followers?limit=2", &last.unwrap())
        .await;
    assert_eq!(first.each("handle"), ["dan", "cleo"]);
    let link = first.header("link");
    let next = link
        .strip_prefix('<')
        .and_then(|rest| rest.strip_suffix(">; rel=\"next\""))
        .unwrap();
    let second = api.call(&ana, Method::GET, next).await;
    assert_eq!(second.each("handle"), ["ben"]);
    assert_eq!(second.items()[0]["relation"]["followed_by"], true);
    let following = api.get("/v1/users/ben/following").await;
    assert_eq!(following.each("handle"), ["ana"]);
    assert!(following.items()[0].get("relation").is_none());
}

#[tokio::test]
async fn a_limit_is_1_to_100() {
    let api = start().await;
    let ana = api.fan("ana").await;
    for path in ["/v1/feed", "/v1/users/ana/posts", "/v1/users/ana/followers"] {
        for good in ["1", "100"] {
            let answer = page(&api, &ana, &format!("{path}?limit={good}"), None).await;
            assert!(
                [200, 404].contains(&answer.status),
                "{path} {good}: {}",
                answer.body
            );
        }
        for wrong in ["0", "101", "-1", "1.5", "many", "", "99999999999999999999"] {
            let answer = page(&api, &ana, &format!("{path}?limit={wrong}"), None).await;
            assert_eq!(
                (answer.code(), answer.places()),
                ("invalid-parameter", vec!["limit"]),
                "{wrong}"
            );
        }
    }
}

#[tokio::test]
async fn a_cursor_holds_for_the_list_it_was_made_for() {
    let api = start().await;
    let ana = api.fan("ana").await;
    api.publish(&ana, "One").await;
    let last = api.publish(&ana, "Two").await;
    let feed = api.get_after(&ana, "/v1/feed?limit=1", &last).await;
    let cursor = feed.text("next_cursor");
    assert_eq!(
        page(&api, &ana, "/v1/feed?rank=newest&limit=7", Some(&cursor))
            .await
            .each("caption"),
        ["One"]
    );
    assert_eq!(
        page(&api, &ana, "/v1/users/ana/posts", Some(&cursor))
            .await
            .code(),
        "invalid-cursor"
    );
    // Of the same kind, and of somebody else.
    api.fan("ben").await;
    let hers = page(&api, &ana, "/v1/users/ana/posts?limit=1", None).await;
    let hers = hers.text("next_cursor");
    let his = "/v1/users/ben/posts";
    eventually(Duration::from_secs(10), "he is there", || async {
        page(&api, &ana, his, None).await.status == 200
    })
    .await;
    assert_eq!(
        page(&api, &ana, his, Some(&hers)).await.code(),
        "invalid-cursor"
    );
    let changed = format!(
        "{}{}",
        if cursor.starts_with('A') { 'B' } else { 'A' },
        &cursor[1..]
    );
    for wrong in [
        changed.as_str(),
        "junk",
        "",
        &"A".repeat(512),
        &"A".repeat(513),
        &cursor[..cursor.len() - 4],
    ] {
        assert_eq!(
            page(&api, &ana, "/v1/feed", Some(wrong)).await.code(),
            "invalid-cursor",
            "{wrong}"
        );
    }
    assert_eq!(
        page(&api, &ana, "/v1/feed?rank=top", None).await.places(),
        ["rank"]
    );
}
