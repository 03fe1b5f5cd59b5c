//! The relay: publishes the log, in order, to the stream LOG (L6).
//!
//! One relay leads, by lease. The lease only keeps two from working at once; what keeps a late or
//! rival one from doing harm is the server: every message says which sequence must be the last
//! before it, and is refused otherwise. Whatever happens to the stream, the relay compares it with
//! the log and mends it.

mod nudge;
mod publisher;

pub use nudge::Nudger;
pub use publisher::PublishError;

use crate::anchor::Anchor;
use crate::causes::Causes;
use crate::lease::{Lease, Tenure};
use crate::position::Position;
use crate::store::{EventStore, ReadError, appended_beyond};
use crate::stream::{CompareError, Comparison, LogStream};
use async_nats::connection::State;
use async_nats::jetstream::context::{CreateStreamError, DeleteStreamError};
use async_nats::{Client, SubscribeError, Subscriber};
use publisher::Publisher;
use std::convert::Infallible;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The name of the relay's lease.
pub const LEASE_NAME: &str = "relay";

/// How many events one read of the log asks for.
const PAGE_EVENTS: usize = 2_000;
/// How often the log is looked at while nothing says that it grew.
const POLL: Duration = Duration::from_millis(100);
/// How often one that does not lead tries to.
const CANDIDACY: Duration = Duration::from_secs(1);
/// How long the publishing of one page may take before the connection counts as stuck.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause after a failure: at first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often a stream is made anew in one go before the relay pauses.
const MENDS_MAX: usize = 3;

/// What can be chosen about a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelaySettings {
    /// How many servers of a NATS cluster keep the stream when the relay makes it.
    pub replicas: usize,
    /// How often the stream is compared with the log while all seems well.
    pub compare_every: Duration,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            replicas: 1,
            compare_every: Duration::from_secs(10),
        }
    }
}

/// How a relay fares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelayStatus {
    /// Whether it holds the lease.
    pub leader: bool,
    /// The last event that JetStream has acknowledged.
    pub published: Position,
    /// How often the stream was found to be no copy of the log, and made anew.
    pub alarms: u64,
    /// What went wrong last, until all is well again.
    pub last_error: Option<String>,
}

/// Mirrors the log into JetStream while it leads.
pub struct Relay {
    store: EventStore,
    client: Client,
    holder: Uuid,
    settings: RelaySettings,
    status: watch::Sender<RelayStatus>,
}

