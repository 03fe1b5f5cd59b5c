//! Profiles and follows.

use crate::world::World;
use touchline_commands::Failure;
use touchline_commands::users::{self, ChangeProfileError, FollowUserError, ProfileChanges};
use touchline_domain::id::FollowId;
use touchline_domain::identity::DisplayName;
use touchline_domain::users::{Bio, FollowError, TimeZone};

fn changes(bio: &str) -> ProfileChanges {
    ProfileChanges {
        bio: Some(Bio::parse(bio).unwrap()),
        time_zone: Some(TimeZone::parse("Europe/Lisbon").unwrap()),
        ..ProfileChanges::default()
    }
}

#[tokio::test]
async fn a_profile_is_changed_by_its_owner() {
    let world = World::new().await;
    let ana = world.fan("ana").await;
    let change = async |changes, version| {
        let envelope = world.bus.envelope(Some(ana));
        users::change_profile(&world.bus, &envelope, changes, version).await
    };
    let changed = change(changes("Bats."), Some(0)).await.unwrap();
    assert_eq!((changed.id, changed.version), (ana.uuid(), 1));
    assert_eq!(changed.state.bio.as_str(), "Bats.");
    assert_eq!(changed.state.display_name, None);
    let same = change(changes("Bats."), None).await.unwrap();
    assert_eq!(same.version, 1);
    let registered_name = ProfileChanges {
        display_name: Some(DisplayName::parse("ana").unwrap()),
        ..ProfileChanges::default()
    };
    assert_eq!(change(registered_name, None).await.unwrap().version, 1);
    assert!(matches!(
        change(changes("Bowls."), Some(0)).await,
        Err(ChangeProfileError::Failed(Failure::VersionMismatch {
            actual: 1
        }))
    ));
    assert_eq!(
        change(changes(""), Some(1))
            .await
            .unwrap()
            .state
            .bio
            .as_str(),
        ""
    );
}

#[tokio::test]
async fn a_profile_needs_an_account_that_may_act() {
    let world = World::new().await;
    let club = world.waiting_club("rosario").await;
    let change = async |actor| {
        let envelope = world.bus.envelope(actor);
        users::change_profile(&world.bus, &envelope, changes("x"), None).await
    };
    assert!(matches!(
        change(Some(club)).await,
        Err(ChangeProfileError::Failed(Failure::AccountPending))
    ));
    assert!(matches!(
        change(None).await,
        Err(ChangeProfileError::Failed(Failure::NotAuthenticated))
    ));
}

#[tokio::test]
async fn following_and_unfollowing_say_what_is() {
    let world = World::new().await;
    let (ana, ben) = (world.fan("ana").await, world.fan("ben").await);
    let envelope = || world.bus.envelope(Some(ana));
    let followed = users::follow(&world.bus, &envelope(), ben).await.unwrap();
    assert_eq!(followed.id, FollowId::of(ana, ben).uuid());
    assert!(followed.state.is_following());
    let again = users::follow(&world.bus, &envelope(), ben).await.unwrap();
    assert_eq!(again.version, 1);
    let unfollowed = users::unfollow(&world.bus, &envelope(), ben).await.unwrap();
    assert!(!unfollowed.state.is_following());
    assert_eq!(unfollowed.version, 2);
    let again = users::unfollow(&world.bus, &envelope(), ben).await.unwrap();
    assert_eq!(again.version, 2);
    assert_eq!(
        world
            .names_after(again.end.position.previous().previous())
            .await,
        ["users.user_followed", "users.user_unfollowed"]
    );
}

#[tokio::test]
async fn nobody_follows_themselves_or_nobody() {
    let world = World::new().await;
    let ana = world.fan("ana").await;
    let envelope = || world.bus.envelope(Some(ana));
    assert!(matches!(
        users::follow(&world.bus, &envelope(), ana).await,
        Err(FollowUserError::Refused(FollowError::Oneself))
    ));
    let nobody = world.bus.new_id().into();
    assert!(matches!(
        users::follow(&world.bus, &envelope(), nobody).await,
        Err(FollowUserError::UserNotFound)
    ));
    assert!(matches!(
        users::unfollow(&world.bus, &envelope(), nobody).await,
        Err(FollowUserError::UserNotFound)
    ));
}
