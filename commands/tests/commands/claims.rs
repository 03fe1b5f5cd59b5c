//! Claims against the accounts that hold them.

use crate::erasure::{erase, sign_up};
use crate::world::World;
use touchline_commands::claims::{self, Opening};
use touchline_domain::id::UserId;

/// Somebody who is there, and somebody who was erased.
async fn world() -> (World, UserId) {
    let world = World::new().await;
    let ana = sign_up(&world, "ana@example.org", "ana").await.unwrap();
    let ben = sign_up(&world, "ben@example.org", "ben").await.unwrap();
    erase(&world, ben).await.unwrap();
    (world, ana)
}

async fn found(world: &World, with_keys: bool) -> Vec<String> {
    let opening = with_keys.then_some(Opening {
        store: world.bus.store(),
        fingerprints: &world.identity.fingerprints,
    });
    let found = claims::check(world.bus.store().pool(), opening)
        .await
        .unwrap();
    found.iter().map(ToString::to_string).collect()
}

async fn tamper(world: &World, statement: &str) {
    sqlx::raw_sql(statement)
        .execute(&world.database.pool)
        .await
        .unwrap();
}

#[tokio::test]
async fn claims_are_what_the_accounts_say() {
    let (world, ana) = world().await;
    for with_keys in [false, true] {
        assert_eq!(found(&world, with_keys).await, [""; 0]);
    }
    let stranger = UserId::new(uuid::Uuid::from_u128(77));
    for (statement, line, with_keys_only) in [
        (
            format!("DELETE FROM log.claims WHERE owner = '{ana}' AND scope = 'identity.email'"),
            format!("position 1: the claim identity.email of {ana} is not held"),
            false,
        ),
        (
            format!("DELETE FROM log.claims WHERE owner = '{ana}' AND scope = 'identity.handle'"),
            format!("position 1: the claim identity.handle of {ana} is not held"),
            false,
        ),
        (
            format!("INSERT INTO log.claims VALUES ('identity.root', 'x', '{ana}')"),
            format!("position 1: the claim identity.root of {ana} is held, and no event says so"),
            false,
        ),
        (
            format!("INSERT INTO log.claims VALUES ('identity.email', 'x', '{stranger}')"),
            format!(
                "position 0: the claim identity.email of {stranger} is held, and no event says so"
            ),
            false,
        ),
        (
            format!(
                "UPDATE log.claims SET key = 'x' WHERE owner = '{ana}' AND scope = 'identity.handle'"
            ),
            format!(
                "position 1: the claim identity.handle of {ana} is held for something else than its events say"
            ),
            true,
        ),
        (
            format!(
                "DELETE FROM log.claims WHERE scope = 'identity.handle' AND owner IS DISTINCT FROM '{ana}'"
            ),
            "position 0: the claim identity.handle of nobody is not held".to_owned(),
            false,
        ),
    ] {
        tamper(
            &world,
            &format!("CREATE TABLE aside AS TABLE log.claims; {statement}"),
        )
        .await;
        assert_eq!(found(&world, true).await, [line.as_str()], "{statement}");
        let without: Vec<String> = if with_keys_only {
            Vec::new()
        } else {
            vec![line]
        };
        assert_eq!(found(&world, false).await, without, "{statement}");
        tamper(
            &world,
            "DELETE FROM log.claims; INSERT INTO log.claims SELECT * FROM aside; DROP TABLE aside",
        )
        .await;
    }
}
