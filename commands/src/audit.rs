//! Looks at history: each is recorded before anything is shown. New beginnings of the log.

use crate::bus::{Bus, ExecuteError, Failure, Intent};
use crate::envelope::Envelope;
use touchline_domain::audit::{
    BeginningCommand, HistoryRead, LogBegunAnew, Look, LookCommand, LookOperation, NewBeginning,
    Slice, Surface,
};
use touchline_domain::id::{BeginningId, LookId};
use touchline_domain::identity::Permission;
use touchline_eventstore::Position;

/// What somebody is about to read.
#[derive(Debug, Clone)]
pub struct Reading {
    /// By which way.
    pub surface: Surface,
    /// What is asked.
    pub operation: LookOperation,
    /// Of which part of the log.
    pub slice: Slice,
    /// At most how many events of it; none for all.
    pub events_max: Option<u32>,
    /// Whether personal fields are opened.
    pub personal: bool,
}

/// Records that the actor of `envelope`, or the operator when there is none, reads a part of the
/// log, and answers where the log has that. An actor is an auditor, and for what is personal may read
/// that. What is asked for must not be shown when this fails.
///
/// # Errors
/// [`Failure`] when it was not recorded.
#[tracing::instrument(name = "audit.record", skip_all, err(level = "debug"))]
pub async fn record(bus: &Bus, envelope: &Envelope, reading: Reading) -> Result<Position, Failure> {
    let look_id = LookId::new(bus.new_id());
    let look = &HistoryRead {
        look_id,
        reader: envelope.actor,
        surface: reading.surface,
        operation: reading.operation,
        slice: reading.slice,
        events_max: reading.events_max,
        personal: reading.personal,
        read_at: envelope.at,
    };
    let recorded = bus.decide(envelope, |reads| {
        Box::pin(async move {
            reads.require(Permission::Auditor).await?;
            if look.personal {
                reads.require(Permission::AuditorPersonal).await?;
            }
            let record = LookCommand::Record(look.clone());
            Ok(Intent::<Look>::new(look_id.uuid(), record).presuming_new())
        })
    });
    match recorded.await {
        Ok(outcome) => Ok(outcome.end.position),
        Err(ExecuteError::Refused(never)) => match never {},
        Err(ExecuteError::Failed(failure)) => Err(failure),
    }
}

/// Records that the operator goes on without a checkpoint over `abandoned_size` events, from one over
/// `size`, and whether a new key is made. Nothing may be begun anew when this fails.
///
/// # Errors
/// [`Failure`] when it was not recorded.
#[tracing::instrument(name = "audit.begin_anew", skip_all, err(level = "debug"))]
pub async fn begin_anew(
    bus: &Bus,
    envelope: &Envelope,
    abandoned_size: u64,
    size: u64,
    key_made: bool,
) -> Result<Position, Failure> {
    let beginning_id = BeginningId::new(bus.new_id());
    let begun = LogBegunAnew {
        beginning_id,
        abandoned_size,
        size,
        key_made,
        begun_at: envelope.at,
    };
    let command = BeginningCommand::Acknowledge(begun);
    let intent = Intent::<NewBeginning>::new(beginning_id.uuid(), command).presuming_new();
    match bus.execute(envelope, intent).await {
        Ok(outcome) => Ok(outcome.end.position),
        Err(ExecuteError::Refused(never)) => match never {},
        Err(ExecuteError::Failed(failure)) => Err(failure),
    }
}
