//! The table of commands against the events: each command is derived from its events, whose metadata
//! name it, and must be recorded as that.
//!
//! Two tables that do not fit into memory are compared as the numbers of aggregates are: each side leaves
//! short records in some temporary files, by the id of the command, and one pair of files after the other
//! is gone through. A command takes 96 bytes of disk, and no memory.

use super::{Finding, Findings, Seen};
use crate::position::Position;
use crate::seal::record::decode;
use futures::TryStreamExt as _;
use sqlx::PgPool;
use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _};
use uuid::Uuid;

/// How many pairs of files there are.
const BUCKETS: usize = 64;
/// The bytes of a record: the command, its subject, version, first and last position.
const RECORD_BYTES: usize = 48;

/// What is kept of a command, but its fingerprint, which no event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    /// The subject, hashed.
    subject: u64,
    version: i64,
    first: i64,
    last: i64,
}

/// The commands of the events so far.
pub(super) struct Commands {
    derived: Buckets,
    /// The command of the last event, while more of its events may come.
    current: Option<(Uuid, Record)>,
}

impl Commands {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            derived: Buckets::new()?,
            current: None,
        })
    }

    /// The next event in the order of the log.
    pub(super) fn add(&mut self, seen: &Seen) -> io::Result<()> {
        let at = seen.position.get();
        match &mut self.current {
            Some((command, record)) if Some(*command) == seen.command => {
                record.last = at;
                if record.subject == seen.aggregate {
                    record.version = seen.sequence;
                }
            }
            _ => {
                self.flush()?;
                // The first event is of the command's subject.
                let record = Record {
                    subject: seen.aggregate,
                    version: seen.sequence,
                    first: at,
                    last: at,
                };
                self.current = seen.command.map(|command| (command, record));
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.current.take() {
            Some((command, record)) => self.derived.write(command, record),
            None => Ok(()),
        }
    }

    /// Tells of each command up to `head` that is not recorded as its events say.
    pub(super) async fn finish(
        mut self,
        pool: &PgPool,
        hasher: &RandomState,
        head: Position,
        findings: &mut Findings,
    ) -> Result<(), super::log::VerifyLogError> {
        self.flush()?;
        let mut stored = Buckets::new()?;
        let mut rows = sqlx::query!(
            r#"
            SELECT commands.command_id, commands.aggregate_type, commands.aggregate_id, commands.version,
                   commands.first_position, commands.last_position
            FROM log.commands
            WHERE commands.first_position <= $1
            "#,
            head.get(),
        )
        .fetch(pool);
        while let Some(row) = rows.try_next().await? {
            let record = Record {
                subject: hasher.hash_one((&row.aggregate_type, &row.aggregate_id)),
                version: row.version,
                first: row.first_position,
                last: row.last_position,
            };
            stored.write(row.command_id, record)?;
        }
        for (derived, stored) in self.derived.0.into_iter().zip(stored.0) {
            compare(derived, stored, findings)?;
        }
        Ok(())
    }
}

fn compare(
    derived: BufWriter<File>,
    stored: BufWriter<File>,
    findings: &mut Findings,
) -> Result<(), super::log::VerifyLogError> {
    let mut due: HashMap<Uuid, Record> = HashMap::new();
    let position = |number: i64| Position::new(number.max(0)).map_err(decode);
    read(derived, |command, record| {
        // Two groups of events that name one command: only one of them can be recorded.
        if let Some(before) = due.insert(command, record) {
            findings.add(Finding::Command {
                position: position(before.first)?,
                command,
            });
        }
        Ok(())
    })?;
    read(stored, |command, record| {
        match due.remove(&command) {
            Some(right) if right == record => {}
            Some(right) => findings.add(Finding::Command {
                position: position(right.first)?,
                command,
            }),
            None => findings.add(Finding::CommandSurplus {
                position: position(record.first)?,
                command,
            }),
        }
        Ok(())
    })?;
    for (command, record) in due {
        findings.add(Finding::CommandMissing {
            position: position(record.first)?,
            command,
        });
    }
    Ok(())
}

/// Records in temporary files, by the id of the command.
struct Buckets(Vec<BufWriter<File>>);

impl Buckets {
    fn new() -> io::Result<Self> {
        let bucket = |_number| tempfile::tempfile().map(BufWriter::new);
        Ok(Self((0..BUCKETS).map(bucket).collect::<Result<_, _>>()?))
    }

    fn write(&mut self, command: Uuid, record: Record) -> io::Result<()> {
        let bytes = command.as_bytes();
        // The last bytes of an id of any version are random, or as good as.
        let number = bytes.last().map_or(0, |last| usize::from(*last) % BUCKETS);
        let Some(bucket) = self.0.get_mut(number) else {
            return Ok(());
        };
        bucket.write_all(bytes)?;
        let parts = [
            record.subject.to_le_bytes(),
            record.version.to_le_bytes(),
            record.first.to_le_bytes(),
            record.last.to_le_bytes(),
        ];
        bucket.write_all(parts.as_flattened())
    }
}

fn read(
    bucket: BufWriter<File>,
    mut each: impl FnMut(Uuid, Record) -> Result<(), sqlx::Error>,
) -> Result<(), super::log::VerifyLogError> {
    let mut file = bucket
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    let mut records = BufReader::new(file);
    let mut bytes = [0; RECORD_BYTES];
    loop {
        match records.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let (parts, _nothing) = bytes.as_chunks::<8>();
        let [high, low, subject, version, first, last] = parts else {
            return Ok(());
        };
        let command = Uuid::from_u64_pair(u64::from_be_bytes(*high), u64::from_be_bytes(*low));
        let record = Record {
            subject: u64::from_le_bytes(*subject),
            version: i64::from_le_bytes(*version),
            first: i64::from_le_bytes(*first),
            last: i64::from_le_bytes(*last),
        };
        each(command, record)?;
    }
}
