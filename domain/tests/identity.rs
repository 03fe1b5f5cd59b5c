//! Accounts: every decision, every refusal, every time nothing happens.
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use chrono::{TimeZone as _, Utc};
use cqrs_es::test::TestFramework;
use proptest::prelude::*;
use touchline_domain::aggregate::Decider;
use touchline_domain::clock::Timestamp;
use touchline_domain::id::UserId;
use touchline_domain::identity::{
    Account, AccountApproved, AccountCommand, AccountError, AccountEvent, AccountRegistered,
    AccountStatus, Address, Approve, BirthYear, Contact, CricketRole, DisplayName, Email, Gender,
    Handle, PlayingRole, Register, Role, RoleDetails, Sport,
};
use uuid::Uuid;

fn at() -> Timestamp {
    Utc.with_ymd_and_hms(2022, 11, 20, 16, 0, 0).unwrap()
}

fn user() -> UserId {
    UserId::new(Uuid::from_u128(1))
}

fn player(birth_year: i64, cricket_role: Option<CricketRole>) -> RoleDetails {
    RoleDetails::Player {
        birth_year: BirthYear::try_from(birth_year).unwrap(),
        playing_role: PlayingRole::parse("opener").unwrap(),
        cricket_role,
    }
}

fn club() -> RoleDetails {
    RoleDetails::Club {
        location: Address::parse("Rosario").unwrap(),
        contact: Contact::parse("office").unwrap(),
    }
}

fn register(sport: &str, role: RoleDetails) -> Register {
    Register {
        user_id: user(),
        email: Email::parse("ana@example.org").unwrap(),
        handle: Handle::parse("ana").unwrap(),
        display_name: DisplayName::parse("Ana").unwrap(),
        sport: Sport::parse(sport).unwrap(),
        gender: Gender::Female,
        role,
        at: at(),
    }
}

fn registered(command: Register, status: AccountStatus) -> AccountEvent {
    AccountRegistered {
        user_id: command.user_id,
        email: command.email.into(),
        handle: command.handle.into(),
        display_name: command.display_name.into(),
        sport: command.sport.into(),
        gender: command.gender.into(),
        role: command.role.role(),
        role_details: command.role.into(),
        status,
        registered_at: command.at,
    }
    .into()
}

fn approve() -> AccountCommand {
    AccountCommand::Approve(Approve {
        approved_by: None,
        at: at(),
    })
}

fn approved() -> AccountEvent {
    AccountApproved {
        user_id: user(),
        approved_by: None,
        approved_at: at(),
    }
    .into()
}

fn test() -> TestFramework<Account> {
    TestFramework::with(())
}

fn registering(command: Register) -> cqrs_es::test::AggregateResultValidator<Account> {
    test()
        .given_no_previous_events()
        .when(AccountCommand::Register(command))
}

#[test]
fn players_and_fans_may_enter_at_once() {
    for role in [RoleDetails::Fan, player(1999, None)] {
        let command = register("football", role);
        registering(command.clone())
            .then_expect_events(vec![registered(command, AccountStatus::Active)]);
    }
}

#[test]
fn the_other_roles_wait_for_approval() {
    let command = register("football", club());
    registering(command.clone())
        .then_expect_events(vec![registered(command, AccountStatus::PendingApproval)]);
    for role in [Role::Coach, Role::Academy, Role::Club, Role::Scout] {
        assert_eq!(role.first_status(), AccountStatus::PendingApproval);
    }
}

#[test]
fn an_account_registers_once() {
    let command = register("football", RoleDetails::Fan);
    test()
        .given(vec![registered(command.clone(), AccountStatus::Active)])
        .when(AccountCommand::Register(command))
        .then_expect_error(AccountError::AlreadyRegistered);
}

#[test]
fn a_reserved_handle_is_refused() {
    let mut command = register("football", RoleDetails::Fan);
    command.handle = Handle::parse("Admin").unwrap();
    registering(command).then_expect_error(AccountError::HandleReserved);
}

#[test]
fn a_player_has_a_cricket_role_exactly_in_cricket() {
    registering(register("cricket", player(1999, None)))
        .then_expect_error(AccountError::CricketRoleMissing);
    registering(register(
        "football",
        player(1999, Some(CricketRole::Bowler)),
    ))
    .then_expect_error(AccountError::CricketRoleWithoutCricket);
    let command = register("Cricket", player(1999, Some(CricketRole::Bowler)));
    registering(command.clone())
        .then_expect_events(vec![registered(command, AccountStatus::Active)]);
    let fan_of_cricket = register("cricket", RoleDetails::Fan);
    registering(fan_of_cricket.clone())
        .then_expect_events(vec![registered(fan_of_cricket, AccountStatus::Active)]);
}

#[test]
fn nobody_is_born_after_they_sign_up() {
    registering(register("football", player(2023, None)))
        .then_expect_error(AccountError::BirthYearInFuture);
    let command = register("football", player(2022, None));
    registering(command.clone())
        .then_expect_events(vec![registered(command, AccountStatus::Active)]);
}

#[test]
fn approval_lets_a_waiting_account_in_once() {
    let waiting = registered(register("football", club()), AccountStatus::PendingApproval);
    test()
        .given(vec![waiting.clone()])
        .when(approve())
        .then_expect_events(vec![approved()]);
    test()
        .given(vec![waiting, approved()])
        .when(approve())
        .then_expect_events(vec![]);
}

#[test]
fn approval_needs_an_account_that_waits() {
    test()
        .given_no_previous_events()
        .when(approve())
        .then_expect_error(AccountError::NotRegistered);
    let fan = register("football", RoleDetails::Fan);
    test()
        .given(vec![registered(fan, AccountStatus::Active)])
        .when(approve())
        .then_expect_error(AccountError::NotWaiting);
}

fn any_command() -> impl Strategy<Value = AccountCommand> {
    let role = prop_oneof![
        Just(RoleDetails::Fan),
        Just(club()),
        (
            1990_i64..2030,
            prop::option::of(Just(CricketRole::AllRounder))
        )
            .prop_map(|(year, cricket_role)| player(year, cricket_role)),
    ];
    let sport = prop_oneof![Just("cricket"), Just("football")];
    prop_oneof![
        (sport, role).prop_map(|(sport, role)| AccountCommand::Register(register(sport, role))),
        Just(approve()),
    ]
}

proptest! {
    #[test]
    fn every_event_changes_the_account_and_its_history_gives_it_back(
        commands in prop::collection::vec(any_command(), 0..12),
    ) {
        let mut account = Account::default();
        let mut history = Vec::new();
        for command in commands {
            let before = account.clone();
            for event in account.decide(command).unwrap_or_default() {
                account.evolve(&event);
                prop_assert_ne!(&account, &before);
                history.push(serde_json::to_string(&event).unwrap());
            }
        }
        let mut replayed = Account::default();
        for event in &history {
            replayed.evolve(&serde_json::from_str(event).unwrap());
        }
        prop_assert_eq!(&replayed, &account);
        let stored = serde_json::to_string(&account).unwrap();
        prop_assert_eq!(serde_json::from_str::<Account>(&stored).unwrap(), account.clone());
        // Registered at most once, approved at most once, and approved only if it had to wait.
        prop_assert!(history.len() <= 2);
        if let Some(registration) = account.registration() {
            let waits = registration.role.first_status() == AccountStatus::PendingApproval;
            prop_assert!(history.len() == 1 || waits);
            let is_active = registration.status == AccountStatus::Active;
            prop_assert_eq!(is_active, !waits || history.len() == 2);
        }
    }
}
