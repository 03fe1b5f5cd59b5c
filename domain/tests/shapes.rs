//! An event that was ever written keeps its shape: a field that comes, goes or is renamed needs a
//! new version. `shapes.txt` holds one line per event and version with the fields of its struct;
//! lines are added and never changed. What the values of the fields look like is frozen by the
//! golden files.
#![expect(clippy::panic, reason = "a test may stop where it stands")]

use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, VariantAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use std::cell::RefCell;
use std::collections::BTreeMap;
use touchline_domain::audit::{BeginningEvent, LookEvent};
use touchline_domain::event::Event;
use touchline_domain::identity::AccountEvent;
use touchline_domain::posts::{CommentEvent, LikeEvent, PostEvent};
use touchline_domain::users::{FollowEvent, ProfileEvent};

/// Offers one variant of an enum and writes down which fields its struct asks for.
struct Probe<'a> {
    variant: &'static str,
    fields: &'a RefCell<Vec<&'static str>>,
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        panic!("{} is no struct", self.variant)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        self.fields.replace(fields.to_vec());
        Err(serde::de::Error::custom("seen enough"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Probe<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name = seed.deserialize(StrDeserializer::new(self.variant))?;
        Ok((name, self))
    }
}

impl<'de> VariantAccess<'de> for Probe<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        panic!("{} has no struct", self.variant)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, Error> {
        panic!("{} has no struct", self.variant)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        panic!("{} has no struct of its own", self.variant)
    }
}

fn shapes_of<E: Event + for<'de> Deserialize<'de>>() -> impl Iterator<Item = (String, String)> {
    E::TYPES.iter().map(|(name, version)| {
        let fields = RefCell::default();
        let probe = Probe {
            variant: name,
            fields: &fields,
        };
        assert!(E::deserialize(probe).is_err());
        let fields = fields.into_inner();
        assert!(!fields.is_empty(), "{name} has no fields");
        (format!("{name} v{version}"), fields.join(" "))
    })
}

#[test]
fn no_event_that_was_written_changes_its_shape() {
    let frozen: BTreeMap<String, String> = include_str!("shapes.txt")
        .lines()
        .map(|line| {
            let (event, fields) = line.split_once(": ").unwrap();
            (event.to_owned(), fields.to_owned())
        })
        .collect();
    let today = shapes_of::<AccountEvent>()
        .chain(shapes_of::<ProfileEvent>())
        .chain(shapes_of::<FollowEvent>())
        .chain(shapes_of::<PostEvent>())
        .chain(shapes_of::<LikeEvent>())
        .chain(shapes_of::<CommentEvent>())
        .chain(shapes_of::<LookEvent>())
        .chain(shapes_of::<BeginningEvent>());
    let mut seen = 0;
    for (event, fields) in today {
        let line = format!("{event}: {fields}");
        let known = frozen.get(&event);
        let known = known.unwrap_or_else(|| panic!("add to tests/shapes.txt: {line}"));
        assert_eq!(&fields, known, "{event} has landed: give it a new version");
        seen += 1;
    }
    let written: usize = touchline_domain::CATALOGUE
        .iter()
        .map(|kind| kind.events.len())
        .sum();
    assert_eq!(seen, written, "an event enum is missing in this test");
}
