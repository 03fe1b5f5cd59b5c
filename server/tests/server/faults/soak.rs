//! A long run: whatever breaks, at random, one fault after the other, with two nodes of the API, two
//! workers, and a rebuild now and then. `make soak`.

use super::Quiet;
use crate::chance::{Chance, PATIENCE};
use crate::checker::{Scene, check};
use crate::crowd::Crowd;
use crate::mirror;
use crate::process::Process;
use crate::read_models;
use crate::site::{Serving, Site};
use crate::witness::Witness;
use async_nats::jetstream;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{Connection as _, PgConnection, PgPool};
use std::collections::BTreeMap;
use std::env;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use touchline_eventstore::stream::NAME;
use touchline_projections::history::HistoryProjection;
use touchline_projections::posts::PostsProjection;
use touchline_projections::users::UsersProjection;
use touchline_projections::{Projection, rebuild};
use touchline_testkit::{TcpProxy, eventually, eventually_some};

/// How many faults there are when `TOUCHLINE_SOAK_FAULTS` does not say.
const FAULTS: u64 = 1_000;
/// After how many faults a rebuild is asked for, and what happened so far is said.
const BETWEEN_REBUILDS: u64 = 20;

/// What can be rebuilt.
const MODELS: [(&str, i32); 3] = [
    (UsersProjection::NAME, UsersProjection::VERSION),
    (PostsProjection::NAME, PostsProjection::VERSION),
    (HistoryProjection::NAME, HistoryProjection::VERSION),
];

/// What breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    ConnectionCut,
    WayStalled,
    BackendKilled,
    PostgresGone,
    NatsGone,
    NatsFrozen,
    StreamDeleted,
    NodeKilled,
    WorkerKilled,
    WorkerFrozen,
    LeadTaken,
}

impl Fault {
    /// The dear ones, which cost a lease each, come seldom.
    fn any(chance: &mut Chance) -> Self {
        match chance.number(0..100) {
            0..30 => Self::ConnectionCut,
            30..40 => Self::WayStalled,
            40..55 => Self::BackendKilled,
            55..63 => Self::PostgresGone,
            63..69 => Self::NatsGone,
            69..73 => Self::NatsFrozen,
            73..76 => Self::StreamDeleted,
            76..86 => Self::NodeKilled,
            86..91 => Self::WorkerKilled,
            91..95 => Self::WorkerFrozen,
            _ => Self::LeadTaken,
        }
    }
}

struct Soak {
    chance: Chance,
    site: Site,
    nodes: [Serving; 2],
    workers: [Process; 2],
    crowd: Crowd,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes the better part of an hour: make soak"]
async fn a_thousand_faults() {
    let faults = env::var("TOUCHLINE_SOAK_FAULTS")
        .map_or(FAULTS, |faults| faults.parse().expect("a number of faults"));
    let mut chance = Chance::of_test();
    let site = Site::new().await;
    let nodes = [
        site.serve("serve", "127.0.0.1:0").await,
        site.serve("serve", "127.0.0.1:0").await,
    ];
    let workers = [site.work("first"), site.work("second")];
    let witness = Witness::watch(site.postgres.url());
    let crowd = Crowd::gather(&[&nodes[0].url, &nodes[1].url], &mut chance).await;
    let mut soak = Soak {
        chance,
        site,
        nodes,
        workers,
        crowd,
    };
    let (mut counts, mut quiet_faults) = (BTreeMap::<Fault, u64>::new(), 0);
    let begun = Instant::now();
    for number in 0..faults {
        if number % BETWEEN_REBUILDS == 0 {
            soak.ask_for_a_rebuild().await;
            let minutes = begun.elapsed().as_secs() / 60;
            eprintln!("{number} faults in {minutes} min, {quiet_faults} of them quiet: {counts:?}");
        }
        let fault = Fault::any(&mut soak.chance);
        quiet_faults += u64::from(soak.suffer(fault).await);
        *counts.entry(fault).or_default() += 1;
    }
    eprintln!("{faults} faults, {quiet_faults} of them quiet: {counts:?}");
    soak.rebuilds_are_done().await;
    soak.end(witness).await;
}

impl Soak {
    /// Breaks something at a random moment, mends it, and waits until all is well again. True when
    /// nobody wrote meanwhile.
    async fn suffer(&mut self, fault: Fault) -> bool {
        let requests = self.chance.number(1..60);
        self.crowd.sends(requests).await;
        let quiet = Quiet::perhaps(&self.crowd, &mut self.chance).await;
        let was_quiet = quiet.0;
        self.strike(fault, was_quiet).await;
        quiet.ends(&self.crowd, self.site.postgres.url(), 3).await;
        was_quiet
    }

