//! Posts, likes and comments, and who may see what.

use crate::bus::captioned;
use crate::world::World;
use touchline_commands::posts::{self, ChangePostError, CommentOnPostError, LikePostError};
use touchline_commands::{Failure, users};
use touchline_domain::id::{CommentId, LikeId, PostId, UserId};
use touchline_domain::posts::{CommentText, Post, Visibility};

fn text() -> CommentText {
    CommentText::parse("What a final!").unwrap()
}

/// Whether `user` finds the post: every command by which they could tell says the same.
async fn finds(world: &World, user: UserId, post_id: PostId) -> bool {
    let envelope = || world.bus.envelope(Some(user));
    let liked = match posts::like(&world.bus, &envelope(), post_id).await {
        Ok(_) => true,
        Err(LikePostError::NotFound) => false,
        Err(LikePostError::Failed(failure)) => panic!("{failure:?}"),
    };
    let unliked = posts::unlike(&world.bus, &envelope(), post_id).await;
    assert_eq!(unliked.is_ok(), liked);
    let comment = posts::comment(&world.bus, &envelope(), post_id, None, text()).await;
    assert_eq!(comment.is_ok(), liked);
    match posts::edit(&world.bus, &envelope(), post_id, captioned("x"), None).await {
        Ok(_) | Err(ChangePostError::NotAuthor) => assert!(liked),
        Err(ChangePostError::NotFound) => assert!(!liked),
        Err(ChangePostError::Failed(failure)) => panic!("{failure:?}"),
    }
    liked
}

#[tokio::test]
async fn who_may_not_see_a_post_does_not_find_it() {
    let world = World::new().await;
    let (ana, ben, eve) = (
        world.fan("ana").await,
        world.fan("ben").await,
        world.fan("eve").await,
    );
    users::follow(&world.bus, &world.bus.envelope(Some(ben)), ana)
        .await
        .unwrap();
    for (visibility, for_follower, for_stranger) in [
        (Visibility::Public, true, true),
        (Visibility::Followers, true, false),
        (Visibility::OnlyMe, false, false),
    ] {
        let post_id = world.post(ana, visibility).await;
        assert!(finds(&world, ana, post_id).await, "{visibility}");
        assert_eq!(
            finds(&world, ben, post_id).await,
            for_follower,
            "{visibility}"
        );
        assert_eq!(
            finds(&world, eve, post_id).await,
            for_stranger,
            "{visibility}"
        );
        let envelope = world.bus.envelope(Some(ana));
        posts::delete(&world.bus, &envelope, post_id, None)
            .await
            .unwrap();
        for user in [ana, ben, eve] {
            assert!(!finds(&world, user, post_id).await, "deleted");
        }
    }
    let never = PostId::new(world.bus.new_id());
    assert!(!finds(&world, ana, never).await);
}

#[tokio::test]
async fn only_the_author_edits_and_deletes() {
    let world = World::new().await;
    let (ana, ben) = (world.fan("ana").await, world.fan("ben").await);
    let post_id = world.post(ana, Visibility::Public).await;
    let edit = async |who, version| {
        let envelope = world.bus.envelope(Some(who));
        posts::edit(&world.bus, &envelope, post_id, captioned("4–2"), version).await
    };
    let delete = async |who| {
        let envelope = world.bus.envelope(Some(who));
        posts::delete(&world.bus, &envelope, post_id, None).await
    };
    // Even with a version that is wrong, the stranger learns only that it is not theirs.
    for version in [None, Some(1), Some(9)] {
        assert!(matches!(
            edit(ben, version).await,
            Err(ChangePostError::NotAuthor)
        ));
    }
    assert!(matches!(delete(ben).await, Err(ChangePostError::NotAuthor)));
    let edited = edit(ana, None).await.unwrap();
    assert_eq!(edited.version, 2);
    assert_eq!(edited.state.published().unwrap().caption.as_str(), "4–2");
    assert_eq!(edit(ana, None).await.unwrap().version, 2);
    let deleted = delete(ana).await.unwrap();
    assert_eq!(*deleted.state, Post::Deleted { author_id: ana });
    assert!(matches!(
        edit(ana, None).await,
        Err(ChangePostError::NotFound)
    ));
    assert!(matches!(delete(ana).await, Err(ChangePostError::NotFound)));
}

#[tokio::test]
async fn a_like_is_a_state() {
    let world = World::new().await;
    let (ana, ben) = (world.fan("ana").await, world.fan("ben").await);
    let post_id = world.post(ana, Visibility::Public).await;
    let envelope = || world.bus.envelope(Some(ben));
    for version in [1, 1] {
        let liked = posts::like(&world.bus, &envelope(), post_id).await.unwrap();
        assert_eq!(liked.id, LikeId::of(ben, post_id).uuid());
        assert_eq!((liked.state.is_liked(), liked.version), (true, version));
    }
    for version in [2, 2] {
        let unliked = posts::unlike(&world.bus, &envelope(), post_id)
            .await
            .unwrap();
        assert_eq!(
            (unliked.state.is_liked(), unliked.version),
            (false, version)
        );
    }
}

#[tokio::test]
async fn a_comment_answers_the_post_or_a_comment_below_it() {
    let world = World::new().await;
    let (ana, ben) = (world.fan("ana").await, world.fan("ben").await);
    let post_id = world.post(ana, Visibility::Public).await;
    let other_post = world.post(ana, Visibility::Public).await;
    let comment = async |post_id, parent_id| {
        let envelope = world.bus.envelope(Some(ben));
        posts::comment(&world.bus, &envelope, post_id, parent_id, text()).await
    };
    let first = comment(post_id, None).await.unwrap();
    assert_eq!(first.state.added().unwrap().author_id, ben);
    let first_id = CommentId::new(first.id);
    let answer = comment(post_id, Some(first_id)).await.unwrap();
    assert_eq!(answer.state.added().unwrap().parent_id, Some(first_id));
    assert_ne!(answer.id, first.id);
    let nowhere = CommentId::new(world.bus.new_id());
    for (post_id, parent_id) in [(other_post, first_id), (post_id, nowhere)] {
        assert!(matches!(
            comment(post_id, Some(parent_id)).await,
            Err(CommentOnPostError::ParentNotFound)
        ));
    }
}

#[tokio::test]
async fn posts_need_an_account_that_may_act() {
    let world = World::new().await;
    let ana = world.fan("ana").await;
    let post_id = world.post(ana, Visibility::Public).await;
    let club = world.waiting_club("rosario").await;
    let envelope = || world.bus.envelope(Some(club));
    assert!(matches!(
        posts::like(&world.bus, &envelope(), post_id).await,
        Err(LikePostError::Failed(Failure::AccountPending))
    ));
    assert!(matches!(
        posts::comment(&world.bus, &envelope(), post_id, None, text()).await,
        Err(CommentOnPostError::Failed(Failure::AccountPending))
    ));
    assert!(matches!(
        posts::edit(&world.bus, &envelope(), post_id, captioned("x"), None).await,
        Err(ChangePostError::Failed(Failure::AccountPending))
    ));
}
