//! How many connections are open at once, in all and from one address. What comes beyond is closed
//! before a byte of it is read.

use crate::UsageError;
use crate::cli::ConnectionLimits;
use axum_server::accept::Accept;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::collections::HashMap;
use std::future::{Ready, ready};
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Open files for everything that is no client: connections to PostgreSQL and NATS, and files.
const OTHER_FILES: u64 = 256;
/// How often it is said that connections were refused.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

/// Makes room for as many open files as the connections may need.
///
/// # Errors
/// [`UsageError`] when the system lets this process have fewer.
pub(crate) fn allow_open_files(limits: ConnectionLimits) -> anyhow::Result<()> {
    let needed = u64::from(limits.total) + OTHER_FILES;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= needed {
        return Ok(());
    }
    if hard < needed {
        return Err(UsageError::new(format!(
            "{} connections need {needed} open files, and this process may have {hard}: raise the \
             limit (`ulimit -n`, `LimitNOFILE=`), or lower --connections-max",
            limits.total
        ))
        .into());
    }
    Ok(setrlimit(Resource::RLIMIT_NOFILE, needed, hard)?)
}

/// Where clients come from: an IPv4 address, or the network of 64 bits of an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Origin {
    V4(Ipv4Addr),
    V6(u128),
}

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6(address.to_bits() >> 64),
        }
    }
}

/// Lets connections in while there is room.
#[derive(Debug, Clone)]
pub(crate) struct BoundedAcceptor {
    limits: ConnectionLimits,
    open: Arc<Mutex<OpenConnections>>,
}

/// What is open now. It has an entry only for who is connected, so that it is bounded by them.
#[derive(Debug, Default)]
struct OpenConnections {
    total: u32,
    by_origin: HashMap<Origin, u32>,
    refused: u64,
    told_at: Option<Instant>,
}

/// A connection's place among those that are open, given back when it is dropped.
#[derive(Debug)]
struct Place {
    origin: Origin,
    open: Arc<Mutex<OpenConnections>>,
}

impl BoundedAcceptor {
    pub(crate) fn new(limits: ConnectionLimits) -> Self {
        Self {
            limits,
            open: Arc::default(),
        }
    }

    /// A place for a connection from `address`; none when there are too many already.
    fn enter(&self, address: IpAddr) -> Option<Place> {
        let origin = Origin::from(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let here = open.by_origin.get(&origin).copied().unwrap_or(0);
        if open.total >= self.limits.total || here >= self.limits.per_address {
            open.refuse();
            return None;
        }
        open.total += 1;
        open.by_origin.insert(origin, here + 1);
        Some(Place {
            origin,
            open: Arc::clone(&self.open),
        })
    }
}

impl OpenConnections {
    /// Counts a refusal, and says now and then how many there were.
    fn refuse(&mut self) {
        self.refused += 1;
        let now = Instant::now();
        if self.told_at.is_none_or(|at| now - at >= TELL_INTERVAL) {
            self.told_at = Some(now);
            let (refused, open) = (std::mem::take(&mut self.refused), self.total);
            tracing::warn!(
                refused,
                open,
                "touchline: connections beyond the limits refused"
            );
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total -= 1;
        if let Some(here) = open.by_origin.get_mut(&self.origin) {
            *here -= 1;
            if *here == 0 {
                open.by_origin.remove(&self.origin);
            }
        }
    }
}

impl<S> Accept<TcpStream, S> for BoundedAcceptor {
    type Stream = Connection;
    type Service = S;
    type Future = Ready<io::Result<(Connection, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        ready(stream.peer_addr().and_then(|peer| {
            let place = self
                .enter(peer.ip())
                .ok_or_else(|| io::Error::from(io::ErrorKind::QuotaExceeded))?;
            Ok((
                Connection {
                    stream,
                    _place: place,
                },
                service,
            ))
        }))
    }
}

/// A stream that has a place as long as it is open, as whatever protocol.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    _place: Place,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acceptor(total: u32, per_address: u32) -> BoundedAcceptor {
        BoundedAcceptor::new(ConnectionLimits { total, per_address })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_share_and_no_more() {
        let acceptor = acceptor(10, 2);
        let first = acceptor.enter(ip("192.0.2.1")).unwrap();
        let _second = acceptor.enter(ip("::ffff:192.0.2.1")).unwrap();
        assert!(acceptor.enter(ip("192.0.2.1")).is_none());
        assert!(acceptor.enter(ip("192.0.2.2")).is_some());
        drop(first);
        assert!(acceptor.enter(ip("192.0.2.1")).is_some());
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let acceptor = acceptor(10, 1);
        let _place = acceptor.enter(ip("2001:db8:0:1::1")).unwrap();
        assert!(acceptor.enter(ip("2001:db8:0:1:ffff::2")).is_none());
        assert!(acceptor.enter(ip("2001:db8:0:2::1")).is_some());
    }

    #[test]
    fn nothing_is_kept_of_who_has_gone() {
        let acceptor = acceptor(3, 3);
        let places: Vec<_> = (1..=3)
            .map(|n| acceptor.enter(IpAddr::from([192, 0, 2, n])).unwrap())
            .collect();
        assert!(acceptor.enter(ip("192.0.2.4")).is_none());
        drop(places);
        let open = acceptor.open.lock().unwrap();
        assert_eq!((open.total, open.by_origin.len()), (0, 0));
    }
}
