//! The role that follows the log, extends the tree, and signs a checkpoint each second or each
//! [`CHECKPOINT_EVENTS`] events.
//!
//! One sealer leads, by lease; each checkpoint is written in one statement that is fenced by the
//! lease's epoch and goes on from the checkpoint that the sealer knows. It signs nothing that does not
//! extend the last checkpoint, neither as the database has it nor as it is kept elsewhere: where the log is not what was sealed, it refuses, says so at each try,
//! and goes on when the log is again what it was.

use super::kept::{Keeping, KeptError, Memory, Now};
use super::key::SealKeyError;
use super::note::{Checkpoint, SigningKey};
use super::record::{BLOCK_LEVEL, Seals, decode, digest};
use super::tree::{Frontier, Subtree, leaf_hash};
use crate::causes::Causes;
use crate::event::Digest;
use crate::lease::{Lease, Tenure};
use crate::position::Position;
use crate::store::{EventStore, ReadError, appended_beyond};
use std::convert::Infallible;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The name of the sealer's lease.
pub const LEASE_NAME: &str = "sealer";

/// The most events between two checkpoints.
pub const CHECKPOINT_EVENTS: u64 = 10_000;
/// The longest time that an event waits for its checkpoint while all is well.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// How often one that does not lead tries to.
const CANDIDACY: Duration = Duration::from_secs(1);
/// The pause after a failure: at first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How a sealer fares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SealerStatus {
    /// Whether it holds the lease.
    pub leader: bool,
    /// How many events are sealed, as far as it knows.
    pub sealed: Position,
    /// Why it refuses to sign: the log is not what was sealed. None while it is.
    pub refusal: Option<String>,
    /// What went wrong last, until all is well again; a refusal too.
    pub last_error: Option<String>,
    /// Whether other processes were told that it fares well.
    reported: bool,
}

/// Follows the log and seals it, while it leads.
pub struct Sealer {
    store: EventStore,
    seals: Seals,
    holder: Uuid,
    keeping: Keeping,
    status: watch::Sender<SealerStatus>,
}

