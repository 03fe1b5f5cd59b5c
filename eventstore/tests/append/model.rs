//! `log.append` against a model of it that a reader can check: random commands with conflicts,
//! repeated command ids, claims, several aggregates and dependencies, sent in bursts.

use crate::log::{Log, claim, command, stream};
use futures::future::join_all;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::HashMap;
use touchline_eventstore::{Append, Appended, LogEvent, Position};

/// A command as the generator makes it; what it expects is relative to what the model knows then.
#[derive(Debug, Clone)]
struct Plan {
    command: u128,
    fingerprint: u8,
    /// Aggregate, how far its expected version is off, events.
    streams: Vec<(u128, i64, usize)>,
    take: Vec<usize>,
    release: Vec<usize>,
}

const NAMES: [&str; 3] = ["ana", "ben", "eva"];

fn plan() -> impl Strategy<Value = Plan> {
    let off = prop_oneof![6 => Just(0_i64), 1 => Just(-1), 1 => Just(1)];
    // Half of the streams that a command names are only depended on.
    let events = prop_oneof![1 => Just(0_usize), 1 => 1..4_usize];
    let streams = prop::collection::btree_map(1..8_u128, (off, events), 1..4);
    let names =
        || prop_oneof![3 => Just(Vec::new()), 1 => prop::sample::subsequence(vec![0, 1, 2], 1..3)];
    (
        1..60_u128,
        prop_oneof![8 => Just(1_u8), 1 => Just(2)],
        streams,
        names(),
        names(),
    )
        .prop_map(|(command, fingerprint, streams, take, release)| {
            let mut streams: Vec<_> = streams
                .into_iter()
                .map(|(id, (off, events))| (id, off, events))
                .collect();
            streams
                .iter_mut()
                .take(1)
                .for_each(|subject| subject.2 = subject.2.max(1));
            Plan {
                command,
                fingerprint,
                streams,
                take,
                release,
            }
        })
}

/// What the log does, one command after the other.
#[derive(Default)]
struct Model {
    head: i64,
    versions: HashMap<u128, i64>,
    commands: HashMap<u128, (u8, i64, i64)>,
    claims: HashMap<usize, u128>,
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Committed(i64),
    Duplicate(i64, i64),
    Reused,
    Conflict,
    ClaimTaken,
}

impl Model {
    fn build(&self, plan: &Plan) -> Append {
        let streams = plan.streams.iter().map(|(id, off, events)| {
            stream(
                *id,
                (self.versions.get(id).unwrap_or(&0) + off).max(0),
                *events,
            )
        });
        let mut append = command(plan.command, streams);
        append.fingerprint = [plan.fingerprint; 32];
        let owner = plan.streams.first().unwrap().0;
        append.take = plan
            .take
            .iter()
            .map(|name| claim(NAMES.get(*name).unwrap(), owner))
            .collect();
        append.release = plan
            .release
            .iter()
            .map(|name| claim(NAMES.get(*name).unwrap(), owner))
            .collect();
        append
    }

    fn apply(&mut self, plan: &Plan, append: &Append) -> Answer {
        if let Some((fingerprint, first, last)) = self.commands.get(&plan.command) {
            return if *fingerprint == plan.fingerprint {
                Answer::Duplicate(*first, *last)
            } else {
                Answer::Reused
            };
        }
        let version = |id: u128| *self.versions.get(&id).unwrap_or(&0);
        if append
            .streams
            .iter()
            .any(|stream| version(stream.aggregate_id.as_u128()) != stream.expected_version)
        {
            return Answer::Conflict;
        }
        if plan.take.iter().any(|name| self.claims.contains_key(name)) {
            return Answer::ClaimTaken;
        }
        let owner = plan.streams.first().unwrap().0;
        for name in &plan.release {
            if self.claims.get(name) == Some(&owner) {
                self.claims.remove(name);
            }
        }
        for name in &plan.take {
            self.claims.insert(*name, owner);
        }
        let first = self.head + 1;
        for (id, _, events) in &plan.streams {
            let events = i64::try_from(*events).unwrap();
            *self.versions.entry(*id).or_default() += events;
            self.head += events;
        }
        self.commands
            .insert(plan.command, (plan.fingerprint, first, self.head));
        Answer::Committed(self.head - first)
    }
}

/// Positions within one burst depend on how it was cut into batches; everything else does not.
fn answer(appended: Appended) -> Answer {
    match appended {
        Appended::Committed { first, last } => Answer::Committed(last.position.get() - first.get()),
        Appended::Duplicate(stored) => Answer::Duplicate(stored.first.get(), stored.last.get()),
        Appended::Reused => Answer::Reused,
        Appended::Conflict { .. } => Answer::Conflict,
        Appended::ClaimTaken { .. } => Answer::ClaimTaken,
    }
}

/// L1 and L2 over a whole log.
fn assert_dense_and_ordered(events: &[LogEvent]) {
    let mut versions: HashMap<&str, i64> = HashMap::new();
    for (event, position) in events.iter().zip(1..) {
        assert_eq!(event.position.get(), position);
        let version = versions.entry(&event.aggregate_id).or_default();
        *version += 1;
        assert_eq!(event.sequence, *version);
        assert_eq!(event.digest, event.computed_digest());
    }
}

#[test]
fn the_append_function_does_what_the_model_does() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let cases = std::env::var("TOUCHLINE_TEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(24);
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let bursts = prop::collection::vec(prop::collection::vec(plan(), 1..20), 1..8);
    runner
        .run(&bursts, |bursts| {
            runtime.block_on(async {
                let log = Log::new().await;
                let mut model = Model::default();
                for burst in bursts {
                    // Commands of one burst are built on what is known before it, as clients do.
                    let appends: Vec<_> = burst.iter().map(|plan| model.build(plan)).collect();
                    let answers = join_all(
                        appends
                            .iter()
                            .map(|append| log.store.append(append.clone())),
                    )
                    .await;
                    for ((plan, append), appended) in burst.iter().zip(&appends).zip(answers) {
                        let appended = appended.unwrap();
                        let expected = model.apply(plan, append);
                        if let Appended::Committed { first, last } = appended {
                            let positions = (first.get(), last.position.get());
                            model
                                .commands
                                .insert(plan.command, (plan.fingerprint, positions.0, positions.1));
                        }
                        assert_eq!(answer(appended), expected, "{plan:?}");
                    }
                }
                let events = log.store.read(Position::START, 10_000).await.unwrap();
                assert_eq!(events.len(), usize::try_from(model.head).unwrap());
                assert_dense_and_ordered(&events);
                for (index, name) in NAMES.iter().enumerate() {
                    let owner = log.store.claim_owner("test.name", name).await.unwrap();
                    assert_eq!(
                        owner.map(|owner| owner.as_u128()),
                        model.claims.get(&index).copied()
                    );
                }
            });
            Ok(())
        })
        .unwrap();
}
