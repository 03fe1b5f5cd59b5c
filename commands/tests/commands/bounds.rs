//! A stream has no more events than it may have, and what takes back is never refused by that (L11).

use crate::bus::captioned;
use crate::world::World;
use touchline_commands::bus::{ExecuteError, ExecuteManyError};
use touchline_commands::posts::{self, ChangePostError, LikePostError, PostChanges};
use touchline_commands::users::{self, ChangeProfileError, FollowUserError, ProfileChanges};
use touchline_commands::{Bus, Failure, Intent, erasure};
use touchline_domain::aggregate::Decider;
use touchline_domain::clock::Timestamp;
use touchline_domain::id::{CommandId, FollowId, LikeId, UserId};
use touchline_domain::identity::{Account, AccountCommand, ChangePermission, Permission};
use touchline_domain::personal::Personal;
use touchline_domain::posts::{
    EditPost, Like, LikeCommand, LikePair, Post, PostCommand, Visibility,
};
use touchline_domain::users::{
    Bio, ChangeProfile, Follow, FollowCommand, FollowPair, Location, Profile, ProfileCommand,
};
use touchline_eventstore::append::{Appended, EVENTS_PER_COMMAND_MAX};
use touchline_eventstore::store::Stored;
use touchline_eventstore::{Append, NewEvent, StreamAppend};
use uuid::Uuid;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// Lets commands happen, the `n`th of which is made of `n`, until the stream lacks one event of all
/// that it may have; beside the bus, as there is no other way to so many in a moment.
async fn nearly_fill<A: Stored>(
    bus: &Bus,
    id: Uuid,
    command: impl Fn(i64) -> <A as Decider>::Command,
) where
    <A as Decider>::Error: std::fmt::Debug,
{
    let store = bus.store();
    let loaded = store.refresh::<A>(id).await.unwrap();
    let mut state = A::clone(&loaded.state);
    let mut events = Vec::new();
    for n in loaded.version + 1..i64::from(A::EVENTS_MAX) {
        let mut happened = Decider::decide(&state, command(n)).unwrap();
        let event = happened.pop().unwrap();
        Decider::evolve(&mut state, &event);
        events.push(NewEvent::encode(bus.new_id(), &event).unwrap());
    }
    let mut version = loaded.version;
    for events in events.chunks(EVENTS_PER_COMMAND_MAX) {
        let append = Append {
            command_id: CommandId::new(bus.new_id()),
            fingerprint: [0; 32],
            metadata: bus.envelope(None).metadata(),
            streams: vec![StreamAppend {
                aggregate_type: <A as Decider>::TYPE,
                aggregate_id: id,
                expected_version: version,
                events: events.to_vec(),
            }],
            take: Vec::new(),
            release: Vec::new(),
        };
        let appended = store.append(append).await.unwrap();
        assert!(matches!(appended, Appended::Committed { .. }));
        version += i64::try_from(events.len()).unwrap();
    }
    assert_eq!(version, i64::from(A::EVENTS_MAX) - 1);
}

fn is_full<A: Decider>(failure: &Failure) -> bool {
    matches!(failure, Failure::StreamFull { aggregate_type, events_max }
        if *aggregate_type == A::TYPE && *events_max == A::EVENTS_MAX)
}

#[tokio::test]
async fn a_post_is_edited_so_often_and_deleted_after_that() {
    let world = World::new().await;
    let ana = world.fan("ana").await;
    // Another process, which meets streams of that length for the first time.
    let bus = world.another_process();
    for last in [
        PostChanges::default(),
        PostChanges {
            visibility: Some(Visibility::OnlyMe),
            ..PostChanges::default()
        },
    ] {
        let post_id = world.post(ana, Visibility::Public).await;
        nearly_fill::<Post>(&world.bus, post_id.uuid(), |n| {
            PostCommand::Edit(EditPost {
                editor_id: ana,
                caption: captioned(&n.to_string()).caption,
                category: None,
                tags: None,
                visibility: None,
                at: NOW,
            })
        })
        .await;
        let edit = async |changes| {
            posts::edit(&bus, &bus.envelope(Some(ana)), post_id, changes, None).await
        };
        let edited = edit(captioned("the last")).await.unwrap();
        assert_eq!(edited.version, i64::from(Post::EVENTS_MAX));
        let refused = edit(captioned("one more")).await.unwrap_err();
        assert!(matches!(&refused, ChangePostError::Failed(it) if is_full::<Post>(it)));
        // What changes nothing is done already.
        assert_eq!(edit(captioned("the last")).await.unwrap().version, 1_000);
        edit(last).await.unwrap();
        let envelope = bus.envelope(Some(ana));
        posts::delete(&bus, &envelope, post_id, None).await.unwrap();
    }
}

