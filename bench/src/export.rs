//! Exports of a whole log and of a slice: how fast, and what memory they take, over one million
//! events and over ten.

use crate::community;
use crate::report::{Report, rate};
use crate::servers::{Servers, SystemClock};
use anyhow::Context as _;
use sqlx::{Connection as _, Executor as _, PgConnection};
use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};
use touchline_domain::audit::Slice;
use touchline_domain::clock::Clock as _;
use touchline_eventstore::export::Format;
use touchline_eventstore::{EventStore, Position};
use touchline_projections::history::{ExportSettings, HistoryProjection, HistoryReader};
use touchline_projections::{Freshness, Projection as _, registry};

const THOUSANDS: usize = 1_000;
/// How many events are indexed in one statement, as the runner does.
const BATCH_EVENTS: usize = 5_000;
/// How long the index may take to be known to be at its end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Exports over a million events, and over ten million.
pub async fn export(servers: &Servers, report: &mut Report) -> anyhow::Result<()> {
    let store = servers.store().await?;
    community::fill(&store, THOUSANDS).await?;
    registry::prepare(store.pool()).await?;
    let indexed = index(&store, Position::START, report).await?;
    over(&store, "1 million events", report).await?;
    grow(&store).await?;
    index(&store, indexed, report).await?;
    over(&store, "10 million events", report).await?;
    store.close().await;
    Ok(())
}

/// Indexes what comes after a position, without a runner, and returns the last position.
async fn index(
    store: &EventStore,
    mut after: Position,
    report: &mut Report,
) -> anyhow::Result<Position> {
    let mut connection = store.pool().acquire().await?.detach();
    connection.execute("SET search_path TO history").await?;
    let (start, first) = (Instant::now(), after);
    loop {
        let events = store.read(after, BATCH_EVENTS).await?;
        let Some(last) = events.last().map(|event| event.position) else {
            break;
        };
        let mut transaction = connection.begin().await?;
        HistoryProjection.project(&mut transaction, &events).await?;
        transaction.commit().await?;
        after = last;
    }
    let events = usize::try_from(after.since(first))?;
    report.figure(
        &format!("indexing history, one by one: {events} events"),
        "events/s",
        rate(events, start.elapsed()),
        ">= 50000",
    );
    let moved = "UPDATE operations.checkpoints SET position = $1 WHERE projection = 'history'";
    sqlx::query(moved)
        .bind(after.get())
        .execute(&mut connection)
        .await?;
    PgConnection::close(connection).await?;
    Ok(after)
}

/// Nine more copies of the million events, under ids of their own.
async fn grow(store: &EventStore) -> anyhow::Result<()> {
    for copy in 1..10_i64 {
        sqlx::query(
            "INSERT INTO log.events
             SELECT position + $1, gen_random_uuid(), aggregate_type, gen_random_uuid()::text,
                    sequence, event_type, event_version, payload, metadata, recorded_at, digest
             FROM log.events WHERE position <= $2",
        )
        .bind(copy * 1_000_000)
        .bind(1_000_000)
        .execute(store.pool())
        .await?;
    }
    Ok(())
}

async fn over(store: &EventStore, size: &str, report: &mut Report) -> anyhow::Result<()> {
    let by_type = Slice {
        event_type: Some("posts.".to_owned()),
        ..Slice::whole()
    };
    for (name, format, slice) in [
        ("the whole log, NDJSON", Format::Ndjson, Slice::whole()),
        ("the whole log, CSV", Format::Csv, Slice::whole()),
        ("a context, NDJSON", Format::Ndjson, by_type),
    ] {
        one(store, &format!("{name}, {size}"), format, slice, report).await?;
    }
    Ok(())
}

async fn one(
    store: &EventStore,
    name: &str,
    format: Format,
    slice: Slice,
    report: &mut Report,
) -> anyhow::Result<()> {
    let freshness = Freshness::new(store.pool().clone(), &registry::names(), &[]);
    let reader = HistoryReader::new(store.clone(), freshness);
    let mut file = tempfile::tempfile()?;
    // The kernel counts the peak from here on.
    fs::write("/proc/self/clear_refs", "5")?;
    let (before, start) = (peak_mib()?, Instant::now());
    let walk = reader.walk_to_export(slice, PATIENCE).await?;
    let settings = ExportSettings {
        format,
        personal: false,
        at: SystemClock.now(),
    };
    let mut export = reader.export(walk, settings).await?;
    while let Some(bytes) = export.next().await? {
        file.write_all(&bytes)?;
    }
    let elapsed = start.elapsed();
    let events = usize::try_from(export.extent().events)?;
    report.figure(
        &format!("export: {name}"),
        "events/s",
        rate(events, elapsed),
        "",
    );
    report.comparison(
        "  peak of resident memory while it runs",
        "MiB",
        peak_mib()?,
        ("before", before),
        "flat",
    );
    Ok(())
}

/// The most memory that was resident since the kernel was told to count anew.
pub fn peak_mib() -> anyhow::Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"))
        .context("the kernel does not say what memory is used")?
        .trim()
        .parse()?;
    Ok(kib / 1024.0)
}
