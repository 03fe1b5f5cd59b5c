//! The API and the workers, wired.

use crate::UsageError;
use crate::cli::{InstanceOptions, ServeOptions, ServersOptions, WorkOptions};
use crate::http::{Bound, Serving};
use crate::instance::{Instance, ServerUrls};
use crate::keys;
use crate::system::System;
use crate::up::{say, stop_signal};
use crate::witnesses::{Witnesses, cosign, forget, witnesses};
use anyhow::Context as _;
use async_nats::{Client, ConnectOptions, Event};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use touchline_api::auth::KeyRing;
use touchline_api::limits::Deadlines;
use touchline_api::{ApiParts, ApiState};
use touchline_commands::identity::Identity;
use touchline_commands::{Argon2Hasher, Bus, Credentials};
use touchline_domain::clock::{Clock as _, IdSource as _};
use touchline_eventstore::database::{Database, DatabaseError};
use touchline_eventstore::relay::{Nudger, Relay, RelaySettings};
use touchline_eventstore::seal::{Keeping, Sealer, Seals};
use touchline_eventstore::{EventStore, Tasks};
use touchline_projections::registry;
use touchline_projections::{Freshness, Projections};

/// Connections for commands, the relay and health.
const STORE_CONNECTIONS: u32 = 16;
/// Connections for a command that reads only: one a core, and some.
const SEALS_CONNECTIONS: u32 = 8;
/// Connections for the relay, the sealer and the projections.
const WORK_CONNECTIONS: u32 = 8;
/// How long NATS may take to take what is still on its way to it.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a command waits for NATS that can do without it.
const NATS_PATIENCE: Duration = Duration::from_secs(5);
/// Connections for queries.
const QUERY_CONNECTIONS: u32 = 16;

/// What every role stands on.
pub(crate) struct Parts {
    pub(crate) database: Database,
    pub(crate) store: EventStore,
    /// The command bus, and what accounts need beside it.
    pub(crate) identity: Identity,
    nats: Client,
    nats_connected: watch::Receiver<bool>,
}

impl Parts {
    /// Connects to the servers, and brings the database to this version if `migrate`, else only
    /// looks whether it is.
    pub(crate) async fn prepare(urls: &ServerUrls, migrate: bool) -> anyhow::Result<Self> {
        let database = open_database(&urls.database)?;
        let ready = if migrate {
            database.migrate().await
        } else {
            database.check().await
        };
        ready.map_err(explain)?;
        let (nats, nats_connected) = connect_nats(&urls.nats).await?;
        let store = EventStore::new(
            database.clone(),
            database.pool(STORE_CONNECTIONS),
            keys::read_master_keys(&urls.master_key_file)?,
            Arc::new(System),
        );
        keys::check(&store, &urls.master_key_file).await?;
        let seals = Seals::new(store.pool().clone());
        let log_id = store.log_id().await.context("the log cannot be read")?;
        // Before this process appends anything: a log with events is never given a key unasked.
        seals
            .prepare_key(store.keys(), log_id)
            .await
            .context("the key of the seals cannot be made")?;
        registry::prepare(store.pool())
            .await
            .context("the schemas of the read models cannot be made")?;
        let credentials = Credentials::new(store.pool().clone(), store.keys().clone());
        let fingerprints = keys::fingerprints(&credentials, &urls.master_key_file).await?;
        let identity = Identity {
            bus: Bus::new(store.clone(), Arc::new(System), Arc::new(System)),
            credentials,
            hasher: Arc::new(Argon2Hasher::for_this_machine()),
            fingerprints,
        };
        Ok(Self {
            database,
            store,
            identity,
            nats,
            nats_connected,
        })
    }

    /// Tells the relay, wherever it runs, what this process appends.
    pub(crate) fn nudger(&self) -> Nudger {
        Nudger::new(self.store.clone(), self.nats.clone())
    }

    /// Where copies of the last checkpoint are kept outside PostgreSQL.
    pub(crate) fn keeping(&self, folder: &Path) -> Keeping {
        Keeping::default()
            .in_folder(folder.to_owned())
            .in_stream(self.nats.clone(), self.store.keys().clone())
    }

    /// Waits for NATS, if it is there.
    pub(crate) async fn nats_tried(&self) {
        let mut connected = self.nats_connected.clone();
        drop(timeout(NATS_PATIENCE, connected.wait_for(|connected| *connected)).await);
    }

