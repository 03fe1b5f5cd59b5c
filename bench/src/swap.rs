//! How soon new tables take the place of those that serve, while readers never pause.

use crate::community::{self, post, user};
use crate::report::{Report, quantile_ms};
use crate::servers::{Servers, SystemClock};
use anyhow::Context as _;
use sqlx::PgPool;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use touchline_eventstore::{EventStore, Tasks};
use touchline_projections::rebuild::{self, RebuildState};
use touchline_projections::{Projections, posts, registry};
use uuid::Uuid;

const THOUSANDS: usize = 5;
const READERS: usize = 8;
const SWAPS: usize = 20;

/// Swaps a small read model again and again under readers that ask for one thing after the other.
pub async fn swap(servers: &Servers, report: &mut Report) -> anyhow::Result<()> {
    let database = servers.database().await?;
    let (pool, keys) = (database.pool(16), servers.master_keys()?);
    let store = EventStore::new(database.clone(), pool, keys, Arc::new(SystemClock));
    community::fill(&store, THOUSANDS).await?;
    let head = store.head().await?;
    registry::prepare(store.pool()).await?;
    let stop = CancellationToken::new();
    let (holder, tasks) = (Uuid::now_v7(), Tasks::default());
    let workers = Projections::start(&store, &database, None, holder, &stop, &tasks);
    for status in workers.statuses() {
        status.clone().wait_for(|it| it.position >= head).await?;
    }
    let queries = database.query_pool(u32::try_from(READERS)?);
    let reading: Vec<_> = (0..READERS)
        .map(|reader| tokio::spawn(read(queries.clone(), reader, stop.clone())))
        .collect();
    let mut swaps = Vec::with_capacity(SWAPS);
    for _ in 0..SWAPS {
        swaps.push(one(&store).await?);
    }
    stop.cancel();
    let mut reads = Vec::new();
    for reader in reading {
        reads.extend(reader.await??);
    }
    workers.stopped().await;
    store.close().await;
    report.figure(
        "swap under 8 readers that never pause, p50",
        "ms",
        quantile_ms(&mut swaps, 0.5),
        "",
    );
    report.figure(
        "  the longest of 20",
        "ms",
        quantile_ms(&mut swaps, 1.0),
        "<= 16000",
    );
    report.figure(
        "  a read meanwhile, p99",
        "ms",
        quantile_ms(&mut reads, 0.99),
        "",
    );
    report.figure("  the longest read", "ms", quantile_ms(&mut reads, 1.0), "");
    Ok(())
}

/// How long a rebuild of the posts took from the first attempt to swap.
async fn one(store: &EventStore) -> anyhow::Result<Duration> {
    let model = registry::find("posts").context("there is no such projection")?;
    let (pool, name) = (store.pool(), model.name());
    let requested = rebuild::request(pool, name, model.version(), "bench", "").await?;
    let id = requested.into_inner().rebuild_id;
    let mut begun = None;
    loop {
        let found = rebuild::find(pool, name, id).await?;
        let found = found.context("the rebuild has gone")?;
        match found.state {
            RebuildState::Swapping => {
                begun.get_or_insert_with(Instant::now);
            }
            RebuildState::Done => {
                // One that came through at once may not have been seen to begin.
                return Ok(begun.map_or(Duration::ZERO, |begun| begun.elapsed()));
            }
            state if state.is_over() => anyhow::bail!("{found:?}"),
            _ => {}
        }
        sleep(Duration::from_millis(2)).await;
    }
}

/// Reads posts and feeds until stopped; how long each read took.
async fn read(
    pool: PgPool,
    reader: usize,
    stop: CancellationToken,
) -> anyhow::Result<Vec<Duration>> {
    let mut reads = Vec::new();
    let mut number = reader;
    while !stop.is_cancelled() {
        number = (number + 7_919) % (THOUSANDS * 70);
        let begun = Instant::now();
        if number.is_multiple_of(2) {
            let found = posts::by_id(&pool, post(number), None).await?;
            anyhow::ensure!(found.is_some(), "post {number} is not there");
        } else {
            posts::home_feed(&pool, user(number), None, 50).await?;
        }
        reads.push(begun.elapsed());
    }
    Ok(reads)
}
