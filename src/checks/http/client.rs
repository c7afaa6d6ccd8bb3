//! One request and its answer, over a connection of its own (HTTP/1.1, RFC 9112): each run shows that one can be made.
//!
//! It reads what servers send and browsers take: folded fields, many of them, later versions than 1.1.

use std::io::{self, BufRead, BufReader, Read, Write};

use super::super::support::connection::Connection;
use super::super::support::target::Target;
use super::sent::Proxy;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};

/// The longest head that is read.
const LONGEST_HEAD: u64 = 256 * 1024;

/// The most fields that a head may have.
const MOST_FIELDS: usize = 1024;

/// How much of a body is kept, so that its beginning can be shown.
const BEGINNING: usize = 1024;

/// The longest line before a chunk.
const LONGEST_LINE: u64 = 4096;

/// Asks a proxy for a connection to a server (RFC 9110, 9.3.6). What it says instead is the error.
pub(super) fn tunnel(stream: &mut (impl Read + Write), server: &Target, proxy: &Proxy) -> io::Result<()> {
    let told = server.in_ascii();
    let mut head = format!("CONNECT {told} HTTP/1.1\r\nHost: {told}\r\n").into_bytes();
    head.extend(authorization(proxy));
    head.extend(b"\r\n");
    stream.write_all(&head)?;
    // Byte by byte: what follows its head is of the server.
    let answer = read_head(&mut BufReader::with_capacity(1, stream))?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(io::Error::other(format!("it does not connect to {server}: {status}"))),
    }
}

/// What came first is not of HTTP/1.
#[derive(Debug, thiserror::Error)]
#[error("it does not speak HTTP/1")]
pub(super) struct Foreign(pub(super) Vec<u8>);

/// Sends a request, and reads the answer to the end of its head. What is wrong with that is `InvalidData`,
/// and what is beyond our limits `Unsupported`.
pub(super) fn exchange(
    mut connection: Box<dyn Connection>,
    request: &Request<()>,
    body: &[u8],
    proxy: Option<&Proxy>,
) -> io::Result<Response<Body>> {
    connection.write_all(&head(request, proxy))?;
    match connection.write_all(body).and_then(|()| connection.flush()) {
        // Who does not want the body may answer before its end, and read no more.
        Err(error) if !body.is_empty() && is_of_a_reader_gone(&error) => {}
        sent => sent?,
    }
    let mut reader = BufReader::new(connection);
    loop {
        let answer = read_head(&mut reader)?;
        // What comes before the answer, as 103 Early Hints does, is not the answer.
        if !answer.status().is_informational() || answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let length = Length::of(request.method(), &answer)?;
            return Ok(answer.map(|()| Body { reader, length, beginning: Vec::new() }));
        }
    }
}

