//! The sampling verifier: a few aggregates at a time are folded again and compared, for ever.
//!
//! A sample is of both sides: aggregates of random events, whose rows could be wrong or missing, and
//! random rows, which could be extra. Their streams, and those that their events name, are folded into
//! temporary tables in a transaction that is rolled back, and which sees the serving tables at one
//! position. Counts and feeds are held against the rows that they follow from. What differs must differ
//! again in the next sample to be drift: a person may have been erased a moment ago, so that the key is
//! gone and the rows are not yet.

mod derived;

use super::compare::{self, Table, list};
use super::finding::{Difference, Finding};
use crate::checkpoint::{self, Aggregate};
use crate::projection::{Derived, Origin, ProjectError, ReadModel, SampledTable};
use crate::sweep::{self, SWEEP_ROWS};
use derived::{derivation, underived};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{Connection as _, Executor as _, PgConnection, Postgres, Transaction};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;
use touchline_eventstore::database::Database;
use touchline_eventstore::store::ReadError;
use touchline_eventstore::{EventStore, LogEvent, Position};
use uuid::Uuid;

/// How many events of the log are picked at a time.
const EVENTS: i32 = 64;
/// How many rows of each table are picked at a time.
const ROWS: i32 = 64;
/// How many aggregates one sample may come to, with those that events name.
const AGGREGATES_MAX: usize = 5_000;
/// How many steps away an aggregate may be named. Answers to answers are the longest chain.
const STEPS_MAX: usize = 10;
/// How many rows that differ are kept.
const FINDINGS_MAX: usize = 100;

