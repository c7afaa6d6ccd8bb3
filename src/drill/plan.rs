//! Which sabotages a check has to notice, given what its good run did, and what their runs come to.
//!
//! No check is accused for what it never claimed. It claims to look at what it talks to, if it talks to anybody; else at
//! what it looks at on this host. All of that is broken at once, so what it passes by the way is no claim.

use std::path::PathBuf;

use super::seen::{self, Trace};
use crate::checks::BUILTINS;
use crate::model::check::{Check, Expect, Status};
use crate::model::sabotage::{Clock, Gone, Rubbish, Sabotage, Starved, Stranger};

/// What a check promises by its options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Promise {
    /// It says what has to be in an answer or a file.
    pub(crate) content: bool,
    /// It follows redirects.
    pub(crate) redirects: bool,
    /// It expects a failure: then it has to notice what makes it succeed.
    pub(crate) failure: bool,
    /// It says how old a file may be.
    pub(crate) age: bool,
    /// It says that there must be none.
    pub(crate) none: bool,
    /// What its kind answers for, if that does not depend on the check.
    pub(crate) notices: &'static [&'static str],
}

impl Promise {
    /// Of a check whose good run ended so: a test in Python may say for itself that it expects a failure.
    pub(crate) fn of(check: &Check, good: Status) -> Promise {
        let option =
            |name: &str| check.options.iter().find(|(option, _)| option == name).map(|(_, value)| value.as_str());
        Promise {
            content: ["match", "json", "min_size"].into_iter().any(|name| option(name).is_some()),
            redirects: option("redirects").is_some_and(|most| most != "0"),
            failure: check.expect == Expect::Failure || good == Status::ExpectedFailure,
            age: option("max_age").is_some(),
            none: option("max") == Some("0"),
            notices: BUILTINS.iter().find(|kind| kind.scheme == check.kind).map_or(&[], |kind| kind.notices),
        }
    }

    /// Whether it is about what time it is, as its kind says.
    pub(super) fn is_about_the_clock(self) -> bool {
        self.notices.iter().any(|noticed| noticed.starts_with("starved: ") && noticed.contains("clock"))
    }

    /// Whether its kind answers for how much of something is left.
    fn limits(self) -> bool {
        self.notices.iter().any(|noticed| *noticed == Sabotage::Full.word())
    }

    /// Whether such a check can be asked about a sabotage.
    fn answers_for(self, sabotage: Sabotage) -> bool {
        self.notices.is_empty() || self.notices.iter().any(|noticed| noticed.split(':').next() == Some(sabotage.word()))
    }
}

/// The sabotages that apply.
pub(crate) fn plan(seen: &Trace, promise: Promise) -> Vec<Sabotage> {
    if promise.failure {
        return successes(seen);
    }
    let mut plan = applicable(seen, promise);
    let talks = seen.talks() || seen.only_was_refused();
    if !talks {
        plan.push(Sabotage::Gone(Gone::Surroundings));
    }
    if !talks || promise.is_about_the_clock() {
        plan.extend([Clock::HourAhead, Clock::HourBehind].map(off));
    }
    if plan.iter().all(|sabotage| is_asked_of_all(*sabotage)) {
        // It may look at nothing else, as who knows when something expires.
        plan.extend([Clock::YearsAhead, Clock::YearsBehind].map(off));
    }
    plan.retain(|sabotage| promise.answers_for(*sabotage));
    plan.sort();
    if !promise.notices.is_empty() {
        plan.retain(|sabotage| *sabotage != Sabotage::Gone(Gone::Surroundings));
    }
    plan
}

/// What could make a check succeed that failed: somebody answers, or something is there.
fn successes(seen: &Trace) -> Vec<Sabotage> {
    let mut plan = Vec::new();
    if seen.talks() || seen.only_was_refused() {
        plan.push(Sabotage::Rubbish(Rubbish::Bytes));
    }
    if seen.speaks_http {
        plan.push(Sabotage::Stranger(Stranger::OtherBody));
    }
    if !seen.talks() && !seen.absent.is_empty() {
        plan.push(Sabotage::Gone(Gone::Back));
    }
    plan
}

