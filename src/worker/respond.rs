//! What is said to a request: everything but the checks' answers is known at once.

mod date;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::ops::ControlFlow::{self, Break, Continue};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::access::{AccessLog, Entry};
use super::cache::Answer;
use super::connection::{Asked, Connection, Rejection, Response};
use super::metrics;
use super::negotiate;
use super::route::{self, Query, Route};
use super::scraper;
use crate::collect::{Sources, Suite};
use crate::disclosure::Disclosure;
use crate::render::exposition::Syntax;
use crate::render::{self, FORMATS, Format, json, kubernetes};
use crate::report::Report;
use crate::settings::Settings;
use crate::sys::filesystem::read_file;
use crate::sys::scoreboard::{Noted, Scoreboard};
use crate::tally;
use date::Date;

const TEXT: &str = "text/plain; charset=utf-8";

/// For answers that another Accept field would have got in another format.
const NEGOTIATED: &str = "Vary: Accept\r\n";

/// Begins the field that names an answer.
const REQUEST_ID: &str = "X-Request-Id: ";

/// The tag of the checks that readiness is made of.
const READINESS: &str = "readiness";

/// Which checks a request asks for, and how it wants them reported.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) part: Suite,
    pub(super) manner: Manner,
    /// How long whoever asks waits, if that is known.
    pub(super) limit: Option<Duration>,
    /// What it is a part of. `None`: only a round of its own will do.
    pub(super) whole: Option<Whole>,
}

/// The whole suite, and of which configuration and state of files it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Whole {
    pub(super) suite: Suite,
    pub(super) edition: u64,
}

/// How checks are reported.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    dialect: Dialect,
    /// Whether the reader may know which check it is and why.
    disclosed: bool,
}

#[cfg(test)]
impl Manner {
    pub(super) fn json() -> Manner {
        Manner { dialect: Dialect::Format(&FORMATS[0]), disclosed: true }
    }
}

#[derive(Clone, Copy, Debug)]
enum Dialect {
    Format(&'static Format),
    /// That of Kubernetes, for /readyz.
    Ready {
        verbose: bool,
    },
}

/// Writes answers into connections.
pub(super) struct Responder {
    sources: Sources,
    /// When the files of checks were last looked at.
    looked: Option<Instant>,
    generation: u32,
    cache: Duration,
    fail_status: u16,
    prefix: String,
    maintenance: Option<PathBuf>,
    disclosure: Disclosure,
    scoreboard: Scoreboard,
    slot: usize,
    close: bool,
    /// Which process this is, as it stands before the number of an answer to name it.
    process: String,
    answers: u64,
    body: Vec<u8>,
    headers: String,
    date: Date,
    access: Option<AccessLog>,
}

impl Responder {
    pub(super) fn new(
        sources: Sources,
        generation: u32,
        disclosure: Disclosure,
        settings: Settings,
        scoreboard: Scoreboard,
        slot: usize,
    ) -> Responder {
        Responder {
            sources,
            looked: None,
            generation,
            cache: settings.answers.cache,
            fail_status: settings.answers.fail_status,
            prefix: settings.answers.prefix,
            maintenance: settings.answers.maintenance_file,
            disclosure,
            scoreboard,
            slot,
            close: false,
            process: format!("{}-", std::process::id()),
            answers: 0,
            body: Vec::new(),
            headers: String::new(),
            date: Date::default(),
            access: AccessLog::new(settings.log.access_logformat),
        }
    }

    /// From now on each answer is the last on its connection.
    pub(super) fn close_all(&mut self) {
        self.close = true;
    }

    /// Whether it is to be known who the clients are.
    pub(super) fn logs_access(&self) -> bool {
        self.access.is_some()
    }

    /// Answers the request of a connection, or says which checks have to be run for it.
    pub(super) fn answer(&mut self, connection: &mut Connection, now: Instant) -> Option<Wish> {
        let asked = connection.request()?;
        let route = route::route(asked.method, asked.target, &self.prefix);
        let counted = route.counted();
        let at_once = match self.judge(route, asked, now) {
            Continue(wish) => return Some(wish),
            Break(at_once) => at_once,
        };
        self.body.clear();
        let response = match at_once {
            AtOnce::Text(status, text) => {
                self.body.extend_from_slice(text.as_bytes());
                self.response(connection, counted, status, TEXT, None, "")
            }
            AtOnce::Metrics(syntax, disclosed) => {
                let scoreboard = self.scoreboard;
                let figures = metrics::figures(self.suite(now), disclosed, &scoreboard);
                render::metrics::write(&figures, syntax, &mut self.body);
                self.response(connection, counted, 200, syntax.media_type(), None, NEGOTIATED)
            }
            AtOnce::Error(status, message) => {
                json::error(status, &message, &mut self.body);
                let allow = if status == 405 { route::ALLOW } else { "" };
                self.response(connection, counted, status, json::MEDIA_TYPE, None, allow)
            }
        };
        connection.respond(response, now);
        None
    }

