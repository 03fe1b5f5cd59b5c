//! One private PostgreSQL and one private NATS for a run, durable as in production.

use sqlx::postgres::PgPoolOptions;
use sqlx::{Executor as _, PgPool};
use std::sync::Arc;
use touchline_domain::clock::{Clock, IdSource, Timestamp, to_micros};
use touchline_embedded::{Nats, NatsSettings, Postgres, PostgresSettings, StopMode};
use touchline_eventstore::database::Database;
use touchline_eventstore::keys::MasterKey;
use touchline_eventstore::{EventStore, MasterKeys};
use uuid::Uuid;

/// The system's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        to_micros(chrono::Utc::now())
    }
}

/// Ids of version 7, from the clock and chance.
#[derive(Debug, Clone, Copy)]
pub struct SystemIds;

impl IdSource for SystemIds {
    fn next(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// The servers of one run, in a folder that goes with it.
pub struct Servers {
    folder: tempfile::TempDir,
    postgres: Postgres,
    /// The stock peer's database.
    pub stock_pool: PgPool,
    admin: PgPool,
    master_key: String,
    count: std::sync::atomic::AtomicUsize,
}

impl Servers {
    /// Starts PostgreSQL in a temporary folder.
    pub async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let postgres = Postgres::start(
            &folder.path().join("postgres"),
            &PostgresSettings::default(),
        )
        .await?;
        let admin = PgPoolOptions::new()
            .max_connections(1)
            .connect(&postgres.url("postgres"))
            .await?;
        admin.execute("CREATE DATABASE stock").await?;
        let stock_pool = PgPoolOptions::new()
            .max_connections(64)
            .connect(&postgres.url("stock"))
            .await?;
        Ok(Self {
            folder,
            postgres,
            stock_pool,
            admin,
            master_key: MasterKey::generate()?,
            count: 0.into(),
        })
    }

    /// A fresh, migrated database.
    pub async fn database(&self) -> anyhow::Result<Database> {
        Ok(self.database_and_owner().await?.0)
    }

    /// A fresh, migrated database, and connections to it as its owner.
    pub async fn database_and_owner(&self) -> anyhow::Result<(Database, PgPool)> {
        let number = self
            .count
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("touchline_{number}");
        self.admin
            .execute(format!("CREATE DATABASE {name}").as_str())
            .await?;
        let url = self.postgres.url(&name);
        let database = Database::new(&url)?;
        database.migrate().await?;
        Ok((
            database,
            PgPoolOptions::new()
                .max_connections(2)
                .connect(&url)
                .await?,
        ))
    }

    /// The master keys of this run.
    pub fn master_keys(&self) -> anyhow::Result<MasterKeys> {
        Ok(MasterKeys::parse(&self.master_key)?)
    }

    /// A store on a fresh log.
    pub async fn store(&self) -> anyhow::Result<EventStore> {
        self.store_on(self.database().await?)
    }

    /// The stores of two nodes on one fresh log.
    pub async fn two_stores(&self) -> anyhow::Result<(EventStore, EventStore)> {
        let database = self.database().await?;
        Ok((self.store_on(database.clone())?, self.store_on(database)?))
    }

    fn store_on(&self, database: Database) -> anyhow::Result<EventStore> {
        let pool = database.pool(16);
        Ok(EventStore::new(
            database,
            pool,
            self.master_keys()?,
            Arc::new(SystemClock),
        ))
    }

    /// Starts a NATS server of its own, on an empty folder.
    pub async fn nats(&self) -> anyhow::Result<(Nats, async_nats::Client)> {
        let number = self
            .count
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let nats = Nats::start(
            &self.folder.path().join(format!("nats_{number}")),
            NatsSettings { password: false },
        )
        .await?;
        let client = async_nats::connect(nats.url()).await?;
        Ok((nats, client))
    }

    /// Stops PostgreSQL and removes the folder.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.postgres.stop(StopMode::Fast).await?;
        Ok(())
    }
}
