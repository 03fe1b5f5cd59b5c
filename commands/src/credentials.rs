//! The tables of secrets, schema `credentials`. They stand beside the log and never enter it.

mod fingerprint_key;
mod password_hashes;

pub use password_hashes::Swept;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use std::fmt;
use thiserror::Error;
use touchline_domain::clock::Timestamp;
use touchline_eventstore::Keys;
use touchline_eventstore::keys::{KeyError, Wrapped};

/// Reads and writes secrets. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Credentials {
    pool: PgPool,
    keys: Keys,
}

/// Why a secret could not be read or written.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// The database could not be reached, or refused.
    #[error("the credentials cannot be reached")]
    Database(#[from] sqlx::Error),
    /// A stored key does not have the form of its kind.
    #[error("a stored key is damaged")]
    Damaged,
    /// No key could be made.
    #[error("no key could be made")]
    KeyGeneration(#[source] aws_lc_rs::error::Unspecified),
    /// The log has claims and commands, and the key that they were made with is gone.
    #[error(
        "the fingerprint key is missing and the log is not empty: restore the schema `credentials` from a backup"
    )]
    FingerprintKeyMissing,
    /// A key could not be wrapped by the master key, or unwrapped.
    #[error("a key cannot be wrapped or unwrapped")]
    Wrapping(#[from] KeyError),
}

/// An Ed25519 key that signs access tokens. `Debug` does not show its secret.
#[derive(Clone)]
pub struct SigningKey {
    /// Its name: the JWK thumbprint of the public key (RFC 7638), so that it names no other.
    pub kid: String,
    /// The public key.
    pub public_key: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
    pkcs8: Vec<u8>,
}

impl SigningKey {
    /// The secret key in PKCS #8, DER.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    fn generate(at: Timestamp) -> Result<Self, CredentialsError> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(CredentialsError::KeyGeneration)?;
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref())
            .map_err(|_rejected| CredentialsError::Damaged)?;
        let public_key = pair.public_key().as_ref();
        Ok(Self {
            kid: thumbprint(public_key),
            public_key: public_key
                .try_into()
                .map_err(|_length| CredentialsError::Damaged)?,
            created_at: at,
            pkcs8: pkcs8.as_ref().to_vec(),
        })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// The thumbprint of an Ed25519 public key as RFC 8037, A.3 has it.
fn thumbprint(public_key: &[u8]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public_key);
    let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(Sha256::digest(jwk))
}

impl Credentials {
    /// The credentials behind `pool`, with their keys wrapped by the master key of `keys`.
    #[must_use]
    pub const fn new(pool: PgPool, keys: Keys) -> Self {
        Self { pool, keys }
    }

