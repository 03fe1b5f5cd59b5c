//! A read model with a row for each event, whose aggregates are independent.

use crate::site::Site;
use sqlx::PgConnection;
use touchline_eventstore::LogEvent;
use touchline_projections::{ProjectError, Projection};

/// The position of each event, with a number made of it.
pub(crate) struct Counted;

impl Projection for Counted {
    const NAME: &'static str = "counted";
    const VERSION: i32 = 1;
    const SCHEMA: &'static str =
        "CREATE TABLE rows (position bigint PRIMARY KEY, value bigint NOT NULL)";
    const PARTITIONED: bool = true;

    fn handles(&self, event_type: &str) -> bool {
        event_type.starts_with("users.")
    }

    async fn project(
        &self,
        connection: &mut PgConnection,
        events: &[LogEvent],
    ) -> Result<(), ProjectError> {
        let positions: Vec<i64> = events.iter().map(|event| event.position.get()).collect();
        sqlx::query("INSERT INTO rows SELECT p, p * 7 FROM unnest($1::bigint[]) AS p")
            .bind(positions)
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// Writes a log of follows, each of its own aggregate, as the owner of the database: a million
/// appends would take a test too long.
pub(crate) async fn append(site: &Site, events: i64) {
    sqlx::query(
        "INSERT INTO log.events (position, event_id, aggregate_type, aggregate_id, sequence, event_type,
                                 event_version, payload, metadata, recorded_at, digest)
         SELECT number, gen_random_uuid(), 'follow', gen_random_uuid()::text, 1, 'users.user_followed',
                '1', '{}', '{}', now(), sha256('')
         FROM generate_series(1, $1) AS number",
    )
    .bind(events)
    .execute(site.pool())
    .await
    .unwrap();
}
