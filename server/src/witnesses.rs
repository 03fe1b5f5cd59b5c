//! Asking witnesses to cosign the log.

use crate::UsageError;
use crate::cli::WitnessesOptions;
use crate::roles::Keep;
use crate::system::System;
use anyhow::Context as _;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect;
use std::fs;
use std::sync::Arc;
use std::time::Duration;
use touchline_eventstore::seal::cosigning::{Answer, Asking};
use touchline_eventstore::seal::{AskWitness, Cosigning, Policy, Seals};
use uuid::Uuid;

/// How long a witness may take to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The most bytes of an answer that are looked at.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// The pause before a failed write is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// The witnesses of a policy, and what they are asked with.
pub(crate) struct Witnesses {
    policy: Policy,
    client: reqwest::Client,
}

/// The witnesses of the file that the options name; none when they name none.
pub(crate) fn witnesses(options: &WitnessesOptions) -> anyhow::Result<Option<Witnesses>> {
    let Some(file) = &options.witness_policy else {
        return Ok(None);
    };
    let name = file.display();
    let text = fs::read_to_string(file)
        .map_err(|error| UsageError::new(format!("{name} cannot be read ({error})")))?;
    let policy =
        Policy::parse(&text).map_err(|error| UsageError::new(format!("{name}: {error}")))?;
    for witness in policy.witnesses() {
        let url = witness.url.as_deref().map(reqwest::Url::parse);
        if !url.is_some_and(|url| url.is_ok_and(|url| matches!(url.scheme(), "http" | "https"))) {
            return Err(UsageError::new(format!(
                "{name}: the witness {} has no address: name its http or https URL after its key",
                witness.key.name()
            ))
            .into());
        }
    }
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(redirect::Policy::none())
        .build()
        .context("witnesses cannot be asked")?;
    Ok(Some(Witnesses { policy, client }))
}

/// Has the log cosigned, as long as the process runs.
pub(crate) fn cosign(keep: &Keep<'_>, seals: Seals, holder: Uuid, witnesses: Witnesses) {
    let Witnesses { policy, client } = witnesses;
    let client: Arc<dyn AskWitness> = Arc::new(HttpWitness(client));
    keep.running("witnessing", move |stop| {
        let (seals, client) = (seals.clone(), Arc::clone(&client));
        Cosigning::new(seals, Arc::new(System), holder, policy.clone(), client).run(stop)
    });
}

/// Without a policy nothing is missing, whatever was written down before.
pub(crate) fn forget(keep: &Keep<'_>, seals: Seals) {
    keep.running("witnessing", move |stop| {
        let seals = seals.clone();
        async move {
            while let Err(error) = seals.report_witnessing(None).await {
                tracing::debug!(error = %error, "witnessing: nothing can be written down");
                tokio::time::sleep(PAUSE).await;
            }
            stop.cancelled().await;
        }
    });
}

/// Witnesses as HTTP has them.
struct HttpWitness(reqwest::Client);

impl AskWitness for HttpWitness {
    fn add_checkpoint<'a>(&'a self, url: &'a str, body: String) -> Asking<'a> {
        Box::pin(async move {
            let url = format!("{}/add-checkpoint", url.trim_end_matches('/'));
            let sent = self.0.post(url).body(body).send().await;
            let mut response = sent.map_err(|error| in_words(&error))?;
            let kind = response.headers().get(CONTENT_TYPE);
            let is_size = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/x.tlog.size"));
            let mut bytes = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| in_words(&error))? {
                if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                    return Err("its answer is too long".to_owned());
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok(Answer {
                status: response.status().as_u16(),
                is_size,
                body: String::from_utf8_lossy(&bytes).into_owned(),
            })
        })
    }
}

/// What went wrong, down to its cause, without the address.
fn in_words(error: &reqwest::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}