    fn judge(&mut self, route: Route<'_>, asked: Asked<'_>, now: Instant) -> ControlFlow<AtOnce, Wish> {
        let disclosed = self.disclosure.allows(asked.authorization);
        let limit = asked.scrape_timeout.and_then(scraper::limit);
        match route {
            Route::Checks(path, query) => {
                let format = format(&query, asked.accept)?;
                let part = self.part(&path, &query, disclosed, now)?;
                Continue(self.wish(part, Dialect::Format(format), disclosed, limit))
            }
            Route::Metrics(query) => Break(AtOnce::Metrics(scraper::syntax(&query, asked.accept), disclosed)),
            Route::Live(_) => Break(AtOnce::Text(200, "livez check passed\n".to_owned())),
            Route::Ready(path, query) => {
                if let Some(reason) = self.unavailable() {
                    return Break(AtOnce::Text(503, format!("readyz check failed: {reason}\n")));
                }
                let part = self.part(&path, &query, disclosed, now)?;
                let readiness = part.select(&[READINESS.to_owned()], &[]);
                let part = if path.is_empty() && !readiness.checks().is_empty() { readiness } else { part };
                Continue(self.wish(part, Dialect::Ready { verbose: query.verbose }, disclosed, limit))
            }
            Route::Elsewhere => Break(AtOnce::Error(404, format!("everything here is under {}/", self.prefix))),
            Route::NotAllowed => Break(AtOnce::Error(405, "only GET, HEAD and OPTIONS are answered here".to_owned())),
            Route::Malformed => Break(AtOnce::Error(400, "the request target cannot be read".to_owned())),
        }
    }

    fn wish(&self, part: Suite, dialect: Dialect, disclosed: bool, limit: Option<Duration>) -> Wish {
        let files = (!self.cache.is_zero()).then(|| self.sources.edition()).flatten();
        let whole = files.map(|files| {
            let mut hasher = DefaultHasher::new();
            (self.generation, files).hash(&mut hasher);
            Whole { suite: self.sources.suite().clone(), edition: hasher.finish() }
        });
        Wish { part, manner: Manner { dialect, disclosed }, limit, whole }
    }

    /// Why the service takes no requests at the moment, if so.
    fn unavailable(&self) -> Option<String> {
        if self.scoreboard.is_leaving() {
            return Some("draining".to_owned());
        }
        let text = match read_file(self.maintenance.as_ref()?) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            // It is there, whatever is in it.
            read => read.unwrap_or_default(),
        };
        let reason = text.lines().next().unwrap_or_default().trim();
        Some(if reason.is_empty() { "maintenance".to_owned() } else { reason.to_owned() })
    }

    /// The checks that a path and a query select. To select none is a 404: a slip of the pen is no green report.
    fn part(&mut self, path: &str, query: &Query, disclosed: bool, now: Instant) -> ControlFlow<AtOnce, Suite> {
        let suite = self.suite(now);
        let part = if path.is_empty() { suite.clone() } else { suite.at(path) };
        if part.checks().is_empty() && !path.is_empty() {
            let known = if disclosed { format!(" (known: {})", suite.known()) } else { String::new() };
            return Break(AtOnce::Error(404, format!("no check is collected at {path:?}{known}")));
        }
        let selected = part.select(&query.tags, &query.excluded);
        if selected.checks().is_empty() {
            return Break(AtOnce::Error(404, "?tag= and ?exclude= leave out every check".to_owned()));
        }
        Continue(selected)
    }

    /// The checks as their files say now; requests that come in together are looked at together.
    fn suite(&mut self, now: Instant) -> &Suite {
        if self.looked != Some(now) {
            self.looked = Some(now);
            if self.sources.changed() {
                tracing::info!("the files of healthchecks have changed: reading them again");
                self.sources.refresh();
            }
        }
        self.sources.suite()
    }

