//! Proofs from what is stored.

use crate::sealed::{fill, position, seal, sealed_log, seals};
use std::collections::BTreeMap;
use touchline_eventstore::Position;
use touchline_eventstore::event::Digest;
use touchline_eventstore::seal::ProveError;
use touchline_eventstore::seal::proof::{verify_consistency, verify_inclusion};
use touchline_eventstore::seal::tree::{Frontier, leaf_hash};
use uuid::Uuid;

const LOG_ID: Uuid = Uuid::from_u128(7);

/// The root at each of these sizes, made from the digests in the log alone.
async fn roots(log: &crate::log::Log) -> BTreeMap<i64, Digest> {
    let mut tree = Frontier::new();
    let mut roots = BTreeMap::new();
    for event in log.events().await {
        tree.push(0, leaf_hash(event.computed_digest().as_bytes()), |_| ());
        roots.insert(event.position.get(), tree.root());
    }
    roots
}

#[tokio::test]
async fn every_event_is_shown_to_be_in_every_tree() {
    let log = sealed_log(&[3, 700]).await;
    let (seals, roots) = (seals(&log), roots(&log).await);
    for size in [1, 3, 255, 256, 257, 511, 512, 513, 700] {
        for number in [1, 2, 255, 256, 257, 512, 513, 699, 700] {
            let proof = seals
                .inclusion(LOG_ID, position(number), Some(position(size)))
                .await;
            if number > size {
                assert!(matches!(proof, Err(ProveError::NotInTree { .. })));
                continue;
            }
            let proof = proof.unwrap();
            assert_eq!(proof.root, roots[&size], "{number} in {size}");
            assert_eq!(proof.checkpoint.is_some(), size == 3 || size == 700);
            assert_eq!(proof.leaf_hash, leaf_hash(proof.digest.as_bytes()));
            let path: Vec<_> = proof.path.iter().map(|step| step.hash).collect();
            let (index, size) = (position(number - 1).sequence(), position(size).sequence());
            let shown = verify_inclusion(proof.leaf_hash, index, size, &path, &proof.root);
            assert_eq!(shown, Ok(()), "{number} in {size}");
        }
    }
}

#[tokio::test]
async fn every_tree_is_shown_to_begin_with_every_smaller_one() {
    let log = sealed_log(&[700]).await;
    let (seals, roots) = (seals(&log), roots(&log).await);
    let sizes = [1, 2, 3, 255, 256, 257, 300, 512, 513, 700];
    for from in sizes {
        for to in sizes {
            let proof = seals
                .consistency(LOG_ID, position(from), position(to))
                .await;
            if from > to {
                assert!(matches!(proof, Err(ProveError::Backwards { .. })));
                continue;
            }
            let proof = proof.unwrap();
            assert_eq!((proof.from.root, proof.to.root), (roots[&from], roots[&to]));
            let (from, to) = (position(from).sequence(), position(to).sequence());
            let shown = verify_consistency(from, to, &proof.path, &proof.from.root, &proof.to.root);
            assert_eq!(shown, Ok(()), "{from} to {to}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_proved_is_said() {
    let log = crate::sealed::new_log().await;
    let (at, start) = (seals(&log), Position::START);
    fill(&log, 4, 2).await;
    let nothing = at.inclusion(LOG_ID, position(1), None).await;
    assert!(matches!(nothing, Err(ProveError::NothingSealed)));
    seal(&log).await;
    fill(&log, 6, 2).await;
    let error = |result: Result<_, ProveError>| match result {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    let inclusion = |number, size| at.inclusion(LOG_ID, number, size);
    let beyond = "position 5 is beyond the last checkpoint, which seals 4 events";
    assert_eq!(error(inclusion(position(5), None).await), beyond);
    assert_eq!(error(inclusion(position(4), None).await), "");
    let size = Some(position(5));
    assert_eq!(error(inclusion(position(4), size).await), beyond);
    let start_error = "positions of events begin at 1";
    assert_eq!(error(inclusion(start, None).await), start_error);
    let backwards = inclusion(position(4), Some(position(3))).await;
    assert_eq!(error(backwards), "position 4 is not in a tree of 3 events");

    let consistency = |from, to| at.consistency(LOG_ID, from, to);
    let error = |result: Result<_, ProveError>| match result {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    assert_eq!(error(consistency(position(3), position(4)).await), "");
    assert_eq!(error(consistency(position(4), position(5)).await), beyond);
    assert_eq!(error(consistency(start, position(4)).await), start_error);
    let backwards = consistency(position(4), position(3)).await;
    assert_eq!(
        error(backwards),
        "the range is backwards: a log of 4 events is no beginning of one of 3"
    );
}
