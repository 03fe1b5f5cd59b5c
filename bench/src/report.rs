//! What a measurement says: a line of the table, and a line of JSON.

use serde::Serialize;
use std::time::Duration;

/// One figure of ours, beside a peer's when there is one.
#[derive(Debug, Serialize)]
pub struct Line {
    /// What was measured.
    pub name: String,
    /// Of what the figures are.
    pub unit: &'static str,
    /// Ours.
    pub ours: f64,
    /// The peer's in the same run.
    pub peer: Option<f64>,
    /// Who the peer is.
    pub peer_name: Option<&'static str>,
    /// Ours divided by the peer's.
    pub ratio: Option<f64>,
    /// What the issue asks for, in words.
    pub asked: &'static str,
    /// The machine.
    pub machine: String,
}

/// Collects the lines of a run and prints each as it comes.
#[derive(Debug)]
pub struct Report {
    machine: String,
    lines: Vec<Line>,
}

impl Report {
    /// An empty report on this machine.
    pub fn new() -> Self {
        Self {
            machine: machine(),
            lines: Vec::new(),
        }
    }

    /// Adds a figure without a peer.
    pub fn figure(&mut self, name: &str, unit: &'static str, ours: f64, asked: &'static str) {
        self.push(name, unit, ours, None, asked);
    }

    /// Adds a figure beside a peer's.
    pub fn comparison(
        &mut self,
        name: &str,
        unit: &'static str,
        ours: f64,
        peer: (&'static str, f64),
        asked: &'static str,
    ) {
        self.push(name, unit, ours, Some(peer), asked);
    }

    fn push(
        &mut self,
        name: &str,
        unit: &'static str,
        ours: f64,
        peer: Option<(&'static str, f64)>,
        asked: &'static str,
    ) {
        let line = Line {
            name: name.to_owned(),
            unit,
            ours,
            peer: peer.map(|(_, figure)| figure),
            peer_name: peer.map(|(name, _)| name),
            ratio: peer
                .map(|(_, figure)| ours / figure)
                .filter(|ratio| ratio.is_finite()),
            asked,
            machine: self.machine.clone(),
        };
        eprintln!("{}", row(&line));
        self.lines.push(line);
    }

    /// Prints the table and then the JSON lines.
    pub fn print(&self) {
        println!("machine: {}\n", self.machine);
        println!(
            "{:<44} {:>12} {:>12} {:>7}  {:<10} asked",
            "measurement", "ours", "peer", "ratio", "unit"
        );
        for line in &self.lines {
            println!("{}", row(line));
        }
        println!();
        for line in &self.lines {
            if let Ok(json) = serde_json::to_string(line) {
                println!("{json}");
            }
        }
    }
}

fn row(line: &Line) -> String {
    let optional = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), number);
    format!(
        "{:<44} {:>12} {:>12} {:>7}  {:<10} {}",
        line.name,
        number(line.ours),
        optional(line.peer),
        line.ratio
            .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
        line.unit,
        line.asked
    )
}

fn number(figure: f64) -> String {
    if figure >= 100.0 {
        format!("{figure:.0}")
    } else {
        format!("{figure:.2}")
    }
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or_else(
            || std::env::consts::ARCH.to_owned(),
            |(_, model)| model.trim().to_owned(),
        );
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {cores} cores, {}", std::env::consts::OS)
}

/// The value below which the share `quantile` of the samples lies, in milliseconds.
pub fn quantile_ms(samples: &mut [Duration], quantile: f64) -> f64 {
    samples.sort_unstable();
    let last = samples.len().saturating_sub(1);
    #[expect(
        clippy::as_conversions,
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index into samples"
    )]
    let index = (last as f64 * quantile).round() as usize;
    samples
        .get(index)
        .map_or(0.0, |sample| sample.as_secs_f64() * 1_000.0)
}

/// How many per second.
pub fn rate(count: usize, elapsed: Duration) -> f64 {
    #[expect(
        clippy::as_conversions,
        clippy::cast_precision_loss,
        reason = "a figure for people"
    )]
    let count = count as f64;
    count / elapsed.as_secs_f64()
}
