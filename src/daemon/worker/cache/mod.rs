//! Which requests are answered from the snapshot that all workers share (`--cache`), and which worker makes the next.
//!
//! Every answer comes from a round that began after its request arrived, or at most one lifetime ago. A worker that
//! finds no such snapshot takes the lease and runs a round of the whole suite; the others wait for the bell. A holder
//! that dies loses the lease at once; one that hangs loses it when its round should have been over. A request that has
//! waited for the length of a round gets a round of its own.

mod contents;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use super::respond::{Whole, Wish};
use super::rounds::{Answer, Asker, Rounds};
use crate::daemon::shared::snapshot::{CAPACITY, Lease, Snapshot};
use crate::model::duration;
use crate::model::report::Report;
use crate::os::clock;
use crate::round::MOST_AT_ONCE;
use contents::Contents;

/// How long a lease outlasts the limit of its round, and how much longer a request waits for another worker: on a busy
/// machine, a round must not be run twice for being slightly late.
const GRACE: Duration = Duration::from_millis(250);

/// A shorter suspension of the machine is ignored: this much may pass between reading its two clocks.
const SUSPENSION: Duration = Duration::from_secs(1);

/// The key of a round for everybody, which no client has.
const EVERYBODY: usize = usize::MAX;

/// The rounds of one worker, and what it shares with the other workers.
pub(super) struct Cache {
    rounds: Rounds,
    /// `None`: no snapshot is used.
    shared: Option<Shared>,
}

/// One worker's side of the snapshot.
struct Shared {
    snapshot: Snapshot,
    pid: u32,
    /// How old an answer may be.
    lifetime: Duration,
    /// How long a round may take.
    limit: Duration,
    /// The suite as of the last request.
    whole: Whole,
    /// The latest contents that were seen, and the last seal that was looked at.
    contents: Option<Contents>,
    seal: Option<u64>,
    waiting: Vec<Asker>,
    /// Whether a waiting request has not been looked at yet.
    is_asked: bool,
    /// For requests that have waited.
    answers: VecDeque<Answer<'static>>,
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

/// What to do with a request that waits.
enum Verdict {
    Answer(Report, Option<Duration>),
    /// It needs a round that is not for everybody.
    Alone,
    Wait,
}

impl Cache {
    /// Answers are at most `lifetime` old, from rounds that take at most `limit`. With a lifetime of zero the snapshot
    /// is not used.
    pub(super) fn new(rounds: Rounds, snapshot: Snapshot, pid: u32, lifetime: Duration, limit: Duration) -> Cache {
        let shared = (!lifetime.is_zero()).then(|| Shared {
            snapshot,
            pid,
            lifetime,
            limit: limit.min(duration::LONGEST),
            whole: Whole::default(),
            contents: None,
            seal: None,
            waiting: Vec::new(),
            is_asked: false,
            answers: VecDeque::new(),
            leading: None,
            complained: false,
            suspended: clock::suspended,
        });
        Cache { rounds, shared }
    }

    /// What to watch, edge-triggered: after an event, [`Cache::advance`] may have something to do.
    pub(super) fn bell(&self) -> Option<RawFd> {
        self.shared.as_ref().map(|shared| shared.snapshot.as_raw_fd())
    }

    /// Takes in a client's request for checks; [`Cache::advance`] answers it if it needs no round. The loop `woke` a
    /// while ago: where the order of the request and another worker's round matters, the clock is read again.
    pub(super) fn ask(&mut self, key: usize, wish: Wish, woke: Instant, clock: impl Fn() -> Instant) {
        match (&mut self.shared, &wish.whole) {
            (Some(shared), Some(whole)) => {
                shared.whole = whole.clone();
                shared.waiting.push(Asker { key, wish, since: clock() });
                shared.is_asked = true;
            }
            (_, _) => self.rounds.ask(Asker { key, wish, since: woke }),
        }
    }

    /// Moves on. True if that ended a round, whose findings are in [`Cache::report`]. The requests that can be answered
    /// without another round come from [`Cache::next_answer`]. The ages in the answers are exact, so the clock is read
    /// again.
    pub(super) fn advance(&mut self, woke: Instant, clock: impl Fn() -> Instant) -> bool {
        let Some(shared) = &mut self.shared else { return self.rounds.advance(woke) };
        let now = clock();
        let is_over = self.rounds.advance(now);
        if let Some(answer) = self.rounds.take_answer(EVERYBODY) {
            shared.publish(&answer.report, now);
        }
        for asker in shared.settle(&self.rounds, clock()) {
            self.rounds.ask(asker);
        }
        is_over
    }

    /// The whole report of this worker's last round.
    pub(super) fn report(&self) -> &Report {
        self.rounds.report()
    }

    /// The next request that can be answered now.
    pub(super) fn next_answer(&mut self) -> Option<Answer<'_>> {
        self.rounds.next_answer().or_else(|| self.shared.as_mut()?.answers.pop_front())
    }

