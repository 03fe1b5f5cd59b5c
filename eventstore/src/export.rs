//! The file that an auditor takes away: a slice of the log, event by event as stored, between a
//! header and a trailer (docs/formats/log.md).
//!
//! - The **header** says which log it is, which slice, and up to which position was looked.
//! - Each **event** is a [`LogEvent`](crate::LogEvent) with its personal fields sealed, so that its digest still fits.
//! - The **trailer** says how many events there are, the first and the last position, and has a
//!   signed checkpoint. A file without one was cut.
//!
//! One line each, in [`Format::Ndjson`] or [`Format::Csv`]; no field of an event can hold a line
//! feed. [`Writer`] and [`Reader`] keep one line in memory, however long the file.

mod csv;
mod line;
mod read;
mod write;

use crate::position::Position;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;
use uuid::Uuid;

pub use line::{BadLine, Format};
pub use read::{Reader, Record, Unfinished};
pub use write::Writer;

/// The version of the format that this build writes, and the only one that it reads.
pub const VERSION: u32 = 1;

/// The longest line that is read: the largest event, twice over for what quoting adds.
pub const LINE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The entry in [`Header::slice`] of a file whose personal fields were opened, so that its digests do
/// not fit: such a file is to be read, and cannot be checked.
pub const PERSONAL_OPENED: (&str, &str) = ("personal", "opened");

/// What an export says before its first event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`VERSION`].
    pub version: u32,
    /// The log that it is from.
    pub log_id: Uuid,
    /// What was asked for, by the name of the filter; empty for the whole log.
    pub slice: BTreeMap<String, String>,
    /// The last position that was looked at, whether or not its event is in the slice. It is fixed
    /// when the export begins, so that one that is resumed ends where it would have ended.
    pub through: Position,
    /// When the export began.
    pub exported_at: DateTime<Utc>,
}

impl Header {
    /// The header of an export that begins now.
    #[must_use]
    pub fn new(
        log_id: Uuid,
        slice: BTreeMap<String, String>,
        through: Position,
        exported_at: DateTime<Utc>,
    ) -> Self {
        Self {
            version: VERSION,
            log_id,
            slice,
            through,
            exported_at,
        }
    }

    /// Whether the personal fields were opened, so that no digest fits.
    #[must_use]
    pub fn is_opened(&self) -> bool {
        let (name, value) = PERSONAL_OPENED;
        self.slice.get(name).is_some_and(|said| said == value)
    }

    /// Whether every event from the first up to `through` is to be in the file.
    #[must_use]
    pub fn is_whole_log(&self) -> bool {
        self.slice.is_empty()
    }
}

/// What an export says after its last event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trailer {
    /// How many events there are.
    pub events: u64,
    /// The position of the first; none in a file without events.
    pub first_position: Option<Position>,
    /// The position of the last; none in a file without events.
    pub last_position: Option<Position>,
    /// Whether the file holds every event from the first up to `through` of the header. Only then
    /// can its completeness be shown from the checkpoint.
    pub whole_log: bool,
    /// The newest signed checkpoint (C2SP tlog-checkpoint) whose tree is not larger than `through` of
    /// the header; none when nothing had been sealed.
    pub checkpoint: Option<String>,
}

/// Why a file cannot be read as an export.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The file cannot be read.
    #[error("line {line} cannot be read")]
    Io {
        /// Which line, from 1.
        line: u64,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It does not begin as an export does.
    #[error("this is no export of a log: its first line is no header")]
    NotAnExport,
    /// A later Touchline wrote it.
    #[error("the export has format version {found}, and this build reads {VERSION}")]
    OtherVersion {
        /// Its version.
        found: u32,
    },
    /// A line is longer than any event can be.
    #[error("line {line} is longer than any event can be")]
    TooLong {
        /// Which line, from 1.
        line: u64,
    },
    /// A line is neither an event nor a trailer.
    #[error("line {line} is not what it should be")]
    Line {
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        #[source]
        source: BadLine,
    },
    /// The file ends without a trailer, or within a line.
    #[error("the file is cut: it ends after line {line}, before its trailer")]
    Cut {
        /// The last whole line, from 1.
        line: u64,
    },
    /// Something follows the trailer.
    #[error("line {line} comes after the trailer")]
    AfterTrailer {
        /// Which line, from 1.
        line: u64,
    },
}

/// What a file has so far, counted while it is written or read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// How many events.
    pub events: u64,
    /// The position of the first.
    pub first: Option<Position>,
    /// The position of the last.
    pub last: Option<Position>,
}

impl Extent {
    /// One event more.
    pub fn add(&mut self, position: Position) {
        self.events += 1;
        self.first.get_or_insert(position);
        self.last = Some(position);
    }
}

impl Trailer {
    /// Whether it says the same as what was counted.
    #[must_use]
    pub fn fits(&self, extent: &Extent) -> bool {
        self.events == extent.events
            && self.first_position == extent.first
            && self.last_position == extent.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Digest, LogEvent};
    use serde_json::value::RawValue;