fn off(clock: Clock) -> Sabotage {
    Sabotage::Starved(Starved::Clock(clock))
}

pub(super) fn is_of_the_clock(sabotage: Sabotage) -> bool {
    matches!(sabotage, Sabotage::Starved(Starved::Clock(_)))
}

/// Whether it is tried with all that talk to nobody, and held against none.
fn is_asked_of_all(sabotage: Sabotage) -> bool {
    is_of_the_clock(sabotage) || sabotage == Sabotage::Gone(Gone::Surroundings)
}

fn applicable(seen: &Trace, promise: Promise) -> Vec<Sabotage> {
    let starved = [Starved::Descriptors, Starved::Memory].map(Sabotage::Starved);
    let mut plan = Vec::new();
    if seen.talks() {
        plan.extend([Sabotage::Refused, Sabotage::BlackHole]);
        if !seen.streams.is_empty() || seen.talks_locally() {
            let all = [Rubbish::Bytes, Rubbish::Nothing, Rubbish::Endless, Rubbish::Drip];
            plan.extend(all.map(Sabotage::Rubbish));
        } else if !seen.datagrams.is_empty() {
            plan.push(Sabotage::Rubbish(Rubbish::Bytes));
        }
        if seen.speaks_tls && cfg!(feature = "tls") {
            plan.push(Sabotage::Stranger(Stranger::Certificate));
        }
        // Who takes any certificate hears what is said inside of TLS.
        if seen.speaks_http || (seen.speaks_tls && cfg!(feature = "tls")) {
            plan.extend([Stranger::Failing, Stranger::OtherBody, Stranger::Login].map(Sabotage::Stranger));
        }
        plan.extend(starved);
        return plan;
    }
    if seen.only_was_refused() {
        // It is well because nobody answers there: then somebody does.
        plan.push(Sabotage::Rubbish(Rubbish::Bytes));
        return plan;
    }
    if seen.processes && !promise.none {
        plan.extend([Gone::Processes, Gone::AllProcesses].map(Sabotage::Gone));
    }
    let has_limits = promise.limits() || promise.notices.is_empty();
    if !seen.measured.is_empty() || !seen.written.is_empty() || (has_limits && seen.gauges().next().is_some()) {
        plan.push(Sabotage::Full);
    }
    if (!plan.is_empty() || !seen.measured.is_empty()) && seen.plain_files().next().is_some() {
        plan.push(Sabotage::Gone(Gone::Files));
    }
    if seen.looks() && !(seen.processes && seen.files.is_empty()) {
        plan.push(Sabotage::Gone(Gone::Missing));
    }
    if seen.interfaces {
        plan.push(Sabotage::Gone(Gone::Interfaces));
    }
    if !seen.looks() && !seen.absent.is_empty() {
        plan.push(Sabotage::Gone(Gone::Back));
    }
    if !seen.opened.is_empty() {
        plan.push(Sabotage::Gone(Gone::Unreadable));
    }
    if !seen.opened.is_empty() || seen.interfaces {
        plan.extend(starved);
    }
    // What is told of processes is told in many files, in forms of their own.
    let may_read = promise.notices.is_empty() && !seen.processes;
    let (reads, lists) = (may_read && !seen.opened.is_empty(), may_read && !seen.listed.is_empty());
    if reads || lists || (promise.content && !seen.files.is_empty()) {
        plan.push(Sabotage::Gone(Gone::Empty));
    }
    if reads {
        plan.extend([Gone::Other, Gone::Less].map(Sabotage::Gone));
    }
    if reads || lists {
        plan.push(Sabotage::Gone(Gone::More));
    }
    if promise.age && !seen.files.is_empty() {
        plan.push(Sabotage::Gone(Gone::Old));
    }
    plan
}

/// What one run under sabotage came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trial {
    pub(crate) sabotage: Sabotage,
    pub(crate) end: RunEnd,
    /// Whether the check has seen that something is wrong.
    pub(crate) is_noticed: bool,
    /// Whether a program failed that did not fail in the good run, and the check passed.
    pub(crate) is_ignored: bool,
}

