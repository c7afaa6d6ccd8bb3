//! `http://…` and `https://…`: a request gets the expected answer.

mod client;
mod expected;
mod redirect;
mod sent;
mod text;

use std::io::{self, Read};
use std::time::Instant;

use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};

use super::support::connection::Connection;
#[cfg(feature = "tls")]
use super::support::opt::joined;
use super::support::opt::{Opt, Value};
use super::support::options::whole;
use super::support::secrets::{self, Secrets};
use super::support::target::{Target, ascii};
use super::support::timed::{self, reason, spoken};
#[cfg(feature = "tls")]
use super::support::tls;
#[cfg(feature = "tls")]
use super::support::tls_settings::{self, TlsSettings};
use super::{Action, Kind, Options, Runs, default_deadline, excerpt, since, tcp, unix};
use crate::model::check::{Deadline, Finding, Reason, Result};
use crate::model::control::Control;
use crate::model::transcript::{Field, note};
use client::{Body, Foreign};
use expected::{BodyVerdict, ExpectedAnswer, LONGEST_BODY, Statuses};
use sent::{Sent, Way};

const OPTIONS: [Opt; 17] = [
    Opt::new("status", Value::Text, "Status codes and ranges that are good, as in 200,3xx,200-299")
        .or("2xx")
        .repeatable(),
    Opt::new("method", Value::Text, "The method of the request; with a body, POST").or("GET"),
    Opt::new("header", Value::Field, "A field of the request, as in X-Token: abc").repeatable(),
    Opt::new("body", Value::Bytes, "What is sent as the body of the request"),
    Opt::new("body_file", Value::Path, "The file that is sent as the body of the request"),
    Opt::new("basic", Value::Path, "The file with USER:PASSWORD for the server, which others may not read"),
    Opt::new("bearer", Value::Path, "The file with a token for the server, which others may not read"),
    Opt::new("match", Value::Pattern, "What the body has to match"),
    Opt::new("not_match", Value::Pattern, "What the body must not match"),
    Opt::new("match_header", Value::Text, "A field of the answer and what it has to match, as in Server: ^nginx")
        .repeatable(),
    Opt::new(
        "json",
        Value::Text,
        "A place in the JSON of the body, and what has to be there, as in /status=pass or /lag<5",
    )
    .repeatable(),
    Opt::new("redirects", Value::Number, "How many redirects are followed").or("0"),
    Opt::new("slow", Value::Time, "An answer that takes longer fails"),
    Opt::new("warn_slow", Value::Time, "An answer that takes longer than this warns"),
    Opt::new("resolve", Value::Address, "The address to connect to, instead of those that the host has"),
    Opt::new(
        "proxy",
        Value::Url,
        "The proxy to go through, as in http://proxy:3128; that of the environment is not used",
    ),
    Opt::new("socket", Value::Path, "The unix socket to connect to, instead of the host"),
];

pub(super) const KIND: Kind = Kind {
    scheme: "http",
    port: Some(80),
    options: &OPTIONS,
    runs: Runs::OnThread,
    controls: Control::NETWORK,
    title: "http://{target} answers as it should",
    passes: "the answer is as expected",
    notices: &[
        "refused",
        "black_hole",
        "rubbish",
        "stranger: another status, and with match or json another body",
        "starved",
    ],
    examples: &["http://localhost:1515/livez"],
    build: |target, options| build("http", target, options),
};

#[cfg(feature = "tls")]
const HTTPS_OPTIONS: [Opt; 22] = joined(OPTIONS, tls_settings::OPTIONS);

#[cfg(feature = "tls")]
pub(super) const KIND_HTTPS: Kind = Kind {
    scheme: "https",
    port: Some(443),
    options: &HTTPS_OPTIONS,
    title: "https://{target} answers as it should",
    passes: "the same, and the certificate is trusted",
    examples: &["https://localhost/#status=2xx,301"],
    build: |target, options| build("https", target, options),
    notices: &[
        "refused",
        "black_hole",
        "rubbish",
        "stranger: another certificate, another status, and with match or json another body",
        "starved",
    ],
    ..KIND
};

