//! The report that all workers share (`--cache`): which requests it answers, and which worker makes the next.
//!
//! Every answer comes from a round that began after its request arrived, or at most one lifetime ago. A worker that
//! finds no such report takes the lease and runs a round of the whole suite; the others wait for the bell. A holder that
//! dies loses the lease at once; one that hangs loses it when its round should have been over. A request that has waited
//! for the length of a round gets a round of its own.

pub(super) mod contents;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::daemon::shared::snapshot::{CAPACITY, Lease, Snapshot};
use crate::endpoint::rounds::{Rounds, Waiter};
use crate::endpoint::{CheckRequest, Findings, Whole};
use crate::model::duration;
use crate::model::report::Report;
use crate::model::suite::Suite;
use crate::os::clock;
use contents::Contents;

/// How long a lease outlasts the limit of its round, and how much longer a request waits for another worker: on a busy
/// machine, a round must not be run twice for being slightly late.
const GRACE: Duration = Duration::from_millis(250);

/// A shorter suspension of the machine is ignored: this much may pass between reading its two clocks.
const SUSPENSION: Duration = Duration::from_secs(1);

/// The key of a round for everybody, which no client has.
const EVERYBODY: usize = usize::MAX;

/// One worker's side of the report that all share.
pub(super) struct SharedReport {
    snapshot: Snapshot,
    pid: u32,
    /// How old an answer may be.
    lifetime: Duration,
    /// How long a round may take.
    limit: Duration,
    /// How many checks a round runs at once.
    at_once: usize,
    /// The suite as of the last request.
    whole: Whole,
    /// The latest contents that were seen, and the last seal that was looked at.
    contents: Option<Contents>,
    seal: Option<u64>,
    /// Those who have asked since it last looked, those who may be answered since then, and those who have to wait.
    asked: Vec<Waiter>,
    asking: VecDeque<Waiter>,
    waiting: Vec<Waiter>,
    /// When it last looked, and what it has given to the last of those who may be answered since then.
    looked: Instant,
    given: Option<GivenReport>,
    leading: Option<Leading>,
    complained: bool,
    /// How long the machine has been suspended.
    suspended: fn() -> Duration,
}

/// A round that this worker runs for everybody.
struct Leading {
    lease: Lease,
    began: Instant,
    suspended: Duration,
    edition: u64,
}

/// The report about a part of the suite, as of one moment.
struct GivenReport {
    part: Suite,
    report: Report,
    number: u64,
    age: Option<Duration>,
}

/// What to do with a request.
enum Decision {
    Answer,
    /// It needs a round that is not for everybody.
    Alone,
    Wait,
}

impl SharedReport {
    /// Answers are at most `lifetime` old, from rounds that take at most `limit` and run so many checks `at_once`.
    pub(super) fn new(
        snapshot: Snapshot,
        pid: u32,
        lifetime: Duration,
        limit: Duration,
        at_once: usize,
    ) -> SharedReport {
        SharedReport {
            pid,
            lifetime,
            limit: limit.min(duration::LONGEST),
            at_once,
            whole: Whole::default(),
            contents: None,
            seal: None,
            asked: Vec::new(),
            asking: VecDeque::new(),
            waiting: Vec::new(),
            looked: snapshot.epoch(),
            snapshot,
            given: None,
            leading: None,
            complained: false,
            suspended: clock::suspended,
        }
    }

    /// What to watch, edge-triggered: after an event, [`SharedReport::advance`] may have something to do.
    pub(super) fn bell(&self) -> RawFd {
        self.snapshot.as_raw_fd()
    }

    /// Takes in a request, for a part of this suite.
    pub(super) fn ask(&mut self, waiter: Waiter, whole: Whole) {
        self.whole = whole;
        self.asked.push(waiter);
    }

    /// Whether there are requests that [`SharedReport::advance`] has not looked at.
    pub(super) fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Leaves to everybody what a round for everybody has found, and looks for what others have left. Those who can be
    /// answered come from [`SharedReport::next_answer`].
    pub(super) fn advance(&mut self, rounds: &mut Rounds, now: Instant) {
        if let Some(findings) = rounds.take_answer(EVERYBODY) {
            self.publish(&findings.report, now);
        }
        self.looked = now;
        if !self.waiting.is_empty() || !self.asked.is_empty() {
            self.look();
            self.asking.extend(self.waiting.drain(..).chain(self.asked.drain(..)));
        }
    }

