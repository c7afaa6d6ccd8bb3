//! Asks a running server, over HTTP.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use socket2::{SockAddr, Socket, Type};

use crate::checks::support::ownership;
use crate::config::Given;
use crate::error::Error;
use crate::model::{duration, host, text};
use crate::state::{ServerPlace, StateDir};

/// How long an answer may take for which no check is run: that of a server that is well comes at once.
pub(super) const PROMPT: Duration = Duration::from_secs(2);

/// How long any other may take: longer than a round.
pub(super) const ROUND: Duration = Duration::from_secs(60);

/// The longest answer that is read.
const LONGEST: usize = 64 << 20;

/// Which server to ask.
#[derive(Debug, Args)]
pub(super) struct Asked {
    /// Ask the server at this address, as in http://localhost:1515/healthchecks or unix:/run/hospital.sock
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Where `serve` keeps its state, and says where it serves; HOSPITAL_STATE_DIR unless given
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The token of `--details token` is in this file
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Read variables from this file, as `serve` does; -FILE: if it is there
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    env_file: Option<PathBuf>,
}

/// What there is to ask.
pub(super) struct Source {
    /// The servers to try, in this order.
    pub(super) servers: Vec<Server>,
    pub(super) state: Option<StateDir>,
}

/// A server.
pub(super) struct Server {
    place: Place,
    /// What stands before each path.
    prefix: String,
    token: Option<String>,
}

enum Place {
    Tcp(String, u16),
    Unix(PathBuf),
    Abstract(String),
}

/// What a server says.
pub(super) struct Fetched {
    pub(super) status: u16,
    pub(super) body: String,
    /// Where.
    from: String,
}

impl Asked {
    /// Finds out whom to ask.
    pub(super) fn source(&self, given: &Given) -> Result<Source, Error> {
        let variables = self.env_file.as_deref().map_or(Ok(Vec::new()), |path| given.read_env_file(path))?;
        let given = given.with(&variables);
        let token = self.token_file.as_deref().map(token).transpose()?;
        if let Some(url) = &self.url {
            let refuse = |why| Error::Usage(format!("--url {url}: {why}"));
            return Ok(Source { servers: vec![Server::parse(url, "", token).map_err(refuse)?], state: None });
        }
        let by_url = |why: String| Error::Usage(format!("{why}, or name the server by --url"));
        let state = given.state_dir(self.state_dir.as_deref()).map_err(|error| match error {
            Error::Usage(why) => by_url(why),
            error => error,
        })?;
        let state = state.ok_or_else(|| {
            Error::Usage(
                "say which server: --url URL, or --state-dir DIR with the folder of `hospital serve`, or set \
                 HOSPITAL_STATE_DIR"
                    .to_owned(),
            )
        })?;
        let place = state
            .server_place()
            .map_err(|why| by_url(format!("{why}: ask as root or as one of the group of the service")))?;
        let ServerPlace { prefix, urls } = place.unwrap_or_default();
        let servers = urls.iter().filter_map(|url| Server::parse(url, &prefix, token.clone()).ok()).collect();
        Ok(Source { servers, state: Some(state) })
    }
}

fn token(path: &Path) -> Result<String, Error> {
    let name = format!("--token-file {}", path.display());
    let read = ownership::read(path).map_err(|distrust| {
        distrust.error(&name, |error| Error::Usage(format!("{name}: it cannot be read: {error}")))
    })?;
    Ok(read.trim().to_owned())
}

impl Source {
    /// The answer of the first server that gives one within this time.
    ///
    /// # Errors
    ///
    /// Why none does.
    pub(super) fn ask(&self, path: &str, limit: Duration) -> Result<Fetched, String> {
        let mut why = match &self.state {
            Some(state) => format!(
                "no server has said in {} where it serves, as one does once it is ready",
                state.history().display()
            ),
            None => "no server is named".to_owned(),
        };
        for server in &self.servers {
            match server.get(path, Instant::now() + limit) {
                Ok((status, body)) => return Ok(Fetched { status, body, from: server.to_string() }),
                Err(error) => why = format!("no server answers at {server}: {}", spoken(&error, limit)),
            }
        }
        Err(why)
    }
}

