//! A silence: until a moment, what some checks find is shown and does not count.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::clocks::{self, Clocks};
use super::id::{dotted, is_at};
use super::text;

/// How long a silence may last. What is wrong for longer is to be mended, or not checked.
pub(crate) const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// The longest reason, in bytes: it stands in every answer.
pub(crate) const LONGEST_REASON: usize = 1024;

/// Which checks are silenced.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Covered {
    /// The one with this id, or those under this name.
    Check(String),
    /// Those with this tag.
    Tag(String),
}

/// A silence, as it is written down: one object a line.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Silence {
    #[serde(flatten)]
    pub(crate) covered: Covered,
    pub(crate) from: Clocks,
    #[serde(serialize_with = "clocks::write", deserialize_with = "clocks::read")]
    pub(crate) until: SystemTime,
    /// Who has made it.
    pub(crate) by: String,
    /// What for.
    pub(crate) why: String,
}

impl Silence {
    /// Reads a line.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn parse(line: &str) -> Result<Silence, String> {
        let silence = read(line)?;
        let line = |text: &str| text::line(text).into_owned();
        let silence = Silence { by: line(&silence.by), why: line(silence.why.trim()), ..silence };
        match silence.length() {
            _ if silence.why.is_empty() => Err("it gives no reason".to_owned()),
            _ if silence.why.len() > LONGEST_REASON => Err("its reason is longer than 1 KiB".to_owned()),
            None | Some(Duration::ZERO) => Err("it ends before it begins".to_owned()),
            Some(length) if length > LONGEST => Err("it lasts longer than 30 days".to_owned()),
            Some(_) => Ok(silence),
        }
    }

    fn length(&self) -> Option<Duration> {
        self.until.duration_since(self.from.at).ok()
    }

    /// Whether it is in force. It ends when its length is over or its end has come, whichever of the clocks says so first;
    /// and while the clock is set before its beginning, since a reboot, nothing says that it has not ended.
    pub(crate) fn is_in_force(&self, now: &Clocks) -> bool {
        let elapsed = now.since(&self.from);
        now.at < self.until && elapsed.is_ok_and(|elapsed| self.length().is_some_and(|length| elapsed < length))
    }

    /// Whether it is about the check with this id and these tags.
    pub(crate) fn covers(&self, id: &str, tags: &[String]) -> bool {
        match &self.covered {
            Covered::Check(name) => is_at(id, name) || is_at(id, &dotted(name)),
            Covered::Tag(tag) => tags.contains(tag),
        }
    }

    /// The same for strangers.
    pub(crate) fn anonymous(&self) -> Silence {
        let covered = Covered::Check(String::new());
        Silence { covered, by: String::new(), why: String::new(), ..self.clone() }
    }
}

/// Reads a line, and says in our own words what is wrong with it.
fn read(line: &str) -> Result<Silence, String> {
    let not_one = |_| "it is not a JSON object, as `hospital silence` writes it".to_owned();
    let fields: Map<String, Value> = serde_json::from_str(line).map_err(not_one)?;
    if !["check", "tag"].iter().any(|name| fields.contains_key(*name)) {
        return Err("it names neither a check nor a tag".to_owned());
    }
    if let Some(missing) = ["from", "until", "by", "why"].iter().find(|name| !fields.contains_key(**name)) {
        return Err(format!("it has no {missing:?}"));
    }
    let is_text = |name: &&&str| fields.get(**name).is_none_or(Value::is_string);
    if let Some(wrong) = ["check", "tag", "until", "by", "why"].iter().find(|name| !is_text(name)) {
        return Err(format!("its {wrong:?} is not a text"));
    }
    serde_json::from_value(Value::Object(fields)).map_err(|error| error.to_string())
}

impl fmt::Display for Covered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Covered::Check(name) => f.write_str(&text::line(name)),
            Covered::Tag(tag) => write!(f, "the tag {}", text::line(tag)),
        }
    }
}

