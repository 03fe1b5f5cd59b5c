//! Counts and feeds, held against the rows that they follow from.

use super::{SampleError, random_rows};
use crate::projection::Derived;
use crate::verify::compare::{Table, list};
use crate::verify::finding::{Difference, Finding};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{Postgres, Transaction};

/// The statement of `derived` with what it is about: random rows, and those of what was found before.
pub(super) fn derivation(derived: &Derived, live: &str, picked: &Table) -> String {
    let (rows, name) = (random_rows(live, derived.picked), derived.picked);
    let key = list("", &picked.key);
    format!(
        r#"WITH picked AS MATERIALIZED (
               (SELECT t.* FROM {rows})
               UNION
               (SELECT t.* FROM jsonb_populate_recordset(NULL::"{live}"."{name}", $1) AS suspect
                JOIN "{live}"."{name}" AS t USING ({key})))
           {}"#,
        derived.statement
    )
}

/// What does not follow as it should.
pub(super) async fn underived(
    transaction: &mut Transaction<'_, Postgres>,
    derived: &Derived,
    statement: &str,
    suspects: &[&Value],
) -> Result<Vec<Finding>, SampleError> {
    let rows: Vec<(Value, String, Vec<String>)> = sqlx::query_as(statement)
        .bind(Json(suspects))
        .fetch_all(&mut **transaction)
        .await?;
    let rows = rows.into_iter().map(|(key, difference, columns)| Finding {
        table: derived.table.to_owned(),
        difference: Difference::parse(&difference),
        key,
        columns,
    });
    Ok(rows.collect())
}
