//! The commands of one call, column by column as `log.append` takes them.

use super::Submission;
use crate::anchor::Anchor;
use crate::append::{Append, AppendError, Appended, StoredCommand};
use crate::event::{Digest, Digested, digest};
use crate::position::Position;
use sqlx::PgConnection;
use std::collections::{HashMap, VecDeque};
use tokio::time::Instant;
use touchline_domain::clock::Timestamp;
use uuid::Uuid;

/// The most commands in one call.
pub(super) const COMMANDS_MAX: usize = 512;
/// The most bytes of payload in one call, as long as it has more than one command.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// Commands of which no two share a command id or a claim, and none appends to an aggregate that
/// another one names. Any number may depend on the same aggregate.
pub(super) struct Batch(Vec<Submission>);

#[derive(PartialEq, Eq, Hash)]
pub(super) enum Key {
    Command(Uuid),
    Aggregate(&'static str, Uuid),
    Claim(&'static str, String),
}

/// How a command names something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// It depends on it: others may, too.
    Shared,
    /// It changes it: nobody else may name it.
    Exclusive,
}

/// What the commands of a batch name, as reader-writer locks would have it.
#[derive(Default)]
pub(super) struct Keys(HashMap<Key, Use>);

impl Keys {
    /// Whether a command that names `wanted` may be in one batch with those that name these.
    fn admit(&self, wanted: &[(Key, Use)]) -> bool {
        wanted.iter().all(|(key, usage)| match self.0.get(key) {
            None => true,
            Some(named) => (*named, *usage) == (Use::Shared, Use::Shared),
        })
    }

    fn extend(&mut self, wanted: Vec<(Key, Use)>) {
        for (key, usage) in wanted {
            let named = self.0.entry(key).or_insert(usage);
            if usage == Use::Exclusive {
                *named = usage;
            }
        }
    }
}

impl Batch {
    /// Takes from `waiting`, in order, what fits into one call and names nothing that is `busy`; the
    /// rest stays in order. Also returns what the batch names.
    pub(super) fn form(waiting: &mut VecDeque<Submission>, busy: &[&Keys]) -> (Self, Keys) {
        let mut taken = Vec::with_capacity(waiting.len().min(COMMANDS_MAX));
        let mut left = VecDeque::new();
        let mut left_keys = Keys::default();
        let mut keys = Keys::default();
        let mut bytes = 0;
        for submission in waiting.drain(..) {
            let wanted = keys_of(&submission.append);
            let size = size_of(&submission.append);
            let fits =
                taken.is_empty() || (taken.len() < COMMANDS_MAX && bytes + size <= BYTES_MAX);
            let free = keys.admit(&wanted)
                && left_keys.admit(&wanted)
                && busy.iter().all(|busy| busy.admit(&wanted));
            if fits && free {
                keys.extend(wanted);
                bytes += size;
                taken.push(submission);
            } else {
                // Whoever names the same after one that is left stays behind it: nobody is overtaken
                // for ever, neither who depends on an aggregate nor who appends to it.
                left_keys.extend(wanted);
                left.push_back(submission);
            }
        }
        *waiting = left;
        (Self(taken), keys)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// When the most patient command of the batch stops waiting.
    pub(super) fn deadline(&self) -> Instant {
        self.0
            .iter()
            .map(|submission| submission.deadline)
            .max()
            .unwrap_or_else(Instant::now)
    }

    /// Each command in a batch of its own.
    pub(super) fn split(self) -> impl Iterator<Item = Self> {
        self.0.into_iter().map(|submission| Self(vec![submission]))
    }

    /// Gives each command its answer. One that nobody waits for any more is dropped.
    pub(super) fn answer(self, answers: Vec<Appended>) {
        for (submission, answer) in self.0.into_iter().zip(answers) {
            drop(submission.reply.send(Ok(answer)));
        }
    }

    /// Gives each command the same error.
    pub(super) fn fail(self, error: &AppendError) {
        for submission in self.0 {
            drop(submission.reply.send(Err(error.clone())));
        }
    }

    /// The arguments of the call.
    pub(super) fn rows(&self, recorded_at: Timestamp) -> Rows<'_> {
        let mut rows = Rows::new(recorded_at);
        for (index, submission) in (1..).zip(&self.0) {
            rows.push(index, &submission.append);
        }
        rows
    }
}

fn keys_of(append: &Append) -> Vec<(Key, Use)> {
    let streams = append.streams.iter().map(|stream| {
        let usage = if stream.is_dependency() {
            Use::Shared
        } else {
            Use::Exclusive
        };
        let key = Key::Aggregate(stream.aggregate_type, stream.aggregate_id);
        (key, usage)
    });
    let claims = append.take.iter().chain(&append.release);
    std::iter::once(Key::Command(append.command_id.uuid()))
        .chain(claims.map(|claim| Key::Claim(claim.scope, claim.key.clone())))
        .map(|key| (key, Use::Exclusive))
        .chain(streams)
        .collect()
}

fn size_of(append: &Append) -> usize {
    let events = append.streams.iter().flat_map(|stream| &stream.events);
    events.map(|event| event.payload.get().len()).sum()
}

/// The parallel arrays that `log.append` takes; each group of fields is one table of it.
#[derive(Default)]
pub(super) struct Rows<'a> {
    recorded_at: Timestamp,
    command_ids: Vec<Uuid>,
    fingerprints: Vec<&'a [u8]>,
    subject_types: Vec<&'a str>,
    subject_ids: Vec<String>,
    subject_versions: Vec<i64>,
    event_counts: Vec<i32>,
    /// The digest of each command's last event.
    last_digests: Vec<Digest>,
    event_offsets: Vec<i32>,