/// A name as a part of a path.
pub(super) fn encoded(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

impl Server {
    fn parse(url: &str, prefix: &str, token: Option<String>) -> Result<Server, &'static str> {
        if let Some(path) = url.strip_prefix("unix:") {
            let place = match path.strip_prefix('@') {
                Some(name) => Place::Abstract(name.to_owned()),
                None if path.is_empty() => return Err("\"unix:\" lacks a path, as in unix:/run/hospital.sock"),
                None => Place::Unix(path.into()),
            };
            return Ok(Server { place, prefix: prefix.to_owned(), token });
        }
        if url.starts_with("https://") {
            return Err("TLS is not spoken here: give the address of the server behind the proxy, with http://");
        }
        let wrong = "write http://HOST:PORT, with the --prefix of the server behind it, or unix:PATH";
        let rest = url.strip_prefix("http://").ok_or(wrong)?;
        let (address, path) = rest.split_once('/').map_or((rest, ""), |(address, path)| (address, path));
        let (name, port) = host::split(address).map_err(|_| wrong)?;
        if name.is_empty() || path.contains(['?', '#', ' ']) {
            return Err(wrong);
        }
        let path = path.trim_end_matches('/');
        let prefix = if path.is_empty() { prefix.to_owned() } else { format!("/{path}") };
        Ok(Server { place: Place::Tcp(name.to_owned(), port.unwrap_or(80)), prefix, token })
    }

    fn get(&self, path: &str, deadline: Instant) -> io::Result<(u16, String)> {
        match &self.place {
            Place::Tcp(host, port) => {
                let mut last = io::Error::from(io::ErrorKind::NotFound);
                for address in (host.as_str(), *port).to_socket_addrs()? {
                    match connected(&address.into(), deadline) {
                        Ok(stream) => return self.exchange(stream, path, deadline),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            Place::Unix(file) => self.exchange(connected(&SockAddr::unix(file)?, deadline)?, path, deadline),
            Place::Abstract(name) => {
                let address = SockAddr::unix(format!("\0{name}"))?;
                self.exchange(connected(&address, deadline)?, path, deadline)
            }
        }
    }

    /// In HTTP/1.0, in which the answer ends with the connection.
    fn exchange(&self, mut stream: Socket, path: &str, deadline: Instant) -> io::Result<(u16, String)> {
        let host = match &self.place {
            Place::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            Place::Tcp(host, port) => format!("{host}:{port}"),
            Place::Unix(_) | Place::Abstract(_) => "localhost".to_owned(),
        };
        let token = self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let head = format!(
            "GET {}{path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: hospital/{}\r\n{token}\r\n",
            self.prefix,
            env!("CARGO_PKG_VERSION")
        );
        stream.set_write_timeout(Some(remaining(deadline)?))?;
        stream.write_all(head.as_bytes())?;
        let (mut bytes, mut piece) = (Vec::new(), [0; 16 * 1024]);
        loop {
            stream.set_read_timeout(Some(remaining(deadline)?))?;
            match stream.read(&mut piece)? {
                0 => break,
                _ if bytes.len() > LONGEST => return Err(io::Error::other("its answer does not end")),
                count => bytes.extend_from_slice(&piece[..count]),
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(not_http)?;
        let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok()).ok_or_else(not_http)?;
        Ok((status, body.to_owned()))
    }
}

/// A connection; one that is not made at once is given up at the deadline.
fn connected(address: &SockAddr, deadline: Instant) -> io::Result<Socket> {
    let socket = Socket::new(address.domain(), Type::STREAM, None)?;
    socket.connect_timeout(address, remaining(deadline)?)?;
    Ok(socket)
}

fn remaining(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        remaining => Ok(remaining),
    }
}

fn spoken(error: &io::Error, limit: Duration) -> String {
    match error.kind() {
        // The queue of a unix socket is full: nobody accepts there.
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            format!("nothing came within {}", duration::spoken(limit))
        }
        _ => error.to_string(),
    }
}

fn not_http() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it does not speak HTTP")
}

impl Fetched {
    /// What is said by an answer that is not what was asked for.
    pub(super) fn refusal(&self) -> String {
        #[derive(Deserialize)]
        struct Refusal {
            code: u16,
            message: String,
        }
        match serde_json::from_str(&self.body) {
            Ok(Refusal { code, message }) if code == self.status => text::line(&message).into_owned(),
            Ok(_) | Err(_) => format!("what answers at {} is not hospital: it says {}", self.from, self.status),
        }
    }

    /// Whether it is not told to those who may not see details.
    pub(super) fn is_for_others(&self) -> bool {
        matches!(self.status, 401 | 403)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Tcp(host, port) if host.contains(':') => write!(f, "http://[{host}]:{port}{}", self.prefix),
            Place::Tcp(host, port) => write!(f, "http://{host}:{port}{}", self.prefix),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
            Place::Abstract(name) => write!(f, "unix:@{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_shown_and_what_is_none_is_refused() {
        for url in ["http://localhost:1515", "http://[::1]:8000/healthchecks", "unix:/run/h.sock", "unix:@h"] {
            assert_eq!(Server::parse(url, "", None).map(|server| server.to_string()), Ok(url.to_owned()));
        }
        for url in ["", "localhost:1515", "unix:", "https://x", "http://", "http://a b", "http://x/?y", "ftp://x"] {
            assert!(Server::parse(url, "", None).is_err(), "{url}");
        }
    }
}
