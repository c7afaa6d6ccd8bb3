//! The value of the Date field.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The value of the Date field, written anew once a second.
#[derive(Default)]
pub(super) struct Date {
    text: String,
    /// When its second is over; `None` before the first.
    until: Option<Instant>,
}

impl Date {
    /// The date at the moment `now`; the clock that tells dates is looked at when the last one is over.
    pub(super) fn text(&mut self, now: Instant, clock: impl Fn() -> SystemTime) -> &str {
        if self.until.is_none_or(|until| until <= now) {
            let time = clock();
            let into_second = time.duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
            self.until = Some(now + Duration::from_secs(1) - Duration::from_nanos(into_second.into()));
            self.text = httpdate::fmt_http_date(time);
        }
        &self.text
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
