//! The tables of secrets.

use crate::world::{NOW, World, credentials_of};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use futures::future::join_all;
use touchline_commands::Credentials;
use touchline_commands::passwords::PasswordHash;
use touchline_domain::clock::Timestamp;
use touchline_domain::id::UserId;

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

#[tokio::test]
async fn processes_that_start_at_once_agree_on_one_signing_key() {
    let world = World::new().await;
    let credentials = &world.identity.credentials;
    let starts = join_all((0..8).map(|_| credentials.signing_keys(now()))).await;
    let first = starts[0].as_ref().unwrap();
    assert_eq!(first.len(), 1);
    for keys in &starts {
        let keys = keys.as_ref().unwrap();
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].kid, first[0].kid);
    }
    let pair = Ed25519KeyPair::from_pkcs8(first[0].pkcs8()).unwrap();
    let signature = pair.sign(b"token");
    UnparsedPublicKey::new(&ED25519, first[0].public_key)
        .verify(b"token", signature.as_ref())
        .unwrap();
}

#[tokio::test]
async fn the_newest_signing_key_signs_and_a_retired_one_is_gone() {
    let world = World::new().await;
    let credentials = &world.identity.credentials;
    let old = credentials.signing_keys(now()).await.unwrap().remove(0);
    let later = now() + std::time::Duration::from_secs(1);
    let new = credentials.rotate_signing_key(later).await.unwrap();
    let kids = async || -> Vec<String> {
        let keys = credentials.signing_keys(later).await.unwrap();
        keys.into_iter().map(|key| key.kid).collect()
    };
    assert_eq!(kids().await, [new.kid.clone(), old.kid.clone()]);
    credentials
        .retire_signing_key(&old.kid, later)
        .await
        .unwrap();
    assert_eq!(kids().await, [new.kid]);
}

/// A key from before there was a master key is wrapped when it is next read.
#[tokio::test]
async fn no_signing_key_lies_in_the_clear() {
    let world = World::new().await;
    let credentials = &world.identity.credentials;
    let key = credentials.signing_keys(now()).await.unwrap().remove(0);
    let stored = async || -> Vec<u8> {
        sqlx::query_scalar("SELECT pkcs8 FROM credentials.signing_keys")
            .fetch_one(&world.database.pool)
            .await
            .unwrap()
    };
    assert_ne!(stored().await, key.pkcs8());
    sqlx::query("UPDATE credentials.signing_keys SET pkcs8 = $1, master_key = NULL")
        .bind(key.pkcs8())
        .execute(&world.database.pool)
        .await
        .unwrap();
    let again = credentials.signing_keys(now()).await.unwrap().remove(0);
    assert_eq!((again.pkcs8(), &again.kid), (key.pkcs8(), &key.kid));
    assert_ne!(stored().await, key.pkcs8());
    assert_eq!(credentials.rewrap().await.unwrap(), 0);
}

#[tokio::test]
async fn fingerprints_are_the_same_in_every_process_of_one_log_only() {
    let (world, other) = (World::new().await, World::new().await);
    let fingerprints = async |credentials: &Credentials| {
        let fingerprints = credentials.fingerprints().await.unwrap();
        (
            fingerprints.of(&[b"body"]),
            fingerprints.command_id(&[b"key"]),
        )
    };
    let ours = fingerprints(&world.identity.credentials).await;
    let elsewhere = credentials_of(&world.another_process());
    assert_eq!(fingerprints(&elsewhere).await, ours);
    // Both databases are copies of one template here; a log of its own has a key of its own.
    sqlx::query("UPDATE credentials.fingerprint_key SET key = sha256(key)")
        .execute(&other.database.pool)
        .await
        .unwrap();
    let theirs = fingerprints(&other.identity.credentials).await;
    assert_ne!(theirs.0, ours.0);
    assert_ne!(theirs.1, ours.1);
}

#[tokio::test]
async fn a_password_changed_meanwhile_is_not_put_back() {
    let world = World::new().await;
    let credentials = &world.identity.credentials;
    let user_id = UserId::new(world.bus.new_id());
    let [a, b, c] = ["a", "b", "c"].map(PasswordHash::new);
    assert_eq!(credentials.password_hash(user_id).await.unwrap(), None);
    credentials
        .insert_password_hash(user_id, &a, now())
        .await
        .unwrap();
    assert!(
        credentials
            .insert_password_hash(user_id, &b, now())
            .await
            .is_err()
    );
    credentials
        .replace_password_hash(user_id, &a, &b)
        .await
        .unwrap();
    credentials
        .replace_password_hash(user_id, &a, &c)
        .await
        .unwrap();
    assert_eq!(credentials.password_hash(user_id).await.unwrap(), Some(b));
    credentials.delete_password_hash(user_id).await.unwrap();
    assert_eq!(credentials.password_hash(user_id).await.unwrap(), None);
}
