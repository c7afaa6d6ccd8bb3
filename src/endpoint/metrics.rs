//! The answer of `/metrics`: the last outcomes of the checks, and the counts of the service.

use std::fmt;
use std::time::SystemTime;

use super::counters::{Counters, RestartReason, RouteLabel, StatusClass, WorkerState};
use super::observer::Observer;
use crate::model::check::{Finding, Severity, Status};
use crate::model::episode::{Uptime, WINDOWS};
use crate::model::judgement::Judgement;
use crate::model::patience::Flips;
use crate::model::report::Outcome;
use crate::model::suite::Suite;
use crate::os::clock;
use crate::render::exposition::{Exposition, Family, MetricKind, Syntax};
use crate::render::{appended, prometheus};

/// The families in addition to those of a report. `docs/ENDPOINT.md` is compared with both by a test.
#[cfg(test)]
pub(crate) static FAMILIES: &[Family] = &[
    LAST_RUN,
    SINCE,
    UPTIME,
    OBSERVED,
    FLIPS,
    FLAPPING,
    LOST,
    ROUNDS,
    REQUESTS,
    WORKERS,
    RESTARTS,
    RELOAD_SUCCESSFUL,
    RELOADED,
    GENERATION,
    BUILD,
];

const LAST_RUN: Family = Family {
    name: "hospital_check_last_run_timestamp_seconds",
    kind: MetricKind::Gauge,
    labels: &["check"],
    help: "When the last run of the check ended.",
};
const SINCE: Family = Family {
    name: "hospital_check_since_timestamp_seconds",
    kind: MetricKind::Gauge,
    labels: &["check"],
    help: "Since when the runs of the check find it well, or find it bad, as far as anybody looked.",
};
const UPTIME: Family = Family {
    name: "hospital_check_uptime_ratio",
    kind: MetricKind::Gauge,
    labels: &["check", "window"],
    help: "Of the time up to now in which anybody knew what the check would find, the part in which it was well.",
};
const OBSERVED: Family = Family {
    name: "hospital_check_observed_ratio",
    kind: MetricKind::Gauge,
    labels: &["check", "window"],
    help: "The part of the time up to now in which anybody knew what the check would find.",
};
const FLIPS: Family = Family {
    name: "hospital_check_flips_total",
    kind: MetricKind::Counter,
    labels: &["check"],
    help: "How often a check with a schedule has become bad, or good again.",
};
const FLAPPING: Family = Family {
    name: "hospital_check_flapping",
    kind: MetricKind::Gauge,
    labels: &["check"],
    help: "Whether a check with a schedule has done so often within the last hour (1), or not (0).",
};
const LOST: Family = Family {
    name: "hospital_outcomes_lost_total",
    kind: MetricKind::Counter,
    labels: &[],
    help: "Outcomes that there was no room to remember: their checks or figures are missing here.",
};
const ROUNDS: Family = Family {
    name: "hospital_rounds_total",
    kind: MetricKind::Counter,
    labels: &["outcome"],
    help: "Rounds of checks that have ended, by outcome.",
};
const REQUESTS: Family = Family {
    name: "hospital_requests_total",
    kind: MetricKind::Counter,
    labels: &["route", "code"],
    help: "Requests answered, by route and class of status code.",
};
const WORKERS: Family =
    Family { name: "hospital_workers", kind: MetricKind::Gauge, labels: &["state"], help: "Workers by state." };
const RESTARTS: Family = Family {
    name: "hospital_worker_restarts_total",
    kind: MetricKind::Counter,
    labels: &["cause"],
    help: "Workers that were replaced, by cause.",
};
const RELOAD_SUCCESSFUL: Family = Family {
    name: "hospital_config_last_reload_successful",
    kind: MetricKind::Gauge,
    labels: &[],
    help: "Whether the configuration that was read last is in force (1), or was refused or rolled back (0).",
};
const RELOADED: Family = Family {
    name: "hospital_config_last_reload_success_timestamp_seconds",
    kind: MetricKind::Gauge,
    labels: &[],
    help: "When the last good configuration came into force.",
};
const GENERATION: Family = Family {
    name: "hospital_generation",
    kind: MetricKind::Gauge,
    labels: &[],
    help: "The number of the configuration that is in force, or coming into force.",
};
const BUILD: Family = Family {
    name: "hospital_build_info",
    kind: MetricKind::Info,
    labels: &["version"],
    help: "The version of hospital.",
};

