//! Copies of the last checkpoint outside PostgreSQL: who rewrites the log and its seals gets nothing
//! signed, and going on without what was signed is for an operator to say.

use crate::log::Log;
use crate::sealed::{RunningSealer, fill, findings, findings_at, new_log, seals, tamper, with_key};
use crate::tampering::REDIGEST;
use async_nats::Client;
use tempfile::TempDir;
use touchline_eventstore::seal::{BeginError, Beginning, Keeping, STREAM_NAME};
use touchline_testkit::nats;

/// A minute after everything that the tests append.
const LATER: &str = "2022-12-18T15:01:01Z";

fn folder() -> (TempDir, Keeping) {
    let folder = tempfile::tempdir().unwrap();
    let keeping = Keeping::default().in_folder(folder.path().join("seals"));
    (folder, keeping)
}

fn in_stream(log: &Log, client: &Client) -> Keeping {
    Keeping::default().in_stream(client.clone(), log.store.keys().clone())
}

/// Seals all that there is, keeping copies.
async fn seal(log: &Log, keeping: &Keeping) {
    let mut sealer = RunningSealer::keeping(&log.store, 1, keeping.clone());
    sealer.sealed(log.store.head().await.unwrap().get()).await;
    sealer.stop().await;
}

/// Why a new sealer refuses to sign.
async fn refusal(log: &Log, keeping: &Keeping) -> String {
    let mut sealer = RunningSealer::keeping(&log.store, 1, keeping.clone());
    let refusal = sealer.refused().await;
    sealer.stop().await;
    refusal
}

async fn checkpoints(log: &Log) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM seals.checkpoints")
        .fetch_one(&log.database.pool)
        .await
        .unwrap()
}

/// Changes the third event, gives it a digest that fits, and forgets all that was sealed.
async fn rewrite(log: &Log) {
    tamper(
        log,
        &format!(
            "UPDATE log.events SET payload = '{{\"tests.happened\":{{}}}}' WHERE position = 3;
             {REDIGEST} WHERE position = 3;
             DELETE FROM seals.checkpoints; DELETE FROM seals.hashes"
        ),
    )
    .await;
}

/// What an older backup looks like.
async fn restore(log: &Log, size: i64) {
    tamper(
        log,
        &format!(
            "DELETE FROM seals.checkpoints WHERE tree_size > {size};
             DELETE FROM log.commands WHERE last_position > {size};
             DELETE FROM log.events WHERE position > {size}"
        ),
    )
    .await;
}

async fn begin_anew(log: &Log, keeping: &Keeping) -> Result<Vec<Beginning>, BeginError> {
    let keys = log.store.keys();
    let pending = seals(log).pending(keys, keeping).await?;
    let now = LATER.parse().unwrap();
    seals(log).begin_anew(keys, &pending, now).await
}

#[tokio::test]
async fn a_rewritten_history_is_not_signed_by_a_sealer_that_starts() {
    let log = new_log().await;
    let (_folder, keeping) = folder();
    fill(&log, 8, 2).await;
    seal(&log, &keeping).await;
    assert!(!seals(&log).is_refused().await.unwrap());
    rewrite(&log).await;
    fill(&log, 9, 1).await;
    assert_eq!(
        refusal(&log, &keeping).await,
        "8 events were sealed, says the checkpoint kept in the data folder, and the database knows of 0"
    );
    assert_eq!(checkpoints(&log).await, 0);
    assert!(seals(&log).is_refused().await.unwrap(), "others are told");
    assert_eq!(
        findings_at(&log, LATER).await,
        ["positions 1 to 9: not sealed, and older than a minute"]
    );
}

#[tokio::test]
async fn a_sealer_at_work_notices_at_once_that_its_table_is_emptied() {
    let log = new_log().await;
    fill(&log, 8, 2).await;
    let mut sealer = RunningSealer::start(&log.store, 1);
    sealer.sealed(8).await;
    // Nothing is appended after it.
    rewrite(&log).await;
    assert_eq!(
        sealer.refused().await,
        "8 events were sealed, says the checkpoint kept in memory, and the database knows of 0"
    );
    sealer.stop().await;
}

#[tokio::test]
async fn a_genuine_checkpoint_that_does_not_go_on_from_the_copy_is_found() {
    let log = new_log().await;
    let (_folder, keeping) = folder();
    fill(&log, 8, 2).await;
    seal(&log, &keeping).await;
    rewrite(&log).await;
    // A sealer without any copy signs the changed log, which is what all this is against.
    fill(&log, 12, 2).await;
    crate::sealed::seal(&log).await;
    assert_eq!(findings(&log).await, [""; 0]);
    assert_eq!(
        refusal(&log, &keeping).await,
        "the log does not go on from the checkpoint of 8 events kept in the data folder"
    );
}

