//! What identifies a person, and what a person typed.
//!
//! An event says of each such field whose it is ([`events!`](crate::events)). The log keeps the field
//! only as ciphertext under that person's key (L8); here it is either known or erased, and no rule
//! depends on which.

use crate::id::UserId;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// What is shown in place of a text that was erased.
pub const ERASED: &str = "erased";

/// A personal value: known, or erased together with its owner's key.
///
/// As JSON it is the value itself, or `{"erased":true}`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Personal<T> {
    /// It can be read.
    Known(T),
    /// The key is gone, and with it the value.
    Erased,
}

impl<T> Personal<T> {
    /// The value; none when it was erased.
    #[must_use]
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Erased => None,
        }
    }

    /// The value; none when it was erased.
    #[must_use]
    pub fn into_known(self) -> Option<T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Erased => None,
        }
    }

    /// Whether this is `value`. What was erased is nothing.
    #[must_use]
    pub fn is(&self, value: &T) -> bool
    where
        T: PartialEq,
    {
        self.known() == Some(value)
    }
}

impl<T: AsRef<str>> Personal<T> {
    /// The text, or [`ERASED`].
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.known().map_or(ERASED, AsRef::as_ref)
    }
}

impl<T> From<T> for Personal<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl<T: fmt::Display> fmt::Display for Personal<T> {
    /// The value, or [`ERASED`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(value) => value.fmt(f),
            Self::Erased => f.write_str(ERASED),
        }
    }
}

/// Does not show the value, so that no log or panic message tells it.
impl<T> fmt::Debug for Personal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Known(_) => "Known(…)",
            Self::Erased => "Erased",
        })
    }
}

/// How an erased value stands in JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    erased: bool,
}

impl<T: Serialize> Serialize for Personal<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Known(value) => value.serialize(serializer),
            Self::Erased => Marker { erased: true }.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Personal<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either<T> {
            Marker(Marker),
            Value(T),
        }
        match Either::deserialize(deserializer)? {
            Either::Marker(Marker { erased: true }) => Ok(Self::Erased),
            Either::Marker(Marker { erased: false }) => {
                Err(de::Error::custom("what is not erased is a value"))
            }
            Either::Value(value) => Ok(Self::Known(value)),
        }
    }
}

/// The value that a command asks for, unless `is_now` says that it is there already.
pub(crate) fn changed<T>(
    wanted: Option<T>,
    is_now: impl FnOnce(&T) -> bool,
) -> Option<Personal<T>> {
    wanted.filter(|value| !is_now(value)).map(Personal::Known)
}

/// The personal fields that events of one type have of one owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PersonalFields {
    /// The frozen name of the event.
    pub event: &'static str,
    /// The field that holds the id of whose data it is.
    pub owner: &'static str,
    /// The fields of the event that are this person's, each directly in the payload.
    pub fields: &'static [&'static str],
}

/// A field that names an owner of personal data.
pub trait Owner {
    /// Whom it names.
    fn owner(&self) -> Option<UserId>;
}

impl Owner for UserId {
    fn owner(&self) -> Option<UserId> {
        Some(*self)
    }
}

impl Owner for Option<UserId> {
    fn owner(&self) -> Option<UserId> {
        *self
    }
}

/// A field that may be declared as personal.
pub trait PersonalField {}

impl<T> PersonalField for Personal<T> {}
impl<T> PersonalField for Option<Personal<T>> {}

/// Compiles only for a field that names an owner.
#[doc(hidden)]
pub const fn assert_owner<T: Owner>(_: &T) {}

/// Compiles only for a field that may be personal.
#[doc(hidden)]
pub const fn assert_personal<T: PersonalField>(_: &T) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_itself_and_an_erased_one_says_so() {
        let known: Personal<String> = "ana".to_owned().into();
        assert_eq!(serde_json::to_string(&known).unwrap(), r#""ana""#);
        assert_eq!(known.as_str(), "ana");
        let erased: Personal<String> = Personal::Erased;
        let text = serde_json::to_string(&erased).unwrap();
        assert_eq!(text, r#"{"erased":true}"#);
        assert_eq!(erased.as_str(), "erased");
        for value in [known, erased] {
            let text = serde_json::to_string(&value).unwrap();
            let again: Personal<String> = serde_json::from_str(&text).unwrap();
            assert!(again == value);
        }
    }

    #[test]
    fn what_was_not_opened_is_no_value() {
        let sealed = r#"{"sealed":"x.y"}"#;
        assert!(serde_json::from_str::<Personal<String>>(sealed).is_err());
    }

    #[test]
    fn a_value_is_not_shown_by_accident() {
        let known: Personal<String> = "ana".to_owned().into();
        assert_eq!(format!("{known:?}"), "Known(…)");
    }
}
