//! Claims against the accounts that hold them: each is derived from the events, and must be held as that.
//!
//! What is claimed is kept as an HMAC under the fingerprint key, so that with the database alone only the
//! kind and the owner of a claim can be compared. With the master key the personal fields can be opened,
//! and the HMACs too.

use crate::fingerprint::Fingerprints;
use crate::identity::{EMAIL_CLAIM, HANDLE_CLAIM, ROOT_CLAIM};
use serde_json::value::RawValue;
use sqlx::{PgConnection, PgPool};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use thiserror::Error;
use touchline_domain::aggregate::Decider;
use touchline_domain::event::DecodeError;
use touchline_domain::identity::{Account, AccountEvent, Email};
use touchline_eventstore::event::Digest;
use touchline_eventstore::store::ReadError;
use touchline_eventstore::{EventStore, LogEvent, Position};

/// The events that take claims or give them back.
const EVENTS: [&str; 3] = [
    "identity.account_registered",
    "identity.root_appointed",
    "identity.account_erased",
];
/// How many events one page has; an account has at most three of these.
const PAGE_EVENTS: i64 = 3_000;
/// The most differences that are kept.
const DIFFERENCES_MAX: usize = 100;

/// A claim that is not held as the events say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimDifference {
    /// Where the account was registered; the start for a claim of nobody.
    pub position: Position,
    /// The kind of claim.
    pub scope: String,
    /// Whose it is; none when it has no owner.
    pub owner: Option<String>,
    /// What is wrong.
    pub wrong: Wrong,
}

/// What is wrong with a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// It is not held: somebody else can take it.
    Missing,
    /// It is held, and no event says so.
    Surplus,
    /// It is held for something else than what the events say.
    OtherKey,
}

impl fmt::Display for ClaimDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = self.owner.as_deref().unwrap_or("nobody");
        let wrong = match self.wrong {
            Wrong::Missing => "is not held",
            Wrong::Surplus => "is held, and no event says so",
            Wrong::OtherKey => "is held for something else than its events say",
        };
        let (position, scope) = (self.position, &self.scope);
        write!(
            f,
            "position {position}: the claim {scope} of {owner} {wrong}"
        )
    }
}

