//! Several nodes on one database: whichever a client meets, it meets the same.

use crate::instance::start;
use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn what_one_node_wrote_is_read_with_its_token_on_another() {
    let one = start().await;
    let other = one.another_node().await;
    let ana = one.fan("ana").await;
    for number in 0..50 {
        let (writes, reads) = if number % 2 == 0 {
            (&one, &other)
        } else {
            (&other, &one)
        };
        one.clock.advance(Duration::from_secs(1));
        other.clock.advance(Duration::from_secs(1));
        let caption = format!("Post {number}");
        let published = writes.publish(&ana, &caption).await;
        let read = reads.get_after(&ana, "/v1/feed?limit=1", &published).await;
        assert_eq!(read.each("caption"), [caption.as_str()]);
    }
}

#[tokio::test]
async fn a_request_repeated_on_another_node_is_done_once() {
    let one = start().await;
    let other = one.another_node().await;
    let ana = one.fan("ana").await;
    let before = one.events().await;
    let answers = join_all((0..20).map(|number| {
        let api = if number % 2 == 0 { &one } else { &other };
        let request = api
            .request(Method::POST, "/v1/posts")
            .bearer_auth(&ana.token)
            .header("Idempotency-Key", "once");
        api.send(request.json(&json!({"caption": "Once"})))
    }))
    .await;
    assert_eq!(one.events().await, before + 1);
    assert!(
        answers
            .iter()
            .all(|answer| answer.status == 201 && answer.body == answers[0].body)
    );
}

#[tokio::test]
async fn of_writers_on_several_nodes_with_one_tag_one_writes() {
    let one = start().await;
    let other = one.another_node().await;
    let ana = one.fan("ana").await;
    let path = one.publish(&ana, "First").await.header("location");
    for round in 1..=10 {
        let tag = format!("\"post-{round}\"");
        let answers = join_all([&one, &other, &one, &other].into_iter().enumerate().map(
            |(writer, api)| {
                let request = api
                    .request(Method::PATCH, &path)
                    .bearer_auth(&ana.token)
                    .header("If-Match", &tag);
                api.send(request.json(&json!({"caption": format!("{round}/{writer}")})))
            },
        ))
        .await;
        assert_eq!(
            answers.iter().filter(|answer| answer.status == 200).count(),
            1
        );
        assert_eq!(
            answers
                .iter()
                .filter(|answer| answer.code() == "version-mismatch")
                .count(),
            3
        );
    }
}

#[tokio::test]
async fn a_cursor_and_a_name_are_good_on_every_node() {
    let one = start().await;
    let other = one.another_node().await;
    let ana = one.fan("ana").await;
    other.publish(&ana, "First").await;
    let change = json!({"display_name": "Ana Sousa"});
    let request = one
        .request(Method::PATCH, "/v1/users/me")
        .bearer_auth(&ana.token)
        .header("If-Match", "*");
    assert_eq!(one.send(request.json(&change)).await.status, 200);
    other.clock.advance(Duration::from_secs(1));
    let second = other.publish(&ana, "Second").await;
    assert_eq!(second.body["author"]["display_name"], "Ana Sousa");
    let page = one.get_after(&ana, "/v1/feed?limit=1", &second).await;
    let rest = other
        .call(
            &ana,
            Method::GET,
            &format!("/v1/feed?cursor={}", page.text("next_cursor")),
        )
        .await;
    assert_eq!(rest.each("caption"), ["First"]);
}
