//! What the endpoint means, without a socket: a request becomes a [`CheckRequest`] or a [`Reply`], and what was found for
//! a [`CheckRequest`] becomes a [`Reply`]. The daemon is one user of it; any other program can be another:
//!
#![doc = "```"]
#![doc = include_str!("../../examples/endpoint.rs")]
#![doc = "```"]

pub mod counters;
mod disclosure;
mod evidence;
pub(crate) mod metrics;
mod negotiate;
mod observer;
mod page;
mod reply;
pub(crate) mod rounds;
pub mod route;
mod scraper;

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use disclosure::Disclosure;
use disclosure::Visitor;
pub use hospital_http::{Method, Request};
pub(crate) use observer::{Before, log_change, log_maintenance, log_silences};
pub use observer::{LastRun, Observer, Unobserved};
pub use reply::Reply;

use crate::collect::FileState;
use crate::model::check::Check;
use crate::model::needs::Fault;
use crate::model::report::Report;
use crate::model::speaker::Speaker;
use crate::model::startup;
use crate::model::suite::Suite;
use crate::render::exposition::Syntax;
use crate::render::{self, FORMATS, Format};
use counters::RouteLabel;
use evidence::{Told, Topic};
use page::Choice;
use route::{Query, Route};

/// The tag of the checks that decide on readiness.
const READINESS: &str = "readiness";

/// How often a wrong token is logged at most.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// How an endpoint answers.
#[derive(Clone, Debug)]
pub struct EndpointSettings {
    /// Everything is under this path, which is empty or begins with a slash.
    pub prefix: String,
    /// Who may see more than statuses and counts.
    pub disclosure: Disclosure,
    /// The status code of a report that does not pass.
    pub fail_status: u16,
    /// The status code of a report that passes with a warning, in formats that leave it open.
    pub warn_status: u16,
    /// How old a report may become that answers further requests.
    pub lifetime: Duration,
    /// The number of the configuration, for `?verbose`.
    pub generation: u32,
    /// Whom the answers name as who gives them.
    pub speaker: Speaker,
}

impl Default for EndpointSettings {
    /// Those of the daemon.
    fn default() -> EndpointSettings {
        EndpointSettings {
            prefix: String::new(),
            disclosure: Disclosure::Always,
            fail_status: 500,
            warn_status: 200,
            lifetime: Duration::ZERO,
            generation: 1,
            speaker: Speaker::default(),
        }
    }
}

/// Which checks a request asks for, and how it wants them reported.
#[derive(Clone, Debug)]
pub struct CheckRequest {
    pub(crate) part: Suite,
    /// All checks that there were then.
    whole: Suite,
    presentation: Presentation,
    pub(crate) limit: Option<Duration>,
    max_age: Option<Duration>,
}

/// How checks are reported.
#[derive(Clone, Debug)]
struct Presentation {
    dialect: Dialect,
    /// Whether the reader may know which checks there are and why they fail.
    disclosed: bool,
    /// Whether the reader wants all details, such as the generation that answers.
    verbose: bool,
}

#[derive(Clone, Debug)]
enum Dialect {
    Format(&'static Format),
    /// The page for people with a browser.
    Page(Choice),
    /// The dialect of Kubernetes, for /readyz.
    Ready,
    /// The same, for /startupz.
    Startup,
}

/// What was found for a request.
#[derive(Debug)]
pub struct Findings<'a> {
    /// The report, about the checks that were asked for.
    pub report: Cow<'a, Report>,
    /// Reports with the same number are the same one. `None`: it has no number.
    pub number: Option<u64>,
    /// Reports with the same revision, which is a number too, say the same apart from times and figures.
    pub revision: Option<u64>,
    /// How long ago its round began, if that may have been before the request.
    pub age: Option<Duration>,
}

impl From<Report> for Findings<'_> {
    fn from(report: Report) -> Self {
        Findings { report: Cow::Owned(report), number: None, revision: None, age: None }
    }
}

impl<'a> From<&'a Report> for Findings<'a> {
    /// From a round that began after the request.
    fn from(report: &'a Report) -> Findings<'a> {
        Findings { report: Cow::Borrowed(report), number: None, revision: None, age: None }
    }
}

