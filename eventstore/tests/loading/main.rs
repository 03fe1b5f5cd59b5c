//! What loading an aggregate takes, and what is kept of it in memory.
#![expect(clippy::unwrap_used, reason = "tests")]

use futures::future::join_all;
use sqlx::PgPool;
use std::fs;
use std::sync::Arc;
use std::time::Duration;
use touchline_domain::posts::Post;
use touchline_eventstore::database::Database;
use touchline_eventstore::store::ReadError;
use touchline_eventstore::{EventStore, MasterKeys};
use touchline_testkit::{MASTER_KEY, MockClock, TestDatabase, database, eventually};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(30);
const POST: Uuid = Uuid::from_u128(0x2000);

/// A post and `edits` edits of it with long captions, as a version before there were bounds let
/// somebody write. Clear text of version 1, so that no key is needed.
const EDITED: &str = "
INSERT INTO log.events (position, event_id, aggregate_type, aggregate_id, sequence, event_type, event_version,
                        payload, metadata, recorded_at, digest)
SELECT $1 + n, gen_random_uuid(), 'post', $2, n,
       CASE WHEN n = 1 THEN 'posts.post_published' ELSE 'posts.post_edited' END, '1',
       CASE WHEN n = 1
            THEN json_build_object('posts.post_published', json_build_object(
                'post_id', $2, 'author_id', '00000000-0000-0000-0000-000000000007', 'caption', 'new',
                'tags', '[]'::json, 'visibility', 'public', 'published_at', '2022-12-18T15:00:00Z'))
            ELSE json_build_object('posts.post_edited', json_build_object(
                'post_id', $2, 'caption', n || repeat(' 𝄞', 1000), 'edited_at', '2022-12-18T15:00:00Z')) END,
       '{}'::json, now(), decode(repeat('07', 32), 'hex')
FROM generate_series(1, $3) n";

async fn edited(database: &TestDatabase, post: Uuid, edits: i32) {
    let after: i64 = sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM log.events")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    sqlx::query(EDITED)
        .bind(after)
        .bind(post.to_string())
        .bind(edits + 1)
        .execute(&database.pool)
        .await
        .unwrap();
}

/// A process with nothing in memory, and its connections.
fn fresh(database: &TestDatabase) -> (EventStore, PgPool) {
    let connections = Database::new(&database.url).unwrap();
    let pool = connections.pool(8);
    let clock = Arc::new(MockClock::at("2022-12-18T15:00:00Z"));
    let masters = MasterKeys::parse(MASTER_KEY).unwrap();
    (
        EventStore::new(connections, pool.clone(), masters, clock),
        pool,
    )
}

async fn caption(store: &EventStore, post: Uuid) -> (i64, String) {
    let loaded = store.load::<Post>(post).await.unwrap();
    let caption = loaded.state.published().unwrap().caption.to_string();
    (
        loaded.version,
        caption.split(' ').next().unwrap().to_owned(),
    )
}

#[tokio::test]
async fn a_stream_of_any_length_is_folded_to_its_end() {
    let database = database().await;
    for edits in [0, 1, 198, 199, 200, 399, 400, 1_001] {
        let post = Uuid::from_u128(0x2000 + u128::try_from(edits).unwrap());
        edited(&database, post, edits).await;
        let last = if edits == 0 {
            "new".to_owned()
        } else {
            (edits + 1).to_string()
        };
        let expected = (i64::from(edits) + 1, last);
        assert_eq!(caption(&fresh(&database).0, post).await, expected);
        let (store, _) = fresh(&database);
        let refreshed = store.refresh::<Post>(post).await.unwrap();
        assert_eq!(refreshed.version, expected.0);
        let (store, _) = fresh(&database);
        for version in [1, expected.0 / 2 + 1, expected.0] {
            let then = store.load_at::<Post>(post, version).await.unwrap();
            assert_eq!(then.version, version);
        }
    }
    let (store, _) = fresh(&database);
    assert_eq!(store.load::<Post>(Uuid::nil()).await.unwrap().version, 0);
}

