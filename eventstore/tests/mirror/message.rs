//! An event and its message in the stream LOG.

use async_nats::HeaderMap;
use proptest::prelude::*;
use serde_json::value::RawValue;
use std::sync::{Arc, LazyLock};
use touchline_eventstore::event::Digest;
use touchline_eventstore::stream::{
    Authenticator, ForeignMessage, Message, PARTITIONS, decode, partition, subject,
};
use touchline_eventstore::{Anchor, LogEvent, MasterKeys, Position};
use uuid::Uuid;

static RELAY: LazyLock<Authenticator> = LazyLock::new(|| authenticator(42, &"0b".repeat(32)));

fn authenticator(log: u128, masters: &str) -> Authenticator {
    let masters = MasterKeys::parse(masters).unwrap();
    Authenticator::new(Uuid::from_u128(log), Arc::new(masters))
}

/// What stands before this event, as far as a message tells.
fn before(event: &LogEvent) -> Anchor {
    Anchor {
        position: event.position.previous(),
        digest: Digest::new([9; 32]),
    }
}

#[test]
fn partitions_and_subjects_are_frozen() {
    // `printf %s <id> | sha256sum` begins with these bytes; 64 partitions.
    for (id, first_byte) in [
        ("", 0xe3_u8),
        ("abc", 0xba),
        ("00000000-0000-0000-0000-000000000001", 0x7a),
    ] {
        assert_eq!(partition(id), first_byte % 64, "{id}");
    }
    assert_eq!(
        subject(&event("posts.post_published", "abc")),
        "touchline.log.58.posts.post_published"
    );
    assert_eq!(
        subject(&event("a..b c.*.>", "abc")),
        "touchline.log.58.a._.b_c._._"
    );
}

/// The key is HKDF-SHA256 of the master key without a salt; Python's `hmac` gave this value.
#[test]
fn the_hmac_of_a_message_is_frozen() {
    let event = event("posts.post_published", "abc");
    let message = Message::encode(&RELAY, Anchor::START, &event).unwrap();
    assert_eq!(
        message.headers.get("Touchline-Hmac").unwrap().as_str(),
        "c09571f4ac3a3dd2056d36d568d39d2423aea471d41f0ed874a51a59b8c2f839"
    );
}

