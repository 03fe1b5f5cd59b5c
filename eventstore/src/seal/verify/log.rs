//! The log in PostgreSQL, from its first event to its last.
//!
//! Blocks of events are read and hashed side by side; one after the other they are then laid to the
//! tree, whose root must be at each checkpoint what was signed there. Where it is not, the digests that
//! the checkpoint was made from say which event is to blame, because only they give the signed root.

use super::block::{BLOCK_EVENTS, Block, read_block};
use super::checkpoints::{Checkpoints, Stored};
use super::commands::Commands;
use super::order::{Rule, Sequences};
use super::witnesses::Witnesses;
use super::{Finding, Findings, Seen};
use crate::event::Digest;
use crate::position::Position;
use crate::seal::Beginning;
use crate::seal::note::{Checkpoint, VerifierKey};
use crate::seal::policy::Policy;
use crate::seal::record::{BLOCK_LEVEL, Seals, decode, digest};
use crate::seal::tree::{Frontier, Subtree, leaf_hash};
use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use std::hash::RandomState;
use std::sync::Arc;
use thiserror::Error;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

/// How many hashes of the tree are compared with the stored ones at once.
const PAGE_HASHES: usize = 1_000;
/// The most events since a checkpoint for which the digests are kept, to say which of them is wrong.
const LEAVES_MAX: usize = 65_536;

/// How long an event may wait for its checkpoint. While all is well that is a second.
pub const SEALED_WITHIN: TimeDelta = TimeDelta::minutes(1);

/// What was checked, and what was found.
#[derive(Debug)]
pub struct LogReport {
    /// How many events there are.
    pub events: u64,
    /// How many checkpoints fit.
    pub checkpoints: u64,
    /// Up to where checkpoints fit.
    pub sealed: Position,
    /// The last event.
    pub head: Position,
    /// The key that the checkpoints were checked with; none when the log has not been sealed.
    pub key: Option<VerifierKey>,
    /// The new beginnings that operators have acknowledged, as signed by the key.
    pub beginnings: Vec<Beginning>,
    /// What the witnesses said that count, a line each.
    pub witnesses: Vec<String>,
    /// What is wrong.
    pub findings: Findings,
}

