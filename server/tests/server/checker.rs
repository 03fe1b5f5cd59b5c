//! Holds what the clients were told, and what the witness saw, against the log, the stream and the
//! read models.

use crate::chance::{Chance, PATIENCE};
use crate::history::{Attempt, History, Intent, Operation, Outcome, Relation};
use crate::witness::rows_after;
use crate::{mirror, read_models};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use touchline_commands::Credentials;
use touchline_commands::identity::{EMAIL_CLAIM, HANDLE_CLAIM};
use touchline_domain::identity::AccountEvent;
use touchline_eventstore::database::Database;
use touchline_eventstore::{EventStore, LogEvent, MasterKeys, Position};
use touchline_testkit::{MockClock, eventually_some};
use uuid::Uuid;

/// Where the servers are, once everything works again.
pub(crate) struct Scene<'a> {
    pub(crate) database_url: &'a str,
    pub(crate) nats_url: &'a str,
    pub(crate) master_key_file: &'a Path,
}

/// Waits until stream and read models have come to the end of the log, and checks everything.
/// `seen` is what a witness saw of the log.
pub(crate) async fn check(
    scene: &Scene<'_>,
    history: &History,
    seen: &[String],
    chance: &mut Chance,
) {
    let mut connection = connect(scene.database_url).await;
    let store = store(scene);
    let events = events(&store).await;
    check_log(&mut connection, &events, seen).await;
    refuses_change(&mut connection).await;
    check_history(history, &events);
    let opened = store.open(events.clone()).await.unwrap();
    check_claims(&mut connection, &store, &opened).await;
    store.close().await;
    read_models::converge(&mut connection, events.len()).await;
    mirror::check(scene.nats_url, &store, &events).await;
    read_models::check(&mut connection, &opened, chance).await;
    eprintln!(
        "{} events, {} requests, {} acknowledged, {} in doubt, {} positions witnessed",
        events.len(),
        history.sent(),
        history.acknowledged(),
        history.unknown(),
        seen.len(),
    );
}

async fn connect(url: &str) -> PgConnection {
    eventually_some(PATIENCE, "the database answers", || async {
        PgConnection::connect(url).await.ok()
    })
    .await
}

/// The log as the application reads it.
fn store(scene: &Scene<'_>) -> EventStore {
    let database = Database::new(scene.database_url).unwrap();
    let masters = fs::read_to_string(scene.master_key_file).unwrap();
    let masters = MasterKeys::parse(&masters).unwrap();
    let clock = Arc::new(MockClock::at("2022-12-18T15:00:00Z"));
    EventStore::new(database.clone(), database.pool(1), masters, clock)
}

/// The whole log, as it is stored.
async fn events(store: &EventStore) -> Vec<LogEvent> {
    let mut events: Vec<LogEvent> = Vec::new();
    loop {
        let after = events
            .last()
            .map_or(Position::START, |event| event.position);
        let page = store.read(after, 5_000).await.unwrap();
        if page.is_empty() {
            return events;
        }
        events.extend(page);
    }
}

/// L1, L2, L5 and the digests, by the log alone.
async fn check_log(connection: &mut PgConnection, events: &[LogEvent], seen: &[String]) {
    let rows = rows_after(connection, 0).await.unwrap();
    assert_eq!(rows.len(), events.len());
    for (index, (position, _)) in rows.iter().enumerate() {
        assert_eq!(usize::try_from(*position).unwrap(), index + 1, "L1: dense");
    }
    assert!(
        seen.len() <= rows.len(),
        "L1, L4: events were seen that are gone"
    );
    for (row, (position, now)) in seen.iter().zip(&rows) {
        assert_eq!(
            row, now,
            "L1: position {position} was seen with another event"
        );
    }
    let mut versions: HashMap<(&str, &str), i64> = HashMap::new();
    for event in events {
        let version = versions
            .entry((&event.aggregate_type, &event.aggregate_id))
            .or_default();
        *version += 1;
        assert_eq!(event.sequence, *version, "L2: {event:?}");
        let digest = event.computed_digest();
        assert_eq!(event.digest, digest, "the digest of {event:?}");
    }
    let commands: Vec<(Uuid, i64, i64)> = sqlx::query_as(
        "SELECT command_id, first_position, last_position FROM log.commands ORDER BY 2",
    )
    .fetch_all(connection)
    .await
    .unwrap();
    let mut next = 1;
    for (id, first, last) in commands {
        assert_eq!(first, next, "L5: each event belongs to one command");
        next = last + 1;
        for position in first..next {
            let event = &events[usize::try_from(position - 1).unwrap()];
            assert_eq!(event.metadata_map()["command_id"], id.to_string(), "L5");
        }
    }
    assert_eq!(next, i64::try_from(events.len()).unwrap() + 1, "L5");
}

