//! Staff permissions, the first admin, and looks at history.

use crate::world::{World, password};
use touchline_commands::audit::{self, Reading};
use touchline_commands::identity::{SignUp, SignUpError, create_root, sign_in};
use touchline_commands::permissions::{ChangePermissionError, check, grant, revoke};
use touchline_commands::{Bus, Failure};
use touchline_domain::audit::{HistoryRead, LookEvent, LookOperation, Slice, Surface};
use touchline_domain::id::UserId;
use touchline_domain::identity::{Gender, Permission, RoleDetails};
use uuid::Uuid;

fn sign_up(handle: &str) -> SignUp {
    SignUp {
        email: format!("{handle}@example.org").parse().unwrap(),
        password: password(),
        handle: handle.parse().unwrap(),
        display_name: handle.parse().unwrap(),
        sport: "football".parse().unwrap(),
        gender: Gender::Undisclosed,
        role: RoleDetails::Fan,
    }
}

async fn may(bus: &Bus, user_id: UserId, permission: Permission) -> bool {
    match check(bus, user_id, permission).await {
        Ok(()) => true,
        Err(Failure::PermissionRequired { permission: needed }) => {
            assert_eq!(needed, permission);
            false
        }
        Err(failure) => panic!("{failure}"),
    }
}

#[tokio::test]
async fn there_is_one_first_admin() {
    let world = World::new().await;
    let envelope = world.bus.envelope(None);
    let root = create_root(&world.identity, &envelope, sign_up("boss.ana")).await;
    let root = UserId::new(root.unwrap().id);
    assert!(may(&world.bus, root, Permission::Admin).await);
    assert!(!may(&world.bus, root, Permission::Auditor).await);
    let signed_in = sign_in(
        &world.identity,
        "boss.ana@example.org",
        "correct horse battery",
    )
    .await;
    assert_eq!(signed_in.unwrap().user_id, root);

    let envelope = world.bus.envelope(None);
    let another = create_root(&world.identity, &envelope, sign_up("boss.ben")).await;
    assert!(matches!(another.unwrap_err(), SignUpError::RootTaken));
    // Nothing of the other account is left: the handle is free.
    let envelope = world.bus.envelope(None);
    touchline_commands::identity::sign_up(&world.identity, &envelope, sign_up("boss.ben"))
        .await
        .unwrap();

    let envelope = world.bus.envelope(None);
    let demoted = revoke(&world.bus, &envelope, root, Permission::Admin).await;
    assert!(matches!(
        demoted.unwrap_err(),
        ChangePermissionError::IsRoot
    ));
}

#[tokio::test]
async fn what_another_process_revoked_is_revoked() {
    let world = World::new().await;
    let other = world.another_process();
    let ana = world.fan("ana").await;
    let envelope = world.bus.envelope(None);
    grant(&world.bus, &envelope, ana, Permission::Auditor)
        .await
        .unwrap();
    assert!(may(&world.bus, ana, Permission::Auditor).await);
    assert!(may(&other, ana, Permission::Auditor).await);
    let envelope = other.envelope(None);
    revoke(&other, &envelope, ana, Permission::Auditor)
        .await
        .unwrap();
    assert!(!may(&world.bus, ana, Permission::Auditor).await);
}

#[tokio::test]
async fn only_an_active_account_is_staff() {
    let world = World::new().await;
    let club = world.waiting_club("rosario").await;
    let envelope = world.bus.envelope(None);
    let refused = grant(&world.bus, &envelope, club, Permission::Moderator).await;
    assert!(matches!(
        refused.unwrap_err(),
        ChangePermissionError::NotActive
    ));
    let waiting = check(&world.bus, club, Permission::Moderator).await;
    assert!(matches!(waiting.unwrap_err(), Failure::AccountPending));
    let nobody = UserId::new(Uuid::from_u128(7));
    let envelope = world.bus.envelope(None);
    let refused = grant(&world.bus, &envelope, nobody, Permission::Moderator).await;
    assert!(matches!(
        refused.unwrap_err(),
        ChangePermissionError::NotFound
    ));
    let unknown = check(&world.bus, nobody, Permission::Moderator).await;
    assert!(matches!(unknown.unwrap_err(), Failure::NotAuthenticated));
}

#[tokio::test]
async fn a_look_is_recorded_with_who_looked_at_what() {
    let world = World::new().await;
    let ana = world.fan("ana").await;
    for permission in [Permission::Auditor, Permission::AuditorPersonal] {
        let envelope = world.bus.envelope(None);
        grant(&world.bus, &envelope, ana, permission).await.unwrap();
    }
    let slice = Slice {
        after: 3,
        ..Slice::of_aggregate("account", ana.uuid())
    };
    let envelope = world.bus.envelope(Some(ana));
    let reading = Reading {
        surface: Surface::Api,
        operation: LookOperation::Show,
        slice: slice.clone(),
        events_max: Some(50),
        personal: true,
    };
    let position = audit::record(&world.bus, &envelope, reading).await.unwrap();
    let log = world.log().await;
    let last = log.last().unwrap();
    assert_eq!(last.position, position);
    assert_eq!(last.aggregate_type, "look");
    let LookEvent::HistoryRead(look) = last.decode().unwrap();
    let expected = HistoryRead {
        look_id: look.look_id,
        reader: Some(ana),
        surface: Surface::Api,
        operation: LookOperation::Show,
        slice,
        events_max: Some(50),
        personal: true,
        read_at: envelope.at,
    };
    assert_eq!(look, expected);
}
