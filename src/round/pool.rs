//! Threads that run checks: started on demand, kept for the next rounds, gone when nothing came for them in a while.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::controls::{self, Controls};
use crate::model::beginning;
use crate::model::blame::Blame;
use crate::model::check::{Check, Code, Deadline, Finding};
use crate::os::{memory, signals};

/// A check to run.
pub(super) struct Job {
    pub(super) round: u64,
    pub(super) index: usize,
    pub(super) check: Arc<Check>,
    pub(super) deadline: Deadline,
}

/// A check that has run.
pub(super) struct Done {
    pub(super) round: u64,
    pub(super) index: usize,
    pub(super) check: Arc<Check>,
    pub(super) finding: Finding,
    pub(super) elapsed: Duration,
}

/// How many checks may wait for a process at once. More would only wait for each other, and on a busy host beyond their timeouts.
pub(super) const MOST_BEGINNING: usize = 16;

/// The threads and their queue. Dropping it ends idle threads; a stuck one is left behind.
pub(super) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    wake: Box<dyn Fn() + Send + Sync>,
    idle: Duration,
    controls: Arc<Controls>,
    /// How many checks wait until they can begin.
    beginning: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    done: Vec<Done>,
    /// Threads that wait for a job, or will as soon as they can.
    free: usize,
    closed: bool,
}

impl Pool {
    /// `wake` is called when there are results, but not again until they are taken, or when more checks may begin. A thread that has had no job for
    /// `idle` ends.
    pub(super) fn new(idle: Duration, controls: Arc<Controls>, wake: impl Fn() + Send + Sync + 'static) -> Pool {
        let shared = Shared {
            queue: Mutex::default(),
            changed: Condvar::new(),
            wake: Box::new(wake),
            idle,
            controls,
            beginning: AtomicUsize::new(0),
        };
        Pool { shared: Arc::new(shared) }
    }

    /// Whether one more check may wait until it can begin.
    pub(super) fn has_room_to_begin(&self) -> bool {
        self.shared.beginning.load(Ordering::SeqCst) < MOST_BEGINNING
    }

    /// This check will be submitted now.
    pub(super) fn expect_beginning(&self, check: &Check) {
        if check.begins_late {
            self.shared.beginning.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Starts each of these checks now, on a thread of its own; `jobs` is empty afterwards.
    pub(super) fn submit(&self, jobs: &mut Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let mut queue = self.shared.lock();
        queue.jobs.extend(jobs.drain(..));
        let missing = queue.jobs.len().saturating_sub(queue.free);
        let woken = queue.jobs.len() - missing;
        queue.free += missing;
        drop(queue);
        (0..woken).for_each(|_| self.shared.changed.notify_one());
        for _ in 0..missing {
            self.start_thread();
        }
    }

    /// The checks that have run since the last call.
    pub(super) fn take_done(&self) -> Vec<Done> {
        std::mem::take(&mut self.shared.lock().done)
    }

    fn start_thread(&self) {
        let shared = self.shared.clone();
        let started = std::thread::Builder::new().name("check".to_owned()).spawn(move || shared.work());
        if let Err(error) = started {
            let mut queue = self.shared.lock();
            queue.free -= 1;
            // Another thread may have taken the job by now; then some other job has no thread.
            if queue.jobs.len() > queue.free
                && let Some(Job { round, index, check, .. }) = queue.jobs.pop_back()
            {
                self.shared.begun(&check);
                let why = format!("cannot start a thread for it: {error}");
                let finding = Finding { blame: Some(Blame::Ours), ..Finding::error(why) };
                self.shared.put(queue, Done { round, index, check, finding, elapsed: Duration::ZERO });
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No check runs under the lock, so nothing is half done even if a thread died holding it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This check waits no more.
    fn begun(&self, check: &Check) {
        if check.begins_late && self.beginning.fetch_sub(1, Ordering::SeqCst) == MOST_BEGINNING {
            (self.wake)();
        }
    }

    fn work(self: &Arc<Shared>) {
        controls::thread_begins();
        while let Some(Job { round, index, check, deadline }) = self.next_job() {
            let began = Instant::now();
            let run = || {
                let (shared, its) = (self.clone(), check.clone());
                let found = match check.begins_late {
                    true => beginning::told(move || shared.begun(&its), || check.run(deadline)),
                    false => check.run(deadline),
                };
                let elapsed = began.elapsed();
                (self.controls.examined(&check, found, elapsed, round), elapsed)
            };
            let (finding, elapsed) = match check.code {
                // It may start programs, which would inherit the blocked signals.
                Code::Function => run(),
                Code::BuiltIn | Code::Program | Code::BuiltInAndProgram => signals::undisturbed(run),
            };
            let mut queue = self.lock();
            // Counted before the round can learn of the result: a new round would otherwise start a thread too many.
            queue.free += 1;
            self.put(queue, Done { round, index, check, finding, elapsed });
        }
    }

    /// Hands over a result. The caller that is woken takes all there are, so one call is enough for many.
    fn put(&self, mut queue: MutexGuard<'_, Queue>, done: Done) {
        queue.done.push(done);
        let is_first = queue.done.len() == 1;
        drop(queue);
        if is_first {
            (self.wake)();
        }
    }

    /// The next job, or `None` when the thread has been idle too long or the pool is gone. The last thread to leave gives
    /// back the memory that the checks have freed.
    fn next_job(&self) -> Option<Job> {
        let is_idle = |queue: &mut Queue| queue.jobs.is_empty() && !queue.closed;
        let waited = self.changed.wait_timeout_while(self.lock(), self.idle, is_idle);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.free -= 1;
        if queue.closed {
            return None;
        }
        let job = queue.jobs.pop_front();
        if job.is_none() && queue.free == 0 {
            drop(queue);
            memory::trim();
        }
        job
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_crowd_leaves_no_threads_behind() {
        const CROWD: usize = 50;
        let (tell, told) = mpsc::channel();
        let pool = Pool::new(Duration::from_millis(1), Arc::default(), move || tell.send(()).unwrap_or_default());
        let submit = |count| {
            let job = |index| Job {
                round: 0,
                index,
                check: Arc::new(Check::new(format!("check.{index}"), |_| Finding::PASS)),
                deadline: Deadline::at(Instant::now() + Duration::from_secs(60)),
            };
            pool.submit(&mut (0..count).map(job).collect());
            let mut found = 0;
            while found < count {
                told.recv().expect("the pool lives");
                found += pool.take_done().len();
            }
        };
        submit(CROWD);
        while pool.shared.lock().free > 0 {
            std::thread::yield_now();
        }
        submit(1); // what comes later gets a new thread
    }
}