    /// Closes the log, then NATS: what is on its way is still told.
    pub(crate) async fn close(&self) {
        self.store.close().await;
        match timeout(DRAIN_TIMEOUT, self.nats.drain()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = %error, "touchline: the NATS connection was not drained");
            }
            Err(_elapsed) => {
                tracing::warn!("touchline: NATS is away, its connection was not drained");
            }
        }
    }
}

/// What workers need besides: the relay, the sealer, the projections and what has the log cosigned.
pub(crate) struct Work<'a> {
    /// The sealer keeps its copies below it.
    pub(crate) data_dir: &'a Path,
    /// The witnesses; none when there are none.
    pub(crate) witnesses: Option<Witnesses>,
}

/// Starts tasks that run until `stop`.
pub(crate) struct Keep<'a> {
    tasks: &'a Tasks,
    stop: &'a CancellationToken,
}

impl Keep<'_> {
    pub(crate) fn running<F>(
        &self,
        name: &str,
        start: impl Fn(CancellationToken) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let told = self.stop.clone();
        let start = move || start(told.clone());
        self.tasks.keep(name, self.stop.clone(), start);
    }
}

/// Workers that run, and what an API beside them needs.
pub(crate) struct Roles {
    parts: Parts,
    freshness: Freshness,
    projections: Option<Projections>,
    tasks: Tasks,
    stop: CancellationToken,
}

impl Roles {
    /// Starts what workers do; without `work` only the nudges to those of another process.
    pub(crate) fn start(parts: Parts, work: Option<Work<'_>>) -> Self {
        let stop = CancellationToken::new();
        let tasks = Tasks::default();
        let holder = System.next();
        let keep = Keep {
            tasks: &tasks,
            stop: &stop,
        };
        let nudger = (parts.store.clone(), parts.nats.clone());
        keep.running("nudger", move |stop| {
            let (store, nats) = nudger.clone();
            Nudger::new(store, nats).run(stop)
        });
        let store = parts.store.clone();
        keep.running("forgetter", move |stop| {
            keys::forget_erased(store.clone(), stop)
        });
        let queries = parts.database.pool(2);
        let (projections, freshness) = if let Some(Work {
            data_dir,
            witnesses,
        }) = work
        {
            // Workers have connections of their own: a busy API must not cost them their leases.
            let store = parts.store.through(parts.database.pool(WORK_CONNECTIONS));
            let (log, nats) = (store.clone(), parts.nats.clone());
            keep.running("relay", move |stop| {
                let settings = RelaySettings::default();
                Relay::new(log.clone(), nats.clone(), holder, settings).run(stop)
            });
            let (log, keeping) = (store.clone(), parts.keeping(&kept_in(data_dir)));
            keep.running("sealer", move |stop| {
                let sealer = Sealer::new(log.clone(), holder);
                sealer.keeping(keeping.clone()).run(stop)
            });
            let seals = Seals::new(store.pool().clone());
            match witnesses {
                Some(witnesses) => cosign(&keep, seals, holder, witnesses),
                None => forget(&keep, seals),
            }
            let identity = parts.identity.clone();
            keep.running("erasures", move |stop| {
                keys::finish_erasures(identity.clone(), stop)
            });
            let (database, nats) = (&parts.database, Some(&parts.nats));
            let projections = Projections::start(&store, database, nats, holder, &stop, &tasks);
            let freshness = projections.freshness(queries);
            (Some(projections), freshness)
        } else {
            (None, Freshness::new(queries, &registry::names(), &[]))
        };
        Self {
            parts,
            freshness,
            projections,
            tasks,
            stop,
        }
    }

    /// Serves the API.
    pub(crate) async fn serve(&self, bound: Bound) -> anyhow::Result<Serving> {
        let parts = &self.parts;
        let state = ApiState::new(ApiParts {
            identity: parts.identity.clone(),
            database: parts.database.clone(),
            queries: parts.database.query_pool(QUERY_CONNECTIONS),
            freshness: self.freshness.clone(),
            keys: KeyRing::load(parts.identity.credentials.clone(), System.now())
                .await
                .context("the signing keys cannot be read")?,
            log_id: parts
                .store
                .log_id()
                .await
                .context("the log cannot be read")?,
            clock: Arc::new(System),
            ids: Arc::new(System),
            nats_connected: parts.nats_connected.clone(),
            deadlines: Deadlines::default(),
            tasks: self.tasks.clone(),
        });
        bound.serve(touchline_api::router(state))
    }

    /// Lets every worker finish its batch and give its lease back, then closes the log and NATS.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        if let Some(projections) = self.projections {
            projections.stopped().await;
        }
        self.tasks.ended().await;
        self.parts.close().await;
    }
}

