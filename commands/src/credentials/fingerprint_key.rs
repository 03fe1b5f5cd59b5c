//! The key under which command ids, fingerprints of requests, and claims are made.

use super::{Credentials, CredentialsError};
use crate::fingerprint::Fingerprints;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use touchline_eventstore::keys::Wrapped;

/// What it is wrapped for.
const PURPOSE: &str = "fingerprint-key";

impl Credentials {
    /// What makes command ids and fingerprints of requests, under the key of this database. The first
    /// time one is made, by one process only; never for a log that has something already, whose claims
    /// nobody could look up with another.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub async fn fingerprints(&self) -> Result<Fingerprints, CredentialsError> {
        let key = if let Some(key) = self.fingerprint_key().await? {
            key
        } else {
            self.insert_fingerprint_key().await?;
            let made = self.fingerprint_key().await?;
            made.ok_or(CredentialsError::FingerprintKeyMissing)?
        };
        Ok(Fingerprints::new(&key))
    }

    async fn fingerprint_key(&self) -> Result<Option<[u8; 32]>, CredentialsError> {
        let row = sqlx::query!(
            "SELECT fingerprint_key.key, fingerprint_key.master_key FROM credentials.fingerprint_key"
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let key = if let Some(master_key) = row.master_key {
            let wrapped = Wrapped {
                bytes: row.key,
                master_key,
            };
            self.keys.unwrap(PURPOSE, &wrapped)?
        } else {
            self.wrap_fingerprint_key(&row.key, None).await?;
            row.key
        };
        let key = key
            .try_into()
            .map_err(|_length| CredentialsError::Damaged)?;
        Ok(Some(key))
    }

    async fn insert_fingerprint_key(&self) -> Result<(), CredentialsError> {
        let mut key = [0; 32];
        SystemRandom::new()
            .fill(&mut key)
            .map_err(CredentialsError::KeyGeneration)?;
        let wrapped = self.keys.wrap(PURPOSE, &key)?;
        sqlx::query!(
            "
            INSERT INTO credentials.fingerprint_key (key, master_key)
            SELECT $1, $2
            WHERE NOT EXISTS (SELECT FROM log.events) AND NOT EXISTS (SELECT FROM log.claims)
            ON CONFLICT DO NOTHING
            ",
            wrapped.bytes,
            wrapped.master_key,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Wraps the key by the current master key unless it is, and says whether it was not.
    pub(super) async fn rewrap_fingerprint_key(&self) -> Result<u64, CredentialsError> {
        let row = sqlx::query!(
            "SELECT fingerprint_key.key, fingerprint_key.master_key FROM credentials.fingerprint_key"
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(0) };
        let Some(master_key) = row.master_key else {
            return self.wrap_fingerprint_key(&row.key, None).await;
        };
        let wrapped = Wrapped {
            bytes: row.key,
            master_key,
        };
        let key = self.keys.unwrap(PURPOSE, &wrapped)?;
        self.wrap_fingerprint_key(&key, Some(&wrapped.master_key))
            .await
    }

    /// Stores the key wrapped by the current master key, if it is still under `before`.
    async fn wrap_fingerprint_key(
        &self,
        key: &[u8],
        before: Option<&str>,
    ) -> Result<u64, CredentialsError> {
        let wrapped = self.keys.wrap(PURPOSE, key)?;
        if before == Some(&*wrapped.master_key) {
            return Ok(0);
        }
        let updated = sqlx::query!(
            "
            UPDATE credentials.fingerprint_key SET key = $1, master_key = $2
            WHERE fingerprint_key.master_key IS NOT DISTINCT FROM $3
            ",
            wrapped.bytes,
            wrapped.master_key,
            before,
        )
        .execute(&self.pool)
        .await?;
        Ok(updated.rows_affected())
    }
}
