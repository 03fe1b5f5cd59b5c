//! Rows of CSV. A row is a line here: no field of an event can hold a line feed, and the header and
//! the trailer are JSON, which escapes it.

use super::BadLine;
use crate::event::LogEvent;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The names of the columns, as the first row has them.
pub(super) const COLUMNS: &str = "position,event_id,aggregate_type,aggregate_id,sequence,event_type,event_version,recorded_at,metadata,payload,digest";
/// What stands in place of the position in the row of the header; its JSON is in the payload.
pub(super) const START: &[u8] = b"start,";
/// The same for the trailer.
pub(super) const END: &[u8] = b"end,";
/// The columns between the word and the JSON in the rows of header and trailer, and after it.
const BEFORE_DOCUMENT: &str = ",,,,,,,,";
const AFTER_DOCUMENT: &str = ",";

/// Writes the row of a header or trailer.
pub(super) fn write_document(word: &[u8], json: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(word);
    out.extend_from_slice(BEFORE_DOCUMENT.as_bytes());
    quote(json, out);
    out.extend_from_slice(AFTER_DOCUMENT.as_bytes());
    out.push(b'\n');
}

/// The JSON of the row of a header or trailer.
pub(super) fn document(line: &[u8], word: &[u8]) -> Result<String, BadLine> {
    let line = std::str::from_utf8(line)?;
    let word = std::str::from_utf8(word)?;
    let row = line.strip_prefix(word).ok_or(BadLine::Columns)?;
    let quoted = row
        .strip_prefix(BEFORE_DOCUMENT)
        .and_then(|row| row.strip_suffix(AFTER_DOCUMENT))
        .ok_or(BadLine::Columns)?;
    let (json, rest) = field(quoted)?;
    match rest {
        None => Ok(json.into_owned()),
        Some(_) => Err(BadLine::Columns),
    }
}

/// Writes the row of an event.
pub(super) fn write_event(event: &LogEvent, out: &mut Vec<u8>) {
    let plain = [
        event.position.to_string(),
        event.event_id.to_string(),
        event.aggregate_type.clone(),
        event.aggregate_id.clone(),
        event.sequence.to_string(),
        event.event_type.clone(),
        event.event_version.clone(),
        event
            .recorded_at
            .to_rfc3339_opts(SecondsFormat::Micros, true),
    ];
    for text in &plain {
        if text.contains([',', '"', '\r']) {
            quote(text, out);
        } else {
            out.extend_from_slice(text.as_bytes());
        }
        out.push(b',');
    }
    for json in [event.metadata.get(), event.payload.get()] {
        quote(json, out);
        out.push(b',');
    }
    out.extend_from_slice(event.digest.to_string().as_bytes());
    out.push(b'\n');
}

/// The event of a row.
pub(super) fn event(line: &str) -> Result<LogEvent, BadLine> {
    let mut row = Row(Some(line));
    let event = LogEvent {
        position: row.next()?.parse()?,
        event_id: row.parse("event_id")?,
        aggregate_type: row.next()?.into_owned(),
        aggregate_id: row.next()?.into_owned(),
        sequence: row.parse("sequence")?,
        event_type: row.next()?.into_owned(),
        event_version: row.next()?.into_owned(),
        recorded_at: row.parse::<DateTime<Utc>>("recorded_at")?,
        metadata: row.json()?,
        payload: row.json()?,
        digest: of_text(&row.next()?)?,
    };
    match row.0 {
        None => Ok(event),
        Some(_) => Err(BadLine::Columns),
    }
}

/// The columns that are still to be taken.
struct Row<'a>(Option<&'a str>);

impl<'a> Row<'a> {
    fn next(&mut self) -> Result<Cow<'a, str>, BadLine> {
        let (value, rest) = field(self.0.ok_or(BadLine::Columns)?)?;
        self.0 = rest;
        Ok(value)
    }

    fn parse<T: std::str::FromStr>(&mut self, column: &'static str) -> Result<T, BadLine> {
        self.next()?
            .parse()
            .map_err(|_unlike| BadLine::Column { column })
    }

    fn json(&mut self) -> Result<Box<RawValue>, BadLine> {
        Ok(serde_json::from_str(&self.next()?)?)
    }
}

/// A value that JSON writes as a text.
fn of_text<T: DeserializeOwned>(text: &str) -> Result<T, BadLine> {
    Ok(serde_json::from_value(serde_json::Value::from(text))?)
}

/// The first column of `row` without its quotes, and the columns after it; none after the last.
fn field(row: &str) -> Result<(Cow<'_, str>, Option<&str>), BadLine> {
    let Some(quoted) = row.strip_prefix('"') else {
        let (value, rest) = match row.split_once(',') {
            Some((value, rest)) => (value, Some(rest)),
            None => (row, None),
        };
        if value.contains('"') {
            return Err(BadLine::Columns);
        }
        return Ok((Cow::Borrowed(value), rest));
    };
    let mut value = String::new();
    let mut left = quoted;
    loop {
        let (part, after) = left.split_once('"').ok_or(BadLine::Columns)?;
        value.push_str(part);
        if let Some(more) = after.strip_prefix('"') {
            value.push('"');
            left = more;
        } else if after.is_empty() {
            return Ok((Cow::Owned(value), None));
        } else {
            let rest = after.strip_prefix(',').ok_or(BadLine::Columns)?;
            return Ok((Cow::Owned(value), Some(rest)));
        }
    }
}

fn quote(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for (number, part) in text.split('"').enumerate() {
        if number > 0 {
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(part.as_bytes());
    }
    out.push(b'"');
}
