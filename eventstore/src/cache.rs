//! States kept in memory, so that the common command costs one round trip.
//!
//! An entry may be behind the log; it is never wrong for its version. A stale one costs a conflict,
//! after which only the tail is read.

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde::Serialize;
use std::any::Any;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use touchline_domain::id::UserId;
use uuid::Uuid;

/// The most bytes that the states in memory have together.
pub const CACHE_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// What an entry takes beside its state: key, counters, pointers, the owner of most.
const ENTRY_BYTES: u64 = 256;
/// What most entries take, for the cache to choose its size by.
const ENTRY_BYTES_USUAL: u64 = 512;

type Key = (&'static str, Uuid);

/// An aggregate at a version.
#[derive(Debug)]
pub(crate) struct Entry<A> {
    pub(crate) state: Arc<A>,
    pub(crate) version: i64,
    /// Whose personal data the state may hold.
    pub(crate) owners: Arc<[UserId]>,
    /// [`AggregateCache::forgotten`] before the state was read, from here or from the log.
    pub(crate) forgotten: u64,
    /// The [`AggregateCache::tick`] with which the log was last asked for it; 0 for never.
    pub(crate) read_at: u64,
}

#[derive(Clone)]
struct Kept {
    state: Arc<dyn Any + Send + Sync>,
    version: i64,
    owners: Arc<[UserId]>,
    read_at: u64,
    bytes: u64,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Kept> for Bytes {
    fn weight(&self, _key: &Key, kept: &Kept) -> u64 {
        kept.bytes
    }
}

/// Aggregate states by type and id, with the least used leaving first when there are too many bytes
/// of them.
pub(crate) struct AggregateCache {
    kept: Cache<Key, Kept, Bytes>,
    ticks: AtomicU64,
    /// How many times it was begun to forget somebody, and how many times that was done.
    forgetting: AtomicU64,
    forgotten: AtomicU64,
}

impl AggregateCache {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let entries = usize::try_from(bytes_max / ENTRY_BYTES_USUAL).unwrap_or(usize::MAX);
        Self {
            kept: Cache::with_weighter(entries, bytes_max, Bytes),
            ticks: AtomicU64::new(0),
            forgetting: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
        }
    }

    /// A number that is higher with each call: who reads the log after having taken one sees
    /// everything that was committed before anybody took a lower one.
    pub(crate) fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// How many people were forgotten until now.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::SeqCst)
    }

    pub(crate) fn get<A: Send + Sync + 'static>(
        &self,
        kind: &'static str,
        id: Uuid,
    ) -> Option<Entry<A>> {
        let forgotten = self.forgotten();
        let kept = self.kept.get(&(kind, id))?;
        Some(Entry {
            state: kept.state.downcast::<A>().ok()?,
            version: kept.version,
            owners: kept.owners,
            forgotten,
            read_at: kept.read_at,
        })
    }

    /// Keeps a state, unless a newer one is there, or somebody was to be forgotten since it was read:
    /// then it may hold what they wrote.
    pub(crate) fn put<A: Serialize + Send + Sync + 'static>(
        &self,
        kind: &'static str,
        id: Uuid,
        entry: Entry<A>,
    ) {
        let key = (kind, id);
        let rank = (entry.version, entry.read_at);
        let is_newer = |kept: Kept| (kept.version, kept.read_at) >= rank;
        if self.kept.peek(&key).is_some_and(is_newer) {
            return;
        }
        let forgotten = entry.forgotten;
        let kept = Kept {
            bytes: ENTRY_BYTES + bytes(entry.state.as_ref()),
            state: entry.state,
            version: entry.version,
            owners: entry.owners,
            read_at: entry.read_at,
        };
        self.kept.insert(key, kept);
        // Looked at after the insertion, as who forgets counts before removing: one of the two finds it.
        if self.forgetting.load(Ordering::SeqCst) != forgotten {
            self.kept.remove(&key);
        }
    }

    /// Removes the states that may hold what `person` wrote, and no other.
    pub(crate) fn forget(&self, person: UserId) {
        self.forgetting.fetch_add(1, Ordering::SeqCst);
        self.kept.retain(|_, kept| !kept.owners.contains(&person));
        self.forgotten.fetch_add(1, Ordering::SeqCst);
    }
}

