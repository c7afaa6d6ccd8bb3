//! One worker's side of the checks that run on a schedule: it runs those that are due, one run for all workers, and knows
//! what they have found, whichever worker ran them.
//!
//! The worker that ran a check last runs it again. If that is late, as it was stopped or hangs, any other does. What has not
//! returned when its time was over keeps its lease, so that no other worker starts it beside.

mod record;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::daemon::shared::kept::Kept;
use crate::daemon::shared::schedule::{Plan, RunLease};
use crate::endpoint::rounds::Waiter;
use crate::model::check::{Check, Severity};
use crate::model::duration;
use crate::model::patience::Flips;
use crate::model::report::Outcome;
use crate::model::schedule::{self, Schedule};
use crate::model::startup;
use crate::model::suite::Suite;
use crate::os::procfs::Stat;
use crate::os::{clock, tree};
use crate::round::run_observer::ScheduledFinding;
use crate::round::{Round, Runner};
use record::Record;
pub(super) use record::{Places, last_found};

/// How late the worker that ran a check last may be before another runs it.
const LATE: Duration = Duration::from_millis(300);

/// How often a worker looks whether others are late, at most.
const LOOK: Duration = Duration::from_millis(500);

/// How often it looks while a request waits for another worker's run.
const POLL: Duration = Duration::from_millis(50);

/// When a check that was blocked is tried again, at the latest.
const RETRY: Duration = Duration::from_secs(5);

/// How long a lease outlasts the time of its run: on a busy machine, no run must be doubled for being slightly late.
const GRACE: Duration = Duration::from_millis(250);

/// The checks on a schedule, as one worker runs them.
pub(super) struct Scheduler {
    kept: Kept,
    pid: u32,
    runner: Runner,
    /// How many checks run at once.
    at_once: usize,
    /// How long a request waits for runs.
    limit: Duration,
    /// The suite as it was seen last, and those of its checks that have a schedule.
    suite: Suite,
    checks: Vec<ScheduledCheck>,
    /// Whether one of them needs another check.
    has_needs: bool,
    /// What runs here, and for each what it is.
    rounds: Vec<Round>,
    runs: Vec<ScheduledRun>,
    /// Knows who has them when no place is left.
    places: Places,
    /// The leases of checks that were given up on, and have not returned.
    stuck: HashMap<u64, RunLease>,
    /// When to look at all plans; `None`: there are none.
    next_look: Option<Instant>,
    /// Those who wait for runs.
    waiting: Vec<Waiter>,
    has_complained: bool,
}

#[derive(Clone)]
struct ScheduledCheck {
    check: Arc<Check>,
    schedule: Schedule,
    key: u64,
    /// By how much its runs are shifted against those of others.
    shift: u64,
    /// The check as it is run when its time has come, and what it needs.
    once: Suite,
    /// How long a run may take.
    limit: Duration,
}

struct ScheduledRun {
    of: ScheduledCheck,
    lease: RunLease,
    /// By the clock that counts suspensions.
    began: Duration,
    /// Whether it is on the schedule, and not made because somebody asked for it.
    is_planned: bool,
}

impl Scheduler {
    /// The worker with this pid runs so many checks `at_once` with this runner, and says when it has no `places` left;
    /// requests wait for at most `limit`.
    pub(super) fn new(
        kept: Kept,
        pid: u32,
        runner: Runner,
        (at_once, places): (usize, Places),
        limit: Duration,
    ) -> Scheduler {
        Scheduler {
            kept,
            pid,
            runner,
            at_once,
            limit,
            suite: Suite::default(),
            checks: Vec::new(),
            has_needs: false,
            rounds: Vec::new(),
            runs: Vec::new(),
            places,
            stuck: HashMap::new(),
            next_look: None,
            waiting: Vec::new(),
            has_complained: false,
        }
    }

    /// Takes in the suite as it is now.
    pub(super) fn see(&mut self, suite: &Suite, now: Instant) {
        if self.suite.is(suite) {
            return;
        }
        self.suite = suite.clone();
        let seed = self.kept.seed();
        let scheduled = |check: &Arc<Check>| {
            let part = suite.filtered(|other| other.id == check.id);
            let once: Suite =
                part.checks().iter().map(|it| if Arc::ptr_eq(it, check) { once(it) } else { it.clone() }).collect();
            Some(ScheduledCheck {
                check: check.clone(),
                schedule: check.schedule?,
                key: Kept::key(check),
                shift: schedule::shift(&check.id, seed),
                limit: once.checks().iter().map(|check| check.timeout).sum::<Duration>().min(duration::LONGEST),
                once,
            })
        };
        self.checks = suite.checks().iter().filter_map(scheduled).collect();
        self.has_needs = self.checks.iter().any(|scheduled| !scheduled.check.needs.is_empty());
        self.next_look = (!self.checks.is_empty()).then_some(now);
    }

