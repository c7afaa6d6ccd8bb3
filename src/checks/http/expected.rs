//! What an answer must be: its status, its time, and its body.

use std::io::{self, Read};
use std::time::Duration;

use serde_json::{Number, Value};

use super::super::support::pattern::Pattern;
use super::super::{Options, excerpt};
use crate::checks::support::secrets::Secrets;
use crate::model::check::Deadline;
use crate::model::duration;

/// How much of a body is read.
pub(super) const LONGEST_BODY: u64 = 1024 * 1024;

/// How much of a body is kept to show its beginning.
const KEPT: usize = 16 * 1024;

/// What an answer must be.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) statuses: Statuses,
    pub(super) slow: Option<Duration>,
    matching: Option<Pattern>,
    json: Vec<Pointed>,
    hidden: Secrets,
}

impl Expected {
    /// An answer with one of these statuses.
    pub(super) fn status(statuses: Statuses) -> Expected {
        Expected { statuses, slow: None, matching: None, json: Vec::new(), hidden: Secrets::default() }
    }

    pub(super) fn take(options: &mut Options) -> Result<Expected, String> {
        let written = options.take_all_or("status", "2xx").join(",");
        let statuses = Statuses::parse(&written)
            .ok_or("option status: write status codes as 200, 3xx or 200-299, with ',' between them")?;
        let json = options.take_all("json").iter().map(|text| Pointed::parse(text)).collect::<Result<_, _>>()?;
        Ok(Expected {
            statuses,
            slow: options.parse("slow", duration::parse)?,
            matching: options.parse("match", str::parse)?,
            json,
            hidden: options.hidden(),
        })
    }

    /// Whether the body matters at all.
    pub(super) fn wants_body(&self) -> bool {
        self.matching.is_some() || !self.json.is_empty()
    }

    /// Reads a text, and says what is wrong with it: what was expected, and what came. It need not be read to its end.
    pub(super) fn judge(&self, text: impl Read, deadline: Deadline) -> io::Result<Verdict> {
        // One byte more tells that there is more.
        let mut text = text.take(LONGEST_BODY + 1);
        let mut search = self.matching.as_ref().map(|matching| matching.search(deadline));
        let too_slow = |_| io::Error::new(io::ErrorKind::InvalidInput, "its match takes too long to look for");
        let mut found = search.is_none();
        let kept = if self.json.is_empty() { KEPT } else { LONGEST_BODY as usize };
        let (mut beginning, mut total) = (Vec::new(), 0);
        let mut buffer = [0; 16 * 1024];
        while !(found && self.json.is_empty()) {
            let part = match text.read(&mut buffer)? {
                0 => break,
                count => &buffer[..count],
            };
            total += part.len();
            beginning.extend_from_slice(&part[..part.len().min(kept - beginning.len())]);
            if let Some(search) = search.as_mut().filter(|_| !found) {
                found = search.feed(part).map_err(too_slow)?;
            }
        }
        if found && self.json.is_empty() {
            return Ok(Verdict::Good);
        }
        if text.limit() == 0 {
            return Ok(Verdict::Unknown("it is longer than 1 MiB, and no more is read"));
        }
        let got = || excerpt(&beginning, total, &self.hidden);
        if let (Some(matching), false, Some(search)) = (&self.matching, found, &mut search)
            && !search.finish().map_err(too_slow)?
        {
            return Ok(Verdict::Bad(format!("to match {:?}: got {}", matching.as_str(), got())));
        }
        if self.json.is_empty() {
            return Ok(Verdict::Good);
        }
        let objection = match serde_json::from_slice(&beginning) {
            Ok(value) => self.json.iter().find_map(|pointed| pointed.objection(&value, &self.hidden)),
            Err(error) => Some(format!("to be JSON: {error}: got {}", got())),
        };
        Ok(objection.map_or(Verdict::Good, Verdict::Bad))
    }
}

/// What is known of a body.
#[must_use]
pub(super) enum Verdict {
    Good,
    Bad(String),
    /// Not enough was read to tell.
    Unknown(&'static str),
}

/// Status codes, as inclusive ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statuses {
    ranges: Vec<(u16, u16)>,
    written: String,
}

impl Statuses {
    pub(super) fn one(status: u16) -> Statuses {
        Statuses { ranges: vec![(status, status)], written: status.to_string() }
    }