/// How many bytes a state takes: as many as it has as JSON, which names every field and has every
/// text in full.
fn bytes<A: Serialize>(state: &A) -> u64 {
    struct Count(u64);

    impl io::Write for Count {
        fn write(&mut self, written: &[u8]) -> io::Result<usize> {
            self.0 += u64::try_from(written.len()).unwrap_or(u64::MAX);
            Ok(written.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(0);
    // What cannot be written as JSON could not be an aggregate's state.
    drop(serde_json::to_writer(&mut count, state));
    count.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = "tests";
    const ANA: UserId = UserId::new(Uuid::from_u128(1));
    const LUIS: UserId = UserId::new(Uuid::from_u128(2));

    fn put(cache: &AggregateCache, id: u128, text: &str, owner: Option<UserId>, forgotten: u64) {
        let entry = Entry {
            state: Arc::new(text.to_owned()),
            version: 1,
            owners: owner.into_iter().collect(),
            forgotten,
            read_at: cache.tick(),
        };
        cache.put(KIND, Uuid::from_u128(id), entry);
    }

    fn has(cache: &AggregateCache, id: u128) -> bool {
        cache.get::<String>(KIND, Uuid::from_u128(id)).is_some()
    }

    #[test]
    fn the_bytes_are_bounded_and_not_the_entries() {
        const BYTES_MAX: u64 = 1024 * 1024;
        let cache = AggregateCache::new(BYTES_MAX);
        for id in 0..2_000 {
            put(&cache, id, "short", None, 0);
        }
        assert!((0..2_000).all(|id| has(&cache, id)));
        for id in 0..2_000 {
            put(&cache, 10_000 + id, &"long ".repeat(2_000), None, 0);
            assert!(cache.kept.weight() <= BYTES_MAX);
        }
        let left = (10_000..12_000).filter(|id| has(&cache, *id)).count();
        assert!((1..=105).contains(&left), "{left} of 10 KB each in 1 MiB");
    }

    #[test]
    fn who_is_forgotten_takes_nobody_else_along() {
        let cache = AggregateCache::new(CACHE_BYTES_MAX);
        put(&cache, 1, "a", Some(ANA), 0);
        put(&cache, 2, "b", Some(LUIS), 0);
        put(&cache, 3, "c", None, 0);
        cache.forget(ANA);
        assert_eq!([1, 2, 3].map(|id| has(&cache, id)), [false, true, true]);
        // What is read from here on is kept, of whomever it is.
        let kept = cache.get::<String>(KIND, Uuid::from_u128(2)).unwrap();
        assert_eq!(kept.forgotten, cache.forgotten());
        put(&cache, 1, "a", Some(ANA), cache.forgotten());
        assert!(has(&cache, 1));
    }

    /// The reading began with the key at hand, and ends after the key and the state were forgotten.
    #[test]
    fn what_was_read_before_somebody_was_forgotten_is_not_kept() {
        let cache = AggregateCache::new(CACHE_BYTES_MAX);
        let before = cache.forgotten();
        cache.forget(ANA);
        put(&cache, 1, "a", Some(ANA), before);
        assert!(!has(&cache, 1));
        // Neither while it is being forgotten.
        cache.forgetting.fetch_add(1, Ordering::SeqCst);
        put(&cache, 1, "a", Some(ANA), cache.forgotten());
        assert!(!has(&cache, 1));
    }

    #[test]
    fn the_newest_is_kept_and_of_the_same_version_the_last_read() {
        let cache = AggregateCache::new(CACHE_BYTES_MAX);
        let id = Uuid::from_u128(1);
        for (version, read_at, kept) in [
            (2, 5, (2, 5)),
            (1, 9, (2, 5)),
            (2, 7, (2, 7)),
            (2, 0, (2, 7)),
            (3, 0, (3, 0)),
        ] {
            let entry = Entry {
                state: Arc::new(version),
                version,
                owners: Arc::default(),
                forgotten: 0,
                read_at,
            };
            cache.put(KIND, id, entry);
            let now = cache.get::<i64>(KIND, id).unwrap();
            assert_eq!((now.version, now.read_at), kept);
        }
    }
}
