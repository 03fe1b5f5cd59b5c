//! A database per test.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::shared_server;

/// The advisory lock, in the database that the server's address names, under which the template is
/// made.
const TEMPLATE_LOCK: i64 = 0x746f_7563_686c;

/// What the names of the tests' databases start with; the process id follows.
const PREFIX: &str = "touchline_test_";

/// A test's own database. It is dropped when this is.
#[derive(Debug)]
pub struct TestDatabase {
    /// Connections to it as its owner, at most 10.
    pub pool: PgPool,
    /// Its address.
    pub url: String,
    name: String,
    role: String,
}

impl TestDatabase {
    /// Its name on the server.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The role that the application runs as in it, once it is migrated.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.role
    }

    /// Takes everything after `position` out of the log, as restoring an earlier state of it does. No
    /// right of the application's allows that.
    pub async fn lose_events_after(&self, position: i64) {
        let mut transaction = self.pool.begin().await.expect("begin");
        for statement in [
            "SET LOCAL session_replication_role = replica",
            "DELETE FROM log.events WHERE position > $1",
            "DELETE FROM log.commands WHERE last_position > $1",
        ] {
            let mut query = sqlx::query(statement);
            if statement.contains("$1") {
                query = query.bind(position);
            }
            query
                .execute(&mut *transaction)
                .await
                .expect("take the end of the log away");
        }
        transaction.commit().await.expect("commit");
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // At the end of the process nobody may be left to do it; the next process does then.
        let _unheard = DROPPER.send((self.name.clone(), self.role.clone()));
    }
}

/// A new database with every migration run, and with a log of its own.
pub async fn database() -> TestDatabase {
    let server = shared_server::url().await;
    let template = template(server).await;
    let database = create(server, template).await;
    // A copy of the template keeps its log id, as a restored backup does: a test's log is another.
    let mut connection = connect(&database.url).await;
    run(
        &mut connection,
        "UPDATE log.origin SET log_id = gen_random_uuid()".to_owned(),
    )
    .await;
    give_rights(&mut connection).await;
    connection.close().await.expect("close the connection");
    database
}

/// A new database with nothing in it.
pub async fn empty_database() -> TestDatabase {
    create(shared_server::url().await, "template0").await
}

/// Runs every migration on the database behind `url`.
pub async fn migrate(url: &str) {
    let mut connection = connect(url).await;
    migrator()
        .await
        .run(&mut connection)
        .await
        .expect("run the migrations");
    give_rights(&mut connection).await;
    connection.close().await.expect("close the connection");
}

/// Gives the database its role, as `touchline migrate` does: a copy of the template has another.
async fn give_rights(connection: &mut PgConnection) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../eventstore/src/database");
    for file in ["role.sql", "rights.sql"] {
        let statement = fs::read_to_string(folder.join(file)).expect("read what makes the role");
        run(connection, statement).await;
    }
}

/// The migrations as they lie in the project now: read, not compiled in, so that a new one needs no
/// new build of this crate.
async fn migrator() -> Migrator {
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    Migrator::new(migrations)
        .await
        .expect("read the migrations")
}

