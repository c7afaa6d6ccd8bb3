//! `http://…` and `https://…`: a request gets the expected answer.

mod expected;
mod redirect;

use std::io::{self, Read};
use std::sync::OnceLock;
use std::time::Instant;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use ureq::config::Config;
use ureq::http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
#[cfg(feature = "tls")]
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, Error};

use super::support::secrets;
use super::support::target::{Endpoint, lookup_failure};
#[cfg(feature = "tls")]
use super::support::tls_roots::{self, Trusted};
use super::{Action, Kind, Opt, Options, Runs, default_deadline, patience, since};
use crate::model::check::{Deadline, Finding, Reason, Result};
use expected::{Expected, LONGEST_BODY, Statuses};

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
    let expected = Expected::take(options)?;
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
    let probe = Probe::new(url, Expected::status(Statuses::one(status))).map_err(Reason::Error)?;
    probe.run(default_deadline())
}

/// A request, and what is expected of its answer.
struct Probe {
    uri: Uri,
    /// The URL without its secrets.
    shown: String,
    method: Method,
    headers: Vec<(HeaderName, HeaderValue)>,
    expected: Expected,
    redirects: u32,
    #[cfg(feature = "tls")]
    trusted: Trusted,
    #[cfg(feature = "tls")]
    insecure: bool,
    /// Made in the process that uses it.
    agent: OnceLock<std::result::Result<Agent, String>>,
}