/// The labels of the two entries of [`Counters::rounds`].
const ROUND_OUTCOMES: [&str; 2] = ["pass", "fail"];

/// The contents of `/metrics`.
#[derive(Debug)]
pub(crate) struct Figures {
    /// The last outcome of each check that has run.
    pub(crate) outcomes: Vec<Outcome>,
    /// When they ran, in the same order.
    pub(crate) ran: Vec<SystemTime>,
    /// How often what is said of checks has changed, by their ids.
    pub(crate) flips: Vec<(String, Flips)>,
    /// Since when checks are found to be as they are, by their ids.
    pub(crate) since: Vec<(String, SystemTime)>,
    /// How long checks were seen to be well, in each of [`WINDOWS`], by their ids.
    pub(crate) uptime: Vec<(String, [Uptime; WINDOWS.len()])>,
    pub(crate) is_maintained: bool,
    pub(crate) counters: Counters,
}

/// What the observer knows about the checks in the suite and about the service. Strangers see a number instead of the name
/// of a check.
pub(super) fn figures(suite: &Suite, disclosed: bool, is_maintained: bool, observer: &dyn Observer) -> Figures {
    let counters = observer.counters();
    let mut figures = Figures {
        outcomes: Vec::new(),
        ran: Vec::new(),
        flips: Vec::new(),
        since: Vec::new(),
        uptime: Vec::new(),
        is_maintained,
        counters,
    };
    let now = clock::wall();
    for (number, check) in (1..).zip(suite.checks()) {
        let Some(mut last) = observer.last_run(&check.id) else { continue };
        // Nobody may have asked since it was told.
        if !last.status.is_bad() && observer.is_stale(check) {
            last.raw.get_or_insert(last.status);
            last.status = if check.on_fail == Severity::Warn { Status::Warn } else { Status::Error };
        }
        let finding = Finding { status: last.status, perfdata: last.figures, blame: last.blame, ..Finding::PASS };
        let age = last.at.elapsed().unwrap_or_default() + last.elapsed;
        // Which of what it needs is the cause is not remembered.
        let blocked_by = if last.is_blocked { check.needs.clone() } else { Vec::new() };
        let is_judged = last.is_blocked || last.raw.is_some();
        let judged = || Box::new(Judgement { raw: last.raw, blocked_by, ..Judgement::default() });
        let judgement = is_judged.then(judged);
        let outcome = Outcome { check: check.clone(), finding, elapsed: last.elapsed, age, judgement };
        let outcome = if disclosed { outcome } else { outcome.anonymous(number) };
        figures.flips.extend(observer.flips(check).map(|flips| (outcome.check.id.clone(), flips)));
        if let Some(history) = observer.history(&check.id) {
            let uptime = WINDOWS.map(|(_, window)| history.uptime(now, window));
            figures.since.extend(history.since().map(|since| (outcome.check.id.clone(), since.at)));
            figures.uptime.push((outcome.check.id.clone(), uptime));
        }
        figures.outcomes.push(outcome);
        figures.ran.push(last.at);
    }
    figures
}

/// Appends the whole exposition.
pub(crate) fn write(figures: &Figures, syntax: Syntax, out: &mut Vec<u8>) {
    appended(out, |text| {
        let mut out = Exposition::new(syntax, text);
        prometheus::checks(&figures.outcomes, &mut out)?;
        last_runs(figures, &mut out)?;
        since(figures, &mut out)?;
        uptime(figures, &mut out)?;
        flips(figures, &mut out)?;
        prometheus::maintenance(figures.is_maintained, &mut out)?;
        service(&figures.counters, &mut out)?;
        out.end()
    });
}

fn last_runs(figures: &Figures, out: &mut Exposition<'_>) -> fmt::Result {
    out.family(&LAST_RUN)?;
    for (outcome, ran) in figures.outcomes.iter().zip(&figures.ran) {
        out.sample(&LAST_RUN, &[&outcome.check.id], seconds(*ran))?;
    }
    Ok(())
}

fn since(figures: &Figures, out: &mut Exposition<'_>) -> fmt::Result {
    out.family(&SINCE)?;
    for (id, at) in &figures.since {
        out.sample(&SINCE, &[id], seconds(*at))?;
    }
    Ok(())
}

