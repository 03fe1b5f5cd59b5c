//! Every version of every event that was ever written stays readable. A golden file holds the
//! payload of one stored event, with its personal fields opened, and is named
//! `<event name>.v<version>[.<case>].json`; it is added with the event and never changed.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop where it stands"
)]

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use touchline_domain::CATALOGUE;
use touchline_domain::audit::{BeginningEvent, LookEvent};
use touchline_domain::event::{DecodeError, Event};
use touchline_domain::identity::AccountEvent;
use touchline_domain::posts::{CommentEvent, LikeEvent, PostEvent};
use touchline_domain::users::{FollowEvent, ProfileEvent};

struct Golden {
    name: String,
    version: String,
    case: Option<String>,
    payload: String,
}

impl Golden {
    fn json(&self) -> Value {
        serde_json::from_str(&self.payload).unwrap()
    }

    /// Whether this version is the one that is written today.
    fn is_current(&self) -> bool {
        let version = (self.name.as_str(), self.version.as_str());
        CATALOGUE.iter().any(|kind| {
            let known = kind.events.iter();
            known.copied().any(|known| known == version)
        })
    }
}

fn golden_files() -> Vec<Golden> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_str().unwrap();
            let stem = file.strip_suffix(".json").unwrap();
            let (name, rest) = stem.split_once(".v").unwrap();
            let (version, case) = match rest.split_once('.') {
                Some((version, case)) => (version, Some(case.to_owned())),
                None => (rest, None),
            };
            Golden {
                name: name.to_owned(),
                version: version.to_owned(),
                case,
                payload: fs::read_to_string(&path).unwrap(),
            }
        })
        .collect()
}

/// Decodes with the enum that knows the name, and encodes again.
fn decode_and_encode(golden: &Golden) -> Result<Value, DecodeError> {
    fn through<E: Event>(golden: &Golden) -> Option<Result<Value, DecodeError>> {
        E::knows(&golden.name).then(|| {
            let event = E::decode(&golden.name, &golden.version, &golden.payload)?;
            assert_eq!(event.name(), golden.name);
            assert_eq!(event.event_type(), golden.name);
            assert_eq!(event.event_version() == golden.version, golden.is_current());
            Ok(serde_json::to_value(&event).unwrap())
        })
    }
    through::<AccountEvent>(golden)
        .or_else(|| through::<ProfileEvent>(golden))
        .or_else(|| through::<FollowEvent>(golden))
        .or_else(|| through::<PostEvent>(golden))
        .or_else(|| through::<LikeEvent>(golden))
        .or_else(|| through::<CommentEvent>(golden))
        .or_else(|| through::<LookEvent>(golden))
        .or_else(|| through::<BeginningEvent>(golden))
        .unwrap_or_else(|| panic!("no event enum of this test knows {}", golden.name))
}

#[test]
fn every_golden_event_of_today_decodes_and_encodes_to_itself() {
    for golden in golden_files().iter().filter(|golden| golden.is_current()) {
        let encoded = decode_and_encode(golden).unwrap();
        assert_eq!(
            encoded,
            golden.json(),
            "{} v{}",
            golden.name,
            golden.version
        );
    }
}

/// An event of an older version is read as the event of today with the same golden case, less what
/// its version did not say.
#[test]
fn every_golden_event_of_before_is_lifted_to_today() {
    let files = golden_files();
    let mut lifted = 0;
    for old in files.iter().filter(|golden| !golden.is_current()) {
        let today = files
            .iter()
            .find(|it| it.name == old.name && it.case == old.case && it.is_current())
            .unwrap();
        let mut expected = today.json();
        if old.name == "posts.post_edited" {
            expected[&old.name]
                .as_object_mut()
                .unwrap()
                .remove("author_id");
        }
        let decoded = decode_and_encode(old).unwrap();
        assert_eq!(decoded, expected, "{} v{}", old.name, old.version);
        lifted += 1;
    }
    assert!(lifted > 0);
}

