//! The relay: from the log to acknowledged in JetStream.

use crate::append::{append_of, committed, publish};
use crate::report::{Report, rate};
use crate::servers::Servers;
use std::time::Instant;
use tokio_util::sync::CancellationToken;
use touchline_domain::aggregate::Decider as _;
use touchline_domain::posts::Post;
use touchline_eventstore::relay::{Relay, RelaySettings};
use touchline_eventstore::{EventStore, StreamAppend};
use uuid::Uuid;

const EVENTS: usize = 300_000;

/// How fast a log that is there already reaches an empty stream.
pub async fn relay(servers: &Servers, report: &mut Report) -> anyhow::Result<()> {
    let store = servers.store().await?;
    fill(&store, EVENTS).await?;
    let head = store.head().await?;
    let (nats, client) = servers.nats().await?;
    let relay = Relay::new(
        store.clone(),
        client,
        Uuid::now_v7(),
        RelaySettings::default(),
    );
    let mut status = relay.status();
    let stop = CancellationToken::new();
    let start = Instant::now();
    let running = tokio::spawn(relay.run(stop.clone()));
    status.wait_for(|status| status.published >= head).await?;
    let elapsed = start.elapsed();
    stop.cancel();
    running.await?;
    store.close().await;
    nats.stop().await?;
    report.figure(
        "relay, log to acknowledged in JetStream",
        "events/s",
        rate(EVENTS, elapsed),
        ">= 30000",
    );
    Ok(())
}

/// Posts, 100 streams a command.
async fn fill(store: &EventStore, events: usize) -> anyhow::Result<()> {
    for _ in 0..events / 100 {
        let mut append = None;
        for _ in 0..100 {
            let id = Uuid::now_v7();
            let one = append_of(id, 0, &Post::default().decide(publish(id)?)?)?;
            let whole = append.get_or_insert_with(|| one.clone());
            if whole.command_id != one.command_id {
                whole
                    .streams
                    .extend(one.streams.into_iter().collect::<Vec<StreamAppend>>());
            }
        }
        if let Some(append) = append {
            committed(store.append(append).await?)?;
        }
    }
    Ok(())
}
