//! `http://…` and `https://…`: a request gets the expected answer.

mod client;
mod expected;
mod redirect;
mod text;

use std::io::{self, Read};
use std::time::Instant;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use percent_encoding::percent_decode_str;
#[cfg(feature = "tls")]
use rustls::pki_types::ServerName;

use super::support::secrets;
use super::support::target::Target;
use super::support::timed::{self, reason, spoken};
#[cfg(feature = "tls")]
use super::support::tls;
#[cfg(feature = "tls")]
use super::support::tls_roots::Trusted;
use super::{Action, Kind, Opt, Options, Runs, default_deadline, since, tcp};
use crate::model::check::{Deadline, Finding, Reason, Result};
use client::{Body, ServerConnection};
use expected::{ExpectedAnswer, Judged, LONGEST_BODY, Statuses};

pub(super) const KIND: Kind = Kind {
    scheme: "http",
    options: &[
        Opt::Text("status"),
        Opt::Text("method"),
        Opt::Field("header"),
        Opt::Text("match"),
        Opt::Text("json"),
        Opt::Text("redirects"),
        Opt::Text("slow"),
        Opt::Text("warn_slow"),
    ],
    runs: Runs::OnThread,
    title: "http://{target} answers as it should",
    build: |target, options| build("http", target, options),
};

#[cfg(feature = "tls")]
pub(super) const KIND_HTTPS: Kind = Kind {
    scheme: "https",
    options: &[
        Opt::Text("status"),
        Opt::Text("method"),
        Opt::Field("header"),
        Opt::Text("match"),
        Opt::Text("json"),
        Opt::Text("redirects"),
        Opt::Text("slow"),
        Opt::Text("warn_slow"),
        Opt::Text("ca"),
        Opt::Text("insecure"),
    ],
    runs: Runs::OnThread,
    title: "https://{target} answers as it should",
    build: |target, options| build("https", target, options),
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
    expected: ExpectedAnswer,
    redirects: u32,
    #[cfg(feature = "tls")]
    trusted: Trusted,
    #[cfg(feature = "tls")]
    insecure: bool,
}

impl Probe {
    fn new(url: &str, expected: ExpectedAnswer) -> std::result::Result<Probe, String> {
        let shown = shown(url);
        let (scheme, target) = url.split_once(':').unwrap_or_default();
        let (target, user) = secrets::without_user(target);
        let wrong = || "the target is not a URL, as in http://shop/ping".to_owned();
        let server = server(scheme, &target).ok_or_else(wrong)?;
        let target = without_zone(&target);
        let uri: Uri =
            format!("{scheme}:{target}").parse().map_err(|error| format!("the target is not a URL: {error}"))?;
        if !uri.scheme_str().is_some_and(|scheme| SCHEMES.contains(&scheme)) || uri.authority().is_none() {
            return Err(wrong());
        }
        let headers = user.map(|user| (header::AUTHORIZATION, basic(user))).into_iter().collect();
        Ok(Probe {
            uri,
            server,
            shown,
            method: Method::GET,
            headers,
            expected,
            redirects: 0,
            #[cfg(feature = "tls")]
            trusted: Trusted::System,
            #[cfg(feature = "tls")]
            insecure: false,
        })
    }

    /// The same probe with the given options.
    fn with(mut self, options: &mut Options) -> std::result::Result<Probe, String> {
        let method = |text: &str| match text.bytes().all(|byte| byte.is_ascii_uppercase()) {
            true => text.parse().map_err(|_| "write a method, as in HEAD"),
            false => Err("write a method in capitals, as in HEAD"),
        };
        self.method = options.parse_or("method", "GET", method)?;
        self.redirects = options.parse_or("redirects", "0", str::parse)?;
        for header in options.take_all("header") {
            self.headers.push(parse_header(&header)?);
        }
        #[cfg(feature = "tls")]
        {
            self.trusted = Trusted::take(options)?;
            self.insecure = options.flag("insecure")?;
        }
        Ok(self)
    }

