//! Touchline is killed between any two steps: what it says to a server, or hears from it, stops
//! after a number of bytes, and there it dies.

use crate::chance::{Chance, PATIENCE, rounds};
use crate::checker::{Scene, check};
use crate::crowd::Crowd;
use crate::site::Site;
use crate::witness::Witness;
use nix::sys::signal::Signal;
use touchline_testkit::eventually;

/// How much passes at most before everything stops: more than a batch of commands is long.
const BYTES_MAX: u64 = 12_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn touchline_is_killed_between_any_two_steps() {
    let mut chance = Chance::of_test();
    let site = Site::new().await;
    let mut up = site.serve("up", "127.0.0.1:0").await;
    let address = up.address().to_owned();
    let witness = Witness::watch(site.postgres.url());
    let crowd = Crowd::gather(&[&up.url], &mut chance).await;
    for _ in 0..rounds(12) {
        let way = if chance.hits(70) {
            &site.to_postgres
        } else {
            &site.to_nats
        };
        crowd.acknowledges(chance.number(1..10)).await;
        way.stall_after(
            chance.direction(),
            usize::try_from(chance.number(0..BYTES_MAX)).unwrap(),
        );
        eventually(PATIENCE, "everything stops", || async { way.stalled() }).await;
        up.process.kill().await;
        way.resume();
        up = site.serve("up", &address).await;
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
