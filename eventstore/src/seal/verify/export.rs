//! An export, from the file and a key alone.
//!
//! Of an export of the whole log it is shown that it is whole: the events up to the checkpoint give the
//! root that was signed. Of a slice it is shown that each event is as it was stored, that they are in
//! order, and that none is missing since the file was written; that the log had no more of them cannot be
//! shown by the file.

use super::order::{Rule, Sequences};
use super::{Finding, Findings, Seen};
use crate::event::Digest;
use crate::export::{
    BadLine, ExportError, Extent, Format, Header, LINE_BYTES_MAX, Reader, Trailer,
};
use crate::position::Position;
use crate::seal::note::{Checkpoint, VerifierKey, origin};
use crate::seal::tree::{Frontier, leaf_hash};
use std::fs::File;
use std::hash::RandomState;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use thiserror::Error;

/// How many bytes of lines one batch has, about.
const BATCH_BYTES: usize = 256 * 1024;
/// How many batches may wait for each worker.
const BATCHES_WAITING: usize = 4;

/// What was checked, and what was found.
#[derive(Debug)]
pub struct ExportReport {
    /// What the file says of itself.
    pub header: Header,
    /// How many events there are, and which.
    pub extent: Extent,
    /// The checkpoint in the trailer, if the key has signed it.
    pub checkpoint: Option<Checkpoint>,
    /// What is wrong.
    pub findings: Findings,
}

impl ExportReport {
    /// How many of the events, from the first on, are shown to be all that there were: the size of the
    /// checkpoint. None for a slice, for a file without a checkpoint, and for one that is damaged.
    #[must_use]
    pub fn complete_up_to(&self) -> Option<u64> {
        let whole = self.header.is_whole_log() && self.findings.total() == 0;
        self.checkpoint
            .as_ref()
            .filter(|_| whole)
            .map(|checkpoint| checkpoint.size)
    }
}

