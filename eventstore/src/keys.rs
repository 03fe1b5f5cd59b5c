//! The keys of personal data (L8): one data key a person, wrapped by a master key.
//!
//! Data keys lie in the schema `keys`, apart from the log; the master key comes from configuration
//! and is never stored. Destroying a data key erases everything that was sealed under it.

mod cipher;
mod erasure;
mod master;

pub use erasure::{ERASURE_POLL, Erasure, LivePage};
pub use master::{MasterKey, MasterKeyError, MasterKeys};

pub(crate) use cipher::Cipher;

use quick_cache::sync::Cache;
use sqlx::PgPool;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;
use uuid::Uuid;

/// The most keys that are kept in memory.
const CACHE_ENTRIES_MAX: usize = 200_000;
/// How often a key is looked for that another process is just making.
const PROVIDE_ATTEMPTS: usize = 5;
/// How many keys one statement of a rewrapping takes.
const REWRAP_KEYS: i64 = 1_000;

/// Why a key could not be had.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The database could not be reached, or refused.
    #[error("the keys cannot be reached")]
    Database(#[from] sqlx::Error),
    /// The key is wrapped by a master key that is not configured.
    #[error("a key is wrapped by the master key {0}, which is not configured")]
    UnknownMasterKey(String),
    /// A stored key does not open under the master key that it names.
    #[error("the stored key of {0} is damaged")]
    Damaged(String),
    /// The machine gave no random bytes.
    #[error("no key could be made")]
    Generation,
    /// A key that another process is making did not appear.
    #[error("the key of {0} is being made elsewhere")]
    Contended(Uuid),
}

/// Something sealed under a master key, and the id of that key.
#[derive(Clone)]
pub struct Wrapped {
    /// Nonce, ciphertext and tag.
    pub bytes: Vec<u8>,
    /// The master key that wraps it.
    pub master_key: String,
}

impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wrapped(by {})", self.master_key)
    }
}

/// The keys of some subjects, as they were when asked for.
pub(crate) type Ring = HashMap<Uuid, Slot>;

/// A subject's key.
#[derive(Clone)]
pub(crate) enum Slot {
    Live(Arc<Cipher>),
    Destroyed,
}

/// The keys of personal data. Cheap to clone.
#[derive(Clone)]
pub struct Keys {
    pool: PgPool,
    shared: Arc<Shared>,
}

struct Shared {
    masters: Arc<MasterKeys>,
    cache: Cache<Uuid, Slot>,
    /// Held while the cache is written to, so that what is there is looked at before it is replaced.
    writing: Mutex<()>,
    /// Whether somebody in the log was found to have no key, and never to have had one.
    lacking: AtomicBool,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(secret)")
    }
}

impl Keys {
    /// The keys behind `pool`, wrapped by `masters`.
    #[must_use]
    pub fn new(pool: PgPool, masters: MasterKeys) -> Self {
        Self {
            pool,
            shared: Arc::new(Shared {
                masters: Arc::new(masters),
                cache: Cache::new(CACHE_ENTRIES_MAX),
                writing: Mutex::default(),
                lacking: AtomicBool::default(),
            }),
        }
    }

    /// The same keys, read through another pool.
    #[must_use]
    pub(crate) fn through(&self, pool: PgPool) -> Self {
        Self {
            pool,
            shared: Arc::clone(&self.shared),
        }
    }

    pub(crate) fn masters(&self) -> &Arc<MasterKeys> {
        &self.shared.masters
    }

    /// Whether the configured master keys open every stored key.
    ///
    /// # Errors
    /// [`KeyError::UnknownMasterKey`] with the first that is missing, [`KeyError::Database`].
    pub async fn check(&self) -> Result<(), KeyError> {
        let known = self.shared.masters.ids();
        let unknown = sqlx::query_scalar!(
            r#"
            SELECT data_keys.master_key AS "master_key!" FROM keys.data_keys
            WHERE data_keys.wrapped IS NOT NULL AND data_keys.master_key <> ALL ($1)
            LIMIT 1
            "#,
            &known,
        )
        .fetch_optional(&self.pool)
        .await?;
        match unknown {
            Some(id) => Err(KeyError::UnknownMasterKey(id)),
            None => Ok(()),
        }
    }

    /// Whether this process met somebody in the log who has no key and was not erased: the keys are
    /// older than the log, and what they wrote reads as erased until the keys are restored.
    #[must_use]
    pub fn are_lacking(&self) -> bool {
        self.shared.lacking.load(Ordering::Relaxed)
    }

