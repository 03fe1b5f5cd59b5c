//! One holder at a time, and an epoch that tells them apart.

use crate::log::Log;
use touchline_eventstore::lease::Lease;
use uuid::Uuid;

const ANNA: Uuid = Uuid::from_u128(1);
const BERT: Uuid = Uuid::from_u128(2);

#[tokio::test]
async fn a_lease_has_one_holder_until_it_is_given_back() {
    let log = Log::new().await;
    let pool = log.store.pool();
    let first = Lease::acquire(pool, "test", ANNA).await.unwrap().unwrap();
    assert_eq!(Lease::acquire(pool, "test", BERT).await.unwrap(), None);
    let again = Lease::acquire(pool, "test", ANNA).await.unwrap().unwrap();
    assert_eq!(again, first, "the same holder keeps its epoch");
    assert!(Lease::acquire(pool, "other", BERT).await.unwrap().is_some());

    first.release(pool).await.unwrap();
    let second = Lease::acquire(pool, "test", BERT).await.unwrap().unwrap();
    assert_eq!(second.epoch, first.epoch + 1);
    assert!(
        !first.renew(pool).await.unwrap(),
        "it belongs to somebody else"
    );
    assert!(second.renew(pool).await.unwrap());
    first.release(pool).await.unwrap();
    assert!(
        second.renew(pool).await.unwrap(),
        "what one does not hold one cannot give back"
    );
}

#[tokio::test]
async fn a_lease_that_ran_out_goes_to_who_asks() {
    let log = Log::new().await;
    let pool = log.store.pool();
    let first = Lease::acquire(pool, "test", ANNA).await.unwrap().unwrap();
    sqlx::query("UPDATE operations.leases SET expires_at = now() - interval '1 second'")
        .execute(&log.database.pool)
        .await
        .unwrap();
    let second = Lease::acquire(pool, "test", BERT).await.unwrap().unwrap();
    assert_eq!(second.epoch, first.epoch + 1);
    assert!(!first.renew(pool).await.unwrap());
}
