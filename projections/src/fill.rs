//! Fills tables from the log in large batches: for a rebuild, and to compare with.
//!
//! The log is read ahead by ranges of positions, without the events that do not matter here. With
//! several writers each takes the aggregates that hash to it, in a transaction and with a checkpoint
//! of its own.

mod cores;
mod pace;
mod split;

pub(crate) use cores::Cores;
pub(crate) use pace::Pace;
pub(crate) use split::Split;

use crate::batch::{Writer, Written};
use crate::checkpoint::{self, Aggregate, Checkpoint};
use crate::projection::{ProjectError, ReadModel};
use sqlx::PgPool;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;
use touchline_eventstore::database::{BY_KEY, Database};
use touchline_eventstore::lease::LEASE;
use touchline_eventstore::store::ReadError;
use touchline_eventstore::stream::partition;
use touchline_eventstore::{EventStore, LogEvent, Position};

/// How many positions are read, and written in one transaction, at once. Twice that of a runner:
/// nobody waits for these rows, and each statement's fixed price is shared by more events.
pub(crate) const CHUNK_POSITIONS: i64 = 10_000;
/// How near tables must be to others before they are brought to exactly the same position: the
/// runner waits while so many events are folded.
const NEAR_EVENTS: u64 = 1_000;
/// How often that may double, when the serving tables move on too fast to come so near.
const NEAR_DOUBLINGS_MAX: u32 = 6;
/// How many chunks are read ahead of each writer.
const READ_AHEAD_CHUNKS: usize = 2;

