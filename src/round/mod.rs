//! Runs a suite, concurrently, under deadlines: a late check is reported as late and never waited for.
//!
//! This file is one role, however long: when which run of a round begins, and what its end means for the others.
//!
//! Checks that cannot block run in place. The others run on a pool of threads that are started on demand and kept for a
//! while. A check cannot be interrupted, so a late one keeps its thread, is reported as an error, and is not started again
//! in later rounds until it has returned. A check that may have killed a worker runs only while no other such check does,
//! or not at all: see `isolation`.

pub(crate) mod as_test;
pub(crate) mod controls;
pub(crate) mod isolation;
mod our_changes;
mod pool;
pub(crate) mod recorded;
pub(crate) mod run_observer;
pub(crate) mod self_portrait;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::attribution::compare_routes;
use crate::model::blame::Blame;
use crate::model::check::{Check, Deadline, Finding};
use crate::model::control::Control;
use crate::model::duration;
use crate::model::episode::CheckRecord;
use crate::model::judgement::{self, Circumstances};
use crate::model::needs::{Known, Needs};
use crate::model::report::{Outcome, Report};
use crate::model::suite::Suite;
use crate::os::cgroup;
use crate::os::signals;
use controls::Controls;
use isolation::{DeathCause, Permission, Quarantine};
use pool::{Done, Job, Pool};
use run_observer::{Nobody, RunObserver, ScheduledFinding};

/// The most checks that a round runs at once, not counting those that it has given up on.
pub const MOST_AT_ONCE: usize = 256;

/// How long checks run in place before the owner has a turn, who may have others to serve.
const TURN: Duration = Duration::from_micros(250);

/// How long a thread is kept for the next round. Where probes come less often, a round starts its threads again; what a
/// crowd of checks once needed does not stay.
const IDLE: Duration = Duration::from_secs(60);

/// What one check takes of `pids.max`: a thread, a program and what that starts, and the same again for a generation of
/// workers that has not left yet.
const TASKS_A_CHECK: usize = 4;

/// So many checks at once, or fewer where each of these workers could not start the programs of so many: that would be an
/// error of ours.
pub(crate) fn affordable(jobs: usize, workers: usize) -> usize {
    jobs.min(cgroup::most_tasks().map_or(jobs, |tasks| tasks / workers / TASKS_A_CHECK)).max(1)
}

/// Excuses what is wrong with a check that has a grace and is still starting; how far it has got is more than a round knows. It
/// is done as soon as a check has its outcome: what needs the check goes by it.
pub(crate) type ExcuseStart = Arc<dyn Fn(&mut Outcome) + Send + Sync>;

/// Runs rounds, one after the other, and remembers between them which checks are stuck.
pub struct Runner {
    pool: Pool,
    at_once: usize,
    longest: Duration,
    failfast: bool,
    rounds: u64,
    /// Each check that occupies a thread, and since when.
    under_way: HashMap<String, Instant>,
    observer: Box<dyn RunObserver + Send>,
    excuse_start: Option<ExcuseStart>,
    controls: Arc<Controls>,
}

/// One run of a suite.
pub struct Round {
    serial: u64,
    suite: Suite,
    began: Instant,
    end: Instant,
    /// One for each check of the suite.
    states: Vec<CheckProgress>,
    /// The first check that has not been looked at yet.
    next: usize,
    /// Whether the owner has a turn before more checks run in place.
    is_interrupted: bool,
    /// The suspects that wait for their turn, and the one whose turn it is.
    suspects: VecDeque<usize>,
    turn: Option<usize>,
    /// The checks that wait until others that begin late have begun.
    put_off: VecDeque<usize>,
    /// The checks that wait for what they need.
    held: Vec<usize>,
    /// The checks that another round runs, whose outcome is theirs here, too.
    joined: Vec<usize>,
    /// The checks that have an outcome, in the order of completion.
    finished: Vec<usize>,
    /// `None`: no check of the suite has a grace.
    excuse_start: Option<ExcuseStart>,
}

impl std::fmt::Debug for Round {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Round").field("suite", &self.suite).field("states", &self.states).finish_non_exhaustive()
    }
}

/// How far a round has got with one check.
#[derive(Debug)]
enum CheckProgress {
    Waiting,
    Running { since: Instant, deadline: Instant },
    Over { outcome: Outcome, began: Instant },
}

