//! What the sampling verifier compares: everything but the counts.

use crate::projection::{Origin, SampledTable};
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

pub(super) const REFERENCES: &[(&str, &[&str])] = &[
    ("user_id", &["account", "profile"]),
    ("follower_id", &["account"]),
    ("followee_id", &["account"]),
];

fn follow(from: Uuid, to: Uuid) -> Uuid {
    FollowId::of(UserId::new(from), UserId::new(to)).uuid()
}
