//! What the read models answer after things have happened.

use crate::history::{History, comment, minute, post, user};
use crate::tables::fill_live;
use sqlx::PgPool;
use touchline_domain::id::UserId;
use touchline_domain::posts::Visibility::{self, Followers, OnlyMe, Public};
use touchline_projections::posts::{
    self, COMMENT_DEPTH_MAX, PostCursor, PostsProjection, by_author, by_id, comments, home_feed,
    likers,
};
use touchline_projections::users::{self, Relation, UsersProjection};
use touchline_testkit::TestDatabase;

/// A database with the read models of a history.
async fn read_models(history: &History) -> TestDatabase {
    let database = touchline_testkit::database().await;
    fill_live(&database.pool, &UsersProjection, &history.events()).await;
    fill_live(
        &database.pool,
        &PostsProjection::with_fan_out(2),
        &history.events(),
    )
    .await;
    database
}

/// People with the numbers 1 to `people`.
fn community(people: u128) -> History {
    let mut history = History::default();
    for number in 1..=people {
        history.register(number);
    }
    history
}

async fn feed(pool: &PgPool, viewer: u128) -> Vec<String> {
    let page = home_feed(pool, user(viewer), None, 100).await.unwrap();
    page.items.into_iter().map(|post| post.caption).collect()
}

async fn sees(pool: &PgPool, viewer: Option<UserId>, number: u128) -> bool {
    by_id(pool, post(number), viewer).await.unwrap().is_some()
}

#[tokio::test]
async fn a_profile_shows_the_last_value_of_each_field() {
    let mut history = community(3);
    history.approve(1);
    history.change_profile(1, "Ana Souza", "left wing");
    history.change_profile(1, "Ana S.", "left wing");
    let TestDatabase { pool, .. } = &read_models(&history).await;

    let ana = users::by_id(pool, user(1)).await.unwrap().unwrap();
    assert_eq!(ana.handle, "user1");
    assert_eq!(ana.display_name, "Ana S.");
    assert_eq!(ana.bio, "left wing");
    assert_eq!(ana.locale.as_deref(), Some("pt-BR"));
    assert_eq!(ana.status, "active");
    assert_eq!(ana.role.role().as_str(), "coach");
    assert_eq!(ana.profile_version, 2);
    assert_eq!(users::by_handle(pool, "user1").await.unwrap(), Some(ana));

    let waiting = users::by_id(pool, user(3)).await.unwrap().unwrap();
    assert_eq!(waiting.status, "pending_approval");
    assert_eq!((waiting.profile_version, waiting.bio.as_str()), (0, ""));
    assert_eq!(users::by_id(pool, user(9)).await.unwrap(), None);
    assert_eq!(users::by_handle(pool, "user9").await.unwrap(), None);
}

#[tokio::test]
async fn follows_are_counted_and_listed_the_newest_first() {
    let mut history = community(5);
    for follower in [2, 3, 4, 5] {
        history.follow(follower, 1);
    }
    history.follow(1, 3);
    history.unfollow(4, 1);
    history.unfollow(2, 1);
    history.follow(2, 1);
    let TestDatabase { pool, .. } = &read_models(&history).await;

    let one = users::by_id(pool, user(1)).await.unwrap().unwrap();
    assert_eq!((one.follower_count, one.following_count), (3, 1));
    let viewer = Some(user(3));
    let first = users::followers(pool, user(1), viewer, None, 2)
        .await
        .unwrap();
    let ids: Vec<_> = first.items.iter().map(|it| it.user_id).collect();
    assert_eq!(ids, [user(2), user(5)]);
    let rest = users::followers(pool, user(1), viewer, first.next, 2)
        .await
        .unwrap();
    assert_eq!(rest.items.len(), 1);
    assert_eq!(rest.items[0].user_id, user(3));
    assert_eq!(rest.next, None);

    let following = users::following(pool, user(2), viewer, None, 10)
        .await
        .unwrap();
    assert_eq!(following.items.len(), 1);
    let relation = Relation {
        following: true,
        followed_by: true,
    };
    assert_eq!(following.items[0].relation, relation);
    assert_eq!(
        users::relation(pool, user(3), user(1)).await.unwrap(),
        relation
    );
    let nothing = users::relation(pool, user(4), user(1)).await.unwrap();
    assert_eq!(nothing, Relation::default());
}

