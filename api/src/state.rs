//! What the handlers share.

use crate::auth::KeyRing;
use crate::health::Probe;
use crate::limits::Deadlines;
use crate::secret::Sealer;
use sqlx::{Connection as _, PgPool};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use touchline_commands::identity::Identity;
use touchline_commands::{Bus, Fingerprints};
use touchline_domain::clock::{Clock, IdSource, Timestamp};
use touchline_eventstore::database::Database;
use touchline_eventstore::seal::Seals;
use touchline_eventstore::{EventStore, Tasks};
use touchline_projections::history::HistoryReader;
use touchline_projections::{Freshness, overview};
use uuid::Uuid;

/// How long an event may wait for its checkpoint; it comes within a second while all is well.
const SEALED_WITHIN: Duration = Duration::from_secs(30);

/// How long an event may wait until every read model has folded it.
const FOLDED_WITHIN: Duration = Duration::from_secs(30);

/// What the API stands on. The composition root fills it in.
pub struct ApiParts {
    /// The command bus with what accounts need beside it.
    pub identity: Identity,
    /// Where the log lives, to see whether it is migrated.
    pub database: Database,
    /// Connections for the queries on the read models.
    pub queries: PgPool,
    /// How far the read models are.
    pub freshness: Freshness,
    /// The keys that sign access tokens.
    pub keys: KeyRing,
    /// Which log this is.
    pub log_id: Uuid,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes ids.
    pub ids: Arc<dyn IdSource>,
    /// Whether NATS is connected, kept current by the composition root.
    pub nats_connected: watch::Receiver<bool>,
    /// After what time requests are given up.
    pub deadlines: Deadlines,
    /// What runs as long as the process.
    pub tasks: Tasks,
}

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct ApiState(Arc<Inner>);

struct Inner {
    parts: ApiParts,
    /// The log, read with the connections of queries.
    log: EventStore,
    cursors: Sealer,
    answers: Probe,
    ready: Probe,
    sealed: Probe,
    cosigned: Probe,
    projected: Probe,
}

impl ApiState {
    /// The state made of these parts.
    #[must_use]
    pub fn new(parts: ApiParts) -> Self {
        let log = parts.identity.bus.store().through(parts.queries.clone());
        Self(Arc::new(Inner {
            log,
            cursors: Sealer::new(parts.identity.fingerprints.of(&[b"key of cursors"])),
            answers: Probe::default(),
            ready: Probe::default(),
            sealed: Probe::default(),
            cosigned: Probe::default(),
            projected: Probe::default(),
            parts,
        }))
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.0.parts.identity
    }

    pub(crate) fn bus(&self) -> &Bus {
        &self.0.parts.identity.bus
    }

    pub(crate) fn store(&self) -> &EventStore {
        self.bus().store()
    }

    pub(crate) fn queries(&self) -> &PgPool {
        &self.0.parts.queries
    }

    pub(crate) fn freshness(&self) -> &Freshness {
        &self.0.parts.freshness
    }

    /// The log, read with the connections of queries.
    pub(crate) fn log(&self) -> &EventStore {
        &self.0.log
    }

    /// Reads history, with the connections of queries.
    pub(crate) fn history(&self) -> HistoryReader {
        HistoryReader::new(self.log().clone(), self.freshness().clone())
    }

    pub(crate) fn keys(&self) -> &KeyRing {
        &self.0.parts.keys
    }

    pub(crate) fn log_id(&self) -> Uuid {
        self.0.parts.log_id
    }

    pub(crate) fn deadlines(&self) -> Deadlines {
        self.0.parts.deadlines
    }

    pub(crate) fn cursors(&self) -> &Sealer {
        &self.0.cursors
    }

    pub(crate) fn fingerprints(&self) -> &Fingerprints {
        &self.0.parts.identity.fingerprints
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.parts.clock.now()
    }

    pub(crate) fn new_id(&self) -> Uuid {
        self.0.parts.ids.next()
    }

    pub(crate) async fn database_answers(&self) -> bool {
        let question = async { self.queries().acquire().await?.ping().await };
        self.0.answers.ask(question).await
    }

    pub(crate) async fn is_ready(&self) -> bool {
        self.0.ready.ask(self.0.parts.database.check()).await
    }

    /// Whether the sealer keeps up and does not refuse to sign, as far as can be seen.
    pub(crate) async fn is_sealed(&self) -> bool {
        let question = async {
            let seals = Seals::new(self.queries().clone());
            let behind = seals.is_behind(self.now() - SEALED_WITHIN).await;
            match (behind, seals.is_refused().await) {
                (Ok(false), Ok(false)) => Ok(()),
                _ => Err(()),
            }
        };
        self.0.sealed.ask(question).await
    }

    /// Whether the witnesses have cosigned the log as their policy demands, as far as can be seen.
    pub(crate) async fn is_cosigned(&self) -> bool {
        let question = async {
            let seals = Seals::new(self.queries().clone());
            match seals.witnessing_problem().await {
                Ok(None) => Ok(()),
                _ => Err(()),
            }
        };
        self.0.cosigned.ask(question).await
    }

    /// Whether the read models keep up and nothing of them waits for somebody, as far as can be seen.
    pub(crate) async fn is_projected(&self) -> bool {
        let question = async {
            let since = self.now() - FOLDED_WITHIN;
            let needs = overview::needs_attention(self.queries(), since).await;
            if matches!(needs, Ok(false)) {
                Ok(())
            } else {
                Err(())
            }
        };
        self.0.projected.ask(question).await
    }

    /// Whether every long-lived task of this process has run for a while.
    pub(crate) fn tasks_run(&self) -> bool {
        let parts = &self.0.parts;
        let all = [&parts.tasks, self.store().tasks(), parts.freshness.tasks()];
        all.iter().all(|tasks| tasks.failing().is_empty())
    }

    pub(crate) fn nats_is_connected(&self) -> bool {
        *self.0.parts.nats_connected.borrow()
    }
}