    async fn strike(&mut self, fault: Fault, quiet: bool) {
        match fault {
            Fault::ConnectionCut => self.cut(quiet).await,
            Fault::WayStalled => self.stall(quiet).await,
            Fault::BackendKilled => self.kill_a_backend().await,
            Fault::PostgresGone => {
                match self.chance.number(0..3) {
                    0 => self.site.postgres.stop().await,
                    1 => self.site.postgres.stop_immediate().await,
                    _ => self.site.postgres.kill().await,
                }
                self.pass_a_moment(quiet).await;
                self.site.postgres.start().await;
            }
            Fault::NatsGone => {
                if self.chance.hits(50) {
                    self.site.nats.stop().await;
                } else {
                    self.site.nats.kill().await;
                }
                self.pass_a_moment(quiet).await;
                self.site.nats.start().await;
            }
            Fault::NatsFrozen => {
                let nats = pid(self.site.nats.pid().unwrap());
                kill(nats, Signal::SIGSTOP).unwrap();
                self.pass_a_moment(quiet).await;
                kill(nats, Signal::SIGCONT).unwrap();
            }
            Fault::StreamDeleted => {
                let context = jetstream::new(mirror::connect(self.site.nats.url()).await);
                // It may be gone already, and not be made again yet.
                let _gone = context.delete_stream(NAME).await;
            }
            Fault::NodeKilled => {
                let node = usize::from(self.chance.hits(50));
                self.nodes[node].process.kill().await;
                self.pass_a_moment(quiet).await;
                let address = self.nodes[node].address().to_owned();
                self.nodes[node] = self.site.serve("serve", &address).await;
            }
            Fault::WorkerKilled => {
                let worker = usize::from(self.chance.hits(50));
                self.workers[worker].kill().await;
                self.pass_a_moment(quiet).await;
                self.workers[worker] = self.site.work(["first", "second"][worker]);
            }
            Fault::WorkerFrozen => {
                let worker = usize::from(self.chance.hits(50));
                self.workers[worker].signal(Signal::SIGSTOP);
                // Sometimes for longer than a lease.
                sleep(Duration::from_millis(self.chance.number(0..8_000))).await;
                self.workers[worker].signal(Signal::SIGCONT);
            }
            Fault::LeadTaken => {
                let mut connection = self.connection().await;
                sqlx::query("UPDATE operations.leases SET expires_at = '-infinity'")
                    .execute(&mut connection)
                    .await
                    .unwrap();
            }
        }
    }

    /// Lets it last: for some more requests, or for some time when nobody sends any.
    async fn pass_a_moment(&mut self, quiet: bool) {
        if quiet {
            sleep(Duration::from_millis(self.chance.number(0..1_500))).await;
        } else {
            let requests = self.chance.number(1..12);
            self.crowd.sends(requests).await;
        }
    }

    async fn cut(&mut self, quiet: bool) {
        let way = way(&self.site, &mut self.chance, quiet);
        let direction = self.chance.direction();
        let cuts = way.cuts();
        let bytes = if self.chance.hits(50) { 2_000 } else { 50 };
        way.cut_after(
            direction,
            usize::try_from(self.chance.number(0..bytes)).unwrap(),
        );
        eventually(PATIENCE, "a connection is cut", || async {
            way.cuts() > cuts
        })
        .await;
    }