#[tokio::test]
async fn a_post_shows_its_last_edit_and_its_counts() {
    let mut history = community(3);
    history.publish(1, 2, Public);
    history.like(2, 2);
    history.like(3, 2);
    history.unlike(2, 2);
    history.edit(1, 2, "Full time", None);
    history.change_profile(1, "Ana Souza", "");
    let TestDatabase { pool, .. } = &read_models(&history).await;

    let seen = by_id(pool, post(2), Some(user(3))).await.unwrap().unwrap();
    assert_eq!(seen.caption, "Full time");
    assert_eq!(seen.tags, Vec::<String>::new());
    assert_eq!(seen.author.display_name, "Ana Souza");
    assert_eq!(
        (seen.version, seen.like_count, seen.comment_count),
        (2, 1, 0)
    );
    assert!(seen.liked_by_viewer);
    assert!(seen.edited_at.is_some());
    let stranger = by_id(pool, post(2), None).await.unwrap().unwrap();
    assert!(!stranger.liked_by_viewer);

    let likers = likers(pool, post(2), None, None, 10)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(likers.items.len(), 1);
    assert_eq!(likers.items[0].user.user_id, user(3));
}

#[tokio::test]
async fn a_deleted_post_is_gone_everywhere_and_for_ever() {
    let mut history = community(2);
    history.publish(1, 1, Public);
    history.follow(2, 1);
    history.like(2, 1);
    history.add_comment(2, 1, 1, None);
    history.delete(1, 1);
    // These were on their way when the post was deleted.
    history.like(1, 1);
    history.add_comment(2, 2, 1, None);
    let TestDatabase { pool, .. } = &read_models(&history).await;

    assert!(!sees(pool, Some(user(1)), 1).await);
    assert_eq!(feed(pool, 2).await, Vec::<String>::new());
    assert_eq!(
        by_author(pool, user(1), Some(user(1)), None, 10)
            .await
            .unwrap()
            .items,
        []
    );
    assert!(
        likers(pool, post(1), Some(user(1)), None, 10)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        comments(pool, post(1), None, None, 10)
            .await
            .unwrap()
            .is_none()
    );
    for table in ["posts", "likes", "comments"] {
        let count = format!("SELECT count(*) FROM posts.{table}");
        let count: i64 = sqlx::query_scalar(&count).fetch_one(pool).await.unwrap();
        assert_eq!(count, 0, "{table}");
    }
}

