//! What an aggregate is: a state, a way to decide a command on it, and a way to fold an event in.

use crate::event::Event;
use serde::{Serialize, de::DeserializeOwned};
use std::error::Error;

/// An aggregate as Touchline writes it. cqrs-es's own trait is implemented by
/// [`cqrs_aggregate!`](crate::cqrs_aggregate) and only forwards here.
pub trait Decider: Default + Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The frozen name stored with each event as `aggregate_type`.
    const TYPE: &'static str;

    /// The most events that its stream may have (L11). A command that would append one beyond is
    /// refused, unless it [takes back](Decider::takes_back). The whole stream is folded to load the
    /// aggregate, so that this bounds what a load costs: far more than any person needs, and little
    /// to read.
    const EVENTS_MAX: u32;

    /// What may be asked of it. Ids and the time are inside.
    type Command: Send;
    /// What may happen to it.
    type Event: Event;
    /// Why a command may be refused.
    type Error: Error + Send + Sync + 'static;

    /// What happens when `command` meets this state: no event when nothing would change.
    ///
    /// # Errors
    /// The rule that the command would break. Nothing has happened then.
    fn decide(&self, command: Self::Command) -> Result<Vec<Self::Event>, Self::Error>;

    /// Whether `command` does nothing but take back what was said or granted before. The length of the
    /// stream never refuses it, which keeps the stream bounded all the same: from any state on, only
    /// so many such commands change something until one is needed that does not take back.
    #[must_use]
    fn takes_back(command: &Self::Command) -> bool;

    /// Folds one event into the state. It cannot fail: what has happened has happened.
    fn evolve(&mut self, event: &Self::Event);
}

/// Implements [`cqrs_es::Aggregate`] for a [`Decider`] by forwarding, with `Services = ()`.
#[macro_export]
macro_rules! cqrs_aggregate {
    ($aggregate:ty) => {
        impl cqrs_es::Aggregate for $aggregate {
            const TYPE: &'static str = <Self as $crate::aggregate::Decider>::TYPE;
            type Command = <Self as $crate::aggregate::Decider>::Command;
            type Event = <Self as $crate::aggregate::Decider>::Event;
            type Error = <Self as $crate::aggregate::Decider>::Error;
            type Services = ();

            async fn handle(
                &mut self,
                command: Self::Command,
                _services: &(),
                sink: &cqrs_es::event_sink::EventSink<Self>,
            ) -> Result<(), Self::Error> {
                for event in $crate::aggregate::Decider::decide(self, command)? {
                    sink.write(event, self).await;
                }
                Ok(())
            }

            fn apply(&mut self, event: Self::Event) {
                $crate::aggregate::Decider::evolve(self, &event);
            }
        }
    };
}
