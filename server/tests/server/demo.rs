//! `touchline demo`.

use crate::instance::{Folder, Instance};
use crate::process::{Ended, run, touchline};
use sqlx::{Connection as _, PgConnection};

async fn demo(folder: &Folder) -> Ended {
    let data = folder.data();
    let arguments = ["demo", "--data-dir", data.to_str().unwrap()];
    run(touchline(folder.path(), &arguments)).await
}

#[tokio::test]
async fn loading_it_twice_changes_nothing() {
    let folder = Folder::new();
    let mut instance = Instance::start(&folder).await;
    let first = demo(&folder).await;
    assert_eq!(first.code, Some(0), "{first:?}");
    let head = head(&instance.database_url).await;
    assert!(head > 128, "64 matches by two teams each");
    let second = demo(&folder).await;
    assert_eq!(second.code, Some(0), "{second:?}");
    assert!(second.output.contains(" 0 events appended"), "{second:?}");
    assert_eq!(self::head(&instance.database_url).await, head);
    assert!(instance.stop().await.success());
}

#[tokio::test]
async fn without_an_instance_it_says_how_to_start_one() {
    let folder = Folder::new();
    let ended = demo(&folder).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(ended.errors.lines().count(), 1, "{ended:?}");
    assert!(ended.errors.contains("touchline up"), "{ended:?}");
}

async fn head(database_url: &str) -> i64 {
    let mut connection = PgConnection::connect(database_url).await.unwrap();
    sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM log.events")
        .fetch_one(&mut connection)
        .await
        .unwrap()
}