/// Why a log could not be checked.
#[derive(Debug, Error)]
pub enum VerifyLogError {
    /// The database could not be reached, or refused.
    #[error("the log cannot be read")]
    Database(#[from] sqlx::Error),
    /// A temporary file could not be written or read.
    #[error("a temporary file cannot be used")]
    Temporary(#[from] std::io::Error),
    /// A task ended badly.
    #[error("the check was interrupted")]
    Interrupted(#[from] JoinError),
    /// The key that was given is not this log's.
    #[error("the key is of {of}, and this log is {log}")]
    OtherLog {
        /// Whose key it is.
        of: String,
        /// The name of the log.
        log: String,
    },
    /// The checkpoint that was given is not signed by the key.
    #[error("the checkpoint that was given cannot be believed")]
    Kept(#[from] crate::seal::note::NoteError),
    /// There is no key to check a checkpoint with.
    #[error("the log has not been sealed, so that there is no key to check the checkpoint with")]
    NoKey,
}

/// What a log is checked against, besides itself.
#[derive(Debug, Clone, Default)]
pub struct Against {
    /// The key of the checkpoints; the one that the log keeps when none is given.
    pub key: Option<VerifierKey>,
    /// A checkpoint that somebody kept elsewhere: the log must go on from it.
    pub checkpoint: Option<String>,
    /// The witnesses who must have cosigned it.
    pub policy: Option<Policy>,
}

/// A root that the log must have had at a size.
#[derive(Debug)]
struct Due {
    size: Position,
    root: Digest,
    /// The name of the witness who says so; none when it was kept by the auditor.
    witness: Option<String>,
}

/// Checks the whole log that lies beside `seals`; `progress` hears of how many positions, and of how many
/// in all.
///
/// # Errors
/// [`VerifyLogError`] when it cannot be checked. What is wrong with it is no error, but in the report.
pub async fn verify_log(
    seals: &Seals,
    against: Against,
    now: DateTime<Utc>,
    mut progress: impl FnMut(Position, Position),
) -> Result<LogReport, VerifyLogError> {
    let log_id = seals.log_id().await?;
    let policy = against.policy.clone();
    let (key, kept) = keys(seals, log_id, against).await?;
    let witnesses = match policy {
        Some(policy) => Some(Witnesses::read(seals, key.as_ref(), policy).await?),
        None => None,
    };
    let head = seals.head().await?;
    let last = match &key {
        Some(key) => last_sealed(seals, key).await?,
        None => Position::START,
    };
    let due = due(kept, witnesses.as_ref())?;
    let due_size = due.first().map_or(Position::START, |due| due.size);
    let end = head.max(last).max(due_size);

    let mut walk = Walk::new(seals.clone(), key, due).await?;
    let hasher = Arc::new(RandomState::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let firsts = (0..).map(|number| number * BLOCK_EVENTS + 1);
    let mut blocks = stream::iter(firsts.take_while(|first| *first <= end.get()))
        .map(|first| {
            let block = (first, (first + BLOCK_EVENTS - 1).min(end.get()));
            let reading = read_block(seals.pool().clone(), Arc::clone(&hasher), block);
            AbortOnDropHandle::new(tokio::spawn(reading))
        })
        .buffered(cores + 1);
    while let Some(block) = blocks.try_next().await? {
        let block = block?;
        walk.block(&block).await?;
        progress(Position::new(block.last).map_err(decode)?, end);
    }
    walk.finish(head, &hasher, now, witnesses).await
}

/// What the log must have been, the largest size first.
fn due(kept: Option<Checkpoint>, witnesses: Option<&Witnesses>) -> Result<Vec<Due>, sqlx::Error> {
    let mut due = Vec::new();
    if let Some(kept) = kept {
        due.push(Due {
            size: Position::try_from(kept.size).map_err(decode)?,
            root: kept.root,
            witness: None,
        });
    }
    let said = witnesses.into_iter().flat_map(Witnesses::roots);
    due.extend(said.map(|(size, root, witness)| Due {
        size,
        root,
        witness: Some(witness),
    }));
    due.sort_by_key(|due| std::cmp::Reverse(due.size));
    Ok(due)
}

/// The key and the kept checkpoint, which must be of this log.
async fn keys(
    seals: &Seals,
    log_id: Uuid,
    against: Against,
) -> Result<(Option<VerifierKey>, Option<Checkpoint>), VerifyLogError> {
    let log = crate::seal::note::origin(log_id);
    let key = match against.key {
        Some(key) if key.name() != log => {
            let of = key.name().to_owned();
            return Err(VerifyLogError::OtherLog { of, log });
        }
        Some(key) => Some(key),
        None => seals.verifier_key(log_id).await?,
    };
    let kept = match (&key, &against.checkpoint) {
        (_, None) => None,
        (None, Some(_)) => return Err(VerifyLogError::NoKey),
        (Some(key), Some(note)) => Some(key.open_checkpoint(note)?),
    };
    Ok((key, kept))
}

/// The size of the newest checkpoint that the key has signed. The log must reach up to there. A size
/// that nobody signed is not believed: it may be beyond anything.
async fn last_sealed(seals: &Seals, key: &VerifierKey) -> Result<Position, sqlx::Error> {
    let mut below = Position::LAST;
    while let Some(checkpoint) = seals.at_most(below).await? {
        let signed = key.open_checkpoint(&checkpoint.note);
        if signed.is_ok_and(|signed| signed.size == checkpoint.size.sequence()) {
            return Ok(checkpoint.size);
        }
        below = checkpoint.size.previous();
    }
    Ok(Position::START)
}

/// The way along the log.
struct Walk {
    seals: Seals,
    key: Option<VerifierKey>,
    /// What must be found further on, the nearest last.
    due: Vec<Due>,
    checkpoints: Checkpoints,
    sequences: Sequences,
    commands: Commands,
    findings: Findings,
    /// The tree up to the last checkpoint that fits.
    base: Frontier,
    /// The tree up to here; not to be believed after a hole.
    tree: Frontier,
    hole: bool,
    /// The digests since the last checkpoint that fits; none when there are too many.
    since: Option<Vec<Option<Digest>>>,
    /// Subtrees completed since then, and those below checkpoints that fit.
    completed: Vec<(Subtree, Digest)>,
    confirmed: Vec<(Subtree, Digest)>,
    /// The first position of a gap that is not told yet, and the last position looked at.
    gap: Option<Position>,
    at: Position,
    events: u64,
    fitting: u64,
}

impl Walk {
    async fn new(
        seals: Seals,
        key: Option<VerifierKey>,
        due: Vec<Due>,
    ) -> Result<Self, VerifyLogError> {
        let checkpoints = Checkpoints::open(seals.pool().clone()).await?;
        Ok(Self {
            seals,
            key,
            due,
            checkpoints,
            sequences: Sequences::new()?,
            commands: Commands::new()?,
            findings: Findings::default(),
            base: Frontier::new(),
            tree: Frontier::new(),
            hole: false,
            since: Some(Vec::new()),
            completed: Vec::new(),
            confirmed: Vec::new(),
            gap: None,
            at: Position::START,
            events: 0,
            fitting: 0,
        })
    }

    async fn block(&mut self, block: &Block) -> Result<(), VerifyLogError> {
        let mut seen = block.seen.iter().peekable();
        for position in block.first..=block.last {
            self.at = self.at.next();
            let event = seen.next_if(|event| event.position.get() == position);
            self.position(event)?;
            while let Some(checkpoint) = self.checkpoints.at(self.at).await? {
                self.checkpoint(checkpoint).await?;
            }
            self.due_here();
        }
        if self.confirmed.len() >= PAGE_HASHES {
            self.compare_hashes().await?;
        }
        Ok(())
    }

    /// Lays one position to the tree.
    fn position(&mut self, event: Option<&Seen>) -> Result<(), VerifyLogError> {
        let digest = event.map(|event| event.digest);
        if let Some(since) = &mut self.since {
            since.push(digest);
            if since.len() > LEAVES_MAX {
                self.since = None;
            }
        }
        let Some(event) = event else {
            self.gap.get_or_insert(self.at);
            self.hole = true;
            return Ok(());
        };
        self.end_gap(self.at.previous());
        if !event.intact {
            self.findings.add(Finding::Digest { position: self.at });
        }
        self.events += 1;
        self.sequences.add(event)?;
        self.commands.add(event)?;
        let completed = &mut self.completed;
        let leaf = leaf_hash(event.digest.as_bytes());
        self.tree.push(0, leaf, |node| keep_large(completed, node));
        Ok(())
    }

    fn end_gap(&mut self, last: Position) {
        if let Some(first) = self.gap.take() {
            self.findings.add(Finding::Missing { first, last });
        }
    }

    /// Holds the tree against a checkpoint of the size that has been reached.
    async fn checkpoint(&mut self, stored: Stored) -> Result<(), VerifyLogError> {
        let size = stored.size;
        let Some(key) = &self.key else {
            return Ok(());
        };
        let signed = match key.open_checkpoint(&stored.note) {
            Ok(signed) => signed,
            Err(source) => {
                self.findings.add(Finding::Checkpoint { size, source });
                return Ok(());
            }
        };
        if signed.root != stored.root || signed.size != size.sequence() {
            self.findings.add(Finding::CheckpointRow { size });
        }
        if signed.size != self.at.sequence() {
            return Ok(());
        }
        if !self.hole && self.tree.root() == signed.root {
            self.go_on_from_here();
        } else if !self.blame(size, &signed).await? {
            self.findings.add(Finding::Root {
                first: Position::try_from(self.base.size()).map_err(decode)?.next(),
                last: size,
            });
            // No later root can be made without the events that this one was made of.
            self.checkpoints.skip_all();
        }
        Ok(())
    }

    /// The tree is what was signed, up to here.
    fn go_on_from_here(&mut self) {
        self.base = self.tree.clone();
        self.hole = false;
        self.since = Some(Vec::new());
        self.confirmed.append(&mut self.completed);
        self.fitting += 1;
    }

    /// Names the events that differ from those that were sealed, and goes on as if they did not. False
    /// when what was sealed is not known.
    async fn blame(&mut self, size: Position, signed: &Checkpoint) -> Result<bool, VerifyLogError> {
        let Some(since) = self.since.take() else {
            return Ok(false);
        };
        let leaves = self.leaves(size).await?;
        let mut tree = self.base.clone();
        let mut completed = Vec::new();
        for leaf in &leaves {
            tree.push(0, leaf_hash(leaf.as_bytes()), |node| {
                keep_large(&mut completed, node);
            });
        }
        if leaves.len() != since.len() || tree.root() != signed.root {
            return Ok(false);
        }
        let first = Position::try_from(self.base.size()).map_err(decode)?.next();
        for ((found, sealed), number) in since.iter().zip(&leaves).zip(first.get()..) {
            // What is missing is told as a gap.
            if found.is_some_and(|found| found != *sealed) {
                let position = Position::new(number).map_err(decode)?;
                self.findings.add(Finding::Replaced { position });
            }
        }
        self.tree = tree;
        self.completed = completed;
        self.go_on_from_here();
        Ok(true)
    }

    /// The digests that a checkpoint was made from.
    async fn leaves(&self, size: Position) -> Result<Vec<Digest>, sqlx::Error> {
        let bytes = sqlx::query_scalar!(
            "SELECT checkpoints.leaves FROM seals.checkpoints WHERE checkpoints.tree_size = $1",
            size.get(),
        )
        .fetch_one(self.seals.pool())
        .await?;
        bytes.chunks(32).map(digest).collect()
    }

    /// Holds the tree against what an auditor kept and witnesses cosigned.
    fn due_here(&mut self) {
        while let Some(due) = self.due.pop_if(|due| due.size == self.at) {
            if !self.hole && self.tree.root() == due.root {
                continue;
            }
            let size = self.at;
            self.findings.add(match due.witness {
                Some(witness) => Finding::Witnessed { size, witness },
                None => Finding::Kept { size },
            });
        }
    }

    /// Compares the stored hashes of the tree with those that it has.
    async fn compare_hashes(&mut self) -> Result<(), VerifyLogError> {
        let confirmed = std::mem::take(&mut self.confirmed);
        let (mut levels, mut indexes, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
        for (subtree, hash) in &confirmed {
            levels.push(i16::from(subtree.level));
            indexes.push(i64::try_from(subtree.index).map_err(decode)?);
            hashes.push(hash.as_bytes().to_vec());
        }
        let wrong = sqlx::query!(
            r#"
            SELECT due.level AS "level!", due.index AS "index!"
            FROM unnest($1::smallint[], $2::bigint[], $3::bytea[]) AS due (level, index, hash)
            LEFT JOIN seals.hashes ON hashes.level = due.level AND hashes.index = due.index
            WHERE hashes.hash IS DISTINCT FROM due.hash
            ORDER BY due.level, due.index
            "#,
            &levels,
            &indexes,
            &hashes,
        )
        .fetch_all(self.seals.pool())
        .await?;
        for row in wrong {
            self.findings.add(Finding::Hash {
                first: Position::new((row.index << row.level) + 1).map_err(decode)?,
                last: Position::new((row.index + 1) << row.level).map_err(decode)?,
            });
        }
        Ok(())
    }

    async fn finish(
        mut self,
        head: Position,
        hasher: &RandomState,
        now: DateTime<Utc>,
        witnesses: Option<Witnesses>,
    ) -> Result<LogReport, VerifyLogError> {
        self.end_gap(self.at);
        self.compare_hashes().await?;
        // What claims to seal more than there ever was cannot be signed.
        while let Some(checkpoint) = self.checkpoints.next().await? {
            self.checkpoint(checkpoint).await?;
        }
        self.sequences.finish(Rule::Dense, &mut self.findings)?;
        // From events that are not what they were, nothing can be derived.
        if self.findings.total() == 0 {
            let pool = self.seals.pool();
            self.commands
                .finish(pool, hasher, head, &mut self.findings)
                .await?;
        }
        let sealed = Position::try_from(self.base.size()).map_err(decode)?;
        let then = now - SEALED_WITHIN;
        unsealed(&self.seals, sealed, head, then, &mut self.findings).await?;
        let witnesses = match witnesses {
            Some(witnesses) => {
                let judged = witnesses.judge(&self.seals, now, &mut self.findings);
                judged.await?
            }
            None => Vec::new(),
        };
        self.findings.sort();
        let beginnings = match &self.key {
            Some(key) => self.seals.beginnings(key).await?,
            None => Vec::new(),
        };
        Ok(LogReport {
            beginnings,
            witnesses,
            events: self.events,
            checkpoints: self.fitting,
            sealed,
            head,
            key: self.key,
            findings: self.findings,
        })
    }
}

/// Tells of events that nobody sealed in time.
async fn unsealed(
    seals: &Seals,
    sealed: Position,
    head: Position,
    then: DateTime<Utc>,
    findings: &mut Findings,
) -> Result<(), VerifyLogError> {
    let last = sqlx::query_scalar!(
        "
        SELECT max(events.position) FROM log.events
        WHERE events.position > $1 AND events.position <= $2 AND events.recorded_at < $3
        ",
        sealed.get(),
        head.get(),
        then,
    )
    .fetch_one(seals.pool())
    .await?;
    if let Some(last) = last {
        findings.add(Finding::Unsealed {
            first: sealed.next(),
            last: Position::new(last).map_err(decode)?,
        });
    }
    Ok(())
}

fn keep_large(kept: &mut Vec<(Subtree, Digest)>, node: (Subtree, Digest)) {
    if node.0.level >= BLOCK_LEVEL {
        kept.push(node);
    }
}