/// The schemes that a URL may have.
const SCHEMES: &[&str] = if cfg!(feature = "tls") { &["http", "https"] } else { &["http"] };

fn build(scheme: &str, target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let url = format!("{scheme}:{target}");
    let expected = ExpectedAnswer::take(options)?;
    let request = Probe::new(&url, expected)?.with(options)?;
    Ok(Box::new(move |deadline| Finding::from(request.run(deadline))))
}

/// Asserts that a GET of an `http://` or `https://` URL is answered with this status within 5 s. Redirects are not
/// followed.
///
/// ```no_run
/// hospital::assert_http_response("http://127.0.0.1:8000/ping", 200)?;
/// # Ok::<(), hospital::model::check::Reason>(())
/// ```
///
/// # Errors
///
/// `Fail` when there is another answer or none, `Error` when the URL is malformed or its host cannot be looked up.
#[must_use = "the finding is in the result: return it, or write `?` behind it"]
pub fn assert_http_response(url: &str, status: u16) -> Result {
    let probe = Probe::new(url, ExpectedAnswer::status(Statuses::one(status))).map_err(Reason::Error)?;
    probe.run(default_deadline())
}

/// A request, and what is expected of its answer.
struct Probe {
    uri: Uri,
    /// Where to connect for that, with the zone of an address, which is no part of what the server is told.
    server: Target,
    /// The URL without its secrets.
    shown: String,
    method: Method,
    headers: Vec<(HeaderName, HeaderValue)>,
    sent: Sent,
    way: Way,
    expected: ExpectedAnswer,
    redirects: u32,
    #[cfg(feature = "tls")]
    tls: TlsSettings,
}

impl Probe {
    fn new(url: &str, expected: ExpectedAnswer) -> std::result::Result<Probe, String> {
        let shown = secrets::shown_url(url);
        let (scheme, target) = url.split_once(':').unwrap_or_default();
        let (target, user) = secrets::without_user(target);
        let wrong = || "the target is not a URL, as in http://shop/ping".to_owned();
        let server = server(scheme, &target).ok_or_else(wrong)?;
        let target = in_ascii(&without_zone(&target)).ok_or_else(wrong)?;
        let uri: Uri =
            format!("{scheme}:{target}").parse().map_err(|error| format!("the target is not a URL: {error}"))?;
        if !uri.scheme_str().is_some_and(|scheme| SCHEMES.contains(&scheme)) || uri.authority().is_none() {
            return Err(wrong());
        }
        let headers = user.map(|user| (header::AUTHORIZATION, sent::basic(user))).into_iter().collect();
        Ok(Probe {
            uri,
            server,
            shown,
            method: Method::GET,
            headers,
            sent: Sent::default(),
            way: Way::Direct,
            expected,
            redirects: 0,
            #[cfg(feature = "tls")]
            tls: TlsSettings::default(),
        })
    }

    /// The same probe with the given options.
    fn with(mut self, options: &mut Options) -> std::result::Result<Probe, String> {
        let method = |text: &str| match text.bytes().all(|byte| byte.is_ascii_uppercase()) {
            true => text.parse().map_err(|_| "write a method, as in HEAD"),
            false => Err("write a method in capitals, as in HEAD"),
        };
        self.sent = Sent::take(options)?;
        self.way = Way::take(options)?;
        self.method = options.parse_or("method", if self.sent.has_body() { "POST" } else { "GET" }, method)?;
        self.redirects = options.parse_or("redirects", "0", whole)?;
        for header in options.take_all("header") {
            self.headers.push(parse_header(&header)?);
        }
        if self.sent.authorizes() && self.headers.iter().any(|(name, _)| *name == header::AUTHORIZATION) {
            return Err("the user is given twice: by the URL or a header, and by basic or bearer".to_owned());
        }
        #[cfg(feature = "tls")]
        if self.uri.scheme_str() == Some("https") {
            self.tls = TlsSettings::take(options)?;
        }
        Ok(self)
    }

    fn run(&self, deadline: Deadline) -> Result {
        let authorization = self.sent.authorization().map_err(Reason::Error)?;
        let hidden = self.expected.hidden();
        // Servers repeat what they were told.
        let told = |why: String| if authorization.is_some() { hidden.scrub(&why) } else { why };
        self.ask(authorization.as_ref(), &hidden, deadline).map_err(|reason| reason.told(told))
    }

