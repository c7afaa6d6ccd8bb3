//! Heads of HTTP messages: parses and checks those of requests, writes those of responses.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use httparse::Status;
use memchr::{memchr, memchr_iter};

/// The capacity that an idle connection keeps of each buffer.
pub(crate) const KEPT_CAPACITY: usize = 4 * 1024;

/// The most header fields that [`Limits::fields`] may allow.
pub const MOST_FIELDS: usize = 1000;

/// Number of header fields for which there is room at first: a request with more is parsed twice, and each process that has
/// parsed one keeps eight more pages of stack.
const USUAL_FIELDS: usize = 100;

/// How long a connection may wait for its client.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the first byte of a head to its last.
    pub header: Duration,
    /// From one answer to the next request.
    pub keep_alive: Duration,
}

/// How large a request may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes in the request line.
    pub line: usize,
    /// Number of header fields, at most [`MOST_FIELDS`].
    pub fields: usize,
    /// Bytes in one header field.
    pub field_size: usize,
}

impl Limits {
    /// Bytes in the whole head, whatever the other limits are.
    const HEAD: usize = 64 * 1024;
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// It is not HTTP, or is ambiguous.
    Malformed(&'static str),
    /// It did not arrive in time.
    Timeout,
    /// The request line is too long.
    LineTooLong,
    /// There are too many fields, or one is too long.
    FieldsTooLarge,
    /// A transfer coding or a method that we do not know.
    NotImplemented(&'static str),
    /// Neither HTTP/1.0 nor 1.1.
    Version,
}

const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";

const BARE_LINE_FEED: Rejection = Rejection::Malformed("a line ends with LF alone");

impl Rejection {
    /// The status code and what to tell the client.
    pub fn answer(self) -> (u16, &'static str) {
        match self {
            Rejection::Malformed(why) => (400, why),
            Rejection::Timeout => (408, "the request did not come in time"),
            Rejection::LineTooLong => (414, "the request line is too long (see --limit-request-line)"),
            Rejection::FieldsTooLarge => (431, "the header is too large (see --limit-request-fields and -field_size)"),
            Rejection::NotImplemented(why) => (501, why),
            Rejection::Version => (505, "only HTTP/1.0 and HTTP/1.1 are spoken here"),
        }
    }
}

/// Methods, as far as the answer depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// OPTIONS, the default probe of HAProxy
    Options,
    /// A method that is never allowed here, such as POST.
    Other,
}

/// A complete head of a request, and where the parts that matter lie in it.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// Equal to that of the head before only if both are the same.
    pub(crate) number: u64,
    pub(crate) method: Method,
    /// The x of HTTP/1.x: 0 or 1.
    pub(crate) minor: u8,
    /// Whether the client may use the connection again.
    pub(crate) keep_alive: bool,
    /// Whether a body follows the head.
    pub(crate) has_body: bool,
    /// The length of the head in bytes.
    pub(crate) length: usize,
    target: Range<usize>,
    accept: Option<Range<usize>>,
    authorization: Option<Range<usize>>,
    scrape_timeout: Option<Range<usize>>,
    cache_control: Option<Range<usize>>,
}

/// The parts of a request that matter to the answer.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// The request target, as it was sent.
    pub target: &'a str,
    /// The Accept field; `None` if there are several, which together may allow more than the first.
    pub accept: Option<&'a str>,
    /// The Authorization field.
    pub authorization: Option<&'a str>,
    /// The X-Prometheus-Scrape-Timeout-Seconds field.
    pub scrape_timeout: Option<&'a str>,
    /// The Cache-Control field; the last, if there are several.
    pub cache_control: Option<&'a str>,
}

impl<'a> Request<'a> {
    /// A request that another server has read, with all its header fields or those of which it knows.
    pub fn new(method: &str, target: &'a str, fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Request<'a> {
        let method = known_method(method).unwrap_or(Method::Other);
        let (accept, authorization, scrape_timeout, cache_control) = (None, None, None, None);
        let mut request = Request { method, target, accept, authorization, scrape_timeout, cache_control };
        let mut accepts = 0;
        for (name, value) in fields {
            if name.eq_ignore_ascii_case("accept") {
                accepts += 1;
                request.accept = Some(value).filter(|_| accepts == 1);
            } else if name.eq_ignore_ascii_case("authorization") {
                request.authorization = Some(value);
            } else if name.eq_ignore_ascii_case(SCRAPE_TIMEOUT) {
                request.scrape_timeout = Some(value);
            } else if name.eq_ignore_ascii_case("cache-control") {
                request.cache_control = Some(value);
            }
        }
        request
    }
}

impl Head {
    /// Whether it may be kept to compare the next one with. One with a token may not: the time of the
    /// comparison would tell how much of the token is right.
    fn is_memorable(&self) -> bool {
        self.authorization.is_none() && self.length <= KEPT_CAPACITY
    }