    /// Reads `200`, `3xx`, `200-299`, and lists of these.
    fn parse(text: &str) -> Option<Statuses> {
        let code = |text: &str| text.parse().ok().filter(|code| (100..=599).contains(code));
        let range = |text: &str| match (text.strip_suffix("xx"), text.split_once('-')) {
            (Some(class), _) => {
                let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
                Some((class * 100, class * 100 + 99))
            }
            (None, Some((first, last))) => Some((code(first)?, code(last)?)).filter(|(first, last)| first <= last),
            (None, None) => code(text).map(|code| (code, code)),
        };
        let ranges = text.split(',').map(|item| range(item.trim())).collect::<Option<_>>()?;
        Some(Statuses { ranges, written: text.to_owned() })
    }

    pub(super) fn contains(&self, status: u16) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }

    pub(super) fn written(&self) -> &str {
        &self.written
    }
}

/// A place in a JSON document (RFC 6901) and the value that must be there; without a value, any will do.
#[derive(Debug)]
struct Pointed {
    pointer: String,
    value: Option<String>,
}

impl Pointed {
    fn parse(text: &str) -> Result<Pointed, String> {
        let (pointer, value) = match text.split_once('=') {
            Some((pointer, value)) => (pointer, Some(value.to_owned())),
            None => (text, None),
        };
        match pointer.is_empty() || pointer.starts_with('/') {
            true => Ok(Pointed { pointer: pointer.to_owned(), value }),
            false => Err("option json: write a pointer and a value, as in json=/status=pass".to_owned()),
        }
    }

    fn objection(&self, document: &Value, hidden: &Secrets) -> Option<String> {
        let found = document.pointer(&self.pointer);
        match (found, &self.value) {
            (Some(_), None) => None,
            (Some(found), Some(value)) if is_equal(found, value) => None,
            _ => {
                let wanted = self.value.as_deref().map_or("something".to_owned(), |value| format!("{value:?}"));
                let got = found.map_or("nothing".to_owned(), |found| {
                    let text = written(found);
                    excerpt(text.as_bytes(), text.len(), hidden)
                });
                Some(format!("to have {wanted} at {}: got {got}", self.pointer))
            }
        }
    }
}

/// Numbers are compared as numbers: a server may write 0 as 0.0.
fn is_equal(found: &Value, value: &str) -> bool {
    let same_number = |found: &Number| {
        let value: Number = value.parse().ok()?;
        // As integers where they are that: beyond 2^53 two of them may be one as fractions.
        let integers = found.as_i128().zip(value.as_i128()).map(|(found, value)| found == value);
        integers.or_else(|| Some(found.as_f64()? == value.as_f64()?))
    };
    written(found) == value || found.as_number().and_then(same_number) == Some(true)
}

fn written(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_codes_classes_ranges_and_lists() {
        for (text, inside, outside) in
            [("200", 200, 201), ("3xx", 399, 400), ("200-204", 204, 205), ("200, 404,5xx", 503, 301)]
        {
            let statuses = Statuses::parse(text).expect(text);
            assert!(statuses.contains(inside) && !statuses.contains(outside), "{text}");
        }
        let default = Expected::take(&mut Options::default()).expect("it has defaults").statuses;
        assert!(default.contains(299) && !default.contains(300));
        for text in ["ok", "2x", "6xx", "0", "600", "300-200", "200,", ","] {
            assert_eq!(Statuses::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_pointer_finds_its_value() {
        let document = serde_json::json!({
            "status": "pass", "queue": {"length": 3}, "on": true, "none": null, "lag": 0.0, "ratio": 1.5, "digits": "0.0",
            "big": 9_007_199_254_740_993_u64,
        });
        for (text, expected) in [
            ("/status=pass", None),
            ("/queue/length=3", None),
            ("/on=true", None),
            ("/lag=0", None),
            ("/lag=0.0", None),
            ("/lag=0e5", None),
            ("/queue/length=3.0", None),
            ("/ratio=1.50", None),
            ("/big=9007199254740993", None),
            ("/big=9007199254740992", Some("to have \"9007199254740992\" at /big: got \"9007199254740993\"")),
            ("/digits=0", Some("to have \"0\" at /digits: got \"0.0\"")),
            ("/ratio=1", Some("to have \"1\" at /ratio: got \"1.5\"")),
            ("/on=1", Some("to have \"1\" at /on: got \"true\"")),
            ("/status", None),
            ("/status=fail", Some("to have \"fail\" at /status: got \"pass\"")),
            ("/missing=1", Some("to have \"1\" at /missing: got nothing")),
            ("/missing", Some("to have something at /missing: got nothing")),
        ] {
            let pointed = Pointed::parse(text).expect("it is well formed");
            assert_eq!(pointed.objection(&document, &Secrets::default()).as_deref(), expected, "{text}");
        }
        assert!(Pointed::parse("status=pass").is_err());
    }
}