    expect_commands: Vec<i32>,
    expect_types: Vec<&'a str>,
    expect_ids: Vec<String>,
    expect_versions: Vec<i64>,

    event_commands: Vec<i32>,
    event_ids: Vec<Uuid>,
    event_aggregates: Vec<&'a str>,
    event_aggregate_ids: Vec<String>,
    event_sequences: Vec<i64>,
    event_types: Vec<&'a str>,
    event_versions: Vec<&'a str>,
    payloads: Vec<&'a str>,
    metadata: Vec<String>,
    digests: Vec<Vec<u8>>,

    take: Claims<'a>,
    release: Claims<'a>,
}

#[derive(Default)]
struct Claims<'a> {
    commands: Vec<i32>,
    scopes: Vec<&'a str>,
    keys: Vec<&'a str>,
    owners: Vec<String>,
}

impl<'a> Rows<'a> {
    fn new(recorded_at: Timestamp) -> Self {
        Self {
            recorded_at,
            ..Self::default()
        }
    }

    fn push(&mut self, index: i32, append: &'a Append) {
        let before = self.event_ids.len();
        let mut last_digest = Anchor::START.digest;
        let metadata = metadata_json(append);
        for stream in &append.streams {
            let aggregate_id = stream.aggregate_id.to_string();
            for (event, sequence) in stream.events.iter().zip(stream.expected_version + 1..) {
                let sealed = digest(&Digested {
                    event_id: event.event_id,
                    aggregate_type: stream.aggregate_type,
                    aggregate_id: &aggregate_id,
                    sequence,
                    event_type: event.event_type,
                    event_version: event.event_version,
                    recorded_at: self.recorded_at,
                    metadata: &metadata,
                    payload: event.payload.get(),
                });
                self.event_commands.push(index);
                self.event_ids.push(event.event_id);
                self.event_aggregates.push(stream.aggregate_type);
                self.event_aggregate_ids.push(aggregate_id.clone());
                self.event_sequences.push(sequence);
                self.event_types.push(event.event_type);
                self.event_versions.push(event.event_version);
                self.payloads.push(event.payload.get());
                self.metadata.push(metadata.clone());
                self.digests.push(sealed.as_bytes().to_vec());
                last_digest = sealed;
            }
            self.expect_commands.push(index);
            self.expect_types.push(stream.aggregate_type);
            self.expect_ids.push(aggregate_id);
            self.expect_versions.push(stream.expected_version);
        }
        self.command_ids.push(append.command_id.uuid());
        self.fingerprints.push(&append.fingerprint);
        self.subject_types.push(
            append
                .streams
                .first()
                .map_or("", |subject| subject.aggregate_type),
        );
        self.subject_ids.push(
            append
                .streams
                .first()
                .map_or_else(String::new, |subject| subject.aggregate_id.to_string()),
        );
        self.subject_versions.push(append.subject_version());
        self.event_counts.push(count(self.event_ids.len() - before));
        self.event_offsets.push(count(before));
        self.last_digests.push(last_digest);
        self.take.push(index, &append.take);
        self.release.push(index, &append.release);
    }

