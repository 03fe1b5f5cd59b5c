//! What an append and a load cost when the log has grown.

use crate::append::{append_of, committed, producers, publish};
use crate::report::{Report, quantile_ms};
use crate::servers::{Servers, SystemClock};
use sqlx::{Executor as _, PgPool};
use std::sync::Arc;
use std::time::Instant;
use touchline_domain::aggregate::Decider as _;
use touchline_domain::posts::Post;
use touchline_eventstore::EventStore;
use uuid::Uuid;

/// Posts that were edited four times each, in aggregates whose ids are in order of time, as v7 are.
const FILL: &str = r#"
INSERT INTO log.events (position, event_id, aggregate_type, aggregate_id, sequence, event_type, event_version,
                        payload, metadata, recorded_at, digest)
SELECT n, ('01930000-' || substr(h, 1, 4) || '-7' || substr(h, 5, 3) || '-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
       'post', '01920000-0000-7000-8000-' || lpad(to_hex((n - 1) / 5), 12, '0'), (n - 1) % 5 + 1,
       CASE WHEN n % 5 = 1 THEN 'posts.post_published' ELSE 'posts.post_edited' END, '1',
       CASE WHEN n % 5 = 1
            THEN json_build_object('posts.post_published', json_build_object(
                'post_id', '01920000-0000-7000-8000-' || lpad(to_hex((n - 1) / 5), 12, '0'),
                'author_id', '00000000-0000-0000-0000-000000000007', 'caption', 'A post of the bench, number ' || n,
                'tags', '[]'::json, 'visibility', 'public', 'published_at', '2022-12-18T15:00:00Z'))
            ELSE json_build_object('posts.post_edited', json_build_object(
                'post_id', '01920000-0000-7000-8000-' || lpad(to_hex((n - 1) / 5), 12, '0'),
                'caption', 'A post of the bench, edited, number ' || n, 'edited_at', '2022-12-18T15:00:00Z')) END,
       '{"actor":"bench"}'::json, now(), decode(repeat(substr(h, 1, 2), 32), 'hex')
FROM (SELECT n, lpad(to_hex(n / 4096), 8, '0') AS h FROM generate_series($1::bigint, $2::bigint) n) numbers"#;

const FILL_COMMANDS: &str = "
INSERT INTO log.commands (command_id, fingerprint, aggregate_type, aggregate_id, version, first_position, last_position)
SELECT ('01930000-0000-7000-9000-' || lpad(to_hex(n), 12, '0'))::uuid, decode(repeat('07', 32), 'hex'), 'post',
       '01920000-0000-7000-8000-' || lpad(to_hex((n - 1) / 5), 12, '0'), (n - 1) % 5 + 1, n, n
FROM generate_series($1::bigint, $2::bigint) n";

const SIZES: [(i64, &str); 3] = [
    (10_000, "10 thousand"),
    (1_000_000, "1 million"),
    (5_000_000, "5 million"),
];

/// The cost at each size, and each size's ratio to the first.
pub async fn growth(servers: &Servers, report: &mut Report) -> anyhow::Result<()> {
    let (database, owner) = servers.database_and_owner().await?;
    let mut filled = 0;
    let mut first: Option<Costs> = None;
    for (size, name) in SIZES {
        fill(&owner, filled, size).await?;
        let pool = database.pool(8);
        let keys = servers.master_keys()?;
        let store = EventStore::new(database.clone(), pool, keys, Arc::new(SystemClock));
        let costs = costs(store, filled, size).await?;
        filled = size + measured();
        let base = *first.get_or_insert(costs);
        let lines = [
            ("append alone, p50", costs.append_ms, base.append_ms, "ms"),
            (
                "append at 64 producers",
                costs.appends_per_second,
                base.appends_per_second,
                "events/s",
            ),
            ("load of 5 events, p50", costs.load_ms, base.load_ms, "ms"),
        ];
        for (what, now, before, unit) in lines {
            report.comparison(
                &format!("{what}, log of {name}"),
                unit,
                now,
                ("10 thousand", before),
                "within 1.3 times",
            );
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Costs {
    append_ms: f64,
    appends_per_second: f64,
    load_ms: f64,
}

const ALONE: usize = 2_000;
const TOGETHER: usize = 40_000;
const LOADS: usize = 2_000;

/// How many events a measurement adds.
fn measured() -> i64 {
    i64::try_from(ALONE + TOGETHER).unwrap_or(i64::MAX)
}

async fn fill(owner: &PgPool, from: i64, to: i64) -> anyhow::Result<()> {
    // A bulk load with the settings of one: what is measured afterwards runs with full durability.
    let mut connection = owner.acquire().await?;
    connection.execute("SET synchronous_commit = off").await?;
    for start in (from + 1..=to).step_by(250_000) {
        let end = (start + 249_999).min(to);
        for statement in [FILL, FILL_COMMANDS] {
            sqlx::query(statement)
                .bind(start)
                .bind(end)
                .execute(&mut *connection)
                .await?;
        }
    }
    connection.execute("VACUUM ANALYZE log.events").await?;
    connection.execute("VACUUM ANALYZE log.commands").await?;
    connection.execute("CHECKPOINT").await?;
    Ok(())
}

async fn costs(store: EventStore, from: i64, size: i64) -> anyhow::Result<Costs> {
    let mut appends = Vec::with_capacity(ALONE);
    for _ in 0..ALONE {
        let id = Uuid::now_v7();
        let append = append_of(id, 0, &Post::default().decide(publish(id)?)?)?;
        let start = Instant::now();
        committed(store.append(append).await?)?;
        appends.push(start.elapsed());
    }
    let (appends_per_second, _) = producers(64, TOGETHER, |_| {
        let store = store.clone();
        async move {
            let id = Uuid::now_v7();
            committed(
                store
                    .append(append_of(id, 0, &Post::default().decide(publish(id)?)?)?)
                    .await?,
            )
        }
    })
    .await?;
    let mut loads = Vec::with_capacity(LOADS);
    let (first, last) = (u128::try_from(from / 5)?, u128::try_from(size / 5)?);
    for number in 0..u128::try_from(LOADS)? {
        // Anywhere in what was filled in last, which is most of the log; never one that is in memory.
        let aggregate = first + number * 2_654_435_761 % (last - first);
        let id = 0x0192_0000_0000_7000_8000_0000_0000_0000 + aggregate;
        let start = Instant::now();
        let loaded = store
            .load_at::<Post>(Uuid::from_u128(id), i64::MAX - 1)
            .await?;
        loads.push(start.elapsed());
        anyhow::ensure!(
            loaded.version == 5,
            "aggregate {id:x} must have five events"
        );
    }
    store.close().await;
    Ok(Costs {
        append_ms: quantile_ms(&mut appends, 0.5),
        appends_per_second,
        load_ms: quantile_ms(&mut loads, 0.5),
    })
}