    /// The keys that sign or still verify, the newest first. The newest one signs. When there is
    /// none, one is made, by one process only.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub async fn signing_keys(&self, now: Timestamp) -> Result<Vec<SigningKey>, CredentialsError> {
        let keys = self.live_signing_keys().await?;
        if !keys.is_empty() {
            return Ok(keys);
        }
        self.insert_signing_key(&SigningKey::generate(now)?, true)
            .await?;
        self.live_signing_keys().await
    }

    /// Makes a new key, which signs from now on. The ones before go on verifying until they are
    /// retired.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub async fn rotate_signing_key(&self, now: Timestamp) -> Result<SigningKey, CredentialsError> {
        let key = SigningKey::generate(now)?;
        self.insert_signing_key(&key, false).await?;
        Ok(key)
    }

    /// Retires a key: what it signed is worth nothing from now on.
    ///
    /// # Errors
    /// [`CredentialsError::Database`].
    pub async fn retire_signing_key(
        &self,
        kid: &str,
        now: Timestamp,
    ) -> Result<(), CredentialsError> {
        sqlx::query!(
            "UPDATE credentials.signing_keys SET retired_at = $2 WHERE kid = $1 AND retired_at IS NULL",
            kid,
            now,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Wraps every key by the current master key, also those that no master key wraps yet, and says
    /// how many were not.
    ///
    /// # Errors
    /// [`CredentialsError`]; a key that was not rewrapped is as it was.
    pub async fn rewrap(&self) -> Result<u64, CredentialsError> {
        Ok(self.rewrap_signing_keys().await? + self.rewrap_fingerprint_key().await?)
    }

    async fn rewrap_signing_keys(&self) -> Result<u64, CredentialsError> {
        let rows = sqlx::query!(
            "SELECT signing_keys.kid, signing_keys.pkcs8, signing_keys.master_key FROM credentials.signing_keys"
        )
        .fetch_all(&self.pool)
        .await?;
        let mut rewrapped = 0;
        // There are as many as were ever rotated: a handful.
        for row in rows {
            let secret = self.unwrap(&row.kid, row.pkcs8, row.master_key.as_deref())?;
            let wrapped = self.keys.wrap(&purpose(&row.kid), &secret)?;
            if row.master_key.as_deref() == Some(wrapped.master_key.as_str()) {
                continue;
            }
            rewrapped += sqlx::query!(
                "UPDATE credentials.signing_keys SET pkcs8 = $2, master_key = $3 WHERE kid = $1",
                row.kid,
                wrapped.bytes,
                wrapped.master_key,
            )
            .execute(&self.pool)
            .await?
            .rows_affected();
        }
        Ok(rewrapped)
    }

    fn unwrap(
        &self,
        kid: &str,
        bytes: Vec<u8>,
        master_key: Option<&str>,
    ) -> Result<Vec<u8>, CredentialsError> {
        let Some(master_key) = master_key else {
            return Ok(bytes);
        };
        let wrapped = Wrapped {
            bytes,
            master_key: master_key.to_owned(),
        };
        Ok(self.keys.unwrap(&purpose(kid), &wrapped)?)
    }

    async fn live_signing_keys(&self) -> Result<Vec<SigningKey>, CredentialsError> {
        let rows = sqlx::query!(
            r#"
            SELECT signing_keys.kid, signing_keys.public_key, signing_keys.pkcs8,
                   signing_keys.master_key, signing_keys.created_at
            FROM credentials.signing_keys
            WHERE signing_keys.retired_at IS NULL
            ORDER BY signing_keys.created_at DESC, signing_keys.kid
            "#,
        )
        .fetch_all(&self.pool)
        .await?;
        if rows.iter().any(|row| row.master_key.is_none()) {
            self.rewrap_signing_keys().await?;
        }
        rows.into_iter()
            .map(|row| {
                let pkcs8 = self.unwrap(&row.kid, row.pkcs8, row.master_key.as_deref())?;
                Ok(SigningKey {
                    kid: row.kid,
                    public_key: row
                        .public_key
                        .as_slice()
                        .try_into()
                        .map_err(|_length| CredentialsError::Damaged)?,
                    created_at: row.created_at,
                    pkcs8,
                })
            })
            .collect()
    }

    /// Inserts `key`; with `only_first`, only when no key is live. The lock makes two processes that
    /// start at once agree on one key.
    async fn insert_signing_key(
        &self,
        key: &SigningKey,
        only_first: bool,
    ) -> Result<(), CredentialsError> {
        let wrapped = self.keys.wrap(&purpose(&key.kid), &key.pkcs8)?;
        let mut transaction = self.pool.begin().await?;
        sqlx::query!("LOCK TABLE credentials.signing_keys IN SHARE ROW EXCLUSIVE MODE")
            .execute(&mut *transaction)
            .await?;
        sqlx::query!(
            r#"
            INSERT INTO credentials.signing_keys (kid, public_key, pkcs8, master_key, created_at)
            SELECT $1, $2, $3, $4, $5
            WHERE NOT $6 OR NOT EXISTS (
                SELECT FROM credentials.signing_keys WHERE signing_keys.retired_at IS NULL)
            "#,
            key.kid,
            key.public_key.as_slice(),
            wrapped.bytes,
            wrapped.master_key,
            key.created_at,
            only_first,
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// What the secret half of a signing key is wrapped for.
fn purpose(kid: &str) -> String {
    format!("signing-key/{kid}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and its thumbprint of RFC 8037, A.2 and A.3.
    #[test]
    fn a_key_is_named_by_its_thumbprint() {
        let public_key = URL_SAFE_NO_PAD
            .decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
            .unwrap();
        assert_eq!(
            thumbprint(&public_key),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }

    #[test]
    fn a_key_does_not_show_its_secret() {
        let key = SigningKey::generate(Timestamp::UNIX_EPOCH).unwrap();
        assert!(Ed25519KeyPair::from_pkcs8(key.pkcs8()).is_ok());
        assert_eq!(
            format!("{key:?}"),
            format!("SigningKey {{ kid: {:?}, .. }}", key.kid)
        );
    }
}
