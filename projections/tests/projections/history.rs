//! Histories for tests: commands decided by the real aggregates, so that every stream is one that
//! can happen, in an order of the test's choice.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use touchline_domain::CATALOGUE;
use touchline_domain::aggregate::Decider;
use touchline_domain::id::{CommandId, CommentId, FollowId, LikeId, PostId, UserId};
use touchline_domain::identity::{
    Account, AccountCommand, Approve, DisplayName, Erase, Gender, Register, RoleDetails,
};
use touchline_domain::posts::{
    AddComment, CategoryChange, Comment, CommentCommand, DeletePost, EditPost, Like, LikeCommand,
    LikePair, ParentComment, Post, PostCommand, PublishPost, Tags, Visibility,
};
use touchline_domain::users::{
    ChangeProfile, Follow, FollowCommand, FollowPair, Profile, ProfileCommand,
};
use touchline_eventstore::event::Digest;
use touchline_eventstore::{Append, LogEvent, NewEvent, Position, StreamAppend};
use uuid::Uuid;

/// One event on its way into a log.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) aggregate_type: &'static str,
    pub(crate) aggregate_id: Uuid,
    pub(crate) sequence: i64,
    pub(crate) event: NewEvent,
}

/// The state of an aggregate of some type, and the sequence of its last event.
type Version = (Box<dyn Any>, i64);

/// What happened, and the state that it led to.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) steps: Vec<Step>,
    aggregates: HashMap<(&'static str, Uuid), Version>,
}

pub(crate) fn user(number: u128) -> UserId {
    UserId::new(Uuid::from_u128(0x1000 + number))
}

pub(crate) fn post(number: u128) -> PostId {
    PostId::new(Uuid::from_u128(0x2000 + number))
}

pub(crate) fn comment(number: u128) -> CommentId {
    CommentId::new(Uuid::from_u128(0x3000 + number))
}

pub(crate) fn minute(number: i64) -> DateTime<Utc> {
    let kick_off: DateTime<Utc> = "2022-12-18T15:00:00Z".parse().unwrap();
    kick_off + TimeDelta::minutes(number)
}

impl History {
    fn now(&self) -> DateTime<Utc> {
        minute(i64::try_from(self.steps.len()).unwrap())
    }

    /// Decides `command` and keeps what happened. A refused command is no event.
    pub(crate) fn decide<A: Decider>(&mut self, id: Uuid, command: A::Command) {
        let (state, version) = self
            .aggregates
            .entry((A::TYPE, id))
            .or_insert_with(|| (Box::new(A::default()), 0));
        let state: &mut A = state.downcast_mut().unwrap();
        for event in state.decide(command).unwrap_or_default() {
            state.evolve(&event);
            *version += 1;
            let number = self.steps.len();
            let event_id = Uuid::from_u128(0xe000_0000 + u128::try_from(number).unwrap());
            self.steps.push(Step {
                aggregate_type: A::TYPE,
                aggregate_id: id,
                sequence: *version,
                event: NewEvent::encode(event_id, &event).unwrap(),
            });
        }
    }

