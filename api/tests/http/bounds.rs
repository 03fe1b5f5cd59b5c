//! Streams have a bound, and a client hears of it.

use crate::instance::start;
use reqwest::Method;
use std::collections::BTreeMap;
use touchline_domain::aggregate::Decider;
use touchline_domain::clock::Timestamp;
use touchline_domain::id::{CommandId, LikeId, PostId, UserId};
use touchline_domain::posts::{Like, LikeEvent, PostLiked, PostUnliked};
use touchline_eventstore::append::Appended;
use touchline_eventstore::{Append, NewEvent, StreamAppend};
use uuid::Uuid;

#[tokio::test]
async fn a_like_that_came_and_went_too_often_is_refused_by_its_own_code() {
    let api = start().await;
    let ana = api.fan("ana").await;
    let published = api.publish(&ana, "First").await;
    let path = format!("{}/like", published.header("location"));
    let post_id = PostId::new(published.text("post_id").parse().unwrap());
    let user_id = UserId::new(ana.user_id.parse().unwrap());
    let event = |n: u32| -> LikeEvent {
        let at = Timestamp::UNIX_EPOCH;
        if n % 2 == 1 {
            let liked_at = at;
            PostLiked {
                post_id,
                user_id,
                liked_at,
            }
            .into()
        } else {
            let unliked_at = at;
            PostUnliked {
                post_id,
                user_id,
                unliked_at,
            }
            .into()
        }
    };
    let encode =
        |n| NewEvent::encode(Uuid::from_u128(0xb0_0000 + u128::from(n)), &event(n)).unwrap();
    let append = Append {
        command_id: CommandId::new(Uuid::from_u128(0xb0_0000)),
        fingerprint: [0; 32],
        metadata: BTreeMap::new(),
        streams: vec![StreamAppend {
            aggregate_type: Like::TYPE,
            aggregate_id: LikeId::of(user_id, post_id).uuid(),
            expected_version: 0,
            events: (1..=Like::EVENTS_MAX - 2).map(encode).collect(),
        }],
        take: Vec::new(),
        release: Vec::new(),
    };
    let appended = api.store.append(append).await.unwrap();
    assert!(matches!(appended, Appended::Committed { .. }));

    assert_eq!(api.call(&ana, Method::PUT, &path).await.status, 200);
    assert_eq!(api.call(&ana, Method::DELETE, &path).await.status, 200);
    let refused = api.call(&ana, Method::PUT, &path).await;
    assert_eq!(
        (refused.status, refused.code()),
        (409, "change-limit-reached")
    );
    let events = api.events().await;
    assert_eq!(api.call(&ana, Method::DELETE, &path).await.status, 200);
    assert_eq!(api.events().await, events);
}