impl Runner {
    /// A runner that calls `wake`, from any thread, when checks have finished. The owner then calls
    /// [`Runner::advance`]; only after that is `wake` called again.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Runner {
        let controls = Arc::<Controls>::default();
        Runner {
            pool: Pool::new(IDLE, controls.clone(), wake),
            at_once: MOST_AT_ONCE,
            longest: duration::LONGEST,
            failfast: false,
            rounds: 0,
            under_way: HashMap::new(),
            observer: Box::new(Nobody),
            excuse_start: None,
            controls,
        }
    }

    /// The same runner, which excuses the start of checks that have a grace.
    pub(crate) fn excusing(self, excuse_start: ExcuseStart) -> Runner {
        Runner { excuse_start: Some(excuse_start), ..self }
    }

    /// The same runner with an observer.
    pub(crate) fn observed_by(self, observer: impl RunObserver + Send + 'static) -> Runner {
        Runner { observer: Box::new(observer), ..self }
    }

    /// The same runner, which blames nobody else where something of ours has changed since a check was good, as far as this tells
    /// what is remembered of one.
    pub(crate) fn remembering(
        self,
        record: impl Fn(&Check) -> Option<Arc<CheckRecord>> + Send + Sync + 'static,
    ) -> Runner {
        self.controls.remember(record);
        self
    }

    /// The same runner, which runs at most this many checks at once instead of [`MOST_AT_ONCE`].
    pub fn with_at_once(self, at_once: usize) -> Runner {
        Runner { at_once, ..self }
    }

    /// The same runner, with this limit on the time of any check, whatever its own timeout is.
    pub fn with_longest(self, longest: Duration) -> Runner {
        Runner { longest: longest.min(duration::LONGEST), ..self }
    }

    /// The same runner. If `failfast`, it starts no more checks in a round once that has found something bad; those
    /// that were not started have no outcome.
    pub fn with_failfast(self, failfast: bool) -> Runner {
        Runner { failfast, ..self }
    }

    /// Begins a round that is over within `limit`. Checks that cannot block have run when this returns, except those
    /// that come after more checks than may run at once, or after others that took a while.
    pub fn begin(&mut self, suite: Suite, limit: Duration, now: Instant) -> Round {
        let mut round = Round::empty(now);
        self.begin_in(&mut round, suite, limit, now);
        round
    }

    /// Begins a round in place of a finished one, reusing its memory.
    pub(crate) fn begin_in(&mut self, round: &mut Round, suite: Suite, limit: Duration, now: Instant) {
        self.prepare(round, suite, limit, now);
        // Stuck checks may have returned while there was no round.
        self.take_in(std::slice::from_mut(round));
        self.start(std::slice::from_mut(round), 0, now);
    }

    /// Begins one more of several rounds that run at once.
    pub(crate) fn begin_among(&mut self, rounds: &mut Vec<Round>, suite: Suite, limit: Duration, now: Instant) {
        let mut round = Round::empty(now);
        self.prepare(&mut round, suite, limit, now);
        self.take_in(rounds);
        let place = rounds.len();
        rounds.push(round);
        self.start(rounds, place, now);
    }

    fn prepare(&mut self, round: &mut Round, suite: Suite, limit: Duration, now: Instant) {
        self.rounds += 1;
        self.controls.prepare(&suite);
        round.states.clear();
        round.states.extend(suite.checks().iter().map(|_| CheckProgress::Waiting));
        round.finished.clear();
        round.suspects.clear();
        round.put_off.clear();
        round.held.clear();
        round.joined.clear();
        round.excuse_start = if suite.has_grace() { self.excuse_start.clone() } else { None };
        (round.serial, round.suite) = (self.rounds, suite);
        (round.began, round.end) = (now, now + limit.min(duration::LONGEST));
        (round.next, round.turn) = (0, None);
    }

    /// Takes in what has finished, gives up on what is late, and starts what was waiting for that.
    pub fn advance(&mut self, round: &mut Round, now: Instant) {
        self.advance_all(std::slice::from_mut(round), now);
    }

    /// The same for all rounds that run at once.
    pub(crate) fn advance_all(&mut self, rounds: &mut [Round], now: Instant) {
        self.take_in(rounds);
        for place in 0..rounds.len() {
            rounds[place].give_up(now);
            self.start(rounds, place, now);
        }
    }

    fn take_in(&mut self, rounds: &mut [Round]) {
        if self.under_way.is_empty() {
            return;
        }
        for done in self.pool.take_done() {
            self.under_way.remove(&done.check.id);
            self.observer.ends(&done.check);
            // A result that comes after its deadline, or from an earlier round, was already reported as late.
            for round in rounds.iter_mut() {
                if let Some(index) = round.place_of(&done)
                    && let Some(&CheckProgress::Running { since, .. }) = round.states.get(index)
                {
                    round.finish(index, done.finding.clone(), since, done.elapsed);
                }
            }
        }
    }

    /// Starts as many checks of the round at that place as may run at once.
    fn start(&mut self, rounds: &mut [Round], place: usize, now: Instant) {
        let (before, rest) = rounds.split_at_mut(place);
        let Some((round, after)) = rest.split_first_mut() else { return };
        let mut jobs = Vec::new();
        let mut running = round.running().count();
        let mut spent = Duration::ZERO;
        while running < self.at_once
            && spent < TURN
            && !(self.failfast && round.is_bad())
            && let Some((index, is_its_turn)) = round.next(self.pool.has_room_to_begin())
        {
            if let Some(why) = round.hindrance(index) {
                round.finish(index, why, now, Duration::ZERO);
                continue;
            }
            let check = round.suite.checks()[index].clone();
            if check.schedule.is_some()
                && let Some(known) = self.observer.known(&check)
            {
                round.finish_known(index, known, now);
                continue;
            }
            if check.begins_late && !is_its_turn && !self.pool.has_room_to_begin() {
                round.put_off.push_back(index);
                continue;
            }
            match self.observer.permission(&check, now) {
                Permission::Quarantined(quarantine) => {
                    round.finish(index, quarantined(quarantine), now, Duration::ZERO);
                    continue;
                }
                Permission::RunAlone if !is_its_turn => {
                    round.suspects.push_back(index);
                    continue;
                }
                Permission::Run | Permission::RunAlone => {}
            }
            if is_its_turn {
                round.turn = Some(index);
            }
            let deadline = round.end.min(now + check.timeout.min(self.longest));
            if !check.blocking {
                // Start the others first, so that they run meanwhile.
                self.pool.submit(&mut jobs);
                let began = Instant::now();
                self.observer.begins(&check, began);
                let finding = check.run(Deadline::at(deadline));
                self.observer.ends(&check);
                let elapsed = began.elapsed();
                let finding = self.controls.examined(&check, finding, elapsed, round.serial);
                spent += elapsed;
                round.finish(index, finding, began, elapsed);
            } else if let Some(&since) = self.under_way.get(&check.id) {
                if before.iter().chain(after.iter()).any(|other| other.waits_for(&check)) {
                    running += 1;
                    round.states[index] = CheckProgress::Running { since: now, deadline };
                    round.joined.push(index);
                    continue;
                }
                let elapsed = now.duration_since(since);
                round.finish(
                    index,
                    Finding::error(format!("still running after {}", duration::spoken(elapsed))),
                    since,
                    elapsed,
                );
            } else {
                running += 1;
                self.under_way.insert(check.id.clone(), now);
                self.observer.begins(&check, now);
                round.states[index] = CheckProgress::Running { since: now, deadline };
                self.pool.expect_beginning(&check);
                jobs.push(Job { round: round.serial, index, check, deadline: Deadline::at(deadline) });
            }
        }
        self.pool.submit(&mut jobs);
        round.is_interrupted = spent >= TURN;
    }

    /// Whether a check of any round still occupies a thread.
    pub fn is_busy(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Whether a check with this id occupies a thread.
    pub(crate) fn is_running(&self, id: &str) -> bool {
        self.under_way.contains_key(id)
    }

    /// Runs a suite and waits for the report.
    pub fn run(suite: Suite, limit: Duration) -> Report {
        let (sender, receiver) = std::sync::mpsc::channel();
        // The receiver is gone when a check returns after the report: nobody waits for it then.
        let mut runner = Runner::new(move || sender.send(()).unwrap_or_default());
        let mut round = runner.begin(suite, limit, Instant::now());
        while let Some(deadline) = round.next_deadline() {
            // Whether it was woken or the deadline passed, the next step is the same.
            let _ = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            runner.advance(&mut round, Instant::now());
        }
        round.into_report(Instant::now())
    }
}

