//! The HTTP API of a real instance: the binary, with its own PostgreSQL and NATS, over loopback.

use crate::report::{Report, quantile_ms, rate};
use anyhow::Context as _;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval, sleep};

const CONNECTIONS: usize = 64;
/// Posts to like; with twelve fans each has twelve likes to get.
const POSTS: usize = 1_500;
const LIKES: usize = 16_000;
const FEEDS: usize = 20_000;
const COMMANDS_PER_SECOND: u64 = 500;
const COMMANDS: usize = 5_000;
const FANS: [&str; 12] = [
    "ana", "luis", "chloe", "youssef", "marko", "daan", "emily", "joao", "haruka", "kwame",
    "sofia", "noor",
];

/// Requests a second at 64 connections, and how soon a write can be read.
pub async fn http(report: &mut Report) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let instance = Instance::start(folder.path()).await?;
    let mut fans = Vec::new();
    for fan in FANS {
        fans.push(instance.sign_in(&format!("{fan}@fans.example")).await?);
    }
    let club = instance.sign_in("argentina@teams.example").await?;
    let posts = Arc::new(publish(&instance, &club).await?);

    let like = |number: usize| {
        let post = posts.get(number % POSTS).cloned().unwrap_or_default();
        let fan = fans.get(number / POSTS).map_or("", String::as_str);
        instance.call(Method::PUT, &format!("/v1/posts/{post}/like"), fan)
    };
    let (per_second, mut samples) = load(LIKES, like).await?;
    line(report, "PUT /v1/posts/{id}/like", per_second, &mut samples);

    let feed = |number: usize| {
        let fan = fans.get(number % FANS.len()).map_or("", String::as_str);
        instance.call(Method::GET, "/v1/feed", fan)
    };
    let (per_second, mut samples) = load(FEEDS, feed).await?;
    line(report, "GET /v1/feed (50 posts)", per_second, &mut samples);

    let mut samples = read_own_writes(&instance, &club).await?;
    report.figure(
        "from a 201 to read with the token, p50",
        "ms",
        quantile_ms(&mut samples, 0.5),
        "at 500 commands/s",
    );
    report.figure(
        "from a 201 to read with the token, p99",
        "ms",
        quantile_ms(&mut samples, 0.99),
        "at 500 commands/s",
    );
    instance.stop().await
}

fn line(report: &mut Report, name: &str, per_second: f64, samples: &mut [Duration]) {
    report.figure(
        &format!("{name}, {CONNECTIONS} connections"),
        "requests/s",
        per_second,
        "",
    );
    report.figure("  p50", "ms", quantile_ms(samples, 0.5), "");
    report.figure("  p99", "ms", quantile_ms(samples, 0.99), "");
}

/// `total` requests over 64 connections; how many a second, and how long each took.
async fn load(
    total: usize,
    request: impl Fn(usize) -> RequestBuilder,
) -> anyhow::Result<(f64, Vec<Duration>)> {
    let workers: Vec<Vec<RequestBuilder>> = (0..CONNECTIONS)
        .map(|worker| (worker..total).step_by(CONNECTIONS).map(&request).collect())
        .collect();
    let start = Instant::now();
    let tasks = workers.into_iter().map(|requests| {
        tokio::spawn(async move {
            let mut samples = Vec::with_capacity(requests.len());
            for request in requests {
                let start = Instant::now();
                let answer = request.send().await?;
                anyhow::ensure!(
                    answer.status().is_success(),
                    "{}: {}",
                    answer.status(),
                    answer.text().await?
                );
                answer.bytes().await?;
                samples.push(start.elapsed());
            }
            anyhow::Ok(samples)
        })
    });
    let mut samples = Vec::with_capacity(total);
    for task in tasks.collect::<Vec<_>>() {
        samples.extend(task.await??);
    }
    Ok((rate(total, start.elapsed()), samples))
}