impl Trial {
    /// A run that came to this, where the good run was this.
    pub(crate) fn new(sabotage: Sabotage, end: RunEnd, good: Status, more_fail: bool) -> Trial {
        let is_noticed = match &end {
            RunEnd::Found { status, .. } if good == Status::ExpectedFailure => *status == Status::UnexpectedSuccess,
            // What is skipped is as green in a report as what passes.
            RunEnd::Found { status, .. } => status.is_bad() || (*status == Status::Warn && good != Status::Warn),
            RunEnd::Lost(_) => true,
            RunEnd::Trusted => false,
        };
        Trial { sabotage, end, is_noticed, is_ignored: more_fail && !is_noticed }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RunEnd {
    /// With a finding.
    Found { status: Status, context: String },
    /// It killed itself, or its parent, or took longer than it may.
    Lost(String),
    /// It trusted a certificate that nobody vouches for.
    Trusted,
}

/// What a drill says of a check.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It noticed all that applies.
    Sound,
    /// It passed under sabotage.
    Fooled,
    /// It noticed nothing.
    CannotFail,
    /// It was not well to begin with.
    Unwell(String),
    /// It was not drilled, or not to the end.
    NotDrilled(String),
}

impl Verdict {
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Verdict::Sound => "sound",
            Verdict::Fooled => "fooled",
            Verdict::CannotFail => "cannot_fail",
            Verdict::Unwell(_) => "unwell",
            Verdict::NotDrilled(_) => "not_drilled",
        }
    }
}

