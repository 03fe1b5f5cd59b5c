//! Sealing the personal fields of an event, and opening them (L8, ADR-0016).
//!
//! A sealed field stands in the payload as
//! `"caption":{"sealed":"<subject>.<nonce, ciphertext and tag in base64url>"}`. What was encrypted is
//! the JSON of the field; associated data is `<event id>/<field>`, so that it opens nowhere else. In
//! JSON no text can look like that object, since its quotes would be escaped: so fields are found
//! and replaced in the text of the payload, whatever its type.

use crate::append::NewEvent;
use crate::keys::{Ring, Slot};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use thiserror::Error;
use uuid::Uuid;

/// How a sealed field begins, with the colon after its name.
const SEALED: &str = r#":{"sealed":""#;
/// How it ends.
const END: &str = r#""}"#;
/// What stands in place of a field whose key is gone.
const ERASED: &str = r#"{"erased":true}"#;

/// Why an event could not be sealed. It is not stored then.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SealError {
    /// The payload is not an object of one event with its fields.
    #[error("the payload of {event_type} is no event")]
    Payload {
        /// The event.
        event_type: &'static str,
    },
    /// An event with personal fields does not say whose they are.
    #[error("{event_type} does not say whose its {owner} is")]
    NoOwner {
        /// The event.
        event_type: &'static str,
        /// The field that should.
        owner: &'static str,
    },
    /// The machine gave no random bytes.
    #[error("no nonce could be made")]
    Nonce,
}

/// The fields of an object, in order, as they are written.
struct Fields<'a>(Vec<(&'a str, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(&'de str, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Collect).map(Fields)
    }
}

/// The name of the event in a payload, and its fields.
fn parse(payload: &RawValue) -> Result<(&str, Fields<'_>), serde_json::Error> {
    let Fields(event) = serde_json::from_str(payload.get())?;
    let [(name, fields)] = event.as_slice() else {
        return Err(serde_json::Error::custom("not one event"));
    };
    Ok((name, serde_json::from_str(fields.get())?))
}

/// Whose personal fields an event has.
pub(crate) fn owners(event: &NewEvent) -> Result<Vec<Uuid>, SealError> {
    if event.personal().next().is_none() {
        return Ok(Vec::new());
    }
    let event_type = event.event_type;
    let (_, Fields(fields)) =
        parse(&event.payload).map_err(|_malformed| SealError::Payload { event_type })?;
    event
        .personal()
        .filter(|personal| {
            let mut names = fields.iter().map(|(name, _)| name);
            names.any(|name| personal.fields.contains(name))
        })
        .map(|personal| {
            owner(&fields, personal.owner).ok_or(SealError::NoOwner {
                event_type,
                owner: personal.owner,
            })
        })
        .collect()
}

fn owner(fields: &[(&str, &RawValue)], field: &str) -> Option<Uuid> {
    let (_, id) = fields.iter().find(|(name, _)| *name == field)?;
    serde_json::from_str(id.get()).ok()
}

/// Seals the personal fields of an event under the keys of `ring`, which has one for each of
/// [`owners`]. What belongs to somebody whose key is destroyed is written as erased.
pub(crate) fn seal(event: &mut NewEvent, ring: &Ring) -> Result<(), SealError> {
    if event.personal().next().is_none() {
        return Ok(());
    }
    let event_type = event.event_type;
    let (name, Fields(fields)) =
        parse(&event.payload).map_err(|_malformed| SealError::Payload { event_type })?;
    let mut text = format!(r#"{{"{name}":{{"#);
    for (index, (field, value)) in fields.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push('"');
        text.push_str(field);
        text.push('"');
        let personal = event.personal().find(|it| it.fields.contains(field));
        match personal {
            Some(personal) if value.get() != ERASED => {
                let missing = SealError::NoOwner {
                    event_type,
                    owner: personal.owner,
                };
                let subject = owner(&fields, personal.owner).ok_or_else(|| missing.clone())?;
                match ring.get(&subject).ok_or(missing)? {
                    Slot::Live(cipher) => {
                        let sealed = cipher
                            .seal(&place(event.event_id, field), value.get().as_bytes())
                            .ok_or(SealError::Nonce)?;
                        text.push_str(SEALED);
                        text.push_str(
                            subject
                                .hyphenated()
                                .encode_lower(&mut Uuid::encode_buffer()),
                        );
                        text.push('.');
                        URL_SAFE_NO_PAD.encode_string(&sealed, &mut text);
                        text.push_str(END);
                    }
                    Slot::Destroyed => {
                        text.push(':');
                        text.push_str(ERASED);
                    }
                }
            }
            _ => {
                text.push(':');
                text.push_str(value.get());
            }
        }
    }
    text.push_str("}}");
    event.payload =
        RawValue::from_string(text).map_err(|_malformed| SealError::Payload { event_type })?;
    Ok(())
}

/// The associated data of a field.
fn place(event_id: Uuid, field: &str) -> String {
    format!("{event_id}/{field}")
}

/// A sealed field in the text of a payload.
struct Sealed<'a> {
    field: &'a str,
    /// Where its value begins and ends.
    start: usize,
    end: usize,
    subject: Uuid,
    data: &'a str,
}

/// The sealed fields of a payload, in order. One that is malformed is passed over: what decodes the
/// event then finds it.
fn sealed(payload: &str) -> impl Iterator<Item = Sealed<'_>> {
    payload.match_indices(SEALED).filter_map(move |(colon, _)| {
        let before = payload.get(..colon)?.strip_suffix('"')?;
        let field = before.get(before.rfind('"')? + 1..)?;
        let body = colon + SEALED.len();
        let (token, _) = payload.get(body..)?.split_once(END)?;
        let (subject, data) = token.split_once('.')?;
        Some(Sealed {
            field,
            start: colon + 1,
            end: body + token.len() + END.len(),
            subject: Uuid::try_parse(subject).ok()?,
            data,
        })
    })
}

