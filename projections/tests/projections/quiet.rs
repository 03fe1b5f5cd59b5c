//! Replay has no effects (L10).

use crate::rebuild::{Worker, community};
use crate::site::Site;
use futures::StreamExt as _;
use std::time::Duration;
use touchline_eventstore::relay::{Relay, RelaySettings};
use touchline_projections::Projection as _;
use touchline_projections::posts::PostsProjection;
use touchline_projections::rebuild::RebuildState;
use touchline_projections::users::UsersProjection;
use uuid::Uuid;

/// Everything that a process could tell anybody goes through NATS or the log. While every read model
/// is rebuilt and verified, with a relay that would publish whatever was appended, neither moves.
#[tokio::test]
async fn rebuilding_and_verifying_publishes_and_appends_nothing() {
    let site = Site::new().await;
    let head = site.append(&community(40), 0).await;
    let nats = touchline_testkit::nats().await;
    let client = nats.client().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let relay = Relay::new(
        site.store.clone(),
        client.clone(),
        Uuid::from_u128(5),
        RelaySettings::default(),
    );
    let mut relayed = relay.status();
    let relaying = tokio::spawn(relay.run(stop.clone()));
    relayed.wait_for(|it| it.published >= head).await.unwrap();
    let mut users = site.run_with(UsersProjection, 1, Some(client.clone()));
    let mut posts = site.run_with(PostsProjection::default(), 1, Some(client.clone()));
    users.until_at(head).await;
    posts.until_at(head).await;

    let watcher = nats.client().await;
    let mut messages = watcher.subscribe(">").await.unwrap();
    watcher.flush().await.unwrap();
    let workers = [
        Worker::start(&site, UsersProjection, 1),
        Worker::start(&site, PostsProjection::default(), 1),
    ];
    for (name, version) in [
        ("users", UsersProjection::VERSION),
        ("posts", PostsProjection::VERSION),
    ] {
        let rebuild = site.request_rebuild(name, version).await;
        assert_eq!(site.until_rebuilt(&rebuild).await.state, RebuildState::Done);
        assert_eq!(site.verify(name, version).await.drift_rows, Some(0));
    }
    assert_eq!(site.store.head().await.unwrap(), head);
    let commands: i64 = sqlx::query_scalar("SELECT count(*) FROM log.commands")
        .fetch_one(site.pool())
        .await
        .unwrap();
    assert_eq!(commands, head.get());

    // What was published before this mark has been heard before it.
    client.publish("mark", "".into()).await.unwrap();
    client.flush().await.unwrap();
    let mut subjects = Vec::new();
    while subjects.last().is_none_or(|last| last != "mark") {
        let message = tokio::time::timeout(Duration::from_secs(30), messages.next());
        let message = message.await.expect("the mark does not come").unwrap();
        subjects.push(message.subject.to_string());
    }
    // The traffic between a consumer and JetStream itself is no message to anybody.
    subjects.retain(|subject| !subject.starts_with("_INBOX.") && !subject.starts_with("$JS."));
    assert_eq!(subjects, ["mark"]);
    users.stop().await;
    posts.stop().await;
    for worker in workers {
        worker.stop().await;
    }
    stop.cancel();
    relaying.await.unwrap();
}
