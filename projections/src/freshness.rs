//! Waiting until a read model has seen a position: how somebody reads their own writes.

use crate::checkpoint;
use crate::status::{ProjectionState, ProjectionStatus};
use sqlx::PgPool;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use touchline_eventstore::{Position, Tasks};

/// How often the checkpoints are read while a runner of another process moves one.
const POLL: Duration = Duration::from_millis(50);
/// The most who wait at once for one read model.
pub const WAITERS_MAX: usize = 4_096;
/// The most of them who wait for one position: those who wrote there, and whoever they told of it. One
/// client can read often, but has not written at many positions that a read model has yet to reach,
/// so it cannot take the places of all others.
pub const WAITERS_PER_POSITION_MAX: usize = 64;

/// Why a read model cannot be read at the position asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Behind {
    /// It did not get there in time.
    #[error(
        "the read model is at position {position} and has not reached the one asked for in time"
    )]
    TimedOut {
        /// Where it was when the time was over.
        position: Position,
    },
    /// Too many wait for this read model already, or for this position of it.
    #[error("too many wait for the read model at once")]
    Crowded,
    /// There is no such projection.
    #[error("there is no such projection")]
    Unknown,
}

/// How far each read model is, from memory when its runner is in this process. Cheap to clone.
#[derive(Clone)]
pub struct Freshness(Arc<Inner>);

struct Inner {
    sources: HashMap<&'static str, Source>,
    tasks: Tasks,
    /// Ends the reading of checkpoints when nobody can ask any more.
    _asked: DropGuard,
}

/// Where the position of one projection is known from.
struct Source {
    /// The runner in this process, which counts while it leads.
    local: Option<watch::Receiver<ProjectionStatus>>,
    /// The checkpoint, as last read.
    polled: watch::Sender<Position>,
    waiters: Mutex<Waiters>,
}

/// Who waits for one read model.
#[derive(Default)]
struct Waiters {
    all: usize,
    /// How many wait for each position; none is 0.
    at: HashMap<Position, usize>,
}

/// A place among the waiters; dropping it gives it back.
struct Place<'a> {
    waiters: &'a Mutex<Waiters>,
    position: Position,
}

impl Freshness {
    /// Follows the projections `names`; `runners` are those of them that run in this process.
    ///
    /// # Panics
    /// Outside a tokio runtime, since it reads checkpoints in the background.
    #[must_use]
    pub fn new(
        pool: PgPool,
        names: &[&'static str],
        runners: &[watch::Receiver<ProjectionStatus>],
    ) -> Self {
        let source = |name: &'static str| Source {
            local: runners
                .iter()
                .find(|runner| runner.borrow().name == name)
                .cloned(),
            polled: watch::Sender::new(Position::START),
            waiters: Mutex::default(),
        };
        let sources = names.iter().map(|name| (*name, source(name))).collect();
        let stop = CancellationToken::new();
        let tasks = Tasks::default();
        let inner = Arc::new(Inner {
            sources,
            tasks: tasks.clone(),
            _asked: stop.clone().drop_guard(),
        });
        let polled = Arc::downgrade(&inner);
        tasks.keep("freshness", stop, move || {
            poll(pool.clone(), Weak::clone(&polled))
        });
        Self(inner)
    }

    /// The task that reads checkpoints.
    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    /// How far the read model is at least. [`Position::START`] while nothing is known of it.
    #[must_use]
    pub fn position(&self, projection: &str) -> Position {
        let source = self.0.sources.get(projection);
        source.map(Source::position).unwrap_or_default()
    }

    /// Waits until the read model has seen `position`, for no longer than `within`, and says how far
    /// it is. No database connection is held meanwhile.
    ///
    /// # Errors
    /// [`Behind`] when it has not.
    pub async fn wait_for(
        &self,
        projection: &str,
        position: Position,
        within: Duration,
    ) -> Result<Position, Behind> {
        let source = self.0.sources.get(projection).ok_or(Behind::Unknown)?;
        let now = source.position();
        if now >= position {
            return Ok(now);
        }
        let Some(_place) = Place::take(&source.waiters, position) else {
            return Err(Behind::Crowded);
        };
        timeout(within, source.reach(position))
            .await
            .map_err(|_elapsed| Behind::TimedOut {
                position: source.position(),
            })
    }
}

impl<'a> Place<'a> {
    /// None when all are taken.
    fn take(waiters: &'a Mutex<Waiters>, position: Position) -> Option<Self> {
        let mut taken = waiters.lock().unwrap_or_else(PoisonError::into_inner);
        let here = taken.at.get(&position).copied().unwrap_or_default();
        if taken.all >= WAITERS_MAX || here >= WAITERS_PER_POSITION_MAX {
            return None;
        }
        taken.all += 1;
        taken.at.insert(position, here + 1);
        drop(taken);
        Some(Self { waiters, position })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        if let Some(here) = taken.at.get_mut(&self.position) {
            *here -= 1;
            if *here == 0 {
                taken.at.remove(&self.position);
            }
        }
    }
}

impl Source {
    /// The position that the local runner has, if it leads.
    fn leading(&self) -> Option<Position> {
        let status = self.local.as_ref()?.borrow();
        (status.state == ProjectionState::Running).then_some(status.position)
    }

    fn position(&self) -> Position {
        self.leading().unwrap_or_else(|| *self.polled.borrow())
    }

    async fn reach(&self, position: Position) -> Position {
        let mut polled = self.polled.subscribe();
        let mut local = self.local.clone();
        loop {
            let now = self.position();
            if now >= position {
                return now;
            }
            let moved = async {
                let runs = match &mut local {
                    Some(local) => local.changed().await.is_ok(),
                    None => false,
                };
                if !runs {
                    // Without a runner here, only the checkpoint moves.
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = moved => {}
                _ = polled.changed() => {}
            }
        }
    }
}

/// Reads the checkpoints as long as anybody may ask and not every runner leads in this process.
async fn poll(pool: PgPool, inner: Weak<Inner>) {
    loop {
        let Some(needed) = inner
            .upgrade()
            .map(|inner| inner.sources.values().any(|it| it.leading().is_none()))
        else {
            return;
        };
        if needed {
            match checkpoint::positions(&pool).await {
                Ok(positions) => store(&inner, &positions),
                Err(error) => tracing::debug!(%error, "checkpoints not read"),
            }
        }
        sleep(POLL).await;
    }
}

fn store(inner: &Weak<Inner>, positions: &[(String, Position)]) {
    let Some(inner) = inner.upgrade() else { return };
    for (name, position) in positions {
        if let Some(source) = inner.sources.get(&**name) {
            source.polled.send_if_modified(|polled| {
                let moved = polled != position;
                *polled = *position;
                moved
            });
        }
    }
}