    /// Seals `secret` under the current master key, for `purpose` and no other.
    ///
    /// # Errors
    /// [`KeyError::Generation`].
    pub fn wrap(&self, purpose: &str, secret: &[u8]) -> Result<Wrapped, KeyError> {
        let master = self.shared.masters.current();
        let bytes = master
            .cipher()
            .seal(purpose, secret)
            .ok_or(KeyError::Generation)?;
        Ok(Wrapped {
            bytes,
            master_key: master.id().to_owned(),
        })
    }

    /// What [`Keys::wrap`] sealed for `purpose`.
    ///
    /// # Errors
    /// [`KeyError::UnknownMasterKey`], [`KeyError::Damaged`].
    pub fn unwrap(&self, purpose: &str, wrapped: &Wrapped) -> Result<Vec<u8>, KeyError> {
        let master = self
            .shared
            .masters
            .find(&wrapped.master_key)
            .ok_or_else(|| KeyError::UnknownMasterKey(wrapped.master_key.clone()))?;
        master
            .cipher()
            .open(purpose, &wrapped.bytes)
            .ok_or_else(|| KeyError::Damaged(purpose.to_owned()))
    }

    /// The keys of `subjects`, made for those that have none.
    pub(crate) async fn provide(&self, subjects: &HashSet<Uuid>) -> Result<Ring, KeyError> {
        let (mut ring, mut missing) = self.remembered(subjects);
        for _attempt in 0..PROVIDE_ATTEMPTS {
            if missing.is_empty() {
                return Ok(ring);
            }
            let mut fresh = Vec::with_capacity(missing.len());
            let mut master_key = String::new();
            for subject in &missing {
                let key = Cipher::generate().ok_or(KeyError::Generation)?;
                let wrapped = self.wrap(&purpose(*subject), &key)?;
                master_key = wrapped.master_key;
                fresh.push(wrapped.bytes);
            }
            // A row of another process that commits just now is seen by neither part: then again.
            let rows = sqlx::query_as!(
                Row,
                r#"
                WITH made AS (
                    INSERT INTO keys.data_keys (subject, wrapped, master_key)
                    SELECT new.subject, new.wrapped, $3
                    FROM unnest($1::uuid[], $2::bytea[]) AS new (subject, wrapped)
                    ON CONFLICT DO NOTHING
                    RETURNING data_keys.subject, data_keys.wrapped, data_keys.master_key
                )
                SELECT made.subject AS "subject!", made.wrapped, made.master_key FROM made
                UNION ALL
                SELECT data_keys.subject, data_keys.wrapped, data_keys.master_key
                FROM keys.data_keys WHERE data_keys.subject = ANY ($1)
                "#,
                &missing,
                &fresh,
                master_key,
            )
            .fetch_all(&self.pool)
            .await?;
            self.take(rows, &mut ring)?;
            missing.retain(|subject| !ring.contains_key(subject));
        }
        match missing.first() {
            Some(subject) => Err(KeyError::Contended(*subject)),
            None => Ok(ring),
        }
    }

    /// The keys of those of `subjects` that have one, or had.
    pub(crate) async fn find(&self, subjects: &HashSet<Uuid>) -> Result<Ring, KeyError> {
        let (mut ring, missing) = self.remembered(subjects);
        if !missing.is_empty() {
            let rows = sqlx::query_as!(
                Row,
                "
                SELECT data_keys.subject, data_keys.wrapped, data_keys.master_key
                FROM keys.data_keys WHERE data_keys.subject = ANY ($1)
                ",
                &missing,
            )
            .fetch_all(&self.pool)
            .await?;
            // A destroyed key leaves its row behind: people without one were not erased.
            if rows.len() < missing.len() {
                let people = missing.len() - rows.len();
                self.shared.lacking.store(true, Ordering::Relaxed);
                tracing::error!(
                    people,
                    "keys: {people} people in the log never had a key here, and read as erased: \
                     the schema `keys` is older than the log, restore a newer backup of it"
                );
            }
            self.take(rows, &mut ring)?;
        }
        Ok(ring)
    }

    fn remembered(&self, subjects: &HashSet<Uuid>) -> (Ring, Vec<Uuid>) {
        let mut ring = Ring::with_capacity(subjects.len());
        let mut missing = Vec::new();
        for subject in subjects {
            match self.shared.cache.get(subject) {
                Some(slot) => drop(ring.insert(*subject, slot)),
                None => missing.push(*subject),
            }
        }
        (ring, missing)
    }