    pub(crate) fn request<'a>(&self, input: &'a [u8]) -> Request<'a> {
        let text = |range: &Range<usize>| std::str::from_utf8(&input[range.clone()]).ok();
        Request {
            method: self.method,
            target: text(&self.target).expect("httparse gave it as a str of these bytes"),
            accept: self.accept.as_ref().and_then(text),
            authorization: self.authorization.as_ref().and_then(text),
            scrape_timeout: self.scrape_timeout.as_ref().and_then(text),
            cache_control: self.cache_control.as_ref().and_then(text),
        }
    }
}

/// An answer to be written.
#[derive(Clone, Debug)]
pub struct Response<'a> {
    /// The status code.
    pub status: u16,
    /// Its header lines, each with its line end, except Content-Length and Connection.
    pub fields: &'a str,
    /// The body, which many clients may be sent at once. The answer to HEAD sends only its length.
    pub body: &'a Arc<Vec<u8>>,
    /// Whether to close the connection afterwards, whatever the client wants.
    pub close: bool,
}

/// Reads the heads of requests, and remembers the last one: a probe sends the same one all day.
///
/// This is the one memory from request to request. Its key is the bytes of a head; under that lies what they say, and
/// what the reader's owner has made of it ([`Reader::remember`]). A different head replaces both.
#[derive(Clone, Debug)]
pub struct Reader<M = ()> {
    limits: Limits,
    /// How long its connections wait.
    pub patience: Patience,
    /// What the next read goes into.
    pub(crate) buffer: Box<[u8]>,
    /// The bytes of the last head, which are only valid with `head`.
    bytes: Vec<u8>,
    head: Option<Head>,
    made: Option<M>,
    /// How many heads were parsed.
    parsed: u64,
}

impl<M> Reader<M> {
    /// A reader for connections with these limits.
    pub fn new(limits: Limits, patience: Patience) -> Reader<M> {
        let buffer = vec![0; 8 * 1024].into();
        Reader { limits, patience, buffer, bytes: Vec::new(), head: None, made: None, parsed: 0 }
    }

    /// The result of [`parse`], or the remembered head.
    pub(crate) fn read(&mut self, input: &[u8], scanned: usize) -> Result<Option<Head>, Rejection> {
        if let Some(head) = &self.head
            && input.starts_with(&self.bytes)
        {
            return Ok(Some(head.clone()));
        }
        let Some(head) = parse(input, scanned, &self.limits, self.parsed + 1)? else { return Ok(None) };
        self.parsed += 1;
        (self.head, self.made) = (head.is_memorable().then(|| head.clone()), None);
        self.bytes.clear();
        if self.head.is_some() {
            self.bytes.extend_from_slice(&input[..head.length]);
        }
        Ok(Some(head))
    }

    /// What was made of a request with this number, or another with the same head, if that is remembered.
    pub fn recall(&self, number: Option<u64>) -> Option<&M> {
        self.made.as_ref().filter(|_| self.has_read_last(number))
    }

    /// Remembers what was made of the request with this number, if its head is remembered.
    pub fn remember(&mut self, number: Option<u64>, made: M) {
        if self.has_read_last(number) {
            self.made = Some(made);
        }
    }

    fn has_read_last(&self, number: Option<u64>) -> bool {
        self.head.as_ref().map(|head| head.number) == number
    }
}

/// Parses the head at the start of the input into a request with this number. The first `scanned` bytes are known not
/// to contain its end: the head of a client that sends byte by byte must not be parsed for each of them.
pub(crate) fn parse(input: &[u8], scanned: usize, limits: &Limits, number: u64) -> Result<Option<Head>, Rejection> {
    // httparse skips empty lines before a request, and so would our search for the end of the first line.
    if input.starts_with(b"\n") {
        return Err(BARE_LINE_FEED);
    }
    check_sizes(input, limits)?;
    let fresh = scanned.saturating_sub(3);
    if scanned > 0 && !input[fresh..].windows(2).any(|pair| pair == b"\n\r" || pair == b"\n\n") {
        return Ok(None);
    }
    match parse_fields::<USUAL_FIELDS>(input, limits, number) {
        Err(Rejection::FieldsTooLarge) if limits.fields > USUAL_FIELDS => {
            parse_fields::<MOST_FIELDS>(input, limits, number)
        }
        parsed => parsed,
    }
}

