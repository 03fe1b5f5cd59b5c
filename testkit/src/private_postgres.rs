//! A PostgreSQL server per test, for tests that break it.

use tempfile::TempDir;
use touchline_embedded::{Postgres, PostgresSettings, StopMode};

use crate::database::migrate;
use crate::shared_server::{remove_cluster, temporary_dir};

/// The database in it.
const DATABASE: &str = "touchline";

/// A test's own PostgreSQL server, as durable as in production, with one migrated database.
/// Dropping it stops it and removes its files.
#[derive(Debug)]
pub struct PrivatePostgres {
    server: Option<Postgres>,
    url: String,
    dir: TempDir,
}

/// Starts a server of its own.
pub async fn private_postgres() -> PrivatePostgres {
    let dir = temporary_dir();
    let server = start(&dir).await;
    let url = server.url(DATABASE);
    migrate(&url).await;
    PrivatePostgres {
        server: Some(server),
        url,
        dir,
    }
}

impl PrivatePostgres {
    /// The address of the migrated database, which stays the same while the test lasts.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Postgres::pid)
    }

    /// Starts it again with the same address and data, after one of the stops or
    /// [`kill`](Self::kill).
    pub async fn start(&mut self) {
        assert!(self.server.is_none(), "the server runs already");
        let server = start(&self.dir).await;
        assert_eq!(
            server.url(DATABASE),
            self.url,
            "another process took the port"
        );
        self.server = Some(server);
    }

    /// Stops it in order; the next start has nothing to recover.
    pub async fn stop(&mut self) {
        self.running()
            .stop(StopMode::Fast)
            .await
            .expect("stop PostgreSQL");
    }

    /// Stops it at once, as in a crash; the next start recovers.
    pub async fn stop_immediate(&mut self) {
        self.running()
            .stop(StopMode::Immediate)
            .await
            .expect("stop PostgreSQL");
    }

    /// Kills all its processes with SIGKILL.
    pub async fn kill(&mut self) {
        self.running().kill().await.expect("kill PostgreSQL");
    }

    fn running(&mut self) -> Postgres {
        self.server.take().expect("the server does not run")
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        drop(self.server.take());
        remove_cluster(self.dir.path());
    }
}

async fn start(dir: &TempDir) -> Postgres {
    let settings = PostgresSettings {
        shared_buffers_mb: 64,
        sync_new: false,
        database: Some(DATABASE.to_owned()),
        ..PostgresSettings::default()
    };
    Postgres::start(dir.path(), &settings)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}
