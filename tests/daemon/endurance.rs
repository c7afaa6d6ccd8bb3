//! Endurance: the figures of reloads, upgrades, kills and chaos under load, printed while they are measured.
//!
//! ```console
//! $ HOSPITAL_ENDURANCE=full cargo test --release --test integration endurance -- --include-ignored --nocapture
//! ```
//!
//! Without that variable everything is done only a few times, as in `tests/run`. `HOSPITAL_CHAOS=600` sets how many
//! seconds the chaos lasts, `HOSPITAL_SEED=7` its seed. circus is installed by `tests/run`.

use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::harness::family::PATIENCE;
use crate::harness::load::{Load, Shape, Tally, Verdict};
use crate::harness::site::{Site, Way};
use crate::harness::*;

// --- reloads ---------------------------------------------------------------------------------------

#[test]
#[ignore = "takes long"]
fn reloads_at_random_lose_nothing_on_a_port_of_its_own() {
    reloads(Way::Tcp);
}

#[test]
#[ignore = "takes long"]
fn reloads_at_random_lose_nothing_on_a_unix_socket() {
    reloads(Way::Unix);
}

#[test]
#[ignore = "takes long"]
fn reloads_at_random_lose_nothing_on_a_passed_socket() {
    reloads(Way::Fd);
}

#[test]
#[ignore = "needs circusd"]
fn reloads_at_random_lose_nothing_under_circus() {
    reloads(Way::Circus);
}

fn reloads(way: Way) {
    let (_alone, scale, mut random) = (alone(), Scale::asked(), Random::new());
    let site = Site::open(way, &[]);
    site.reload();
    let (before, master) = (site.belongings(), site.master());
    let load = start_load(&site, &scale);
    for _ in 0..scale.reloads {
        send(master, Signal::SIGHUP);
        std::thread::sleep(random.between(5, 500));
    }
    // This reload ends after everything that was requested before.
    site.expect_tidy();
    site.reload();
    let tally = load.stop();
    site.expect_tidy();
    let (after, generations) = (site.belongings(), site.generations());
    figure(
        format!("{} reloads, {way:?}", scale.reloads),
        &tally,
        format!("{} generations; {}", generations.len(), kept(before, after)),
    );
    tally.assert_nothing_lost();
    assert!(generations.iter().copied().eq(1..=generations.len() as u32), "not every generation came: {generations:?}");
    assert_kept(before, after);
    assert_eq!(site.master(), master);
}

// --- upgrades --------------------------------------------------------------------------------------

#[test]
#[ignore = "takes long"]
fn upgrades_lose_nothing_on_a_port_of_its_own() {
    upgrades(Way::Tcp);
}

#[test]
#[ignore = "takes long"]
fn upgrades_lose_nothing_on_a_unix_socket() {
    upgrades(Way::Unix);
}

#[test]
#[ignore = "takes long"]
fn upgrades_lose_nothing_on_a_passed_socket() {
    upgrades(Way::Fd);
}

#[test]
#[ignore = "needs systemd-socket-activate"]
fn upgrades_lose_nothing_on_an_activated_socket() {
    upgrades(Way::Activated);
}

fn upgrades(way: Way) {
    let (_alone, scale) = (alone(), Scale::asked());
    let site = Site::open(way, &[]);
    site.upgrade();
    let before = site.belongings();
    let load = start_load(&site, &scale);
    for _ in 0..scale.upgrades {
        site.upgrade();
        load.wait_for_answers(100);
    }
    let tally = load.stop();
    site.expect_tidy();
    let after = site.belongings();
    figure(format!("{} upgrades, {way:?}", scale.upgrades), &tally, kept(before, after));
    tally.assert_nothing_lost();
    assert_kept(before, after);
}

#[test]
#[ignore = "takes long"]
fn broken_reloads_and_upgrades_lose_nothing_and_change_nothing() {
    let (_alone, scale) = (alone(), Scale::asked());
    let site = Site::open(Way::Tcp, &["--timeout", "2"]);
    let (before, master) = (site.belongings(), site.master());
    let workers = site.family.workers_of(master);
    let load = start_load(&site, &scale);
    let configurations = ["HEALTHCHECKS=hospital.healthchecks.missing\n", "HOSPITAL_WORKERS=0\n", "nothing\n"];
    for bad in configurations.iter().cycle().take(scale.broken) {
        site.write_env(bad);
        site.logs_after("reload refused", || send(master, Signal::SIGHUP));
        load.wait_for_answers(50);
    }
    site.mend_env();
    let forever = site.script("exec sleep 1000");
    let programs = [Some(Path::new("/bin/false")), None, Some(forever.as_path()), Some(Path::new("/tmp"))];
    for &program in programs.iter().cycle().take(scale.broken) {
        site.mend_program();
        site.replace_program(program);
        site.logs_after("no upgrade", || send(master, Signal::SIGUSR2));
        load.wait_for_answers(50);
    }
    let tally = load.stop();
    site.expect_tidy();
    let after = site.belongings();
    figure(format!("{0} broken reloads, {0} broken upgrades", scale.broken), &tally, kept(before, after));
    tally.assert_nothing_lost();
    assert_kept(before, after);
    assert_eq!((site.master(), site.family.workers_of(master)), (master, workers), "the old generation serves on");
}