#[tokio::test]
async fn a_like_comes_so_often_and_goes_always() {
    let world = World::new().await;
    let ana = world.fan("ana").await;
    let post_id = world.post(ana, Visibility::Public).await;
    let pair = LikePair {
        post_id,
        user_id: ana,
        at: NOW,
    };
    let id = LikeId::of(ana, post_id).uuid();
    nearly_fill::<Like>(&world.bus, id, |n| {
        if n % 2 == 0 {
            LikeCommand::Unlike(pair)
        } else {
            LikeCommand::Like(pair)
        }
    })
    .await;
    let bus = &world.bus;
    let envelope = || bus.envelope(Some(ana));
    let unliked = posts::unlike(bus, &envelope(), post_id).await.unwrap();
    assert_eq!(unliked.version, i64::from(Like::EVENTS_MAX));
    let refused = posts::like(bus, &envelope(), post_id).await.unwrap_err();
    assert!(matches!(&refused, LikePostError::Failed(it) if is_full::<Like>(it)));
}

#[tokio::test]
async fn a_follow_comes_so_often_and_goes_always() {
    let world = World::new().await;
    let (ana, luis) = (world.fan("ana").await, world.fan("luis").await);
    let pair = FollowPair {
        follower_id: ana,
        followee_id: luis,
        at: NOW,
    };
    let id = FollowId::of(ana, luis).uuid();
    nearly_fill::<Follow>(&world.bus, id, |n| {
        if n % 2 == 0 {
            FollowCommand::Unfollow(pair)
        } else {
            FollowCommand::Follow(pair)
        }
    })
    .await;
    let bus = &world.bus;
    let envelope = || bus.envelope(Some(ana));
    let unfollowed = users::unfollow(bus, &envelope(), luis).await.unwrap();
    assert_eq!(unfollowed.version, i64::from(Follow::EVENTS_MAX));
    let refused = users::follow(bus, &envelope(), luis).await.unwrap_err();
    assert!(matches!(&refused, FollowUserError::Failed(it) if is_full::<Follow>(it)));
    // The same in a command that spans several aggregates.
    let part = Intent::<Follow>::new(id, FollowCommand::Follow(pair));
    let refused = bus.execute_many(&envelope(), &[Box::new(part)]).await;
    assert!(matches!(&refused, Err(ExecuteManyError::Failed(it)) if is_full::<Follow>(it)));
}

#[tokio::test]
async fn a_profile_is_changed_so_often_and_emptied_after_that() {
    let world = World::new().await;
    let ana = world.fan("ana").await;
    nearly_fill::<Profile>(&world.bus, ana.uuid(), |n| {
        ProfileCommand::Change(ChangeProfile {
            user_id: ana,
            registered_name: Personal::Erased,
            display_name: None,
            bio: Some(Bio::parse(&n.to_string()).unwrap()),
            location: None,
            locale: None,
            time_zone: None,
            at: NOW,
        })
    })
    .await;
    let bus = &world.bus;
    let change = async |bio: &str, location: Option<&str>| {
        let changes = ProfileChanges {
            bio: Some(Bio::parse(bio).unwrap()),
            location: location.map(|it| Location::parse(it).unwrap()),
            ..ProfileChanges::default()
        };
        users::change_profile(bus, &bus.envelope(Some(ana)), changes, None).await
    };
    let changed = change("Keeper", Some("Rosario")).await.unwrap();
    assert_eq!(changed.version, i64::from(Profile::EVENTS_MAX));
    let refused = change("Striker", None).await.unwrap_err();
    assert!(matches!(&refused, ChangeProfileError::Failed(it) if is_full::<Profile>(it)));
    assert!(change("", Some("Lima")).await.is_err());
    assert_eq!(change("", Some("")).await.unwrap().version, 5_001);
}

#[tokio::test]
async fn permissions_are_granted_so_often_and_revoked_always_and_anybody_can_be_erased() {
    let world = World::new().await;
    let ana = world.fan("ana").await;
    let change = |permission| ChangePermission {
        permission,
        changed_by: None,
        at: NOW,
    };
    let auditor = change(Permission::Auditor);
    nearly_fill::<Account>(&world.bus, ana.uuid(), |n| {
        if n % 2 == 0 {
            AccountCommand::Grant(auditor.clone())
        } else {
            AccountCommand::Revoke(auditor.clone())
        }
    })
    .await;
    let bus = &world.bus;
    let execute = async |command| {
        let intent = Intent::<Account>::new(ana.uuid(), command);
        bus.execute(&bus.envelope(None), intent).await
    };
    let granted = execute(AccountCommand::Grant(auditor.clone()))
        .await
        .unwrap();
    assert_eq!(granted.version, i64::from(Account::EVENTS_MAX));
    let admin = AccountCommand::Grant(change(Permission::Admin));
    let refused = execute(admin).await.unwrap_err();
    assert!(matches!(&refused, ExecuteError::Failed(it) if is_full::<Account>(it)));
    let revoked = execute(AccountCommand::Revoke(auditor.clone()))
        .await
        .unwrap();
    assert!(!revoked.state.may(Permission::Auditor));
    let envelope = bus.envelope(None);
    let erased = erasure::erase(&world.identity, &envelope, UserId::new(ana.uuid()));
    assert_eq!(*erased.await.unwrap().state, Account::Erased);
}
