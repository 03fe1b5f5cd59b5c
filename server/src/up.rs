//! Everything in one process, with PostgreSQL and NATS of its own.

use crate::UsageError;
use crate::cli::UpOptions;
use crate::http::Bound;
use crate::instance::{Instance, ServerUrls};
use crate::keys;
use crate::roles::{Parts, Roles, Work};
use crate::witnesses::{Witnesses, witnesses};
use anyhow::Context as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use touchline_embedded::tools::find_nats_server;
use touchline_embedded::{
    DataDir, Nats, NatsSettings, OpenDataDirError, Postgres, PostgresSettings, StopMode,
};

/// The database that Touchline uses on its own server.
const DATABASE: &str = "touchline";
/// The pause before a server of ours that died is started again: doubled each time, until one has
/// lived longer than the longest pause.
const RESTART_MIN: Duration = Duration::from_millis(100);
const RESTART_MAX: Duration = Duration::from_secs(10);
/// How often in a row a server may fail to start again before the instance gives up.
const RESTARTS_MAX: u32 = 10;

/// How long a folder that another process holds is waited for.
const FOLDER_PATIENCE: Duration = Duration::from_secs(1);

/// Runs until told to stop.
///
/// What can be refused is refused before anything is started: the folder, then the port, the ready
/// file, then the binaries. What was started is stopped in the opposite order, also when a later step fails.
pub(crate) async fn up(options: UpOptions) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    let folder = open_folder(&options.instance.data_dir).await?;
    let bound = Bound::bind(options.serving.listen, options.serving.connections)?;
    let witnesses = witnesses(&options.witnesses)?;
    if let Some(file) = &options.serving.ready_file {
        Instance::make_way(file)?;
    }
    let mut servers = Servers::default();
    let outcome = run(&options, &folder, bound, witnesses, &mut servers, stop).await;
    drop(std::fs::remove_file(Instance::file(folder.path())));
    let stopped = servers.stop().await;
    outcome.and(stopped)
}

async fn run(
    options: &UpOptions,
    folder: &DataDir,
    bound: Bound,
    witnesses: Option<Witnesses>,
    servers: &mut Servers,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let Some(urls) = stop
        .run_until_cancelled(servers.start(options, folder))
        .await
        .transpose()?
    else {
        return Ok(());
    };
    let parts = Parts::prepare(&urls, true).await?;
    let data_dir = folder.path();
    let roles = Roles::start(
        parts,
        Some(Work {
            data_dir,
            witnesses,
        }),
    );
    let instance = Instance {
        url: bound.url(),
        database_url: urls.database,
        nats_url: urls.nats,
        master_key_file: urls.master_key_file,
    };
    let mut serving = roles.serve(bound).await?;
    instance.write(&Instance::file(folder.path()))?;
    if let Some(file) = &options.serving.ready_file {
        instance.write(file)?;
    }
    say(&format!("Touchline serves at {}", instance.url))?;
    let supervised = tokio::select! {
        supervised = servers.supervise(folder, &instance, &stop) => supervised,
        ended = serving.ended() => ended,
    };
    drop(std::fs::remove_file(Instance::file(folder.path())));
    serving.stop().await?;
    roles.stop().await;
    supervised
}

/// Cancelled by Ctrl-C or SIGTERM.
pub(crate) fn stop_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("touchline: stopping");
        told.cancel();
    });
    Ok(stop)
}

/// One line on standard output, at once.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()?;
    Ok(())
}

/// A server came back at another address, where nobody who uses it would find it.
#[derive(Debug)]
struct Moved(&'static str);

impl std::fmt::Display for Moved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the port of {} was taken while it was down: start touchline again",
            self.0
        )
    }
}

impl std::error::Error for Moved {}

/// The servers that this process started.
#[derive(Default)]
struct Servers {
    postgres: Option<Postgres>,
    nats: Option<Nats>,
}

