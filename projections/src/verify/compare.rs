//! Comparing tables: by digests that do not depend on the order of rows, and where those differ, row
//! by row.
//!
//! Each table is divided into buckets by its key. A bucket's digest is the number of its rows and two
//! sums of 64-bit hashes over whole rows, with different seeds. Only rows of buckets that differ are
//! joined.

use super::finding::{Difference, Finding};
use crate::fill::Pace;
use futures::future::try_join;
use sqlx::{PgConnection, Row as _};
use std::collections::BTreeMap;

/// How many buckets a table has.
const BUCKETS: i32 = 1_024;
/// How many rows that differ are named. All are counted.
const FINDINGS_MAX: i64 = 1_000;

/// Two schemas with the same tables.
#[derive(Debug)]
pub(crate) struct Pair {
    /// The one that serves.
    pub(crate) live: String,
    /// The one that is right.
    pub(crate) other: String,
}

/// What a comparison found.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// How many rows there should be.
    pub(crate) rows: Option<i64>,
    /// How many are wrong, missing or extra. None when nothing could be compared.
    pub(crate) drift_rows: Option<i64>,
    /// Some of them.
    pub(crate) findings: Vec<Finding>,
}

/// A table, as far as comparing it needs.
pub(super) struct Table {
    pub(super) name: String,
    pub(super) key: Vec<String>,
    pub(super) columns: Vec<String>,
}

/// The number of rows of a bucket, and two sums of hashes, which are larger than 64 bits.
#[derive(Debug, Default, PartialEq, Eq)]
struct BucketDigest {
    rows: i64,
    sums: [i128; 2],
}

/// The tables of a schema, quoted and qualified, in the order of their names.
pub(crate) async fn tables(
    connection: &mut PgConnection,
    schema: &str,
) -> Result<Vec<String>, sqlx::Error> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', tables.schemaname, tables.tablename)
         FROM pg_tables AS tables WHERE tables.schemaname = $1 ORDER BY tables.tablename",
    )
    .bind(schema)
    .fetch_all(connection)
    .await?;
    Ok(names)
}

/// Compares all tables of `pair`, on as many cores as `pace` gives. Each connection sees a state that does
/// not change.
pub(crate) async fn compare(
    live: &mut PgConnection,
    other: &mut PgConnection,
    pair: &Pair,
    pace: &Pace,
) -> Result<Comparison, sqlx::Error> {
    let mut found = Comparison {
        rows: Some(0),
        drift_rows: Some(0),
        findings: Vec::new(),
    };
    for table in describe(other, &pair.other).await? {
        let (of_live, of_other) = try_join(
            digests(live, &pair.live, &table, pace),
            digests(other, &pair.other, &table, pace),
        )
        .await?;
        let rows: i64 = of_other.values().map(|digest| digest.rows).sum();
        found.rows = found.rows.map(|sum| sum + rows);
        let buckets = different(&of_live, &of_other);
        if buckets.is_empty() {
            continue;
        }
        let (count, findings) = differences(live, pair, &table, &buckets).await?;
        found.drift_rows = found.drift_rows.map(|sum| sum + count);
        found.findings.extend(findings);
    }
    found
        .findings
        .truncate(usize::try_from(FINDINGS_MAX).unwrap_or(usize::MAX));
    Ok(found)
}

pub(super) async fn describe(
    connection: &mut PgConnection,
    schema: &str,
) -> Result<Vec<Table>, sqlx::Error> {
    let rows: Vec<(String, Vec<String>, Vec<String>)> = sqlx::query_as(
        "SELECT class.relname::text,
                coalesce((SELECT array_agg(column_of.attname::text ORDER BY key.place)
                          FROM pg_index AS index, unnest(index.indkey) WITH ORDINALITY AS key (number, place)
                          JOIN pg_attribute AS column_of ON column_of.attnum = key.number
                          WHERE index.indrelid = class.oid AND index.indisprimary
                            AND column_of.attrelid = class.oid), '{}'),
                (SELECT array_agg(column_of.attname::text ORDER BY column_of.attnum)
                 FROM pg_attribute AS column_of
                 WHERE column_of.attrelid = class.oid AND column_of.attnum > 0
                   AND NOT column_of.attisdropped)
         FROM pg_class AS class JOIN pg_namespace AS space ON space.oid = class.relnamespace
         WHERE space.nspname = $1 AND class.relkind = 'r'
         ORDER BY class.relname",
    )
    .bind(schema)
    .fetch_all(connection)
    .await?;
    let table = |(name, key, columns): (String, Vec<String>, Vec<String>)| Table {
        // Without a key a row is itself its key.
        key: if key.is_empty() { columns.clone() } else { key },
        name,
        columns,
    };
    Ok(rows.into_iter().map(table).collect())
}

