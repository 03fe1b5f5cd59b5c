//! The numbers of events within their aggregates.
//!
//! A map from aggregate to number would grow with the log. Instead each event leaves a short record in
//! one of some temporary files, by its aggregate; in the end one file after the other is gone through
//! with a map that is as much smaller. An event takes 24 bytes of disk, and no memory.

use super::{Finding, Findings, Seen};
use crate::position::Position;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _};

/// How many files there are.
const BUCKETS: u64 = 64;
/// The bytes of a record: position, aggregate, number.
const RECORD_BYTES: usize = 24;

/// Which numbers are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// 1, 2, 3 … in every aggregate: the events are all that there are.
    Dense,
    /// Rising in every aggregate: the events are some of those that there are.
    Rising,
}

/// The numbers seen so far.
pub(super) struct Sequences {
    buckets: Vec<BufWriter<File>>,
}

impl Sequences {
    pub(super) fn new() -> io::Result<Self> {
        let bucket = |_number| tempfile::tempfile().map(BufWriter::new);
        Ok(Self {
            buckets: (0..BUCKETS).map(bucket).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn add(&mut self, seen: &Seen) -> io::Result<()> {
        let number = usize::try_from(seen.aggregate % BUCKETS).unwrap_or_default();
        let Some(bucket) = self.buckets.get_mut(number) else {
            return Ok(());
        };
        let mut record = [0; RECORD_BYTES];
        let parts = [
            seen.position.sequence().to_le_bytes(),
            seen.aggregate.to_le_bytes(),
            seen.sequence.to_le_bytes(),
        ];
        record.copy_from_slice(parts.as_flattened());
        bucket.write_all(&record)
    }

    /// Tells of every number that breaks the rule.
    pub(super) fn finish(self, rule: Rule, findings: &mut Findings) -> io::Result<()> {
        for bucket in self.buckets {
            let mut file = bucket
                .into_inner()
                .map_err(io::IntoInnerError::into_error)?;
            file.rewind()?;
            check(BufReader::new(file), rule, findings)?;
        }
        Ok(())
    }
}

fn check(mut records: BufReader<File>, rule: Rule, findings: &mut Findings) -> io::Result<()> {
    let mut last: HashMap<u64, i64> = HashMap::new();
    let mut record = [0; RECORD_BYTES];
    loop {
        match records.read_exact(&mut record) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        let (parts, _nothing) = record.as_chunks::<8>();
        let [position, aggregate, sequence] = parts else {
            return Ok(());
        };
        let found = i64::from_le_bytes(*sequence);
        let entry = last.entry(u64::from_le_bytes(*aggregate)).or_default();
        let before = *entry;
        let right = match rule {
            Rule::Dense => found == before.saturating_add(1),
            Rule::Rising => found > before,
        };
        if !right {
            findings.add(Finding::Sequence {
                position: Position::try_from(u64::from_le_bytes(*position)).unwrap_or_default(),
                found,
                before,
            });
        }
        *entry = found;
    }
}
