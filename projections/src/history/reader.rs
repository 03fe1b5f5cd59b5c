//! Reading history: slices of the log, the state of an aggregate as of some event, and what each of
//! its events changed.

use super::HistoryProjection;
use super::query::{Window, narrow, positions};
use crate::freshness::{Behind, Freshness};
use crate::projection::Projection as _;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use std::time::Duration;
use thiserror::Error;
use touchline_domain::Kind;
use touchline_domain::audit::{Slice, SliceError};
use touchline_domain::replay::{Change, Replay, ReplayError, changes};
use touchline_eventstore::history::AggregateEvents;
use touchline_eventstore::store::{LOAD_PAGE_EVENTS, ReadError};
use touchline_eventstore::{EventStore, LogEvent, Position};
use uuid::Uuid;

/// The most events that one page of a [`Walk`] has.
pub const PAGE_EVENTS_MAX: usize = 5_000;

/// Reads history. Cheap to clone.
#[derive(Clone)]
pub struct HistoryReader {
    store: EventStore,
    freshness: Freshness,
}

/// Why history could not be read.
#[derive(Debug, Error)]
pub enum ReadHistoryError {
    /// There can be no such slice.
    #[error(transparent)]
    Slice(#[from] SliceError),
    /// A position is asked for that the log has not reached.
    #[error("position {position} is beyond the end of the log, which is {head}")]
    BeyondHead {
        /// What was asked for.
        position: Position,
        /// The last position of the log.
        head: Position,
    },
    /// The index on who did what and when has not reached the end of the slice.
    #[error("the read model history has not reached the end of the slice")]
    Behind(#[from] Behind),
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Read(#[from] ReadError),
    /// The index cannot be read.
    #[error("the read model history cannot be read")]
    Index(#[from] sqlx::Error),
    /// An aggregate cannot be folded.
    #[error("the history of the aggregate cannot be folded")]
    Replay(#[from] ReplayError),
    /// The index names an event that the log does not have.
    #[error("the log has no event at a position that the read model history names")]
    Drift,
}

/// As of when the state of an aggregate is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// As it is now.
    Now,
    /// Right after this position.
    Position(Position),
    /// Before the first of its events that was recorded after this time.
    Time(DateTime<Utc>),
}

impl AsOf {
    /// The part of the log that is looked at for the state of an aggregate.
    #[must_use]
    pub fn slice(self, kind: &Kind, id: Uuid) -> Slice {
        let mut slice = Slice::of_aggregate(kind.aggregate_type, id);
        match self {
            Self::Now => {}
            Self::Position(position) => slice.until = Some(position.get()),
            Self::Time(time) => slice.to = Some(time),
        }
        slice
    }
}

/// What an aggregate was.
#[derive(Debug, Clone, Serialize)]
pub struct AggregateState {
    /// The frozen name of the kind of aggregate.
    pub aggregate_type: String,
    /// Which one.
    pub aggregate_id: Uuid,
    /// The sequence of the last event that is folded in.
    pub version: i64,
    /// Where that event stands.
    pub position: Position,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// The fold of its events, as its own type writes it.
    pub state: Value,
}

/// An event, and what it changed.
#[derive(Debug, Clone, Serialize)]
pub struct ChangedBy {
    /// The event.
    pub event: LogEvent,
    /// What is different after it.
    pub changes: Vec<Change>,
}

impl HistoryReader {
    /// A reader of the log and its index through the pool of `store`. `freshness` says how far the
    /// index is.
    #[must_use]
    pub fn new(store: EventStore, freshness: Freshness) -> Self {
        Self { store, freshness }
    }

    /// The log.
    #[must_use]
    pub const fn store(&self) -> &EventStore {
        &self.store
    }

    /// Looks at a slice: everything that it is to give is fixed now. When the slice is found by the
    /// index, this waits `within` for the index to reach its end.
    ///
    /// # Errors
    /// [`ReadHistoryError`]; nothing was read then.
    pub async fn walk(&self, slice: Slice, within: Duration) -> Result<Walk, ReadHistoryError> {
        let types = slice.check()?;
        let head = self.store.head().await?;
        let within_log = |number: i64| {
            let position = Position::new(number).unwrap_or_default();
            if position > head {
                return Err(ReadHistoryError::BeyondHead { position, head });
            }
            Ok(position)
        };
        let through = slice.until.map_or(Ok(head), within_log)?;
        let after = within_log(slice.after)?;
        let source = Source::of(&slice, types.is_some());
        let (mut after, mut until) = (after, through);
        if source == Source::Index {
            let name = HistoryProjection::NAME;
            self.freshness.wait_for(name, through, within).await?;
            let pool = self.store.pool();
            (after, until) = narrow(pool, slice.from, slice.to, (after, until)).await?;
        }
        Ok(Walk {
            store: self.store.clone(),
            types: types.map(|types| types.into_iter().map(str::to_owned).collect()),
            slice,
            source,
            through,
            after,
            until,
        })
    }

    /// Events as somebody sees them: `personal` says whether they may see what is personal. The
    /// digests are those of the events as stored, and do not fit what is shown in place of a seal.
    ///
    /// # Errors
    /// When the keys cannot be read.
    pub async fn show(
        &self,
        events: Vec<LogEvent>,
        personal: bool,
    ) -> Result<Vec<LogEvent>, ReadHistoryError> {
        let mut events = self.store.open(events).await?;
        if !personal {
            for event in &mut events {
                event.payload = withheld(event)?;
            }
        }
        Ok(events)
    }

    /// The state of an aggregate; none when it had no event by then. `kind` is its type.
    ///
    /// # Errors
    /// [`ReadHistoryError`].
    pub async fn state(
        &self,
        kind: &Kind,
        id: Uuid,
        as_of: AsOf,
        personal: bool,
    ) -> Result<Option<AggregateState>, ReadHistoryError> {
        let head = self.store.head().await?;
        let until = match as_of {
            AsOf::Position(position) if position > head => {
                return Err(ReadHistoryError::BeyondHead { position, head });
            }
            AsOf::Position(position) => position,
            AsOf::Now | AsOf::Time(_) => head,
        };
        let is_later =
            |event: &LogEvent| matches!(as_of, AsOf::Time(time) if event.recorded_at > time);
        let mut fold = self.fold(kind, id, until, personal);
        let mut last = None;
        'pages: loop {
            let page = fold.page().await?;
            if page.is_empty() {
                break;
            }
            for event in page {
                if is_later(&event) {
                    break 'pages;
                }
                fold.apply(&event)?;
                last = Some(event);
            }
        }
        let Some(last) = last else {
            return Ok(None);
        };
        Ok(Some(AggregateState {
            aggregate_type: last.aggregate_type,
            aggregate_id: id,
            version: last.sequence,
            position: last.position,
            recorded_at: last.recorded_at,
            state: fold.replay.state()?.shown,
        }))
    }

    /// What the events of an aggregate after a position changed, at most `limit` of them, in order.
    ///
    /// # Errors
    /// [`ReadHistoryError`].
    pub async fn changes(
        &self,
        kind: &Kind,
        id: Uuid,
        (after, until): (Position, Position),
        limit: usize,
        personal: bool,
    ) -> Result<Vec<ChangedBy>, ReadHistoryError> {
        let mut fold = self.fold(kind, id, until, personal);
        let mut shown = Vec::new();
        let mut before = fold.replay.state()?;
        loop {
            let page = fold.page().await?;
            if page.is_empty() {
                return Ok(shown);
            }
            for mut event in page {
                if shown.len() == limit {
                    return Ok(shown);
                }
                fold.apply(&event)?;
                let now = fold.replay.state()?;
                if event.position > after {
                    if !personal {
                        event.payload = withheld(&event)?;
                    }
                    let changes = changes(&before, &now);
                    shown.push(ChangedBy { event, changes });
                }
                before = now;
            }
        }
    }

    fn fold<'a>(&'a self, kind: &'a Kind, id: Uuid, until: Position, personal: bool) -> Fold<'a> {
        Fold {
            store: &self.store,
            types: [kind.aggregate_type],
            id,
            until,
            after: Position::START,
            replay: kind.replay(personal),
        }
    }
}

/// The payload of an opened event without what is personal.
fn withheld(event: &LogEvent) -> Result<Box<RawValue>, ReplayError> {
    let Some(kind) = touchline_domain::kind(&event.aggregate_type) else {
        return Ok(RawValue::NULL.to_owned());
    };
    let (name, version) = (&event.event_type, &event.event_version);
    let payload = kind.withhold(name, version, event.payload.get())?;
    Ok(to_raw_value(&payload)?)
}

/// An aggregate that is being folded, page by page.
struct Fold<'a> {
    store: &'a EventStore,
    types: [&'a str; 1],
    id: Uuid,
    until: Position,
    after: Position,
    replay: Box<dyn Replay>,
}

impl Fold<'_> {
    /// The next opened events; none after the last.
    async fn page(&mut self) -> Result<Vec<LogEvent>, ReadError> {
        let wanted = AggregateEvents::all(&self.types, self.id, self.until);
        let page = self
            .store
            .read_matching(&wanted, self.after, usize::from(LOAD_PAGE_EVENTS))
            .await?;
        if let Some(last) = page.last() {
            self.after = last.position;
        }
        self.store.open(page).await
    }

    fn apply(&mut self, event: &LogEvent) -> Result<(), ReplayError> {
        let (name, version) = (&event.event_type, &event.event_version);
        self.replay.fold(name, version, event.payload.get())
    }
}

/// By what a slice is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The log, from end to end.
    Log,
    /// The log's index on aggregates.
    Aggregates,
    /// The read model.
    Index,
}

impl Source {
    fn of(slice: &Slice, names_types: bool) -> Self {
        if slice.aggregate_id.is_some() {
            Self::Aggregates
        } else if names_types
            || slice.actor.is_some()
            || slice.correlation_id.is_some()
            || slice.from.is_some()
            || slice.to.is_some()
        {
            Self::Index
        } else {
            Self::Log
        }
    }
}

/// A slice that is being read in log order, page by page. It ends where it was to end when it began.
pub struct Walk {
    store: EventStore,
    slice: Slice,
    types: Option<Vec<String>>,
    source: Source,
    through: Position,
    after: Position,
    until: Position,
}

impl Walk {
    /// The slice, and up to where it is read.
    #[must_use]
    pub fn slice(&self) -> Slice {
        Slice {
            until: Some(self.through.get()),
            ..self.slice.clone()
        }
    }

