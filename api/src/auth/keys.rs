//! The signing keys, decoded once and kept, read anew when they may have changed.

use super::token::{Grant, TokenError};
use crate::problem::Problem;
use jsonwebtoken::jwk::{Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use quick_cache::sync::Cache;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::Instant;
use touchline_commands::credentials::CredentialsError;
use touchline_commands::{Credentials, SigningKey};
use touchline_domain::clock::Timestamp;
use touchline_domain::id::UserId;

/// How long keys are used before they are read anew: after that time at the latest a retired key is
/// good nowhere.
const FRESH_FOR: Duration = Duration::from_mins(1);
/// How often at most they are read because of a token with an unknown key, so that nobody makes the
/// database busy with invented ones.
const REREAD_PAUSE: Duration = Duration::from_secs(1);

/// How many good tokens are remembered.
const GRANTS_MAX: usize = 16_384;

/// Why the signing keys cannot be used.
#[derive(Debug, Error)]
pub enum KeyRingError {
    /// The keys could not be read.
    #[error("the signing keys cannot be read")]
    Credentials(#[from] CredentialsError),
    /// There is no key to sign with.
    #[error("there is no signing key")]
    NoKey,
    /// A key is not an Ed25519 key.
    #[error("the signing key {kid} is damaged")]
    Damaged {
        /// Its name.
        kid: String,
        /// What is wrong with it.
        #[source]
        source: jsonwebtoken::errors::Error,
    },
}

/// The key that signs, and every key whose tokens are still good.
pub(crate) struct Keys {
    signer: Signer,
    public: Vec<(String, DecodingKey)>,
    jwks: JwkSet,
    /// The tokens that were found good lately, by their SHA-256. They go with the keys: a token of
    /// a retired key is not known any more.
    grants: Cache<[u8; 32], Grant>,
}

pub(crate) struct Signer {
    pub(super) kid: String,
    pub(super) private: EncodingKey,
}

/// A key before it is decoded.
struct Material<'a> {
    kid: &'a str,
    public_key: &'a [u8],
    pkcs8: &'a [u8],
}

impl<'a> From<&'a SigningKey> for Material<'a> {
    fn from(key: &'a SigningKey) -> Self {
        Self {
            kid: &key.kid,
            public_key: &key.public_key,
            pkcs8: key.pkcs8(),
        }
    }
}

impl Keys {
    /// These keys. The first one signs.
    fn decode<'a>(keys: impl IntoIterator<Item = Material<'a>>) -> Result<Self, KeyRingError> {
        let mut signer = None;
        let mut public = Vec::new();
        let mut jwks = JwkSet { keys: Vec::new() };
        for Material {
            kid,
            public_key,
            pkcs8,
        } in keys
        {
            let key = DecodingKey::from_ed_der(public_key);
            let mut jwk =
                Jwk::from_decoding_key(&key, Some(Algorithm::EdDSA)).map_err(|source| {
                    KeyRingError::Damaged {
                        kid: kid.to_owned(),
                        source,
                    }
                })?;
            jwk.common.key_id = Some(kid.to_owned());
            jwk.common.public_key_use = Some(PublicKeyUse::Signature);
            jwk.common.key_algorithm = Some(KeyAlgorithm::EdDSA);
            public.push((kid.to_owned(), key));
            jwks.keys.push(jwk);
            signer.get_or_insert_with(|| Signer {
                kid: kid.to_owned(),
                private: EncodingKey::from_ed_der(pkcs8),
            });
        }
        Ok(Self {
            signer: signer.ok_or(KeyRingError::NoKey)?,
            public,
            jwks,
            grants: Cache::new(GRANTS_MAX),
        })
    }

    pub(super) const fn grants(&self) -> &Cache<[u8; 32], Grant> {
        &self.grants
    }

    pub(super) const fn signer(&self) -> &Signer {
        &self.signer
    }

    pub(super) fn public(&self, kid: &str) -> Option<&DecodingKey> {
        self.public
            .iter()
            .find(|(known, _)| known == kid)
            .map(|(_, key)| key)
    }

    /// The public halves, as `/.well-known/jwks.json` shows them (RFC 7517, 5).
    pub(crate) const fn jwks(&self) -> &JwkSet {
        &self.jwks
    }
}

/// The keys in use, replaced as a whole when they rotate. Cheap to clone.
#[derive(Clone)]
pub struct KeyRing(Arc<Ring>);