/// What is said of a check that it covers.
impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "silenced until {}", clocks::spoken(self.until))?;
        if self.why.is_empty() { Ok(()) } else { write!(f, " by {}: {}", self.by, self.why) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::UNIX_EPOCH;

    const YEAR_2027: u64 = 1_800_000_000;

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(second)
    }

    /// A silence of an hour, for tests.
    pub(crate) fn silence(covered: Covered) -> Silence {
        let from = Clocks { at: at(YEAR_2027), boot: "a".to_owned(), up: Duration::from_secs(1000) };
        Silence { covered, from, until: at(YEAR_2027 + 3600), by: "root".to_owned(), why: "upgrade".to_owned() }
    }

    #[test]
    fn a_line_is_read_as_it_was_written_and_a_bad_one_says_what_is_wrong() {
        for covered in [Covered::Check("db".to_owned()), Covered::Tag("x".to_owned())] {
            let silence = silence(covered);
            let line = serde_json::to_string(&silence).expect("it is plain");
            assert_eq!(Silence::parse(&line), Ok(silence));
        }
        let by_hand = r#"{"check": "db", "from": {"at": "2027-01-15T08:00:00Z"}, "until": "2027-01-15T09:00:00Z", "by": "me", "why": "x"}"#;
        assert!(Silence::parse(by_hand).is_ok());
        for (wrong, told) in [
            (by_hand.replace("T09", "T08"), "it ends before it begins"),
            (by_hand.replace("01-15T09", "03-15T09"), "it lasts longer than 30 days"),
            (by_hand.replace("\"x\"", "\" \""), "it gives no reason"),
            (by_hand.replace("\"x\"", &format!("{:?}", "x".repeat(1025))), "its reason is longer than 1 KiB"),
            (by_hand.replace("\"check\"", "\"chekc\""), "it names neither a check nor a tag"),
            (by_hand.replace("\"until\"", "\"untli\""), "it has no \"until\""),
            (by_hand.replace("\"db\"", "7"), "its \"check\" is not a text"),
            (by_hand.replace("2027-01-15T09:00:00Z", "soon"), "write a time as 2027-01-31T08:00:00Z"),
            ("db 30m".to_owned(), "it is not a JSON object"),
            ("[]".to_owned(), "it is not a JSON object"),
            (String::new(), "it is not a JSON object"),
        ] {
            let refused = Silence::parse(&wrong).expect_err(&wrong);
            assert!(refused.contains(told), "{wrong}: {refused}");
        }
    }

    #[test]
    fn it_covers_a_check_by_its_id_a_prefix_and_a_tag() {
        let tags = ["slow".to_owned()];
        for (covered, covers) in [
            (Covered::Check("shop.db".to_owned()), true),
            (Covered::Check("shop".to_owned()), true),
            (Covered::Check("shop::db".to_owned()), true),
            (Covered::Check("sho".to_owned()), false),
            (Covered::Check("slow".to_owned()), false),
            (Covered::Tag("slow".to_owned()), true),
            (Covered::Tag("shop".to_owned()), false),
        ] {
            assert_eq!(silence(covered.clone()).covers("shop.db", &tags), covers, "{covered:?}");
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Pass(u64),
        SetClock(u64),
        Reboot,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (1u64..2000).prop_map(Step::Pass),
            (YEAR_2027 - 100_000..YEAR_2027 + 100_000).prop_map(Step::SetClock),
            Just(Step::Reboot),
        ];
        proptest::collection::vec(step, 0..12)
    }

    proptest! {
        #[test]
        fn it_never_outlives_its_end_whatever_the_clock_is_set_to(steps in steps()) {
            let silence = silence(Covered::Check("db".to_owned()));
            let mut now = silence.from.clone();
            let (mut elapsed, mut boots) = (0, 0);
            for step in steps {
                match step {
                    Step::Pass(seconds) => {
                        elapsed += seconds;
                        now.at += Duration::from_secs(seconds);
                        now.up += Duration::from_secs(seconds);
                    }
                    Step::SetClock(second) => now.at = at(second),
                    Step::Reboot => {
                        boots += 1;
                        now.boot = format!("boot {boots}");
                        now.up = Duration::ZERO;
                    }
                }
                let is_in_force = silence.is_in_force(&now);
                prop_assert!(!is_in_force || now.at < silence.until);
                if boots == 0 {
                    prop_assert_eq!(is_in_force, now.at < silence.until && elapsed < 3600);
                } else {
                    let earliest = silence.from.at - clocks::CORRECTED;
                    prop_assert_eq!(is_in_force, earliest <= now.at && now.at < silence.until);
                }
            }
        }
    }
}
