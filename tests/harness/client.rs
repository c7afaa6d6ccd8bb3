//! A raw HTTP/1.1 client over TCP and unix sockets, as rude as a test needs it.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use super::DEADLINE;

/// Where a server answers.
#[derive(Clone, Debug)]
pub(crate) enum At {
    /// Not known.
    Nowhere,
    Tcp(SocketAddr),
    Unix(PathBuf),
    Abstract(String),
}

impl At {
    /// Reads the first `Serving on 127.0.0.1 port 1515...` or `Serving on unix:PATH...`.
    #[track_caller]
    pub(crate) fn announced(stdout: &str) -> At {
        let line = stdout.lines().find_map(|line| line.strip_prefix("Serving on ")?.strip_suffix("..."));
        let line = line.unwrap_or_else(|| panic!("no address is announced in {stdout:?}"));
        if let Some(name) = line.strip_prefix("unix:@") {
            return At::Abstract(name.into());
        }
        if let Some(path) = line.strip_prefix("unix:") {
            return At::Unix(path.into());
        }
        let (ip, port) = line.split_once(" port ").unwrap_or_else(|| panic!("{line:?} is not an address"));
        let ip: IpAddr = ip.parse().expect("the address is an IP address");
        let ip = if ip.is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { ip };
        At::Tcp(SocketAddr::new(ip, port.parse().expect("the port is a number")))
    }
}

/// A connection, blocking, with [`DEADLINE`] on each read and write.
pub(crate) struct Client {
    stream: Stream,
    received: Vec<u8>,
}

/// TCP or unix.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The server's answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// One GET on a connection of its own.
#[track_caller]
pub(crate) fn get(at: &At, path: &str) -> Answer {
    try_get(at, path).unwrap_or_else(|error| panic!("GET {path} at {at:?}: {error}"))
}

/// [`get`] where it may fail.
pub(crate) fn try_get(at: &At, path: &str) -> io::Result<Answer> {
    let mut client = Client::try_to(at)?;
    client.try_send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))?;
    client.try_answer()
}

impl Client {
    #[track_caller]
    pub(crate) fn to(at: &At) -> Client {
        Client::try_to(at).unwrap_or_else(|error| panic!("connecting to {at:?}: {error}"))
    }

    pub(crate) fn try_to(at: &At) -> io::Result<Client> {
        let stream = match at {
            At::Nowhere => return Err(io::Error::other("the server's address is not known")),
            At::Tcp(address) => Stream::Tcp(TcpStream::connect_timeout(address, DEADLINE)?),
            At::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
            At::Abstract(name) => {
                Stream::Unix(UnixStream::connect_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name)?)?)
            }
        };
        let client = Client { stream, received: Vec::new() };
        client.patience(DEADLINE);
        Ok(client)
    }

    /// How long each read and write may take.
    pub(crate) fn patience(&self, limit: Duration) {
        let set = match &self.stream {
            Stream::Tcp(stream) => {
                stream.set_read_timeout(Some(limit)).and_then(|()| stream.set_write_timeout(Some(limit)))
            }
            Stream::Unix(stream) => {
                stream.set_read_timeout(Some(limit)).and_then(|()| stream.set_write_timeout(Some(limit)))
            }
        };
        set.expect("a timeout can be set");
    }

    /// Sends each piece at once, in a packet of its own.
    pub(crate) fn no_delay(&self) {
        if let Stream::Tcp(stream) = &self.stream {
            stream.set_nodelay(true).expect("a TCP socket has that option");
        }
    }

    /// The bare stream.
    pub(crate) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    pub(crate) fn into_stream(self) -> Stream {
        self.stream
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the server takes the bytes");
    }

    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends a GET that keeps the connection.
    #[track_caller]
    pub(crate) fn ask(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    }

    /// Reads one answer; bytes after it are kept for the next.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        self.try_answer().expect("the server answers")
    }

    /// Reads the answer to a HEAD, which has no body whatever its length says.
    #[track_caller]
    pub(crate) fn answer_to_head(&mut self) -> Answer {
        self.read_answer(false).expect("the server answers")
    }

    pub(crate) fn try_answer(&mut self) -> io::Result<Answer> {
        self.read_answer(true)
    }

    fn read_answer(&mut self, with_body: bool) -> io::Result<Answer> {
        let end = loop {
            if let Some(end) = self.received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            self.fill()?;
        };
        let head = String::from_utf8_lossy(&self.received[..end]).into_owned();
        let mut lines = head.lines();
        let malformed = || io::Error::other(format!("this is not an answer: {head:?}"));
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).ok_or_else(malformed)?;
        let status = status.get(..3).and_then(|code| code.parse().ok()).ok_or_else(malformed)?;
        let headers = lines
            .take_while(|line| !line.is_empty())
            .map(|line| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(malformed)?;
        let mut answer = Answer { status, headers, body: String::new() };
        let length = answer.header("content-length").and_then(|length| length.parse().ok()).ok_or_else(malformed)?;
        let length = if with_body { length } else { 0 };
        while self.received.len() < end + length {
            self.fill()?;
        }
        answer.body = String::from_utf8_lossy(&self.received[end..end + length]).into_owned();
        self.received.drain(..end + length);
        Ok(answer)
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.received.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }

    /// Waits for the server to close the connection: true if it did so in an orderly way, without further bytes.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.received.is_empty() && matches!(self.stream.read(&mut [0]), Ok(0))
    }
}

impl Answer {
    /// The value of a header field, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }
}

impl Stream {
    /// Sends no more, but goes on reading.
    pub(crate) fn shut_writing(&self) {
        let shut = match self {
            Stream::Tcp(stream) => stream.shutdown(std::net::Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(std::net::Shutdown::Write),
        };
        shut.expect("the connection is open");
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Every answer but a report is JSON with three keys.
#[track_caller]
pub(crate) fn assert_is_error(answer: &Answer, status: u16, why: &str) {
    let json = answer.json();
    assert_eq!(answer.status, status, "{why}: {json}");
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"), "{why}");
    assert_eq!((json["status"].as_str(), json["code"].as_u64()), (Some("error"), Some(status.into())), "{why}");
    assert!(json["message"].as_str().is_some_and(|message| !message.is_empty()), "{why}: {json}");
    assert_eq!(json.as_object().map(|object| object.len()), Some(3), "{why}: {json}");
}