fn is_of_a_reader_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// A proxy is told the whole URL.
fn head(request: &Request<()>, proxy: Option<&Proxy>) -> Vec<u8> {
    let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let server = request.uri().authority().filter(|_| proxy.is_some()).map(|server| format!("http://{server}"));
    let server = server.unwrap_or_default();
    let host = request.uri().authority().map(|authority| authority.as_str().rsplit('@').next().unwrap_or_default());
    let usual = [
        (header::HOST, host.unwrap_or_default()),
        (header::USER_AGENT, concat!("hospital/", env!("CARGO_PKG_VERSION"))),
        (header::ACCEPT, "*/*"),
        (header::CONNECTION, "close"),
    ];
    let mut head = format!("{} {server}{path} HTTP/1.1\r\n", request.method()).into_bytes();
    let fields = request.headers();
    for (name, value) in usual.iter().filter(|(name, _)| !fields.contains_key(name)) {
        head.extend(format!("{name}: {value}\r\n").into_bytes());
    }
    for (name, value) in fields {
        head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    head.extend(proxy.map(authorization).unwrap_or_default());
    head.extend(b"\r\n");
    head
}

/// The field that lets us use a proxy.
fn authorization(proxy: &Proxy) -> Vec<u8> {
    let field = |value: &HeaderValue| [b"Proxy-Authorization: ", value.as_bytes(), b"\r\n"].concat();
    proxy.authorization.as_ref().map(field).unwrap_or_default()
}

fn read_head(reader: &mut impl BufRead) -> io::Result<Response<()>> {
    let mut limited = reader.take(LONGEST_HEAD);
    let mut head = Vec::new();
    loop {
        let line = head.len();
        limited.read_until(b'\n', &mut head)?;
        match &head[line..] {
            // Said at once: a server of another protocol may be waiting for us.
            first if line == 0 && !first.starts_with(b"HTTP/1.") => {
                return Err(match first {
                    b"" => io::ErrorKind::UnexpectedEof.into(),
                    first => io::Error::new(io::ErrorKind::InvalidData, Foreign(first.to_vec())),
                });
            }
            b"\r\n" | b"\n" => break,
            other if !other.ends_with(b"\n") && limited.limit() == 0 => {
                return Err(beyond("its head is longer than 256 KiB, and no more is read"));
            }
            other if !other.ends_with(b"\n") => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
    // Whatever comes after 1.1 is understood by who understands 1.1 (RFC 9110, 2.5).
    if head[7].is_ascii_digit() && head[7] > b'1' {
        head[7] = b'1';
    }
    let mut fields = vec![httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    httparse::ParserConfig::default()
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .parse_response(&mut parsed, &head)
        .map_err(|error| match error {
            httparse::Error::TooManyHeaders => beyond("its head has more than 1024 fields, and no more are read"),
            error => malformed(&format!("its head cannot be read: {error}")),
        })?;
    let mut answer = Response::new(());
    *answer.status_mut() =
        StatusCode::from_u16(parsed.code.unwrap_or_default()).map_err(|_| malformed("its status is not one"))?;
    for field in parsed.headers.iter() {
        let unfolded: Vec<u8> =
            field.value.iter().map(|byte| if b"\r\n".contains(byte) { b' ' } else { *byte }).collect();
        if let (Ok(name), Ok(value)) = (field.name.parse::<HeaderName>(), HeaderValue::from_bytes(&unfolded)) {
            answer.headers_mut().append(name, value);
        }
    }
    Ok(answer)
}

fn malformed(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// What may well be right, and is more than we read.
fn beyond(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, what)
}

/// The body of an answer. One that ends before its time is `UnexpectedEof`.
pub(super) struct Body {
    reader: BufReader<Box<dyn Connection>>,
    length: Length,
    beginning: Vec<u8>,
}

impl Body {
    /// The first bytes of it that were read.
    pub(super) fn beginning(&self) -> &[u8] {
        &self.beginning
    }

    /// Reads the beginning of one that nothing is expected of any more: what has to come by what the head says, or else what has come
    /// with the head.
    pub(super) fn read_beginning(&mut self) {
        let mut room = [0; BEGINNING];
        let is_whole = matches!(self.length, Length::Known(_)) || self.reader.buffer().ends_with(b"\r\n0\r\n\r\n");
        let is_there = |body: &Body| body.length == Length::UntilClosed && !body.reader.buffer().is_empty();
        while self.beginning.len() < BEGINNING
            && (is_whole || is_there(self))
            && matches!(self.read(&mut room), Ok(1..))
        {}
    }

    /// How long what is left of it is, if its head says so.
    pub(super) fn left(&self) -> Option<u64> {
        if let Length::Known(left) = self.length { Some(left) } else { None }
    }
}

/// How the end of a body is known (RFC 9112, 6.3): the bytes that are left of it, or of its present chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Known(u64),
    Chunked(u64),
    UntilClosed,
}

impl Length {
    fn of(method: &Method, answer: &Response<()>) -> io::Result<Length> {
        let values =
            |name| answer.headers().get_all(name).into_iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
        let coding = values(header::TRANSFER_ENCODING).last().map(|last| last.trim_ascii().to_ascii_lowercase());
        let mut lengths = values(header::CONTENT_LENGTH).map(<[u8]>::trim_ascii);
        let length = lengths.next();
        match (answer.status().as_u16(), coding.as_deref(), length) {
            (100..=199 | 204 | 304, ..) => Ok(Length::Known(0)),
            _ if *method == Method::HEAD => Ok(Length::Known(0)),
            (_, Some(b"chunked"), _) => Ok(Length::Chunked(0)),
            (_, Some(b"identity") | None, Some(length)) if lengths.all(|other| other == length) => {
                let length = str::from_utf8(length).ok().and_then(|length| length.parse().ok());
                length.map(Length::Known).ok_or_else(|| malformed("its Content-Length is not a number"))
            }
            (_, Some(b"identity") | None, Some(_)) => Err(malformed("it has two different lengths")),
            (_, Some(b"identity") | None, None) => Ok(Length::UntilClosed),
            (_, Some(_), _) => Ok(Length::UntilClosed),
        }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.read_on(buffer)?;
        let room = BEGINNING - self.beginning.len();
        self.beginning.extend_from_slice(&buffer[..count.min(room)]);
        Ok(count)
    }
}

impl Body {
    fn read_on(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.length == Length::Chunked(0) && !buffer.is_empty() {
            self.length = match next_chunk(&mut self.reader)? {
                0 => Length::Known(0),
                size => Length::Chunked(size),
            };
        }
        match &mut self.length {
            Length::UntilClosed => self.reader.read(buffer),
            Length::Known(left) => read_some(&mut self.reader, buffer, left),
            Length::Chunked(left) => {
                let count = read_some(&mut self.reader, buffer, left)?;
                if *left == 0 && count > 0 && !line(&mut self.reader)?.is_empty() {
                    return Err(malformed("a chunk is longer than it says"));
                }
                Ok(count)
            }
        }
    }
}

fn read_some(reader: &mut impl Read, buffer: &mut [u8], left: &mut u64) -> io::Result<usize> {
    let most = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
    // The reader would wait for what is not for us.
    if most == 0 {
        return Ok(0);
    }
    let count = reader.read(&mut buffer[..most])?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    *left -= count as u64;
    Ok(count)
}

/// The size of the next chunk. After the last one, of size 0, fields follow that say nothing of the body.
fn next_chunk(reader: &mut impl BufRead) -> io::Result<u64> {
    let first = line(reader)?;
    let digits = first.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let size = str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let size = size.ok_or_else(|| malformed("the size of a chunk is not a number"))?;
    if size == 0 {
        while !line(reader)?.is_empty() {}
    }
    Ok(size)
}

/// A line without its end.
fn line(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut limited = reader.take(LONGEST_LINE);
    limited.read_until(b'\n', &mut line)?;
    match line.pop() {
        Some(b'\n') => Ok(line.strip_suffix(b"\r").unwrap_or(&line).to_vec()),
        Some(_) if limited.limit() == 0 => Err(beyond("a line between its chunks is longer than 4 KiB")),
        Some(_) | None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// What a server says, and who hears what it is told.
    struct Script(Cursor<Vec<u8>>);

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            // In small parts, as a network may deliver it.
            let most = buffer.len().min(3);
            self.0.read(&mut buffer[..most])
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn ask(method: Method, said: &str) -> io::Result<(u16, String, Response<()>)> {
        let request = Request::builder().method(method).uri("http://shop/").body(()).expect("it is one");
        let answer = exchange(Box::new(Script(Cursor::new(said.as_bytes().to_vec()))), &request, b"", None)?;
        let (parts, mut body) = answer.into_parts();
        let mut text = String::new();
        body.read_to_string(&mut text)?;
        Ok((parts.status.as_u16(), text, Response::from_parts(parts, ())))
    }

    #[test]
    fn answers_are_read_as_browsers_read_them() {
        let many = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 2\r\n\r\nok", "Set-Cookie: a=b\r\n".repeat(150));
        for (said, status, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", 200, "ok"),
            ("HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200, "ok"),
            ("HTTP/1.0 200 OK\r\n\r\nuntil closed", 200, "until closed"),
            ("HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
            ("HTTP/1.1 200\r\nContent-Length: 2, 2\r\n\r\nok", 200, "ok"),
            ("HTTP/1.1 999 Denied\r\nContent-Length: 0\r\n\r\n", 999, ""),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, ""),
            ("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", 304, ""),
            ("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
            ("HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
            ("HTTP/1.1 200 OK\r\nX-Name: J\u{fc}rgen\r\nX-Empty:\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
            (&many, 200, "ok"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 2\r\n\r\n\
                 5;ext=1\r\nhello\r\n006  \r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n",
                200,
                "hello world",
            ),
        ] {
            let (got, text, _) = ask(Method::GET, said).unwrap_or_else(|error| panic!("{said}: {error}"));
            assert_eq!((got, text.as_str()), (status, body), "{said}");
        }
        let (_, text, _) = ask(Method::HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").expect("it has no body");
        assert_eq!(text, "");
        let (.., answer) = ask(Method::GET, "HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\n\r\n").expect("it is one");
        assert_eq!(answer.headers()["x-folded"], "a   b");
    }

    #[test]
    fn what_is_not_an_answer_says_what_is_wrong() {
        use io::ErrorKind::{InvalidData, UnexpectedEof, Unsupported};
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(1025));
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(300_000));
        let chunked = |rest: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{rest}");
        for (said, kind) in [
            ("", UnexpectedEof),
            ("220 mail ESMTP\r\n", InvalidData),
            ("ICY 200 OK\r\n\r\n", InvalidData),
            ("HTTP/2 200 OK\r\n\r\n", InvalidData),
            ("HTTP/1.1 2x0 OK\r\n\r\n", InvalidData),
            ("HTTP/1.1 200 OK\r\nContent-", UnexpectedEof),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk", InvalidData),
            ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", InvalidData),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", UnexpectedEof),
            ("HTTP/1.1 099 Low\r\n\r\n", InvalidData),
            // These limits are ours.
            (&long, Unsupported),
            (&many, Unsupported),
            (&chunked(&format!("2;{}\r\n", "x".repeat(5000))), Unsupported),
            (&chunked("5\r\nhel"), UnexpectedEof),
            (&chunked("5\r\nhello\r\n"), UnexpectedEof),
            (&chunked("2\r\nhello\r\n0\r\n\r\n"), InvalidData),
            (&chunked("x\r\n"), InvalidData),
        ] {
            let error = ask(Method::GET, said).expect_err(said);
            assert_eq!(error.kind(), kind, "{said}: {error}");
        }
    }
}
