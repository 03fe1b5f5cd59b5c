//! The cosignatures that a policy demands.
//!
//! Each is believed for the checkpoint that it is over, and the log must go on from there. It must be
//! young, and leave no older event uncovered: whoever cuts the end of the log off gets no new one.

use super::{Finding, Findings};
use crate::event::Digest;
use crate::position::Position;
use crate::seal::cosigning::{COSIGNED_WITHIN, Cosigned, is_young};
use crate::seal::note::{VerifierKey, split};
use crate::seal::policy::{Policy, Witness};
use crate::seal::record::{Seals, decode};
use chrono::{DateTime, Utc};

/// A policy, and what its witnesses have said.
#[derive(Debug)]
pub(super) struct Witnesses {
    policy: Policy,
    /// What each witness says of the log; or why it does not count.
    said: Vec<Result<Said, String>>,
}

/// A cosignature that holds for its checkpoint.
#[derive(Debug)]
struct Said {
    size: Position,
    root: Digest,
    at: DateTime<Utc>,
}

impl Witnesses {
    /// Reads what is stored of the witnesses, and believes what they signed.
    pub(super) async fn read(
        seals: &Seals,
        key: Option<&VerifierKey>,
        policy: Policy,
    ) -> Result<Self, sqlx::Error> {
        let mut said = Vec::with_capacity(policy.witnesses().len());
        for witness in policy.witnesses() {
            said.push(match (seals.cosigned_by(witness).await?, key) {
                (Some(cosigned), Some(key)) => believe(seals, key, witness, &cosigned).await?,
                _ => Err("it has cosigned nothing".to_owned()),
            });
        }
        Ok(Self { policy, said })
    }

    /// The sizes and roots that the log must have had, with who says so.
    pub(super) fn roots(&self) -> impl Iterator<Item = (Position, Digest, String)> {
        let witnesses = self.policy.witnesses().iter().zip(&self.said);
        witnesses.filter_map(|(witness, said)| {
            let said = said.as_ref().ok()?;
            Some((said.size, said.root, witness.key.name().to_owned()))
        })
    }

    /// Tells when the policy is not met, at the time `now`. Returns what each witness that counts said.
    pub(super) async fn judge(
        mut self,
        seals: &Seals,
        now: DateTime<Utc>,
        findings: &mut Findings,
    ) -> Result<Vec<String>, sqlx::Error> {
        let due = last_before(seals, now - COSIGNED_WITHIN).await?;
        let mut size = Position::LAST;
        for said in &mut self.said {
            if let Ok(it) = said {
                size = size.min(it.size);
                let why = if !is_young(it.at, now, COSIGNED_WITHIN) {
                    Some(format!("it said so last at {}, by its clock", it.at))
                } else if it.size < due {
                    Some(format!(
                        "it cosigned {} events, and {due} are older",
                        it.size
                    ))
                } else {
                    None
                };
                if let Some(why) = why {
                    *said = Err(why);
                }
            }
        }
        let (mut counted, mut lines, mut why) = (Vec::new(), Vec::new(), Vec::new());
        for (witness, said) in self.policy.witnesses().iter().zip(&self.said) {
            let name = witness.key.name();
            counted.push(said.is_ok());
            match said {
                Ok(said) => lines.push(format!(
                    "Cosigned by {name} up to position {} at {}",
                    said.size, said.at
                )),
                Err(reason) => why.push(format!("{name}: {reason}")),
            }
        }
        if !self.policy.is_met(&counted) {
            let size = if size == Position::LAST {
                Position::START
            } else {
                size
            };
            let why = why.join("; ");
            findings.add(Finding::NotWitnessed { size, why });
        }
        Ok(lines)
    }
}

/// What a cosignature says, when it is one over a checkpoint that the log has signed.
async fn believe(
    seals: &Seals,
    key: &VerifierKey,
    witness: &Witness,
    cosigned: &Cosigned,
) -> Result<Result<Said, String>, sqlx::Error> {
    let stored = seals.at_most(cosigned.size).await?;
    let Some(stored) = stored.filter(|stored| stored.size == cosigned.size) else {
        let why = format!(
            "the checkpoint of {} events that it cosigned is gone",
            cosigned.size
        );
        return Ok(Err(why));
    };
    let lines = format!("{}\n", cosigned.line);
    let body = split(&stored.note).map(|(body, _)| body);
    let held = body.and_then(|body| witness.key.find(body, &lines).ok().flatten());
    let signed = key.open_checkpoint(&stored.note);
    let (Some(held), Ok(signed)) = (held, signed) else {
        return Ok(Err(
            "its cosignature is not over the checkpoint that is stored".to_owned(),
        ));
    };
    Ok(Ok(Said {
        size: Position::try_from(signed.size).map_err(decode)?,
        root: signed.root,
        at: held.at,
    }))
}

/// The last event that was recorded before `then`.
async fn last_before(seals: &Seals, then: DateTime<Utc>) -> Result<Position, sqlx::Error> {
    let last = sqlx::query_scalar!(
        "
        SELECT events.position FROM log.events
        WHERE events.recorded_at < $1 ORDER BY events.position DESC LIMIT 1
        ",
        then,
    )
    .fetch_optional(seals.pool())
    .await?;
    Position::new(last.unwrap_or(0)).map_err(decode)
}
