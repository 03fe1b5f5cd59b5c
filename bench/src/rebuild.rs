//! Rebuilding and verifying read models, and what readers notice of it.

use crate::community::{self, post};
use crate::projection::memory_mib;
use crate::report::{Report, quantile_ms, rate};
use crate::servers::{Servers, SystemClock};
use anyhow::Context as _;
use sqlx::PgPool;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use touchline_domain::clock::Timestamp;
use touchline_eventstore::database::Database;
use touchline_eventstore::{EventStore, Position, Tasks};
use touchline_projections::rebuild::{self, Rebuild, RebuildState};
use touchline_projections::verify::{self, VerificationState};
use touchline_projections::{Projections, ReadModel, posts, registry};
use uuid::Uuid;

/// How many thousand events there are, unless `TOUCHLINE_BENCH_THOUSANDS` says otherwise.
const THOUSANDS: usize = 1_000;
/// How many clients read all the while.
const READERS: usize = 4;
/// How long readers are measured while nothing else runs, before and again after.
const USUAL: Duration = Duration::from_secs(5);
/// How long around a swap a read may have begun to count as one that met it.
const AROUND_SWAP: Duration = Duration::from_secs(1);

/// Rebuilds and verifies every read model, and watches readers meanwhile.
pub async fn rebuild(servers: &Servers, report: &mut Report) -> anyhow::Result<()> {
    let thousands = match std::env::var("TOUCHLINE_BENCH_THOUSANDS") {
        Ok(number) => number
            .parse()
            .context("TOUCHLINE_BENCH_THOUSANDS is no number")?,
        Err(_unset) => THOUSANDS,
    };
    let database = servers.database().await?;
    let pool = database.pool(16);
    let keys = servers.master_keys()?;
    let store = EventStore::new(database.clone(), pool, keys, Arc::new(SystemClock));
    community::fill(&store, thousands).await?;
    let head = store.head().await?;
    registry::prepare(store.pool()).await?;
    let stop = CancellationToken::new();
    let workers = Projections::start(
        &store,
        &database,
        None,
        Uuid::now_v7(),
        &stop,
        &Tasks::default(),
    );
    for status in workers.statuses() {
        status.clone().wait_for(|it| it.position >= head).await?;
    }
    for model in registry::all() {
        one(&store, &*model, thousands, report).await?;
    }
    readers(&store, &database, thousands, report).await?;
    stop.cancel();
    workers.stopped().await;
    store.close().await;
    Ok(())
}

/// One read model: rebuilt, then verified.
async fn one(
    store: &EventStore,
    model: &dyn ReadModel,
    thousands: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (name, asked) = (model.name(), asked(model));
    let (done, quarter) = until_rebuilt(store, model).await?;
    let rebuilding = speed(done.position, done.started_at, done.finished_at)?;
    report.figure(
        &format!("rebuild: {name}, {thousands} thousand events"),
        "events/s",
        rebuilding,
        asked,
    );
    report.comparison(
        "  resident memory of the process at its end",
        "MiB",
        memory_mib()?,
        ("at a quarter", quarter),
        "flat",
    );
    let pool = store.pool();
    let requested = verify::request(pool, name, model.version(), "bench").await?;
    let id = requested.into_inner().verification_id;
    let verified = loop {
        sleep(Duration::from_millis(20)).await;
        let found = verify::find(pool, name, id).await?;
        let found = found.context("the verification has gone")?;
        if found.state.is_over() {
            break found;
        }
    };
    anyhow::ensure!(
        verified.state == VerificationState::Done && verified.drift_rows == Some(0),
        "{name}: {verified:?}"
    );
    report.comparison(
        &format!("verify: {name}"),
        "events/s",
        speed(done.position, verified.started_at, verified.finished_at)?,
        ("rebuild", rebuilding),
        "ratio >= 1",
    );
    Ok(())
}

/// How many events a second a job came through, up to `position`.
fn speed(
    position: Position,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
) -> anyhow::Result<f64> {
    let took = finished_at.zip(started_at);
    let (end, start) = took.context("it has no times")?;
    Ok(rate(
        usize::try_from(position.get())?,
        (end - start).to_std()?,
    ))
}

fn asked(model: &dyn ReadModel) -> &'static str {
    if model.name() == "posts" {
        ">= 20000"
    } else {
        ">= 50000"
    }
}

