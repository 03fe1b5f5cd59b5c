//! Long-lived tasks: one that panics, or ends though nobody told it to, is started again, and that it
//! was is known.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinError;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// The pause before a task is started again: at first, doubled each time in a row, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long a task must have run before it counts as well again.
const WELL_AFTER: Duration = Duration::from_mins(1);

/// The long-lived tasks of a process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    /// When each task ended last that should not have.
    failures: Arc<Mutex<BTreeMap<String, Instant>>>,
}

impl Tasks {
    /// Starts the task that `start` makes, and starts it again whenever it ends before `stop`.
    pub fn keep<F>(
        &self,
        name: impl Into<String>,
        stop: CancellationToken,
        start: impl Fn() -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (tasks, name) = (self.clone(), name.into());
        let kept = async move { tasks.run(&name, &stop, start).await };
        self.tracker.spawn(kept);
    }

    /// The same on the caller's own runtime, until `stop`.
    pub async fn run<F>(&self, name: &str, stop: &CancellationToken, start: impl Fn() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut pause = PAUSE_MIN;
        loop {
            let began = Instant::now();
            let ended = AbortOnDropHandle::new(tokio::spawn(start())).await;
            if stop.is_cancelled() {
                return;
            }
            let reason = match ended {
                Ok(()) => "it ended".to_owned(),
                Err(error) => panic_message(error),
            };
            tracing::error!(
                task = name,
                reason,
                "tasks: {name} failed and is started again"
            );
            self.failures().insert(name.to_owned(), Instant::now());
            if began.elapsed() >= WELL_AFTER {
                pause = PAUSE_MIN;
            }
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                return;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// The tasks that failed within the last minute.
    #[must_use]
    pub fn failing(&self) -> Vec<String> {
        let failures = self.failures();
        let recent = failures.iter().filter(|(_, at)| at.elapsed() < WELL_AFTER);
        recent.map(|(name, _)| name.clone()).collect()
    }

    /// Waits until every task has ended, after the word to stop.
    pub async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Instant>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn panic_message(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else {
        return "it was aborted".to_owned();
    };
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// What happens when a task is started for the n-th time.
    fn task(tasks: &Tasks, stop: &CancellationToken) -> Arc<AtomicUsize> {
        let starts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&starts);
        let told = stop.clone();
        tasks.keep("example", stop.clone(), move || {
            let start = counted.fetch_add(1, Ordering::SeqCst);
            let told = told.clone();
            async move {
                match start {
                    0 => panic!("for the test"),
                    1 => {}
                    _ => told.cancelled().await,
                }
            }
        });
        starts
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_or_ends_is_started_again_until_it_is_stopped() {
        let tasks = Tasks::default();
        let stop = CancellationToken::new();
        assert!(tasks.failing().is_empty());
        let starts = task(&tasks, &stop);
        while starts.load(Ordering::SeqCst) < 3 {
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(tasks.failing(), ["example"]);
        sleep(WELL_AFTER).await;
        assert!(tasks.failing().is_empty());
        stop.cancel();
        tasks.ended().await;
        assert_eq!(starts.load(Ordering::SeqCst), 3);
    }
}
