//! Relations between two things that begin and end: a follow, a like.

use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use touchline_eventstore::Position;
use uuid::Uuid;

/// What a batch of events did to relations of one kind.
///
/// The events of one relation alternate between its beginning and its end, since each is a stream
/// of its own whose decisions see to that. So the first one in a batch tells whether the relation
/// was there before.
#[derive(Debug, Default)]
pub(crate) struct Relations(BTreeMap<(Uuid, Uuid), Change>);

#[derive(Debug)]
struct Change {
    existed: bool,
    now: Option<Beginning>,
}

#[derive(Debug, Clone, Copy)]
struct Beginning {
    position: Position,
    at: DateTime<Utc>,
}

/// Relations as columns, ready to be unnested.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    pub(crate) left: Vec<Uuid>,
    pub(crate) right: Vec<Uuid>,
    /// Where each began; empty for relations that ended.
    pub(crate) positions: Vec<i64>,
    /// When each began; empty for relations that ended.
    pub(crate) times: Vec<DateTime<Utc>>,
}

impl Columns {
    pub(crate) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    fn push(&mut self, (left, right): (Uuid, Uuid), beginning: Option<Beginning>) {
        self.left.push(left);
        self.right.push(right);
        if let Some(Beginning { position, at }) = beginning {
            self.positions.push(position.get());
            self.times.push(at);
        }
    }
}

impl Relations {
    /// The relation of this pair began.
    pub(crate) fn begin(&mut self, pair: (Uuid, Uuid), position: Position, at: DateTime<Utc>) {
        let change = self.0.entry(pair).or_insert(Change {
            existed: false,
            now: None,
        });
        change.now = Some(Beginning { position, at });
    }

    /// The relation of this pair ended.
    pub(crate) fn end(&mut self, pair: (Uuid, Uuid)) {
        let change = self.0.entry(pair).or_insert(Change {
            existed: true,
            now: None,
        });
        change.now = None;
    }

    /// Everybody and everything that a relation here is between.
    pub(crate) fn members(&self) -> impl Iterator<Item = Uuid> + '_ {
        self.0.keys().flat_map(|(left, right)| [*left, *right])
    }

    /// The relations whose row from before must go, because they ended or began anew.
    pub(crate) fn outdated(&self) -> Columns {
        self.select(|change| change.existed, |_| None)
    }

    /// The relations that are there now, each with its latest beginning.
    pub(crate) fn begun(&self) -> Columns {
        self.select(|change| change.now.is_some(), |change| change.now)
    }

    fn select(
        &self,
        chosen: impl Fn(&Change) -> bool,
        beginning: impl Fn(&Change) -> Option<Beginning>,
    ) -> Columns {
        let mut columns = Columns::default();
        for (pair, change) in self.0.iter().filter(|(_, change)| chosen(change)) {
            columns.push(*pair, beginning(change));
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_event_of_a_pair_tells_what_was_there_before() {
        let [a, b, c, d] = [1, 2, 3, 4].map(Uuid::from_u128);
        let at = DateTime::from_timestamp_micros(0).unwrap();
        let position = |number| Position::new(number).unwrap();
        let mut relations = Relations::default();
        relations.begin((a, b), position(1), at);
        relations.begin((b, c), position(2), at);
        relations.end((b, c));
        relations.end((c, d));
        relations.begin((c, d), position(5), at);
        relations.end((d, a));

        assert_eq!(relations.begun().left, [a, c]);
        assert_eq!(relations.begun().positions, [1, 5]);
        assert_eq!(relations.outdated().left, [c, d]);
    }
}
