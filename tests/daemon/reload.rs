//! Reloads: whatever is wrong with a new configuration, and whenever it comes, clients are answered.

use crate::harness::site::{Site, WORKERS, Way};
use crate::harness::*;

#[test]
fn a_reload_under_load_loses_no_request_on_a_port_of_its_own() {
    reload_under_load(Way::Tcp);
}

#[test]
fn a_reload_under_load_loses_no_request_on_a_unix_socket() {
    reload_under_load(Way::Unix);
}

#[test]
fn a_reload_under_load_loses_no_request_on_a_passed_socket() {
    reload_under_load(Way::Fd);
}

fn reload_under_load(way: Way) {
    let site = Site::open(way, &[]);
    let load = site.load(2);
    for _ in 0..5 {
        site.reload();
        load.wait_for_answers(30);
    }
    load.stop().assert_nothing_lost();
    assert_eq!(site.generations(), [1, 2, 3, 4, 5]);
    site.expect_tidy();
}

#[test]
fn whoever_wants_to_know_all_is_told_which_generation_answers() {
    let site = Site::open(Way::Tcp, &[]);
    let generation = |path| {
        let answer = get(&site.at, path);
        assert_eq!(answer.status, 200);
        answer.header("x-generation").map(str::to_owned)
    };
    assert_eq!(generation("/?verbose").as_deref(), Some("0"));
    site.reload();
    // The last old worker may take one more connection before its TERM arrives.
    eventually("the new ones answer", || generation("/?verbose&format=text").as_deref() == Some("1"));
    assert_eq!(generation("/readyz?verbose").as_deref(), Some("1"));
    assert_eq!(generation("/"), None);
    site.upgrade();
    eventually("the new master's answer", || generation("/?verbose").as_deref() == Some("2"));
}

#[test]
fn a_bad_configuration_changes_nothing_but_the_log() {
    for (bad, why) in [
        ("HEALTHCHECKS=hospital.healthchecks.missing\n", "hospital.healthchecks.missing"),
        ("HEALTHCHECKS=gopher://host\n", "gopher"),
        ("HOSPITAL_WORKERS=many\n", "HOSPITAL_WORKERS: "),
        ("no variable\n", "NAME=VALUE"),
    ] {
        let site = Site::open(Way::Tcp, &[]);
        let (master, load) = (site.master(), site.load(1));
        let workers = site.family.workers_of(master);
        site.write_env(bad);
        site.logs_after("reload refused", || send(master, Signal::SIGHUP));
        load.wait_for_answers(50);
        load.stop().assert_nothing_lost();
        let log = site.log();
        let refusal = log.lines().find(|line| line.contains("reload refused")).expect("it was just seen");
        assert!(refusal.contains(why), "{refusal}");
        assert_eq!(site.family.workers_of(master), workers, "{bad:?}");
        site.mend_env();
        site.reload();
    }
}

#[test]
fn a_reload_does_not_pass_over_what_only_a_restart_or_an_upgrade_changes() {
    const CHANGES: [(&str, &str, &str); 8] = [
        ("HOSPITAL_BIND=unix:@x", "listening on fd://0 to listening on fd://0, unix:@x", "a restart"),
        ("HOSPITAL_BACKLOG=7", "the backlog 2048 to the backlog 7", "a restart"),
        ("HOSPITAL_NOTIFY_FD=9", "the notified descriptor none to the notified descriptor 9", "a restart"),
        ("HOSPITAL_LOG_LEVEL=debug", "(Info, Text) to the log standard error (Debug, Text)", UPGRADE),
        ("HOSPITAL_ACCESS_LOGFILE=-", "the access log none to the access log -", UPGRADE),
        ("HOSPITAL_PID=/x", "the pidfile none to the pidfile /x", UPGRADE),
        ("HOSPITAL_UMASK=077", "the umask 022 to the umask 077", UPGRADE),
        ("HOSPITAL_NAME=x", "the master's name hospital to the master's name x", UPGRADE),
    ];
    const UPGRADE: &str = "a restart or an upgrade (USR2)";
    let launch = Launch::serve(["-w", "1"]);
    let env = launch.path("env");
    std::fs::write(&env, "").expect("the directory is ours");
    let server = launch.args(["--env-file".as_ref(), env.as_os_str()]).start();
    server.signal(Signal::SIGHUP);
    server.logs("reloaded: all workers are of generation 1");
    assert!(!server.stderr().contains("changed from"), "{}", server.stderr());
    let lines: String = CHANGES.map(|(line, _, _)| format!("{line}\n")).concat();
    std::fs::write(&env, lines).expect("the directory is ours");
    server.signal(Signal::SIGHUP);
    server.logs("reloaded: all workers are of generation 2");
    let log = server.stderr();
    for (line, change, taken_by) in CHANGES {
        let told = |told: &str| told.contains(change) && told.ends_with(&format!(": that takes {taken_by}"));
        assert!(log.lines().any(told), "{line}: {log}");
    }
}

