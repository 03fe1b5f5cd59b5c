//! From a tree to the shape that an operation expects, with errors that know where they are.
//!
//! `serde_json` says what does not fit only as an English sentence. This deserializer says it as a
//! value: the place as a JSON Pointer and the kind of misfit, from which the problem is made.

use super::tree::Tree;
use crate::problem::{Place, Problem, ProblemCode};
use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, Expected, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use std::fmt;

/// Where a tree does not have the expected shape, and how.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ShapeError {
    /// From the inside out.
    path: Vec<String>,
    misfit: Misfit,
}

#[derive(Debug, PartialEq, Eq)]
enum Misfit {
    Unknown,
    Missing,
    Duplicate,
    Type(String),
}

impl ShapeError {
    const fn new(misfit: Misfit) -> Self {
        Self {
            path: Vec::new(),
            misfit,
        }
    }

    fn inside(mut self, step: &str) -> Self {
        self.path.push(step.to_owned());
        self
    }

    /// The place as a JSON Pointer (RFC 6901); empty for the whole body.
    fn pointer(&self) -> String {
        let mut pointer = String::new();
        for step in self.path.iter().rev() {
            pointer.push('/');
            pointer.push_str(&step.replace('~', "~0").replace('/', "~1"));
        }
        pointer
    }
}

impl From<ShapeError> for Problem {
    fn from(error: ShapeError) -> Self {
        let place = Place::Pointer(error.pointer());
        match error.misfit {
            Misfit::Unknown => Self::at(
                ProblemCode::UnknownField,
                place,
                "is not a field of this request",
            ),
            Misfit::Missing => Self::at(ProblemCode::MissingField, place, "must be given"),
            Misfit::Duplicate => Self::at(ProblemCode::DuplicateField, place, "is given twice"),
            Misfit::Type(detail) => Self::at(ProblemCode::WrongType, place, detail),
        }
    }
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:?}", self.misfit, self.pointer())
    }
}

impl std::error::Error for ShapeError {}

impl de::Error for ShapeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Misfit::Type(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Misfit::Type(format!(
            "must be {expected}, not {}",
            json_type(found)
        )))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Misfit::Type(format!("must be {expected}")))
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> Self {
        Self::new(Misfit::Unknown).inside(field)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Misfit::Missing).inside(field)
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(Misfit::Duplicate).inside(field)
    }
}

const fn json_type(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Unit => "null",
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
        Unexpected::Float(_) => "a number",
        Unexpected::Str(_) => "a string",
        Unexpected::Seq => "an array",
        Unexpected::Map => "an object",
        _ => "something else",
    }
}

impl<'de> Deserializer<'de> for &'de Tree {
    type Error = ShapeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        match self {
            Tree::Null => visitor.visit_unit(),
            Tree::Bool(value) => visitor.visit_bool(*value),
            Tree::Unsigned(value) => visitor.visit_u64(*value),
            Tree::Signed(value) => visitor.visit_i64(*value),
            Tree::Float(value) => visitor.visit_f64(*value),
            Tree::Text(text) => visitor.visit_borrowed_str(text),
            Tree::List(items) => visitor.visit_seq(Items {
                items: items.iter(),
                index: 0,
            }),
            Tree::Object(fields) => visitor.visit_map(Fields {
                fields: fields.iter(),
                at: None,
            }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        match self {
            Tree::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    /// A derived struct would also read itself from an array, field by field; JSON for this API is
    /// objects.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        match self {
            Tree::List(_) => Err(de::Error::invalid_type(Unexpected::Seq, &"an object")),
            Tree::Object(_) => self.deserialize_any(visitor),
            Tree::Null => Err(de::Error::invalid_type(Unexpected::Unit, &"an object")),
            Tree::Bool(value) => Err(de::Error::invalid_type(
                Unexpected::Bool(*value),
                &"an object",
            )),
            Tree::Unsigned(value) => Err(de::Error::invalid_type(
                Unexpected::Unsigned(*value),
                &"an object",
            )),
            Tree::Signed(value) => Err(de::Error::invalid_type(
                Unexpected::Signed(*value),
                &"an object",
            )),
            Tree::Float(value) => Err(de::Error::invalid_type(
                Unexpected::Float(*value),
                &"an object",
            )),
            Tree::Text(text) => Err(de::Error::invalid_type(Unexpected::Str(text), &"an object")),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map enum identifier
    }
}

struct Items<'de> {
    items: std::slice::Iter<'de, Tree>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = ShapeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ShapeError> {
        let Some(item) = self.items.next() else {
            return Ok(None);
        };
        let index = self.index;
        self.index += 1;
        seed.deserialize(item)
            .map(Some)
            .map_err(|error| error.inside(&index.to_string()))
    }
}

struct Fields<'de> {
    fields: std::slice::Iter<'de, (String, Tree)>,
    at: Option<&'de (String, Tree)>,
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = ShapeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ShapeError> {
        self.at = self.fields.next();
        let Some((name, _)) = self.at else {
            return Ok(None);
        };
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, ShapeError> {
        let Some((name, value)) = self.at else {
            return Err(de::Error::custom("must be an object"));
        };
        seed.deserialize(value).map_err(|error| error.inside(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it parses matters")]
    struct Team {
        name: String,
        #[serde(default)]
        founded: Option<i64>,
        #[serde(default)]
        players: Vec<String>,
    }

    fn misfit(json: &str) -> (String, Misfit) {
        let tree: Tree = serde_json::from_str(json).unwrap();
        let error = Team::deserialize(&tree).unwrap_err();
        (error.pointer(), error.misfit)
    }

    #[test]
    fn a_misfit_knows_its_place_and_kind() {
        assert_eq!(
            misfit(r#"{"name":"A","x/y~z":1}"#),
            ("/x~1y~0z".to_owned(), Misfit::Unknown)
        );
        assert_eq!(misfit("{}"), ("/name".to_owned(), Misfit::Missing));
        assert_eq!(
            misfit(r#"{"name":"A","name":"B"}"#),
            ("/name".to_owned(), Misfit::Duplicate)
        );
        let (pointer, kind) = misfit(r#"{"name":"A","players":["B",7]}"#);
        assert_eq!(pointer, "/players/1");
        assert_eq!(
            kind,
            Misfit::Type("must be a string, not a whole number".to_owned())
        );
        assert_eq!(misfit(r#"{"name":"A","founded":1.5}"#).0, "/founded");
        assert_eq!(misfit("[]").0, "");
        assert_eq!(misfit("null").0, "");
    }

    #[test]
    fn what_fits_is_read() {
        let tree: Tree =
            serde_json::from_str(r#"{"founded":1900,"players":["B"],"name":"A"}"#).unwrap();
        assert!(Team::deserialize(&tree).is_ok());
    }
}
