//! Staff permissions: granted, revoked, and what protects the first admin.
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use cqrs_es::test::TestFramework;
use touchline_domain::aggregate::Decider as _;
use touchline_domain::clock::Timestamp;
use touchline_domain::id::UserId;
use touchline_domain::identity::{
    Account, AccountApproved, AccountCommand, AccountError, AccountEvent, ChangePermission, Erase,
    Gender, Permission, PermissionGranted, PermissionRevoked, Register, RoleDetails, RootAppointed,
};
use uuid::Uuid;

fn at() -> Timestamp {
    "2022-11-20T16:00:00Z".parse().unwrap()
}

fn user() -> UserId {
    UserId::new(Uuid::from_u128(1))
}

fn admin() -> UserId {
    UserId::new(Uuid::from_u128(2))
}

fn register(role: RoleDetails) -> Register {
    Register {
        user_id: user(),
        email: "ana@example.org".parse().unwrap(),
        handle: "ana".parse().unwrap(),
        display_name: "Ana".parse().unwrap(),
        sport: "football".parse().unwrap(),
        gender: Gender::Undisclosed,
        role,
        at: at(),
    }
}

fn coach() -> RoleDetails {
    RoleDetails::Coach {
        experience_years: 7.try_into().unwrap(),
    }
}

fn registered(role: RoleDetails) -> Vec<AccountEvent> {
    let register = AccountCommand::Register(register(role));
    Account::default().decide(register).unwrap()
}

fn root() -> Vec<AccountEvent> {
    let register = AccountCommand::RegisterRoot(register(RoleDetails::Fan));
    Account::default().decide(register).unwrap()
}

fn change(permission: Permission) -> ChangePermission {
    ChangePermission {
        permission,
        changed_by: Some(admin()),
        at: at(),
    }
}

fn granted(permission: Permission) -> AccountEvent {
    PermissionGranted {
        user_id: user(),
        permission,
        granted_by: Some(admin()),
        granted_at: at(),
    }
    .into()
}

fn revoked(permission: Permission) -> AccountEvent {
    PermissionRevoked {
        user_id: user(),
        permission,
        revoked_by: Some(admin()),
        revoked_at: at(),
    }
    .into()
}

fn after(events: &[AccountEvent]) -> Account {
    let mut account = Account::default();
    for event in events {
        account.evolve(event);
    }
    account
}

fn expect(given: Vec<AccountEvent>, command: AccountCommand, happens: Vec<AccountEvent>) {
    TestFramework::<Account>::with(())
        .given(given)
        .when(command)
        .then_expect_events(happens);
}

fn refuse(given: &[AccountEvent], command: AccountCommand, reason: AccountError) {
    assert_eq!(after(given).decide(command), Err(reason));
}

#[test]
fn a_permission_is_granted_once_and_revoked_once() {
    let grant = || AccountCommand::Grant(change(Permission::Auditor));
    let revoke = || AccountCommand::Revoke(change(Permission::Auditor));
    let fan = registered(RoleDetails::Fan);
    let auditor = [fan.clone(), vec![granted(Permission::Auditor)]].concat();
    let no_more = [auditor.clone(), vec![revoked(Permission::Auditor)]].concat();

    expect(fan.clone(), grant(), vec![granted(Permission::Auditor)]);
    expect(auditor.clone(), grant(), Vec::new());
    expect(
        auditor.clone(),
        revoke(),
        vec![revoked(Permission::Auditor)],
    );
    expect(fan.clone(), revoke(), Vec::new());
    expect(no_more.clone(), revoke(), Vec::new());
    expect(no_more.clone(), grant(), vec![granted(Permission::Auditor)]);

    assert!(!after(&fan).may(Permission::Auditor));
    assert!(after(&auditor).may(Permission::Auditor));
    assert!(!after(&no_more).may(Permission::Auditor));
}

#[test]
fn no_permission_includes_another() {
    for granted_one in Permission::ALL {
        let events = [registered(RoleDetails::Fan), vec![granted(*granted_one)]].concat();
        for asked in Permission::ALL {
            assert_eq!(after(&events).may(*asked), asked == granted_one);
        }
    }
}

#[test]
fn only_an_active_account_can_be_staff() {
    let grant = || AccountCommand::Grant(change(Permission::Moderator));
    let revoke = || AccountCommand::Revoke(change(Permission::Moderator));
    refuse(&[], grant(), AccountError::NotRegistered);
    refuse(&[], revoke(), AccountError::NotRegistered);
    let waiting = registered(coach());
    refuse(&waiting, grant(), AccountError::NotActive);
    let approved = AccountApproved {
        user_id: user(),
        approved_by: None,
        approved_at: at(),
    };
    let approved = [waiting.clone(), vec![approved.into()]].concat();
    expect(approved, grant(), vec![granted(Permission::Moderator)]);
    // Whatever it was granted, it cannot act.
    let waiting = [waiting, vec![granted(Permission::Moderator)]].concat();
    assert!(!after(&waiting).may(Permission::Moderator));
}

#[test]
fn the_first_admin_is_an_account_with_the_permission_and_stays() {
    let appointed = RootAppointed {
        user_id: user(),
        appointed_at: at(),
    };
    let expected = [registered(RoleDetails::Fan), vec![appointed.into()]].concat();
    assert_eq!(root(), expected);
    assert!(after(&root()).may(Permission::Admin));
    assert!(!after(&root()).may(Permission::AuditorPersonal));

    let demote = AccountCommand::Revoke(change(Permission::Admin));
    refuse(&root(), demote, AccountError::IsRoot);
    let erase = AccountCommand::Erase(Erase {
        erased_by: Some(admin()),
        user_id: user(),
        at: at(),
    });
    refuse(&root(), erase, AccountError::IsRoot);
    let another = AccountCommand::RegisterRoot(register(RoleDetails::Fan));
    refuse(&root(), another, AccountError::AlreadyRegistered);
    let waiting = AccountCommand::RegisterRoot(register(coach()));
    refuse(&[], waiting, AccountError::NotActive);
    // What else the first admin was granted can be taken back.
    let auditor = [root(), vec![granted(Permission::Auditor)]].concat();
    let revoke = AccountCommand::Revoke(change(Permission::Auditor));
    expect(auditor, revoke, vec![revoked(Permission::Auditor)]);
}

#[test]
fn who_is_erased_has_no_permission() {
    let erase = AccountCommand::Erase(Erase {
        erased_by: None,
        user_id: user(),
        at: at(),
    });
    let mut events = registered(RoleDetails::Fan);
    events.push(granted(Permission::Auditor));
    events.extend(after(&events).decide(erase).unwrap());
    assert!(!after(&events).may(Permission::Auditor));
    let grant = AccountCommand::Grant(change(Permission::Auditor));
    refuse(&events, grant, AccountError::NotRegistered);
}