/// A reply that needs no check to run.
enum AtOnce {
    Text(u16, String),
    /// The metrics, with or without the names of the checks.
    Metrics(Syntax, bool),
    /// What is remembered of a check.
    Told(Told),
    Error(u16, String),
}

/// The whole suite, and a number for its configuration and the state of its files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Whole {
    pub(crate) suite: Suite,
    pub(crate) edition: u64,
}

impl CheckRequest {
    /// A request for these checks that no client has made.
    pub(crate) fn for_all(suite: Suite) -> CheckRequest {
        let presentation = Presentation { dialect: Dialect::Format(&FORMATS[0]), disclosed: true, verbose: false };
        CheckRequest { part: suite.clone(), whole: suite, presentation, limit: None, max_age: None }
    }

    /// The checks to run.
    pub fn suite(&self) -> &Suite {
        &self.part
    }

    /// How old what a check with a schedule has found may be, if the client says so.
    pub(crate) fn max_age(&self) -> Option<Duration> {
        self.max_age
    }

    /// How long the client waits, if that is known.
    pub fn limit(&self) -> Option<Duration> {
        self.limit
    }
}

/// Answers requests.
pub struct Endpoint {
    files: Arc<FileState>,
    settings: EndpointSettings,
    observer: Box<dyn Observer + Send>,
    /// The last one, whose memory is used again.
    reply: Reply,
    /// Whether the files were looked at since the start.
    has_seen: bool,
    /// When a wrong token was logged last.
    complained: Option<Instant>,
}

impl Endpoint {
    /// An endpoint for the checks of these files.
    pub fn new(
        files: Arc<FileState>,
        settings: EndpointSettings,
        observer: impl Observer + Send + 'static,
    ) -> Endpoint {
        let (observer, reply) = (Box::new(observer), Reply::default());
        Endpoint { files, settings, observer, reply, has_seen: false, complained: None }
    }

    /// Whether a request must wait until the files of checks were looked at: /livez waits for nothing.
    pub fn depends_on_files(&self, request: &Request<'_>) -> bool {
        match route::route(request.method, request.target, &self.settings.prefix) {
            Route::Checks(..) | Route::Startup(_) | Route::Metrics(_) | Route::Why(..) | Route::History(..) => true,
            Route::Ready(..) => !self.observer.is_leaving(),
            Route::Live(_) | Route::Elsewhere | Route::NotAllowed | Route::Malformed => false,
        }
    }

    /// Takes in the files as they were when they were last looked at.
    pub fn see(&mut self, files: Arc<FileState>) {
        let is_first = !std::mem::replace(&mut self.has_seen, true);
        if is_first || self.files.silences != files.silences {
            self.observer.saw_silences(&self.files.silences, &files.silences);
        }
        if is_first || self.files.maintenance != files.maintenance {
            self.observer.saw_maintenance(files.maintenance.as_deref());
        }
        // For a moment after a change there is no edition.
        let is_changed = self.files.edition.is_some() && self.files.edition != files.edition;
        if is_changed && self.files.silences == files.silences {
            self.observer.saw_changed_files();
        }
        self.files = files;
    }

    /// The reply to a request, or the checks to run for it.
    pub fn ask(&mut self, request: &Request<'_>) -> ControlFlow<&Reply, Arc<CheckRequest>> {
        let route = route::route(request.method, request.target, &self.settings.prefix);
        let label = route.label();
        match self.decide(route, request) {
            Continue(request) => return Continue(Arc::new(request)),
            Break(AtOnce::Text(status, text)) => self.reply.text(label, status, &text),
            Break(AtOnce::Error(status, message)) => self.reply.error(label, status, &message),
            Break(AtOnce::Told(told)) => self.reply.told(told, self.settings.disclosure.is_personal()),
            Break(AtOnce::Metrics(syntax, disclosed)) => {
                let figures =
                    metrics::figures(&self.files.suite, disclosed, self.files.maintenance.is_some(), &*self.observer);
                self.reply.metrics(&figures, syntax, self.settings.disclosure.is_personal());
            }
        }
        Break(self.counted())
    }

    /// Whether the same request would be for the same again.
    pub fn is_current(&self, request: &CheckRequest) -> bool {
        // Whether the service is ready, or has started, depends on more than its checks.
        !matches!(request.presentation.dialect, Dialect::Ready | Dialect::Startup)
            && request.whole.is(&self.files.suite)
    }

