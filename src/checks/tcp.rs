//! `tcp://HOST:PORT`: a connection can be made.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::{Action, Kind, Options};
use crate::check::{DEFAULT_TIMEOUT, Deadline, Finding, Reason, Result};

pub(super) const KIND: Kind =
    Kind { scheme: "tcp", options: &[], blocking: true, title: "{target} accepts connections", build };

fn build(target: &str, _: &mut Options) -> std::result::Result<Action, String> {
    let address = target.trim_start_matches('/').trim_end_matches('/').to_owned();
    if address.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()) {
        return Err(format!("{address:?} is no HOST:PORT, as in tcp://db:5432"));
    }
    Ok(Box::new(move |deadline| Finding::from(connect(&address, deadline).map(drop))))
}

/// Asserts that `HOST:PORT` accepts a connection within 5 s.
///
/// # Errors
///
/// `Fail` when no address of the host does, `Error` when the name cannot be looked up.
pub fn assert_tcp(address: &str) -> Result {
    connect(address, Deadline::at(Instant::now() + DEFAULT_TIMEOUT)).map(drop)
}

/// Connects to the first address that accepts; each is tried.
fn connect(address: &str, deadline: Deadline) -> Result<TcpStream> {
    let began = Instant::now();
    let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    let mut failures = Vec::new();
    for address in &addresses {
        let left = deadline.remaining(Instant::now()).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(address, left) {
            Ok(stream) => return Ok(stream),
            Err(error) => failures.push(describe(*address, &error)),
        }
    }
    let tried = if failures.is_empty() { "it has no address".to_owned() } else { failures.join(", ") };
    Err(Reason::Fail(format!("expected {address} to accept a connection: {tried} (in {:?})", began.elapsed())))
}

fn describe(address: SocketAddr, error: &io::Error) -> String {
    format!("{address}: {error}")
}
