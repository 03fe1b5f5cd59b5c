//! `touchline log proof`, `checkpoint` and `key`: what shows others that the log is what it was.
//!
//! None of it tells what an event says, so that these looks are not recorded.

use super::output::Output;
use super::position;
use crate::UsageError;
use crate::cli::InstanceOptions;
use crate::roles::open_seals;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use std::fs;
use std::path::PathBuf;
use touchline_eventstore::seal::proof::Side;
use touchline_eventstore::seal::record::TreeHead;
use touchline_eventstore::seal::{ConsistencyProof, InclusionProof, ProveError};

#[derive(Debug, Subcommand)]
pub(crate) enum ProofCommand {
    /// Shows that an event stands at its position in the log of a checkpoint
    Inclusion(InclusionOptions),
    /// Shows that the log of one size begins with the log of a smaller one
    Consistency(ConsistencyOptions),
}

#[derive(Debug, Args)]
pub(crate) struct InclusionOptions {
    /// Where the event stands
    #[arg(long, value_name = "POSITION")]
    position: String,
    /// How many events the tree is over; those of the last checkpoint when it is not given
    #[arg(long, value_name = "POSITION")]
    size: Option<String>,
    /// As one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ConsistencyOptions {
    /// How many events the smaller tree is over
    #[arg(long, value_name = "POSITION")]
    from: String,
    /// How many events the larger tree is over
    #[arg(long, value_name = "POSITION")]
    to: String,
    /// As one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceOptions,
}

#[derive(Debug, Args)]
pub(crate) struct KeyOptions {
    /// The file to write; standard output when it is not given
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    instance: InstanceOptions,
}

#[derive(Debug, Args)]
pub(crate) struct CheckpointOptions {
    /// The newest that a witness has cosigned, with the cosignatures
    #[arg(long)]
    cosigned: bool,
    #[command(flatten)]
    instance: InstanceOptions,
}

pub(super) async fn proof(command: ProofCommand) -> anyhow::Result<()> {
    match command {
        ProofCommand::Inclusion(options) => inclusion(options).await,
        ProofCommand::Consistency(options) => consistency(options).await,
    }
}

async fn inclusion(options: InclusionOptions) -> anyhow::Result<()> {
    let at = position(&options.position)?;
    let size = options.size.as_deref().map(position).transpose()?;
    let seals = open_seals(&options.instance).await?;
    let log_id = seals.log_id().await.context("the log cannot be read")?;
    let proof = seals.inclusion(log_id, at, size).await.map_err(explain)?;
    let mut output = Output::new();
    if options.json {
        output.json(&proof)?;
    } else {
        for line in inclusion_lines(&proof) {
            output.line(&line)?;
        }
    }
    Ok(output.end()?)
}

/// One value a line, so that `grep` and `cut` find it.
fn inclusion_lines(proof: &InclusionProof) -> Vec<String> {
    let mut lines = vec![
        format!("log {}", proof.origin),
        format!("position {}", proof.position),
        format!("digest {}", proof.digest),
        format!("leaf {}", proof.leaf_hash),
    ];
    lines.extend(proof.path.iter().map(|step| {
        let side = match step.side {
            Side::Left => "left",
            Side::Right => "right",
        };
        format!("{side} {}", step.hash)
    }));
    lines.push(format!("root {}", proof.root));
    lines.push(format!("size {}", proof.tree_size));
    lines.extend(note_lines(proof.checkpoint.as_deref()));
    lines
}

async fn consistency(options: ConsistencyOptions) -> anyhow::Result<()> {
    let (from, to) = (position(&options.from)?, position(&options.to)?);
    let seals = open_seals(&options.instance).await?;
    let log_id = seals.log_id().await.context("the log cannot be read")?;
    let proof = seals.consistency(log_id, from, to).await.map_err(explain)?;
    let mut output = Output::new();
    if options.json {
        output.json(&proof)?;
    } else {
        for line in consistency_lines(&proof) {
            output.line(&line)?;
        }
    }
    Ok(output.end()?)
}

fn consistency_lines(proof: &ConsistencyProof) -> Vec<String> {
    let head = |word: &str, head: &TreeHead| {
        [
            format!("{word}-size {}", head.tree_size),
            format!("{word}-root {}", head.root),
        ]
    };
    let mut lines = vec![format!("log {}", proof.origin)];
    lines.extend(head("from", &proof.from));
    lines.extend(head("to", &proof.to));
    lines.extend(proof.path.iter().map(|hash| format!("hash {hash}")));
    lines.extend(note_lines(proof.from.checkpoint.as_deref()));
    lines.extend(note_lines(proof.to.checkpoint.as_deref()));
    lines
}

/// A note as it is, after an empty line.
fn note_lines(note: Option<&str>) -> Vec<String> {
    note.map(|note| {
        std::iter::once("")
            .chain(note.lines())
            .map(ToOwned::to_owned)
            .collect()
    })
    .unwrap_or_default()
}

/// `touchline log checkpoint`: the last one, byte for byte.
pub(super) async fn checkpoint(options: CheckpointOptions) -> anyhow::Result<()> {
    let seals = open_seals(&options.instance).await?;
    let context = "the seals cannot be read";
    let note = if options.cosigned {
        let cosigned = seals.cosigned_note().await.context(context)?;
        cosigned.ok_or_else(|| UsageError::new("no witness has cosigned anything"))?
    } else {
        let latest = seals.latest().await.context(context)?;
        latest.ok_or_else(nothing_sealed)?.note
    };
    let mut output = Output::new();
    output.bytes(note.as_bytes())?;
    Ok(output.end()?)
}

/// `touchline log key`: the public half of the key that signs the checkpoints.
pub(super) async fn key(options: KeyOptions) -> anyhow::Result<()> {
    let seals = open_seals(&options.instance).await?;
    let log_id = seals.log_id().await.context("the log cannot be read")?;
    let key = seals.verifier_key(log_id).await;
    let key = key.context("the seals cannot be read")?;
    let line = format!("{}\n", key.ok_or_else(nothing_sealed)?);
    if let Some(file) = &options.output {
        return fs::write(file, line).map_err(|error| {
            UsageError::new(format!("{} cannot be written ({error})", file.display())).into()
        });
    }
    let mut output = Output::new();
    output.bytes(line.as_bytes())?;
    Ok(output.end()?)
}

fn nothing_sealed() -> UsageError {
    UsageError::new("nothing has been sealed yet: does a worker run?")
}

/// What was asked for wrongly is told in one line; the rest is a failure.
fn explain(error: ProveError) -> anyhow::Error {
    match error {
        ProveError::NothingSealed => nothing_sealed().into(),
        ProveError::Start
        | ProveError::Beyond { .. }
        | ProveError::NotInTree { .. }
        | ProveError::Backwards { .. } => UsageError::new(error.to_string()).into(),
        ProveError::Damaged { .. } | ProveError::Database(_) => error.into(),
    }
}
