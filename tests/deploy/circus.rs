//! Under a real circusd, with the file that `deploy/` ships: whatever circus does to us, no client meanwhile is
//! refused, cut off or left without an answer.

use crate::harness::circus::{Circus, WATCHER, WORKERS};
use crate::harness::family::PATIENCE;
use crate::harness::{Client, Signal, get, processes, send, within};

#[test]
#[ignore = "needs circusd"]
fn a_hup_through_circus_loses_no_request() {
    let circus = Circus::start();
    let master = circus.family.new_master(&[], WORKERS);
    let load = circus.load();
    for _ in 0..3 {
        let before = circus.family.workers_of(master);
        circus.ctl(&["signal", WATCHER, "hup"]);
        circus.family.expect_new_workers(master, &before);
        load.wait_for_answers(100);
    }
    load.stop().assert_nothing_lost();
    assert_eq!(circus.family.masters(), [master]);
}

#[test]
#[ignore = "needs circusd"]
fn a_reload_by_circus_loses_no_request() {
    let circus = Circus::start();
    let mut master = circus.family.new_master(&[], WORKERS);
    let load = circus.load();
    for _ in 0..3 {
        // Starts a new master and terminates the old one at the same time.
        circus.ctl(&["reload", WATCHER]);
        master = circus.family.new_master(&[master], WORKERS);
        load.wait_for_answers(100);
    }
    load.stop().assert_nothing_lost();
}

#[test]
#[ignore = "needs circusd"]
fn a_restart_by_circus_loses_no_request() {
    let circus = Circus::start();
    let mut master = circus.family.new_master(&[], WORKERS);
    let load = circus.load();
    for _ in 0..3 {
        // For a moment there is no master at all.
        circus.ctl(&["restart", WATCHER]);
        master = circus.family.new_master(&[master], WORKERS);
        load.wait_for_answers(100);
    }
    load.stop().assert_nothing_lost();
}

#[test]
#[ignore = "needs circusd"]
fn a_second_master_comes_and_goes_without_losing_a_request() {
    let circus = Circus::start();
    let first = circus.family.new_master(&[], WORKERS);
    let load = circus.load();
    circus.ctl(&["incr", WATCHER]);
    within(PATIENCE, "two masters have all their workers", || {
        let masters = circus.family.masters();
        masters.len() == 2 && masters.iter().all(|&master| circus.family.workers_of(master).len() == WORKERS)
    });
    load.wait_for_answers(100);
    circus.ctl(&["decr", WATCHER]);
    circus.family.new_master(&[first], WORKERS);
    load.wait_for_answers(100);
    load.stop().assert_nothing_lost();
}

#[test]
#[ignore = "needs circusd"]
fn a_request_that_comes_while_circus_has_stopped_us_is_answered_after_the_start() {
    let circus = Circus::start();
    circus.family.new_master(&[], WORKERS);
    circus.ctl(&["stop", WATCHER]);
    within(PATIENCE, "circus alone is left", || circus.family.members() == [circus.family.head()]);
    let mut client = Client::to(&circus.at);
    client.ask("/");
    circus.ctl(&["start", WATCHER]);
    client.patience(PATIENCE);
    assert_eq!(client.answer().status, 200);
}

#[test]
#[ignore = "needs circusd"]
fn no_process_is_left_when_circus_has_quit() {
    let mut circus = Circus::start();
    circus.family.new_master(&[], WORKERS);
    let load = circus.load();
    load.stop().assert_nothing_lost();
    circus.ctl(&["quit"]);
    assert!(circus.family.wait().success());
    circus.family.expect_extinct();
}

#[test]
#[ignore = "needs circusd"]
fn a_master_whose_circusd_was_killed_goes_on_serving() {
    let mut circus = Circus::start();
    let master = circus.family.new_master(&[], WORKERS);
    let load = circus.load();
    send(circus.family.head(), Signal::SIGKILL);
    circus.family.wait();
    load.wait_for_answers(100);
    // Its log goes into a pipe that nobody reads any more, and a reload writes to it.
    let before = circus.family.workers_of(master);
    send(master, Signal::SIGHUP);
    circus.family.expect_new_workers(master, &before);
    load.wait_for_answers(100);
    load.stop().assert_nothing_lost();
    send(master, Signal::SIGTERM);
    circus.family.expect_extinct();
}

#[test]
#[ignore = "needs circusd"]
fn circus_starts_a_new_master_when_ours_was_killed() {
    let circus = Circus::start();
    let master = circus.family.new_master(&[], WORKERS);
    let workers = circus.family.workers_of(master);
    send(master, Signal::SIGKILL);
    circus.family.new_master(&[master], WORKERS);
    assert_eq!(get(&circus.at, "/").status, 200);
    within(PATIENCE, "the old workers are gone", || !workers.iter().any(|&pid| processes::is_alive(pid)));
}
