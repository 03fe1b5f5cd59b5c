//! What erased people left behind, and how it goes.

use crate::sweep::Tombstones;

/// Erased people: whom they followed, and who followed them, each counted off on the other side.
pub(super) const ERASED: Tombstones = Tombstones {
    table: "erased",
    key: "user_id",
    stages: &[
        "old AS (
            SELECT picked.id, found.place, found.key
            FROM picked CROSS JOIN LATERAL (
                SELECT follows.ctid AS place, follows.position AS key FROM follows
                WHERE follows.follower_id = picked.id
                  AND follows.position > coalesce(picked.after::bigint, 0)
                ORDER BY follows.position LIMIT $2) AS found
            LIMIT $2
        ), ended AS (
            DELETE FROM follows WHERE follows.ctid = ANY (ARRAY(SELECT old.place FROM old))
            RETURNING follows.followee_id
        ), counted AS (
            UPDATE users SET follower_count = users.follower_count - lost.followers
            FROM (SELECT ended.followee_id, count(*) AS followers FROM ended
                  GROUP BY ended.followee_id) AS lost
            WHERE users.user_id = lost.followee_id
        )",
        "old AS (
            SELECT picked.id, found.place, found.key
            FROM picked CROSS JOIN LATERAL (
                SELECT follows.ctid AS place, follows.position AS key FROM follows
                WHERE follows.followee_id = picked.id
                  AND follows.position > coalesce(picked.after::bigint, 0)
                ORDER BY follows.position LIMIT $2) AS found
            LIMIT $2
        ), ended AS (
            DELETE FROM follows WHERE follows.ctid = ANY (ARRAY(SELECT old.place FROM old))
            RETURNING follows.follower_id
        ), counted AS (
            UPDATE users SET following_count = users.following_count - lost.following
            FROM (SELECT ended.follower_id, count(*) AS following FROM ended
                  GROUP BY ended.follower_id) AS lost
            WHERE users.user_id = lost.follower_id
        )",
    ],
    last: "",
};
