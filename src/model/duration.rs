//! Durations as people write and say them.

use std::time::Duration;

/// The longest duration that is allowed, a hundred years: no deadline can overflow with it.
pub(crate) const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Reads `30`, `30s`, `1m 30s` or `500ms`; a bare number is seconds, as with gunicorn.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    parsed
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| "write a time as 30, 30s, 500ms or 2m; a bare number is seconds".to_owned())
}

/// Reads a time that must be longer than zero.
pub(crate) fn parse_some(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err("it has to be longer than 0, or nothing could ever be in time".to_owned()),
        time => Ok(time),
    }
}

/// A duration as a person says it: in seconds from one second on, else in milliseconds.
pub(crate) fn spoken(duration: Duration) -> String {
    let shown = match duration.as_secs() {
        0 => Duration::from_millis(duration.as_millis() as u64),
        seconds if duration.subsec_millis() == 0 || seconds >= 10 => Duration::from_secs(seconds),
        _ => Duration::from_millis(duration.as_millis() as u64),
    };
    humantime::format_duration(shown).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_seconds_unless_they_say_otherwise() {
        for (text, millis) in [("30", 30_000), ("0", 0), ("1.5", 1500), ("500ms", 500), ("1m 30s", 90_000)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "-1", "soon", "5 parsecs", "inf", "NaN", "1e300", "999999999y"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_said_briefly() {
        for (millis, text) in [(5000, "5s"), (20, "20ms"), (1500, "1s 500ms"), (42_300, "42s"), (0, "0s")] {
            assert_eq!(spoken(Duration::from_millis(millis)), text);
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".*") {
            let _ = parse(&text);
        }
    }
}