/// Whose keys are needed to open a payload.
pub(crate) fn subjects(payload: &str) -> impl Iterator<Item = Uuid> {
    sealed(payload).map(|field| field.subject)
}

/// The payload with its fields opened; none when it has no sealed ones. A field whose key is gone is
/// erased. One that does not open under its key was tampered with: it stays as it is, so that the
/// event cannot be decoded.
pub(crate) fn open(event_id: Uuid, payload: &str, ring: &Ring) -> Option<Box<RawValue>> {
    let mut text = String::with_capacity(payload.len());
    let mut copied = 0;
    for field in sealed(payload) {
        let plain = match ring.get(&field.subject) {
            Some(Slot::Live(cipher)) => URL_SAFE_NO_PAD
                .decode(field.data)
                .ok()
                .and_then(|data| cipher.open(&place(event_id, field.field), &data))
                .and_then(|plain| String::from_utf8(plain).ok()),
            Some(Slot::Destroyed) | None => Some(ERASED.to_owned()),
        };
        let Some(plain) = plain else {
            tracing::error!(%event_id, field = field.field, "a sealed field does not open");
            continue;
        };
        text.push_str(payload.get(copied..field.start)?);
        text.push_str(&plain);
        copied = field.end;
    }
    if copied == 0 {
        return None;
    }
    text.push_str(payload.get(copied..)?);
    RawValue::from_string(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Cipher;
    use std::sync::Arc;
    use touchline_domain::personal::PersonalFields;

    const EVENT: Uuid = Uuid::from_u128(7);
    const ANA: Uuid = Uuid::from_u128(1);

    fn ring() -> Ring {
        let cipher = Cipher::new(&Cipher::generate().unwrap()).unwrap();
        Ring::from([(ANA, Slot::Live(Arc::new(cipher)))])
    }

    fn event(payload: &str) -> NewEvent {
        NewEvent {
            event_id: EVENT,
            event_type: "tests.said",
            event_version: "1",
            payload: RawValue::from_string(payload.to_owned()).unwrap(),
            personal: &[PersonalFields {
                event: "tests.said",
                owner: "by",
                fields: &["text", "tags"],
            }],
        }
    }

    fn said(text: &str) -> String {
        format!(r#"{{"tests.said":{{"by":"{ANA}","text":{text},"tags":["a","b"],"loud":true}}}}"#)
    }

    #[test]
    fn fields_are_sealed_and_opened_in_their_places() {
        // The last one looks as much like a sealed field as a text can.
        for text in [
            r#""hello""#,
            r#""""#,
            r#"{"set":"x"}"#,
            r#""\"text\":{\"sealed\":\"x.y\"}""#,
        ] {
            let mut sealed = event(&said(text));
            assert_eq!(owners(&sealed).unwrap(), [ANA]);
            let ring = ring();
            seal(&mut sealed, &ring).unwrap();
            let stored = sealed.payload.get();
            assert!(
                !stored.contains("hello") && !stored.contains(r#""a""#),
                "{stored}"
            );
            assert!(stored.contains(r#""loud":true"#));
            assert!(stored.contains(SEALED));
            assert_eq!(subjects(stored).collect::<Vec<_>>(), [ANA, ANA]);
            let opened = open(EVENT, stored, &ring).unwrap();
            assert_eq!(opened.get(), said(text));
        }
    }

    #[test]
    fn without_its_key_a_field_is_erased() {
        let mut sealed = event(&said(r#""hello""#));
        seal(&mut sealed, &ring()).unwrap();
        for gone in [Ring::new(), Ring::from([(ANA, Slot::Destroyed)])] {
            let opened = open(EVENT, sealed.payload.get(), &gone).unwrap();
            let expected = said(ERASED).replace(r#"["a","b"]"#, ERASED);
            assert_eq!(opened.get(), expected);
            // And is not sealed again as if it were a value.
            let mut again = event(opened.get());
            seal(&mut again, &Ring::from([(ANA, Slot::Destroyed)])).unwrap();
            assert_eq!(again.payload.get(), expected);
        }
    }

    #[test]
    fn what_is_moved_or_changed_does_not_open() {
        let ring = ring();
        let mut sealed = event(&said(r#""hello""#));
        seal(&mut sealed, &ring).unwrap();
        let stored = sealed.payload.get();
        let other_event = open(Uuid::from_u128(8), stored, &ring);
        assert!(other_event.is_none());
        let swapped = stored
            .replace(r#""text""#, r#""x""#)
            .replace(r#""tags""#, r#""text""#)
            .replace(r#""x""#, r#""tags""#);
        assert!(open(EVENT, &swapped, &ring).is_none());
    }

    #[test]
    fn what_is_nobodys_is_not_stored() {
        let mut nobodys = event(r#"{"tests.said":{"by":null,"text":"hello"}}"#);
        let no_owner = SealError::NoOwner {
            event_type: "tests.said",
            owner: "by",
        };
        assert_eq!(owners(&nobodys).unwrap_err(), no_owner);
        assert_eq!(seal(&mut nobodys, &ring()).unwrap_err(), no_owner);
        let mut stranger = event(&said(r#""hello""#));
        assert!(seal(&mut stranger, &Ring::new()).is_err());
        let mut nothing = event(r#"{"tests.said":{"by":null,"loud":true}}"#);
        assert!(owners(&nothing).unwrap().is_empty());
        seal(&mut nothing, &Ring::new()).unwrap();
    }
}
