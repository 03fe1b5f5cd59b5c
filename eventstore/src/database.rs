//! Connections to PostgreSQL as the application's role, and the migrations.

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgPool};
use std::str::FromStr as _;
use std::time::Duration;
use thiserror::Error;

/// The log's and the operational tables, in the order in which they came.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// The oldest PostgreSQL that Touchline runs on, as `server_version_num`.
const SERVER_VERSION_MIN: i32 = 150_000;

/// How long an idle connection waits for one from the pool.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// Session settings under which every look-up goes by key, with a plan that is made once.
///
/// They are for statements that go key by key from a short list, or page by page, into tables of any
/// size. Planning those again for each call costs as much as running them; and a plan made while a
/// table is young must do for a large one, where the planner, left to itself, would join with a scan
/// and keep to it while the table grows.
pub const BY_KEY: [(&str, &str); 4] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
];

/// Where the log lives, and how to connect to it.
#[derive(Debug, Clone)]
pub struct Database {
    options: PgConnectOptions,
}

/// Why the database cannot be used.
#[derive(Debug, Error)]
pub enum DatabaseError {
    /// The URL does not parse.
    #[error("the database URL is not of the form postgres://user:password@host:port/name")]
    Url(#[source] sqlx::Error),
    /// No connection, or the server refused a statement.
    #[error("the database cannot be reached or refused a statement")]
    Unavailable(#[from] sqlx::Error),
    /// PostgreSQL is too old.
    #[error("PostgreSQL {found} is too old: 15 or newer is needed")]
    ServerTooOld {
        /// What the server says of itself.
        found: String,
    },
    /// A newer Touchline has migrated this database.
    #[error(
        "the database was migrated by a newer Touchline (migration {version} is unknown here): start that version"
    )]
    NewerThanThisBuild {
        /// The unknown migration.
        version: i64,
    },
    /// A migration that this build needs has not run.
    #[error("the database lacks migration {version}: run `touchline migrate`")]
    NotMigrated {
        /// The first missing migration.
        version: i64,
    },
    /// A migration failed.
    #[error("a migration failed")]
    Migrate(#[source] sqlx::migrate::MigrateError),
}

impl Database {
    /// The database behind `url`.
    ///
    /// # Errors
    /// [`DatabaseError::Url`] when the URL does not parse.
    pub fn new(url: &str) -> Result<Self, DatabaseError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(DatabaseError::Url)?
            .application_name("touchline")
            .log_slow_statements(tracing::log::LevelFilter::Debug, Duration::from_secs(1))
            .options([("jit", "off")]);
        Ok(Self { options })
    }

    /// A pool of at most `connections` connections that run as `touchline_app`.
    #[must_use]
    pub fn pool(&self, connections: u32) -> PgPool {
        self.pool_with(connections, &[])
    }

    /// The same, with further settings for each of its sessions.
    #[must_use]
    pub fn pool_with(&self, connections: u32, settings: &[(&str, &str)]) -> PgPool {
        pool(
            connections,
            self.options.clone().options(settings.iter().copied()),
        )
    }

    /// A pool for the queries of clients, with [`BY_KEY`]. The name of its sessions tells them from
    /// those of workers.
    #[must_use]
    pub fn query_pool(&self, connections: u32) -> PgPool {
        let options = self.options.clone().application_name("touchline-queries");
        pool(connections, options.options(BY_KEY))
    }

    /// One connection of its own that runs as `touchline_app`, with further settings.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn connect(&self, settings: &[(&str, &str)]) -> Result<PgConnection, sqlx::Error> {
        let options = self.options.clone().options(settings.iter().copied());
        let mut connection = PgConnection::connect_with(&options).await?;
        become_application(&mut connection).await?;
        Ok(connection)
    }

    /// Runs every migration that has not run, as the role of the URL.
    ///
    /// # Errors
    /// [`DatabaseError`] when the server is too old, the database newer than this build, or a
    /// migration fails; nothing of that migration is kept then.
    pub async fn migrate(&self) -> Result<(), DatabaseError> {
        let mut connection = self.options.connect().await?;
        check_server(&mut connection).await?;
        MIGRATOR
            .run(&mut connection)
            .await
            .map_err(|error| match error {
                sqlx::migrate::MigrateError::VersionMissing(version) => {
                    DatabaseError::NewerThanThisBuild { version }
                }
                other => DatabaseError::Migrate(other),
            })?;
        connection.close().await?;
        Ok(())
    }

    /// Whether the database has exactly the migrations of this build.
    ///
    /// # Errors
    /// [`DatabaseError::NotMigrated`] or [`DatabaseError::NewerThanThisBuild`] when it has not.
    pub async fn check(&self) -> Result<(), DatabaseError> {
        let mut connection = self.options.connect().await?;
        check_server(&mut connection).await?;
        let applied: Vec<i64> =
            if sqlx::query_scalar::<_, bool>("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
                .fetch_one(&mut connection)
                .await?
            {
                sqlx::query_scalar(
                    "SELECT version FROM _sqlx_migrations WHERE success ORDER BY version",
                )
                .fetch_all(&mut connection)
                .await?
            } else {
                Vec::new()
            };
        connection.close().await?;
        if let Some(&version) = applied
            .iter()
            .find(|version| !MIGRATOR.version_exists(**version))
        {
            return Err(DatabaseError::NewerThanThisBuild { version });
        }
        match MIGRATOR
            .iter()
            .find(|known| !applied.contains(&known.version))
        {
            Some(missing) => Err(DatabaseError::NotMigrated {
                version: missing.version,
            }),
            None => Ok(()),
        }
    }
}

fn pool(connections: u32, options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(|connection, _| Box::pin(become_application(connection)))
        .connect_lazy_with(options)
}

async fn become_application(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    connection.execute("SET ROLE touchline_app").await.map(drop)
}

async fn check_server(connection: &mut PgConnection) -> Result<(), DatabaseError> {
    let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::integer")
        .fetch_one(&mut *connection)
        .await?;
    if version < SERVER_VERSION_MIN {
        let found = sqlx::query_scalar("SELECT current_setting('server_version')")
            .fetch_one(connection)
            .await?;
        return Err(DatabaseError::ServerTooOld { found });
    }
    Ok(())
}
