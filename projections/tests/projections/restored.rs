//! A read model and its log, when the log has another history than the one that was folded.

use crate::history::History;
use crate::rebuild::Worker;
use crate::site::Site;
use async_nats::jetstream::{self, stream::Stream};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use touchline_eventstore::relay::{Relay, RelaySettings};
use touchline_eventstore::stream::NAME;
use touchline_eventstore::{EventStore, Position};
use touchline_projections::rebuild::RebuildState;
use touchline_projections::users::UsersProjection;
use touchline_projections::{Projection as _, ProjectionState};
use touchline_testkit::eventually;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_mins(1);

/// A log that was restored without its read models is shorter than they are, and then has other events
/// at the positions that they have folded.
#[tokio::test]
async fn a_read_model_of_another_history_is_halted_until_it_is_rebuilt() {
    for grown in [0, 2, 5] {
        let site = Site::new().await;
        let mut history = History::default();
        for number in 1..=6 {
            history.register(number);
        }
        let folded = site.append(&history, 0).await;
        let mut running = site.run(UsersProjection, 1);
        running.until_at(folded).await;
        running.stop().await;
        site.test().lose_events_after(4).await;
        for number in 7..7 + grown {
            history.register(number);
        }
        site.append(&history, 6).await;
        let head = site.store.head().await.unwrap();

        let mut running = site.run(UsersProjection, 1);
        let halted = running
            .until(|status| matches!(status.state, ProjectionState::Halted { .. }))
            .await;
        let ProjectionState::Halted { reason, position } = halted.state else {
            unreachable!();
        };
        assert_eq!(position, folded, "{head}");
        assert!(reason.contains("rebuild"), "{reason}");
        running.stop().await;
        assert_eq!(site.checkpoint("users").await, Some(folded.get()));

        let _worker = Worker::start(&site, UsersProjection, 1);
        let rebuild = site
            .request_rebuild("users", UsersProjection::VERSION)
            .await;
        let rebuild = site.until_rebuilt(&rebuild).await;
        assert_eq!(rebuild.state, RebuildState::Done, "{head}");
        let mut running = site.run(UsersProjection, 1);
        running.until_at(head).await;
        running.stop().await;
    }
}

/// A message of the history that was lost is authentic, and follows on the log's last event. Whoever
/// kept it can publish it again; a checkpoint moves to no event but the log's.
#[tokio::test]
async fn a_checkpoint_does_not_pass_the_end_of_the_log() {
    let site = Site::new().await;
    let nats = touchline_testkit::nats().await;
    let client = nats.client().await;
    let context = jetstream::new(client.clone());
    let (mut history, mut head) = (History::default(), Position::START);
    for number in 1..=6 {
        history.register(number);
        head = site
            .append(&history, usize::try_from(head.get()).unwrap())
            .await;
    }
    relay_up_to(&site.store, &client, head).await;
    let kept = stream(&context).await.get_raw_message(6).await.unwrap();
    site.test().lose_events_after(5).await;
    relay_up_to(&site.store, &client, head.previous()).await;

    let mut running = site.run_with(UsersProjection, 1, Some(client.clone()));
    running.until_at(head.previous()).await;
    eventually(PATIENCE, "the runner follows the stream", || async {
        stream(&context).await.cached_info().state.consumer_count > 0
    })
    .await;
    let published = context
        .publish_with_headers(kept.subject, kept.headers, kept.payload)
        .await;
    assert_eq!(published.unwrap().await.unwrap().sequence, 6);
    // The term ends with it, and the next one reads what the log has.
    running
        .until(|status| status.state != ProjectionState::Running)
        .await;
    assert_eq!(site.checkpoint("users").await, Some(5));
    history.register(7);
    let head = site.append(&history, 6).await;
    running.until_at(head).await;
    let handles: Vec<String> = sqlx::query_scalar("SELECT handle FROM users.users ORDER BY handle")
        .fetch_all(site.pool())
        .await
        .unwrap();
    assert_eq!(
        handles,
        ["user1", "user2", "user3", "user4", "user5", "user7"]
    );
    running.stop().await;
}

async fn stream(context: &jetstream::Context) -> Stream {
    context.get_stream(NAME).await.unwrap()
}

/// Lets a relay make the stream a copy of the log.
async fn relay_up_to(store: &EventStore, client: &async_nats::Client, head: Position) {
    let stop = CancellationToken::new();
    let holder = Uuid::from_u128(5);
    let settings = RelaySettings::default();
    let relay = Relay::new(store.clone(), client.clone(), holder, settings);
    let mut status = relay.status();
    let relaying = tokio::spawn(relay.run(stop.clone()));
    let published = status.wait_for(|it| it.leader && it.published == head);
    let published = tokio::time::timeout(PATIENCE, published).await;
    drop(published.expect("the stream must be filled").unwrap());
    stop.cancel();
    relaying.await.unwrap();
}
