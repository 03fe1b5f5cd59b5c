//! `touchline log verify`: is the log what it was?

use super::begin_anew::told;
use super::output::Output;
use crate::UsageError;
use crate::cli::InstanceOptions;
use crate::instance::ServerUrls;
use crate::roles::{Parts, open_seals};
use crate::system::System;
use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use touchline_commands::claims::{self, ClaimDifference, Opening};
use touchline_domain::clock::Clock as _;
use touchline_eventstore::Position;
use touchline_eventstore::export::ExportError;
use touchline_eventstore::seal::verify::export::{ExportReport, VerifyExportError, verify_export};
use touchline_eventstore::seal::verify::log::{Against, LogReport, VerifyLogError, verify_log};
use touchline_eventstore::seal::verify::{Finding, Findings};
use touchline_eventstore::seal::{Policy, Seals, VerifierKey};

#[derive(Debug, Args)]
pub(crate) struct VerifyOptions {
    /// Check this export in place of the log, without any server
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// The key that the checkpoints must be signed by, as `touchline log key` writes it; without it the
    /// one that the log keeps
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A checkpoint that was kept elsewhere: the log must go on from it
    #[arg(long, value_name = "FILE", conflicts_with = "export")]
    checkpoint: Option<PathBuf>,
    /// The key of a witness that must have cosigned the log within a quarter of an hour; may be repeated
    #[arg(long = "witness", value_name = "KEY", conflicts_with = "export")]
    witnesses: Vec<String>,
    /// The witnesses in place of those of --witness, and how many of which must have cosigned it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["export", "witnesses"])]
    witness_policy: Option<PathBuf>,
    /// What was found as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceOptions,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Verdict {
    /// How many events were checked.
    events: u64,
    /// The last of them; none when there are none.
    last_position: Option<Position>,
    /// How many of them, from the first on, are shown to be all that there were.
    sealed: u64,
    /// How many checkpoints fit.
    checkpoints: u64,
    /// The key that they are signed by; none when nothing has been sealed.
    key: Option<String>,
    /// The new beginnings that operators have acknowledged.
    beginnings: Vec<String>,
    /// What the witnesses said that were asked for and that count.
    witnesses: Vec<String>,
    /// Whether it is the log itself, and not a file.
    #[serde(skip)]
    is_log: bool,
    /// Whether it is a slice, of which it cannot be shown that the log had no more of it.
    slice: bool,
    /// The first findings.
    findings: Vec<Found>,
    /// How many there are.
    findings_total: u64,
}

#[derive(Debug, Serialize)]
struct Found {
    position: Position,
    finding: String,
}

pub(super) async fn verify(options: VerifyOptions) -> anyhow::Result<()> {
    let key = options.key.as_deref().map(read_key).transpose()?;
    let verdict = match (&options.export, key) {
        (Some(file), Some(key)) => of_file(file, &key)?,
        (Some(_), None) => return Err(UsageError::new("an export is checked with a key: name its file with --key, as `touchline log key --output FILE` writes it").into()),
        (None, key) => of_log(&options, key).await?,
    };
    let mut output = Output::new();
    if options.json {
        output.json(&verdict)?;
    } else {
        for line in verdict.lines() {
            output.line(&line)?;
        }
    }
    output.end()?;
    match verdict.findings_total {
        0 => Ok(()),
        total => anyhow::bail!(
            "{} is damaged: {total} finding{}",
            options
                .export
                .as_ref()
                .map_or_else(|| "the log".to_owned(), |file| file.display().to_string()),
            if total == 1 { "" } else { "s" }
        ),
    }
}

