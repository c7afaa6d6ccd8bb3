//! The figures that the endpoint promises when everybody asks at once, and beside checks and clients that are slow. What
//! can be counted is asserted as promised. Times are printed (`-- --nocapture`), and asserted far above the promise
//! only, as the machine may be busy with other things:
//!
//! ```sh
//! cargo test --release --test figures -- --include-ignored --nocapture --test-threads 1
//! ```

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use support::*;

/// How many ask at once.
const CROWD: usize = 200;
const WORKERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(200);

#[test]
fn a_crowd_that_asks_at_once_costs_each_worker_two_rounds_at_most() {
    let directory = tempfile::tempdir().expect("there is room");
    let rounds = directory.path().join("rounds");
    let server =
        Launch::binding(["-b", "127.0.0.1:0", "-w", &WORKERS.to_string()]).env("HEALTHCHECKS", &noted(&rounds)).start();
    let mut crowd: Vec<_> = (0..CROWD).map(|_| Client::to(&server.at)).collect();
    let asked = Instant::now();
    crowd.iter_mut().for_each(|client| client.ask("/"));
    let all_asked = asked.elapsed();
    let answered: Vec<_> = crowd.iter_mut().map(|client| (client.answer().status, asked.elapsed())).collect();
    assert!(answered.iter().all(|(status, _)| *status == 200), "{answered:?}");
    let slowest = answered.iter().map(|(_, took)| *took).max().expect("there is a crowd");
    let began = std::fs::read_to_string(&rounds).expect("there were rounds");
    println!(
        "{CROWD} asked within {all_asked:?}, {} rounds, the slowest answer took {slowest:?}",
        began.lines().count()
    );
    assert!(began.lines().count() <= 2 * WORKERS, "{all_asked:?} {began}");
}

#[test]
fn a_crowd_that_a_worker_is_slow_to_let_in_shares_one_round() {
    let directory = tempfile::tempdir().expect("there is room");
    let (rounds, gate) = (directory.path().join("rounds"), directory.path().join("gate"));
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).expect("the directory is ours");
    let script = format!("echo%20>>{}%3B%20read%20line%20<{}", rounds.display(), gate.display());
    let checks = format!("gated=exec:/bin/sh#args=-c&args={script}");
    let server = Launch::binding(["-b", "127.0.0.1:0"]).env("HEALTHCHECKS", &checks).start();
    let worker = server.workers()[0];
    let began = || std::fs::read_to_string(&rounds).unwrap_or_default().lines().count();
    let mut kept: Vec<_> = (0..CROWD).map(|_| Client::to(&server.at)).collect();
    for client in &mut kept {
        client.ask("/livez");
        assert_eq!(client.answer().status, 200);
    }
    let mut first = Client::to(&server.at);
    first.ask("/");
    eventually("a round begins", || began() == 1);

    // The crowd comes, and the round ends, while the worker notices nothing.
    send(worker, Signal::SIGSTOP);
    eventually("the worker stands still", || processes::state(worker) == Some('T'));
    std::fs::write(&gate, "\n").expect("the check reads it");
    std::fs::remove_file(&gate).expect("the directory is ours");
    std::fs::write(&gate, "\n").expect("the directory is ours");
    let mut crowd: Vec<_> = kept.into_iter().chain((0..CROWD).map(|_| Client::to(&server.at))).collect();
    crowd.iter_mut().for_each(|client| client.ask("/"));
    send(worker, Signal::SIGCONT);
    for client in std::iter::once(&mut first).chain(&mut crowd) {
        let answer = client.answer();
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    assert_eq!(began(), 2, "the round that ran, and the one that they share");
}

/// A check that takes as long as [`PAUSE`] and leaves a line in the file each time.
fn noted(file: &Path) -> String {
    format!(
        "slow=exec:/bin/sh#args=-c&args=date%20%2B%25s.%25N%20>>{}%3B%20sleep%20{}",
        file.display(),
        PAUSE.as_secs_f32()
    )
}
