//! Checks in Python behind the daemon: when the first round is answered, what a check takes, and what leaking ones leave.
//!
//!     cargo bench --bench zygote              # 100,000 runs of a check that leaks
//!     RUNS=5000 cargo bench --bench zygote
//!
//! Exits with 1 if a figure exceeds its target. Needs python3.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// How many checks there are in a round.
const CHECKS: usize = 50;

const SLOW: &str = "import time\ntime.sleep(2)\n";
const CHECK: &str = "import unittest\nfrom hospital import healthcheck\n@healthcheck\nclass Many(unittest.TestCase):\n    pass\n\
                     for number in range(50):\n    setattr(Many, f'test_{number}', lambda self: self.assertTrue(True))\n";
const LEAKS: &str = "import socket, threading, time\nfrom hospital import healthcheck\nkept = []\n\
                     def leak():\n    kept.append((bytearray(1 << 20), socket.socket()))\n\
                     \x20   threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n\
                     for number in range(50):\n    exec(f'@healthcheck\\ndef leaks_{number}():\\n    leak()')\n";

fn main() -> ExitCode {
    let folder = tempfile::tempdir().expect("there is room for temporary files");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("the folder is ours");
    write("slow.py", &format!("{SLOW}{CHECK}"));
    write("leaky.py", LEAKS);
    let met = [a_first_round(folder.path()), a_check(folder.path()), leaks(folder.path())];
    ExitCode::from(u8::from(met.contains(&false)))
}

fn a_first_round(folder: &Path) -> bool {
    let began = Instant::now();
    let server = Server::start(folder, "slow");
    server.round();
    let first = began.elapsed();
    report("first round after an import of 2 s", first.as_secs_f64(), "s", first < Duration::from_secs(3))
}

fn a_check(folder: &Path) -> bool {
    let server = Server::start(folder, "slow");
    (0..5).for_each(|_| server.round());
    let cpu_before = server.cpu();
    let mut times: Vec<Duration> = (0..100).map(|_| time(|| server.round()) / CHECKS as u32).collect();
    let cpu = (server.cpu() - cpu_before) / (100 * CHECKS) as u32;
    times.sort_unstable();
    let slowest = times[times.len() * 99 / 100].as_secs_f64() * 1e3;
    let rate = 1.0 / cpu.as_secs_f64();
    // Both are shown, whichever is missed.
    let is_fast = report("99th percentile of a round of 50 checks, for each check", slowest, "ms", slowest < 15.0);
    is_fast & report("checks a second of CPU", rate, "", rate > 200.0)
}

fn leaks(folder: &Path) -> bool {
    let runs = std::env::var("RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(100_000);
    let server = Server::start(folder, "leaky");
    (0..20).for_each(|_| server.round());
    let before = server.settled();
    let began = Instant::now();
    (0..runs / CHECKS).for_each(|_| server.round());
    let elapsed = began.elapsed().as_secs_f64();
    let after = server.settled();
    println!("{runs} runs that leak took {elapsed:.0} s; memory, descriptors, processes: {before:?}, then {after:?}");
    let (memory, others) = (after.0 as f64 / before.0 as f64, (after.1, after.2) == (before.1, before.2));
    report("memory after runs that leak, of that before", memory, "", memory < 1.05 && others)
}

fn report(what: &str, figure: f64, unit: &str, is_met: bool) -> bool {
    println!("{what}: {figure:.2} {unit}{}", if is_met { "" } else { "  MISSED" });
    is_met
}

fn time(run: impl FnOnce()) -> Duration {
    let began = Instant::now();
    run();
    began.elapsed()
}

struct Server {
    child: Child,
    at: SocketAddr,
}

impl Server {
    fn start(folder: &Path, names: &str) -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let at = listener.local_addr().expect("it is bound");
        let mut command = Command::new(env!("CARGO_BIN_EXE_hospital"));
        command.args(["serve", "--fd", "0", "--python", "python3", names]).current_dir(folder);
        command.stdin(std::os::fd::OwnedFd::from(listener)).stdout(Stdio::null());
        Server { child: command.spawn().expect("it can be started"), at }
    }

    /// One round, which passes.
    fn round(&self) {
        let mut answer = String::new();
        let mut stream = TcpStream::connect(self.at).expect("it listens");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
        stream.read_to_string(&mut answer).expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// All processes of the tree.
    fn processes(&self) -> Vec<u32> {
        let mut found = vec![self.child.id()];
        let mut next = 0;
        while let Some(pid) = found.get(next) {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            next += 1;
        }
        found
    }

    /// Memory (RSS, in kB), descriptors and processes, once all runs have ended.
    fn settled(&self) -> (u64, usize, usize) {
        // The master, its orphan reaper, a worker and the zygote.
        while self.processes().len() > 4 {
            std::thread::sleep(Duration::from_millis(10));
        }
        let processes = self.processes();
        let memory = |pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default().to_owned();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default()
        };
        let descriptors = |pid: &u32| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        (processes.iter().map(memory).sum(), processes.iter().map(descriptors).sum(), processes.len())
    }

    /// What the tree has used, with its reaped children.
    fn cpu(&self) -> Duration {
        let ticks = |pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields = stat.rsplit(") ").next().unwrap_or_default().to_owned();
            fields.split(' ').skip(11).take(4).filter_map(|field| field.parse::<u32>().ok()).sum::<u32>()
        };
        Duration::from_millis(10) * self.processes().iter().map(ticks).sum::<u32>()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nobody outlives its master.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