/// Publishes at a steady rate, and reads each post with its token as soon as it is acknowledged.
async fn read_own_writes(instance: &Instance, club: &str) -> anyhow::Result<Vec<Duration>> {
    let mut tick = interval(Duration::from_millis(1_000 / COMMANDS_PER_SECOND));
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut tasks = Vec::with_capacity(COMMANDS);
    for number in 0..COMMANDS {
        tick.tick().await;
        let (write, instance, club) = (
            instance.post(club, number),
            instance.clone(),
            club.to_owned(),
        );
        tasks.push(tokio::spawn(async move {
            let written = write.send().await?;
            anyhow::ensure!(
                written.status() == StatusCode::CREATED,
                "{}",
                written.text().await?
            );
            let token = written
                .headers()
                .get("consistency-token")
                .context("a token")?
                .to_str()?
                .to_owned();
            let post: Published = written.json().await?;
            let start = Instant::now();
            let read = instance
                .call(Method::GET, &format!("/v1/posts/{}", post.post_id), &club)
                .header("consistency-token", token)
                .send()
                .await?;
            anyhow::ensure!(read.status() == StatusCode::OK, "{}", read.text().await?);
            anyhow::Ok(start.elapsed())
        }));
    }
    let mut samples = Vec::with_capacity(COMMANDS);
    for task in tasks {
        samples.push(task.await??);
    }
    Ok(samples)
}

async fn publish(instance: &Instance, club: &str) -> anyhow::Result<Vec<String>> {
    let mut ids = Vec::with_capacity(POSTS);
    for number in 0..POSTS {
        let post: Published = instance
            .post(club, number)
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        ids.push(post.post_id);
    }
    Ok(ids)
}

#[derive(Deserialize)]
struct Published {
    post_id: String,
}

#[derive(Deserialize)]
struct SignedIn {
    access_token: String,
}

#[derive(Deserialize)]
struct Ready {
    url: String,
}

/// A running `touchline up` with the demo loaded.
#[derive(Clone)]
struct Instance {
    client: Client,
    url: String,
    process: Arc<std::sync::Mutex<Option<Child>>>,
}

impl Instance {
    async fn start(folder: &Path) -> anyhow::Result<Self> {
        let binary = binary()?;
        let (data, ready) = (folder.join("data"), folder.join("ready"));
        let process = Command::new(&binary)
            .args(["up", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(&data)
            .arg("--ready-file")
            .arg(&ready)
            .env("TOUCHLINE_LOG", "warn")
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("{} cannot be started", binary.display()))?;
        let deadline = Instant::now() + Duration::from_mins(1);
        while !ready.exists() {
            anyhow::ensure!(Instant::now() < deadline, "the instance did not get ready");
            sleep(Duration::from_millis(100)).await;
        }
        let answer: Ready = serde_json::from_str(&std::fs::read_to_string(&ready)?)?;
        let demo = Command::new(&binary)
            .arg("demo")
            .arg("--data-dir")
            .arg(&data)
            .stdout(Stdio::null())
            .status()?;
        anyhow::ensure!(demo.success(), "the demo was not loaded");
        let client = Client::builder()
            .pool_max_idle_per_host(CONNECTIONS)
            .build()?;
        Ok(Self {
            client,
            url: answer.url,
            process: Arc::new(std::sync::Mutex::new(Some(process))),
        })
    }

    fn call(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(token)
    }

    fn post(&self, token: &str, number: usize) -> RequestBuilder {
        self.call(Method::POST, "/v1/posts", token)
            .json(&json!({"caption": format!("Post {number} of the bench")}))
    }

    async fn sign_in(&self, email: &str) -> anyhow::Result<String> {
        let body = json!({"email": email, "password": "world-cup-2022"});
        let answer = self
            .client
            .post(format!("{}/v1/sessions", self.url))
            .json(&body)
            .send()
            .await?
            .error_for_status()?;
        Ok(answer.json::<SignedIn>().await?.access_token)
    }

    /// Asks the instance to stop, and waits until it has.
    async fn stop(self) -> anyhow::Result<()> {
        let child = self
            .process
            .lock()
            .ok()
            .and_then(|mut process| process.take())
            .context("a process")?;
        Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status()?;
        let status = tokio::task::spawn_blocking(move || child.wait_with_output()).await??;
        anyhow::ensure!(
            status.status.success(),
            "the instance did not stop in order"
        );
        Ok(())
    }
}

/// The binary that was built beside this one.
fn binary() -> anyhow::Result<PathBuf> {
    let binary = std::env::current_exe()?.with_file_name("touchline");
    anyhow::ensure!(
        binary.exists(),
        "{} is missing: run `make bench`",
        binary.display()
    );
    Ok(binary)
}
