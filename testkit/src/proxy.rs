//! A TCP proxy that cuts connections where a test wants them cut.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A way through the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server: what is asked.
    ToServer,
    /// From the server to the client: what is answered.
    ToClient,
}

/// What the proxy is told to do.
#[derive(Debug, Default)]
struct Orders {
    /// Bytes still let through in one direction before the connection that carries them is cut.
    cut_after: Option<(Direction, usize)>,
    /// How many connections were cut by that order.
    cuts: u64,
    refuse: bool,
    /// Bytes still let through in one direction before everything stops.
    stall_after: Option<(Direction, usize)>,
    stalled: bool,
}

/// A proxy on a loopback port. Dropping it closes all its connections.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    orders: Arc<Mutex<Orders>>,
    /// Each change of the value cuts every connection that is open.
    cut: watch::Sender<u64>,
    accepting: JoinHandle<()>,
}

/// Starts a proxy in front of the server at `target`, a host and port such as `127.0.0.1:5432`.
pub async fn proxy(target: &str) -> TcpProxy {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a loopback port");
    let address = listener.local_addr().expect("the proxy's address");
    let orders = Arc::<Mutex<Orders>>::default();
    let cut = watch::Sender::new(0);
    let accepting = tokio::spawn(accept(
        listener,
        target.to_owned(),
        Arc::clone(&orders),
        cut.clone(),
    ));
    TcpProxy {
        address,
        orders,
        cut,
        accepting,
    }
}

impl TcpProxy {
    /// Where the proxy listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address `url` with the proxy's host and port in place of its own, which must be written
    /// as `127.0.0.1:port`.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        let (before, after) = url
            .split_once("127.0.0.1:")
            .expect("an address on 127.0.0.1");
        let rest = after.trim_start_matches(|symbol: char| symbol.is_ascii_digit());
        format!("{before}{}{rest}", self.address)
    }

    /// Cuts every connection that is open.
    pub fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }

    /// Lets `bytes` more through in this direction, all connections counted together, and then cuts
    /// the connection that carries the next one, once. With `ToClient` and 0 the server has
    /// received the request, and begun to answer it; the client never hears.
    pub fn cut_after(&self, direction: Direction, bytes: usize) {
        self.orders().cut_after = Some((direction, bytes));
    }

    /// How many connections [`cut_after`](Self::cut_after) has cut.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.orders().cuts
    }

    /// Lets `bytes` more through in this direction, all connections counted together, and then
    /// nothing at all in either direction, on any connection, until [`resume`](Self::resume). What
    /// is behind the proxy stays exactly where it is, so that it can be killed there.
    pub fn stall_after(&self, direction: Direction, bytes: usize) {
        self.orders().stall_after = Some((direction, bytes));
    }

    /// Whether [`stall_after`](Self::stall_after) has come to its end.
    #[must_use]
    pub fn stalled(&self) -> bool {
        self.orders().stalled
    }

    /// Cuts every connection that is open, forgets what stood still on them, and takes new ones.
    pub fn resume(&self) {
        self.cut();
        let mut orders = self.orders();
        orders.stall_after = None;
        orders.stalled = false;
    }

    /// Whether new connections are closed as soon as they are made, as if the server were away.
    pub fn refuse(&self, refuse: bool) {
        self.orders().refuse = refuse;
    }

    fn orders(&self) -> std::sync::MutexGuard<'_, Orders> {
        lock(&self.orders)
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(orders: &Mutex<Orders>) -> std::sync::MutexGuard<'_, Orders> {
    orders.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts connections until it is aborted, which aborts them too.
async fn accept(
    listener: TcpListener,
    target: String,
    orders: Arc<Mutex<Orders>>,
    cut: watch::Sender<u64>,
) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if lock(&orders).refuse {
            continue;
        }
        let (target, orders, mut cut) = (target.clone(), Arc::clone(&orders), cut.subscribe());
        connections.spawn(async move {
            // However it ends, dropping both sockets is what the peers see.
            tokio::select! {
                _ended = carry(client, &target, &orders) => {}
                _cut = cut.changed() => {}
            }
        });
    }
}

/// Carries one connection until either side closes it, or an order says to cut it.
async fn carry(client: TcpStream, target: &str, orders: &Mutex<Orders>) -> io::Result<()> {
    let server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::try_join!(
        pump(from_client, to_server, Direction::ToServer, orders),
        pump(from_server, to_client, Direction::ToClient, orders),
    )?;
    Ok(())
}

/// Copies one direction until its end, which it passes on; an error when the connection is cut.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    orders: &Mutex<Orders>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        let passage = let_through(orders, direction, read);
        let (Passage::Whole(passes) | Passage::Cut(passes) | Passage::Stalled(passes)) = passage;
        to.write_all(buffer.get(..passes).unwrap_or_default())
            .await?;
        match passage {
            Passage::Whole(_) => {}
            Passage::Cut(_) => return Err(io::ErrorKind::ConnectionAborted.into()),
            // Until the connection is cut.
            Passage::Stalled(_) => std::future::pending().await,
        }
    }
}

/// How many bytes may pass, and what then.
#[derive(Debug, Clone, Copy)]
enum Passage {
    Whole(usize),
    Cut(usize),
    Stalled(usize),
}

/// What becomes of `bytes` that have arrived.
fn let_through(orders: &Mutex<Orders>, direction: Direction, bytes: usize) -> Passage {
    let mut orders = lock(orders);
    if orders.stalled {
        return Passage::Stalled(0);
    }
    if let Some((ordered, left)) = orders.stall_after
        && ordered == direction
    {
        if left < bytes {
            orders.stall_after = None;
            orders.stalled = true;
            return Passage::Stalled(left);
        }
        orders.stall_after = Some((ordered, left - bytes));
    }
    match orders.cut_after {
        Some((ordered, left)) if ordered == direction && left < bytes => {
            orders.cut_after = None;
            orders.cuts += 1;
            Passage::Cut(left)
        }
        Some((ordered, left)) if ordered == direction => {
            orders.cut_after = Some((ordered, left - bytes));
            Passage::Whole(bytes)
        }
        _ => Passage::Whole(bytes),
    }
}
