//! Verification: what differs from the log is found and named, and nothing else is.

use crate::rebuild::{Worker, community};
use crate::site::{PATIENCE, Site};
use crate::tables::dump;
use serde_json::json;
use sqlx::Executor as _;
use std::time::Duration;
use touchline_domain::posts::Visibility::Public;
use touchline_projections::Projection as _;
use touchline_projections::posts::PostsProjection;
use touchline_projections::users::UsersProjection;
use touchline_projections::verify::{self, Difference, Finding, Verification, VerificationState};

impl Site {
    pub(crate) async fn verify(&self, projection: &str, version: i32) -> Verification {
        let requested = verify::request(self.store.pool(), projection, version, "a test")
            .await
            .unwrap()
            .into_inner();
        // Whoever asks through the store's own connections is not taken for a reader.
        touchline_testkit::eventually_some(PATIENCE, "the verification is over", || async {
            let pool = self.store.pool();
            let found = verify::find(pool, projection, requested.verification_id);
            found.await.unwrap().filter(|it| it.state.is_over())
        })
        .await
    }
}

#[tokio::test]
async fn a_wrong_a_missing_and_an_extra_row_are_named() {
    let site = Site::new().await;
    let head = site.append(&community(60), 0).await;
    let mut running = site.run(PostsProjection::default(), 1);
    running.until_at(head).await;
    let worker = Worker::start(&site, PostsProjection::default(), 1);

    let clean = site.verify("posts", PostsProjection::VERSION).await;
    assert_eq!(clean.state, VerificationState::Done, "{clean:?}");
    assert_eq!((clean.position, clean.drift_rows), (head, Some(0)));
    assert_eq!(clean.findings, []);
    let mut connection = site.pool().acquire().await.unwrap();
    let posts = dump(&mut connection, "posts").await;
    drop(connection);
    let rows: usize = posts.values().map(Vec::len).sum();
    assert_eq!(clean.rows_compared, Some(i64::try_from(rows).unwrap()));

    let ids: Vec<uuid::Uuid> =
        sqlx::query_scalar("SELECT post_id FROM posts.posts ORDER BY post_id LIMIT 2")
            .fetch_all(site.pool())
            .await
            .unwrap();
    let (wrong, missing) = (ids[0], ids[1]);
    let tamper = format!(
        "UPDATE posts.posts SET caption = 'never written', version = 9 WHERE post_id = '{wrong}';
         DELETE FROM posts.posts WHERE post_id = '{missing}';
         INSERT INTO posts.deleted_posts VALUES ('00000000-0000-0000-0000-000000000007')"
    );
    site.pool().execute(tamper.as_str()).await.unwrap();
    let found = site.verify("posts", PostsProjection::VERSION).await;
    assert_eq!(found.drift_rows, Some(3), "{found:?}");
    let finding = |table: &str, difference, key, columns: &[&str]| Finding {
        table: table.to_owned(),
        difference,
        key,
        columns: columns.iter().map(|&column| column.to_owned()).collect(),
    };
    let extra = json!({"post_id": "00000000-0000-0000-0000-000000000007"});
    let expected = [
        finding("deleted_posts", Difference::Extra, extra, &[]),
        finding(
            "posts",
            Difference::Wrong,
            json!({"post_id": wrong}),
            &["caption", "version"],
        ),
        finding(
            "posts",
            Difference::Missing,
            json!({"post_id": missing}),
            &[],
        ),
    ];
    assert_eq!(found.findings, expected);
    let stored: String = sqlx::query_scalar(
        "SELECT findings::text FROM operations.verifications ORDER BY requested_at DESC LIMIT 1",
    )
    .fetch_one(site.pool())
    .await
    .unwrap();
    assert!(
        !stored.contains("never written"),
        "values are kept: {stored}"
    );

    // A rebuild mends it, and counts it.
    let rebuild = site
        .request_rebuild("posts", PostsProjection::VERSION)
        .await;
    assert_eq!(site.until_rebuilt(&rebuild).await.drift_rows, Some(3));
    let mended = site.verify("posts", PostsProjection::VERSION).await;
    assert_eq!(mended.drift_rows, Some(0));
    running.stop().await;
    worker.stop().await;
}

