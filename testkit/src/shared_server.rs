//! The PostgreSQL server that the tests share.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use tempfile::TempDir;
use tokio::sync::OnceCell;
use touchline_embedded::{Durability, Postgres, PostgresSettings, StopMode};

/// The environment variable with the address of a database on the server where tests make theirs.
pub const DATABASE_URL_VARIABLE: &str = "TOUCHLINE_TEST_DATABASE_URL";

/// A scratch server, quick because it never waits for the disk.
#[derive(Debug)]
pub struct SharedServer {
    postgres: Postgres,
    dir: TempDir,
}

impl SharedServer {
    /// Starts one in a temporary folder.
    pub async fn start() -> Self {
        let dir = temporary_dir();
        let settings = PostgresSettings {
            shared_buffers_mb: 128,
            connections_max: 400,
            durability: Durability::Scratch,
            sync_new: false,
            database: None,
        };
        let postgres = Postgres::start(dir.path(), &settings)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        remove_after(postgres.pid(), dir.path());
        Self { postgres, dir }
    }

    /// The value for [`DATABASE_URL_VARIABLE`].
    #[must_use]
    pub fn url(&self) -> String {
        self.postgres.url("postgres")
    }

    /// Stops the server and removes its files.
    pub async fn stop(self) {
        self.postgres
            .stop(StopMode::Immediate)
            .await
            .expect("stop the shared PostgreSQL");
        remove_cluster(self.dir.path());
    }
}

/// A temporary folder that the account of PostgreSQL can pass through, should we be root.
#[must_use]
pub fn temporary_dir() -> TempDir {
    let dir = tempfile::Builder::new()
        .prefix("touchline-test-")
        .tempdir()
        .expect("make a temporary folder");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711))
        .expect("open the temporary folder");
    dir
}

/// Removes the cluster of the server in `dir` that lies elsewhere, because the temporary folder cannot
/// be passed through.
pub fn remove_cluster(dir: &Path) {
    if let Some(elsewhere) = elsewhere(dir) {
        fs::remove_dir_all(elsewhere).expect("remove the cluster");
    }
}

fn elsewhere(dir: &Path) -> Option<PathBuf> {
    let location = fs::read_to_string(dir.join("location")).ok()?;
    Some(PathBuf::from(location.trim_end()))
}

/// The address of the shared server, which is started when the environment names none.
pub(crate) async fn url() -> &'static str {
    static URL: OnceCell<String> = OnceCell::const_new();
    URL.get_or_init(|| async {
        match env::var(DATABASE_URL_VARIABLE) {
            Ok(url) => url,
            Err(_) => start_for_this_process().await,
        }
    })
    .await
}

/// Starts a server that lives as long as this process. It has a thread and a runtime of its own,
/// because that of a test ends with the test.
async fn start_for_this_process() -> String {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let server = SharedServer::start().await;
            sender
                .send(server.url())
                .expect("the test waits for the address");
            std::future::pending::<()>().await;
        });
    });
    let url = tokio::task::spawn_blocking(move || receiver.recv())
        .await
        .expect("wait for the server");
    url.expect("the shared PostgreSQL did not start: see above")
}

/// Leaves behind a shell that removes `dir`, and a cluster that lies elsewhere, when this process has ended (which closes the shell's
/// standard input) and the server `pid` with it. Neither statics nor a killed process's
/// values are dropped.
fn remove_after(pid: u32, dir: &Path) {
    let script =
        r#"read -r _; while [ -e "/proc/$1/exe" ]; do sleep 0.05; done; shift; rm -rf -- "$@""#;
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", script, "touchline-test-sweep", &pid.to_string()])
        .arg(dir)
        .args(elsewhere(dir))
        .current_dir("/");
    let shell = std::os::unix::process::CommandExt::process_group(&mut shell, 0);
    let sweep = shell
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    // Dropping it would close its standard input now.
    std::mem::forget(sweep.expect("start a shell"));
}
