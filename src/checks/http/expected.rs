//! What an answer must be: its status, its time, and its body.

use std::time::Duration;

use regex_lite::Regex;
use serde_json::Value;

use super::super::support::secrets::Secrets;
use super::super::{Options, excerpt};
use crate::model::duration;

/// How much of a body is read.
pub(super) const LONGEST_BODY: u64 = 1024 * 1024;

/// What an answer must be.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) statuses: Statuses,
    pub(super) slow: Option<Duration>,
    matching: Option<Regex>,
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
        let statuses = Statuses::parse(&written).ok_or_else(|| {
            format!("option status={written:?}: write status codes as 200, 3xx or 200-299, with ',' between them")
        })?;
        let json = options.take_all("json").iter().map(|text| Pointed::parse(text)).collect::<Result<_, _>>()?;
        Ok(Expected {
            statuses,
            slow: options.parse("slow", duration::parse)?,
            matching: options.parse("match", Regex::new)?,
            json,
            hidden: options.hidden(),
        })
    }

    /// Whether the body matters at all.
    pub(super) fn wants_body(&self) -> bool {
        self.matching.is_some() || !self.json.is_empty()
    }

    /// Whether the beginning of a body is enough to know that all of it would do. A match that ends where
    /// the beginning ends might not be one with what follows.
    pub(super) fn is_met_by_beginning(&self, beginning: &[u8]) -> bool {
        let text = String::from_utf8_lossy(beginning);
        let is_within = |matching: &Regex| matching.find(&text).is_some_and(|found| found.end() < text.len());
        self.json.is_empty() && self.matching.as_ref().is_none_or(is_within)
    }

    /// What is wrong with a body: what was expected, and what came.
    pub(super) fn objection(&self, body: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(body);
        if let Some(matching) = self.matching.as_ref().filter(|matching| !matching.is_match(&text)) {
            return Some(format!("to match {:?}: got {}", matching.as_str(), excerpt(&text, &self.hidden)));
        }
        if self.json.is_empty() {
            return None;
        }
        match serde_json::from_slice(body) {
            Ok(value) => self.json.iter().find_map(|pointed| pointed.objection(&value, &self.hidden)),
            Err(error) => Some(format!("to be JSON: {error}: got {}", excerpt(&text, &self.hidden))),
        }
    }
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
            false => Err(format!("option json={pointer:?}: write a pointer and a value, as in json=/status=pass")),
        }
    }

    fn objection(&self, document: &Value, hidden: &Secrets) -> Option<String> {
        let found = document.pointer(&self.pointer).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        match (&found, &self.value) {
            (Some(_), None) => None,
            (Some(found), Some(value)) if found == value => None,
            _ => {
                let wanted = self.value.as_deref().map_or("something".to_owned(), |value| format!("{value:?}"));
                let got = found.map_or("nothing".to_owned(), |found| excerpt(&found, hidden));
                Some(format!("to have {wanted} at {}: got {got}", self.pointer))
            }
        }
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
        let document = serde_json::json!({"status": "pass", "queue": {"length": 3}, "on": true, "none": null});
        for (text, expected) in [
            ("/status=pass", None),
            ("/queue/length=3", None),
            ("/on=true", None),
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
