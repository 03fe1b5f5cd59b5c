//! Appends and whole commands, against stock postgres-es on the same server.

use crate::report::{Report, quantile_ms, rate};
use crate::servers::{Servers, SystemClock};
use crate::stock::stock;
use anyhow::{Context as _, bail};
use futures::future::try_join_all;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use touchline_domain::aggregate::Decider;
use touchline_domain::clock::Clock as _;
use touchline_domain::id::{CommandId, PostId, UserId};
use touchline_domain::posts::{
    Caption, EditPost, Post, PostCommand, PostEvent, PublishPost, Tags, Visibility,
};
use touchline_eventstore::{Append, Appended, EventStore, NewEvent, StreamAppend};
use uuid::Uuid;

pub const PRODUCERS: usize = 64;

pub fn publish(id: Uuid) -> anyhow::Result<PostCommand> {
    Ok(PostCommand::Publish(PublishPost {
        post_id: PostId::new(id),
        author_id: UserId::new(Uuid::from_u128(7)),
        caption: Caption::parse("Argentina 3-3 France, 4-2 on penalties. What a final in Lusail!")?,
        category: None,
        device: None,
        tags: Tags::default(),
        visibility: Visibility::Public,
        at: SystemClock.now(),
    }))
}

fn edit(number: usize) -> anyhow::Result<PostCommand> {
    Ok(PostCommand::Edit(EditPost {
        editor_id: UserId::new(Uuid::from_u128(7)),
        caption: Some(Caption::parse(&format!(
            "Argentina 3-3 France, {number} on penalties. What a final!"
        ))?),
        category: None,
        tags: None,
        visibility: None,
        at: SystemClock.now(),
    }))
}

pub fn append_of(id: Uuid, version: i64, events: &[PostEvent]) -> anyhow::Result<Append> {
    Ok(Append {
        command_id: CommandId::new(Uuid::now_v7()),
        fingerprint: [7; 32],
        metadata: BTreeMap::from([("actor".to_owned(), id.to_string())]),
        streams: vec![StreamAppend {
            aggregate_type: <Post as Decider>::TYPE,
            aggregate_id: id,
            expected_version: version,
            events: events
                .iter()
                .map(|event| NewEvent::encode(Uuid::now_v7(), event))
                .collect::<Result<_, _>>()?,
        }],
        take: Vec::new(),
        release: Vec::new(),
    })
}

/// New streams, one event each, 64 producers at once.
pub async fn new_streams(servers: &Servers, report: &mut Report) -> anyhow::Result<()> {
    let stock = Arc::new(stock(&servers.stock_pool).await?);
    let peer = producers(PRODUCERS, 20_000, |_| {
        let stock = Arc::clone(&stock);
        async move {
            let id = Uuid::now_v7();
            Ok(stock.execute(&id.to_string(), publish(id)?).await?)
        }
    })
    .await?;
    let store = servers.store().await?;
    let ours = producers(PRODUCERS, 100_000, |_| {
        let store = store.clone();
        async move {
            let id = Uuid::now_v7();
            let events = Post::default().decide(publish(id)?)?;
            committed(store.append(append_of(id, 0, &events)?).await?)
        }
    })
    .await?;
    store.close().await;
    report.comparison(
        "append, new streams, 64 producers",
        "events/s",
        ours.0,
        ("postgres-es", peer.0),
        "ratio >= 5, aim 10",
    );
    report.comparison(
        "  p99 of the same",
        "ms",
        ours.1,
        ("postgres-es", peer.1),
        "",
    );
    Ok(())
}

