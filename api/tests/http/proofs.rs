//! The last checkpoint, and proofs, as auditors get them.

use crate::client::Person;
use crate::instance::{Api, start};
use reqwest::Method;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use touchline_commands::{Bus, permissions};
use touchline_domain::id::UserId;
use touchline_domain::identity::Permission;
use touchline_eventstore::event::Digest;
use touchline_eventstore::seal::proof::{verify_consistency, verify_inclusion};
use touchline_eventstore::seal::{Sealer, VerifierKey};
use touchline_testkit::SequentialIds;
use uuid::Uuid;

async fn auditor(api: &Api) -> Person {
    let person = api.fan("ada").await;
    let ids = Arc::new(SequentialIds::new(77));
    let bus = Bus::new(api.store.clone(), api.clock.clone(), ids);
    let id: UserId = person.user_id.parse().unwrap();
    let granted = permissions::grant(&bus, &bus.envelope(None), id, Permission::Auditor).await;
    granted.unwrap();
    person
}

/// Seals all that there is.
async fn seal(api: &Api) {
    let sealer = Sealer::new(api.store.clone(), Uuid::from_u128(5));
    let (mut status, stop) = (sealer.status(), CancellationToken::new());
    let sealing = tokio::spawn(sealer.run(stop.clone()));
    let head = api.store.head().await.unwrap();
    let reached = status.wait_for(|status| status.sealed >= head);
    let reached = timeout(Duration::from_mins(1), reached).await;
    reached.unwrap().unwrap();
    stop.cancel();
    sealing.await.unwrap();
}

fn hash(value: &serde_json::Value) -> Digest {
    serde_json::from_value(value.clone()).unwrap()
}

fn number(value: &serde_json::Value) -> u64 {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn an_auditor_gets_the_checkpoint_and_proofs_that_hold() {
    let api = start().await;
    let ada = auditor(&api).await;
    seal(&api).await;
    let first = api.call(&ada, Method::GET, "/v1/audit/checkpoint").await;
    assert_eq!(first.status, 200, "{}", first.body);
    for caption in ["one", "two", "three"] {
        api.publish(&ada, caption).await;
    }
    seal(&api).await;
    let last = api.call(&ada, Method::GET, "/v1/audit/checkpoint").await;
    let key: VerifierKey = last.text("verifier_key").parse().unwrap();
    assert_eq!(first.text("verifier_key"), last.text("verifier_key"));
    let signed = key.open_checkpoint(&last.text("note")).unwrap();
    assert_eq!(number(&last.body["tree_size"]), signed.size);
    assert_eq!(hash(&last.body["root"]), signed.root);

    for position in 1..=signed.size {
        let path = format!("/v1/audit/proofs/inclusion?position={position}");
        let proof = api.call(&ada, Method::GET, &path).await;
        assert_eq!(proof.status, 200, "{}", proof.body);
        assert_eq!(proof.text("checkpoint"), last.text("note"));
        let steps = proof.body["path"].as_array().unwrap();
        let steps: Vec<_> = steps.iter().map(|step| hash(&step["hash"])).collect();
        let leaf = hash(&proof.body["leaf_hash"]);
        let shown = verify_inclusion(leaf, position - 1, signed.size, &steps, &signed.root);
        assert_eq!(shown, Ok(()), "{position}");
    }

    let size = number(&first.body["tree_size"]);
    let path = format!(
        "/v1/audit/proofs/consistency?from={size}&to={}",
        signed.size
    );
    let proof = api.call(&ada, Method::GET, &path).await;
    assert_eq!(proof.status, 200, "{}", proof.body);
    assert_eq!(proof.body["from"]["checkpoint"], first.body["note"]);
    assert_eq!(proof.body["to"]["checkpoint"], last.body["note"]);
    let steps: Vec<_> = proof.body["path"]
        .as_array()
        .unwrap()
        .iter()
        .map(hash)
        .collect();
    let from_root = hash(&first.body["root"]);
    let shown = verify_consistency(size, signed.size, &steps, &from_root, &signed.root);
    assert_eq!(shown, Ok(()));
}

#[tokio::test]
async fn what_cannot_be_proved_has_its_code() {
    let api = start().await;
    let ada = auditor(&api).await;
    let get = async |path: &str| api.call(&ada, Method::GET, path).await.code().to_owned();
    assert_eq!(get("/v1/audit/checkpoint").await, "not-sealed");
    let inclusion = "/v1/audit/proofs/inclusion";
    let consistency = "/v1/audit/proofs/consistency";
    assert_eq!(get(&format!("{inclusion}?position=1")).await, "not-sealed");
    seal(&api).await;
    let sealed = api.events().await;
    api.publish(&ada, "not sealed yet").await;
    let (next, beyond) = (sealed + 1, sealed + 2);
    for (path, code) in [
        (inclusion.to_owned(), "invalid-parameter"),
        (format!("{inclusion}?position=x"), "invalid-parameter"),
        (format!("{inclusion}?position=0"), "invalid-parameter"),
        (format!("{inclusion}?position=-1"), "invalid-parameter"),
        (format!("{inclusion}?position={next}"), "not-sealed"),
        (
            format!("{inclusion}?position={beyond}"),
            "position-beyond-end",
        ),
        (
            format!("{inclusion}?position=1&size={beyond}"),
            "position-beyond-end",
        ),
        (format!("{inclusion}?position=2&size=1"), "backwards-range"),
        (
            format!("{inclusion}?position=1&extra=1"),
            "unknown-parameter",
        ),
        (format!("{consistency}?from=1"), "invalid-parameter"),
        (format!("{consistency}?from=0&to=1"), "invalid-parameter"),
        (format!("{consistency}?from=1&to=0"), "invalid-parameter"),
        (format!("{consistency}?from=2&to=1"), "backwards-range"),
        (format!("{consistency}?from=1&to={next}"), "not-sealed"),
        (
            format!("{consistency}?from=1&to={beyond}"),
            "position-beyond-end",
        ),
    ] {
        assert_eq!(get(&path).await, code, "{path}");
    }
    let ben = api.fan("ben").await;
    for path in ["/v1/audit/checkpoint", &format!("{inclusion}?position=1")] {
        let refused = api.call(&ben, Method::GET, path).await;
        assert_eq!(refused.code(), "permission-required", "{path}");
        assert_eq!(api.get(path).await.code(), "authentication-required");
    }
}
