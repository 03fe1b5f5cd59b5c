//! Personal data in the log: sealed, opened, and erased, on a real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "tests")]

use futures::future::join_all;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use touchline_domain::aggregate::Decider as _;
use touchline_domain::clock::Timestamp;
use touchline_domain::id::{CommandId, PostId, UserId};
use touchline_domain::personal::Personal;
use touchline_domain::posts::{
    Caption, Category, EditPost, Post, PostCommand, PublishPost, Tags, Visibility,
};
use touchline_eventstore::database::Database;
use touchline_eventstore::keys::{KeyError, MasterKey};
use touchline_eventstore::{
    Append, Appended, EventStore, MasterKeys, NewEvent, Position, StreamAppend,
};
use touchline_testkit::{MASTER_KEY, MockClock, TestDatabase, database, eventually};
use uuid::Uuid;

const ANA: UserId = UserId::new(Uuid::from_u128(1));
const PATIENCE: Duration = Duration::from_secs(30);
const SECRET: &str = "canary-in-a-caption";

/// A store as another process would have it, with these master keys.
fn store_with(database: &TestDatabase, masters: &str) -> EventStore {
    let connections = Database::new(&database.url).unwrap();
    let pool = connections.pool(4);
    EventStore::new(
        connections,
        pool,
        MasterKeys::parse(masters).unwrap(),
        Arc::new(MockClock::at("2022-12-18T15:00:00Z")),
    )
}

fn store(database: &TestDatabase) -> EventStore {
    store_with(database, MASTER_KEY)
}

fn post(number: u128) -> PostId {
    PostId::new(Uuid::from_u128(0x2000 + number))
}

fn publish(number: u128, caption: &str) -> PostCommand {
    PostCommand::Publish(PublishPost {
        post_id: post(number),
        author_id: ANA,
        caption: Caption::parse(caption).unwrap(),
        category: Some(Category::parse(SECRET).unwrap()),
        device: None,
        tags: Tags::new([SECRET.replace('-', "_").parse().unwrap()]).unwrap(),
        visibility: Visibility::Public,
        at: Timestamp::UNIX_EPOCH,
    })
}

/// Decides a command on post `number`, whose version is known, and appends what happens.
async fn act(store: &EventStore, number: u128, version: i64, command: PostCommand) -> Appended {
    let state = store.load::<Post>(post(number).uuid()).await.unwrap().state;
    let events = state.decide(command).unwrap();
    // An id that no other event and no other command has.
    let id = Uuid::from_u128((number << 32) + u128::try_from(version).unwrap());
    let encode = |event| NewEvent::encode(id, event).unwrap();
    let append = Append {
        command_id: CommandId::new(id),
        fingerprint: [0; 32],
        metadata: BTreeMap::new(),
        streams: vec![StreamAppend {
            aggregate_type: Post::TYPE,
            aggregate_id: post(number).uuid(),
            expected_version: version,
            events: events.iter().map(encode).collect(),
        }],
        take: Vec::new(),
        release: Vec::new(),
    };
    store.append(append).await.unwrap()
}

async fn caption(store: &EventStore, number: u128) -> String {
    let post = store.refresh::<Post>(post(number).uuid()).await.unwrap();
    post.state.published().unwrap().caption.to_string()
}

async fn stored(store: &EventStore) -> Vec<String> {
    let events = store.read(Position::START, 1_000).await.unwrap();
    for event in &events {
        assert_eq!(event.digest, event.computed_digest());
    }
    events
        .into_iter()
        .map(|event| event.payload.get().to_owned())
        .collect()
}

