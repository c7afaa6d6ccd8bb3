//! The header fields of an answer, except those that its connection knows best.

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::os::clock;

/// The fields of the last answer, kept for the next: mostly they are the same for a second.
pub(super) struct Fields {
    /// The beginning of the last line, which is different in each answer.
    last_line: String,
    text: String,
    /// The media type and lines that they were written for, if those can recur.
    written_for: Option<(&'static str, [&'static str; 2])>,
    date: Date,
}

/// The value of the Date field, updated once a second: if the wall clock is set, it is wrong for at most a second.
#[derive(Default)]
pub(super) struct Date {
    text: String,
    /// The end of its second; `None` before the first.
    until: Option<Instant>,
}

impl Fields {
    /// Fields whose last line begins like this.
    pub(super) fn new(last_line: String) -> Fields {
        Fields { last_line, text: String::new(), written_for: None, date: Date::default() }
    }

    /// The fields for a body of this media type, followed by these lines, which have their line ends. The caller
    /// completes the last line.
    pub(super) fn text(&mut self, media_type: &'static str, lines: [Cow<'static, str>; 2], now: Instant) -> &str {
        let wanted = match lines {
            [Cow::Borrowed(first), Cow::Borrowed(second)] => Some((media_type, [first, second])),
            _ => None,
        };
        if wanted.is_none() || wanted != self.written_for || self.date.is_over(now) {
            self.text.clear();
            let date = self.date.text(now, clock::wall);
            for part in ["Server: hospital\r\nDate: ", date, "\r\nContent-Type: ", media_type] {
                self.text.push_str(part);
            }
            self.text.push_str("\r\nX-Content-Type-Options: nosniff\r\n");
            lines.iter().for_each(|line| self.text.push_str(line));
            self.text.push_str(&self.last_line);
            self.written_for = wanted;
        }
        &self.text
    }

    /// The value of the Date field at `now`.
    pub(super) fn date(&mut self, now: Instant) -> &str {
        if self.date.is_over(now) {
            self.written_for = None;
        }
        self.date.text(now, clock::wall)
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
    fn fields_are_those_that_were_asked_for_last() {
        let (mut fields, now) = (Fields::new("Last: ".to_owned()), Instant::now());
        let mut written = |media_type, line| fields.text(media_type, ["A: a\r\n".into(), line], now).to_owned();
        let first = written("text/plain", "B: b\r\n".into());
        assert!(first.contains("\r\nContent-Type: text/plain\r\n"), "{first}");
        assert!(first.ends_with("\r\nA: a\r\nB: b\r\nLast: "), "{first}");
        assert_eq!(written("text/plain", "B: b\r\n".into()), first);
        assert_ne!(written("text/html", "B: b\r\n".into()), first);
        assert_ne!(written("text/html", "".into()), first);
        for line in ["B: 1\r\n", "B: 2\r\n"] {
            assert!(written("text/html", Cow::Owned(line.to_owned())).contains(line));
        }
    }

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
