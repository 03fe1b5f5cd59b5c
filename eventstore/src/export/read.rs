//! Reading an export.

use super::line::HeaderLine;
use super::{BadLine, ExportError, Extent, Format, Header, LINE_BYTES_MAX, Trailer, VERSION, csv};
use crate::event::LogEvent;
use std::io::{BufRead, Read as _};

/// A line after the header.
#[derive(Debug)]
pub enum Record {
    /// An event.
    Event(LogEvent),
    /// The trailer, after which nothing came.
    End(Trailer),
}

/// Reads an export line by line.
#[derive(Debug)]
pub struct Reader<R> {
    lines: Lines<R>,
    format: Format,
    header: Header,
    buffer: Vec<u8>,
}

impl<R: BufRead> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`ExportError::NotAnExport`] when there is none, [`ExportError::OtherVersion`] when this build
    /// does not read it.
    pub fn open(input: R) -> Result<Self, ExportError> {
        let mut lines = Lines {
            input,
            line: 0,
            bytes: 0,
        };
        let mut buffer = Vec::new();
        let (format, json) = match lines.next(&mut buffer) {
            Ok(true) if buffer == csv::COLUMNS.as_bytes() => {
                if !lines.next(&mut buffer)? {
                    return Err(ExportError::NotAnExport);
                }
                let json = csv::document(&buffer, csv::START);
                (Format::Csv, json.unwrap_or_default().into_bytes())
            }
            Ok(true) => (Format::Ndjson, buffer.clone()),
            Err(error @ ExportError::Io { .. }) => return Err(error),
            Ok(false) | Err(_) => return Err(ExportError::NotAnExport),
        };
        let header = header(&json)?;
        Ok(Self {
            lines,
            format,
            header,
            buffer,
        })
    }

    /// What the file says of itself.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// How it is written.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// How many bytes the lines read so far take.
    pub const fn bytes(&self) -> u64 {
        self.lines.bytes
    }

    /// The number of the line read last, from 1.
    pub const fn line(&self) -> u64 {
        self.lines.line
    }

    /// The next event, or the trailer. After the trailer it is not to be called again.
    ///
    /// # Errors
    /// [`ExportError`]; the line is named.
    pub fn next_record(&mut self) -> Result<Record, ExportError> {
        let mut line = std::mem::take(&mut self.buffer);
        let record = match self.next_line(&mut line) {
            Ok(None) => self
                .format
                .event(&line)
                .map(Record::Event)
                .map_err(|source| self.bad(source)),
            Ok(Some(trailer)) => Ok(Record::End(trailer)),
            Err(error) => Err(error),
        };
        self.buffer = line;
        record
    }

    /// Reads the next line into `line`, which is replaced, without understanding it; answers the
    /// trailer when it is that. Whoever has many cores gives the lines to [`Format::event`] there.
    ///
    /// # Errors
    /// [`ExportError`]; the line is named.
    pub fn next_line(&mut self, line: &mut Vec<u8>) -> Result<Option<Trailer>, ExportError> {
        if !self.lines.next(line)? {
            return Err(ExportError::Cut {
                line: self.lines.line,
            });
        }
        if !self.format.is_trailer(line) {
            return Ok(None);
        }
        let trailer = self
            .format
            .trailer(line)
            .map_err(|source| self.bad(source))?;
        if self.lines.at_end()? {
            Ok(Some(trailer))
        } else {
            Err(ExportError::AfterTrailer {
                line: self.lines.line + 1,
            })
        }
    }

    fn bad(&self, source: BadLine) -> ExportError {
        ExportError::Line {
            line: self.lines.line,
            source,
        }
    }
}

fn header(json: &[u8]) -> Result<Header, ExportError> {
    #[derive(serde::Deserialize)]
    struct AnyVersion {
        touchline_export: Version,
    }
    #[derive(serde::Deserialize)]
    struct Version {
        version: u32,
    }
    let any: AnyVersion =
        serde_json::from_slice(json).map_err(|_other| ExportError::NotAnExport)?;
    let found = any.touchline_export.version;
    if found != VERSION {
        return Err(ExportError::OtherVersion { found });
    }
    let line: HeaderLine =
        serde_json::from_slice(json).map_err(|_other| ExportError::NotAnExport)?;
    Ok(line.touchline_export)
}

/// Whole lines, each ended by a line feed.
#[derive(Debug)]
struct Lines<R> {
    input: R,
    line: u64,
    bytes: u64,
}

impl<R: BufRead> Lines<R> {
    /// The next line, without its line feed. False at the end of the file; a piece of a line there
    /// counts as a cut.
    fn next(&mut self, line: &mut Vec<u8>) -> Result<bool, ExportError> {
        line.clear();
        let most = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
        let read = (&mut self.input)
            .take(most)
            .read_until(b'\n', line)
            .map_err(|source| ExportError::Io {
                line: self.line + 1,
                source,
            })?;
        if line.pop_if(|last| *last == b'\n').is_some() {
            self.line += 1;
            self.bytes += u64::try_from(read).unwrap_or(u64::MAX);
            Ok(true)
        } else if read == 0 {
            Ok(false)
        } else if read == LINE_BYTES_MAX {
            Err(ExportError::TooLong {
                line: self.line + 1,
            })
        } else {
            Err(ExportError::Cut { line: self.line })
        }
    }

    fn at_end(&mut self) -> Result<bool, ExportError> {
        let more = self.input.fill_buf().map_err(|source| ExportError::Io {
            line: self.line + 1,
            source,
        })?;
        Ok(more.is_empty())
    }
}

/// An export that was cut, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// How it is written.
    pub format: Format,
    /// What it says of itself: the rest is of the same slice, up to the same position.
    pub header: Header,
    /// What it has; the rest begins after [`Extent::last`].
    pub extent: Extent,
    /// How many bytes its whole lines take: what follows them is to be cut away.
    pub bytes: u64,
}

impl Unfinished {
    /// Reads a file up to where it was cut. None when it is whole.
    ///
    /// # Errors
    /// [`ExportError`] when it is no export, or is damaged before its end.
    pub fn of<R: BufRead>(input: R) -> Result<Option<Self>, ExportError> {
        let mut reader = Reader::open(input)?;
        let mut extent = Extent::default();
        let mut bytes = reader.bytes();
        loop {
            match reader.next_record() {
                Ok(Record::Event(event)) => {
                    extent.add(event.position);
                    bytes = reader.bytes();
                }
                Ok(Record::End(_)) => return Ok(None),
                Err(ExportError::Cut { .. }) => {
                    return Ok(Some(Self {
                        format: reader.format,
                        header: reader.header,
                        extent,
                        bytes,
                    }));
                }
                Err(error) => return Err(error),
            }
        }
    }
}
