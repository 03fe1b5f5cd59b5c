//! A row that is not what the log says.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How a row differs from what the log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// It is there and should be, but says something else.
    Wrong,
    /// It should be there and is not.
    Missing,
    /// It is there and should not be.
    Extra,
}

impl Difference {
    /// Its frozen word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wrong => "wrong",
            Self::Missing => "missing",
            Self::Extra => "extra",
        }
    }

    pub(crate) fn parse(word: &str) -> Self {
        match word {
            "missing" => Self::Missing,
            "extra" => Self::Extra,
            _ => Self::Wrong,
        }
    }
}

/// A row that differs. What stands in it is not said, since it may be personal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The table, without its schema.
    pub table: String,
    /// How it differs.
    pub difference: Difference,
    /// The columns of its key, as a JSON object.
    pub key: Value,
    /// The columns that differ; empty unless it is wrong.
    pub columns: Vec<String>,
}
