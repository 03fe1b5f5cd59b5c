//! Many commands on one aggregate: in one process each has its turn; between processes the later
//! one decides again.

use crate::bus::captioned;
use crate::world::{NOW, World};
use futures::future::join_all;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use touchline_commands::posts::{self, ChangePostError, LikePostError};
use touchline_commands::{Bus, Envelope, Failure};
use touchline_domain::clock::IdSource;
use touchline_domain::id::{PostId, UserId};
use touchline_domain::posts::Visibility;
use touchline_testkit::MockClock;
use uuid::Uuid;

async fn edit(
    bus: &Bus,
    author: UserId,
    post_id: PostId,
    caption: &str,
) -> Result<i64, ChangePostError> {
    let envelope = bus.envelope(Some(author));
    let edited = posts::edit(bus, &envelope, post_id, captioned(caption), None).await?;
    Ok(edited.version)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_commands_on_one_aggregate_none_is_refused() {
    let world = World::new().await;
    let ana = world.fan("ana").await;
    let post_id = world.post(ana, Visibility::Public).await;
    let edits = (0..64).map(|n| {
        let bus = world.bus.clone();
        tokio::spawn(async move { edit(&bus, ana, post_id, &n.to_string()).await.unwrap() })
    });
    let versions: BTreeSet<i64> = join_all(edits)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(versions, (2..=65).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_on_one_aggregate_lose_and_double_nothing() {
    let world = World::new().await;
    let ana = world.fan("ana").await;
    let post_id = world.post(ana, Visibility::Public).await;
    let elsewhere = world.another_process();
    let edits = (0..64).map(|n| {
        let bus = if n % 2 == 0 {
            world.bus.clone()
        } else {
            elsewhere.clone()
        };
        tokio::spawn(async move { edit(&bus, ana, post_id, &n.to_string()).await })
    });
    let mut versions = Vec::new();
    for answer in join_all(edits).await {
        match answer.unwrap() {
            Ok(version) => versions.push(version),
            Err(ChangePostError::Failed(Failure::Contended)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    versions.sort_unstable();
    let last = i64::try_from(versions.len()).unwrap() + 1;
    assert_eq!(versions, (2..=last).collect::<Vec<_>>());
    assert_eq!(world.log().await.len(), versions.len() + 2);
}

/// Gives ids, and lets another process edit the post whenever it is asked for the id of an event:
/// after a command has read the post, and before it appends.
struct Meddler {
    elsewhere: Bus,
    author: UserId,
    post_id: PostId,
    left: AtomicU32,
}

impl IdSource for Meddler {
    fn next(&self) -> Uuid {
        let id = self.elsewhere.new_id();
        let meddles = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            })
            .is_ok();
        if meddles {
            block_in_place(|| {
                let caption = id.to_string();
                let edit = edit(&self.elsewhere, self.author, self.post_id, &caption);
                Handle::current().block_on(edit).unwrap();
            });
        }
        id
    }
}

/// A post in one process, and another process that edits it `times` times while the first one decides.
struct Meddled {
    bus: Bus,
    author: UserId,
    post_id: PostId,
    _world: World,
}

impl Meddled {
    async fn new(times: u32) -> (Self, Envelope) {
        let world = World::new().await;
        let ana = world.fan("ana").await;
        let post_id = world.post(ana, Visibility::Public).await;
        let meddler = Arc::new(Meddler {
            elsewhere: world.another_process(),
            author: ana,
            post_id,
            left: AtomicU32::new(0),
        });
        let clock = Arc::new(MockClock::at(NOW));
        let bus = Bus::new(world.bus.store().clone(), clock, meddler.clone());
        let envelope = bus.envelope(Some(ana));
        meddler.left.store(times, Ordering::SeqCst);
        let scene = Self {
            bus,
            author: ana,
            post_id,
            _world: world,
        };
        (scene, envelope)
    }
}

/// The version that an edit ends at.
async fn edit_while_meddled_with(times: u32) -> Result<i64, ChangePostError> {
    let (it, envelope) = Meddled::new(times).await;
    let edited = posts::edit(&it.bus, &envelope, it.post_id, captioned("ours"), None).await;
    edited.map(|outcome| outcome.version)
}

/// Whether a like, which depends on the post, is there in the end.
async fn like_while_meddled_with(times: u32) -> Result<bool, LikePostError> {
    let (it, envelope) = Meddled::new(times).await;
    assert_eq!(envelope.actor, Some(it.author));
    let liked = posts::like(&it.bus, &envelope, it.post_id).await;
    liked.map(|outcome| outcome.state.is_liked())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_decided_again_when_its_aggregate_moved_on() {
    assert_eq!(edit_while_meddled_with(0).await.unwrap(), 2);
    assert_eq!(edit_while_meddled_with(1).await.unwrap(), 3);
    // Each conflict asks for two ids: one for the event, one for the pause.
    assert_eq!(edit_while_meddled_with(6).await.unwrap(), 8);
    // A conflict on what a command depends on counts as one on its own aggregate.
    assert!(like_while_meddled_with(6).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_gives_up_when_its_aggregate_never_rests() {
    assert!(matches!(
        edit_while_meddled_with(7).await,
        Err(ChangePostError::Failed(Failure::Contended))
    ));
    assert!(matches!(
        like_while_meddled_with(7).await,
        Err(LikePostError::Failed(Failure::Contended))
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_edits_without_a_pause_starves_nobody_in_the_same_process() {
    let world = World::new().await;
    let ana = world.fan("ana").await;
    let post_id = world.post(ana, Visibility::Public).await;
    let mut fans = Vec::new();
    for n in 0..32 {
        fans.push(world.fan(&format!("fan{n}")).await);
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let editors: Vec<_> = (0..4)
        .map(|_| {
            let (bus, is_over) = (world.bus.clone(), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut edits = 0_u32;
                while !is_over.load(Ordering::SeqCst) {
                    let caption = bus.new_id().to_string();
                    edit(&bus, ana, post_id, &caption).await.unwrap();
                    edits += 1;
                }
                edits
            })
        })
        .collect();
    let likes = fans.into_iter().map(|fan| {
        let bus = world.bus.clone();
        tokio::spawn(async move {
            let envelope = bus.envelope(Some(fan));
            posts::like(&bus, &envelope, post_id).await.map(drop)
        })
    });
    let likes = tokio::time::timeout(Duration::from_mins(1), join_all(likes)).await;
    is_over.store(true, Ordering::SeqCst);
    for like in likes.unwrap() {
        like.unwrap().unwrap();
    }
    for editor in editors {
        assert!(editor.await.unwrap() > 0);
    }
}
