//! What is said to a request: everything but the checks' answers is known at once.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::connection::{Connection, Rejection, Response};
use super::route::{self, Route};
use crate::collect::{Sources, Suite};
use crate::render::json;
use crate::report::Report;
use crate::sys::scoreboard::Scoreboard;

const TEXT: &str = "text/plain; charset=utf-8";

/// How often the files of checks are looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Writes answers into connections.
pub(super) struct Responder {
    sources: Sources,
    /// When the files of checks were last looked at.
    looked: Option<Instant>,
    fail_status: u16,
    close: bool,
    body: Vec<u8>,
    date: Date,
}

impl Responder {
    pub(super) fn new(sources: Sources, fail_status: u16) -> Responder {
        Responder { sources, looked: None, fail_status, close: false, body: Vec::new(), date: Date::default() }
    }

    /// From now on each answer is the last on its connection.
    pub(super) fn close_all(&mut self) {
        self.close = true;
    }

    /// Answers the request of a connection, or says which checks have to be run for it.
    pub(super) fn answer(
        &mut self,
        connection: &mut Connection,
        scoreboard: &Scoreboard,
        now: Instant,
    ) -> Option<Suite> {
        let (request, target) = connection.request()?;
        match route::route(request.method, target) {
            Route::Checks(path) if path.is_empty() => return Some(self.suite(now).clone()),
            Route::Checks(path) => {
                let part = self.suite(now).at(&path);
                if !part.checks().is_empty() {
                    return Some(part);
                }
                let message = format!("no check is collected at {path:?} (known: {})", self.sources.suite().known());
                self.error(404, &message, "", connection, now);
            }
            Route::Live => self.text(200, "livez check passed\n", connection, now),
            Route::Ready if scoreboard.is_leaving() => {
                self.text(503, "readyz check failed: draining\n", connection, now)
            }
            Route::Ready => return Some(self.suite(now).clone()),
            Route::NotAllowed => {
                self.error(405, "only GET, HEAD and OPTIONS are answered here", route::ALLOW, connection, now);
            }
            Route::Malformed => self.error(400, "the request target cannot be read", "", connection, now),
        }
        None
    }

    /// The checks as their files say now, or said within the last second.
    fn suite(&mut self, now: Instant) -> &Suite {
        if self.looked.is_none_or(|looked| now.duration_since(looked) >= LOOK_EVERY) {
            self.looked = Some(now);
            if self.sources.changed() {
                tracing::info!("the files of healthchecks have changed: reading them again");
                self.sources.refresh();
            }
        }
        self.sources.suite()
    }

    /// Answers with the report of a round.
    pub(super) fn report(&mut self, connection: &mut Connection, report: &Report, now: Instant) {
        self.body.clear();
        json::report(report, &mut self.body);
        let status = if report.passes() { 200 } else { self.fail_status };
        connection.respond(self.response(status, json::MEDIA_TYPE, ""), now);
    }

    /// Answers a request that could not be read.
    pub(super) fn reject(&mut self, connection: &mut Connection, rejection: Rejection, now: Instant) {
        let (status, why) = rejection.answer();
        self.body.clear();
        json::error(status, why, &mut self.body);
        connection.reject(self.response(status, json::MEDIA_TYPE, ""), now);
    }

    fn error(&mut self, status: u16, message: &str, headers: &'static str, connection: &mut Connection, now: Instant) {
        self.body.clear();
        json::error(status, message, &mut self.body);
        connection.respond(self.response(status, json::MEDIA_TYPE, headers), now);
    }

    fn text(&mut self, status: u16, text: &str, connection: &mut Connection, now: Instant) {
        self.body.clear();
        self.body.extend_from_slice(text.as_bytes());
        connection.respond(self.response(status, TEXT, ""), now);
    }

    fn response(&mut self, status: u16, content_type: &'static str, headers: &'static str) -> Response<'_> {
        Response {
            status,
            content_type,
            headers,
            body: &self.body,
            date: self.date.text(SystemTime::now()),
            close: self.close,
        }
    }
}

/// The value of the Date field, written anew once a second.
#[derive(Default)]
struct Date {
    second: u64,
    text: String,
}

impl Date {
    fn text(&mut self, now: SystemTime) -> &str {
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.second != second || self.text.is_empty() {
            self.second = second;
            self.text = httpdate::fmt_http_date(now);
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_date_is_the_second_that_it_is_asked_in() {
        let mut date = Date::default();
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(date.text(at(784_111_777)), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date.text(at(784_111_777) + Duration::from_millis(999)), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date.text(at(784_111_778)), "Sun, 06 Nov 1994 08:49:38 GMT");
    }
}
