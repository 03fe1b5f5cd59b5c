//! What the sampling verifier compares: everything but the counts, the circles and the feeds.

use crate::projection::{Origin, SampledTable};
use touchline_domain::id::{LikeId, PostId, UserId};
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
        table: "posts",
        columns: &[
            "author_id",
            "caption",
            "category",
            "device",
            "tags",
            "visibility",
            "published_at",
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

pub(super) const REFERENCES: &[(&str, &[&str])] = &[
    ("user_id", &["account", "profile"]),
    ("author_id", &["account", "profile"]),
    ("follower_id", &["account"]),
    ("followee_id", &["account"]),
    ("post_id", &["post"]),
    ("parent_id", &["comment"]),
];

fn like(user: Uuid, post: Uuid) -> Uuid {
    LikeId::of(UserId::new(user), PostId::new(post)).uuid()
}
