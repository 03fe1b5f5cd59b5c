//! Writing an export.

use super::line::{HeaderLine, TrailerLine};
use super::{Extent, Format, Header, Trailer, Unfinished, csv};
use crate::event::LogEvent;

/// Writes an export line by line, into whatever buffer the caller hands on from there.
#[derive(Debug)]
pub struct Writer {
    format: Format,
    whole_log: bool,
    extent: Extent,
}

impl Writer {
    /// Writes the header.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn begin(
        format: Format,
        header: Header,
        out: &mut Vec<u8>,
    ) -> Result<Self, serde_json::Error> {
        let whole_log = header.is_whole_log();
        let line = HeaderLine {
            touchline_export: header,
        };
        match format {
            Format::Ndjson => json_line(&line, out)?,
            Format::Csv => {
                out.extend_from_slice(csv::COLUMNS.as_bytes());
                out.push(b'\n');
                csv::write_document(csv::START, &serde_json::to_string(&line)?, out);
            }
        }
        Ok(Self {
            format,
            whole_log,
            extent: Extent::default(),
        })
    }

    /// Goes on with a file that was cut, once it has been shortened to [`Unfinished::bytes`].
    #[must_use]
    pub fn resume(unfinished: &Unfinished) -> Self {
        Self {
            format: unfinished.format,
            whole_log: unfinished.header.is_whole_log(),
            extent: unfinished.extent,
        }
    }

    /// What the file has so far.
    #[must_use]
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// Writes an event, which is as the log stores it. Events come in the order of the log.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn event(&mut self, event: &LogEvent, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        match self.format {
            Format::Ndjson => json_line(event, out)?,
            Format::Csv => csv::write_event(event, out),
        }
        self.extent.add(event.position);
        Ok(())
    }

    /// Writes the trailer, with the newest signed checkpoint whose tree is not larger than
    /// [`Header::through`].
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn end(
        self,
        checkpoint: Option<String>,
        out: &mut Vec<u8>,
    ) -> Result<(), serde_json::Error> {
        let line = TrailerLine {
            touchline_export_end: Trailer {
                events: self.extent.events,
                first_position: self.extent.first,
                last_position: self.extent.last,
                whole_log: self.whole_log,
                checkpoint,
            },
        };
        match self.format {
            Format::Ndjson => json_line(&line, out),
            Format::Csv => {
                csv::write_document(csv::END, &serde_json::to_string(&line)?, out);
                Ok(())
            }
        }
    }
}

fn json_line(value: &impl serde::Serialize, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    serde_json::to_writer(&mut *out, value)?;
    out.push(b'\n');
    Ok(())
}
