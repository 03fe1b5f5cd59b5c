//! The rows are a function of the log alone, however it is cut into batches.

use crate::history::History;
use crate::tables::{dump, fill};
use proptest::prelude::*;
use sqlx::{Connection as _, PgConnection};
use std::cell::RefCell;
use touchline_projections::Projection;
use touchline_projections::history::HistoryProjection;
use touchline_projections::posts::PostsProjection;
use touchline_projections::users::UsersProjection;

/// What `posts` says of itself, as the number of rows that break it.
const BROKEN_RULES: &[(&str, &str)] = &[
    (
        "a feed has its newest entries, and everything of whom is followed since",
        "SELECT count(*) FROM feeds
         WHERE entry_count <> (SELECT count(*) FROM timeline WHERE timeline.user_id = feeds.user_id)
            OR entry_count = 0",
    ),
    (
        "a follow knows how its followee is read",
        "SELECT count(*) FROM follows LEFT JOIN audiences ON audiences.author_id = follows.followee_id
         WHERE audiences.at_read IS DISTINCT FROM follows.at_read",
    ),
    (
        "the counts are the numbers of rows",
        "SELECT count(*) FROM posts
         WHERE like_count <> (SELECT count(*) FROM likes WHERE likes.post_id = posts.post_id)
            OR comment_count <> (SELECT count(author_id) FROM comments WHERE comments.post_id = posts.post_id)",
    ),
    (
        "nothing is left of a deleted post",
        "SELECT count(*) FROM deleted_posts
         WHERE post_id IN (SELECT post_id FROM posts UNION ALL SELECT post_id FROM likes
                           UNION ALL SELECT post_id FROM comments)",
    ),
    (
        "nothing is left of somebody who was erased",
        "SELECT count(*) FROM erased
         WHERE user_id IN (SELECT user_id FROM authors UNION ALL SELECT author_id FROM audiences
                           UNION ALL SELECT follower_id FROM follows UNION ALL SELECT followee_id FROM follows
                           UNION ALL SELECT author_id FROM posts UNION ALL SELECT user_id FROM likes
                           UNION ALL SELECT author_id FROM comments WHERE author_id IS NOT NULL
                           UNION ALL SELECT user_id FROM timeline UNION ALL SELECT user_id FROM feeds)",
    ),
];

async fn check_cuts<P: Projection>(
    connection: &mut PgConnection,
    projection: &P,
    history: &History,
    sizes: &[usize],
) {
    let events = history.events();
    fill(
        connection,
        projection,
        "one_by_one",
        &events,
        vec![1; events.len()],
    )
    .await;
    fill(
        connection,
        projection,
        "in_batches",
        &events,
        sizes.iter().copied(),
    )
    .await;
    let one_by_one = dump(connection, "one_by_one").await;
    let in_batches = dump(connection, "in_batches").await;
    assert_eq!(one_by_one, in_batches, "the rows depend on the cuts");

    // Folded again, the log has no keys of those whom it says to be erased.
    let events = history.events_without_keys();
    let sizes = sizes.iter().rev().copied();
    fill(connection, projection, "without_keys", &events, sizes).await;
    let without_keys = dump(connection, "without_keys").await;
    assert_eq!(one_by_one, without_keys, "the rows depend on the keys");
}

#[test]
fn the_rows_do_not_depend_on_where_the_log_is_cut() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(touchline_testkit::database());
    let connection = runtime
        .block_on(PgConnection::connect(&database.url))
        .unwrap();
    let connection = RefCell::new(connection);
    let actions = proptest::collection::vec(any::<(u8, u8, u8, u8)>(), 1..150);
    let sizes = proptest::collection::vec(1_usize..40, 1..20);
    let config = ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..Default::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner
        .run(
            &(actions, sizes, 0_i64..4, 1_i64..6),
            |(actions, sizes, followers_max, entries_max)| {
                let history = History::random(&actions);
                let mut connection = connection.borrow_mut();
                runtime.block_on(async {
                    check_cuts(&mut connection, &UsersProjection, &history, &sizes).await;
                    let posts = PostsProjection::with_fan_out(followers_max);
                    let posts = posts.with_feeds_of(entries_max);
                    check_cuts(&mut connection, &HistoryProjection, &history, &sizes).await;
                    check_cuts(&mut connection, &posts, &history, &sizes).await;
                    for (rule, broken) in BROKEN_RULES {
                        let broken: i64 = sqlx::query_scalar(broken)
                            .fetch_one(&mut *connection)
                            .await
                            .unwrap();
                        assert_eq!(broken, 0, "{rule}");
                    }
                });
                Ok(())
            },
        )
        .unwrap();
}
