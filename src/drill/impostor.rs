//! Answers in place of all peers of a check, in a network in which every address leads here.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use socket2::Socket;

use super::saboteur::IMPOSTOR;
use super::seen::{DNS, Trace};
use crate::model::sabotage::{Rubbish, Sabotage, Stranger};
use crate::os::confinement;

/// Letters and digits could mean something, and what is no text might be refused for that alone.
const GARBAGE: &[u8] = b"~}|{`^]\\[@?>=<;:/.-,+*)('&%$#\"!\r\n";

/// How long a client is given to say what it wants.
const PATIENCE: Duration = Duration::from_millis(500);

/// Something that answers.
pub(super) struct Impostor {
    streams: Vec<(u16, Socket)>,
    datagrams: Vec<(u16, Socket)>,
    local: Socket,
}

/// What the threads need to know.
#[derive(Clone)]
struct Manner {
    sabotage: Sabotage,
    seen: Trace,
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "nobody trusts what is not shown"))]
    trusted: std::sync::Arc<dyn Fn() + Send + Sync>,
}

impl Impostor {
    /// Takes the places of the peers.
    pub(super) fn bind(sabotage: Sabotage, seen: &Trace) -> io::Result<Impostor> {
        let is_deaf = sabotage == Sabotage::BlackHole;
        let mut impostor =
            Impostor { streams: Vec::new(), datagrams: Vec::new(), local: confinement::listen_at(IMPOSTOR)? };
        for (port, is_stream) in seen.ports() {
            let socket = confinement::listen(port, is_stream, is_deaf)?;
            if is_stream { &mut impostor.streams } else { &mut impostor.datagrams }.push((port, socket));
        }
        Ok(impostor)
    }

    /// Answers until the process is killed; `trusted` is called when a client has trusted our certificate.
    pub(super) fn answer(self, sabotage: Sabotage, seen: &Trace, trusted: impl Fn() + Send + Sync + 'static) -> ! {
        let manner = Manner { sabotage, seen: seen.clone(), trusted: std::sync::Arc::new(trusted) };
        let names_are_the_point = !seen.talks_beyond_names();
        for (port, socket) in self.datagrams {
            let speaks_dns = port == DNS && !names_are_the_point;
            let manner = manner.clone();
            thread::spawn(move || reply(&socket, speaks_dns, &manner));
        }
        for (port, socket) in self.streams {
            let manner = manner.clone();
            thread::spawn(move || accept(&socket, port, &manner));
        }
        accept(&self.local, 0, &manner);
        loop {
            thread::park();
        }
    }
}

fn accept(listener: &Socket, port: u16, manner: &Manner) {
    // Where it would fail, nobody is answered.
    let _ = listener.set_nonblocking(false);
    while let Ok((client, _)) = listener.accept() {
        let manner = manner.clone();
        thread::spawn(move || {
            // A client that goes away has seen enough.
            let _ = serve(client, port, &manner);
        });
    }
}

fn serve(mut client: Socket, port: u16, manner: &Manner) -> io::Result<()> {
    client.set_nonblocking(false)?;
    match manner.sabotage {
        Sabotage::Rubbish(Rubbish::Bytes) => {
            client.write_all(GARBAGE)?;
            client.set_read_timeout(Some(PATIENCE))?;
            // Who waits for an answer to a question is given one.
            let _ = client.read(&mut [0; 4096]);
            client.write_all(GARBAGE)?;
            finish(client)
        }
        Sabotage::Rubbish(Rubbish::Nothing) => {
            client.set_read_timeout(Some(PATIENCE))?;
            // Who asks nothing is not waited for.
            let _ = client.read(&mut [0; 4096]);
            Ok(())
        }
        Sabotage::Rubbish(Rubbish::Endless) => loop {
            client.write_all(&GARBAGE.repeat(64))?;
            thread::sleep(Duration::from_millis(5));
        },
        Sabotage::Rubbish(Rubbish::Drip) => {
            for byte in GARBAGE.iter().cycle() {
                client.write_all(&[*byte])?;
                thread::sleep(Duration::from_secs(1));
            }
            Ok(())
        }
        Sabotage::Stranger(stranger) => be_stranger(client, port, stranger, manner),
        // It has connected, and that is all.
        Sabotage::BlackHole | Sabotage::Refused | Sabotage::Gone(_) | Sabotage::Full | Sabotage::Starved(_) => {
            thread::sleep(Duration::MAX);
            Ok(())
        }
    }
}