    fn run(&self, deadline: Deadline) -> Result {
        let (began, deadline) = (Instant::now(), timed::before(deadline));
        let (mut method, mut uri) = (self.method.clone(), self.uri.clone());
        let mut cookies = redirect::Cookies::default();
        let mut followed = 0;
        loop {
            let request = self.request(&method, &uri, &cookies)?;
            let connection =
                self.connect(&uri, deadline).map_err(|reason| reason.told(|why| self.told(&why, began)))?;
            let answer = client::exchange(connection, &request).map_err(|error| self.unanswered(&error, began))?;
            let location = match redirect::location(&answer) {
                Some(location) if self.redirects > 0 => location,
                // Without redirects, the first answer is the answer.
                Some(_) | None => return self.judge(answer, deadline, began),
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
    fn request(&self, method: &Method, uri: &Uri, cookies: &redirect::Cookies) -> Result<Request<()>> {
        let mut request = Request::builder().method(method).uri(uri).body(())?;
        let fields = request.headers_mut();
        if redirect::is_same_origin(&self.uri, uri) {
            for (name, value) in &self.headers {
                fields.append(name, value.clone());
            }
        }
        cookies.send(uri, fields);
        if [Method::POST, Method::PUT, Method::PATCH].contains(method) {
            // Or the server would wait for a body.
            fields.entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from(0));
        }
        Ok(request)
    }

    /// The reason says why it cannot be done, and no more.
    fn connect(&self, uri: &Uri, deadline: Deadline) -> Result<Box<dyn ServerConnection>> {
        let other = |uri: &Uri| server(uri.scheme_str()?, uri.authority()?.as_str());
        let server = match redirect::is_same_origin(&self.uri, uri) {
            true => self.server.clone(),
            false => other(uri).ok_or_else(|| Reason::Fail(format!("{} names no host", shown(&uri.to_string()))))?,
        };
        let stream = tcp::connect(&server, deadline)?;
        #[cfg(feature = "tls")]
        if uri.scheme_str() == Some("https") {
            let name = ServerName::try_from(server.name().to_owned());
            let name = name.map_err(|_| Reason::Error(format!("{} is not a name that TLS knows", server.name())))?;
            return Ok(Box::new(tls::shake_hands(stream, name, self.verifier()?)?));
        }
        Ok(Box::new(stream))
    }

    #[cfg(feature = "tls")]
    fn verifier(&self) -> Result<std::sync::Arc<dyn rustls::client::danger::ServerCertVerifier>> {
        match self.insecure {
            true => Ok(std::sync::Arc::new(tls::Insecure)),
            false => {
                let roots = self.trusted.roots().map_err(Reason::Error)?;
                Ok(std::sync::Arc::new(tls::Verifier { roots }))
            }
        }
    }

    fn judge(&self, answer: Response<Body>, deadline: Deadline, began: Instant) -> Result {
        let url = &self.shown;
        let status = answer.status();
        if !self.expected.statuses.contains(status.as_u16()) {
            return Err(self.failed(&format!("got {}", described(&self.uri, &answer, status)), began));
        }
        self.judge_body(answer, deadline, began)?;
        let took = began.elapsed();
        let late = |slow: std::time::Duration| {
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
    fn judge_body(&self, answer: Response<Body>, deadline: Deadline, began: Instant) -> Result {
        let url = &self.shown;
        let undecided =
            |why: &str| Err(Reason::Error(format!("cannot judge the body of {url}: {why} ({})", since(began))));
        let (parts, body) = answer.into_parts();
        // One byte more tells that there is more.
        let mut body = body.take(LONGEST_BODY + 1);
        let verdict = match self.expected.wants_body() {
            false => Ok(Judged::Good),
            true => match text::decode(&mut body, &parts.headers) {
                Ok(text) => self.expected.judge(text, deadline),
                Err(why) => return undecided(&why),
            },
        };
        let verdict = verdict.and_then(|verdict| io::copy(&mut body, &mut io::sink()).map(|_| verdict));
        let count = LONGEST_BODY + 1 - body.limit();
        match verdict {
            Ok(Judged::Good) => Ok(()),
            Ok(Judged::Unknown(why)) => undecided(why),
            Ok(Judged::Bad(objection)) if body.limit() > 0 => fail(format!("the answer of {url} {objection}"), began),
            // What is packed may be cut off in the middle.
            Ok(Judged::Bad(_)) => undecided("it is longer than 1 MiB, and no more is read"),
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

    fn unanswered(&self, error: &io::Error, began: Instant) -> Reason {
        // With TLS 1.3, a server objects to the client after the handshake.
        #[cfg(feature = "tls")]
        if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
            return tls::objection(error).told(|why| self.told(&why, began));
        }
        let why = match error.kind() {
            io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
            _ => spoken(error),
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

fn fail(what: String, began: Instant) -> Result {
    Err(Reason::Fail(format!("expected {what} ({})", since(began))))
}

/// A status with its name, and where it points to if it is a redirect.
fn described(base: &Uri, answer: &Response<Body>, status: StatusCode) -> String {
    let name = status.canonical_reason().map_or(String::new(), |reason| format!(" {reason}"));
    match redirect::location(answer) {
        Some(location) => {
            let to = match redirect::target(base, &location) {
                Some(_) => shown(&location),
                None => redirect::refused(&location),
            };
            format!("{}{name} to {to}", status.as_u16())
        }
        None => format!("{}{name}", status.as_u16()),
    }
}

fn shown(url: &str) -> String {
    match url.split_once(':') {
        Some((scheme, target)) => format!("{scheme}:{}", secrets::shown(target)),
        None => secrets::shown(url),
    }
}

/// The value of an Authorization field (RFC 7617).
fn basic(user: &str) -> HeaderValue {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let decoded = |text| percent_decode_str(text).collect::<Vec<u8>>();
    let credentials = [decoded(name), decoded(password)].join(&b':');
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(credentials)))
        .expect("base64 has only characters that a field may have");
    value.set_sensitive(true);
    value
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
