//! Posts, likes and comments: every decision, every refusal, every time nothing happens.
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use chrono::{TimeZone as _, Utc};
use cqrs_es::test::TestFramework;
use proptest::prelude::*;
use touchline_domain::aggregate::Decider;
use touchline_domain::clock::Timestamp;
use touchline_domain::id::{CommentId, PostId, UserId};
use touchline_domain::personal::Personal;
use touchline_domain::posts::{
    AddComment, Caption, Category, CategoryChange, Comment, CommentAdded, CommentCommand,
    CommentError, CommentEvent, CommentText, DeletePost, EditPost, Like, LikeCommand, LikeEvent,
    LikePair, ParentComment, Post, PostCommand, PostDeleted, PostEdited, PostError, PostEvent,
    PostLiked, PostPublished, PostUnliked, PublishPost, Tag, Tags, Visibility,
};
use uuid::Uuid;

const AUTHOR: UserId = UserId::new(Uuid::from_u128(1));
const OTHER: UserId = UserId::new(Uuid::from_u128(2));
const POST: PostId = PostId::new(Uuid::from_u128(3));

fn at() -> Timestamp {
    Utc.with_ymd_and_hms(2022, 12, 18, 18, 0, 0).unwrap()
}

fn caption(text: &str) -> Caption {
    Caption::parse(text).unwrap()
}

fn category(text: &str) -> Category {
    Category::parse(text).unwrap()
}

fn tags(texts: &[&str]) -> Tags {
    Tags::new(texts.iter().map(|text| Tag::parse(text).unwrap())).unwrap()
}

fn publish() -> PublishPost {
    PublishPost {
        post_id: POST,
        author_id: AUTHOR,
        caption: caption("3–3"),
        category: Some(category("football")),
        device: None,
        tags: tags(&["final"]),
        visibility: Visibility::Public,
        at: at(),
    }
}

fn published() -> PostEvent {
    let command = publish();
    PostPublished {
        post_id: command.post_id,
        author_id: command.author_id,
        caption: command.caption.into(),
        category: command.category.map(Personal::Known),
        device: command.device.map(Personal::Known),
        tags: command.tags.into(),
        visibility: command.visibility,
        published_at: command.at,
    }
    .into()
}

fn edit_nothing(editor_id: UserId) -> EditPost {
    EditPost {
        editor_id,
        caption: None,
        category: None,
        tags: None,
        visibility: None,
        at: at(),
    }
}

fn edited(command: EditPost) -> PostEvent {
    PostEdited {
        post_id: POST,
        author_id: Some(AUTHOR),
        caption: command.caption.map(Personal::Known),
        category: command.category.map(Personal::Known),
        tags: command.tags.map(Personal::Known),
        visibility: command.visibility,
        edited_at: command.at,
    }
    .into()
}

fn delete(deleter_id: UserId) -> PostCommand {
    PostCommand::Delete(DeletePost {
        deleter_id,
        at: at(),
    })
}

fn deleted() -> PostEvent {
    PostDeleted {
        post_id: POST,
        author_id: AUTHOR,
        deleted_at: at(),
    }
    .into()
}

fn post() -> TestFramework<Post> {
    TestFramework::with(())
}

#[test]
fn a_post_is_published_once() {
    post()
        .given_no_previous_events()
        .when(PostCommand::Publish(publish()))
        .then_expect_events(vec![published()]);
    post()
        .given(vec![published()])
        .when(PostCommand::Publish(publish()))
        .then_expect_error(PostError::AlreadyPublished);
    post()
        .given(vec![published(), deleted()])
        .when(PostCommand::Publish(publish()))
        .then_expect_error(PostError::Deleted);
}

