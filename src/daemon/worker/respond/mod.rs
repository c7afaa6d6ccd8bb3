//! Answers requests: everything at once, except what checks must be run for.

mod fields;
mod judge;
mod page;

use std::borrow::Cow;
use std::ops::ControlFlow::{Break, Continue};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::access::{AccessLog, Entry};
use super::metrics;
use super::rounds::Answer;
use crate::collect::Sources;
use crate::config::Settings;
use crate::daemon::shared::scoreboard::Scoreboard;
use crate::endpoint::counters::RouteLabel;
use crate::endpoint::disclosure::Disclosure;
use crate::endpoint::route::{self, Route};
use crate::model::check::Status;
use crate::model::report::{Outcome, Report};
use crate::model::suite::Suite;
use crate::os::clock;
use crate::render::line::one_line;
use crate::render::{Format, html, json, kubernetes};
use fields::Fields;
use hospital_http::{Connection, Rejection, Response};
use judge::{AtOnce, Judged};
use page::Choice;

const TEXT: &str = "text/plain; charset=utf-8";

/// For answers that are true now, but need not be later.
const NOT_STORED: &str = "Cache-Control: no-store\r\n";

/// For answers that would have another format with another Accept field.
const NEGOTIATED: &str = "Vary: Accept\r\n";

/// For answers that would also show more or less with another Authorization field.
const PERSONAL: &str = "Vary: Accept, Authorization\r\n";

/// Which checks a request asks for, and how it wants them reported.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) part: Suite,
    pub(super) manner: Manner,
    /// How long the client waits, if that is known.
    pub(super) limit: Option<Duration>,
    /// The suite that it is a part of. `None`: only a round of its own will do.
    pub(super) whole: Option<Whole>,
}

/// The whole suite, and the number of its configuration and state of files.
#[derive(Clone, Debug, Default)]
pub(super) struct Whole {
    pub(super) suite: Suite,
    pub(super) edition: u64,
}

/// How checks are reported.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    dialect: Dialect,
    /// Whether the reader may know which checks there are and why they fail.
    disclosed: bool,
    /// Whether the reader wants all details, such as the generation that answers.
    verbose: bool,
}

#[cfg(test)]
impl Manner {
    pub(super) fn json() -> Manner {
        Manner { dialect: Dialect::Format(&crate::render::FORMATS[0]), disclosed: true, verbose: false }
    }
}

#[derive(Clone, Debug)]
enum Dialect {
    Format(&'static Format),
    /// The page for people with a browser.
    Page(Box<Choice>),
    /// The dialect of Kubernetes, for /readyz.
    Ready,
}

/// An answer without its body.
struct Head {
    /// The route that it is counted under.
    route: RouteLabel,
    status: u16,
    media_type: &'static str,
    /// The age of what it reports, if that was found before the request.
    age: Option<Duration>,
    /// Further header lines, each with its line end.
    lines: Cow<'static, str>,
}

/// Writes answers into connections.
pub(super) struct Responder {
    sources: Sources,
    /// When the files of checks were last looked at.
    looked: Option<Instant>,
    /// The last request for checks.
    judged: Option<Judged>,
    generation: u32,
    cache: Duration,
    fail_status: u16,
    prefix: String,
    maintenance: Option<PathBuf>,
    disclosure: Disclosure,
    scoreboard: Scoreboard,
    slot: usize,
    close: bool,
    /// Names this process; the number of an answer is appended to name that.
    process: String,
    answers: u64,
    body: Vec<u8>,
    /// The revision of the report and the format that the body has, if it can be reused.
    body_is: Option<(u64, &'static str)>,
    fields: Fields,
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
        let process = format!("{}-", std::process::id());
        Responder {
            sources,
            looked: None,
            judged: None,
            generation,
            cache: settings.answers.cache,
            fail_status: settings.answers.fail_status,
            prefix: settings.answers.prefix,
            maintenance: settings.answers.maintenance_file,
            disclosure,
            scoreboard,
            slot,
            close: settings.times.keep_alive.is_zero(),
            answers: 0,
            body: Vec::new(),
            body_is: None,
            // Identifies the answer in the log: by the process, and the number of its answer.
            fields: Fields::new(format!("X-Request-Id: {process}")),
            process,
            access: AccessLog::new(settings.log.access_logformat),
        }
    }

    /// From now on each answer is the last on its connection.
    pub(super) fn close_all(&mut self) {
        self.close = true;
    }

    /// Whether the clients' addresses are needed.
    pub(super) fn logs_access(&self) -> bool {
        self.access.is_some()
    }

    /// Answers the request of a connection, or returns which checks must be run for it.
    pub(super) fn answer(&mut self, connection: &mut Connection, now: Instant) -> Option<Wish> {
        let number = connection.number()?;
        if let Some(wish) = self.judged_before(number, now) {
            return Some(wish);
        }
        let asked = connection.request()?;
        let route = route::route(asked.method, asked.target, &self.prefix);
        let counted = route.counted();
        let is_for_checks = matches!(route, Route::Checks(..));
        let at_once = match self.judge(route, asked, now) {
            Continue(wish) => {
                if is_for_checks {
                    self.remember(number, &wish);
                }
                return Some(wish);
            }
            Break(at_once) => at_once,
        };
        self.clear_body();
        let (status, media_type, lines) = match at_once {
            AtOnce::Text(status, text) => {
                self.body.extend_from_slice(text.as_bytes());
                (status, TEXT, "")
            }
            AtOnce::Metrics(syntax, disclosed) => {
                let scoreboard = self.scoreboard;
                let figures = metrics::figures(self.suite(now), disclosed, &scoreboard);
                crate::endpoint::metrics::write(&figures, syntax, &mut self.body);
                (200, syntax.media_type(), self.vary())
            }
            AtOnce::Error(status, message) => {
                json::error(status, &message, &mut self.body);
                (status, json::MEDIA_TYPE, if status == 405 { route::ALLOW } else { "" })
            }
        };
        let head = Head { route: counted, status, media_type, age: None, lines: lines.into() };
        self.say(connection, Connection::respond, head, now);
        None
    }

