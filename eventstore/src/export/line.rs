//! One line of an export, in either format.

use super::csv;
use super::{Header, Trailer};
use crate::event::LogEvent;
use crate::position::PositionError;
use serde::{Deserialize, Serialize};
use std::str::Utf8Error;
use thiserror::Error;

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Ndjson,
    /// RFC 4180, with a line feed alone at the end of a line. The first row names the columns.
    Csv,
}

/// What is wrong with a line.
#[derive(Debug, Error)]
pub enum BadLine {
    /// It is not the JSON that it should be.
    #[error("it is not the JSON that it should be")]
    Json(#[from] serde_json::Error),
    /// It has another number of columns, or a quote where none may be.
    #[error("it does not have the columns of an export")]
    Columns,
    /// It is not UTF-8.
    #[error("it is not UTF-8")]
    Text(#[from] Utf8Error),
    /// A column holds something else than it should.
    #[error("the column {column} does not hold what it should")]
    Column {
        /// Its name.
        column: &'static str,
    },
    /// The position is none.
    #[error("the position is none")]
    Position(#[from] PositionError),
}

/// The header as a line of JSON. Its one field is what tells it from an event.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeaderLine {
    pub(super) touchline_export: Header,
}

/// The trailer as a line of JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrailerLine {
    pub(super) touchline_export_end: Trailer,
}

/// What a trailer in JSON begins with; no event does.
const NDJSON_END: &[u8] = b"{\"touchline_export_end\":";

impl Format {
    /// Whether this line, without its line feed, is to be read as the trailer.
    #[must_use]
    pub fn is_trailer(self, line: &[u8]) -> bool {
        match self {
            Self::Ndjson => line.starts_with(NDJSON_END),
            Self::Csv => line.starts_with(csv::END),
        }
    }

    /// The event of a line without its line feed.
    ///
    /// # Errors
    /// [`BadLine`] when the line holds none.
    pub fn event(self, line: &[u8]) -> Result<LogEvent, BadLine> {
        match self {
            Self::Ndjson => Ok(serde_json::from_slice(line)?),
            Self::Csv => csv::event(std::str::from_utf8(line)?),
        }
    }

    pub(crate) fn trailer(self, line: &[u8]) -> Result<Trailer, BadLine> {
        let line: TrailerLine = match self {
            Self::Ndjson => serde_json::from_slice(line)?,
            Self::Csv => serde_json::from_str(&csv::document(line, csv::END)?)?,
        };
        Ok(line.touchline_export_end)
    }
}
