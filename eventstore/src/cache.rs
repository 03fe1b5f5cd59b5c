//! States kept in memory, so that the common command costs one round trip.
//!
//! An entry may be behind the log; it is never wrong for its version. A stale one costs a conflict,
//! after which only the tail is read.

use quick_cache::sync::Cache;
use std::any::Any;
use std::sync::Arc;
use uuid::Uuid;

/// The most aggregates kept.
const ENTRIES_MAX: usize = 100_000;

type Key = (&'static str, Uuid);

#[derive(Clone)]
struct Entry {
    version: i64,
    state: Arc<dyn Any + Send + Sync>,
}

/// Aggregate states by type and id, with the least used leaving first.
pub(crate) struct AggregateCache(Cache<Key, Entry>);

impl AggregateCache {
    pub(crate) fn new() -> Self {
        Self(Cache::new(ENTRIES_MAX))
    }

    pub(crate) fn get<A: Send + Sync + 'static>(
        &self,
        kind: &'static str,
        id: Uuid,
    ) -> Option<(Arc<A>, i64)> {
        let entry = self.0.get(&(kind, id))?;
        let state = entry.state.downcast::<A>().ok()?;
        Some((state, entry.version))
    }

    pub(crate) fn clear(&self) {
        self.0.clear();
    }

    /// Keeps `state`, unless something newer is there.
    pub(crate) fn put<A: Send + Sync + 'static>(
        &self,
        kind: &'static str,
        id: Uuid,
        state: Arc<A>,
        version: i64,
    ) {
        if self
            .0
            .peek(&(kind, id))
            .is_some_and(|kept| kept.version >= version)
        {
            return;
        }
        self.0.insert((kind, id), Entry { version, state });
    }
}