    /// Calls `log.append`; one answer a command, in their order.
    pub(super) async fn append(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Vec<Appended>, sqlx::Error> {
        let verdicts = sqlx::query_as!(
            Verdict,
            r#"
            SELECT a.outcome AS "outcome!", a.first_position, a.last_position, a.aggregate_type,
                   a.aggregate_id, a.version, a.claim_scope, a.claim_key
            FROM log.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
                            $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30) a
            "#,
            &self.command_ids,
            &self.fingerprints as _,
            &self.subject_types as _,
            &self.subject_ids,
            &self.subject_versions,
            &self.event_counts,
            &self.event_offsets,
            &self.expect_commands,
            &self.expect_types as _,
            &self.expect_ids,
            &self.expect_versions,
            &self.event_commands,
            &self.event_ids,
            &self.event_aggregates as _,
            &self.event_aggregate_ids,
            &self.event_sequences,
            &self.event_types as _,
            &self.event_versions as _,
            &self.payloads as _,
            &self.metadata,
            &self.digests,
            self.recorded_at,
            &self.take.commands,
            &self.take.scopes as _,
            &self.take.keys as _,
            &self.take.owners,
            &self.release.commands,
            &self.release.scopes as _,
            &self.release.keys as _,
            &self.release.owners,
        )
        .fetch_all(connection)
        .await?;
        if verdicts.len() != self.command_ids.len() {
            return Err(damaged("log.append did not answer one row a command"));
        }
        verdicts
            .into_iter()
            .zip(self.fingerprints.iter().zip(&self.last_digests))
            .map(|(verdict, (fingerprint, digest))| verdict.read(fingerprint, *digest))
            .collect()
    }
}

impl<'a> Claims<'a> {
    fn push(&mut self, index: i32, claims: &'a [crate::append::Claim]) {
        for claim in claims {
            self.commands.push(index);
            self.scopes.push(claim.scope);
            self.keys.push(&claim.key);
            self.owners.push(claim.owner.to_string());
        }
    }
}

/// One row of `log.append`'s answer.
struct Verdict {
    outcome: i16,
    first_position: Option<i64>,
    last_position: Option<i64>,
    aggregate_type: Option<String>,
    aggregate_id: Option<String>,
    version: Option<i64>,
    claim_scope: Option<String>,
    claim_key: Option<String>,
}

impl Verdict {
    fn read(self, fingerprint: &[u8], digest: Digest) -> Result<Appended, sqlx::Error> {
        let position = |number: Option<i64>| {
            Position::new(number.unwrap_or(-1))
                .map_err(|_negative| damaged("log.append answered no position"))
        };
        Ok(match self.outcome {
            0 => Appended::Committed {
                first: position(self.first_position)?,
                last: Anchor {
                    position: position(self.last_position)?,
                    digest,
                },
            },
            1 => Appended::Duplicate(StoredCommand {
                first: position(self.first_position)?,
                last: position(self.last_position)?,
                aggregate_type: self.aggregate_type.unwrap_or_default(),
                aggregate_id: self.aggregate_id.unwrap_or_default(),
                version: self.version.unwrap_or_default(),
                fingerprint: fingerprint
                    .try_into()
                    .map_err(|_length| damaged("a fingerprint is not 32 bytes long"))?,
            }),
            2 => Appended::Reused,
            3 => Appended::Conflict {
                aggregate_type: self.aggregate_type.unwrap_or_default(),
                aggregate_id: self.aggregate_id.unwrap_or_default(),
                actual_version: self.version.unwrap_or_default(),
            },
            4 => Appended::ClaimTaken {
                scope: self.claim_scope.unwrap_or_default(),
                key: self.claim_key.unwrap_or_default(),
            },
            _ => return Err(damaged("log.append answered an unknown outcome")),
        })
    }
}

fn damaged(what: &'static str) -> sqlx::Error {
    sqlx::Error::Decode(what.into())
}

/// The metadata as it is stored: the caller's entries, and the command.
fn metadata_json(append: &Append) -> String {
    let map: serde_json::Map<_, _> = append
        .metadata
        .iter()
        .map(|(key, value)| (key.clone(), value.clone().into()))
        .chain([(
            "command_id".to_owned(),
            append.command_id.to_string().into(),
        )])
        .collect();
    serde_json::Value::Object(map).to_string()
}

