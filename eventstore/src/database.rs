//! Connections to PostgreSQL as the application's role, and the migrations.

mod role;

use role::become_application;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgPool};
use std::str::FromStr as _;
use std::time::Duration;
use thiserror::Error;

/// The log's and the operational tables, in the order in which they came. `touchline_app` stands for
/// the role of the database; [`Database::migrate`] fills it in.
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
    /// The database has no role for the application.
    #[error("the database lacks its role {role}: run `touchline migrate`")]
    RoleMissing {
        /// Its name.
        role: String,
    },
    /// The user may not run as the application.
    #[error(
        "the user {user} may not act as {role}, the role of this database: as its owner, run `GRANT {role} TO {user}`"
    )]
    RoleNotGranted {
        /// The application's role.
        role: String,
        /// The user of the URL.
        user: String,
    },
    /// The user may not make the role of the application.
    #[error(
        "the user {user} may not make the role {role} of this database: as an administrator, run `CREATE ROLE {role} NOLOGIN; GRANT {role} TO {user};`, then migrate again"
    )]
    RoleRefused {
        /// The application's role.
        role: String,
        /// The user of the URL.
        user: String,
    },
    /// The user may not give the role its rights, or not keep others out.
    #[error(
        "the user {user} may not give {role} its rights in this database: make {user} the database's owner and, when the database was restored or shared a role before, a member of every role named touchline_app…, then migrate again"
    )]
    RightsRefused {
        /// The application's role.
        role: String,
        /// The user of the URL.
        user: String,
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

    /// A pool of at most `connections` connections that run as the role of the database.
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

    /// One connection of its own that runs as the role of the database, with further settings.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn connect(&self, settings: &[(&str, &str)]) -> Result<PgConnection, sqlx::Error> {
        let options = self.options.clone().options(settings.iter().copied());
        let mut connection = PgConnection::connect_with(&options).await?;
        become_application(&mut connection).await?;
        Ok(connection)
    }

    /// Runs every migration that has not run, as the user of the URL, and gives the role of the
    /// database its rights; nobody else may connect but who was explicitly allowed to.
    ///
    /// # Errors
    /// [`DatabaseError`] when the server is too old, the database newer than this build, the role
    /// cannot be made or given its rights, or a migration fails; nothing of that migration is kept
    /// then.
    pub async fn migrate(&self) -> Result<(), DatabaseError> {
        let mut connection = self.options.connect().await?;
        check_server(&mut connection).await?;
        let role = role::make(&mut connection).await?;
        role::migrations_for(&MIGRATOR, &role)
            .run(&mut connection)
            .await
            .map_err(|error| match error {
                sqlx::migrate::MigrateError::VersionMissing(version) => {
                    DatabaseError::NewerThanThisBuild { version }
                }
                other => DatabaseError::Migrate(other),
            })?;
        role::take_rights(&mut connection).await?;
        connection.close().await?;
        Ok(())
    }

    /// Whether the database has exactly the migrations of this build, and a role that this user can
    /// run as.
    ///
    /// # Errors
    /// [`DatabaseError::NotMigrated`], [`DatabaseError::NewerThanThisBuild`],
    /// [`DatabaseError::RoleMissing`] or [`DatabaseError::RoleNotGranted`] when it has not.
    pub async fn check(&self) -> Result<(), DatabaseError> {
        let mut connection = self.options.connect().await?;
        check_server(&mut connection).await?;
        let role = match role::check(&mut connection).await {
            // Whether anything has run is told first.
            Err(DatabaseError::RoleMissing { role }) => Err(DatabaseError::RoleMissing { role }),
            checked => Ok(checked?),
        };
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
        if let Some(&version) = applied
            .iter()
            .find(|version| !MIGRATOR.version_exists(**version))
        {
            return Err(DatabaseError::NewerThanThisBuild { version });
        }
        let missing = MIGRATOR
            .iter()
            .find(|known| !applied.contains(&known.version));
        if let Some(missing) = missing {
            return Err(DatabaseError::NotMigrated {
                version: missing.version,
            });
        }
        role?;
        connection.close().await?;
        Ok(())
    }
}

fn pool(connections: u32, options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(|connection, _| Box::pin(become_application(connection)))
        .connect_lazy_with(options)
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