impl Round {
    /// A round without checks, which is over.
    pub(crate) fn empty(now: Instant) -> Round {
        Round {
            serial: 0,
            suite: Suite::default(),
            began: now,
            end: now,
            states: Vec::new(),
            next: 0,
            is_interrupted: false,
            suspects: VecDeque::new(),
            turn: None,
            put_off: VecDeque::new(),
            held: Vec::new(),
            joined: Vec::new(),
            finished: Vec::new(),
            excuse_start: None,
        }
    }

    /// Whether it is a round without checks, or all that it found was taken from it.
    pub(crate) fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// The suite that it runs.
    pub(crate) fn suite(&self) -> &Suite {
        &self.suite
    }

    /// The next check to look at, and whether it is a suspect whose turn has come.
    fn next(&mut self, has_room_to_begin: bool) -> Option<(usize, bool)> {
        if has_room_to_begin && let Some(index) = self.put_off.pop_front() {
            return Some((index, false));
        }
        while self.next < self.states.len() {
            self.next += 1;
            let Some(needs) = self.suite.needs() else { return Some((self.next - 1, false)) };
            let index = needs.order()[self.next - 1];
            if self.knows_what_it_needs(needs, index) {
                return Some((index, false));
            }
            self.held.push(index);
        }
        if let Some(needs) = self.suite.needs()
            && let Some(place) = self.held.iter().position(|&index| self.knows_what_it_needs(needs, index))
        {
            return Some((self.held.remove(place), false));
        }
        let is_free = self.turn.is_none_or(|index| matches!(self.states[index], CheckProgress::Over { .. }));
        let index = is_free.then(|| self.suspects.pop_front())??;
        Some((index, true))
    }

