//! A NATS server per test.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use touchline_embedded::{Nats, NatsSettings};

/// A test's own NATS server with JetStream, open to anyone on this machine. Dropping it stops it and
/// removes its store.
#[derive(Debug)]
pub struct TestNats {
    // In this order: the server ends before its folder goes.
    server: Option<Nats>,
    url: String,
    dir: TempDir,
}

/// Starts a server of its own.
pub async fn nats() -> TestNats {
    let dir = crate::shared_server::temporary_dir();
    let server = start(dir.path()).await;
    TestNats {
        url: server.url(),
        server: Some(server),
        dir,
    }
}

impl TestNats {
    /// Its address, which stays the same while the test lasts.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A new connection to it, which reconnects as long as it takes.
    pub async fn client(&self) -> async_nats::Client {
        async_nats::connect(&self.url)
            .await
            .expect("connect to the test's NATS")
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Nats::pid)
    }

    /// Starts it again with the same address and store, after [`stop`](Self::stop) or
    /// [`kill`](Self::kill).
    pub async fn start(&mut self) {
        assert!(self.server.is_none(), "the server runs already");
        let server = start(self.dir.path()).await;
        assert_eq!(server.url(), self.url, "another process took the port");
        self.server = Some(server);
    }

    /// Stops it in order.
    pub async fn stop(&mut self) {
        self.running().stop().await.expect("stop NATS");
    }

    /// Kills it with SIGKILL.
    pub async fn kill(&mut self) {
        self.running().kill().await.expect("kill NATS");
    }

    /// Where JetStream stores.
    #[must_use]
    pub fn store_dir(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// Copies the store of the stopped server to the new folder `copy`.
    pub fn copy_store_to(&self, copy: &Path) {
        assert!(
            self.server.is_none(),
            "the store of a running server changes under the copy"
        );
        copy_dir(&self.store_dir(), copy);
    }

    /// Replaces the store of the stopped server by a copy made earlier: the server forgets what
    /// came after it.
    pub fn restore_store_from(&self, copy: &Path) {
        assert!(
            self.server.is_none(),
            "a running server would not see its store replaced"
        );
        fs::remove_dir_all(self.store_dir()).expect("remove the store");
        copy_dir(copy, &self.store_dir());
    }

    fn running(&mut self) -> Nats {
        self.server.take().expect("the server does not run")
    }
}

async fn start(dir: &Path) -> Nats {
    let started = Nats::start(dir, NatsSettings { password: false }).await;
    started.unwrap_or_else(|error| panic!("{error}"))
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir(to).expect("make a folder");
    for entry in fs::read_dir(from).expect("read a folder") {
        let entry = entry.expect("read a folder");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("the kind of a file").is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copy a file");
        }
    }
}
