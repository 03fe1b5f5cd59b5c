//! Profiles and follows: every decision, every refusal, every time nothing happens.
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use chrono::{TimeZone as _, Utc};
use cqrs_es::test::TestFramework;
use proptest::prelude::*;
use touchline_domain::aggregate::Decider;
use touchline_domain::clock::Timestamp;
use touchline_domain::id::UserId;
use touchline_domain::identity::DisplayName;
use touchline_domain::personal::Personal;
use touchline_domain::users::{
    Bio, ChangeProfile, Follow, FollowCommand, FollowError, FollowEvent, FollowPair, Locale,
    Location, Profile, ProfileChanged, ProfileCommand, ProfileEvent, TimeZone, UserFollowed,
    UserUnfollowed,
};
use uuid::Uuid;

fn at() -> Timestamp {
    Utc.with_ymd_and_hms(2022, 11, 20, 16, 0, 0).unwrap()
}

fn user(number: u128) -> UserId {
    UserId::new(Uuid::from_u128(number))
}

fn name(text: &str) -> DisplayName {
    DisplayName::parse(text).unwrap()
}

fn change() -> ChangeProfile {
    ChangeProfile {
        user_id: user(1),
        registered_name: name("Ana").into(),
        display_name: None,
        bio: None,
        location: None,
        locale: None,
        time_zone: None,
        at: at(),
    }
}

fn everything() -> ChangeProfile {
    ChangeProfile {
        display_name: Some(name("Ana Silva")),
        bio: Some(Bio::parse("Bats.").unwrap()),
        location: Some(Location::parse("Lisboa").unwrap()),
        locale: Some(Locale::parse("pt-PT").unwrap()),
        time_zone: Some(TimeZone::parse("Europe/Lisbon").unwrap()),
        ..change()
    }
}

fn changed(command: ChangeProfile) -> ProfileEvent {
    ProfileChanged {
        user_id: command.user_id,
        display_name: command.display_name.map(Personal::Known),
        bio: command.bio.map(Personal::Known),
        location: command.location.map(Personal::Known),
        locale: command.locale.map(Personal::Known),
        time_zone: command.time_zone.map(Personal::Known),
        changed_at: command.at,
    }
    .into()
}

fn profile() -> TestFramework<Profile> {
    TestFramework::with(())
}

#[test]
fn a_profile_records_what_it_is_told() {
    profile()
        .given_no_previous_events()
        .when(ProfileCommand::Change(everything()))
        .then_expect_events(vec![changed(everything())]);
}

#[test]
fn a_profile_records_only_what_is_new() {
    let command = ChangeProfile {
        bio: Some(Bio::default()),
        ..everything()
    };
    profile()
        .given(vec![changed(everything())])
        .when(ProfileCommand::Change(command))
        .then_expect_events(vec![changed(ChangeProfile {
            bio: Some(Bio::default()),
            ..change()
        })]);
}

#[test]
fn a_profile_told_nothing_new_records_nothing() {
    profile()
        .given(vec![changed(everything())])
        .when(ProfileCommand::Change(everything()))
        .then_expect_events(vec![]);
    profile()
        .given_no_previous_events()
        .when(ProfileCommand::Change(change()))
        .then_expect_events(vec![]);
    let what_already_is = ChangeProfile {
        display_name: Some(name("Ana")),
        bio: Some(Bio::default()),
        location: Some(Location::default()),
        ..change()
    };
    profile()
        .given_no_previous_events()
        .when(ProfileCommand::Change(what_already_is))
        .then_expect_events(vec![]);
}

#[test]
fn a_profile_can_take_the_registered_name_again() {
    let back = ChangeProfile {
        display_name: Some(name("Ana")),
        ..change()
    };
    profile()
        .given(vec![changed(everything())])
        .when(ProfileCommand::Change(back.clone()))
        .then_expect_events(vec![changed(back)]);
}

fn pair(from: u128, to: u128) -> FollowPair {
    FollowPair {
        follower_id: user(from),
        followee_id: user(to),
        at: at(),
    }
}

fn followed() -> FollowEvent {
    UserFollowed {
        follower_id: user(1),
        followee_id: user(2),
        followed_at: at(),
    }
    .into()
}

fn unfollowed() -> FollowEvent {
    UserUnfollowed {
        follower_id: user(1),
        followee_id: user(2),
        unfollowed_at: at(),
    }
    .into()
}

