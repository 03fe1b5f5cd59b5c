//! What has been sealed, as schema `seals` keeps it, and proofs from it.

use super::note::{VerifierKey, origin};
use super::proof::{Plan, Side};
use super::tree::{Frontier, Subtree, fold, leaf_hash};
use crate::event::Digest;
use crate::position::Position;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use std::collections::{BTreeSet, HashMap};
use thiserror::Error;
use uuid::Uuid;

/// Subtrees of `1 << BLOCK_LEVEL` leaves and more have their root stored; those of smaller ones are
/// made anew from the digests in the log.
pub(super) const BLOCK_LEVEL: u8 = 8;

/// A checkpoint as it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// How many events the tree is over: the position of the last of them.
    pub size: Position,
    /// The root of the tree.
    pub root: Digest,
    /// The signed note (C2SP tlog-checkpoint).
    pub note: String,
    /// When it was signed.
    pub signed_at: DateTime<Utc>,
}

/// Shows that one event stands at its position in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InclusionProof {
    /// The name of the log.
    pub origin: String,
    /// Where the event stands. Its leaf has the index one less.
    pub position: Position,
    /// Its digest, the data of the leaf.
    pub digest: Digest,
    /// SHA-256 of a zero byte and the digest.
    pub leaf_hash: Digest,
    /// How many events the tree is over.
    pub tree_size: Position,
    /// The root of that tree.
    pub root: Digest,
    /// The hashes from the leaf to the root (PATH of RFC 6962), each to be put on its side of the hash
    /// that there is, behind a byte 1.
    pub path: Vec<Step>,
    /// The signed checkpoint of that size; none when no checkpoint has that size.
    pub checkpoint: Option<String>,
}

/// One step of the way from a leaf to the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Step {
    /// On which side the hash stands.
    pub side: Side,
    /// The hash.
    pub hash: Digest,
}

/// Shows that the log of one size begins with the log of a smaller one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConsistencyProof {
    /// The name of the log.
    pub origin: String,
    /// The smaller tree.
    pub from: TreeHead,
    /// The larger tree.
    pub to: TreeHead,
    /// PROOF of RFC 6962.
    pub path: Vec<Digest>,
}

/// A tree: how large it is, and its root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TreeHead {
    /// How many events it is over.
    pub tree_size: Position,
    /// Its root.
    pub root: Digest,
    /// The signed checkpoint of that size; none when no checkpoint has that size.
    pub checkpoint: Option<String>,
}

/// Why there is no proof.
#[derive(Debug, Error)]
pub enum ProveError {
    /// Nothing has been sealed.
    #[error("nothing has been sealed yet")]
    NothingSealed,
    /// What was asked for is no position of an event.
    #[error("positions of events begin at 1")]
    Start,
    /// Something beyond the last checkpoint was asked for.
    #[error("position {asked} is beyond the last checkpoint, which seals {sealed} events")]
    Beyond {
        /// What was asked for.
        asked: Position,
        /// The size of the last checkpoint.
        sealed: Position,
    },
    /// The event comes after the tree.
    #[error("position {position} is not in a tree of {size} events")]
    NotInTree {
        /// The event.
        position: Position,
        /// The size of the tree.
        size: Position,
    },
    /// The smaller tree is larger than the larger one.
    #[error("the range is backwards: a log of {from} events is no beginning of one of {to}")]
    Backwards {
        /// The size of the tree that is to be smaller.
        from: Position,
        /// The size of the other.
        to: Position,
    },
    /// What is stored does not do for a proof: `touchline log verify` says what is wrong.
    #[error("the log or its seals are damaged at position {position}")]
    Damaged {
        /// Where something is missing.
        position: Position,
    },
    /// The database could not be reached, or refused.
    #[error("the seals cannot be read")]
    Database(#[from] sqlx::Error),
}

/// Reads what has been sealed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Seals {
    pool: PgPool,
}

