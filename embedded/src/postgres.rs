//! A private PostgreSQL server.

use std::fs::{self, DirBuilder};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use crate::account::Account;
use crate::cluster::{Cluster, SUPERUSER, telling_line};
use crate::memory;
use crate::port;
use crate::process::{POLL, ServerProcess, StopError, stop_orphans};
use crate::secret;
use crate::tools::{FindToolError, PostgresTools};

/// How long a start may take. Recovery after a crash replays up to `max_wal_size` of log.
const START_DEADLINE: Duration = Duration::from_mins(5);

/// How long a fast stop may take before it becomes an immediate one: it writes a checkpoint.
const FAST_STOP_PATIENCE: Duration = Duration::from_mins(1);

/// How long an immediate stop may take before the server is killed.
const IMMEDIATE_STOP_PATIENCE: Duration = Duration::from_secs(15);

/// How often a start is tried when the port was taken in the meantime, or processes of a killed
/// predecessor have not quite gone.
const STARTS_MAX: u32 = 20;

/// What a server keeps when the machine fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Everything that was acknowledged.
    Kept,
    /// Nothing: for the shared server of the tests only. It never waits for the disk, and takes the
    /// password as it is: proving one by SCRAM costs an unoptimised client 4,096 slow rounds.
    Scratch,
}

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    /// PostgreSQL's own cache, in mebibytes.
    pub shared_buffers_mb: u32,
    /// How many connections are served at once.
    pub connections_max: u32,
    /// What it keeps when the machine fails.
    pub durability: Durability,
    /// Whether a new cluster is on disk before it is used. A test's cluster need not be: it is never
    /// asked to survive a power cut, and on a busy disk this takes seconds.
    pub sync_new: bool,
    /// A database to make together with the cluster, beside PostgreSQL's own `postgres`.
    pub database: Option<String>,
}

impl Default for PostgresSettings {
    /// An eighth of the memory, but 128 MiB to 2 GiB, for the cache; 200 connections, durable, with a database `touchline`.
    fn default() -> Self {
        Self {
            shared_buffers_mb: memory::cache_mb(),
            connections_max: 200,
            durability: Durability::Kept,
            sync_new: true,
            database: Some("touchline".to_owned()),
        }
    }
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Connections are closed, their transactions undone, and all is written to disk (SIGINT).
    Fast,
    /// At once, as in a crash: the next start recovers from the log (SIGQUIT).
    Immediate,
}

/// Why a private PostgreSQL could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartPostgresError {
    /// The binaries are missing or do not fit.
    #[error(transparent)]
    Tools(#[from] FindToolError),
    /// A folder or file of the server cannot be read or written.
    #[error("the files of the private PostgreSQL cannot be read or written")]
    Files(#[source] io::Error),
    /// A program cannot be run.
    #[error("{program} cannot be run")]
    Spawn {
        /// Which one.
        program: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The cluster cannot be made.
    #[error("{program} could not make the database: {said}")]
    Create {
        /// Which program failed.
        program: &'static str,
        /// The line of its output that tells most.
        said: String,
    },
    /// The server ended instead of starting.
    #[error("PostgreSQL ended while starting: {said} (the whole log is {})", log.display())]
    Ended {
        /// The line of its log that tells most.
        said: String,
        /// Its log.
        log: PathBuf,
    },
    /// The server did not become ready.
    #[error("PostgreSQL was not ready after {} s (its log is {})", START_DEADLINE.as_secs(), log.display())]
    Late {
        /// Its log.
        log: PathBuf,
    },
}

/// A running private PostgreSQL server. Dropping it stops it at once, as in a crash; stop it in
/// order with [`Postgres::stop`].
#[derive(Debug)]
pub struct Postgres {
    process: ServerProcess,
    port: u16,
    password: String,
    log: PathBuf,
}

impl Postgres {
    /// Starts the server that lives in the folder `dir`, on the loopback port it had last when that
    /// is free, else on another. Makes the folder and the cluster at the first start, stops a
    /// server that an earlier owner left running on it, and returns when connections are taken.
    ///
    /// The caller sees to it that `dir` has one owner (see [`DataDir`](crate::DataDir)).
    ///
    /// # Errors
    ///
    /// When the binaries are missing, the folder cannot be written, or the server does not start.
    pub async fn start(
        dir: &Path,
        settings: &PostgresSettings,
    ) -> Result<Self, StartPostgresError> {
        use StartPostgresError::Files;

        let mode = if geteuid().is_root() { 0o711 } else { 0o700 };
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(dir)
            .map_err(Files)?;
        let dir = fs::canonicalize(dir).map_err(Files)?;
        let account = Account::choose().map_err(Files)?;
        let cluster = Cluster::of(&dir, account).await.map_err(Files)?;
        stop_orphans(
            "postgres",
            cluster.data().as_os_str(),
            Signal::SIGINT,
            FAST_STOP_PATIENCE,
        )
        .await
        .map_err(Files)?;

        let password = secret::kept_password(&dir.join("password")).map_err(Files)?;
        let tools = PostgresTools::find(cluster.major().map_err(Files)?)?;
        if cluster.major().map_err(Files)?.is_none() {
            tracing::info!(major = tools.major(), "making a PostgreSQL cluster");
            cluster.create(&tools, &password, settings).await?;
        }
        cluster.forget_reused_pid().map_err(Files)?;
        Start {
            dir: &dir,
            cluster: &cluster,
            tools: &tools,
            settings,
        }
        .run(password)
        .await
    }

    /// The address of a database on this server, the password included.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://{SUPERUSER}:{}@127.0.0.1:{}/{database}",
            self.password, self.port
        )
    }

    /// The loopback port that the server listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the server's first process, the postmaster.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The file that the server logs to.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits until the server has ended by itself. Cancelling the wait is harmless.
    ///
    /// # Errors
    ///
    /// When the system does not let us wait for it.
    pub async fn exited(&mut self) -> io::Result<ExitStatus> {
        self.process.exited().await
    }

    /// Stops the server and waits until it has ended. A fast stop that takes over a minute becomes
    /// an immediate one, and that, after 15 s, a kill.
    ///
    /// # Errors
    ///
    /// When the system does not let us signal it or wait for it.
    pub async fn stop(self, mode: StopMode) -> Result<ExitStatus, StopError> {
        let immediate = (Signal::SIGQUIT, IMMEDIATE_STOP_PATIENCE);
        match mode {
            StopMode::Fast => {
                self.process
                    .stop(&[(Signal::SIGINT, FAST_STOP_PATIENCE), immediate])
                    .await
            }
            StopMode::Immediate => self.process.stop(&[immediate]).await,
        }
    }

    /// Kills all of the server's processes with SIGKILL, for tests of what survives that.
    ///
    /// # Errors
    ///
    /// When the system does not let us signal them or wait for them.
    pub async fn kill(self) -> Result<(), StopError> {
        self.process.kill().await
    }
}

