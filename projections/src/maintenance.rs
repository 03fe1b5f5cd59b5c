//! What is done to a read model beside following the log: it is rebuilt, verified, and sampled.
//!
//! One task per read model and process looks for requests. Who holds the lease works one off; what
//! it writes is fenced by the lease's epoch, as a runner's batches are.

use crate::checkpoint;
use crate::fill::{CHUNK_POSITIONS, Cores, FillError, Filling, Pace, Progress};
use crate::projection::{ReadModel, chain};
use crate::rebuild::{self, Ended, Rebuild, RebuildError, Rebuilding, drop_leftovers};
use crate::runner::renew;
use crate::verify::sample::{SampleError, Sampler};
use crate::verify::{self, Verification, Verifying};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use touchline_eventstore::EventStore;
use touchline_eventstore::database::Database;
use touchline_eventstore::lease::Lease;
use uuid::Uuid;

/// How often is looked for requests.
const POLL: Duration = Duration::from_millis(500);
/// How often a job says how far it is, and looks whether it was cancelled.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// The pause between two samples, at least.
const SAMPLE_PAUSE: Duration = Duration::from_secs(5);
/// How many times as long as a sample took the pause after it lasts, at least: so it never takes more
/// than a fiftieth of one connection's time.
const SAMPLE_REST: u32 = 50;
/// The pause after the first failure in a row; it doubles with each.
const FAILURE_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause after a failure.
const FAILURE_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Works off what is asked of one read model.
pub struct Maintenance {
    model: Arc<dyn ReadModel>,
    store: EventStore,
    database: Database,
    holder: Uuid,
    chunk_positions: i64,
    sample_pause: Duration,
    cores: Arc<Cores>,
}

