//! New beginnings: an operator has acknowledged that a log does not go on from what it signed.
//!
//! After an older backup was restored, the checkpoints that are kept outside the database contradict it,
//! and the sealer signs nothing. That the lost part is lost is for a person to say. What they say is a
//! signed note, so that an auditor sees it, and nobody can say it with SQL alone.

use super::kept::{Keeping, Kept, KeptError, Now, Recalled, contradictions};
use super::note::{Checkpoint, SigningKey, VerifierKey, origin};
use super::record::Seals;
use super::tree::empty_root;
use super::{Contradiction, SealKeyError};
use crate::event::Digest;
use crate::keys::Keys;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use std::cmp::Reverse;
use thiserror::Error;
use uuid::Uuid;

/// The first line of the note.
const FORMAT: &str = "touchline-beginning/1";

/// What a log does not go on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abandoned {
    /// The key that had signed it.
    pub key: VerifierKey,
    /// How many events it was over.
    pub size: u64,
    /// Their root; none when nothing had been signed.
    pub root: Option<Digest>,
}

/// An operator has acknowledged that the log goes on without something that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    /// Grows with each.
    pub number: i32,
    /// What is abandoned.
    pub abandoned: Abandoned,
    /// How many events were sealed from which the log goes on.
    pub size: u64,
    /// Their root.
    pub root: Digest,
    /// When it was acknowledged.
    pub begun_at: DateTime<Utc>,
}

/// Why there was no new beginning.
#[derive(Debug, Error)]
pub enum BeginError {
    /// The copies cannot be read.
    #[error("the copies of the last checkpoint cannot be read")]
    Kept(#[from] KeptError),
    /// The key cannot be read or made.
    #[error("there is no key to sign with")]
    Key(#[from] SealKeyError),
    /// The key is gone, and what it signed is there.
    #[error(
        "the key of the log is gone from seals.keys, and its checkpoints are there: restore its row from a backup, or empty seals.checkpoints and seals.hashes as the owner of the database"
    )]
    KeyOfCheckpointsGone,
    /// The last checkpoint in the database is forged.
    #[error(
        "the last checkpoint in the database is not signed by the key of the log: restore the schema seals from a backup"
    )]
    Forged,
    /// The database could not be reached, or refused.
    #[error("the new beginning cannot be written")]
    Database(#[from] sqlx::Error),
}

/// What is to be acknowledged before a log is sealed again.
#[derive(Debug)]
pub struct Pending {
    /// The copies that contradict the log, with why.
    pub contradictions: Vec<(Contradiction, Kept)>,
    /// Whether the log has events and no key.
    pub key_missing: bool,
    /// Whether every place was asked for its copy.
    pub complete: bool,
}

impl Pending {
    /// Whether there is nothing to acknowledge.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.contradictions.is_empty() && !self.key_missing
    }

    /// The size of the largest checkpoint that would be abandoned.
    #[must_use]
    pub fn size(&self) -> u64 {
        let sizes = self.contradictions.iter().map(|(_, kept)| kept.size());
        sizes.max().unwrap_or(0)
    }
}

impl Beginning {
    /// Whether it abandons what a copy says. A copy from after it is not abandoned by it.
    #[must_use]
    pub fn abandons(&self, kept: &Kept) -> bool {
        kept.key == self.abandoned.key
            && kept.size() <= self.abandoned.size
            && kept.beginning < self.number
    }

    fn text(&self, origin: &str) -> String {
        let root = |root: &Digest| BASE64_STANDARD.encode(root.as_bytes());
        format!(
            "{FORMAT}\n{origin}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n",
            self.number,
            self.abandoned.key,
            self.abandoned.size,
            self.abandoned
                .root
                .as_ref()
                .map_or_else(|| "none".to_owned(), root),
            self.size,
            root(&self.root),
            self.begun_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        )
    }

    fn parse(text: &str, of: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let mut next = || lines.next();
        if next()? != FORMAT || next()? != of {
            return None;
        }
        let root = |text: &str| {
            let bytes = BASE64_STANDARD.decode(text).ok()?;
            Some(Digest::new(bytes.try_into().ok()?))
        };
        let number = next()?.parse().ok()?;
        let abandoned = Abandoned {
            key: next()?.parse().ok()?,
            size: next()?.parse().ok()?,
            root: match next()? {
                "none" => None,
                text => Some(root(text)?),
            },
        };
        Some(Self {
            number,
            abandoned,
            size: next()?.parse().ok()?,
            root: root(next()?)?,
            begun_at: next()?.parse().ok()?,
        })
    }
}

