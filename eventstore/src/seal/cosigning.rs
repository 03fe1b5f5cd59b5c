//! The role that has the log's checkpoints cosigned by the witnesses of a policy (C2SP tlog-witness).
//!
//! It stands beside the sealer, which waits for no witness: one that is away delays its cosignature and
//! nothing else. One that says that the log is not the one that it cosigned is an alarm.

use super::cosignature::Cosignature;
use super::note::VerifierKey;
use super::policy::{Policy, Witness};
use super::record::{ProveError, Seals, SignedCheckpoint, decode};
use super::witness::AddCheckpoint;
use crate::causes::Causes;
use crate::lease::{Lease, Tenure};
use crate::position::Position;
use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use touchline_domain::clock::Clock;
use uuid::Uuid;

/// The name of the lease.
pub const LEASE_NAME: &str = "witnessing";
/// How often a witness is asked at most.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// How old a cosignature may get before it is asked for again though nothing was appended: it shows
/// that the log still ends there.
const AGAIN_AFTER: TimeDelta = TimeDelta::minutes(5);
/// How old the cosignatures that a policy demands may be, and how long an event may wait for them.
pub const COSIGNED_WITHIN: TimeDelta = TimeDelta::minutes(15);
/// How far ahead a witness's clock may be. A cosignature from the future would stay young for too long.
const CLOCK_AHEAD_MAX: TimeDelta = TimeDelta::minutes(5);
/// The most characters of an answer that are told.
const TOLD_CHARS_MAX: usize = 100;
/// How long a witness may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What a witness answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status of the HTTP response.
    pub status: u16,
    /// Whether its type is `text/x.tlog.size`.
    pub is_size: bool,
    /// Its body.
    pub body: String,
}

/// An answer on its way; the error says in words why there is none.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Result<Answer, String>> + Send + 'a>>;

/// Sends requests to witnesses.
pub trait AskWitness: Send + Sync + 'static {
    /// Posts the body to `add-checkpoint` below this address.
    fn add_checkpoint<'a>(&'a self, url: &'a str, body: String) -> Asking<'a>;
}

/// What a witness has cosigned last, as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// The size of the checkpoint.
    pub size: Position,
    /// When, as the witness said.
    pub at: DateTime<Utc>,
    /// The signature line, without its line feed.
    pub line: String,
}

/// Whether a cosignature of this time is no older than `within`, and not from the future.
pub(super) fn is_young(at: DateTime<Utc>, now: DateTime<Utc>, within: TimeDelta) -> bool {
    at >= now - within && at <= now + CLOCK_AHEAD_MAX
}

/// What somebody else has answered, as it may stand in a log.
fn told(body: &str) -> String {
    let told = body.trim_end().chars().take(TOLD_CHARS_MAX);
    let printable = |c: char| {
        if c == ' ' || c.is_ascii_graphic() {
            c
        } else {
            '?'
        }
    };
    told.map(printable).collect()
}

/// Why a witness has not cosigned.
#[derive(Debug, Error)]
enum AskError {
    #[error("it refuses: the log is not the one that it cosigned at size {size} ({status})")]
    Refused { size: u64, status: u16 },
    #[error("it has cosigned {theirs} events, and {ours} are sealed: the log has lost some")]
    Ahead { theirs: u64, ours: Position },
    #[error("it answers {status}: {told}")]
    Answer { status: u16, told: String },
    #[error("its answer has no cosignature of its key over this checkpoint")]
    NotCosigned,
    #[error("it does not answer: {0}")]
    Away(String),
    #[error("the seals cannot be read or written")]
    Database(#[from] sqlx::Error),
    #[error("there is no proof for it")]
    Prove(#[from] ProveError),
}

impl AskError {
    const fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Ahead { .. })
    }
}

/// Has checkpoints cosigned, while it leads.
pub struct Cosigning {
    seals: Seals,
    clock: Arc<dyn Clock>,
    holder: Uuid,
    policy: Policy,
    client: Arc<dyn AskWitness>,
}

impl Cosigning {
    /// The role for the log beside `seals`. `holder` tells it from others: a fresh id.
    #[must_use]
    pub fn new(
        seals: Seals,
        clock: Arc<dyn Clock>,
        holder: Uuid,
        policy: Policy,
        client: Arc<dyn AskWitness>,
    ) -> Self {
        Self {
            seals,
            clock,
            holder,
            policy,
            client,
        }
    }