// --- kills -----------------------------------------------------------------------------------------

#[test]
#[ignore = "takes long"]
fn killed_workers_cost_no_more_than_what_they_had_in_hand() {
    let (_alone, scale, mut random) = (alone(), Scale::asked(), Random::new());
    let site = Site::open(Way::Tcp, &[]);
    let mut kills = Kills::new(&site);
    let load = start_load(&site, &scale);
    let mut probes = Vec::new();
    for _ in 0..scale.kills {
        let workers = site.family.workers_of(site.master());
        std::thread::sleep(random.between(0, 50));
        kills.kill(random.one_of(&workers));
        let asked = Instant::now();
        assert_eq!(get(&site.at, "/").status, 200);
        probes.push(asked.elapsed());
        kills.assert_cover(&load.so_far());
    }
    load.wait_for_answers(50);
    let tally = load.stop();
    site.expect_tidy();
    probes.sort_unstable();
    let late = probes[(probes.len() * 99).div_ceil(100) - 1];
    figure(
        format!("{} kills", scale.kills),
        &tally,
        format!("{kills}; next probe: median {:.1?}, 99 % {late:.1?}", probes[probes.len() / 2]),
    );
    kills.assert_cover(&tally);
    if scale.full {
        assert!(late <= Duration::from_millis(50), "the next probe took {late:?} at the 99th percentile");
    }
}

/// The workers that were killed, and what each was handling: its connections, including idle ones.
struct Kills {
    idle: usize,
    in_hand: Vec<usize>,
}

impl Kills {
    /// Call this before there are any clients.
    fn new(site: &Site) -> Kills {
        let workers = site.family.workers_of(site.master());
        let mut idle = usize::MAX;
        // By then, a connection of the test itself is closed.
        eventually("the workers have no clients", || {
            idle = workers.iter().map(|&pid| processes::sockets(pid)).min().expect("there are some");
            workers.iter().all(|&pid| processes::sockets(pid) == idle)
        });
        Kills { idle, in_hand: Vec::new() }
    }

    /// Stops it first, so that its connections can be counted. It may have ended meanwhile.
    fn kill(&mut self, worker: i32) {
        send(worker, Signal::SIGSTOP);
        eventually("it stands still", || !matches!(processes::state(worker), Some('R' | 'S' | 'D')));
        if processes::state(worker) == Some('T') {
            self.in_hand.push(processes::sockets(worker).saturating_sub(self.idle));
        }
        send(worker, Signal::SIGKILL);
    }

    /// After each kill: no more requests were lost so far than the killed workers were handling.
    #[track_caller]
    fn assert_cover(&self, tally: &Tally) {
        assert_eq!(
            tally.count(Verdict::Refused) + tally.count(Verdict::Not200) + tally.count(Verdict::Slow),
            0,
            "{tally}"
        );
        assert!(tally.lost() + tally.count(Verdict::Stale) <= self.in_hand.iter().sum(), "{self}, but {tally}");
    }
}

impl Display for Kills {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (sum, most) = (self.in_hand.iter().sum::<usize>(), self.in_hand.iter().max().copied().unwrap_or_default());
        write!(f, "{sum} connections in hand of {} killed, {most} at most", self.in_hand.len())
    }
}

// --- chaos -----------------------------------------------------------------------------------------

#[test]
#[ignore = "takes long"]
fn chaos_leaves_a_tidy_server_behind() {
    let (_alone, scale, mut random) = (alone(), Scale::asked(), Random::new());
    let seed = random.0;
    let site = Site::open(Way::Unix, &[]);
    site.upgrade();
    site.reload();
    let before = site.belongings();
    let mut kills = Kills::new(&site);
    let load = start_load(&site, &scale);
    let (until, mut acts) = (Instant::now() + scale.chaos, 0);
    while Instant::now() < until {
        act(&site, &mut kills, &mut random);
        acts += 1;
        std::thread::sleep(random.between(0, 200));
        kills.assert_cover(&load.so_far());
    }
    site.mend_env();
    site.mend_program();
    within(PATIENCE, "upgrades are over", || site.family.masters().len() == 1);
    site.logs_after("reloaded: all workers", || send(site.family.masters()[0], Signal::SIGHUP));
    load.wait_for_answers(100);
    let tally = load.stop();
    site.expect_tidy();
    site.reload();
    let after = site.belongings();
    figure(
        format!("chaos, seed {seed}, {:?}, {acts} acts", scale.chaos),
        &tally,
        format!("{kills}; {}", kept(before, after)),
    );
    assert!(tally.count(Verdict::Ok) > acts, "{tally}");
    kills.assert_cover(&tally);
    assert_kept(before, after);
}

