//! Runs a command with a PostgreSQL server for its tests, and stops the server after it.
//!
//! `with-services cargo test` gives the command `TOUCHLINE_TEST_DATABASE_URL` and ends with its
//! exit code. A server that the environment already names is used as it is.

use std::env;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind, signal};
use touchline_testkit::{DATABASE_URL_VARIABLE, SharedServer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let command: Vec<OsString> = env::args_os().skip(1).collect();
    let Some((program, arguments)) = command.split_first() else {
        return fail("usage: with-services COMMAND [ARGUMENT]...");
    };
    // From here on a signal is ours to answer: the server must not be left behind.
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return fail("with-services: signals cannot be received");
    };
    let server = match env::var_os(DATABASE_URL_VARIABLE) {
        Some(_) => None,
        None => Some(SharedServer::start().await),
    };
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true);
    if let Some(server) = &server {
        command.env(DATABASE_URL_VARIABLE, server.url());
    }
    let ended = run(command, &mut interrupt, &mut terminate).await;
    if let Some(server) = server {
        server.stop().await;
    }
    match ended {
        Ok(status) => exit_code(status),
        Err(error) => fail(&format!(
            "with-services: {} cannot be run: {error}",
            program.display()
        )),
    }
}

/// Waits for the command. Ctrl-C has reached it without us, as it has all of the foreground group;
/// a SIGTERM has reached us alone, and is passed on.
async fn run(
    mut command: Command,
    interrupt: &mut unix::Signal,
    terminate: &mut unix::Signal,
) -> std::io::Result<ExitStatus> {
    let mut child = command.spawn()?;
    loop {
        tokio::select! {
            ended = child.wait() => return ended,
            _again = interrupt.recv() => {}
            _again = terminate.recv() => pass_on(Signal::SIGTERM, &child)?,
        }
    }
}

fn pass_on(signal: Signal, child: &Child) -> std::io::Result<()> {
    // Once it has ended it has no number.
    let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) else {
        return Ok(());
    };
    kill(Pid::from_raw(pid), signal).map_err(std::io::Error::from)
}

/// The exit code as a shell would give it: 128 and the signal's number for a command that a signal
/// ended.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn fail(line: &str) -> ExitCode {
    // Nobody is left to tell when standard error is closed.
    let _closed = writeln!(std::io::stderr(), "{line}");
    ExitCode::FAILURE
}
