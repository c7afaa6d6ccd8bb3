//! Why workers were replaced.

use super::*;

/// How often each reason is counted after this history.
fn counted(asked: usize, history: impl FnOnce(&mut World)) -> Vec<(&'static str, u64)> {
    let mut world = World::new(asked);
    world.ready_all();
    history(&mut world);
    world.settle();
    let counts = RestartReason::ALL.into_iter().zip(world.fleet.restarts());
    counts.filter(|(_, count)| *count > 0).map(|(reason, count)| (reason.word(), count)).collect()
}

#[test]
fn each_restart_is_counted_once_by_its_cause() {
    assert_eq!(counted(2, |_| {}), []);
    assert_eq!(counted(2, |world| world.apply(Step::Die(0, WorkerEnd::Crash))), [("crash", 1)]);
    assert_eq!(counted(2, |world| world.apply(Step::Die(1, WorkerEnd::Well))), [("retired", 1)]);
    assert_eq!(counted(2, |world| world.apply(Step::Die(0, WorkerEnd::OutOfMemory))), [("oom", 1)]);
    assert_eq!(counted(2, |world| world.apply(Step::Hang(0))), [("hang", 1)]);
    assert_eq!(counted(3, |world| world.apply(Step::Reload)), [("reload", 3)]);
    assert_eq!(counted(2, |world| world.apply(Step::BadReload)), []);
    let resized = |world: &mut World| {
        world.apply(Step::Command(Command::More));
        world.settle();
        world.apply(Step::Command(Command::Fewer));
        world.settle();
        world.apply(Step::Command(Command::Pause));
        world.settle();
        world.apply(Step::Command(Command::Reload));
    };
    assert_eq!(counted(2, resized), [], "nobody was replaced by another");
}

#[test]
fn a_worker_that_cannot_boot_is_a_crash_and_one_that_never_does_hangs() {
    let crash = |world: &mut World| {
        world.apply(Step::Die(0, WorkerEnd::Crash));
        let booting = world.booting().expect("it is replaced");
        world.apply(Step::Die(booting, WorkerEnd::Crash));
    };
    assert_eq!(counted(1, crash), [("crash", 2)]);
    let hang = |world: &mut World| {
        world.apply(Step::Die(0, WorkerEnd::Crash));
        world.apply(Step::Wait(TIMING.timeout.expect("it is set")));
    };
    assert_eq!(counted(1, hang), [("crash", 1), ("hang", 1)]);
}
