//! A private NATS server with JetStream.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::port;
use crate::process::{POLL, ServerProcess, StopError, stop_orphans};
use crate::secret;
use crate::tools::{self, FindToolError};

/// How long a start may take. The server reads its streams' indexes first.
const START_DEADLINE: Duration = Duration::from_mins(2);

/// How long the greeting of a server that accepted a connection may take.
const GREETING_DEADLINE: Duration = Duration::from_secs(1);

/// How long an orderly stop may take before the server is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// How often a start is tried when the port was taken in the meantime.
const STARTS_MAX: u32 = 20;

/// The user that clients are.
const USER: &str = "touchline";

/// How a server is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NatsSettings {
    /// Whether clients have to give a password. Without it any user of this machine gets in, which
    /// is for tests only.
    ///
    /// The client `async-nats` does not take the user and password out of an address by itself:
    /// whoever connects to [`Nats::url`] hands them over as connect options.
    pub password: bool,
}

impl Default for NatsSettings {
    /// With a password.
    fn default() -> Self {
        Self { password: true }
    }
}

/// Why a private NATS could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartNatsError {
    /// The binary is missing or too old.
    #[error(transparent)]
    Tools(#[from] FindToolError),
    /// A folder or file of the server cannot be read or written.
    #[error("the files of the private NATS server cannot be read or written")]
    Files(#[source] io::Error),
    /// The program cannot be run.
    #[error("nats-server cannot be run")]
    Spawn(#[source] io::Error),
    /// The server ended instead of starting.
    #[error("nats-server ended while starting: {said} (the whole log is {})", log.display())]
    Ended {
        /// The last line of its log.
        said: String,
        /// Its log.
        log: PathBuf,
    },
    /// The server did not become ready.
    #[error("nats-server was not ready after {} s (its log is {})", START_DEADLINE.as_secs(), log.display())]
    Late {
        /// Its log.
        log: PathBuf,
    },
}

/// A running private NATS server. Dropping it stops it; stop it in order with [`Nats::stop`].
#[derive(Debug)]
pub struct Nats {
    process: ServerProcess,
    port: u16,
    password: Option<String>,
    dir: PathBuf,
}

impl Nats {
    /// Starts the server that lives in the folder `dir`, on the loopback port it had last when that
    /// is free, else on another. Makes the folder at the first start, stops a server that an
    /// earlier owner left running on it, and returns when the server answers.
    ///
    /// The caller sees to it that `dir` has one owner (see [`DataDir`](crate::DataDir)).
    ///
    /// # Errors
    ///
    /// When the binary is missing, the folder cannot be written, or the server does not start.
    pub async fn start(dir: &Path, settings: NatsSettings) -> Result<Self, StartNatsError> {
        use StartNatsError::Files;

        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(Files)?;
        let dir = fs::canonicalize(dir).map_err(Files)?;
        let config = dir.join("nats.conf");
        stop_orphans(
            "nats-server",
            config.as_os_str(),
            Signal::SIGTERM,
            STOP_PATIENCE,
        )
        .await
        .map_err(Files)?;
        let binary = tools::find_nats_server()?;
        let password = if settings.password {
            Some(secret::kept_password(&dir.join("password")).map_err(Files)?)
        } else {
            None
        };
        let kept_port = dir.join("port");
        let log = dir.join("server.log");
        let deadline = Instant::now() + START_DEADLINE;
        let mut starts = 0;
        loop {
            starts += 1;
            let port = port::choose(&kept_port).map_err(Files)?;
            // The name tells our server from another that took the port before it could.
            let name = format!("touchline-{}", secret::random_digits().map_err(Files)?);
            secret::write_private(
                &config,
                &configuration(&dir, &name, port, password.as_deref()),
            )
            .map_err(Files)?;
            let mut command = Command::new(&binary);
            command.arg("-c").arg(&config).current_dir(&dir);
            let mut process = ServerProcess::spawn(&mut command, &log, Signal::SIGTERM)
                .map_err(StartNatsError::Spawn)?;
            if ready(&mut process, port, &name, &log, deadline).await? {
                port::keep(&kept_port, port).map_err(Files)?;
                tracing::info!(port, pid = process.pid(), "NATS is ready");
                return Ok(Self {
                    process,
                    port,
                    password,
                    dir,
                });
            }
            if starts >= STARTS_MAX || port::is_free(port) {
                let said = fs::read_to_string(&log).unwrap_or_default();
                let said = said
                    .lines()
                    .next_back()
                    .unwrap_or("it said nothing")
                    .trim()
                    .to_owned();
                return Err(StartNatsError::Ended { said, log });
            }
        }
    }

    /// The address of the server, the user and password included where it asks for them.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.password {
            Some(password) => format!("nats://{USER}:{password}@127.0.0.1:{}", self.port),
            None => format!("nats://127.0.0.1:{}", self.port),
        }
    }

    /// The loopback port that the server listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The file that the server logs to.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    /// The folder that JetStream stores in.
    #[must_use]
    pub fn store_dir(&self) -> PathBuf {
        store_dir(&self.dir)
    }

    /// Waits until the server has ended by itself. Cancelling the wait is harmless.
    ///
    /// # Errors
    ///
    /// When the system does not let us wait for it.
    pub async fn exited(&mut self) -> io::Result<ExitStatus> {
        self.process.exited().await
    }

    /// Stops the server in order, and waits until it has ended; after 15 s it is killed.
    ///
    /// # Errors
    ///
    /// When the system does not let us signal it or wait for it.
    pub async fn stop(self) -> Result<ExitStatus, StopError> {
        self.process.stop(&[(Signal::SIGTERM, STOP_PATIENCE)]).await
    }

    /// Kills the server with SIGKILL, for tests of what survives that.
    ///
    /// # Errors
    ///
    /// When the system does not let us signal it or wait for it.
    pub async fn kill(self) -> Result<(), StopError> {
        self.process.kill().await
    }
}

