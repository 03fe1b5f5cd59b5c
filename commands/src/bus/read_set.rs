//! What a command looks at beside its own aggregate.

use super::{Bus, Failure};
use std::any::Any;
use std::sync::Arc;
use touchline_domain::aggregate::Decider;
use touchline_domain::id::UserId;
use touchline_domain::identity::{Account, AccountStatus, Permission};
use touchline_eventstore::StreamAppend;
use touchline_eventstore::store::{Loaded, Stored};
use uuid::Uuid;

/// The read set of a command, as optimistic concurrency control has it: every aggregate that a check
/// looks at through it is named, with its version, in the append of the command's events. What
/// changes anywhere between the look and the append is a conflict, and the check is made again.
///
/// A check that looks at one aggregate twice sees the same state twice.
pub struct ReadSet<'a> {
    bus: &'a Bus,
    actor: Option<UserId>,
    is_newest: bool,
    looks: Vec<Look>,
}

struct Look {
    aggregate_type: &'static str,
    aggregate_id: Uuid,
    version: i64,
    loaded: Box<dyn Any + Send + Sync>,
}

impl<'a> ReadSet<'a> {
    /// An empty one for a command of `actor`: of what the log has now if `is_newest`, else of what is
    /// in memory, where it is.
    pub(crate) const fn new(bus: &'a Bus, actor: Option<UserId>, is_newest: bool) -> Self {
        Self {
            bus,
            actor,
            is_newest,
            looks: Vec::new(),
        }
    }

    /// The state of an aggregate that the command depends on.
    ///
    /// # Errors
    /// [`Failure::Read`].
    pub async fn load<A: Stored>(&mut self, id: Uuid) -> Result<Arc<A>, Failure> {
        if let Some(seen) = self.seen::<A>(id) {
            return Ok(Arc::clone(&seen.state));
        }
        let loaded: Loaded<A> = if self.is_newest {
            self.bus.refresh(id).await?
        } else {
            self.bus.load(id).await?
        };
        let state = Arc::clone(&loaded.state);
        self.looks.push(Look {
            aggregate_type: <A as Decider>::TYPE,
            aggregate_id: id,
            version: loaded.version,
            loaded: Box::new(loaded),
        });
        Ok(state)
    }

    /// The account of who asks, if it may act.
    ///
    /// # Errors
    /// [`Failure::NotAuthenticated`], [`Failure::AccountPending`], [`Failure::Read`].
    pub async fn actor(&mut self) -> Result<(UserId, Arc<Account>), Failure> {
        let actor = self.actor.ok_or(Failure::NotAuthenticated)?;
        let account = self.load::<Account>(actor.uuid()).await?;
        match account.status() {
            Some(AccountStatus::Active) => Ok((actor, account)),
            Some(AccountStatus::PendingApproval) => Err(Failure::AccountPending),
            None => Err(Failure::NotAuthenticated),
        }
    }

    /// Makes sure that who asks has a permission. The operator at the command line, who is nobody's
    /// account, needs none.
    ///
    /// # Errors
    /// [`Failure::PermissionRequired`], and those of [`ReadSet::actor`].
    pub async fn require(&mut self, permission: Permission) -> Result<(), Failure> {
        if self.actor.is_none() {
            return Ok(());
        }
        let (_, account) = self.actor().await?;
        if account.may(permission) {
            return Ok(());
        }
        Err(Failure::PermissionRequired { permission })
    }

    /// What was seen of an aggregate.
    pub(super) fn seen<A: Stored>(&self, id: Uuid) -> Option<&Loaded<A>> {
        let kind = <A as Decider>::TYPE;
        let mut looks = self.looks.iter();
        let look = looks.find(|look| look.aggregate_id == id && look.aggregate_type == kind)?;
        look.loaded.downcast_ref()
    }

    /// What was looked at: its stored type and its id.
    pub(super) fn aggregates(&self) -> impl Iterator<Item = (&'static str, Uuid)> {
        let looks = self.looks.iter();
        looks.map(|look| (look.aggregate_type, look.aggregate_id))
    }

    /// The streams that must not have changed, but for that of the command's own aggregate.
    pub(super) fn dependencies(
        &self,
        subject: (&'static str, Uuid),
    ) -> impl Iterator<Item = StreamAppend> {
        let looks = self.looks.iter();
        looks
            .filter(move |look| (look.aggregate_type, look.aggregate_id) != subject)
            .map(|look| StreamAppend {
                aggregate_type: look.aggregate_type,
                aggregate_id: look.aggregate_id,
                expected_version: look.version,
                events: Vec::new(),
            })
    }
}
