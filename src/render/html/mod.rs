//! A page for people: `report.html`, in which all inserted text is escaped.

mod evidence;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use askama::Template;
use base64::Engine;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use super::{Format, appended, exit_code, unsigned};
use crate::model::blame::Blame;
use crate::model::check::{Check, Status};
use crate::model::duration;
use crate::model::episode::{CheckRecord, Unwatched};
use crate::model::patience::Streak;
use crate::model::report::{Outcome, Report, Summary};
use crate::model::speaker::Speaker;
use evidence::Strip;
pub use evidence::{Evidence, evidence};

/// The media type of this format.
pub const MEDIA_TYPE: &str = "text/html; charset=utf-8";

pub(super) const FORMAT: Format = Format {
    name: "html",
    media_type: MEDIA_TYPE,
    write: |report, out| page(report, &View::default(), out),
    signed: unsigned,
    exit_code,
    is_success: Report::passes,
    warn_status: true,
    timeless: false,
    verbose: None,
    refusal: None,
    is_page: true,
};

/// What stands in place of the status of a check that was not run because of another.
const BLOCKED: &str = "blocked";
const BLOCKED_MARK: char = '⊘';

/// Which part of the suite a page shows, and to whom.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// When the checks were run, if that is known.
    pub at: Option<SystemTime>,
    /// In how long a check runs next, where somebody keeps its schedule.
    pub next_run: &'a dyn Fn(&Check) -> Option<Duration>,
    /// Whether what is said of a check changes often.
    pub is_flapping: &'a dyn Fn(&Check) -> bool,
    /// What is remembered of the check with this id over time, if anything is.
    pub history: &'a dyn Fn(&str) -> Option<CheckRecord>,
    /// What stands before each path of the endpoint.
    pub prefix: &'a str,
    /// Who gives the answer, if somebody is named.
    pub speaker: Option<&'a Speaker>,
    /// All tags that can be chosen.
    pub tags: &'a BTreeSet<String>,
    /// The tags that are chosen.
    pub chosen: &'a [String],
    /// The rest of the query, as names and values: the links to tags keep it.
    pub others: &'a [(&'static str, String)],
    /// What is known of the last drills of these checks.
    pub drilled: Option<&'a str>,
    /// Whether the reader may know more than the counts.
    pub disclosed: bool,
    /// Whether the reader may know more after signing in.
    pub can_sign_in: bool,
}

impl Default for View<'_> {
    fn default() -> Self {
        static NO_TAGS: BTreeSet<String> = BTreeSet::new();
        View {
            at: None,
            next_run: &|_| None,
            is_flapping: &|_| false,
            history: &|_| None,
            prefix: "",
            speaker: None,
            tags: &NO_TAGS,
            chosen: &[],
            others: &[],
            drilled: None,
            disclosed: true,
            can_sign_in: false,
        }
    }
}

/// Appends the page.
pub fn page(report: &Report, view: &View<'_>, out: &mut Vec<u8>) {
    appended(out, |text| Page::of(report, view).render_into(text).map_err(|_| std::fmt::Error));
}

/// The header fields of an answer with the page: it runs only its own script, fetches only from us, and cannot be
/// framed.
pub fn headers() -> [(&'static str, &'static str); 2] {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let hash = |text: &str| base64::prelude::BASE64_STANDARD.encode(Sha256::digest(text));
        format!(
            "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; \
             img-src data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            hash(Page::STYLE),
            hash(Page::SCRIPT)
        )
    });
    [("Content-Security-Policy", &POLICY), ("Referrer-Policy", "no-referrer")]
}

#[derive(Template)]
#[template(path = "report.html", config = "src/render/templates/askama.toml")]
struct Page {
    status: String,
    class: &'static str,
    mark: char,
    icon: &'static str,
    summary: Summary,
    counts: Vec<Count>,
    tags: Vec<Tag>,
    groups: Vec<Group>,
    speaker: Option<String>,
    at: Option<Moment>,
    maintenance: Option<String>,
    drilled: Option<String>,
    disclosed: bool,
    can_sign_in: bool,
}

/// How many checks have a status.
struct Count {
    status: String,
    class: &'static str,
    mark: char,
    number: usize,
}

/// A link that adds a tag to the chosen ones, or removes it.
struct Tag {
    name: String,
    href: String,
    chosen: bool,
}

struct Group {
    id: &'static str,
    heading: &'static str,
    rows: Vec<Row>,
}

struct Row {
    id: String,
    title: String,
    status: String,
    class: &'static str,
    mark: char,
    context: Option<String>,
    silence: Option<String>,
    /// `None`: it was not run.
    took: Option<String>,
    schedule: Option<String>,
    is_flapping: bool,
    /// The runs that speak against its status.
    streak: Option<Streak>,
    since: Option<(&'static str, Moment)>,
    unwatched: Option<(Moment, Moment)>,
    tags: Vec<String>,
    /// What it found itself, if it was judged to be something else.
    raw: Option<String>,
    /// Whose fault it is, if that is known.
    blame: Option<&'static str>,
    as_needed: bool,
    /// The page about it, if anything is remembered of it.
    why: Option<String>,
    strip: Option<Strip>,
    /// The checks that were not run because of it, but for others.
    blocked: Vec<Row>,
}

/// A moment for machines and for people, and its age.
struct Moment {
    stamp: String,
    text: String,
    age: Option<String>,
}

impl Page {
    const STYLE: &str = include_str!("../templates/report.css");
    const SCRIPT: &str = include_str!("../templates/report.js");

