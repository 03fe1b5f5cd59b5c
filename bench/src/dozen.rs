//! A dozen read models on one disk: each of them brings every batch to the disk that the appends
//! wait for, too.

use crate::append::{append_of, committed, producers, publish};
use crate::report::{Report, quantile_ms};
use crate::servers::{Servers, SystemClock};
use futures::future::try_join_all;
use sqlx::{PgConnection, PgPool};
use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use touchline_domain::aggregate::Decider as _;
use touchline_domain::posts::Post;
use touchline_eventstore::{Appended, EventStore, LogEvent, Position};
use touchline_projections::projection::{Folding, Sweeping};
use touchline_projections::{Derived, ProjectionStatus, ReadModel, Runner, SampledTable};
use uuid::Uuid;

const NAMES: [&str; 12] = [
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve",
];
const APPENDS_PER_SECOND: u64 = 500;
const APPENDS: usize = 5_000;
const PRODUCERS: usize = 64;
const PRODUCED: usize = 40_000;

/// One row for each event: what is measured is the disk, and not the fold.
struct Rows(&'static str);

impl ReadModel for Rows {
    fn name(&self) -> &'static str {
        self.0
    }

    fn version(&self) -> i32 {
        1
    }

    fn schema(&self) -> &'static str {
        "CREATE TABLE rows (position bigint PRIMARY KEY, digest bytea NOT NULL)"
    }

    fn is_partitioned(&self) -> bool {
        false
    }

    fn sampled(&self) -> &'static [SampledTable] {
        &[]
    }

    fn derived(&self) -> &'static [Derived] {
        &[]
    }

    fn references(&self) -> &'static [(&'static str, &'static [&'static str])] {
        &[]
    }

    fn tombstones(&self) -> &'static [&'static str] {
        &[]
    }

    fn takes(&self, _event_type: &str) -> bool {
        true
    }

    fn clear<'a>(&'a self, _connection: &'a mut PgConnection, _rows: i64) -> Sweeping<'a> {
        Box::pin(ready(Ok(())))
    }

    fn fold<'a>(&'a self, connection: &'a mut PgConnection, events: &'a [LogEvent]) -> Folding<'a> {
        let positions: Vec<i64> = events.iter().map(|event| event.position.get()).collect();
        let digests: Vec<Vec<u8>> = events
            .iter()
            .map(|event| event.digest.as_bytes().to_vec())
            .collect();
        Box::pin(async move {
            sqlx::query("INSERT INTO rows SELECT * FROM unnest($1::bigint[], $2::bytea[])")
                .bind(positions)
                .bind(digests)
                .execute(connection)
                .await?;
            Ok(())
        })
    }
}

/// What appending costs, and how soon what was appended can be read, with no read model and with
/// twelve.
pub async fn dozen(servers: &Servers, report: &mut Report) -> anyhow::Result<()> {
    let alone = measure(servers, &[], report).await?;
    let beside = measure(servers, &NAMES, report).await?;
    let pairs = [
        ("append at 500/s beside 12 read models, p50", "ms"),
        ("  p99 of the same", "ms"),
        ("  flushes of the write-ahead log", "a second"),
        ("append beside 12 read models, 64 producers", "events/s"),
        ("  p99 of the same", "ms"),
    ];
    for (index, (name, unit)) in pairs.into_iter().enumerate() {
        let of = |figures: &[f64; 5]| figures.get(index).copied().unwrap_or_default();
        report.comparison(name, unit, of(&beside), ("none", of(&alone)), "");
    }
    Ok(())
}

async fn measure(
    servers: &Servers,
    names: &[&'static str],
    report: &mut Report,
) -> anyhow::Result<[f64; 5]> {
    let (database, owner) = servers.database_and_owner().await?;
    let (pool, keys) = (database.pool(16), servers.master_keys()?);
    let store = EventStore::new(database.clone(), pool, keys, Arc::new(SystemClock));
    let stop = CancellationToken::new();
    let mut statuses = Vec::new();
    let mut running = Vec::new();
    for name in names {
        let (model, holder) = (Arc::new(Rows(name)), Uuid::now_v7());
        let runner = Runner::of(model, store.clone(), database.clone(), None, holder);
        statuses.push(runner.status());
        running.push(tokio::spawn(runner.run(stop.clone())));
    }
    let (flushes, begun) = (flushes(&owner).await?, Instant::now());
    let (mut appended, mut shown) = steady(&store, &statuses).await?;
    let flushes = self::flushes(&owner).await? - flushes;
    let flushes = flushes / begun.elapsed().as_secs_f64();
    if !names.is_empty() {
        let text = "from an append to all 12 read models, at 500/s";
        report.figure(
            &format!("{text}, p50"),
            "ms",
            quantile_ms(&mut shown, 0.5),
            "",
        );
        report.figure("  p99 of the same", "ms", quantile_ms(&mut shown, 0.99), "");
    }
    let (rate, p99) = producers(PRODUCERS, PRODUCED, |_| {
        let store = store.clone();
        async move { append(&store).await.map(drop) }
    })
    .await?;
    stop.cancel();
    for runner in running {
        runner.await?;
    }
    store.close().await;
    Ok([
        quantile_ms(&mut appended, 0.5),
        quantile_ms(&mut appended, 0.99),
        flushes,
        rate,
        p99,
    ])
}

async fn append(store: &EventStore) -> anyhow::Result<Position> {
    let id = Uuid::now_v7();
    let events = Post::default().decide(publish(id)?)?;
    let answer = store.append(append_of(id, 0, &events)?).await?;
    let position = match &answer {
        Appended::Committed { last, .. } => last.position,
        _ => Position::START,
    };
    committed(answer)?;
    Ok(position)
}

/// How long each append took, and how long after it the last read model had it.
async fn steady(
    store: &EventStore,
    statuses: &[watch::Receiver<ProjectionStatus>],
) -> anyhow::Result<(Vec<Duration>, Vec<Duration>)> {
    let mut tick = interval(Duration::from_millis(1_000 / APPENDS_PER_SECOND));
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut tasks = Vec::with_capacity(APPENDS);
    for _ in 0..APPENDS {
        tick.tick().await;
        let (store, mut statuses) = (store.clone(), statuses.to_vec());
        tasks.push(tokio::spawn(async move {
            let begun = Instant::now();
            let position = append(&store).await?;
            let acknowledged = Instant::now();
            let reached = statuses.iter_mut().map(async |status| {
                let reached = status.wait_for(|status| status.position >= position);
                reached.await.map(drop)
            });
            try_join_all(reached).await?;
            anyhow::Ok((acknowledged.duration_since(begun), acknowledged.elapsed()))
        }));
    }
    let mut figures = (Vec::new(), Vec::new());
    for task in tasks {
        let (appended, shown) = task.await??;
        figures.0.push(appended);
        figures.1.push(shown);
    }
    Ok(figures)
}

/// How often the server has brought its log to the disk.
async fn flushes(owner: &PgPool) -> anyhow::Result<f64> {
    let flushes = sqlx::query_scalar("SELECT wal_sync::float8 FROM pg_stat_wal");
    Ok(flushes.fetch_one(owner).await?)
}
