//! What a run did, in short notes that can be compared with those of another run.
//!
//! The code of a check notes what it comes across, wherever that happens, and whoever runs the check takes the notes: see
//! `note`. A transcript has at most [`LIMIT`] bytes as JSON, which is an array of pairs, `[["address", "10.0.0.1:5432"], …]`.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;

use serde::{Deserialize, Deserializer, Serialize};

use super::text;

/// The longest transcript, in bytes of its JSON.
pub const LIMIT: usize = 2048;

/// What a lookup says of a name that those who were asked do not know.
pub(crate) const UNKNOWN_NAME: &str = "EAI_NONAME";

/// What is kept of it for what is noted last: figures, and what is said of ourselves.
const KEPT_FOR_FIGURES: usize = 512;
const KEPT_FOR_US: usize = 352;

/// The most notes of one run.
const MOST_NOTES: usize = 64;

/// The longest value, in bytes of its JSON; what is longer is cut.
const LONGEST_VALUE: usize = 256;

/// What a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// The name servers that were asked.
    Resolver,
    /// The addresses of a name, each in a note of its own.
    Resolved,
    /// An address that was tried.
    Address,
    /// The address of ours that it was tried from: what has the same is behind the same route.
    From,
    /// How long a connection took to be made; not noted for one that was not made.
    ConnectMs,
    /// How long the handshake of TLS took.
    TlsMs,
    /// When the first byte came, after the connection was made.
    FirstByteMs,
    /// When the last byte came, after the connection was made.
    LastByteMs,
    /// What took longer than it may, and how long that is.
    LimitMs,
    /// How old something is that may not be older than it says.
    AgeS,
    /// What the system said instead, as in `ECONNREFUSED`.
    Errno,
    /// What was lost on the way, of a connection that was made.
    Lost,
    /// The SHA-256 of the certificate that the server has shown.
    Certificate,
    /// Who has signed it.
    Issuer,
    /// When it ends.
    NotAfter,
    /// The status of an answer.
    Status,
    /// Where an answer leads to.
    Location,
    /// What the server calls itself, with its version.
    Server,
    /// How many bytes came, or a file has.
    Size,
    /// The beginning of an answer.
    Body,
    /// Which file is at a path: its device and inode.
    File,
    /// When a file was changed.
    Modified,
    /// Which program was started: its inode, and when it was changed.
    Program,
    /// The exit code of a program.
    Exit,
    /// The signal that a program was killed by.
    Signal,
    /// Our free descriptors.
    OurDescriptorsFree,
    /// The share of the time, in per cent, in which some task of ours has waited for a CPU.
    OurPressureCpu,
    /// The share of the last periods, in per cent, in which our control groups had no CPU time left.
    OurThrottled,
    /// The load of this host.
    OurLoad,
    /// How far our clock is from where it was when we started, in seconds.
    OurClock,
    /// How long the thread of the check has waited for a CPU.
    OurWaitMs,
    /// The number of our configuration.
    OurGeneration,
    /// Whether packets that come are dropped on this host, as far as that was looked at.
    OurDrops,
    /// What was changed on our side since the check was last good, and may be why it is not.
    OurChange,
}

/// When two values of a field are not the same.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    /// When they differ.
    Exact,
    /// When they differ, whatever their order.
    Set,
    /// When they differ. One that is missing says nothing.
    Given,
    /// When one is so many times the other, and so far from it. One that is missing says nothing.
    Apart { times: f64, least: f64 },
    /// When only one of them is below this. One that is missing says nothing.
    Below(f64),
    /// It only varies.
    Never,
}

/// Times of less than half a second vary by themselves.
const TIME: Rule = Rule::Apart { times: 4.0, least: 500.0 };
const FIGURE: Rule = Rule::Apart { times: 1.25, least: 0.0 };

/// How figures of the check are called: `perfdata.LABEL`.
const FIGURES: &str = "perfdata.";

impl Field {
    const ALL: [Field; 34] = [
        Field::Resolver,
        Field::Resolved,
        Field::Address,
        Field::From,
        Field::ConnectMs,
        Field::TlsMs,
        Field::FirstByteMs,
        Field::LastByteMs,
        Field::LimitMs,
        Field::AgeS,
        Field::Errno,
        Field::Lost,
        Field::Certificate,
        Field::Issuer,
        Field::NotAfter,
        Field::Status,
        Field::Location,
        Field::Server,
        Field::Size,
        Field::Body,
        Field::File,
        Field::Modified,
        Field::Program,
        Field::Exit,
        Field::Signal,
        Field::OurDescriptorsFree,
        Field::OurPressureCpu,
        Field::OurThrottled,
        Field::OurLoad,
        Field::OurClock,
        Field::OurWaitMs,
        Field::OurGeneration,
        Field::OurDrops,
        Field::OurChange,
    ];

