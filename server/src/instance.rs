//! Which servers a command acts on.
//!
//! A running instance leaves a file in its folder that says where it serves and which PostgreSQL
//! and NATS it uses. It holds passwords, so only its owner may read it; it goes when the instance
//! stops in order.

use crate::UsageError;
use crate::cli::{InstanceOptions, ServersOptions};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// What `--ready-file` and the file in the folder say.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Instance {
    /// Where the API serves.
    pub(crate) url: String,
    /// The PostgreSQL that it uses.
    pub(crate) database_url: String,
    /// The NATS that it uses.
    pub(crate) nats_url: String,
    /// The file of its master keys.
    pub(crate) master_key_file: PathBuf,
}

impl Instance {
    /// Where the instance of a folder says where it is.
    pub(crate) fn file(data_dir: &Path) -> PathBuf {
        data_dir.join("instance.json")
    }

    /// Removes what an earlier run has left at `file`, so that nobody takes it for this one's, and
    /// makes sure that it can be written.
    pub(crate) fn make_way(file: &Path) -> Result<(), UsageError> {
        let refuse = |error: io::Error| {
            UsageError::new(format!(
                "{} cannot be written ({error}): choose another with --ready-file",
                file.display()
            ))
        };
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refuse(error)),
            _ => {}
        }
        let unfinished = file.with_extension("unfinished");
        fs::write(&unfinished, "").map_err(refuse)?;
        fs::remove_file(&unfinished).map_err(refuse)
    }

    /// Writes the file whole or not at all: a reader never sees half of it.
    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let unfinished = file.with_extension("unfinished");
        let context = || format!("{} cannot be written", file.display());
        let mut output = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)
            .with_context(context)?;
        output
            .write_all(serde_json::to_string(self)?.as_bytes())
            .with_context(context)?;
        output.write_all(b"\n").with_context(context)?;
        fs::rename(&unfinished, file).with_context(context)
    }
}

/// The servers of one run.
#[derive(Debug, Clone)]
pub(crate) struct ServerUrls {
    /// PostgreSQL.
    pub(crate) database: String,
    /// NATS.
    pub(crate) nats: String,
    /// The file of the master keys.
    pub(crate) master_key_file: PathBuf,
}

impl ServerUrls {
    /// The servers that the environment or the command line name.
    pub(crate) fn named(options: &ServersOptions) -> anyhow::Result<Self> {
        match (&options.database_url, &options.nats_url, &options.master_key_file) {
            (Some(database), Some(nats), Some(master_key_file)) => Ok(Self {
                database: database.clone(),
                nats: nats.clone(),
                master_key_file: master_key_file.clone(),
            }),
            (None, ..) => Err(UsageError::new("TOUCHLINE_DATABASE_URL is not set: name a PostgreSQL server, or run `touchline up`, which brings its own").into()),
            (_, None, _) => Err(UsageError::new("TOUCHLINE_NATS_URL is not set: name a NATS server, or run `touchline up`, which brings its own").into()),
            (.., None) => Err(UsageError::new("TOUCHLINE_MASTER_KEY_FILE is not set: name the file of the master keys; `touchline keys generate` makes a first one").into()),
        }
    }

    /// PostgreSQL alone, found as by [`ServerUrls::of`], for what needs no more.
    pub(crate) fn database_of(options: &InstanceOptions) -> anyhow::Result<String> {
        match &options.servers.database_url {
            Some(url) => Ok(url.clone()),
            None => Ok(Self::of(options)?.database),
        }
    }

    /// The servers that the environment names, else those of the running instance of the folder.
    pub(crate) fn of(options: &InstanceOptions) -> anyhow::Result<Self> {
        if options.servers.database_url.is_some() {
            return Self::named(&options.servers);
        }
        let file = Instance::file(&options.data_dir);
        let folder = options.data_dir.display();
        let text = fs::read_to_string(&file).map_err(|_missing| {
            UsageError::new(format!("no instance runs on the folder {folder}: start one with `touchline up --data-dir {folder}`"))
        })?;
        let instance: Instance = serde_json::from_str(&text).map_err(|error| {
            UsageError::new(format!(
                "{} is not what a running instance writes ({error}): start the instance again",
                file.display()
            ))
        })?;
        Ok(Self {
            database: instance.database_url,
            nats: instance.nats_url,
            master_key_file: instance.master_key_file,
        })
    }
}