async fn of_log(options: &VerifyOptions, key: Option<VerifierKey>) -> anyhow::Result<Verdict> {
    let checkpoint = options.checkpoint.as_deref().map(read).transpose()?;
    let policy = policy(options)?;
    let seals = open_seals(&options.instance).await?;
    let bar = ProgressBar::new(0).with_style(style("{pos} of {len} events, {per_sec}")?);
    let against = Against {
        key,
        checkpoint,
        policy,
    };
    let report = verify_log(&seals, against, System.now(), |done, of| {
        bar.set_length(of.sequence());
        bar.set_position(done.sequence());
    })
    .await;
    bar.finish_and_clear();
    let mut verdict = Verdict::of_log(report.map_err(explain_log)?);
    // From events that are not what they were, nothing can be derived.
    if verdict.findings_total == 0 {
        verdict.add_claims(&claims_of(&seals, &options.instance).await?);
    }
    Ok(verdict)
}

/// The witnesses that are demanded; none when none are.
fn policy(options: &VerifyOptions) -> Result<Option<Policy>, UsageError> {
    if let Some(file) = &options.witness_policy {
        let policy = Policy::parse(&read(file)?);
        let explained = |error| UsageError::new(format!("{}: {error}", file.display()));
        return policy.map(Some).map_err(explained);
    }
    if options.witnesses.is_empty() {
        return Ok(None);
    }
    let keys = options.witnesses.iter().map(|key| {
        key.parse().map_err(|_error| {
            UsageError::new(format!(
                "{key} is no key of a witness: `touchline log witness` prints its own"
            ))
        })
    });
    let keys = keys.collect::<Result<_, _>>()?;
    Policy::all(keys)
        .map(Some)
        .map_err(|error| UsageError::new(error.to_string()))
}

/// The claims that differ from what the accounts say. What is claimed is compared where the master key is
/// at hand.
async fn claims_of(
    seals: &Seals,
    options: &InstanceOptions,
) -> anyhow::Result<Vec<ClaimDifference>> {
    let context = "the claims cannot be compared";
    let Ok(urls) = ServerUrls::of(options) else {
        return claims::check(seals.pool(), None).await.context(context);
    };
    let parts = Parts::prepare(&urls, false).await?;
    let opening = Opening {
        store: &parts.store,
        fingerprints: &parts.identity.fingerprints,
    };
    let found = claims::check(parts.store.pool(), Some(opening)).await;
    parts.close().await;
    found.context(context)
}

fn of_file(file: &Path, key: &VerifierKey) -> anyhow::Result<Verdict> {
    let opened = File::open(file).map_err(|error| unreadable(file, &error))?;
    let length = opened.metadata().map_or(0, |about| about.len());
    let style = style("{binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}")?;
    let bar = ProgressBar::new(length).with_style(style);
    let report = verify_export(opened, key, |bytes| bar.set_position(bytes));
    bar.finish_and_clear();
    let report = report.map_err(|error| explain_export(file, error))?;
    Ok(Verdict::of_export(&report, key))
}

fn style(what: &str) -> anyhow::Result<ProgressStyle> {
    Ok(ProgressStyle::with_template(&format!(
        "{{bar:40}} {what}, {{eta}} left"
    ))?)
}

fn unreadable(file: &Path, error: &std::io::Error) -> UsageError {
    UsageError::new(format!("{} cannot be read ({error})", file.display()))
}

fn read(file: &Path) -> Result<String, UsageError> {
    fs::read_to_string(file).map_err(|error| unreadable(file, &error))
}

pub(super) fn read_key(file: &Path) -> Result<VerifierKey, UsageError> {
    read(file)?
        .parse()
        .map_err(|error| UsageError::new(format!("{}: {error}", file.display())))
}

fn explain_log(error: VerifyLogError) -> anyhow::Error {
    match error {
        VerifyLogError::OtherLog { .. } | VerifyLogError::NoKey => {
            UsageError::new(error.to_string()).into()
        }
        VerifyLogError::Kept(reason) => UsageError::new(format!("{error}: {reason}")).into(),
        error => error.into(),
    }
}

