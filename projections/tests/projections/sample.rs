//! The sampling verifier: it finds what differs by and by, and nothing that does not.

use crate::rebuild::{Worker, community};
use crate::site::{PATIENCE, Site};
use sqlx::Executor as _;
use touchline_domain::posts::Visibility::{OnlyMe, Public};
use touchline_projections::history::HistoryProjection;
use touchline_projections::posts::PostsProjection;
use touchline_projections::users::UsersProjection;
use touchline_projections::{Projection, verify::Finding};
use touchline_testkit::eventually;

impl Site {
    /// How many aggregates were compared, how many rows are drift, and which.
    async fn sampled(&self, projection: &str) -> (i64, i64, Vec<Finding>) {
        let row: Option<(i64, i64, sqlx::types::Json<Vec<Finding>>)> = sqlx::query_as(
            "SELECT aggregates, drift_rows, findings FROM operations.samples WHERE projection = $1",
        )
        .bind(projection)
        .fetch_optional(self.pool())
        .await
        .unwrap();
        row.map_or((0, 0, Vec::new()), |(aggregates, drift, found)| {
            (aggregates, drift, found.0)
        })
    }

    async fn until_sampled(&self, projection: &str, aggregates: i64) {
        let (before, ..) = self.sampled(projection).await;
        eventually(PATIENCE, "samples are taken", || async {
            self.sampled(projection).await.0 >= before + aggregates
        })
        .await;
    }
}

async fn assert_found<P: Projection>(
    projection: P,
    again: P,
    tamper: &str,
    expected: &[(&str, &str)],
) {
    let site = Site::new().await;
    let mut history = community(20);
    history.publish(1, 900, OnlyMe);
    history.publish(2, 901, Public);
    history.like(3, 901);
    history.add_comment(3, 901, 901, Some(900));
    history.add_comment(4, 902, 901, Some(901));
    history.delete(2, 901);
    history.unfollow(1, 2);
    history.change_profile(3, "Ana Souza", "left wing");
    let head = site.append(&history, 0).await;
    let mut running = site.run(projection, 1);
    running.until_at(head).await;
    let worker = Worker::start_sampling(&site, again, 1);
    site.until_sampled(P::NAME, 300).await;
    assert_eq!(site.sampled(P::NAME).await.2, [], "nothing differs");

    site.pool().execute(tamper).await.unwrap();
    let what = "what differs is found";
    eventually(PATIENCE, what, || async {
        let (_, _, found) = site.sampled(P::NAME).await;
        let found: Vec<_> = found
            .iter()
            .map(|it| (&*it.table, it.difference.as_str()))
            .collect();
        expected.iter().all(|one| found.contains(one)) && found.len() == expected.len()
    })
    .await;

    // New tables are sampled anew.
    let rebuild = site.request_rebuild(P::NAME, P::VERSION).await;
    site.until_rebuilt(&rebuild).await;
    site.until_sampled(P::NAME, 100).await;
    assert_eq!(site.sampled(P::NAME).await.1, 0);
    running.stop().await;
    worker.stop().await;
}

#[tokio::test]
async fn samples_of_people_find_what_differs_and_nothing_else() {
    assert_found(
        UsersProjection,
        UsersProjection,
        "UPDATE users.users SET bio = 'never written' WHERE ctid = (SELECT min(ctid) FROM users.users);
         DELETE FROM users.follows WHERE ctid = (SELECT max(ctid) FROM users.follows);
         INSERT INTO users.follows VALUES (gen_random_uuid(), gen_random_uuid(), 1, now())",
        // The counts of the two who are in the follow that is missing are wrong, too.
        &[
            ("users", "wrong"),
            ("users", "wrong"),
            ("users", "wrong"),
            ("follows", "missing"),
            ("follows", "extra"),
        ],
    )
    .await;
}

#[tokio::test]
async fn samples_of_the_index_of_history_find_what_differs_and_nothing_else() {
    assert_found(
        HistoryProjection,
        HistoryProjection,
        "UPDATE history.entries SET event_type = 'never.happened' WHERE position = 3;
         DELETE FROM history.entries WHERE position = 5",
        &[("entries", "wrong"), ("entries", "missing")],
    )
    .await;
}

#[tokio::test]
async fn samples_of_posts_find_what_differs_and_nothing_else() {
    assert_found(
        PostsProjection::default(),
        PostsProjection::default(),
        "UPDATE posts.comments SET path = '{1,2}' WHERE ctid = (SELECT max(ctid) FROM posts.comments);
         DELETE FROM posts.authors WHERE ctid = (SELECT max(ctid) FROM posts.authors);
         INSERT INTO posts.likes SELECT post_id, gen_random_uuid(), 1, now() FROM posts.posts LIMIT 1",
        &[
            ("comments", "wrong"),
            ("authors", "missing"),
            ("likes", "extra"),
            ("posts", "wrong"),
        ],
    )
    .await;
}

#[tokio::test]
async fn samples_of_posts_find_wrong_counts_and_feeds() {
    assert_found(
        PostsProjection::default(),
        PostsProjection::default(),
        "UPDATE posts.posts SET comment_count = comment_count + 1
          WHERE ctid = (SELECT max(ctid) FROM posts.posts);
         DELETE FROM posts.timeline WHERE ctid = (SELECT max(ctid) FROM posts.timeline);
         INSERT INTO posts.timeline SELECT gen_random_uuid(), published_at, post_id FROM posts.posts LIMIT 1",
        &[
            ("posts", "wrong"),
            // Of the feed with the entry that is missing.
            ("feeds", "wrong"),
            ("timeline", "missing"),
            ("timeline", "extra"),
        ],
    )
    .await;
}

#[tokio::test]
async fn samples_of_posts_find_follows_that_are_not_those_of_the_log() {
    assert_found(
        PostsProjection::default(),
        PostsProjection::default(),
        // Of somebody without posts, so that no feed is wrong, too.
        "INSERT INTO posts.audiences VALUES ('00000000-0000-4000-8000-000000000000', 1, false);
         INSERT INTO posts.follows VALUES (gen_random_uuid(), '00000000-0000-4000-8000-000000000000', true, 1, now())",
        &[("follows", "extra"), ("follows", "wrong")],
    )
    .await;
}
