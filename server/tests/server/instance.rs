//! An instance of everything in one folder: `touchline up`.

use crate::chance::PATIENCE;
use crate::process::{Process, living, touchline};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use touchline_testkit::{MASTER_KEY, remove_cluster, temporary_dir};

/// How many lines of each output are shown after a failure.
const LINES_TOLD: usize = 50;

/// A folder for an instance. Dropping it stops what still runs on it and removes everything.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(temporary_dir())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The folder that the instance gets: one that is not there yet.
    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Where an instance says that it is ready.
    pub(crate) fn ready_file(&self) -> PathBuf {
        self.path().join("ready.json")
    }

    /// The master keys of servers that the test starts itself.
    pub(crate) fn master_key_file(&self) -> PathBuf {
        let file = self.path().join("master.key");
        fs::write(&file, MASTER_KEY).unwrap();
        file
    }

    /// The data directory of PostgreSQL.
    pub(crate) fn cluster(&self) -> PathBuf {
        let dir = self.data().join("postgres");
        let elsewhere = fs::read_to_string(dir.join("location"));
        let home = elsewhere.map_or_else(|_| dir.join("cluster"), |line| line.trim().into());
        home.join("data")
    }

    /// The instance's PostgreSQL, its first process.
    pub(crate) fn postgres(&self) -> Option<Pid> {
        pid_in(&self.cluster().join("postmaster.pid"))
    }

    /// The instance's NATS.
    pub(crate) fn nats(&self) -> Option<Pid> {
        pid_in(&self.data().join("nats/nats.pid"))
    }
}

impl Folder {
    /// Shows the end of what every process said, for whoever looks into a failure.
    fn tell(&self) {
        let outputs = fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let outputs = outputs.filter(|path| path.extension().is_some_and(|it| it == "output"));
        let servers =
            ["postgres", "nats"].map(|server| self.data().join(server).join("server.log"));
        for path in outputs.chain(servers) {
            let said = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<_> = said.lines().collect();
            let last = &lines[lines.len().saturating_sub(LINES_TOLD)..];
            eprintln!("--- {}\n{}", path.display(), last.join("\n"));
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while !living(self.path()).is_empty() && Instant::now() < deadline {
            for pid in [self.nats(), self.postgres()].into_iter().flatten() {
                let _gone = kill(pid, Signal::SIGQUIT);
            }
            sleep(Duration::from_millis(20));
        }
        let postgres = self.data().join("postgres");
        if postgres.exists() {
            remove_cluster(&postgres);
        }
    }
}

fn pid_in(file: &Path) -> Option<Pid> {
    let content = fs::read_to_string(file).ok()?;
    content
        .lines()
        .next()?
        .trim()
        .parse()
        .ok()
        .map(Pid::from_raw)
}

/// An instance that runs.
pub(crate) struct Instance {
    pub(crate) process: Process,
    pub(crate) url: String,
    pub(crate) database_url: String,
    pub(crate) nats_url: String,
    pub(crate) master_key_file: PathBuf,
}

impl Instance {
    /// Starts an instance on the folder, on a free port.
    pub(crate) async fn start(folder: &Folder) -> Self {
        Self::start_at(folder, "127.0.0.1:0").await
    }

    /// Starts an instance on the folder that serves at `address`.
    pub(crate) async fn start_at(folder: &Folder, address: &str) -> Self {
        Self::start_with(folder, &["--listen", address]).await
    }

    /// Starts an instance on the folder with these options.
    pub(crate) async fn start_with(folder: &Folder, options: &[&str]) -> Self {
        let (data, ready) = (folder.data(), folder.ready_file());
        let _was_there = fs::remove_file(&ready);
        let mut command = touchline(folder.path(), &["up"]);
        command
            .args(["--data-dir", data.to_str().unwrap()])
            .args(["--ready-file", ready.to_str().unwrap()])
            .args(options);
        let mut process = Process::start(folder.path(), "up", command);
        let said = process.ready(&ready).await;
        let text = |field: &str| said[field].as_str().unwrap().to_owned();
        Self {
            url: text("url"),
            database_url: text("database_url"),
            nats_url: text("nats_url"),
            master_key_file: text("master_key_file").into(),
            process,
        }
    }

    /// Kills it with SIGKILL, and starts another on the folder that serves at the same address.
    pub(crate) async fn kill_and_start(&mut self, folder: &Folder) {
        self.process.kill().await;
        let address = self.url.trim_start_matches("http://").to_owned();
        *self = Self::start_at(folder, &address).await;
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        self.process.stop(Signal::SIGTERM).await
    }
}

/// Waits until nothing runs on the folder any more.
pub(crate) async fn until_nothing_lives(folder: &Folder) {
    touchline_testkit::eventually(PATIENCE, "every process ends", || async {
        living(folder.path()).is_empty()
    })
    .await;
}
