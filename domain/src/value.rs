//! Why a value did not parse. Every value type of the domain parses at construction with this
//! error, so that an invalid value cannot exist and the API can point at the field.

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
    /// More characters, or items, than allowed.
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