/// Why a file could not be checked.
#[derive(Debug, Error)]
pub enum VerifyExportError {
    /// It is no export that this build reads, or cannot be read.
    #[error("the file cannot be read as an export")]
    Export(#[from] ExportError),
    /// The file, or a temporary one, cannot be read or written.
    #[error("the file or a temporary one cannot be used")]
    Io(#[from] io::Error),
    /// The key is not that of the log in the file.
    #[error("the key is of {of}, and the file of {log}")]
    OtherLog {
        /// Whose key it is.
        of: String,
        /// The name of the log in the file.
        log: String,
    },
    /// What is personal in the file was opened, so that no digest fits.
    #[error("what is personal in the file was opened, so that its digests cannot be checked")]
    Opened,
    /// A thread ended badly.
    #[error("the check was interrupted")]
    Interrupted,
}

/// Checks an export; `progress` hears of how many bytes have been read.
///
/// # Errors
/// [`VerifyExportError`] when it cannot be checked. What is wrong with it is no error, but in the
/// report.
pub fn verify_export(
    mut file: File,
    key: &VerifierKey,
    mut progress: impl FnMut(u64),
) -> Result<ExportReport, VerifyExportError> {
    let reader = Reader::open(BufReader::new(file.try_clone()?))?;
    let (header, format) = (reader.header().clone(), reader.format());
    let log = origin(header.log_id);
    if key.name() != log {
        let of = key.name().to_owned();
        return Err(VerifyExportError::OtherLog { of, log });
    }
    if header.is_opened() {
        return Err(VerifyExportError::Opened);
    }
    // The checkpoint is needed on the way, and stands at the end. Both handles share one place in the
    // file, so that the reader begins anew.
    let trailer = trailer_of(&mut file, format)?;
    file.rewind()?;
    let reader = Reader::open(BufReader::with_capacity(BATCH_BYTES, file))?;

    let mut walk = Walk::new(header, key, trailer)?;
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let hasher = RandomState::new();
    let ending = thread::scope(|scope| {
        let (mut to, mut from) = (Vec::new(), Vec::new());
        for _ in 0..workers {
            let (lines, batches) = sync_channel(BATCHES_WAITING);
            let (results, checked) = sync_channel(BATCHES_WAITING);
            let hasher = &hasher;
            scope.spawn(move || work(format, hasher, &batches, &results));
            to.push(lines);
            from.push(checked);
        }
        let reading = scope.spawn(move || read(reader, &to));
        for checked in from.iter().cycle() {
            // Batches come back in the order in which they were dealt; after the last there are none.
            let Ok(batch) = checked.recv() else {
                break;
            };
            progress(batch.bytes);
            walk.batch(batch)?;
        }
        drop(from);
        reading
            .join()
            .map_err(|_panicked| VerifyExportError::Interrupted)
    })?;
    walk.finish(ending)
}

/// The last line of the file, if it is a trailer.
fn trailer_of(file: &mut File, format: Format) -> Result<Option<Trailer>, io::Error> {
    let most = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut end = Vec::new();
    file.take(most).read_to_end(&mut end)?;
    let line = end
        .strip_suffix(b"\n")
        .and_then(|lines| lines.rsplit(|byte| *byte == b'\n').next())
        .unwrap_or_default();
    Ok(format
        .is_trailer(line)
        .then(|| format.trailer(line).ok())
        .flatten())
}

/// Some lines on their way to a worker.
struct Lines {
    first_line: u64,
    text: Vec<u8>,
    ends: Vec<usize>,
    bytes: u64,
}

/// The same, looked at.
struct Checked {
    first_line: u64,
    lines: Vec<Result<Seen, BadLine>>,
    bytes: u64,
}

/// Deals lines to the workers, one batch each in turn, and answers how the file ended.
fn read<R: BufRead>(
    mut reader: Reader<R>,
    workers: &[SyncSender<Lines>],
) -> Result<Trailer, ExportError> {
    let mut line = Vec::new();
    for worker in workers.iter().cycle() {
        let mut batch = Lines {
            first_line: reader.line() + 1,
            text: Vec::with_capacity(BATCH_BYTES),
            ends: Vec::new(),
            bytes: 0,
        };
        let mut ending = None;
        while batch.text.len() < BATCH_BYTES && ending.is_none() {
            match reader.next_line(&mut line) {
                Ok(None) => {
                    batch.text.extend_from_slice(&line);
                    batch.ends.push(batch.text.len());
                }
                Ok(Some(trailer)) => ending = Some(Ok(trailer)),
                Err(error) => ending = Some(Err(error)),
            }
        }
        batch.bytes = reader.bytes();
        let line = reader.line();
        // Nobody takes it any more when the check has failed.
        let taken = worker.send(batch).is_ok();
        if let Some(ending) = ending {
            return ending;
        }
        if !taken {
            return Err(ExportError::Cut { line });
        }
    }
    Err(ExportError::Cut { line: 0 })
}

fn work(
    format: Format,
    hasher: &RandomState,
    batches: &Receiver<Lines>,
    results: &SyncSender<Checked>,
) {
    for batch in batches {
        let mut text = batch.text.as_slice();
        let mut begin = 0;
        let mut lines = Vec::with_capacity(batch.ends.len());
        for end in &batch.ends {
            let (line, rest) = text.split_at_checked(end - begin).unwrap_or_default();
            (text, begin) = (rest, *end);
            lines.push(format.event(line).map(|event| Seen::of(&event, hasher)));
        }
        let checked = Checked {
            first_line: batch.first_line,
            lines,
            bytes: batch.bytes,
        };
        if results.send(checked).is_err() {
            return;
        }
    }
}

/// The way along the file.
struct Walk {
    header: Header,
    /// The checkpoint of the trailer, if the key has signed it.
    checkpoint: Option<Checkpoint>,
    findings: Findings,
    sequences: Sequences,
    extent: Extent,
    /// The last position; of a line that is no event it is taken to be the next.
    at: Position,
    tree: Frontier,
    /// The root where the checkpoint ends; none as long as it has not been reached.
    root: Option<Digest>,
    hole: bool,
}

impl Walk {
    fn new(
        header: Header,
        key: &VerifierKey,
        trailer: Option<Trailer>,
    ) -> Result<Self, VerifyExportError> {
        let mut findings = Findings::default();
        let note = trailer.and_then(|trailer| trailer.checkpoint);
        let checkpoint = note.and_then(|note| match key.open_checkpoint(&note) {
            Ok(checkpoint) => Some(checkpoint),
            Err(source) => {
                let size = header.through;
                findings.add(Finding::Checkpoint { size, source });
                None
            }
        });
        Ok(Self {
            header,
            checkpoint,
            findings,
            sequences: Sequences::new()?,
            extent: Extent::default(),
            at: Position::START,
            tree: Frontier::new(),
            root: None,
            hole: false,
        })
    }

    fn batch(&mut self, batch: Checked) -> Result<(), VerifyExportError> {
        for (line, number) in batch.lines.into_iter().zip(batch.first_line..) {
            match line {
                Ok(seen) => self.event(&seen, number)?,
                Err(source) => {
                    self.findings.add(Finding::Line {
                        line: number,
                        after: self.at,
                        source,
                    });
                    self.at = self.at.next();
                    self.hole = true;
                }
            }
        }
        Ok(())
    }

    fn event(&mut self, seen: &Seen, line: u64) -> Result<(), VerifyExportError> {
        let (position, after) = (seen.position, self.at);
        if position <= after {
            self.hole = true;
            self.findings.add(Finding::Order {
                line,
                position,
                after,
            });
        } else if self.header.is_whole_log() && position > after.next() {
            self.missing(after.next(), position.previous());
        }
        if !seen.intact {
            self.findings.add(Finding::Digest { position });
        }
        self.extent.add(position);
        self.sequences.add(seen)?;
        self.at = position;
        if self.header.is_whole_log() && self.root.is_none() {
            self.tree.push(0, leaf_hash(seen.digest.as_bytes()), |_| ());
            let size = self.checkpoint.as_ref().map(|checkpoint| checkpoint.size);
            if size == Some(self.tree.size()) {
                self.root = Some(self.tree.root());
            }
        }
        Ok(())
    }

    fn missing(&mut self, first: Position, last: Position) {
        self.hole = true;
        self.findings.add(Finding::Missing { first, last });
    }

    fn finish(
        mut self,
        ending: Result<Trailer, ExportError>,
    ) -> Result<ExportReport, VerifyExportError> {
        let after = self.at;
        match ending {
            Ok(trailer) => {
                let whole_log = self.header.is_whole_log();
                if !trailer.fits(&self.extent) || trailer.whole_log != whole_log {
                    self.findings.add(Finding::Trailer {
                        last: after,
                        events: self.extent.events,
                    });
                }
                if whole_log && after < self.header.through {
                    self.missing(after.next(), self.header.through);
                }
                self.check_root()?;
            }
            Err(ExportError::Cut { .. }) => self.findings.add(Finding::Cut { after }),
            Err(ExportError::AfterTrailer { line } | ExportError::TooLong { line }) => {
                self.findings.add(Finding::Surplus { line, after });
            }
            Err(ExportError::Line { line, source }) => self.findings.add(Finding::Line {
                line,
                after,
                source,
            }),
            Err(error) => return Err(error.into()),
        }
        let rule = if self.header.is_whole_log() {
            Rule::Dense
        } else {
            Rule::Rising
        };
        self.sequences.finish(rule, &mut self.findings)?;
        self.findings.sort();
        Ok(ExportReport {
            header: self.header,
            extent: self.extent,
            checkpoint: self.checkpoint,
            findings: self.findings,
        })
    }

    /// Holds the tree of a whole log against the checkpoint. After a hole that was told there is no
    /// tree to speak of.
    fn check_root(&mut self) -> Result<(), VerifyExportError> {
        let Some(checkpoint) = &self.checkpoint else {
            return Ok(());
        };
        let size = Position::try_from(checkpoint.size)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if size > self.header.through {
            self.findings.add(Finding::Trailer {
                last: self.at,
                events: self.extent.events,
            });
        } else if self.header.is_whole_log() && !self.hole && self.root != Some(checkpoint.root) {
            self.findings.add(Finding::Root {
                first: Position::START.next(),
                last: size,
            });
        }
        Ok(())
    }
}
