//! Seals: making them, proving from them, and checking a whole log and an export of it.

use crate::append::{append_of, committed, producers, publish};
use crate::community;
use crate::report::{Report, quantile_ms, rate};
use crate::servers::{Servers, SystemClock};
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use touchline_domain::aggregate::Decider as _;
use touchline_domain::clock::Clock as _;
use touchline_domain::posts::Post;
use touchline_eventstore::export::{Format, Header, Writer};
use touchline_eventstore::seal::tree::{Frontier, leaf_hash};
use touchline_eventstore::seal::verify::export::verify_export;
use touchline_eventstore::seal::verify::log::{Against, verify_log};
use touchline_eventstore::seal::{Sealer, Seals};
use touchline_eventstore::store::READ_EVENTS_MAX;
use touchline_eventstore::{EventStore, LogEvent, Position};
use uuid::Uuid;

const THOUSANDS: usize = 1_000;
/// How many events are held in memory for what is measured there.
const EVENTS_IN_MEMORY: usize = 200_000;
const PROOFS: i64 = 2_000;
/// How many appends are made at once, and how many in all.
const PRODUCERS: usize = 64;
const APPENDS: usize = 60_000;
/// How often with and without a sealer.
const ROUNDS: usize = 5;

/// Everything about seals, over a million events.
pub async fn seal(servers: &Servers, report: &mut Report) -> anyhow::Result<()> {
    while_sealing(servers, report).await?;
    let store = sealed_store(servers).await?;
    community::fill(&store, THOUSANDS).await?;
    let head = store.head().await?;
    catch_up(&store, head, report).await?;
    proofs(&store, head, report).await?;
    from_memory(&store, report).await?;
    whole_log(&store, head, report).await?;
    export(&store, head, report).await?;
    store.close().await;
    Ok(())
}

/// What appends cost while a sealer follows them, beside the same without one: in turn, and of each the
/// median.
async fn while_sealing(servers: &Servers, report: &mut Report) -> anyhow::Result<()> {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(appends(servers, false).await?);
        with.push(appends(servers, true).await?);
    }
    report.comparison(
        "append, new streams, while a sealer follows",
        "events/s",
        median(&mut with),
        ("without", median(&mut without)),
        "ratio >= 0.85",
    );
    Ok(())
}

/// Appends a second on a fresh log.
async fn appends(servers: &Servers, sealing: bool) -> anyhow::Result<f64> {
    let store = sealed_store(servers).await?;
    let stop = CancellationToken::new();
    let sealer = Sealer::new(store.clone(), Uuid::now_v7());
    let task = sealing.then(|| tokio::spawn(sealer.run(stop.clone())));
    let (rate, _) = producers(PRODUCERS, APPENDS, |_| {
        let store = store.clone();
        async move {
            let id = Uuid::now_v7();
            let events = Post::default().decide(publish(id)?)?;
            committed(store.append(append_of(id, 0, &events)?).await?)
        }
    })
    .await?;
    stop.cancel();
    if let Some(task) = task {
        task.await?;
    }
    store.close().await;
    Ok(rate)
}