    /// The last position that is looked at.
    #[must_use]
    pub fn through(&self) -> Position {
        self.through
    }

    /// Between which positions events may still come.
    #[must_use]
    pub fn left(&self) -> (Position, Position) {
        (self.after, self.until)
    }

    /// Whether no event can come any more.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.after >= self.until
    }

    /// Goes on after `position`, if that lies ahead.
    pub fn skip_to(&mut self, position: Position) {
        self.after = self.after.max(position);
    }

    /// The next events as stored: at most `limit`, and at most [`PAGE_EVENTS_MAX`]; none after the
    /// last.
    ///
    /// # Errors
    /// [`ReadHistoryError`]; the same page can be asked for again.
    pub async fn page(&mut self, limit: usize) -> Result<Vec<LogEvent>, ReadHistoryError> {
        if self.after >= self.until {
            return Ok(Vec::new());
        }
        let limit = limit.min(PAGE_EVENTS_MAX);
        let events = match self.source {
            Source::Log => self.read_log(limit).await?,
            Source::Aggregates => self.read_aggregates(limit).await?,
            Source::Index => self.read_indexed(limit).await?,
        };
        self.after = match events.last() {
            Some(last) if events.len() == limit => last.position,
            _ => self.until,
        };
        Ok(events)
    }

    async fn read_log(&self, limit: usize) -> Result<Vec<LogEvent>, ReadHistoryError> {
        let left = usize::try_from(self.until.since(self.after)).unwrap_or(usize::MAX);
        Ok(self.store.read(self.after, limit.min(left)).await?)
    }

