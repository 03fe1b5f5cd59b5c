//! Destroying keys, and who is to be erased.

use super::{KeyError, Keys, Slot};
use chrono::{DateTime, Utc};
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often a process looks whether another has destroyed keys. For so long, and no longer, a key
/// that was destroyed elsewhere may still be in memory here.
pub const ERASURE_POLL: Duration = Duration::from_secs(2);
/// How far back each look goes, since times are given before they are committed.
const ERASURE_OVERLAP: chrono::TimeDelta = chrono::TimeDelta::minutes(1);

/// Somebody to be erased.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erasure {
    /// Who.
    pub subject: Uuid,
    /// Who asked for it; none for the operator.
    pub requested_by: Option<Uuid>,
    /// When.
    pub requested_at: DateTime<Utc>,
}

/// What was found among some keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivePage {
    /// Whose key is to be destroyed.
    pub subjects: Vec<Uuid>,
    /// The last that was looked at; none when there was none left.
    pub last: Option<Uuid>,
}

impl Keys {
    /// Writes down that `subject` is to be erased, before anything else is done about it.
    ///
    /// # Errors
    /// [`KeyError::Database`].
    pub async fn request_erasure(&self, erasure: &Erasure) -> Result<(), KeyError> {
        sqlx::query!(
            "
            INSERT INTO keys.erasures (subject, requested_by, requested_at) VALUES ($1, $2, $3)
            ON CONFLICT DO NOTHING
            ",
            erasure.subject,
            erasure.requested_by,
            erasure.requested_at,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Everybody who was or is to be erased, in the order of the requests.
    ///
    /// # Errors
    /// [`KeyError::Database`].
    pub async fn erasures(&self) -> Result<Vec<Erasure>, KeyError> {
        Ok(sqlx::query_as!(
            Erasure,
            "
            SELECT erasures.subject, erasures.requested_by, erasures.requested_at
            FROM keys.erasures ORDER BY erasures.requested_at, erasures.subject
            ",
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Those of [`Keys::erasures`] that were cut short, or undone by a restored backup: the key was
    /// not destroyed, or the subject owns a claim of kind `scope`, or has an aggregate of type
    /// `aggregate_type` whose last event is not `erased`.
    ///
    /// # Errors
    /// [`KeyError::Database`].
    pub async fn unfinished_erasures(
        &self,
        aggregate_type: &str,
        erased: &str,
        scope: &str,
    ) -> Result<Vec<Erasure>, KeyError> {
        Ok(sqlx::query_as!(
            Erasure,
            "
            SELECT erasures.subject, erasures.requested_by, erasures.requested_at
            FROM keys.erasures
            WHERE NOT EXISTS (SELECT FROM keys.data_keys
                              WHERE data_keys.subject = erasures.subject
                                AND data_keys.destroyed_at IS NOT NULL)
               OR EXISTS (SELECT FROM log.claims
                          WHERE claims.owner = erasures.subject::text AND claims.scope = $3)
               OR (SELECT events.event_type FROM log.events
                   WHERE events.aggregate_type = $1
                     AND events.aggregate_id = erasures.subject::text
                   ORDER BY events.sequence DESC LIMIT 1) <> $2
            ORDER BY erasures.requested_at, erasures.subject
            ",
            aggregate_type,
            erased,
            scope,
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Of the next `limit` keys after `after`, those that open although the last event of their
    /// subject's aggregate of type `aggregate_type` is `erased`: the keys are older than the log.
    ///
    /// # Errors
    /// [`KeyError::Database`].
    pub async fn live_though_erased(
        &self,
        aggregate_type: &str,
        erased: &str,
        after: Uuid,
        limit: i64,
    ) -> Result<LivePage, KeyError> {
        let rows = sqlx::query!(
            r#"
            SELECT live.subject, coalesce((
                       SELECT events.event_type FROM log.events
                       WHERE events.aggregate_type = $1 AND events.aggregate_id = live.subject::text
                       ORDER BY events.sequence DESC LIMIT 1) = $2, false) AS "is_erased!"
            FROM (SELECT data_keys.subject FROM keys.data_keys
                  WHERE data_keys.subject > $3 AND data_keys.wrapped IS NOT NULL
                  ORDER BY data_keys.subject LIMIT $4) AS live
            ORDER BY live.subject
            "#,
            aggregate_type,
            erased,
            after,
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(LivePage {
            last: rows.last().map(|row| row.subject),
            subjects: rows
                .into_iter()
                .filter(|row| row.is_erased)
                .map(|row| row.subject)
                .collect(),
        })
    }

    /// Destroys the key of `subject` for good. Done again, it changes nothing.
    ///
    /// # Errors
    /// [`KeyError::Database`].
    pub async fn destroy(&self, subject: Uuid) -> Result<(), KeyError> {
        sqlx::query!(
            "
            INSERT INTO keys.data_keys (subject, destroyed_at) VALUES ($1, now())
            ON CONFLICT (subject) DO UPDATE
               SET wrapped = NULL, master_key = NULL, destroyed_at = now()
             WHERE data_keys.destroyed_at IS NULL
            ",
            subject,
        )
        .execute(&self.pool)
        .await?;
        self.remember(subject, Slot::Destroyed);
        Ok(())
    }

    /// Forgets keys that other processes destroy, until `stop`, and calls `forgotten` for each.
    pub async fn watch_erasures(&self, forgotten: impl Fn(Uuid) + Send, stop: CancellationToken) {
        let mut seen = HashSet::new();
        let mut since: Option<DateTime<Utc>> = None;
        loop {
            match self.destroyed(since).await {
                Ok((now, destroyed)) => {
                    since = Some(now - ERASURE_OVERLAP);
                    for subject in &destroyed {
                        // Again each time, should it have been crowded out while a reader was late.
                        self.remember(*subject, Slot::Destroyed);
                        if !seen.contains(subject) {
                            forgotten(*subject);
                        }
                    }
                    seen = destroyed;
                }
                Err(error) => tracing::debug!(%error, "keys: erasures not read"),
            }
            if stop
                .run_until_cancelled(sleep(ERASURE_POLL))
                .await
                .is_none()
            {
                return;
            }
        }
    }

    /// Whose keys were destroyed since, and what time the database has. At first only the time: what
    /// was destroyed before this process began is not in its memory.
    async fn destroyed(
        &self,
        since: Option<DateTime<Utc>>,
    ) -> Result<(DateTime<Utc>, HashSet<Uuid>), KeyError> {
        let now = sqlx::query_scalar!(r#"SELECT now() AS "now!""#)
            .fetch_one(&self.pool)
            .await?;
        let Some(since) = since else {
            return Ok((now, HashSet::new()));
        };
        let destroyed = sqlx::query_scalar!(
            "SELECT data_keys.subject FROM keys.data_keys WHERE data_keys.destroyed_at > $1",
            since,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok((now, destroyed.into_iter().collect()))
    }
}