    fn ask(&self, authorization: Option<&HeaderValue>, hidden: &Secrets, deadline: Deadline) -> Result {
        let (began, deadline) = (Instant::now(), timed::before(deadline));
        let body = self.sent.body().map_err(Reason::Error)?;
        let (mut method, mut uri) = (self.method.clone(), self.uri.clone());
        let mut cookies = redirect::Cookies::default();
        let mut followed = 0;
        loop {
            let body = if method == self.method { body.as_slice() } else { &[] };
            if !body.is_empty() && !redirect::is_same_origin(&self.uri, &uri) {
                return Err(Reason::Error(
                    self.told("it redirected to another server, which is not sent the body", began),
                ));
            }
            let request = self.request(&method, &uri, &cookies, authorization, body.len())?;
            let connection =
                self.connect(&uri, deadline).map_err(|reason| reason.told(|why| self.told(&why, began)))?;
            let proxy = self.way.rewrites(&uri);
            let answer = client::exchange(connection, &request, body, proxy);
            let answer = answer.map_err(|error| self.unanswered(&error, hidden, began))?;
            if let (Some(proxy), StatusCode::PROXY_AUTHENTICATION_REQUIRED) = (proxy, answer.status()) {
                let why = format!("by the proxy {}: {}", proxy.server, answer.status());
                return Err(Reason::Error(self.told(&why, began)));
            }
            note_answer(&answer, hidden);
            let location = match redirect::location(&answer) {
                Some(location) if self.redirects > 0 => location,
                // Without redirects, the first answer is the answer.
                Some(_) | None => return self.judge(answer, hidden, deadline, began),
            };
            if followed == self.redirects {
                return Err(self.failed(&format!("it redirected more than {} times", self.redirects), began));
            }
            followed += 1;
            cookies.keep(&uri, answer.headers());
            method = redirect::method(method, answer.status());
            uri = redirect::target(&uri, &location)
                .ok_or_else(|| self.failed(&format!("it redirected to {}", redirect::refused(&location)), began))?;
        }
    }

