//! How large the bites are in which tables are filled: small ones while others read.
//!
//! A session of PostgreSQL that works gives its core back when its statement ends, and hardly before.
//! Whoever was woken on that core waits as long: with large batches that are several milliseconds,
//! for each read that meets one. So while somebody reads, statements are so small that they take
//! hardly longer than a read.

use super::cores::{Core, Cores};
use sqlx::PgPool;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

/// How many positions are one transaction while others read.
const GENTLE_POSITIONS: i64 = 50;
/// How many events are folded at once while others read. One event can be as many rows as somebody
/// has followers.
const GENTLE_FOLD_EVENTS: usize = 5;
/// How many blocks of a table are read at once while others read.
const GENTLE_BLOCKS: i64 = 16;
/// How often is looked whether somebody reads.
const LOOK: Duration = Duration::from_secs(1);
/// How often the log may grow faster than it is folded before readers have to wait for the work.
const GAINED_MAX: u32 = 3;

/// Whether there are readers to be gentle with.
#[derive(Debug)]
pub(crate) struct Pace {
    cores: Arc<Cores>,
    readers: AtomicBool,
    /// How many events there were to fold last time; 0 before.
    gap: AtomicU64,
    /// How often there were more to fold than the time before.
    gained: AtomicU32,
    /// How often the serving tables were found to have moved on too far.
    outrun: AtomicU32,
}

impl Pace {
    /// The pace of work on these cores.
    pub(crate) fn new(cores: Arc<Cores>) -> Self {
        Self {
            cores,
            readers: AtomicBool::default(),
            gap: AtomicU64::default(),
            gained: AtomicU32::default(),
            outrun: AtomicU32::default(),
        }
    }

    /// Waits for a core, to be held while something is done.
    pub(crate) async fn core(&self) -> Core<'_> {
        self.cores.take(self.is_gentle()).await
    }

    /// `gap` events are to be folded now.
    pub(super) fn to_fold(&self, gap: u64) {
        let before = self.gap.swap(gap, Ordering::Relaxed);
        if before > 0 && gap >= before {
            self.gained.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Looks for readers now, and then until what is returned is dropped.
    pub(crate) async fn watch(self: &Arc<Self>, pool: &PgPool) -> AbortOnDropHandle<()> {
        self.look(pool).await;
        let (pace, pool) = (Arc::clone(self), pool.clone());
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                sleep(LOOK).await;
                pace.look(&pool).await;
            }
        }))
    }

    async fn look(&self, pool: &PgPool) {
        // Whoever cannot be seen may be a reader.
        let readers = has_readers(pool).await.unwrap_or(true);
        self.readers.store(readers, Ordering::Relaxed);
    }

    fn is_gentle(&self) -> bool {
        self.readers.load(Ordering::Relaxed) && self.gained.load(Ordering::Relaxed) < GAINED_MAX
    }

    /// How many positions are one transaction, when they could be so many.
    pub(super) fn positions(&self, most: i64) -> i64 {
        if self.is_gentle() {
            most.min(GENTLE_POSITIONS)
        } else {
            most
        }
    }

    /// How many events are folded at once.
    pub(super) fn fold_events(&self) -> usize {
        if self.is_gentle() {
            GENTLE_FOLD_EVENTS
        } else {
            usize::MAX
        }
    }

    /// How many of `all` blocks of a table are read at once.
    pub(crate) fn blocks(&self, all: i64) -> i64 {
        if self.is_gentle() {
            GENTLE_BLOCKS
        } else {
            all.max(1)
        }
    }

    /// The serving tables have gained on the work.
    pub(crate) fn outran(&self) {
        self.outrun.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was so.
    pub(super) fn outrun(&self) -> u32 {
        self.outrun.load(Ordering::Relaxed)
    }
}

/// Whether a session that is none of our workers did something within the last moment. Only the role
/// that logged in sees that of its other sessions.
async fn has_readers(pool: &PgPool) -> Result<bool, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    sqlx::query("SET LOCAL ROLE NONE")
        .execute(&mut *transaction)
        .await?;
    let found = sqlx::query_scalar!(
        r#"
        SELECT EXISTS (
            SELECT FROM pg_stat_activity AS session
            WHERE session.datname = current_database()
              AND session.backend_type = 'client backend'
              AND session.application_name <> 'touchline'
              AND (session.state IS DISTINCT FROM 'idle'
                   OR session.state_change > clock_timestamp() - interval '2 seconds')
        ) AS "found!"
        "#,
    )
    .fetch_one(&mut *transaction)
    .await?;
    transaction.rollback().await?;
    Ok(found)
}
