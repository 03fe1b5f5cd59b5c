//! What can be typed.

use crate::admin::AdminCommand;
use crate::log::LogCommand;
use crate::projections::ProjectionsCommand;
use clap::{Args, Parser, Subcommand, value_parser};
use std::net::SocketAddr;
use std::path::PathBuf;
use touchline_api::limits::{CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX};

/// Touchline, the backend of a sports community.
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything in one process, with PostgreSQL and NATS of its own unless the environment
    /// names others
    Up(UpOptions),
    /// Run the HTTP API on the servers that the environment names
    Serve(ServeOptions),
    /// Run the relay, the sealer and the projections on the servers that the environment names
    Work(WorkOptions),
    /// Bring the database to this version
    Migrate(ServersOptions),
    /// Make master keys, and wrap everything by a new one
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Erase a person for good: everything that they wrote becomes unreadable everywhere
    Erase(EraseOptions),
    /// The list of erasures, to be replayed over a restored backup
    #[command(subcommand)]
    Erasures(ErasuresCommand),
    /// Read history: what happened, who did it, what it changed
    #[command(subcommand)]
    Log(LogCommand),
    /// Read models: how they stand, rebuild, verify, pause, and what is parked
    #[command(subcommand)]
    Projections(ProjectionsCommand),
    /// The first admin, and what staff may do
    #[command(subcommand)]
    Admin(AdminCommand),
    /// Load the football World Cup 2022 through the command bus; again changes nothing
    Demo(InstanceOptions),
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Print a new master key
    Generate,
    /// Wrap every key by the first master key of the file
    Rewrap(InstanceOptions),
}

#[derive(Debug, Args)]
pub(crate) struct EraseOptions {
    /// The person: an id or a handle
    #[arg(value_name = "ID|HANDLE")]
    pub(crate) who: String,
    #[command(flatten)]
    pub(crate) instance: InstanceOptions,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ErasuresCommand {
    /// Print everybody who was erased, one JSON line each
    Export(InstanceOptions),
    /// Erase everybody on a list again
    Apply(ApplyOptions),
}

#[derive(Debug, Args)]
pub(crate) struct ApplyOptions {
    /// What `touchline erasures export` wrote
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) instance: InstanceOptions,
}

#[derive(Debug, Args)]
pub(crate) struct WorkOptions {
    #[command(flatten)]
    pub(crate) instance: InstanceOptions,
    #[command(flatten)]
    pub(crate) witnesses: WitnessesOptions,
}

/// Who cosigns the checkpoints of the log.
#[derive(Debug, Args)]
pub(crate) struct WitnessesOptions {
    /// The witnesses that are asked to cosign the log, and how many of which must
    #[arg(long, value_name = "FILE", env = "TOUCHLINE_WITNESS_POLICY_FILE")]
    pub(crate) witness_policy: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct UpOptions {
    #[command(flatten)]
    pub(crate) instance: InstanceOptions,
    #[command(flatten)]
    pub(crate) witnesses: WitnessesOptions,
    #[command(flatten)]
    pub(crate) serving: ServingOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ServeOptions {
    #[command(flatten)]
    pub(crate) servers: ServersOptions,
    #[command(flatten)]
    pub(crate) serving: ServingOptions,
}

/// Where the API serves, and who is told.
#[derive(Debug, Args)]
pub(crate) struct ServingOptions {
    /// The address to serve on; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8080",
        env = "TOUCHLINE_LISTEN"
    )]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) connections: ConnectionLimits,
    /// A file to write once the API serves: JSON with url, `database_url` and `nats_url`
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
}

/// How many connections may be open at once. What comes beyond is closed unread.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ConnectionLimits {
    /// The most connections that are open at once
    #[arg(
        long = "connections-max",
        value_name = "N",
        default_value_t = CONNECTIONS_MAX,
        value_parser = value_parser!(u32).range(1..),
        env = "TOUCHLINE_CONNECTIONS_MAX"
    )]
    pub(crate) total: u32,
    /// The most of them from one address (of IPv6: from one /64); behind a proxy, whose address all
    /// clients share, as many as in all
    #[arg(
        long = "connections-per-address-max",
        value_name = "N",
        default_value_t = CONNECTIONS_PER_ADDRESS_MAX,
        value_parser = value_parser!(u32).range(1..),
        env = "TOUCHLINE_CONNECTIONS_PER_ADDRESS_MAX"
    )]
    pub(crate) per_address: u32,
}

/// The folder of an instance, and servers that stand in for its own.
#[derive(Debug, Args)]
pub(crate) struct InstanceOptions {
    /// The folder of the instance
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = ".touchline",
        env = "TOUCHLINE_DATA_DIR"
    )]
    pub(crate) data_dir: PathBuf,
    #[command(flatten)]
    pub(crate) servers: ServersOptions,
}

/// Servers that run already.
#[derive(Debug, Args, Clone)]
pub(crate) struct ServersOptions {
    /// PostgreSQL 15 or newer
    #[arg(
        long,
        value_name = "URL",
        env = "TOUCHLINE_DATABASE_URL",
        hide_env_values = true
    )]
    pub(crate) database_url: Option<String>,
    /// NATS 2.10 or newer, with JetStream
    #[arg(
        long,
        value_name = "URL",
        env = "TOUCHLINE_NATS_URL",
        hide_env_values = true
    )]
    pub(crate) nats_url: Option<String>,
    /// The file of the master keys: 64 hexadecimal digits a line, the current one first
    #[arg(long, value_name = "FILE", env = "TOUCHLINE_MASTER_KEY_FILE")]
    pub(crate) master_key_file: Option<PathBuf>,
}