    /// The reply to a request for which this was found.
    pub fn report(&mut self, request: &Arc<CheckRequest>, findings: &Findings<'_>) -> &Reply {
        self.reply.report(request, findings, &self.settings, &self.files, &*self.observer);
        self.counted()
    }

    /// The reply to what the server could not read.
    pub fn refuse(&mut self, status: u16, why: &str) -> &Reply {
        self.reply.error(RouteLabel::Other, status, why);
        self.counted()
    }

    /// Frees a large body, unless somebody is still being sent it. True if there was one.
    pub(crate) fn release(&mut self) -> bool {
        self.reply.release()
    }

    /// The suite as of the last request for checks.
    pub(crate) fn suite(&self) -> &Suite {
        &self.files.suite
    }

    /// The whole suite. `None` while its files have changed so recently that they may change again and look the same.
    pub(crate) fn whole(&self) -> Option<Whole> {
        let mut hasher = DefaultHasher::new();
        (self.settings.generation, self.files.edition?).hash(&mut hasher);
        Some(Whole { suite: self.files.suite.clone(), edition: hasher.finish() })
    }

    fn counted(&self) -> &Reply {
        self.observer.replied(self.reply.label, self.reply.status);
        &self.reply
    }

    fn decide(&mut self, route: Route<'_>, request: &Request<'_>) -> ControlFlow<AtOnce, CheckRequest> {
        let visitor = self.settings.disclosure.visitor(request.authorization);
        let disclosed = visitor == Visitor::Trusted;
        if let Route::Checks(_, query)
        | Route::Ready(_, query)
        | Route::Startup(query)
        | Route::Metrics(query)
        | Route::Why(_, query)
        | Route::History(_, query) = &route
        {
            self.admit(visitor, query)?;
            if let Some(Err(why)) = &query.max_age {
                return Break(AtOnce::Error(400, format!("max_age: {why}")));
            }
        }
        // Strangers do not decide when checks run.
        let decides = disclosed && self.files.suite.has_schedule();
        let max_age = |query: &Query| {
            let field = request.cache_control.and_then(max_age);
            query.max_age.iter().flatten().copied().chain(field).min().filter(|_| decides)
        };
        let (part, presentation, max_age) = match route {
            Route::Checks(path, query) => {
                let format = format(&query, request.accept)?;
                let part = self.part(&path, &query, disclosed)?;
                let (verbose, max_age) = (query.verbose > 0, max_age(&query));
                let dialect = if format.is_page {
                    Dialect::Page(Choice::of(query, &self.at(&path)))
                } else {
                    Dialect::Format(format)
                };
                (part, Presentation { dialect, disclosed, verbose }, max_age)
            }
            Route::Ready(path, query) => {
                if let Some(reason) = self.unavailable() {
                    return Break(AtOnce::Text(503, format!("readyz check failed: {reason}\n")));
                }
                let part = self.part(&path, &query, disclosed)?;
                let readiness = part.select(&[READINESS.to_owned()], &[]);
                let part = if path.is_empty() && !readiness.checks().is_empty() { readiness } else { part };
                let presentation = Presentation { dialect: Dialect::Ready, disclosed, verbose: query.verbose > 0 };
                (part, presentation, max_age(&query))
            }
            Route::Startup(query) => {
                let is_starting = |check: &Check| startup::is_starting(check, |id| self.observer.start(id));
                // A probe of this may be the only one until it passes: what has to pass must be run for it.
                let part = self.part("", &query, disclosed)?.filtered(is_starting);
                if part.checks().is_empty() {
                    return Break(AtOnce::Text(200, "startupz check passed\n".to_owned()));
                }
                (part, Presentation { dialect: Dialect::Startup, disclosed, verbose: query.verbose > 0 }, None)
            }
            Route::Metrics(query) => return Break(AtOnce::Metrics(scraper::syntax(&query, request.accept), disclosed)),
            Route::Why(path, query) => {
                return Break(AtOnce::Told(self.tell(Topic::Why, &path, &query, request.accept, disclosed)?));
            }
            Route::History(path, query) => {
                return Break(AtOnce::Told(self.tell(Topic::History, &path, &query, request.accept, disclosed)?));
            }
            Route::Live(_) => return Break(AtOnce::Text(200, "livez check passed\n".to_owned())),
            Route::Elsewhere => {
                let prefix = &self.settings.prefix;
                let stranger = "there is nothing here".to_owned();
                let hint = if disclosed { format!("everything here is under {prefix}/") } else { stranger };
                return Break(AtOnce::Error(404, hint));
            }
            Route::NotAllowed => {
                return Break(AtOnce::Error(405, "only GET, HEAD and OPTIONS are answered here".to_owned()));
            }
            Route::Malformed => return Break(AtOnce::Error(400, "the request target cannot be read".to_owned())),
        };
        Continue(CheckRequest { part, whole: self.files.suite.clone(), presentation, limit: limit(request), max_age })
    }