fn store_dir(dir: &Path) -> PathBuf {
    dir.join("store")
}

/// The server's configuration. It reads JSON as well as its own format, and JSON has known rules
/// for quoting a path.
fn configuration(dir: &Path, name: &str, port: u16, password: Option<&str>) -> String {
    let mut configuration = json!({
        "server_name": name,
        "host": Ipv4Addr::LOCALHOST.to_string(),
        "port": port,
        "pid_file": dir.join("nats.pid"),
        "log_file": dir.join("server.log"),
        // The server renames a full log and goes on in a new one, keeping this many old ones.
        "log_size_limit": 16 * 1024 * 1024,
        "log_max_num": 2,
        // An event is at most this large too.
        "max_payload": 1024 * 1024,
        "jetstream": {
            "store_dir": store_dir(dir),
            "max_memory_store": 256 * 1024 * 1024,
            // Streams that bound themselves are the limit; this only must not be one.
            "max_file_store": 1024_u64 * 1024 * 1024 * 1024,
            // JetStream acknowledges before it syncs to disk. What a power cut takes of the last
            // seconds is refilled from PostgreSQL, which alone must not lose anything.
            "sync_interval": "10s",
        },
    });
    if let (Some(password), Some(fields)) = (password, configuration.as_object_mut()) {
        fields.insert(
            "authorization".to_owned(),
            json!({ "user": USER, "password": password }),
        );
    }
    format!("{configuration:#}\n")
}

/// Waits until the server answers (true) or has ended (false).
async fn ready(
    process: &mut ServerProcess,
    port: u16,
    name: &str,
    log: &Path,
    deadline: Instant,
) -> Result<bool, StartNatsError> {
    loop {
        if process.ended().map_err(StartNatsError::Files)?.is_some() {
            return Ok(false);
        }
        let greeting = tokio::time::timeout(GREETING_DEADLINE, greeting(port)).await;
        if matches!(greeting, Ok(Ok(info)) if info.server_name == name && info.jetstream) {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Err(StartNatsError::Late {
                log: log.to_owned(),
            });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The part that matters here of what a NATS server says to who connects.
#[derive(Debug, Deserialize)]
struct Greeting {
    server_name: String,
    #[serde(default)]
    jetstream: bool,
}

async fn greeting(port: u16) -> io::Result<Greeting> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await?;
    let info = line
        .strip_prefix("INFO ")
        .ok_or_else(|| io::Error::other("no greeting of a NATS server"))?;
    serde_json::from_str(info).map_err(io::Error::other)
}
