//! What was signed last, kept outside PostgreSQL (ADR-0029).
//!
//! Whoever owns the database can empty the tables of seals and change the log below them; the sealer
//! would then sign the changed log with the genuine key. So after each checkpoint it leaves a copy in a
//! folder and in a stream of JetStream, and signs nothing that contradicts one of them. Only an operator
//! who says so ([`Beginning`](super::Beginning)) makes it go on from something else.

mod folder;
mod stream;

pub(super) use folder::Folder;
pub use stream::NAME;
pub(super) use stream::Stream;

use super::beginning::{Abandoned, Beginning};
use super::note::{Checkpoint, NoteError, VerifierKey, origin};
use super::proof::verify_consistency;
use super::record::{ProveError, Seals};
use crate::event::Digest;
use crate::keys::Keys;
use crate::position::Position;
use async_nats::Client;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use thiserror::Error;
use uuid::Uuid;

/// A copy of what a log signed last. As text it is JSON: `key`, `beginning` and `checkpoint`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The key of the log; its name is the log's.
    pub key: VerifierKey,
    /// How many new beginnings had been acknowledged; see [`Beginning::number`].
    pub beginning: i32,
    /// The checkpoint with its note; none before the first.
    pub checkpoint: Option<(Checkpoint, String)>,
}

/// As it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    key: String,
    beginning: i32,
    checkpoint: Option<String>,
}

/// A text that is no copy.
#[derive(Debug, Error)]
pub enum BadCopy {
    /// It is no JSON of this shape.
    #[error("it is not what a sealer writes")]
    Shape(#[from] serde_json::Error),
    /// The key in it is none.
    #[error("its key is none")]
    Key(#[from] super::note::KeyError),
    /// The checkpoint in it is not signed by the key in it.
    #[error("its checkpoint cannot be believed")]
    Checkpoint(#[from] NoteError),
}

impl Kept {
    /// Reads the text of a copy.
    ///
    /// # Errors
    /// [`BadCopy`] when it is none.
    pub fn parse(text: &str) -> Result<Self, BadCopy> {
        let stored: Stored = serde_json::from_str(text)?;
        let key: VerifierKey = stored.key.parse()?;
        let open = |note: String| key.open_checkpoint(&note).map(|signed| (signed, note));
        Ok(Self {
            checkpoint: stored.checkpoint.map(open).transpose()?,
            beginning: stored.beginning,
            key,
        })
    }

    /// How many events the checkpoint is over.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.checkpoint
            .as_ref()
            .map_or(0, |(signed, _)| signed.size)
    }

    /// What an operator abandons who goes on without it.
    pub(super) fn abandoned(&self) -> Abandoned {
        Abandoned {
            key: self.key.clone(),
            size: self.size(),
            root: self.checkpoint.as_ref().map(|(signed, _)| signed.root),
        }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stored = Stored {
            key: self.key.to_string(),
            beginning: self.beginning,
            checkpoint: self.checkpoint.as_ref().map(|(_, note)| note.clone()),
        };
        let text = serde_json::to_string(&stored).map_err(|_never| fmt::Error)?;
        writeln!(f, "{text}")
    }
}

/// Where a copy is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the memory of this process.
    Memory,
    /// In the folder.
    Folder,
    /// In the stream of checkpoints.
    Stream,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "in memory",
            Self::Folder => "in the data folder",
            Self::Stream => "in the stream CHECKPOINTS",
        })
    }
}

/// A log that is not the one of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Contradiction {
    /// It is another log.
    #[error("the checkpoint kept {place} is of the log {other}")]
    OtherLog {
        /// Where the copy is.
        place: Place,
        /// Whose it is.
        other: String,
    },
    /// Its key is another one.
    #[error("the log has another key than the one kept {place}")]
    OtherKey {
        /// Where the copy is.
        place: Place,
    },
    /// A new beginning is gone.
    #[error("the new beginning {number}, known {place}, is not in the database any more")]
    BeginningGone {
        /// Where the copy is.
        place: Place,
        /// Its number.
        number: i32,
    },
    /// It has fewer events, or fewer of them are sealed.
    #[error(
        "{size} events were sealed, says the checkpoint kept {place}, and the database knows of {stored}"
    )]
    Shrunk {
        /// Where the copy is.
        place: Place,
        /// How many were sealed.
        size: u64,
        /// How many are, as the database has it.
        stored: Position,
    },
    /// It has other events.
    #[error("the log does not go on from the checkpoint of {size} events kept {place}")]
    Rewritten {
        /// Where the copy is.
        place: Place,
        /// The size of that checkpoint.
        size: u64,
    },
}

