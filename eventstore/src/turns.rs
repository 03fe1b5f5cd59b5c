//! One command at a time per aggregate, in the order in which they came.
//!
//! Two commands on one aggregate that decide at the same moment would conflict; waiting for one's
//! turn before deciding costs nothing else, because the append of the second could not be in the
//! same batch anyway.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many may share a turn at once: more than a process has commands.
const SHARES: u16 = u16::MAX;

/// Hands out turns by key.
#[derive(Debug)]
pub struct Turns<K>(Arc<Mutex<HashMap<K, Arc<Semaphore>>>>);

/// The right to go on, until dropped.
#[derive(Debug)]
pub struct Turn<K: Eq + Hash> {
    turns: Arc<Mutex<HashMap<K, Arc<Semaphore>>>>,
    key: K,
    permit: Option<OwnedSemaphorePermit>,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash + Clone> Turns<K> {
    /// Waits for every earlier turn with this key to end. Fair: first come, first served.
    pub async fn take(&self, key: K) -> Turn<K> {
        self.acquire(key, SHARES).await
    }

    /// Waits for every earlier turn with this key that is not shared to end. As fair: a turn that
    /// waits is not passed by shares that come later.
    pub async fn share(&self, key: K) -> Turn<K> {
        self.acquire(key, 1).await
    }

    async fn acquire(&self, key: K, shares: u16) -> Turn<K> {
        let queue = {
            let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(
                queues
                    .entry(key.clone())
                    .or_insert_with(|| Arc::new(Semaphore::new(SHARES.into()))),
            )
        };
        // The semaphore is never closed, so a permit always comes.
        let permit = queue.acquire_many_owned(shares.into()).await.ok();
        Turn {
            turns: Arc::clone(&self.0),
            key,
            permit,
        }
    }

    /// How many keys have a turn taken or waited for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether nobody has a turn.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Eq + Hash> Drop for Turn<K> {
    fn drop(&mut self) {
        let mut queues = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.permit.take());
        // Nobody else holds or waits for this queue: the map's own reference is the only one left.
        if queues
            .get(&self.key)
            .is_some_and(|queue| Arc::strong_count(queue) == 1)
        {
            queues.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[tokio::test]
    async fn a_key_has_one_turn_at_a_time_and_leaves_nothing_behind() {
        let turns = Turns::default();
        let first = turns.take("a").await;
        let mut second = Box::pin(turns.take("a"));
        assert!(
            second.as_mut().now_or_never().is_none(),
            "the second must wait"
        );
        drop(turns.take("b").await);
        drop(first);
        drop(second.await);
        assert!(turns.is_empty());
    }

    #[tokio::test]
    async fn shares_pass_each_other_and_neither_overtakes_who_wants_all() {
        let turns = Turns::default();
        let reader = turns.share("a").await;
        drop(turns.share("a").await);
        let mut writer = Box::pin(turns.take("a"));
        assert!(writer.as_mut().now_or_never().is_none());
        let mut later = Box::pin(turns.share("a"));
        assert!(later.as_mut().now_or_never().is_none());
        drop(reader);
        let writing = writer.await;
        assert!(later.as_mut().now_or_never().is_none());
        drop(writing);
        drop(later.await);
        assert!(turns.is_empty());
    }

    #[tokio::test]
    async fn one_who_stops_waiting_does_not_block_the_others() {
        let turns = Turns::default();
        let first = turns.take(1).await;
        let mut gave_up = Box::pin(turns.take(1));
        assert!(gave_up.as_mut().now_or_never().is_none());
        drop(gave_up);
        drop(first);
        drop(turns.take(1).await);
        assert!(turns.is_empty());
    }
}