    /// Refuses whoever thinks to be trusted and is not: with the answer for strangers, nobody would notice.
    fn admit(&mut self, visitor: Visitor, query: &Query) -> ControlFlow<AtOnce> {
        let why = match visitor {
            Visitor::Mistaken => {
                let now = Instant::now();
                if self.complained.is_none_or(|last| now - last >= COMPLAINT_INTERVAL) {
                    self.complained = Some(now);
                    tracing::warn!("a client with a wrong token got 401; more of them are not logged for a minute");
                }
                "the token is wrong"
            }
            Visitor::Stranger if query.signin && self.settings.disclosure.is_personal() => {
                "sign in with the token as the password, and any name"
            }
            Visitor::Stranger | Visitor::Trusted => return Continue(()),
        };
        Break(AtOnce::Error(401, why.to_owned()))
    }

    /// The reason why the service takes no requests at the moment, if there is one.
    fn unavailable(&self) -> Option<String> {
        if self.observer.is_leaving() {
            return Some("draining".to_owned());
        }
        let reason = self.files.maintenance.as_deref();
        self.observer.saw_maintenance(reason);
        reason.map(str::to_owned)
    }

    /// The checks that a path and a query select. Selecting none is a 404: a typing error must not look like a passing
    /// report.
    fn part(&self, path: &str, query: &Query, disclosed: bool) -> ControlFlow<AtOnce, Suite> {
        let part = self.at(path);
        if part.checks().is_empty() && !path.is_empty() {
            let known = if disclosed { format!(" (known: {})", self.files.suite.known()) } else { String::new() };
            return Break(AtOnce::Error(404, format!("no check is collected at {path:?}{known}")));
        }
        let selected = part.select(&query.tags, &query.excluded);
        if selected.checks().is_empty() {
            return Break(AtOnce::Error(404, "?tag= and ?exclude= leave out every check".to_owned()));
        }
        if let Some((check, fault)) = selected.fault().filter(|(_, fault)| matches!(fault, Fault::Excluded(_))) {
            let what =
                if disclosed { format!("{} {fault}", check.id) } else { "what is left out is needed".to_owned() };
            return Break(AtOnce::Error(400, format!("?exclude=: {what}: exclude both or none")));
        }
        Continue(selected)
    }

    /// The checks at or under a path; all of them if it is empty. A slash at its end may be part of an id, as in `disk:/`.
    fn at(&self, path: &str) -> Suite {
        let suite = &self.files.suite;
        let at = |path: &str| if path.is_empty() { suite.clone() } else { suite.at(path) };
        let (part, shorter) = (at(path), path.strip_suffix('/'));
        shorter.filter(|_| part.checks().is_empty()).map_or(part, at)
    }
}

/// How long the client of a request waits, if that is known.
pub(crate) fn limit(request: &Request<'_>) -> Option<Duration> {
    request.scrape_timeout.and_then(scraper::limit)
}

/// The age that a Cache-Control field allows (RFC 9111, 5.2.1.1).
fn max_age(field: &str) -> Option<Duration> {
    let seconds = field.split(',').find_map(|directive| directive.trim().strip_prefix("max-age="))?;
    seconds.trim_matches('"').parse().ok().map(Duration::from_secs)
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
        Ok(format) => Continue(format.verbose(query.verbose)),
        Err(answer) => Break(answer),
    }
}
