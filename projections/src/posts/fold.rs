//! Events to changes, in memory: the later event wins per row, and nothing is written yet.

use crate::erased::People;
use crate::projection::{ProjectError, decode};
use crate::relation::Relations;
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet};
use touchline_domain::event::Event as _;
use touchline_domain::id::CommentId;
use touchline_domain::identity::{AccountEvent, AccountRegistered};
use touchline_domain::personal::Personal;
use touchline_domain::posts::{
    CategoryChange, CommentAdded, CommentEvent, LikeEvent, PostEdited, PostEvent, PostPublished,
    Tags, Visibility,
};
use touchline_domain::users::{FollowEvent, ProfileEvent};
use touchline_eventstore::LogEvent;
use uuid::Uuid;

/// The most followers that an author may have and still be written into their feeds. The crossover
/// is one-way: a circle that shrinks and grows around the threshold would rewrite every feed again
/// and again.
pub const FAN_OUT_FOLLOWERS_MAX: i64 = 1_000;

/// The most entries that the feed of one reader keeps. What lies beyond is read from the posts of
/// those whom the reader follows.
pub const FEED_ENTRIES_MAX: i64 = 1_000;

/// What a batch changes.
#[derive(Default)]
pub(super) struct Fold {
    pub(super) registered: BTreeMap<Uuid, Name>,
    /// Who is to be forgotten, with all that this batch writes of them.
    pub(super) erased: BTreeSet<Uuid>,
    /// The new full names of authors registered before this batch.
    pub(super) renamed: BTreeMap<Uuid, String>,
    pub(super) published: BTreeMap<Uuid, NewPost>,
    /// What changed of posts published before this batch.
    pub(super) edited: BTreeMap<Uuid, Edit>,
    pub(super) deleted: BTreeSet<Uuid>,
    pub(super) likes: Relations,
    pub(super) follows: Relations,
    /// The circles that changed, by followee.
    pub(super) circles: BTreeMap<Uuid, Circle>,
    /// Every post that was published, whatever became of it since.
    pub(super) entries: Vec<Entry>,
    /// In log order, so that an answer comes after what it answers.
    pub(super) comments: Vec<NewComment>,
}

/// What became of an author's circle so far.
#[derive(Default)]
pub(super) struct Circle {
    /// Each step of the number of followers in log order: whether the largest circle was over the
    /// threshold depends on it.
    pub(super) steps: Vec<i64>,
    /// Who began or ended to follow, and whether they follow now.
    followers: BTreeMap<Uuid, bool>,
}

/// A post on its way into the feeds of those who follow its author at that moment.
pub(super) struct Entry {
    pub(super) post_id: Uuid,
    pub(super) author_id: Uuid,
    pub(super) published_at: DateTime<Utc>,
    /// How many steps the author's circle had taken.
    pub(super) steps: usize,
    /// In what the circle was another one than before the batch.
    pub(super) followers: Vec<(Uuid, bool)>,
}

pub(super) struct Name {
    pub(super) handle: String,
    pub(super) display_name: String,
}

pub(super) struct NewPost {
    pub(super) author_id: Uuid,
    pub(super) caption: String,
    pub(super) category: Option<String>,
    pub(super) device: Option<String>,
    pub(super) tags: Tags,
    pub(super) visibility: Visibility,
    pub(super) published_at: DateTime<Utc>,
    pub(super) position: i64,
    pub(super) edited_at: Option<DateTime<Utc>>,
    pub(super) version: i64,
}

/// The last value of each field that changed.
#[derive(Default)]
pub(super) struct Edit {
    pub(super) caption: Option<String>,
    pub(super) category: Option<CategoryChange>,
    pub(super) tags: Option<Tags>,
    pub(super) visibility: Option<Visibility>,
    pub(super) edited_at: Option<DateTime<Utc>>,
    pub(super) version: i64,
}

pub(super) struct NewComment {
    pub(super) comment_id: Uuid,
    pub(super) post_id: Uuid,
    pub(super) parent_id: Option<Uuid>,
    /// None when the author was erased; then the text is empty.
    pub(super) author_id: Option<Uuid>,
    pub(super) text: String,
    pub(super) commented_at: DateTime<Utc>,
    pub(super) position: i64,
}

