//! How values parse. Every value type of the domain parses at construction, so that an invalid
//! value cannot exist, and fails with a [`ValueError`] that the API can point at the field.
//!
//! Stored events parse by the same rules. A limit may therefore be widened at any time, but
//! narrowed only together with a new event version and an upcaster.

use thiserror::Error;

/// Why a text is not the value it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ValueError {
    /// Nothing was given where something must be.
    #[error("must not be empty")]
    Empty,
    /// Fewer characters than allowed.
    #[error("must have at least {min} characters")]
    TooShort {
        /// The least number of characters (Unicode scalar values).
        min: usize,
    },
    /// More characters than allowed.
    #[error("must have at most {max} characters")]
    TooLong {
        /// The greatest number of characters (Unicode scalar values).
        max: usize,
    },
    /// More items than allowed.
    #[error("must have at most {max} items")]
    TooMany {
        /// The greatest number of items.
        max: usize,
    },
    /// Outside the numbers allowed.
    #[error("must be between {min} and {max}")]
    OutOfRange {
        /// The least number.
        min: i64,
        /// The greatest number.
        max: i64,
    },
    /// A character or a form that is not allowed.
    #[error("must be {expected}")]
    Malformed {
        /// What it must be, as the end of a sentence that begins "must be".
        expected: &'static str,
    },
}

impl ValueError {
    /// The stable code that the API shows for this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooShort { .. } => "too-short",
            Self::TooLong { .. } => "too-long",
            Self::TooMany { .. } => "too-many",
            Self::OutOfRange { .. } => "out-of-range",
            Self::Malformed { .. } => "malformed",
        }
    }
}

/// How many characters (Unicode scalar values) a text may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) min: usize,
    pub(crate) max: usize,
}

impl Limits {
    /// `text`, if it has as many characters as allowed.
    pub(crate) fn check(self, text: String) -> Result<String, ValueError> {
        let chars = text.chars().count();
        if chars == 0 && self.min > 0 {
            Err(ValueError::Empty)
        } else if chars < self.min {
            Err(ValueError::TooShort { min: self.min })
        } else if chars > self.max {
            Err(ValueError::TooLong { max: self.max })
        } else {
            Ok(text)
        }
    }
}

/// One line of any script: trimmed, without control characters.
pub(crate) fn line(text: &str, limits: Limits) -> Result<String, ValueError> {
    let text = text.trim();
    if text.chars().any(char::is_control) {
        return Err(ValueError::Malformed {
            expected: "one line without control characters",
        });
    }
    limits.check(text.to_owned())
}

/// Lines of any script: trimmed, each line ended by `\n`, tabs allowed.
pub(crate) fn lines(text: &str, limits: Limits) -> Result<String, ValueError> {
    let text = text.trim().replace("\r\n", "\n");
    if text
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\t'))
    {
        return Err(ValueError::Malformed {
            expected: "text without control characters",
        });
    }
    limits.check(text)
}

/// Declares a text value: a newtype that is made by a function of the text and its [`Limits`]
/// only, in code as in JSON. That function must give back unchanged what it gave once.
macro_rules! text_value {
    ($(#[$meta:meta])* $name:ident, $min:literal..=$max:literal, $parse:path) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The least number of characters (Unicode scalar values).
            pub const MIN_CHARS: usize = $min;
            /// The greatest number of characters (Unicode scalar values).
            pub const MAX_CHARS: usize = $max;

            /// The value written as `text`, brought into its canonical form.
            ///
            /// # Errors
            /// What is wrong with `text`.
            pub fn parse(text: &str) -> Result<Self, $crate::value::ValueError> {
                let limits = $crate::value::Limits { min: $min, max: $max };
                $parse(text, limits).map(Self)
            }

            /// The canonical text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::value::ValueError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::value::ValueError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// Declares a whole number within fixed limits: a newtype checked in code as in JSON.
macro_rules! number_value {
    ($(#[$meta:meta])* $name:ident($repr:ty), $min:literal..=$max:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "i64", into = "i64")]
        pub struct $name($repr);

        impl $name {
            /// The least number.
            pub const MIN: $repr = $min;
            /// The greatest number.
            pub const MAX: $repr = $max;

            /// The number.
            #[must_use]
            pub const fn get(self) -> $repr {
                self.0
            }
        }

        impl TryFrom<i64> for $name {
            type Error = $crate::value::ValueError;

            fn try_from(number: i64) -> Result<Self, Self::Error> {
                <$repr>::try_from(number)
                    .ok()
                    .filter(|number| (Self::MIN..=Self::MAX).contains(number))
                    .map(Self)
                    .ok_or($crate::value::ValueError::OutOfRange { min: $min, max: $max })
            }
        }

        impl From<$name> for i64 {
            fn from(value: $name) -> Self {
                Self::from(value.0)
            }
        }
    };
}

/// Declares a closed choice: an enum without fields, each variant with its frozen word.
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident, $expected:literal {
        $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_meta])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// Every choice, in the order of the list that people see.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The frozen word, as in JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::value::ValueError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::value::ValueError::Malformed { expected: $expected }),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use {choice, number_value, text_value};
