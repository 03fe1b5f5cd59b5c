//! Erasing a person.

use crate::world::{World, new_post, password};
use sqlx::migrate::Migrator;
use touchline_commands::erasure::{self, EraseError};
use touchline_commands::identity::{
    self, EMAIL_CLAIM, HANDLE_CLAIM, SignInError, SignUp, SignUpError,
};
use touchline_commands::{Failure, Fingerprints, posts};
use touchline_domain::id::UserId;
use touchline_domain::identity::{
    Account, AccountError, DisplayName, Email, Gender, Handle, RoleDetails, Sport,
};
use touchline_domain::posts::{Post, Visibility};
use touchline_eventstore::Position;
use touchline_eventstore::database::MIGRATOR;
use touchline_eventstore::keys::Erasure;
use uuid::Uuid;

const CANARY: &str = "canary-of-ana";

fn form(email: &str, handle: &str) -> SignUp {
    SignUp {
        email: Email::parse(email).unwrap(),
        password: password(),
        handle: Handle::parse(handle).unwrap(),
        display_name: DisplayName::parse(CANARY).unwrap(),
        sport: Sport::parse("football").unwrap(),
        gender: Gender::Female,
        role: RoleDetails::Fan,
    }
}

pub(crate) async fn sign_up(
    world: &World,
    email: &str,
    handle: &str,
) -> Result<UserId, SignUpError> {
    let envelope = world.bus.envelope(None);
    let account = identity::sign_up(&world.identity, &envelope, form(email, handle)).await?;
    Ok(UserId::new(account.id))
}

pub(crate) async fn erase(world: &World, user_id: UserId) -> Result<i64, EraseError> {
    let envelope = world.bus.envelope(Some(user_id));
    Ok(erasure::erase(&world.identity, &envelope, user_id)
        .await?
        .version)
}

/// How many erasures were carried through, none of which may fail.
pub(crate) async fn finish(world: &World) -> usize {
    let finished = erasure::finish(&world.identity).await.unwrap();
    assert!(finished.failed.is_empty(), "{:?}", finished.failed);
    finished.erased
}

pub(crate) async fn is_erased(world: &World, user_id: UserId) -> bool {
    let account = world.bus.store().refresh::<Account>(user_id.uuid()).await;
    *account.unwrap().state == Account::Erased
}