    /// Keeps an event that no aggregate of this build would decide.
    pub(crate) fn force(
        &mut self,
        aggregate: (&'static str, Uuid),
        kind: (&'static str, &'static str),
        payload: &str,
    ) {
        let (_, version) = self
            .aggregates
            .entry(aggregate)
            .or_insert_with(|| (Box::new(()), 0));
        *version += 1;
        let number = u128::try_from(self.steps.len()).unwrap();
        self.steps.push(Step {
            aggregate_type: aggregate.0,
            aggregate_id: aggregate.1,
            sequence: *version,
            event: NewEvent {
                event_id: Uuid::from_u128(0xe000_0000 + number),
                event_type: kind.0,
                event_version: kind.1,
                payload: RawValue::from_string(payload.to_owned()).unwrap(),
                personal: &[],
            },
        });
    }

    pub(crate) fn register(&mut self, number: u128) {
        self.register_as(number, &format!("user{number}"));
    }

    pub(crate) fn register_as(&mut self, number: u128, handle: &str) {
        let at = self.now();
        let command = Register {
            user_id: user(number),
            email: format!("user{number}@example.org").parse().unwrap(),
            handle: handle.parse().unwrap(),
            display_name: format!("User {number}").parse().unwrap(),
            sport: "football".parse().unwrap(),
            gender: Gender::Undisclosed,
            role: if number.is_multiple_of(2) {
                RoleDetails::Fan
            } else {
                RoleDetails::Coach {
                    experience_years: 7.try_into().unwrap(),
                }
            },
            at,
        };
        self.decide::<Account>(user(number).uuid(), AccountCommand::Register(command));
    }

    pub(crate) fn approve(&mut self, number: u128) {
        let command = Approve {
            approved_by: None,
            at: self.now(),
        };
        self.decide::<Account>(user(number).uuid(), AccountCommand::Approve(command));
    }

    pub(crate) fn erase(&mut self, number: u128) {
        let command = Erase {
            erased_by: None,
            user_id: user(number),
            at: self.now(),
        };
        self.decide::<Account>(user(number).uuid(), AccountCommand::Erase(command));
    }

    pub(crate) fn change_profile(&mut self, number: u128, name: &str, bio: &str) {
        let command = ChangeProfile {
            user_id: user(number),
            registered_name: DisplayName::parse(&format!("User {number}"))
                .unwrap()
                .into(),
            display_name: Some(name.parse().unwrap()),
            bio: Some(bio.parse().unwrap()),
            location: None,
            locale: (bio.len() > 3).then(|| "pt-BR".parse().unwrap()),
            time_zone: None,
            at: self.now(),
        };
        self.decide::<Profile>(user(number).uuid(), ProfileCommand::Change(command));
    }

    fn follow_pair(&self, from: u128, to: u128) -> (Uuid, FollowPair) {
        let pair = FollowPair {
            follower_id: user(from),
            followee_id: user(to),
            at: self.now(),
        };
        (FollowId::of(user(from), user(to)).uuid(), pair)
    }

    pub(crate) fn follow(&mut self, from: u128, to: u128) {
        let (id, pair) = self.follow_pair(from, to);
        self.decide::<Follow>(id, FollowCommand::Follow(pair));
    }

    pub(crate) fn unfollow(&mut self, from: u128, to: u128) {
        let (id, pair) = self.follow_pair(from, to);
        self.decide::<Follow>(id, FollowCommand::Unfollow(pair));
    }

    pub(crate) fn publish(&mut self, author: u128, number: u128, visibility: Visibility) {
        let at = self.now();
        self.publish_at(author, number, visibility, at);
    }

    pub(crate) fn publish_at(
        &mut self,
        author: u128,
        number: u128,
        visibility: Visibility,
        at: DateTime<Utc>,
    ) {
        let tags = (0..number % 3).map(|tag| format!("tag{tag}").parse().unwrap());
        let command = PublishPost {
            post_id: post(number),
            author_id: user(author),
            caption: format!("Post {number}").parse().unwrap(),
            category: Some("match".parse().unwrap()),
            device: None,
            tags: Tags::new(tags).unwrap(),
            visibility,
            at,
        };
        self.decide::<Post>(post(number).uuid(), PostCommand::Publish(command));
    }

    pub(crate) fn edit(
        &mut self,
        author: u128,
        number: u128,
        caption: &str,
        visibility: Option<Visibility>,
    ) {
        let command = EditPost {
            editor_id: user(author),
            caption: Some(caption.parse().unwrap()),
            category: match caption.len() % 3 {
                0 => None,
                1 => Some(CategoryChange::Cleared),
                _ => Some(CategoryChange::Set("news".parse().unwrap())),
            },
            tags: (caption.len() % 2 == 1).then(Tags::default),
            visibility,
            at: self.now(),
        };
        self.decide::<Post>(post(number).uuid(), PostCommand::Edit(command));
    }

    pub(crate) fn delete(&mut self, author: u128, number: u128) {
        let command = DeletePost {
            deleter_id: user(author),
            at: self.now(),
        };
        self.decide::<Post>(post(number).uuid(), PostCommand::Delete(command));
    }

    fn like_pair(&self, number: u128, post_number: u128) -> (Uuid, LikePair) {
        let (user_id, post_id) = (user(number), post(post_number));
        let pair = LikePair {
            post_id,
            user_id,
            at: self.now(),
        };
        (LikeId::of(user_id, post_id).uuid(), pair)
    }

    pub(crate) fn like(&mut self, number: u128, post_number: u128) {
        let (id, pair) = self.like_pair(number, post_number);
        self.decide::<Like>(id, LikeCommand::Like(pair));
    }

    pub(crate) fn unlike(&mut self, number: u128, post_number: u128) {
        let (id, pair) = self.like_pair(number, post_number);
        self.decide::<Like>(id, LikeCommand::Unlike(pair));
    }

    pub(crate) fn add_comment(
        &mut self,
        author: u128,
        number: u128,
        post_number: u128,
        parent: Option<u128>,
    ) {
        let post_id = post(post_number);
        let command = AddComment {
            comment_id: comment(number),
            post_id,
            parent: parent.map(|parent| ParentComment {
                comment_id: comment(parent),
                post_id,
            }),
            author_id: user(author),
            text: format!("Comment {number}").parse().unwrap(),
            at: self.now(),
        };
        self.decide::<Comment>(comment(number).uuid(), CommentCommand::Add(command));
    }

    /// The history as a log that begins with it.
    pub(crate) fn events(&self) -> Vec<LogEvent> {
        let event = |(index, step): (usize, &Step)| LogEvent {
            position: Position::new(i64::try_from(index).unwrap() + 1).unwrap(),
            event_id: step.event.event_id,
            aggregate_type: step.aggregate_type.to_owned(),
            aggregate_id: step.aggregate_id.to_string(),
            sequence: step.sequence,
            event_type: step.event.event_type.to_owned(),
            event_version: step.event.event_version.to_owned(),
            recorded_at: minute(i64::try_from(index).unwrap()),
            metadata: RawValue::from_string("{}".to_owned()).unwrap(),
            payload: step.event.payload.clone(),
            digest: Digest::new([0; 32]),
        };
        self.steps.iter().enumerate().map(event).collect()
    }

    /// The same when the keys of everybody are gone who was erased at some time.
    pub(crate) fn events_without_keys(&self) -> Vec<LogEvent> {
        let mut events = self.events();
        let erased: Vec<String> = events
            .iter()
            .filter(|event| event.event_type == "identity.account_erased")
            .map(|event| event.aggregate_id.clone())
            .collect();
        for event in &mut events {
            let mut payload: Value = serde_json::from_str(event.payload.get()).unwrap();
            let fields = payload[&event.event_type].as_object_mut().unwrap();
            let personal = CATALOGUE.iter().flat_map(|kind| kind.personal);
            for personal in personal.filter(|it| it.event == event.event_type) {
                let owner = fields[personal.owner].as_str().unwrap();
                if erased.iter().any(|erased| erased == owner) {
                    let gone = |(name, value): (&String, &mut Value)| {
                        if personal.fields.contains(&name.as_str()) {
                            *value = json!({"erased": true});
                        }
                    };
                    fields.iter_mut().for_each(gone);
                }
            }
            event.payload = RawValue::from_string(payload.to_string()).unwrap();
        }
        events
    }

    /// One append per event, from the event with this index on.
    pub(crate) fn appends(&self, from: usize) -> Vec<Append> {
        let append = |step: &Step| Append {
            command_id: CommandId::new(step.event.event_id),
            fingerprint: [0; 32],
            metadata: BTreeMap::new(),
            streams: vec![StreamAppend {
                aggregate_type: step.aggregate_type,
                aggregate_id: step.aggregate_id,
                expected_version: step.sequence - 1,
                events: vec![step.event.clone()],
            }],
            take: Vec::new(),
            release: Vec::new(),
        };
        self.steps.iter().skip(from).map(append).collect()
    }

    /// Everything that an event can be, from a list of numbers: each is one command of five people
    /// on five posts, most of which are allowed.
    pub(crate) fn random(actions: &[(u8, u8, u8, u8)]) -> Self {
        let mut history = Self::default();
        history.act_all(actions);
        history
    }

    /// Goes on at random.
    pub(crate) fn act_all(&mut self, actions: &[(u8, u8, u8, u8)]) {
        for &(kind, a, b, c) in actions {
            self.act(kind, [a, b, c].map(u128::from));
        }
    }

    fn act(&mut self, kind: u8, [a, b, c]: [u128; 3]) {
        let visibility = Visibility::ALL[usize::try_from(c % 3).unwrap()];
        let (one, other) = (a % 5, b % 5);
        // A post belongs to the person of its number, so that edits are its author's.
        let post = b % 5;
        let number = c;
        match kind % 17 {
            0 => self.register(one),
            16 => self.erase(one),
            1 => self.approve(one),
            2 => self.change_profile(
                one,
                &format!("Name {b}"),
                &"x".repeat(usize::try_from(c % 6).unwrap()),
            ),
            3..=5 => self.follow(one, other),
            6 => self.unfollow(one, other),
            7 | 8 => self.publish(post, post + 5 * (c % 2), visibility),
            9 => self.edit(
                post,
                post + 5 * (c % 2),
                &format!("Edit {a}"),
                (a % 2 == 0).then_some(visibility),
            ),
            10 => self.delete(post, post + 5 * (c % 2)),
            11 | 12 => self.like(one, post + 5 * (c % 2)),
            13 => self.unlike(one, post + 5 * (c % 2)),
            _ => self.add_comment(
                one,
                number,
                post,
                (a % 3 > 0).then_some(number.saturating_sub(a % 4)),
            ),
        }
    }
}
