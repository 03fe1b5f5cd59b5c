//! Every command that looks at a second aggregate, on one node, while another node changes what it
//! looked at: before the command, when the first node still remembers the older state, and between
//! its decision and its append.

use crate::bus::captioned;
use crate::world::{NOW, World, new_post};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use touchline_commands::audit::Reading;
use touchline_commands::identity::Identity;
use touchline_commands::users::ProfileChanges;
use touchline_commands::{Bus, Envelope, audit, erasure, identity, permissions, posts, users};
use touchline_domain::audit::{LookOperation, Slice, Surface};
use touchline_domain::clock::IdSource;
use touchline_domain::id::{CommentId, FollowId, PostId, UserId};
use touchline_domain::identity::{Account, Permission};
use touchline_domain::posts::{Comment, CommentText, Post, Visibility};
use touchline_domain::users::{Bio, Follow};
use touchline_testkit::{MockClock, SequentialIds};
use uuid::Uuid;

/// What the actor of every command below does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Publish,
    Edit,
    Delete,
    Like,
    Unlike,
    Comment,
    Answer,
    Follow,
    Unfollow,
    ChangeProfile,
    Grant,
    Revoke,
    GrantOneself,
    Approve,
    Look,
    LookAtPersonal,
}

/// What the other node does to an aggregate that the command looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Nothing,
    PostDeleted,
    PostForFollowers,
    PostForNobody,
    Unfollowed,
    AuthorErased,
    CommenterErased,
    ActorErased,
    AdminRevoked,
    AuditorRevoked,
    PersonalRevoked,
}

/// When it does so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    BeforeTheCommand,
    BeforeTheAppend,
}

const ON_A_POST: [Act; 4] = [Act::Like, Act::Unlike, Act::Comment, Act::Answer];
const AS_A_PERSON: [Act; 10] = [
    Act::Publish,
    Act::Edit,
    Act::Delete,
    Act::Like,
    Act::Unlike,
    Act::Comment,
    Act::Answer,
    Act::Follow,
    Act::Unfollow,
    Act::ChangeProfile,
];
const AS_ADMIN: [Act; 4] = [Act::Grant, Act::Revoke, Act::GrantOneself, Act::Approve];

const AS_AUDITOR: [Act; 2] = [Act::Look, Act::LookAtPersonal];

/// Which commands each change refuses, and by which words of their error.
const WALK: [(Change, &[Act], &str); 11] = [
    (Change::PostDeleted, &ON_A_POST, "NotFound"),
    (Change::PostForFollowers, &ON_A_POST, "NotFound"),
    (Change::PostForNobody, &ON_A_POST, "NotFound"),
    (Change::Unfollowed, &ON_A_POST, "NotFound"),
    (Change::AuthorErased, &ON_A_POST, "NotFound"),
    (
        Change::AuthorErased,
        &[Act::Follow, Act::Unfollow],
        "UserNotFound",
    ),
    (Change::CommenterErased, &[Act::Answer], "ParentNotFound"),
    (Change::ActorErased, &AS_A_PERSON, "NotAuthenticated"),
    (Change::AdminRevoked, &AS_ADMIN, "PermissionRequired"),
    (Change::AuditorRevoked, &AS_AUDITOR, "PermissionRequired"),
    (
        Change::PersonalRevoked,
        &[Act::LookAtPersonal],
        "PermissionRequired",
    ),
];

/// Gives ids, and sets something off when it gives a certain one.
struct Interrupter {
    ids: SequentialIds,
    due: Mutex<Option<(u32, BoxFuture<'static, ()>)>>,
}

impl IdSource for Interrupter {
    fn next(&self) -> Uuid {
        let mut due = self.due.lock().unwrap();
        match due.take() {
            None => {}
            Some((0, change)) => {
                drop(due);
                block_in_place(|| Handle::current().block_on(change));
            }
            Some((ids, change)) => *due = Some((ids - 1, change)),
        }
        self.ids.next()
    }
}

/// Two nodes, and the people on whom a command depends.
struct Scene {
    here: Bus,
    ids: Arc<Interrupter>,
    elsewhere: Identity,
    actor: UserId,
    author: UserId,
    commenter: UserId,
    club: UserId,
    own_post: PostId,
    post_id: PostId,
    comment_id: CommentId,
}

impl Scene {
    async fn new(world: &World, number: u32, visibility: Visibility) -> Self {
        let bus = &world.bus;
        let person = async |role: &str| world.fan(&format!("{role}{number}")).await;
        let (actor, author) = (person("actor").await, person("author").await);
        let commenter = person("commenter").await;
        for (follower, followee) in [(actor, commenter), (actor, author), (commenter, author)] {
            let envelope = bus.envelope(Some(follower));
            users::follow(bus, &envelope, followee).await.unwrap();
        }
        for permission in [
            Permission::Admin,
            Permission::Auditor,
            Permission::AuditorPersonal,
        ] {
            let envelope = bus.envelope(None);
            permissions::grant(bus, &envelope, actor, permission)
                .await
                .unwrap();
        }
        let envelope = bus.envelope(None);
        permissions::grant(bus, &envelope, commenter, Permission::Moderator)
            .await
            .unwrap();
        let post_id = world.post(author, visibility).await;
        let envelope = bus.envelope(Some(commenter));
        let comment = posts::comment(bus, &envelope, post_id, None, text()).await;
        let ids = Arc::new(Interrupter {
            ids: SequentialIds::new(100 + number),
            due: Mutex::default(),
        });
        let clock = Arc::new(MockClock::at(NOW));
        let store = world.another_process().store().clone();
        Self {
            here: Bus::new(store, clock, ids.clone()),
            ids,
            elsewhere: world.identity.clone(),
            actor,
            author,
            commenter,
            club: world.waiting_club(&format!("club{number}")).await,
            own_post: world.post(actor, Visibility::Public).await,
            post_id,
            comment_id: CommentId::new(comment.unwrap().id),
        }
    }