impl NewComment {
    fn of(added: CommentAdded, position: i64, erased: &BTreeSet<Uuid>) -> Self {
        let author_id = added.author_id.uuid();
        let text = added.text.into_known();
        let text = text.filter(|_| !erased.contains(&author_id));
        Self {
            comment_id: added.comment_id.uuid(),
            post_id: added.post_id.uuid(),
            parent_id: added.parent_id.map(CommentId::uuid),
            author_id: text.is_some().then_some(author_id),
            text: text.map(String::from).unwrap_or_default(),
            commented_at: added.commented_at,
            position,
        }
    }
}

impl People for Fold {
    fn fold(events: &[LogEvent], erased: &BTreeSet<Uuid>) -> Result<Self, ProjectError> {
        let mut fold = Self::default();
        for event in events {
            fold.apply(event, erased)?;
        }
        Ok(fold)
    }

    fn mentioned(&self) -> BTreeSet<Uuid> {
        let registered = self.registered.keys().copied();
        let authors = self.entries.iter().map(|entry| entry.author_id);
        let commenters = self.comments.iter().filter_map(|it| it.author_id);
        registered
            .chain(authors)
            .chain(commenters)
            .chain(self.likes.members())
            .chain(self.follows.members())
            .collect()
    }
}

impl Fold {
    fn apply(&mut self, event: &LogEvent, erased: &BTreeSet<Uuid>) -> Result<(), ProjectError> {
        let name = &event.event_type;
        if LikeEvent::knows(name) {
            let like: LikeEvent = decode(event)?;
            if !erased.contains(&like.pair().1.uuid()) {
                self.like(like, event);
            }
        } else if PostEvent::knows(name) {
            self.post(decode(event)?, event, erased);
        } else if CommentEvent::knows(name) {
            let CommentEvent::CommentAdded(added) = decode(event)?;
            let comment = NewComment::of(added, event.position.get(), erased);
            self.comments.push(comment);
        } else if FollowEvent::knows(name) {
            let follow: FollowEvent = decode(event)?;
            let (by, whom) = follow.pair();
            if !erased.contains(&by.uuid()) && !erased.contains(&whom.uuid()) {
                self.follow(&follow, event);
            }
        } else if AccountEvent::knows(name) {
            match decode(event)? {
                AccountEvent::AccountRegistered(account) => {
                    if !erased.contains(&account.user_id.uuid()) {
                        self.register(account);
                    }
                }
                AccountEvent::AccountErased(person) => {
                    self.erased.insert(person.user_id.uuid());
                }
                AccountEvent::AccountApproved(_)
                | AccountEvent::RootAppointed(_)
                | AccountEvent::PermissionGranted(_)
                | AccountEvent::PermissionRevoked(_) => {}
            }
        } else if ProfileEvent::knows(name) {
            let ProfileEvent::ProfileChanged(profile) = decode(event)?;
            if let Some(Personal::Known(display_name)) = profile.display_name {
                self.rename(profile.user_id.uuid(), display_name.into());
            }
        }
        Ok(())
    }

    /// Somebody whose key is gone leaves no row: the event that erases them lies ahead.
    fn register(&mut self, account: AccountRegistered) {
        let (Personal::Known(handle), Personal::Known(display_name)) =
            (account.handle, account.display_name)
        else {
            return;
        };
        let user_id = account.user_id.uuid();
        // Nothing can have changed of somebody who was not there.
        self.renamed.remove(&user_id);
        let name = Name {
            handle: handle.into(),
            display_name: display_name.into(),
        };
        self.registered.insert(user_id, name);
    }

    fn rename(&mut self, user_id: Uuid, display_name: String) {
        if let Some(name) = self.registered.get_mut(&user_id) {
            name.display_name = display_name;
        } else {
            self.renamed.insert(user_id, display_name);
        }
    }

    fn like(&mut self, like: LikeEvent, event: &LogEvent) {
        match like {
            LikeEvent::PostLiked(like) => self.likes.begin(
                (like.post_id.uuid(), like.user_id.uuid()),
                event.position,
                like.liked_at,
            ),
            LikeEvent::PostUnliked(like) => {
                self.likes.end((like.post_id.uuid(), like.user_id.uuid()));
            }
        }
    }