/// Load, decide and append on 5,000 aggregates that exist, 64 at once. Answers the peer's commands a
/// second.
pub async fn commands(servers: &Servers, report: &mut Report) -> anyhow::Result<f64> {
    const AGGREGATES: usize = 5_000;
    let ids: Arc<Vec<Uuid>> = Arc::new((0..AGGREGATES).map(|_| Uuid::now_v7()).collect());
    let pick = |number: usize| {
        ids.get(number.wrapping_mul(2_654_435_761) % AGGREGATES)
            .copied()
            .unwrap_or_default()
    };

    let stock = Arc::new(stock(&servers.stock_pool).await?);
    for chunk in ids.chunks(PRODUCERS) {
        try_join_all(chunk.iter().map(|id| {
            let stock = Arc::clone(&stock);
            async move { anyhow::Ok(stock.execute(&id.to_string(), publish(*id)?).await?) }
        }))
        .await?;
    }
    let refused = Arc::new(AtomicUsize::new(0));
    let peer = producers(PRODUCERS, 10_000, |number| {
        let (stock, refused, id) = (Arc::clone(&stock), Arc::clone(&refused), pick(number));
        async move {
            match stock.execute(&id.to_string(), edit(number)?).await {
                Ok(()) => {}
                Err(cqrs_es::AggregateError::AggregateConflict) => {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => bail!(error),
            }
            Ok(())
        }
    })
    .await?;

    let store = servers.store().await?;
    for chunk in ids.chunks(PRODUCERS) {
        try_join_all(chunk.iter().map(|id| execute(&store, *id, publish(*id)))).await?;
    }
    let ours = producers(PRODUCERS, 60_000, |number| {
        let (store, id) = (store.clone(), pick(number));
        async move { execute(&store, id, edit(number)).await }
    })
    .await?;
    store.close().await;
    report.comparison(
        "commands on 5,000 aggregates, 64 at once",
        "commands/s",
        ours.0,
        ("postgres-es", peer.0),
        "ratio >= 5, aim 10; 0 refused",
    );
    report.comparison(
        "  p99 of the same",
        "ms",
        ours.1,
        ("postgres-es", peer.1),
        "",
    );
    #[expect(
        clippy::as_conversions,
        clippy::cast_precision_loss,
        reason = "a figure for people"
    )]
    report.comparison(
        "  refused as conflict",
        "commands",
        0.0,
        ("postgres-es", refused.load(Ordering::Relaxed) as f64),
        "0",
    );
    Ok(peer.0)
}

/// One whole command; a conflict, which nobody else causes here, would be an error.
async fn execute(
    store: &EventStore,
    id: Uuid,
    command: anyhow::Result<PostCommand>,
) -> anyhow::Result<()> {
    let _turn = store.turn(<Post as Decider>::TYPE, id).await;
    let loaded = store.load::<Post>(id).await?;
    let events = loaded.state.decide(command?)?;
    committed(
        store
            .append(append_of(id, loaded.version, &events)?)
            .await?,
    )?;
    store.remember(id, loaded.after(&events));
    Ok(())
}

/// One client alone: an append against a one-row INSERT and COMMIT.
pub async fn alone(servers: &Servers, report: &mut Report) -> anyhow::Result<()> {
    const ROUNDS: usize = 3_000;
    let mut connection = servers.stock_pool.acquire().await?;
    sqlx::query("DROP TABLE IF EXISTS plain")
        .execute(&mut *connection)
        .await?;
    sqlx::query("CREATE TABLE plain (id uuid PRIMARY KEY, body json NOT NULL)")
        .execute(&mut *connection)
        .await?;
    let store = servers.store().await?;
    let (mut ours, mut peer) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
    for round in 0..ROUNDS + 200 {
        let id = Uuid::now_v7();
        let events = Post::default().decide(publish(id)?)?;
        let append = append_of(id, 0, &events)?;
        let body = serde_json::to_value(events.first().context("an event")?)?;
        let start = Instant::now();
        sqlx::query("INSERT INTO plain (id, body) VALUES ($1, $2)")
            .bind(id)
            .bind(&body)
            .execute(&mut *connection)
            .await?;
        let middle = Instant::now();
        committed(store.append(append).await?)?;
        if round >= 200 {
            peer.push(middle - start);
            ours.push(middle.elapsed());
        }
    }
    store.close().await;
    report.comparison(
        "one client alone, p50 of an append",
        "ms",
        quantile_ms(&mut ours, 0.5),
        ("INSERT+COMMIT", quantile_ms(&mut peer, 0.5)),
        "ratio <= 2",
    );
    Ok(())
}

pub fn committed(answer: Appended) -> anyhow::Result<()> {
    match answer {
        Appended::Committed { .. } => Ok(()),
        other => bail!("not committed: {other:?}"),
    }
}

/// Runs `total` calls over `width` tasks; calls a second, and p99 in milliseconds.
pub async fn producers<F, Fut>(width: usize, total: usize, call: F) -> anyhow::Result<(f64, f64)>
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut tasks = Vec::with_capacity(width);
    let start = Instant::now();
    for worker in 0..width {
        let calls: Vec<_> = (worker..total).step_by(width).map(&call).collect();
        tasks.push(tokio::spawn(async move {
            let mut samples = Vec::with_capacity(calls.len());
            for call in calls {
                let start = Instant::now();
                call.await?;
                samples.push(start.elapsed());
            }
            anyhow::Ok(samples)
        }));
    }
    let mut samples: Vec<Duration> = Vec::with_capacity(total);
    for task in tasks {
        samples.extend(task.await??);
    }
    Ok((
        rate(total, start.elapsed()),
        quantile_ms(&mut samples, 0.99),
    ))
}