/// Why copies could not be read or laid to the log.
#[derive(Debug, Error)]
pub enum KeptError {
    /// The log is not the one of a copy.
    #[error(transparent)]
    Contradicted(#[from] Contradiction),
    /// The copy in the folder is damaged.
    #[error("the copy in the data folder is damaged")]
    Damaged(#[from] BadCopy),
    /// The folder cannot be read or written.
    #[error("the data folder cannot be used")]
    Folder(#[from] std::io::Error),
    /// The stream did not answer, and nothing else is there to hold the log against.
    #[error(
        "the stream CHECKPOINTS does not answer, and no other copy of the last checkpoint is at hand"
    )]
    StreamAway,
    /// The database cannot be read.
    #[error("the database cannot be read")]
    Database(#[from] sqlx::Error),
}

/// Where copies are kept.
#[derive(Debug, Clone, Default)]
pub struct Keeping {
    folder: Option<Folder>,
    stream: Option<Stream>,
}

impl Keeping {
    /// In this folder too, which is made when it is not there.
    #[must_use]
    pub fn in_folder(mut self, folder: PathBuf) -> Self {
        self.folder = Some(Folder::new(folder));
        self
    }

    /// In the stream of checkpoints behind this connection too. `keys` authenticate what is in it.
    #[must_use]
    pub fn in_stream(mut self, client: Client, keys: Keys) -> Self {
        self.stream = Some(Stream::new(client, keys));
        self
    }

    /// Every copy that is there.
    ///
    /// # Errors
    /// [`KeptError`] when the folder has one that cannot be read.
    pub async fn recall(&self) -> Result<Recalled, KeptError> {
        let mut copies = Vec::new();
        if let Some(folder) = &self.folder {
            copies.extend(folder.read().await?.map(|kept| (Place::Folder, kept)));
        }
        let in_stream = self.recall_stream().await;
        let complete = in_stream.is_some();
        copies.extend(in_stream.flatten().map(|kept| (Place::Stream, kept)));
        Ok(Recalled { copies, complete })
    }

    /// The copy in the stream. The outer none when it does not answer.
    async fn recall_stream(&self) -> Option<Option<Kept>> {
        match &self.stream {
            Some(stream) => stream.read().await,
            None => Some(None),
        }
    }

    /// Leaves a copy in every place that can be reached.
    ///
    /// # Errors
    /// When the folder cannot be written.
    async fn keep(&self, kept: &Kept) -> Result<(), KeptError> {
        if let Some(folder) = &self.folder {
            folder.write(kept).await?;
        }
        if let Some(stream) = &self.stream {
            stream.write(kept).await;
        }
        Ok(())
    }
}

/// Copies, and where each is.
#[derive(Debug)]
pub struct Recalled {
    /// The copies.
    pub copies: Vec<(Place, Kept)>,
    /// Whether every place answered.
    pub complete: bool,
}

/// What a sealer remembers while it runs, and what it must not contradict.
#[derive(Debug)]
pub(super) struct Memory {
    keeping: Keeping,
    last: Option<Kept>,
    /// Whether the stream has been read since this process leads.
    stream_read: bool,
}

impl Memory {
    pub(super) const fn new(keeping: Keeping) -> Self {
        Self {
            keeping,
            last: None,
            stream_read: false,
        }
    }

    /// Lays every copy to the log as the database has it.
    ///
    /// # Errors
    /// [`KeptError`] when one contradicts, or none can be read that may be there.
    pub(super) async fn recall(&mut self, now: &Now<'_>) -> Result<(), KeptError> {
        let Recalled {
            mut copies,
            complete,
        } = self.keeping.recall().await?;
        self.stream_read = complete;
        copies.extend(self.last.clone().map(|kept| (Place::Memory, kept)));
        if copies.is_empty() {
            // A log without events has nothing to lose.
            if !complete && now.has_events {
                return Err(KeptError::StreamAway);
            }
            if now.latest.is_some() {
                tracing::warn!(
                    "sealer: no copy of the last checkpoint is kept outside the database, which is believed this once"
                );
            }
        }
        for (place, kept) in &copies {
            now.hold_against(*place, kept).await?;
        }
        Ok(())
    }

    /// Remembers what was signed, and leaves copies of it.
    ///
    /// # Errors
    /// [`KeptError`] when a copy that could not be read before contradicts, or the folder is full.
    pub(super) async fn keep(&mut self, now: &Now<'_>) -> Result<(), KeptError> {
        if !self.stream_read
            && let Some(of_stream) = self.keeping.recall_stream().await
        {
            if let Some(kept) = of_stream {
                now.hold_against(Place::Stream, &kept).await?;
            }
            self.stream_read = true;
        }
        let kept = now.kept();
        if self.last.as_ref() != Some(&kept) {
            self.keeping.keep(&kept).await?;
            self.last = Some(kept);
        }
        Ok(())
    }
}

/// A log as the database has it now.
pub(super) struct Now<'a> {
    pub(super) seals: &'a Seals,
    pub(super) log_id: Uuid,
    pub(super) key: VerifierKey,
    pub(super) beginnings: Vec<Beginning>,
    /// The last checkpoint, which is signed by the key.
    pub(super) latest: Option<(Checkpoint, String)>,
    pub(super) has_events: bool,
}

impl Now<'_> {
    fn beginning(&self) -> i32 {
        self.beginnings.last().map_or(0, |last| last.number)
    }

