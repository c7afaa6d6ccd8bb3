//! Judges a request: it gets an answer at once, or checks must be run for it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::ops::ControlFlow::{self, Break, Continue};
use std::path::Path;
use std::time::{Duration, Instant};

use super::page::Choice;
use super::{Dialect, Manner, Responder, Whole, Wish};
use crate::endpoint::route::{Query, Route};
use crate::endpoint::{negotiate, scraper};
use crate::model::suite::Suite;
use crate::os::filesystem::read_file;
use crate::render::exposition::Syntax;
use crate::render::line::one_line;
use crate::render::{self, FORMATS, Format};
use hospital_http::Asked;

/// The tag of the checks that decide on readiness.
const READINESS: &str = "readiness";

/// An answer that needs no check to run.
pub(super) enum AtOnce {
    Text(u16, String),
    /// The metrics, with or without the names of the checks.
    Metrics(Syntax, bool),
    Error(u16, String),
}

/// The result of judging a request for checks, kept for when the same comes again.
pub(super) struct Judged {
    /// The number of the request.
    number: u64,
    /// All checks at that time.
    suite: Suite,
    wish: Wish,
}

impl Responder {
    /// The earlier result for the same request, if the checks have not changed.
    pub(super) fn judged_before(&mut self, number: u64, now: Instant) -> Option<Wish> {
        // Only such a request looks at the files of checks: an answer from /livez must wait for nothing.
        self.judged.as_ref().filter(|judged| judged.number == number)?;
        self.suite(now);
        let judged = self.judged.as_ref().filter(|judged| judged.suite.is(self.sources.suite()))?;
        Some(judged.wish.clone())
    }

    /// Remembers the result for a request for checks, if it stays valid until they change. With a cache it does not:
    /// whether their files changed too recently for caching depends on the moment.
    pub(super) fn remember(&mut self, number: u64, wish: &Wish) {
        if self.cache.is_zero() {
            self.judged = Some(Judged { number, suite: self.sources.suite().clone(), wish: wish.clone() });
        }
    }

    pub(super) fn judge(&mut self, route: Route<'_>, asked: Asked<'_>, now: Instant) -> ControlFlow<AtOnce, Wish> {
        let disclosed = self.disclosure.allows(asked.authorization);
        let limit = asked.scrape_timeout.and_then(scraper::limit);
        match route {
            Route::Checks(path, query) => {
                let format = format(&query, asked.accept)?;
                let part = self.part(&path, &query, disclosed, now)?;
                let verbose = query.verbose;
                let dialect = if format.is_page {
                    Dialect::Page(Box::new(Choice::of(query, &self.at(&path, now))))
                } else {
                    Dialect::Format(format)
                };
                Continue(self.wish(part, Manner { dialect, disclosed, verbose }, limit))
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
                let manner = Manner { dialect: Dialect::Ready, disclosed, verbose: query.verbose };
                Continue(self.wish(part, manner, limit))
            }
            Route::Elsewhere if disclosed => {
                Break(AtOnce::Error(404, format!("everything here is under {}/", self.prefix)))
            }
            Route::Elsewhere => Break(AtOnce::Error(404, "there is nothing here".to_owned())),
            Route::NotAllowed => Break(AtOnce::Error(405, "only GET, HEAD and OPTIONS are answered here".to_owned())),
            Route::Malformed => Break(AtOnce::Error(400, "the request target cannot be read".to_owned())),
        }
    }

    fn wish(&self, part: Suite, manner: Manner, limit: Option<Duration>) -> Wish {
        let files = (!self.cache.is_zero()).then(|| self.sources.edition()).flatten();
        let whole = files.map(|files| {
            let mut hasher = DefaultHasher::new();
            (self.generation, files).hash(&mut hasher);
            Whole { suite: self.sources.suite().clone(), edition: hasher.finish() }
        });
        Wish { part, manner, limit, whole }
    }

    /// The reason why the service takes no requests at the moment, if there is one.
    fn unavailable(&self) -> Option<String> {
        if self.scoreboard.is_leaving() {
            return Some("draining".to_owned());
        }
        let reason = self.maintenance.as_deref().and_then(maintained);
        // Logged once, by the worker that is asked first.
        if self.scoreboard.note_maintenance(reason.is_some()) {
            match &reason {
                Some(reason) => tracing::info!("maintenance begins, /readyz fails: {}", one_line(reason)),
                None => tracing::info!("maintenance ends, /readyz is about the checks again"),
            }
        }
        reason
    }

    /// The checks that a path and a query select. Selecting none is a 404: a typing error must not look like a passing
    /// report.
    fn part(&mut self, path: &str, query: &Query, disclosed: bool, now: Instant) -> ControlFlow<AtOnce, Suite> {
        let part = self.at(path, now);
        if part.checks().is_empty() && !path.is_empty() {
            let known = if disclosed { format!(" (known: {})", self.suite(now).known()) } else { String::new() };
            return Break(AtOnce::Error(404, format!("no check is collected at {path:?}{known}")));
        }
        let selected = part.select(&query.tags, &query.excluded);
        if selected.checks().is_empty() {
            return Break(AtOnce::Error(404, "?tag= and ?exclude= leave out every check".to_owned()));
        }
        Continue(selected)
    }

    /// The checks at or under a path; all of them if it is empty.
    fn at(&mut self, path: &str, now: Instant) -> Suite {
        let suite = self.suite(now);
        if path.is_empty() { suite.clone() } else { suite.at(path) }
    }

    /// The checks as their files are now; requests that arrive together share one look at them.
    pub(super) fn suite(&mut self, now: Instant) -> &Suite {
        if self.looked != Some(now) {
            self.looked = Some(now);
            if self.sources.changed() {
                // What is read again only because it was so new at the start has not changed.
                if self.sources.differs() {
                    tracing::info!("the files of healthchecks have changed: reading them again");
                }
                self.sources.refresh();
            }
        }
        self.sources.suite()
    }
}

/// The content of the `--maintenance-file`, if it exists.
fn maintained(file: &Path) -> Option<String> {
    let text = match read_file(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        // It exists, readable or not.
        read => read.unwrap_or_default(),
    };
    let reason = text.lines().next().unwrap_or_default().trim();
    Some(if reason.is_empty() { "maintenance".to_owned() } else { reason.to_owned() })
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