struct Ring {
    credentials: Credentials,
    keys: RwLock<Arc<Keys>>,
    /// When they were read last. Locked while they are read anew, so that one reads and the others
    /// wait for it.
    read_at: Mutex<Instant>,
}

impl KeyRing {
    /// The keys of an installation. The first time, one is made.
    ///
    /// # Errors
    /// [`KeyRingError`].
    pub async fn load(credentials: Credentials, now: Timestamp) -> Result<Self, KeyRingError> {
        let keys = read(&credentials, now).await?;
        Ok(Self(Arc::new(Ring {
            credentials,
            keys: RwLock::new(Arc::new(keys)),
            read_at: Mutex::new(Instant::now()),
        })))
    }

    /// The keys now.
    pub(crate) fn current(&self) -> Arc<Keys> {
        Arc::clone(&self.0.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// When it is not good.
    pub(crate) async fn verify(&self, token: &str, now: Timestamp) -> Result<UserId, Problem> {
        match self.current().verify(token, now) {
            Err(TokenError::UnknownKey) => {
                self.reread(REREAD_PAUSE, now).await;
                Ok(self.current().verify(token, now)?)
            }
            verified => {
                if self.is_older_than(FRESH_FOR) {
                    // Nobody waits for it: these keys are as good as they were a moment ago.
                    let ring = self.clone();
                    tokio::spawn(async move { ring.reread(FRESH_FOR, now).await });
                }
                Ok(verified?)
            }
        }
    }

    /// Whether the keys were read longer ago than `age`. While they are being read they are not.
    fn is_older_than(&self, age: Duration) -> bool {
        self.0
            .read_at
            .try_lock()
            .is_ok_and(|read_at| read_at.elapsed() >= age)
    }

    /// Reads the keys anew if they were read longer ago than `age`.
    async fn reread(&self, age: Duration, now: Timestamp) {
        let mut read_at = self.0.read_at.lock().await;
        if read_at.elapsed() < age {
            return;
        }
        match read(&self.0.credentials, now).await {
            Ok(keys) => {
                *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
            }
            Err(error) => {
                tracing::warn!(error = %error, "auth: the signing keys were not read anew");
            }
        }
        *read_at = Instant::now();
    }
}

async fn read(credentials: &Credentials, now: Timestamp) -> Result<Keys, KeyRingError> {
    let keys = credentials.signing_keys(now).await?;
    Keys::decode(keys.iter().map(Material::from))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A secret key in PKCS #8, version 1 (RFC 8410, 7).
    pub(crate) fn pkcs8(secret: &[u8; 32]) -> Vec<u8> {
        let mut der = vec![
            0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22,
            0x04, 0x20,
        ];
        der.extend(secret);
        der
    }

    fn bytes(hex: &str) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap();
        }
        bytes
    }

    /// The secret keys of the tests 1 and 2 of RFC 8032, 7.1, and their public keys.
    pub(crate) fn pairs() -> [([u8; 32], [u8; 32]); 2] {
        [
            (
                bytes("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"),
                bytes("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"),
            ),
            (
                bytes("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"),
                bytes("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"),
            ),
        ]
    }

    /// Two keys, `new` and `old`, of which the first signs.
    pub(crate) fn keys() -> Keys {
        let [new, old] = pairs();
        let (new_secret, old_secret) = (pkcs8(&new.0), pkcs8(&old.0));
        Keys::decode([
            Material {
                kid: "new",
                public_key: &new.1,
                pkcs8: &new_secret,
            },
            Material {
                kid: "old",
                public_key: &old.1,
                pkcs8: &old_secret,
            },
        ])
        .unwrap()
    }

    #[test]
    fn the_first_key_signs_and_only_public_halves_are_shown() {
        let keys = keys();
        assert_eq!(keys.signer().kid, "new");
        let shown = serde_json::to_value(keys.jwks()).unwrap();
        let first = &shown["keys"][0];
        assert_eq!(first["kid"], "new");
        assert_eq!(first["kty"], "OKP");
        assert_eq!(first["crv"], "Ed25519");
        assert_eq!(first["alg"], "EdDSA");
        assert_eq!(first["use"], "sig");
        assert!(first.get("d").is_none());
    }

    #[test]
    fn no_key_and_a_damaged_key_are_refused() {
        assert!(matches!(Keys::decode([]), Err(KeyRingError::NoKey)));
        let damaged = Material {
            kid: "x",
            public_key: b"junk",
            pkcs8: b"junk",
        };
        assert!(matches!(
            Keys::decode([damaged]),
            Err(KeyRingError::Damaged { .. })
        ));
    }
}