#[tokio::test]
async fn the_copy_in_the_stream_does_for_a_container_without_a_folder() {
    let nats = nats().await;
    let log = new_log().await;
    let (first, second) = (folder(), folder());
    let client = nats.client().await;
    let keys = log.store.keys().clone();
    let keeping = |keeping: &Keeping| keeping.clone().in_stream(client.clone(), keys.clone());
    fill(&log, 8, 2).await;
    seal(&log, &keeping(&first.1)).await;
    // Who publishes there is not believed, and hides nothing.
    let context = async_nats::jetstream::new(client.clone());
    for stranger in ["", "{\"key\":\"x\"}"] {
        let sent = context
            .publish("touchline.checkpoint", stranger.into())
            .await;
        sent.unwrap().await.unwrap();
    }
    seal(&log, &keeping(&second.1)).await;
    rewrite(&log).await;
    assert_eq!(
        refusal(&log, &keeping(&folder().1)).await,
        "8 events were sealed, says the checkpoint kept in the stream CHECKPOINTS, and the database knows of 0"
    );
    let stream = context.get_stream(STREAM_NAME).await.unwrap();
    assert!(
        stream.cached_info().config.max_messages > 0,
        "it is bounded"
    );
}

#[tokio::test]
async fn without_nats_a_folder_does_and_without_any_copy_nothing_is_signed() {
    let mut nats = nats().await;
    let log = new_log().await;
    let client = nats.client().await;
    let (_folder, with_folder) = folder();
    let keys = log.store.keys().clone();
    let with_both = with_folder.clone().in_stream(client.clone(), keys);
    fill(&log, 4, 2).await;
    seal(&log, &with_both).await;
    nats.stop().await;
    fill(&log, 8, 2).await;
    seal(&log, &with_both).await;

    // A fresh container, and NATS is away: it waits, whatever the database says.
    rewrite(&log).await;
    let keeping = in_stream(&log, &client);
    let mut sealer = RunningSealer::keeping(&log.store, 1, keeping);
    let status = sealer
        .wait("waits", |status| status.last_error.is_some())
        .await;
    let reason = status.last_error.unwrap();
    assert!(
        reason.starts_with("the stream CHECKPOINTS does not answer"),
        "{reason}"
    );
    assert_eq!((status.refusal, checkpoints(&log).await), (None, 0));
    nats.start().await;
    let refusal = sealer.refused().await;
    assert!(
        refusal.starts_with("4 events were sealed, says the checkpoint kept in the stream"),
        "{refusal}"
    );
    sealer.stop().await;
}

#[tokio::test]
async fn a_copy_in_a_stream_that_comes_back_is_laid_to_the_log_before_it_is_replaced() {
    let mut nats = nats().await;
    let log = new_log().await;
    let client = nats.client().await;
    fill(&log, 8, 2).await;
    seal(&log, &in_stream(&log, &client)).await;
    nats.stop().await;
    // Another history, of which the folder has a copy: so it is sealed while the stream is away.
    restore(&log, 0).await;
    fill(&log, 4, 2).await;
    let (_folder, keeping) = folder();
    seal(&log, &keeping).await;
    let keeping = keeping.in_stream(client, log.store.keys().clone());
    let mut sealer = RunningSealer::keeping(&log.store, 1, keeping);
    fill(&log, 6, 2).await;
    sealer.sealed(6).await;
    nats.start().await;
    let refusal = sealer.refused().await;
    assert!(refusal.starts_with("8 events were sealed"), "{refusal}");
    sealer.stop().await;
}

#[tokio::test]
async fn processes_with_folders_of_their_own_take_turns() {
    let log = new_log().await;
    let folders = [folder(), folder()];
    for (turn, (_, keeping)) in folders.iter().cycle().take(4).enumerate() {
        fill(&log, (turn + 1) * 4, 2).await;
        seal(&log, keeping).await;
    }
    assert_eq!(findings(&log).await, [""; 0]);
}

