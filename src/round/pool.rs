//! Threads that run checks: started on demand, kept, never more than a bound.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::check::{Check, Deadline, Finding};

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

/// The threads and their queue. Dropping it lets idle threads end; a stuck one is left behind.
pub(super) struct Pool {
    shared: Arc<Shared>,
    done: Receiver<Done>,
    report: Sender<Done>,
    most: usize,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl Pool {
    pub(super) fn new(most: usize, wake: impl Fn() + Send + Sync + 'static) -> Pool {
        let (report, done) = channel();
        let shared = Shared { queue: Mutex::default(), changed: Condvar::new(), wake: Box::new(wake) };
        Pool { shared: Arc::new(shared), done, report, most }
    }

    /// Has a thread run the check, as soon as one is free.
    pub(super) fn submit(&self, job: Job) {
        let mut queue = self.shared.lock();
        queue.jobs.push_back(job);
        if queue.jobs.len() > queue.idle && queue.threads < self.most {
            queue.threads += 1;
            self.start_thread(&mut queue);
        }
        self.shared.changed.notify_one();
    }

    /// The next check that has run, if there is one.
    pub(super) fn next_done(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }

    fn start_thread(&self, queue: &mut Queue) {
        let (shared, report) = (self.shared.clone(), self.report.clone());
        let started = std::thread::Builder::new().name("check".to_owned()).spawn(move || shared.work(&report));
        if let Err(error) = started {
            queue.threads -= 1;
            // The job waits for another thread; with none at all it would wait for its deadline.
            if queue.threads == 0
                && let Some(Job { round, index, check, .. }) = queue.jobs.pop_back()
            {
                let finding = Finding::error(format!("cannot start a thread for it: {error}"));
                let _ = self.report.send(Done { round, index, check, finding, elapsed: Duration::ZERO });
                (self.shared.wake)();
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
        // No check runs under the lock, so nothing is half done even if a thread died with it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, report: &Sender<Done>) {
        while let Some(Job { round, index, check, deadline }) = self.next_job() {
            let began = Instant::now();
            let finding = if deadline.remaining(began).is_zero() {
                Finding::error("no thread was free for it in time")
            } else {
                check.run(deadline)
            };
            // Without a receiver the runner is gone, and the queue closed.
            let _ = report.send(Done { round, index, check, finding, elapsed: began.elapsed() });
            (self.wake)();
        }
    }

    fn next_job(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            queue.idle += 1;
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}
