//! Slices of history: each is what a look at every event finds, and is found by an index.

use crate::history::History;
use crate::plans::{assert_indexed, nodes};
use crate::site::Site;
use crate::tables::{dump, fill, fill_live};
use serde_json::Value;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Executor as _, PgPool};
use std::time::Duration;
use touchline_domain::audit::{Slice, SliceError};
use touchline_domain::id::UserId;
use touchline_eventstore::{EventStore, LogEvent, Position};
use touchline_projections::Freshness;
use touchline_projections::history::{HistoryProjection, HistoryReader, ReadHistoryError};
use uuid::Uuid;

/// How many events the log of these tests has: some blocks of the index, the last one not full.
const EVENTS: i64 = 20_000;

/// 20,000 events of 50 actors, 4 per request, one a second. Every hundredth was recorded by a clock
/// that is an hour late.
const LOG: &str = "
    INSERT INTO log.events
    SELECT n, pg_temp.id(9, n), kind.aggregate, pg_temp.id(5, n / 5)::text,
           row_number() OVER (PARTITION BY kind.aggregate, n / 5 ORDER BY n), kind.event, '1',
           '{}'::json,
           json_build_object('actor', pg_temp.id(1, n * n % 50), 'correlation_id', pg_temp.id(3, n / 4)),
           timestamptz '2022-12-18T00:00:00Z' + n * interval '1 s'
               - CASE WHEN n % 100 = 0 THEN interval '1 h' ELSE interval '0' END,
           sha256('')
    FROM generate_series(1, 20000) AS n
    JOIN LATERAL (SELECT (ARRAY['post', 'like', 'like', 'follow', 'account'])[1 + n % 5],
                         (ARRAY['posts.post_published', 'posts.post_liked', 'posts.post_unliked',
                                'users.user_followed', 'identity.account_approved'])[1 + n % 5])
         AS kind (aggregate, event) ON true;
    ANALYZE log.events";

/// What [`id`] does.
const MAKE_ID: &str =
    "CREATE OR REPLACE FUNCTION pg_temp.id(kind bigint, number bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
    AS $$ SELECT (lpad(to_hex(kind), 16, '0') || lpad(to_hex(number), 16, '0'))::uuid $$";

fn id(kind: u128, number: u128) -> Uuid {
    Uuid::from_u128((kind << 64) + number)
}

fn actor(number: u128) -> UserId {
    UserId::new(id(1, number))
}

/// A reader of `store` that finds the index where its checkpoint is.
pub(crate) fn reader(store: &EventStore) -> HistoryReader {
    let freshness = Freshness::new(store.pool().clone(), &["history"], &[]);
    HistoryReader::new(store.clone(), freshness)
}

/// The log above, with its index.
async fn filled() -> Site {
    let site = Site::new().await;
    let mut connection = site.pool().acquire().await.unwrap();
    connection.execute(MAKE_ID).await.unwrap();
    connection.execute(LOG).await.unwrap();
    drop(connection);
    index(&site).await;
    site
}

/// Fills the index from the log, and moves its checkpoint to the end.
async fn index(site: &Site) {
    touchline_projections::registry::prepare(site.pool())
        .await
        .unwrap();
    let mut events = Vec::new();
    loop {
        let after = Position::new(i64::try_from(events.len()).unwrap()).unwrap();
        let page = site.store.read(after, 10_000).await.unwrap();
        if page.is_empty() {
            break;
        }
        events.extend(page);
    }
    let mut connection = site.pool().acquire().await.unwrap();
    let sizes = [1, 4_000, 4_200];
    let projection = HistoryProjection;
    crate::tables::fill(&mut connection, &projection, "history", &events, sizes).await;
    let role = site.test().role();
    let grant = format!(
        "RESET search_path; GRANT USAGE ON SCHEMA history TO {role};
         GRANT SELECT ON ALL TABLES IN SCHEMA history TO {role}; ANALYZE"
    );
    connection.execute(&*grant).await.unwrap();
    sqlx::query("UPDATE operations.checkpoints SET position = $1 WHERE projection = 'history'")
        .bind(i64::try_from(events.len()).unwrap())
        .execute(&mut *connection)
        .await
        .unwrap();
}

const PATIENCE: Duration = Duration::from_secs(10);

/// The positions of a slice, read in pages of this size.
async fn positions(reader: &HistoryReader, slice: &Slice, limit: usize) -> Vec<i64> {
    let mut walk = reader.walk(slice.clone(), PATIENCE).await.unwrap();
    let mut found = Vec::new();
    loop {
        let page = walk.page(limit).await.unwrap();
        assert!(page.len() <= limit);
        if page.is_empty() {
            return found;
        }
        found.extend(page.iter().map(|event| event.position.get()));
    }
}

