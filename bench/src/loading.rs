//! What it takes to load a post that was edited very often, for eight who need it at once in a
//! process that has nothing in memory.

use crate::append::{append_of, committed, publish};
use crate::export::peak_mib;
use crate::report::{Report, quantile_ms};
use crate::servers::{Servers, SystemClock};
use cqrs_es::persist::PersistedEventRepository as _;
use futures::future::try_join_all;
use postgres_es::PostgresEventRepository;
use std::fs;
use std::sync::Arc;
use std::time::Instant;
use touchline_domain::aggregate::Decider as _;
use touchline_domain::posts::{Caption, Post, PostEdited, PostEvent};
use touchline_eventstore::EventStore;
use touchline_eventstore::append::EVENTS_PER_COMMAND_MAX;
use uuid::Uuid;

const AT_ONCE: usize = 8;
const ROUNDS: usize = 5;
/// As many as somebody made before there was a bound, and as many as there can be now.
const LENGTHS: [u32; 2] = [12_000, Post::EVENTS_MAX];

/// Time and memory, beside those of the repository of postgres-es as it comes.
pub async fn loading(servers: &Servers, report: &mut Report) -> anyhow::Result<()> {
    for events in LENGTHS {
        let (database, owner) = servers.database_and_owner().await?;
        let fresh = || -> anyhow::Result<EventStore> {
            let keys = servers.master_keys()?;
            let pool = database.pool(16);
            Ok(EventStore::new(
                database.clone(),
                pool,
                keys,
                Arc::new(SystemClock),
            ))
        };
        let id = Uuid::now_v7();
        let store = fresh()?;
        edit_often(&store, id, events).await?;
        store.close().await;

        let ours = measured(async || {
            let store = fresh()?;
            let loads = (0..AT_ONCE).map(|_| store.load::<Post>(id));
            for loaded in try_join_all(loads).await? {
                anyhow::ensure!(loaded.version == i64::from(events));
            }
            store.close().await;
            Ok(())
        })
        .await?;
        let pool = database.pool(16);
        let peer = measured(async || {
            let repository = PostgresEventRepository::new(pool.clone());
            let repository = repository.with_tables("log.events", "log.snapshots");
            let id = id.to_string();
            let loads = (0..AT_ONCE).map(|_| repository.get_events::<Post>(&id));
            for loaded in try_join_all(loads).await? {
                anyhow::ensure!(u32::try_from(loaded.len())? == events);
            }
            Ok(())
        })
        .await?;
        owner.close().await;
        for (what, unit, ours, peer) in [
            ("p50", "ms", ours.0, peer.0),
            ("more memory at the peak", "MiB", ours.1, peer.1),
        ] {
            report.comparison(
                &format!("{AT_ONCE} loads at once of a post with {events} events, {what}"),
                unit,
                ours,
                ("postgres-es, not even opened", peer),
                "",
            );
        }
    }
    Ok(())
}

/// How long it takes, and how much more memory is resident at most.
async fn measured(run: impl AsyncFn() -> anyhow::Result<()>) -> anyhow::Result<(f64, f64)> {
    let mut samples = Vec::with_capacity(ROUNDS);
    let mut more_mib = 0_f64;
    for _round in 0..ROUNDS {
        fs::write("/proc/self/clear_refs", "5")?;
        let (before, start) = (peak_mib()?, Instant::now());
        run().await?;
        samples.push(start.elapsed());
        more_mib = more_mib.max(peak_mib()? - before);
    }
    Ok((quantile_ms(&mut samples, 0.5), more_mib))
}

/// A post with so many events, each with the longest caption there is.
async fn edit_often(store: &EventStore, id: Uuid, events: u32) -> anyhow::Result<()> {
    let published = Post::default().decide(publish(id)?)?;
    let Some(PostEvent::PostPublished(post)) = published.first() else {
        anyhow::bail!("a post is published by one event");
    };
    let edits = (1..events).map(|n| {
        let digits = format!("{n:06}");
        let caption = format!("{digits}{}", "𝄞".repeat(Caption::MAX_CHARS - digits.len()));
        let edited = PostEdited {
            post_id: post.post_id,
            author_id: Some(post.author_id),
            caption: Some(Caption::parse(&caption)?.into()),
            category: None,
            tags: None,
            visibility: None,
            edited_at: post.published_at,
        };
        anyhow::Ok(PostEvent::from(edited))
    });
    let all: Vec<PostEvent> = published
        .iter()
        .cloned()
        .map(Ok)
        .chain(edits)
        .collect::<anyhow::Result<_>>()?;
    let mut version = 0;
    for chunk in all.chunks(EVENTS_PER_COMMAND_MAX) {
        committed(store.append(append_of(id, version, chunk)?).await?)?;
        version += i64::try_from(chunk.len())?;
    }
    Ok(())
}
