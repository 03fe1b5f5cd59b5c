//! What holds for every command: at most once, on the newest state, at the version asked for.

use crate::world::{NOW, World, keyed, new_post};
use futures::future::join_all;
use std::collections::BTreeSet;
use touchline_commands::posts::{self, ChangePostError, PostChanges, PublishError};
use touchline_commands::{Failure, users};
use touchline_domain::posts::{Caption, Post, Visibility};
use touchline_eventstore::Position;

pub(crate) fn captioned(caption: &str) -> PostChanges {
    PostChanges {
        caption: Some(Caption::parse(caption).unwrap()),
        ..PostChanges::default()
    }
}

fn caption(post: &Post) -> &str {
    post.published().unwrap().caption.as_str()
}

#[tokio::test]
async fn an_answer_names_state_version_and_position() {
    let world = World::new().await;
    let ana = world.fan("ana").await;
    let envelope = world.bus.envelope(Some(ana));
    let post = new_post("3–3", Visibility::Public);
    let published = posts::publish(&world.bus, &envelope, post).await.unwrap();
    assert_eq!((published.version, published.end.position.get()), (1, 2));
    assert!(!published.replayed);
    assert_eq!(caption(&published.state), "3–3");

    let log = world.log().await;
    let event = log.last().unwrap();
    assert_eq!(event.position, published.end.position);
    assert_eq!(event.aggregate_id, published.id.to_string());
    let metadata: serde_json::Value = serde_json::from_str(event.metadata.get()).unwrap();
    let expected = serde_json::json!({
        "actor": ana.to_string(),
        "command_id": envelope.command_id.to_string(),
        "correlation_id": envelope.correlation_id.to_string(),
    });
    assert_eq!(metadata, expected);
    assert_eq!(
        event.recorded_at,
        NOW.parse::<chrono::DateTime<chrono::Utc>>().unwrap()
    );
}

#[tokio::test]
async fn a_repeated_command_gets_its_first_answer() {
    let world = World::new().await;
    let ana = world.fan("ana").await;
    let envelope = || keyed(&world.bus, Some(ana), "key", "3–3");
    let publish = async |caption| {
        let post = new_post(caption, Visibility::Public);
        posts::publish(&world.bus, &envelope(), post).await.unwrap()
    };
    let first = publish("3–3").await;
    assert!(!first.replayed);
    let post_id = first.id.into();
    let edit = world.bus.envelope(Some(ana));
    posts::edit(&world.bus, &edit, post_id, captioned("4–2"), None)
        .await
        .unwrap();
    let delete = world.bus.envelope(Some(ana));
    posts::delete(&world.bus, &delete, post_id, None)
        .await
        .unwrap();

    let again = publish("3–3").await;
    assert!(again.replayed);
    assert_eq!((again.id, again.version), (first.id, first.version));
    assert_eq!(again.end.position, first.end.position);
    assert_eq!(again.state, first.state);
    assert_eq!(world.log().await.len(), 4);
}

#[tokio::test]
async fn a_command_id_stands_for_one_command() {
    let world = World::new().await;
    let ana = world.fan("ana").await;
    let publish = async |body| {
        let envelope = keyed(&world.bus, Some(ana), "key", body);
        posts::publish(&world.bus, &envelope, new_post(body, Visibility::Public)).await
    };
    publish("3–3").await.unwrap();
    let other_body = publish("4–2").await;
    assert!(matches!(
        other_body,
        Err(PublishError::Failed(Failure::CommandReused))
    ));
    // The same id and fingerprint on another kind of aggregate cannot be a repetition either.
    let envelope = keyed(&world.bus, Some(ana), "key", "3–3");
    let other_kind = users::follow(&world.bus, &envelope, ana).await;
    assert!(matches!(
        other_kind,
        Err(users::FollowUserError::Failed(Failure::CommandReused))
    ));
    assert_eq!(world.log().await.len(), 2);
}

#[tokio::test]
async fn a_command_sent_50_times_at_once_happens_once() {
    let world = World::new().await;
    let ana = world.fan("ana").await;
    let elsewhere = world.another_process();
    let answers = join_all((0..50).map(|n| {
        let bus = if n % 2 == 0 { &world.bus } else { &elsewhere };
        async move {
            let envelope = keyed(bus, Some(ana), "key", "3–3");
            let post = new_post("3–3", Visibility::Public);
            posts::publish(bus, &envelope, post).await.unwrap()
        }
    }))
    .await;
    let ids: BTreeSet<_> = answers.iter().map(|outcome| outcome.id).collect();
    assert_eq!(ids.len(), 1);
    let first_times = answers.iter().filter(|outcome| !outcome.replayed).count();
    assert_eq!(first_times, 1);
    assert_eq!(world.log().await.len(), 2);
}

#[tokio::test]
async fn a_repeated_deletion_gets_its_first_answer_though_nothing_is_left_to_delete() {
    let world = World::new().await;
    let ana = world.fan("ana").await;
    let post_id = world.post(ana, Visibility::Public).await;
    let delete = async || {
        let envelope = keyed(&world.bus, Some(ana), "key", "delete");
        posts::delete(&world.bus, &envelope, post_id, Some(1))
            .await
            .unwrap()
    };
    assert!(!delete().await.replayed);
    let again = delete().await;
    assert!(again.replayed);
    assert_eq!(again.version, 2);
    let another = world.bus.envelope(Some(ana));
    let gone = posts::delete(&world.bus, &another, post_id, None).await;
    assert!(matches!(gone, Err(ChangePostError::NotFound)));
}