/// Does something to the server, and does not wait for the consequences.
fn act(site: &Site, kills: &mut Kills, random: &mut Random) {
    let masters = site.family.masters();
    let Some(master) = (!masters.is_empty()).then(|| random.one_of(&masters)) else { return };
    let hup = || send(master, Signal::SIGHUP);
    match random.below(12) {
        0..=2 => hup(),
        3 => {
            site.write_env("HEALTHCHECKS=hospital.healthchecks.missing\n");
            hup();
        }
        4 => {
            site.mend_env();
            site.mend_program();
            send(master, Signal::SIGUSR2);
        }
        5 => {
            site.replace_program(Some(Path::new("/bin/false")));
            send(master, Signal::SIGUSR2);
        }
        6 => {
            site.mend_env();
            site.mend_program();
        }
        7 => {
            let workers = site.family.workers_of(master);
            if !workers.is_empty() {
                kills.kill(random.one_of(&workers));
            }
        }
        8 => {
            let members = site.family.members();
            members.iter().for_each(|&pid| send(pid, Signal::SIGSTOP));
            std::thread::sleep(random.between(0, 500));
            members.iter().for_each(|&pid| send(pid, Signal::SIGCONT));
        }
        9 => send(master, [Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGUSR1][random.below(3)]),
        10 => {
            send(master, Signal::SIGWINCH);
            std::thread::sleep(random.between(0, 50));
            hup();
        }
        _ => {
            // Clients that leave in the middle of their requests. There may be no worker to take them.
            let mut rude: Vec<_> = (0..50).filter_map(|_| Client::try_to(&site.at).ok()).collect();
            rude.iter_mut().for_each(|client| drop(client.try_send("GET / HTTP/1.1\r\nHost")));
        }
    }
}

// --- what they share -------------------------------------------------------------------------------

/// How much is done.
struct Scale {
    full: bool,
    reloads: usize,
    upgrades: usize,
    broken: usize,
    kills: usize,
    clients: usize,
    chaos: Duration,
}

impl Scale {
    fn asked() -> Scale {
        match std::env::var("HOSPITAL_ENDURANCE").as_deref() {
            Ok("full") => Scale {
                full: true,
                reloads: 200,
                upgrades: 20,
                broken: 10,
                kills: 200,
                clients: 16,
                chaos: Duration::from_secs(variable("HOSPITAL_CHAOS").unwrap_or(20)),
            },
            Ok(other) => panic!("HOSPITAL_ENDURANCE={other:?}: set it to full, or not at all"),
            Err(_) => Scale {
                full: false,
                reloads: 10,
                upgrades: 3,
                broken: 4,
                kills: 20,
                clients: 4,
                chaos: Duration::from_secs(variable("HOSPITAL_CHAOS").unwrap_or(8)),
            },
        }
    }
}

/// Clients of each kind at work.
#[track_caller]
fn start_load(site: &Site, scale: &Scale) -> Load {
    let (each, longest) = (scale.clients, Duration::from_secs(3600));
    site.load_of(Shape {
        close: each,
        keep_alive: each,
        slow_body: each,
        patience: PATIENCE,
        longest,
        ..Shape::default()
    })
}

/// Prints one line; the load itself prints which requests failed, and how.
fn figure(what: impl Display, tally: &Tally, more: impl Display) {
    let requests = tally.to_string();
    println!("endurance: {what}: {}; {more}", requests.lines().next().unwrap_or_default());
}

fn kept(before: (usize, u64), after: (usize, u64)) -> String {
    format!("the master's descriptors {} → {}, memory {} → {} KiB", before.0, after.0, before.1, after.1)
}

#[track_caller]
fn assert_kept(before: (usize, u64), after: (usize, u64)) {
    assert_eq!(after.0, before.0, "descriptors are left open");
    assert!(after.1 <= before.1 + 512, "memory grows: {}", kept(before, after));
}

/// A number from the environment.
fn variable<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is not a number")))
}

/// Numbers that look random and are the same for the same seed (xorshift64, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn new() -> Random {
        Random(variable("HOSPITAL_SEED").unwrap_or(20_260_101).max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// A random number of milliseconds.
    fn between(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.next() % (most - least + 1))
    }
}
