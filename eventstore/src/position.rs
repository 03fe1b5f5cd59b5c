//! Where an event stands in the log.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// A place in the log: 1 for the first event, 0 for "before all". Dense and in commit order (L1, L2).
///
/// In JSON it is a string, because JavaScript numbers are exact only up to 2⁵³.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(i64);

/// A text or number that is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a position is a whole number from 0 to 9223372036854775807")]
pub struct PositionError;

impl Position {
    /// Before the first event.
    pub const START: Self = Self(0);

    /// The largest position that there can be.
    pub const LAST: Self = Self(i64::MAX);

    /// The position with this number.
    ///
    /// # Errors
    /// [`PositionError`] when it is negative.
    pub const fn new(number: i64) -> Result<Self, PositionError> {
        if number < 0 {
            Err(PositionError)
        } else {
            Ok(Self(number))
        }
    }

    /// The number, never negative.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The number as JetStream counts sequences.
    #[must_use]
    pub const fn sequence(self) -> u64 {
        self.0.unsigned_abs()
    }

    /// The position of the event after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The position of the event before this one; [`Position::START`] has none and stays.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(if self.0 == 0 { 0 } else { self.0 - 1 })
    }

    /// How many events lie after `earlier` up to this one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        if self.0 > earlier.0 {
            self.0.abs_diff(earlier.0)
        } else {
            0
        }
    }
}

impl TryFrom<u64> for Position {
    type Error = PositionError;

    fn try_from(sequence: u64) -> Result<Self, Self::Error> {
        i64::try_from(sequence)
            .map(Self)
            .map_err(|_too_large| PositionError)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(PositionError);
        }
        text.parse().map(Self).map_err(|_too_large| PositionError)
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_text_in_json_and_never_negative() {
        let position = Position::new(9_007_199_254_740_993).unwrap();
        let json = serde_json::to_string(&position).unwrap();
        assert_eq!(json, "\"9007199254740993\"");
        assert_eq!(serde_json::from_str::<Position>(&json).unwrap(), position);
        for wrong in ["-1", "+1", "", " 1", "1.0", "9223372036854775808"] {
            assert_eq!(wrong.parse::<Position>(), Err(PositionError), "{wrong}");
        }
        assert_eq!(Position::new(-1), Err(PositionError));
    }

    #[test]
    fn the_start_has_no_previous() {
        assert_eq!(Position::START.previous(), Position::START);
        assert_eq!(Position::START.next().previous(), Position::START);
        assert_eq!(Position::START.since(Position::START.next()), 0);
    }
}