    fn kept(&self) -> Kept {
        Kept {
            key: self.key.clone(),
            beginning: self.beginning(),
            checkpoint: self.latest.clone(),
        }
    }

    /// # Errors
    /// [`KeptError::Contradicted`] when this log is not the one of the copy, and no operator has said
    /// that it goes on without it.
    async fn hold_against(&self, place: Place, kept: &Kept) -> Result<(), KeptError> {
        match self.contradiction(place, kept).await? {
            Some(_)
                if self
                    .beginnings
                    .iter()
                    .any(|beginning| beginning.abandons(kept)) =>
            {
                Ok(())
            }
            Some(contradiction) => Err(contradiction.into()),
            None => Ok(()),
        }
    }

    async fn contradiction(
        &self,
        place: Place,
        kept: &Kept,
    ) -> Result<Option<Contradiction>, sqlx::Error> {
        let size = kept.size();
        if kept.key.name() != origin(self.log_id) {
            let other = kept.key.name().to_owned();
            return Ok(Some(Contradiction::OtherLog { place, other }));
        }
        if kept.key != self.key {
            return Ok(Some(Contradiction::OtherKey { place }));
        }
        if kept.beginning > self.beginning() {
            let number = kept.beginning;
            return Ok(Some(Contradiction::BeginningGone { place, number }));
        }
        let Some((before, _)) = &kept.checkpoint else {
            return Ok(None);
        };
        let stored = self.latest.as_ref().map_or(0, |(signed, _)| signed.size);
        if size > stored {
            let stored = Position::try_from(stored).unwrap_or_default();
            return Ok(Some(Contradiction::Shrunk {
                place,
                size,
                stored,
            }));
        }
        let goes_on = match &self.latest {
            Some((signed, _)) => self.goes_on(size, &before.root, signed).await?,
            None => size == 0,
        };
        Ok((!goes_on).then_some(Contradiction::Rewritten { place, size }))
    }

    /// Whether the tree that was signed last begins with the tree of this size and root.
    async fn goes_on(
        &self,
        size: u64,
        root: &Digest,
        signed: &Checkpoint,
    ) -> Result<bool, sqlx::Error> {
        if size == 0 {
            return Ok(true);
        }
        let position = |size| Position::try_from(size).map_err(super::record::decode);
        let proof = self
            .seals
            .consistency(self.log_id, position(size)?, position(signed.size)?);
        match proof.await {
            Ok(proof) => {
                let shown = verify_consistency(size, signed.size, &proof.path, root, &signed.root);
                Ok(shown.is_ok())
            }
            Err(ProveError::Database(error)) => Err(error),
            // What is not there cannot be shown.
            Err(_) => Ok(false),
        }
    }
}

/// The copies that contradict the log, and that no operator has abandoned.
pub(super) async fn contradictions(
    now: &Now<'_>,
    copies: &[(Place, Kept)],
) -> Result<Vec<(Contradiction, Kept)>, KeptError> {
    let mut found = Vec::new();
    for (place, kept) in copies {
        match now.hold_against(*place, kept).await {
            Ok(()) => {}
            Err(KeptError::Contradicted(contradiction)) => {
                found.push((contradiction, kept.clone()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}
