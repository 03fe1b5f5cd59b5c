//! Every way of tampering with a log that its owner has: each is found, and the position named.

use crate::log::{command, stream};
use crate::sealed::{fill, findings, position, seal, sealed_log, seals, tamper, verify};
use touchline_eventstore::seal::note::{NoteError, SigningKey, origin};
use touchline_eventstore::seal::verify::log::{Against, VerifyLogError, verify_log};
use touchline_eventstore::seal::{Checkpoint, VerifierKey};
use uuid::Uuid;

/// Gives an event the digest that fits its fields, as somebody would who knows how: the SQL of
/// ADR-0003.
pub(crate) const REDIGEST: &str = "UPDATE log.events SET digest = sha256(convert_to(concat_ws(E'\\n',
    'touchline-event/1', event_id, aggregate_type, aggregate_id, sequence, event_type, event_version,
    to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
    metadata::text, payload::text, ''), 'UTF8'))";

/// A log with checkpoints at 300, 400 and 700, and 20 events that are not sealed yet.
async fn log() -> crate::log::Log {
    let log = sealed_log(&[300, 400, 700]).await;
    fill(&log, 720, 2).await;
    log
}

#[tokio::test]
async fn a_log_that_nobody_touched_is_clean() {
    let log = log().await;
    let report = verify(&log).await;
    assert_eq!(report.findings.total(), 0, "{:?}", report.findings);
    assert_eq!((report.events, report.checkpoints), (720, 3));
    assert_eq!((report.sealed.get(), report.head.get()), (700, 720));
}

#[tokio::test]
async fn one_byte_of_one_event_is_found() {
    for (column, change) in [
        ("payload", "replace(payload::text, 'index', 'indey')::json"),
        (
            "metadata",
            "replace(metadata::text, 'tests', 'testz')::json",
        ),
        ("recorded_at", "recorded_at + interval '1 microsecond'"),
        ("event_type", "event_type || 'x'"),
        ("event_version", "'2'"),
        ("event_id", "gen_random_uuid()"),
    ] {
        let log = log().await;
        tamper(
            &log,
            &format!("UPDATE log.events SET {column} = {change} WHERE position = 337"),
        )
        .await;
        let expected = "position 337: the stored fields do not give the stored digest";
        assert_eq!(findings(&log).await, [expected], "{column}");
    }
}

#[tokio::test]
async fn an_event_is_named_although_its_digest_was_made_to_fit() {
    for (place, count) in [(1, 3), (337, 3), (400, 3), (700, 3)] {
        let log = log().await;
        tamper(
            &log,
            &format!(
                "UPDATE log.events SET payload = '{{\"tests.happened\":{{}}}}' WHERE position = {place};
                 {REDIGEST} WHERE position = {place}"
            ),
        )
        .await;
        let expected = format!("position {place}: not the event that was sealed there");
        let report = verify(&log).await;
        let found: Vec<_> = report
            .findings
            .kept()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, [expected]);
        assert_eq!(report.checkpoints, count, "the rest still fits");
    }
}

#[tokio::test]
async fn two_events_that_changed_places_are_found() {
    let log = log().await;
    tamper(
        &log,
        "UPDATE log.events SET position = 100000 WHERE position = 21;
         UPDATE log.events SET position = 21 WHERE position = 631;
         UPDATE log.events SET position = 631 WHERE position = 100000",
    )
    .await;
    assert_eq!(
        findings(&log).await,
        [
            "position 21: not the event that was sealed there",
            "position 22: number 2 of its aggregate comes after number 0",
            "position 631: not the event that was sealed there",
            "position 631: number 1 of its aggregate comes after number 2",
        ]
    );
}

#[tokio::test]
async fn an_event_that_was_removed_is_found() {
    let log = log().await;
    tamper(&log, "DELETE FROM log.events WHERE position = 338").await;
    assert_eq!(findings(&log).await, ["position 338: missing"]);
    let report = verify(&log).await;
    assert_eq!((report.events, report.checkpoints), (719, 3));
}