/// Why publishing stopped; it starts again after a pause.
#[derive(Debug, Error)]
enum MirrorError {
    #[error("the log cannot be read")]
    Log(#[from] ReadError),
    #[error("the stream LOG cannot be compared with the log")]
    Compare(#[from] CompareError),
    #[error("the stream LOG cannot be made")]
    Create(#[from] CreateStreamError),
    #[error("the stream LOG cannot be removed to make it anew")]
    Delete(#[from] DeleteStreamError),
    #[error("the stream LOG was made anew {MENDS_MAX} times and is still no copy of the log")]
    Unmended,
    #[error("NATS refuses a subscription")]
    Subscribe(#[from] SubscribeError),
    #[error("an event cannot be published")]
    Publish(#[from] PublishError),
    #[error("a page of events was not published within {} s", PAGE_TIMEOUT.as_secs())]
    Stuck,
    #[error("the lease has run out")]
    NotLeading,
}

impl Relay {
    /// A relay from the log of `store` to the stream LOG behind `client`, which is best its own
    /// connection. `holder` tells it from others: a fresh id.
    #[must_use]
    pub fn new(store: EventStore, client: Client, holder: Uuid, settings: RelaySettings) -> Self {
        Self {
            store,
            client,
            holder,
            settings,
            status: watch::Sender::default(),
        }
    }

    /// How it fares, from now on.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<RelayStatus> {
        self.status.subscribe()
    }

    /// Works until `stop` is cancelled: tries to lead, and publishes while it does. No failure of
    /// PostgreSQL or NATS ends it.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let asked = Instant::now();
            match Lease::acquire(self.store.pool(), LEASE_NAME, self.holder).await {
                Ok(Some(lease)) => self.lead(&Tenure::new(lease, asked), &stop).await,
                Ok(None) => self.status.send_modify(|status| status.last_error = None),
                Err(error) => {
                    let message = format!("the lease cannot be taken: {}", Causes(&error));
                    self.status
                        .send_modify(|status| status.last_error = Some(message));
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(CANDIDACY) => {}
            }
        }
    }

    async fn lead(&self, tenure: &Tenure, stop: &CancellationToken) {
        tracing::info!(epoch = tenure.epoch(), "relay: leading");
        self.status.send_modify(|status| status.leader = true);
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = tenure.keep(self.store.pool()) => {
                tracing::warn!(epoch = tenure.epoch(), "relay: the lease is lost");
            }
            () = self.mirror(tenure) => {}
        }
        self.status.send_modify(|status| status.leader = false);
        tenure.end(self.store.pool()).await;
    }

    /// Publishes as long as the lease is held, again and again after failures.
    async fn mirror(&self, tenure: &Tenure) {
        let mut pause = PAUSE_MIN;
        while tenure.is_held() {
            let before = self.status.borrow().published;
            let Err(error) = Box::pin(self.publish(tenure)).await;
            let message = Causes(&error).to_string();
            tracing::warn!(error = %message, pause_ms = pause.as_millis(), "relay: trying again");
            let moved = self.status.borrow().published != before;
            self.status
                .send_modify(|status| status.last_error = Some(message));
            pause = if moved {
                PAUSE_MIN
            } else {
                (pause * 2).min(PAUSE_MAX)
            };
            sleep(pause).await;
        }
    }

    async fn publish(&self, tenure: &Tenure) -> Result<Infallible, MirrorError> {
        // Questions that are asked while there is no connection would pile up in the client.
        if self.client.connection_state() != State::Connected {
            return Err(PublishError::Disconnected.into());
        }
        let authenticator = self.store.authenticator().await?;
        let replicas = self.settings.replicas;
        let stream = LogStream::new(&self.client, authenticator.clone(), replicas);
        let mut nudges = self.client.subscribe(nudge::SUBJECT).await?;
        let mut publisher = Publisher::open(&self.client, authenticator).await?;
        loop {
            let connects = publisher.connects();
            let last = self.reconcile(&stream, tenure).await?;
            publisher.restart_after(last);
            self.follow(&mut publisher, &mut nudges, connects, tenure)
                .await?;
        }
    }

    /// Makes the stream a copy of a beginning of the log, if it is not, and returns its last event.
    async fn reconcile(&self, stream: &LogStream, tenure: &Tenure) -> Result<Anchor, MirrorError> {
        for _ in 0..MENDS_MAX {
            match stream.compare(&self.store).await? {
                Comparison::InStep { last, .. } => {
                    self.status.send_modify(|status| {
                        status.published = last.position;
                        status.last_error = None;
                    });
                    return Ok(last);
                }
                Comparison::Missing => {
                    tracing::warn!("relay: there is no stream LOG; making it");
                }
                Comparison::OtherKey => {
                    self.delete(stream, tenure).await?;
                    tracing::warn!(
                        "relay: the master key is another one; making the stream LOG anew"
                    );
                }
                Comparison::Diverged(divergence) => {
                    self.delete(stream, tenure).await?;
                    tracing::error!(
                        reason = %divergence,
                        "relay: the stream LOG is no copy of the log; making it anew"
                    );
                    self.status.send_modify(|status| status.alarms += 1);
                }
            }
            stream.create(Position::START.next()).await?;
        }
        Err(MirrorError::Unmended)
    }

    async fn delete(&self, stream: &LogStream, tenure: &Tenure) -> Result<(), MirrorError> {
        // A relay that was paused for long must not remove what the next one has made.
        if !tenure.confirm(self.store.pool()).await {
            return Err(MirrorError::NotLeading);
        }
        Ok(stream.delete().await?)
    }

    /// Publishes what the log has and gets, until it is time to compare again: after a while, or
    /// when the connection is another one than `connects` counted.
    async fn follow(
        &self,
        publisher: &mut Publisher,
        nudges: &mut Subscriber,
        connects: u64,
        tenure: &Tenure,
    ) -> Result<(), MirrorError> {
        let due = Instant::now() + self.settings.compare_every;
        let mut appended = self.store.appended();
        while Instant::now() < due {
            self.publish_rest(publisher, tenure, due).await?;
            let (sent, poll) = (publisher.sent().position, Instant::now() + POLL);
            loop {
                tokio::select! {
                    acknowledged = publisher.acknowledge(), if publisher.in_flight() > 0 => {
                        acknowledged?;
                        self.report(publisher);
                    }
                    () = appended_beyond(sent, &mut appended) => break,
                    () = nudge::received(nudges, sent) => break,
                    () = sleep_until(poll) => break,
                }
            }
            // It may be another server now, or one with an older store.
            if publisher.connects() != connects {
                return Ok(());
            }
        }
        while publisher.in_flight() > 0 {
            publisher.acknowledge().await?;
            self.report(publisher);
        }
        Ok(())
    }

    /// Publishes everything that is in the log now, reading one page while another is on its way.
    async fn publish_rest(
        &self,
        publisher: &mut Publisher,
        tenure: &Tenure,
        due: Instant,
    ) -> Result<(), MirrorError> {
        let mut page = self.store.read_after(publisher.sent(), PAGE_EVENTS).await?;
        while let Some(last) = page.last() {
            if !tenure.is_held() {
                return Err(MirrorError::NotLeading);
            }
            let (after, full) = (last.anchor(), page.len() == PAGE_EVENTS);
            let more = full && Instant::now() < due;
            let (sent, next) = tokio::join!(timeout(PAGE_TIMEOUT, publisher.send(&page)), async {
                if more {
                    self.store.read_after(after, PAGE_EVENTS).await
                } else {
                    Ok(Vec::new())
                }
            });
            sent.map_err(|_elapsed| MirrorError::Stuck)??;
            self.report(publisher);
            page = next?;
        }
        Ok(())
    }

    fn report(&self, publisher: &Publisher) {
        self.status
            .send_modify(|status| status.published = publisher.acknowledged());
    }
}
