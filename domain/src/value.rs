//! How values parse. Every value type of the domain parses at construction, so that an invalid
//! value cannot exist, and fails with a [`ValueError`] that the API can point at the field.
//!
//! Stored events parse by the same rules. A limit may therefore be widened at any time, but
//! narrowed only together with a new event version and an upcaster. What is narrowed for texts that
//! are not yet in their canonical form concerns no stored event.
//!
//! Every text value also says as a regular expression (of ECMA-262, as JSON Schema has them) which
//! texts parse, so that the API's document can: [`PATTERN`](crate::identity::Handle::PATTERN). Its
//! limits hold for the text as it is given, before anything is trimmed.

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
    /// It has the form of a name, but names nothing.
    #[error("must be {expected}")]
    Unknown {
        /// What it must name, as the end of a sentence that begins "must be".
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
            Self::Unknown { .. } => "unknown",
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
    /// Refuses what has more characters than allowed, as it is given.
    pub(crate) fn check_longest(self, text: &str) -> Result<(), ValueError> {
        if text.chars().count() > self.max {
            return Err(ValueError::TooLong { max: self.max });
        }
        Ok(())
    }

    /// `text`, if it has as many characters as allowed.
    pub(crate) fn check(self, text: String) -> Result<String, ValueError> {
        let chars = text.chars().count();
        if chars == 0 && self.min > 0 {
            Err(ValueError::Empty)
        } else if chars < self.min {
            Err(ValueError::TooShort { min: self.min })
        } else {
            self.check_longest(&text)?;
            Ok(text)
        }
    }
}

/// White space as `\s` has it in a [`PATTERN`](crate::identity::Handle::PATTERN).
pub(crate) const fn is_space(c: char) -> bool {
    c.is_whitespace() && c != '\u{85}' || c == '\u{feff}'
}

/// `text` without the white space around it.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Whether `c` can be in a word of any script: letters, marks, numbers (`[\p{L}\p{M}\p{N}]`), and what
/// else may continue an identifier (UAX #31), `_` among it. Marks count, since without them a word of
/// Hindi or Tamil is cut to pieces.
pub(crate) fn is_of_word(c: char) -> bool {
    // The marks that enclose a letter neither are alphabetic nor continue an identifier.
    let encloses = matches!(
        c,
        '\u{488}'..='\u{489}' | '\u{1ABE}' | '\u{20DD}'..='\u{20E0}' | '\u{20E2}'..='\u{20E4}' | '\u{A670}'..='\u{A672}'
    );
    c.is_alphanumeric() || unicode_ident::is_xid_continue(c) || encloses
}

/// What [`line`] takes when it may be empty.
pub(crate) const LINE_OR_NOTHING: &str = r"^[^\x00-\x1F\x7F-\x9F]*$";
/// What [`line`] takes: something besides white space, and no control character.
pub(crate) const LINE: &str =
    r"^[^\x00-\x1F\x7F-\x9F]*[^\s\x00-\x1F\x7F-\x9F][^\x00-\x1F\x7F-\x9F]*$";

/// One line of any script: without control characters, trimmed.
pub(crate) fn line(text: &str, limits: Limits) -> Result<String, ValueError> {
    if text.chars().any(char::is_control) {
        return Err(ValueError::Malformed {
            expected: "one line without control characters",
        });
    }
    limits.check(trim(text).to_owned())
}

/// What [`lines`] takes when it may be empty.
pub(crate) const LINES_OR_NOTHING: &str = r"^[^\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x9F]*$";
/// What [`lines`] takes: something besides white space, and no control character but tabs and ends
/// of lines.
pub(crate) const LINES: &str = r"^[^\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x9F]*[^\s\x00-\x1F\x7F-\x9F][^\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x9F]*$";

/// Lines of any script: tabs and every kind of line end allowed, each line then ended by `\n`,
/// trimmed.
pub(crate) fn lines(text: &str, limits: Limits) -> Result<String, ValueError> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    if text
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\t'))
    {
        return Err(ValueError::Malformed {
            expected: "text without control characters",
        });
    }
    limits.check(trim(&text).to_owned())
}

/// Declares a text value: a newtype that is made by a function of the text and its [`Limits`]
/// only, in code as in JSON. That function must give back unchanged what it gave once, and take
/// what matches the pattern.
macro_rules! text_value {
    ($(#[$meta:meta])* $name:ident, $min:literal..=$max:literal, $parse:path, $pattern:expr) => {
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
            /// Which texts of so many characters parse, as a regular expression (ECMA-262, with
            /// the flag `u`).
            pub const PATTERN: &str = $pattern;

            /// The value written as `text`, brought into its canonical form.
            ///
            /// # Errors
            /// What is wrong with `text`.
            pub fn parse(text: &str) -> Result<Self, $crate::value::ValueError> {
                let limits = $crate::value::Limits { min: $min, max: $max };
                limits.check_longest(text)?;
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
