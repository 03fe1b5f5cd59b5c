//! What the sampling verifier compares: everything but the size of an author's audience, with whether it
//! was once so large that their posts are merged at reading. That follows from the order of events.

use crate::projection::{Derived, Origin, SampledTable};
use touchline_domain::id::{FollowId, LikeId, PostId, UserId};
use uuid::Uuid;

const POST: Origin = Origin::Id {
    aggregate_type: "post",
    column: "post_id",
};
const ACCOUNT: Origin = Origin::Id {
    aggregate_type: "account",
    column: "user_id",
};

pub(super) const SAMPLED: &[SampledTable] = &[
    SampledTable {
        table: "authors",
        columns: &["handle", "display_name"],
        origin: ACCOUNT,
    },
    SampledTable {
        table: "follows",
        columns: &["position", "begun_at"],
        origin: Origin::Pair {
            aggregate_type: "follow",
            columns: ["follower_id", "followee_id"],
            id: follow,
        },
    },
    SampledTable {
        table: "posts",
        columns: &[
            "author_id",
            "caption",
            "category",
            "device",
            "tags",
            "visibility",
            "published_at",
            "position",
            "edited_at",
            "version",
        ],
        origin: POST,
    },
    SampledTable {
        table: "deleted_posts",
        columns: &["post_id"],
        origin: POST,
    },
    SampledTable {
        table: "likes",
        columns: &["position", "liked_at"],
        origin: Origin::Pair {
            aggregate_type: "like",
            columns: ["user_id", "post_id"],
            id: like,
        },
    },
    SampledTable {
        table: "comments",
        columns: &[
            "post_id",
            "parent_id",
            "author_id",
            "text",
            "commented_at",
            "path",
        ],
        origin: Origin::Id {
            aggregate_type: "comment",
            column: "comment_id",
        },
    },
    SampledTable {
        table: "erased",
        columns: &["user_id"],
        origin: ACCOUNT,
    },
];

pub(super) const DERIVED: &[Derived] = &[
    Derived {
        table: "posts",
        picked: "posts",
        statement: "
            SELECT jsonb_build_object('post_id', picked.post_id), 'wrong',
                   array_remove(ARRAY[
                       CASE WHEN picked.like_count <> counted.likes THEN 'like_count' END,
                       CASE WHEN picked.comment_count <> counted.comments THEN 'comment_count' END], NULL)
            FROM picked CROSS JOIN LATERAL (
                SELECT (SELECT count(*) FROM likes WHERE likes.post_id = picked.post_id) AS likes,
                       (SELECT count(*) FROM comments
                        WHERE comments.post_id = picked.post_id AND comments.author_id IS NOT NULL) AS comments
            ) AS counted
            WHERE (picked.like_count, picked.comment_count) <> (counted.likes, counted.comments)",
    },
    Derived {
        table: "follows",
        picked: "follows",
        statement: "
            SELECT jsonb_build_object('follower_id', picked.follower_id,
                                      'followee_id', picked.followee_id), 'wrong', ARRAY['at_read']
            FROM picked LEFT JOIN audiences ON audiences.author_id = picked.followee_id
            WHERE picked.at_read IS DISTINCT FROM audiences.at_read",
    },
    Derived {
        table: "feeds",
        picked: "feeds",
        statement: "
            SELECT jsonb_build_object('user_id', picked.user_id), 'wrong', ARRAY['entry_count']
            FROM picked
            WHERE picked.entry_count <>
                  (SELECT count(*) FROM timeline WHERE timeline.user_id = picked.user_id)",
    },
    Derived {
        table: "timeline",
        picked: "timeline",
        statement: "
            SELECT jsonb_build_object('user_id', picked.user_id, 'published_at', picked.published_at,
                                      'post_id', picked.post_id), 'extra', '{}'::text[]
            FROM picked
            LEFT JOIN posts ON posts.post_id = picked.post_id
            LEFT JOIN deleted_posts ON deleted_posts.post_id = picked.post_id
            LEFT JOIN feeds ON feeds.user_id = picked.user_id
            WHERE feeds.user_id IS NULL
               OR deleted_posts.post_id IS NULL
                  AND posts.published_at IS DISTINCT FROM picked.published_at",
    },
    // Of each post a few who followed its author when it was published, from a random one on, and
    // those that were found before; unless their feeds are full of newer entries.
    Derived {
        table: "timeline",
        picked: "posts",
        statement: "
            SELECT jsonb_build_object('user_id', follower.user_id, 'published_at', picked.published_at,
                                      'post_id', picked.post_id), 'missing', '{}'::text[]
            FROM picked CROSS JOIN LATERAL (
                (SELECT follows.follower_id FROM follows
                 WHERE follows.followee_id = picked.author_id AND NOT follows.at_read
                   AND follows.position < picked.position
                 ORDER BY follows.follower_id
                 OFFSET (SELECT floor(random() * audiences.follower_count)::bigint FROM audiences
                         WHERE audiences.author_id = picked.author_id)
                 LIMIT 16)
                UNION
                (SELECT follows.follower_id
                 FROM jsonb_to_recordset($1) AS suspect (user_id uuid, post_id uuid)
                 JOIN follows ON follows.follower_id = suspect.user_id
                             AND follows.followee_id = picked.author_id AND NOT follows.at_read
                             AND follows.position < picked.position
                 WHERE suspect.post_id = picked.post_id)
            ) AS follower (user_id)
            WHERE picked.published_at > coalesce((
                SELECT min(timeline.published_at) FROM timeline
                WHERE timeline.user_id = follower.user_id), '-infinity')
              AND NOT EXISTS (
                SELECT FROM timeline
                WHERE timeline.user_id = follower.user_id
                  AND timeline.published_at = picked.published_at
                  AND timeline.post_id = picked.post_id)",
    },
];

pub(super) const REFERENCES: &[(&str, &[&str])] = &[
    ("user_id", &["account", "profile"]),
    ("author_id", &["account", "profile"]),
    ("follower_id", &["account"]),
    ("followee_id", &["account"]),
    ("post_id", &["post"]),
    ("parent_id", &["comment"]),
];

fn follow(from: Uuid, to: Uuid) -> Uuid {
    FollowId::of(UserId::new(from), UserId::new(to)).uuid()
}

fn like(user: Uuid, post: Uuid) -> Uuid {
    LikeId::of(UserId::new(user), PostId::new(post)).uuid()
}