#[tokio::test]
async fn what_a_person_wrote_is_in_the_log_only_as_ciphertext() {
    let database = database().await;
    let store = store(&database);
    act(&store, 1, 0, publish(1, SECRET)).await;
    let edit = PostCommand::Edit(EditPost {
        editor_id: ANA,
        caption: Some(Caption::parse("canary-edited").unwrap()),
        category: None,
        tags: None,
        visibility: None,
        at: Timestamp::UNIX_EPOCH,
    });
    // A process that has it in no memory reads it from the log, and goes on from there.
    let another = crate::store(&database);
    act(&another, 1, 1, edit).await;
    for payload in stored(&store).await {
        assert!(payload.contains(r#"{"sealed":"#), "{payload}");
        assert!(!payload.contains("canary"), "{payload}");
    }
    assert_eq!(caption(&crate::store(&database), 1).await, "canary-edited");
    let refreshed = store.refresh::<Post>(post(1).uuid()).await.unwrap();
    assert_eq!(
        (refreshed.version, caption(&another, 1).await.as_str()),
        (2, "canary-edited")
    );

    let events = store.read(Position::START, 10).await.unwrap();
    let opened = store.open(events).await.unwrap();
    assert!(opened[0].payload.get().contains(SECRET));
    assert!(opened[1].payload.get().contains("canary-edited"));
}

#[tokio::test]
async fn processes_that_meet_somebody_at_once_agree_on_a_key() {
    let database = database().await;
    let stores: Vec<_> = (0..8).map(|_| store(&database)).collect();
    let numbered = (0_u128..).zip(&stores);
    join_all(numbered.map(|(number, store)| act(store, number, 0, publish(number, SECRET)))).await;
    let keys: i64 = sqlx::query_scalar("SELECT count(*) FROM keys.data_keys")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!(keys, 1);
    let reader = store(&database);
    for number in 0..8 {
        assert_eq!(caption(&reader, number).await, SECRET);
    }
}

#[tokio::test]
async fn with_the_key_everything_is_erased_and_the_log_still_replays() {
    let database = database().await;
    let store = store(&database);
    act(&store, 1, 0, publish(1, SECRET)).await;
    let before = stored(&store).await;
    store.keys().destroy(ANA.uuid()).await.unwrap();
    store.keys().destroy(ANA.uuid()).await.unwrap();
    store.forget_states_of(ANA);
    for reader in [&store, &crate::store(&database)] {
        let erased = reader.refresh::<Post>(post(1).uuid()).await.unwrap().state;
        let erased = erased.published().unwrap();
        assert!(erased.caption == Personal::Erased && erased.tags == Personal::Erased);
        assert_eq!(erased.caption.to_string(), "erased");
    }
    assert_eq!(stored(&store).await, before, "the log is not touched");

    // Who is erased writes nothing any more, whatever a slow process lets them do.
    act(&store, 2, 0, publish(2, SECRET)).await;
    let late = stored(&store).await.pop().unwrap();
    assert!(late.contains(r#""caption":{"erased":true}"#), "{late}");
    assert!(!late.contains("canary"), "{late}");
}

/// The schema `keys` of an older backup: nobody was erased, and what they wrote is not lost yet.
#[tokio::test]
async fn keys_that_are_missing_are_told_from_keys_that_were_destroyed() {
    let database = database().await;
    let store = store(&database);
    act(&store, 1, 0, publish(1, SECRET)).await;
    let kept: (Vec<u8>, String) = sqlx::query_as("SELECT wrapped, master_key FROM keys.data_keys")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    sqlx::query("TRUNCATE keys.data_keys")
        .execute(&database.pool)
        .await
        .unwrap();
    let reader = crate::store(&database);
    assert!(!reader.keys().are_lacking());
    assert_eq!(caption(&reader, 1).await, "erased");
    assert!(reader.keys().are_lacking());

    sqlx::query("INSERT INTO keys.data_keys (subject, wrapped, master_key) VALUES ($1, $2, $3)")
        .bind(ANA.uuid())
        .bind(kept.0)
        .bind(kept.1)
        .execute(&database.pool)
        .await
        .unwrap();
    let reader = crate::store(&database);
    assert_eq!(caption(&reader, 1).await, SECRET);
    assert!(!reader.keys().are_lacking());
    reader.keys().destroy(ANA.uuid()).await.unwrap();
    let reader = crate::store(&database);
    assert_eq!(caption(&reader, 1).await, "erased");
    assert!(!reader.keys().are_lacking(), "she was erased");
}

#[tokio::test]
async fn a_destroyed_key_does_not_come_back() {
    let database = database().await;
    let store = store(&database);
    act(&store, 1, 0, publish(1, SECRET)).await;
    let wrapped: (Vec<u8>, String) =
        sqlx::query_as("SELECT wrapped, master_key FROM keys.data_keys")
            .fetch_one(&database.pool)
            .await
            .unwrap();
    store.keys().destroy(ANA.uuid()).await.unwrap();
    for statement in [
        "UPDATE keys.data_keys SET wrapped = $1, master_key = $2, destroyed_at = NULL",
        "DELETE FROM keys.data_keys WHERE $1::bytea IS NOT NULL AND $2::text IS NOT NULL",
    ] {
        let refused = sqlx::query(statement)
            .bind(&wrapped.0)
            .bind(&wrapped.1)
            .execute(&database.pool)
            .await
            .unwrap_err();
        assert!(
            refused.to_string().contains("does not come back (L8)"),
            "{refused}"
        );
    }
    let rewrapped = store.keys().rewrap().await.unwrap();
    assert_eq!(rewrapped, 0);
}

#[tokio::test]
async fn a_new_master_key_takes_over_without_touching_the_log() {
    let database = database().await;
    let old = store(&database);
    act(&old, 1, 0, publish(1, SECRET)).await;
    let before = stored(&old).await;
    let new_key = MasterKey::generate().unwrap();

    let stranger = store_with(&database, &new_key);
    let refused = stranger.keys().check().await.unwrap_err();
    assert!(
        matches!(refused, KeyError::UnknownMasterKey(_)),
        "{refused}"
    );
    assert!(stranger.load::<Post>(post(1).uuid()).await.is_err());

    let both = store_with(&database, &format!("{new_key}\n{MASTER_KEY}"));
    both.keys().check().await.unwrap();
    assert_eq!(both.keys().rewrap().await.unwrap(), 1);
    assert_eq!(both.keys().rewrap().await.unwrap(), 0);

    let new = store_with(&database, &new_key);
    new.keys().check().await.unwrap();
    assert_eq!(caption(&new, 1).await, SECRET);
    assert_eq!(stored(&new).await, before);
    assert!(
        store(&database).keys().check().await.is_err(),
        "the old one is of no use"
    );
    // A process that still runs on the old one goes on with what it has in memory.
    assert_eq!(caption(&old, 1).await, SECRET);
}

/// More keys than one statement takes, and destroyed ones between them.
#[tokio::test]
async fn rewrapping_goes_through_every_page() {
    const PEOPLE: i32 = 2_001;
    let database = database().await;
    let old = store(&database);
    act(&old, 1, 0, publish(1, SECRET)).await;
    // None of them is opened by anybody but who rewraps, under the purpose of their subject.
    for person in 1..=PEOPLE {
        let subject = Uuid::from_u128(0x9000 + u128::try_from(person).unwrap());
        let purpose = format!("data-key/{subject}");
        let wrapped = old.keys().wrap(&purpose, &[1; 32]).unwrap();
        let is_live = person % 10 != 0;
        sqlx::query(
            "INSERT INTO keys.data_keys (subject, wrapped, master_key, destroyed_at)
             VALUES ($1, $2, $3, CASE WHEN $4 THEN NULL ELSE now() END)",
        )
        .bind(subject)
        .bind(is_live.then_some(wrapped.bytes))
        .bind(is_live.then_some(wrapped.master_key))
        .bind(is_live)
        .execute(&database.pool)
        .await
        .unwrap();
    }
    let new_key = MasterKey::generate().unwrap();
    let both = store_with(&database, &format!("{new_key}\n{MASTER_KEY}"));
    let live = u64::try_from(PEOPLE - PEOPLE / 10 + 1).unwrap();
    assert_eq!(both.keys().rewrap().await.unwrap(), live);
    assert_eq!(both.keys().rewrap().await.unwrap(), 0);
    store_with(&database, &new_key)
        .keys()
        .check()
        .await
        .unwrap();
}

/// Only the states of who was erased go: everybody else's commands stay at one round trip.
#[tokio::test]
async fn an_erasure_forgets_the_states_of_one_person() {
    const LUIS: UserId = UserId::new(Uuid::from_u128(2));
    let database = database().await;
    let store = store(&database);
    act(&store, 1, 0, publish(1, SECRET)).await;
    let PostCommand::Publish(of_ana) = publish(2, SECRET) else {
        unreachable!("it publishes");
    };
    let of_luis = PublishPost {
        author_id: LUIS,
        ..of_ana
    };
    act(&store, 2, 0, PostCommand::Publish(of_luis)).await;
    for number in [1, 2] {
        assert_eq!(caption(&store, number).await, SECRET);
    }
    store.keys().destroy(ANA.uuid()).await.unwrap();
    store.forget_states_of(ANA);
    assert!(store.remembered::<Post>(post(1).uuid()).is_none());
    let kept = store.remembered::<Post>(post(2).uuid()).unwrap();
    assert_eq!(kept.state.published().unwrap().author_id, LUIS);
    assert_eq!(caption(&store, 1).await, "erased");
}

#[tokio::test]
async fn a_process_forgets_whom_another_one_erases() {
    let database = database().await;
    let (here, there) = (store(&database), store(&database));
    act(&here, 1, 0, publish(1, SECRET)).await;
    let forgotten = AtomicUsize::new(0);
    let stop = CancellationToken::new();
    let keys = here.keys().clone();
    let watching = keys.watch_erasures(
        |_| {
            here.forget_states_of(ANA);
            forgotten.fetch_add(1, Ordering::SeqCst);
        },
        stop.clone(),
    );
    let erasing = async {
        // Not before the watcher has looked for the first time.
        eventually(PATIENCE, "the watcher looks", async || {
            let looks: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND query LIKE 'SELECT now() AS \"now!\"%'",
            )
            .fetch_one(&database.pool)
            .await
            .unwrap();
            looks > 0
        })
        .await;
        there.keys().destroy(ANA.uuid()).await.unwrap();
        let is_forgotten = async || forgotten.load(Ordering::SeqCst) > 0;
        eventually(PATIENCE, "it is forgotten", is_forgotten).await;
        assert_eq!(caption(&here, 1).await, "erased");
        stop.cancel();
    };
    tokio::join!(watching, erasing);
    assert_eq!(forgotten.load(Ordering::SeqCst), 1, "told once");
}
