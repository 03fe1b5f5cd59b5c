//! Whole commands as the API makes them: each names what it was allowed by in its append.

use crate::append::{PRODUCERS, producers};
use crate::report::Report;
use crate::servers::{Servers, SystemClock, SystemIds};
use anyhow::Context as _;
use futures::future::try_join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;
use touchline_commands::posts::{self, LikePostError, NewPost, PostChanges};
use touchline_commands::{Bus, Failure, Intent};
use touchline_domain::id::{PostId, UserId};
use touchline_domain::identity::{Account, AccountCommand, Gender, Register, RoleDetails};
use touchline_domain::posts::{Caption, Tags, Visibility};
use touchline_eventstore::EventStore;

/// How many people there are, each with a post.
const PEOPLE: usize = 5_000;

/// A log with people and posts, and a node on it.
struct Community {
    bus: Bus,
    people: Vec<(UserId, PostId)>,
}

impl Community {
    async fn new(store: EventStore) -> anyhow::Result<Self> {
        let bus = bus(store);
        let mut people = Vec::with_capacity(PEOPLE);
        let numbers: Vec<usize> = (0..PEOPLE).collect();
        for chunk in numbers.chunks(PRODUCERS) {
            people.extend(try_join_all(chunk.iter().map(|number| person(&bus, *number))).await?);
        }
        Ok(Self { bus, people })
    }

    fn person(&self, number: usize) -> (UserId, PostId) {
        let index = number.wrapping_mul(2_654_435_761) % PEOPLE;
        self.people.get(index).copied().unwrap_or_default()
    }
}

fn bus(store: EventStore) -> Bus {
    Bus::new(store, Arc::new(SystemClock), Arc::new(SystemIds))
}

async fn person(bus: &Bus, number: usize) -> anyhow::Result<(UserId, PostId)> {
    let user_id = UserId::new(bus.new_id());
    let envelope = bus.envelope(None);
    let register = AccountCommand::Register(Register {
        user_id,
        email: format!("fan{number}@example.org").parse()?,
        handle: format!("fan{number}").parse()?,
        display_name: format!("Fan {number}").parse()?,
        sport: "football".parse()?,
        gender: Gender::Undisclosed,
        role: RoleDetails::Fan,
        at: envelope.at,
    });
    let intent = Intent::<Account>::new(user_id.uuid(), register).presuming_new();
    bus.execute(&envelope, intent).await?;
    let post = NewPost {
        caption: caption(number)?,
        category: None,
        device: None,
        tags: Tags::default(),
        visibility: Visibility::Public,
    };
    let published = posts::publish(bus, &bus.envelope(Some(user_id)), post).await?;
    Ok((user_id, PostId::new(published.id)))
}

fn caption(number: usize) -> anyhow::Result<Caption> {
    let text = format!("Argentina 3-3 France, {number} on penalties. What a final!");
    Ok(Caption::parse(&text)?)
}

async fn edit(bus: &Bus, (author, post_id): (UserId, PostId), number: usize) -> anyhow::Result<()> {
    let changes = PostChanges {
        caption: Some(caption(number)?),
        ..PostChanges::default()
    };
    posts::edit(bus, &bus.envelope(Some(author)), post_id, changes, None).await?;
    Ok(())
}

