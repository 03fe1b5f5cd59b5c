//! The listener: one socket, bounded in connections and in the time that a client may take.

use crate::UsageError;
use crate::cli::ConnectionLimits;
use crate::connections::{BoundedAcceptor, allow_open_files};
use axum::Router;
use axum_server::Handle;
use hyper_util::rt::TokioTimer;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long a client may take to send the head of a request.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests under way may take once the server stops.
const DRAIN: Duration = Duration::from_secs(25);
/// The most requests that one HTTP/2 connection may have under way.
const STREAMS_MAX: u32 = 100;

/// A socket that is bound but does not accept yet.
pub(crate) struct Bound {
    socket: TcpListener,
    address: SocketAddr,
    limits: ConnectionLimits,
}

/// A server that accepts.
pub(crate) struct Serving {
    handle: Handle<SocketAddr>,
    /// None once it was seen to end.
    task: Option<JoinHandle<std::io::Result<()>>>,
}

impl Bound {
    /// Takes the address, before anything else is started.
    pub(crate) fn bind(address: SocketAddr, limits: ConnectionLimits) -> anyhow::Result<Self> {
        allow_open_files(limits)?;
        let refuse = |error: std::io::Error| {
            UsageError::new(match error.kind() {
                std::io::ErrorKind::AddrInUse => format!(
                    "port {} is taken: stop the other program, or choose another with --listen",
                    address.port()
                ),
                std::io::ErrorKind::PermissionDenied => format!(
                    "this user may not listen on {address}: choose a port above 1023 with --listen"
                ),
                _ => format!(
                    "cannot listen on {address} ({error}): choose another address with --listen"
                ),
            })
        };
        let socket = TcpListener::bind(address).map_err(refuse)?;
        socket.set_nonblocking(true).map_err(refuse)?;
        let address = socket.local_addr().map_err(refuse)?;
        Ok(Self {
            socket,
            address,
            limits,
        })
    }

    /// Where clients find it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Begins to accept.
    pub(crate) fn serve(self, router: Router) -> anyhow::Result<Serving> {
        let handle = Handle::new();
        let mut server = axum_server::from_tcp(self.socket)?
            .acceptor(BoundedAcceptor::new(self.limits))
            .handle(handle.clone());
        let builder = server.http_builder();
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_READ_TIMEOUT);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .keep_alive_interval(Some(Duration::from_secs(30)));
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        Ok(Serving {
            handle,
            task: Some(tokio::spawn(server.serve(service))),
        })
    }
}

impl Serving {
    /// Stops accepting, lets requests under way finish, and closes what is left after the grace.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.handle.graceful_shutdown(Some(DRAIN));
        if let Some(task) = self.task {
            task.await??;
        }
        Ok(())
    }

    /// Waits for the end that nobody asked for: then nobody listens, and the process is of no use.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<()> {
        if let Some(task) = &mut self.task {
            let ended = task.await;
            self.task = None;
            ended??;
        }
        anyhow::bail!("the listener has ended")
    }
}