/// The name of the migrated template, which is made once for each state of the migrations.
async fn template(server: &'static str) -> &'static str {
    static NAME: OnceCell<String> = OnceCell::const_new();
    NAME.get_or_init(|| async {
        let checksums: Vec<u8> = migrator()
            .await
            .iter()
            .flat_map(|migration| migration.checksum.to_vec())
            .collect();
        let name = format!(
            "touchline_template_{}",
            Uuid::new_v5(&Uuid::nil(), &checksums).simple()
        );
        let mut admin = connect(server).await;
        sqlx::query("SELECT pg_advisory_lock($1)")
            .bind(TEMPLATE_LOCK)
            .execute(&mut admin)
            .await
            .expect("lock");
        let exists: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
                .bind(&name)
                .fetch_one(&mut admin)
                .await
                .expect("look for the template");
        if !exists {
            make_template(&mut admin, server, &name).await;
        }
        // Closing the connection releases the lock.
        admin.close().await.expect("close the connection");
        name
    })
    .await
}

/// Makes the template under another name, and renames it when it is whole.
async fn make_template(admin: &mut PgConnection, server: &str, name: &str) {
    let unfinished = format!("{name}_new");
    run(admin, format!("DROP DATABASE IF EXISTS {unfinished}")).await;
    run(
        admin,
        format!("CREATE DATABASE {unfinished} TEMPLATE template0"),
    )
    .await;
    migrate(&on(server, &unfinished)).await;
    run(
        admin,
        format!("ALTER DATABASE {unfinished} RENAME TO {name}"),
    )
    .await;
    run(
        admin,
        format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false"),
    )
    .await;
}

async fn create(server: &str, template: &str) -> TestDatabase {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("{PREFIX}{}_{number}", std::process::id());
    let mut admin = connect(server).await;
    if number == 1 {
        drop_leftovers(&mut admin).await;
    }
    // A process with our number may have left one behind.
    run(
        &mut admin,
        format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
    )
    .await;
    run(
        &mut admin,
        format!("CREATE DATABASE {name} TEMPLATE {template}"),
    )
    .await;
    let role =
        sqlx::query_scalar("SELECT 'touchline_app_' || oid FROM pg_database WHERE datname = $1")
            .bind(&name)
            .fetch_one(&mut admin)
            .await
            .expect("name the role of the database");
    admin.close().await.expect("close the connection");
    let url = on(server, &name);
    let pool = PgPoolOptions::new()
        .max_connections(10)
        .acquire_timeout(Duration::from_secs(30))
        .connect_lazy(&url)
        .expect("a pool");
    TestDatabase {
        pool,
        url,
        name,
        role,
    }
}

/// Drops what processes left behind that have ended. One that is in use after all stays: the server
/// refuses.
async fn drop_leftovers(admin: &mut PgConnection) {
    let names: Vec<String> =
        sqlx::query_scalar("SELECT datname FROM pg_database WHERE starts_with(datname, $1)")
            .bind(PREFIX)
            .fetch_all(&mut *admin)
            .await
            .expect("list the databases");
    for name in names {
        let pid = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('_').next())
            .unwrap_or_default();
        if !Path::new("/proc").join(pid).exists() {
            let _in_use = sqlx::raw_sql(&format!("DROP DATABASE IF EXISTS {name}"))
                .execute(&mut *admin)
                .await;
        }
    }
    // The roles of databases that are gone. One that somebody still uses stays: the server refuses.
    let roles: Vec<String> = sqlx::query_scalar(
        "SELECT rolname FROM pg_roles WHERE rolname ~ '^touchline_app_[0-9]+$'
           AND rolname NOT IN (SELECT 'touchline_app_' || oid FROM pg_database)",
    )
    .fetch_all(&mut *admin)
    .await
    .expect("list the roles");
    for role in roles {
        let _in_use = sqlx::raw_sql(&format!("DROP ROLE IF EXISTS {role}"))
            .execute(&mut *admin)
            .await;
    }
}

/// The thread that drops databases: [`Drop`] cannot wait for a server, and the runtime of the test
/// is about to end.
static DROPPER: LazyLock<mpsc::Sender<(String, String)>> = LazyLock::new(|| {
    let (sender, dropped) = mpsc::channel::<(String, String)>();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        for (name, role) in dropped {
            runtime.block_on(async {
                let Ok(mut admin) = PgConnection::connect(shared_server::url().await).await else {
                    return;
                };
                let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                let _gone = sqlx::raw_sql(&drop).execute(&mut admin).await;
                let drop = format!("DROP ROLE IF EXISTS {role}");
                let _gone = sqlx::raw_sql(&drop).execute(&mut admin).await;
            });
        }
    });
    sender
});

/// The address of another database on the same server.
fn on(server: &str, database: &str) -> String {
    use sqlx::ConnectOptions;

    let options: PgConnectOptions = server.parse().expect("the address of the test server");
    options.database(database).to_url_lossy().into()
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url)
        .await
        .unwrap_or_else(|error| panic!("the test server does not answer: {error}"))
}

async fn run(connection: &mut PgConnection, statement: String) {
    let done = sqlx::raw_sql(&statement).execute(connection).await;
    done.unwrap_or_else(|error| panic!("{statement}: {error}"));
}