/// Whether an event is in a slice, by looking at it.
fn is_in(event: &LogEvent, slice: &Slice) -> bool {
    let metadata = event.metadata_map();
    let is = |key: &str, wanted: Option<String>| {
        wanted.is_none_or(|wanted| metadata.get(key) == Some(&wanted))
    };
    let has_type = slice.event_type.as_ref().is_none_or(|wanted| {
        event.event_type == *wanted
            || (wanted.ends_with('.') && event.event_type.starts_with(wanted))
    });
    let of_type = slice.aggregate_type.as_ref();
    let of_id = slice.aggregate_id.map(|id| id.to_string());
    has_type
        && of_type.is_none_or(|wanted| event.aggregate_type == *wanted)
        && of_id.is_none_or(|wanted| event.aggregate_id == wanted)
        && is("actor", slice.actor.map(|id| id.to_string()))
        && is(
            "correlation_id",
            slice.correlation_id.map(|id| id.to_string()),
        )
        && slice.from.is_none_or(|from| event.recorded_at >= from)
        && slice.to.is_none_or(|to| event.recorded_at < to)
        && event.position.get() > slice.after
        && slice
            .until
            .is_none_or(|until| event.position.get() <= until)
}

/// One of each condition, and the conditions that are combined with each.
fn slices() -> Vec<Slice> {
    let time = |text: &str| Some(text.parse().unwrap());
    let ones = [
        Slice {
            aggregate_type: Some("like".to_owned()),
            ..Slice::whole()
        },
        Slice {
            aggregate_id: Some(id(5, 1_000)),
            ..Slice::whole()
        },
        Slice {
            event_type: Some("posts.post_unliked".to_owned()),
            ..Slice::whole()
        },
        Slice {
            event_type: Some("posts.".to_owned()),
            ..Slice::whole()
        },
        Slice {
            actor: Some(actor(4)),
            ..Slice::whole()
        },
        Slice {
            correlation_id: Some(id(3, 1_250)),
            ..Slice::whole()
        },
        Slice {
            from: time("2022-12-18T02:46:40Z"),
            ..Slice::whole()
        },
        Slice {
            to: time("2022-12-18T01:00:00Z"),
            ..Slice::whole()
        },
        Slice {
            from: time("2022-12-18T01:20:00Z"),
            to: time("2022-12-18T01:30:00Z"),
            ..Slice::whole()
        },
        Slice {
            after: 4_990,
            until: Some(5_010),
            ..Slice::whole()
        },
    ];
    let mut slices = vec![Slice::whole()];
    for one in &ones {
        for other in &ones {
            slices.push(Slice {
                aggregate_type: one.aggregate_type.clone().or(other.aggregate_type.clone()),
                aggregate_id: one.aggregate_id.or(other.aggregate_id),
                event_type: one.event_type.clone().or(other.event_type.clone()),
                actor: one.actor.or(other.actor),
                correlation_id: one.correlation_id.or(other.correlation_id),
                from: one.from.or(other.from),
                to: one.to.or(other.to),
                after: one.after.max(other.after),
                until: one.until.or(other.until),
            });
        }
    }
    slices.retain(|slice| slice.check().is_ok());
    slices
}

#[tokio::test]
async fn every_slice_is_what_a_look_at_every_event_finds() {
    let site = filled().await;
    let reader = reader(&site.store);
    let mut all = site.store.read(Position::START, 10_000).await.unwrap();
    let rest = site.store.read(all.last().unwrap().position, 10_000).await;
    all.extend(rest.unwrap());
    assert_eq!(i64::try_from(all.len()).unwrap(), EVENTS);
    let mut met = 0;
    for slice in slices() {
        let expected: Vec<i64> = all
            .iter()
            .filter(|event| is_in(event, &slice))
            .map(|event| event.position.get())
            .collect();
        met += usize::from(!expected.is_empty());
        assert_eq!(
            positions(&reader, &slice, 5_000).await,
            expected,
            "{slice:?}"
        );
        if expected.len() < 300 {
            assert_eq!(positions(&reader, &slice, 7).await, expected, "{slice:?}");
        }
    }
    assert!(met > 40, "only {met} slices have events");
}

