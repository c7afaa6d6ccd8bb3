//! A mount that does not answer, under files that the daemon looks at.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};

use crate::harness::{Client, DEADLINE, Launch, Server, Signal, alone, eventually, get};

/// Leaves this thread, and what it starts, with mounts of their own.
fn separate_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).expect("we are root");
    run(Command::new("mount").args(["--make-rprivate", "/"]));
}

fn run(command: &mut Command) {
    assert!(command.status().expect("it is installed").success(), "{command:?}");
}

/// Mounts a file system of which nobody reads what the kernel asks it. It ends with the descriptor.
fn mount_silent(folder: &Path) -> File {
    let silent = File::options().read(true).write(true).open("/dev/fuse").expect("the kernel has FUSE");
    let options = "fd=0,rootmode=40000,user_id=0,group_id=0";
    let stdin = silent.try_clone().expect("it is open");
    run(Command::new("mount").args(["-i", "-t", "fuse", "-o", options, "silent"]).arg(folder).stdin(stdin));
    silent
}

/// A server with files in this folder, which then stops answering.
fn behind_silence(folder: &Path, launch: Launch) -> (Server, File) {
    let server = launch.start();
    assert_eq!(get(&server.at, "/").status, 200);
    assert_eq!(get(&server.at, "/readyz").status, 200);
    (server, mount_silent(folder))
}

/// The time that 99 of 100 requests stay below, while others wait for files and get their answers.
fn livez(server: &Server) -> Duration {
    let (mut client, began) = (Client::to(&server.at), Instant::now());
    let mut times = Vec::new();
    while began.elapsed() < Duration::from_millis(1500) {
        let asked = Instant::now();
        client.ask("/livez");
        assert_eq!(client.answer().status, 200);
        times.push(asked.elapsed());
    }
    times.sort();
    times[times.len() * 99 / 100]
}

#[test]
#[ignore = "needs root"]
fn a_mount_that_does_not_answer_makes_an_error_in_time_and_keeps_no_probe_of_life_waiting() {
    let _alone = alone();
    separate_mounts();
    for place in ["the file", "its folder", "maintenance", "the file, with --cache"] {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("a.toml");
        fs::write(&path, "[[check]]\nuse = 'memory:#available=1B'\ntags = ['readiness']\n").expect("it is ours");
        let [folder, file, maintenance] =
            [folder.path().into(), path, folder.path().join("maintenance")].map(|path| path.display().to_string());
        let launch = Launch::serve(["-w", "1", "--request-timeout", "2"]);
        let launch = match place {
            "the file" => launch.env("HEALTHCHECKS", &file),
            "its folder" => launch.env("HEALTHCHECKS", &folder),
            "maintenance" => launch.args(["--maintenance-file", &maintenance]),
            _ => launch.env("HEALTHCHECKS", &file).args(["--cache", "5s"]),
        };
        let (mut server, silent) = behind_silence(folder.as_ref(), launch);

        let asked = Instant::now();
        let targets = ["/", "/?tag=readiness", "/readyz?verbose", "/metrics", "/?format=text"];
        let mut clients = targets.map(|target| {
            let mut client = Client::to(&server.at);
            client.ask(target);
            client
        });
        let p99 = livez(&server);
        println!("{place}: /livez p99 {p99:?}");
        assert!(p99 < Duration::from_millis(10), "{place}: {p99:?}");
        for (target, client) in targets.into_iter().zip(&mut clients) {
            let answer = client.answer();
            let text = &answer.body;
            match target {
                "/metrics" => assert_eq!(answer.status, 200),
                "/?tag=readiness" if place == "maintenance" => assert_eq!(answer.status, 404),
                "/readyz?verbose" => {
                    assert!(answer.status == 500 && text.contains("hospital.sources"), "{place}: {text}")
                }
                _ => {
                    assert_eq!(answer.status, 500, "{place} {target}: {text}");
                    assert!(text.contains("could not be looked at in 1s: "), "{place} {target}: {text}");
                }
            }
        }
        assert!(asked.elapsed() < Duration::from_secs(2) + DEADLINE / 10, "{place}: {:?}", asked.elapsed());

        // The kernel gives up on a file system whose last descriptor is closed.
        drop(silent);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0), "{place}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_reload_whose_files_do_not_answer_is_refused_in_time() {
    separate_mounts();
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("a.toml");
    fs::write(&path, "[[check]]\nuse = 'memory:#available=1B'\n").expect("it is ours");
    let launch = Launch::serve(["-w", "1"]).env("HEALTHCHECKS", &path.display().to_string());
    let (mut server, silent) = behind_silence(folder.path(), launch);
    let workers = server.workers();
    server.signal(Signal::SIGHUP);
    server.logs("reload refused, the old configuration goes on serving: reading it took longer than 5s");
    // The child that could not read it is killed, and takes a moment to go.
    eventually("the same workers are left", || server.workers() == workers);
    assert_eq!(get(&server.at, "/livez").status, 200);
    drop(silent);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
}