#[test]
fn an_edit_records_only_what_is_new() {
    let new_caption = EditPost {
        caption: Some(caption("3–3 (4–2)")),
        ..edit_nothing(AUTHOR)
    };
    let command = EditPost {
        category: Some(CategoryChange::Set(category("football"))),
        tags: Some(tags(&["final"])),
        visibility: Some(Visibility::Public),
        ..new_caption.clone()
    };
    post()
        .given(vec![published()])
        .when(PostCommand::Edit(command))
        .then_expect_events(vec![edited(new_caption)]);
    let all = EditPost {
        caption: Some(caption("3–3 (4–2)")),
        category: Some(CategoryChange::Cleared),
        tags: Some(tags(&[])),
        visibility: Some(Visibility::OnlyMe),
        ..edit_nothing(AUTHOR)
    };
    post()
        .given(vec![published()])
        .when(PostCommand::Edit(all.clone()))
        .then_expect_events(vec![edited(all)]);
}

#[test]
fn an_edit_without_a_change_records_nothing() {
    let same = EditPost {
        caption: Some(caption("3–3")),
        category: Some(CategoryChange::Set(category("football"))),
        tags: Some(tags(&["final"])),
        visibility: Some(Visibility::Public),
        ..edit_nothing(AUTHOR)
    };
    for command in [same, edit_nothing(AUTHOR)] {
        post()
            .given(vec![published()])
            .when(PostCommand::Edit(command))
            .then_expect_events(vec![]);
    }
    let cleared = EditPost {
        category: Some(CategoryChange::Cleared),
        ..edit_nothing(AUTHOR)
    };
    post()
        .given(vec![published(), edited(cleared.clone())])
        .when(PostCommand::Edit(cleared))
        .then_expect_events(vec![]);
}

#[test]
fn only_the_author_edits_and_deletes() {
    for command in [PostCommand::Edit(edit_nothing(OTHER)), delete(OTHER)] {
        post()
            .given(vec![published()])
            .when(command)
            .then_expect_error(PostError::NotAuthor);
    }
}

#[test]
fn what_was_never_published_is_not_found() {
    for command in [PostCommand::Edit(edit_nothing(AUTHOR)), delete(AUTHOR)] {
        post()
            .given_no_previous_events()
            .when(command)
            .then_expect_error(PostError::NotFound);
    }
}

#[test]
fn a_deleted_post_stays_deleted() {
    post()
        .given(vec![published()])
        .when(delete(AUTHOR))
        .then_expect_events(vec![deleted()]);
    for command in [
        PostCommand::Edit(edit_nothing(AUTHOR)),
        delete(AUTHOR),
        delete(OTHER),
    ] {
        post()
            .given(vec![published(), deleted()])
            .when(command)
            .then_expect_error(PostError::Deleted);
    }
}

#[test]
fn who_sees_a_post_follows_from_its_visibility() {
    let mut post = Post::default();
    assert_eq!(post.published(), None);
    post.evolve(&published());
    let mut published = post.published().unwrap().clone();
    for (visibility, stranger, follower) in [
        (Visibility::Public, true, true),
        (Visibility::Followers, false, true),
        (Visibility::OnlyMe, false, false),
    ] {
        published.visibility = visibility;
        assert!(published.is_visible_to(AUTHOR, false));
        assert_eq!(published.is_visible_to(OTHER, false), stranger);
        assert_eq!(published.is_visible_to(OTHER, true), follower);
    }
}

fn like_pair() -> LikePair {
    LikePair {
        post_id: POST,
        user_id: OTHER,
        at: at(),
    }
}

fn liked() -> LikeEvent {
    PostLiked {
        post_id: POST,
        user_id: OTHER,
        liked_at: at(),
    }
    .into()
}

fn unliked() -> LikeEvent {
    PostUnliked {
        post_id: POST,
        user_id: OTHER,
        unliked_at: at(),
    }
    .into()
}

#[test]
fn a_like_is_given_and_taken_back_once() {
    let like = LikeCommand::Like(like_pair());
    let unlike = LikeCommand::Unlike(like_pair());
    for (given, command, expected) in [
        (vec![], like, vec![liked()]),
        (vec![liked()], like, vec![]),
        (vec![liked(), unliked()], like, vec![liked()]),
        (vec![], unlike, vec![]),
        (vec![liked()], unlike, vec![unliked()]),
        (vec![liked(), unliked()], unlike, vec![]),
    ] {
        TestFramework::<Like>::with(())
            .given(given)
            .when(command)
            .then_expect_events(expected);
    }
}

