//! The leash that stops a server whose owner was killed with SIGKILL.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

/// A shell that reads from a pipe whose other end only we hold. However our process ends, the
/// kernel closes that end, the read returns, and the shell signals the server. (Linux's own means,
/// `PR_SET_PDEATHSIG`, cannot be reached from safe Rust.)
#[derive(Debug)]
pub(crate) struct Leash {
    watcher: Child,
}

impl Leash {
    /// Ties the process `pid` to ours: it gets `signal` when we end.
    pub(crate) fn tie(pid: u32, signal: Signal) -> io::Result<Self> {
        let name = signal.as_str().trim_start_matches("SIG");
        let watcher = Command::new("/bin/sh")
            .args([
                "-c",
                r#"read -r _; kill -s "$1" "$2""#,
                "touchline-leash",
                name,
            ])
            .arg(pid.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            // Ctrl-C goes to the whole foreground group; the leash must survive it to be of use.
            .process_group(0)
            .spawn()?;
        Ok(Self { watcher })
    }
}

impl Drop for Leash {
    /// Lets go: the server has ended, and its number may soon belong to another process.
    fn drop(&mut self) {
        let released = self.watcher.kill().and_then(|()| self.watcher.wait());
        if let Err(error) = released {
            tracing::warn!(%error, "the leash of a stopped server could not be removed");
        }
    }
}