#[tokio::test]
async fn every_query_shows_a_post_to_those_it_is_for() {
    let mut history = community(3);
    history.follow(2, 1);
    for (number, visibility) in [(1, Public), (2, Followers), (3, OnlyMe)] {
        history.publish(1, number, visibility);
        history.like(1, number);
        history.add_comment(1, number, number, None);
    }
    let TestDatabase { pool, .. } = &read_models(&history).await;

    let (author, follower, stranger) = (Some(user(1)), Some(user(2)), Some(user(3)));
    let cases = [(author, 3), (follower, 2), (stranger, 1), (None, 1)];
    for (viewer, visible) in cases {
        for number in 1..=3 {
            let expected = number <= visible;
            assert_eq!(
                sees(pool, viewer, number).await,
                expected,
                "{viewer:?} {number}"
            );
            let likers = likers(pool, post(number), viewer, None, 10).await.unwrap();
            assert_eq!(likers.is_some(), expected);
            let comments = comments(pool, post(number), viewer, None, 10)
                .await
                .unwrap();
            assert_eq!(comments.is_some(), expected);
        }
        let posts = by_author(pool, user(1), viewer, None, 10).await.unwrap();
        assert_eq!(posts.items.len(), usize::try_from(visible).unwrap());
    }
    assert_eq!(feed(pool, 1).await, ["Post 3", "Post 2", "Post 1"]);
    assert_eq!(feed(pool, 2).await, ["Post 2", "Post 1"]);
    assert_eq!(feed(pool, 3).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_change_of_visibility_moves_a_post_in_and_out_of_feeds() {
    for (before, after) in [(OnlyMe, Followers), (OnlyMe, Public), (Public, OnlyMe)] {
        let mut history = community(2);
        history.follow(2, 1);
        history.publish(1, 1, before);
        history.edit(1, 1, "Edited", Some(after));
        let TestDatabase { pool, .. } = &read_models(&history).await;
        let shown = usize::from(after != OnlyMe);
        assert_eq!(feed(pool, 2).await.len(), shown, "{before} to {after}");
    }
}

#[tokio::test]
async fn a_feed_has_the_posts_of_the_followed_and_ones_own_by_time() {
    let mut history = community(3);
    history.publish_at(1, 1, Public, minute(30));
    history.publish_at(2, 2, Public, minute(10));
    history.publish_at(3, 3, Public, minute(20));
    history.follow(3, 1);
    history.follow(3, 2);
    history.publish_at(2, 4, Public, minute(40));
    // Of two at the same time, the one with the greater id is the newer.
    history.publish_at(1, 5, Public, minute(40));
    let TestDatabase { pool, .. } = &read_models(&history).await;

    let newest_first = ["Post 5", "Post 4", "Post 1", "Post 3", "Post 2"];
    assert_eq!(feed(pool, 3).await, newest_first);
    let mut walked = Vec::new();
    let mut after: Option<PostCursor> = None;
    loop {
        let page = home_feed(pool, user(3), after, 2).await.unwrap();
        walked.extend(page.items.into_iter().map(|post| post.caption));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(walked, newest_first);
}

#[tokio::test]
async fn an_unfollowed_author_leaves_the_feed() {
    let mut history = community(2);
    history.publish(1, 1, Public);
    history.follow(2, 1);
    history.publish(1, 2, Followers);
    history.unfollow(2, 1);
    let TestDatabase { pool, .. } = &read_models(&history).await;
    assert_eq!(feed(pool, 2).await, Vec::<String>::new());
    assert!(!sees(pool, Some(user(2)), 2).await);
}

/// With a threshold of two followers, the third turns the author's posts over to read time, and
/// nobody notices; nor when the circle is small again.
#[tokio::test]
async fn passing_the_threshold_moves_posts_out_of_the_timeline_but_not_out_of_feeds() {
    let mut history = community(5);
    history.publish(1, 1, Public);
    for follower in [2, 3, 4] {
        history.follow(follower, 1);
    }
    history.publish(1, 2, Followers);
    history.publish(1, 3, OnlyMe);
    history.unfollow(2, 1);
    history.unfollow(4, 1);
    history.follow(5, 1);
    history.publish(1, 4, Public);
    let TestDatabase { pool, .. } = &read_models(&history).await;

    let written: i64 = sqlx::query_scalar("SELECT count(*) FROM posts.timeline")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(written, 0);
    for follower in [3, 5] {
        assert_eq!(feed(pool, follower).await, ["Post 4", "Post 2", "Post 1"]);
    }
    assert_eq!(feed(pool, 2).await, Vec::<String>::new());
    let (count, at_read): (i64, bool) =
        sqlx::query_as("SELECT follower_count, at_read FROM posts.audiences")
            .fetch_one(pool)
            .await
            .unwrap();
    assert_eq!((count, at_read), (2, true));
}

#[tokio::test]
async fn comments_are_read_in_thread_order_page_by_page() {
    let mut history = community(2);
    history.publish(1, 1, Public);
    for (number, parent) in [
        (1, None),
        (2, None),
        (3, Some(1)),
        (4, Some(3)),
        (5, Some(1)),
    ] {
        history.add_comment(2, number, 1, parent);
    }
    let TestDatabase { pool, .. } = &read_models(&history).await;

    let expected = [(1, 0), (3, 1), (4, 2), (5, 1), (2, 0)].map(|(id, depth)| (comment(id), depth));
    let mut walked = Vec::new();
    let mut after = None;
    loop {
        let page = comments(pool, post(1), None, after, 2)
            .await
            .unwrap()
            .unwrap();
        walked.extend(page.items.iter().map(|it| (it.comment_id, it.depth)));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(walked, expected);
    let post = by_id(pool, post(1), None).await.unwrap().unwrap();
    assert_eq!(post.comment_count, 5);
}

#[tokio::test]
async fn a_thread_is_shown_no_deeper_than_its_limit() {
    let mut history = community(1);
    history.publish(1, 1, Public);
    let length = u128::try_from(COMMENT_DEPTH_MAX).unwrap() + 4;
    for number in 0..length {
        history.add_comment(1, number, 1, number.checked_sub(1));
    }
    let TestDatabase { pool, .. } = &read_models(&history).await;

    let page = comments(pool, post(1), None, None, 100)
        .await
        .unwrap()
        .unwrap();
    let ids: Vec<_> = page.items.iter().map(|it| it.comment_id).collect();
    let in_order: Vec<_> = (0..length).map(comment).collect();
    assert_eq!(ids, in_order);
    let last = page.items.last().unwrap();
    assert_eq!(last.depth, COMMENT_DEPTH_MAX);
    assert_eq!(last.parent_id, Some(comment(length - 2)));
}

#[tokio::test]
async fn a_page_of_likers_goes_from_the_newest_like() {
    let mut history = community(5);
    history.publish(1, 1, Visibility::Public);
    for liker in [3, 5, 2, 4] {
        history.like(liker, 1);
    }
    let TestDatabase { pool, .. } = &read_models(&history).await;
    let page = likers(pool, post(1), None, None, 3).await.unwrap().unwrap();
    let ids: Vec<_> = page.items.iter().map(|it| it.user.user_id).collect();
    assert_eq!(ids, [user(4), user(2), user(5)]);
    let rest = posts::likers(pool, post(1), None, page.next, 3)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(rest.items[0].user.user_id, user(3));
    assert_eq!(rest.next, None);
}