impl Seals {
    /// The new beginnings that the key has signed, by their numbers. What is stored beside and is not
    /// signed counts for nothing.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn beginnings(&self, key: &VerifierKey) -> Result<Vec<Beginning>, sqlx::Error> {
        let rows = sqlx::query!(
            "SELECT beginnings.number, beginnings.note FROM seals.beginnings ORDER BY beginnings.number"
        )
        .fetch_all(self.pool())
        .await?;
        let signed = rows.into_iter().filter_map(|row| {
            let beginning = Beginning::parse(key.open(&row.note).ok()?, key.name())?;
            (beginning.number == row.number).then_some(beginning)
        });
        Ok(signed.collect())
    }

    /// What an operator must acknowledge before this log is sealed again.
    ///
    /// # Errors
    /// [`BeginError`] when it cannot be found out.
    pub async fn pending(&self, keys: &Keys, keeping: &Keeping) -> Result<Pending, BeginError> {
        let log_id = self.log_id().await?;
        let Recalled {
            mut copies,
            complete,
        } = keeping.recall().await?;
        // What abandons the largest abandons the others too.
        copies.sort_by_key(|(_, kept)| Reverse(kept.size()));
        let key = match self.signing_key(keys, log_id).await {
            Ok(key) => key,
            Err(SealKeyError::Missing) => {
                let other_key = |(place, kept)| (Contradiction::OtherKey { place }, kept);
                return Ok(Pending {
                    contradictions: copies.into_iter().map(other_key).collect(),
                    key_missing: true,
                    complete,
                });
            }
            Err(error) => return Err(error.into()),
        };
        let now = self.now(log_id, &key).await?;
        Ok(Pending {
            contradictions: contradictions(&now, &copies).await?,
            key_missing: false,
            complete,
        })
    }

    /// Goes on without what is pending, as an operator says, and answers the new beginnings. A key is
    /// made when there is none.
    ///
    /// # Errors
    /// [`BeginError`]; when two do it at once, one of them fails.
    pub async fn begin_anew(
        &self,
        keys: &Keys,
        pending: &Pending,
        begun_at: DateTime<Utc>,
    ) -> Result<Vec<Beginning>, BeginError> {
        let log_id = self.log_id().await?;
        if pending.key_missing && self.latest().await?.is_some() {
            return Err(BeginError::KeyOfCheckpointsGone);
        }
        let key = self.signing_key_made(keys, log_id).await?;
        let now = self.now(log_id, &key).await?;
        let known = now.beginnings.iter().map(|beginning| beginning.number);
        let copied = pending
            .contradictions
            .iter()
            .map(|(_, kept)| kept.beginning);
        let mut number = known.chain(copied).max().unwrap_or(0);
        let mut begun: Vec<Beginning> = Vec::new();
        for (_, kept) in &pending.contradictions {
            if begun.iter().any(|before| before.abandons(kept)) {
                continue;
            }
            number += 1;
            let beginning = Beginning {
                number,
                abandoned: kept.abandoned(),
                size: now.latest.as_ref().map_or(0, |(signed, _)| signed.size),
                root: now
                    .latest
                    .as_ref()
                    .map_or_else(empty_root, |(signed, _)| signed.root),
                begun_at,
            };
            let note = key.sign(&beginning.text(&origin(log_id)));
            sqlx::query!(
                "INSERT INTO seals.beginnings (number, note, begun_at) VALUES ($1, $2, $3)",
                number,
                note,
                begun_at,
            )
            .execute(self.pool())
            .await?;
            begun.push(beginning);
        }
        Ok(begun)
    }

    /// The log as the database has it now, for copies to be laid to.
    async fn now(&self, log_id: Uuid, key: &SigningKey) -> Result<Now<'_>, BeginError> {
        let verifier = key.verifier().clone();
        let latest = self.latest().await?;
        let latest = latest.map(|last| opened(&verifier, last.note));
        Ok(Now {
            seals: self,
            log_id,
            beginnings: self.beginnings(&verifier).await?,
            key: verifier,
            latest: latest.transpose()?,
            has_events: self.head().await? > crate::Position::START,
        })
    }
}

fn opened(key: &VerifierKey, note: String) -> Result<(Checkpoint, String), BeginError> {
    let signed = key.open_checkpoint(&note);
    signed
        .map(|signed| (signed, note))
        .map_err(|_not_ours| BeginError::Forged)
}
