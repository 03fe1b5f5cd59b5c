//! What an erasure that was cut short, or a restored backup, leaves behind is found, whatever it is.

use crate::erasure::{erase, finish, is_erased, live_keys, sign_up};
use crate::world::World;
use sqlx::PgPool;
use std::time::Duration;
use touchline_commands::erasure::{self, EraseError, Sweep};
use touchline_commands::identity::{HANDLE_CLAIM, SignUpError};
use touchline_commands::passwords::PasswordHash;
use touchline_domain::id::UserId;
use touchline_eventstore::keys::Erasure;
use uuid::Uuid;

async fn run(pool: &PgPool, statement: &str, user_id: UserId) {
    let done = sqlx::query(statement)
        .bind(user_id.uuid())
        .execute(pool)
        .await
        .unwrap();
    assert_eq!(done.rows_affected(), 1, "{statement}");
}

async fn request(world: &World, user_id: UserId) -> Erasure {
    let request = Erasure {
        subject: user_id.uuid(),
        requested_by: None,
        requested_at: world.bus.envelope(None).at,
    };
    let keys = world.bus.store().keys();
    keys.request_erasure(&request).await.unwrap();
    request
}

async fn has_password(world: &World, user_id: UserId) -> bool {
    let hash = world.identity.credentials.password_hash(user_id).await;
    hash.unwrap().is_some()
}

/// Whose handle it is, as the log's table of claims has it.
async fn handle_owners(world: &World) -> Vec<Option<String>> {
    sqlx::query_scalar("SELECT owner FROM log.claims WHERE scope = $1 ORDER BY owner")
        .bind(HANDLE_CLAIM)
        .fetch_all(&world.database.pool)
        .await
        .unwrap()
}

/// Changes what the log says about somebody, as nobody but a superuser could.
async fn tamper(world: &World, change: &str, user_id: UserId) {
    let pool = &world.database.pool;
    let trigger = |word: &str| format!("ALTER TABLE log.events {word} TRIGGER events_append_only");
    sqlx::raw_sql(&trigger("DISABLE"))
        .execute(pool)
        .await
        .unwrap();
    let change = format!(
        "UPDATE log.events SET {change} WHERE aggregate_type = 'account' AND aggregate_id = $1::uuid::text"
    );
    run(pool, &change, user_id).await;
    sqlx::raw_sql(&trigger("ENABLE"))
        .execute(pool)
        .await
        .unwrap();
    world.bus.store().forget_states_of(user_id);
}

/// The tag of what is sealed does not fit any more.
const DAMAGED: &str =
    r#"payload = regexp_replace(payload::text, '("sealed":"[^.]*\.)', '\1AAAA', 'g')::json"#;

#[tokio::test]
async fn secrets_go_before_the_log_says_so() {
    let world = World::new().await;
    let ana = sign_up(&world, "ana@example.org", "ana").await.unwrap();
    let role = world.database.role();
    let closed = format!("REVOKE INSERT ON log.events FROM {role}");
    let pool = &world.database.pool;
    sqlx::raw_sql(&closed).execute(pool).await.unwrap();
    let failed = erase(&world, ana).await.unwrap_err();
    assert!(matches!(failed, EraseError::Failed(_)), "{failed:?}");
    assert!(!has_password(&world, ana).await);
    assert_eq!(live_keys(&world).await, 0);
    assert_eq!(handle_owners(&world).await, [None]);
    let open = format!("GRANT INSERT ON log.events TO {role}");
    sqlx::raw_sql(&open).execute(pool).await.unwrap();
    assert_eq!(finish(&world).await, 1);
    assert!(is_erased(&world, ana).await);
}

#[tokio::test]
async fn an_unfinished_erasure_is_found_by_any_trace() {
    let world = World::new().await;
    let pool = &world.database.pool;
    let ana = sign_up(&world, "ana@example.org", "ana").await.unwrap();
    erase(&world, ana).await.unwrap();
    assert_eq!(finish(&world).await, 0);
    for trace in [
        "INSERT INTO credentials.password_hashes (user_id, phc, changed_at) VALUES ($1, 'x', now())",
        "UPDATE log.claims SET owner = $1::text WHERE scope = 'identity.handle'",
    ] {
        run(pool, trace, ana).await;
        assert_eq!(finish(&world).await, 1, "{trace}");
        assert_eq!(finish(&world).await, 0, "{trace}");
    }
    // Keys from before she wrote anything: a process that still lets her would make another.
    let restore = "TRUNCATE keys.data_keys";
    sqlx::raw_sql(restore).execute(pool).await.unwrap();
    assert_eq!(finish(&world).await, 1);
    assert!(!has_password(&world, ana).await);
    assert_eq!(handle_owners(&world).await, [None]);
    assert_eq!(live_keys(&world).await, 0);
}