#[test]
fn every_version_of_every_event_has_a_golden_file() {
    let golden: BTreeSet<(String, String)> = golden_files()
        .into_iter()
        .map(|golden| (golden.name, golden.version))
        .collect();
    let today = CATALOGUE
        .iter()
        .flat_map(|kind| kind.events.iter().copied());
    let before = CATALOGUE
        .iter()
        .flat_map(|kind| kind.upcasters)
        .map(|upcaster| (upcaster.event, upcaster.from));
    let known: BTreeSet<(String, String)> = today
        .chain(before)
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .collect();
    assert_eq!(golden, known);
}

#[test]
fn names_and_types_are_used_once_and_begin_with_their_context() {
    let types: BTreeSet<&str> = CATALOGUE.iter().map(|kind| kind.aggregate_type).collect();
    assert_eq!(types.len(), CATALOGUE.len());
    let mut names = BTreeSet::new();
    for (name, _) in CATALOGUE.iter().flat_map(|kind| kind.events) {
        assert!(names.insert(*name), "{name} is used twice");
        let (context, fact) = name.split_once('.').unwrap();
        assert!(
            ["audit", "identity", "users", "posts"].contains(&context),
            "{name}"
        );
        assert!(!fact.contains('.'), "{name}");
    }
}

#[test]
fn what_this_build_does_not_know_is_named() {
    let payload = r#"{"posts.post_liked": {}}"#;
    assert!(matches!(
        LikeEvent::decode("posts.post_adored", "1", payload),
        Err(DecodeError::UnknownType { name }) if name == "posts.post_adored"
    ));
    assert!(matches!(
        LikeEvent::decode("posts.post_liked", "2", payload),
        Err(DecodeError::UnknownVersion { version, .. }) if version == "2"
    ));
    assert!(matches!(
        LikeEvent::decode("posts.post_liked", "1", payload),
        Err(DecodeError::Payload { .. })
    ));
    assert!(touchline_domain::understands("posts.post_edited", "1"));
    assert!(touchline_domain::understands("posts.post_edited", "2"));
    assert!(!touchline_domain::understands("posts.post_edited", "3"));
}

/// The fields that say nothing about a person: ids, times, and choices from a list of ours.
const CLEAR: &[&str] = &[
    "abandoned_size",
    "appointed_at",
    "approved_at",
    "approved_by",
    "author_id",
    "beginning_id",
    "begun_at",
    "changed_at",
    "comment_id",
    "commented_at",
    "deleted_at",
    "edited_at",
    "erased_at",
    "erased_by",
    "events_max",
    "followed_at",
    "followee_id",
    "follower_id",
    "granted_at",
    "granted_by",
    "key_made",
    "liked_at",
    "look_id",
    "operation",
    "parent_id",
    "permission",
    "personal",
    "post_id",
    "published_at",
    "read_at",
    "reader",
    "registered_at",
    "revoked_at",
    "revoked_by",
    "role",
    "size",
    "slice",
    "status",
    "surface",
    "unfollowed_at",
    "unliked_at",
    "user_id",
    "visibility",
];

/// A field that nobody has thought about is not stored in the clear by accident (L8).
#[test]
fn every_field_of_every_event_is_personal_or_known_to_be_clear() {
    for golden in golden_files().iter().filter(|golden| golden.is_current()) {
        let personal: BTreeSet<&str> = CATALOGUE
            .iter()
            .flat_map(|kind| kind.personal)
            .filter(|personal| personal.event == golden.name)
            .flat_map(|personal| personal.fields.iter().copied())
            .collect();
        for field in golden.json()[&golden.name].as_object().unwrap().keys() {
            let is_clear = CLEAR.contains(&field.as_str());
            assert!(
                is_clear != personal.contains(field.as_str()),
                "{}: {field}",
                golden.name
            );
        }
    }
}