    /// Whether no check has a schedule, and nothing that had one is left to do.
    pub(super) fn is_idle(&self) -> bool {
        self.checks.is_empty() && self.rounds.is_empty() && self.waiting.is_empty()
    }

    /// Takes in a request that has to wait for runs: something that it asks for has not run yet, or not recently enough.
    pub(super) fn take_unless_known(&mut self, waiter: Waiter) -> Option<Waiter> {
        if self.checks.is_empty() || self.missing(&waiter).is_empty() {
            return Some(waiter);
        }
        self.waiting.push(waiter);
        None
    }

    /// Moves on what runs, and begins what is due if it `may`. Returns what has been found since.
    pub(super) fn advance(&mut self, may: bool, now: Instant) -> Vec<Outcome> {
        let mut found = Vec::new();
        if !self.rounds.is_empty() {
            self.runner.advance_all(&mut self.rounds, now);
            found = self.take_ended(now);
        }
        // Those who wait are answered, however soon this worker is to leave.
        self.begin_wanted(now);
        if may && self.next_look.is_some_and(|look| look <= now) {
            self.begin_due(now);
        }
        // What cannot block is over by now.
        found.extend(self.take_ended(now));
        found
    }

    /// Has what was blocked by checks run again at once, once they block nothing any more.
    pub(super) fn free(&mut self, found: &[Outcome], now: Instant) {
        if !self.has_needs {
            return;
        }
        let is_free = |id: &String| found.iter().any(|outcome| outcome.check.id == *id && !outcome.blocks());
        let table = self.kept.schedules();
        for scheduled in self.checks.iter().filter(|scheduled| !scheduled.check.needs.is_empty()) {
            let record = table.record::<Record>(scheduled.key);
            if record.is_some_and(|record| record.blocked_by.iter().any(is_free)) {
                table.bring_forward(scheduled.key, clock::since_boot());
                self.next_look = Some(now);
            }
        }
    }

    /// The next request that need wait no longer.
    pub(super) fn next_ready(&mut self, now: Instant) -> Option<Waiter> {
        let is_ready = |waiter: &Waiter| self.gives_up(waiter) <= now || self.missing(waiter).is_empty();
        let place = self.waiting.iter().position(is_ready)?;
        let mut waiter = self.waiting.remove(place);
        // What was found before is older than it may be.
        if waiter.request.max_age().is_some() {
            waiter.not_run =
                self.missing(&waiter).into_iter().map(|place| self.checks[place].check.id.clone()).collect();
        }
        Some(waiter)
    }

    /// When to call [`Scheduler::advance`] at the latest.
    pub(super) fn next_deadline(&self, may: bool, now: Instant) -> Option<Instant> {
        let runs = self.rounds.iter().filter_map(Round::next_deadline);
        let waiting = self.waiting.iter().map(|waiter| self.gives_up(waiter).min(now + POLL));
        runs.chain(waiting).chain(self.next_look.filter(|_| may)).min()
    }

    fn gives_up(&self, waiter: &Waiter) -> Instant {
        let limit = waiter.since + self.limit;
        waiter.limit().map_or(limit, |earlier| earlier.min(limit))
    }

    /// The checks that a request must wait for.
    fn missing(&self, waiter: &Waiter) -> Vec<usize> {
        let part = waiter.request.suite();
        if !part.has_schedule() {
            return Vec::new();
        }
        let since = waiter.request.max_age().map(|age| {
            let asked = clock::since_boot().saturating_sub(waiter.since.elapsed());
            asked.saturating_sub(age)
        });
        let is_missing = |scheduled: &ScheduledCheck| match since {
            None => !self.kept.schedules().has_record(scheduled.key),
            Some(since) => {
                let record = self.kept.schedules().record::<Record>(scheduled.key);
                record.is_none_or(|record| record.began < since)
            }
        };
        let is_whole = part.is(&self.suite);
        let is_in_part = |id: &str| is_whole || part.checks().iter().any(|check| check.id == id);
        let wanted =
            |(_, scheduled): &(usize, &ScheduledCheck)| is_missing(scheduled) && is_in_part(&scheduled.check.id);
        self.checks.iter().enumerate().filter(wanted).map(|(place, _)| place).collect()
    }