/// The same, with room on the stack for so many fields.
#[inline(never)]
fn parse_fields<const ROOM: usize>(input: &[u8], limits: &Limits, number: u64) -> Result<Option<Head>, Rejection> {
    let mut fields = [const { MaybeUninit::uninit() }; ROOM];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(input, &mut fields[..limits.fields.min(ROOM)]);
    let length = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(rejection(error, input)),
    };
    // httparse accepts a bare LF as a line end; a proxy before us may not.
    if bare_line_feed(&input[..length]) {
        return Err(BARE_LINE_FEED);
    }
    let minor = request.version.unwrap_or(1);
    let fields = Fields::read(request.headers, limits)?;
    if minor == 1 && fields.hosts != 1 {
        return Err(Rejection::Malformed("HTTP/1.1 needs exactly one Host field"));
    }
    if minor == 0 && fields.transfer_encoding {
        return Err(Rejection::Malformed("HTTP/1.0 has no Transfer-Encoding"));
    }
    let range = |part: &[u8]| {
        let start = part.as_ptr() as usize - input.as_ptr() as usize;
        start..start + part.len()
    };
    Ok(Some(Head {
        number,
        method: known_method(request.method.unwrap_or_default())?,
        minor,
        keep_alive: match minor {
            0 => fields.keep_alive && !fields.close,
            _ => !fields.close,
        },
        has_body: fields.transfer_encoding || fields.content_length.is_some_and(|length| length > 0),
        length,
        target: range(request.path.unwrap_or_default().as_bytes()),
        accept: fields.accept.filter(|_| fields.accepts == 1).map(range),
        authorization: fields.authorization.map(range),
        scrape_timeout: fields.scrape_timeout.map(range),
        cache_control: fields.cache_control.map(range),
    }))
}

fn check_sizes(input: &[u8], limits: &Limits) -> Result<(), Rejection> {
    let line = memchr(b'\n', &input[..input.len().min(limits.line + 2)]);
    if line.is_none() && input.len() > limits.line + 1 {
        return Err(Rejection::LineTooLong);
    }
    if input.len() > Limits::HEAD && !input[..Limits::HEAD].windows(4).any(|end| end == b"\r\n\r\n") {
        return Err(Rejection::FieldsTooLarge);
    }
    Ok(())
}

fn rejection(error: httparse::Error, input: &[u8]) -> Rejection {
    match error {
        // The empty lines with which version 2 begins were skipped.
        _ if input.starts_with(b"PROXY ") || input.starts_with(b"\0\r\nQUIT\n") => {
            Rejection::Malformed("it begins with a PROXY header, which is read with --proxy-protocol only")
        }
        httparse::Error::Version => Rejection::Version,
        httparse::Error::TooManyHeaders => Rejection::FieldsTooLarge,
        httparse::Error::HeaderName => Rejection::Malformed("a header field has a malformed name"),
        httparse::Error::HeaderValue => Rejection::Malformed("a header field has a malformed value"),
        // "PRI * HTTP/2.0" and the like: httparse stops at the digit before it sees a version.
        _ if input.split(|&byte| byte == b'\r').next().is_some_and(|line| line.ends_with(b" HTTP/2.0")) => {
            Rejection::Version
        }
        _ => Rejection::Malformed("this is not an HTTP request"),
    }
}

fn bare_line_feed(head: &[u8]) -> bool {
    memchr_iter(b'\n', head).any(|at| at == 0 || head[at - 1] != b'\r')
}

fn known_method(name: &str) -> Result<Method, Rejection> {
    match name {
        "GET" => Ok(Method::Get),
        "HEAD" => Ok(Method::Head),
        "OPTIONS" => Ok(Method::Options),
        "POST" | "PUT" | "DELETE" | "PATCH" | "TRACE" | "CONNECT" | "QUERY" => Ok(Method::Other),
        _ => Err(Rejection::NotImplemented("no such method is known here")),
    }
}