impl Seals {
    /// The seals in the database of `pool`.
    #[must_use]
    pub const fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// The database that they lie in.
    #[must_use]
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Which log this is, as [`EventStore::log_id`](crate::EventStore::log_id) says too.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn log_id(&self) -> Result<Uuid, sqlx::Error> {
        sqlx::query_scalar!("SELECT origin.log_id FROM log.origin")
            .fetch_one(&self.pool)
            .await
    }

    /// The position of the last event in the log.
    pub(super) async fn head(&self) -> Result<Position, sqlx::Error> {
        let head = sqlx::query_scalar!("SELECT max(events.position) FROM log.events")
            .fetch_one(&self.pool)
            .await?;
        Position::new(head.unwrap_or(0)).map_err(decode)
    }

    /// The last checkpoint; none when nothing has been sealed.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn latest(&self) -> Result<Option<SignedCheckpoint>, sqlx::Error> {
        self.at_most(Position::LAST).await
    }

    /// Whether an event that was recorded before `then` has no checkpoint over it.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn is_behind(&self, then: DateTime<Utc>) -> Result<bool, sqlx::Error> {
        let oldest = sqlx::query_scalar!(
            "
            SELECT events.recorded_at
            FROM log.events
            WHERE events.position > coalesce((SELECT max(checkpoints.tree_size) FROM seals.checkpoints), 0)
            ORDER BY events.position
            LIMIT 1
            ",
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(oldest.is_some_and(|recorded_at| recorded_at < then))
    }

    /// Whether the sealer refuses to sign, because the log is not what was sealed.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn is_refused(&self) -> Result<bool, sqlx::Error> {
        let refused = sqlx::query_scalar!(
            r#"SELECT sealing.refusal IS NOT NULL AS "refused!" FROM operations.sealing"#
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(refused.unwrap_or(false))
    }

    /// The newest checkpoint whose tree is not larger than `size`.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn at_most(&self, size: Position) -> Result<Option<SignedCheckpoint>, sqlx::Error> {
        let row = sqlx::query!(
            r#"
            SELECT checkpoints.tree_size, checkpoints.root, checkpoints.note, checkpoints.signed_at
            FROM seals.checkpoints
            WHERE checkpoints.tree_size <= $1
            ORDER BY checkpoints.tree_size DESC
            LIMIT 1
            "#,
            size.get(),
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| {
            Ok(SignedCheckpoint {
                size: Position::new(row.tree_size).map_err(decode)?,
                root: digest(&row.root)?,
                note: row.note,
                signed_at: row.signed_at,
            })
        })
        .transpose()
    }

    /// The public half of the key that signs the checkpoints of this log; none before the first
    /// sealer has made it.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn verifier_key(&self, log_id: Uuid) -> Result<Option<VerifierKey>, sqlx::Error> {
        let name = origin(log_id);
        let key = sqlx::query_scalar!(
            "SELECT keys.public_key FROM seals.keys WHERE keys.name = $1",
            name,
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(key) = key else {
            return Ok(None);
        };
        let key = key.as_slice().try_into().map_err(decode)?;
        Ok(VerifierKey::new(&name, key))
    }

    /// Shows that the event at `position` is in the log of `size` events, or, without a size, in that
    /// of the last checkpoint.
    ///
    /// # Errors
    /// [`ProveError`] when there is no such event or tree, or the database cannot be reached.
    pub async fn inclusion(
        &self,
        log_id: Uuid,
        position: Position,
        size: Option<Position>,
    ) -> Result<InclusionProof, ProveError> {
        let last = self.latest().await?.ok_or(ProveError::NothingSealed)?.size;
        let size = size.unwrap_or(last);
        if position == Position::START {
            return Err(ProveError::Start);
        }
        for asked in [position, size] {
            if asked > last {
                return Err(ProveError::Beyond {
                    asked,
                    sealed: last,
                });
            }
        }
        let index = position.previous().sequence();
        let not_in_tree = ProveError::NotInTree { position, size };
        let plan = Plan::inclusion(index, size.sequence()).ok_or(not_in_tree)?;
        let leaf = Subtree { level: 0, index };
        let tree: Vec<_> = Subtree::cover(0, size.sequence()).collect();
        let wanted = plan.subtrees().chain(tree.iter().copied()).chain([leaf]);
        let found = self.subtrees(wanted).await?;
        let damaged = || ProveError::Damaged { position };
        let path = plan.assemble(&found.hashes).ok_or_else(damaged)?;
        Ok(InclusionProof {
            origin: origin(log_id),
            position,
            digest: *found.digests.get(&index).ok_or_else(damaged)?,
            leaf_hash: *found.hashes.get(&leaf).ok_or_else(damaged)?,
            tree_size: size,
            root: found.root(&tree).ok_or_else(damaged)?,
            path: plan
                .sides()
                .zip(path)
                .map(|(side, hash)| Step { side, hash })
                .collect(),
            checkpoint: self.note_of(size).await?,
        })
    }

    /// Shows that the log of `to` events begins with the log of `from` events.
    ///
    /// # Errors
    /// [`ProveError`] when a tree is not sealed or the database cannot be reached.
    pub async fn consistency(
        &self,
        log_id: Uuid,
        from: Position,
        to: Position,
    ) -> Result<ConsistencyProof, ProveError> {
        let last = self.latest().await?.ok_or(ProveError::NothingSealed)?.size;
        if from == Position::START || to == Position::START {
            return Err(ProveError::Start);
        }
        for asked in [from, to] {
            if asked > last {
                return Err(ProveError::Beyond {
                    asked,
                    sealed: last,
                });
            }
        }
        let backwards = ProveError::Backwards { from, to };
        let plan = Plan::consistency(from.sequence(), to.sequence()).ok_or(backwards)?;
        let smaller: Vec<_> = Subtree::cover(0, from.sequence()).collect();
        let larger: Vec<_> = Subtree::cover(0, to.sequence()).collect();
        let trees = smaller.iter().chain(&larger).copied();
        let found = self.subtrees(plan.subtrees().chain(trees)).await?;
        let damaged = || ProveError::Damaged { position: to };
        Ok(ConsistencyProof {
            origin: origin(log_id),
            from: TreeHead {
                tree_size: from,
                root: found.root(&smaller).ok_or_else(damaged)?,
                checkpoint: self.note_of(from).await?,
            },
            to: TreeHead {
                tree_size: to,
                root: found.root(&larger).ok_or_else(damaged)?,
                checkpoint: self.note_of(to).await?,
            },
            path: plan.assemble(&found.hashes).ok_or_else(damaged)?,
        })
    }

    async fn note_of(&self, size: Position) -> Result<Option<String>, sqlx::Error> {
        sqlx::query_scalar!(
            "SELECT checkpoints.note FROM seals.checkpoints WHERE checkpoints.tree_size = $1",
            size.get(),
        )
        .fetch_optional(&self.pool)
        .await
    }

    /// The tree of `size` leaves, so far as it is stored. None when something of it is missing.
    pub(super) async fn frontier(&self, size: Position) -> Result<Option<Frontier>, sqlx::Error> {
        let tree: Vec<_> = Subtree::cover(0, size.sequence()).collect();
        let found = self.subtrees(tree.iter().copied()).await?;
        let peaks: Option<Vec<_>> = tree
            .iter()
            .map(|part| found.hashes.get(part).copied())
            .collect();
        Ok(peaks.and_then(|peaks| Frontier::of(size.sequence(), &peaks)))
    }

    /// Looks subtrees up: the large ones where they are stored, the small ones from the digests of
    /// their block. What is not there is missing from the answer.
    async fn subtrees(&self, wanted: impl Iterator<Item = Subtree>) -> Result<Found, sqlx::Error> {
        let (stored, small): (BTreeSet<_>, BTreeSet<_>) =
            wanted.partition(|subtree: &Subtree| subtree.level >= BLOCK_LEVEL);
        let mut found = Found::default();
        self.find_stored(&stored, &mut found).await?;
        self.find_digests(&small, &mut found).await?;
        for subtree in small {
            let first = subtree.first_leaf();
            let leaves: Option<Vec<_>> = (first..first + (1 << subtree.level))
                .map(|index| found.digests.get(&index))
                .map(|digest| digest.map(|digest| leaf_hash(digest.as_bytes())))
                .collect();
            let root = leaves.and_then(|leaves| super::tree::subtree_root(&leaves));
            found.hashes.extend(root.map(|root| (subtree, root)));
        }
        Ok(found)
    }

    async fn find_stored(
        &self,
        wanted: &BTreeSet<Subtree>,
        found: &mut Found,
    ) -> Result<(), sqlx::Error> {
        let levels: Vec<_> = wanted.iter().map(|part| i16::from(part.level)).collect();
        let indexes = wanted
            .iter()
            .map(|part| i64::try_from(part.index).map_err(decode))
            .collect::<Result<Vec<_>, _>>()?;
        if levels.is_empty() {
            return Ok(());
        }
        let rows = sqlx::query!(
            r#"
            SELECT hashes.level, hashes.index, hashes.hash
            FROM unnest($1::smallint[], $2::bigint[]) AS wanted (level, index)
            JOIN seals.hashes ON hashes.level = wanted.level AND hashes.index = wanted.index
            "#,
            &levels,
            &indexes,
        )
        .fetch_all(&self.pool)
        .await?;
        for row in rows {
            let subtree = Subtree {
                level: u8::try_from(row.level).map_err(decode)?,
                index: u64::try_from(row.index).map_err(decode)?,
            };
            found.hashes.insert(subtree, digest(&row.hash)?);
        }
        Ok(())
    }

    /// Reads the digests that small subtrees stand on: each lies in one block of 256, and a proof needs
    /// those of two or three blocks.
    async fn find_digests(
        &self,
        wanted: &BTreeSet<Subtree>,
        found: &mut Found,
    ) -> Result<(), sqlx::Error> {
        let blocks: BTreeSet<_> = wanted
            .iter()
            .map(|part| part.first_leaf() >> BLOCK_LEVEL)
            .collect();
        let blocks = blocks
            .into_iter()
            .map(|block| i64::try_from(block).map_err(decode))
            .collect::<Result<Vec<_>, _>>()?;
        if blocks.is_empty() {
            return Ok(());
        }
        let rows = sqlx::query!(
            r#"
            SELECT events.position, events.digest
            FROM unnest($1::bigint[]) AS wanted (block)
            JOIN LATERAL (
                SELECT events.position, events.digest FROM log.events
                WHERE events.position > wanted.block * 256
                  AND events.position <= wanted.block * 256 + 256
                ORDER BY events.position
            ) events ON true
            "#,
            &blocks,
        )
        .fetch_all(&self.pool)
        .await?;
        for row in rows {
            let index = u64::try_from(row.position - 1).map_err(decode)?;
            found.digests.insert(index, digest(&row.digest)?);
        }
        Ok(())
    }
}

/// Hashes that were looked up, and the digests that small ones were made from, by the index of the leaf.
#[derive(Debug, Default)]
struct Found {
    hashes: HashMap<Subtree, Digest>,
    digests: HashMap<u64, Digest>,
}

impl Found {
    /// The root over subtrees that adjoin.
    fn root(&self, parts: &[Subtree]) -> Option<Digest> {
        let peaks: Option<Vec<_>> = parts
            .iter()
            .map(|part| self.hashes.get(part).copied())
            .collect();
        fold(peaks?.into_iter())
    }
}

/// 32 bytes of a column, which a constraint makes sure of.
pub(super) fn digest(bytes: &[u8]) -> Result<Digest, sqlx::Error> {
    Ok(Digest::new(bytes.try_into().map_err(decode)?))
}

pub(super) fn decode(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}