/// Closes a connection so that what was sent arrives.
fn finish(mut client: Socket) -> io::Result<()> {
    client.shutdown(std::net::Shutdown::Write)?;
    client.set_read_timeout(None)?;
    while client.read(&mut [0; 4096])? > 0 {}
    Ok(())
}

fn be_stranger(mut client: Socket, port: u16, stranger: Stranger, manner: &Manner) -> io::Result<()> {
    let mut first = [std::mem::MaybeUninit::new(0u8)];
    let length = client.peek(&mut first)?;
    // SAFETY is not needed: a peeked byte is read again below.
    if length == 0 {
        return Ok(());
    }
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    client.set_read_timeout(Some(PATIENCE))?;
    loop {
        let length = client.read(&mut buffer)?;
        head.extend_from_slice(&buffer[..length]);
        if length == 0 {
            return Ok(());
        }
        if head.starts_with(&[0x16]) {
            return tls(client, head, stranger, manner);
        }
        if head.windows(4).any(|end| end == b"\r\n\r\n") {
            let (path, is_head) = asked(&head);
            let recorded = manner.seen.answers.get(&port).map(Vec::as_slice).unwrap_or_default();
            client.write_all(&answer(stranger, &path, recorded, is_head))?;
            return finish(client);
        }
    }
}

/// The path that is asked for, and whether only the head of the answer is.
fn asked(head: &[u8]) -> (String, bool) {
    let path = String::from_utf8_lossy(head).split(' ').nth(1).unwrap_or("/").to_owned();
    (path, head.starts_with(b"HEAD "))
}

/// An answer of HTTP.
fn answer(stranger: Stranger, path: &str, recorded: &[u8], is_head: bool) -> Vec<u8> {
    const LOGIN: &str = "<html><head><title>Login</title></head><body><form method=\"post\" action=\"/login\">\
        User <input name=\"u\"> Password <input name=\"p\" type=\"password\"></form></body></html>";
    const MOVED: &str = "<html><head><title>Found</title></head><body>The document has moved.</body></html>";
    let plain = |status: &str, more: &str, kind: &str, body: &str| {
        let body_length = body.len();
        let body = if is_head { "" } else { body };
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {body_length}\r\nConnection: close\r\n{more}\r\n{body}")
            .into_bytes()
    };
    match stranger {
        Stranger::Login if path.starts_with("/hospital-drill-login") => plain("200 OK", "", "text/html", LOGIN),
        Stranger::Login => plain("302 Found", "Location: /hospital-drill-login\r\n", "text/html", MOVED),
        Stranger::OtherBody => plain("200 OK", "", "text/html", "<html><body>~~~</body></html>"),
        Stranger::Failing | Stranger::Certificate => {
            let rest = recorded.iter().position(|&byte| byte == b'\r').map(|end| &recorded[end..]);
            match rest {
                Some(rest) if recorded.starts_with(b"HTTP/1.") => {
                    [b"HTTP/1.1 500 Internal Server Error", rest].concat()
                }
                Some(_) | None => plain("500 Internal Server Error", "", "text/plain", "error"),
            }
        }
    }
}

