//! What erased people and deleted posts left behind, and how it goes.

use crate::sweep::Tombstones;
use sqlx::PgConnection;

/// Removes what is left behind some tombstones: first people, whose posts leave tombstones too.
pub(super) async fn step(connection: &mut PgConnection, rows: i64) -> Result<(), sqlx::Error> {
    let rows = ERASED.step(connection, rows).await?;
    if rows > 0 {
        DELETED.step(connection, rows).await?;
    }
    Ok(())
}

/// The posts of erased people with one visibility, as if each were deleted.
macro_rules! posts {
    ($visibility:literal) => {
        concat!(
            "old AS (
                SELECT picked.id, found.place, found.key
                FROM picked CROSS JOIN LATERAL (
                    SELECT posts.ctid AS place, posts.published_at AS key FROM posts
                    WHERE posts.author_id = picked.id AND posts.visibility = '",
            $visibility,
            "' AND posts.published_at >= coalesce(picked.after::timestamptz, '-infinity')
                    ORDER BY posts.published_at, posts.post_id LIMIT $2) AS found
                LIMIT $2
            ), deleted AS (
                DELETE FROM posts WHERE posts.ctid = ANY (ARRAY(SELECT old.place FROM old))
                RETURNING posts.post_id
            ), marked AS (
                INSERT INTO deleted_posts (post_id) SELECT deleted.post_id FROM deleted
                ON CONFLICT DO NOTHING
            )"
        )
    };
}

/// Erased people. Their follows go before their feeds, into which they bring posts.
const ERASED: Tombstones = Tombstones {
    table: "erased",
    key: "user_id",
    stages: &[
        posts!("public"),
        posts!("followers"),
        posts!("only_me"),
        COMMENTS,
        LIKES,
        "old AS (
            SELECT picked.id, found.place, found.key
            FROM picked CROSS JOIN LATERAL (
                SELECT follows.ctid AS place, follows.followee_id AS key FROM follows
                WHERE follows.follower_id = picked.id
                  AND follows.followee_id > coalesce(picked.after::uuid, '00000000-0000-0000-0000-000000000000')
                ORDER BY follows.followee_id LIMIT $2) AS found
            LIMIT $2
        ), ended AS (
            DELETE FROM follows WHERE follows.ctid = ANY (ARRAY(SELECT old.place FROM old))
        )",
        "old AS (
            SELECT picked.id, found.place, found.key
            FROM picked CROSS JOIN LATERAL (
                SELECT follows.ctid AS place, follows.follower_id AS key FROM follows
                WHERE follows.followee_id = picked.id
                  AND follows.follower_id > coalesce(picked.after::uuid, '00000000-0000-0000-0000-000000000000')
                ORDER BY follows.follower_id LIMIT $2) AS found
            LIMIT $2
        ), ended AS (
            DELETE FROM follows WHERE follows.ctid = ANY (ARRAY(SELECT old.place FROM old))
        )",
        "old AS (
            SELECT picked.id, found.place, found.key
            FROM picked CROSS JOIN LATERAL (
                SELECT timeline.ctid AS place, timeline.published_at AS key FROM timeline
                WHERE timeline.user_id = picked.id
                ORDER BY timeline.published_at, timeline.post_id LIMIT $2) AS found
            LIMIT $2
        ), unread AS (
            DELETE FROM timeline WHERE timeline.ctid = ANY (ARRAY(SELECT old.place FROM old))
        )",
    ],
    last: "WITH unread AS (DELETE FROM feeds WHERE feeds.user_id = ANY ($1))",
};

/// Deleted posts.
const DELETED: Tombstones = Tombstones {
    table: "deleted_posts",
    key: "post_id",
    stages: &[
        "old AS (
            SELECT picked.id, found.place, found.key
            FROM picked CROSS JOIN LATERAL (
                SELECT comments.ctid AS place, comments.path AS key FROM comments
                WHERE comments.post_id = picked.id
                  AND comments.path > coalesce(picked.after::bigint[], '{}')
                ORDER BY comments.path LIMIT $2) AS found
            LIMIT $2
        ), uncommented AS (
            DELETE FROM comments WHERE comments.ctid = ANY (ARRAY(SELECT old.place FROM old))
        )",
        "old AS (
            SELECT picked.id, found.place, found.key
            FROM picked CROSS JOIN LATERAL (
                SELECT likes.ctid AS place, likes.position AS key FROM likes
                WHERE likes.post_id = picked.id
                  AND likes.position > coalesce(picked.after::bigint, 0)
                ORDER BY likes.position LIMIT $2) AS found
            LIMIT $2
        ), unliked AS (
            DELETE FROM likes WHERE likes.ctid = ANY (ARRAY(SELECT old.place FROM old))
        )",
    ],
    last: "",
};

/// What erased people wrote below posts. A comment stays as a place for its answers.
const COMMENTS: &str = "
    old AS (
        SELECT picked.id, found.place, found.key
        FROM picked CROSS JOIN LATERAL (
            SELECT comments.ctid AS place, comments.comment_id AS key FROM comments
            WHERE comments.author_id = picked.id
              AND comments.comment_id > coalesce(picked.after::uuid, '00000000-0000-0000-0000-000000000000')
            ORDER BY comments.comment_id LIMIT $2) AS found
        LIMIT $2
    ), emptied AS (
        UPDATE comments SET author_id = NULL, text = ''
        WHERE comments.ctid = ANY (ARRAY(SELECT old.place FROM old))
        RETURNING comments.post_id
    ), counted AS (
        UPDATE posts SET comment_count = posts.comment_count - gone.comments
        FROM (SELECT emptied.post_id, count(*) AS comments FROM emptied
              GROUP BY emptied.post_id) AS gone
        WHERE posts.post_id = gone.post_id
    )";

/// What erased people like.
const LIKES: &str = "
    old AS (
        SELECT picked.id, found.place, found.key
        FROM picked CROSS JOIN LATERAL (
            SELECT likes.ctid AS place, likes.post_id AS key FROM likes
            WHERE likes.user_id = picked.id
              AND likes.post_id > coalesce(picked.after::uuid, '00000000-0000-0000-0000-000000000000')
            ORDER BY likes.post_id LIMIT $2) AS found
        LIMIT $2
    ), unliked AS (
        DELETE FROM likes WHERE likes.ctid = ANY (ARRAY(SELECT old.place FROM old))
        RETURNING likes.post_id
    ), counted AS (
        UPDATE posts SET like_count = posts.like_count - gone.likes
        FROM (SELECT unliked.post_id, count(*) AS likes FROM unliked
              GROUP BY unliked.post_id) AS gone
        WHERE posts.post_id = gone.post_id
    )";