    /// Begins what requests wait for and nobody runs.
    fn begin_wanted(&mut self, now: Instant) {
        let mut wanted: Vec<_> = self.waiting.iter().flat_map(|waiter| self.missing(waiter)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        // Where there are few places, one that is asked for again and again must not keep the others waiting for ever.
        let table = self.kept.schedules();
        wanted.sort_by_key(|&place| table.record::<Record>(self.checks[place].key).map(|record| record.began));
        for place in wanted {
            self.begin(place, false, now);
        }
    }

    /// Begins what is due, and finds out when to look again.
    fn begin_due(&mut self, now: Instant) {
        let boot = clock::since_boot();
        let mut next = Duration::MAX;
        // What has waited the longest is first: there may be too few places for all.
        let all = 0..self.checks.len();
        let mut plans: Vec<_> = all.filter_map(|place| Some((self.plan(place, boot)?, place))).collect();
        plans.sort_by_key(|(plan, _)| plan.due);
        for (plan, place) in plans {
            let is_ours = plan.owner == self.pid || plan.owner == 0;
            let is_held = self.stuck.contains_key(&self.checks[place].key);
            let leased = plan.leased_until.filter(|_| !is_held).unwrap_or_default();
            let planned = if is_ours { plan.due } else { plan.due + LATE };
            let due = planned.max(leased);
            next = next.min(match due <= boot {
                true if self.begin(place, true, now) => continue,
                // Something has to end first.
                true => boot + POLL,
                false if is_ours => due,
                // Who holds the lease may die.
                false if planned <= boot => due.min(boot + LOOK),
                false => due.max(boot + LOOK),
            });
        }
        self.next_look = (next < Duration::MAX).then(|| now + (next - boot)).or(self.next_look.map(|_| now + LOOK));
    }

    fn plan(&mut self, place: usize, boot: Duration) -> Option<Plan> {
        let table = self.kept.schedules();
        let &ScheduledCheck { schedule, key, shift, .. } = &self.checks[place];
        let plan = || table.plan(key, || schedule.first(shift, boot));
        plan().or_else(|| {
            let known: Vec<u64> = self.checks.iter().map(|check| check.key).collect();
            table.retain(|key| known.contains(&key));
            let made = plan();
            if made.is_none() && !std::mem::replace(&mut self.has_complained, true) {
                tracing::error!("too many checks have a schedule: {} is not run", self.checks[place].check.id);
            }
            made
        })
    }

    /// Runs a check, unless somebody does. False if it has to wait.
    fn begin(&mut self, place: usize, is_planned: bool, now: Instant) -> bool {
        let boot = clock::since_boot();
        // What cannot block is over at once.
        let takes_room = self.checks[place].once.checks().iter().any(|check| check.blocking);
        if (takes_room && self.rounds.len() >= self.at_once) || self.plan(place, boot).is_none() {
            return false;
        }
        if self.begins_parents(place, now) {
            return false;
        }
        let of = self.checks[place].clone();
        let until = boot + of.limit + GRACE;
        let table = self.kept.schedules();
        if of.check.code.may_start_programs() && self.is_held_by_a_program(&of) {
            return false;
        }
        let taken = match self.stuck.remove(&of.key) {
            Some(held) => table.extend(held, until),
            None => table.take(of.key, self.pid, boot, until),
        };
        let Some(lease) = taken else { return false };
        // Another worker may have run it since we looked.
        if is_planned && self.plan(place, boot).is_none_or(|plan| plan.due > boot) {
            table.give_back(lease);
            return false;
        }
        self.runner.begin_among(&mut self.rounds, of.once.clone(), of.limit, now);
        self.runs.push(ScheduledRun { of, lease, began: boot, is_planned });
        self.note_places();
        true
    }

    /// Whether another worker that runs a check is stopped, and a program that it has started since is not over. Once the
    /// deadline of that is past, nobody kills it.
    fn is_held_by_a_program(&self, of: &ScheduledCheck) -> bool {
        let is_stopped = |pid: u32| Stat::of(pid.cast_signed()).is_some_and(|stat| stat.is_stopped());
        self.kept.schedules().holder(of.key).is_some_and(|(worker, until)| {
            let began = until.saturating_sub(of.limit + GRACE);
            worker != self.pid && is_stopped(worker) && tree::has_programs_of(worker, began)
        })
    }

    /// Begins what a check needs and has never run. False if there is nothing like that.
    fn begins_parents(&mut self, place: usize, now: Instant) -> bool {
        let table = self.kept.schedules();
        let unknown = |check: &&Arc<Check>| check.schedule.is_some() && !table.has_record(Kept::key(check));
        let unknown: Vec<_> = self.checks[place].once.checks().iter().filter(unknown).cloned().collect();
        for parent in &unknown {
            if let Some(place) = self.checks.iter().position(|scheduled| scheduled.check.id == parent.id) {
                self.begin(place, false, now);
            }
        }
        !unknown.is_empty()
    }

    /// Leaves what has been found to everybody.
    fn take_ended(&mut self, now: Instant) -> Vec<Outcome> {
        let mut found = Vec::new();
        let mut place = 0;
        while place < self.rounds.len() {
            if !self.rounds[place].is_over() {
                place += 1;
                continue;
            }
            let (round, run) = (self.rounds.swap_remove(place), self.runs.swap_remove(place));
            let report = round.into_report(now);
            let its = report.outcomes.into_iter().find(|outcome| outcome.check.id == run.of.check.id);
            found.extend(its.and_then(|outcome| self.leave(run, &outcome, now)));
            self.note_places();
        }
        found
    }

    /// Lets those who tell findings know who keeps others from running.
    fn note_places(&self) {
        let longest = self.runs.iter().min_by_key(|run| run.began).filter(|_| self.rounds.len() >= self.at_once);
        self.places.are_held_by(longest.map(|run| (&*run.of.check.id, run.began)));
    }

    /// `None`: others have taken over from us.
    fn leave(&mut self, run: ScheduledRun, outcome: &Outcome, now: Instant) -> Option<Outcome> {
        let ScheduledRun { of: ScheduledCheck { check, schedule, key, shift, limit, .. }, lease, began, is_planned } =
            run;
        let table = self.kept.schedules();
        let is_starting = check.grace.is_some_and(|grace| {
            if startup::has_passed(outcome.finding.status) {
                self.kept.end_start(&check.id);
            }
            !self.kept.start(&check.id).is_over(grace)
        });
        let before = table.record::<Record>(key).map(|record| record.patience).unwrap_or_default();
        let is_blocked = !outcome.blocked_by().is_empty();
        let patience = match (is_planned || before.is_new()) && !is_blocked {
            true => before.after(schedule, &outcome.finding, is_starting, began.as_secs()),
            false => before,
        };
        // What it needs ran first, and may have taken long: its own age counts from its own beginning.
        let own = clock::since_boot().saturating_sub(outcome.age).max(began);
        let mut record = Record::new(outcome, own, patience);
        let due = if is_planned { schedule.next(shift, began) } else { Duration::ZERO };
        let is_left = table.leave(&lease, due, &mut record, Record::shorten);
        // What was blocked has not run: it is tried again soon, whoever asked for it.
        if is_left && is_blocked {
            table.hasten(&lease, began + RETRY);
        }
        let boot = clock::since_boot();
        if self.runner.is_running(&check.id) {
            // Until this worker would run it again, at least.
            self.stuck.extend(table.extend(lease, boot + schedule.every + limit + LOOK).map(|lease| (key, lease)));
        } else {
            table.give_back(lease);
        }
        self.next_look = self.next_look.map(|_| now);
        let ScheduledFinding { found, circumstances, elapsed, age } = record.known(boot, None);
        let mut outcome = Outcome::judged(check.clone(), found, circumstances, elapsed, age);
        if let Some(grace) = check.grace {
            outcome.excuse(grace, self.kept.start(&check.id));
        }
        is_left.then_some(outcome)
    }
}

/// Whether a check has a schedule, and its last run says nothing any more.
pub(super) fn is_stale(kept: Kept, check: &Check) -> bool {
    check.schedule.is_some_and(|schedule| {
        let record = kept.schedules().record::<Record>(Kept::key(check));
        record.is_some_and(|it| schedule.is_stale(check.timeout, clock::since_boot().saturating_sub(it.began)))
    })
}

/// In how long a check with a schedule runs next; zero if it is about to.
pub(super) fn next_run(kept: Kept, check: &Check) -> Option<Duration> {
    let due = check.schedule.and_then(|_| kept.schedules().due(Kept::key(check)))?;
    Some(due.saturating_sub(clock::since_boot()))
}

/// How often what is said of a check has changed.
pub(super) fn flips(kept: Kept, check: &Check) -> Option<Flips> {
    let record = check.schedule.and_then(|_| kept.schedules().record::<Record>(Kept::key(check)))?;
    Some(record.patience.flips(clock::since_boot().as_secs()))
}

/// How many runs of a check in a row have found the opposite of what is said of it.
pub(super) fn against(kept: Kept, check: &Check) -> u32 {
    let record = check.schedule.and_then(|_| kept.schedules().record::<Record>(Kept::key(check)));
    record.map_or(0, |record| record.patience.against())
}

/// The check as it is run when its time has come: what it finds is judged whenever it is told.
fn once(check: &Check) -> Arc<Check> {
    Arc::new(Check { schedule: None, grace: None, on_fail: Severity::Fail, strict: false, ..check.clone() })
}
