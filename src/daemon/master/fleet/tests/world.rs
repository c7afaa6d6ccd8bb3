//! A world without processes for the fleet to act on, which checks at each step that it acts correctly.

use crate::daemon::master::fleet::*;

pub(super) const GRACEFUL: Duration = Duration::from_secs(30);
pub(super) const TIMING: Timing =
    Timing { timeout: Some(Duration::from_secs(30)), graceful: GRACEFUL, drain_delay: Duration::ZERO, watchdog: None };

/// The pid of the new master.
const SUCCESSOR: Pid = 9;

/// One thing that happens. Workers are identified by their place among the living.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Command(Command),
    /// A HUP that finds a good configuration.
    Reload,
    /// A HUP that finds a bad one.
    BadReload,
    Ready(usize),
    Die(usize, WorkerEnd),
    Hang(usize),
    Wait(Duration),
    FailNextFork,
    /// The new master reports that it is ready.
    Succeed,
    SuccessorDies,
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) fleet: Fleet,
    pub(super) now: Instant,
    /// The processes, in the order in which they were forked.
    alive: Vec<Pid>,
    pub(super) forks: usize,
    pub(super) terminated: usize,
    pub(super) killed: usize,
    pub(super) announced: usize,
    /// A reload was told to have begun, and not to have ended.
    reloading: bool,
    pub(super) inspections: usize,
    pub(super) left: bool,
    pub(super) successors: usize,
    pub(super) given_up: usize,
    pub(super) handed_over: bool,
    pub(super) exited: Option<u8>,
    /// TERM and ABRT have no effect on the workers.
    pub(super) ignore_signals: bool,
    fail_fork: bool,
    good: bool,
    /// The times in the configuration that a reload finds; `None`: the same as before.
    pub(super) reloaded: Option<Timing>,
    doomed: Vec<Pid>,
    pub(super) history: Vec<Step>,
}

impl World {
    pub(super) fn new(asked: usize) -> World {
        World::with_timing(asked, TIMING)
    }

    pub(super) fn with_timing(asked: usize, timing: Timing) -> World {
        let now = Instant::now();
        let mut world = World {
            fleet: Fleet::new(0, asked, 64, timing, now),
            now,
            alive: vec![],
            forks: 0,
            terminated: 0,
            killed: 0,
            announced: 0,
            reloading: false,
            inspections: 0,
            left: false,
            successors: 0,
            given_up: 0,
            handed_over: false,
            exited: None,
            ignore_signals: false,
            fail_fork: false,
            good: true,
            reloaded: None,
            doomed: vec![],
            history: vec![],
        };
        world.happen(Event::Tick);
        world
    }

    pub(super) fn apply(&mut self, step: Step) {
        if self.exited.is_some() {
            return;
        }
        self.history.push(step);
        match step {
            Step::Command(command) => self.happen(Event::Command(command)),
            Step::Reload | Step::BadReload => {
                self.good = matches!(step, Step::Reload);
                self.happen(Event::Command(Command::Reload));
            }
            Step::Ready(worker) => {
                if let Some(slot) = self.nth(worker).and_then(|pid| self.fleet.slot_of(pid)) {
                    self.happen(Event::Ready { slot });
                }
            }
            Step::Hang(worker) => {
                if let Some(slot) = self.nth(worker).and_then(|pid| self.fleet.slot_of(pid)) {
                    self.happen(Event::Hung { slot });
                }
            }
            Step::Die(worker, end) => {
                if let Some(pid) = self.nth(worker) {
                    self.die(pid, end);
                }
            }
            Step::Wait(duration) => {
                self.now += duration;
                self.happen(Event::Tick);
                let spins = self.fleet.next_deadline().is_some_and(|at| at <= self.now);
                assert!(!spins, "it would spin: {:?}", self.history);
            }
            Step::FailNextFork => self.fail_fork = true,
            Step::Succeed => self.happen(Event::Succeeded),
            Step::SuccessorDies => {
                if let Some(pid) = self.fleet.successor() {
                    self.happen(Event::Died { pid, end: WorkerEnd::Crash });
                }
            }
        }
    }

    fn nth(&self, worker: usize) -> Option<Pid> {
        self.alive.get(worker).copied()
    }

    fn die(&mut self, pid: Pid, end: WorkerEnd) {
        self.alive.retain(|&other| other != pid);
        self.doomed.retain(|&other| other != pid);
        self.happen(Event::Died { pid, end });
    }