    /// Whether all that a check needs has its outcome.
    fn knows_what_it_needs(&self, needs: &Needs, index: usize) -> bool {
        needs.parents(index).iter().all(|&parent| self.outcome(parent).is_some())
    }

    /// Whether this check is running for it, and it has not given up on that.
    fn waits_for(&self, check: &Arc<Check>) -> bool {
        self.running().any(|(its, _)| Arc::ptr_eq(its, check))
    }

    /// The place of a check that has run, for this round or for one that it has joined in that.
    fn place_of(&self, done: &Done) -> Option<usize> {
        let is_it = |index: &usize| Arc::ptr_eq(&self.suite.checks()[*index], &done.check);
        if self.serial == done.round { Some(done.index) } else { self.joined.iter().copied().find(is_it) }
    }

    fn outcome(&self, index: usize) -> Option<&Outcome> {
        match &self.states[index] {
            CheckProgress::Over { outcome, .. } => Some(outcome),
            CheckProgress::Waiting | CheckProgress::Running { .. } => None,
        }
    }

    /// Why a check is not run, if it needs something that is bad or not there.
    fn hindrance(&self, index: usize) -> Option<Finding> {
        let needs = self.suite.needs()?;
        match needs.fault(index) {
            Some(fault) => Some(Finding::error(fault.to_string())),
            None => blocked(&causes(needs, index, |place| self.outcome(place))),
        }
    }

    fn finish(&mut self, index: usize, finding: Finding, began: Instant, elapsed: Duration) {
        let check = self.suite.checks()[index].clone();
        let outcome = match self.suite.needs() {
            None => Outcome::of(check, finding, elapsed, elapsed),
            Some(needs) => {
                let known = circumstances(needs, index, &causes(needs, index, |place| self.outcome(place)));
                Outcome::judged(check, finding, known, elapsed, elapsed)
            }
        };
        let outcome = self.excused(outcome);
        self.states[index] = CheckProgress::Over { outcome, began };
        self.finished.push(index);
    }

    fn excused(&self, mut outcome: Outcome) -> Outcome {
        if let Some(excuse_start) = &self.excuse_start {
            excuse_start(&mut outcome);
        }
        outcome
    }