/// A rebuild that is done, and the memory that the process held when it was at a quarter.
async fn until_rebuilt(
    store: &EventStore,
    model: &dyn ReadModel,
) -> anyhow::Result<(Rebuild, f64)> {
    let (pool, name) = (store.pool(), model.name());
    let requested = rebuild::request(pool, name, model.version(), "bench", "").await?;
    let id = requested.into_inner().rebuild_id;
    let quarter = Position::new(store.head().await?.get() / 4)?;
    let mut memory = None;
    loop {
        sleep(Duration::from_millis(20)).await;
        let found = rebuild::find(pool, name, id).await?;
        let found = found.context("the rebuild has gone")?;
        if memory.is_none() && found.position >= quarter {
            memory = Some(memory_mib()?);
        }
        let is_done = found.state == RebuildState::Done;
        // The pause is written after the swap.
        if found.state.is_over() && found.swap_pause_us.is_some() == is_done {
            anyhow::ensure!(is_done && found.drift_rows == Some(0), "{name}: {found:?}");
            return Ok((found, memory.unwrap_or_default()));
        }
    }
}

/// When a read began, and how long it took.
type Read = (Instant, Duration);

/// What readers of posts notice while posts are rebuilt.
async fn readers(
    store: &EventStore,
    database: &Database,
    thousands: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let pool = database.query_pool(u32::try_from(READERS)?);
    let model = registry::find("posts").context("there is no such projection")?;
    let mut usual = usual_reads(&pool, thousands).await?;

    let stop = CancellationToken::new();
    let during = start_readers(&pool, thousands, &stop);
    let (done, _memory) = until_rebuilt(store, &*model).await?;
    let swapped = Instant::now();
    sleep(AROUND_SWAP).await;
    stop.cancel();
    let during = gather(during).await?;
    let mut around: Vec<Duration> = during
        .iter()
        .filter(|(begun, _)| begun.max(&swapped).duration_since(*begun.min(&swapped)) < AROUND_SWAP)
        .map(|(_, took)| *took)
        .collect();
    let mut during: Vec<Duration> = during.iter().map(|(_, took)| *took).collect();
    // What is usual drifts with the machine: it is asked on both sides.
    usual.extend(usual_reads(&pool, thousands).await?);
    report.comparison(
        "read of a post while posts are rebuilt, p99",
        "ms",
        quantile_ms(&mut during, 0.99),
        ("usual", quantile_ms(&mut usual, 0.99)),
        "ratio <= 2",
    );
    report.figure(
        "  the rebuild while they read",
        "events/s",
        speed(done.position, done.started_at, done.finished_at)?,
        "",
    );
    report.figure(
        "read of a post within a second of the swap, p99.9",
        "ms",
        quantile_ms(&mut around, 0.999),
        "",
    );
    report.figure(
        "  the longest such read",
        "ms",
        quantile_ms(&mut around, 1.0),
        "",
    );
    let pause_us = u64::try_from(done.swap_pause_us.unwrap_or_default())?;
    report.figure(
        "  how long the swap kept readers from beginning",
        "ms",
        Duration::from_micros(pause_us).as_secs_f64() * 1_000.0,
        "",
    );
    Ok(())
}

/// How long reads take while nothing else runs.
async fn usual_reads(pool: &PgPool, thousands: usize) -> anyhow::Result<Vec<Duration>> {
    let stop = CancellationToken::new();
    let reading = start_readers(pool, thousands, &stop);
    sleep(USUAL).await;
    stop.cancel();
    let reads = gather(reading).await?;
    Ok(reads.into_iter().map(|(_, took)| took).collect())
}

fn start_readers(
    pool: &PgPool,
    thousands: usize,
    stop: &CancellationToken,
) -> Vec<JoinHandle<anyhow::Result<Vec<Read>>>> {
    (0..READERS)
        .map(|reader| tokio::spawn(read(pool.clone(), reader, thousands * 70, stop.clone())))
        .collect()
}

/// Reads one post after the other until stopped.
async fn read(
    pool: PgPool,
    reader: usize,
    posts_max: usize,
    stop: CancellationToken,
) -> anyhow::Result<Vec<Read>> {
    let mut reads = Vec::new();
    let mut number = reader;
    while !stop.is_cancelled() {
        number = (number + 7_919) % posts_max;
        let begun = Instant::now();
        let found = posts::by_id(&pool, post(number), None).await?;
        reads.push((begun, begun.elapsed()));
        anyhow::ensure!(found.is_some(), "post {number} is not there");
        // A client that thinks; four that do not would be the load, and not the reader.
        sleep(Duration::from_millis(1)).await;
    }
    Ok(reads)
}

async fn gather(readers: Vec<JoinHandle<anyhow::Result<Vec<Read>>>>) -> anyhow::Result<Vec<Read>> {
    let mut all = Vec::new();
    for reader in readers {
        all.extend(reader.await??);
    }
    Ok(all)
}
