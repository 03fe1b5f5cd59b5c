//! The stream LOG is lost, or forgets.

use crate::chance::{Chance, rounds};
use crate::checker::{Scene, check};
use crate::crowd::Crowd;
use crate::mirror;
use crate::site::Site;
use crate::witness::Witness;
use async_nats::jetstream;
use nix::sys::signal::Signal;
use touchline_eventstore::stream::NAME;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_is_deleted_and_rolled_back() {
    let mut chance = Chance::of_test();
    let mut site = Site::new().await;
    let mut up = site.serve("up", "127.0.0.1:0").await;
    let witness = Witness::watch(site.postgres.url());
    let crowd = Crowd::gather(&[&up.url], &mut chance).await;
    let copy = site.folder.path().join("older-store");

    site.nats.stop().await;
    site.nats.copy_store_to(&copy);
    site.nats.start().await;
    for _ in 0..rounds(4) {
        crowd.sends(chance.number(1..80)).await;
        if chance.hits(50) {
            let context = jetstream::new(mirror::connect(site.nats.url()).await);
            // It may be gone already, and not be made again yet.
            let _gone = context.delete_stream(NAME).await;
        } else {
            if chance.hits(50) {
                site.nats.stop().await;
            } else {
                site.nats.kill().await;
            }
            crowd.sends(chance.number(1..40)).await;
            site.nats.restore_store_from(&copy);
            site.nats.start().await;
        }
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