#[tokio::test]
async fn a_slice_that_cannot_be_is_refused() {
    let site = filled().await;
    let reader = reader(&site.store);
    for (after, until) in [(EVENTS + 1, None), (0, Some(EVENTS + 1))] {
        let slice = Slice {
            after,
            until,
            ..Slice::whole()
        };
        let refused = reader.walk(slice, PATIENCE).await.err().unwrap();
        assert!(
            matches!(refused, ReadHistoryError::BeyondHead { head, .. } if head.get() == EVENTS),
            "{refused:?}"
        );
    }
    let unknown = Slice {
        event_type: Some("posts.post_adored".to_owned()),
        ..Slice::whole()
    };
    let refused = reader.walk(unknown, PATIENCE).await.err().unwrap();
    assert!(matches!(
        refused,
        ReadHistoryError::Slice(SliceError::UnknownEventType { .. })
    ));
    // The index does not go on: what is found by it cannot be complete.
    sqlx::query("UPDATE operations.checkpoints SET position = 19999 WHERE projection = 'history'")
        .execute(site.pool())
        .await
        .unwrap();
    let by_actor = Slice {
        actor: Some(actor(4)),
        ..Slice::whole()
    };
    let behind = self::reader(&site.store)
        .walk(by_actor, Duration::from_millis(200))
        .await;
    assert!(matches!(behind.err().unwrap(), ReadHistoryError::Behind(_)));
    let whole = reader.walk(Slice::whole(), PATIENCE).await;
    assert!(whole.is_ok(), "the whole log needs no index");
}

/// Reads the first page of a slice, then holds the plans of the statement with `piece` in it against
/// the index that it should use. No plan reads more rows than a few pages have.
async fn assert_slice(one: &EventStore, slice: Slice, piece: &str, arguments: &str, index: &str) {
    let reader = reader(one);
    let mut walk = reader.walk(slice, PATIENCE).await.unwrap();
    assert!(!walk.page(100).await.unwrap().is_empty(), "{piece}");
    assert_indexed(one.pool(), piece, arguments, &[index]).await;
    let name: String = sqlx::query_scalar(
        "SELECT name FROM pg_prepared_statements
         WHERE statement LIKE '%' || $1 || '%' AND statement NOT LIKE '%pg_prepared_statements%'",
    )
    .bind(piece)
    .fetch_one(one.pool())
    .await
    .unwrap();
    let explain = format!("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE {name} ({arguments})");
    let row = one.pool().fetch_one(explain.as_str()).await.unwrap();
    let plan: Value = sqlx::Row::get::<Value, _>(&row, 0)[0]["Plan"].clone();
    for node in nodes(&plan) {
        let rows = node["Actual Rows"].as_f64().unwrap()
            + node["Rows Removed by Filter"].as_f64().unwrap_or_default();
        let loops = node["Actual Loops"].as_f64().unwrap();
        assert!(rows * loops <= 500.0, "{piece}: too much is read: {plan:#}");
    }
}

#[tokio::test]
async fn slices_are_read_by_index() {
    let site = filled().await;
    // As many blocks as a log of 20 million events has.
    let blocks = "INSERT INTO history.blocks
        SELECT n, '1999-12-31', '1999-12-31' FROM generate_series(5, 5000) AS n; ANALYZE history.blocks";
    site.pool().execute(blocks).await.unwrap();
    let pool: PgPool = PgPoolOptions::new()
        .max_connections(1)
        .connect(&site.url)
        .await
        .unwrap();
    let one = site.store.through(pool);
    let by = Slice::whole;

    let slice = Slice {
        correlation_id: Some(id(3, 1_250)),
        ..by()
    };
    let arguments = format!("'{}', 0, 20000, null, null, null, null, 100", id(3, 1_250));
    let piece = "(entries.correlation_id, entries.position) >";
    assert_slice(&one, slice, piece, &arguments, "entries_by_correlation").await;

    let slice = Slice {
        actor: Some(actor(4)),
        ..by()
    };
    let arguments = format!("'{}', 9000, 20000, null, null, null, 100", actor(4));
    let piece = "(entries.actor, entries.position) >";
    assert_slice(&one, slice, piece, &arguments, "entries_by_actor").await;

    let slice = Slice {
        event_type: Some("posts.".to_owned()),
        ..by()
    };
    let types = "'{posts.post_published, posts.post_liked, posts.post_unliked}'";
    let arguments = format!("{types}, 9000, 20000, null, null, 100");
    let piece = "(wanted.event_type, $2)";
    assert_slice(&one, slice, piece, &arguments, "entries_by_type").await;

    let slice = Slice {
        from: Some("2022-12-18T03:00:00Z".parse().unwrap()),
        ..by()
    };
    let arguments = "9000, 20000, '2022-12-18T02:00:00Z', null, 100";
    let piece = "entries.position > $1";
    assert_slice(&one, slice.clone(), piece, arguments, "entries_pkey").await;
    let arguments = "'2022-12-18T03:00:00Z'";
    assert_slice(&one, slice, "blocks.last_at >=", arguments, "blocks_pkey").await;
    let slice = Slice {
        to: Some("2022-12-18T03:00:00Z".parse().unwrap()),
        ..by()
    };
    assert_slice(&one, slice, "blocks.first_at <", arguments, "blocks_pkey").await;

    let slice = Slice::of_aggregate("like", id(5, 1_000));
    let arguments = format!(
        "'{{like}}', '{}', 0, 20000, null, null, null, null, null, 100",
        id(5, 1_000)
    );
    let piece = "log.sequence_at(wanted.aggregate_type, $2, $3)";
    assert_slice(&one, slice, piece, &arguments, "events_aggregate_key").await;
    let slice = Slice {
        after: 10_000,
        ..by()
    };
    let piece = "events.position > $1";
    assert_slice(&one, slice, piece, "10000, 100", "events_pkey").await;
    let piece = "events.position = ANY ($1)";
    assert_indexed(one.pool(), piece, "'{4, 7, 9000}'", &["events_pkey"]).await;
}

