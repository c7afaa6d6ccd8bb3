//! A check that keeps killing its worker is quarantined, and the others are answered.

#[allow(dead_code)]
#[path = "../../../tests/harness/cgroup.rs"]
mod cgroup;
#[allow(dead_code)]
#[path = "bank/daemon.rs"]
mod daemon;

use std::process::Command;
use std::time::{Duration, Instant};

use cgroup::Cgroup;
use daemon::Bank;

/// How long a check is quarantined at first.
const QUARANTINE: Duration = Duration::from_secs(30);

/// Asks until there is an answer. Returns how often there was none, and the context of the first check.
fn asked_until_answered(bank: &Bank) -> (usize, String) {
    let lost = (0..10).take_while(|_| bank.ask("/").is_none()).count();
    assert!(bank.ask("/livez").is_some_and(|answer| answer.starts_with("HTTP/1.1 200 ")), "{}", bank.log());
    let (head, report) = bank.report();
    assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
    let context = report["details"][0]["context"].as_str().expect("it has something to say");
    for detail in report["details"].as_array().expect("there are details").iter().skip(1) {
        assert_eq!(detail["status"], "pass", "{report}");
    }
    (lost, context.to_owned())
}

#[test]
fn a_check_that_kills_its_worker_three_times_is_quarantined_and_the_others_are_answered() {
    let cases = [
        ("counter", "-SEGV", "SIGSEGV", "signal: 11 (SIGSEGV)"),
        ("till", "-SEGV", "SIGSEGV", "signal: 11 (SIGSEGV)"),
        ("counter", "-KILL", "SIGKILL", "signal: 9 (SIGKILL)"),
        ("counter", "abort", "SIGABRT", "signal: 6 (SIGABRT)"),
        ("till", "exit", "exit code 7", "exit status: 7"),
        ("counter", "retire", "exit code 0", "exit status: 0"),
    ];
    for (check, way, cause, died) in cases {
        let bank = Bank::open(&format!("bank.{check} bank.clerk good=file:/"), &["-w", "2"], &[]);
        bank.robbed(Some(way));
        let (lost, context) = asked_until_answered(&bank);
        // A run that begins before the last death is known counts as one with it.
        assert!((3..=6).contains(&lost), "{lost} for {check} {way}: {}", bank.log());
        let expected = format!("killed its worker 3 times ({cause}), next try in ");
        let seconds = context.strip_prefix(&expected).and_then(|rest| rest.strip_suffix('s'));
        let seconds: u64 = seconds.and_then(|left| left.parse().ok()).unwrap_or_else(|| panic!("{context}"));
        assert!(seconds <= QUARANTINE.as_secs(), "{context}");
        let log = bank.log();
        assert!(log.lines().any(|line| line.contains(died) && line.ends_with(&format!("bank.{check}"))), "{log}");
        let told = format!("check bank.{check} is quarantined: it killed its worker 3 times, next try in 30s");
        assert_eq!(log.matches(&told).count(), 1, "{log}");
    }
}

#[test]
fn a_check_that_hangs_its_worker_three_times_is_quarantined() {
    let bank = Bank::open("bank.vault bank.clerk", &["-w", "2", "--timeout", "1s"], &[("VAULT_IS_STUCK", "yes")]);
    let (lost, context) = asked_until_answered(&bank);
    assert!((3..=6).contains(&lost), "{lost}: {}", bank.log());
    assert!(context.starts_with("killed its worker 3 times (it hung), next try in "), "{context}");
}

#[test]
fn a_reload_ends_a_quarantine() {
    let bank = Bank::open("bank.counter bank.clerk", &["-w", "2"], &[]);
    bank.robbed(Some("abort"));
    asked_until_answered(&bank);
    bank.robbed(None);
    bank.signal("-HUP");
    bank.within(daemon::PATIENCE * 2, "it reloads", || bank.log().contains("reloaded: all workers"));
    // The last old worker may take one more connection before its TERM arrives.
    bank.within(daemon::PATIENCE, "nothing is withheld", || bank.report().0.starts_with("HTTP/1.1 200 "));
}

