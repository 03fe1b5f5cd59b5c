//! `touchline demo`.

use crate::chance::PATIENCE;
use crate::instance::{Folder, Instance};
use crate::process::{Ended, Process, run, touchline};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::process::Command;
use touchline_testkit::{eventually, eventually_some};

fn command(folder: &Folder) -> Command {
    let data = folder.data();
    touchline(
        folder.path(),
        &["demo", "--data-dir", data.to_str().unwrap()],
    )
}

async fn demo(folder: &Folder) -> Ended {
    let ended = run(command(folder)).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended
}

/// How many events of each type the log has.
async fn events(pool: &PgPool) -> Vec<(String, i64)> {
    sqlx::query_as("SELECT event_type, count(*) FROM log.events GROUP BY 1 ORDER BY 1")
        .fetch_all(pool)
        .await
        .unwrap()
}

/// Killed in the middle and loaded again, it is there once; loaded once more, nothing changes.
#[tokio::test]
async fn it_is_there_once_however_often_it_is_loaded() {
    let folder = Folder::new();
    let mut instance = Instance::start(&folder).await;
    let pool = PgPool::connect(&instance.database_url).await.unwrap();
    let mut killed = Process::start(folder.path(), "demo", command(&folder));
    eventually(PATIENCE, "some of it is there", || async {
        events(&pool)
            .await
            .iter()
            .map(|(_, count)| count)
            .sum::<i64>()
            > 60
    })
    .await;
    killed.kill().await;

    demo(&folder).await;
    let all = [
        ("identity.account_approved", 32),
        ("identity.account_registered", 44),
        ("posts.post_published", 128),
        ("users.user_followed", 159),
    ]
    .map(|(name, count)| (name.to_owned(), count));
    assert_eq!(events(&pool).await, all);
    let again = demo(&folder).await;
    assert!(again.output.contains(" 0 events appended"), "{again:?}");
    assert_eq!(events(&pool).await, all);

    let newest = newest_in_feed(&instance.url).await;
    assert_eq!(newest, "Final: Argentina 3–3 France, 4–2 on penalties");
    assert!(instance.stop().await.success());
}

/// The newest post in the feed of a fan of Argentina.
async fn newest_in_feed(url: &str) -> String {
    let http = reqwest::Client::new();
    let credentials = json!({"email": "ana@fans.example", "password": "world-cup-2022"});
    let signing_in = http
        .post(format!("{url}/v1/sessions"))
        .json(&credentials)
        .send();
    let session: Value = signing_in.await.unwrap().json().await.unwrap();
    let token = session["access_token"].as_str().unwrap();
    eventually_some(PATIENCE, "the whole feed", || async {
        let reading = http
            .get(format!("{url}/v1/feed?limit=1"))
            .bearer_auth(token)
            .send();
        let page: Value = reading.await.ok()?.json().await.ok()?;
        let caption = page["items"][0]["caption"].as_str()?.to_owned();
        caption.starts_with("Final").then_some(caption)
    })
    .await
}

#[tokio::test]
async fn without_an_instance_it_says_how_to_start_one() {
    let folder = Folder::new();
    let ended = run(command(&folder)).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(ended.errors.lines().count(), 1, "{ended:?}");
    assert!(ended.errors.contains("touchline up"), "{ended:?}");
}
