//! Why somebody did something to a read model.

use std::str::FromStr;
use thiserror::Error;

/// The most characters that a reason has.
pub const REASON_CHARS_MAX: usize = 500;

/// Why somebody did something to a read model, in their words: at most [`REASON_CHARS_MAX`]
/// characters, without white space around them and without control characters. Empty when nobody said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reason(String);

/// A text is no reason.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ReasonError {
    /// It is too long.
    #[error("must have at most {REASON_CHARS_MAX} characters")]
    TooLong,
    /// It has a character that no text has, such as NUL; line feeds and tabs are fine.
    #[error("must be text without control characters")]
    ControlCharacter,
}

impl Reason {
    /// The words.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Reason {
    type Err = ReasonError;

    fn from_str(text: &str) -> Result<Self, ReasonError> {
        let text = text.trim();
        if text
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\t'))
        {
            return Err(ReasonError::ControlCharacter);
        }
        if text.chars().count() > REASON_CHARS_MAX {
            return Err(ReasonError::TooLong);
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_as_many_characters_as_the_limit_and_not_one_more() {
        let longest = "é".repeat(REASON_CHARS_MAX);
        let reason = format!(" {longest}\n").parse::<Reason>();
        assert_eq!(reason, Ok(Reason(longest.clone())));
        let too_long = format!("{longest}x").parse::<Reason>();
        assert_eq!(too_long, Err(ReasonError::TooLong));
        assert_eq!(" ".parse::<Reason>(), Ok(Reason::default()));
    }

    #[test]
    fn a_reason_has_no_control_characters_but_line_feeds_and_tabs() {
        let lines = "one\n\ttwo".parse::<Reason>();
        assert_eq!(lines, Ok(Reason("one\n\ttwo".to_owned())));
        for control in ['\0', '\u{1b}', '\u{7f}', '\u{85}'] {
            let reason = format!("a{control}b").parse::<Reason>();
            assert_eq!(reason, Err(ReasonError::ControlCharacter), "{control:?}");
        }
    }
}
