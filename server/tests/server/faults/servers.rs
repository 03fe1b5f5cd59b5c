//! Whole processes die: Touchline itself, its PostgreSQL, its NATS.

use super::{Quiet, Trial};
use crate::chance::{Chance, PATIENCE, rounds};
use crate::checker::{Scene, check};
use crate::crowd::Crowd;
use crate::read_models;
use crate::site::Site;
use crate::witness::Witness;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{Connection as _, PgConnection};
use tokio::time::timeout;
use touchline_testkit::eventually;

/// Its servers die with it, or are found at the next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn touchline_is_killed_again_and_again() {
    let mut trial = Trial::begin().await;
    for _ in 0..rounds(5) {
        trial.random_moment().await;
        let quiet = trial.rests_perhaps().await;
        trial.instance.kill_and_start(&trial.folder).await;
        quiet
            .ends(&trial.crowd, &trial.instance.database_url, 1)
            .await;
    }
    trial.end().await;
}

/// Its processes die at once, or it is told to end as in a crash; the instance brings it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_dies_under_an_instance() {
    let mut trial = Trial::begin().await;
    for _ in 0..rounds(4) {
        trial.random_moment().await;
        let quiet = trial.rests_perhaps().await;
        let signal = if trial.chance.hits(50) {
            Signal::SIGKILL
        } else {
            Signal::SIGQUIT
        };
        let dying = trial.folder.postgres().unwrap();
        kill(dying, signal).unwrap();
        comes_back(dying, || trial.folder.postgres()).await;
        quiet
            .ends(&trial.crowd, &trial.instance.database_url, 5)
            .await;
    }
    trial.end().await;
}

/// One of its sessions is killed: it takes all others down, recovers, and is back before any lease
/// has run out. Nobody writes meanwhile, nor before everybody has looked at what they wrote last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_recovers_while_nobody_writes() {
    let mut trial = Trial::begin().await;
    for _ in 0..rounds(4) {
        trial.random_moment().await;
        let url = &trial.instance.database_url;
        let mut victim = PgConnection::connect(url).await.unwrap();
        let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
            .fetch_one(&mut victim)
            .await
            .unwrap();
        let mut bystander = PgConnection::connect(url).await.unwrap();
        trial.crowd.rests().await;
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        let gone = async { while bystander.ping().await.is_ok() {} };
        let gone = timeout(PATIENCE, gone).await;
        gone.expect("every session must be gone");
        read_models::settle(url).await;
        trial.crowd.looks().await;
    }
    trial.end().await;
}

/// It dies, is told to end, or stands still. Nobody who writes or reads needs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_dies_under_an_instance() {
    let mut trial = Trial::begin().await;
    for _ in 0..rounds(5) {
        trial.random_moment().await;
        let nats = trial.folder.nats().unwrap();
        match trial.chance.number(0..3) {
            0 => {
                kill(nats, Signal::SIGSTOP).unwrap();
                trial.crowd.acknowledges(20).await;
                kill(nats, Signal::SIGCONT).unwrap();
            }
            other => {
                let signal = [Signal::SIGKILL, Signal::SIGTERM][usize::from(other == 1)];
                kill(nats, signal).unwrap();
                trial.crowd.acknowledges(20).await;
                comes_back(nats, || trial.folder.nats()).await;
            }
        }
    }
    trial.end().await;
}

/// Clients hear that it is away, or nothing; nobody is told anything wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_away_for_a_while() {
    let mut chance = Chance::of_test();
    let mut site = Site::new().await;
    let mut up = site.serve("up", "127.0.0.1:0").await;
    let witness = Witness::watch(site.postgres.url());
    let crowd = Crowd::gather(&[&up.url], &mut chance).await;
    for _ in 0..rounds(3) {
        crowd.sends(chance.number(1..80)).await;
        let quiet = Quiet::perhaps(&crowd, &mut chance).await;
        match chance.number(0..3) {
            0 => site.postgres.stop().await,
            1 => site.postgres.stop_immediate().await,
            _ => site.postgres.kill().await,
        }
        if !quiet.0 {
            crowd.sends(chance.number(1..12)).await;
        }
        site.postgres.start().await;
        quiet.ends(&crowd, site.postgres.url(), 1).await;
    }
    crowd.acknowledges(20).await;
    let history = crowd.finish().await;
    let scene = Scene {
        database_url: site.postgres.url(),
        nats_url: site.nats.url(),
        master_key_file: &site.folder.master_key_file(),
    };
    check(&scene, &history, &witness.testify().await, &mut chance).await;
    assert!(up.process.stop(Signal::SIGTERM).await.success());
}

/// Waits until another process has taken the place of `dead`.
async fn comes_back(dead: Pid, now: impl Fn() -> Option<Pid>) {
    eventually(PATIENCE, "the instance starts its server again", || async {
        now().is_some_and(|pid| pid != dead)
    })
    .await;
}
