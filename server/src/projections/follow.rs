//! Watching work that a worker does, with a bar for each read model on a terminal.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};
use tokio::time::sleep;
use touchline_eventstore::Position;

/// How often is looked.
const POLL: Duration = Duration::from_millis(200);
/// After which time without a worker it is said that none has come.
const WORKER_PATIENCE: Duration = Duration::from_secs(5);

/// How far some work is.
pub(super) struct Stage {
    /// Its frozen word.
    pub(super) state: &'static str,
    pub(super) is_over: bool,
    pub(super) position: Position,
    /// None until a worker has it.
    pub(super) target: Option<Position>,
}

/// Work that can be looked at until it is over.
pub(super) trait Watched {
    /// The read model.
    fn name(&self) -> &str;
    /// How far it is.
    fn stage(&self) -> Stage;
}

/// Bars below each other on standard error; nothing when that is no terminal.
pub(super) struct Bars(MultiProgress);

impl Bars {
    pub(super) fn new() -> Self {
        Self(MultiProgress::new())
    }

    /// Looks at `work` again and again until it is over, and gives what it has become.
    pub(super) async fn follow<W: Watched>(
        &self,
        mut work: W,
        look: impl AsyncFn(&W) -> anyhow::Result<W>,
    ) -> anyhow::Result<W> {
        let style = ProgressStyle::with_template(
            "{prefix:10} {msg:9} [{bar:30}] {pos} of {len} events, {per_sec}, {eta} left",
        )?;
        let bar = self.0.add(ProgressBar::new(0)).with_style(style);
        bar.set_prefix(work.name().to_owned());
        let since = Instant::now();
        let mut warned = false;
        loop {
            let stage = work.stage();
            bar.set_message(stage.state);
            bar.set_length(stage.target.map_or(0, Position::sequence));
            bar.set_position(stage.position.sequence());
            if stage.is_over {
                bar.finish_and_clear();
                return Ok(work);
            }
            if stage.target.is_none() && !warned && since.elapsed() > WORKER_PATIENCE {
                warned = true;
                tracing::warn!(
                    projection = work.name(),
                    "no worker has taken it yet: does `touchline up` or `touchline work` run, in this version?"
                );
            }
            sleep(POLL).await;
            work = look(&work).await?;
        }
    }
}

/// How fast it was, for people.
pub(super) fn speed(
    events: u64,
    began: Option<chrono::DateTime<chrono::Utc>>,
    ended: Option<chrono::DateTime<chrono::Utc>>,
) -> String {
    let took = began.zip(ended).map(|(began, ended)| ended - began);
    let millis = took.map_or(0, |took| took.num_milliseconds()).max(1);
    let rate = i128::from(events) * 1_000 / i128::from(millis);
    format!(
        "{events} events of the log in {}.{} s, {rate} a second",
        millis / 1_000,
        millis % 1_000 / 100
    )
}
