//! A log as a community would leave it: accounts, follows, posts, likes, comments.

use crate::append::committed;
use crate::servers::SystemClock;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use std::collections::BTreeMap;
use touchline_domain::aggregate::Decider;
use touchline_domain::clock::Clock as _;
use touchline_domain::event::Event;
use touchline_domain::id::{CommandId, CommentId, FollowId, LikeId, PostId, UserId};
use touchline_domain::identity::{
    Account, AccountEvent, AccountRegistered, AccountStatus, DisplayName, Email, Gender, Handle,
    Role, RoleDetails, Sport,
};
use touchline_domain::posts::{
    Caption, Comment, CommentAdded, CommentEvent, CommentText, Like, LikeEvent, Post, PostEvent,
    PostLiked, PostPublished, Tag, Tags, Visibility,
};
use touchline_domain::users::{Follow, FollowEvent, UserFollowed};
use touchline_eventstore::{Append, EventStore, NewEvent, StreamAppend};
use uuid::Uuid;

/// How many of each in a thousand events of the log.
const PER_THOUSAND: [(usize, Kind); 5] = [
    (10, Kind::Account),
    (100, Kind::Follow),
    (70, Kind::Post),
    (640, Kind::Like),
    (180, Kind::Comment),
];

#[derive(Clone, Copy)]
enum Kind {
    Account,
    Follow,
    Post,
    Like,
    Comment,
}

/// Who there is, by number: ids follow from it, as if made in order of time.
fn id(kind: u128, number: usize) -> Uuid {
    Uuid::from_u128(
        0x0193_0000_0000_7000_8000_0000_0000_0000
            + (kind << 56)
            + u128::try_from(number).unwrap_or_default(),
    )
}

/// The person with this number.
pub fn user(number: usize) -> UserId {
    UserId::new(id(1, number))
}

/// The post with this number.
pub fn post(number: usize) -> PostId {
    PostId::new(id(2, number))
}

/// Spreads numbers over `0..below` without a pattern.
fn spread(number: usize, below: usize) -> usize {
    number
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .rotate_left(29)
        .wrapping_mul(0xBF58_476D_1CE4_E5B9)
        % below.max(1)
}

/// Appends `thousands` thousand events, 100 streams a command.
pub async fn fill(store: &EventStore, thousands: usize) -> anyhow::Result<()> {
    stream::iter(0..thousands)
        .map(|thousand| async move {
            for kind in PER_THOUSAND {
                let streams = (0..kind.0)
                    .map(|n| one(kind.1, thousand * kind.0 + n))
                    .collect::<anyhow::Result<Vec<_>>>()?;
                for chunk in streams.chunks(100) {
                    let append = Append {
                        command_id: CommandId::new(Uuid::now_v7()),
                        fingerprint: [3; 32],
                        metadata: BTreeMap::from([(
                            "actor".to_owned(),
                            user(thousand).to_string(),
                        )]),
                        streams: chunk.to_vec(),
                        take: Vec::new(),
                        release: Vec::new(),
                    };
                    committed(store.append(append).await?)?;
                }
            }
            anyhow::Ok(())
        })
        .buffered(4)
        .try_for_each(|()| async { Ok(()) })
        .await
}

/// Event number `number` of its kind. It names only what came before it in the log.
fn one(kind: Kind, number: usize) -> anyhow::Result<StreamAppend> {
    let at = SystemClock.now();
    // What earlier thousands have made, and at least something.
    let users = (number / per_thousand(kind) * 10).max(10);
    let posts = (number / per_thousand(kind) * 70).max(70);
    Ok(match kind {
        Kind::Account => stream_of::<Account>(
            user(number).uuid(),
            &AccountEvent::from(AccountRegistered {
                user_id: user(number),
                email: Email::parse(&format!("user{number}@bench.example"))?.into(),
                handle: Handle::parse(&format!("user{number}"))?.into(),
                display_name: DisplayName::parse(&format!("User {number}"))?.into(),
                sport: Sport::parse("football")?.into(),
                gender: Gender::Undisclosed.into(),
                role: Role::Fan,
                role_details: RoleDetails::Fan.into(),
                status: AccountStatus::Active,
                registered_at: at,
            }),
        )?,
        Kind::Follow => {
            // Each pair once: a new follower with each ten, and ten others in a row, somewhere.
            let by = user(number / 10);
            let distance = 1 + spread(number / 10, users) + number % 10;
            let of = user((number / 10 + distance) % (users + 10));
            stream_of::<Follow>(
                FollowId::of(by, of).uuid(),
                &FollowEvent::from(UserFollowed {
                    follower_id: by,
                    followee_id: of,
                    followed_at: at,
                }),
            )?
        }
        Kind::Post => stream_of::<Post>(
            post(number).uuid(),
            &PostEvent::from(PostPublished {
                post_id: post(number),
                author_id: user(spread(number, users)),
                caption: Caption::parse(&format!(
                    "Post {number}: what a match, and what a goal in the last minute!"
                ))?
                .into(),
                category: None,
                device: None,
                tags: Tags::new([Tag::parse("football")?])?.into(),
                visibility: Visibility::Public,
                published_at: at,
            }),
        )?,
        Kind::Like => {
            let (who, liked) = liking(number);
            stream_of::<Like>(
                LikeId::of(who, liked).uuid(),
                &LikeEvent::from(PostLiked {
                    post_id: liked,
                    user_id: who,
                    liked_at: at,
                }),
            )?
        }
        Kind::Comment => stream_of::<Comment>(
            id(3, number),
            &CommentEvent::from(CommentAdded {
                comment_id: CommentId::new(id(3, number)),
                post_id: post(spread(number, posts)),
                parent_id: None,
                author_id: user(spread(number, users)),
                text: CommentText::parse("What a match!")?.into(),
                commented_at: at,
            }),
        )?,
    })
}

/// Who likes what: each pair once, as it is when streams are decided, spread over all people and
/// posts. In thousand `t`, people of thousand `u` like posts of thousand `t - u`: so no pair can come
/// again in another thousand, and within one the steps of 11 go round the 700 pairs of two thousands.
fn liking(number: usize) -> (UserId, PostId) {
    let (thousand, like) = (number / 640, number % 640);
    let step = ((thousand + 1) / 640).max(1);
    let of_posts = like * step % (thousand + 1);
    let of_users = thousand - of_posts;
    let round = like / (thousand + 1);
    let pair = (round * 11 + spread(of_posts * 31 + thousand, 700)) % 700;
    let who = user(of_users * 10 + pair / 70);
    (who, post(of_posts * 70 + pair % 70))
}

fn per_thousand(kind: Kind) -> usize {
    match kind {
        Kind::Account => 10,
        Kind::Follow => 100,
        Kind::Post => 70,
        Kind::Like => 640,
        Kind::Comment => 180,
    }
}

fn stream_of<A: Decider>(id: Uuid, event: &A::Event) -> anyhow::Result<StreamAppend>
where
    A::Event: Event,
{
    Ok(StreamAppend {
        aggregate_type: A::TYPE,
        aggregate_id: id,
        expected_version: 0,
        events: vec![NewEvent::encode(Uuid::now_v7(), event)?],
    })
}
