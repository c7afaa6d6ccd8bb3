//! The fleet, without a fork: every command in every state, random histories, and all short ones.

mod restarts;
mod world;

use super::*;
use proptest::prelude::*;
use std::fmt::Write;
use world::{GRACEFUL, Step, TIMING, World};

fn slot_states(t0: Instant) -> [Slot; 7] {
    [
        Slot::Vacant,
        Slot::Forking { generation: 0 },
        Slot::Booting { pid: 7, generation: 0, since: t0 },
        Slot::Serving { pid: 7, generation: 0, since: t0 },
        Slot::Draining { pid: 7, kill_at: t0 + GRACEFUL },
        Slot::Aborting { pid: 7, kill_at: t0 + ABORT_GRACE },
        Slot::Dying { pid: 7 },
    ]
}

fn with_slot(slot: Slot, now: Instant) -> Fleet {
    let mut fleet = Fleet::new(0, 1, 8, TIMING, now);
    fleet.phase = Phase::Running;
    fleet.slots = vec![slot];
    fleet
}

/// One line for each state: what is done, and the new state of the slot.
fn table(event: impl Fn(Instant) -> Event) -> String {
    let t0 = Instant::now();
    let mut text = String::new();
    for slot in slot_states(t0) {
        let mut fleet = with_slot(slot, t0);
        let effects = fleet.decide(event(t0), t0);
        let state = |slot: Slot| format!("{slot:?}").split(' ').next().unwrap_or_default().to_owned();
        writeln!(text, "{:8} -> {:8} {effects:?}", state(slot), state(fleet.slots[0])).expect("a string takes all");
    }
    text
}

#[test]
fn every_command_is_answered_in_every_state() {
    let commands = [
        Command::Drain,
        Command::Stop,
        Command::Reload,
        Command::Reopen,
        Command::Upgrade,
        Command::More,
        Command::Fewer,
        Command::Pause,
        Command::Reap,
    ];
    let tables = commands.map(|command| format!("{command:?}\n{}", table(|_| Event::Command(command))));
    insta::assert_snapshot!(tables.join("\n"));
}

#[test]
fn every_event_is_answered_in_every_state() {
    let events: [(&str, Event); 7] = [
        ("a tick", Event::Tick),
        ("forked", Event::Forked { slot: 0, pid: 7 }),
        ("the fork failed", Event::ForkFailed { slot: 0 }),
        ("ready", Event::Ready { slot: 0 }),
        ("dead", Event::Died { pid: 7, end: WorkerEnd::Well }),
        ("a stranger is dead", Event::Died { pid: 8, end: WorkerEnd::Well }),
        ("hung", Event::Hung { slot: 0 }),
    ];
    let tables = events.map(|(name, event)| format!("{name}\n{}", table(|_| event)));
    insta::assert_snapshot!(tables.join("\n"));
}

// --- the most important stories --------------------------------------------------------------------

#[test]
fn it_is_announced_when_every_worker_is_ready() {
    let mut world = World::new(3);
    world.ready_all();
    assert_eq!(world.announced, 1);
    assert_eq!(world.fleet.strength(), (3, 3));
}

#[test]
fn whatever_it_is_told_as_it_boots_it_is_announced() {
    for command in [Command::Pause, Command::Upgrade, Command::More, Command::Fewer, Command::Reload] {
        let mut world = World::new(2);
        world.apply(Step::Command(command));
        world.apply(Step::Reload);
        world.settle();
        assert_eq!((world.announced, world.successors), (1, 0), "{command:?}");
    }
}

#[test]
fn a_first_boot_that_cannot_work_ends_with_code_3() {
    let mut world = World::new(2);
    world.apply(Step::Die(0, WorkerEnd::Crash));
    world.settle();
    assert_eq!(world.exited, Some(3));
}

#[test]
fn a_first_boot_that_hangs_ends_with_code_3() {
    let mut world = World::new(1);
    world.ignore_signals = true;
    world.apply(Step::Wait(TIMING.timeout.expect("it is set")));
    assert_eq!(world.killed, 1);
    world.settle();
    assert_eq!(world.exited, Some(3));
}

#[test]
fn a_new_generation_that_hangs_while_it_boots_is_rolled_back() {
    let mut world = World::new(1);
    world.ready_all();
    world.apply(Step::Reload);
    for _ in 0..STRIKES {
        world.settle_boots();
        world.apply(Step::Wait(TIMING.timeout.expect("it is set")));
        world.bury();
    }
    world.settle();
    assert_eq!(world.generations(), [0], "the old generation goes on");
}