/// `touchline serve`: the API on servers that run already.
pub(crate) async fn serve(options: ServeOptions) -> anyhow::Result<()> {
    let urls = ServerUrls::named(&options.servers)?;
    let stop = stop_signal()?;
    let bound = Bound::bind(options.serving.listen, options.serving.connections)?;
    if let Some(file) = &options.serving.ready_file {
        Instance::make_way(file)?;
    }
    let url = bound.url();
    let roles = Roles::start(Parts::prepare(&urls, false).await?, None);
    let mut serving = roles.serve(bound).await?;
    if let Some(file) = &options.serving.ready_file {
        Instance {
            url: url.clone(),
            database_url: urls.database,
            nats_url: urls.nats,
            master_key_file: urls.master_key_file,
        }
        .write(file)?;
    }
    say(&format!("Touchline serves at {url}"))?;
    let ended = stop.run_until_cancelled(serving.ended()).await;
    let stopped = serving.stop().await;
    roles.stop().await;
    ended.unwrap_or(stopped)
}

/// `touchline work`: the relay, the sealer and the projections on servers that run already.
pub(crate) async fn work(options: WorkOptions) -> anyhow::Result<()> {
    let witnesses = witnesses(&options.witnesses)?;
    let options = options.instance;
    let urls = ServerUrls::named(&options.servers)?;
    let stop = stop_signal()?;
    let kept = kept_in(&options.data_dir);
    fs::create_dir_all(&kept).map_err(|error| {
        UsageError::new(format!(
            "{} cannot be made ({error}): name a folder for copies of the last checkpoint with --data-dir",
            kept.display()
        ))
    })?;
    let parts = Parts::prepare(&urls, false).await?;
    let data_dir = &*options.data_dir;
    let roles = Roles::start(
        parts,
        Some(Work {
            data_dir,
            witnesses,
        }),
    );
    say("Touchline works")?;
    stop.cancelled().await;
    roles.stop().await;
    Ok(())
}

/// `touchline migrate`: the database to this version.
pub(crate) async fn migrate(options: ServersOptions) -> anyhow::Result<()> {
    let Some(url) = options.database_url else {
        return Err(UsageError::new(
            "TOUCHLINE_DATABASE_URL is not set: name the PostgreSQL server to migrate",
        )
        .into());
    };
    open_database(&url)?.migrate().await.map_err(explain)?;
    say("The database is up to date")
}

/// Where copies of the last checkpoint lie in a data folder.
pub(crate) fn kept_in(data_dir: &Path) -> PathBuf {
    data_dir.join("seals")
}

/// The seals alone, for what reads nothing that is personal and appends nothing.
pub(crate) async fn open_seals(options: &InstanceOptions) -> anyhow::Result<Seals> {
    let database = open_database(&ServerUrls::database_of(options)?)?;
    database.check().await.map_err(explain)?;
    Ok(Seals::new(database.pool(SEALS_CONNECTIONS)))
}

fn open_database(url: &str) -> anyhow::Result<Database> {
    Database::new(url).map_err(explain)
}

/// What is wrong with the set-up is the operator's to mend: exit code 2. The rest is a failure.
fn explain(error: DatabaseError) -> anyhow::Error {
    match error {
        DatabaseError::Unavailable(_) | DatabaseError::Migrate(_) => error.into(),
        other => UsageError::new(other.to_string()).into(),
    }
}

/// A client that connects when NATS is there and again whenever it comes back, and whether it is
/// connected now. NATS being away is no reason not to start.
async fn connect_nats(url: &str) -> anyhow::Result<(Client, watch::Receiver<bool>)> {
    let (connected, watching) = watch::channel(false);
    let mut options = ConnectOptions::new()
        .name("touchline")
        .retry_on_initial_connect()
        .event_callback(move |event| {
            match event {
                Event::Connected => drop(connected.send_replace(true)),
                Event::Disconnected => drop(connected.send_replace(false)),
                _ => {}
            }
            std::future::ready(())
        });
    let address: async_nats::ServerAddr = url.parse().map_err(|_malformed| {
        UsageError::new("the NATS URL is not of the form nats://user:password@host:port")
    })?;
    if let (Some(user), Some(password)) = (address.username(), address.password()) {
        options = options.user_and_password(user.to_owned(), password.to_owned());
    }
    let client = options
        .connect(address)
        .await
        .context("NATS cannot be reached")?;
    Ok((client, watching))
}