    /// Answers with the report of a round.
    pub(super) fn report(&mut self, connection: &mut Connection, answer: &Answer, now: Instant) {
        let Answer { report, manner, revision, age, .. } = answer;
        let hidden = (!manner.disclosed).then(|| report.anonymous());
        let report = hidden.as_ref().unwrap_or(report);
        let mut lines = Cow::Borrowed(self.vary());
        let (route, success, media_type) = match &manner.dialect {
            Dialect::Format(format) => {
                let can_be_said_again = format.timeless && manner.disclosed;
                let wanted = revision.filter(|_| can_be_said_again).map(|revision| (revision, format.name));
                if wanted.is_none() || self.body_is != wanted {
                    self.clear_body();
                    (format.write)(report, &mut self.body);
                    self.body_is = wanted;
                }
                (RouteLabel::Checks, (format.is_success)(report), format.media_type)
            }
            Dialect::Page(choice) => {
                self.clear_body();
                let scoreboard = self.scoreboard;
                let since = |id: &str, status: Status| scoreboard.since(id, status);
                let at = clock::before(clock::wall(), age.unwrap_or_default());
                html::page(report, &choice.view(at, &since, manner.disclosed), &mut self.body);
                lines.to_mut().push_str(html::headers());
                (RouteLabel::Checks, report.passes(), html::MEDIA_TYPE)
            }
            Dialect::Ready => {
                self.clear_body();
                self.body.extend_from_slice(kubernetes::answer("readyz", report, manner.verbose).as_bytes());
                (RouteLabel::Ready, report.passes(), TEXT)
            }
        };
        let status = if success { 200 } else { self.fail_status };
        if manner.verbose && manner.disclosed {
            lines.to_mut().push_str(&format!("X-Generation: {}\r\n", self.generation));
        }
        let head = Head { route, status, media_type, age: *age, lines };
        self.say(connection, Connection::respond, head, now);
    }

    fn clear_body(&mut self) {
        self.body.clear();
        self.body_is = None;
    }

    /// What the answer depends on, apart from the target.
    fn vary(&self) -> &'static str {
        if self.disclosure.is_personal() { PERSONAL } else { NEGOTIATED }
    }

    /// Notes what a round has found, before it is answered, and logs one line for each check whose status has changed
    /// since its last run in any worker.
    pub(super) fn note(&self, report: &Report) {
        self.scoreboard.count_round(self.slot, report.passes());
        for (Outcome { check, finding, .. }, before) in
            self.scoreboard.note(report, self.sources.suite(), clock::wall())
        {
            let (status, id) = (finding.status, &check.id);
            let context = one_line(finding.context.as_deref().unwrap_or_default());
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
        self.clear_body();
        json::error(status, why, &mut self.body);
        let head = Head { route: RouteLabel::Other, status, media_type: json::MEDIA_TYPE, age: None, lines: "".into() };
        self.say(connection, Connection::reject, head, now);
    }

    /// Counts, logs and sends the answer whose body is written.
    fn say(
        &mut self,
        connection: &mut Connection,
        give: fn(&mut Connection, Response<'_>, Instant),
        Head { route, status, media_type, age, lines }: Head,
        now: Instant,
    ) {
        self.scoreboard.count_request(self.slot, route, status);
        self.log_access(connection, status, now);
        let caching = match age {
            Some(age) => freshness(self.cache, age, self.disclosure.is_personal()).into(),
            None => NOT_STORED.into(),
        };
        let mut number = itoa::Buffer::new();
        let named = self.fields.text(media_type, [caching, lines], now);
        let fields = [named, number.format(self.answers), "\r\n"];
        give(connection, Response { status, fields: &fields, body: &self.body, close: self.close }, now);
        self.answers += 1;
    }

    /// Logs the answer that is sent next.
    fn log_access(&mut self, connection: &Connection, status: u16, now: Instant) {
        let Some(access) = &mut self.access else { return };
        let (time, (head, asked)) = (clock::wall(), connection.head());
        access.write(&Entry {
            time,
            date: self.fields.date(now),
            peer: connection.peer(),
            head,
            status,
            length: self.body.len(),
            request_id: (&self.process, self.answers),
            took: asked.elapsed(),
        });
    }
}

/// What caches on the way may do with an answer of this age. Rounded so that it never seems fresher than it is.
fn freshness(lifetime: Duration, age: Duration, is_personal: bool) -> String {
    let whose = if is_personal { "private, " } else { "" };
    let age = age.as_secs() + u64::from(age.subsec_nanos() > 0);
    format!("Cache-Control: {whose}max-age={}\r\nAge: {age}\r\n", lifetime.as_secs())
}
