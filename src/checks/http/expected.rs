//! What an answer must be: its status, its time, and its body.

use std::cmp::Ordering;
use std::fmt;
use std::io::{self, Read};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserializer;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
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
    not_matching: Option<Pattern>,
    fields: Vec<(HeaderName, Pattern)>,
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
            not_matching: None,
            fields: Vec::new(),
            json: Vec::new(),
            hidden: Secrets::default(),
        }
    }

    pub(super) fn take(options: &mut Options) -> Result<ExpectedAnswer, String> {
        let written = options.take_all_or("status", "2xx").join(",");
        let statuses = Statuses::parse(&written)
            .ok_or("option status: write status codes as 200, 3xx or 200-299, with ',' between them")?;
        let json = options.take_all("json").iter().map(|text| Pointed::parse(text)).collect::<Result<_, _>>()?;
        let slow = options.parse("slow", duration::parse_some)?;
        let warn_slow = options.parse("warn_slow", duration::parse_some)?;
        let hard = slow.as_ref().map(|slow| (slow, duration::spoken(*slow)));
        thresholds::verify(Good::Below, "slow", hard, warn_slow.as_ref())?;
        Ok(ExpectedAnswer {
            statuses,
            slow,
            warn_slow,
            matching: options.parse("match", str::parse)?,
            not_matching: options.parse("not_match", str::parse)?,
            fields: options.take_all("match_header").iter().map(|text| field(text)).collect::<Result<_, _>>()?,
            json,
            hidden: options.hidden(),
        })
    }

    /// Whether the body matters at all.
    pub(super) fn wants_body(&self) -> bool {
        self.matching.is_some() || self.not_matching.is_some() || !self.json.is_empty()
    }

    /// The secrets that must not be quoted.
    pub(super) fn hidden(&self) -> Secrets {
        self.hidden.clone()
    }

    /// What is wrong with the fields of an answer: what was expected, and what came.
    pub(super) fn judge_fields(
        &self,
        fields: &HeaderMap,
        hidden: &Secrets,
        deadline: Deadline,
    ) -> crate::model::check::Result<Option<String>> {
        for (name, pattern) in &self.fields {
            let values: Vec<_> = fields.get_all(name).into_iter().map(HeaderValue::as_bytes).collect();
            let mut found = false;
            for value in &values {
                found |= pattern.is_in(value, deadline)?;
            }
            if !found {
                let got = match values.first() {
                    Some(value) => excerpt(value, value.len(), hidden),
                    None => "no such field".to_owned(),
                };
                return Ok(Some(format!("to have a field {name} that matches {:?}: got {got}", pattern.as_str())));
            }
        }
        Ok(None)
    }

    /// Reads a text, and says what is wrong with it: what was expected, and what came. It need not be read to its end.
    pub(super) fn judge(&self, text: impl Read, hidden: &Secrets, deadline: Deadline) -> io::Result<BodyVerdict> {
        // One byte more tells that there is more.
        let mut text = text.take(LONGEST_BODY + 1);
        let mut search = self.matching.as_ref().map(|matching| matching.search(deadline));
        let mut unwanted = self.not_matching.as_ref().map(|pattern| (pattern, pattern.search(deadline)));
        let not_to =
            |pattern: &Pattern| Ok(BodyVerdict::Bad(format!("not to match {:?}, and it does", pattern.as_str())));
        let too_slow = |_| io::Error::new(io::ErrorKind::InvalidInput, "its match takes too long to look for");
        let mut found = search.is_none();
        let kept = if self.json.is_empty() { KEPT } else { LONGEST_BODY as usize };
        let (mut beginning, mut total, mut seen) = (Vec::new(), 0, Utf8Check::default());
        let mut buffer = [0; 16 * 1024];
        while !(found && self.json.is_empty() && unwanted.is_none()) {
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
            if let Some((pattern, search)) = &mut unwanted
                && search.feed(part).map_err(too_slow)?
            {
                return not_to(pattern);
            }
        }
        if found && self.json.is_empty() && unwanted.is_none() {
            return Ok(BodyVerdict::Good);
        }
        if text.limit() == 0 {
            return Ok(BodyVerdict::Unknown("it is longer than 1 MiB, and no more is read"));
        }
        if let Some((pattern, search)) = &mut unwanted {
            match (search.finish().map_err(too_slow)?, seen.objection()) {
                (true, _) => return not_to(pattern),
                // It may be there, in other bytes.
                (false, Some(why)) => return Ok(BodyVerdict::Unknown(why)),
                (false, None) => {}
            }
        }
        let got = || excerpt(&beginning, total, hidden);
        if let (Some(matching), false, Some(search)) = (&self.matching, found, &mut search)
            && !search.finish().map_err(too_slow)?
        {
            return Ok(match seen.objection() {
                // It may be there, in other bytes.
                Some(why) => BodyVerdict::Unknown(why),
                None => BodyVerdict::Bad(format!("to match {:?}: got {}", matching.as_str(), got())),
            });
        }
        if self.json.is_empty() {
            return Ok(BodyVerdict::Good);
        }
        // Only what is pointed to is taken out: a document as a tree is many times as large as its text.
        let text = std::str::from_utf8(&beginning).map_err(|error| error.to_string());
        let document = text.and_then(|text| serde_json::from_str(text).map_err(|error| error.to_string()));
        Ok(match document {
            Ok(document) => {
                let mut verdicts = self.json.iter().map(|pointed| pointed.judge(document, hidden));
                verdicts.find(|verdict| !matches!(verdict, BodyVerdict::Good)).unwrap_or(BodyVerdict::Good)
            }
            Err(error) => match seen.objection() {
                Some(why) => BodyVerdict::Unknown(why),
                None => BodyVerdict::Bad(format!("to be JSON: {error}: got {}", got())),
            },
        })
    }
}

