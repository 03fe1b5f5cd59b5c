//! The peer: cqrs-es with postgres-es as their own documentation sets them up.

use cqrs_es::CqrsFramework;
use cqrs_es::persist::PersistedEventStore;
use postgres_es::PostgresEventRepository;
use sqlx::PgPool;
use touchline_domain::posts::Post;

/// The framework over the repository, on the table that their documentation gives.
pub type Stock = CqrsFramework<Post, PersistedEventStore<PostgresEventRepository, Post>>;

/// The events table of postgres-es 0.5: its columns and its key.
const TABLE: &str = "CREATE TABLE events (
    aggregate_type text NOT NULL, aggregate_id text NOT NULL,
    sequence bigint CHECK (sequence >= 0) NOT NULL,
    event_type text NOT NULL, event_version text NOT NULL,
    payload json NOT NULL, metadata json NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence))";

/// A stock framework on an empty table of its own.
pub async fn stock(pool: &PgPool) -> anyhow::Result<Stock> {
    sqlx::query("DROP TABLE IF EXISTS events")
        .execute(pool)
        .await?;
    sqlx::query(TABLE).execute(pool).await?;
    let repository = PostgresEventRepository::new(pool.clone());
    Ok(CqrsFramework::new(
        PersistedEventStore::new_event_store(repository),
        Vec::new(),
        (),
    ))
}
