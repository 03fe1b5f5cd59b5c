//! Looks at history: slices, the look itself, and folding an aggregate of any type.
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use cqrs_es::test::TestFramework;
use serde_json::{Value, json};
use touchline_domain::CATALOGUE;
use touchline_domain::audit::{
    BeginningCommand, HistoryRead, LogBegunAnew, Look, LookCommand, LookOperation, NewBeginning,
    Slice, SliceError, Surface,
};
use touchline_domain::id::{BeginningId, LookId};
use touchline_domain::replay::{Seen, changes};
use uuid::Uuid;

fn look() -> HistoryRead {
    HistoryRead {
        look_id: LookId::new(Uuid::from_u128(1)),
        reader: None,
        surface: Surface::Cli,
        operation: LookOperation::List,
        slice: Slice::whole(),
        events_max: None,
        personal: false,
        read_at: "2022-12-18T18:00:00Z".parse().unwrap(),
    }
}

#[test]
fn a_look_is_recorded_once() {
    TestFramework::<Look>::with(())
        .given_no_previous_events()
        .when(LookCommand::Record(look()))
        .then_expect_events(vec![look().into()]);
    TestFramework::<Look>::with(())
        .given(vec![look().into()])
        .when(LookCommand::Record(look()))
        .then_expect_events(Vec::new());
}

#[test]
fn a_new_beginning_is_recorded_once() {
    let begun = LogBegunAnew {
        beginning_id: BeginningId::new(Uuid::from_u128(1)),
        abandoned_size: 12,
        size: 8,
        key_made: false,
        begun_at: "2022-12-18T18:00:00Z".parse().unwrap(),
    };
    let acknowledge = || BeginningCommand::Acknowledge(begun.clone());
    TestFramework::<NewBeginning>::with(())
        .given_no_previous_events()
        .when(acknowledge())
        .then_expect_events(vec![begun.clone().into()]);
    TestFramework::<NewBeginning>::with(())
        .given(vec![begun.clone().into()])
        .when(acknowledge())
        .then_expect_events(Vec::new());
}

fn named(aggregate_type: Option<&str>, event_type: Option<&str>) -> Slice {
    Slice {
        aggregate_type: aggregate_type.map(str::to_owned),
        event_type: event_type.map(str::to_owned),
        ..Slice::whole()
    }
}

#[test]
fn a_slice_names_types_by_aggregate_name_or_context() {
    assert_eq!(Slice::whole().check(), Ok(None));
    let like = vec!["posts.post_liked", "posts.post_unliked"];
    assert_eq!(
        named(Some("like"), None).check().unwrap().unwrap(),
        like.clone()
    );
    assert_eq!(
        named(Some("like"), Some("posts.")).check().unwrap(),
        Some(like)
    );
    assert_eq!(
        named(None, Some("posts.post_liked")).check().unwrap(),
        Some(vec!["posts.post_liked"])
    );
    let context = named(None, Some("posts.")).check().unwrap().unwrap();
    assert!(context.len() > 4 && context.iter().all(|name| name.starts_with("posts.")));
    // The two exclude each other: nothing can be in it.
    assert_eq!(
        named(Some("like"), Some("users.")).check().unwrap(),
        Some(Vec::new())
    );
}

#[test]
fn a_slice_with_an_unknown_name_or_a_backwards_range_is_refused() {
    for name in ["posts.post_adored", "posts", "post.", ".", ""] {
        assert_eq!(
            named(None, Some(name)).check(),
            Err(SliceError::UnknownEventType {
                name: name.to_owned()
            })
        );
    }
    assert_eq!(
        named(Some("posts"), None).check(),
        Err(SliceError::UnknownAggregateType {
            name: "posts".to_owned()
        })
    );
    let noon = Some("2022-12-18T12:00:00Z".parse().unwrap());
    let backwards = Slice {
        from: noon,
        to: noon,
        ..Slice::whole()
    };
    assert_eq!(backwards.check(), Err(SliceError::BackwardsTime));
    let range = |after, until| Slice {
        after,
        until: Some(until),
        ..Slice::whole()
    };
    let backwards = SliceError::BackwardsRange { after: 3, until: 2 };
    assert_eq!(range(3, 2).check(), Err(backwards));
    assert_eq!(range(3, 3).check(), Ok(None));
}

#[test]
fn only_a_slice_without_conditions_is_the_whole_log() {
    let until = |until| Slice {
        until,
        ..Slice::whole()
    };
    assert!(until(None).is_whole() && until(Some(7)).is_whole());
    let after = Slice {
        after: 1,
        ..Slice::whole()
    };
    assert!(!after.is_whole() && !named(Some("like"), None).is_whole());
}