    fn event(position: i64) -> LogEvent {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let mut event = LogEvent {
            position: Position::new(position).unwrap(),
            event_id: Uuid::from_u128(position.unsigned_abs().into()),
            aggregate_type: "post".to_owned(),
            aggregate_id: Uuid::from_u128(9).to_string(),
            sequence: position,
            event_type: "posts.post_edited".to_owned(),
            event_version: "1".to_owned(),
            recorded_at: "2022-12-18T15:00:00.120Z".parse().unwrap(),
            metadata: raw(r#"{"actor":"a, \"b\""}"#),
            payload: raw(r#"{ "x":"Žižkov, 3-3" }"#),
            digest: Digest::new([0; 32]),
        };
        event.digest = event.computed_digest();
        event
    }

    fn header() -> Header {
        Header::new(
            Uuid::from_u128(7),
            BTreeMap::from([("type".to_owned(), "posts.post_edited, \"all\"".to_owned())]),
            Position::new(9).unwrap(),
            "2022-12-18T16:00:00Z".parse().unwrap(),
        )
    }

    fn written(format: Format, positions: &[i64]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::begin(format, header(), &mut out).unwrap();
        for position in positions {
            writer.event(&event(*position), &mut out).unwrap();
        }
        let note = Some("touchline/x\n9\nroot\n\n— touchline/x sig\n".to_owned());
        writer.end(note, &mut out).unwrap();
        out
    }

    fn read(bytes: &[u8]) -> Result<(Vec<LogEvent>, Trailer), ExportError> {
        let mut reader = Reader::open(bytes)?;
        assert_eq!(reader.header(), &header());
        let mut events = Vec::new();
        loop {
            match reader.next_record()? {
                Record::Event(event) => events.push(event),
                Record::End(trailer) => return Ok((events, trailer)),
            }
        }
    }

    #[test]
    fn what_is_written_is_read_byte_for_byte() {
        for format in [Format::Ndjson, Format::Csv] {
            let file = written(format, &[2, 5, 9]);
            let (events, trailer) = read(&file).unwrap();
            let positions: Vec<_> = events.iter().map(|event| event.position.get()).collect();
            assert_eq!(positions, [2, 5, 9]);
            for event in &events {
                assert_eq!(event.computed_digest(), event.digest, "{format:?}");
            }
            assert_eq!(trailer.events, 3);
            assert_eq!(trailer.first_position, Position::new(2).ok());
            assert_eq!(trailer.last_position, Position::new(9).ok());
            assert!(!trailer.whole_log, "it has a filter");
            assert!(trailer.checkpoint.unwrap().contains("— touchline/x sig"));
            assert_eq!(Reader::open(&file[..]).unwrap().format(), format);
        }
    }

    #[test]
    fn a_file_cut_at_any_byte_is_known_to_be_cut() {
        for format in [Format::Ndjson, Format::Csv] {
            let file = written(format, &[1, 2]);
            for length in 0..file.len() {
                let error = read(&file[..length]).unwrap_err();
                assert!(
                    matches!(error, ExportError::Cut { .. } | ExportError::NotAnExport),
                    "{format:?} cut to {length}: {error}"
                );
            }
        }
    }

    #[test]
    fn what_comes_after_the_trailer_is_refused() {
        let mut file = written(Format::Ndjson, &[1]);
        file.extend_from_slice(b"\n");
        assert!(matches!(
            read(&file).unwrap_err(),
            ExportError::AfterTrailer { line: 4 }
        ));
    }

    #[test]
    fn what_is_no_export_or_a_later_one_is_refused() {
        for other in [
            &b"hello\n"[..],
            b"{\"position\":\"1\"}\n",
            b"\xff\xfe\n",
            b"",
        ] {
            assert!(matches!(Reader::open(other), Err(ExportError::NotAnExport)));
        }
        let file = String::from_utf8(written(Format::Ndjson, &[1])).unwrap();
        let later = file.replacen("\"version\":1", "\"version\":2", 1);
        assert!(matches!(
            Reader::open(later.as_bytes()),
            Err(ExportError::OtherVersion { found: 2 })
        ));
    }

    #[test]
    fn a_broken_line_is_named() {
        for format in [Format::Ndjson, Format::Csv] {
            let file = String::from_utf8(written(format, &[1, 2])).unwrap();
            let broken = file.replacen(&event(2).event_id.to_string(), "no uuid", 1);
            let error = read(broken.as_bytes()).unwrap_err();
            let expected = if format == Format::Csv { 4 } else { 3 };
            assert!(
                matches!(error, ExportError::Line { line, .. } if line == expected),
                "{format:?}: {error:?}"
            );
        }
    }

    #[test]
    fn a_cut_file_can_be_gone_on_with() {
        for format in [Format::Ndjson, Format::Csv] {
            let whole = written(format, &[1, 2, 3]);
            let cut = &whole[..whole.len() - 700];
            let unfinished = Unfinished::of(cut).unwrap().unwrap();
            assert_eq!(unfinished.header, header());
            let last = unfinished.extent.last.unwrap();
            let kept = usize::try_from(unfinished.bytes).unwrap();
            assert!(kept <= cut.len());

            let mut file = cut[..kept].to_vec();
            let mut writer = Writer::resume(&unfinished);
            for position in last.get() + 1..=3 {
                writer.event(&event(position), &mut file).unwrap();
            }
            let note = Some("touchline/x\n9\nroot\n\n— touchline/x sig\n".to_owned());
            writer.end(note, &mut file).unwrap();
            assert_eq!(file, whole, "{format:?}");
            assert!(Unfinished::of(&whole[..]).unwrap().is_none(), "it is whole");
        }
    }
}