#[test]
fn once_it_has_served_it_never_gives_up() {
    let mut world = World::new(1);
    world.ready_all();
    for _ in 0..100 {
        world.apply(Step::Die(0, WorkerEnd::Crash));
        world.settle_boots();
    }
    assert_eq!(world.exited, None);
    world.settle();
    assert_eq!(world.fleet.strength(), (1, 1));
}

#[test]
fn a_reload_replaces_one_worker_at_a_time_behind_readiness() {
    let mut world = World::new(2);
    world.ready_all();
    world.apply(Step::Reload);
    assert_eq!(world.living(), 3, "one stands in");
    assert_eq!(world.terminated, 0, "nobody goes before it is ready");
    world.ready_all();
    assert_eq!(world.terminated, 2);
    world.settle();
    assert_eq!(world.generations(), [1, 1]);
}

#[test]
fn a_reload_is_not_told_before_the_last_old_worker_is_sent_away() {
    let t0 = Instant::now();
    let mut fleet = with_slot(Slot::Serving { pid: 7, generation: 0, since: t0 }, t0);
    let forked = fleet.decide(Event::Loaded { workers: 1, timing: TIMING }, t0);
    assert_eq!(forked, [Effect::Fork { slot: 1, generation: 1 }]);
    assert_eq!(fleet.decide(Event::Forked { slot: 1, pid: 8 }, t0), []);
    assert_eq!(fleet.decide(Event::Ready { slot: 1 }, t0), [Effect::Term(7), Effect::Settle(1)]);
}

#[test]
fn a_new_generation_that_cannot_boot_is_rolled_back() {
    let mut world = World::new(2);
    world.ready_all();
    world.apply(Step::Reload);
    for _ in 0..STRIKES {
        world.settle_boots();
        let booting = world.booting().expect("another try is made");
        world.apply(Step::Die(booting, WorkerEnd::Crash));
    }
    world.settle();
    assert_eq!(world.generations(), [0, 0], "the old generation goes on");
    assert_eq!(world.exited, None);
}

#[test]
fn a_rollback_brings_the_old_timeout_back() {
    let mut world = World::new(1);
    world.ready_all();
    world.reloaded = Some(Timing { timeout: None, ..TIMING });
    world.apply(Step::Reload);
    for _ in 0..STRIKES {
        world.settle_boots();
        let booting = world.booting().expect("another try is made");
        world.apply(Step::Die(booting, WorkerEnd::Crash));
    }
    world.apply(Step::Wait(TIMING.timeout.expect("it is set") / 2));
    assert_eq!(world.inspections, 1, "hung workers are looked for again");
}

#[test]
fn a_storm_of_hups_is_one_reload_under_way_and_one_after_it() {
    let mut world = World::new(2);
    world.ready_all();
    for _ in 0..50 {
        world.apply(Step::Reload);
    }
    world.settle();
    assert_eq!(world.generations(), [2, 2]);
}

#[test]
fn a_term_preempts_a_reload() {
    let mut world = World::new(2);
    world.ready_all();
    world.apply(Step::Reload);
    world.apply(Step::Command(Command::Drain));
    let forks = world.forks;
    world.settle();
    assert_eq!((world.exited, world.forks), (Some(0), forks));
}

#[test]
fn readiness_fails_for_the_drain_delay_before_anybody_is_told_to_finish() {
    let mut world = World::with_timing(1, Timing { drain_delay: Duration::from_secs(3), ..TIMING });
    world.ready_all();
    world.apply(Step::Command(Command::Drain));
    assert!(world.left && world.terminated == 0);
    world.apply(Step::Wait(Duration::from_secs(2)));
    assert_eq!(world.terminated, 0);
    world.apply(Step::Wait(Duration::from_secs(1)));
    assert_eq!(world.terminated, 1);
}

#[test]
fn a_second_term_ends_it_at_once() {
    let mut world = World::new(2);
    world.ready_all();
    world.apply(Step::Command(Command::Drain));
    world.apply(Step::Command(Command::Drain));
    assert_eq!(world.killed, 0, "the echo of the first, as timeout(1) sends it");
    world.apply(Step::Wait(ECHO));
    world.apply(Step::Command(Command::Drain));
    assert_eq!(world.killed, 2);
}

#[test]
fn a_hung_worker_is_aborted_then_killed_and_replaced() {
    let mut world = World::new(1);
    world.ready_all();
    world.apply(Step::Hang(0));
    assert_eq!(world.living(), 1, "its successor boots while it dumps core");
    world.ignore_signals = true;
    world.apply(Step::Wait(ABORT_GRACE));
    assert_eq!(world.killed, 1);
}

