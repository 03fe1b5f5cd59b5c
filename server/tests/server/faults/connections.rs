//! Connections are cut after the request was sent, in the middle of it, or in the middle of the
//! answer: between clients and the API, and between Touchline and its servers. The API has two nodes;
//! what got no answer from one is asked of the other.

use crate::chance::{Chance, PATIENCE, rounds};
use crate::checker::{Scene, check};
use crate::crowd::Crowd;
use crate::site::Site;
use crate::witness::Witness;
use nix::sys::signal::Signal;
use touchline_testkit::{eventually, proxy};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_cut_everywhere() {
    let mut chance = Chance::of_test();
    let site = Site::new().await;
    let mut serve = site.serve("serve", "127.0.0.1:0").await;
    let mut other = site.serve("serve", "127.0.0.1:0").await;
    let mut work = site.work("work");
    let to_api = proxy(serve.address()).await;
    let witness = Witness::watch(site.postgres.url());
    let crowd = Crowd::gather(&[&to_api.url(&serve.url), &other.url], &mut chance).await;
    for _ in 0..rounds(60) {
        let ways = [&to_api, &site.to_postgres, &site.to_postgres, &site.to_nats];
        let way = *chance.one_of(&ways).unwrap();
        let cuts = way.cuts();
        let bytes = if chance.hits(50) { 2_000 } else { 50 };
        way.cut_after(
            chance.direction(),
            usize::try_from(chance.number(0..bytes)).unwrap(),
        );
        eventually(PATIENCE, "a connection is cut", || async {
            way.cuts() > cuts
        })
        .await;
    }
    crowd.acknowledges(20).await;
    let history = crowd.finish().await;
    let scene = Scene {
        database_url: site.postgres.url(),
        nats_url: site.nats.url(),
        master_key_file: &site.folder.master_key_file(),
    };
    check(&scene, &history, &witness.testify().await, &mut chance).await;
    for process in [&mut work, &mut serve.process, &mut other.process] {
        assert!(process.stop(Signal::SIGTERM).await.success());
    }
}
