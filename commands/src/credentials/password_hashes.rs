//! The password of each account, as a hash.

use super::{Credentials, CredentialsError};
use crate::passwords::PasswordHash;
use touchline_domain::clock::Timestamp;
use touchline_domain::id::UserId;
use touchline_eventstore::keys::Erasure;
use uuid::Uuid;

/// What was found among some password hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// How many belonged to nobody, and were removed.
    pub removed: i64,
    /// The last that was looked at; none when there was none left.
    pub last: Option<Uuid>,
}

impl Credentials {
    /// The password of an account; none when it has none, or there is no such account.
    ///
    /// # Errors
    /// [`CredentialsError::Database`].
    pub async fn password_hash(
        &self,
        user_id: UserId,
    ) -> Result<Option<PasswordHash>, CredentialsError> {
        let phc = sqlx::query_scalar!(
            "SELECT password_hashes.phc FROM credentials.password_hashes WHERE password_hashes.user_id = $1",
            user_id.uuid(),
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(phc.as_deref().map(PasswordHash::new))
    }

    /// Gives an account its first password.
    ///
    /// # Errors
    /// [`CredentialsError::Database`], also when it has one.
    pub async fn insert_password_hash(
        &self,
        user_id: UserId,
        hash: &PasswordHash,
        at: Timestamp,
    ) -> Result<(), CredentialsError> {
        sqlx::query!(
            "INSERT INTO credentials.password_hashes (user_id, phc, changed_at) VALUES ($1, $2, $3)",
            user_id.uuid(),
            hash.as_str(),
            at,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Puts the same password under a newer hash, unless it was changed since `old` was read.
    ///
    /// # Errors
    /// [`CredentialsError::Database`].
    pub async fn replace_password_hash(
        &self,
        user_id: UserId,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<(), CredentialsError> {
        sqlx::query!(
            "UPDATE credentials.password_hashes SET phc = $3 WHERE user_id = $1 AND phc = $2",
            user_id.uuid(),
            old.as_str(),
            new.as_str(),
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The erasures of those who have a password all the same.
    ///
    /// # Errors
    /// [`CredentialsError::Database`].
    pub async fn passwords_of_erased(&self) -> Result<Vec<Erasure>, CredentialsError> {
        Ok(sqlx::query_as!(
            Erasure,
            "
            SELECT erasures.subject, erasures.requested_by, erasures.requested_at
            FROM keys.erasures
            JOIN credentials.password_hashes ON password_hashes.user_id = erasures.subject
            ORDER BY erasures.requested_at, erasures.subject
            ",
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Removes, of the next `limit` password hashes after `after`, those that belong to nobody: there
    /// is no aggregate of type `aggregate_type` and the hash is from before `before`, or the last
    /// event of that aggregate is `erased`.
    ///
    /// # Errors
    /// [`CredentialsError::Database`].
    pub async fn sweep_password_hashes(
        &self,
        aggregate_type: &str,
        erased: &str,
        before: Timestamp,
        after: Uuid,
        limit: i64,
    ) -> Result<Swept, CredentialsError> {
        let swept = sqlx::query_as!(
            Swept,
            r#"
            WITH page AS (
                SELECT password_hashes.user_id, password_hashes.changed_at, (
                           SELECT events.event_type FROM log.events
                           WHERE events.aggregate_type = $1
                             AND events.aggregate_id = password_hashes.user_id::text
                           ORDER BY events.sequence DESC LIMIT 1) AS last_event
                FROM credentials.password_hashes
                WHERE password_hashes.user_id > $4
                ORDER BY password_hashes.user_id LIMIT $5
            ), removed AS (
                DELETE FROM credentials.password_hashes USING page
                WHERE password_hashes.user_id = page.user_id
                  AND (page.last_event = $2 OR page.last_event IS NULL AND page.changed_at < $3)
                RETURNING password_hashes.user_id
            )
            SELECT (SELECT count(*) FROM removed) AS "removed!",
                   (SELECT page.user_id FROM page ORDER BY page.user_id DESC LIMIT 1) AS last
            "#,
            aggregate_type,
            erased,
            before,
            after,
            limit,
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(swept)
    }

    /// Takes the password of an account away.
    ///
    /// # Errors
    /// [`CredentialsError::Database`].
    pub async fn delete_password_hash(&self, user_id: UserId) -> Result<(), CredentialsError> {
        sqlx::query!(
            "DELETE FROM credentials.password_hashes WHERE user_id = $1",
            user_id.uuid(),
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