    /// Finishes a check that is not run, since it has a schedule.
    fn finish_known(&mut self, index: usize, known: ScheduledFinding, now: Instant) {
        let ScheduledFinding { mut found, mut circumstances, elapsed, age } = known;
        circumstances.as_needed = self.suite.is_as_needed(index);
        if let [cause, ..] = &circumstances.blocked_by[..]
            && circumstances.blocked_by.iter().all(|id| self.has_recovered(id))
        {
            found = judgement::not_run_since(cause);
            circumstances.blocked_by.clear();
        }
        let outcome =
            self.excused(Outcome::judged(self.suite.checks()[index].clone(), found, circumstances, elapsed, age));
        self.states[index] = CheckProgress::Over { outcome, began: now.checked_sub(age).unwrap_or(now) };
        self.finished.push(index);
    }

    /// Whether this round has found that a check blocks nothing.
    fn has_recovered(&self, id: &str) -> bool {
        self.finished().any(|outcome| outcome.check.id == id && !outcome.blocks())
    }

    /// Makes an outcome of each check that is late.
    fn give_up(&mut self, now: Instant) {
        for index in 0..self.states.len() {
            if let CheckProgress::Running { since, deadline } = self.states[index]
                && deadline <= now
            {
                // A kind that connects gives up by itself, and cannot while it looks up a name: that is for our resolver to say.
                let looks_up = self.suite.checks()[index].controls.contains(&Control::Name);
                let mut found = Finding { blame: looks_up.then_some(Blame::Ours), ..timed_out(deadline - since) };
                self_portrait::note(&mut found);
                self.finish(index, found, since, now.duration_since(since));
            }
        }
        if self.end <= now {
            // What is late blocks what needs it.
            for place in 0..self.states.len() {
                let index = self.suite.needs().map_or(place, |needs| needs.order()[place]);
                if matches!(self.states[index], CheckProgress::Waiting) {
                    let finding = self.hindrance(index).unwrap_or_else(|| self.not_started(index));
                    self.finish(index, finding, now, Duration::ZERO);
                }
            }
            self.next = self.states.len();
            self.put_off.clear();
            self.held.clear();
        }
        self.suspects.retain(|&index| matches!(self.states[index], CheckProgress::Waiting));
    }

    fn not_started(&self, index: usize) -> Finding {
        let why = if self.suspects.contains(&index) {
            "not started in time: what ran when a worker died runs one at a time"
        } else if self.held.contains(&index) {
            "not started in time: what it needs had only just passed"
        } else if self.put_off.contains(&index) {
            "not started in time: too many others still waited for their processes"
        } else {
            "not started in time: too many others were still running"
        };
        Finding { blame: Some(Blame::Ours), ..Finding::error(why) }
    }

