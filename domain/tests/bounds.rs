//! Every stream has a bound that is written down, and taking back is never refused by it.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fmt::Debug;
use touchline_domain::CATALOGUE;
use touchline_domain::aggregate::Decider;
use touchline_domain::clock::Timestamp;
use touchline_domain::id::{PostId, UserId};
use touchline_domain::identity::{
    Account, AccountCommand, ChangePermission, DisplayName, Email, Erase, Gender, Handle,
    Permission, Register, RoleDetails, Sport,
};
use touchline_domain::personal::Personal;
use touchline_domain::posts::{
    Caption, DeletePost, EditPost, Like, LikeCommand, LikePair, Post, PostCommand, PublishPost,
    Tags, Visibility,
};
use touchline_domain::users::{
    Bio, ChangeProfile, Follow, FollowCommand, FollowPair, Location, Profile, ProfileCommand,
};
use uuid::Uuid;

/// A longer stream takes too long to fold for one load: the aggregate needs smaller streams, or
/// snapshots (ADR-0023).
const FOLDED_AT_ONCE_MAX: u32 = 10_000;

const ANA: UserId = UserId::new(Uuid::from_u128(1));
const LUIS: UserId = UserId::new(Uuid::from_u128(2));
const POST: PostId = PostId::new(Uuid::from_u128(3));
const NOW: Timestamp = Timestamp::UNIX_EPOCH;

#[test]
fn every_stream_can_be_folded_at_once() {
    for kind in CATALOGUE {
        let bound = 1..=FOLDED_AT_ONCE_MAX;
        assert!(bound.contains(&kind.events_max), "{}", kind.aggregate_type);
    }
}

fn after<A: Decider<Error: Debug>>(commands: impl IntoIterator<Item = A::Command>) -> A {
    let mut state = A::default();
    for command in commands {
        for event in state.decide(command).unwrap() {
            state.evolve(&event);
        }
    }
    state
}

/// How many events come when everything that can be taken back is, again and again, in any order
/// that ends.
fn taken_back<A: Decider>(mut state: A, commands: &[A::Command]) -> usize
where
    A::Command: Clone,
{
    assert!(commands.iter().all(A::takes_back));
    let mut events = 0;
    for _round in 0..3 {
        for command in commands {
            for event in state.decide(command.clone()).unwrap_or_default() {
                state.evolve(&event);
                events += 1;
            }
        }
    }
    events
}

#[test]
fn a_post_is_made_private_and_deleted_at_any_length() {
    let publish = PostCommand::Publish(PublishPost {
        post_id: POST,
        author_id: ANA,
        caption: Caption::parse("3–3").unwrap(),
        category: None,
        device: None,
        tags: Tags::default(),
        visibility: Visibility::Public,
        at: NOW,
    });
    let edit = |caption: Option<&str>, visibility| {
        PostCommand::Edit(EditPost {
            editor_id: ANA,
            caption: caption.map(|it| Caption::parse(it).unwrap()),
            category: None,
            tags: None,
            visibility,
            at: NOW,
        })
    };
    for adds in [
        publish.clone(),
        edit(Some("4–2"), None),
        edit(Some("4–2"), Some(Visibility::OnlyMe)),
        edit(None, Some(Visibility::Followers)),
        edit(None, None),
    ] {
        assert!(!Post::takes_back(&adds), "{adds:?}");
    }
    let delete = PostCommand::Delete(DeletePost {
        deleter_id: ANA,
        at: NOW,
    });
    let hide = edit(None, Some(Visibility::OnlyMe));
    assert_eq!(taken_back(after::<Post>([publish]), &[hide, delete]), 2);
}

#[test]
fn likes_and_follows_are_taken_back_at_any_length() {
    let pair = LikePair {
        post_id: POST,
        user_id: ANA,
        at: NOW,
    };
    assert!(!Like::takes_back(&LikeCommand::Like(pair)));
    let liked = after::<Like>([LikeCommand::Like(pair)]);
    assert_eq!(taken_back(liked, &[LikeCommand::Unlike(pair)]), 1);

    let pair = FollowPair {
        follower_id: ANA,
        followee_id: LUIS,
        at: NOW,
    };
    assert!(!Follow::takes_back(&FollowCommand::Follow(pair)));
    let following = after::<Follow>([FollowCommand::Follow(pair)]);
    assert_eq!(taken_back(following, &[FollowCommand::Unfollow(pair)]), 1);
}

#[test]
fn a_profile_is_emptied_at_any_length() {
    let change = |bio: Option<&str>, location: Option<&str>, display_name: Option<&str>| {
        ProfileCommand::Change(ChangeProfile {
            user_id: ANA,
            registered_name: Personal::Erased,
            display_name: display_name.map(|it| DisplayName::parse(it).unwrap()),
            bio: bio.map(|it| Bio::parse(it).unwrap()),
            location: location.map(|it| Location::parse(it).unwrap()),
            locale: None,
            time_zone: None,
            at: NOW,
        })
    };
    for adds in [
        change(Some("Keeper"), Some(""), None),
        change(Some(""), Some("Rosario"), None),
        change(Some(""), None, Some("Ana")),
    ] {
        assert!(!Profile::takes_back(&adds), "{adds:?}");
    }
    let told = after::<Profile>([change(Some("Keeper"), Some("Rosario"), None)]);
    let emptied = [
        change(Some(""), None, None),
        change(None, Some(""), None),
        change(Some(""), Some(""), None),
    ];
    assert_eq!(taken_back(told, &emptied), 2);
}

#[test]
fn permissions_and_the_account_are_taken_back_at_any_length() {
    let register = AccountCommand::Register(Register {
        user_id: ANA,
        email: Email::parse("ana@example.org").unwrap(),
        handle: Handle::parse("ana").unwrap(),
        display_name: DisplayName::parse("Ana").unwrap(),
        sport: Sport::parse("football").unwrap(),
        gender: Gender::Undisclosed,
        role: RoleDetails::Fan,
        at: NOW,
    });
    let change = ChangePermission {
        permission: Permission::Admin,
        changed_by: None,
        at: NOW,
    };
    let grant = AccountCommand::Grant(change.clone());
    assert!(!Account::takes_back(&register) && !Account::takes_back(&grant));
    let staff = after::<Account>([register, grant]);
    let erase = AccountCommand::Erase(Erase {
        erased_by: None,
        user_id: ANA,
        at: NOW,
    });
    assert_eq!(
        taken_back(staff, &[AccountCommand::Revoke(change), erase]),
        2
    );
}