fn uptime(figures: &Figures, out: &mut Exposition<'_>) -> fmt::Result {
    let all = || figures.uptime.iter().flat_map(|(id, all)| WINDOWS.iter().zip(all).map(move |pair| (id, pair)));
    out.family(&UPTIME)?;
    for (id, ((window, _), uptime)) in all() {
        if let Some(ratio) = uptime.ratio() {
            out.sample(&UPTIME, &[id, window], ratio)?;
        }
    }
    out.family(&OBSERVED)?;
    for (id, ((window, _), uptime)) in all() {
        out.sample(&OBSERVED, &[id, window], uptime.observed_ratio())?;
    }
    Ok(())
}

fn flips(figures: &Figures, out: &mut Exposition<'_>) -> fmt::Result {
    out.family(&FLIPS)?;
    for (id, flips) in &figures.flips {
        out.sample(&FLIPS, &[id], flips.total)?;
    }
    out.family(&FLAPPING)?;
    for (id, flips) in &figures.flips {
        out.sample(&FLAPPING, &[id], u8::from(flips.is_flapping()))?;
    }
    Ok(())
}

fn service(counters: &Counters, out: &mut Exposition<'_>) -> fmt::Result {
    out.family(&LOST)?;
    out.sample(&LOST, &[], counters.lost)?;
    out.family(&ROUNDS)?;
    for (outcome, count) in ROUND_OUTCOMES.iter().zip(counters.rounds) {
        out.sample(&ROUNDS, &[outcome], count)?;
    }
    out.family(&REQUESTS)?;
    for (route, counts) in RouteLabel::ALL.iter().zip(counters.requests) {
        for (class, count) in StatusClass::ALL.iter().zip(counts) {
            out.sample(&REQUESTS, &[route.word(), class.word()], count)?;
        }
    }
    out.family(&WORKERS)?;
    for (state, count) in WorkerState::ALL.iter().zip(counters.workers) {
        out.sample(&WORKERS, &[state.word()], count)?;
    }
    out.family(&RESTARTS)?;
    for (reason, count) in RestartReason::ALL.iter().zip(counters.restarts) {
        out.sample(&RESTARTS, &[reason.word()], count)?;
    }
    out.family(&RELOAD_SUCCESSFUL)?;
    out.sample(&RELOAD_SUCCESSFUL, &[], u8::from(counters.reload_successful))?;
    out.family(&RELOADED)?;
    out.sample(&RELOADED, &[], seconds(counters.reloaded))?;
    out.family(&GENERATION)?;
    out.sample(&GENERATION, &[], counters.generation)?;
    out.family(&BUILD)?;
    out.sample(&BUILD, &[env!("CARGO_PKG_VERSION")], 1)
}