#[test]
fn the_same_in_other_words_is_no_change() {
    let launch = Launch::binding(["-w", "1"]);
    let (env, directory) = (launch.path("env"), launch.path(""));
    let write = |text: String| std::fs::write(&env, text).expect("the directory is ours");
    write("HOSPITAL_BIND=unix:a,unix:b\nHOSPITAL_PID=pid\n".to_owned());
    let server = launch.current_dir(&directory).args(["--env-file".as_ref(), env.as_os_str()]).start();
    let there = directory.display();
    write(format!("HOSPITAL_BIND=unix:{there}b,unix:./a\nHOSPITAL_PID={there}pid\n"));
    server.signal(Signal::SIGHUP);
    server.logs("reloaded: all workers are of generation 1");
    assert!(!server.stderr().contains("changed from"), "{}", server.stderr());
}

#[test]
fn a_reload_follows_the_link_of_chdir_and_reopens_the_logs() {
    let launch = Launch::serve(["-w", "1", "./checks.toml", "--error-logfile", "log", "--chdir"]);
    let place = launch.path("");
    for name in ["old", "new"] {
        std::fs::create_dir(place.join(name)).expect("the directory is ours");
        let check = format!("[[check]]\nname = '{name}'\nuse = 'file:/etc/passwd'\n");
        std::fs::write(place.join(name).join("checks.toml"), check).expect("the directory is ours");
    }
    let lead_to = |name: &str| {
        std::os::unix::fs::symlink(place.join(name), place.join("link")).expect("it is free");
        std::fs::rename(place.join("link"), place.join("current")).expect("it is there");
    };
    lead_to("old");
    let server = launch.args([place.join("current")]).start();
    assert_eq!(get(&server.at, "/old").status, 200);
    let log = place.join("old/log");
    std::fs::rename(&log, place.join("old/log.1")).expect("it is there");
    lead_to("new");
    server.signal(Signal::SIGHUP);
    eventually("the log is anew", || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("reloaded: all")));
    // The last connection of the old worker may be ours.
    eventually("the new checks are there", || get(&server.at, "/new").status == 200);
    // One that replaces a worker of this generation is there, too.
    let former = server.workers();
    send(former[0], Signal::SIGKILL);
    let new = place.join("new").canonicalize().expect("it is there");
    // One that has died has no folder any more.
    let is_there = |pid: &i32| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|folder| folder == new);
    eventually("it is replaced", || {
        let workers = server.workers();
        !workers.is_empty() && workers.iter().all(|pid| !former.contains(pid) && is_there(pid))
    });
}

#[test]
fn an_env_file_that_is_gone_changes_nothing_but_the_log() {
    let site = Site::open(Way::Tcp, &[]);
    let (master, load) = (site.master(), site.load(1));
    std::fs::remove_file(site.family.path("env")).expect("it was there");
    site.logs_after("reload refused", || send(master, Signal::SIGHUP));
    load.wait_for_answers(50);
    load.stop().assert_nothing_lost();
}

#[test]
fn a_generation_that_cannot_boot_is_rolled_back() {
    // Without --env-file: reading one takes a descriptor.
    let server = Server::start(["-w", "2"]);
    let load = load::Load::start(&server.at, load::Shape::default());
    load.wait_for_answers(50);
    let workers = server.workers();
    processes::limit_descriptors(server.master(), 3);
    server.signal(Signal::SIGHUP);
    server.logs("the new workers cannot boot: generation 0 goes on serving");
    eventually("only the old workers are left", || server.workers() == workers);
    load.wait_for_answers(50);
    load.stop().assert_nothing_lost();
    assert!(server.stderr().contains("Too many open files"), "{}", server.stderr());

    processes::limit_descriptors(server.master(), 1024);
    server.signal(Signal::SIGHUP);
    server.logs("reloaded: all workers are of generation 2");
    assert_eq!(get(&server.at, "/").status, 200);
}

#[test]
fn reloads_leave_nothing_open_and_nobody_behind() {
    let site = Site::open(Way::Unix, &[]);
    site.reload();
    let (descriptors, memory) = site.belongings();
    for _ in 0..30 {
        site.reload();
    }
    site.expect_tidy();
    let (descriptors_now, memory_now) = site.belongings();
    assert_eq!(descriptors_now, descriptors);
    // The allocator varies this much; a configuration that was kept would take more.
    assert!(memory_now <= memory + 512, "{memory} KiB became {memory_now} KiB");
    assert_eq!(site.family.workers_of(site.master()).len(), WORKERS);
}