    fn happen(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for effect in self.fleet.decide(event, self.now) {
                events.extend(self.perform(effect));
            }
            if events.is_empty() {
                self.check();
            }
        }
    }

    fn perform(&mut self, effect: Effect) -> Option<Event> {
        assert!(self.exited.is_none(), "it acts after its end: {effect:?}");
        match effect {
            Effect::Fork { slot, .. } => {
                if std::mem::take(&mut self.fail_fork) {
                    return Some(Event::ForkFailed { slot });
                }
                self.forks += 1;
                let pid = 100 + Pid::try_from(self.forks).expect("few are forked");
                self.alive.push(pid);
                return Some(Event::Forked { slot, pid });
            }
            Effect::Term(pid) => {
                self.terminated += 1;
                self.doom(pid);
            }
            Effect::Abort { pid, .. } => self.doom(pid),
            Effect::Kill(pid) => {
                self.killed += 1;
                self.ignore_signals = false;
                self.doom(pid);
            }
            Effect::Load if self.good => {
                self.reloading = self.announced > 0;
                let Force { asked, timing, .. } = self.fleet.force;
                return Some(Event::Loaded { workers: asked, timing: self.reloaded.unwrap_or(timing) });
            }
            Effect::Load => return Some(Event::Refused),
            Effect::GiveUp { successor } => {
                assert_eq!(successor, SUCCESSOR);
                self.given_up += 1;
            }
            Effect::Upgrade => {
                self.successors += 1;
                return Some(Event::Succeeding { pid: SUCCESSOR });
            }
            Effect::HandOver { successor } => {
                assert_eq!(successor, SUCCESSOR);
                assert!(!self.left, "it is told to end, and lives on in another: {:?}", self.history);
                self.handed_over = true;
            }
            Effect::Announce => self.announced += 1,
            Effect::Settle(_) | Effect::RollBack(_) | Effect::BreakOff => self.reloading = false,
            Effect::Inspect => self.inspections += 1,
            Effect::Leave => self.left = true,
            Effect::Exit(code) => self.exited = Some(code),
            Effect::TooLate { .. }
            | Effect::Reopen(_)
            | Effect::ReopenLogs
            | Effect::Reap
            | Effect::Beat { .. }
            | Effect::CloseListeners => {}
        }
        None
    }

    fn doom(&mut self, pid: Pid) {
        if pid == SUCCESSOR {
            return;
        }
        assert!(self.alive.contains(&pid), "a signal to {pid}, which is dead and may be somebody else by now");
        if !self.ignore_signals {
            self.doomed.push(pid);
        }
    }

    fn check(&self) {
        let history = &self.history;
        let mut known: Vec<_> = self.fleet.slots().iter().filter_map(|slot| slot.pid()).collect();
        known.sort_unstable();
        assert_eq!(known, self.alive, "a worker was forgotten, or a dead one is remembered: {history:?}");
        let stand_in = usize::from(self.fleet.others() > 0);
        let at_work = self.fleet.slots().iter().filter(|slot| slot.generation().is_some()).count();
        assert!(at_work <= self.fleet.wanted() + stand_in, "{at_work} workers are too many: {history:?}");
        assert!(self.fleet.force.asked >= 1);
        let reloads = matches!(self.fleet.phase, Phase::Reloading { .. });
        assert!(
            self.reloading == reloads || self.fleet.is_ending(),
            "a reload was not told to have ended: {history:?}"
        );
    }

    // --- a world in which all goes well ------------------------------------------------------------

    /// The workers that were told to end do so.
    pub(super) fn bury(&mut self) {
        while let Some(pid) = self.doomed.first().copied() {
            self.die(pid, WorkerEnd::Well);
        }
    }

    pub(super) fn ready_all(&mut self) {
        while let Some(worker) = self.booting() {
            self.apply(Step::Ready(worker));
        }
    }

    pub(super) fn booting(&self) -> Option<usize> {
        let booting = |pid: &Pid| {
            self.fleet.slot_of(*pid).is_some_and(|slot| matches!(self.fleet.slots()[slot], Slot::Booting { .. }))
        };
        self.alive.iter().position(booting)
    }

    /// Waits until a worker boots.
    pub(super) fn settle_boots(&mut self) {
        for _ in 0..1000 {
            if self.booting().is_some() {
                return;
            }
            self.wait_for_deadline();
        }
        panic!("nobody is forked: {:?}", self.history);
    }

    /// Lets everything in progress finish, without further mishaps.
    pub(super) fn settle(&mut self) {
        self.ignore_signals = false;
        for _ in 0..1000 {
            self.ready_all();
            self.bury();
            let (serving, asked) = self.fleet.strength();
            let paused = self.fleet.phase == Phase::Paused && self.alive.is_empty();
            let at_rest = self.fleet.phase == Phase::Running && serving == asked && self.alive.len() == asked;
            if self.exited.is_some() || paused || at_rest {
                return;
            }
            self.wait_for_deadline();
        }
        panic!("it does not come to rest: {:?} in {:?}", self.history, self.fleet);
    }

    fn wait_for_deadline(&mut self) {
        let next = self.fleet.next_deadline().expect("something is still to be waited for");
        self.apply(Step::Wait(next.saturating_duration_since(self.now)));
    }

    pub(super) fn living(&self) -> usize {
        self.fleet.slots().iter().filter(|slot| slot.generation().is_some()).count()
    }

    pub(super) fn generations(&self) -> Vec<Generation> {
        let serving = |slot: &Slot| match slot {
            Slot::Serving { generation, .. } => Some(*generation),
            _ => None,
        };
        self.fleet.slots().iter().filter_map(serving).collect()
    }
}
