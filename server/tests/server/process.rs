//! The binary as a process.

use crate::chance::PATIENCE;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Instant;
use tokio::process::{Child, Command};
use tokio::time::{Duration, sleep, timeout};

/// The variable by which everything that a test has started is found in `/proc`.
const MARK: &str = "TOUCHLINE_TEST_MARK";

/// The binary, run with these arguments in a folder of its own.
pub(crate) struct Process {
    child: Child,
    pid: Pid,
    output: PathBuf,
}

/// How a run ended that ended by itself.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) errors: String,
}

/// The binary with these arguments, in a clean environment.
pub(crate) fn touchline(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_touchline"));
    command
        .args(arguments)
        .current_dir(folder)
        .env(MARK, folder)
        .env_remove("TOUCHLINE_DATABASE_URL")
        .env_remove("TOUCHLINE_NATS_URL")
        .env_remove("TOUCHLINE_DATA_DIR")
        .env_remove("TOUCHLINE_LISTEN")
        .env_remove("TOUCHLINE_CONNECTIONS_MAX")
        .env_remove("TOUCHLINE_CONNECTIONS_PER_ADDRESS_MAX")
        .env_remove("TOUCHLINE_MASTER_KEY_FILE")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Some(nats_server) = nats_server() {
        command.env("TOUCHLINE_NATS_SERVER", nats_server);
    }
    command
}

/// The folder that the process works in is none from which it would find the project's own
/// nats-server.
fn nats_server() -> Option<PathBuf> {
    touchline_embedded::tools::find_nats_server().ok()
}

/// Runs it to its end.
pub(crate) async fn run(mut command: Command) -> Ended {
    let output = timeout(PATIENCE, command.output()).await;
    let output = output.expect("the command must end").unwrap();
    Ended {
        code: output.status.code(),
        output: String::from_utf8(output.stdout).unwrap(),
        errors: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Process {
    /// Starts it; what it says goes to the file `name` in `folder`.
    pub(crate) fn start(folder: &Path, name: &str, mut command: Command) -> Self {
        let output = folder.join(format!("{name}.output"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&output)
            .unwrap();
        let child = command
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
        Self { child, pid, output }
    }

    /// Waits until it has written its ready file, and returns what that says.
    pub(crate) async fn ready(&mut self, file: &Path) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(text) = fs::read_to_string(file) {
                return serde_json::from_str(&text).unwrap();
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("it ended with {status}:\n{}", self.said());
            }
            assert!(Instant::now() < deadline, "not ready:\n{}", self.said());
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Everything it has said.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid, signal).unwrap();
    }

    /// Kills it with SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) async fn stop(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        let ended = timeout(PATIENCE, self.child.wait()).await;
        ended
            .unwrap_or_else(|_elapsed| panic!("it does not stop:\n{}", self.said()))
            .unwrap()
    }
}

/// The processes that were started on `folder` and still run: by their arguments, where they work,
/// or the mark in their environment.
pub(crate) fn living(folder: &Path) -> Vec<String> {
    let own = std::process::id().to_string();
    let mark = format!("{MARK}={}\0", folder.display());
    let folder = folder.to_str().unwrap();
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let found = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        if !name.bytes().all(|byte| byte.is_ascii_digit()) || name == own {
            return None;
        }
        let read = |file: &str| {
            let bytes = fs::read(entry.path().join(file)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let arguments = read("cmdline");
        let works_there =
            fs::read_link(entry.path().join("cwd")).is_ok_and(|it| it.starts_with(folder));
        let ours =
            works_there || arguments.contains(folder) || read("environ").contains(mark.as_str());
        (ours && !arguments.is_empty()).then(|| format!("{name} {}", arguments.replace('\0', " ")))
    });
    found.collect()
}
