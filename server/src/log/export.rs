//! `touchline log export`.

use super::output::Output;
use super::slice::SliceOptions;
use super::{Archive, INDEX_PATIENCE, Look, explain};
use crate::UsageError;
use crate::cli::InstanceOptions;
use crate::system::System;
use crate::up::say;
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use touchline_domain::audit::{LookOperation, Slice};
use touchline_domain::clock::Clock as _;
use touchline_eventstore::export::{Format, Unfinished};
use touchline_projections::history::{Export, ExportHistoryError, ExportSettings, Walk};

#[derive(Debug, Args)]
pub(crate) struct ExportOptions {
    #[command(flatten)]
    slice: SliceOptions,
    /// How it is written
    #[arg(long, value_enum, default_value_t = FormatOption::Ndjson)]
    format: FormatOption,
    /// The file to write; standard output when it is not given
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Go on with a file of the same slice that was cut
    #[arg(long, requires = "output")]
    resume: bool,
    /// With what is personal opened, so that digests do not fit; that it was looked at is recorded
    #[arg(long)]
    personal: bool,
    #[command(flatten)]
    instance: InstanceOptions,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormatOption {
    /// One JSON object a line
    Ndjson,
    /// RFC 4180
    Csv,
}

pub(super) async fn export(options: ExportOptions) -> anyhow::Result<()> {
    let slice = options.slice.slice()?;
    let target = Target::open(&options)?;
    let Some(target) = target else {
        return say("The file is whole already: there is nothing to go on with");
    };
    let archive = Archive::open(&options.instance).await?;
    let done = write(&archive, &options, slice, target).await;
    archive.close().await;
    done
}

/// Where the export goes.
enum Target {
    /// To standard output.
    Output,
    /// Into a file that is not there yet.
    New(PathBuf),
    /// Into a file that was cut, and what it has.
    Cut(File, Box<Unfinished>),
}

impl Target {
    /// None when the file to go on with is whole.
    fn open(options: &ExportOptions) -> anyhow::Result<Option<Self>> {
        let Some(path) = &options.output else {
            return Ok(Some(Self::Output));
        };
        if options.resume {
            return Self::cut(path);
        }
        if path.exists() {
            let path = path.display();
            return Err(UsageError::new(format!(
                "{path} is there already: name another file, or go on with it by --resume"
            ))
            .into());
        }
        Ok(Some(Self::New(path.clone())))
    }

    fn cut(path: &Path) -> anyhow::Result<Option<Self>> {
        let opened = OpenOptions::new().read(true).write(true).open(path);
        let mut file = opened.map_err(|error| unusable(path, &error))?;
        let found = Unfinished::of(BufReader::new(&file))
            .map_err(|error| UsageError::new(format!("{}: {error}", path.display())))?;
        let Some(cut) = found else {
            return Ok(None);
        };
        file.set_len(cut.bytes)?;
        file.seek(SeekFrom::Start(cut.bytes))?;
        Ok(Some(Self::Cut(file, Box::new(cut))))
    }
}

fn unusable(path: &Path, error: &io::Error) -> UsageError {
    UsageError::new(format!("{} cannot be opened ({error})", path.display()))
}

async fn write(
    archive: &Archive,
    options: &ExportOptions,
    slice: Slice,
    target: Target,
) -> anyhow::Result<()> {
    let reader = &archive.reader;
    let personal = options.personal;
    let walk = match &target {
        Target::Output | Target::New(_) => reader.walk_to_export(slice, INDEX_PATIENCE).await,
        Target::Cut(_, cut) => {
            let walk = reader.walk_to_resume(slice, personal, cut, INDEX_PATIENCE);
            walk.await
        }
    }
    .map_err(explain_export)?;
    archive.record(look(&walk, personal)).await?;
    let mut export = match &target {
        Target::Output | Target::New(_) => {
            let settings = ExportSettings {
                format: match options.format {
                    FormatOption::Ndjson => Format::Ndjson,
                    FormatOption::Csv => Format::Csv,
                },
                personal,
                at: System.now(),
            };
            let export = reader.export(walk, settings).await;
            export.map_err(explain_export)?
        }
        Target::Cut(_, cut) => reader.resume(walk, personal, cut),
    };
    match target {
        Target::Output => {
            let mut output = Output::new();
            while let Some(bytes) = next(&mut export).await? {
                output.bytes(&bytes)?;
            }
            output.end()?;
            Ok(())
        }
        Target::New(path) => {
            let file = File::create_new(&path).map_err(|error| unusable(&path, &error))?;
            into_file(export, file).await
        }
        Target::Cut(file, _) => into_file(export, file).await,
    }
}

fn look(walk: &Walk, personal: bool) -> Look {
    let (after, _) = walk.left();
    Look {
        operation: LookOperation::Export,
        slice: Slice {
            after: after.get(),
            ..walk.slice()
        },
        events_max: None,
        personal,
    }
}

/// Writes the file to its end and makes sure that it is there.
async fn into_file(mut export: Export, mut file: File) -> anyhow::Result<()> {
    let (from, through) = export.progress();
    let bar = ProgressBar::new(through.since(from)).with_style(style()?);
    while let Some(bytes) = next(&mut export).await? {
        file.write_all(&bytes)
            .context("the file cannot be written: go on with it by --resume")?;
        bar.set_position(export.progress().0.since(from));
    }
    file.sync_all().context("the file cannot be written")?;
    bar.finish_and_clear();
    let extent = export.extent();
    let last = extent
        .last
        .map_or_else(String::new, |last| format!(", the last at position {last}"));
    say(&format!("{} events{last}", extent.events))
}

fn style() -> anyhow::Result<ProgressStyle> {
    Ok(ProgressStyle::with_template(
        "{bar:40} {pos} of {len} positions, {per_sec}, {eta} left",
    )?)
}

async fn next(export: &mut Export) -> anyhow::Result<Option<Vec<u8>>> {
    export.next().await.map_err(explain_export)
}

fn explain_export(error: ExportHistoryError) -> anyhow::Error {
    match error {
        ExportHistoryError::Read(error) => explain(error),
        ExportHistoryError::OtherLog | ExportHistoryError::OtherSlice { .. } => {
            UsageError::new(error.to_string()).into()
        }
        error => error.into(),
    }
}
