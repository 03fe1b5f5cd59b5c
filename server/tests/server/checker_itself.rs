//! The checker can fail: each thing that it is there to find is done to a sound history, and found.

use crate::chance::Chance;
use crate::checker::{Scene, check};
use crate::crowd::Crowd;
use crate::history::{Attempt, History, Intent, Operation, Outcome};
use crate::mirror;
use crate::site::Site;
use crate::witness::Witness;
use async_nats::jetstream;
use nix::sys::signal::Signal;
use sqlx::{Executor as _, PgPool};

/// A history that is over, with all that the checker looks at, and nothing that could mend it.
struct Evidence {
    site: Site,
    pool: PgPool,
    operations: Vec<Operation>,
    seen: Vec<String>,
    chance: Chance,
}

impl Evidence {
    async fn gather() -> Self {
        let mut chance = Chance::of_test();
        let site = Site::new().await;
        let mut up = site.serve("up", "127.0.0.1:0").await;
        let witness = Witness::watch(site.postgres.url());
        let crowd = Crowd::gather(&[&up.url], &mut chance).await;
        crowd.acknowledges(100).await;
        let operations = crowd.finish().await.operations();
        let mut evidence = Self {
            pool: PgPool::connect(site.postgres.url()).await.unwrap(),
            seen: Vec::new(),
            operations,
            site,
            chance,
        };
        // Whatever comes late has come before the processes end.
        evidence.is_sound().await;
        assert!(up.process.stop(Signal::SIGTERM).await.success());
        evidence.seen = witness.testify().await;
        evidence
    }

    /// What the checker complains of, if it does.
    async fn verdict(&mut self, operations: &[Operation]) -> Option<String> {
        let history = History::default();
        for operation in operations {
            history.add(operation.clone());
        }
        let (database_url, nats_url) = (
            self.site.postgres.url().to_owned(),
            self.site.nats.url().to_owned(),
        );
        let master_key_file = self.site.folder.master_key_file();
        let (seen, mut chance) = (self.seen.clone(), self.chance.deal());
        let checking = tokio::spawn(async move {
            let scene = Scene {
                database_url: &database_url,
                nats_url: &nats_url,
                master_key_file: &master_key_file,
            };
            check(&scene, &history, &seen, &mut chance).await;
        });
        let panic = checking.await.err()?.into_panic();
        let literal = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        literal.or_else(|| panic.downcast_ref::<String>().cloned())
    }

    async fn is_sound(&mut self) {
        let operations = self.operations.clone();
        assert_eq!(self.verdict(&operations).await, None);
    }

    /// The checker finds what `tampering` does to the database, and nothing more after `mending`.
    async fn finds(&mut self, words: &str, tampering: &str, mending: &str) {
        self.pool.execute(tampering).await.unwrap();
        let operations = self.operations.clone();
        let verdict = self.verdict(&operations).await;
        assert!(
            verdict.as_ref().is_some_and(|it| it.contains(words)),
            "{tampering}: {verdict:?}"
        );
        self.pool.execute(mending).await.unwrap();
    }

    /// The checker finds that the clients' history is another.
    async fn finds_in(&mut self, words: &str, history: &[Operation]) {
        let verdict = self.verdict(history).await;
        assert!(
            verdict.as_ref().is_some_and(|it| it.contains(words)),
            "{words}: {verdict:?}"
        );
    }
}

const OPEN_THE_LOG: &str = "ALTER TABLE log.events DISABLE TRIGGER USER;";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tampering_is_found() {
    let mut evidence = Evidence::gather().await;
    let close = "ALTER TABLE log.events ENABLE TRIGGER USER;";
    evidence.finds("L3", OPEN_THE_LOG, close).await;
    let last = "position = (SELECT max(position) FROM log.events)";
    evidence
        .finds(
            "seen that are gone",
            &format!(
                "{OPEN_THE_LOG} CREATE TABLE kept AS SELECT * FROM log.events WHERE {last};
                 DELETE FROM log.events WHERE {last}; {close}"
            ),
            "INSERT INTO log.events SELECT * FROM kept; DROP TABLE kept",
        )
        .await;
    let shift = |by: &str| {
        format!(
            "{OPEN_THE_LOG} UPDATE log.events SET recorded_at = recorded_at {by} WHERE position = 3; {close}"
        )
    };
    let (forward, back) = (
        shift("+ interval '1 second'"),
        shift("- interval '1 second'"),
    );
    evidence
        .finds("seen with another event", &forward, &back)
        .await;
    // As if it had been so from the beginning.
    let seen = std::mem::take(&mut evidence.seen);
    evidence.finds("digest", &forward, &back).await;
    evidence.seen = seen;
    evidence
        .finds(
            "claims and accounts differ",
            "UPDATE log.claims SET owner = 'x' || owner",
            "UPDATE log.claims SET owner = substr(owner, 2)",
        )
        .await;
    for (read_model, table, column) in [
        ("users", "users", "profile_version"),
        ("posts", "posts", "like_count"),
    ] {
        let change = |by: &str| format!("UPDATE {read_model}.{table} SET {column} = {column} {by}");
        evidence
            .finds("is not the fold of the log", &change("+ 1"), &change("- 1"))
            .await;
    }
    evidence.is_sound().await;

    let context = jetstream::new(mirror::connect(evidence.site.nats.url()).await);
    let published = context
        .publish("touchline.log.00.users.user_followed", "foreign".into())
        .await;
    published.unwrap().await.unwrap();
    evidence.finds("L6", "SELECT 1", "SELECT 1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_is_not_the_logs_is_found() {
    let mut evidence = Evidence::gather().await;
    let operations = evidence.operations.clone();
    let is_done = |operation: &Operation| {
        operation.intent == Intent::Create
            && matches!(operation.attempts[0].outcome, Outcome::Acknowledged { .. })
    };
    let index = operations.iter().rposition(is_done).unwrap();
    let changed = |change: &dyn Fn(&mut Operation)| {
        let mut changed = operations.clone();
        change(&mut changed[index]);
        changed
    };
    let refused = Outcome::Refused {
        status: 409,
        code: String::new(),
    };
    let lost = Attempt {
        request: evidence.chance.id(),
        outcome: Outcome::Acknowledged { position: 1 },
    };

    let mut fewer = operations.clone();
    fewer.remove(index);
    evidence.finds_in("nobody sent", &fewer).await;
    let history = changed(&|operation| operation.attempts[0].outcome = refused.clone());
    evidence.finds_in("refused, and in the log", &history).await;
    let history = changed(&|operation| operation.intent = Intent::Nonsense);
    evidence.finds_in("nonsense was done", &history).await;
    let history = changed(&|operation| {
        if let Outcome::Acknowledged { position } = &mut operation.attempts[0].outcome {
            *position -= 1;
        }
    });
    evidence.finds_in("L5", &history).await;
    for intent in [Intent::Create, Intent::Change] {
        let mut more = operations.clone();
        more.push(Operation {
            what: "publish".to_owned(),
            intent,
            attempts: vec![lost.clone()],
        });
        evidence.finds_in("L4: lost", &more).await;
    }
    // One command that the log has twice.
    let mut twice = operations.clone();
    let other = operations[..index].iter().rposition(is_done).unwrap();
    let again = twice.remove(other).attempts.remove(0);
    twice[index - 1].attempts.push(again);
    evidence.finds_in("applied twice", &twice).await;
}