    async fn read_aggregates(&self, limit: usize) -> Result<Vec<LogEvent>, ReadHistoryError> {
        let Some(aggregate_id) = self.slice.aggregate_id else {
            return Ok(Vec::new());
        };
        let event_types: Option<Vec<&str>> = self
            .types
            .as_ref()
            .map(|types| types.iter().map(String::as_str).collect());
        let wanted = AggregateEvents {
            aggregate_types: &self.slice.aggregate_types(),
            aggregate_id,
            event_types: event_types.as_deref(),
            actor: self.slice.actor.map(touchline_domain::id::UserId::uuid),
            correlation_id: self.slice.correlation_id,
            from: self.slice.from,
            to: self.slice.to,
            until: self.until,
        };
        Ok(self.store.read_matching(&wanted, self.after, limit).await?)
    }

    async fn read_indexed(&self, limit: usize) -> Result<Vec<LogEvent>, ReadHistoryError> {
        let window = Window {
            after: self.after,
            until: self.until,
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
        };
        let types = self.types.as_deref();
        let found = positions(self.store.pool(), &self.slice, types, window).await?;
        let events = self.store.read_at(&found).await?;
        if events.len() == found.len() {
            Ok(events)
        } else {
            Err(ReadHistoryError::Drift)
        }
    }
}