    fn of(report: &Report, view: &View<'_>) -> Page {
        let status = if report.passes() && report.warns() { Status::Warn } else { report.status() };
        Page {
            status: spoken(status),
            class: status.word(),
            mark: mark(status),
            icon: icon(status),
            summary: report.summary(),
            counts: counts(report.causes()),
            tags: view.tags.iter().map(|name| Tag::of(name, view)).collect(),
            groups: if view.disclosed { groups(report, view) } else { Vec::new() },
            speaker: view.speaker.filter(|it| !it.is_nobody()).map(|it| printable(&it.to_string())),
            at: view.at.map(|at| Moment::of(at, None)),
            maintenance: report.maintenance.as_deref().map(printable),
            drilled: view.drilled.filter(|_| view.disclosed).map(printable),
            disclosed: view.disclosed,
            can_sign_in: view.can_sign_in,
        }
    }
}

/// Bad statuses first.
fn counts(causes: Summary) -> Vec<Count> {
    let Summary { skip, pass, expected_failure, error, fail, total: _, unexpected_success, warn, blocked, silenced } =
        causes;
    let numbers = [
        (Status::Fail, fail),
        (Status::Error, error),
        (Status::UnexpectedSuccess, unexpected_success),
        (Status::Warn, warn),
        (Status::Pass, pass),
        (Status::Skip, skip),
        (Status::ExpectedFailure, expected_failure),
    ];
    let count = |(status, number)| Count { status: spoken(status), class: status.word(), mark: mark(status), number };
    let blocked = Count { status: BLOCKED.to_owned(), class: BLOCKED, mark: BLOCKED_MARK, number: blocked };
    let silenced = Count { status: SILENCED.to_owned(), class: SILENCED, mark: SILENCED_MARK, number: silenced };
    let mut counts: Vec<_> = numbers.into_iter().map(count).collect();
    // After what is bad or nearly so.
    counts.insert(4, blocked);
    counts.push(silenced);
    counts.retain(|count| count.number > 0);
    counts
}

/// Bad checks first, then those with a warning; each that is blocked under its cause.
fn groups(report: &Report, view: &View<'_>) -> Vec<Group> {
    let is_there: HashSet<_> = report.outcomes.iter().map(|outcome| &outcome.check.id).collect();
    let stands_under_its_cause =
        |outcome: &Outcome| outcome.blocked_by().first().is_some_and(|id| is_there.contains(id));
    let mut blocked: HashMap<&String, Vec<&Outcome>> = HashMap::new();
    for outcome in report.blocked() {
        blocked.entry(&outcome.blocked_by()[0]).or_default().push(outcome);
    }
    let warns = Outcome::warns;
    let rows = |bad| {
        let of_group = |outcome: &&Outcome| !outcome.is_silenced() && (outcome.is_bad() || warns(outcome)) == bad;
        let wanted = report.outcomes.iter().filter(|outcome| !stands_under_its_cause(outcome)).filter(of_group);
        let (milder, worse): (Vec<_>, Vec<_>) = wanted.partition(|outcome| warns(outcome));
        let row = |outcome: &Outcome| {
            let its = blocked.get(&outcome.check.id).into_iter().flatten();
            Row { blocked: its.map(|outcome| Row::consequence(outcome, view)).collect(), ..Row::of(outcome, view) }
        };
        worse.into_iter().chain(milder).map(row).collect()
    };
    let silenced = report.outcomes.iter().filter(|outcome| outcome.is_silenced() && !stands_under_its_cause(outcome));
    let silenced = silenced.map(|outcome| Row::of(outcome, view)).collect();
    let rest = if report.passes() && !report.warns() { "Healthchecks" } else { "The rest" };
    let groups = [
        Group { id: "wrong", heading: "Needs attention", rows: rows(true) },
        Group { id: "silenced", heading: "Silenced", rows: silenced },
        Group { id: "rest", heading: rest, rows: rows(false) },
    ];
    groups.into_iter().filter(|group| !group.rows.is_empty()).collect()
}

impl Tag {
    fn of(name: &str, view: &View<'_>) -> Tag {
        let chosen = view.chosen.iter().any(|tag| tag == name);
        let others = view.chosen.iter().map(String::as_str).filter(|tag| *tag != name);
        let tags = others.chain((!chosen).then_some(name)).map(|tag| ("tag", tag));
        let mut href = String::new();
        for (key, value) in tags.chain(view.others.iter().map(|(key, value)| (*key, value.as_str()))) {
            let start = if href.is_empty() { '?' } else { '&' };
            write!(href, "{start}{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)).expect("a string takes all");
        }
        if href.is_empty() {
            // An empty link would keep the present query.
            href.push('?');
        }
        Tag { name: printable(name), href, chosen }
    }
}

impl Row {
    fn of(outcome: &Outcome, view: &View<'_>) -> Row {
        let Outcome { check, finding, elapsed, age, .. } = outcome;
        let is_blocked = !outcome.blocked_by().is_empty();
        let raw = outcome.raw();
        let (status, class, mark) = match finding.status {
            _ if is_blocked => (BLOCKED.to_owned(), BLOCKED, BLOCKED_MARK),
            status if outcome.is_silenced() => (spoken(status), SILENCED, SILENCED_MARK),
            status => (spoken(status), status.word(), mark(status)),
        };
        let history = view.at.and_then(|at| Some((at, (view.history)(&check.id)?)));
        let since = history.as_ref().and_then(|(_, record)| record.since()).filter(|_| !is_blocked);
        Row {
            id: printable(&check.id),
            title: printable(&check.title),
            status,
            class,
            mark,
            silence: outcome.silence().map(|silence| printable(&silence)),
            context: finding.context.as_deref().map(printable),
            took: (!is_blocked).then(|| took(*elapsed)),
            schedule: (view.next_run)(check).and_then(|next| schedule(check, *age, next)),
            is_flapping: (view.is_flapping)(check),
            streak: outcome.judgement.as_ref().and_then(|judgement| judgement.streak),
            since: since.map(|since| (since.found, Moment::of(since.at, view.at))),
            unwatched: since
                .and_then(|since| since.unwatched)
                .map(|Unwatched { from, to }| (Moment::of(from, None), Moment::of(to, None))),
            tags: check.tags.iter().map(|tag| printable(tag)).collect(),
            raw: (raw != finding.status && !is_blocked).then(|| spoken(raw)),
            blame: finding.blame.map(Blame::word),
            as_needed: outcome.is_as_needed(),
            why: history.is_some().then(|| evidence::path(view.prefix, &check.id)),
            strip: history.map(|(at, record)| Strip::of(&record, at)),
            blocked: Vec::new(),
        }
    }