#[tokio::test]
async fn after_an_older_backup_an_operator_says_that_it_goes_on() {
    let log = new_log().await;
    let (behind, ahead) = (folder(), folder());
    fill(&log, 8, 2).await;
    seal(&log, &behind.1).await;
    fill(&log, 12, 2).await;
    seal(&log, &ahead.1).await;
    restore(&log, 8).await;
    let reason = "12 events were sealed, says the checkpoint kept in the data folder, and the database knows of 8";
    assert_eq!(refusal(&log, &ahead.1).await, reason);

    let begun = begin_anew(&log, &ahead.1).await.unwrap();
    assert_eq!(begun.len(), 1);
    assert_eq!(
        (begun[0].number, begun[0].abandoned.size, begun[0].size),
        (1, 12, 8)
    );
    let report = crate::sealed::verify(&log).await;
    assert_eq!(report.beginnings, begun, "an auditor sees it");
    fill(&log, 10, 2).await;
    for (_, keeping) in [&behind, &ahead] {
        seal(&log, keeping).await;
    }
    assert_eq!(findings(&log).await, [""; 0]);

    // What was said once does not do for the next time, nor does it without the record of it.
    fill(&log, 12, 2).await;
    seal(&log, &ahead.1).await;
    restore(&log, 10).await;
    assert_eq!(
        refusal(&log, &ahead.1).await,
        reason.replace("of 8", "of 10")
    );
    tamper(&log, "DELETE FROM seals.beginnings").await;
    assert_eq!(
        refusal(&log, &ahead.1).await,
        "the new beginning 1, known in the data folder, is not in the database any more"
    );
}

#[tokio::test]
async fn a_new_beginning_that_the_key_has_not_signed_counts_for_nothing() {
    let log = new_log().await;
    let (_folder, keeping) = folder();
    fill(&log, 8, 2).await;
    seal(&log, &keeping).await;
    fill(&log, 12, 2).await;
    seal(&log, &keeping).await;
    restore(&log, 8).await;
    let before = refusal(&log, &keeping).await;
    begin_anew(&log, &keeping).await.unwrap();
    tamper(
        &log,
        "UPDATE seals.beginnings SET note = replace(note, E'\\n12\\n', E'\\n13\\n')",
    )
    .await;
    assert_eq!(refusal(&log, &keeping).await, before);
}

#[tokio::test]
async fn no_key_is_made_for_a_log_with_events() {
    // Events came before any key, or somebody removed it.
    let log = Log::new().await;
    fill(&log, 4, 2).await;
    let log = with_key(log).await;
    let (_folder, keeping) = folder();
    let missing = refusal(&log, &keeping).await;
    assert!(
        missing.contains("the log has events and no key to sign with"),
        "{missing}"
    );
    let begun = begin_anew(&log, &keeping).await.unwrap();
    assert_eq!(begun, [], "nothing had been signed");
    seal(&log, &keeping).await;

    tamper(&log, "DELETE FROM seals.keys").await;
    let log = with_key(log).await;
    assert_eq!(refusal(&log, &keeping).await, missing);
    let refused = begin_anew(&log, &keeping).await;
    assert!(matches!(refused, Err(BeginError::KeyOfCheckpointsGone)));
    tamper(
        &log,
        "DELETE FROM seals.checkpoints; DELETE FROM seals.hashes",
    )
    .await;
    let begun = begin_anew(&log, &keeping).await.unwrap();
    assert_eq!((begun[0].abandoned.size, begun[0].size), (4, 0));
    seal(&log, &keeping).await;
    assert_eq!(findings(&log).await, [""; 0]);
}

#[tokio::test]
async fn another_log_in_the_place_of_the_one_that_was_is_not_sealed_unasked() {
    let (_folder, keeping) = folder();
    let first = new_log().await;
    fill(&first, 4, 2).await;
    seal(&first, &keeping).await;
    let second = new_log().await;
    let refusal = refusal(&second, &keeping).await;
    let first_id = first.store.log_id().await.unwrap();
    assert_eq!(
        refusal,
        format!("the checkpoint kept in the data folder is of the log touchline/{first_id}")
    );
    begin_anew(&second, &keeping).await.unwrap();
    fill(&second, 4, 2).await;
    seal(&second, &keeping).await;
}

#[tokio::test]
async fn a_damaged_copy_stops_the_sealer_and_is_named() {
    let log = new_log().await;
    let (folder, keeping) = folder();
    fill(&log, 4, 2).await;
    seal(&log, &keeping).await;
    let file = folder.path().join("seals/kept-checkpoint.json");
    let text = std::fs::read_to_string(&file).unwrap();
    for damaged in [
        String::new(),
        "{}".to_owned(),
        text.replacen("\\n4\\n", "\\n2\\n", 1),
    ] {
        std::fs::write(&file, damaged).unwrap();
        let refusal = refusal(&log, &keeping).await;
        assert!(
            refusal.starts_with("the copy in the data folder is damaged"),
            "{refusal}"
        );
    }
    std::fs::write(&file, text).unwrap();
    seal(&log, &keeping).await;
}
