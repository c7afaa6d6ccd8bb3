//! What the first value that a query gives has to be.

use super::pattern::Pattern;
use super::secrets::Secrets;
use super::thresholds::Range;
use crate::checks::{Options, excerpt};
use crate::model::check::{Deadline, Reason, Result};

/// A query, and what is expected of the first value of its first row.
#[derive(Debug)]
pub(in crate::checks) struct ExpectedValue {
    pub(in crate::checks) query: String,
    equals: Option<String>,
    matches: Option<Pattern>,
    range: Range<f64>,
}

impl ExpectedValue {
    /// Reads `query`, `equals`, `match`, and the range; without a query, there is nothing to expect.
    pub(in crate::checks) fn take(options: &mut Options) -> std::result::Result<Option<ExpectedValue>, String> {
        let number = |text: &str| match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err("write a number"),
        };
        options.go_with("query", "a query", &OF_A_QUERY)?;
        let query = options.take("query")?;
        let Some(query) = query else { return Ok(None) };
        let expected = ExpectedValue {
            query,
            equals: options.take("equals")?,
            matches: options.parse("match", str::parse)?,
            range: Range::take(options, number)?,
        };
        Ok(Some(expected))
    }

    /// Judges what came: `None` when there was no row, `Some(None)` for NULL. Without an expectation, a row is enough.
    pub(in crate::checks) fn verdict(
        &self,
        found: Option<Option<&[u8]>>,
        deadline: Deadline,
        hidden: &Secrets,
    ) -> Result {
        let value = match found {
            None => return Err(Reason::Fail("the query gives no row".to_owned())),
            Some(None) if self.expects_nothing() => return Ok(()),
            Some(None) => return Err(Reason::Fail("the query gives NULL".to_owned())),
            Some(Some(value)) => value,
        };
        let got = || excerpt(value, value.len(), hidden);
        if let Some(equals) = &self.equals
            && value != equals.as_bytes()
        {
            return Err(Reason::Fail(format!("the query has to give {equals:?}, and gives {}", got())));
        }
        if let Some(pattern) = &self.matches {
            let mut search = pattern.search(deadline);
            let late = |_| Reason::Error("there was no time to look at what the query gives".to_owned());
            if !(search.feed(value).map_err(late)? || search.finish().map_err(late)?) {
                let expected = pattern.as_str();
                return Err(Reason::Fail(format!(
                    "the query has to give a match of {expected:?}, and gives {}",
                    got()
                )));
            }
        }
        if self.range.is_open() {
            return Ok(());
        }
        let number = str::from_utf8(value).ok().and_then(|text| text.trim().parse::<f64>().ok());
        let Some(number) = number.filter(|number| !number.is_nan()) else {
            return Err(Reason::Fail(format!("the query has to give a number, and gives {}", got())));
        };
        let told = |limit| format!("the query has to give {limit}, and gives {number}");
        match (self.range.exceeded(number), self.range.mildly_exceeded(number)) {
            (Some(limit), _) => Err(Reason::Fail(told(limit))),
            (None, Some(limit)) => Err(Reason::Warn(told(limit))),
            (None, None) => Ok(()),
        }
    }

    fn expects_nothing(&self) -> bool {
        let ExpectedValue { query: _, equals, matches, range } = self;
        equals.is_none() && matches.is_none() && range.is_open()
    }
}

/// The options that say what a query has to give.
const OF_A_QUERY: [&str; 6] = ["equals", "match", "min", "max", "warn_min", "warn_max"];

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_value_is_what_is_expected_or_it_is_told() {
        for (pairs, found, expected) in [
            (&[][..], Some(Some(&b"x"[..])), ""),
            (&[], Some(None), ""),
            (&[], None, "the query gives no row"),
            (&[("equals", "1")], Some(Some(b"1")), ""),
            (&[("equals", "1")], Some(Some(b"2")), "has to give \"1\", and gives \"2\""),
            (&[("equals", "1")], Some(None), "gives NULL"),
            (&[("match", "^a.c$")], Some(Some(b"abc")), ""),
            (&[("match", "^a.c$")], Some(Some(b"ab")), "a match of \"^a.c$\", and gives \"ab\""),
            (&[("match", "a")], Some(Some(b"\xff")), "a match of"),
            (&[("min", "1"), ("max", "2.5")], Some(Some(b"2.5")), ""),
            (&[("min", "1")], Some(Some(b"0.5")), "at least 1, and gives 0.5"),
            (&[("max", "2")], Some(Some(b"1e9")), "at most 2, and gives 1000000000"),
            (&[("max", "20"), ("warn_max", "2")], Some(Some(b"7")), "has to give at most 2, and gives 7"),
            (&[("max", "2")], Some(Some(b"NaN")), "has to give a number, and gives \"NaN\""),
            (&[("max", "2")], Some(Some(b"two")), "has to give a number"),
        ] {
            let pairs = [&[("query", "select")], pairs].concat();
            let value = ExpectedValue::take(&mut Options::of(&pairs)).expect("well formed").expect("there is a query");
            let deadline = Deadline::at(Instant::now() + Duration::from_secs(20));
            match value.verdict(found, deadline, &Secrets::default()) {
                Ok(()) => assert_eq!(expected, "", "{pairs:?} {found:?}"),
                Err(Reason::Fail(why) | Reason::Warn(why)) => {
                    assert!(!expected.is_empty() && why.contains(expected), "{pairs:?}: {why}")
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_cannot_be_expected_is_refused() {
        for (pairs, expected) in [
            (&[("min", "2"), ("max", "1")][..], "no number is at least 2 and at most 1"),
            (&[("min", "x")], "option min: write a number"),
            (&[("max", "inf")], "option max: write a number"),
            (&[("match", "(")], "option match: "),
        ] {
            let pairs = [&[("query", "select")], pairs].concat();
            let error = ExpectedValue::take(&mut Options::of(&pairs)).expect_err("it cannot be");
            assert!(error.contains(expected), "{error}");
        }
    }
}