    /// Lets what the command takes back be there, and the node remember everything that it looks at.
    async fn prepare(&self, act: Act) {
        let bus = &self.elsewhere.bus;
        let envelope = bus.envelope(Some(self.actor));
        match act {
            Act::Unlike => drop(posts::like(bus, &envelope, self.post_id).await.unwrap()),
            Act::Follow => drop(users::unfollow(bus, &envelope, self.author).await.unwrap()),
            _ => {}
        }
        let store = self.here.store();
        for account in [self.actor, self.author, self.commenter, self.club] {
            store.load::<Account>(account.uuid()).await.unwrap();
        }
        for followee in [self.author, self.commenter] {
            let id = FollowId::of(self.actor, followee);
            store.load::<Follow>(id.uuid()).await.unwrap();
        }
        for post in [self.own_post, self.post_id] {
            store.load::<Post>(post.uuid()).await.unwrap();
        }
        let comment = store.load::<Comment>(self.comment_id.uuid()).await;
        assert!(comment.unwrap().state.added().is_some());
    }

    fn change(&self, change: Change) -> BoxFuture<'static, ()> {
        let elsewhere = self.elsewhere.clone();
        let (actor, author, commenter) = (self.actor, self.author, self.commenter);
        let post_id = self.post_id;
        async move {
            let bus = &elsewhere.bus;
            let revoke = async |permission| {
                let envelope = bus.envelope(None);
                permissions::revoke(bus, &envelope, actor, permission)
                    .await
                    .unwrap();
            };
            let show_to = async |visibility| {
                let envelope = bus.envelope(Some(author));
                let changes = posts::PostChanges {
                    visibility: Some(visibility),
                    ..posts::PostChanges::default()
                };
                posts::edit(bus, &envelope, post_id, changes, None)
                    .await
                    .unwrap();
            };
            let erase = async |user_id| {
                let envelope = bus.envelope(Some(user_id));
                erasure::erase(&elsewhere, &envelope, user_id)
                    .await
                    .unwrap();
            };
            match change {
                Change::Nothing => {}
                Change::PostDeleted => {
                    let envelope = bus.envelope(Some(author));
                    posts::delete(bus, &envelope, post_id, None).await.unwrap();
                }
                Change::PostForFollowers => {
                    let envelope = bus.envelope(Some(actor));
                    users::unfollow(bus, &envelope, author).await.unwrap();
                    show_to(Visibility::Followers).await;
                }
                Change::PostForNobody => show_to(Visibility::OnlyMe).await,
                Change::Unfollowed => {
                    let envelope = bus.envelope(Some(actor));
                    users::unfollow(bus, &envelope, author).await.unwrap();
                }
                Change::AuthorErased => erase(author).await,
                Change::CommenterErased => erase(commenter).await,
                Change::ActorErased => erase(actor).await,
                Change::AdminRevoked => revoke(Permission::Admin).await,
                Change::AuditorRevoked => revoke(Permission::Auditor).await,
                Change::PersonalRevoked => revoke(Permission::AuditorPersonal).await,
            }
        }
        .boxed()
    }

