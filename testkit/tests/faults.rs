//! The means to break things.

#![expect(clippy::unwrap_used, reason = "test support")]

use std::time::Duration;

use async_nats::jetstream::{self, stream};
use sqlx::{Connection, PgConnection};
use touchline_domain::clock::{Clock, IdSource};
use touchline_testkit::{Direction, MockClock, SequentialIds, TestNats, eventually};

const PATIENCE: Duration = Duration::from_secs(30);

async fn publish(client: &async_nats::Client) {
    let jetstream = jetstream::new(client.clone());
    let config = stream::Config {
        name: "S".to_owned(),
        subjects: vec!["s".to_owned()],
        ..Default::default()
    };
    jetstream.get_or_create_stream(config).await.unwrap();
    jetstream
        .publish("s", "text".into())
        .await
        .unwrap()
        .await
        .unwrap();
}

async fn messages(nats: &TestNats) -> u64 {
    let jetstream = jetstream::new(nats.client().await);
    jetstream
        .get_stream("S")
        .await
        .unwrap()
        .cached_info()
        .state
        .messages
}

#[tokio::test]
async fn a_stream_can_be_rolled_back_to_an_older_copy() {
    let mut nats = touchline_testkit::nats().await;
    let copy = tempfile::tempdir().unwrap();
    let copy = copy.path().join("store");
    publish(&nats.client().await).await;
    nats.stop().await;
    nats.copy_store_to(&copy);
    nats.start().await;
    publish(&nats.client().await).await;
    assert_eq!(messages(&nats).await, 2);
    nats.kill().await;
    nats.restore_store_from(&copy);
    nats.start().await;
    assert_eq!(messages(&nats).await, 1);
}

#[tokio::test]
async fn a_client_finds_a_killed_server_again() {
    let mut nats = touchline_testkit::nats().await;
    let client = nats.client().await;
    nats.kill().await;
    nats.start().await;
    eventually(PATIENCE, "the client is connected again", || async {
        client.connection_state() == async_nats::connection::State::Connected
            && client.flush().await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_connection_is_cut_before_the_answer_and_the_request_was_done() {
    let database = touchline_testkit::empty_database().await;
    sqlx::query("CREATE TABLE note (number int)")
        .execute(&database.pool)
        .await
        .unwrap();
    let port: String = database
        .url
        .split_once("127.0.0.1:")
        .unwrap()
        .1
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    let proxy = touchline_testkit::proxy(&format!("127.0.0.1:{port}")).await;
    let mut connection = PgConnection::connect(&proxy.url(&database.url))
        .await
        .unwrap();
    sqlx::raw_sql("INSERT INTO note VALUES (1)")
        .execute(&mut connection)
        .await
        .unwrap();

    proxy.cut_after(Direction::ToClient, 0);
    sqlx::raw_sql("INSERT INTO note VALUES (2)")
        .execute(&mut connection)
        .await
        .unwrap_err();
    assert_eq!(proxy.cuts(), 1);
    let notes: i64 = sqlx::query_scalar("SELECT count(*) FROM note")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!(notes, 2);

    // Before the request arrived, nothing is done.
    let mut connection = PgConnection::connect(&proxy.url(&database.url))
        .await
        .unwrap();
    proxy.cut_after(Direction::ToServer, 10);
    sqlx::raw_sql("INSERT INTO note VALUES (3)")
        .execute(&mut connection)
        .await
        .unwrap_err();
    let notes: i64 = sqlx::query_scalar("SELECT count(*) FROM note")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!((notes, proxy.cuts()), (2, 2));

    let mut connection = PgConnection::connect(&proxy.url(&database.url))
        .await
        .unwrap();
    proxy.cut();
    connection.ping().await.unwrap_err();
    proxy.refuse(true);
    PgConnection::connect(&proxy.url(&database.url))
        .await
        .unwrap_err();
    proxy.refuse(false);
    PgConnection::connect(&proxy.url(&database.url))
        .await
        .unwrap();
}

#[tokio::test]
#[should_panic(expected = "not within 20ms: it never holds")]
async fn a_condition_that_never_holds_is_a_failure() {
    eventually(Duration::from_millis(20), "it never holds", || async {
        false
    })
    .await;
}

#[test]
fn time_and_ids_are_known_beforehand() {
    let clock = MockClock::at("2022-12-18T15:00:00Z");
    clock.advance(Duration::from_mins(150));
    assert_eq!(clock.now().to_rfc3339(), "2022-12-18T17:30:00+00:00");
    let (one, same, other) = (
        SequentialIds::new(1),
        SequentialIds::new(1),
        SequentialIds::new(2),
    );
    let first = one.next();
    assert_eq!(first.get_version_num(), 7);
    assert_eq!(first, same.next());
    assert_ne!(first, other.next());
    assert!(one.next() > first);
}