#[test]
fn a_master_that_overslept_does_not_look_for_hung_workers() {
    let mut world = World::new(1);
    world.ready_all();
    let timeout = TIMING.timeout.expect("it is set");
    world.apply(Step::Wait(timeout / 2));
    assert_eq!(world.inspections, 1, "in time");
    world.apply(Step::Wait(timeout * 10));
    assert_eq!(world.inspections, 1, "overslept: a turn is skipped");
    world.apply(Step::Wait(timeout / 2));
    assert_eq!(world.inspections, 2, "the next one is taken");
}

#[test]
fn a_master_that_overslept_kills_nobody_who_had_no_chance_to_drain() {
    let mut world = World::new(1);
    world.ready_all();
    world.ignore_signals = true;
    world.apply(Step::Command(Command::Drain));
    world.apply(Step::Wait(GRACEFUL + OVERSLEPT));
    assert_eq!(world.killed, 0, "stopped while it was due");
    world.apply(Step::Wait(GRACEFUL));
    assert_eq!(world.killed, 1, "awake when it was due again");
}

#[test]
fn a_master_that_overslept_kills_nobody_who_had_no_chance_to_boot() {
    let mut world = World::new(1);
    let timeout = TIMING.timeout.expect("it is set");
    world.apply(Step::Wait(timeout + OVERSLEPT));
    assert_eq!(world.killed, 0);
    world.ready_all();
    assert_eq!(world.announced, 1);
}

#[test]
fn a_master_that_overslept_kills_nobody_who_had_no_chance_to_dump_core() {
    let mut world = World::new(1);
    world.ready_all();
    world.ignore_signals = true;
    world.apply(Step::Hang(0));
    world.apply(Step::Wait(ABORT_GRACE + OVERSLEPT));
    assert_eq!(world.killed, 0);
    world.apply(Step::Wait(ABORT_GRACE));
    assert_eq!(world.killed, 1);
}

#[test]
fn a_master_that_overslept_does_not_give_up_a_new_one_that_had_no_chance() {
    let mut world = World::new(1);
    world.ready_all();
    world.apply(Step::Command(Command::Upgrade));
    let timeout = TIMING.timeout.expect("it is set");
    world.apply(Step::Wait(timeout + OVERSLEPT));
    assert_eq!(world.given_up, 0);
    world.apply(Step::Wait(timeout));
    assert_eq!(world.given_up, 1);
}

#[test]
fn a_new_master_that_answers_when_it_was_given_up_takes_nothing_over() {
    let mut world = World::new(1);
    world.ready_all();
    world.apply(Step::Command(Command::Upgrade));
    world.apply(Step::Wait(TIMING.timeout.expect("it is set")));
    world.apply(Step::Succeed);
    world.apply(Step::SuccessorDies);
    world.settle();
    assert_eq!((world.given_up, world.handed_over, world.exited), (1, false, None));
}

#[test]
fn ttin_and_ttou_change_the_number_down_to_one() {
    let mut world = World::new(1);
    world.ready_all();
    world.apply(Step::Command(Command::More));
    world.settle();
    assert_eq!(world.fleet.strength(), (2, 2));
    for _ in 0..5 {
        world.apply(Step::Command(Command::Fewer));
    }
    world.settle();
    assert_eq!(world.fleet.strength(), (1, 1));
}

#[test]
fn a_paused_fleet_has_no_workers_until_a_hup_calls_it_back() {
    let mut world = World::new(2);
    world.ready_all();
    world.apply(Step::Command(Command::Pause));
    world.settle();
    assert_eq!((world.living(), world.exited), (0, None));
    world.apply(Step::Reload);
    world.settle();
    assert_eq!(world.fleet.strength(), (2, 2));
}

#[test]
fn an_upgrade_drains_the_old_fleet_when_the_new_master_is_ready() {
    let mut world = World::new(2);
    world.ready_all();
    world.apply(Step::Command(Command::Upgrade));
    assert_eq!((world.successors, world.terminated), (1, 0), "nobody goes before it is ready");
    world.apply(Step::Command(Command::Upgrade));
    assert_eq!(world.successors, 1, "one at a time");
    world.apply(Step::Succeed);
    world.settle();
    assert_eq!((world.exited, world.handed_over), (Some(0), true));
}

#[test]
fn a_new_master_that_cannot_boot_leaves_everything_as_it_was() {
    let mut world = World::new(2);
    world.ready_all();
    for _ in 0..2 {
        world.apply(Step::Command(Command::Upgrade));
        world.apply(Step::SuccessorDies);
    }
    world.settle();
    assert_eq!((world.successors, world.terminated, world.exited), (2, 0, None), "and another try is possible");
}

#[test]
fn a_term_takes_a_new_master_that_is_not_ready_along() {
    let mut world = World::new(1);
    world.ready_all();
    world.apply(Step::Command(Command::Upgrade));
    world.apply(Step::Command(Command::Drain));
    assert_eq!(world.terminated, 2);
}