proptest! {
    #[test]
    fn every_event_comes_back_byte_for_byte(event in events()) {
        let before = before(&event);
        let message = Message::encode(&RELAY, before, &event).unwrap();
        let decoded = decode(&RELAY, before, Some(&message.headers), &message.body).unwrap();
        prop_assert_eq!(decoded.payload.get(), event.payload.get());
        prop_assert_eq!(decoded.metadata.get(), event.metadata.get());
        prop_assert_eq!(decoded.recorded_at, event.recorded_at);
        prop_assert_eq!(decoded.computed_digest(), event.computed_digest());
        prop_assert_eq!(&Message::encode(&RELAY, before, &decoded).unwrap().body, &message.body);
        prop_assert_eq!(
            message.headers.get("Nats-Expected-Last-Sequence").unwrap().as_str(),
            event.position.previous().to_string()
        );
    }

    #[test]
    fn every_event_has_a_subject_that_the_stream_takes(event_type in ".*", id in ".*") {
        let subject = subject(&event(&event_type, &id));
        prop_assert!(subject.starts_with("touchline.log."), "{}", subject);
        prop_assert!(subject.split('.').all(|token| !token.is_empty()), "{}", subject);
        prop_assert!(
            !subject.contains(|letter: char| letter == '*' || letter == '>' || !letter.is_ascii_graphic()),
            "{}", subject
        );
        prop_assert!(partition(&id) < PARTITIONS);
    }

    #[test]
    fn a_message_of_another_log_or_place_is_refused(event in events()) {
        let message = Message::encode(&RELAY, before(&event), &event).unwrap();
        let headers = Some(&message.headers);
        let other = decode(&authenticator(43, &"0b".repeat(32)), before(&event), headers, &message.body);
        let refused = matches!(other, Err(ForeignMessage::OtherLog { .. }));
        prop_assert!(refused, "{:?}", other);
        let unnamed = decode(&RELAY, before(&event), None, &message.body);
        let refused = matches!(unnamed, Err(ForeignMessage::OtherLog { .. }));
        prop_assert!(refused, "{:?}", unnamed);
        let after = Anchor { position: event.position, ..before(&event) };
        let elsewhere = decode(&RELAY, after, headers, &message.body);
        let refused = matches!(elsewhere, Err(ForeignMessage::OtherPosition { .. }));
        prop_assert!(refused, "{:?}", elsewhere);
        let nothing = decode(&RELAY, before(&event), headers, b"{}");
        let refused = matches!(nothing, Err(ForeignMessage::NoEvent { .. }));
        prop_assert!(refused, "{:?}", nothing);
    }

    #[test]
    fn a_message_is_believed_only_from_whoever_has_the_key(event in events(), bit in 0..256_usize) {
        let message = Message::encode(&RELAY, before(&event), &event).unwrap();
        let read = |relay: &Authenticator, before, headers: &HeaderMap, event: &LogEvent| {
            let body = serde_json::to_vec(event).unwrap();
            decode(relay, before, Some(headers), &body)
        };
        // Another event under the same HMAC, with the digest of the first or with its own.
        let mut forged = LogEvent { event_id: Uuid::from_u128(2), ..event.clone() };
        let read_forged = read(&RELAY, before(&event), &message.headers, &forged);
        let refused = matches!(read_forged, Err(ForeignMessage::OtherDigest { .. }));
        prop_assert!(refused, "{:?}", read_forged);
        forged.digest = forged.computed_digest();
        let read_forged = read(&RELAY, before(&event), &message.headers, &forged);
        let refused = matches!(read_forged, Err(ForeignMessage::NotAuthenticated { .. }));
        prop_assert!(refused, "{:?}", read_forged);
        // An HMAC that is changed, cut, missing, or made with another key.
        let hmac = message.headers.get("Touchline-Hmac").unwrap().as_str().to_owned();
        let mut changed = hex::decode(&hmac).unwrap();
        changed[bit / 8] ^= 1 << (bit % 8);
        for hmac in [hex::encode(changed), hmac[..bit / 8 * 2].to_owned(), "junk".to_owned()] {
            let mut headers = message.headers.clone();
            headers.insert("Touchline-Hmac", hmac);
            let refused = matches!(
                read(&RELAY, before(&event), &headers, &event),
                Err(ForeignMessage::NotAuthenticated { .. })
            );
            prop_assert!(refused);
        }
        let elsewhere = authenticator(42, &"0a".repeat(32));
        let other_key = Message::encode(&elsewhere, before(&event), &event).unwrap();
        let refused = read(&RELAY, before(&event), &other_key.headers, &event).is_err();
        prop_assert!(refused);
        // The same event after another one: a history that the log has lost.
        let other = Anchor { digest: Digest::new([8; 32]), ..before(&event) };
        let refused = read(&RELAY, other, &message.headers, &event).is_err();
        prop_assert!(refused);
        // Whoever knows the key among others reads it.
        let both = authenticator(42, &format!("{}\n{}", "0a".repeat(32), "0b".repeat(32)));
        prop_assert!(read(&both, before(&event), &message.headers, &event).is_ok());
    }
}

fn event(event_type: &str, aggregate_id: &str) -> LogEvent {
    LogEvent {
        position: Position::START.next(),
        event_id: Uuid::from_u128(1),
        aggregate_type: "test".to_owned(),
        aggregate_id: aggregate_id.to_owned(),
        sequence: 1,
        event_type: event_type.to_owned(),
        event_version: "1".to_owned(),
        recorded_at: "2022-12-18T15:00:00.000001Z".parse().unwrap(),
        metadata: RawValue::from_string("{}".to_owned()).unwrap(),
        payload: RawValue::from_string("{}".to_owned()).unwrap(),
        digest: Digest::new([7; 32]),
    }
}

/// Events with any text, and with JSON whose bytes a parser would not keep: numbers written oddly,
/// keys twice, escapes, spaces.
fn events() -> impl Strategy<Value = LogEvent> {
    let json = prop_oneof![
        Just(r#"{"a":1.50,"a":1e3,"b":"\u0041\/","c":12345678901234567890123}"#.to_owned()),
        Just(r#"{ "spaced" : [ ] }"#.to_owned()),
        any::<String>().prop_map(|text| serde_json::json!({ "text": text }).to_string()),
        any::<f64>().prop_map(|number| serde_json::json!({ "number": number }).to_string()),
    ];
    let micros = 0..4_102_444_800_000_000_i64;
    (
        1..=i64::MAX,
        any::<(String, String)>(),
        1..=i64::MAX,
        json,
        micros,
    )
        .prop_map(
            |(position, (aggregate_id, event_type), sequence, json, micros)| {
                let event = LogEvent {
                    position: Position::new(position).unwrap(),
                    sequence,
                    recorded_at: chrono::DateTime::from_timestamp_micros(micros).unwrap(),
                    payload: RawValue::from_string(json.clone()).unwrap(),
                    metadata: RawValue::from_string(json).unwrap(),
                    ..event(&event_type, &aggregate_id)
                };
                let digest = event.computed_digest();
                LogEvent { digest, ..event }
            },
        )
}
