//! Folding the history of an aggregate whose type is known only by its stored name, for whoever
//! looks at history: the fold is the aggregate's own [`evolve`](Decider::evolve), and what comes
//! out is its state as JSON.

use crate::aggregate::Decider;
use crate::event::{DecodeError, Event};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use thiserror::Error;

/// A state that events are folded into, of an aggregate of some type.
pub trait Replay: Send {
    /// Folds the next event of the aggregate in.
    ///
    /// # Errors
    /// [`ReplayError::Decode`] when this build does not understand the event.
    fn fold(&mut self, name: &str, version: &str, payload: &str) -> Result<(), ReplayError>;

    /// The state as JSON, as the aggregate's own type writes it.
    ///
    /// # Errors
    /// [`ReplayError::Encode`], never in practice.
    fn state(&self) -> Result<Value, ReplayError>;
}

/// Why a history could not be folded.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// A stored event is not understood.
    #[error("a stored event cannot be understood")]
    Decode(#[from] DecodeError),
    /// The state cannot be written as JSON.
    #[error("the state cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
}

struct Folding<A>(A);

impl<A: Decider> Replay for Folding<A> {
    fn fold(&mut self, name: &str, version: &str, payload: &str) -> Result<(), ReplayError> {
        self.0.evolve(&A::Event::decode(name, version, payload)?);
        Ok(())
    }

    fn state(&self) -> Result<Value, ReplayError> {
        serde_json::to_value(&self.0).map_err(ReplayError::Encode)
    }
}

pub(crate) fn empty<A: Decider>() -> Box<dyn Replay> {
    Box::new(Folding(A::default()))
}

/// One thing that an event changed in a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Where, as a JSON pointer (RFC 6901); empty for the whole state.
    pub path: String,
    /// What stood there before; absent when nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// What stands there now; absent when nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
}

/// What is different between two states, by path. Objects are compared field by field, everything
/// else as a whole. A state that is a bare word, such as `absent`, has no fields.
#[must_use]
pub fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let none = Value::Object(Map::new());
    let mut changes = Vec::new();
    let [before, after] =
        [before, after].map(|state| if state.is_string() { &none } else { state });
    compare(String::new(), Some(before), Some(after), &mut changes);
    changes
}

fn compare(path: String, old: Option<&Value>, new: Option<&Value>, changes: &mut Vec<Change>) {
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                let step = name.replace('~', "~0").replace('/', "~1");
                let path = format!("{path}/{step}");
                compare(path, old.get(name), new.get(name), changes);
            }
        }
        (old, new) if old == new => {}
        (old, new) => changes.push(Change {
            path,
            old: old.cloned(),
            new: new.cloned(),
        }),
    }
}