#[tokio::test]
async fn a_command_is_for_the_version_that_the_caller_has_seen() {
    let world = World::new().await;
    let ana = world.fan("ana").await;
    let post_id = world.post(ana, Visibility::Public).await;
    let edit = async |caption, version| {
        let envelope = world.bus.envelope(Some(ana));
        posts::edit(
            &world.bus,
            &envelope,
            post_id,
            captioned(caption),
            Some(version),
        )
        .await
    };
    assert_eq!(edit("a", 1).await.unwrap().version, 2);
    for version in [0, 1, 3] {
        let refused = edit("b", version).await;
        assert!(matches!(
            refused,
            Err(ChangePostError::Failed(Failure::VersionMismatch {
                actual: 2
            }))
        ));
    }
    assert_eq!(edit("b", 2).await.unwrap().version, 3);
}

#[tokio::test]
async fn a_command_without_effect_answers_what_is() {
    let world = World::new().await;
    let (ana, ben) = (world.fan("ana").await, world.fan("ben").await);
    let follow = async || {
        let envelope = world.bus.envelope(Some(ana));
        users::follow(&world.bus, &envelope, ben).await.unwrap()
    };
    let first = follow().await;
    let post = world.post(ana, Visibility::Public).await;
    let again = follow().await;
    assert_eq!((again.id, again.version), (first.id, 1));
    assert_eq!(again.state, first.state);
    assert!(again.state.is_following());
    assert!(again.end.position >= first.end.position);
    assert!(!again.replayed);
    assert_eq!(
        world.names_after(first.end.position).await,
        ["posts.post_published"]
    );
    assert_ne!(post.uuid(), first.id);
}

#[tokio::test]
async fn an_old_memory_neither_refuses_nor_skips() {
    let world = World::new().await;
    let elsewhere = world.another_process();
    let (ana, ben) = (world.fan("ana").await, world.fan("ben").await);
    let post_id = world.post(ana, Visibility::OnlyMe).await;
    let start = world.log().await.last().unwrap().position;

    // The other process remembers: no follow, and a post that ben may not see.
    let nothing = users::unfollow(&elsewhere, &elsewhere.envelope(Some(ben)), ana)
        .await
        .unwrap();
    assert_eq!(nothing.version, 0);
    let unseen = posts::like(&elsewhere, &elsewhere.envelope(Some(ben)), post_id).await;
    assert!(matches!(unseen, Err(posts::LikePostError::NotFound)));

    users::follow(&world.bus, &world.bus.envelope(Some(ben)), ana)
        .await
        .unwrap();
    let shown = PostChanges {
        visibility: Some(Visibility::Followers),
        ..PostChanges::default()
    };
    posts::edit(
        &world.bus,
        &world.bus.envelope(Some(ana)),
        post_id,
        shown,
        None,
    )
    .await
    .unwrap();

    posts::like(&elsewhere, &elsewhere.envelope(Some(ben)), post_id)
        .await
        .unwrap();
    let envelope = elsewhere.envelope(Some(ana));
    let edited = posts::edit(&elsewhere, &envelope, post_id, captioned("4–2"), Some(2)).await;
    assert_eq!(edited.unwrap().version, 3);
    let gone = users::unfollow(&elsewhere, &elsewhere.envelope(Some(ben)), ana)
        .await
        .unwrap();
    assert!(!gone.state.is_following());
    // And now the first process remembers a follow that is no more.
    let back = users::follow(&world.bus, &world.bus.envelope(Some(ben)), ana)
        .await
        .unwrap();
    assert_eq!(back.version, 3);
    assert_eq!(
        world.names_after(start).await,
        [
            "users.user_followed",
            "posts.post_edited",
            "posts.post_liked",
            "posts.post_edited",
            "users.user_unfollowed",
            "users.user_followed",
        ]
    );
}

#[tokio::test]
async fn only_an_account_that_may_act_acts() {
    let world = World::new().await;
    let ana = world.fan("ana").await;
    let club = world.waiting_club("rosario").await;
    let stranger = world.bus.new_id().into();
    let follow = async |actor| users::follow(&world.bus, &world.bus.envelope(actor), ana).await;
    for nobody in [None, Some(stranger)] {
        assert!(matches!(
            follow(nobody).await,
            Err(users::FollowUserError::Failed(Failure::NotAuthenticated))
        ));
    }
    assert!(matches!(
        follow(Some(club)).await,
        Err(users::FollowUserError::Failed(Failure::AccountPending))
    ));
    let envelope = world.bus.envelope(Some(club));
    let publish = posts::publish(&world.bus, &envelope, new_post("x", Visibility::Public));
    assert!(matches!(
        publish.await,
        Err(PublishError::Failed(Failure::AccountPending))
    ));
    assert_eq!(world.names_after(Position::new(2).unwrap()).await, [""; 0]);
}