pub(crate) async fn live_keys(world: &World) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM keys.data_keys WHERE wrapped IS NOT NULL")
        .fetch_one(&world.database.pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn an_erased_person_can_do_nothing_and_leaves_nothing() {
    let world = World::new().await;
    let ana = sign_up(&world, "ana@example.org", "ana").await.unwrap();
    let envelope = world.bus.envelope(Some(ana));
    let post = posts::publish(&world.bus, &envelope, new_post(CANARY, Visibility::Public))
        .await
        .unwrap();
    assert_eq!(erase(&world, ana).await.unwrap(), 2);
    assert_eq!(
        erase(&world, ana).await.unwrap(),
        2,
        "again changes nothing"
    );
    assert!(is_erased(&world, ana).await);
    assert_eq!(live_keys(&world).await, 0);

    let signed_in = identity::sign_in(&world.identity, "ana@example.org", "correct horse battery");
    let refused = signed_in.await.unwrap_err();
    assert!(
        matches!(refused, SignInError::InvalidCredentials),
        "{refused:?}"
    );
    let envelope = world.bus.envelope(Some(ana));
    let refused = posts::publish(&world.bus, &envelope, new_post("late", Visibility::Public)).await;
    let refused = format!("{:?}", refused.unwrap_err());
    assert!(refused.contains("NotAuthenticated"), "{refused}");
    let state = world.bus.store().load::<Post>(post.id).await.unwrap().state;
    assert_eq!(state.published().unwrap().caption.to_string(), "erased");
    let stored: Vec<String> = sqlx::query_scalar(
        "SELECT to_jsonb(e)::text FROM log.events e UNION ALL SELECT to_jsonb(c)::text FROM log.claims c
         UNION ALL SELECT to_jsonb(k)::text FROM log.commands k UNION ALL SELECT to_jsonb(d)::text FROM keys.data_keys d
         UNION ALL SELECT to_jsonb(p)::text FROM credentials.password_hashes p",
    )
    .fetch_all(&world.database.pool)
    .await
    .unwrap();
    for row in stored {
        for canary in [CANARY, "ana@example.org", "\"ana\""] {
            assert!(!row.contains(canary), "{row}");
        }
    }
}

#[tokio::test]
async fn the_address_is_free_again_and_the_handle_is_not() {
    let world = World::new().await;
    let ana = sign_up(&world, "ana@example.org", "ana").await.unwrap();
    erase(&world, ana).await.unwrap();
    let refused = sign_up(&world, "ana@example.org", "ana").await.unwrap_err();
    assert!(matches!(refused, SignUpError::HandleTaken), "{refused:?}");
    let again = sign_up(&world, "ana@example.org", "ana2").await.unwrap();
    assert_ne!(again, ana);
}

#[tokio::test]
async fn nobody_and_the_first_admin_are_not_erased() {
    let world = World::new().await;
    let nobody = erase(&world, UserId::new(Uuid::from_u128(9)))
        .await
        .unwrap_err();
    assert!(
        matches!(nobody, EraseError::Refused(AccountError::NotRegistered)),
        "{nobody:?}"
    );
    assert!(
        world
            .bus
            .store()
            .keys()
            .erasures()
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn an_erasure_that_was_cut_short_is_carried_through() {
    let world = World::new().await;
    let keys = world.bus.store().keys();
    let [ana, ben, cleo] = ["ana", "ben", "cleo"];
    let mut people = Vec::new();
    for name in [ana, ben, cleo] {
        let email = format!("{name}@example.org");
        people.push(sign_up(&world, &email, name).await.unwrap());
    }
    let request = |user_id: UserId| Erasure {
        subject: user_id.uuid(),
        requested_by: Some(user_id.uuid()),
        requested_at: world.bus.envelope(None).at,
    };
    // One was only requested; of another the key is gone and the log does not say so; the third
    // stays.
    keys.request_erasure(&request(people[0])).await.unwrap();
    keys.request_erasure(&request(people[1])).await.unwrap();
    keys.destroy(people[1].uuid()).await.unwrap();
    assert_eq!(finish(&world).await, 2);
    assert_eq!(finish(&world).await, 0);
    assert!(is_erased(&world, people[0]).await && is_erased(&world, people[1]).await);
    assert!(!is_erased(&world, people[2]).await);
    assert_eq!(live_keys(&world).await, 1);
    // Both addresses are free, also that which could not be read any more.
    for (name, number) in [("ana", 1), ("ben", 2)] {
        let email = format!("{name}@example.org");
        sign_up(&world, &email, &format!("{name}{number}"))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_list_of_erasures_is_replayed_over_an_older_backup() {
    let (world, backup) = (World::new().await, World::new().await);
    // The same people in both, since ids follow from the same numbers.
    let [mut ana, mut ben] = [UserId::new(Uuid::nil()); 2];
    for world in [&world, &backup] {
        ana = sign_up(world, "ana@example.org", "ana").await.unwrap();
        ben = sign_up(world, "ben@example.org", "ben").await.unwrap();
    }
    erase(&world, ana).await.unwrap();
    let mut list = world.bus.store().keys().erasures().await.unwrap();
    list.push(Erasure {
        subject: Uuid::from_u128(77),
        ..list[0].clone()
    });
    assert!(!is_erased(&backup, ana).await);
    // Nobody of the id 77 is here, and nobody comes.
    for erased in [2, 0] {
        let applied = erasure::apply(&backup.identity, &list).await.unwrap();
        assert_eq!((applied.erased, applied.failed.len()), (erased, 0));
    }
    assert!(is_erased(&backup, ana).await && !is_erased(&backup, ben).await);
    let names = backup.names_after(Position::START).await;
    assert_eq!(names.last().unwrap(), "identity.account_erased");
    let envelope = world.bus.envelope(Some(ana));
    let late = posts::publish(&world.bus, &envelope, new_post("3–3", Visibility::Public)).await;
    assert!(matches!(
        late.unwrap_err(),
        posts::PublishError::Failed(Failure::NotAuthenticated)
    ));
}

/// Claims from before are brought to the form that claims have today, so that whoever signed up then
/// still signs in.
#[tokio::test]
async fn claims_from_before_are_hashed_by_the_migration() {
    let database = touchline_testkit::empty_database().await;
    let before = MIGRATOR.iter().filter(|migration| migration.version <= 3);
    let before = Migrator {
        migrations: before.cloned().collect::<Vec<_>>().into(),
        ..Migrator::DEFAULT
    };
    before.run(&database.pool).await.unwrap();
    let claims = [(EMAIL_CLAIM, "josé@example.org"), (HANDLE_CLAIM, "jose")];
    for (scope, key) in claims {
        sqlx::query("INSERT INTO log.claims (scope, key, owner) VALUES ($1, $2, 'somebody')")
            .bind(scope)
            .bind(key)
            .execute(&database.pool)
            .await
            .unwrap();
    }
    MIGRATOR.run(&database.pool).await.unwrap();
    let key: Vec<u8> = sqlx::query_scalar("SELECT key FROM credentials.fingerprint_key")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    let fingerprints = Fingerprints::new(&key.try_into().unwrap());
    for (scope, key) in claims {
        let owner: String =
            sqlx::query_scalar("SELECT owner FROM log.claims WHERE scope = $1 AND key = $2")
                .bind(scope)
                .bind(fingerprints.claim(scope, key))
                .fetch_one(&database.pool)
                .await
                .unwrap();
        assert_eq!(owner, "somebody");
    }
}
