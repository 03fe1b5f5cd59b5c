//! The key that signs the checkpoints of a log.

use super::note::{SigningKey, origin};
use super::record::Seals;
use crate::keys::{KeyError, Keys, Wrapped};
use crate::position::Position;
use thiserror::Error;
use uuid::Uuid;

/// Why there is no key to sign with.
#[derive(Debug, Error)]
pub enum SealKeyError {
    /// The database could not be reached, or refused.
    #[error("the key of the seals cannot be read or made")]
    Database(#[from] sqlx::Error),
    /// It cannot be wrapped under the master key, or unwrapped.
    #[error("the key of the seals cannot be wrapped or unwrapped")]
    Wrapping(#[from] KeyError),
    /// The machine gives no random bytes.
    #[error("no random bytes can be had for a key")]
    NoRandomness,
    /// The log has events and no key. Somebody removed it, and a new one would sign anything.
    #[error(
        "the log has events and no key to sign with: restore seals.keys, or acknowledge a new beginning by `touchline log begin-anew`"
    )]
    Missing,
    /// What is stored is no key, or not the one that its public half says.
    #[error("the key of the seals is damaged")]
    Damaged,
}

impl Seals {
    /// Makes the key of a log that has no events yet. Whoever appends does this first, so that a log
    /// with events has had a key from its beginning.
    ///
    /// # Errors
    /// [`SealKeyError`] when it can be neither read nor made.
    pub async fn prepare_key(&self, keys: &Keys, log_id: Uuid) -> Result<(), SealKeyError> {
        match self.signing_key(keys, log_id).await {
            // That is for the sealer to tell.
            Ok(_) | Err(SealKeyError::Missing) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The key that signs the checkpoints of this log. It is made when there is none and the log is
    /// empty; of two that make one at once, both get the same.
    ///
    /// # Errors
    /// [`SealKeyError`] when it can be neither read nor made.
    pub(super) async fn signing_key(
        &self,
        keys: &Keys,
        log_id: Uuid,
    ) -> Result<SigningKey, SealKeyError> {
        match self.stored_key(keys, &origin(log_id)).await? {
            Some(key) => Ok(key),
            None if self.head().await? > Position::START => Err(SealKeyError::Missing),
            None => self.signing_key_made(keys, log_id).await,
        }
    }

    /// The same, made whether the log is empty or not: only because an operator says so.
    ///
    /// # Errors
    /// [`SealKeyError`] when it can be neither read nor made.
    pub(super) async fn signing_key_made(
        &self,
        keys: &Keys,
        log_id: Uuid,
    ) -> Result<SigningKey, SealKeyError> {
        let name = origin(log_id);
        if let Some(key) = self.stored_key(keys, &name).await? {
            return Ok(key);
        }
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).map_err(|_unspecified| SealKeyError::NoRandomness)?;
        let key = SigningKey::from_seed(&name, &seed).ok_or(SealKeyError::Damaged)?;
        let wrapped = keys.wrap(&purpose(&name), &seed)?;
        sqlx::query!(
            r#"
            INSERT INTO seals.keys (public_key, name, secret, master_key) VALUES ($1, $2, $3, $4)
            ON CONFLICT ON CONSTRAINT keys_name_key DO NOTHING
            "#,
            &key.verifier().public()[..],
            name,
            wrapped.bytes,
            wrapped.master_key,
        )
        .execute(self.pool())
        .await?;
        self.stored_key(keys, &name)
            .await?
            .ok_or(SealKeyError::Damaged)
    }

    async fn stored_key(
        &self,
        keys: &Keys,
        name: &str,
    ) -> Result<Option<SigningKey>, SealKeyError> {
        let row = sqlx::query!(
            "SELECT keys.public_key, keys.secret, keys.master_key FROM seals.keys WHERE keys.name = $1",
            name,
        )
        .fetch_optional(self.pool())
        .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let wrapped = Wrapped {
            bytes: row.secret,
            master_key: row.master_key,
        };
        let seed = keys.unwrap(&purpose(name), &wrapped)?;
        let seed = seed
            .as_slice()
            .try_into()
            .map_err(|_length| SealKeyError::Damaged)?;
        SigningKey::from_seed(name, seed)
            .filter(|key| key.verifier().public()[..] == row.public_key)
            .map(Some)
            .ok_or(SealKeyError::Damaged)
    }

    /// Whether the configured master keys open every signing key.
    ///
    /// # Errors
    /// [`SealKeyError`] when they do not, or the database cannot be reached.
    pub async fn check_keys(&self, keys: &Keys) -> Result<(), SealKeyError> {
        let rows = sqlx::query!(
            "SELECT keys.name, keys.secret, keys.master_key FROM seals.keys ORDER BY keys.name"
        )
        .fetch_all(self.pool())
        .await?;
        for row in rows {
            let wrapped = Wrapped {
                bytes: row.secret,
                master_key: row.master_key,
            };
            keys.unwrap(&purpose(&row.name), &wrapped)?;
        }
        Ok(())
    }

    /// Wraps every signing key under the current master key; how many were under another. The keys
    /// themselves, and all that they signed, stay as they are.
    ///
    /// # Errors
    /// [`SealKeyError`]; a key that was not rewrapped is as it was.
    pub async fn rewrap(&self, keys: &Keys) -> Result<u64, SealKeyError> {
        let rows = sqlx::query!(
            "SELECT keys.name, keys.secret, keys.master_key FROM seals.keys ORDER BY keys.name"
        )
        .fetch_all(self.pool())
        .await?;
        let (mut names, mut secrets, mut masters) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            let purpose = purpose(&row.name);
            let old = Wrapped {
                bytes: row.secret,
                master_key: row.master_key,
            };
            let new = keys.wrap(&purpose, &keys.unwrap(&purpose, &old)?)?;
            if new.master_key != old.master_key {
                names.push(row.name);
                secrets.push(new.bytes);
                masters.push(new.master_key);
            }
        }
        let rewrapped = sqlx::query!(
            r#"
            UPDATE seals.keys SET secret = new.secret, master_key = new.master_key
            FROM unnest($1::text[], $2::bytea[], $3::text[]) AS new (name, secret, master_key)
            WHERE keys.name = new.name
            "#,
            &names,
            &secrets,
            &masters,
        )
        .execute(self.pool())
        .await?;
        Ok(rewrapped.rows_affected())
    }
}

/// What binds a wrapped key to its place: it opens nowhere else.
fn purpose(name: &str) -> String {
    format!("seals:{name}")
}
