//! The time for which a holder may believe that it leads.

use super::{LEASE, Lease};
use sqlx::PgPool;
use std::sync::{Mutex, PoisonError};
use tokio::time::{Duration, Instant, sleep, timeout, timeout_at};

/// How long giving the lease back may take.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// A lease that is being kept.
pub(crate) struct Tenure {
    lease: Lease,
    /// Until when it is held for certain, by this process's own clock: counted from before the
    /// question, so that the database never lets go earlier.
    until: Mutex<Instant>,
}

impl Tenure {
    /// The tenure of a lease that was asked for at `asked`.
    pub(crate) fn new(lease: Lease, asked: Instant) -> Self {
        Self {
            lease,
            until: Mutex::new(asked + LEASE),
        }
    }

    pub(crate) fn epoch(&self) -> i64 {
        self.lease.epoch
    }

    pub(crate) fn is_held(&self) -> bool {
        Instant::now() < self.until()
    }

    /// Renews the lease in time, and returns when it is lost.
    pub(crate) async fn keep(&self, pool: &PgPool) {
        while self.is_held() {
            sleep(LEASE / 3).await;
            if matches!(self.renew(pool).await, Some(false)) {
                return;
            }
        }
    }

    /// Asks the database whether the lease is still held.
    pub(crate) async fn confirm(&self, pool: &PgPool) -> bool {
        self.is_held() && self.renew(pool).await == Some(true)
    }

    /// Gives the lease back, so that the next holder need not wait.
    pub(crate) async fn end(&self, pool: &PgPool) {
        if let Ok(Err(error)) = timeout(RELEASE_TIMEOUT, self.lease.release(pool)).await {
            tracing::debug!(error = %error, "lease: it cannot be given back");
        }
    }

    /// None when the database did not say.
    async fn renew(&self, pool: &PgPool) -> Option<bool> {
        let asked = Instant::now();
        match timeout_at(self.until(), self.lease.renew(pool)).await {
            Ok(Ok(true)) => {
                *self.until.lock().unwrap_or_else(PoisonError::into_inner) = asked + LEASE;
                Some(true)
            }
            Ok(Ok(false)) => {
                *self.until.lock().unwrap_or_else(PoisonError::into_inner) = asked;
                Some(false)
            }
            Ok(Err(error)) => {
                tracing::debug!(error = %error, "lease: it cannot be renewed");
                None
            }
            Err(_elapsed) => None,
        }
    }

    fn until(&self) -> Instant {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