/// Why claims could not be compared.
#[derive(Debug, Error)]
pub enum CheckClaimsError {
    /// The database could not be reached, or refused.
    #[error("the claims cannot be read")]
    Database(#[from] sqlx::Error),
    /// The personal fields could not be opened.
    #[error("the accounts cannot be opened")]
    Read(#[from] ReadError),
    /// An event is not understood.
    #[error("an account cannot be understood")]
    Decode(#[from] DecodeError),
    /// A row breaks the rules of the log.
    #[error("the row at position {0} is damaged")]
    Damaged(i64),
}

/// What opens the personal fields and makes claims from them.
#[derive(Clone, Copy)]
pub struct Opening<'a> {
    /// The log, with its keys.
    pub store: &'a EventStore,
    /// The fingerprint key.
    pub fingerprints: &'a Fingerprints,
}

/// An account, as far as its claims are concerned.
#[derive(Debug, Default)]
struct Holder {
    position: Position,
    /// The claims that it must hold: by kind, the key where it is known.
    due: BTreeMap<&'static str, Option<String>>,
    erased: bool,
}

/// Compares the claims with the accounts of the log, all as of one moment, and answers what differs, the
/// first hundred.
///
/// # Errors
/// [`CheckClaimsError`] when they cannot be compared.
pub async fn check(
    pool: &PgPool,
    opening: Option<Opening<'_>>,
) -> Result<Vec<ClaimDifference>, CheckClaimsError> {
    let mut snapshot = pool
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .await?;
    let mut differences = Vec::new();
    let (mut after, mut erased, mut kept) = (String::new(), 0_i64, 0_i64);
    loop {
        let (mut events, whole) = page(&mut snapshot, &after).await?;
        if let Some(opening) = opening {
            events = opening.store.open(events).await?;
        }
        let Some(last) = events.last() else {
            break;
        };
        after.clone_from(&last.aggregate_id);
        let holders = holders(events, opening.map(|opening| opening.fingerprints))?;
        let (gone, with_owner) = compare(&mut snapshot, holders, &mut differences).await?;
        (erased, kept) = (erased + gone, kept + with_owner);
        if whole {
            break;
        }
    }
    of_nobody(&mut snapshot, erased - kept, &mut differences).await?;
    snapshot.rollback().await?;
    differences.truncate(DIFFERENCES_MAX);
    Ok(differences)
}

/// The events of the next accounts, each account whole, and whether they are the last.
async fn page(
    connection: &mut PgConnection,
    after: &str,
) -> Result<(Vec<LogEvent>, bool), CheckClaimsError> {
    let types: Vec<_> = EVENTS.iter().map(|&name| name.to_owned()).collect();
    let rows = sqlx::query!(
        r#"
        SELECT events.position, events.event_id, events.aggregate_id, events.sequence,
               events.event_type, events.event_version, events.recorded_at,
               events.payload::text AS "payload!", events.metadata::text AS "metadata!", events.digest
        FROM log.events
        WHERE events.aggregate_type = $1 AND events.aggregate_id > $2 AND events.event_type = ANY ($3)
        ORDER BY events.aggregate_id, events.sequence
        LIMIT $4
        "#,
        Account::TYPE,
        after,
        &types,
        PAGE_EVENTS,
    )
    .fetch_all(connection)
    .await?;
    let whole = i64::try_from(rows.len()).unwrap_or(i64::MAX) < PAGE_EVENTS;
    let mut events = Vec::with_capacity(rows.len());
    for row in rows {
        let damaged = || CheckClaimsError::Damaged(row.position);
        events.push(LogEvent {
            position: Position::new(row.position).map_err(|_negative| damaged())?,
            event_id: row.event_id,
            aggregate_type: Account::TYPE.to_owned(),
            aggregate_id: row.aggregate_id,
            sequence: row.sequence,
            event_type: row.event_type,
            event_version: row.event_version,
            recorded_at: row.recorded_at,
            metadata: RawValue::from_string(row.metadata).map_err(|_malformed| damaged())?,
            payload: RawValue::from_string(row.payload).map_err(|_malformed| damaged())?,
            digest: Digest::new(row.digest.try_into().map_err(|_length| damaged())?),
        });
    }
    if !whole {
        // The last account may go on in the next page.
        let cut = events.last().map(|event| event.aggregate_id.clone());
        events.retain(|event| Some(&event.aggregate_id) != cut.as_ref());
    }
    Ok((events, whole))
}

fn holders(
    events: Vec<LogEvent>,
    fingerprints: Option<&Fingerprints>,
) -> Result<HashMap<String, Holder>, CheckClaimsError> {
    let mut holders: HashMap<String, Holder> = HashMap::new();
    for event in events {
        let holder = holders.entry(event.aggregate_id.clone()).or_default();
        match event.event_type.as_str() {
            "identity.account_registered" => {
                holder.position = event.position;
                holder.due = registered(&event, fingerprints)?;
            }
            "identity.root_appointed" => {
                let key = fingerprints.map(|keyed| keyed.claim(ROOT_CLAIM, ROOT_CLAIM));
                holder.due.insert(ROOT_CLAIM, key);
            }
            _ => {
                // The address is free again; the handle is held for good, by nobody or as it was.
                holder.erased = true;
                holder.due.remove(EMAIL_CLAIM);
                holder.due.remove(HANDLE_CLAIM);
            }
        }
    }
    Ok(holders)
}

fn registered(
    event: &LogEvent,
    fingerprints: Option<&Fingerprints>,
) -> Result<BTreeMap<&'static str, Option<String>>, CheckClaimsError> {
    let mut due = BTreeMap::from([(EMAIL_CLAIM, None), (HANDLE_CLAIM, None)]);
    if let Some(keyed) = fingerprints
        && let AccountEvent::AccountRegistered(account) = event.decode()?
    {
        let email = account.email.known().map(Email::claim_key);
        due.insert(
            EMAIL_CLAIM,
            email.map(|email| keyed.claim(EMAIL_CLAIM, &email)),
        );
        let handle = account.handle.known();
        due.insert(
            HANDLE_CLAIM,
            handle.map(|handle| keyed.claim(HANDLE_CLAIM, handle.as_str())),
        );
    }
    Ok(due)
}

/// Compares the claims of some accounts. Answers how many of them were erased, and how many of those
/// have their handle to their name still.
async fn compare(
    connection: &mut PgConnection,
    mut holders: HashMap<String, Holder>,
    differences: &mut Vec<ClaimDifference>,
) -> Result<(i64, i64), CheckClaimsError> {
    let owners: Vec<_> = holders.keys().cloned().collect();
    let rows = sqlx::query!(
        r#"
        SELECT claims.scope, claims.key, claims.owner AS "owner?"
        FROM log.claims WHERE claims.owner = ANY ($1)
        ORDER BY claims.owner, claims.scope, claims.key
        "#,
        &owners,
    )
    .fetch_all(connection)
    .await?;
    let mut kept = 0;
    for row in rows {
        let Some(holder) = row.owner.as_ref().and_then(|owner| holders.get_mut(owner)) else {
            continue;
        };
        let wrong = match holder.due.remove(row.scope.as_str()) {
            Some(Some(key)) if key != row.key => Wrong::OtherKey,
            Some(_) => continue,
            None if holder.erased && row.scope == HANDLE_CLAIM => {
                kept += 1;
                continue;
            }
            None => Wrong::Surplus,
        };
        differences.push(ClaimDifference {
            position: holder.position,
            scope: row.scope,
            owner: row.owner,
            wrong,
        });
    }
    let mut erased = 0;
    for (owner, holder) in holders {
        erased += i64::from(holder.erased);
        differences.extend(holder.due.into_keys().map(|scope| ClaimDifference {
            position: holder.position,
            scope: scope.to_owned(),
            owner: Some(owner.clone()),
            wrong: Wrong::Missing,
        }));
    }
    differences.sort_by_key(|difference| difference.position);
    Ok((erased, kept))
}

/// Claims of no account, and those without an owner, of which there must be `due`: the handles of those
/// who were erased.
async fn of_nobody(
    connection: &mut PgConnection,
    due: i64,
    differences: &mut Vec<ClaimDifference>,
) -> Result<(), CheckClaimsError> {
    let strays = sqlx::query!(
        r#"
        SELECT claims.scope, claims.owner AS "owner?" FROM log.claims
        WHERE (claims.owner IS NOT NULL OR claims.scope <> $2)
          AND NOT EXISTS (
              SELECT FROM log.events
              WHERE events.aggregate_type = $1 AND events.aggregate_id = claims.owner)
        ORDER BY claims.scope, claims.key
        LIMIT 100
        "#,
        Account::TYPE,
        HANDLE_CLAIM,
    )
    .fetch_all(&mut *connection)
    .await?;
    let of = |scope: String, owner, wrong| ClaimDifference {
        position: Position::START,
        scope,
        owner,
        wrong,
    };
    differences.extend(
        strays
            .into_iter()
            .map(|row| of(row.scope, row.owner, Wrong::Surplus)),
    );
    let held = sqlx::query_scalar!(
        r#"SELECT count(*) AS "held!" FROM log.claims WHERE claims.owner IS NULL AND claims.scope = $1"#,
        HANDLE_CLAIM,
    )
    .fetch_one(connection)
    .await?;
    if held != due {
        let wrong = if held < due {
            Wrong::Missing
        } else {
            Wrong::Surplus
        };
        differences.push(of(HANDLE_CLAIM.to_owned(), None, wrong));
    }
    Ok(())
}