/// What the header fields say about the connection and the message.
#[derive(Default)]
struct Fields<'a> {
    close: bool,
    keep_alive: bool,
    content_length: Option<u64>,
    transfer_encoding: bool,
    hosts: usize,
    accept: Option<&'a [u8]>,
    accepts: usize,
    authorization: Option<&'a [u8]>,
    scrape_timeout: Option<&'a [u8]>,
    cache_control: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn read(headers: &[httparse::Header<'a>], limits: &Limits) -> Result<Fields<'a>, Rejection> {
        let mut fields = Fields::default();
        for header in headers {
            if header.name.len() + header.value.len() + 2 > limits.field_size {
                return Err(Rejection::FieldsTooLarge);
            }
            // Distinguished by length first: most fields are none of these.
            match header.name.len() {
                4 if header.name.eq_ignore_ascii_case("host") => fields.host(header.value)?,
                6 if header.name.eq_ignore_ascii_case("accept") => {
                    fields.accepts += 1;
                    fields.accept = Some(header.value);
                }
                13 if header.name.eq_ignore_ascii_case("authorization") => fields.authorization = Some(header.value),
                13 if header.name.eq_ignore_ascii_case("cache-control") => fields.cache_control = Some(header.value),
                10 if header.name.eq_ignore_ascii_case("connection") => fields.connection(header.value),
                14 if header.name.eq_ignore_ascii_case("content-length") => fields.length(header.value)?,
                17 if header.name.eq_ignore_ascii_case("transfer-encoding") => fields.encoding(header.value)?,
                35 if header.name.eq_ignore_ascii_case(SCRAPE_TIMEOUT) => {
                    fields.scrape_timeout = Some(header.value);
                }
                _ => {}
            }
        }
        if fields.transfer_encoding && fields.content_length.is_some() {
            return Err(Rejection::Malformed("both Content-Length and Transfer-Encoding"));
        }
        Ok(fields)
    }

    fn host(&mut self, value: &[u8]) -> Result<(), Rejection> {
        self.hosts += 1;
        if value.iter().any(|byte| b" \t,@/?#".contains(byte)) {
            return Err(Rejection::Malformed("Host is not a host"));
        }
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) {
        for token in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= token.eq_ignore_ascii_case(b"close");
            self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn length(&mut self, value: &[u8]) -> Result<(), Rejection> {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
        match (length, self.content_length) {
            (Some(length), None) => {
                self.content_length = Some(length);
                Ok(())
            }
            (None, _) => Err(Rejection::Malformed("Content-Length is not a number")),
            (Some(_), Some(_)) => Err(Rejection::Malformed("more than one Content-Length")),
        }
    }

    fn encoding(&mut self, value: &[u8]) -> Result<(), Rejection> {
        if self.transfer_encoding || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
            return Err(Rejection::NotImplemented("of the transfer codings only chunked is known here"));
        }
        self.transfer_encoding = true;
        Ok(())
    }
}

/// Appends the head of a response.
pub(crate) fn write(out: &mut Vec<u8>, response: &Response<'_>, close: bool, minor: u8) {
    let Response { status, fields, body, close: _ } = response;
    let mut digits = itoa::Buffer::new();
    let end = match (close, minor) {
        (true, _) => "Connection: close\r\n\r\n",
        (false, 0) => "Connection: keep-alive\r\n\r\n",
        (false, _) => "\r\n",
    };
    // Not with `write!`, which took a sixth of the time of a request.
    out.extend_from_slice(b"HTTP/1.1 ");
    match with_reason(*status) {
        Some(text) => out.extend_from_slice(text.as_bytes()),
        // --fail-status may choose any other; a reason phrase may be empty (RFC 9112, 4).
        None => {
            out.extend_from_slice(digits.format(*status).as_bytes());
            out.push(b' ');
        }
    }
    out.extend_from_slice(b"\r\nContent-Length: ");
    out.extend_from_slice(digits.format(body.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(fields.as_bytes());
    out.extend_from_slice(end.as_bytes());
}

/// A status code and its reason phrase.
fn with_reason(status: u16) -> Option<&'static str> {
    Some(match status {
        200 => "200 OK",
        400 => "400 Bad Request",
        404 => "404 Not Found",
        405 => "405 Method Not Allowed",
        406 => "406 Not Acceptable",
        408 => "408 Request Timeout",
        414 => "414 URI Too Long",
        429 => "429 Too Many Requests",
        431 => "431 Request Header Fields Too Large",
        500 => "500 Internal Server Error",
        501 => "501 Not Implemented",
        503 => "503 Service Unavailable",
        505 => "505 HTTP Version Not Supported",
        _ => return None,
    })
}