    /// Answers with the report of a round.
    pub(super) fn report(&mut self, connection: &mut Connection, answer: &Answer, now: Instant) {
        let Answer { report, manner, age, .. } = answer;
        let hidden = (!manner.disclosed).then(|| report.anonymous());
        let report = hidden.as_ref().unwrap_or(report);
        self.body.clear();
        let (route, success, media_type) = match manner.dialect {
            Dialect::Format(format) => {
                (format.write)(report, &mut self.body);
                (tally::Route::Checks, (format.is_success)(report), format.media_type)
            }
            Dialect::Ready { verbose } => {
                self.body.extend_from_slice(kubernetes::answer("readyz", report, verbose).as_bytes());
                (tally::Route::Ready, report.passes(), TEXT)
            }
        };
        let status = if success { 200 } else { self.fail_status };
        connection.respond(self.response(connection, route, status, media_type, *age, NEGOTIATED), now);
    }

    /// Notes what a round has found, before it is answered: one line in the log for each check that has come to
    /// something else than before, in whichever worker.
    pub(super) fn note(&self, report: &Report) {
        self.scoreboard.count_round(self.slot, report.passes());
        let at = SystemTime::now();
        for outcome in &report.outcomes {
            let (status, id) = (outcome.finding.status, &outcome.check.id);
            let figures = outcome.finding.perfdata.clone();
            let noted = Noted { status, elapsed: outcome.elapsed, at, figures };
            let Some(before) = self.scoreboard.note(id, &noted) else { continue };
            let context = outcome.finding.context.as_deref().unwrap_or_default();
            let request = self.answers;
            match (status.is_bad(), before) {
                (true, _) => tracing::warn!(request, "check {id}: {}: {context}", status.word()),
                (false, None) => tracing::debug!(request, "check {id}: {}", status.word()),
                (false, Some(_)) => tracing::info!(request, "check {id}: {} again", status.word()),
            }
        }
    }

    /// Answers a request that could not be read.
    pub(super) fn reject(&mut self, connection: &mut Connection, rejection: Rejection, now: Instant) {
        let (status, why) = rejection.answer();
        self.body.clear();
        json::error(status, why, &mut self.body);
        connection.reject(self.response(connection, tally::Route::Other, status, json::MEDIA_TYPE, None, ""), now);
    }

    /// The answer that is given next. `age` is how long ago what it says was found, if that was before it was asked for.
    fn response(
        &mut self,
        connection: &Connection,
        route: tally::Route,
        status: u16,
        content_type: &'static str,
        age: Option<Duration>,
        headers: &str,
    ) -> Response<'_> {
        self.scoreboard.count_request(self.slot, route, status);
        self.log_access(connection, status);
        self.headers.clear();
        match age {
            Some(age) => self.headers.push_str(&freshness(self.cache, age)),
            None => self.headers.push_str("Cache-Control: no-store\r\n"),
        }
        // Names the answer in the log: which process, and which of its answers.
        for part in [headers, REQUEST_ID, &self.process, itoa::Buffer::new().format(self.answers), "\r\n"] {
            self.headers.push_str(part);
        }
        self.answers += 1;
        Response {
            status,
            content_type,
            headers: &self.headers,
            body: &self.body,
            date: self.date.text(SystemTime::now()),
            close: self.close,
        }
    }

    /// The line for the answer that is given next.
    fn log_access(&mut self, connection: &Connection, status: u16) {
        let Some(access) = &mut self.access else { return };
        let (time, (head, asked)) = (SystemTime::now(), connection.head());
        access.write(&Entry {
            time,
            date: self.date.text(time),
            peer: connection.peer(),
            head,
            status,
            length: self.body.len(),
            request_id: (&self.process, self.answers),
            took: asked.elapsed(),
        });
    }
}

/// An answer for which no check has to run.
enum AtOnce {
    Text(u16, String),
    /// The metrics, with the names of the checks or without.
    Metrics(Syntax, bool),
    Error(u16, String),
}

/// What caches on the way may do with an answer of that age. Rounded so that it never seems fresher than it is.
fn freshness(lifetime: Duration, age: Duration) -> String {
    let age = age.as_secs() + u64::from(age.subsec_nanos() > 0);
    format!("Cache-Control: max-age={}\r\nAge: {age}\r\n", lifetime.as_secs())
}

/// The format that the query names, else the one that Accept asks for.
fn format(query: &Query, accept: Option<&str>) -> ControlFlow<AtOnce, &'static Format> {
    let chosen = match &query.format {
        Some(name) => render::named(name).map_err(|why| AtOnce::Error(400, format!("format={name}: {why}"))),
        None => negotiate::choose(accept, FORMATS, |format| format.media_type).ok_or_else(|| {
            let known: Vec<_> = FORMATS.iter().map(|format| format.media_type).collect();
            AtOnce::Error(406, format!("none of what Accept asks for is spoken here (known: {})", known.join(", ")))
        }),
    };
    match chosen {
        Ok(format) => Continue(if query.verbose { format.verbose() } else { format }),
        Err(answer) => Break(answer),
    }
}