/// The sabotages that a check should have noticed and did not.
pub(crate) fn fooled_by(trials: &[Trial], seen: &Trace, promise: Promise) -> Vec<Sabotage> {
    if promise.failure {
        // One that makes it succeed is enough: each is only a guess at what would.
        return Vec::new();
    }
    let passed = |sabotage: Sabotage| trials.iter().any(|trial| trial.sabotage == sabotage && !trial.is_noticed);
    let noticed = |sabotage: Sabotage| trials.iter().any(|trial| trial.sabotage == sabotage && trial.is_noticed);
    let status = passed(Sabotage::Stranger(Stranger::Failing));
    let body = passed(Sabotage::Stranger(Stranger::OtherBody));
    // Who looks at the status alone has claimed no body, and the other way round; but one of them has to matter.
    let claims_body = promise.content || seen.passes_on || (status && body);
    // Of files, processes and room, what it does not mind it has looked at by the way, unless it minds nothing.
    let looks_at_the_status =
        noticed(Sabotage::Stranger(Stranger::Failing)) && noticed(Sabotage::Rubbish(Rubbish::Nothing));
    let minds_files = noticed(Sabotage::Gone(Gone::Files));
    let minds_processes = noticed(Sabotage::Gone(Gone::Processes));
    let minds_room = noticed(Sabotage::Full);
    let minds_interfaces = noticed(Sabotage::Gone(Gone::Interfaces));
    let minds = minds_files || minds_processes || minds_room;
    let minds_the_clock = trials.iter().any(|trial| trial.is_noticed && is_of_the_clock(trial.sabotage));
    // What the kernel tells of the host it tells in more than one way.
    let minds_surroundings = noticed(Sabotage::Gone(Gone::Surroundings)) && seen.plain_files().next().is_none();
    let minds_anything = minds || minds_interfaces || minds_the_clock || minds_surroundings;
    let misses_all = passed(Sabotage::Gone(Gone::Missing)) && !minds_anything;
    let minds_content = match seen.asks_only_the_kernel() {
        // That it is there, and is not empty, tells nothing; nor do words where nothing but figures matters.
        true => {
            minds_room
                || [Gone::Less, Gone::More].iter().any(|how| noticed(Sabotage::Gone(*how)))
                || (noticed(Sabotage::Gone(Gone::Other)) && !seen.opened.iter().all(|path| seen::is_gauge(path)))
        }
        // Who takes it apart minds what has no form.
        false => {
            [Gone::Other, Gone::Less, Gone::More].iter().any(|how| noticed(Sabotage::Gone(*how)))
                || (noticed(Sabotage::Gone(Gone::Empty)) && !seen.takes_apart)
        }
    };
    let takes_anything = !minds_anything && !minds_content;
    let reads_in_vain = takes_anything && (seen.reads_all || seen.asks_only_the_kernel());
    let misses_all = misses_all && !(seen.asks_only_the_kernel() && minds_content);
    let notices_any = trials.iter().any(|trial| trial.is_noticed);
    // Who finds nothing wrong with no processes at all may want there to be few: then no program of it has noticed, either.
    let finds_itself = noticed(Sabotage::Gone(Gone::AllProcesses)) && !minds_processes;
    let ignores = trials
        .iter()
        .any(|trial| [Gone::Files, Gone::Processes].map(Sabotage::Gone).contains(&trial.sabotage) && trial.is_ignored);
    let counts = |sabotage: &Sabotage| match sabotage {
        Sabotage::Stranger(Stranger::Failing) => body,
        Sabotage::Stranger(Stranger::OtherBody) => claims_body,
        Sabotage::Stranger(Stranger::Login) => claims_body || promise.redirects,
        Sabotage::Gone(Gone::Processes) => !minds_files && !minds_room && (finds_itself || ignores),
        Sabotage::Gone(Gone::Files | Gone::AllProcesses | Gone::Surroundings) => false,
        Sabotage::Gone(Gone::Empty) => promise.content,
        Sabotage::Gone(Gone::Other | Gone::Less) => reads_in_vain,
        // There may be none, and there may be many.
        Sabotage::Gone(Gone::More) => seen.sifts && passed(Sabotage::Gone(Gone::Empty)) && takes_anything,
        // Nobody knows whether it minds what it did not find.
        Sabotage::Gone(Gone::Back) => !notices_any,
        Sabotage::Gone(Gone::Interfaces) => !minds && !noticed(Sabotage::Gone(Gone::Missing)),
        // Then its processes are gone, too.
        Sabotage::Gone(Gone::Missing) if seen.processes && minds_processes => !minds_files,
        Sabotage::Gone(Gone::Missing) => misses_all && (!seen.processes || ignores || promise.none),
        Sabotage::Full if promise.limits() => true,
        Sabotage::Full if seen.measured.is_empty() && seen.written.is_empty() => false,
        Sabotage::Full if seen.measured.is_empty() => !notices_any,
        Sabotage::Full => !minds_files && !minds_processes,
        Sabotage::Starved(Starved::Clock(_)) => promise.is_about_the_clock(),
        Sabotage::Gone(Gone::Unreadable) | Sabotage::Starved(_) if !seen.talks() => misses_all && !seen.processes,
        // HTTP/0.9 had no status: whatever comes may be a body to who knows it, as wget does.
        Sabotage::Rubbish(Rubbish::Bytes | Rubbish::Endless | Rubbish::Drip) => !looks_at_the_status,
        Sabotage::Gone(_) | Sabotage::Starved(_) | Sabotage::Refused | Sabotage::BlackHole => true,
        Sabotage::Rubbish(Rubbish::Nothing) => true,
        // Who has not claimed to know its peer has to look at what that says.
        Sabotage::Stranger(Stranger::Certificate) => !promise.notices.is_empty() || (status && body),
    };
    let passed = trials.iter().filter(|trial| !trial.is_noticed).map(|trial| trial.sabotage);
    passed.filter(counts).collect()
}

/// The words of the sabotages that were noticed in each of their runs, as far as the check had to.
pub(crate) fn noticed(trials: &[Trial], fooled: &[Sabotage]) -> Vec<&'static str> {
    let mut words = Vec::new();
    for trial in trials.iter().filter(|trial| trial.is_noticed) {
        let word = trial.sabotage.word();
        if !words.contains(&word) && !fooled.iter().any(|sabotage| sabotage.word() == word) {
            words.push(word);
        }
    }
    words
}

