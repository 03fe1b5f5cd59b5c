//! What the sampling verifier compares: everything.

use crate::projection::{Derived, Origin, SampledTable};
use touchline_domain::id::{FollowId, UserId};
use uuid::Uuid;

pub(super) const SAMPLED: &[SampledTable] = &[
    SampledTable {
        table: "users",
        columns: &[
            "handle",
            "display_name",
            "role",
            "sport",
            "gender",
            "role_details",
            "bio",
            "location",
            "locale",
            "time_zone",
            "status",
            "registered_at",
            "profile_version",
        ],
        origin: Origin::Id {
            aggregate_type: "account",
            column: "user_id",
        },
    },
    SampledTable {
        table: "follows",
        columns: &["position", "followed_at"],
        origin: Origin::Pair {
            aggregate_type: "follow",
            columns: ["follower_id", "followee_id"],
            id: follow,
        },
    },
    SampledTable {
        table: "erased",
        columns: &["user_id"],
        origin: Origin::Id {
            aggregate_type: "account",
            column: "user_id",
        },
    },
];

pub(super) const DERIVED: &[Derived] = &[Derived {
    table: "users",
    picked: "users",
    statement: "
        SELECT jsonb_build_object('user_id', picked.user_id), 'wrong',
               array_remove(ARRAY[
                   CASE WHEN picked.follower_count <> counted.followers THEN 'follower_count' END,
                   CASE WHEN picked.following_count <> counted.following THEN 'following_count' END], NULL)
        FROM picked CROSS JOIN LATERAL (
            SELECT (SELECT count(*) FROM follows WHERE follows.followee_id = picked.user_id) AS followers,
                   (SELECT count(*) FROM follows WHERE follows.follower_id = picked.user_id) AS following
        ) AS counted
        WHERE (picked.follower_count, picked.following_count) <> (counted.followers, counted.following)",
}];

pub(super) const REFERENCES: &[(&str, &[&str])] = &[
    ("user_id", &["account", "profile"]),
    ("follower_id", &["account"]),
    ("followee_id", &["account"]),
];

fn follow(from: Uuid, to: Uuid) -> Uuid {
    FollowId::of(UserId::new(from), UserId::new(to)).uuid()
}