/// Why a sample came to nothing. It may go away by itself.
#[derive(Debug, Error)]
pub(crate) enum SampleError {
    #[error("the database cannot be reached or refused a statement")]
    Database(#[from] sqlx::Error),
    #[error("the log cannot be read")]
    Read(#[from] ReadError),
    #[error("the sample cannot be folded")]
    Fold(#[from] ProjectError),
}

/// Takes samples of one read model, one after the other.
pub(crate) struct Sampler {
    connection: PgConnection,
    tables: Vec<(SampledTable, Table)>,
    /// What follows from other rows, with the statement that finds what does not.
    derived: Vec<(Derived, String)>,
    /// What differed in the last sample.
    suspects: Vec<Finding>,
}

/// What is looked at.
#[derive(Default)]
struct Chosen {
    aggregates: BTreeSet<Aggregate>,
    /// Events whose aggregates are to be chosen.
    positions: BTreeSet<i64>,
    /// The keys of rows that are there, by table.
    keys: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Chosen {
    /// Chooses the aggregate that a row comes from.
    fn origin(&mut self, sampled: &SampledTable, key: &Value) {
        if let Origin::Position { column } = sampled.origin {
            self.positions
                .extend(key.get(column).and_then(Value::as_i64));
        } else {
            self.aggregates.extend(origin(sampled, key));
        }
    }
}

impl Sampler {
    /// A sampler with temporary tables of its own.
    pub(crate) async fn new(
        database: &Database,
        model: &dyn ReadModel,
    ) -> Result<Self, SampleError> {
        let settings = [
            ("search_path", "pg_temp"),
            // Whatever a sample waits for, others do not wait for it for longer.
            ("idle_in_transaction_session_timeout", "10s"),
        ];
        let mut connection = database.connect(&settings).await?;
        connection.execute(model.schema()).await?;
        let mut described: BTreeMap<String, Table> =
            compare::describe(&mut connection, model.name())
                .await?
                .into_iter()
                .map(|table| (table.name.clone(), table))
                .collect();
        let derived = model.derived().iter().filter_map(|it| {
            let picked = described.get(it.picked)?;
            Some((*it, derivation(it, model.name(), picked)))
        });
        let derived = derived.collect();
        let tables = model
            .sampled()
            .iter()
            .filter_map(|sampled| {
                let mut table = described.remove(sampled.table)?;
                table
                    .columns
                    .retain(|column| sampled.columns.contains(&&**column));
                Some((*sampled, table))
            })
            .collect();
        Ok(Self {
            connection,
            tables,
            derived,
            suspects: Vec::new(),
        })
    }

    /// Takes one sample, and writes down what is known now.
    pub(crate) async fn sample(
        &mut self,
        store: &EventStore,
        model: &dyn ReadModel,
    ) -> Result<(), SampleError> {
        let mut transaction = self.connection.begin().await?;
        transaction
            .execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            .await?;
        let live = checkpoint::standing(&mut *transaction, model.name()).await?;
        let Some(live) = live.filter(|it| it.version == model.version()) else {
            return Ok(());
        };
        // Rows behind a tombstone are there, and should not be: the next sample finds them gone.
        if sweep::is_unswept(&mut transaction, model, Some(model.name())).await? {
            transaction.rollback().await?;
            return Ok(sweep::settle(store.pool(), model).await?);
        }
        let mut chosen = choose(&mut transaction, model, &self.tables, live.position).await?;
        for suspect in &self.suspects {
            let table = self.tables.iter().find(|(it, _)| it.table == suspect.table);
            if let Some((sampled, table)) = table {
                chosen.origin(sampled, &suspect.key);
                if is_there(&mut transaction, model.name(), table, &suspect.key).await? {
                    let keys = chosen.keys.entry(sampled.table).or_default();
                    keys.insert(suspect.key.to_string());
                }
            }
        }
        happened(store, model, &mut chosen).await?;
        let Some(events) = streams(store, model, &mut chosen, live.position).await? else {
            return Ok(());
        };
        let aggregates = i64::try_from(chosen.aggregates.len()).unwrap_or(i64::MAX);
        model.fold(&mut transaction, &events).await?;
        while sweep::is_unswept(&mut transaction, model, None).await? {
            model.clear(&mut transaction, SWEEP_ROWS).await?;
        }
        let mut found = Vec::new();
        for (_, table) in &self.tables {
            let keys = chosen.keys.remove(&*table.name).unwrap_or_default();
            found.extend(differences(&mut transaction, model.name(), table, &keys).await?);
        }
        // The tables that serve, in place of the temporary ones.
        let serving = format!(r#"SET LOCAL search_path TO "{}", pg_temp"#, model.name());
        transaction.execute(serving.as_str()).await?;
        for (derived, statement) in &self.derived {
            let suspects = self.suspects.iter().filter(|it| it.table == derived.table);
            let suspects: Vec<&Value> = suspects.map(|it| &it.key).collect();
            found.extend(underived(&mut transaction, derived, statement, &suspects).await?);
        }
        found.truncate(FINDINGS_MAX);
        transaction.rollback().await?;
        let drift: Vec<Finding> = found
            .iter()
            .filter(|finding| self.suspects.contains(finding))
            .cloned()
            .collect();
        self.suspects = found;
        write(store, model, aggregates, &drift).await?;
        Ok(())
    }
}

/// Some rows of a table, as `t`: of so many of its pages as have about enough.
fn random_rows(live: &str, table: &str) -> String {
    format!(
        r#""{live}"."{table}" AS t TABLESAMPLE SYSTEM (
               (SELECT least(100, 400.0 / greatest(pg_relation_size('"{live}"."{table}"') / 8192, 1))))
           LIMIT {ROWS}"#
    )
}

/// Random aggregates and random rows.
async fn choose(
    transaction: &mut Transaction<'_, Postgres>,
    model: &dyn ReadModel,
    tables: &[(SampledTable, Table)],
    until: Position,
) -> Result<Chosen, SampleError> {
    let mut chosen = Chosen::default();
    let positions = sqlx::query_scalar!(
        r#"SELECT 1 + floor(random() * $1)::bigint AS "position!" FROM generate_series(1, $2)"#,
        // A position beyond 2^53 would be picked with less precision, and still be one.
        as_float(until),
        EVENTS,
    )
    .fetch_all(&mut **transaction)
    .await?;
    chosen.positions.extend(positions);
    for (sampled, table) in tables {
        let (key, rows) = (key_of(table, "t."), random_rows(model.name(), &table.name));
        let keys: Vec<Json<Value>> = sqlx::query_scalar(&format!("SELECT {key} FROM {rows}"))
            .fetch_all(&mut **transaction)
            .await?;
        for Json(key) in keys {
            chosen.origin(sampled, &key);
            let of_table = chosen.keys.entry(sampled.table).or_default();
            of_table.insert(key.to_string());
        }
    }
    Ok(chosen)
}

/// Chooses the aggregates of the chosen events that matter here.
///
/// Not in the transaction of the sample: that would hold the log while the streams are read on
/// another connection. Somebody who waits to lock the log in between would wait for the one, and the
/// other for them, for ever.
async fn happened(
    store: &EventStore,
    model: &dyn ReadModel,
    chosen: &mut Chosen,
) -> Result<(), SampleError> {
    let positions: Vec<i64> = chosen.positions.iter().copied().collect();
    let events = sqlx::query!(
        "
        SELECT events.aggregate_type, events.aggregate_id, events.event_type FROM log.events
        WHERE events.position = ANY ($1)
        ",
        &positions,
    )
    .fetch_all(store.pool())
    .await?;
    let events = events.into_iter().filter(|it| model.takes(&it.event_type));
    chosen
        .aggregates
        .extend(events.map(|it| (it.aggregate_type, it.aggregate_id)));
    Ok(())
}

/// Whether a row of this key serves.
async fn is_there(
    transaction: &mut Transaction<'_, Postgres>,
    live: &str,
    table: &Table,
    key: &Value,
) -> Result<bool, SampleError> {
    let (name, key_columns) = (&table.name, list("", &table.key));
    let statement = format!(
        r#"SELECT EXISTS (SELECT FROM "{live}"."{name}"
                          JOIN jsonb_populate_record(NULL::"{live}"."{name}", $1) AS wanted
                               USING ({key_columns}))"#
    );
    let found = sqlx::query_scalar(&statement).bind(key);
    Ok(found.fetch_one(&mut **transaction).await?)
}

fn as_float(position: Position) -> f64 {
    // Through 32 bits each, which a float holds exactly.
    let (high, low) = (position.get() >> 32, position.get() & 0xffff_ffff);
    let part = |half: i64| u32::try_from(half).map_or(0.0, f64::from);
    part(high) * 4_294_967_296.0 + part(low)
}

/// The key of a row, as JSON.
fn key_of(table: &Table, prefix: &str) -> String {
    let pairs: Vec<String> = table
        .key
        .iter()
        .map(|column| format!(r#"'{column}', {prefix}"{column}""#))
        .collect();
    format!("jsonb_build_object({})", pairs.join(", "))
}

/// The aggregate that a row comes from.
fn origin(sampled: &SampledTable, key: &Value) -> Option<Aggregate> {
    let id = |column: &str| key.get(column)?.as_str()?.parse::<Uuid>().ok();
    let (aggregate_type, id) = match sampled.origin {
        Origin::Position { .. } => return None,
        Origin::Id {
            aggregate_type,
            column,
        } => (aggregate_type, id(column)?),
        Origin::Pair {
            aggregate_type,
            columns: [one, other],
            id: of,
        } => (aggregate_type, of(id(one)?, id(other)?)),
    };
    Some((aggregate_type.to_owned(), id.to_string()))
}

/// The events of what was chosen, and of what they name, in log order. None when it is too much, or
/// something of it is parked.
async fn streams(
    store: &EventStore,
    model: &dyn ReadModel,
    chosen: &mut Chosen,
    until: Position,
) -> Result<Option<Vec<LogEvent>>, SampleError> {
    let parked = checkpoint::parked(store.pool(), model.name()).await?;
    let discarded = checkpoint::discarded(store.pool(), model.name(), model.version()).await?;
    let mut events = Vec::new();
    let mut new: Vec<Aggregate> = chosen.aggregates.iter().cloned().collect();
    for _ in 0..STEPS_MAX {
        if chosen.aggregates.len() > AGGREGATES_MAX {
            return Ok(None);
        }
        let read = store.read_aggregates(&new, until).await?;
        let named = read.iter().flat_map(|event| references(model, event));
        let named: BTreeSet<Aggregate> = named.collect();
        new = named.difference(&chosen.aggregates).cloned().collect();
        chosen.aggregates.extend(new.iter().cloned());
        events.extend(read);
        if new.is_empty() {
            break;
        }
    }
    if chosen.aggregates.iter().any(|it| parked.contains(it)) {
        return Ok(None);
    }
    events.retain(|event| model.takes(&event.event_type) && !discarded.contains(&event.position));
    events.sort_unstable_by_key(|event| event.position);
    Ok(Some(store.open(events).await?))
}

/// The aggregates that an event names.
fn references(model: &dyn ReadModel, event: &LogEvent) -> Vec<Aggregate> {
    let payload: Value = serde_json::from_str(event.payload.get()).unwrap_or_default();
    let fields = payload.get(&event.event_type).unwrap_or(&payload);
    let named = model.references().iter().filter_map(|(field, types)| {
        let id = fields.get(field)?.as_str()?;
        Some(types.iter().map(|kind| ((*kind).to_owned(), id.to_owned())))
    });
    named.flatten().collect()
}

/// The rows of a table that are not what was folded, and of `keys` those that should not be there.
async fn differences(
    transaction: &mut Transaction<'_, Postgres>,
    live: &str,
    table: &Table,
    keys: &BTreeSet<String>,
) -> Result<Vec<Finding>, SampleError> {
    let name = &table.name;
    let statement = format!(
        r#"SELECT {} FROM pg_temp."{name}" AS t"#,
        key_of(table, "t.")
    );
    let folded: Vec<Json<Value>> = sqlx::query_scalar(&statement)
        .fetch_all(&mut **transaction)
        .await?;
    let folded: BTreeSet<String> = folded
        .into_iter()
        .map(|Json(key)| key.to_string())
        .collect();
    let finding = |key: Value, difference, columns| Finding {
        table: name.clone(),
        difference,
        key,
        columns,
    };
    let mut found: Vec<Finding> = keys
        .difference(&folded)
        .filter_map(|key| serde_json::from_str(key).ok())
        .map(|key| finding(key, Difference::Extra, Vec::new()))
        .collect();
    let rows: Vec<(Json<Value>, bool, Vec<String>)> = sqlx::query_as(&different(live, table))
        .fetch_all(&mut **transaction)
        .await?;
    found.extend(rows.into_iter().map(|(Json(key), is_there, columns)| {
        if is_there {
            finding(key, Difference::Wrong, columns)
        } else {
            finding(key, Difference::Missing, Vec::new())
        }
    }));
    Ok(found)
}

/// The folded rows that are not in the serving table, or are there and differ.
fn different(live: &str, table: &Table) -> String {
    let (name, key) = (&table.name, key_of(table, "folded."));
    let first = table.key.first().map_or("", String::as_str);
    let same: Vec<String> = table
        .key
        .iter()
        .map(|column| format!(r#"live."{column}" = folded."{column}""#))
        .collect();
    let changed: Vec<String> = table
        .columns
        .iter()
        .map(|it| {
            format!(r#"CASE WHEN live."{it}" IS DISTINCT FROM folded."{it}" THEN '{it}' END"#)
        })
        .collect();
    format!(
        r#"SELECT {key}, live."{first}" IS NOT NULL, array_remove(ARRAY[{}]::text[], NULL)
           FROM pg_temp."{name}" AS folded LEFT JOIN "{live}"."{name}" AS live ON {}
           WHERE live."{first}" IS NULL OR ROW({}) IS DISTINCT FROM ROW({})"#,
        changed.join(", "),
        same.join(" AND "),
        list("live.", &table.columns),
        list("folded.", &table.columns),
    )
}

async fn write(
    store: &EventStore,
    model: &dyn ReadModel,
    aggregates: i64,
    drift: &[Finding],
) -> Result<(), SampleError> {
    let name = model.name();
    let drift_rows = i64::try_from(drift.len()).unwrap_or(i64::MAX);
    if drift_rows > 0 {
        tracing::error!(
            projection = name,
            drift_rows,
            "projection {name} is not what the log says: verify it"
        );
    }
    sqlx::query!(
        "
        INSERT INTO operations.samples (projection, version, aggregates, drift_rows, findings)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (projection) DO UPDATE
           SET version = excluded.version,
               aggregates = samples.aggregates + excluded.aggregates,
               drift_rows = excluded.drift_rows, findings = excluded.findings, sampled_at = now()
        ",
        name,
        model.version(),
        aggregates,
        drift_rows,
        Json(drift) as _,
    )
    .execute(store.pool())
    .await?;
    Ok(())
}