    /// Our header fields, which may be secrets, are for the server that was named and for no other.
    fn request(
        &self,
        method: &Method,
        uri: &Uri,
        cookies: &redirect::Cookies,
        authorization: Option<&HeaderValue>,
        length: usize,
    ) -> Result<Request<()>> {
        let mut request = Request::builder().method(method).uri(uri).body(())?;
        let fields = request.headers_mut();
        if redirect::is_same_origin(&self.uri, uri) {
            for (name, value) in &self.headers {
                fields.append(name, value.clone());
            }
            fields.extend(authorization.map(|given| (header::AUTHORIZATION, given.clone())));
        }
        cookies.send(uri, fields);
        if length > 0 || [Method::POST, Method::PUT, Method::PATCH].contains(method) {
            // Or the server would wait for a body.
            fields.entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from(length));
        }
        Ok(request)
    }

    /// The reason says why it cannot be done, and no more.
    fn connect(&self, uri: &Uri, deadline: Deadline) -> Result<Box<dyn Connection>> {
        let other = |uri: &Uri| server(uri.scheme_str()?, uri.authority()?.as_str());
        let server = match redirect::is_same_origin(&self.uri, uri) {
            true => self.server.clone(),
            false => other(uri)
                .ok_or_else(|| Reason::Fail(format!("{} names no host", secrets::shown_url(&uri.to_string()))))?,
        };
        let is_named = redirect::is_same_origin(&self.uri, uri);
        let is_https = uri.scheme_str() == Some("https");
        let stream: Box<dyn Connection> = match &self.way {
            Way::Socket(path) if is_named => Box::new(unix::connect_to(path, deadline)?),
            Way::At(address) if is_named => Box::new(tcp::connect_to(&[(*address, server.port).into()], deadline)?),
            // What is wrong with the proxy tells nothing of the server.
            Way::By(proxy) => {
                let ours = |reason: Reason| Reason::Error(format!("by the proxy {}: {reason}", proxy.server));
                let mut stream = tcp::connect(&proxy.server, deadline).map_err(ours)?;
                if is_https {
                    let opened = client::tunnel(&mut stream, &server, proxy);
                    opened.map_err(|error| ours(Reason::Error(spoken(&error))))?;
                }
                Box::new(stream)
            }
            Way::Direct | Way::Socket(_) | Way::At(_) => Box::new(tcp::connect(&server, deadline)?),
        };
        #[cfg(feature = "tls")]
        if is_https {
            return Ok(Box::new(self.tls.shake_hands(stream, server.name(), is_named)?));
        }
        Ok(stream)
    }

    fn judge(&self, mut answer: Response<Body>, hidden: &Secrets, deadline: Deadline, began: Instant) -> Result {
        let url = &self.shown;
        let status = answer.status();
        if !self.expected.statuses.contains(status.as_u16()) {
            let why = self.failed(&format!("got {}", described(&self.uri, &answer, status)), began);
            note_beginning(&mut answer, hidden);
            return Err(why);
        }
        if let Some(objection) = self.expected.judge_fields(answer.headers(), hidden, deadline)? {
            return fail(format!("the answer of {url} {objection}"), began);
        }
        self.judge_body(answer, hidden, deadline, began)?;
        let took = began.elapsed();
        let late = |slow: std::time::Duration| {
            note(Field::LimitMs, slow.as_millis());
            let limit = humantime::format_duration(slow);
            fail(format!("{url} to answer within {limit}: it took longer"), began)
        };
        match (self.expected.slow, self.expected.warn_slow) {
            (Some(slow), _) if took > slow => late(slow),
            (_, Some(slow)) if took > slow => late(slow).map_err(|reason| Reason::Warn(reason.to_string())),
            _ => Ok(()),
        }
    }

    /// The body is read even where nothing is expected of it: a part of an answer is none.
    fn judge_body(&self, answer: Response<Body>, hidden: &Secrets, deadline: Deadline, began: Instant) -> Result {
        let url = &self.shown;
        let undecided =
            |why: &str| Err(Reason::Error(format!("cannot judge the body of {url}: {why} ({})", since(began))));
        let (parts, body) = answer.into_parts();
        // One byte more tells that there is more.
        let mut body = body.take(LONGEST_BODY + 1);
        let verdict = match self.expected.wants_body() {
            false => Ok(BodyVerdict::Good),
            true => match text::decode(&mut body, &parts.headers) {
                Ok(text) => self.expected.judge(text, hidden, deadline),
                Err(why) => return undecided(&why),
            },
        };
        let verdict = verdict.and_then(|verdict| io::copy(&mut body, &mut io::sink()).map(|_| verdict));
        let count = LONGEST_BODY + 1 - body.limit();
        note(Field::Size, count);
        if !parts.headers.contains_key(header::CONTENT_ENCODING) && count > 0 {
            note(Field::Body, excerpt(body.get_ref().beginning(), count as usize, hidden));
        }
        match verdict {
            Ok(BodyVerdict::Good) => Ok(()),
            Ok(BodyVerdict::Unknown(why)) => undecided(why),
            Ok(BodyVerdict::Bad(objection)) if body.limit() > 0 => {
                fail(format!("the answer of {url} {objection}"), began)
            }
            // What is packed may be cut off in the middle.
            Ok(BodyVerdict::Bad(_)) => undecided("it is longer than 1 MiB, and no more is read"),
            Err(_) if body.limit() == 0 => undecided("it is longer than 1 MiB, and no more is read"),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => undecided(&error.to_string()),
            Err(error) => {
                let why = match error.kind() {
                    io::ErrorKind::TimedOut => "the rest did not come in time".to_owned(),
                    io::ErrorKind::UnexpectedEof => "it ended".to_owned(),
                    _ => error.to_string(),
                };
                let what = format!("expected {url} to answer in full: {why} after {count} bytes ({})", since(began));
                Err(reason(&error, what))
            }
        }
    }

    fn unanswered(&self, error: &io::Error, hidden: &Secrets, began: Instant) -> Reason {
        // With TLS 1.3, a server objects to the client after the handshake.
        #[cfg(feature = "tls")]
        if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
            return tls::objection(error).told(|why| self.told(&why, began));
        }
        let foreign = error.get_ref().and_then(|inner| inner.downcast_ref::<Foreign>());
        let why = match (foreign, error.kind()) {
            (Some(foreign), _) => format!("{foreign}: got {}", excerpt(&foreign.0, foreign.0.len(), hidden)),
            (None, io::ErrorKind::UnexpectedEof) => "it closed the connection".to_owned(),
            (None, _) => spoken(error),
        };
        reason(error, self.told(&why, began))
    }

    fn failed(&self, why: &str, began: Instant) -> Reason {
        Reason::Fail(self.told(why, began))
    }

    fn told(&self, why: &str, began: Instant) -> String {
        let expected = self.expected.statuses.written();
        format!("expected {} to answer with {expected}: {why} ({})", self.shown, since(began))
    }
}

