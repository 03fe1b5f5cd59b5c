//! Two workers at once: they take the lead from each other, and one is paused past its lease.

use crate::chance::{Chance, PATIENCE, rounds};
use crate::checker::{Scene, check};
use crate::crowd::Crowd;
use crate::process::Process;
use crate::site::{Serving, Site};
use crate::witness::Witness;
use nix::sys::signal::Signal;
use sqlx::PgPool;
use std::collections::BTreeMap;
use touchline_testkit::eventually;
use uuid::Uuid;

/// The roles that have a leader at all times. Rebuilding has one while there is something to do.
const ROLES: &[&str] = &[
    "relay",
    "sealer",
    "projection.history",
    "projection.posts",
    "projection.users",
];

struct Rivals {
    site: Site,
    serve: Serving,
    first: Process,
    second: Process,
    pool: PgPool,
    crowd: Crowd,
    witness: Witness,
    chance: Chance,
}

impl Rivals {
    /// The first worker leads in every role, the second stands by.
    async fn begin() -> Self {
        let mut chance = Chance::of_test();
        let site = Site::new().await;
        let pool = PgPool::connect(site.postgres.url()).await.unwrap();
        let serve = site.serve("serve", "127.0.0.1:0").await;
        let first = site.work("first");
        leaders_other_than(&BTreeMap::new(), &pool).await;
        let second = site.work("second");
        let witness = Witness::watch(site.postgres.url());
        let crowd = Crowd::gather(&[&serve.url], &mut chance).await;
        Self {
            site,
            serve,
            first,
            second,
            pool,
            crowd,
            witness,
            chance,
        }
    }

    async fn end(mut self) {
        self.crowd.acknowledges(20).await;
        let history = self.crowd.finish().await;
        let scene = Scene {
            database_url: self.site.postgres.url(),
            nats_url: self.site.nats.url(),
            master_key_file: &self.site.folder.master_key_file(),
        };
        let seen = self.witness.testify().await;
        check(&scene, &history, &seen, &mut self.chance).await;
        for process in [&mut self.first, &mut self.second, &mut self.serve.process] {
            assert!(process.stop(Signal::SIGTERM).await.success());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_is_paused_past_its_lease_and_resumed() {
    let rivals = Rivals::begin().await;
    for round in 0..rounds(2) {
        let leaders = leaders(&rivals.pool).await;
        let leader = if round % 2 == 0 {
            &rivals.first
        } else {
            &rivals.second
        };
        leader.signal(Signal::SIGSTOP);
        leaders_other_than(&leaders, &rivals.pool).await;
        rivals.crowd.acknowledges(20).await;
        // It goes on where it was, in the middle of whatever it did, and believes that it leads.
        leader.signal(Signal::SIGCONT);
        rivals.crowd.acknowledges(20).await;
    }
    rivals.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lead_is_taken_away_again_and_again() {
    let mut rivals = Rivals::begin().await;
    let target = epochs(&rivals.pool).await + i64::try_from(rounds(6)).unwrap();
    while epochs(&rivals.pool).await < target {
        sqlx::query("UPDATE operations.leases SET expires_at = '-infinity'")
            .execute(&rivals.pool)
            .await
            .unwrap();
        let requests = rivals.chance.number(1..4);
        rivals.crowd.sends(requests).await;
    }
    rivals.end().await;
}

/// Who leads in which role.
async fn leaders(pool: &PgPool) -> BTreeMap<String, Uuid> {
    let rows: Vec<(String, Uuid)> =
        sqlx::query_as("SELECT name, holder FROM operations.leases WHERE name = ANY ($1)")
            .bind(ROLES)
            .fetch_all(pool)
            .await
            .unwrap();
    rows.into_iter().collect()
}

/// Waits until every role has a leader, and another one than in `before`.
async fn leaders_other_than(before: &BTreeMap<String, Uuid>, pool: &PgPool) {
    eventually(PATIENCE, "others lead", || async {
        let now = leaders(pool).await;
        now.len() == ROLES.len()
            && now
                .iter()
                .all(|(role, holder)| before.get(role) != Some(holder))
    })
    .await;
}

/// How often the lead has changed in all roles together.
async fn epochs(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT sum(epoch)::bigint FROM operations.leases")
        .fetch_one(pool)
        .await
        .unwrap()
}