/// A store on a fresh log that has its key.
async fn sealed_store(servers: &Servers) -> anyhow::Result<EventStore> {
    let store = servers.store().await?;
    let seals = Seals::new(store.pool().clone());
    seals
        .prepare_key(store.keys(), store.log_id().await?)
        .await?;
    Ok(store)
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

/// A sealer that finds a log that was never sealed.
async fn catch_up(store: &EventStore, head: Position, report: &mut Report) -> anyhow::Result<()> {
    let sealer = Sealer::new(store.clone(), Uuid::now_v7());
    let (mut status, stop) = (sealer.status(), CancellationToken::new());
    let start = Instant::now();
    let sealing = tokio::spawn(sealer.run(stop.clone()));
    status.wait_for(|status| status.sealed >= head).await?;
    let elapsed = start.elapsed();
    stop.cancel();
    sealing.await?;
    report.figure(
        "sealing a log that is there, 1 million events",
        "events/s",
        rate(events(head)?, elapsed),
        "",
    );
    Ok(())
}

/// One proof after the other, spread over the log.
async fn proofs(store: &EventStore, head: Position, report: &mut Report) -> anyhow::Result<()> {
    let seals = Seals::new(store.pool().clone());
    let log_id = store.log_id().await?;
    let (mut inclusion, mut consistency) = (Vec::new(), Vec::new());
    for number in 0..PROOFS {
        let position = Position::new(1 + number * 7_919 % head.get())?;
        let start = Instant::now();
        seals.inclusion(log_id, position, None).await?;
        inclusion.push(start.elapsed());
        let start = Instant::now();
        seals.consistency(log_id, position, head).await?;
        consistency.push(start.elapsed());
    }
    for (name, samples) in [
        ("inclusion", &mut inclusion),
        ("consistency", &mut consistency),
    ] {
        report.figure(
            &format!("{name} proof in 1 million events, p99"),
            "ms",
            quantile_ms(samples, 0.99),
            "",
        );
    }
    Ok(())
}

/// Digests on all cores and the tree beside them, without anything to read.
async fn from_memory(store: &EventStore, report: &mut Report) -> anyhow::Result<()> {
    let mut log: Vec<LogEvent> = Vec::with_capacity(EVENTS_IN_MEMORY);
    while log.len() < EVENTS_IN_MEMORY {
        let after = log.last().map_or(Position::START, |last| last.position);
        log.extend(store.read(after, READ_EVENTS_MAX).await?);
    }
    let start = Instant::now();
    let wrong = check(&log)?;
    let elapsed = start.elapsed();
    anyhow::ensure!(wrong == 0, "{wrong} digests do not fit");
    report.figure(
        "verify: digests and tree, from memory",
        "events/s",
        rate(log.len(), elapsed),
        ">= 200000",
    );
    Ok(())
}

/// How many digests do not fit.
fn check(log: &[LogEvent]) -> anyhow::Result<usize> {
    let cores = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        let mut checked = Vec::new();
        for core in 0..cores {
            let (results, receiver) = sync_channel(4);
            scope.spawn(move || {
                for part in log.chunks(1_000).skip(core).step_by(cores) {
                    let leaves: Vec<_> = part
                        .iter()
                        .map(|event| (event.computed_digest() == event.digest, event.digest))
                        .collect();
                    if results.send(leaves).is_err() {
                        return;
                    }
                }
            });
            checked.push(receiver);
        }
        let (mut tree, mut wrong) = (Frontier::new(), 0);
        for receiver in checked.iter().cycle() {
            let Ok(leaves) = receiver.recv() else {
                break;
            };
            for (fits, digest) in leaves {
                wrong += usize::from(!fits);
                tree.push(0, leaf_hash(digest.as_bytes()), |_| ());
            }
        }
        std::hint::black_box(tree.root());
        Ok(wrong)
    })
}

/// From PostgreSQL, with everything that `touchline log verify` does.
async fn whole_log(store: &EventStore, head: Position, report: &mut Report) -> anyhow::Result<()> {
    let seals = Seals::new(store.pool().clone());
    let start = Instant::now();
    let found = verify_log(&seals, Against::default(), chrono::Utc::now(), |_, _| ()).await?;
    let elapsed = start.elapsed();
    anyhow::ensure!(found.findings.total() == 0, "{:?}", found.findings);
    report.figure(
        "verify: 1 million events in PostgreSQL",
        "events/s",
        rate(events(head)?, elapsed),
        "",
    );
    Ok(())
}

/// From a file, with everything that `touchline log verify --export` does.
async fn export(store: &EventStore, head: Position, report: &mut Report) -> anyhow::Result<()> {
    let seals = Seals::new(store.pool().clone());
    let log_id = store.log_id().await?;
    let key = seals.verifier_key(log_id).await?.context("a key")?;
    for format in [Format::Ndjson, Format::Csv] {
        let file = tempfile::NamedTempFile::new()?;
        write(store, &seals, head, format, file.reopen()?).await?;
        let opened = file.reopen()?;
        let start = Instant::now();
        let found = verify_export(opened, &key, |_| ())?;
        let elapsed: Duration = start.elapsed();
        anyhow::ensure!(found.complete_up_to() == Some(head.sequence()), "{found:?}");
        report.figure(
            &format!("verify: 1 million events in a file, {format:?}"),
            "events/s",
            rate(events(head)?, elapsed),
            ">= 200000",
        );
    }
    Ok(())
}

async fn write(
    store: &EventStore,
    seals: &Seals,
    head: Position,
    format: Format,
    file: File,
) -> anyhow::Result<()> {
    let (mut file, mut out) = (BufWriter::new(file), Vec::new());
    let header = Header::new(
        store.log_id().await?,
        BTreeMap::new(),
        head,
        SystemClock.now(),
    );
    let mut writer = Writer::begin(format, header, &mut out)?;
    while writer.extent().last.unwrap_or_default() < head {
        let after = writer.extent().last.unwrap_or_default();
        for event in store.read(after, READ_EVENTS_MAX).await? {
            writer.event(&event, &mut out)?;
        }
        file.write_all(&out)?;
        out.clear();
    }
    let checkpoint = seals.latest().await?;
    writer.end(checkpoint.map(|checkpoint| checkpoint.note), &mut out)?;
    file.write_all(&out)?;
    Ok(file.flush()?)
}

fn events(head: Position) -> anyhow::Result<usize> {
    Ok(usize::try_from(head.get())?)
}