/// What a start needs to know.
struct Start<'a> {
    dir: &'a Path,
    cluster: &'a Cluster,
    tools: &'a PostgresTools,
    settings: &'a PostgresSettings,
}

impl Start<'_> {
    async fn run(&self, password: String) -> Result<Postgres, StartPostgresError> {
        let kept_port = self.dir.join("port");
        let log = self.dir.join("server.log");
        let deadline = Instant::now() + START_DEADLINE;
        let mut starts = 0;
        loop {
            starts += 1;
            let port = port::choose(&kept_port).map_err(StartPostgresError::Files)?;
            let log_start = fs::metadata(&log).map_or(0, |file| file.len());
            let mut process = self.spawn(port, &log)?;
            if self.ready(&mut process, &log, deadline).await? {
                port::keep(&kept_port, port).map_err(StartPostgresError::Files)?;
                tracing::info!(port, pid = process.pid(), "PostgreSQL is ready");
                return Ok(Postgres {
                    process,
                    port,
                    password,
                    log,
                });
            }
            let said = read_from(&log, log_start).unwrap_or_default();
            // The postmaster was killed, and one of its children is still on its way out.
            let predecessor_lingers =
                said.contains("shared memory block") || said.contains("postmaster.pid");
            if starts >= STARTS_MAX || (port::is_free(port) && !predecessor_lingers) {
                return Err(StartPostgresError::Ended {
                    said: telling_line(&said),
                    log,
                });
            }
            tokio::time::sleep(POLL * 10).await;
        }
    }

    fn spawn(&self, port: u16, log: &Path) -> Result<ServerProcess, StartPostgresError> {
        self.cluster
            .configure(self.settings, port)
            .map_err(StartPostgresError::Files)?;
        let mut command = self.cluster.command(&self.tools.program("postgres"));
        command.arg("-D").arg(self.cluster.data());
        // An owner that was killed left clients in the middle of their work: end in order. Scratch
        // data is not worth the wait.
        let last_signal = match self.settings.durability {
            Durability::Kept => Signal::SIGINT,
            Durability::Scratch => Signal::SIGQUIT,
        };
        ServerProcess::spawn(&mut command, log, last_signal).map_err(|source| {
            StartPostgresError::Spawn {
                program: "postgres",
                source,
            }
        })
    }

    /// Waits until the server takes connections (true) or has ended (false).
    async fn ready(
        &self,
        process: &mut ServerProcess,
        log: &Path,
        deadline: Instant,
    ) -> Result<bool, StartPostgresError> {
        loop {
            if process
                .ended()
                .map_err(StartPostgresError::Files)?
                .is_some()
            {
                return Ok(false);
            }
            if self.cluster.is_ready(process.pid()) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Err(StartPostgresError::Late {
                    log: log.to_owned(),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

fn read_from(path: &Path, offset: u64) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    // A log that was set aside in the meantime starts anew.
    let offset = if offset > file.metadata()?.len() {
        0
    } else {
        offset
    };
    file.seek(SeekFrom::Start(offset))?;
    let mut read = Vec::new();
    file.read_to_end(&mut read)?;
    Ok(String::from_utf8_lossy(&read).into_owned())
}
