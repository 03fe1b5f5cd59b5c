//! Asking the database how it is, at most once a second whoever asks how often.

use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// For how long an answer counts.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// After what time silence is an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The last answer to a question, and when it was given. Those who ask at the same time wait for
/// one answer.
#[derive(Debug, Default)]
pub(crate) struct Probe(Mutex<Option<(Instant, bool)>>);

impl Probe {
    /// Whether it works, by asking if the last answer is too old.
    pub(crate) async fn ask<E>(&self, question: impl Future<Output = Result<(), E>>) -> bool {
        let mut last = self.0.lock().await;
        if let Some((asked_at, good)) = *last
            && asked_at.elapsed() < GOOD_FOR
        {
            return good;
        }
        let good = matches!(timeout(PATIENCE, question).await, Ok(Ok(())));
        *last = Some((Instant::now(), good));
        good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_counts_for_a_second_and_silence_is_a_no() {
        let probe = Probe::default();
        assert!(probe.ask(async { Ok::<(), ()>(()) }).await);
        assert!(
            probe.ask(async { Err(()) }).await,
            "the last answer still counts"
        );
        tokio::time::advance(GOOD_FOR).await;
        assert!(!probe.ask(async { Err(()) }).await);
        tokio::time::advance(GOOD_FOR).await;
        assert!(!probe.ask(std::future::pending::<Result<(), ()>>()).await);
    }
}