/// Seconds since 1970.
fn seconds(moment: SystemTime) -> f64 {
    moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::observer::LastRun;
    use crate::model::blame::Blame;
    use crate::model::check::Check;
    use crate::model::perfdata::Perfdata;
    use crate::model::report::tests::report as sample;
    use crate::model::silence::Covered;
    use crate::model::silence::tests::silence;
    use crate::render::tests::{ALL, hostile, promtool_accepts};
    use std::collections::HashSet;
    use std::sync::Arc;
    use std::time::Duration;

    fn figures(mut outcomes: Vec<Outcome>) -> Figures {
        if let Some(outcome) = outcomes.first_mut() {
            outcome.finding.perfdata = vec![Perfdata::new("a\"b\\c\nd", 1e22, "B")];
            let silence = Some(Arc::new(silence(Covered::Check("db".to_owned()))));
            outcome.check = Arc::new(Check { silence, ..Check::clone(&outcome.check) });
        }
        let ran = SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_250);
        let mut requests = [[0; 3]; 8];
        requests[RouteLabel::Checks as usize] = [1_000_000, 2, 3];
        let counters = Counters {
            requests,
            rounds: [7, 1],
            workers: [0, 3, 1, 0, 0, 0],
            restarts: [1, 3, 0, 2, 4],
            generation: 2,
            reload_successful: true,
            reloaded: ran,
            lost: 5,
        };
        let window = |seconds| Uptime {
            good: Duration::from_secs(45),
            observed: Duration::from_secs(60),
            window: Duration::from_secs(seconds),
        };
        let since = vec![("check.0".to_owned(), ran)];
        let uptime = vec![("check.0".to_owned(), [3600, 86_400, 2_592_000].map(window))];
        let flips = vec![("check.0".to_owned(), Flips { total: 9, within_the_hour: 7 })];
        Figures { ran: vec![ran; outcomes.len()], outcomes, flips, since, uptime, is_maintained: true, counters }
    }

    fn written(figures: &Figures, syntax: Syntax) -> String {
        let mut out = b"before".to_vec();
        write(figures, syntax, &mut out);
        String::from_utf8(out).expect("both are UTF-8").split_off("before".len())
    }

    #[test]
    fn all_there_is_to_know_in_the_text_format() {
        insta::assert_snapshot!(written(&figures(sample(&[Status::Fail]).outcomes), Syntax::Text));
    }

    #[test]
    fn openmetrics_names_counters_otherwise_and_says_where_it_ends() {
        let figures = figures(sample(&[Status::Fail]).outcomes);
        let (text, open) = (written(&figures, Syntax::Text), written(&figures, Syntax::OpenMetrics));
        let samples = |text: &str| text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        let (plain, as_open): (Vec<_>, Vec<_>) = (samples(&text), samples(&open));
        assert_eq!(plain, as_open, "the same series, whoever asks");
        let before: HashSet<_> = text.lines().collect();
        let new: Vec<_> = open.lines().filter(|line| !before.contains(line)).collect();
        insta::assert_snapshot!(new.join("\n"), @r"
        # HELP hospital_check_flips How often a check with a schedule has become bad, or good again.
        # TYPE hospital_check_flips counter
        # HELP hospital_outcomes_lost Outcomes that there was no room to remember: their checks or figures are missing here.
        # TYPE hospital_outcomes_lost counter
        # HELP hospital_rounds Rounds of checks that have ended, by outcome.
        # TYPE hospital_rounds counter
        # HELP hospital_requests Requests answered, by route and class of status code.
        # TYPE hospital_requests counter
        # HELP hospital_worker_restarts Workers that were replaced, by cause.
        # TYPE hospital_worker_restarts counter
        # HELP hospital_build The version of hospital.
        # TYPE hospital_build info
        # EOF
        ");
        assert!(open.ends_with("\n# EOF\n"), "{open}");
    }

    #[test]
    fn a_check_whose_last_run_is_stale_is_no_success_even_if_nobody_has_asked_for_it() {
        struct Stale;
        impl Observer for Stale {
            fn last_run(&self, _id: &str) -> Option<LastRun> {
                let (at, elapsed) = (SystemTime::UNIX_EPOCH, Duration::ZERO);
                let figures = Vec::new();
                Some(LastRun { status: Status::Pass, figures, elapsed, at, raw: None, is_blocked: false, blame: None })
            }

            fn is_stale(&self, _check: &Check) -> bool {
                true
            }
        }
        let suite: Suite = [Arc::new(Check::new("db", |_| Finding::PASS))].into_iter().collect();
        let outcome = super::figures(&suite, true, false, &Stale).outcomes.remove(0);
        assert_eq!((outcome.finding.status, outcome.raw()), (Status::Error, Status::Pass));
    }

    #[test]
    fn what_a_check_is_called_begins_no_line_of_its_own() {
        for syntax in Syntax::ALL {
            let text = written(&figures(hostile().outcomes), syntax);
            assert!(text.lines().all(|line| line.starts_with("# ") || line.starts_with("hospital_")), "{text}");
        }
    }

    #[test]
    fn each_family_is_written_once_and_is_in_the_tables() {
        let mut outcomes = sample(&ALL).outcomes;
        let needing = Check::new("needing", |_| Finding::PASS).needs(["db"]).on_fail(Severity::Warn);
        outcomes.push(Outcome::of(needing.into(), Finding::fail("no"), Duration::ZERO, Duration::ZERO));
        outcomes[0].finding.blame = Some(Blame::Ours);
        let text = written(&figures(outcomes), Syntax::Text);
        let begun = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        let mut begun: Vec<_> = begun.collect();
        let mut known: Vec<_> = prometheus::FAMILIES.iter().chain(FAMILIES).map(|family| family.name).collect();
        begun.sort_unstable();
        known.sort_unstable();
        assert_eq!(begun, known);
    }

    #[test]
    #[ignore = "needs promtool"]
    fn promtool_has_no_complaint() {
        for outcomes in [sample(&ALL).outcomes, hostile().outcomes, vec![]] {
            promtool_accepts(&written(&figures(outcomes), Syntax::Text));
        }
    }
}