/// `"a", "b"`, each behind a prefix.
pub(super) fn list(prefix: &str, columns: &[String]) -> String {
    let columns: Vec<String> = columns
        .iter()
        .map(|column| format!(r#"{prefix}"{column}""#))
        .collect();
    columns.join(", ")
}

impl Table {
    /// The bucket of a row.
    fn bucket(&self) -> String {
        let key = list("t.", &self.key);
        format!(
            "(hash_record_extended(ROW({key}), 2) & {})::integer",
            BUCKETS - 1
        )
    }
}

/// The digests of a whole table. Digests add up, so it is read range by range.
async fn digests(
    connection: &mut PgConnection,
    schema: &str,
    table: &Table,
    pace: &Pace,
) -> Result<BTreeMap<i32, BucketDigest>, sqlx::Error> {
    let (bucket, name, columns) = (table.bucket(), &table.name, list("t.", &table.columns));
    let blocks: i64 = sqlx::query_scalar(
        "SELECT pg_relation_size(format('%I.%I', $1, $2)::regclass)
                / current_setting('block_size')::bigint",
    )
    .bind(schema)
    .bind(name)
    .fetch_one(&mut *connection)
    .await?;
    let mut digests = BTreeMap::<i32, BucketDigest>::new();
    let mut from = 0;
    loop {
        let to = from + pace.blocks(blocks);
        let range = match (from, to < blocks) {
            (0, false) => String::new(),
            // The last range has no end, whatever was added meanwhile.
            (_, false) => format!("WHERE t.ctid >= '({from},0)'"),
            (_, true) => format!("WHERE t.ctid >= '({from},0)' AND t.ctid < '({to},0)'"),
        };
        let statement = format!(
            r#"SELECT {bucket}, count(*),
                      sum(hash_record_extended(ROW({columns}), 0))::text,
                      sum(hash_record_extended(ROW({columns}), 1))::text
               FROM "{schema}"."{name}" AS t {range} GROUP BY 1"#
        );
        let core = pace.core().await;
        let rows: Vec<(i32, i64, String, String)> = sqlx::query_as(&statement)
            .persistent(false)
            .fetch_all(&mut *connection)
            .await?;
        drop(core);
        for (bucket, rows, one, two) in rows {
            let digest = digests.entry(bucket).or_default();
            digest.rows += rows;
            for (sum, more) in digest.sums.iter_mut().zip([one, two]) {
                *sum += more
                    .parse::<i128>()
                    .map_err(|it| sqlx::Error::Decode(it.into()))?;
            }
        }
        if to >= blocks {
            return Ok(digests);
        }
        from = to;
    }
}

/// The buckets whose digests differ.
fn different(live: &BTreeMap<i32, BucketDigest>, other: &BTreeMap<i32, BucketDigest>) -> Vec<i32> {
    (0..BUCKETS)
        .filter(|bucket| live.get(bucket) != other.get(bucket))
        .collect()
}

/// How many rows of these buckets differ, and which.
async fn differences(
    connection: &mut PgConnection,
    pair: &Pair,
    table: &Table,
    buckets: &[i32],
) -> Result<(i64, Vec<Finding>), sqlx::Error> {
    let rows = sqlx::query(&difference(pair, table))
        .bind(buckets)
        .bind(FINDINGS_MAX)
        .fetch_all(connection)
        .await?;
    let mut count = 0;
    let mut findings = Vec::with_capacity(rows.len());
    for row in rows {
        count = row.try_get("count")?;
        let word: String = row.try_get("difference")?;
        findings.push(Finding {
            table: table.name.clone(),
            difference: Difference::parse(&word),
            key: row.try_get("key")?,
            columns: row.try_get("columns")?,
        });
    }
    Ok((count, findings))
}

fn difference(pair: &Pair, table: &Table) -> String {
    let (live, other) = (&pair.live, &pair.other);
    let (bucket, name) = (table.bucket(), &table.name);
    let first = table.key.first().map_or("", String::as_str);
    let same_key: Vec<String> = table
        .key
        .iter()
        .map(|column| format!(r#"live."{column}" = other."{column}""#))
        .collect();
    let key: Vec<String> = table
        .key
        .iter()
        .map(|column| format!(r#"'{column}', coalesce(live."{column}", other."{column}")"#))
        .collect();
    let changed: Vec<String> = table
        .columns
        .iter()
        .map(|it| format!(r#"CASE WHEN live."{it}" IS DISTINCT FROM other."{it}" THEN '{it}' END"#))
        .collect();
    format!(
        r#"SELECT CASE WHEN other."{first}" IS NULL THEN 'extra'
                       WHEN live."{first}" IS NULL THEN 'missing' ELSE 'wrong' END AS difference,
                  jsonb_build_object({}) AS key,
                  CASE WHEN live."{first}" IS NULL OR other."{first}" IS NULL THEN '{{}}'
                       ELSE array_remove(ARRAY[{}], NULL) END AS columns,
                  count(*) OVER () AS count
           FROM (SELECT t.* FROM "{live}"."{name}" AS t WHERE {bucket} = ANY ($1)) AS live
           FULL JOIN (SELECT t.* FROM "{other}"."{name}" AS t WHERE {bucket} = ANY ($1)) AS other
                ON {}
           WHERE ROW({}) IS DISTINCT FROM ROW({})
           ORDER BY key LIMIT $2"#,
        key.join(", "),
        changed.join(", "),
        same_key.join(" AND "),
        list("live.", &table.columns),
        list("other.", &table.columns),
    )
}