/// 3,000 events of one aggregate, which lie among those of others.
const LONG_STREAM: &str = "
    INSERT INTO log.events
    SELECT 20000 + n, pg_temp.id(9, 20000 + n),
           CASE WHEN n % 2 = 0 THEN 'like' ELSE 'post' END,
           CASE WHEN n % 2 = 0 THEN pg_temp.id(7, 1)::text ELSE pg_temp.id(7, n)::text END,
           CASE WHEN n % 2 = 0 THEN n / 2 ELSE 1 END, 'posts.post_liked', '1', '{}'::json, '{}'::json,
           now(), sha256('')
    FROM generate_series(1, 6000) AS n";

#[tokio::test]
async fn the_history_of_a_long_stream_is_read_by_page() {
    let site = filled().await;
    let mut connection = site.pool().acquire().await.unwrap();
    connection.execute(MAKE_ID).await.unwrap();
    connection.execute(LONG_STREAM).await.unwrap();
    drop(connection);
    let reader = reader(&site.store);
    let slice = Slice::of_aggregate("like", id(7, 1));
    let expected: Vec<i64> = (1..=3_000).map(|n| 20_000 + 2 * n).collect();
    for limit in [7, 100, 3_000] {
        assert_eq!(positions(&reader, &slice, limit).await, expected);
    }
    // From any position, of this aggregate or of another, up to any other.
    for (after, until) in [
        (0, 26_000),
        (20_002, 20_003),
        (22_001, 24_001),
        (25_999, 26_000),
    ] {
        let slice = Slice {
            after,
            until: Some(until),
            ..slice.clone()
        };
        let within = |position: &&i64| **position > after && **position <= until;
        let expected: Vec<i64> = expected.iter().filter(within).copied().collect();
        assert_eq!(positions(&reader, &slice, 100).await, expected);
    }
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect(&site.url)
        .await
        .unwrap();
    let one = site.store.through(pool);
    let arguments = format!(
        "'{{like}}', '{}', 24000, 26000, null, null, null, null, null, 100",
        id(7, 1)
    );
    let piece = "log.sequence_at(wanted.aggregate_type, $2, $3)";
    assert_slice(&one, slice, piece, &arguments, "events_aggregate_key").await;
}

/// A rebuild writes events of different aggregates in any order and at the same time.
#[tokio::test]
async fn the_rows_do_not_depend_on_the_order_in_which_events_are_written() {
    let site = filled().await;
    let mut events = site.store.read(Position::START, 10_000).await.unwrap();
    let mut connection = site.pool().acquire().await.unwrap();
    let projection = HistoryProjection;
    fill(&mut connection, &projection, "in_order", &events, [777]).await;
    events.reverse();
    let sizes = [1, 4_500, 100];
    fill(&mut connection, &projection, "backwards", &events, sizes).await;
    let in_order = dump(&mut connection, "in_order").await;
    assert_eq!(in_order["blocks"].len(), 3);
    assert_eq!(in_order["entries"].len(), 10_000);
    assert!(in_order == dump(&mut connection, "backwards").await);
}

#[tokio::test]
async fn metadata_that_is_no_id_is_indexed_as_none() {
    let database = touchline_testkit::database().await;
    let mut history = History::default();
    history.register(1);
    let mut events = history.events();
    for (metadata, rows) in [
        (r#"{"actor":"somebody"}"#, 1),
        (r#"{"actor":7}"#, 1),
        ("{}", 1),
        (r#"{"actor":"00000000-0000-0000-0000-000000000001"}"#, 0),
    ] {
        events[0].metadata = serde_json::value::RawValue::from_string(metadata.to_owned()).unwrap();
        fill_live(&database.pool, &HistoryProjection, &events).await;
        let none: i64 =
            sqlx::query_scalar("SELECT count(*) FROM history.entries WHERE actor IS NULL")
                .fetch_one(&database.pool)
                .await
                .unwrap();
        assert_eq!(none, rows, "{metadata}");
    }
}
