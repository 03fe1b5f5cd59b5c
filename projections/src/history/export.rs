//! A slice of the log as a file, written page by page: what is kept in memory does not grow with it.

use super::reader::{HistoryReader, ReadHistoryError, Walk};
use chrono::{DateTime, SecondsFormat, Utc};
use std::collections::BTreeMap;
use std::time::Duration;
use thiserror::Error;
use touchline_domain::audit::Slice;
use touchline_eventstore::export::{Extent, Format, Header, PERSONAL_OPENED, Unfinished, Writer};
use touchline_eventstore::seal::Seals;
use touchline_eventstore::{EventStore, Position};

/// How many events are read and written at a time.
const PAGE_EVENTS: usize = 2_000;

/// How a slice is to be written.
#[derive(Debug, Clone, Copy)]
pub struct ExportSettings {
    /// In which form.
    pub format: Format,
    /// With what is personal opened. Digests do not fit what is opened, and the header says so.
    pub personal: bool,
    /// Now.
    pub at: DateTime<Utc>,
}

/// Why a slice cannot be written, or not be gone on with.
#[derive(Debug, Error)]
pub enum ExportHistoryError {
    /// The slice cannot be read.
    #[error(transparent)]
    Read(#[from] ReadHistoryError),
    /// A line cannot be written as JSON.
    #[error("an event cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
    /// The checkpoints cannot be read.
    #[error("the checkpoints cannot be read")]
    Seals(#[source] sqlx::Error),
    /// The file is of another log.
    #[error("the file is an export of another log")]
    OtherLog,
    /// The file is of another slice.
    #[error("the file is an export of another slice: it says {found}")]
    OtherSlice {
        /// The slice that its header names.
        found: String,
    },
}

/// An export under way.
pub struct Export {
    store: EventStore,
    walk: Walk,
    personal: bool,
    /// Gone after the trailer.
    writer: Option<Writer>,
    /// What is to be written before the next page.
    pending: Vec<u8>,
    extent: Extent,
}

impl HistoryReader {
    /// Looks at a slice that is to be exported. The whole log ends where its last signed checkpoint
    /// does, so that the file can be held against that; every other slice where the log does.
    ///
    /// # Errors
    /// [`ExportHistoryError`]; nothing was read then.
    pub async fn walk_to_export(
        &self,
        mut slice: Slice,
        within: Duration,
    ) -> Result<Walk, ExportHistoryError> {
        if slice.is_whole() && slice.until.is_none() {
            let sealed = self.seals().latest().await;
            let sealed = sealed.map_err(ExportHistoryError::Seals)?;
            slice.until = sealed.map(|checkpoint| checkpoint.size.get());
        }
        Ok(self.walk(slice, within).await?)
    }

    /// An export of a walk that is at its beginning.
    ///
    /// # Errors
    /// [`ExportHistoryError`].
    pub async fn export(
        &self,
        walk: Walk,
        settings: ExportSettings,
    ) -> Result<Export, ExportHistoryError> {
        let log_id = self
            .store()
            .log_id()
            .await
            .map_err(ReadHistoryError::from)?;
        let names = names(&walk.slice(), settings.personal);
        let header = Header::new(log_id, names, walk.through(), settings.at);
        let mut pending = Vec::new();
        let writer = Writer::begin(settings.format, header, &mut pending)?;
        Ok(Export {
            store: self.store().clone(),
            walk,
            personal: settings.personal,
            writer: Some(writer),
            pending,
            extent: Extent::default(),
        })
    }

    /// Looks at what is left of a slice after a file that was cut, whose export ends where it would
    /// have ended.
    ///
    /// # Errors
    /// [`ExportHistoryError::OtherLog`] and [`ExportHistoryError::OtherSlice`] when it is not a file
    /// of this, and the others.
    pub async fn walk_to_resume(
        &self,
        slice: Slice,
        personal: bool,
        cut: &Unfinished,
        within: Duration,
    ) -> Result<Walk, ExportHistoryError> {
        let log_id = self
            .store()
            .log_id()
            .await
            .map_err(ReadHistoryError::from)?;
        let header = &cut.header;
        if header.log_id != log_id {
            return Err(ExportHistoryError::OtherLog);
        }
        let through = header.through.get();
        let is_other_end = slice.until.is_some_and(|until| until != through);
        if header.slice != names(&slice, personal) || is_other_end {
            let found = serde_json::to_string(&header.slice)?;
            return Err(ExportHistoryError::OtherSlice { found });
        }
        let slice = Slice {
            until: Some(through),
            ..slice
        };
        let mut walk = self.walk(slice, within).await?;
        walk.skip_to(cut.extent.last.unwrap_or_default());
        Ok(walk)
    }

    /// Goes on with a file that was cut, and has been shortened to its last whole line.
    #[must_use]
    pub fn resume(&self, walk: Walk, personal: bool, cut: &Unfinished) -> Export {
        Export {
            store: self.store().clone(),
            walk,
            personal,
            writer: Some(Writer::resume(cut)),
            pending: Vec::new(),
            extent: cut.extent,
        }
    }

    fn seals(&self) -> Seals {
        Seals::new(self.store().pool().clone())
    }
}

impl Export {
    /// The next bytes of the file; none after its end.
    ///
    /// # Errors
    /// [`ExportHistoryError`]; what was given before is a file that was cut.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ExportHistoryError> {
        let Some(writer) = &mut self.writer else {
            return Ok(None);
        };
        let mut events = self.walk.page(PAGE_EVENTS).await?;
        if self.personal {
            events = self
                .store
                .open(events)
                .await
                .map_err(ReadHistoryError::from)?;
        }
        let mut bytes = std::mem::take(&mut self.pending);
        for event in &events {
            writer.event(event, &mut bytes)?;
        }
        self.extent = writer.extent();
        if self.walk.is_at_end()
            && let Some(writer) = self.writer.take()
        {
            let seals = Seals::new(self.store.pool().clone());
            let checkpoint = seals.at_most(self.walk.through()).await;
            let checkpoint = checkpoint.map_err(ExportHistoryError::Seals)?;
            writer.end(checkpoint.map(|it| it.note), &mut bytes)?;
        }
        Ok(Some(bytes))
    }

    /// What the file has so far.
    #[must_use]
    pub const fn extent(&self) -> Extent {
        self.extent
    }

    /// How far the log has been looked through, and up to where it will be.
    #[must_use]
    pub fn progress(&self) -> (Position, Position) {
        (self.walk.left().0, self.walk.through())
    }
}

/// The slice as a header names it: only what is asked for. Where it ends is said by the header
/// itself.
fn names(slice: &Slice, personal: bool) -> BTreeMap<String, String> {
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    [
        ("aggregate_type", slice.aggregate_type.clone()),
        ("aggregate_id", slice.aggregate_id.map(|id| id.to_string())),
        ("type", slice.event_type.clone()),
        ("actor", slice.actor.map(|id| id.to_string())),
        (
            "correlation_id",
            slice.correlation_id.map(|id| id.to_string()),
        ),
        ("from", slice.from.map(time)),
        ("to", slice.to.map(time)),
        ("after", (slice.after > 0).then(|| slice.after.to_string())),
        (
            PERSONAL_OPENED.0,
            personal.then(|| PERSONAL_OPENED.1.to_owned()),
        ),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}
