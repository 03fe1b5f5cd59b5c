//! An event and its message in the stream LOG.

use proptest::prelude::*;
use serde_json::value::RawValue;
use touchline_eventstore::event::Digest;
use touchline_eventstore::stream::{
    ForeignMessage, Message, PARTITIONS, decode, partition, subject,
};
use touchline_eventstore::{LogEvent, Position};
use uuid::Uuid;

const LOG_ID: Uuid = Uuid::from_u128(42);

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

proptest! {
    #[test]
    fn every_event_comes_back_byte_for_byte(event in events()) {
        let message = Message::encode(LOG_ID, &event).unwrap();
        let decoded = decode(LOG_ID, event.position, Some(&message.headers), &message.body).unwrap();
        prop_assert_eq!(decoded.payload.get(), event.payload.get());
        prop_assert_eq!(decoded.metadata.get(), event.metadata.get());
        prop_assert_eq!(decoded.recorded_at, event.recorded_at);
        prop_assert_eq!(decoded.computed_digest(), event.computed_digest());
        prop_assert_eq!(&Message::encode(LOG_ID, &decoded).unwrap().body, &message.body);
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
        let message = Message::encode(LOG_ID, &event).unwrap();
        let other = decode(Uuid::from_u128(43), event.position, Some(&message.headers), &message.body);
        let refused = matches!(other, Err(ForeignMessage::OtherLog { .. }));
        prop_assert!(refused, "{:?}", other);
        let unnamed = decode(LOG_ID, event.position, None, &message.body);
        let refused = matches!(unnamed, Err(ForeignMessage::OtherLog { .. }));
        prop_assert!(refused, "{:?}", unnamed);
        let elsewhere = decode(LOG_ID, event.position.previous(), Some(&message.headers), &message.body);
        let refused = matches!(elsewhere, Err(ForeignMessage::OtherPosition { .. }));
        prop_assert!(refused, "{:?}", elsewhere);
        let nothing = decode(LOG_ID, event.position, Some(&message.headers), b"{}");
        let refused = matches!(nothing, Err(ForeignMessage::NoEvent { .. }));
        prop_assert!(refused, "{:?}", nothing);
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
            |(position, (aggregate_id, event_type), sequence, json, micros)| LogEvent {
                position: Position::new(position).unwrap(),
                sequence,
                recorded_at: chrono::DateTime::from_timestamp_micros(micros).unwrap(),
                payload: RawValue::from_string(json.clone()).unwrap(),
                metadata: RawValue::from_string(json).unwrap(),
                ..event(&event_type, &aggregate_id)
            },
        )
}