#[test]
fn a_new_master_that_answers_within_the_drain_delay_of_the_old_one_takes_nothing_over() {
    let mut world = World::with_timing(1, Timing { drain_delay: Duration::from_secs(3), ..TIMING });
    world.ready_all();
    world.apply(Step::Command(Command::Upgrade));
    world.apply(Step::Command(Command::Drain));
    assert_eq!((world.left, world.terminated), (true, 1), "the new master alone");
    world.apply(Step::Succeed);
    world.settle();
    assert_eq!((world.handed_over, world.exited), (false, Some(0)));
}

// --- what must always hold -------------------------------------------------------------------------

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..8usize).prop_map(Step::Ready),
        3 => (0..8usize, prop_oneof![Just(WorkerEnd::Well), Just(WorkerEnd::Crash), Just(WorkerEnd::OutOfMemory)])
            .prop_map(|(worker, end)| Step::Die(worker, end)),
        2 => (0..40_000u64).prop_map(|millis| Step::Wait(Duration::from_millis(millis))),
        1 => (0..8usize).prop_map(Step::Hang),
        2 => Just(Step::Reload),
        1 => Just(Step::BadReload),
        1 => Just(Step::FailNextFork),
        1 => Just(Step::SuccessorDies),
        1 => proptest::sample::select(vec![
            Command::Reopen, Command::Upgrade, Command::More, Command::Fewer, Command::Pause, Command::Reap,
        ]).prop_map(Step::Command),
    ];
    proptest::collection::vec(step, 0..80)
}

proptest! {
    // The world checks at each step that nobody is forgotten and that there are never too many.
    #[test]
    fn whatever_happens_the_fleet_comes_to_what_was_asked_for(asked in 1..5usize, steps in steps()) {
        let mut world = World::new(asked);
        world.ready_all();
        for step in steps {
            world.apply(step);
        }
        world.apply(Step::Reload);
        world.settle();
        let (serving, asked) = world.fleet.strength();
        prop_assert_eq!(serving, asked);
        prop_assert_eq!(world.living(), asked);
        prop_assert!(world.generations().iter().all(|generation| *generation == world.fleet.force.generation));
    }

    #[test]
    fn whatever_happened_before_a_drain_ends(asked in 1..5usize, before in steps(), after in steps()) {
        let mut world = World::new(asked);
        for step in before {
            world.apply(step);
        }
        world.apply(Step::Command(Command::Drain));
        let forks = world.forks;
        for step in after {
            world.apply(step);
        }
        world.settle();
        prop_assert!(world.exited.is_some());
        prop_assert_eq!(world.forks, forks, "TERM preempts: nobody is forked any more");
        prop_assert_eq!(world.living(), 0);
    }
}

/// Every history of this many steps, for a fleet of two, ends well.
#[test]
fn all_short_histories_end_well() {
    const DEPTH: usize = 5;
    let steps = [
        Step::Ready(0),
        Step::Ready(1),
        Step::Die(0, WorkerEnd::Crash),
        Step::Die(1, WorkerEnd::Well),
        Step::Hang(0),
        Step::Reload,
        Step::BadReload,
        Step::FailNextFork,
        Step::Wait(Duration::from_secs(1)),
        // In time for what begins now, and too late for what began a second before.
        Step::Wait(TIMING.timeout.expect("it is set")),
        Step::Command(Command::Upgrade),
        Step::Succeed,
        Step::SuccessorDies,
        Step::Command(Command::Fewer),
        Step::Command(Command::Pause),
        Step::Command(Command::Drain),
    ];
    fn explore(world: &World, steps: &[Step], depth: usize, seen: &mut usize) {
        let mut end = world.clone();
        end.settle();
        let (serving, asked) = end.fleet.strength();
        let paused = end.fleet.phase == Phase::Paused && serving == 0;
        assert!(end.exited.is_some() || paused || serving == asked, "{:?}", end.history);
        assert!(end.exited.is_some() || end.announced == 1, "{:?}", end.history);
        *seen += 1;
        if depth > 0 && world.exited.is_none() {
            for &step in steps {
                let mut next = world.clone();
                next.apply(step);
                explore(&next, steps, depth - 1, seen);
            }
        }
    }
    let mut seen = 0;
    explore(&World::new(2), &steps, DEPTH, &mut seen);
    assert!(seen > 100_000, "only {seen} histories were tried");
    // With a drain delay, in the middle of an upgrade.
    let mut world = World::with_timing(2, Timing { drain_delay: Duration::from_secs(2), ..TIMING });
    world.ready_all();
    world.apply(Step::Command(Command::Upgrade));
    explore(&world, &steps, DEPTH - 1, &mut seen);
}
