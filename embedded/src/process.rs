//! A server process that we own.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::leash::Leash;
use crate::procfs;

/// How often a condition is looked at while waiting for it.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// A log larger than this is set aside at the next start.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How long [`Drop`] waits for a server to obey before it is killed.
const DROP_DEADLINE: Duration = Duration::from_secs(5);

/// Why a server could not be stopped.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// The server could not be signalled.
    #[error("process {pid} cannot be signalled")]
    Signal {
        /// The server's process.
        pid: u32,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The server's end could not be waited for.
    #[error("the end of process {pid} cannot be waited for")]
    Wait {
        /// The server's process.
        pid: u32,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A running server. Dropping it stops it with `last_signal`, and with SIGKILL should it not obey.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    child: Child,
    pid: u32,
    last_signal: Signal,
    _leash: Leash,
}

impl ServerProcess {
    /// Starts `command` with its output appended to the file `log`, in a process group of its own
    /// (so that Ctrl-C reaches the owner alone, who then stops its servers in order), and ties it
    /// to us.
    pub(crate) fn spawn(
        command: &mut Command,
        log: &Path,
        last_signal: Signal,
    ) -> io::Result<Self> {
        shorten(log)?;
        let output = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(log)?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child
            .id()
            .ok_or_else(|| io::Error::other("the process ended at once"))?;
        match Leash::tie(pid, last_signal) {
            Ok(leash) => Ok(Self {
                child,
                pid,
                last_signal,
                _leash: leash,
            }),
            Err(error) => {
                child.start_kill()?;
                Err(error)
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The way the server ended, when it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits until the server has ended.
    pub(crate) async fn exited(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Sends each signal in turn until the server has ended, waiting after each as long as it
    /// says, and SIGKILL at last. A server that has ended already is no error.
    pub(crate) async fn stop(
        mut self,
        signals: &[(Signal, Duration)],
    ) -> Result<ExitStatus, StopError> {
        let pid = self.pid;
        for &(signal, patience) in signals {
            self.signal(signal)?;
            if let Ok(ended) = tokio::time::timeout(patience, self.child.wait()).await {
                return ended.map_err(|source| StopError::Wait { pid, source });
            }
            tracing::warn!(pid, %signal, "a server did not stop in time");
        }
        self.signal(Signal::SIGKILL)?;
        self.child
            .wait()
            .await
            .map_err(|source| StopError::Wait { pid, source })
    }

    /// Kills the server and its children with SIGKILL, and waits until all of them have gone.
    pub(crate) async fn kill(self) -> Result<(), StopError> {
        let children = procfs::children(self.pid);
        self.signal(Signal::SIGKILL)?;
        for &child in &children {
            // A child may have gone with its parent.
            let _gone = send(child, Signal::SIGKILL);
        }
        self.stop(&[]).await?;
        while children
            .iter()
            .any(|&child| procfs::arguments(child).is_some())
        {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<(), StopError> {
        // Once reaped, the number is free for another process, and `id` is `None`.
        if self.child.id().is_none() {
            return Ok(());
        }
        match send(self.pid, signal) {
            Err(source) if source.raw_os_error() != Some(nix::libc::ESRCH) => {
                Err(StopError::Signal {
                    pid: self.pid,
                    source,
                })
            }
            _ => Ok(()),
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if self.child.id().is_none() || self.signal(self.last_signal).is_err() {
            return;
        }
        let deadline = Instant::now() + DROP_DEADLINE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
    }
}

/// Sets a log aside that has grown large; only one older log is kept.
fn shorten(log: &Path) -> io::Result<()> {
    match std::fs::metadata(log) {
        Ok(file) if file.len() > LOG_BYTES_MAX => {
            std::fs::rename(log, log.with_extension("old.log"))
        }
        _ => Ok(()),
    }
}

fn send(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    kill(Pid::from_raw(pid), signal).map_err(io::Error::from)
}

/// Stops what an earlier owner left behind: every process that runs `program` with `mark`, a path
/// that is only ours, among its arguments. It gets `signal`, and SIGKILL after `patience`.
pub(crate) async fn stop_orphans(
    program: &str,
    mark: &OsStr,
    signal: Signal,
    patience: Duration,
) -> io::Result<()> {
    for pid in procfs::find(program, mark) {
        tracing::warn!(
            pid,
            program,
            "stopping a server that an earlier run left behind"
        );
        let mut deadline = Some(Instant::now() + patience);
        signal_orphan(pid, signal)?;
        while procfs::runs(pid, program, mark) {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                signal_orphan(pid, Signal::SIGKILL)?;
                deadline = None;
            }
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(())
}

fn signal_orphan(pid: u32, signal: Signal) -> io::Result<()> {
    match send(pid, signal) {
        Err(error) if error.raw_os_error() != Some(nix::libc::ESRCH) => Err(error),
        _ => Ok(()),
    }
}
