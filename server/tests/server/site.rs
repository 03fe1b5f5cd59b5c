//! Servers in the hands of a test, and the binary in its roles on them, with a proxy on every way.

use crate::instance::Folder;
use crate::process::{Process, touchline};
use std::fs;
use touchline_testkit::{PrivatePostgres, TcpProxy, TestNats, nats, private_postgres, proxy};

/// PostgreSQL and NATS of a test's own, each behind a proxy.
pub(crate) struct Site {
    pub(crate) folder: Folder,
    pub(crate) postgres: PrivatePostgres,
    pub(crate) nats: TestNats,
    pub(crate) to_postgres: TcpProxy,
    pub(crate) to_nats: TcpProxy,
}

/// A role that serves HTTP.
pub(crate) struct Serving {
    pub(crate) process: Process,
    pub(crate) url: String,
}

impl Site {
    pub(crate) async fn new() -> Self {
        let (postgres, nats) = tokio::join!(private_postgres(), nats());
        let to_postgres = proxy(address(postgres.url())).await;
        let to_nats = proxy(address(nats.url())).await;
        Self {
            folder: Folder::new(),
            postgres,
            nats,
            to_postgres,
            to_nats,
        }
    }

    /// Starts a role that serves HTTP at `address`: `serve`, or `up` for everything in one process.
    /// It reaches its servers through the proxies.
    pub(crate) async fn serve(&self, role: &str, address: &str) -> Serving {
        let ready = self.folder.ready_file();
        let _was_there = fs::remove_file(&ready);
        let ready_option = ready.to_str().unwrap();
        let arguments = [role, "--listen", address, "--ready-file", ready_option];
        let mut process = self.start(role, &arguments);
        let url = process.ready(&ready).await["url"]
            .as_str()
            .unwrap()
            .to_owned();
        Serving { process, url }
    }

    /// Starts a worker; its output goes by `name`.
    pub(crate) fn work(&self, name: &str) -> Process {
        self.start(name, &["work"])
    }

    fn start(&self, name: &str, arguments: &[&str]) -> Process {
        let mut command = touchline(self.folder.path(), arguments);
        command
            .env("TOUCHLINE_DATA_DIR", self.folder.data())
            .env(
                "TOUCHLINE_DATABASE_URL",
                self.to_postgres.url(self.postgres.url()),
            )
            .env("TOUCHLINE_NATS_URL", self.to_nats.url(self.nats.url()))
            .env("TOUCHLINE_MASTER_KEY_FILE", self.folder.master_key_file());
        if arguments[0] != "up" {
            command.env_remove("TOUCHLINE_DATA_DIR");
        }
        Process::start(self.folder.path(), name, command)
    }
}

impl Serving {
    /// Where it serves, as host and port.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }
}

/// The host and port in a server's address.
fn address(url: &str) -> &str {
    let start = url.find("127.0.0.1:").unwrap();
    url[start..].split('/').next().unwrap()
}
