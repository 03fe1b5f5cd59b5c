//! The binary `touchline`: one program for every role.
//!
//! # Map
//! - `cli`: what can be typed.
//! - `instance`: which servers a command acts on, and the file that a running instance leaves.
//! - `keys`: the file of the master keys, and erasing people.
//! - `log`: reading history. `admin`: the first admin and staff permissions.
//! - `up`: everything in one process, with PostgreSQL and NATS of its own.
//! - `roles`: the API and the workers, wired.
//! - `http`: the listener. `connections`: how many it lets in.
//! - `projections`: read models for the data team.
//! - `system`: the real clock and ids; nothing else in the project may ask for them.
//! - `witnesses`: asking others to cosign the log.
//! - `demo`: the football World Cup 2022, loaded through the command bus.
//!
//! # Invariants
//! - All wiring is here: no other crate reads the environment, the clock or chance.
//! - A wrong invocation ends with one line on standard error and exit code 2; a failure at run
//!   time with one line and exit code 1.

mod admin;
mod cli;
mod connections;
mod demo;
mod http;
mod instance;
mod keys;
mod log;
mod projections;
mod roles;
mod system;
mod up;
mod witnesses;

use clap::Parser as _;
use clap::error::ErrorKind;
use cli::{Cli, Command};
use std::io::IsTerminal as _;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// What went wrong, for a person: the first line is all that they see.
#[derive(Debug)]
pub(crate) struct UsageError(String);

impl UsageError {
    /// An error in what was asked or in how the machine is set up: exit code 2.
    pub(crate) fn new(line: impl Into<String>) -> Self {
        Self(line.into())
    }
}

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Asked for, so that all of its lines are wanted.
        Err(help) if !help.use_stderr() => help.exit(),
        Err(error) => {
            say(&in_one_line(&error));
            return ExitCode::from(2);
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_env("TOUCHLINE_LOG")
                .unwrap_or_else(|_unset| EnvFilter::new("warn,touchline=info")),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::debug!(error = ?error, "touchline: ending with an error");
            complain(&error);
            ExitCode::from(if error.is::<UsageError>() { 2 } else { 1 })
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    // Several dependencies speak TLS; one provider for all of them is chosen here, once.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        anyhow::bail!("another TLS provider was installed before ours");
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            match cli.command {
                Command::Up(options) => up::up(options).await,
                Command::Serve(options) => roles::serve(options).await,
                Command::Work(options) => roles::work(options).await,
                Command::Migrate(options) => roles::migrate(options).await,
                Command::Keys(command) => keys::keys(command).await,
                Command::Erase(options) => keys::erase(options).await,
                Command::Erasures(command) => keys::erasures(command).await,
                Command::Log(command) => log::log(command).await,
                Command::Projections(command) => projections::projections(command).await,
                Command::Admin(command) => admin::admin(command).await,
                Command::Demo(options) => demo::demo(options).await,
            }
        })
}

/// One line: the error and what caused it.
fn complain(error: &anyhow::Error) {
    say(&format!("{error:#}").replace('\n', " "));
}

/// What is wrong with what was typed, without the usage of the command, which its `--help` shows.
fn in_one_line(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a command is missing: `touchline --help` lists them".to_owned();
    }
    let text = error.render().to_string();
    let parts = text
        .split("\n\n")
        .filter(|part| !part.starts_with("Usage:") && !part.starts_with("For more information"))
        .map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let line = parts.collect::<Vec<_>>().join("; ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    format!("{line}; `--help` says more")
}

#[expect(
    clippy::print_stderr,
    reason = "the last word of a command-line program"
)]
fn say(line: &str) {
    eprintln!("touchline: {line}");
}