    /// Its name, which stays what it is: transcripts outlive the program that wrote them.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    fn row(self) -> (&'static str, Rule) {
        match self {
            Field::Resolver => ("resolver", Rule::Set),
            // Name servers hand them out in turn.
            Field::Resolved => ("resolved", Rule::Set),
            Field::Address => ("address", Rule::Set),
            Field::From => ("from", Rule::Set),
            Field::ConnectMs => ("connect_ms", TIME),
            Field::TlsMs => ("tls_ms", TIME),
            Field::FirstByteMs => ("first_byte_ms", TIME),
            Field::LastByteMs => ("last_byte_ms", TIME),
            Field::LimitMs => ("limit_ms", Rule::Exact),
            Field::AgeS => ("age_s", Rule::Apart { times: 2.0, least: 60.0 }),
            Field::Errno => ("errno", Rule::Set),
            Field::Lost => ("lost", Rule::Exact),
            Field::Certificate => ("certificate", Rule::Exact),
            Field::Issuer => ("issuer", Rule::Exact),
            Field::NotAfter => ("not_after", Rule::Exact),
            Field::Status => ("status", Rule::Exact),
            Field::Location => ("location", Rule::Exact),
            Field::Server => ("server", Rule::Exact),
            Field::Size => ("size", Rule::Apart { times: 1.25, least: 64.0 }),
            Field::Body => ("body", Rule::Given),
            Field::File => ("file", Rule::Exact),
            // What is written to is changed in each run.
            Field::Modified => ("modified", Rule::Never),
            Field::Program => ("program", Rule::Exact),
            Field::Exit => ("exit", Rule::Exact),
            Field::Signal => ("signal", Rule::Exact),
            Field::OurDescriptorsFree => ("our.descriptors_free", Rule::Below(16.0)),
            Field::OurPressureCpu => ("our.pressure_cpu", Rule::Apart { times: 2.0, least: 20.0 }),
            Field::OurThrottled => ("our.throttled", Rule::Apart { times: 2.0, least: 20.0 }),
            Field::OurLoad => ("our.load", Rule::Apart { times: 2.0, least: 2.0 }),
            Field::OurClock => ("our.clock", Rule::Apart { times: 1.0, least: 2.0 }),
            Field::OurWaitMs => ("our.wait_ms", TIME),
            Field::OurGeneration => ("our.generation", Rule::Exact),
            Field::OurDrops => ("our.drops", Rule::Exact),
            Field::OurChange => ("our.change", Rule::Exact),
        }
    }
}

impl Rule {
    /// Of a field by its name. One that only another version knows is compared as it is.
    fn of(name: &str) -> Rule {
        match Field::ALL.into_iter().find(|field| field.name() == name) {
            Some(field) => field.row().1,
            None if name.starts_with(FIGURES) => FIGURE,
            None => Rule::Exact,
        }
    }

    /// Whether they are the same; `None`: there is nothing to say.
    fn same(self, good: &[&str], bad: &[&str]) -> Option<bool> {
        let number = |values: &[&str]| {
            let digits = values.last()?.trim_end_matches(|c: char| !c.is_ascii_digit());
            digits.parse::<f64>().ok()
        };
        match self {
            Rule::Never => Some(true),
            Rule::Exact => Some(good == bad),
            Rule::Given => (!good.is_empty() && !bad.is_empty()).then_some(good == bad),
            Rule::Set => Some(BTreeSet::from_iter(good) == BTreeSet::from_iter(bad)),
            Rule::Apart { .. } | Rule::Below(_) if good.is_empty() || bad.is_empty() => None,
            Rule::Apart { times, least } => Some(match (number(good), number(bad)) {
                (Some(one), Some(other)) => {
                    let (less, more) = (one.abs().min(other.abs()), one.abs().max(other.abs()));
                    let is_apart = one.signum() != other.signum() || more > less * times;
                    (one - other).abs() < least.max(f64::MIN_POSITIVE) || !is_apart
                }
                _ => good == bad,
            }),
            Rule::Below(limit) => Some(match (number(good), number(bad)) {
                (Some(one), Some(other)) => (one < limit) == (other < limit),
                _ => good == bad,
            }),
        }
    }
}