/// Why tables could not be filled. It may go away by itself.
#[derive(Debug, Error)]
pub(crate) enum FillError {
    #[error("the database cannot be reached or refused a statement")]
    Database(#[from] sqlx::Error),
    #[error("the log cannot be read")]
    Read(#[from] ReadError),
    #[error("a batch could not be written")]
    Write(#[from] ProjectError),
    #[error("a part of the work ended before its time")]
    Ended(#[from] JoinError),
}

/// How far tables were filled.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// As far as they were to be.
    Reached,
    /// Somebody else fills them now.
    Fenced,
    /// An event stops this build.
    Halted {
        /// Why.
        reason: String,
        /// The first event that is not folded.
        position: Position,
    },
}

/// How far the work is, for those who watch.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    position: AtomicI64,
    target: AtomicI64,
    events: AtomicU64,
}

impl Progress {
    /// The last position that every writer has passed.
    pub(crate) fn position(&self) -> i64 {
        self.position.load(Ordering::Relaxed)
    }

    /// The position to come to.
    pub(crate) fn target(&self) -> i64 {
        self.target.load(Ordering::Relaxed)
    }

    /// How many events were folded.
    pub(crate) fn events(&self) -> i64 {
        i64::try_from(self.events.load(Ordering::Relaxed)).unwrap_or(i64::MAX)
    }

    /// Starts where an earlier attempt got to.
    pub(crate) fn resume(&self, position: Position, events: i64) {
        self.position.store(position.get(), Ordering::Relaxed);
        let events = u64::try_from(events).unwrap_or_default();
        self.events.store(events, Ordering::Relaxed);
    }
}

/// Tables to fill: where, and what with.
pub(crate) struct Filling {
    pub(crate) model: Arc<dyn ReadModel>,
    pub(crate) store: EventStore,
    pub(crate) database: Database,
    /// The schema; it is also the name of the checkpoint.
    pub(crate) schema: String,
    /// What fences the checkpoints.
    pub(crate) epoch: i64,
    /// How many positions are one transaction, at most.
    pub(crate) chunk_positions: i64,
    pub(crate) progress: Arc<Progress>,
    pub(crate) pace: Arc<Pace>,
}

impl Filling {
    fn pool(&self) -> &PgPool {
        self.store.pool()
    }

    /// A writer that goes on from the checkpoint `name`. None when it is somebody else's.
    pub(crate) async fn writer(&self, name: &str) -> Result<Option<Writer>, FillError> {
        let Some(checkpoint) = checkpoint::claim(self.pool(), name, self.epoch).await? else {
            return Ok(None);
        };
        let parked = checkpoint::parked(self.pool(), name).await?;
        self.writer_at(name, &checkpoint, parked).await.map(Some)
    }

    async fn writer_at(
        &self,
        name: &str,
        checkpoint: &Checkpoint,
        parked: HashSet<Aggregate>,
    ) -> Result<Writer, FillError> {
        let (model, epoch) = (Arc::clone(&self.model), self.epoch);
        let discarded = checkpoint::discarded(self.pool(), model.name(), model.version()).await?;
        let connection = self.connect().await?;
        let name = name.to_owned();
        let writer = Writer::new(model, name, connection, epoch, checkpoint, parked);
        Ok(writer.without(discarded))
    }

    /// A connection whose unqualified names are those of the tables, tuned for filling.
    pub(crate) async fn connect(&self) -> Result<sqlx::PgConnection, sqlx::Error> {
        let search_path = format!("\"{}\"", self.schema);
        let idle_max_ms = (LEASE * 2).as_millis().to_string();
        let settings = [
            ("search_path", search_path.as_str()),
            // Nobody reads these tables: a crash takes rows and checkpoint back together, and they are
            // filled again. The commit of the swap brings all to the disk that came before it.
            ("synchronous_commit", "off"),
            ("idle_in_transaction_session_timeout", idle_max_ms.as_str()),
        ];
        self.database
            .connect(&[BY_KEY.as_slice(), &settings].concat())
            .await
    }

    /// Folds the log into the tables up to `to`, and gives the writers back in their order.
    pub(crate) async fn fill(
        &self,
        writers: Vec<Writer>,
        to: Position,
    ) -> Result<(Filled, Vec<Writer>), FillError> {
        let from = writers.iter().map(Writer::position).min();
        let from = from.unwrap_or_default();
        self.progress.target.fetch_max(to.get(), Ordering::Relaxed);
        if from >= to {
            return Ok((Filled::Reached, writers));
        }
        self.pace.to_fold(to.since(from));
        let _watching = self.pace.watch(self.pool()).await;
        let mut senders = Vec::with_capacity(writers.len());
        let mut tasks = Vec::with_capacity(writers.len());
        let lone = writers.len() == 1;
        for writer in writers {
            let (sender, chunks) = mpsc::channel(READ_AHEAD_CHUNKS);
            senders.push(sender);
            let (pace, progress) = (Arc::clone(&self.pace), Arc::clone(&self.progress));
            let writing = write(writer, chunks, lone, pace, progress);
            tasks.push(AbortOnDropHandle::new(tokio::spawn(writing)));
        }
        let reader = Reader {
            store: self.store.clone(),
            useless: useless(&*self.model),
            chunk_positions: self.chunk_positions,
            pace: Arc::clone(&self.pace),
        };
        let reading = AbortOnDropHandle::new(tokio::spawn(reader.read(from, to, senders)));

        let mut filled = Filled::Reached;
        let mut writers = Vec::with_capacity(tasks.len());
        for task in tasks {
            let (part, writer) = task.await??;
            writers.push(writer);
            if part != Filled::Reached {
                filled = part;
            }
        }
        if filled == Filled::Reached {
            reading.await??;
            self.progress.position.store(to.get(), Ordering::Relaxed);
        }
        Ok((filled, writers))
    }

    /// Whether tables at `ours` are so near to others at `theirs` that a runner may wait for them.
    pub(crate) fn is_near(&self, ours: Position, theirs: Position) -> bool {
        let chunk = u64::try_from(self.chunk_positions).unwrap_or(NEAR_EVENTS);
        let doublings = self.pace.outrun();
        let near = NEAR_EVENTS.min(chunk) << doublings.min(NEAR_DOUBLINGS_MAX);
        theirs.since(ours) <= near
    }

    /// Folds a few events more, by hand.
    pub(crate) async fn catch_up(
        &self,
        writer: &mut Writer,
        to: Position,
    ) -> Result<Filled, FillError> {
        let after = writer.position();
        if after >= to {
            // Nothing shows otherwise that a crash took back what the writer believes to be written.
            let found = writer.look().await?;
            return Ok(match found {
                Written::Committed => Filled::Reached,
                _ => Filled::Fenced,
            });
        }
        let useless = useless(&*self.model);
        let events = self.store.read_range(after, to, &useless).await?;
        let events = self.store.open(events).await?;
        let count = u64::try_from(events.len()).unwrap_or_default();
        Ok(match writer.write_up_to(events, to, usize::MAX).await? {
            Written::Committed => {
                self.progress.events.fetch_add(count, Ordering::Relaxed);
                self.progress.position.store(to.get(), Ordering::Relaxed);
                Filled::Reached
            }
            Written::Fenced | Written::Changed | Written::NotInLog => Filled::Fenced,
            Written::Halted { reason, position } => Filled::Halted { reason, position },
        })
    }
}

/// A range of positions: its last one, and what of its events is one writer's.
struct Chunk {
    to: Position,
    events: Vec<LogEvent>,
}

/// The types that this build knows and the read model has no use for.
fn useless(model: &dyn ReadModel) -> Vec<&'static str> {
    touchline_domain::CATALOGUE
        .iter()
        .flat_map(|kind| kind.events.iter().map(|(name, _)| *name))
        .filter(|name| !model.takes(name))
        .collect()
}

/// Reads the log by ranges.
struct Reader {
    store: EventStore,
    /// The types of events to leave out.
    useless: Vec<&'static str>,
    chunk_positions: i64,
    pace: Arc<Pace>,
}

impl Reader {
    /// Deals each range out to all writers. A writer that has ended ends it.
    async fn read(
        self,
        from: Position,
        to: Position,
        writers: Vec<mpsc::Sender<Chunk>>,
    ) -> Result<(), ReadError> {
        let mut after = from;
        while after < to {
            let positions = self.pace.positions(self.chunk_positions);
            let last = after.get().saturating_add(positions).min(to.get());
            let last = checkpoint::position(last);
            let core = self.pace.core().await;
            let events = self.store.read_range(after, last, &self.useless).await?;
            let events = self.store.open(events).await?;
            drop(core);
            for (writer, events) in writers.iter().zip(deal(events, writers.len())) {
                if writer.send(Chunk { to: last, events }).await.is_err() {
                    return Ok(());
                }
            }
            after = last;
        }
        Ok(())
    }
}

/// Each writer's events, in order. An aggregate is always the same writer's.
fn deal(events: Vec<LogEvent>, writers: usize) -> Vec<Vec<LogEvent>> {
    if writers == 1 {
        return vec![events];
    }
    let mut hands: Vec<Vec<LogEvent>> = (0..writers).map(|_| Vec::new()).collect();
    for event in events {
        let hand = usize::from(partition(&event.aggregate_id)) % writers;
        if let Some(hand) = hands.get_mut(hand) {
            hand.push(event);
        }
    }
    hands
}

async fn write(
    mut writer: Writer,
    mut chunks: mpsc::Receiver<Chunk>,
    lone: bool,
    pace: Arc<Pace>,
    progress: Arc<Progress>,
) -> Result<(Filled, Writer), FillError> {
    while let Some(Chunk { to, mut events }) = chunks.recv().await {
        // An earlier attempt may have written some of what the slowest writer still needs.
        let done = writer.position();
        events.retain(|event| event.position > done);
        let count = u64::try_from(events.len()).unwrap_or_default();
        let core = pace.core().await;
        let at_once = pace.fold_events();
        let mut written = writer.write_up_to(events, to.max(done), at_once).await?;
        if written == Written::Committed {
            written = writer.sweep().await?;
        }
        drop(core);
        match written {
            Written::Committed => {}
            Written::Fenced | Written::Changed | Written::NotInLog => {
                return Ok((Filled::Fenced, writer));
            }
            Written::Halted { reason, position } => {
                return Ok((Filled::Halted { reason, position }, writer));
            }
        }
        progress.events.fetch_add(count, Ordering::Relaxed);
        // Writers go through the same ranges with little between them, so the last one to say so is
        // near the slowest.
        let position = writer.position().get();
        if lone {
            progress.position.store(position, Ordering::Relaxed);
        } else {
            progress.position.fetch_max(position, Ordering::Relaxed);
        }
    }
    Ok((Filled::Reached, writer))
}
