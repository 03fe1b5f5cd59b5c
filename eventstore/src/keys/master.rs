//! Master keys: they wrap the keys in the database and are themselves only in configuration.

use super::cipher::{Cipher, KEY_BYTES};
use aws_lc_rs::{hkdf, hmac};
use sha2::{Digest as _, Sha256};
use std::fmt;
use thiserror::Error;

/// A master key. `Debug` shows its id only.
pub struct MasterKey {
    id: String,
    cipher: Cipher,
    /// Derived from the key: it authenticates the messages of the stream LOG.
    messages: hmac::Key,
}

/// Why a text holds no master keys.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MasterKeyError {
    /// There is no key in it.
    #[error("there is no master key: give one line of 64 hexadecimal digits")]
    Missing,
    /// A line is no key.
    #[error("line {line} of the master keys is not 64 hexadecimal digits")]
    Malformed {
        /// The line, from 1.
        line: usize,
    },
    /// The machine gave no random bytes.
    #[error("no master key could be made")]
    Generation,
}

impl MasterKey {
    fn new(key: &[u8]) -> Option<Self> {
        let mut hash = Sha256::new();
        hash.update(b"touchline-master-key/1\n");
        hash.update(key);
        let mut id = hex::encode(hash.finalize());
        id.truncate(16);
        Some(Self {
            id,
            cipher: Cipher::new(key)?,
            messages: derive(key, MasterKeys::MESSAGES)?,
        })
    }

    /// The text of a new key: 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`MasterKeyError::Generation`].
    pub fn generate() -> Result<String, MasterKeyError> {
        Cipher::generate()
            .map(hex::encode)
            .ok_or(MasterKeyError::Generation)
    }

    /// What names the key without telling it: the first 16 hexadecimal digits of a SHA-256.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) const fn cipher(&self) -> &Cipher {
        &self.cipher
    }

    pub(crate) const fn messages(&self) -> &hmac::Key {
        &self.messages
    }
}

/// A key for `purpose` and no other (HKDF-SHA256, RFC 5869, without a salt).
fn derive(master: &[u8], purpose: &str) -> Option<hmac::Key> {
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]);
    let extracted = salt.extract(master);
    let purpose = [purpose.as_bytes()];
    let derived = extracted.expand(&purpose, hmac::HMAC_SHA256).ok()?;
    Some(hmac::Key::from(derived))
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

/// The master keys of an installation: the current one, which wraps, and those before, which still
/// unwrap.
#[derive(Debug)]
pub struct MasterKeys {
    current: MasterKey,
    before: Vec<MasterKey>,
}

impl MasterKeys {
    /// What the keys that authenticate the messages of the stream LOG are derived for.
    pub(crate) const MESSAGES: &str = "touchline-log-message/1";

    /// The keys in `text`: one a line, 64 hexadecimal digits each, the current one first. Empty lines
    /// and lines that begin with `#` do not count.
    ///
    /// # Errors
    /// [`MasterKeyError`]; the text itself is never shown.
    pub fn parse(text: &str) -> Result<Self, MasterKeyError> {
        let lines = (1..).zip(text.lines().map(str::trim));
        let mut keys = lines
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(line, digits)| {
                let mut key = [0; KEY_BYTES];
                hex::decode_to_slice(digits, &mut key)
                    .ok()
                    .and_then(|()| MasterKey::new(&key))
                    .ok_or(MasterKeyError::Malformed { line })
            });
        let current = keys.next().ok_or(MasterKeyError::Missing)??;
        Ok(Self {
            current,
            before: keys.collect::<Result<_, _>>()?,
        })
    }

    /// The key that wraps.
    #[must_use]
    pub const fn current(&self) -> &MasterKey {
        &self.current
    }

    /// All of them, the current one first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &MasterKey> {
        std::iter::once(&self.current).chain(&self.before)
    }

    pub(super) fn find(&self, id: &str) -> Option<&MasterKey> {
        self.all().find(|key| key.id == id)
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.all().map(|key| key.id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_is_current_and_the_others_are_found() {
        let [new, old] = ["0b".repeat(32), "0a".repeat(32)];
        let keys = MasterKeys::parse(&format!("# ours\n\n{new}\n{old}\n")).unwrap();
        let only_new = MasterKeys::parse(&new).unwrap();
        assert_eq!(keys.current().id(), only_new.current().id());
        assert_eq!(keys.current().id().len(), 16);
        let old = MasterKeys::parse(&old).unwrap();
        assert!(keys.find(old.current().id()).is_some());
        assert!(only_new.find(old.current().id()).is_none());
        assert!(!format!("{keys:?}").contains("0b0b"));
    }

    #[test]
    fn what_is_no_key_is_refused_by_its_line() {
        for text in ["", "\n# none\n"] {
            assert_eq!(
                MasterKeys::parse(text).unwrap_err(),
                MasterKeyError::Missing
            );
        }
        let good = MasterKey::generate().unwrap();
        for bad in [&good[1..], &format!("{good}0"), "key"] {
            let error = MasterKeys::parse(&format!("{good}\n{bad}")).unwrap_err();
            assert_eq!(error, MasterKeyError::Malformed { line: 2 });
        }
    }
}