fn note_answer(answer: &Response<Body>, hidden: &Secrets) {
    note(Field::Status, answer.status().as_u16());
    if let Some(location) = redirect::location(answer) {
        note(Field::Location, hidden.scrub(&secrets::shown_url(&location)));
    }
    if let Some(server) = answer.headers().get(header::SERVER) {
        note(Field::Server, hidden.scrub(&String::from_utf8_lossy(server.as_bytes())));
    }
}

/// How an answer begins of which nothing more is looked at.
fn note_beginning(answer: &mut Response<Body>, hidden: &Secrets) {
    let total = answer.body().left();
    answer.body_mut().read_beginning();
    total.into_iter().for_each(|total| note(Field::Size, total));
    let beginning = answer.body().beginning();
    if !answer.headers().contains_key(header::CONTENT_ENCODING) && !beginning.is_empty() {
        note(Field::Body, excerpt(beginning, total.map_or(beginning.len(), |total| total as usize), hidden));
    }
}

/// Where the server of a URL listens.
fn server(scheme: &str, target: &str) -> Option<Target> {
    let authority = target.trim_start_matches('/').split(['/', '?', '#']).next()?;
    let authority = authority.rsplit('@').next()?;
    Target::parse(authority, Some(if scheme == "https" { 443 } else { 80 }))
}

/// The target without the zone of an IPv6 address, which is ours to know (RFC 6874).
fn without_zone(target: &str) -> String {
    match target.split_once(']').map(|(address, rest)| (address.split_once('%'), rest)) {
        Some((Some((address, _)), rest)) if address.starts_with("//[") => format!("{address}]{rest}"),
        Some(_) | None => target.to_owned(),
    }
}

/// The target with its host as servers are told it.
fn in_ascii(target: &str) -> Option<String> {
    let (slashes, rest) = target.split_at(target.len() - target.trim_start_matches('/').len());
    let end = rest.find(['/', '?', '#', ':']).unwrap_or(rest.len());
    let (host, rest) = rest.split_at(end);
    Some(format!("{slashes}{}{rest}", ascii(host)?))
}

fn fail(what: String, began: Instant) -> Result {
    Err(Reason::Fail(format!("expected {what} ({})", since(began))))
}

/// A status with its name, and where it points to if it is a redirect.
fn described(base: &Uri, answer: &Response<Body>, status: StatusCode) -> String {
    let name = status.canonical_reason().map_or(String::new(), |reason| format!(" {reason}"));
    match redirect::location(answer) {
        Some(location) => {
            let to = match redirect::target(base, &location) {
                Some(_) => secrets::shown_url(&location),
                None => redirect::refused(&location),
            };
            format!("{}{name} to {to}", status.as_u16())
        }
        None => format!("{}{name}", status.as_u16()),
    }
}

/// Reads `Name: value`. The value may be a secret and appears in no message.
fn parse_header(text: &str) -> std::result::Result<(HeaderName, HeaderValue), String> {
    let wrong = || "option header: write a field as Name: value".to_owned();
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let name = name.trim().parse().map_err(|_| wrong())?;
    let mut value: HeaderValue =
        value.trim().parse().map_err(|_| "option header: its value holds a character that no field may have")?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests;