/// Whether a transcript may have a field of this name: what others say does not begin a line with it.
pub(crate) fn is_name(name: &str) -> bool {
    Field::ALL.iter().any(|field| field.name() == name) || name.starts_with(FIGURES)
}

/// What a run did: notes, in the order in which they were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Transcript {
    notes: Vec<Note>,
    /// How long they are as JSON.
    #[serde(skip)]
    length: usize,
}

impl Default for Transcript {
    fn default() -> Transcript {
        Transcript { notes: Vec::new(), length: "[]".len() }
    }
}

/// The name of a field and its value.
pub type Note = (Cow<'static, str>, String);

impl Transcript {
    /// Reads what [`Transcript::encode`] has written, or anything else; `None` if it is not a transcript.
    pub fn decode(bytes: &[u8]) -> Option<Transcript> {
        serde_json::from_slice(bytes).ok()
    }

    /// As JSON, of [`LIMIT`] bytes at most.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("pairs of texts are JSON")
    }

    /// The notes, in the order in which they were made.
    pub fn notes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.notes.iter().map(|(field, value)| (&**field, &**value))
    }

    /// All values of a field.
    pub fn values(&self, field: Field) -> impl Iterator<Item = &str> {
        self.notes().filter(move |(name, _)| *name == field.name()).map(|(_, value)| value)
    }

    /// Each field once, with all its values, in the order in which they came.
    pub fn grouped(&self) -> Vec<(&str, Vec<&str>)> {
        let mut fields: Vec<(&str, Vec<&str>)> = Vec::new();
        for (name, value) in self.notes() {
            match fields.iter_mut().find(|(field, _)| *field == name) {
                Some((_, values)) => values.push(value),
                None => fields.push((name, vec![value])),
            }
        }
        fields
    }

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// Adds a note at the end, unless that makes it too long.
    pub fn add(&mut self, field: Field, value: impl Display) {
        self.push(field.name().into(), value.to_string(), LIMIT);
    }

    /// Adds a figure of the check.
    pub(crate) fn add_figure(&mut self, label: &str, value: impl Display) {
        self.push(format!("{FIGURES}{label}").into(), value.to_string(), LIMIT - KEPT_FOR_US);
    }

    /// Adds a note, unless that makes it too long.
    fn push(&mut self, field: Cow<'static, str>, value: String, limit: usize) {
        let line = match text::line(&value) {
            Cow::Borrowed(_) => None,
            Cow::Owned(line) => Some(line),
        };
        let note = (field, cut(line.unwrap_or(value)));
        // And a comma.
        let length = self.length + length(&note) + 1;
        if length <= limit {
            self.notes.push(note);
            self.length = length;
        }
    }
}

impl<'de> Deserialize<'de> for Transcript {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Transcript, D::Error> {
        let mut transcript = Transcript::default();
        for (field, value) in Vec::<(String, String)>::deserialize(deserializer)? {
            transcript.push(text::line(&field).into_owned().into(), value, LIMIT);
        }
        Ok(transcript)
    }
}

/// How long it is as JSON: a pair of texts in which nothing but quotes and backslashes is escaped.
fn length((field, value): &Note) -> usize {
    r#"["",""]"#.len() + written(field) + written(value)
}

fn written(text: &str) -> usize {
    text.len() + text.bytes().filter(|byte| b"\"\\".contains(byte)).count()
}

fn cut(mut value: String) -> String {
    while written(&value) > LONGEST_VALUE {
        let over = written(&value) - LONGEST_VALUE;
        let end = value.floor_char_boundary(value.len().saturating_sub(over.div_ceil(2) + "…".len()));
        value.truncate(end);
        value.push('…');
    }
    value
}

/// What one run has that another has not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// What differs by more than it does by itself.
    pub changed: Vec<Change>,
    /// What is the same in both, with its value in the second.
    pub same: Vec<(String, String)>,
}

/// A field that has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its name.
    pub field: String,
    /// What it was; `None`: it was not noted.
    pub before: Option<String>,
    /// What it is; `None`: it was not noted.
    pub after: Option<String>,
}