    async fn act(&self, act: Act, envelope: &Envelope) -> Result<(), String> {
        let bus = &self.here;
        let (post_id, own_post) = (self.post_id, self.own_post);
        let look = |personal| Reading {
            surface: Surface::Api,
            operation: LookOperation::Show,
            slice: Slice::of_aggregate("account", self.author.uuid()),
            events_max: Some(50),
            personal,
        };
        match act {
            Act::Publish => {
                let post = new_post("3–3", Visibility::Public);
                done(posts::publish(bus, envelope, post).await)
            }
            Act::Edit => done(posts::edit(bus, envelope, own_post, captioned("4–2"), None).await),
            Act::Delete => done(posts::delete(bus, envelope, own_post, None).await),
            Act::Like => done(posts::like(bus, envelope, post_id).await),
            Act::Unlike => done(posts::unlike(bus, envelope, post_id).await),
            Act::Comment => done(posts::comment(bus, envelope, post_id, None, text()).await),
            Act::Answer => {
                let parent = Some(self.comment_id);
                done(posts::comment(bus, envelope, post_id, parent, text()).await)
            }
            Act::Follow => done(users::follow(bus, envelope, self.author).await),
            Act::Unfollow => done(users::unfollow(bus, envelope, self.author).await),
            Act::ChangeProfile => {
                let changes = ProfileChanges {
                    bio: Some(Bio::parse("Was there.").unwrap()),
                    ..ProfileChanges::default()
                };
                done(users::change_profile(bus, envelope, changes, None).await)
            }
            Act::Grant => {
                let granted = permissions::grant(bus, envelope, self.author, Permission::Moderator);
                done(granted.await)
            }
            Act::GrantOneself => {
                let granted = permissions::grant(bus, envelope, self.actor, Permission::Moderator);
                done(granted.await)
            }
            Act::Revoke => {
                let revoked =
                    permissions::revoke(bus, envelope, self.commenter, Permission::Moderator);
                done(revoked.await)
            }
            Act::Approve => done(identity::approve(bus, envelope, self.club).await),
            Act::Look => done(audit::record(bus, envelope, look(false)).await),
            Act::LookAtPersonal => done(audit::record(bus, envelope, look(true)).await),
        }
    }

    /// What the command answers when the change comes at that moment, and how many events it appends.
    async fn play(&self, act: Act, change: Change, moment: Moment) -> (Result<(), String>, usize) {
        let changing = self.change(change);
        // What the command creates gets its id before anything is decided.
        let ids_before = match act {
            Act::Publish | Act::Comment | Act::Answer | Act::Look | Act::LookAtPersonal => 1,
            _ => 0,
        };
        let store = self.elsewhere.bus.store();
        let before = store.head().await.unwrap();
        let envelope = self.here.envelope(Some(self.actor));
        match moment {
            Moment::BeforeTheCommand => changing.await,
            Moment::BeforeTheAppend => {
                *self.ids.due.lock().unwrap() = Some((ids_before, changing));
            }
        }
        let answer = self.act(act, &envelope).await;
        assert!(
            self.ids.due.lock().unwrap().is_none(),
            "{act:?}: the change has happened"
        );
        let command_id = envelope.command_id.to_string();
        let appended = store.read(before, 100).await.unwrap();
        let own = appended
            .iter()
            .filter(|event| event.metadata_map().get("command_id") == Some(&command_id));
        (answer, own.count())
    }
}

fn done<T, E: Debug>(answer: Result<T, E>) -> Result<(), String> {
    answer.map(drop).map_err(|error| format!("{error:?}"))
}

fn text() -> CommentText {
    CommentText::parse("What a final!").unwrap()
}

/// Who may read the post of a scene before anything changes.
const fn visibility(change: Change) -> Visibility {
    match change {
        Change::Unfollowed => Visibility::Followers,
        _ => Visibility::Public,
    }
}

async fn walk(moment: Moment) {
    let world = World::new().await;
    let mut number = 0;
    for (change, acts, error) in WALK {
        for act in acts {
            number += 1;
            let scene = Scene::new(&world, number, visibility(change)).await;
            scene.prepare(*act).await;
            let (answer, appended) = scene.play(*act, change, moment).await;
            let case = format!("{moment:?}, {change:?}, {act:?}");
            assert!(
                matches!(&answer, Err(refusal) if refusal.contains(error)),
                "{case}: {answer:?}"
            );
            assert_eq!(appended, 0, "{case}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_node_changed_before_a_command_is_not_overlooked() {
    walk(Moment::BeforeTheCommand).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_node_changes_before_an_append_is_not_overlooked() {
    walk(Moment::BeforeTheAppend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_changes_refuses_nothing() {
    let world = World::new().await;
    let acts = [&AS_A_PERSON[..], &AS_ADMIN, &AS_AUDITOR].concat();
    for (act, number) in acts.into_iter().zip(1..) {
        let scene = Scene::new(&world, number, Visibility::Followers).await;
        scene.prepare(act).await;
        let played = scene.play(act, Change::Nothing, Moment::BeforeTheAppend);
        assert_eq!(played.await, (Ok(()), 1), "{act:?}");
    }
}
