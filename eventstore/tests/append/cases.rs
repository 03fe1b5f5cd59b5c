//! What an append answers, case by case.

use crate::log::{Log, claim, command, store_of, stream};
use futures::future::join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use touchline_domain::clock::{Clock, Timestamp};
use touchline_domain::id::CommandId;
use touchline_eventstore::append::{
    AppendError, EVENTS_PER_COMMAND_MAX, METADATA_BYTES_MAX, PAYLOAD_BYTES_MAX,
    STREAMS_PER_COMMAND_MAX,
};
use touchline_eventstore::{Appended, Position};
use touchline_testkit::Direction;
use uuid::Uuid;

#[tokio::test]
async fn positions_are_dense_and_events_are_read_back_byte_for_byte() {
    let log = Log::new().await;
    let answers =
        join_all((1..=100).map(|n| log.store.append(command(n, [stream(n, 0, 3)])))).await;
    let mut firsts: Vec<i64> = answers
        .into_iter()
        .map(|answer| match answer.unwrap() {
            Appended::Committed { first, last } => {
                assert_eq!(last.position.since(first), 2);
                first.get()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    firsts.sort_unstable();
    assert_eq!(firsts, (0..100).map(|n| 3 * n + 1).collect::<Vec<_>>());

    let events = log.store.read(Position::START, 10_000).await.unwrap();
    let positions: Vec<i64> = events.iter().map(|event| event.position.get()).collect();
    assert_eq!(positions, (1..=300).collect::<Vec<_>>());
    for event in &events {
        assert_eq!(event.digest, event.computed_digest(), "{event:?}");
        assert_eq!(event.metadata_map()["actor"], "tests");
        let json = serde_json::to_string(event).unwrap();
        let again: touchline_eventstore::LogEvent = serde_json::from_str(&json).unwrap();
        assert_eq!(again.computed_digest(), event.digest);
    }
    assert_eq!(log.store.head().await.unwrap().get(), 300);
}

#[tokio::test]
async fn a_command_sent_again_gets_the_first_answer_and_another_body_an_error() {
    let log = Log::new().await;
    let first = command(1, [stream(1, 0, 2), stream(2, 0, 1)]);
    assert!(matches!(
        log.store.append(first.clone()).await.unwrap(),
        Appended::Committed { .. }
    ));
    let Appended::Duplicate(stored) = log.store.append(first.clone()).await.unwrap() else {
        panic!("the second time must be a duplicate");
    };
    assert_eq!(
        (stored.first.get(), stored.last.get(), stored.version),
        (1, 3, 2)
    );
    assert_eq!(stored.aggregate_id, Uuid::from_u128(1).to_string());
    assert_eq!(
        log.store
            .find_command(CommandId::new(Uuid::from_u128(1)))
            .await
            .unwrap(),
        Some(stored)
    );

    let mut other = first;
    other.fingerprint = [9; 32];
    assert_eq!(log.store.append(other).await.unwrap(), Appended::Reused);
    assert_eq!(log.store.head().await.unwrap().get(), 3);
}

#[tokio::test]
async fn a_command_that_spans_aggregates_commits_wholly_or_not_at_all() {
    let log = Log::new().await;
    log.store
        .append(command(1, [stream(2, 0, 1)]))
        .await
        .unwrap();
    let conflict = log
        .store
        .append(command(2, [stream(1, 0, 1), stream(2, 0, 1)]))
        .await
        .unwrap();
    assert_eq!(
        conflict,
        Appended::Conflict {
            aggregate_type: "test".to_owned(),
            aggregate_id: Uuid::from_u128(2).to_string(),
            actual_version: 1
        }
    );
    assert_eq!(log.store.head().await.unwrap().get(), 1);

    let read_only = command(3, [stream(1, 0, 1), stream(2, 0, 0)]);
    assert!(
        matches!(
            log.store.append(read_only).await.unwrap(),
            Appended::Conflict { .. }
        ),
        "what was read had changed"
    );
    let read_only = command(4, [stream(1, 0, 1), stream(2, 1, 0)]);
    assert!(matches!(
        log.store.append(read_only).await.unwrap(),
        Appended::Committed { .. }
    ));
    let ahead = command(5, [stream(9, 4, 1)]);
    assert!(
        matches!(
            log.store.append(ahead).await.unwrap(),
            Appended::Conflict {
                actual_version: 0,
                ..
            }
        ),
        "no gap in a stream"
    );
}

#[tokio::test]
async fn a_claim_has_one_owner_until_that_owner_gives_it_back() {
    let log = Log::new().await;
    let mut takes = command(1, [stream(1, 0, 1)]);
    takes.take = vec![claim("ana", 1)];
    log.store.append(takes).await.unwrap();
    assert_eq!(
        log.store.claim_owner("test.name", "ana").await.unwrap(),
        Some(Uuid::from_u128(1))
    );

    let mut late = command(2, [stream(2, 0, 1)]);
    late.take = vec![claim("ana", 2)];
    assert_eq!(
        log.store.append(late.clone()).await.unwrap(),
        Appended::ClaimTaken {
            scope: "test.name".to_owned(),
            key: "ana".to_owned()
        }
    );
    let mut thief = command(3, [stream(3, 0, 1)]);
    thief.release = vec![claim("ana", 3)];
    log.store.append(thief).await.unwrap();
    assert_eq!(
        log.store.claim_owner("test.name", "ana").await.unwrap(),
        Some(Uuid::from_u128(1)),
        "not its owner's"
    );

    let mut gives = command(4, [stream(1, 1, 1)]);
    gives.release = vec![claim("ana", 1)];
    log.store.append(gives).await.unwrap();
    assert!(
        matches!(
            log.store.append(late).await.unwrap(),
            Appended::Committed { .. }
        ),
        "a refused command may be sent again"
    );
}

#[tokio::test]
async fn twenty_claims_of_one_name_at_once_give_one_owner() {
    let log = Log::new().await;
    let answers = join_all((1..=20).map(|n| {
        let mut takes = command(n, [stream(n, 0, 1)]);
        takes.take = vec![claim("ana", n)];
        log.store.append(takes)
    }))
    .await;
    let committed = answers
        .iter()
        .filter(|answer| matches!(answer, Ok(Appended::Committed { .. })))
        .count();
    let taken = answers
        .iter()
        .filter(|answer| matches!(answer, Ok(Appended::ClaimTaken { .. })))
        .count();
    assert_eq!((committed, taken), (1, 19));
}

#[tokio::test]
async fn limits_hold_at_n_and_break_at_n_plus_1() {
    let log = Log::new().await;
    let refused =
        |answer: Result<Appended, AppendError>| matches!(answer, Err(AppendError::Refused { .. }));
    let events = |n, count| log.store.append(command(n, [stream(n, 0, count)]));
    assert!(events(1, EVENTS_PER_COMMAND_MAX).await.is_ok());
    assert!(refused(events(2, EVENTS_PER_COMMAND_MAX + 1).await));

    let streams = |n: u128, count: usize| {
        let ids =
            (0..u128::try_from(count).unwrap()).map(|offset| stream(n * 1_000 + offset, 0, 1));
        log.store.append(command(n, ids))
    };
    assert!(streams(3, STREAMS_PER_COMMAND_MAX).await.is_ok());
    assert!(refused(streams(4, STREAMS_PER_COMMAND_MAX + 1).await));

    let sized = |n: u128, bytes: usize| {
        let mut sized = command(n, [stream(n, 0, 1)]);
        let json = format!("\"{}\"", "x".repeat(bytes - 2));
        sized.streams[0].events[0].payload =
            serde_json::value::RawValue::from_string(json).unwrap();
        log.store.append(sized)
    };
    assert!(sized(5, PAYLOAD_BYTES_MAX).await.is_ok());
    assert!(refused(sized(6, PAYLOAD_BYTES_MAX + 1).await));

    let described = |n: u128, bytes: usize| {
        let mut described = command(n, [stream(n, 0, 1)]);
        described.metadata = [("note".to_owned(), "x".repeat(bytes - "note".len()))].into();
        log.store.append(described)
    };
    assert!(described(9, METADATA_BYTES_MAX).await.is_ok());
    assert!(refused(described(10, METADATA_BYTES_MAX + 1).await));

    assert!(
        refused(log.store.append(command(7, [stream(7, 0, 0)])).await),
        "nothing to append"
    );
    assert!(
        refused(
            log.store
                .append(command(8, [stream(8, 0, 1), stream(8, 1, 1)]))
                .await
        ),
        "one aggregate twice"
    );
}

#[tokio::test]
async fn a_command_that_the_database_refuses_fails_alone() {
    let log = Log::new().await;
    // The same event id as an earlier event: a bug of the caller that only the database can see.
    log.store
        .append(command(1, [stream(1, 0, 1)]))
        .await
        .unwrap();
    let mut spoiled = command(2, [stream(2, 0, 1)]);
    spoiled.streams[0].events[0].event_id =
        log.store.read(Position::START, 1).await.unwrap()[0].event_id;
    let mut batch = vec![log.store.append(spoiled)];
    let good: Vec<_> = (3..=10).map(|n| command(n, [stream(n, 0, 1)])).collect();
    batch.extend(good.into_iter().map(|good| log.store.append(good)));
    let answers = join_all(batch).await;
    assert!(
        matches!(answers[0], Err(AppendError::Rejected(_))),
        "{:?}",
        answers[0]
    );
    assert!(
        answers[1..]
            .iter()
            .all(|answer| matches!(answer, Ok(Appended::Committed { .. }))),
        "{answers:?}"
    );
    assert_eq!(log.store.head().await.unwrap().get(), 9);
}

/// L3, as the application's role and as the owner of the table.
#[tokio::test]
async fn nobody_changes_the_log() {
    let log = Log::new().await;
    log.store
        .append(command(1, [stream(1, 0, 1)]))
        .await
        .unwrap();
    for statement in [
        "UPDATE log.events SET event_type = 'tests.forged'",
        "DELETE FROM log.events",
        "TRUNCATE log.events",
        "UPDATE log.commands SET version = 7",
        "DELETE FROM log.commands",
    ] {
        for (who, pool) in [
            ("the owner", &log.database.pool),
            ("the application", log.store.pool()),
        ] {
            let error = sqlx::query(statement)
                .execute(pool)
                .await
                .expect_err(statement);
            let code = error
                .as_database_error()
                .and_then(|error| error.code().map(std::borrow::Cow::into_owned));
            assert!(
                matches!(code.as_deref(), Some("23001" | "42501")),
                "{who}: {statement}: {error}"
            );
        }
    }
    assert_eq!(
        log.store.read(Position::START, 9).await.unwrap()[0].event_type,
        "tests.happened"
    );
}

/// L4 and L5: a cut connection leaves the caller in doubt; the appender is not.
#[tokio::test]
async fn a_connection_cut_after_the_request_was_sent_appends_once() {
    let log = Log::behind_proxy().await;
    log.store
        .append(command(1, [stream(1, 0, 1)]))
        .await
        .unwrap();
    for n in 2..=20_u128 {
        // Each round the answer is cut after another number of bytes, none included.
        let bytes = usize::try_from((n - 2) * 6).unwrap();
        log.proxy().cut_after(Direction::ToClient, bytes);
        let answer = log
            .store
            .append(command(n, [stream(n, 0, 2)]))
            .await
            .unwrap();
        assert!(
            matches!(answer, Appended::Committed { .. } | Appended::Duplicate(_)),
            "{answer:?}"
        );
    }
    let events = log.events().await;
    assert!(log.proxy().cuts() > 10, "the connection must have been cut");
    assert_eq!(events.len(), 1 + 19 * 2, "each command once");
}

#[tokio::test]
async fn a_closed_store_takes_nothing_more_and_loses_nothing() {
    let log = Log::new().await;
    let store = log.store.clone();
    let taken = tokio::spawn(async move { store.append(command(1, [stream(1, 0, 1)])).await });
    let answer = taken.await.unwrap();
    log.store.close().await;
    assert!(matches!(answer, Ok(Appended::Committed { .. })));
    assert!(matches!(
        log.store.append(command(2, [stream(2, 0, 1)])).await,
        Err(AppendError::Closed)
    ));
}

/// A clock that panics once, in the middle of a batch.
struct Stumbling(AtomicBool);

impl Clock for Stumbling {
    fn now(&self) -> Timestamp {
        assert!(self.0.swap(true, Ordering::SeqCst), "for the test");
        Timestamp::UNIX_EPOCH
    }
}

#[tokio::test]
async fn a_batch_that_panics_leaves_it_open_whether_it_was_appended_and_the_next_one_goes() {
    let log = Log::new().await;
    let clock = Arc::new(Stumbling(AtomicBool::new(false)));
    let store = store_of(&log.database.url, touchline_testkit::MASTER_KEY, clock);
    let append = || store.append(command(1, [stream(1, 0, 1)]));
    assert!(matches!(
        append().await,
        Err(AppendError::Unavailable {
            outcome_unknown: true
        })
    ));
    assert!(matches!(append().await, Ok(Appended::Committed { .. })));
}
