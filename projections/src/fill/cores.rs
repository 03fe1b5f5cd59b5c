//! How much is done at the same time.

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

/// What all rebuilds and verifications of a process may do at the same time: as much as there are
/// cores; while others read, one core less, which is theirs.
#[derive(Debug)]
pub(crate) struct Cores {
    all: Semaphore,
    spare: Semaphore,
}

/// A core that is taken until this is dropped. None are held by a process that is ending.
pub(crate) struct Core<'a> {
    _one: Result<SemaphorePermit<'a>, AcquireError>,
    _spare: Option<Result<SemaphorePermit<'a>, AcquireError>>,
}

impl Cores {
    /// Those of this machine.
    pub(crate) fn of_this_machine() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, usize::from))
    }

    fn new(cores: usize) -> Self {
        Self {
            all: Semaphore::new(cores),
            spare: Semaphore::new(cores.saturating_sub(1).max(1)),
        }
    }

    /// Waits for one, and leaves one to others when `gentle`.
    pub(super) async fn take(&self, gentle: bool) -> Core<'_> {
        let spare = if gentle {
            Some(self.spare.acquire().await)
        } else {
            None
        };
        Core {
            _spare: spare,
            _one: self.all.acquire().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[test]
    fn one_core_is_left_while_others_read() {
        let cores = Cores::new(3);
        let gentle = || cores.take(true).now_or_never();
        let (one, two) = (gentle(), gentle());
        assert!(one.is_some() && two.is_some());
        assert!(gentle().is_none(), "a third is left to readers");
        let third = cores.take(false).now_or_never();
        assert!(third.is_some(), "who began before they came still works");
        assert!(
            cores.take(false).now_or_never().is_none(),
            "there are three"
        );
        drop(one);
        assert!(gentle().is_some());
    }

    #[test]
    fn a_lone_core_is_shared() {
        let cores = Cores::new(1);
        let held = cores.take(true).now_or_never();
        assert!(held.is_some());
        assert!(cores.take(false).now_or_never().is_none());
    }
}
