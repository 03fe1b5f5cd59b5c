//! What holds whatever breaks (L1 to L7): each test breaks one kind of thing, at random moments,
//! while clients work. Now and then everything is quiet: nobody writes after the fault, so that
//! nothing comes after what was written last, and it must be there all the same.

mod connections;
mod leaders;
mod servers;
mod soak;
mod steps;
mod stream;

use crate::chance::Chance;
use crate::checker::{Scene, check};
use crate::crowd::Crowd;
use crate::instance::{Folder, Instance};
use crate::read_models;
use crate::witness::Witness;

/// An instance of everything in one folder, with clients and a witness.
struct Trial {
    folder: Folder,
    instance: Instance,
    chance: Chance,
    crowd: Crowd,
    witness: Witness,
}

impl Trial {
    async fn begin() -> Self {
        let mut chance = Chance::of_test();
        let folder = Folder::new();
        let instance = Instance::start(&folder).await;
        let witness = Witness::watch(&instance.database_url);
        let crowd = Crowd::gather(&[&instance.url], &mut chance).await;
        Self {
            folder,
            instance,
            chance,
            crowd,
            witness,
        }
    }

    /// Lets the clients do a random number of things.
    async fn random_moment(&mut self) {
        let requests = self.chance.number(1..150);
        self.crowd.sends(requests).await;
    }

    /// In half of all cases nobody writes from now on.
    async fn rests_perhaps(&mut self) -> Quiet {
        Quiet::perhaps(&self.crowd, &mut self.chance).await
    }

    /// Lets the clients finish, and checks everything.
    async fn end(mut self) {
        self.crowd.acknowledges(20).await;
        let history = self.crowd.finish().await;
        let scene = Scene {
            database_url: &self.instance.database_url,
            nats_url: &self.instance.nats_url,
            master_key_file: &self.instance.master_key_file,
        };
        let seen = self.witness.testify().await;
        check(&scene, &history, &seen, &mut self.chance).await;
        assert!(self.instance.stop().await.success());
    }
}

/// Whether nobody writes while something breaks.
#[must_use]
struct Quiet(bool);

impl Quiet {
    /// In half of all cases the clients rest from now on.
    async fn perhaps(crowd: &Crowd, chance: &mut Chance) -> Self {
        let quiet = chance.hits(50);
        if quiet {
            crowd.rests().await;
        }
        Self(quiet)
    }

    /// All is well again, or soon will be. If it was quiet, the clients look at what they wrote last
    /// and the read models come to the end of the log before anybody writes. Else `more` requests are
    /// acknowledged.
    async fn ends(self, crowd: &Crowd, database_url: &str, more: u64) {
        if self.0 {
            read_models::settle(database_url).await;
            crowd.looks().await;
        } else {
            crowd.acknowledges(more).await;
        }
    }
}
