//! Folding the history of an aggregate whose type is known only by its stored name, for whoever
//! looks at history: the fold is the aggregate's own [`evolve`](Decider::evolve), and what comes
//! out is its state as JSON.
//!
//! Who may not see what is personal gets the same fold of events whose personal fields are blank.

use crate::aggregate::Decider;
use crate::event::{DecodeError, Event};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use thiserror::Error;

/// A state that events are folded into, of an aggregate of some type.
pub trait Replay: Send {
    /// Folds the next event of the aggregate in; its personal fields are opened.
    ///
    /// # Errors
    /// [`ReplayError::Decode`] when this build does not understand the event.
    fn fold(&mut self, name: &str, version: &str, payload: &str) -> Result<(), ReplayError>;

    /// The state as it is now.
    ///
    /// # Errors
    /// [`ReplayError::Json`], never in practice.
    fn state(&self) -> Result<Seen, ReplayError>;
}

/// A state as JSON, as the aggregate's own type writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// As it may be shown: what is personal shows as `{"erased":true}` when its key is gone, and as
    /// `{"sealed":true}` when it is withheld.
    pub shown: Value,
    /// As it is.
    whole: Value,
}

/// Why a history could not be folded.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// A stored event is not understood.
    #[error("a stored event cannot be understood")]
    Decode(#[from] DecodeError),
    /// An event or a state does not go through JSON.
    #[error("an event or a state cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// Shows everything.
struct Open<A>(A);

impl<A: Decider> Replay for Open<A> {
    fn fold(&mut self, name: &str, version: &str, payload: &str) -> Result<(), ReplayError> {
        self.0.evolve(&A::Event::decode(name, version, payload)?);
        Ok(())
    }

    fn state(&self) -> Result<Seen, ReplayError> {
        let whole = serde_json::to_value(&self.0)?;
        Ok(Seen {
            shown: whole.clone(),
            whole,
        })
    }
}

/// Withholds what is personal: the state that is shown never meets it. The other one tells what was
/// erased from what is only withheld.
struct Withheld<A> {
    blank: A,
    whole: A,
}

impl<A: Decider> Replay for Withheld<A> {
    fn fold(&mut self, name: &str, version: &str, payload: &str) -> Result<(), ReplayError> {
        let event = A::Event::decode(name, version, payload)?;
        let blank = without_personal(&event, &erased())?;
        self.blank.evolve(&serde_json::from_value(blank)?);
        self.whole.evolve(&event);
        Ok(())
    }

    fn state(&self) -> Result<Seen, ReplayError> {
        let mut shown = serde_json::to_value(&self.blank)?;
        let whole = serde_json::to_value(&self.whole)?;
        mark_withheld(&mut shown, Some(&whole));
        Ok(Seen { shown, whole })
    }
}

pub(crate) fn open<A: Decider>() -> Box<dyn Replay> {
    Box::new(Open(A::default()))
}

pub(crate) fn withheld<A: Decider>() -> Box<dyn Replay> {
    Box::new(Withheld {
        blank: A::default(),
        whole: A::default(),
    })
}

/// The payload of an event as somebody sees it who may not see what is personal. It has the shape of
/// today's version: an older one may have what is personal under other names.
pub(crate) fn withheld_payload<E: Event>(
    name: &str,
    version: &str,
    payload: &str,
) -> Result<Value, ReplayError> {
    let event = E::decode(name, version, payload)?;
    Ok(without_personal(&event, &sealed())?)
}

fn erased() -> Value {
    json!({"erased": true})
}

fn sealed() -> Value {
    json!({"sealed": true})
}

/// The event as JSON, with `marker` in place of every personal value that was not erased.
fn without_personal<E: Event>(event: &E, marker: &Value) -> Result<Value, serde_json::Error> {
    let mut json = serde_json::to_value(event)?;
    let name = event.name();
    let of_event = E::PERSONAL.iter().filter(|personal| personal.event == name);
    for field in of_event.flat_map(|personal| personal.fields) {
        let value = json
            .get_mut(name)
            .and_then(|fields| fields.get_mut(*field))
            .filter(|value| !value.is_null() && **value != erased());
        if let Some(value) = value {
            *value = marker.clone();
        }
    }
    Ok(json)
}

/// Marks what looks erased in `shown` only because it was withheld.
fn mark_withheld(shown: &mut Value, whole: Option<&Value>) {
    if *shown == erased() {
        if whole != Some(&erased()) {
            *shown = sealed();
        }
        return;
    }
    match shown {
        Value::Object(fields) => {
            for (name, value) in fields {
                mark_withheld(value, whole.and_then(|whole| whole.get(name)));
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter_mut().enumerate() {
                mark_withheld(value, whole.and_then(|whole| whole.get(index)));
            }
        }
        _ => {}
    }
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
/// else as a whole. A state that is a bare word, such as `absent`, has no fields. What is withheld and
/// changed is told without what it was or is.
#[must_use]
pub fn changes(before: &Seen, after: &Seen) -> Vec<Change> {
    let none = Value::Object(Map::new());
    let [before, after] = [before, after].map(|state| {
        let is_word = state.whole.is_string();
        Side {
            shown: Some(if is_word { &none } else { &state.shown }),
            whole: Some(if is_word { &none } else { &state.whole }),
        }
    });
    let mut changes = Vec::new();
    compare(String::new(), before, after, &mut changes);
    changes
}

/// One of two states at some path; nothing where it has nothing there.
#[derive(Clone, Copy)]
struct Side<'a> {
    shown: Option<&'a Value>,
    whole: Option<&'a Value>,
}

impl<'a> Side<'a> {
    /// The fields, when there are some that are looked at one by one.
    fn fields(self) -> Option<&'a Map<String, Value>> {
        let is_marker = |value: &Value| *value == erased() || *value == sealed();
        self.shown
            .filter(|value| !is_marker(value))
            .and_then(Value::as_object)
    }

    fn at(self, name: &str) -> Self {
        Self {
            shown: self.shown.and_then(|value| value.get(name)),
            whole: self.whole.and_then(|value| value.get(name)),
        }
    }
}

fn compare(path: String, old: Side<'_>, new: Side<'_>, changes: &mut Vec<Change>) {
    let (before, after) = (old.fields(), new.fields());
    let is_by_field = match (before, after) {
        (Some(_), Some(_)) => true,
        (Some(fields), None) => new.shown.is_none() && !fields.is_empty(),
        (None, Some(fields)) => old.shown.is_none() && !fields.is_empty(),
        (None, None) => false,
    };
    if is_by_field {
        let names = before.into_iter().chain(after).flat_map(Map::keys);
        for name in names.collect::<BTreeSet<_>>() {
            let step = name.replace('~', "~0").replace('/', "~1");
            let path = format!("{path}/{step}");
            compare(path, old.at(name), new.at(name), changes);
        }
    } else if old.whole != new.whole {
        changes.push(Change {
            path,
            old: old.shown.cloned(),
            new: new.shown.cloned(),
        });
    }
}