#[tokio::test]
async fn the_handle_of_somebody_erased_belongs_to_nobody_and_is_held() {
    let world = World::new().await;
    let ana = sign_up(&world, "ana@example.org", "ana").await.unwrap();
    let ben = sign_up(&world, "ben@example.org", "ben").await.unwrap();
    erase(&world, ana).await.unwrap();
    let owners = [Some(ben.to_string()), None];
    assert_eq!(handle_owners(&world).await, owners);
    let handle = "ana".parse().unwrap();
    let owner = world.identity.owner_of_handle(&handle).await.unwrap();
    assert_eq!(owner, None);
    let refused = sign_up(&world, "ana@example.org", "ana").await.unwrap_err();
    assert!(matches!(refused, SignUpError::HandleTaken), "{refused:?}");
}

/// One account was tampered with, one is of an unknown version; the one behind them is erased, and so
/// is the first, since what is sealed need not open any more.
#[tokio::test]
async fn an_account_that_cannot_be_decoded_holds_up_nobody() {
    for replayed in [false, true] {
        let world = World::new().await;
        let mut people = Vec::new();
        for name in ["ana", "ben", "cleo"] {
            let email = format!("{name}@example.org");
            people.push(sign_up(&world, &email, name).await.unwrap());
        }
        tamper(&world, DAMAGED, people[0]).await;
        tamper(&world, "event_version = '99'", people[1]).await;
        let mut list = Vec::new();
        for user_id in &people {
            list.push(request(&world, *user_id).await);
        }
        let finished = if replayed {
            erasure::apply(&world.identity, &list).await.unwrap()
        } else {
            erasure::finish(&world.identity).await.unwrap()
        };
        let failed: Vec<_> = finished.failed.iter().map(|(who, _)| *who).collect();
        assert_eq!(
            (finished.erased, failed),
            (2, vec![people[1]]),
            "{:?}",
            finished.failed
        );
        assert!(is_erased(&world, people[0]).await && is_erased(&world, people[2]).await);
        assert_eq!(live_keys(&world).await, 0);
        for user_id in people {
            assert!(!has_password(&world, user_id).await);
        }
    }
}

#[tokio::test]
async fn a_password_without_an_account_is_swept_and_a_new_one_is_not() {
    let world = World::new().await;
    let credentials = &world.identity.credentials;
    let ana = sign_up(&world, "ana@example.org", "ana").await.unwrap();
    let now = world.bus.envelope(None).at;
    let hash = PasswordHash::new("hash");
    let mut orphans = Vec::new();
    for minutes in [61, 59] {
        let orphan = UserId::new(world.bus.new_id());
        let since = now - Duration::from_mins(minutes);
        let kept = credentials.insert_password_hash(orphan, &hash, since);
        kept.await.unwrap();
        orphans.push(orphan);
    }
    let old = "UPDATE credentials.password_hashes SET changed_at = '-infinity' WHERE user_id = $1";
    run(&world.database.pool, old, ana).await;
    let mut sweep = Sweep::default();
    assert_eq!(
        erasure::sweep(&world.identity, &mut sweep).await.unwrap(),
        1
    );
    assert!(!has_password(&world, orphans[0]).await);
    assert!(has_password(&world, orphans[1]).await);
    assert!(has_password(&world, ana).await);
}

/// The schema `keys`, or `credentials`, of an older backup beside a log that says who was erased: no
/// request leads there.
#[tokio::test]
async fn secrets_of_whom_the_log_has_erased_are_swept_without_a_request() {
    let world = World::new().await;
    let pool = &world.database.pool;
    let ana = sign_up(&world, "ana@example.org", "ana").await.unwrap();
    sign_up(&world, "ben@example.org", "ben").await.unwrap();
    let backup = "CREATE TABLE backup AS SELECT * FROM keys.data_keys";
    sqlx::raw_sql(backup).execute(pool).await.unwrap();
    erase(&world, ana).await.unwrap();
    let restore = "TRUNCATE keys.data_keys, keys.erasures;
        INSERT INTO keys.data_keys SELECT * FROM backup";
    sqlx::raw_sql(restore).execute(pool).await.unwrap();
    let password = "INSERT INTO credentials.password_hashes (user_id, phc, changed_at) VALUES ($1, 'x', now())";
    run(pool, password, ana).await;
    assert_eq!(live_keys(&world).await, 2);

    let mut sweep = Sweep::default();
    assert_eq!(
        erasure::sweep(&world.identity, &mut sweep).await.unwrap(),
        2
    );
    assert_eq!(live_keys(&world).await, 1);
    assert!(!has_password(&world, ana).await);
    let listed = world.bus.store().keys().erasures().await.unwrap();
    let listed: Vec<Uuid> = listed.into_iter().map(|it| it.subject).collect();
    assert_eq!(listed, [ana.uuid()]);
    assert_eq!(finish(&world).await, 0);
}