/// A count that the limits of [`crate::append`] keep far below `i32::MAX`.
fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::append::{NewEvent, StreamAppend};
    use std::collections::BTreeMap;
    use tokio::sync::oneshot;
    use touchline_domain::id::CommandId;

    /// A command that appends to one aggregate and depends on others.
    fn submission(command: u128, aggregate: u128, dependencies: &[u128]) -> Submission {
        let event = NewEvent {
            event_id: Uuid::from_u128(command),
            event_type: "tests.happened",
            event_version: "1",
            payload: serde_json::value::RawValue::from_string("{}".to_owned()).unwrap(),
            personal: &[],
        };
        Submission {
            append: Append {
                command_id: CommandId::new(Uuid::from_u128(command)),
                fingerprint: [0; 32],
                metadata: BTreeMap::new(),
                streams: std::iter::once(stream(aggregate, vec![event]))
                    .chain(dependencies.iter().map(|it| stream(*it, Vec::new())))
                    .collect(),
                take: Vec::new(),
                release: Vec::new(),
            },
            reply: oneshot::channel().0,
            deadline: Instant::now(),
        }
    }

    fn stream(aggregate: u128, events: Vec<NewEvent>) -> StreamAppend {
        StreamAppend {
            aggregate_type: "test",
            aggregate_id: Uuid::from_u128(aggregate),
            expected_version: 0,
            events,
        }
    }

    fn numbers(submissions: &VecDeque<Submission>) -> Vec<u128> {
        let ids = submissions.iter().map(|it| it.append.command_id.uuid());
        ids.map(|id| id.as_u128()).collect()
    }

    #[test]
    fn a_batch_has_an_aggregate_and_a_command_once_and_leaves_the_rest_in_order() {
        let mut waiting: VecDeque<_> = [(1, 1), (2, 1), (3, 2), (1, 3), (4, 1)]
            .map(|(c, a)| submission(c, a, &[]))
            .into();
        let (batch, keys) = Batch::form(&mut waiting, &[]);
        let rows = batch.rows(Timestamp::default());
        assert_eq!(rows.command_ids, [Uuid::from_u128(1), Uuid::from_u128(3)]);
        assert_eq!(numbers(&waiting), [2, 1, 4]);

        let (batch, _) = Batch::form(&mut waiting, &[&keys]);
        assert_eq!(batch.len(), 0, "all of them name what is under way");
    }

    #[test]
    fn any_number_depend_on_an_aggregate_and_nobody_beside_them_appends_to_it() {
        const POST: u128 = 1_000;
        let like = |n| submission(n, n, &[POST]);
        let edit = |n| submission(n, POST, &[]);
        let mut waiting: VecDeque<_> = (1..=500).map(like).collect();
        assert_eq!(Batch::form(&mut waiting, &[]).0.len(), 500);

        // The edit stays behind the likes before it, and the likes after it behind the edit.
        waiting = [
            like(1),
            like(2),
            edit(3),
            like(4),
            submission(5, 5, &[]),
            edit(6),
        ]
        .into();
        let (likes, under_way) = Batch::form(&mut waiting, &[]);
        assert_eq!((likes.len(), numbers(&waiting)), (3, vec![3, 4, 6]));
        assert_eq!(Batch::form(&mut waiting, &[&under_way]).0.len(), 0);
        let (edit, under_way) = Batch::form(&mut waiting, &[]);
        assert_eq!((edit.len(), numbers(&waiting)), (1, vec![4, 6]));
        assert_eq!(Batch::form(&mut waiting, &[&under_way]).0.len(), 0);
        // Two batches that are under way may depend on the same.
        let (_, under_way) = Batch::form(&mut VecDeque::from([like(1)]), &[]);
        assert_eq!(Batch::form(&mut waiting, &[&under_way]).0.len(), 1);
        assert_eq!(numbers(&waiting), [6]);
    }

    #[test]
    fn a_batch_has_at_most_512_commands() {
        let mut waiting: VecDeque<_> = (1..=513).map(|n| submission(n, n, &[])).collect();
        assert_eq!(Batch::form(&mut waiting, &[]).0.len(), COMMANDS_MAX);
        assert_eq!(waiting.len(), 1);
    }
}
