//! What sealing personal data costs an append, against the same events stored as they are; and what
//! their digests cost.

use crate::append::{append_of, committed, producers, publish};
use crate::report::{Report, rate};
use crate::servers::Servers;
use std::time::Instant;
use touchline_domain::aggregate::Decider as _;
use touchline_domain::id::UserId;
use touchline_domain::posts::{Post, PostCommand};
use touchline_eventstore::{EventStore, Position};
use uuid::Uuid;

const PRODUCERS: usize = 64;
const APPENDS: usize = 60_000;
/// How many people write. Their keys are made before it is measured, as those of a community are.
const PEOPLE: usize = 1_000;
/// Both ways in turn, so that whatever else the machine does meets both.
const ROUNDS: u32 = 3;

pub async fn personal(servers: &Servers, report: &mut Report) -> anyhow::Result<()> {
    let (with, without) = (servers.store().await?, servers.store().await?);
    for number in 0..PEOPLE {
        append(&with, number, true).await?;
    }
    let (mut sealed, mut plain) = (0.0, 0.0);
    for _round in 0..ROUNDS {
        for (store, is_sealed, sum) in [(&with, true, &mut sealed), (&without, false, &mut plain)] {
            let measured = producers(PRODUCERS, APPENDS, |number| {
                let store = store.clone();
                async move { append(&store, number, is_sealed).await }
            });
            *sum += measured.await?.0 / f64::from(ROUNDS);
        }
    }
    report.comparison(
        "append with personal data sealed, 64 producers, 1,000 people",
        "events/s",
        sealed,
        ("not sealed", plain),
        "ratio >= 0.85, digests included",
    );

    let events = with.read(Position::START, 10_000).await?;
    let start = Instant::now();
    let right = events
        .iter()
        .filter(|event| event.computed_digest() == event.digest);
    let right = right.count();
    anyhow::ensure!(right == events.len(), "a digest is wrong");
    let digests = rate(right, start.elapsed());
    report.comparison(
        "  digests of the same events, on one core",
        "digests/s",
        digests,
        ("appends", sealed),
        "",
    );
    with.close().await;
    without.close().await;
    Ok(())
}

async fn append(store: &EventStore, number: usize, is_sealed: bool) -> anyhow::Result<()> {
    let id = Uuid::now_v7();
    let mut command = publish(id)?;
    if let PostCommand::Publish(post) = &mut command {
        let person = u128::try_from(number % PEOPLE)?;
        post.author_id = UserId::new(Uuid::from_u128(0x5000 + person));
    }
    let mut append = append_of(id, 0, &Post::default().decide(command)?)?;
    if !is_sealed {
        let events = append.streams.iter_mut().flat_map(|it| &mut it.events);
        events.for_each(|event| event.personal = &[]);
    }
    committed(store.append(append).await?)
}