impl Probe {
    fn new(url: &str, expected: Expected) -> std::result::Result<Probe, String> {
        let shown = shown(url);
        let (scheme, target) = url.split_once(':').unwrap_or_default();
        let (target, user) = secrets::without_user(target);
        let uri: Uri = format!("{scheme}:{target}").parse().map_err(|error| format!("{shown:?} is no URL: {error}"))?;
        let host = uri.authority().and_then(|authority| Endpoint::parse(authority.as_str(), Some(0)));
        if !uri.scheme_str().is_some_and(|scheme| SCHEMES.contains(&scheme)) || host.is_none() {
            return Err(format!("{shown:?} is no URL, as in http://shop/ping"));
        }
        let headers = user.map(|user| (header::AUTHORIZATION, basic(user))).into_iter().collect();
        Ok(Probe {
            uri,
            shown,
            method: Method::GET,
            headers,
            expected,
            redirects: 0,
            #[cfg(feature = "tls")]
            trusted: Trusted::System,
            #[cfg(feature = "tls")]
            insecure: false,
            agent: OnceLock::new(),
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
        let agent = self.agent.get_or_init(|| self.agent()).as_ref().map_err(|why| Reason::Error(why.clone()))?;
        let began = Instant::now();
        let (mut method, mut uri) = (self.method.clone(), self.uri.clone());
        let mut followed = 0;
        loop {
            let request = self.request(&method, &uri)?;
            let request = agent.configure_request(request).timeout_global(Some(patience(deadline))).build();
            let answer = agent.run(request).map_err(|error| self.unanswered(&error, &uri, began))?;
            let location = match redirect::location(&answer) {
                Some(location) if self.redirects > 0 => location,
                // Without redirects, the first answer is the answer.
                Some(_) | None => return self.judge(answer, began),
            };
            if followed == self.redirects {
                return Err(self.failed(&format!("it redirected more than {} times", self.redirects), began));
            }
            followed += 1;
            method = redirect::method(method, answer.status());
            uri = redirect::target(&uri, &location).ok_or_else(|| {
                self.failed(&format!("it redirected to {}, which is no URL", shown(&location)), began)
            })?;
        }
    }

    /// Our header fields, which may be secrets, are for the server that was named and for no other.
    fn request(&self, method: &Method, uri: &Uri) -> Result<Request<()>> {
        let mut request = Request::builder().method(method).uri(uri).body(())?;
        let fields = request.headers_mut();
        if redirect::is_same_origin(&self.uri, uri) {
            for (name, value) in &self.headers {
                fields.append(name, value.clone());
            }
        }
        if [Method::POST, Method::PUT, Method::PATCH].contains(method) {
            // Or it would be sent in chunks, which not every server takes.
            fields.entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from(0));
        }
        Ok(request)
    }

    fn judge(&self, answer: Response<Body>, began: Instant) -> Result {
        let url = &self.shown;
        let status = answer.status();
        if !self.expected.statuses.contains(status.as_u16()) {
            return Err(self.failed(&format!("got {}", described(&answer, status)), began));
        }
        self.judge_body(answer, began)?;
        match self.expected.slow {
            Some(slow) if began.elapsed() > slow => {
                let limit = humantime::format_duration(slow);
                fail(format!("{url} to answer within {limit}: it took longer"), began)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The body is read even where nothing is expected of it: a part of an answer is none.
    fn judge_body(&self, mut answer: Response<Body>, began: Instant) -> Result {
        let url = &self.shown;
        let mut body = Vec::new();
        // One byte more tells that there is more.
        let mut reader = answer.body_mut().as_reader().take(LONGEST_BODY + 1);
        let read = match self.expected.wants_body() {
            true => reader.read_to_end(&mut body).map(drop),
            false => io::copy(&mut reader, &mut io::sink()).map(drop),
        };
        if let Err(error) = read {
            let count = LONGEST_BODY + 1 - reader.limit();
            let why = match error.into() {
                Error::Timeout(_) => "the rest did not come in time".to_owned(),
                error => spoken(&error),
            };
            return fail(format!("{url} to answer in full: {why} after {count} bytes"), began);
        }
        if reader.limit() > 0 {
            if let Some(objection) = self.expected.objection(&body) {
                return fail(format!("the answer of {url} {objection}"), began);
            }
        } else if !self.expected.is_met_by_beginning(&body) {
            let why = "it is longer than 1 MiB, and no more is read";
            return Err(Reason::Error(format!("cannot judge the body of {url}: {why} ({})", since(began))));
        }
        Ok(())
    }

    fn unanswered(&self, error: &Error, uri: &Uri, began: Instant) -> Reason {
        let unknown = match error {
            Error::HostNotFound => Some("it has no address".to_owned()),
            Error::Io(error) => lookup_failure(error),
            _ => None,
        };
        if let Some(why) = unknown {
            let host = uri.host().unwrap_or_default();
            return Reason::Error(format!("cannot look up {host}: {why} ({})", since(began)));
        }
        self.failed(&spoken(error), began)
    }

    fn failed(&self, why: &str, began: Instant) -> Reason {
        let expected = self.expected.statuses.written();
        Reason::Fail(format!("expected {} to answer with {expected}: {why} ({})", self.shown, since(began)))
    }

    /// A client that keeps nothing between runs: each run shows that a connection can be made.
    fn agent(&self) -> std::result::Result<Agent, String> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // It would send our fields to whatever host it is sent to.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(0)
            // We check the target, not a proxy in front of it.
            .proxy(None)
            .user_agent(concat!("hospital/", env!("CARGO_PKG_VERSION")))
            .allow_non_standard_methods(true);
        #[cfg(feature = "tls")]
        let config = config.tls_config(self.tls()?);
        Ok(Agent::with_parts(config.build(), DefaultConnector::new(), InThisThread))
    }

    #[cfg(feature = "tls")]
    fn tls(&self) -> std::result::Result<TlsConfig, String> {
        let secure = self.uri.scheme_str() == Some("https") || self.redirects > 0;
        let certificates = if secure && !self.insecure { self.trusted.certificates()? } else { &[] };
        let roots = certificates.iter().map(|certificate| ureq::tls::Certificate::from_der(certificate).to_owned());
        Ok(TlsConfig::builder()
            .root_certs(roots.into())
            .disable_verification(self.insecure)
            .unversioned_rustls_crypto_provider(tls_roots::provider())
            .build())
    }
}

/// Looks names up in the thread of the check, where a lookup that hangs is noticed. With a timeout, ureq
/// would start a thread for each and leave it behind.
#[derive(Debug)]
struct InThisThread;

impl Resolver for InThisThread {
    fn resolve(&self, uri: &Uri, config: &Config, _: NextTimeout) -> std::result::Result<ResolvedSocketAddrs, Error> {
        DefaultResolver::default().resolve(uri, config, NextTimeout::default())
    }
}

fn fail(what: String, began: Instant) -> Result {
    Err(Reason::Fail(format!("expected {what} ({})", since(began))))
}

/// An error of a connection as a person says it.
fn spoken(error: &Error) -> String {
    match error {
        Error::Timeout(_) => "nothing came in time".to_owned(),
        #[cfg(feature = "tls")]
        Error::Io(error) if tls_roots::is_about_authority(&error.to_string()) => tls_roots::SHOWN_AUTHORITY.to_owned(),
        Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// A status with its name, and where it points to if it is a redirect.
fn described(answer: &Response<Body>, status: StatusCode) -> String {
    let name = status.canonical_reason().map_or(String::new(), |reason| format!(" {reason}"));
    match answer.headers().get(header::LOCATION).and_then(|location| location.to_str().ok()) {
        Some(location) if status.is_redirection() => format!("{}{name} to {}", status.as_u16(), shown(location)),
        Some(_) | None => format!("{}{name}", status.as_u16()),
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
        value.trim().parse().map_err(|_| format!("the header {name} has a value that is none"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests;