    /// Nothing passes any more, as when a network splits.
    async fn stall(&mut self, quiet: bool) {
        let way = way(&self.site, &mut self.chance, quiet);
        let bytes = usize::try_from(self.chance.number(0..2_000)).unwrap();
        way.stall_after(self.chance.direction(), bytes);
        eventually(PATIENCE, "everything stops", || async { way.stalled() }).await;
        sleep(Duration::from_millis(self.chance.number(0..1_500))).await;
        way.resume();
    }

    /// PostgreSQL ends all sessions, recovers, and is back at once.
    async fn kill_a_backend(&self) {
        let mut victim = self.connection().await;
        let mut bystander = self.connection().await;
        let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
            .fetch_one(&mut victim)
            .await
            .unwrap();
        kill(Pid::from_raw(backend), Signal::SIGKILL).unwrap();
        let gone = async { while bystander.ping().await.is_ok() {} };
        let gone = tokio::time::timeout(PATIENCE, gone).await;
        gone.expect("every session must be gone");
    }

    async fn connection(&self) -> PgConnection {
        let url = self.site.postgres.url();
        eventually_some(PATIENCE, "the database answers", || async {
            PgConnection::connect(url).await.ok()
        })
        .await
    }

    /// The same one is found when it is not over yet.
    async fn ask_for_a_rebuild(&mut self) {
        let (name, version) = *self.chance.one_of(&MODELS).unwrap();
        let pool = PgPool::connect(self.site.postgres.url()).await.unwrap();
        rebuild::request(&pool, name, version, "the soak", "")
            .await
            .unwrap();
        pool.close().await;
    }

    /// Each one came to its end, and found the serving tables to be what the log says.
    async fn rebuilds_are_done(&self) {
        let mut connection = self.connection().await;
        let connection = tokio::sync::Mutex::new(&mut connection);
        let open = "SELECT count(*) FROM operations.rebuilds
                    WHERE state IN ('requested', 'running', 'swapping')";
        eventually(PATIENCE, "the last rebuild ends", || async {
            let mut connection = connection.lock().await;
            let open: i64 = sqlx::query_scalar(open)
                .fetch_one(&mut **connection)
                .await
                .unwrap();
            open == 0
        })
        .await;
        let ended: Vec<(String, Option<i64>, i64)> = sqlx::query_as(
            "SELECT state, drift_rows, count(*) FROM operations.rebuilds GROUP BY 1, 2 ORDER BY 1, 2",
        )
        .fetch_all(&mut **connection.lock().await)
        .await
        .unwrap();
        eprintln!("rebuilds, by state and rows that differed: {ended:?}");
        assert!(
            ended
                .iter()
                .all(|(state, drift, _)| state == "done" && *drift == Some(0)),
            "{ended:?}"
        );
    }

    async fn end(mut self, witness: Witness) {
        self.crowd.acknowledges(20).await;
        let history = self.crowd.finish().await;
        read_models::settle(self.site.postgres.url()).await;
        let scene = Scene {
            database_url: self.site.postgres.url(),
            nats_url: self.site.nats.url(),
            master_key_file: &self.site.folder.master_key_file(),
        };
        let seen = witness.testify().await;
        check(&scene, &history, &seen, &mut self.chance).await;
        let [first, second] = &mut self.workers;
        let [one, other] = &mut self.nodes;
        for process in [first, second, &mut one.process, &mut other.process] {
            assert!(process.stop(Signal::SIGTERM).await.success());
        }
    }
}

/// To PostgreSQL, or sometimes to NATS, unless nobody writes: then hardly anything passes there.
fn way<'a>(site: &'a Site, chance: &mut Chance, quiet: bool) -> &'a TcpProxy {
    if !quiet && chance.hits(30) {
        &site.to_nats
    } else {
        &site.to_postgres
    }
}

fn pid(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap())
}
