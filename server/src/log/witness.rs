//! `touchline log witness`: a witness of logs, wherever they are, for an auditor's organisation
//! (C2SP tlog-witness).
//!
//! All that it knows is one size and root of each log, and its own key. What it cosigned is on the disk
//! before anybody hears of it, and one process at a time has the folder.

use super::verify::read_key;
use crate::UsageError;
use crate::cli::ConnectionLimits;
use crate::http::Bound;
use crate::system::System;
use crate::up::{say, stop_signal};
use anyhow::Context as _;
use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use clap::Args;
use serde_json::json;
use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Duration, timeout};
use touchline_domain::clock::Clock as _;
use touchline_embedded::{DataDir, write_private};
use touchline_eventstore::keys::MasterKey;
use touchline_eventstore::seal::witness::{AddCheckpoint, REQUEST_BYTES_MAX, Refusal, Seen};
use touchline_eventstore::seal::{Cosigner, VerifierKey};

/// The most logs that one witness serves.
const LOGS_MAX: usize = 1_000;
/// How long a request may take to arrive, after its head.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// The most bytes of a name: with it, encoded, a file is named.
const NAME_BYTES_MAX: usize = 100;

#[derive(Debug, Args)]
pub(crate) struct WitnessOptions {
    /// The folder of the witness: its key, and what it has seen
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = ".touchline-witness",
        env = "TOUCHLINE_WITNESS_DIR"
    )]
    data_dir: PathBuf,
    /// The address to serve on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// The name that it signs under, best its domain and path; needed at the first start only
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The key of a log that it cosigns, as `touchline log key --output FILE` writes it; may be repeated
    #[arg(long = "log", value_name = "FILE")]
    logs: Vec<PathBuf>,
    #[command(flatten)]
    connections: ConnectionLimits,
    /// A file to write once it serves: JSON with url and key
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

pub(super) async fn witness(options: WitnessOptions) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    let folder =
        DataDir::open(&options.data_dir).map_err(|error| UsageError::new(error.to_string()))?;
    let cosigner = cosigner(folder.path(), options.name.as_deref())?;
    let logs = logs(folder.path(), &options.logs)?;
    let bound = Bound::bind(options.listen, options.connections)?;
    let (url, key, many) = (bound.url(), cosigner.key().to_string(), logs.len());
    let service = Arc::new(Service { cosigner, logs });
    let router = Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(service);
    let mut serving = bound.serve(router)?;
    if let Some(file) = &options.ready_file {
        write_private(file, &format!("{}\n", json!({"url": url, "key": key})))
            .with_context(|| format!("{} cannot be written", file.display()))?;
    }
    say(&format!("The witness cosigns {many} logs at {url}"))?;
    say(&format!("Its key is {key}"))?;
    let ended = stop.run_until_cancelled(serving.ended()).await;
    let stopped = serving.stop().await;
    drop(folder);
    ended.unwrap_or(stopped)
}

/// The key in the folder, which is made at the first start: its name, and a seed in hexadecimal digits.
fn cosigner(folder: &Path, name: Option<&str>) -> anyhow::Result<Cosigner> {
    let file = folder.join("witness.key");
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let name = name.ok_or_else(|| {
                UsageError::new("the witness has no key yet: say with --name under which name it signs, such as witness.example/1")
            })?;
            let text = format!("{name}\n{}\n", MasterKey::generate()?);
            parse_cosigner(&text).ok_or_else(|| {
                UsageError::new(format!("{name} cannot be the name of a witness: it has no white space and no plus sign, and at most {NAME_BYTES_MAX} bytes"))
            })?;
            write_private(&file, &text)
                .with_context(|| format!("{} cannot be written", file.display()))?;
            text
        }
        Err(error) => return Err(anyhow::Error::from(error).context("the key cannot be read")),
    };
    let cosigner = parse_cosigner(&text).ok_or_else(|| {
        UsageError::new(format!("{} is not what a witness writes", file.display()))
    })?;
    let own = cosigner.key().name();
    if name.is_some_and(|name| name != own) {
        return Err(UsageError::new(format!(
            "this witness signs as {own}: leave --name out, or name another folder with --data-dir"
        ))
        .into());
    }
    Ok(cosigner)
}

fn parse_cosigner(text: &str) -> Option<Cosigner> {
    let (name, seed) = text.strip_suffix('\n')?.split_once('\n')?;
    let seed = hex::decode(seed).ok()?.try_into().ok()?;
    let fits = name.len() <= NAME_BYTES_MAX;
    fits.then(|| Cosigner::from_seed(name, &seed)).flatten()
}