fn explain_export(file: &Path, error: VerifyExportError) -> anyhow::Error {
    let name = file.display();
    match &error {
        VerifyExportError::Export(
            reason @ (ExportError::NotAnExport | ExportError::OtherVersion { .. }),
        ) => UsageError::new(format!("{name}: {reason}")).into(),
        VerifyExportError::OtherLog { .. } | VerifyExportError::Opened => {
            UsageError::new(format!("{name}: {error}")).into()
        }
        // A folder can be opened, and only refuses to be read.
        VerifyExportError::Export(ExportError::Io { source, .. })
            if source.kind() == ErrorKind::IsADirectory =>
        {
            unreadable(file, source).into()
        }
        _ => anyhow::Error::from(error).context(format!("{name} cannot be checked")),
    }
}

impl Verdict {
    fn add_claims(&mut self, claims: &[ClaimDifference]) {
        self.findings.extend(claims.iter().map(|claim| Found {
            position: claim.position,
            finding: claim.to_string(),
        }));
        self.findings_total += u64::try_from(claims.len()).unwrap_or(u64::MAX);
    }

    fn of_log(report: LogReport) -> Self {
        Self {
            events: report.events,
            last_position: (report.head > Position::START).then_some(report.head),
            sealed: report.sealed.sequence(),
            checkpoints: report.checkpoints,
            key: report.key.map(|key| key.to_string()),
            beginnings: report.beginnings.iter().map(told).collect(),
            witnesses: report.witnesses,
            is_log: true,
            slice: false,
            findings: found(&report.findings),
            findings_total: report.findings.total(),
        }
    }

    fn of_export(report: &ExportReport, key: &VerifierKey) -> Self {
        Self {
            events: report.extent.events,
            last_position: report.extent.last,
            sealed: report.complete_up_to().unwrap_or(0),
            checkpoints: report.checkpoint.as_ref().map_or(0, |_| 1),
            key: Some(key.to_string()),
            beginnings: Vec::new(),
            witnesses: Vec::new(),
            is_log: false,
            slice: !report.header.is_whole_log(),
            findings: found(&report.findings),
            findings_total: report.findings.total(),
        }
    }

    /// What a person is told.
    fn lines(&self) -> Vec<String> {
        let mut lines: Vec<_> = self
            .findings
            .iter()
            .map(|found| found.finding.clone())
            .collect();
        let told = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        if self.findings_total > told {
            lines.push(format!("… and {} more", self.findings_total - told));
        }
        if self.findings_total > 0 {
            lines.extend(self.beginnings.iter().cloned());
            return lines;
        }
        let events = self.events;
        lines.push(format!(
            "{events} events: digests, order and numbers are right"
        ));
        if self.is_log {
            lines.push("Commands and claims are recorded as the events say".to_owned());
        }
        if self.slice {
            lines.push(
                "A slice: none of it was changed, moved or removed since it was written; that the log had no more of it is not shown by the file".to_owned(),
            );
        } else if self.sealed == 0 {
            lines.push(
                "No checkpoint: nothing shows that these are all the events that there were"
                    .to_owned(),
            );
        } else {
            let fit = match self.checkpoints {
                1 => "1 checkpoint fits".to_owned(),
                many => format!("{many} checkpoints fit"),
            };
            lines.push(format!(
                "Sealed up to position {}: none is missing, moved or changed; {fit}",
                self.sealed
            ));
            let after = events.saturating_sub(self.sealed);
            if after > 0 {
                lines.push(format!("Not sealed yet: {after} after it"));
            }
        }
        lines.extend(self.beginnings.iter().cloned());
        lines.extend(self.key.iter().map(|key| format!("Signed by {key}")));
        lines.extend(self.witnesses.iter().cloned());
        lines
    }
}

fn found(findings: &Findings) -> Vec<Found> {
    findings
        .kept()
        .iter()
        .map(|finding| Found {
            position: finding.position(),
            finding: with_cause(finding),
        })
        .collect()
}

fn with_cause(finding: &Finding) -> String {
    match std::error::Error::source(finding) {
        Some(cause) => format!("{finding}: {cause}"),
        None => finding.to_string(),
    }
}