/// What has changed from a good run to a bad one, and what has not, in the order of the notes.
pub fn changes(good: &Transcript, bad: &Transcript) -> Changes {
    let mut changes = Changes::default();
    let mut seen: Vec<&str> = Vec::new();
    // A run of which only is known how we were, as one that was given up, has not found that something is gone.
    let is_of_us = |name: &str| name.starts_with("our.");
    let tells_of_us_only = bad.notes().all(|(name, _)| is_of_us(name));
    for (name, _) in bad.notes().chain(good.notes()) {
        if seen.contains(&name) || tells_of_us_only && !is_of_us(name) {
            continue;
        }
        seen.push(name);
        let of = |transcript| values(transcript, name);
        let (before, after) = (of(good), of(bad));
        let told = |values: &[&str]| (!values.is_empty()).then(|| values.join(", "));
        match Rule::of(name).same(&before, &after) {
            None => {}
            // What only varies, as times and loads do, is neither.
            Some(true) if before.len() == after.len() && before.iter().all(|value| after.contains(value)) => {
                changes.same.push((name.to_owned(), after.join(", ")));
            }
            Some(true) => {}
            Some(false) => {
                changes.changed.push(Change { field: name.to_owned(), before: told(&before), after: told(&after) })
            }
        }
    }
    changes
}

fn values<'a>(transcript: &'a Transcript, name: &str) -> Vec<&'a str> {
    transcript.notes().filter(|(field, _)| *field == name).map(|(_, value)| value).collect()
}

thread_local! {
    /// The notes of the run that goes on in this thread, as they came.
    static OPEN: RefCell<Option<Vec<(Field, String)>>> = const { RefCell::new(None) };
}

/// Begins the notes of a run in this thread.
pub(crate) fn open() {
    OPEN.set(Some(Vec::new()));
}

/// Notes something of the run that goes on in this thread; if there is none, nothing. A value becomes one line, which is cut if
/// it is long.
pub(crate) fn note(field: Field, value: impl Display) {
    OPEN.with_borrow_mut(|open| {
        if let Some(notes) = open.as_mut().filter(|notes| notes.len() < MOST_NOTES) {
            let mut value = value.to_string();
            // What is hidden in it is found later, and shorter afterwards.
            value.truncate(value.floor_char_boundary(4 * LONGEST_VALUE));
            notes.push((field, value));
        }
    });
}

/// Takes what was noted up to now, if anything was, with what `mask` makes of each value, which may have been cut off.
pub(crate) fn take(mask: impl Fn(String) -> String) -> Option<Box<Transcript>> {
    let notes = OPEN.with_borrow_mut(|open| open.as_mut().map(std::mem::take)).filter(|notes| !notes.is_empty())?;
    let mut transcript = Transcript::default();
    for (field, value) in notes {
        transcript.push(field.name().into(), mask(value), LIMIT - KEPT_FOR_US - KEPT_FOR_FIGURES);
    }
    Some(Box::new(transcript))
}

