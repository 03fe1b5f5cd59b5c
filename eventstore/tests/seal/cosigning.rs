//! What whoever asks makes of what witnesses answer, which is not ours to choose.

use crate::log::Log;
use crate::sealed::{NOW, PATIENCE, sealed_log, seals};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use touchline_eventstore::seal::cosigning::{Answer, Asking};
use touchline_eventstore::seal::verify::log::{Against, verify_log};
use touchline_eventstore::seal::witness::AddCheckpoint;
use touchline_eventstore::seal::{AskWitness, Cosigner, Cosigning, Policy};
use touchline_testkit::{MockClock, eventually};
use uuid::Uuid;

/// Answers as it is told, by address.
type Reply = Box<dyn Fn(&AddCheckpoint) -> Answer + Send + Sync>;
struct Witnesses(HashMap<&'static str, Reply>);

impl AskWitness for Witnesses {
    fn add_checkpoint<'a>(&'a self, url: &'a str, body: String) -> Asking<'a> {
        let request = AddCheckpoint::parse(&body).unwrap();
        let answer = self.0.get(url).unwrap()(&request);
        Box::pin(async move { Ok(answer) })
    }
}

fn answer(status: u16, body: &str) -> Reply {
    let answer = Answer {
        status,
        is_size: false,
        body: body.to_owned(),
    };
    Box::new(move |_request| answer.clone())
}

fn cosigner(number: u8) -> Cosigner {
    Cosigner::from_seed(&format!("w{number}.example"), &[number; 32]).unwrap()
}

/// Cosigns whatever comes, so many seconds after [`NOW`].
fn cosigns(number: u8, after: i64) -> Reply {
    let now: chrono::DateTime<chrono::Utc> = NOW.parse().unwrap();
    let at = u64::try_from(now.timestamp() + after).unwrap();
    Box::new(move |request| Answer {
        status: 200,
        is_size: false,
        body: request.cosigned(&cosigner(number), at).unwrap(),
    })
}

/// Asks the first two witnesses, of whom one is enough, until `problem` is what is written down.
async fn ask(log: &Log, one: Reply, other: Reply, problem: impl Fn(Option<&str>) -> bool) {
    let line = |number| format!("witness w{number} {} w{number}\n", cosigner(number).key());
    let policy = format!("{}{}group any any w1 w2\nquorum any\n", line(1), line(2));
    let cosigning = Cosigning::new(
        seals(log),
        Arc::new(MockClock::at(NOW)),
        Uuid::from_u128(7),
        Policy::parse(&policy).unwrap(),
        Arc::new(Witnesses(HashMap::from([("w1", one), ("w2", other)]))),
    );
    let stop = CancellationToken::new();
    let asking = tokio::spawn(cosigning.run(stop.clone()));
    let seals = seals(log);
    eventually(PATIENCE, "it is written down", || async {
        let rows = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM operations.witnessing");
        let is_written = rows.fetch_one(seals.pool()).await.unwrap() == 1;
        is_written && problem(seals.witnessing_problem().await.unwrap().as_deref())
    })
    .await;
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(30), asking)
        .await
        .unwrap()
        .unwrap();
}

/// A witness that has nothing printable to say, or one that cosigns, does not hide one that refuses.
#[tokio::test]
async fn a_refusal_is_told_whatever_the_others_answer() {
    let log = sealed_log(&[4]).await;
    let odd = "a\0b\n2026 INFO all is well\u{1b}[2J\u{202e}";
    ask(&log, answer(422, ""), answer(500, odd), |problem| {
        problem.is_some_and(|problem| {
            problem.contains("w1.example: it refuses")
                && problem.contains("w2.example: it answers 500: a?b?2026 INFO all is well?[2J?")
        })
    })
    .await;
    ask(&log, answer(422, ""), cosigns(2, 0), |problem| {
        problem.is_some_and(|problem| problem.contains("w1.example: it refuses"))
    })
    .await;
    ask(&log, cosigns(1, 0), answer(500, "away"), |problem| {
        problem.is_none()
    })
    .await;
}

/// Five minutes ahead a clock may be. Beyond that a cosignature would stay young for too long.
#[tokio::test]
async fn a_cosignature_from_the_future_does_not_count() {
    for (ahead, counts) in [(300, true), (301, false)] {
        let log = sealed_log(&[4]).await;
        ask(&log, cosigns(1, ahead), answer(500, "away"), |problem| {
            problem.is_none() == counts
        })
        .await;
        let against = Against {
            policy: Some(Policy::all(vec![cosigner(1).key().clone()]).unwrap()),
            ..Against::default()
        };
        let now = NOW.parse().unwrap();
        let report = verify_log(&seals(&log), against, now, |_, _| {})
            .await
            .unwrap();
        assert_eq!(report.findings.total() == 0, counts, "{report:?}");
        assert_eq!(report.witnesses.len(), usize::from(counts));
    }
}