    /// The next client that can be answered now. Those who need a round in this worker are passed on; when all others
    /// have to wait, this worker may take the lease.
    pub(super) fn next_answer<'a>(&'a mut self, rounds: &mut Rounds) -> Option<(Waiter, Findings<'a>)> {
        let waiter = self.next_answered(rounds)?;
        let GivenReport { report, number, age, .. } = self.given.as_ref()?;
        Some((waiter, Findings { number: Some(*number), age: *age, ..Findings::from(report) }))
    }

    fn next_answered(&mut self, rounds: &mut Rounds) -> Option<Waiter> {
        loop {
            while let Some(waiter) = self.asking.pop_front() {
                match self.decide(&waiter, rounds) {
                    Decision::Answer => return Some(waiter),
                    Decision::Alone => rounds.ask(waiter),
                    Decision::Wait => self.waiting.push(waiter),
                }
            }
            self.given = None;
            if rounds.is_running() || self.leading.is_some() || self.waiting.is_empty() {
                return None;
            }
            let until = self.looked + self.longest() + GRACE;
            let lease = self.snapshot.take_lease(self.pid, self.looked, until)?;
            // Another worker may have left a report, and with it the lease, since we looked.
            if self.look() {
                self.snapshot.give_back(lease);
                self.asking.extend(self.waiting.drain(..));
                continue;
            }
            let (began, suspended) = (self.looked, (self.suspended)());
            self.leading = Some(Leading { lease, began, suspended, edition: self.whole.edition });
            let request = Arc::new(CheckRequest::for_all(self.whole.suite.clone()));
            rounds.ask(Waiter::new(EVERYBODY, request, began));
            return None;
        }
    }

    /// The next round in this worker begins.
    pub(super) fn begins(&mut self, now: Instant) {
        if let Some(leading) = &mut self.leading {
            leading.began = now;
        }
    }

    /// When [`SharedReport::advance`] must be called at the latest, whether or not a round runs in this worker.
    pub(super) fn next_deadline(&self, is_running: bool) -> Option<Instant> {
        let ends = |waiter: &Waiter| waiter.limit().into_iter().chain([self.gives_up(waiter)]).min();
        let first = self.waiting.iter().filter_map(ends).min()?;
        // While a round runs here, there is no need to wait for the lease.
        let lease = (!is_running && self.leading.is_none()).then(|| self.snapshot.leased_until()).flatten();
        Some(lease.map_or(first, |until| until.min(first)))
    }

    /// What to do with a request; what is given to it as an answer is in `given`.
    fn decide(&mut self, waiter: &Waiter, rounds: &mut Rounds) -> Decision {
        let (part, now) = (waiter.request.suite(), self.looked);
        let (report, age) = if let Some((contents, age)) = self.contents_for(waiter) {
            if self.given.as_ref().is_some_and(|given| given.part.is(part) && given.age == Some(age)) {
                return Decision::Answer;
            }
            let Some(report) = contents.report(part, now - self.snapshot.epoch()) else { return Decision::Alone };
            (report, Some(age))
        } else if waiter.limit().is_some_and(|limit| limit <= now) {
            // What another worker's round has found so far is not known here.
            let known = rounds.found_for(EVERYBODY, now).map(|report| report.of(part));
            (known.unwrap_or_else(|| rounds.excused(waiter.late(now))), None)
        } else if self.gives_up(waiter) <= now {
            return Decision::Alone;
        } else {
            return Decision::Wait;
        };
        self.given = Some(GivenReport { part: part.clone(), report, number: rounds.new_number(), age });
        Decision::Answer
    }

    /// The contents that may answer a request, and their age.
    fn contents_for(&self, waiter: &Waiter) -> Option<(&Contents, Duration)> {
        let contents = self.contents.as_ref()?;
        let time = |moment: Instant| moment.saturating_duration_since(self.snapshot.epoch());
        let age = time(self.looked).saturating_sub(contents.began);
        let is_valid = contents.edition == self.whole.edition
            && (self.suspended)().abs_diff(contents.suspended) < SUSPENSION
            && (contents.began >= time(waiter.since) || age <= self.lifetime);
        is_valid.then_some((contents, age))
    }

    /// When a request has waited long enough for other workers.
    fn gives_up(&self, waiter: &Waiter) -> Instant {
        waiter.since + self.limit + 2 * GRACE
    }

    /// Looks for another snapshot, and accepts none that is earlier.
    fn look(&mut self) -> bool {
        let seal = self.snapshot.seal();
        if seal == self.seal {
            return false;
        }
        self.seal = seal;
        let Some(there) = self.snapshot.read().and_then(|bytes| Contents::decode(&bytes)) else { return false };
        let is_news = self.contents.as_ref().is_none_or(|ours| there.began >= ours.began);
        if is_news {
            self.contents = Some(there);
        }
        is_news
    }

    /// Leaves the findings of a round to everybody.
    fn publish(&mut self, report: &Report, now: Instant) {
        let Some(Leading { lease, began, suspended, edition }) = self.leading.take() else { return };
        let epoch = self.snapshot.epoch();
        let contents = Contents::of(report, edition, began - epoch, suspended, now - epoch);
        let mut bytes = contents.encode();
        if bytes.len() > CAPACITY {
            if !std::mem::replace(&mut self.complained, true) {
                tracing::warn!("the report is too large for --cache ({} bytes): each worker runs its own", bytes.len());
            }
            bytes = contents.without_outcomes().encode();
        }
        // A worker that has lost the lease keeps them to itself.
        self.seal = self.snapshot.write(lease, &bytes).or(self.seal);
        self.contents = Some(contents);
    }

    /// The longest time that a round of the whole suite can take.
    fn longest(&self) -> Duration {
        let checks = self.whole.suite.checks();
        let longest = checks.iter().map(|check| check.timeout).max().unwrap_or_default();
        let turns = u32::try_from(checks.len().div_ceil(self.at_once)).unwrap_or(u32::MAX);
        self.limit.min(longest.saturating_mul(turns))
    }
}