    /// Of a check that stands under its cause, which tells why it is blocked.
    fn consequence(outcome: &Outcome, view: &View<'_>) -> Row {
        let others = outcome.blocked_by().get(1..).filter(|others| !others.is_empty());
        let context = others.map(|others| printable(&format!("and by {}", others.join(", "))));
        Row { context, ..Row::of(outcome, view) }
    }
}

impl Moment {
    fn of(moment: SystemTime, now: Option<SystemTime>) -> Moment {
        let stamp = humantime::format_rfc3339_seconds(moment).to_string();
        let text = stamp.replace('T', " ").replace('Z', " UTC");
        // If the clock was set back, there is no age.
        let age = now.and_then(|now| now.duration_since(moment).ok()).map(age);
        Moment { stamp, text, age }
    }
}

fn took(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{:.1} ms", time.as_secs_f64() * 1000.0),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

/// When a check on a schedule ran last, and when it runs next.
fn schedule(check: &Check, ago: Duration, next: Duration) -> Option<String> {
    let every = duration::spoken(check.schedule?.every);
    let spoken = |time: Duration| if time.as_secs() == 0 { duration::spoken(time) } else { age(time) };
    let next = if next.is_zero() { "due now".to_owned() } else { format!("next in {}", spoken(next)) };
    Some(format!("{} ago, {next}, every {every}", spoken(ago)))
}

/// A time as precise as people want it: the longer, the coarser.
fn age(time: Duration) -> String {
    let seconds = time.as_secs();
    let grain = match seconds {
        0..60 => 1,
        60..86_400 => 60,
        _ => 3600,
    };
    humantime::format_duration(Duration::from_secs(seconds / grain * grain)).to_string()
}

/// The text with its line breaks, but without characters that a browser would not show anyway.
fn printable(text: &str) -> String {
    text.replace(|c: char| c.is_control() && !"\n\t".contains(c), "\u{fffd}")
}

fn spoken(status: Status) -> String {
    status.word().replace('_', " ")
}

/// The class and the mark of what does not count.
const SILENCED: &str = "silenced";
const SILENCED_MARK: char = '~';

/// For people who do not see colours.
fn mark(status: Status) -> char {
    match status {
        Status::Pass => '✓',
        Status::Warn => '△',
        Status::Fail => '✗',
        Status::Error => '!',
        Status::Skip => '–',
        Status::ExpectedFailure => '≈',
        Status::UnexpectedSuccess => '?',
    }
}

/// The icon in the tab: a green disc, a yellow triangle, or a red square.
fn icon(status: Status) -> &'static str {
    match status {
        Status::Pass | Status::Skip | Status::ExpectedFailure => {
            "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='7' fill='%232c9c4b'/%3E%3C/svg%3E"
        }
        Status::Warn => {
            "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M8 1l7 14H1z' fill='%23e0a100'/%3E%3C/svg%3E"
        }
        Status::Fail | Status::Error | Status::UnexpectedSuccess => {
            "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M1 1h14v14H1z' fill='%23d6362c'/%3E%3C/svg%3E"
        }
    }
}