#[cfg(feature = "tls")]
fn tls(client: Socket, begun: Vec<u8>, stranger: Stranger, manner: &Manner) -> io::Result<()> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
    const CERTIFICATE: &[u8] = include_bytes!("stranger.crt.der");
    const KEY: &[u8] = include_bytes!("stranger.key.der");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(CERTIFICATE)], PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(KEY)))
        .map_err(io::Error::other)?;
    let mut session = rustls::ServerConnection::new(std::sync::Arc::new(config)).map_err(io::Error::other)?;
    let mut stream = Begun { begun: io::Cursor::new(begun), client };
    let mut stream = rustls::Stream::new(&mut session, &mut stream);
    // What a client says on a session shows that it trusts us.
    let mut said = [0; 4096];
    let length = stream.read(&mut said).unwrap_or_default();
    // An empty line says nothing, as `openssl s_client` is often given one to end.
    if !said[..length].trim_ascii().is_empty() {
        let (path, is_head) = asked(&said[..length]);
        let told = match stranger {
            Stranger::Certificate => {
                (manner.trusted)();
                Stranger::OtherBody
            }
            Stranger::Failing | Stranger::OtherBody | Stranger::Login => stranger,
        };
        // What its peer says inside of TLS nobody has seen.
        stream.write_all(&answer(told, &path, &[], is_head))?;
        stream.conn.send_close_notify();
        stream.flush()?;
    }
    Ok(())
}

/// A connection of which something was read already.
#[cfg(feature = "tls")]
struct Begun {
    begun: io::Cursor<Vec<u8>>,
    client: Socket,
}

#[cfg(feature = "tls")]
impl Read for Begun {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.begun.read(buffer)? {
            0 => self.client.read(buffer),
            length => Ok(length),
        }
    }
}

#[cfg(feature = "tls")]
impl Write for Begun {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.client.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.client.flush()
    }
}

#[cfg(not(feature = "tls"))]
fn tls(_client: Socket, _begun: Vec<u8>, _stranger: Stranger, _manner: &Manner) -> io::Result<()> {
    Ok(())
}

/// Answers datagrams.
fn reply(socket: &Socket, speaks_dns: bool, manner: &Manner) {
    if manner.sabotage == Sabotage::BlackHole {
        // A socket that is closed would be told.
        thread::sleep(Duration::MAX);
    }
    if socket.set_nonblocking(false).is_err() {
        return;
    }
    let Ok(socket) = socket.try_clone().map(std::net::UdpSocket::from) else { return };
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let answer = if speaks_dns { name(&buffer[..length], &manner.seen) } else { GARBAGE.to_vec() };
        // A client that has gone needs no answer.
        let _ = socket.send_to(&answer, from);
    }
}

/// The answer to a question about a name: an address of one of the peers, whatever the name is (RFC 1035, 4.1).
fn name(question: &[u8], seen: &Trace) -> Vec<u8> {
    let mut end = 12;
    while question.get(end).is_some_and(|&length| length > 0) {
        end += 1 + usize::from(question[end]);
    }
    let (end, [kind, _]) = match question.get(end + 1..end + 5) {
        Some(rest) => (end + 5, [u16::from_be_bytes([rest[0], rest[1]]), 0]),
        None => return GARBAGE.to_vec(),
    };
    let v4 = seen.streams.iter().find_map(|peer| match peer {
        SocketAddr::V4(peer) => Some(*peer.ip()),
        SocketAddr::V6(_) => None,
    });
    let v6 = seen.streams.iter().find_map(|peer| match peer {
        SocketAddr::V6(peer) => Some(*peer.ip()),
        SocketAddr::V4(_) => None,
    });
    let data = match kind {
        // A, AAAA.
        1 if v6.is_none() || v4.is_some() => Some(v4.unwrap_or(Ipv4Addr::new(198, 51, 100, 7)).octets().to_vec()),
        28 => v6.map(|address| address.octets().to_vec()),
        _ => None,
    };
    let count = u8::from(data.is_some());
    let head = [question[0], question[1], 0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0];
    let mut answer = [&head[..], &question[12..end]].concat();
    if let Some(data) = data {
        // The name is that of the question; a class of IN; a minute to live.
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
        answer.extend(data);
    }
    answer
}