    /// Works until `stop` is cancelled: tries to lead, and asks while it does.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let asked = Instant::now();
            match Lease::acquire(self.seals.pool(), LEASE_NAME, self.holder).await {
                Ok(Some(lease)) => {
                    let tenure = Tenure::new(lease, asked);
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        () = tenure.keep(self.seals.pool()) => {}
                        () = self.work() => {}
                    }
                    tenure.end(self.seals.pool()).await;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(error = %error, "witnessing: the lease cannot be taken");
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(ASK_EVERY) => {}
            }
        }
    }

    async fn work(&self) {
        let mut told = None;
        loop {
            match self.round().await {
                Ok(problem) => {
                    if problem != told {
                        self.tell(problem.as_ref());
                    }
                    let text = problem.as_ref().map(|problem| &*problem.text);
                    if let Err(error) = self.seals.report_witnessing(text).await {
                        tracing::warn!(error = %Causes(&error), "witnessing: how it stands cannot be written down");
                    }
                    told = problem;
                }
                Err(error) => {
                    tracing::warn!(error = %Causes(&error), "witnessing: trying again");
                }
            }
            sleep(ASK_EVERY).await;
        }
    }

    fn tell(&self, problem: Option<&Problem>) {
        match problem {
            None => tracing::info!(
                witnesses = self.policy.witnesses().len(),
                "witnessing: the log is cosigned as the policy demands"
            ),
            Some(Problem {
                text,
                refused: true,
            }) => {
                tracing::error!(reason = %text, "witnessing: a witness says that the log is not what it was");
            }
            Some(Problem { text, .. }) => {
                tracing::warn!(reason = %text, "witnessing: cosignatures are missing");
            }
        }
    }

    /// Asks every witness that has not cosigned the newest checkpoint, and writes down what is missing.
    async fn round(&self) -> Result<Option<Problem>, AskError> {
        let log_id = self.seals.log_id().await?;
        let key = self.seals.verifier_key(log_id).await?;
        let (Some(latest), Some(key)) = (self.seals.latest().await?, key) else {
            return Ok(None);
        };
        let now = self.clock.now();
        let asking = self
            .policy
            .witnesses()
            .iter()
            .map(async |witness| self.asked(witness, &key, log_id, &latest, now).await);
        let answers = join_all(asking).await;
        let fresh: Vec<_> = answers
            .iter()
            .map(|answer| matches!(answer, Ok(cosigned) if is_young(cosigned.at, now, COSIGNED_WITHIN)))
            .collect();
        let refused = answers
            .iter()
            .any(|answer| matches!(answer, Err(error) if error.is_refusal()));
        let problem = (refused || !self.policy.is_met(&fresh)).then(|| {
            let witnesses = self.policy.witnesses().iter().zip(&answers).zip(&fresh);
            let lines: Vec<_> = witnesses
                .filter(|(_, fresh)| !**fresh)
                .map(|((witness, answer), _)| match answer {
                    Ok(cosigned) => format!(
                        "{}: it cosigned last at {}, by its clock",
                        witness.key.name(),
                        cosigned.at
                    ),
                    Err(error) => format!("{}: {}", witness.key.name(), Causes(error)),
                })
                .collect();
            let text = lines.join("; ");
            Problem { text, refused }
        });
        Ok(problem)
    }

    /// What the witness has cosigned now.
    async fn asked(
        &self,
        witness: &Witness,
        key: &VerifierKey,
        log_id: Uuid,
        latest: &SignedCheckpoint,
        now: DateTime<Utc>,
    ) -> Result<Cosigned, AskError> {
        let known = self.seals.cosigned_by(witness).await?;
        // Of a log that was longer then, only the witness can say whether it may go on from here.
        let known = known.filter(|known| known.size <= latest.size);
        if let Some(known) = &known
            && known.size == latest.size
            && is_young(known.at, now, AGAIN_AFTER)
            // What is stored may be over another checkpoint of the same size.
            && cosigned(witness, key, latest, &format!("{}\n", known.line)).is_ok()
        {
            return Ok(known.clone());
        }
        let Some(url) = &witness.url else {
            return known
                .ok_or_else(|| AskError::Away("the policy does not say where it is".to_owned()));
        };
        let mut old = known.as_ref().map_or(0, |known| known.size.sequence());
        // The second try is from where the witness says that it is.
        for _ in 0..2 {
            let answer = self.ask(url, log_id, old, latest).await?;
            let told = told(&answer.body);
            let status = answer.status;
            match status {
                200 => {
                    let cosigned = cosigned(witness, key, latest, &answer.body)?;
                    self.seals.keep_cosigned(witness, &cosigned).await?;
                    return Ok(cosigned);
                }
                409 if answer.is_size => {
                    let size = answer.body.trim_end().parse();
                    old = size.map_err(|_malformed| AskError::Answer { status, told })?;
                    if old > latest.size.sequence() {
                        return Err(self.ahead(old).await?);
                    }
                }
                409 | 422 => return Err(AskError::Refused { size: old, status }),
                _ => return Err(AskError::Answer { status, told }),
            }
        }
        Err(AskError::Answer {
            status: 409,
            told: "it says at each try that it is elsewhere".to_owned(),
        })
    }

    /// Another sealer may have been faster; only a log that is still shorter has lost something.
    async fn ahead(&self, theirs: u64) -> Result<AskError, AskError> {
        let latest = self.seals.latest().await?;
        let ours = latest.map_or(Position::START, |latest| latest.size);
        Ok(if theirs > ours.sequence() {
            AskError::Ahead { theirs, ours }
        } else {
            AskError::Away("it was asked at the same time".to_owned())
        })
    }

    async fn ask(
        &self,
        url: &str,
        log_id: Uuid,
        old_size: u64,
        latest: &SignedCheckpoint,
    ) -> Result<Answer, AskError> {
        let proof = if old_size == 0 || old_size == latest.size.sequence() {
            Vec::new()
        } else {
            let from = Position::try_from(old_size).map_err(decode)?;
            self.seals
                .consistency(log_id, from, latest.size)
                .await?
                .path
        };
        let request = AddCheckpoint {
            old_size,
            proof,
            note: latest.note.clone(),
        };
        let asking = self.client.add_checkpoint(url, request.to_text());
        timeout(ANSWER_WITHIN, asking)
            .await
            .map_err(|_elapsed| AskError::Away("it takes too long".to_owned()))?
            .map_err(AskError::Away)
    }
}

