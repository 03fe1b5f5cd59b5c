//! Loopback ports.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::Path;

/// Where ports are chosen from: below the range that Linux gives to outgoing connections. From
/// inside that range, a client that keeps trying to reach a stopped server would now and then be
/// given the server's own port, connect to itself, and keep the port from the server.
const PORTS: Range<u16> = 15_000..30_000;

/// How many random ports are tried before giving up.
const TRIES_MAX: usize = 200;

/// Whether nothing listens on this loopback port.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A free loopback port: the one that the file `kept` names, when it is still free, so that a
/// server started again is found where it was; else a random one.
pub(crate) fn choose(kept: &Path) -> io::Result<u16> {
    let last = fs::read_to_string(kept)
        .ok()
        .and_then(|port| port.trim().parse().ok());
    if let Some(port) = last.filter(|&port| is_free(port)) {
        return Ok(port);
    }
    for _ in 0..TRIES_MAX {
        let random = getrandom::u32().map_err(io::Error::other)?;
        let width = u32::from(PORTS.end - PORTS.start);
        let offset = u16::try_from(random % width).map_err(io::Error::other)?;
        let port = PORTS.start + offset;
        if is_free(port) {
            return Ok(port);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        "no free loopback port between 15000 and 30000",
    ))
}

/// Remembers the port for the next start.
pub(crate) fn keep(kept: &Path, port: u16) -> io::Result<()> {
    fs::write(kept, format!("{port}\n"))
}
