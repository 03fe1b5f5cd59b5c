//! The read model of posts and feeds: catching up with a log that is there already.

use crate::community;
use crate::report::{Report, rate};
use crate::servers::{Servers, SystemClock};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use touchline_eventstore::relay::{Relay, RelaySettings};
use touchline_eventstore::{EventStore, Position};
use touchline_projections::posts::PostsProjection;
use touchline_projections::users::UsersProjection;
use touchline_projections::{ProjectionState, Runner, registry};
use uuid::Uuid;

const THOUSANDS: usize = 1_000;

/// Events a second of each read model over a million events, and what memory it takes.
pub async fn projection(servers: &Servers, report: &mut Report) -> anyhow::Result<()> {
    let database = servers.database().await?;
    let store = EventStore::new(
        database.clone(),
        database.pool(16),
        servers.master_keys()?,
        Arc::new(SystemClock),
    );
    community::fill(&store, THOUSANDS).await?;
    let head = store.head().await?;
    let (nats, client) = servers.nats().await?;
    let stop = CancellationToken::new();
    let relay = Relay::new(
        store.clone(),
        client.clone(),
        Uuid::now_v7(),
        RelaySettings::default(),
    );
    let mut relayed = relay.status();
    let relaying = tokio::spawn(relay.run(stop.clone()));
    relayed.wait_for(|status| status.published >= head).await?;
    registry::prepare(store.pool()).await?;

    let quarter = Position::new(head.get() / 4)?;
    let users = Runner::new(
        UsersProjection,
        store.clone(),
        database.clone(),
        Some(client.clone()),
        Uuid::now_v7(),
    );
    catch_up("users", users, quarter, head, report).await?;
    let posts = Runner::new(
        PostsProjection::default(),
        store.clone(),
        database,
        Some(client),
        Uuid::now_v7(),
    );
    catch_up("posts and feeds", posts, quarter, head, report).await?;

    stop.cancel();
    relaying.await?;
    store.close().await;
    nats.stop().await?;
    Ok(())
}

async fn catch_up(
    name: &str,
    runner: Runner,
    quarter: Position,
    head: Position,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut status = runner.status();
    let stop = CancellationToken::new();
    let start = Instant::now();
    let running = tokio::spawn(runner.run(stop.clone()));
    status.wait_for(|status| status.position >= quarter).await?;
    let memory_then = memory_mib()?;
    let reached = status
        .wait_for(|status| {
            status.position >= head || matches!(status.state, ProjectionState::Halted { .. })
        })
        .await?
        .clone();
    let elapsed: Duration = start.elapsed();
    anyhow::ensure!(
        reached.position >= head && reached.parked_aggregates == 0,
        "{name}: {reached:?}"
    );
    stop.cancel();
    running.await?;
    let events = usize::try_from(head.get())?;
    report.figure(
        &format!("projection catch-up: {name}, 1 million events"),
        "events/s",
        rate(events, elapsed),
        ">= 20000",
    );
    report.comparison(
        "  resident memory of the process at its end",
        "MiB",
        memory_mib()?,
        ("at a quarter", memory_then),
        "flat",
    );
    Ok(())
}

/// The resident memory of this process.
pub fn memory_mib() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
        .unwrap_or("0")
        .trim()
        .parse()?;
    Ok(kib / 1024.0)
}