impl Servers {
    /// Starts those that the environment does not name.
    async fn start(&mut self, options: &UpOptions, folder: &DataDir) -> anyhow::Result<ServerUrls> {
        let named = &options.instance.servers;
        if named.nats_url.is_none() {
            // Found now, so that PostgreSQL is not set up in vain.
            find_nats_server().map_err(|error| UsageError::new(error.to_string()))?;
        }
        let database = if let Some(url) = &named.database_url {
            url.clone()
        } else {
            let postgres = start_postgres(&folder.postgres()).await?;
            self.postgres.insert(postgres).url(DATABASE)
        };
        let nats = if let Some(url) = &named.nats_url {
            url.clone()
        } else {
            let nats = start_nats(&folder.nats()).await?;
            self.nats.insert(nats).url()
        };
        let master_key_file = match &named.master_key_file {
            Some(file) => file.clone(),
            None => keys::own_master_key_file(folder)?,
        };
        Ok(ServerUrls {
            database,
            nats,
            master_key_file,
        })
    }

    /// Waits for the word to stop, and starts a server of ours again when it dies before.
    async fn supervise(
        &mut self,
        folder: &DataDir,
        instance: &Instance,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut pause = RESTART_MIN;
        loop {
            let began = Instant::now();
            let died = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = exited(self.postgres.as_mut().map(Postgres::exited)) => "PostgreSQL",
                () = exited(self.nats.as_mut().map(Nats::exited)) => "NATS",
            };
            tracing::error!(
                server = died,
                "touchline: {died} has died and is started again"
            );
            if began.elapsed() > RESTART_MAX {
                pause = RESTART_MIN;
            }
            for attempt in 1.. {
                if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                    return Ok(());
                }
                pause = (pause * 2).min(RESTART_MAX);
                match self.restart(died, folder, instance).await {
                    Ok(()) => break,
                    // It may have died again while it started.
                    Err(error) if attempt < RESTARTS_MAX && !error.is::<Moved>() => {
                        let error = format!("{error:#}");
                        tracing::error!(server = died, error, "touchline: {died} does not start");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }

    async fn restart(
        &mut self,
        died: &'static str,
        folder: &DataDir,
        instance: &Instance,
    ) -> anyhow::Result<()> {
        let (before, now) = if died == "NATS" {
            self.nats = None;
            let again = start_nats(&folder.nats()).await?;
            (&instance.nats_url, self.nats.insert(again).url())
        } else {
            self.postgres = None;
            let again = start_postgres(&folder.postgres()).await?;
            let url = self.postgres.insert(again).url(DATABASE);
            (&instance.database_url, url)
        };
        if now == *before {
            Ok(())
        } else {
            Err(Moved(died).into())
        }
    }

    async fn stop(self) -> anyhow::Result<()> {
        if let Some(nats) = self.nats {
            nats.stop().await.context("NATS did not stop")?;
        }
        if let Some(postgres) = self.postgres {
            postgres
                .stop(StopMode::Fast)
                .await
                .context("PostgreSQL did not stop")?;
        }
        Ok(())
    }
}

/// Takes the folder. One whose holder was killed a moment ago is free as soon as the kernel has
/// cleared that process away.
async fn open_folder(path: &Path) -> anyhow::Result<DataDir> {
    let deadline = Instant::now() + FOLDER_PATIENCE;
    loop {
        match DataDir::open(path) {
            Ok(folder) => return Ok(folder),
            Err(OpenDataDirError::InUse { .. }) if Instant::now() < deadline => {
                sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(UsageError::new(error.to_string()).into()),
        }
    }
}

async fn start_postgres(folder: &Path) -> anyhow::Result<Postgres> {
    let settings = PostgresSettings {
        database: Some(DATABASE.to_owned()),
        ..PostgresSettings::default()
    };
    Postgres::start(folder, &settings)
        .await
        .map_err(|error| UsageError::new(error.to_string()).into())
}

async fn start_nats(folder: &Path) -> anyhow::Result<Nats> {
    Nats::start(folder, NatsSettings::default())
        .await
        .map_err(|error| UsageError::new(error.to_string()).into())
}

/// Ends when the server does; never for a server that is not ours.
async fn exited<T>(server: Option<impl Future<Output = T>>) {
    match server {
        Some(server) => drop(server.await),
        None => std::future::pending().await,
    }
}