    fn take(&self, rows: Vec<Row>, ring: &mut Ring) -> Result<(), KeyError> {
        for row in rows {
            let slot = match (row.wrapped, row.master_key) {
                (Some(bytes), Some(master_key)) => {
                    let wrapped = Wrapped { bytes, master_key };
                    let key = self.unwrap(&purpose(row.subject), &wrapped)?;
                    let cipher = Cipher::new(&key);
                    let cipher =
                        cipher.ok_or_else(|| KeyError::Damaged(row.subject.to_string()))?;
                    Slot::Live(Arc::new(cipher))
                }
                _ => Slot::Destroyed,
            };
            ring.insert(row.subject, self.remember(row.subject, slot));
        }
        Ok(())
    }

    /// Keeps a slot in memory, and returns the one that counts: a reader that asked before a key was
    /// destroyed and is answered after it does not put it back.
    fn remember(&self, subject: Uuid, slot: Slot) -> Slot {
        let writing = self.shared.writing.lock();
        let _alone = writing.unwrap_or_else(PoisonError::into_inner);
        if matches!(self.shared.cache.peek(&subject), Some(Slot::Destroyed)) {
            return Slot::Destroyed;
        }
        self.shared.cache.insert(subject, slot.clone());
        slot
    }

    /// Wraps every data key by the current master key, and says how many were not. The log is not
    /// touched, and processes that know both master keys go on meanwhile. What one that does not
    /// know the current one makes behind the page that was read last is left as it is: run it again
    /// when every process was started again.
    ///
    /// # Errors
    /// [`KeyError`]; what was rewrapped until then stays so.
    pub async fn rewrap(&self) -> Result<u64, KeyError> {
        let current = self.shared.masters.current().id().to_owned();
        let mut rewrapped = 0;
        let mut after = Uuid::nil();
        loop {
            let rows = sqlx::query_as!(
                Row,
                "
                SELECT data_keys.subject, data_keys.wrapped, data_keys.master_key
                FROM keys.data_keys
                WHERE data_keys.subject > $2
                  AND data_keys.wrapped IS NOT NULL AND data_keys.master_key <> $1
                ORDER BY data_keys.subject
                LIMIT $3
                ",
                current,
                after,
                REWRAP_KEYS,
            )
            .fetch_all(&self.pool)
            .await?;
            let Some(last) = rows.last() else {
                return Ok(rewrapped);
            };
            after = last.subject;
            let mut subjects = Vec::with_capacity(rows.len());
            let mut wrapped = Vec::with_capacity(rows.len());
            for row in rows {
                let (Some(bytes), Some(master_key)) = (row.wrapped, row.master_key) else {
                    continue;
                };
                let purpose = purpose(row.subject);
                let key = self.unwrap(&purpose, &Wrapped { bytes, master_key })?;
                subjects.push(row.subject);
                wrapped.push(self.wrap(&purpose, &key)?.bytes);
            }
            // One that was destroyed meanwhile stays so.
            rewrapped += sqlx::query!(
                "
                UPDATE keys.data_keys SET wrapped = new.wrapped, master_key = $3
                FROM unnest($1::uuid[], $2::bytea[]) AS new (subject, wrapped)
                WHERE data_keys.subject = new.subject AND data_keys.wrapped IS NOT NULL
                ",
                &subjects,
                &wrapped,
                current,
            )
            .execute(&self.pool)
            .await?
            .rows_affected();
        }
    }
}

struct Row {
    subject: Uuid,
    wrapped: Option<Vec<u8>>,
    master_key: Option<String>,
}

/// What a data key is wrapped for: it opens as nobody else's.
fn purpose(subject: Uuid) -> String {
    format!("data-key/{subject}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer of the database that was on its way while the key was destroyed.
    #[tokio::test]
    async fn a_late_reader_does_not_put_a_destroyed_key_back() {
        let masters = MasterKeys::parse(&"0a".repeat(32)).unwrap();
        let pool = PgPool::connect_lazy("postgres://nobody@localhost/nothing").unwrap();
        let keys = Keys::new(pool, masters);
        let subject = Uuid::from_u128(1);
        let wrapped = keys.wrap(&purpose(subject), &[7; 32]).unwrap();
        let row = || Row {
            subject,
            wrapped: Some(wrapped.bytes.clone()),
            master_key: Some(wrapped.master_key.clone()),
        };
        let mut ring = Ring::new();
        keys.take(vec![row()], &mut ring).unwrap();
        assert!(matches!(ring[&subject], Slot::Live(_)));
        keys.remember(subject, Slot::Destroyed);
        keys.take(vec![row()], &mut ring).unwrap();
        assert!(matches!(ring[&subject], Slot::Destroyed));
        let (ring, missing) = keys.remembered(&HashSet::from([subject]));
        assert!(missing.is_empty() && matches!(ring[&subject], Slot::Destroyed));
    }
}