    /// When to call [`Runner::advance`] at the latest: at the next deadline of a running check, or at once. `None` when
    /// the round is over.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.is_interrupted && !self.is_over() {
            return Some(self.began);
        }
        let deadline = |state: &CheckProgress| match state {
            // It is started when a running check has finished or is late.
            CheckProgress::Waiting | CheckProgress::Over { .. } => None,
            CheckProgress::Running { deadline, .. } => Some(*deadline),
        };
        self.states.iter().filter_map(deadline).min()
    }

    /// Whether something bad was found.
    pub fn is_bad(&self) -> bool {
        self.finished().any(Outcome::is_bad)
    }

    /// Whether every check has its outcome.
    pub fn is_over(&self) -> bool {
        self.finished.len() == self.states.len()
    }

    /// The outcomes so far, in the order of completion.
    pub fn finished(&self) -> impl Iterator<Item = &Outcome> {
        self.finished.iter().filter_map(|&index| match &self.states[index] {
            CheckProgress::Over { outcome, .. } => Some(outcome),
            CheckProgress::Waiting | CheckProgress::Running { .. } => None,
        })
    }

    /// The checks that are running, in the order of the suite, and since when.
    pub fn running(&self) -> impl Iterator<Item = (&Arc<Check>, Instant)> {
        self.suite.checks().iter().zip(&self.states).filter_map(|(check, state)| match state {
            CheckProgress::Running { since, .. } => Some((check, *since)),
            CheckProgress::Waiting | CheckProgress::Over { .. } => None,
        })
    }

    /// The report at `now`, for a reader that cannot wait for the rest, while the round goes on.
    pub fn report_at(&self, now: Instant) -> Report {
        let checks = self.suite.checks();
        let outcome = |index: usize| {
            let began = match &self.states[index] {
                CheckProgress::Over { outcome, began } => return outcome.clone().aged(*began, now),
                CheckProgress::Running { since, .. } => *since,
                CheckProgress::Waiting => self.began,
            };
            self.excused(Outcome::late(&checks[index], now.saturating_duration_since(began)))
        };
        let mut outcomes: Vec<_> = (0..checks.len()).map(outcome).collect();
        if let Some(needs) = self.suite.needs() {
            for &index in needs.order() {
                if self.outcome(index).is_some() {
                    continue;
                }
                // What is late blocks what waits for it.
                let causes = causes(needs, index, |place| Some(&outcomes[place]));
                let (known, found) = (circumstances(needs, index, &causes), blocked(&causes));
                let Outcome { elapsed, age, .. } = outcomes[index];
                let found = found.unwrap_or_else(|| timed_out(age));
                outcomes[index] = self.excused(Outcome::judged(checks[index].clone(), found, known, elapsed, age));
            }
        }
        compare_routes(&mut outcomes);
        Report::of_outcomes(outcomes)
    }

    /// The report as of `now`, in the order of the suite, of a round that is over.
    pub fn into_report(mut self, now: Instant) -> Report {
        let mut report = Report::default();
        self.move_into(&mut report, now);
        report
    }

    /// The same, but put into an existing report. Only `Round::suite` is left of the round.
    pub(crate) fn move_into(&mut self, report: &mut Report, now: Instant) {
        self.finished.clear();
        report.outcomes.clear();
        report.outcomes.extend(self.states.drain(..).filter_map(|state| match state {
            CheckProgress::Over { outcome, began } => Some(outcome.aged(began, now)),
            CheckProgress::Waiting | CheckProgress::Running { .. } => None,
        }));
        compare_routes(&mut report.outcomes);
    }
}

impl Outcome {
    /// The outcome as of `now`, which may lie a moment before the start of a check that ran in place.
    fn aged(mut self, began: Instant, now: Instant) -> Outcome {
        if began < now {
            self.age = self.elapsed.max(now - began);
        }
        self
    }

    /// The outcome of a check that is not waited for any longer.
    pub(crate) fn late(check: &Arc<Check>, after: Duration) -> Outcome {
        Outcome::of(check.clone(), timed_out(after), after, after)
    }
}

/// Because of what a check is not run.
fn causes<'a>(needs: &Needs, index: usize, outcome: impl Fn(usize) -> Option<&'a Outcome>) -> Vec<&'a Outcome> {
    let places = needs.causes(index, |place| outcome(place).map_or(Known::Fine, Outcome::known));
    places.into_iter().filter_map(outcome).collect()
}

/// What is found of a check that is not run because of these; `None` if there are none.
fn blocked(causes: &[&Outcome]) -> Option<Finding> {
    let found = || judgement::blocked(causes.iter().map(|cause| (&*cause.check, &cause.finding)));
    (!causes.is_empty()).then(found)
}

/// What is known of a check in a suite where some need others, and that is not run because of these.
fn circumstances(needs: &Needs, index: usize, causes: &[&Outcome]) -> Circumstances {
    Circumstances {
        blocked_by: causes.iter().map(|cause| cause.check.id.clone()).collect(),
        as_needed: needs.is_as_needed(index),
        scheduled: None,
    }
}

fn timed_out(after: Duration) -> Finding {
    Finding::error(format!("timed out after {}", duration::spoken(after)))
}

fn quarantined(Quarantine { deaths, cause, left }: Quarantine) -> Finding {
    let cause = match cause {
        DeathCause::Signal(number) => signals::name(number),
        DeathCause::OutOfMemory => "out of memory".to_owned(),
        DeathCause::Hang => "it hung".to_owned(),
        DeathCause::Exit(code) => format!("exit code {code}"),
    };
    let left = duration::spoken(Duration::from_secs(left.as_millis().div_ceil(1000) as u64));
    Finding::error(format!("killed its worker {deaths} times ({cause}), next try in {left}"))
}
