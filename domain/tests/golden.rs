//! Every version of every event that was ever written stays readable. A golden file holds the
//! payload of one stored event and is named `<event name>.v<version>[.<case>].json`; it is added
//! with the event and never changed.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop where it stands"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use touchline_domain::event::{DecodeError, Event};
use touchline_domain::identity::AccountEvent;
use touchline_domain::posts::{CommentEvent, LikeEvent, PostEvent};
use touchline_domain::users::{FollowEvent, ProfileEvent};

struct Golden {
    name: String,
    version: String,
    payload: String,
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
            Golden {
                name: name.to_owned(),
                version: rest.split('.').next().unwrap().to_owned(),
                payload: fs::read_to_string(&path).unwrap(),
            }
        })
        .collect()
}

/// Decodes with the enum that knows the name, and encodes again.
fn decode_and_encode(golden: &Golden) -> Result<serde_json::Value, DecodeError> {
    fn through<E: Event>(golden: &Golden) -> Option<Result<serde_json::Value, DecodeError>> {
        E::knows(&golden.name).then(|| {
            let event = E::decode(&golden.name, &golden.version, &golden.payload)?;
            assert_eq!(event.name(), golden.name);
            assert_eq!(event.event_type(), golden.name);
            assert_eq!(event.event_version(), golden.version);
            Ok(serde_json::to_value(&event).unwrap())
        })
    }
    through::<AccountEvent>(golden)
        .or_else(|| through::<ProfileEvent>(golden))
        .or_else(|| through::<FollowEvent>(golden))
        .or_else(|| through::<PostEvent>(golden))
        .or_else(|| through::<LikeEvent>(golden))
        .or_else(|| through::<CommentEvent>(golden))
        .unwrap_or_else(|| panic!("no event enum of this test knows {}", golden.name))
}

#[test]
fn every_golden_event_decodes_and_encodes_to_itself() {
    for golden in golden_files() {
        let stored: serde_json::Value = serde_json::from_str(&golden.payload).unwrap();
        let encoded = decode_and_encode(&golden).unwrap();
        assert_eq!(encoded, stored, "{} v{}", golden.name, golden.version);
    }
}

#[test]
fn every_event_of_the_catalogue_has_a_golden_file() {
    let golden: BTreeSet<(String, String)> = golden_files()
        .into_iter()
        .map(|golden| (golden.name, golden.version))
        .collect();
    let written: BTreeSet<(String, String)> = touchline_domain::catalogue()
        .iter()
        .flat_map(|(_, types)| *types)
        .map(|(name, version)| ((*name).to_owned(), (*version).to_owned()))
        .collect();
    assert_eq!(golden, written);
}

#[test]
fn names_and_types_are_used_once_and_begin_with_their_context() {
    let catalogue = touchline_domain::catalogue();
    let types: BTreeSet<&str> = catalogue.iter().map(|(aggregate, _)| *aggregate).collect();
    assert_eq!(types.len(), catalogue.len());
    let mut names = BTreeSet::new();
    for (name, _) in catalogue.iter().flat_map(|(_, types)| *types) {
        assert!(names.insert(*name), "{name} is used twice");
        let (context, fact) = name.split_once('.').unwrap();
        assert!(["identity", "users", "posts"].contains(&context), "{name}");
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
}