/// What ends a round before its time. It may go away by itself.
#[derive(Debug, Error)]
enum RoundError {
    #[error("the database cannot be reached or refused a statement")]
    Database(#[from] sqlx::Error),
    #[error("the rebuild was interrupted")]
    Rebuild(#[from] RebuildError),
    #[error("the verification was interrupted")]
    Verify(#[from] FillError),
    #[error("no sample could be taken")]
    Sample(#[from] SampleError),
}

/// What there is to do.
enum Job {
    Rebuild(Box<Rebuild>),
    Verify(Box<Verification>),
    /// Schemas that an earlier job may have left.
    CleanUp,
    /// Nothing was asked for: a sample is compared.
    Sample,
}

/// What one round leaves for the next.
struct Memory {
    /// Whether no schema can be left beside the serving one.
    clean: bool,
    sampler: Option<Sampler>,
    sample_at: Instant,
}

impl Maintenance {
    /// Maintenance of `model` by the process `holder`.
    #[must_use]
    pub fn new(
        model: Arc<dyn ReadModel>,
        store: EventStore,
        database: Database,
        holder: Uuid,
    ) -> Self {
        Self {
            model,
            store,
            database,
            holder,
            chunk_positions: CHUNK_POSITIONS,
            sample_pause: SAMPLE_PAUSE,
            cores: Arc::new(Cores::of_this_machine()),
        }
    }

    /// The same, sharing cores with other maintenance of this process.
    #[must_use]
    pub(crate) fn sharing(mut self, cores: &Arc<Cores>) -> Self {
        self.cores = Arc::clone(cores);
        self
    }

    /// The same, filling tables by so many positions of the log in one transaction.
    #[must_use]
    pub fn with_chunks(mut self, positions: u32) -> Self {
        self.chunk_positions = i64::from(positions.max(1));
        self
    }

    /// The same, with another pause between two samples.
    #[must_use]
    pub fn with_sample_pause(mut self, pause: Duration) -> Self {
        self.sample_pause = pause;
        self
    }

    /// Works off requests until `stop`. What it has begun then, it or another process goes on with.
    /// It outlives every failure of the database.
    pub async fn run(self, stop: CancellationToken) {
        let mut failure_pause = FAILURE_PAUSE;
        let mut memory = Memory {
            clean: false,
            sampler: None,
            sample_at: Instant::now() + self.sample_pause,
        };
        while !stop.is_cancelled() {
            let pause = match self.round(&mut memory, &stop).await {
                Ok(()) => {
                    failure_pause = FAILURE_PAUSE;
                    POLL
                }
                Err(error) => {
                    let name = self.model.name();
                    let reason = chain(&error);
                    tracing::warn!(
                        projection = name,
                        reason,
                        "maintenance of projection {name}: will try again"
                    );
                    let pause = failure_pause;
                    failure_pause = (pause * 2).min(FAILURE_PAUSE_MAX);
                    pause
                }
            };
            let _stopped = stop.run_until_cancelled(sleep(pause)).await;
        }
    }

    /// Looks once for something to do, and does it.
    async fn round(&self, memory: &mut Memory, stop: &CancellationToken) -> Result<(), RoundError> {
        let Some(job) = self.look(memory).await? else {
            return Ok(());
        };
        let pool = self.store.pool();
        let role = format!("rebuild.{}", self.model.name());
        let Some(lease) = Lease::acquire(pool, &role, self.holder).await? else {
            // Whoever has it cleans up, and takes samples, too; but may be killed before.
            memory.clean = false;
            memory.sample_at = Instant::now() + self.sample_pause;
            return Ok(());
        };
        let lost = CancellationToken::new();
        let renewal = renew(lease.clone(), pool.clone(), lost.clone());
        let renewal = AbortOnDropHandle::new(tokio::spawn(renewal));
        let outcome = tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            () = lost.cancelled() => Ok(()),
            outcome = self.work(&job, lease.epoch, memory) => outcome,
        };
        drop(renewal);
        // If it cannot be given back it runs out by itself.
        if let Err(error) = lease.release(pool).await {
            let reason = chain(&error);
            tracing::debug!(
                projection = self.model.name(),
                reason,
                "lease not given back"
            );
        }
        outcome
    }

    async fn look(&self, memory: &Memory) -> Result<Option<Job>, RoundError> {
        let (pool, name, version) = (self.store.pool(), self.model.name(), self.model.version());
        let live = checkpoint::standing(pool, name).await?;
        if live.is_some_and(|live| live.version < version && live.position.get() > 0) {
            rebuild::supersede(pool, name, version).await?;
            let reason = "the code has a newer version";
            rebuild::request(pool, name, version, "worker", reason).await?;
        }
        if let Some(rebuild) = rebuild::open(pool, name).await?
            && rebuild.version == version
        {
            return Ok(Some(Job::Rebuild(Box::new(rebuild))));
        }
        if let Some(verification) = verify::open(pool, name).await?
            && verification.version == version
        {
            return Ok(Some(Job::Verify(Box::new(verification))));
        }
        if !memory.clean {
            return Ok(Some(Job::CleanUp));
        }
        let is_time = Instant::now() >= memory.sample_at && !self.model.sampled().is_empty();
        Ok(is_time.then_some(Job::Sample))
    }

    /// Does a job.
    async fn work(&self, job: &Job, epoch: i64, memory: &mut Memory) -> Result<(), RoundError> {
        let is_over = match job {
            Job::Sample => return self.sample(memory).await,
            Job::CleanUp => true,
            Job::Rebuild(rebuild) => {
                memory.clean = false;
                self.rebuild((**rebuild).clone(), epoch).await?
            }
            Job::Verify(verification) => {
                memory.clean = false;
                self.verify((**verification).clone(), epoch).await?;
                true
            }
        };
        if is_over {
            self.clean_up(epoch).await?;
            memory.clean = true;
        }
        Ok(())
    }

    async fn sample(&self, memory: &mut Memory) -> Result<(), RoundError> {
        let begun = Instant::now();
        memory.sample_at = begun + self.sample_pause;
        // A sampler that failed is not used again: its session may be in any state.
        let mut sampler = match memory.sampler.take() {
            Some(sampler) => sampler,
            None => Sampler::new(&self.database, &*self.model).await?,
        };
        sampler.sample(&self.store, &*self.model).await?;
        memory.sampler = Some(sampler);
        let rest = begun.elapsed() * SAMPLE_REST;
        memory.sample_at = Instant::now() + self.sample_pause.max(rest);
        Ok(())
    }

    /// True when nothing of it is needed any more.
    async fn rebuild(&self, rebuild: Rebuild, epoch: i64) -> Result<bool, RoundError> {
        let id = rebuild.rebuild_id;
        let filling = self.filling(rebuild::next_of(self.model.name()), epoch);
        let progress = Arc::clone(&filling.progress);
        let rebuilding = Rebuilding { filling, rebuild };
        let pool = self.store.pool();
        let name = self.model.name();
        let cancelled = async {
            loop {
                sleep(HEARTBEAT).await;
                let (position, target, events) =
                    (progress.position(), progress.target(), progress.events());
                match rebuild::report(pool, id, position, target, events).await {
                    Ok(true) => {}
                    Ok(false) => {
                        if rebuild::is_cancelled(pool, name, id).await.unwrap_or(false) {
                            return;
                        }
                    }
                    Err(error) => tracing::debug!(%error, "progress of a rebuild not written"),
                }
            }
        };
        let ended = tokio::select! {
            biased;
            ended = Box::pin(rebuilding.run()) => ended?,
            () = cancelled => Ended::Cancelled,
        };
        Ok(ended != Ended::Fenced)
    }

    async fn verify(&self, verification: Verification, epoch: i64) -> Result<(), RoundError> {
        let filling = self.filling(verify::verify_of(self.model.name()), epoch);
        let verifying = Verifying {
            filling,
            verification,
        };
        let id = verifying.verification.verification_id;
        let (pool, name) = (self.store.pool(), self.model.name());
        let cancelled = async {
            loop {
                sleep(HEARTBEAT).await;
                match verifying.report().await {
                    Ok(true) => {}
                    Ok(false) => {
                        if verify::is_cancelled(pool, name, id).await.unwrap_or(false) {
                            return;
                        }
                    }
                    Err(error) => tracing::debug!(%error, "progress of a verification not written"),
                }
            }
        };
        tokio::select! {
            biased;
            over = Box::pin(verifying.run()) => over?,
            () = cancelled => {}
        }
        Ok(())
    }

    fn filling(&self, schema: String, epoch: i64) -> Filling {
        Filling {
            model: Arc::clone(&self.model),
            store: self.store.clone(),
            database: self.database.clone(),
            schema,
            epoch,
            chunk_positions: self.chunk_positions,
            progress: Arc::new(Progress::default()),
            pace: Arc::new(Pace::new(Arc::clone(&self.cores))),
        }
    }

    /// Drops every schema beside the serving one.
    async fn clean_up(&self, epoch: i64) -> Result<(), RoundError> {
        let (pool, name) = (self.store.pool(), self.model.name());
        if rebuild::open(pool, name).await?.is_none() {
            drop_leftovers(pool, &rebuild::next_of(name), epoch).await?;
        }
        drop_leftovers(pool, &rebuild::old_of(name), epoch).await?;
        drop_leftovers(pool, &verify::verify_of(name), epoch).await?;
        Ok(())
    }
}