fn add_comment(parent: Option<ParentComment>) -> AddComment {
    AddComment {
        comment_id: CommentId::new(Uuid::from_u128(5)),
        post_id: POST,
        parent,
        author_id: OTHER,
        text: CommentText::parse("What a final!").unwrap(),
        at: at(),
    }
}

fn comment_added(command: AddComment) -> CommentEvent {
    CommentAdded {
        comment_id: command.comment_id,
        post_id: command.post_id,
        parent_id: command.parent.map(|parent| parent.comment_id),
        author_id: command.author_id,
        text: command.text.into(),
        commented_at: command.at,
    }
    .into()
}

fn comment() -> TestFramework<Comment> {
    TestFramework::with(())
}

#[test]
fn a_comment_is_written_once() {
    let command = add_comment(None);
    comment()
        .given_no_previous_events()
        .when(CommentCommand::Add(command.clone()))
        .then_expect_events(vec![comment_added(command.clone())]);
    comment()
        .given(vec![comment_added(command.clone())])
        .when(CommentCommand::Add(command))
        .then_expect_error(CommentError::AlreadyAdded);
}

#[test]
fn a_comment_answers_one_below_the_same_post() {
    let parent = |post_id| {
        Some(ParentComment {
            comment_id: CommentId::new(Uuid::from_u128(4)),
            post_id,
        })
    };
    let answer = add_comment(parent(POST));
    comment()
        .given_no_previous_events()
        .when(CommentCommand::Add(answer.clone()))
        .then_expect_events(vec![comment_added(answer)]);
    comment()
        .given_no_previous_events()
        .when(CommentCommand::Add(add_comment(parent(PostId::default()))))
        .then_expect_error(CommentError::ParentOfOtherPost);
}

fn any_command() -> impl Strategy<Value = PostCommand> {
    let who = prop_oneof![3 => Just(AUTHOR), 1 => Just(OTHER)];
    let edit = (
        who.clone(),
        prop::option::of(prop::sample::select(&["a", "b"][..]).prop_map(caption)),
        prop::option::of(prop_oneof![
            Just(CategoryChange::Cleared),
            Just(CategoryChange::Set(category("tennis"))),
        ]),
        prop::option::of(prop::sample::select(&["x", "y"][..]).prop_map(|tag| tags(&[tag]))),
        prop::option::of(prop::sample::select(Visibility::ALL)),
    )
        .prop_map(
            |(editor_id, caption, category, tags, visibility)| EditPost {
                editor_id,
                caption,
                category,
                tags,
                visibility,
                at: at(),
            },
        );
    prop_oneof![
        2 => Just(PostCommand::Publish(publish())),
        6 => edit.prop_map(PostCommand::Edit),
        1 => who.prop_map(delete),
    ]
}

proptest! {
    #[test]
    fn every_event_changes_the_post_and_its_history_gives_it_back(
        commands in prop::collection::vec(any_command(), 0..16),
    ) {
        let mut post = Post::default();
        let mut replayed = Post::default();
        for command in commands {
            let before = post.clone();
            let was_deleted = matches!(post, Post::Deleted { .. });
            let decided = post.decide(command.clone());
            prop_assert!(!was_deleted || decided == Err(PostError::Deleted));
            for event in decided.unwrap_or_default() {
                post.evolve(&event);
                prop_assert_ne!(&post, &before);
                let stored = serde_json::to_string(&event).unwrap();
                replayed.evolve(&serde_json::from_str(&stored).unwrap());
            }
            prop_assert_eq!(&replayed, &post);
            // Asked again, an edit finds nothing left to do.
            if let PostCommand::Edit(_) = command {
                prop_assert!(post.decide(command).unwrap_or_default().is_empty());
            }
            let stored = serde_json::to_string(&post).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Post>(&stored).unwrap(), &post);
        }
    }
}