/// L3: neither the owner nor the application changes the log.
async fn refuses_change(connection: &mut PgConnection) {
    let application: String = sqlx::query_scalar(
        "SELECT 'touchline_app_' || oid FROM pg_database WHERE datname = current_database()",
    )
    .fetch_one(&mut *connection)
    .await
    .unwrap();
    for role in ["postgres", &*application] {
        for change in [
            "UPDATE log.events SET sequence = sequence",
            "DELETE FROM log.events",
            "TRUNCATE log.events",
            "UPDATE log.commands SET version = version",
            "DELETE FROM log.commands",
        ] {
            let mut transaction = connection.begin().await.unwrap();
            let role = format!("SET LOCAL ROLE {role}");
            sqlx::query(&role).execute(&mut *transaction).await.unwrap();
            let refused = sqlx::query(change).execute(&mut *transaction).await;
            assert!(refused.is_err(), "L3: {role}: {change}");
            transaction.rollback().await.unwrap();
        }
    }
}

/// What is claimed is what the accounts of the log hold, and told to nobody who reads it.
async fn check_claims(connection: &mut PgConnection, store: &EventStore, opened: &[LogEvent]) {
    let credentials = Credentials::new(store.pool().clone(), store.keys().clone());
    let fingerprints = credentials.fingerprints().await.unwrap();
    let mut due = BTreeSet::new();
    for event in opened {
        if event.event_type != "identity.account_registered" {
            continue;
        }
        let AccountEvent::AccountRegistered(account) = event.decode().unwrap() else {
            unreachable!("{event:?}");
        };
        let email = account.email.known().unwrap().claim_key();
        for (scope, key) in [
            (EMAIL_CLAIM, &*email),
            (HANDLE_CLAIM, account.handle.as_str()),
        ] {
            let key = fingerprints.claim(scope, key);
            due.insert((scope.to_owned(), key, event.aggregate_id.clone()));
        }
    }
    let held: Vec<(String, String, String)> =
        sqlx::query_as("SELECT scope, key, owner FROM log.claims")
            .fetch_all(connection)
            .await
            .unwrap();
    assert_eq!(BTreeSet::from_iter(held), due, "claims and accounts differ");
}

/// The events of the log by the request that made them.
type ByRequest<'a> = HashMap<Uuid, Vec<&'a LogEvent>>;

/// L4 and L5, as the clients see them.
fn check_history(history: &History, events: &[LogEvent]) {
    assert_eq!(history.complaints(), Vec::<String>::new());
    let operations = history.operations();
    let mut by_request = ByRequest::new();
    for event in events {
        let request = event.metadata_map()["correlation_id"].parse().unwrap();
        by_request.entry(request).or_default().push(event);
    }
    let attempts: HashMap<Uuid, &Attempt> = operations
        .iter()
        .flat_map(|operation| &operation.attempts)
        .map(|attempt| (attempt.request, attempt))
        .collect();
    for request in by_request.keys() {
        assert!(
            attempts.contains_key(request),
            "nobody sent request {request}"
        );
    }
    let relations = Relations::of(events, &attempts);
    for operation in &operations {
        check_operation(operation, &by_request, &relations);
    }
}

