//! Sends replies: each gets its number, the date, and a line in the access log.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hospital_http::{Connection, Response};

use super::access::{AccessEntry, AccessLog};
use crate::config::AccessFormat;
use crate::endpoint::Reply;
use crate::os::clock;

/// Puts replies into connections.
pub(super) struct Responder {
    /// Names this process; the number of a reply is appended to name that.
    process: String,
    replies: u64,
    date: Date,
    /// The header lines of the last reply, and how many bytes of them are valid for which version of it: all but its
    /// number, until the date changes.
    lines: String,
    kept: usize,
    version: u64,
    access: Option<AccessLog>,
}

/// The value of the Date field, updated once a second: if the wall clock is set, it is wrong for at most a second.
#[derive(Default)]
struct Date {
    text: String,
    /// The end of its second; `None` before the first.
    until: Option<Instant>,
}

impl Responder {
    pub(super) fn new(format: AccessFormat) -> Responder {
        let process = format!("{}-", std::process::id());
        let (date, lines, access) = (Date::default(), String::new(), AccessLog::new(format));
        Responder { process, replies: 0, date, lines, kept: 0, version: 0, access }
    }

    /// The number of the next reply.
    pub(super) fn number(&self) -> u64 {
        self.replies
    }

    /// Whether the clients' addresses are needed.
    pub(super) fn logs_access(&self) -> bool {
        self.access.is_some()
    }

    /// Replies to what a connection has received, and closes that afterwards if `close`.
    pub(super) fn respond(&mut self, connection: &mut Connection, reply: &Reply, close: bool, now: Instant) {
        let Responder { process, replies, date, lines, kept, version, access } = self;
        let is_kept = *version == reply.version && !date.is_over(now);
        let date = date.text(now, clock::wall);
        if let Some(access) = access {
            let (head, asked) = connection.head();
            access.write(&AccessEntry {
                time: clock::wall(),
                date,
                peer: connection.peer(),
                head,
                status: reply.status,
                length: reply.body.len(),
                request_id: (process, *replies),
                took: asked.elapsed(),
            });
        }
        if !is_kept {
            lines.clear();
            let fields = reply.fields.iter().flat_map(|(name, value)| ["\r\n", *name, ": ", value.as_ref()]);
            let parts = ["Server: hospital\r\nDate: ", date].into_iter().chain(fields);
            parts.chain(["\r\nX-Request-Id: ", process]).for_each(|part| lines.push_str(part));
            (*kept, *version) = (lines.len(), reply.version);
        }
        lines.truncate(*kept);
        lines.push_str(itoa::Buffer::new().format(*replies));
        lines.push_str("\r\n");
        connection.respond(Response { status: reply.status, fields: lines, body: &reply.body, close }, now);
        *replies += 1;
    }
}

impl Date {
    /// The date at `now`; the wall clock is read when the second of the last one is over.
    fn text(&mut self, now: Instant, clock: impl Fn() -> SystemTime) -> &str {
        if self.is_over(now) {
            let time = clock();
            let into_second = time.duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
            self.until = Some(now + Duration::from_secs(1) - Duration::from_nanos(into_second.into()));
            self.text = httpdate::fmt_http_date(time);
        }
        &self.text
    }

    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_the_second_that_it_is_asked_in() {
        let (mut date, start) = (Date::default(), Instant::now());
        let began = UNIX_EPOCH + Duration::from_millis(784_111_777_200);
        let mut at = |millis| {
            let passed = Duration::from_millis(millis);
            date.text(start + passed, || began + passed).to_owned()
        };
        assert_eq!(at(0), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(799), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(800), "Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(at(1799), "Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(at(61_800), "Sun, 06 Nov 1994 08:50:39 GMT");
    }
}