    /// Whether [`Cache::begin`] and then [`Cache::advance`] have something to do.
    pub(super) fn is_next_due(&self) -> bool {
        self.rounds.is_next_due() || self.shared.as_ref().is_some_and(|shared| shared.is_asked)
    }

    /// Whether the next round may block.
    pub(super) fn next_can_block(&self) -> bool {
        self.rounds.next_can_block()
    }

    /// Begins the next round, if it is due.
    pub(super) fn begin(&mut self, woke: Instant, clock: impl Fn() -> Instant) {
        let now = if self.shared.is_some() { clock() } else { woke };
        if let Some(leading) = self.shared.as_mut().and_then(|shared| shared.leading.as_mut())
            && self.rounds.is_next_due()
        {
            leading.began = now;
        }
        self.rounds.begin(now);
    }

    /// Whether a round is running in this worker.
    pub(super) fn is_running(&self) -> bool {
        self.rounds.is_running()
    }

    /// When [`Cache::advance`] must be called at the latest.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let shared = self.shared.as_ref().and_then(|shared| shared.next_deadline(self.rounds.is_running()));
        self.rounds.next_deadline().into_iter().chain(shared).min()
    }
}

impl Shared {
    /// Answers the requests that it can, and returns those that need a round in this worker.
    fn settle(&mut self, rounds: &Rounds, now: Instant) -> Vec<Asker> {
        let mut askers = Vec::new();
        self.is_asked = false;
        if self.waiting.is_empty() {
            return askers;
        }
        self.look();
        self.serve(&mut askers, rounds, now);
        if !rounds.is_running()
            && self.leading.is_none()
            && let Some(first) = self.waiting.first()
            && let Some(lease) = self.snapshot.take_lease(self.pid, now, now + self.longest() + GRACE)
        {
            let wish = Wish { part: self.whole.suite.clone(), limit: None, ..first.wish.clone() };
            // Another worker may have left a snapshot, and with it the lease, since we looked.
            if self.look() {
                self.serve(&mut askers, rounds, now);
            }
            if self.waiting.is_empty() {
                self.snapshot.give_back(lease);
            } else {
                let suspended = (self.suspended)();
                self.leading = Some(Leading { lease, began: now, suspended, edition: self.whole.edition });
                askers.push(Asker { key: EVERYBODY, wish, since: now });
            }
        }
        askers
    }

    fn serve(&mut self, askers: &mut Vec<Asker>, rounds: &Rounds, now: Instant) {
        for asker in std::mem::take(&mut self.waiting) {
            match self.judge(&asker, rounds, now) {
                Verdict::Answer(report, age) => {
                    self.answers.push_back(Answer { age, ..asker.answered(report) });
                }
                Verdict::Alone => askers.push(asker),
                Verdict::Wait => self.waiting.push(asker),
            }
        }
    }

    fn judge(&self, asker: &Asker, rounds: &Rounds, now: Instant) -> Verdict {
        if let Some(contents) = &self.contents
            && contents.edition == self.whole.edition
            && (self.suspended)().abs_diff(contents.suspended) < SUSPENSION
        {
            let time = |moment: Instant| moment.saturating_duration_since(self.snapshot.epoch());
            let age = time(now).saturating_sub(contents.began);
            if contents.began >= time(asker.since) || age <= self.lifetime {
                let report = contents.report(&asker.wish.part, time(now));
                return report.map_or(Verdict::Alone, |report| Verdict::Answer(report, Some(age)));
            }
        }
        if asker.limit().is_some_and(|limit| limit <= now) {
            // What another worker's round has found so far is not known here.
            let known = rounds.found_for(EVERYBODY, now).map(|report| report.of(&asker.wish.part));
            Verdict::Answer(known.unwrap_or_else(|| asker.late(now)), None)
        } else if self.gives_up(asker) <= now {
            Verdict::Alone
        } else {
            Verdict::Wait
        }
    }

    /// When a request has waited long enough for other workers.
    fn gives_up(&self, asker: &Asker) -> Instant {
        asker.since + self.limit + 2 * GRACE
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
        let turns = u32::try_from(checks.len().div_ceil(MOST_AT_ONCE)).unwrap_or(u32::MAX);
        self.limit.min(longest.saturating_mul(turns))
    }

    fn next_deadline(&self, busy: bool) -> Option<Instant> {
        let ends = |asker: &Asker| asker.limit().into_iter().chain([self.gives_up(asker)]).min();
        let first = self.waiting.iter().filter_map(ends).min()?;
        // While a round runs here, there is no need to wait for the lease.
        let lease = (!busy && self.leading.is_none()).then(|| self.snapshot.leased_until()).flatten();
        Some(lease.map_or(first, |until| until.min(first)))
    }
}