    fn follow(&mut self, follow: &FollowEvent, event: &LogEvent) {
        let (by, whom) = follow.pair();
        let pair = (by.uuid(), whom.uuid());
        let follows = matches!(follow, FollowEvent::UserFollowed(_));
        if follows {
            self.follows.begin(pair, event.position, event.recorded_at);
        } else {
            self.follows.end(pair);
        }
        let circle = self.circles.entry(pair.1).or_default();
        circle.steps.push(if follows { 1 } else { -1 });
        circle.followers.insert(pair.0, follows);
    }

    fn enter(&mut self, published: &PostPublished) {
        let author_id = published.author_id.uuid();
        let circle = self.circles.get(&author_id);
        let followers = circle.into_iter().flat_map(|circle| &circle.followers);
        self.entries.push(Entry {
            post_id: published.post_id.uuid(),
            author_id,
            published_at: published.published_at,
            steps: circle.map_or(0, |circle| circle.steps.len()),
            followers: followers.map(|(user_id, now)| (*user_id, *now)).collect(),
        });
    }

    fn post(&mut self, post: PostEvent, event: &LogEvent, erased: &BTreeSet<Uuid>) {
        let sequence = event.sequence;
        match post {
            PostEvent::PostPublished(published) => {
                let post_id = published.post_id.uuid();
                let is_known = !erased.contains(&published.author_id.uuid());
                if is_known {
                    self.enter(&published);
                }
                match NewPost::of(published, event).filter(|_| is_known) {
                    Some(post) => drop(self.published.insert(post_id, post)),
                    // Its author's key is gone: as good as deleted, as it is where it was read
                    // before that.
                    None => drop(self.deleted.insert(post_id)),
                }
            }
            PostEvent::PostEdited(edited) => {
                let post_id = edited.post_id.uuid();
                match self.published.get_mut(&post_id) {
                    Some(post) => post.edit(edited, sequence),
                    None => self
                        .edited
                        .entry(post_id)
                        .or_default()
                        .apply(edited, sequence),
                }
            }
            PostEvent::PostDeleted(deleted) => {
                let post_id = deleted.post_id.uuid();
                self.published.remove(&post_id);
                self.edited.remove(&post_id);
                self.deleted.insert(post_id);
            }
        }
    }
}

impl NewPost {
    /// None when it was erased.
    fn of(published: PostPublished, event: &LogEvent) -> Option<Self> {
        Some(Self {
            author_id: published.author_id.uuid(),
            caption: published.caption.into_known()?.into(),
            category: published
                .category
                .and_then(Personal::into_known)
                .map(Into::into),
            device: published
                .device
                .and_then(Personal::into_known)
                .map(Into::into),
            tags: published.tags.into_known()?,
            visibility: published.visibility,
            published_at: published.published_at,
            position: event.position.get(),
            edited_at: None,
            version: event.sequence,
        })
    }

    fn edit(&mut self, edited: PostEdited, sequence: i64) {
        if let Some(Personal::Known(caption)) = edited.caption {
            self.caption = caption.into();
        }
        match edited.category {
            None | Some(Personal::Erased) => {}
            Some(Personal::Known(CategoryChange::Set(category))) => {
                self.category = Some(category.into());
            }
            Some(Personal::Known(CategoryChange::Cleared)) => self.category = None,
        }
        if let Some(Personal::Known(tags)) = edited.tags {
            self.tags = tags;
        }
        if let Some(visibility) = edited.visibility {
            self.visibility = visibility;
        }
        self.edited_at = Some(edited.edited_at);
        self.version = sequence;
    }
}

impl Edit {
    fn apply(&mut self, edited: PostEdited, sequence: i64) {
        if let Some(Personal::Known(caption)) = edited.caption {
            self.caption = Some(caption.into());
        }
        if let Some(Personal::Known(category)) = edited.category {
            self.category = Some(category);
        }
        if let Some(Personal::Known(tags)) = edited.tags {
            self.tags = Some(tags);
        }
        if let Some(visibility) = edited.visibility {
            self.visibility = Some(visibility);
        }
        self.edited_at = Some(edited.edited_at);
        self.version = sequence;
    }
}