/// The cosignature in an answer, which must hold for the checkpoint as the log has signed it.
fn cosigned(
    witness: &Witness,
    key: &VerifierKey,
    latest: &SignedCheckpoint,
    answer: &str,
) -> Result<Cosigned, AskError> {
    let own = key
        .open(&latest.note)
        .map_err(|_forged| AskError::NotCosigned)?;
    let found = witness.key.find(own, answer);
    let Ok(Some(Cosignature { at, line })) = found else {
        return Err(AskError::NotCosigned);
    };
    Ok(Cosigned {
        size: latest.size,
        at,
        line,
    })
}

/// Why the log is not cosigned as the policy demands.
#[derive(Debug, PartialEq, Eq)]
struct Problem {
    text: String,
    /// Whether a witness says that the log is another one.
    refused: bool,
}

impl Seals {
    /// What this witness has cosigned last; none when nothing, or under another key.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn cosigned_by(&self, witness: &Witness) -> Result<Option<Cosigned>, sqlx::Error> {
        let row = sqlx::query!(
            "
            SELECT cosignatures.tree_size, cosignatures.cosigned_at, cosignatures.line
            FROM seals.cosignatures WHERE cosignatures.witness = $1
            ",
            witness.key.to_string(),
        )
        .fetch_optional(self.pool())
        .await?;
        row.map(|row| {
            Ok(Cosigned {
                size: Position::new(row.tree_size).map_err(decode)?,
                at: row.cosigned_at,
                line: row.line,
            })
        })
        .transpose()
    }

    /// The newest checkpoint that a witness has cosigned, as a note with the signatures of the log and of
    /// every witness that cosigned it. None when there is none.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn cosigned_note(&self) -> Result<Option<String>, sqlx::Error> {
        let rows = sqlx::query!(
            r#"
            SELECT checkpoints.note, cosignatures.line
            FROM seals.cosignatures
            JOIN seals.checkpoints ON checkpoints.tree_size = cosignatures.tree_size
            WHERE cosignatures.tree_size = (SELECT max(newest.tree_size) FROM seals.cosignatures newest)
            ORDER BY cosignatures.witness
            "#,
        )
        .fetch_all(self.pool())
        .await?;
        Ok(rows.into_iter().fold(None, |note: Option<String>, row| {
            let note = note.unwrap_or(row.note);
            Some(format!("{note}{}\n", row.line))
        }))
    }

    /// Why the log is not cosigned as the policy demands, as far as the role has written it down.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn witnessing_problem(&self) -> Result<Option<String>, sqlx::Error> {
        let problem = sqlx::query_scalar!("SELECT witnessing.problem FROM operations.witnessing")
            .fetch_optional(self.pool())
            .await?;
        Ok(problem.flatten())
    }

    /// Writes down why the log is not cosigned as the policy demands; none when it is, or when there is
    /// no policy.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn report_witnessing(&self, problem: Option<&str>) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "
            INSERT INTO operations.witnessing AS before (problem, since)
            SELECT new.problem, CASE WHEN new.problem IS NOT NULL THEN now() END
            FROM (VALUES ($1::text)) AS new (problem)
            ON CONFLICT (only_one) DO UPDATE
               SET problem = excluded.problem,
                   since = CASE WHEN excluded.problem IS NOT NULL
                                THEN coalesce(before.since, now()) END
             WHERE before.problem IS DISTINCT FROM excluded.problem
            ",
            problem,
        )
        .execute(self.pool())
        .await
        .map(drop)
    }

    async fn keep_cosigned(
        &self,
        witness: &Witness,
        cosigned: &Cosigned,
    ) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "
            INSERT INTO seals.cosignatures (witness, tree_size, cosigned_at, line)
            VALUES ($1, $2, $3, $4)
            ON CONFLICT (witness) DO UPDATE
               SET tree_size = excluded.tree_size, cosigned_at = excluded.cosigned_at,
                   line = excluded.line
            ",
            witness.key.to_string(),
            cosigned.size.get(),
            cosigned.at,
            cosigned.line,
        )
        .execute(self.pool())
        .await
        .map(drop)
    }
}