fn check_operation(operation: &Operation, log: &ByRequest<'_>, relations: &Relations<'_>) {
    let mut applied = 0;
    for attempt in &operation.attempts {
        let events = log.get(&attempt.request).map_or(&[][..], Vec::as_slice);
        // Every command here makes one event.
        assert!(events.len() <= 1, "L5: applied twice: {operation:?}");
        applied += events.len();
        if let Outcome::Refused { .. } = attempt.outcome {
            assert!(events.is_empty(), "refused, and in the log: {operation:?}");
        }
    }
    let acknowledged = operation
        .attempts
        .iter()
        .find_map(|attempt| match attempt.outcome {
            Outcome::Acknowledged { position } => Some((attempt, position)),
            _ => None,
        });
    match &operation.intent {
        Intent::Nonsense => {
            assert_eq!(applied, 0, "nonsense was done: {operation:?}");
            assert_eq!(
                acknowledged.map(|(_, position)| position),
                None,
                "{operation:?}"
            );
        }
        Intent::Create => {
            assert!(applied <= 1, "L5: applied twice: {operation:?}");
            if let Some((_, position)) = acknowledged {
                let event = operation
                    .attempts
                    .iter()
                    .find_map(|it| log.get(&it.request));
                let event = event.unwrap_or_else(|| panic!("L4: lost: {operation:?}"))[0];
                assert_eq!(event.position.get(), position, "L5: {operation:?}");
            }
        }
        Intent::Change => {
            if let Some((attempt, position)) = acknowledged {
                let event = log.get(&attempt.request);
                let event = event.unwrap_or_else(|| panic!("L4: lost: {operation:?}"))[0];
                assert_eq!(event.position.get(), position, "{operation:?}");
            }
        }
        Intent::Relate(relation) => {
            if let Some((attempt, position)) = acknowledged {
                match log.get(&attempt.request) {
                    Some(events) => assert_eq!(events[0].position.get(), position, "{operation:?}"),
                    None => relations.check(relation, position, operation),
                }
            }
        }
    }
}

/// The beginnings and ends of relations, with the positions and whether the client knew of them.
struct Relations<'a> {
    changes: HashMap<String, Vec<(i64, bool, &'a Attempt)>>,
}

impl<'a> Relations<'a> {
    fn of(events: &[LogEvent], attempts: &HashMap<Uuid, &'a Attempt>) -> Self {
        let mut changes: HashMap<String, Vec<_>> = HashMap::new();
        for event in events {
            let (fields, begins) = match &*event.event_type {
                "posts.post_liked" => (["post_id", "user_id"], true),
                "posts.post_unliked" => (["post_id", "user_id"], false),
                "users.user_followed" => (["follower_id", "followee_id"], true),
                "users.user_unfollowed" => (["follower_id", "followee_id"], false),
                _ => continue,
            };
            let payload: Value = serde_json::from_str(event.payload.get()).unwrap();
            let values = fields.map(|field| {
                payload[&event.event_type][field]
                    .as_str()
                    .unwrap()
                    .to_owned()
            });
            let request: Uuid = event.metadata_map()["correlation_id"].parse().unwrap();
            let change = (event.position.get(), begins, attempts[&request]);
            changes.entry(values.join(" ")).or_default().push(change);
        }
        Self { changes }
    }

    /// An acknowledgement that made no event: the relation was as wanted already. Unless a request
    /// that got no answer was carried out late, the log says the same.
    fn check(&self, relation: &Relation, position: i64, operation: &Operation) {
        let pair = format!("{} {}", relation.pair[0], relation.pair[1]);
        let changes = self.changes.get(&pair).map_or(&[][..], Vec::as_slice);
        let last = changes.iter().rev().find(|(at, _, _)| *at <= position);
        let (is, late) = last.map_or((false, false), |(_, begins, attempt)| {
            (*begins, attempt.outcome == Outcome::Unknown)
        });
        assert!(is == relation.wanted || late, "L4: lost: {operation:?}");
    }
}