fn follow() -> TestFramework<Follow> {
    TestFramework::with(())
}

#[test]
fn a_follow_happens_once() {
    follow()
        .given_no_previous_events()
        .when(FollowCommand::Follow(pair(1, 2)))
        .then_expect_events(vec![followed()]);
    follow()
        .given(vec![followed()])
        .when(FollowCommand::Follow(pair(1, 2)))
        .then_expect_events(vec![]);
    follow()
        .given(vec![followed(), unfollowed()])
        .when(FollowCommand::Follow(pair(1, 2)))
        .then_expect_events(vec![followed()]);
}

#[test]
fn an_unfollow_happens_once() {
    follow()
        .given(vec![followed()])
        .when(FollowCommand::Unfollow(pair(1, 2)))
        .then_expect_events(vec![unfollowed()]);
    follow()
        .given(vec![followed(), unfollowed()])
        .when(FollowCommand::Unfollow(pair(1, 2)))
        .then_expect_events(vec![]);
    follow()
        .given_no_previous_events()
        .when(FollowCommand::Unfollow(pair(1, 2)))
        .then_expect_events(vec![]);
}

#[test]
fn nobody_follows_themselves() {
    for command in [FollowCommand::Follow, FollowCommand::Unfollow] {
        follow()
            .given_no_previous_events()
            .when(command(pair(1, 1)))
            .then_expect_error(FollowError::Oneself);
    }
}

fn any_change() -> impl Strategy<Value = ChangeProfile> {
    fn maybe<T: Clone + std::fmt::Debug + 'static>(
        texts: &'static [&'static str],
        parse: fn(&str) -> T,
    ) -> impl Strategy<Value = Option<T>> {
        prop::option::of(prop::sample::select(texts).prop_map(parse))
    }
    (
        maybe(&["Ana", "Bea"], name),
        maybe(&["", "Bats."], |text| Bio::parse(text).unwrap()),
        maybe(&["", "Lisboa"], |text| Location::parse(text).unwrap()),
        maybe(&["en", "pt-PT"], |text| Locale::parse(text).unwrap()),
        maybe(&["UTC"], |text| TimeZone::parse(text).unwrap()),
    )
        .prop_map(
            |(display_name, bio, location, locale, time_zone)| ChangeProfile {
                display_name,
                bio,
                location,
                locale,
                time_zone,
                ..change()
            },
        )
}

proptest! {
    #[test]
    fn a_profile_is_what_it_was_last_told(
        changes in prop::collection::vec(any_change(), 0..12),
    ) {
        let mut profile = Profile::default();
        let mut expected = Profile::default();
        let mut replayed = Profile::default();
        for change in changes {
            if change.display_name.as_ref().is_some_and(|it| {
                !change.registered_name.is(it) || expected.display_name.is_some()
            }) {
                expected.display_name = change.display_name.clone().map(Personal::Known);
            }
            expected.bio = change.bio.clone().map_or(expected.bio, Personal::Known);
            expected.location = change.location.clone().map_or(expected.location, Personal::Known);
            expected.locale = change.locale.clone().map(Personal::Known).or(expected.locale);
            expected.time_zone = change.time_zone.clone().map(Personal::Known).or(expected.time_zone);

            let before = profile.clone();
            for event in profile.decide(ProfileCommand::Change(change)).unwrap() {
                profile.evolve(&event);
                prop_assert_ne!(&profile, &before);
                let stored = serde_json::to_string(&event).unwrap();
                replayed.evolve(&serde_json::from_str(&stored).unwrap());
            }
            prop_assert_eq!(&profile, &expected);
            prop_assert_eq!(&replayed, &expected);
        }
    }

    #[test]
    fn follows_and_unfollows_alternate(wishes in prop::collection::vec(any::<bool>(), 0..20)) {
        let mut follow = Follow::default();
        for wish in wishes {
            let command = if wish { FollowCommand::Follow } else { FollowCommand::Unfollow };
            let was = follow.is_following();
            let events = follow.decide(command(pair(1, 2))).unwrap();
            prop_assert_eq!(events.len(), usize::from(was != wish));
            for event in &events {
                follow.evolve(event);
            }
            prop_assert_eq!(follow.is_following(), wish);
        }
    }
}