#[test]
fn every_aggregate_can_be_replayed() {
    for kind in CATALOGUE {
        for personal in [true, false] {
            let replay = kind.replay(personal);
            assert_ne!(replay.state().unwrap().shown, Value::Null);
        }
    }
    let mut like = touchline_domain::kind("like").unwrap().replay(false);
    let payload = r#"{"posts.post_liked": {"post_id": "01920000-0000-7000-8000-000000000003",
        "user_id": "01920000-0000-7000-8000-000000000002", "liked_at": "2022-12-18T18:00:01Z"}}"#;
    like.fold("posts.post_liked", "1", payload).unwrap();
    assert_eq!(
        like.state().unwrap().shown,
        json!({"liked_at": "2022-12-18T18:00:01Z"})
    );
    assert!(like.fold("posts.post_adored", "1", payload).is_err());
}

/// A post as its events tell it, folded for somebody who may or may not see what is personal.
fn post(personal: bool, events: &[(&str, Value)]) -> Seen {
    let mut replay = touchline_domain::kind("post").unwrap().replay(personal);
    for (name, fields) in events {
        let payload = json!({*name: fields}).to_string();
        replay.fold(name, "2", &payload).unwrap();
    }
    replay.state().unwrap()
}

fn published() -> (&'static str, Value) {
    let fields = json!({
        "post_id": "01920000-0000-7000-8000-000000000003",
        "author_id": "01920000-0000-7000-8000-000000000002",
        "caption": "At last", "category": {"erased": true}, "tags": ["final"],
        "visibility": "public", "published_at": "2022-12-18T18:00:00Z",
    });
    ("posts.post_published", fields)
}

fn edited() -> (&'static str, Value) {
    let fields = json!({
        "post_id": "01920000-0000-7000-8000-000000000003",
        "author_id": "01920000-0000-7000-8000-000000000002",
        "caption": "Champions", "visibility": "followers",
        "edited_at": "2022-12-18T18:01:00Z",
    });
    ("posts.post_edited", fields)
}

/// What was erased and what is only withheld look different, and neither shows what stood there.
#[test]
fn who_may_not_see_what_is_personal_sees_the_same_state_without_it() {
    let state = |personal| post(personal, &[published()]).shown["published"].clone();
    let (whole, withheld) = (state(true), state(false));
    let (erased, sealed) = (json!({"erased": true}), json!({"sealed": true}));
    assert_eq!(whole["caption"], "At last");
    assert_eq!(whole["category"], erased);
    assert_eq!(withheld["caption"], sealed);
    assert_eq!(withheld["category"], erased);
    assert_eq!(withheld["visibility"], "public");
    assert_eq!(withheld["tags"], sealed);

    let (name, fields) = published();
    let payload = json!({name: fields}).to_string();
    let post = touchline_domain::kind("post").unwrap();
    let payload = post.withhold(name, "2", &payload).unwrap()[name].clone();
    assert_eq!(payload["caption"], sealed);
    assert_eq!(payload["category"], erased);
    assert_eq!(payload["author_id"], "01920000-0000-7000-8000-000000000002");
}

#[test]
fn changes_are_told_by_path() {
    let absent = post(true, &[]);
    let first = post(true, &[published()]);
    let second = post(true, &[published(), edited()]);
    let tell = |before: &Seen, after: &Seen| -> Vec<(String, Option<Value>, Option<Value>)> {
        let changes = changes(before, after).into_iter();
        changes.map(|it| (it.path, it.old, it.new)).collect()
    };
    let appeared = tell(&absent, &first);
    let caption = (
        "/published/caption".to_owned(),
        None,
        Some(json!("At last")),
    );
    assert!(appeared.contains(&caption), "{appeared:?}");
    assert!(appeared.iter().all(|(_, old, _)| old.is_none()));
    assert_eq!(
        tell(&first, &second),
        [
            (
                "/published/caption".to_owned(),
                Some(json!("At last")),
                Some(json!("Champions"))
            ),
            (
                "/published/edited_at".to_owned(),
                Some(Value::Null),
                Some(json!("2022-12-18T18:01:00Z"))
            ),
            (
                "/published/visibility".to_owned(),
                Some(json!("public")),
                Some(json!("followers"))
            ),
        ]
    );
    let vanished = tell(&second, &absent);
    assert_eq!(vanished.len(), appeared.len());
    assert!(vanished.iter().all(|(_, _, new)| new.is_none()));
    assert_eq!(tell(&second, &second), []);
}

/// That something personal changed is no secret, only what it was and is.
#[test]
fn what_is_withheld_is_told_to_have_changed() {
    let first = post(false, &[published()]);
    let second = post(false, &[published(), edited()]);
    let sealed = Some(json!({"sealed": true}));
    let told = changes(&first, &second);
    let caption = told.iter().find(|it| it.path == "/published/caption");
    let caption = caption.unwrap();
    assert_eq!((&caption.old, &caption.new), (&sealed, &sealed));
    assert_eq!(told.len(), 3);
    let none = post(false, &[]);
    let appeared = changes(&none, &first);
    let tags = appeared.iter().find(|it| it.path == "/published/tags");
    assert_eq!(tags.unwrap().new, sealed);
}