/// What is known of a body.
#[must_use]
pub(super) enum BodyVerdict {
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

/// Reads `Name: regex`.
fn field(text: &str) -> Result<(HeaderName, Pattern), String> {
    let wrong = || "option match_header: write a field and an expression, as in Server: ^nginx".to_owned();
    let (name, pattern) = text.split_once(':').ok_or_else(wrong)?;
    let pattern = pattern.trim().parse().map_err(|error| format!("option match_header: {error}"))?;
    Ok((name.trim().parse().map_err(|_| wrong())?, pattern))
}

/// A place in a JSON document (RFC 6901) and what must be there; without a value, anything will do.
#[derive(Debug)]
struct Pointed {
    pointer: String,
    /// How long it is, instead of what it is.
    is_length: bool,
    value: Option<(Comparison, String)>,
}

/// How what is there is compared with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Comparison {
    /// The longer ones first, as the others begin like them.
    const ALL: [(&str, Comparison); 6] = [
        ("!=", Comparison::Unequal),
        ("<=", Comparison::AtMost),
        (">=", Comparison::AtLeast),
        ("=", Comparison::Equal),
        ("<", Comparison::Less),
        (">", Comparison::More),
    ];

    fn sign(self) -> &'static str {
        Comparison::ALL
            .into_iter()
            .find(|(_, comparison)| *comparison == self)
            .map(|(sign, _)| sign)
            .expect("all are in it")
    }

    fn holds(self, found: &Value, value: &str) -> bool {
        let order = || compared(found.as_number()?, value);
        match self {
            Comparison::Equal => is_equal(found, value),
            Comparison::Unequal => !is_equal(found, value),
            Comparison::Less => order() == Some(Ordering::Less),
            Comparison::AtMost => order().is_some_and(Ordering::is_le),
            Comparison::More => order() == Some(Ordering::Greater),
            Comparison::AtLeast => order().is_some_and(Ordering::is_ge),
        }
    }
}

impl Pointed {
    fn parse(text: &str) -> Result<Pointed, String> {
        let (pointer, value) = match text.find(['=', '<', '>', '!']) {
            Some(at) => {
                let signs = Comparison::ALL.into_iter();
                let found =
                    signs.into_iter().find_map(|(sign, how)| Some((how, text[at..].strip_prefix(sign)?.to_owned())));
                let found = found.ok_or("option json: write a comparison as =, !=, <, <=, > or >=")?;
                (&text[..at], Some(found))
            }
            None => (text, None),
        };
        let (pointer, is_length) = pointer.strip_suffix("|length").map_or((pointer, false), |pointer| (pointer, true));
        if let Some((how, value)) = &value
            && (is_length || !matches!(how, Comparison::Equal | Comparison::Unequal))
            && value.parse::<Number>().is_err()
        {
            return Err("option json: <, <=, >, >= and |length compare numbers".to_owned());
        }
        match pointer.is_empty() || pointer.starts_with('/') {
            true => Ok(Pointed { pointer: pointer.to_owned(), is_length, value }),
            false => Err("option json: write a pointer and a value, as in json=/status=pass".to_owned()),
        }
    }