#[test]
#[ignore = "takes long"]
fn a_quarantined_check_is_tried_again_and_free_when_it_comes_back() {
    let bank = Bank::open("bank.counter bank.clerk", &["-w", "2"], &[]);
    bank.robbed(Some("abort"));
    let began = Instant::now();
    asked_until_answered(&bank);
    // The first try costs another worker, and the next one comes later.
    bank.within(QUARANTINE * 2, "it is tried again", || bank.ask("/").is_none());
    assert!(began.elapsed() >= QUARANTINE, "after {:?}", began.elapsed());
    let mut left = String::new();
    bank.within(daemon::PATIENCE, "the master has counted that death", || {
        let (_, report) = bank.report();
        let context = report["details"][0]["context"].as_str().expect("it has something to say");
        left = context.strip_prefix("killed its worker 4 times (SIGABRT), next try in ").unwrap_or_default().to_owned();
        !left.is_empty()
    });
    assert!(["1m", "59s", "58s", "57s", "56s", "55s", "54s"].contains(&left.as_str()), "{left}");
    bank.robbed(None);
    let tried = Instant::now();
    bank.within(QUARANTINE * 4, "it is free", || bank.report().0.starts_with("HTTP/1.1 200 "));
    assert!(tried.elapsed() >= QUARANTINE, "after {:?}", tried.elapsed());
}

#[test]
#[ignore = "needs root"]
fn a_worker_that_the_kernel_kills_for_memory_is_told_as_such_and_its_check_quarantined() {
    let group = group_of_memory(64 << 20);
    let enter = format!("echo $$ > {}/cgroup.procs && exec \"$0\" serve \"$@\"", group.path.display());
    let mut command = Command::new("sh");
    command.args(["-c", &enter, env!("CARGO_BIN_EXE_bank")]);
    let bank = Bank::run(command, "bank.counter bank.clerk", &["-w", "2"], &[]);
    bank.within(daemon::PATIENCE, "it serves", || bank.log().contains("ready: 2 of 2 workers"));
    bank.robbed(Some("memory"));
    let (_, context) = asked_until_answered(&bank);
    assert!(context.starts_with("killed its worker 3 times (out of memory), next try in "), "{context}");
    let death = format!(
        "died: killed by the kernel: out of memory (cgroup {}) in the check bank.counter",
        group.path.display()
    );
    assert!(bank.log().contains(&death), "{}", bank.log());

    let restarts = |cause| {
        let metrics = bank.ask("/metrics").expect("it answers");
        let series = format!("hospital_worker_restarts_total{{cause=\"{cause}\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&series)).map(str::to_owned);
        value.unwrap_or_else(|| panic!("no {series} in {metrics}"))
    };
    // The kernel may also kill another worker in the full group.
    let told = bank.log().matches("killed by the kernel: out of memory").count().to_string();
    assert_eq!((restarts("oom"), restarts("crash")), (told.clone(), "0".to_owned()), "{}", bank.log());

    // A KILL from elsewhere is not the kernel's.
    let log = bank.log();
    let worker = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", bank.process.id()));
    let worker = worker.expect("it has workers").split(' ').next().expect("there is one").to_owned();
    assert!(Command::new("kill").args(["-KILL", &worker]).status().expect("there is a kill").success());
    bank.within(daemon::PATIENCE, "its death is told", || bank.log().len() > log.len());
    assert!(bank.log()[log.len()..].contains("died: signal: 9 (SIGKILL)\n"), "{}", bank.log());
    bank.within(daemon::PATIENCE, "it is counted as such", || restarts("crash") == "1");
    assert_eq!(restarts("oom"), told);
}

/// A group in which memory is limited to this many bytes, including swap.
fn group_of_memory(limit: u64) -> Cgroup {
    let group = Cgroup::new("memory", "/sys/fs/cgroup");
    let (memory, swap) = match group.is_v2 {
        true => (("memory.max", limit), ("memory.swap.max", 0)),
        false => (("memory.limit_in_bytes", limit), ("memory.memsw.limit_in_bytes", limit)),
    };
    group.set(memory.0, &memory.1.to_string());
    // Some kernels do not count swap.
    group.try_set(swap.0, &swap.1.to_string());
    group
}