/// The logs of these keys, with what was seen of them.
fn logs(folder: &Path, files: &[PathBuf]) -> anyhow::Result<HashMap<String, Log>> {
    if files.is_empty() {
        return Err(UsageError::new("no log is named: name the file of its key with --log, as `touchline log key --output FILE` writes it").into());
    }
    let mut logs: HashMap<String, Log> = HashMap::new();
    for file in files {
        let key = read_key(file)?;
        let name = key.name().to_owned();
        if name.len() > NAME_BYTES_MAX {
            return Err(UsageError::new(format!(
                "{}: the name of the log has more than {NAME_BYTES_MAX} bytes",
                file.display()
            ))
            .into());
        }
        if let Some(log) = logs.get_mut(&name) {
            log.keys.push(key);
            continue;
        }
        let file = folder.join(format!("{}.seen", hex::encode(&name)));
        let seen = match fs::read_to_string(&file) {
            // To begin again here would be to forget what was promised.
            Ok(text) => Seen::parse(&text).ok_or_else(|| {
                UsageError::new(format!("{} is damaged: bring it back from a copy that is not older than the last cosignature", file.display()))
            })?,
            Err(error) if error.kind() == ErrorKind::NotFound => Seen::default(),
            Err(error) => {
                let context = format!("{} cannot be read", file.display());
                return Err(anyhow::Error::from(error).context(context));
            }
        };
        let log = Log {
            keys: vec![key],
            file,
            seen: Mutex::new(seen),
        };
        logs.insert(name, log);
    }
    if logs.len() > LOGS_MAX {
        return Err(UsageError::new(format!("one witness serves {LOGS_MAX} logs at most")).into());
    }
    Ok(logs)
}

/// A log that is cosigned.
struct Log {
    keys: Vec<VerifierKey>,
    file: PathBuf,
    /// Held while a checkpoint is checked and written down: two at once cannot both go on from here.
    seen: Mutex<Seen>,
}

struct Service {
    cosigner: Cosigner,
    logs: HashMap<String, Log>,
}

async fn add_checkpoint(State(service): State<Arc<Service>>, request: Request) -> Response {
    let body = match timeout(BODY_WITHIN, String::from_request(request, &())).await {
        Ok(Ok(body)) => body,
        Ok(Err(refused)) => return refused.into_response(),
        Err(_elapsed) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    // In a task of its own: whoever hangs up must not cut it short between the disk and the memory.
    match tokio::spawn(async move { service.add(&body).await }).await {
        Ok(Ok(lines)) => lines.into_response(),
        Ok(Err(response)) => response,
        Err(_panicked) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

impl Service {
    async fn add(&self, body: &str) -> Result<String, Response> {
        let request = AddCheckpoint::parse(body).ok_or_else(|| refused(Refusal::Malformed))?;
        let origin = request
            .origin()
            .ok_or_else(|| refused(Refusal::Malformed))?;
        let log = self
            .logs
            .get(origin)
            .ok_or_else(|| refused(Refusal::UnknownLog))?;
        let mut seen = log.seen.lock().await;
        let next = request.check(&log.keys, &seen).map_err(|refusal| {
            if refusal.is_alarming() {
                tracing::error!(
                    log = origin,
                    size = seen.size,
                    "witness: a checkpoint is signed that does not go on from the last one"
                );
            }
            refused(refusal)
        })?;
        if next != *seen {
            let file = log.file.clone();
            let written = spawn_blocking(move || write_private(&file, &next.to_text())).await;
            if !matches!(written, Ok(Ok(()))) {
                tracing::error!(
                    log = origin,
                    "witness: what was seen cannot be written down, so that nothing is cosigned"
                );
                return Err(StatusCode::INTERNAL_SERVER_ERROR.into_response());
            }
            *seen = next;
        }
        let now = u64::try_from(System.now().timestamp()).unwrap_or_default();
        request
            .cosigned(&self.cosigner, now)
            .ok_or_else(|| refused(Refusal::Malformed))
    }
}

fn refused(refusal: Refusal) -> Response {
    match refusal {
        Refusal::Malformed => (StatusCode::BAD_REQUEST, "malformed\n").into_response(),
        Refusal::Unsigned => (StatusCode::FORBIDDEN, "not signed by the log\n").into_response(),
        Refusal::UnknownLog => (StatusCode::NOT_FOUND, "unknown log\n").into_response(),
        Refusal::OtherSize(size) => {
            let kind = [(CONTENT_TYPE, "text/x.tlog.size")];
            (StatusCode::CONFLICT, kind, format!("{size}\n")).into_response()
        }
        Refusal::OtherRoot => (StatusCode::CONFLICT, "another root of this size\n").into_response(),
        Refusal::NoProof => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "no proof that it goes on\n",
        )
            .into_response(),
    }
}
