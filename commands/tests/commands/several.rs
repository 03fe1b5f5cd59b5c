//! Commands that span several aggregates.

use crate::world::{World, keyed};
use futures::future::join_all;
use std::time::Duration;
use touchline_commands::bus::{ExecuteManyError, Part};
use touchline_commands::{Bus, Failure, Intent, users};
use touchline_domain::id::{FollowId, UserId};
use touchline_domain::users::{Follow, FollowCommand, FollowError, FollowPair};
use touchline_eventstore::Claim;

/// Let the first follow the second.
fn follow(bus: &Bus, (follower_id, target): (UserId, UserId)) -> Intent<Follow> {
    let pair = FollowPair {
        follower_id,
        followee_id: target,
        at: bus.envelope(None).at,
    };
    let id = FollowId::of(follower_id, target).uuid();
    Intent::new(id, FollowCommand::Follow(pair))
}

fn boxed(intent: Intent<Follow>) -> Box<dyn Part> {
    Box::new(intent)
}

/// Let two follow each other.
fn mutual(bus: &Bus, a: UserId, b: UserId) -> [Box<dyn Part>; 2] {
    [(a, b), (b, a)].map(|pair| boxed(follow(bus, pair)))
}

#[tokio::test]
async fn all_parts_happen_together_and_once() {
    let world = World::new().await;
    let (ana, ben) = (world.fan("ana").await, world.fan("ben").await);
    let start = world.log().await.last().unwrap().position;
    let befriend = async |body| {
        let envelope = keyed(&world.bus, Some(ana), "key", body);
        let parts = mutual(&world.bus, ana, ben);
        world.bus.execute_many(&envelope, &parts).await
    };
    let first = befriend("body").await.unwrap();
    assert_eq!((first.position.since(start), first.replayed), (2, false));
    let again = befriend("body").await.unwrap();
    assert_eq!((again.position, again.replayed), (first.position, true));
    assert!(matches!(
        befriend("another body").await,
        Err(ExecuteManyError::Failed(Failure::CommandReused))
    ));
    assert_eq!(
        world.names_after(start).await,
        ["users.user_followed", "users.user_followed"]
    );
    // What was appended is remembered: the next command on it needs no second try.
    let envelope = world.bus.envelope(Some(ana));
    let unfollowed = users::unfollow(&world.bus, &envelope, ben).await.unwrap();
    assert_eq!(unfollowed.version, 2);
}

#[tokio::test]
async fn one_refusal_refuses_all() {
    let world = World::new().await;
    let (ana, ben) = (world.fan("ana").await, world.fan("ben").await);
    let before = world.log().await.len();
    let execute = async |parts: &[Box<dyn Part>]| {
        let envelope = world.bus.envelope(Some(ana));
        world.bus.execute_many(&envelope, parts).await
    };
    let refused = execute(&mutual(&world.bus, ana, ana)[..1]).await;
    let Err(ExecuteManyError::Refused(reason)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(reason.downcast_ref(), Some(&FollowError::Oneself));
    let good = || boxed(follow(&world.bus, (ana, ben)));
    let oneself = boxed(follow(&world.bus, (ana, ana)));
    assert!(execute(&[good(), oneself]).await.is_err());
    let old = boxed(follow(&world.bus, (ben, ana)).at_version(Some(7)));
    assert!(matches!(
        execute(&[good(), old]).await,
        Err(ExecuteManyError::Failed(Failure::VersionMismatch {
            actual: 0
        }))
    ));
    assert_eq!(world.log().await.len(), before);
}

#[tokio::test]
async fn a_claim_of_one_part_that_is_taken_refuses_all() {
    let world = World::new().await;
    let (ana, ben) = (world.fan("ana").await, world.fan("ben").await);
    let claim = |owner: UserId| Claim {
        scope: "test.friendship",
        key: "the only one".to_owned(),
        owner: owner.uuid(),
    };
    let execute = async |parts: &[Box<dyn Part>]| {
        let envelope = world.bus.envelope(Some(ana));
        world.bus.execute_many(&envelope, parts).await
    };
    let first = follow(&world.bus, (ana, ben)).taking(claim(ana));
    execute(&[boxed(first)]).await.unwrap();
    let second = || boxed(follow(&world.bus, (ben, ana)).taking(claim(ben)));
    assert!(matches!(
        execute(&[second()]).await,
        Err(ExecuteManyError::Failed(Failure::ClaimTaken { scope })) if scope == "test.friendship"
    ));
    let eve = world.fan("eve").await;
    let release = follow(&world.bus, (ana, eve)).releasing(claim(ana));
    execute(&[boxed(release)]).await.unwrap();
    execute(&[second()]).await.unwrap();
}

#[tokio::test]
async fn a_part_without_effect_goes_along() {
    let world = World::new().await;
    let (ana, ben) = (world.fan("ana").await, world.fan("ben").await);
    let elsewhere = world.another_process();
    // This process has seen nothing of it: its first decision is on an older state.
    let parts = mutual(&world.bus, ana, ben);
    assert!(
        world
            .bus
            .store()
            .load::<Follow>(parts[0].aggregate().1)
            .await
            .is_ok()
    );
    users::follow(&elsewhere, &elsewhere.envelope(Some(ana)), ben)
        .await
        .unwrap();
    let start = world.log().await.last().unwrap().position;
    let execute = async || {
        let envelope = world.bus.envelope(Some(ana));
        world.bus.execute_many(&envelope, &parts).await.unwrap()
    };
    let receipt = execute().await;
    assert_eq!(receipt.position, start.next());
    assert_eq!(world.names_after(start).await, ["users.user_followed"]);
    let nothing_left = execute().await;
    assert_eq!(nothing_left.position, receipt.position);
    assert_eq!(world.names_after(start).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commands_on_the_same_aggregates_never_wait_for_each_other_in_a_circle() {
    let world = World::new().await;
    let (ana, ben) = (world.fan("ana").await, world.fan("ben").await);
    let all = join_all((0..64).map(|n| {
        let bus = world.bus.clone();
        tokio::spawn(async move {
            let envelope = bus.envelope(Some(ana));
            let mut parts = mutual(&bus, ana, ben);
            if n % 2 == 0 {
                parts.reverse();
            }
            bus.execute_many(&envelope, &parts).await.unwrap()
        })
    }));
    let receipts = tokio::time::timeout(Duration::from_mins(1), all).await;
    assert!(
        receipts
            .expect("no circle")
            .into_iter()
            .all(|it| it.is_ok())
    );
    assert_eq!(world.log().await.len(), 4);
}