/// Ends the notes of the run: whatever is left of them is dropped.
pub(crate) fn close() {
    OPEN.set(None);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(notes: &[(Field, &str)]) -> Transcript {
        let mut transcript = Transcript::default();
        notes.iter().for_each(|(field, value)| transcript.add(*field, value));
        transcript
    }

    fn changed(good: &[(Field, &str)], bad: &[(Field, &str)]) -> Vec<String> {
        changes(&of(good), &of(bad)).changed.into_iter().map(|change| change.field).collect()
    }

    #[test]
    fn what_has_changed_is_told_from_what_has_not() {
        let good = [(Field::Address, "10.0.0.1:80"), (Field::ConnectMs, "1.2"), (Field::Status, "200")];
        let bad = [(Field::Address, "10.0.0.9:80"), (Field::Errno, "ECONNREFUSED"), (Field::OurGeneration, "1")];
        let found = changes(&of(&good), &of(&bad));
        let change = |field: &str, before: Option<&str>, after: Option<&str>| Change {
            field: field.to_owned(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
        };
        assert_eq!(
            found.changed,
            [
                change("address", Some("10.0.0.1:80"), Some("10.0.0.9:80")),
                change("errno", None, Some("ECONNREFUSED")),
                change("our.generation", None, Some("1")),
                change("status", Some("200"), None),
            ]
        );
        let same = changes(&of(&good), &of(&good)).same;
        assert_eq!(same.len(), 3);
        assert_eq!(same[0], ("address".to_owned(), "10.0.0.1:80".to_owned()));
    }

    #[test]
    fn what_varies_by_itself_has_not_changed() {
        use Field::*;
        for (field, before, after, is_changed) in [
            (ConnectMs, "0.1", "80", false),
            (ConnectMs, "0.1", "1200", true),
            (FirstByteMs, "2000", "2900", false),
            (Size, "1000", "1040", false),
            (Size, "1000", "2000", true),
            (Size, "0", "4096", true),
            (OurDescriptorsFree, "1000", "900", false),
            (OurDescriptorsFree, "1000", "0", true),
            (OurPressureCpu, "0.5", "12", false),
            (OurPressureCpu, "0.5", "90.1", true),
            (OurLoad, "0.1", "1.9", false),
            (OurLoad, "1", "40", true),
            (OurClock, "0", "1.5", false),
            (OurClock, "0", "-86400", true),
            (OurGeneration, "1", "2", true),
            (Exit, "0", "2", true),
            (Modified, "2026-11-29T13:00:00Z", "2026-11-29T14:00:00Z", false),
        ] {
            let found = changed(&[(field, before)], &[(field, after)]);
            assert_eq!(!found.is_empty(), is_changed, "{field:?} {before} {after}");
        }
        assert!(
            changed(
                &[(Resolved, "10.0.0.1"), (Resolved, "10.0.0.2")],
                &[(Resolved, "10.0.0.2"), (Resolved, "10.0.0.1")]
            )
            .is_empty()
        );
        assert!(changed(&[(TlsMs, "12")], &[]).is_empty(), "it did not come to that");
    }

    #[test]
    fn what_a_run_did_not_come_to_tell_has_not_changed() {
        use Field::*;
        assert_eq!(changed(&[(Address, "::1"), (OurLoad, "0.1")], &[(OurLoad, "9")]), ["our.load"]);
        assert!(changed(&[(Address, "::1")], &[]).is_empty());
    }

    #[test]
    fn figures_are_compared_by_their_labels() {
        let figures = |free: &str, other: &str| {
            let mut transcript = Transcript::default();
            transcript.add_figure("/", free);
            transcript.add_figure("/home", other);
            transcript
        };
        let found = changes(&figures("40%", "7MB"), &figures("1%", "7.5MB"));
        assert_eq!(found.changed.iter().map(|change| &*change.field).collect::<Vec<_>>(), ["perfdata./"]);
    }

    #[test]
    fn each_field_has_a_name_of_its_own() {
        let mut names = Field::ALL.map(Field::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Field::ALL.len());
    }

    #[test]
    fn only_what_is_noted_in_a_run_is_taken() {
        note(Field::Exit, 1);
        assert_eq!(take(|value| value), None, "no run goes on");
        open();
        assert_eq!(take(|value| value), None, "nothing was noted");
        note(Field::Exit, 2);
        assert_eq!(take(|value| value), Some(Box::new(of(&[(Field::Exit, "2")]))));
        assert_eq!(take(|value| value), None, "it was taken");
        note(Field::Exit, 3);
        close();
        open();
        assert_eq!(take(|value| value), None, "that was another run");
        close();
    }

    #[test]
    fn what_is_noted_without_end_leaves_room_for_ourselves() {
        open();
        (0..1000).for_each(|_| note(Field::Body, "\"\\ü".repeat(1000)));
        let mut transcript = take(|value| value).expect("something was noted");
        (0..100).for_each(|number| transcript.add_figure(&number.to_string(), number));
        transcript.add(Field::OurLoad, 0.5);
        close();
        assert_eq!(transcript.values(Field::OurLoad).collect::<Vec<_>>(), ["0.5"]);
        assert!(transcript.notes().any(|(field, _)| field.starts_with(FIGURES)));
        assert!(transcript.encode().len() <= LIMIT);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_transcript_or_none(bytes: Vec<u8>) {
            let _ = Transcript::decode(&bytes);
        }

        #[test]
        fn any_pairs_are_read_and_none_is_too_long(pairs: Vec<(String, String)>) {
            let bytes = serde_json::to_vec(&pairs).expect("pairs of texts are JSON");
            let read = Transcript::decode(&bytes).expect("they are pairs");
            let written = read.encode();
            prop_assert!(written.len() <= LIMIT);
            prop_assert_eq!(Transcript::decode(&written), Some(read.clone()));
            prop_assert!(changes(&read, &read).changed.is_empty());
        }

        #[test]
        fn a_value_is_one_line_that_is_not_too_long(value in "(.|\n)*") {
            let mut transcript = Transcript::default();
            transcript.add(Field::Body, &value);
            let kept = transcript.values(Field::Body).next().expect("one is not too many").to_owned();
            prop_assert!(written(&kept) <= LONGEST_VALUE && !kept.contains(text::is_obeyed));
        }
    }
}