/// Why sealing stopped; it starts again after a pause.
#[derive(Debug, Error)]
enum SealError {
    #[error("the log cannot be read or sealed")]
    Database(#[from] sqlx::Error),
    #[error("the log cannot be asked for its id")]
    Log(#[from] ReadError),
    #[error("there is no key to sign with")]
    Key(#[from] SealKeyError),
    #[error(transparent)]
    Kept(#[from] KeptError),
    #[error("the last checkpoint is not signed by the key of this log, or over another tree")]
    ForgedCheckpoint,
    #[error("the tree of the first {size} events does not have the root that was signed")]
    OtherRoot { size: Position },
    #[error("{size} events were sealed, and the log ends before")]
    Shortened { size: Position },
    #[error("the event at position {position} is missing")]
    Gap { position: Position },
    #[error("the event at position {position} is not the one that was sealed")]
    Replaced { position: Position },
    #[error("somebody else leads, or the table of checkpoints is not as it was left")]
    NotLeading,
}

impl SealError {
    /// Whether the log is not what was sealed, so that signing would be a lie.
    const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::ForgedCheckpoint
                | Self::OtherRoot { .. }
                | Self::Shortened { .. }
                | Self::Gap { .. }
                | Self::Replaced { .. }
                | Self::Key(SealKeyError::Missing)
                | Self::Kept(KeptError::Contradicted(_) | KeptError::Damaged(_))
        )
    }
}

impl Sealer {
    /// A sealer of the log of `store`. `holder` tells it from others: a fresh id.
    #[must_use]
    pub fn new(store: EventStore, holder: Uuid) -> Self {
        let seals = Seals::new(store.pool().clone());
        Self {
            store,
            seals,
            holder,
            keeping: Keeping::default(),
            status: watch::Sender::default(),
        }
    }

    /// The same, leaving copies of what it signs in these places, and signing nothing that contradicts
    /// one there.
    #[must_use]
    pub fn keeping(mut self, keeping: Keeping) -> Self {
        self.keeping = keeping;
        self
    }

    /// How it fares, from now on.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<SealerStatus> {
        self.status.subscribe()
    }

    /// Works until `stop` is cancelled: tries to lead, and seals while it does. No failure of
    /// PostgreSQL ends it.
    pub async fn run(self, stop: CancellationToken) {
        let mut memory = Memory::new(self.keeping.clone());
        while !stop.is_cancelled() {
            let asked = Instant::now();
            match Lease::acquire(self.store.pool(), LEASE_NAME, self.holder).await {
                Ok(Some(lease)) => self.lead(lease, asked, &mut memory, &stop).await,
                Ok(None) => self.status.send_modify(|status| status.last_error = None),
                Err(error) => {
                    let message = format!("the lease cannot be taken: {}", Causes(&error));
                    self.status
                        .send_modify(|status| status.last_error = Some(message));
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(CANDIDACY) => {}
            }
        }
    }

    async fn lead(
        &self,
        lease: Lease,
        asked: Instant,
        memory: &mut Memory,
        stop: &CancellationToken,
    ) {
        let tenure = Tenure::new(lease.clone(), asked);
        tracing::info!(epoch = tenure.epoch(), "sealer: leading");
        self.status.send_modify(|status| status.leader = true);
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = tenure.keep(self.store.pool()) => {
                tracing::warn!(epoch = tenure.epoch(), "sealer: the lease is lost");
            }
            () = self.work(&lease, &tenure, memory) => {}
        }
        self.status.send_modify(|status| status.leader = false);
        tenure.end(self.store.pool()).await;
    }

    /// Seals as long as the lease is held, again and again after failures.
    async fn work(&self, lease: &Lease, tenure: &Tenure, memory: &mut Memory) {
        let mut pause = PAUSE_MIN;
        while tenure.is_held() {
            let before = self.status.borrow().sealed;
            let Err(error) = Box::pin(self.seal(lease, memory)).await;
            let refusal = error.is_refusal();
            let message = Causes(&error).to_string();
            if refusal {
                tracing::error!(reason = %message, "sealer: the log is not what was sealed; nothing is signed until it is");
                self.report(Some(&message)).await;
            } else {
                tracing::warn!(error = %message, pause_ms = pause.as_millis(), "sealer: trying again");
            }
            let moved = self.status.borrow().sealed != before;
            self.status.send_modify(|status| {
                status.refusal = refusal.then(|| message.clone());
                status.last_error = Some(message);
            });
            pause = if moved {
                PAUSE_MIN
            } else {
                (pause * 2).min(PAUSE_MAX)
            };
            sleep(pause).await;
        }
    }

    async fn seal(&self, lease: &Lease, memory: &mut Memory) -> Result<Infallible, SealError> {
        let log_id = self.store.log_id().await?;
        let key = self.seals.signing_key(self.store.keys(), log_id).await?;
        let mut tip = self.tip(&key).await?;
        let mut now = Now {
            seals: &self.seals,
            log_id,
            key: key.verifier().clone(),
            beginnings: self.seals.beginnings(key.verifier()).await?,
            latest: tip.signed.clone(),
            has_events: self.store.head().await? > Position::START,
        };
        memory.recall(&now).await?;
        let mut appended = self.store.appended();
        loop {
            let began = Instant::now();
            self.is_where_it_was(&tip).await?;
            let digests = self.digests(&tip).await?;
            if !digests.is_empty() {
                tip = self.write(&key, lease, &tip, &digests).await?;
                now.latest.clone_from(&tip.signed);
            }
            memory.keep(&now).await?;
            self.fares_well(&tip).await;
            tokio::select! {
                () = sleep_until(began + CHECKPOINT_EVERY) => {}
                () = appended_beyond(tip.before_next(), &mut appended) => {}
            }
        }
    }

    async fn fares_well(&self, tip: &Tip) {
        let mut first = false;
        self.status.send_modify(|status| {
            first = !status.reported || status.refusal.is_some();
            status.reported = true;
            status.sealed = tip.size;
            status.refusal = None;
            status.last_error = None;
        });
        if first {
            self.report(None).await;
        }
    }

    /// The table must end with the checkpoint that this sealer wrote or found, also while nothing is
    /// appended: who empties it shall be noticed at once.
    async fn is_where_it_was(&self, tip: &Tip) -> Result<(), SealError> {
        let last = sqlx::query_scalar!("SELECT max(checkpoints.tree_size) FROM seals.checkpoints")
            .fetch_one(self.store.pool())
            .await?;
        if last.unwrap_or(0) == tip.size.get() {
            Ok(())
        } else {
            Err(SealError::NotLeading)
        }
    }

    /// Tells the processes that do not seal how it fares.
    async fn report(&self, refusal: Option<&str>) {
        let reported = sqlx::query!(
            r#"
            INSERT INTO operations.sealing AS before (refusal, refused_since, refusals)
            SELECT new.refusal,
                   CASE WHEN new.refusal IS NOT NULL THEN now() END,
                   CASE WHEN new.refusal IS NULL THEN 0 ELSE 1 END
            FROM (VALUES ($1::text)) AS new (refusal)
            ON CONFLICT (only_one) DO UPDATE
               SET refusal = excluded.refusal,
                   refused_since = CASE WHEN excluded.refusal IS NOT NULL
                                        THEN coalesce(before.refused_since, now()) END,
                   refusals = before.refusals
                       + CASE WHEN before.refusal IS NULL THEN excluded.refusals ELSE 0 END
             WHERE before.refusal IS DISTINCT FROM excluded.refusal
            "#,
            refusal,
        )
        .execute(self.store.pool())
        .await;
        if let Err(error) = reported {
            tracing::debug!(error = %error, "sealer: how it fares cannot be told");
        }
    }

    /// The last checkpoint, and the tree that it was signed over: both must be what they were.
    async fn tip(&self, key: &SigningKey) -> Result<Tip, SealError> {
        let Some(last) = self.seals.latest().await? else {
            return Ok(Tip::default());
        };
        let size = last.size;
        let signed = key
            .verifier()
            .open_checkpoint(&last.note)
            .map_err(|_not_ours| SealError::ForgedCheckpoint)?;
        if signed.size != size.sequence() || signed.root != last.root {
            return Err(SealError::ForgedCheckpoint);
        }
        let frontier = self.seals.frontier(size).await?;
        let frontier = frontier.ok_or(SealError::Shortened { size })?;
        if frontier.root() != signed.root {
            return Err(SealError::OtherRoot { size });
        }
        let digest = self.digest_at(size).await?;
        Ok(Tip {
            size,
            digest: Some(digest.ok_or(SealError::Shortened { size })?),
            frontier,
            signed: Some((signed, last.note)),
        })
    }

    async fn digest_at(&self, position: Position) -> Result<Option<Digest>, SealError> {
        let bytes = sqlx::query_scalar!(
            "SELECT events.digest FROM log.events WHERE events.position = $1",
            position.get(),
        )
        .fetch_optional(self.store.pool())
        .await?;
        Ok(bytes.as_deref().map(digest).transpose()?)
    }

    /// The digests of the events after the tip, at most [`CHECKPOINT_EVENTS`] of them. The event at the
    /// tip is read with them: it must still be the one that was sealed.
    async fn digests(&self, tip: &Tip) -> Result<Vec<Digest>, SealError> {
        let limit = i64::try_from(CHECKPOINT_EVENTS + 1).map_err(decode)?;
        let rows = sqlx::query!(
            r#"
            SELECT events.position, events.digest
            FROM log.events
            WHERE events.position >= $1
            ORDER BY events.position
            LIMIT $2
            "#,
            tip.size.get().max(1),
            limit - i64::from(tip.digest.is_none()),
        )
        .fetch_all(self.store.pool())
        .await?;
        let mut digests = Vec::with_capacity(rows.len());
        for (row, due) in rows.into_iter().zip(tip.size.get().max(1)..) {
            if row.position != due {
                let position = Position::new(due).map_err(decode)?;
                return Err(SealError::Gap { position });
            }
            digests.push(digest(&row.digest)?);
        }
        let Some(sealed) = tip.digest else {
            return Ok(digests);
        };
        match digests.first() {
            None => Err(SealError::Shortened { size: tip.size }),
            Some(first) if *first != sealed => Err(SealError::Replaced { position: tip.size }),
            Some(_) => Ok(digests.split_off(1)),
        }
    }

    /// Signs the extended tree and stores it, all in one statement, if this sealer still leads and
    /// nobody has sealed anything since.
    async fn write(
        &self,
        key: &SigningKey,
        lease: &Lease,
        tip: &Tip,
        digests: &[Digest],
    ) -> Result<Tip, SealError> {
        let mut next = tip.extended(digests);
        let checkpoint = Checkpoint {
            origin: key.verifier().name().to_owned(),
            size: next.tip.size.sequence(),
            root: next.tip.frontier.root(),
        };
        let note = key.sign(&checkpoint.text());
        let leaves: Vec<u8> = digests.iter().flat_map(|leaf| *leaf.as_bytes()).collect();
        let levels: Vec<_> = next
            .blocks
            .iter()
            .map(|(block, _)| i16::from(block.level))
            .collect();
        let indexes = next
            .blocks
            .iter()
            .map(|(block, _)| i64::try_from(block.index).map_err(decode))
            .collect::<Result<Vec<_>, _>>()?;
        let hashes: Vec<_> = next
            .blocks
            .iter()
            .map(|(_, hash)| hash.as_bytes().to_vec())
            .collect();
        let written = sqlx::query_scalar!(
            r#"
            WITH held AS (
                SELECT leases.name FROM operations.leases
                WHERE leases.name = $1 AND leases.holder = $2 AND leases.epoch = $3
                FOR SHARE
            ), sealed AS (
                INSERT INTO seals.checkpoints (tree_size, root, note, leaves)
                SELECT $4, $5, $6, $7 FROM held
                WHERE $8 = coalesce((SELECT max(before.tree_size) FROM seals.checkpoints before), 0)
                RETURNING tree_size
            ), completed AS (
                INSERT INTO seals.hashes (level, index, hash)
                SELECT block.level, block.index, block.hash
                FROM sealed, unnest($9::smallint[], $10::bigint[], $11::bytea[]) AS block (level, index, hash)
            )
            SELECT tree_size FROM sealed
            "#,
            lease.name,
            lease.holder,
            lease.epoch,
            next.tip.size.get(),
            &checkpoint.root.as_bytes()[..],
            note,
            leaves,
            tip.size.get(),
            &levels,
            &indexes,
            &hashes,
        )
        .fetch_optional(self.store.pool())
        .await?;
        written.ok_or(SealError::NotLeading)?;
        next.tip.signed = Some((checkpoint, note));
        Ok(next.tip)
    }
}

/// Where the last checkpoint ends.
#[derive(Debug, Clone, Default)]
struct Tip {
    size: Position,
    /// The digest of the event there; none before the first.
    digest: Option<Digest>,
    frontier: Frontier,
    /// The checkpoint with its note; none before the first.
    signed: Option<(Checkpoint, String)>,
}

/// A tip with further events, and the subtrees that they complete and that are stored.
#[derive(Debug)]
struct Extended {
    tip: Tip,
    blocks: Vec<(Subtree, Digest)>,
}

impl Tip {
    /// The position beyond which the log is worth a checkpoint before its time.
    fn before_next(&self) -> Position {
        let most = i64::try_from(CHECKPOINT_EVENTS).unwrap_or(i64::MAX);
        Position::new(self.size.get().saturating_add(most - 1)).unwrap_or(Position::LAST)
    }

    fn extended(&self, digests: &[Digest]) -> Extended {
        let mut tip = self.clone();
        let mut blocks = Vec::new();
        for digest in digests {
            tip.size = tip.size.next();
            tip.digest = Some(*digest);
            tip.frontier
                .push(0, leaf_hash(digest.as_bytes()), |(subtree, hash)| {
                    if subtree.level >= BLOCK_LEVEL {
                        blocks.push((subtree, hash));
                    }
                });
        }
        Extended { tip, blocks }
    }
}
