//! What an answer must be: its status, its time, and its body.

use std::fmt;
use std::io::{self, Read};
use std::time::Duration;

use serde::Deserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use super::super::support::pattern::Pattern;
use super::super::{Options, excerpt};
use super::text::Utf8Check;
use crate::checks::support::secrets::Secrets;
use crate::checks::support::thresholds::{self, Good};
use crate::model::check::Deadline;
use crate::model::duration;

/// How much of a body is read.
pub(super) const LONGEST_BODY: u64 = 1024 * 1024;

/// How much of a body is kept to show its beginning.
const KEPT: usize = 16 * 1024;

/// What an answer must be.
#[derive(Debug)]
pub(super) struct ExpectedAnswer {
    pub(super) statuses: Statuses,
    pub(super) slow: Option<Duration>,
    pub(super) warn_slow: Option<Duration>,
    matching: Option<Pattern>,
    json: Vec<Pointed>,
    hidden: Secrets,
}

impl ExpectedAnswer {
    /// An answer with one of these statuses.
    pub(super) fn status(statuses: Statuses) -> ExpectedAnswer {
        ExpectedAnswer {
            statuses,
            slow: None,
            warn_slow: None,
            matching: None,
            json: Vec::new(),
            hidden: Secrets::default(),
        }
    }

    pub(super) fn take(options: &mut Options) -> Result<ExpectedAnswer, String> {
        let written = options.take_all_or("status", "2xx").join(",");
        let statuses = Statuses::parse(&written)
            .ok_or("option status: write status codes as 200, 3xx or 200-299, with ',' between them")?;
        let json = options.take_all("json").iter().map(|text| Pointed::parse(text)).collect::<Result<_, _>>()?;
        let slow = options.parse("slow", duration::parse)?;
        let warn_slow = options.parse("warn_slow", duration::parse)?;
        let hard = slow.as_ref().map(|slow| (slow, duration::spoken(*slow)));
        thresholds::verify(Good::Below, "slow", hard, warn_slow.as_ref())?;
        Ok(ExpectedAnswer {
            statuses,
            slow,
            warn_slow,
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
    pub(super) fn judge(&self, text: impl Read, deadline: Deadline) -> io::Result<Judged> {
        // One byte more tells that there is more.
        let mut text = text.take(LONGEST_BODY + 1);
        let mut search = self.matching.as_ref().map(|matching| matching.search(deadline));
        let too_slow = |_| io::Error::new(io::ErrorKind::InvalidInput, "its match takes too long to look for");
        let mut found = search.is_none();
        let kept = if self.json.is_empty() { KEPT } else { LONGEST_BODY as usize };
        let (mut beginning, mut total, mut seen) = (Vec::new(), 0, Utf8Check::default());
        let mut buffer = [0; 16 * 1024];
        while !(found && self.json.is_empty()) {
            let part = match text.read(&mut buffer)? {
                0 => break,
                count => &buffer[..count],
            };
            total += part.len();
            seen.feed(part);
            beginning.extend_from_slice(&part[..part.len().min(kept - beginning.len())]);
            if let Some(search) = search.as_mut().filter(|_| !found) {
                found = search.feed(part).map_err(too_slow)?;
            }
        }
        if found && self.json.is_empty() {
            return Ok(Judged::Good);
        }
        if text.limit() == 0 {
            return Ok(Judged::Unknown("it is longer than 1 MiB, and no more is read"));
        }
        let got = || excerpt(&beginning, total, &self.hidden);
        if let (Some(matching), false, Some(search)) = (&self.matching, found, &mut search)
            && !search.finish().map_err(too_slow)?
        {
            return Ok(match seen.objection() {
                // It may be there, in other bytes.
                Some(why) => Judged::Unknown(why),
                None => Judged::Bad(format!("to match {:?}: got {}", matching.as_str(), got())),
            });
        }
        if self.json.is_empty() {
            return Ok(Judged::Good);
        }
        // Only what is pointed to is taken out: a document as a tree is many times as large as its text.
        let text = std::str::from_utf8(&beginning).map_err(|error| error.to_string());
        let document = text.and_then(|text| serde_json::from_str(text).map_err(|error| error.to_string()));
        Ok(match document {
            Ok(document) => {
                let mut verdicts = self.json.iter().map(|pointed| pointed.judge(document, &self.hidden));
                verdicts.find(|verdict| !matches!(verdict, Judged::Good)).unwrap_or(Judged::Good)
            }
            Err(error) => match seen.objection() {
                Some(why) => Judged::Unknown(why),
                None => Judged::Bad(format!("to be JSON: {error}: got {}", got())),
            },
        })
    }
}

/// What is known of a body.
#[must_use]
pub(super) enum Judged {
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

    fn judge(&self, document: &RawValue, hidden: &Secrets) -> Judged {
        let tokens = self.pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~"));
        let found = tokens.into_iter().try_fold(document, |within, token| member(within, &token));
        let got = match (found, &self.value) {
            (Some(_), None) => return Judged::Good,
            (None, _) => "nothing".to_owned(),
            (Some(found), Some(_)) if found.get().len() > KEPT && found.get().starts_with(['{', '[']) => {
                return Judged::Unknown("what it has at that pointer is longer than 16 KiB");
            }
            (Some(found), Some(value)) => match serde_json::from_str(found.get()) {
                Ok(found) if is_equal(&found, value) => return Judged::Good,
                Ok(found) => {
                    let text = written(&found);
                    excerpt(text.as_bytes(), text.len(), hidden)
                }
                // As a number beyond all that can be held.
                Err(_) => excerpt(found.get().as_bytes(), found.get().len(), hidden),
            },
        };
        let wanted = self.value.as_deref().map_or("something".to_owned(), |value| format!("{value:?}"));
        Judged::Bad(format!("to have {wanted} at {}: got {got}", self.pointer))
    }
}

/// The last member of an object with this name, or the one of an array with this number.
fn member<'a>(within: &'a RawValue, token: &str) -> Option<&'a RawValue> {
    struct Member<'t>(&'t str);

