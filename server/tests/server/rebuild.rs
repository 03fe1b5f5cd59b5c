//! A rebuild of a read model when everything is killed: `touchline projections`.

use crate::chance::PATIENCE;
use crate::instance::{Folder, Instance};
use crate::process::{Ended, run, touchline};
use serde_json::{Value, json};
use sqlx::PgPool;
use touchline_testkit::eventually;

/// How many follows there are: so many that a rebuild takes longer than it takes to kill it.
const FOLLOWS: i64 = 50_000;

async fn projections(folder: &Folder, arguments: &[&str]) -> Ended {
    let data = folder.data();
    let all = [
        &["projections"],
        arguments,
        &["--data-dir", data.to_str().unwrap()],
    ]
    .concat();
    run(touchline(folder.path(), &all)).await
}

/// A log that would take too long to append.
async fn write_log(pool: &PgPool) {
    sqlx::query(
        "INSERT INTO log.events (position, event_id, aggregate_type, aggregate_id, sequence, event_type,
                                 event_version, payload, metadata, recorded_at, digest)
         SELECT number, gen_random_uuid(), 'follow', gen_random_uuid()::text, 1, 'users.user_followed',
                '1', json_build_object('users.user_followed', json_build_object(
                    'follower_id', gen_random_uuid(), 'followee_id', gen_random_uuid(),
                    'followed_at', '2022-12-18T15:00:00.000000Z')), '{}', now(), sha256('')
         FROM generate_series(1, $1) AS number",
    )
    .bind(FOLLOWS)
    .execute(pool)
    .await
    .unwrap();
}

async fn positions(pool: &PgPool, name: &str) -> Vec<i64> {
    let of_name = "SELECT position FROM operations.checkpoints WHERE projection = $1";
    sqlx::query_scalar(of_name)
        .bind(name)
        .fetch_all(pool)
        .await
        .unwrap_or_default()
}

#[tokio::test]
async fn it_goes_on_after_everything_was_killed() {
    let folder = Folder::new();
    let mut instance = Instance::start(&folder).await;
    let pool = PgPool::connect(&instance.database_url).await.unwrap();
    write_log(&pool).await;
    eventually(PATIENCE, "the log is folded", || async {
        positions(&pool, "posts").await == [FOLLOWS]
    })
    .await;

    let asked = projections(
        &folder,
        &["rebuild", "posts", "--detach", "--reason", "a test"],
    )
    .await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    eventually(PATIENCE, "a part is filled", || async {
        positions(&pool, "posts__next")
            .await
            .first()
            .is_some_and(|&at| at > 0)
    })
    .await;
    instance.process.kill().await;
    pool.close().await;

    let instance = Instance::start(&folder).await;
    let pool = PgPool::connect(&instance.database_url).await.unwrap();
    // Asked again, the same one is shown until it is over.
    let done = projections(&folder, &["rebuild", "posts", "--json"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let shown: Value = serde_json::from_str(&done.output).unwrap();
    assert_eq!(
        (&shown["state"], &shown["reason"], &shown["drift_rows"]),
        (&json!("done"), &json!("a test"), &json!(0)),
        "{done:?}"
    );
    let verified = projections(&folder, &["verify", "--all", "--json"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM posts.follows")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(rows, FOLLOWS);
}

#[tokio::test]
async fn what_is_asked_for_wrongly_is_told_in_one_line() {
    let folder = Folder::new();
    let _instance = Instance::start(&folder).await;
    for (arguments, line) in [
        (
            &["rebuild", "nothing"][..],
            "touchline: there is no projection nothing: there are users, posts, history\n",
        ),
        (
            &["verify", "nothing"],
            "touchline: there is no projection nothing: there are users, posts, history\n",
        ),
        (
            &["parked", "posts", "retry", "nothing"],
            "touchline: nothing of this aggregate is parked\n",
        ),
        (
            &[
                "parked", "posts", "discard", "nothing", "--reason", " ", "--by", "ana",
            ],
            "touchline: giving up events needs a reason and a name\n",
        ),
    ] {
        let ended = projections(&folder, arguments).await;
        assert_eq!(
            (ended.code, &*ended.errors),
            (Some(2), line),
            "{arguments:?}"
        );
    }
}