    fn judge(&self, document: &RawValue, hidden: &Secrets) -> BodyVerdict {
        let tokens = self.pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~"));
        let found = tokens.into_iter().try_fold(document, |within, token| member(within, &token));
        let length = found.filter(|_| self.is_length).map(length);
        let got = match (found, &self.value) {
            (Some(_), None) if length != Some(None) => return BodyVerdict::Good,
            (None, _) => "nothing".to_owned(),
            (Some(_), _) if length == Some(None) => "what has no length".to_owned(),
            (Some(found), Some(_))
                if length.is_none() && found.get().len() > KEPT && found.get().starts_with(['{', '[']) =>
            {
                return BodyVerdict::Unknown("what it has at that pointer is longer than 16 KiB");
            }
            (Some(found), Some((how, value))) => {
                let found_value = match length.flatten() {
                    Some(length) => Ok(Value::from(length)),
                    None => serde_json::from_str(found.get()),
                };
                match found_value {
                    Ok(found) if how.holds(&found, value) => return BodyVerdict::Good,
                    Ok(found) => {
                        let text = written(&found);
                        excerpt(text.as_bytes(), text.len(), hidden)
                    }
                    // As a number beyond all that can be held.
                    Err(_) => excerpt(found.get().as_bytes(), found.get().len(), hidden),
                }
            }
            (Some(_), None) => return BodyVerdict::Good,
        };
        let wanted = match &self.value {
            None => "something".to_owned(),
            Some((Comparison::Equal, value)) => format!("{value:?}"),
            Some((how, value)) => format!("{} {value:?}", how.sign()),
        };
        let of = if self.is_length { "|length" } else { "" };
        BodyVerdict::Bad(format!("to have {wanted} at {}{of}: got {got}", self.pointer))
    }
}

/// How many members, elements or characters there are.
fn length(within: &RawValue) -> Option<u64> {
    struct Count;

    impl<'a> Visitor<'a> for Count {
        type Value = u64;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object, an array or a text")
        }

        fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<u64, A::Error> {
            let mut count = 0;
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                count += 1;
            }
            Ok(count)
        }

        fn visit_seq<A: SeqAccess<'a>>(self, mut array: A) -> Result<u64, A::Error> {
            let mut count = 0;
            while array.next_element::<IgnoredAny>()?.is_some() {
                count += 1;
            }
            Ok(count)
        }

        fn visit_str<E>(self, text: &str) -> Result<u64, E> {
            Ok(text.chars().count() as u64)
        }
    }

    serde_json::Deserializer::from_str(within.get()).deserialize_any(Count).ok()
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
    let is_same = |found: &Number| compared(found, value) == Some(Ordering::Equal);
    written(found) == value || found.as_number().is_some_and(is_same)
}

fn compared(found: &Number, value: &str) -> Option<Ordering> {
    let value: Number = value.parse().ok()?;
    // As integers where they are that: beyond 2^53 two of them may be one as fractions.
    match found.as_i128().zip(value.as_i128()) {
        Some((found, value)) => Some(found.cmp(&value)),
        None => found.as_f64()?.partial_cmp(&value.as_f64()?),
    }
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
            ("/ratio<1.6", None),
            ("/ratio<1.5", Some("to have < \"1.5\" at /ratio: got \"1.5\"")),
            ("/ratio<=1.5", None),
            ("/big>9007199254740992", None),
            ("/big>=9007199254740994", Some("to have >= \"9007199254740994\" at /big: got \"9007199254740993\"")),
            ("/digits<5", Some("to have < \"5\" at /digits: got \"0.0\"")),
            ("/missing<5", Some("to have < \"5\" at /missing: got nothing")),
            ("/status!=fail", None),
            ("/status!=pass", Some("to have != \"pass\" at /status: got \"pass\"")),
            ("/missing!=1", Some("to have != \"1\" at /missing: got nothing")),
            ("/list|length>1", None),
            ("/list|length=2", None),
            ("/queue|length<1", Some("to have < \"1\" at /queue|length: got \"1\"")),
            ("/status|length=4", None),
            ("/on|length>0", Some("to have > \"0\" at /on|length: got what has no length")),
            ("/missing|length>0", Some("to have > \"0\" at /missing|length: got nothing")),
            ("", None),
        ] {
            let pointed = Pointed::parse(text).expect("it is well formed");
            let verdict = pointed.judge(&document, &Secrets::default());
            let objection = match &verdict {
                BodyVerdict::Good => None,
                BodyVerdict::Bad(objection) => Some(objection.as_str()),
                BodyVerdict::Unknown(why) => Some(*why),
            };
            assert_eq!(objection, expected, "{text}");
        }
        for wrong in ["status=pass", "/lag<five", "/lag!5", "/items|length=many", "/lag<"] {
            assert!(Pointed::parse(wrong).is_err(), "{wrong}");
        }
    }
}
