//! The tables of secrets.

use crate::world::{NOW, World, credentials_of};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use futures::future::join_all;
use touchline_commands::credentials::CredentialsError;
use touchline_commands::passwords::PasswordHash;
use touchline_commands::{Credentials, Fingerprints};
use touchline_domain::clock::Timestamp;
use touchline_domain::id::UserId;
use touchline_eventstore::keys::KeyError;
use touchline_eventstore::{Keys, MasterKeys};

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
    let elsewhere = credentials_of(&world.another_process());
    let (ours, theirs) = tokio::join!(
        fingerprints(&world.identity.credentials),
        fingerprints(&elsewhere)
    );
    assert_eq!(theirs, ours);
    let theirs = fingerprints(&other.identity.credentials).await;
    assert_ne!(theirs.0, ours.0);
    assert_ne!(theirs.1, ours.1);
}

/// What lies in the database does not tell whose a claim is, whoever guesses what is claimed.
#[tokio::test]
async fn the_fingerprint_key_lies_wrapped() {
    let world = World::new().await;
    let credentials = &world.identity.credentials;
    let pool = &world.database.pool;
    let stored = async || -> (Vec<u8>, Option<String>) {
        sqlx::query_as("SELECT key, master_key FROM credentials.fingerprint_key")
            .fetch_one(pool)
            .await
            .unwrap()
    };
    let claim = |fingerprints: &Fingerprints| fingerprints.claim("identity.handle", "ana");
    let ours = claim(&credentials.fingerprints().await.unwrap());
    let (wrapped, master_key) = stored().await;
    assert!(master_key.is_some());
    assert!(wrapped.len() > 32);

    // One from before is wrapped when it is read, and stays the same.
    let plain = [5; 32];
    sqlx::query("UPDATE credentials.fingerprint_key SET key = $1, master_key = NULL")
        .bind(plain.as_slice())
        .execute(pool)
        .await
        .unwrap();
    for _ in 0..2 {
        let before = claim(&credentials.fingerprints().await.unwrap());
        assert_eq!(before, claim(&Fingerprints::new(&plain)));
        assert_ne!(before, ours);
    }
    assert!(!stored().await.0.windows(32).any(|bytes| bytes == plain));
    assert_eq!(credentials.rewrap().await.unwrap(), 0);

    // A new master key takes over.
    let masters = format!("{}\n{}", "0b".repeat(32), touchline_testkit::MASTER_KEY);
    let keys = |text: &str| Keys::new(pool.clone(), MasterKeys::parse(text).unwrap());
    let both = Credentials::new(pool.clone(), keys(&masters));
    assert_eq!(both.rewrap().await.unwrap(), 1);
    let new = Credentials::new(pool.clone(), keys(&masters[..64]));
    let again = claim(&new.fingerprints().await.unwrap());
    assert_eq!(again, claim(&Fingerprints::new(&plain)));
    let old = credentials.fingerprints().await.unwrap_err();
    assert!(
        matches!(
            old,
            CredentialsError::Wrapping(KeyError::UnknownMasterKey(_))
        ),
        "{old:?}"
    );
}

#[tokio::test]
async fn a_lost_fingerprint_key_is_not_made_anew_for_a_log_that_has_something() {
    let world = World::new().await;
    world.fan("ana").await;
    let lost = world.identity.credentials.fingerprints().await.unwrap_err();
    assert!(
        matches!(lost, CredentialsError::FingerprintKeyMissing),
        "{lost:?}"
    );
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
