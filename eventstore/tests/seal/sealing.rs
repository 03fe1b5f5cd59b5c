//! The sealer: what it signs, when, and what it refuses.

use crate::log::{Log, store_on};
use crate::sealed::{RunningSealer, fill, findings, seal, sealed_log, seals, tamper, verify};
use sqlx::Row as _;
use touchline_eventstore::lease::Lease;
use uuid::Uuid;

async fn sizes(log: &Log) -> Vec<i64> {
    sqlx::query_scalar("SELECT tree_size FROM seals.checkpoints ORDER BY tree_size")
        .fetch_all(&log.database.pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn what_is_appended_is_sealed_and_an_idle_log_signs_nothing() {
    let log = crate::sealed::new_log().await;
    let mut sealer = RunningSealer::start(&log.store, 1);
    sealer.wait("leads", |status| status.leader).await;
    fill(&log, 3, 1).await;
    sealer.sealed(3).await;
    let before = sizes(&log).await;
    assert_eq!(before.last(), Some(&3));

    // A second sealer's look and a whole new one find nothing to sign.
    sealer.stop().await;
    seal(&log).await;
    assert_eq!(sizes(&log).await, before);

    fill(&log, 300, 100).await;
    seal(&log).await;
    let report = verify(&log).await;
    assert_eq!(report.findings.total(), 0, "{:?}", report.findings);
    assert_eq!((report.events, report.sealed.get()), (300, 300));
    assert_eq!(
        report.checkpoints,
        u64::try_from(sizes(&log).await.len()).unwrap()
    );
    let latest = seals(&log).latest().await.unwrap().unwrap();
    let key = report.key.unwrap();
    let checkpoint = key.open_checkpoint(&latest.note).unwrap();
    assert_eq!((checkpoint.size, checkpoint.root), (300, latest.root));
    let log_id = log.store.log_id().await.unwrap();
    assert_eq!(checkpoint.origin, format!("touchline/{log_id}"));
}

#[tokio::test]
async fn a_long_log_gets_a_checkpoint_each_10_000_events() {
    let log = crate::sealed::new_log().await;
    fill(&log, 20_300, 1_000).await;
    seal(&log).await;
    assert_eq!(sizes(&log).await, [10_000, 20_000, 20_300]);
    let report = verify(&log).await;
    assert_eq!(report.findings.total(), 0, "{:?}", report.findings);
    assert_eq!(report.checkpoints, 3);
    // 79 whole blocks of 256, 39 pairs of them, 19, 9, 4, 2, 1.
    let hashes: i64 = sqlx::query_scalar("SELECT count(*) FROM seals.hashes")
        .fetch_one(&log.database.pool)
        .await
        .unwrap();
    assert_eq!(hashes, 79 + 39 + 19 + 9 + 4 + 2 + 1);
}

#[tokio::test]
async fn two_sealers_and_sudden_ends_leave_one_chain() {
    let log = crate::sealed::new_log().await;
    let other = store_on(&log.database.url);
    for round in 0..6_u128 {
        // Leases of those that were killed must not be waited for.
        tamper(&log, "DELETE FROM operations.leases").await;
        let first = RunningSealer::start(&log.store, round * 2 + 1);
        let second = RunningSealer::start(&other, round * 2 + 2);
        let filled = usize::try_from(round + 1).unwrap() * 150;
        fill(&log, filled, 7).await;
        // Somewhere on the way both are gone.
        first.kill().await;
        second.kill().await;
    }
    tamper(&log, "DELETE FROM operations.leases").await;
    seal(&log).await;
    let report = verify(&log).await;
    assert_eq!(report.findings.total(), 0, "{:?}", report.findings);
    assert_eq!(report.sealed, log.store.head().await.unwrap());
    let keys: i64 = sqlx::query_scalar("SELECT count(*) FROM seals.keys")
        .fetch_one(&log.database.pool)
        .await
        .unwrap();
    assert_eq!(keys, 1);
}

#[tokio::test]
async fn a_sealer_whose_lease_went_to_another_writes_nothing() {
    let log = sealed_log(&[5]).await;
    let mut sealer = RunningSealer::start(&log.store, 7);
    sealer.wait("leads", |status| status.leader).await;
    sealer.sealed(5).await;
    // Another takes the lease behind its back, as after a pause longer than the lease.
    tamper(
        &log,
        "UPDATE operations.leases SET expires_at = '-infinity' WHERE name = 'sealer'",
    )
    .await;
    let taken = Lease::acquire(log.store.pool(), "sealer", Uuid::from_u128(8))
        .await
        .unwrap();
    assert!(taken.is_some());
    fill(&log, 9, 1).await;
    sealer
        .wait("was fenced off", |status| {
            status.last_error.is_some() || !status.leader
        })
        .await;
    assert_eq!(sizes(&log).await, [5]);
    sealer.stop().await;
}

#[tokio::test]
async fn a_connection_that_breaks_is_no_end() {
    let log = crate::sealed::with_key(Log::behind_proxy().await).await;
    let mut sealer = RunningSealer::start(&log.store, 1);
    sealer.wait("leads", |status| status.leader).await;
    let past = store_on(&log.database.url);
    for number in 1..=5 {
        let append = crate::log::command(number, [crate::log::stream(number, 0, 3)]);
        past.append(append).await.unwrap();
        log.proxy().cut();
        sealer.sealed(i64::try_from(number).unwrap() * 3).await;
    }
    sealer.stop().await;
    assert_eq!(findings(&log).await, [""; 0]);
}

#[tokio::test]
async fn nothing_is_signed_that_does_not_extend_the_last_checkpoint() {
    for (statement, reason) in [
        (
            "DELETE FROM log.events WHERE position = 8",
            "8 events were sealed, and the log ends before",
        ),
        (
            "UPDATE log.events SET digest = sha256(digest) WHERE position = 8",
            "the tree of the first 8 events does not have the root that was signed",
        ),
        (
            "UPDATE log.events SET digest = sha256(digest) WHERE position = 2",
            "the tree of the first 8 events does not have the root that was signed",
        ),
        (
            "UPDATE seals.checkpoints SET note = replace(note, 'touchline', 'elsewhere') WHERE tree_size = 8",
            "the last checkpoint is not signed by the key of this log, or over another tree",
        ),
        (
            "UPDATE seals.checkpoints SET root = sha256(root) WHERE tree_size = 8",
            "the last checkpoint is not signed by the key of this log, or over another tree",
        ),
    ] {
        let log = sealed_log(&[4, 8]).await;
        tamper(&log, statement).await;
        let mut sealer = RunningSealer::start(&log.store, 1);
        assert_eq!(sealer.refused().await, reason, "{statement}");
        assert_eq!(sizes(&log).await, [4, 8]);
        sealer.stop().await;
    }
}

#[tokio::test]
async fn a_sealer_at_work_sees_the_end_of_the_log_change() {
    for (statement, reason) in [
        (
            "UPDATE log.events SET digest = sha256(digest) WHERE position = 4",
            "the event at position 4 is not the one that was sealed",
        ),
        (
            "DELETE FROM log.events WHERE position >= 3",
            "4 events were sealed, and the log ends before",
        ),
        (
            "INSERT INTO log.events SELECT 6, gen_random_uuid(), aggregate_type, aggregate_id, 99, event_type, event_version, payload, metadata, recorded_at, digest FROM log.events WHERE position = 4",
            "the event at position 5 is missing",
        ),
    ] {
        let log = crate::sealed::new_log().await;
        let mut sealer = RunningSealer::start(&log.store, 1);
        fill(&log, 4, 2).await;
        sealer.sealed(4).await;
        tamper(&log, statement).await;
        assert_eq!(sealer.refused().await, reason, "{statement}");
        assert_eq!(sizes(&log).await.last(), Some(&4));
        sealer.stop().await;
    }
}

#[tokio::test]
async fn a_sealer_goes_on_when_the_log_is_again_what_it_was() {
    let log = sealed_log(&[4]).await;
    tamper(
        &log,
        "CREATE TABLE aside AS TABLE log.events; DELETE FROM log.events WHERE position = 4",
    )
    .await;
    let mut sealer = RunningSealer::start(&log.store, 1);
    sealer.refused().await;
    tamper(
        &log,
        "INSERT INTO log.events SELECT * FROM aside WHERE position = 4",
    )
    .await;
    sealer
        .wait("goes on", |status| status.refusal.is_none())
        .await;
    fill(&log, 6, 1).await;
    sealer.sealed(6).await;
    sealer.stop().await;
    assert_eq!(findings(&log).await, [""; 0]);
}

#[tokio::test]
async fn the_application_can_change_nothing_that_is_sealed() {
    let log = sealed_log(&[4]).await;
    for statement in [
        "UPDATE seals.checkpoints SET note = ''",
        "DELETE FROM seals.checkpoints",
        "TRUNCATE seals.checkpoints",
        "UPDATE seals.hashes SET index = 1",
        "DELETE FROM seals.hashes",
    ] {
        for pool in [log.store.pool(), &log.database.pool] {
            assert!(
                sqlx::query(statement).execute(pool).await.is_err(),
                "{statement}"
            );
        }
    }
    let row = sqlx::query("SELECT secret, public_key FROM seals.keys")
        .fetch_one(&log.database.pool)
        .await
        .unwrap();
    let secret: Vec<u8> = row.get("secret");
    assert!(secret.len() > 32, "it is wrapped");
    let other = sqlx::query("UPDATE seals.keys SET public_key = secret")
        .execute(log.store.pool())
        .await;
    assert!(other.is_err());
}