    impl<'a> Visitor<'a> for Member<'_> {
        type Value = Option<&'a RawValue>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object or an array")
        }

        fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some(name) = map.next_key::<String>()? {
                let value = map.next_value()?;
                if name == self.0 {
                    found = Some(value);
                }
            }
            Ok(found)
        }

        fn visit_seq<A: SeqAccess<'a>>(self, mut array: A) -> Result<Self::Value, A::Error> {
            let place = self.0.parse().ok().filter(|place: &usize| place.to_string() == self.0);
            let (mut found, mut number) = (None, 0);
            while let Some(value) = array.next_element()? {
                if Some(number) == place {
                    found = Some(value);
                }
                number += 1;
            }
            Ok(found)
        }
    }

    serde_json::Deserializer::from_str(within.get()).deserialize_any(Member(token)).ok().flatten()
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
        let default = ExpectedAnswer::take(&mut Options::default()).expect("it has defaults").statuses;
        assert!(default.contains(299) && !default.contains(300));
        for text in ["ok", "2x", "6xx", "0", "600", "300-200", "200,", ","] {
            assert_eq!(Statuses::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_pointer_finds_its_value() {
        let document = serde_json::json!({
            "status": "pass", "queue": {"length": 3}, "on": true, "none": null, "lag": 0.0, "ratio": 1.5, "digits": "0.0",
            "big": 9_007_199_254_740_993_u64, "list": [1, {"a/b~": 2}],
        });
        let document = serde_json::value::to_raw_value(&document).expect("it is JSON");
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
            ("/status/deeper", Some("to have something at /status/deeper: got nothing")),
            ("/queue={\"length\":3}", None),
            ("/list/0=1", None),
            ("/list/1/a~1b~0=2", None),
            ("/list/00", Some("to have something at /list/00: got nothing")),
            ("/list/2", Some("to have something at /list/2: got nothing")),
            ("", None),
        ] {
            let pointed = Pointed::parse(text).expect("it is well formed");
            let verdict = pointed.judge(&document, &Secrets::default());
            let objection = match &verdict {
                Judged::Good => None,
                Judged::Bad(objection) => Some(objection.as_str()),
                Judged::Unknown(why) => Some(*why),
            };
            assert_eq!(objection, expected, "{text}");
        }
        assert!(Pointed::parse("status=pass").is_err());
    }
}