/// Edits, which depend on an account, and likes, which depend on two accounts and a post, beside the
/// commands of stock postgres-es, which depend on nothing.
pub async fn dependencies(
    servers: &Servers,
    report: &mut Report,
    stock: f64,
) -> anyhow::Result<()> {
    let peer = ("postgres-es", stock);
    let community = Arc::new(Community::new(servers.store().await?).await?);
    let edits = producers(PRODUCERS, 60_000, |number| {
        let community = Arc::clone(&community);
        async move { edit(&community.bus, community.person(number), number).await }
    })
    .await?;
    report.comparison(
        "edits, each naming the author's account",
        "commands/s",
        edits.0,
        peer,
        "ratio >= 5",
    );
    report.figure("  p99 of the same", "ms", edits.1, "");
    let likes = producers(PRODUCERS, 60_000, |number| {
        let community = Arc::clone(&community);
        async move {
            let (liker, _) = community.person(number);
            // Another post in each round through the people.
            let (_, post_id) = community.person(number + 1 + number / PEOPLE);
            like(&community.bus, liker, post_id).await
        }
    })
    .await?;
    report.comparison(
        "likes, each naming a post and two accounts",
        "commands/s",
        likes.0,
        peer,
        "ratio >= 5",
    );
    report.figure("  p99 of the same", "ms", likes.1, "");
    let one_post = likes_of(&community, &community.bus, 0).await?;
    report.comparison(
        "likes of one post by 5,000 people",
        "commands/s",
        one_post.rate,
        peer,
        "ratio >= 5",
    );
    community.bus.store().close().await;
    Ok(())
}

async fn like(bus: &Bus, liker: UserId, post_id: PostId) -> anyhow::Result<()> {
    posts::like(bus, &bus.envelope(Some(liker)), post_id).await?;
    Ok(())
}

/// What became of likes.
struct Liked {
    rate: f64,
    p99_ms: f64,
    contended: usize,
}

/// Everybody likes one post through `bus`, once.
async fn likes_of(community: &Arc<Community>, bus: &Bus, number: usize) -> anyhow::Result<Liked> {
    let contended = Arc::new(AtomicUsize::new(0));
    let (_, post_id) = *community.people.get(number).context("a post")?;
    let (rate, p99_ms) = producers(PRODUCERS, PEOPLE, |number| {
        let (bus, contended) = (bus.clone(), Arc::clone(&contended));
        let liker = community.people.get(number).copied().unwrap_or_default().0;
        async move {
            match posts::like(&bus, &bus.envelope(Some(liker)), post_id).await {
                Ok(_) => {}
                Err(LikePostError::Failed(Failure::Contended)) => {
                    contended.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => anyhow::bail!(error),
            }
            Ok(())
        }
    })
    .await?;
    Ok(Liked {
        rate,
        p99_ms,
        contended: contended.load(Ordering::Relaxed),
    })
}

/// Likes of a post that its author edits without a pause, on the same node and on another.
pub async fn contention(servers: &Servers, report: &mut Report) -> anyhow::Result<()> {
    let (first, second) = servers.two_stores().await?;
    let community = Arc::new(Community::new(first).await?);
    let elsewhere = bus(second);
    // The other node has seen everybody before, as a node that has run for a while.
    likes_of(&community, &elsewhere, 0).await?;
    for (node, bus, number) in [
        ("the same node", &community.bus, 1),
        ("another node", &elsewhere, 2),
    ] {
        let done = Arc::new(AtomicBool::new(false));
        let authors = tokio::spawn({
            let (community, done) = (Arc::clone(&community), Arc::clone(&done));
            async move {
                let post = *community.people.get(number).context("a post")?;
                let start = Instant::now();
                let mut edits = 0_usize;
                while !done.load(Ordering::Relaxed) {
                    edit(&community.bus, post, edits).await?;
                    edits += 1;
                }
                anyhow::Ok((edits, start.elapsed()))
            }
        });
        let liked = likes_of(&community, bus, number).await;
        done.store(true, Ordering::Relaxed);
        let (edits, elapsed) = authors.await??;
        let liked = liked?;
        let rate = crate::report::rate(edits, elapsed);
        report.figure(
            &format!("likes of a post, edited on {node}"),
            "commands/s",
            liked.rate,
            "",
        );
        report.figure("  p99 of the same", "ms", liked.p99_ms, "");
        #[expect(
            clippy::as_conversions,
            clippy::cast_precision_loss,
            reason = "a figure for people"
        )]
        let share = 100.0 * liked.contended as f64 / PEOPLE as f64;
        report.figure("  refused as contended", "%", share, "");
        report.figure("  edits meanwhile", "commands/s", rate, "");
    }
    community.bus.store().close().await;
    elsewhere.store().close().await;
    Ok(())
}