/// The most memory that was resident since the kernel was told to count anew, in KiB.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().strip_suffix(" kB").unwrap();
    kib.parse().unwrap()
}

#[tokio::test]
async fn eight_who_load_a_long_stream_read_it_once_and_page_by_page() {
    const EDITS: i32 = 3_000;
    let database = database().await;
    // Some 10 MB in the log; whole, and as JSON values, some times that.
    edited(&database, POST, EDITS).await;
    let (store, pool) = fresh(&database);
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak_kib();
    let captions = join_all((0..8).map(|_| caption(&store, POST))).await;
    let grown_kib = peak_kib() - before;
    assert!(captions.iter().all(|it| it.0 == i64::from(EDITS) + 1));
    assert!(grown_kib < 16 * 1024, "{grown_kib} KiB for one state");
    let rows = rows_read(&database, store, pool).await;
    let stream = i64::from(EDITS) + 1;
    assert!(
        (stream..2 * stream).contains(&rows),
        "{rows} rows for one load"
    );
}

/// How many rows of the log this process has read, which ends here: sessions tell when they end.
async fn rows_read(database: &TestDatabase, store: EventStore, pool: PgPool) -> i64 {
    store.close().await;
    pool.close().await;
    // One that is just coming back when the pool closes stays in it.
    drop((store, pool));
    eventually(PATIENCE, "the sessions end", async || {
        let sessions: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'touchline'",
        )
        .fetch_one(&database.pool)
        .await
        .unwrap();
        sessions == 0
    })
    .await;
    sqlx::query_scalar(
        "SELECT (seq_tup_read + idx_tup_fetch) FROM pg_stat_user_tables
         WHERE schemaname = 'log' AND relname = 'events'",
    )
    .fetch_one(&database.pool)
    .await
    .unwrap()
}

/// Those who ask at once for what is newer than the memory share one reading too, and none of them
/// gets a state that is older than its question.
#[tokio::test]
async fn those_who_refresh_at_once_share_a_reading() {
    let database = database().await;
    edited(&database, POST, 1).await;
    let (store, pool) = fresh(&database);
    assert_eq!(caption(&store, POST).await.0, 2);
    append_one_elsewhere(&database, 3).await;
    let refreshed = join_all((0..8).map(|_| store.refresh::<Post>(POST))).await;
    for loaded in refreshed {
        assert_eq!(loaded.unwrap().version, 3);
    }
    append_one_elsewhere(&database, 4).await;
    assert_eq!(store.refresh::<Post>(POST).await.unwrap().version, 4);
    // Two for the load, one or two for the eight, one for the last, two for what happened elsewhere.
    let rows = rows_read(&database, store, pool).await;
    assert!(rows <= 8, "{rows} rows");
}

/// Another process edits the post.
async fn append_one_elsewhere(database: &TestDatabase, sequence: i64) {
    let copy = "INSERT INTO log.events
        SELECT position + 1, gen_random_uuid(), aggregate_type, aggregate_id, $1, event_type,
               event_version, payload, metadata, recorded_at, digest
        FROM log.events ORDER BY position DESC LIMIT 1";
    sqlx::query(copy)
        .bind(sequence)
        .execute(&database.pool)
        .await
        .unwrap();
}

/// A hole is damage, wherever it is met; it is not folded over.
#[tokio::test]
async fn a_stream_that_lacks_an_event_is_not_loaded() {
    let database = database().await;
    edited(&database, POST, 500).await;
    let (known, _) = fresh(&database);
    known.load::<Post>(POST).await.unwrap();
    append_one_elsewhere(&database, 503).await;
    let (store, _) = fresh(&database);
    for lacking in [
        store.load::<Post>(POST).await,
        store.refresh::<Post>(POST).await,
        known.refresh::<Post>(POST).await,
        store.load_at::<Post>(POST, 503).await,
    ] {
        let error = lacking.unwrap_err();
        assert!(
            matches!(error, ReadError::Incomplete { sequence: 502, .. }),
            "{error}"
        );
    }
}