/// The words of the sabotages that it passed and need not have noticed: it has not claimed to look at that.
pub(crate) fn unclaimed(trials: &[Trial], noticed: &[&'static str], fooled: &[Sabotage]) -> Vec<&'static str> {
    let mut words: Vec<_> = trials
        .iter()
        .filter(|trial| !trial.is_noticed && !is_of_the_clock(trial.sabotage))
        .map(|trial| trial.sabotage.word())
        .filter(|word| !noticed.contains(word) && !fooled.iter().any(|sabotage| sabotage.word() == *word))
        .collect();
    words.dedup();
    words
}

/// What it loads, if it looks at nothing else.
fn only_loaded(seen: &Trace) -> Option<&PathBuf> {
    let library = seen.libraries.first().filter(|_| !seen.looks());
    seen.loads.as_ref().or(library).filter(|_| !seen.talks())
}

/// The verdict on a check that was well; `allowed` are the words of what its configuration accepts.
pub(crate) fn verdict(trials: &[Trial], fooled: &[Sabotage], seen: &Trace, allowed: &[&str]) -> Verdict {
    let noticed = trials.iter().any(|trial| trial.is_noticed);
    // That it fails without descriptors or memory says nothing about what it looks at.
    let is_starved = |sabotage: Sabotage| matches!(sabotage, Sabotage::Starved(Starved::Descriptors | Starved::Memory));
    let misses_what_it_looks_at = trials.iter().all(|trial| is_starved(trial.sabotage) || !trial.is_noticed);
    let counted = fooled.iter().filter(|sabotage| !allowed.contains(&sabotage.word())).count();
    let looks_at_nothing = trials.iter().all(|trial| is_asked_of_all(trial.sabotage));
    match (noticed, counted) {
        (false, _) if let Some(loaded) = only_loaded(seen) => Verdict::NotDrilled(format!(
            "it looks at nothing but what it loads, such as {}, and nobody can tell whether that is meant",
            loaded.display()
        )),
        (false, _) if looks_at_nothing && !seen.unread.is_empty() => Verdict::NotDrilled(format!(
            "it reads what is not there, and is content with that, such as {}",
            seen.unread.iter().map(|path| path.display().to_string()).take(3).collect::<Vec<_>>().join(", ")
        )),
        (false, _) if looks_at_nothing => Verdict::CannotFail,
        _ if misses_what_it_looks_at && fooled.is_empty() => Verdict::NotDrilled(
            "nothing that it looks at can be broken so that it would have to notice: it may want little of something, or none"
                .to_owned(),
        ),
        (_, 0) => Verdict::Sound,
        (true, _) => Verdict::Fooled,
        (false, _) => Verdict::CannotFail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn talker() -> Trace {
        Trace { streams: ["127.0.0.1:80".parse().expect("it is one")].into(), ..Trace::default() }
    }

    fn trial(sabotage: Sabotage, status: Status) -> Trial {
        Trial::new(sabotage, RunEnd::Found { status, context: String::new() }, Status::Pass, true)
    }

    fn trials(plan: &[Sabotage], passes: impl Fn(&Sabotage) -> bool) -> Vec<Trial> {
        let status = |sabotage: &Sabotage| if passes(sabotage) { Status::Pass } else { Status::Fail };
        plan.iter().map(|sabotage| trial(*sabotage, status(sabotage))).collect()
    }

    fn judged(seen: &Trace, promise: Promise, passes: impl Fn(&Sabotage) -> bool) -> (Verdict, Vec<&'static str>) {
        let trials = trials(&plan(seen, promise), passes);
        let fooled = fooled_by(&trials, seen, promise);
        let verdict = verdict(&trials, &fooled, seen, &[]);
        (verdict, fooled.iter().map(|sabotage| sabotage.word()).collect())
    }

    #[test]
    fn what_it_looks_at_decides_what_is_sabotaged() {
        let words = |seen: &Trace| {
            let mut words: Vec<_> = plan(seen, Promise::default()).iter().map(|sabotage| sabotage.word()).collect();
            words.dedup();
            words
        };
        assert_eq!(words(&Trace::default()), ["gone", "starved"], "it may know the time");
        assert_eq!(words(&talker()), ["refused", "black_hole", "rubbish", "starved"]);
        let http = Trace { speaks_http: true, ..talker() };
        assert_eq!(words(&http), ["refused", "black_hole", "rubbish", "stranger", "starved"]);
        let file = Trace { files: ["/x".into()].into(), opened: ["/x".into()].into(), ..Trace::default() };
        assert_eq!(words(&file), ["gone", "starved"]);
        let disk = Trace { measured: ["/".into()].into(), ..Trace::default() };
        assert_eq!(words(&disk), ["gone", "full", "starved"]);
        let both = Trace { files: file.files.clone(), ..talker() };
        assert_eq!(words(&both), words(&talker()), "what it opens by the way is no claim");
        let absent = Trace { refused: talker().streams, ..Trace::default() };
        assert_eq!(words(&absent), ["rubbish"]);
    }

    #[test]
    fn who_looks_at_the_status_or_at_the_body_is_sound_and_who_looks_at_neither_is_not() {
        let http = Trace { speaks_http: true, ..talker() };
        let (failing, other) = (Sabotage::Stranger(Stranger::Failing), Sabotage::Stranger(Stranger::OtherBody));
        let none = Promise::default();
        assert_eq!(judged(&http, none, |sabotage| *sabotage == other).0, Verdict::Sound);
        assert_eq!(judged(&http, none, |sabotage| *sabotage == failing).0, Verdict::Sound);
        assert_eq!(judged(&http, none, |sabotage| [failing, other].contains(sabotage)).0, Verdict::Fooled);
        let promise = Promise { content: true, ..none };
        assert_eq!(judged(&http, promise, |sabotage| *sabotage == other), (Verdict::Fooled, vec!["stranger"]));
        let filter = Trace { passes_on: true, ..http };
        assert_eq!(judged(&filter, none, |sabotage| *sabotage == other).0, Verdict::Fooled);
    }

    #[test]
    fn what_the_configuration_accepts_is_sound() {
        let trials = trials(&plan(&talker(), Promise::default()), |sabotage| sabotage.word() == "rubbish");
        let fooled = fooled_by(&trials, &talker(), Promise::default());
        assert_eq!(verdict(&trials, &fooled, &talker(), &[]), Verdict::Fooled);
        assert_eq!(verdict(&trials, &fooled, &talker(), &["stranger"]), Verdict::Fooled);
        assert_eq!(verdict(&trials, &fooled, &talker(), &["rubbish"]), Verdict::Sound);
    }

    #[test]
    fn who_reads_and_takes_whatever_stands_there_is_fooled() {
        let reader = |path: &str| Trace {
            files: [path.into()].into(),
            opened: [path.into()].into(),
            reads_all: true,
            ..Trace::default()
        };
        let judged = |seen: &Trace, minds: &[Gone]| {
            let minds = |sabotage: &Sabotage| minds.iter().any(|how| *sabotage == Sabotage::Gone(*how));
            judged(seen, Promise::default(), |sabotage| !minds(sabotage)).0
        };
        let file = reader("/srv/log");
        assert_eq!(judged(&file, &[Gone::Missing]), Verdict::Fooled);
        for content in [Gone::Empty, Gone::Other, Gone::Less, Gone::More] {
            assert_eq!(judged(&file, &[Gone::Missing, content]), Verdict::Sound, "{content:?}");
        }
        let json = Trace { takes_apart: true, ..file.clone() };
        assert_eq!(judged(&json, &[Gone::Missing, Gone::Empty]), Verdict::Fooled, "that is only its form");
        let aside = Trace { reads_all: false, ..file };
        assert_eq!(judged(&aside, &[Gone::Missing]), Verdict::Sound, "it may want to know whether it is there");
        // What the kernel tells is always there, and never empty.
        let mounts = reader("/proc/mounts");
        assert_eq!(judged(&mounts, &[Gone::Missing, Gone::Empty]), Verdict::Fooled);
        assert_eq!(judged(&mounts, &[Gone::More]), Verdict::Sound);
        let memory = reader("/proc/meminfo");
        assert_eq!(judged(&memory, &[Gone::Missing, Gone::Other]), Verdict::Fooled, "only figures matter there");
        assert_eq!(judged(&memory, &[Gone::Missing, Gone::Less]), Verdict::Sound);
    }

    #[test]
    fn who_looks_for_files_and_takes_none_as_well_as_many_is_fooled() {
        let spool = PathBuf::from("/srv/spool");
        let seen = Trace { files: [spool.clone()].into(), listed: [spool].into(), sifts: true, ..Trace::default() };
        let missing = Sabotage::Gone(Gone::Missing);
        let judged = |seen: &Trace, minds: Option<Gone>| {
            judged(seen, Promise::default(), |it| *it != missing && minds.is_none_or(|how| *it != Sabotage::Gone(how)))
                .0
        };
        assert_eq!(judged(&seen, None), Verdict::Fooled);
        assert_eq!(judged(&seen, Some(Gone::Empty)), Verdict::Sound);
        assert_eq!(judged(&seen, Some(Gone::More)), Verdict::Sound);
        let lists = Trace { sifts: false, ..seen };
        assert_eq!(judged(&lists, None), Verdict::Sound, "as ls, it may want to know whether it can be read");
    }

    #[test]
    fn who_takes_any_certificate_has_to_look_at_what_is_said() {
        let tls = Trace { speaks_tls: true, ..talker() };
        let certificate = Sabotage::Stranger(Stranger::Certificate);
        let (failing, other) = (Sabotage::Stranger(Stranger::Failing), Sabotage::Stranger(Stranger::OtherBody));
        let none = Promise::default();
        assert_eq!(judged(&tls, none, |sabotage| [certificate, other].contains(sabotage)).0, Verdict::Sound);
        assert_eq!(judged(&tls, none, |sabotage| [certificate, failing, other].contains(sabotage)).0, Verdict::Fooled);
        let kind = Promise { notices: &["refused", "black_hole", "rubbish", "stranger", "starved"], ..none };
        assert_eq!(judged(&tls, kind, |sabotage| *sabotage == certificate).0, Verdict::Fooled);
    }

    #[test]
    fn a_warning_is_noticed_unless_it_was_there_before() {
        let warns = |good| {
            Trial::new(Sabotage::Full, RunEnd::Found { status: Status::Warn, context: String::new() }, good, false)
        };
        assert!(warns(Status::Pass).is_noticed && !warns(Status::Warn).is_noticed);
        assert!(!trial(Sabotage::Full, Status::Skip).is_noticed);
    }

    proptest! {
        #[test]
        fn a_check_that_notices_all_is_sound_and_one_that_notices_nothing_cannot_fail(
            talks in any::<bool>(), http in any::<bool>(), tls in any::<bool>(), file in any::<bool>(),
            processes in any::<bool>(), measured in any::<bool>(), interfaces in any::<bool>(), content in any::<bool>(), age in any::<bool>(),
        ) {
            let seen = Trace {
                speaks_http: talks && http,
                speaks_tls: talks && tls,
                files: if file { ["/x".into()].into() } else { [].into() },
                measured: if measured { ["/".into()].into() } else { [].into() },
                processes,
                interfaces,
                ..if talks { talker() } else { Trace::default() }
            };
            let promise = Promise { content, age, ..Promise::default() };
            let looks_at_nothing = plan(&seen, promise).into_iter().all(is_asked_of_all);
            prop_assert_eq!(looks_at_nothing, !(seen.talks() || seen.looks() || seen.interfaces));
            prop_assert_eq!(judged(&seen, promise, |_| false).0, Verdict::Sound);
            prop_assert_eq!(judged(&seen, promise, |sabotage| is_asked_of_all(*sabotage)).0, if looks_at_nothing { Verdict::CannotFail } else { Verdict::Sound });
            prop_assert_eq!(judged(&seen, promise, |_| true).0, Verdict::CannotFail);
        }
    }
}
