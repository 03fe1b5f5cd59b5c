//! One holder at a time for a role, fenced by an epoch (ADR-0004).
//!
//! A holder that was paused past its lease does not know it. That is why a lease alone protects
//! nothing: whatever the holder writes carries the epoch, and the receiver refuses an old one.

mod tenure;

use sqlx::PgPool;
use std::time::Duration;
use uuid::Uuid;

pub(crate) use tenure::Tenure;

/// How long a lease lasts without renewal.
pub const LEASE: Duration = Duration::from_secs(5);

/// A lease that was held when it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The role.
    pub name: String,
    /// Who holds it.
    pub holder: Uuid,
    /// Grows by one with each new holder.
    pub epoch: i64,
}

impl Lease {
    /// Takes the lease `name` when nobody holds it, or its holder let it run out, or `holder` itself
    /// holds it (then the epoch stays). `None` when somebody else holds it.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn acquire(
        pool: &PgPool,
        name: &str,
        holder: Uuid,
    ) -> Result<Option<Self>, sqlx::Error> {
        let epoch = sqlx::query_scalar!(
            r#"
            INSERT INTO operations.leases AS held (name, holder, epoch, expires_at)
            VALUES ($1, $2, 1, now() + make_interval(secs => $3))
            ON CONFLICT (name) DO UPDATE
               SET holder = excluded.holder,
                   epoch = held.epoch + CASE WHEN held.holder = excluded.holder THEN 0 ELSE 1 END,
                   expires_at = excluded.expires_at
             WHERE held.holder = excluded.holder OR held.expires_at < now()
            RETURNING held.epoch
            "#,
            name,
            holder,
            LEASE.as_secs_f64(),
        )
        .fetch_optional(pool)
        .await?;
        Ok(epoch.map(|epoch| Self {
            name: name.to_owned(),
            holder,
            epoch,
        }))
    }

    /// Lengthens the lease. False when somebody else has it now.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn renew(&self, pool: &PgPool) -> Result<bool, sqlx::Error> {
        let renewed = sqlx::query!(
            r#"
            UPDATE operations.leases SET expires_at = now() + make_interval(secs => $4)
            WHERE leases.name = $1 AND leases.holder = $2 AND leases.epoch = $3
            "#,
            self.name,
            self.holder,
            self.epoch,
            LEASE.as_secs_f64(),
        )
        .execute(pool)
        .await?;
        Ok(renewed.rows_affected() == 1)
    }

    /// Gives the lease back, so that the next holder need not wait for it to run out.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn release(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        sqlx::query!(
            r#"
            UPDATE operations.leases SET expires_at = '-infinity'
            WHERE leases.name = $1 AND leases.holder = $2 AND leases.epoch = $3
            "#,
            self.name,
            self.holder,
            self.epoch,
        )
        .execute(pool)
        .await
        .map(drop)
    }
}