#[tokio::test]
async fn an_event_that_was_removed_and_the_gap_closed_is_found() {
    let log = log().await;
    tamper(
        &log,
        "DELETE FROM log.events WHERE position = 400;
         UPDATE log.events SET position = position + 100000 WHERE position > 400;
         UPDATE log.events SET position = position - 100001 WHERE position > 100000",
    )
    .await;
    let found = findings(&log).await;
    assert_eq!(
        found[0],
        "position 400: not the event that was sealed there"
    );
    assert_eq!(verify(&log).await.findings.total(), 301);
}

#[tokio::test]
async fn a_tail_that_was_cut_is_found() {
    let log = log().await;
    tamper(&log, "DELETE FROM log.events WHERE position > 650").await;
    assert_eq!(findings(&log).await, ["positions 651 to 700: missing"]);
    tamper(&log, "DELETE FROM log.events").await;
    assert_eq!(findings(&log).await, ["positions 1 to 700: missing"]);
}

/// Whoever owns the database can cut the log and its seals alike. Only who kept a checkpoint finds that.
#[tokio::test]
async fn a_kept_checkpoint_shows_what_was_cut_with_its_seals() {
    let log = log().await;
    let kept = seals(&log).latest().await.unwrap().unwrap().note;
    let against = |note: &str| Against {
        key: None,
        checkpoint: Some(note.to_owned()),
        policy: None,
    };
    let check = async |note: &str| {
        let report = verify_log(
            &seals(&log),
            against(note),
            crate::sealed::NOW.parse().unwrap(),
            |_, _| (),
        )
        .await;
        let report = report.unwrap();
        let kept = report.findings.kept();
        kept.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(check(&kept).await, [""; 0]);
    let middle = seals(&log).at_most(position(400)).await.unwrap().unwrap();
    assert_eq!(check(&middle.note).await, [""; 0]);

    tamper(
        &log,
        "DELETE FROM log.events WHERE position > 400; DELETE FROM seals.checkpoints WHERE tree_size > 400;
         DELETE FROM seals.hashes WHERE (index + 1) << level > 400; DELETE FROM log.commands WHERE last_position > 400",
    )
    .await;
    assert_eq!(findings(&log).await, [""; 0], "by itself it looks whole");
    let gone = "positions 401 to 700: missing";
    let other = "position 700: the log up to here is not the one of the checkpoint that was given";
    assert_eq!(check(&kept).await, [gone, other]);

    // The log goes on from there, as if nothing had been.
    fill(&log, 720, 1).await;
    seal(&log).await;
    assert_eq!(findings(&log).await, [""; 0], "by itself it looks whole");
    assert_eq!(check(&kept).await, [other]);

    let forged = check_error(&log, &kept.replacen("700", "701", 1)).await;
    assert!(matches!(forged, VerifyLogError::Kept(NoteError::Forged)));
}

async fn check_error(log: &crate::log::Log, note: &str) -> VerifyLogError {
    let against = Against {
        key: None,
        checkpoint: Some(note.to_owned()),
        policy: None,
    };
    verify_log(
        &seals(log),
        against,
        crate::sealed::NOW.parse().unwrap(),
        |_, _| (),
    )
    .await
    .unwrap_err()
}

#[tokio::test]
async fn a_forged_checkpoint_is_found() {
    let log = log().await;
    let log_id = log.store.log_id().await.unwrap();
    let genuine = seals(&log).at_most(position(400)).await.unwrap().unwrap();
    let forger = SigningKey::from_seed(&origin(log_id), &[3; 32]).unwrap();
    let checkpoint = Checkpoint {
        origin: origin(log_id),
        size: 400,
        root: genuine.root,
    };
    let by_another_key = forger.sign(&checkpoint.text());
    // The name and hash of the log's key, with a signature that is not by it.
    let damaged = genuine.note.replacen("\n400\n", "\n401\n", 1);
    let other = seals(&log).at_most(position(300)).await.unwrap().unwrap();
    for (note, reason) in [
        (by_another_key.as_str(), NoteError::OtherKey),
        (&damaged, NoteError::Forged),
        ("nonsense", NoteError::Form),
    ] {
        let note = note.replace('\'', "''");
        tamper(
            &log,
            &format!("UPDATE seals.checkpoints SET note = '{note}' WHERE tree_size = 400"),
        )
        .await;
        let report = verify(&log).await;
        let [finding] = report.findings.kept() else {
            unreachable!("{:?}", report.findings);
        };
        assert_eq!(finding.position().get(), 400);
        let source = std::error::Error::source(finding).unwrap();
        assert_eq!(source.to_string(), reason.to_string());
        assert_eq!(report.checkpoints, 2, "the others still fit");
    }
    // A genuine note of another size in its place, and a wrong root beside a genuine note.
    for change in [
        format!("note = '{}'", other.note),
        format!("note = '{}', root = sha256(root)", genuine.note),
    ] {
        tamper(
            &log,
            &format!("UPDATE seals.checkpoints SET {change} WHERE tree_size = 400"),
        )
        .await;
        assert_eq!(
            findings(&log).await,
            [
                "position 400: the checkpoint that seals the log up to here is not stored as it was signed"
            ]
        );
    }
    tamper(
        &log,
        "INSERT INTO seals.checkpoints (tree_size, root, note, leaves)
         SELECT 9223372036854775807, root, note, leaves FROM seals.checkpoints WHERE tree_size = 700",
    )
    .await;
    let found = findings(&log).await;
    assert!(
        found
            .last()
            .unwrap()
            .starts_with("position 9223372036854775807:"),
        "{found:?}"
    );
}

/// A checkpoint with the right signature over a wrong root needs the key; then the log is what does not
/// fit.
#[tokio::test]
async fn a_wrong_root_under_a_good_signature_is_found() {
    let log = sealed_log(&[4]).await;
    let log_id = log.store.log_id().await.unwrap();
    let signer = SigningKey::from_seed(&origin(log_id), &[3; 32]).unwrap();
    let wrong = touchline_eventstore::seal::tree::leaf_hash(b"another tree");
    let checkpoint = Checkpoint {
        origin: origin(log_id),
        size: 4,
        root: wrong,
    };
    let note = signer.sign(&checkpoint.text());
    tamper(
        &log,
        &format!(
            "UPDATE seals.checkpoints SET note = '{note}', root = '\\x{wrong}' WHERE tree_size = 4"
        ),
    )
    .await;
    let against = Against {
        key: Some(signer.verifier().clone()),
        checkpoint: None,
        policy: None,
    };
    let report = verify_log(
        &seals(&log),
        against,
        crate::sealed::NOW.parse().unwrap(),
        |_, _| (),
    )
    .await
    .unwrap();
    let found = report.findings.kept();
    assert!(
        found[0]
            .to_string()
            .starts_with("positions 1 to 4: not the events that were sealed")
    );
}

#[tokio::test]
async fn a_stored_hash_that_was_changed_or_removed_is_found() {
    let log = log().await;
    tamper(
        &log,
        "UPDATE seals.hashes SET hash = sha256(hash) WHERE level = 8 AND index = 1;
         DELETE FROM seals.hashes WHERE level = 9 AND index = 0",
    )
    .await;
    assert_eq!(
        findings(&log).await,
        [
            "positions 1 to 512: the stored hash over them is not theirs",
            "positions 257 to 512: the stored hash over them is not theirs",
        ]
    );
}

#[tokio::test]
async fn a_number_within_an_aggregate_that_is_wrong_is_found_before_it_is_sealed() {
    let log = log().await;
    tamper(
        &log,
        &format!("UPDATE log.events SET sequence = 9 WHERE position = 720; {REDIGEST} WHERE position = 720"),
    )
    .await;
    assert_eq!(
        findings(&log).await,
        ["position 720: number 9 of its aggregate comes after number 1"]
    );
}

#[tokio::test]
async fn more_than_can_be_told_is_counted() {
    let log = log().await;
    tamper(
        &log,
        "UPDATE log.events SET event_version = '9' WHERE position > 10",
    )
    .await;
    let report = verify(&log).await;
    assert_eq!(report.findings.total(), 710);
    assert_eq!(report.findings.kept().len(), 100);
}

#[tokio::test]
async fn the_key_of_another_log_is_refused() {
    let log = sealed_log(&[4]).await;
    let other = SigningKey::from_seed(&origin(Uuid::from_u128(1)), &[1; 32]).unwrap();
    let check = async |key: VerifierKey| {
        let against = Against {
            key: Some(key),
            checkpoint: None,
            policy: None,
        };
        verify_log(
            &seals(&log),
            against,
            crate::sealed::NOW.parse().unwrap(),
            |_, _| (),
        )
        .await
    };
    let refused = check(other.verifier().clone()).await;
    assert!(matches!(refused, Err(VerifyLogError::OtherLog { .. })));
    let log_id = log.store.log_id().await.unwrap();
    let key = seals(&log).verifier_key(log_id).await.unwrap().unwrap();
    let report = check(key).await.unwrap();
    assert_eq!(report.findings.total(), 0);
}

#[tokio::test]
async fn a_log_without_seals_is_checked_too() {
    let log = crate::log::Log::new().await;
    fill(&log, 10, 2).await;
    let report = verify(&log).await;
    assert_eq!((report.events, report.checkpoints), (10, 0));
    assert_eq!(report.key, None);
    tamper(
        &log,
        "UPDATE log.events SET event_version = '9' WHERE position = 3",
    )
    .await;
    assert_eq!(verify(&log).await.findings.total(), 1);
    let error = check_error(&log, "a note").await;
    assert!(matches!(error, VerifyLogError::NoKey));
}

/// A log whose commands have several events, of several aggregates.
async fn commanded() -> crate::log::Log {
    let log = crate::sealed::new_log().await;
    let two = |number: u128| [stream(number, 0, 2), stream(number + 100, 0, 3)];
    for number in 1..=3 {
        log.store
            .append(command(number, two(number)))
            .await
            .unwrap();
    }
    seal(&log).await;
    log
}

#[tokio::test]
async fn what_is_recorded_of_commands_is_what_their_events_say() {
    let id = Uuid::from_u128(2);
    let differs = format!("position 6: the command {id} is not recorded as its events say");
    let log = commanded().await;
    assert_eq!(findings(&log).await, [""; 0]);
    for (change, found) in [
        ("UPDATE log.commands SET version = 9", &differs),
        (
            "UPDATE log.commands SET aggregate_id = aggregate_id || 'x'",
            &differs,
        ),
        ("UPDATE log.commands SET aggregate_type = 'post'", &differs),
        ("UPDATE log.commands SET first_position = 7", &differs),
        ("UPDATE log.commands SET last_position = 9", &differs),
        (
            "DELETE FROM log.commands",
            &format!("position 6: the command {id} is not recorded"),
        ),
    ] {
        let log = commanded().await;
        tamper(&log, &format!("{change} WHERE command_id = '{id}'")).await;
        assert_eq!(findings(&log).await, [found.as_str()], "{change}");
    }
    let stranger = Uuid::from_u128(77);
    tamper(
        &log,
        &format!("INSERT INTO log.commands SELECT '{stranger}', fingerprint, aggregate_type, aggregate_id, version, first_position, last_position FROM log.commands WHERE command_id = '{id}'"),
    )
    .await;
    let surplus =
        format!("position 6: the command {stranger} is recorded there, and no event is of it");
    assert_eq!(findings(&log).await, [surplus]);
}