/// Rows are compared at one position, though the log does not stand still.
#[tokio::test]
async fn appends_meanwhile_are_no_drift() {
    let site = Site::new().await;
    let mut history = community(30);
    let head = site.append(&history, 0).await;
    let mut running = site.run(UsersProjection, 1);
    running.until_at(head).await;
    let worker = Worker::start(&site, UsersProjection, 1);
    for round in 0..3 {
        let appending = async {
            for number in 0.. {
                let known = history.steps.len();
                history.register(1_000 + round * 10_000 + number);
                history.follow(1_000 + round * 10_000 + number, 1);
                site.append(&history, known).await;
            }
        };
        let verified = tokio::select! {
            () = appending => unreachable!("it goes on for ever"),
            verified = site.verify("users", UsersProjection::VERSION) => verified,
        };
        assert_eq!(verified.drift_rows, Some(0), "{verified:?}");
    }
    running.stop().await;
    worker.stop().await;
}

/// Somebody deletes all the time: a verification and a rebuild end all the same.
#[tokio::test]
async fn deletions_meanwhile_keep_nobody_from_comparing() {
    let site = Site::new().await;
    let mut history = community(30);
    let head = site.append(&history, 0).await;
    let mut running = site.run(PostsProjection::default(), 1);
    running.until_at(head).await;
    let worker = Worker::start(&site, PostsProjection::default(), 1);
    let deleting = async {
        for number in 1_000.. {
            let known = history.steps.len();
            let author = number % 30 + 1;
            history.publish(author, number, Public);
            history.like(author % 30 + 1, number);
            history.delete(author, number);
            site.append(&history, known).await;
        }
    };
    let checking = async {
        let verified = site.verify("posts", PostsProjection::VERSION).await;
        let requested = site.request_rebuild("posts", PostsProjection::VERSION);
        let rebuilt = site.until_rebuilt(&requested.await).await;
        (verified, rebuilt)
    };
    let (verified, rebuilt) = tokio::select! {
        () = deleting => unreachable!("it goes on for ever"),
        done = checking => done,
    };
    assert_eq!(verified.drift_rows, Some(0), "{verified:?}");
    assert_eq!(rebuilt.drift_rows, Some(0), "{rebuilt:?}");
    running.stop().await;
    worker.stop().await;
}

/// One of each among a million rows; `TOUCHLINE_TEST_LONG=1` runs it. Among fewer also while somebody
/// reads, when tables are compared piece by piece.
#[tokio::test]
async fn one_wrong_one_missing_and_one_extra_row_among_many_are_found() {
    let is_long = std::env::var("TOUCHLINE_TEST_LONG").is_ok_and(|long| long == "1");
    let rows = if is_long { 1_000_000 } else { 20_000 };
    let site = Site::new().await;
    crate::counted::append(&site, rows).await;
    let mut running = site.run(crate::counted::Counted, 1);
    running.until_at(site.store.head().await.unwrap()).await;
    let worker = Worker::start_in_large_chunks(&site, crate::counted::Counted, 1);
    let tamper = "UPDATE counted.rows SET value = value + 1 WHERE position = 17;
                  DELETE FROM counted.rows WHERE position = 4711;
                  INSERT INTO counted.rows VALUES (0, 0)";
    site.pool().execute(tamper).await.unwrap();
    let assert_found = |found: &Verification| {
        assert_eq!(found.rows_compared, Some(rows));
        let found: Vec<_> = found
            .findings
            .iter()
            .map(|it| (it.difference, it.key["position"].as_i64().unwrap()))
            .collect();
        let expected = [
            (Difference::Extra, 0),
            (Difference::Wrong, 17),
            (Difference::Missing, 4711),
        ];
        assert_eq!(found, expected);
    };
    assert_found(&site.verify("counted", 1).await);
    if !is_long {
        let reading = async {
            loop {
                site.pool()
                    .execute("SELECT FROM counted.rows LIMIT 1")
                    .await
                    .unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let found = tokio::select! {
            () = reading => unreachable!("it goes on for ever"),
            found = site.verify("counted", 1) => found,
        };
        assert_found(&found);
    }
    running.stop().await;
    worker.stop().await;
}
