//! A server that got its socket in one of the possible ways, with a program of its own that can be replaced and an
//! env-file that can be broken.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::circus::Circus;
use super::family::{Family, MARK, PATIENCE, own_address};
use super::load::{Load, Shape};
use super::{At, HOSPITAL, Signal, processes, send, within, write_program};

/// How a server gets its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It binds a port.
    Tcp,
    /// It binds a path.
    Unix,
    /// It is told the number of a descriptor.
    Fd,
    /// systemd-socket-activate passes it.
    Activated,
    /// circusd passes it.
    Circus,
}

/// How many workers each server has.
pub(crate) const WORKERS: usize = 2;

/// The content of a good env-file.
const GOOD: &str = "HEALTHCHECKS=hospital.healthchecks.predictable\n";

/// A running server. Dropping it kills all its processes, including those of an upgrade.
pub(crate) struct Site {
    pub(crate) family: Family,
    pub(crate) at: At,
    way: Way,
    program: PathBuf,
    /// Kept open by the test, as a parent does.
    _listener: Option<TcpListener>,
}

impl Site {
    /// Starts one and waits until all its workers answer.
    #[track_caller]
    pub(crate) fn open(way: Way, args: &[&str]) -> Site {
        let directory = tempfile::tempdir().expect("there is room");
        let (program, env) = (directory.path().join("hospital"), directory.path().join("env"));
        std::fs::hard_link(HOSPITAL, &program)
            .or_else(|_| std::fs::copy(HOSPITAL, &program).map(drop))
            .expect("the program can be placed");
        std::fs::write(&env, GOOD).expect("the directory is ours");
        let pidfile = directory.path().join("pid");
        let workers = WORKERS.to_string();
        let mut flags = vec!["--env-file".to_owned(), env.display().to_string()];
        flags.extend(["--pid".to_owned(), pidfile.display().to_string(), "-w".to_owned(), workers]);
        flags.extend(args.iter().map(|&arg| arg.to_owned()));
        let serve = |command: &mut Command| {
            command.arg("serve").args(&flags);
        };
        let mut listener = None;
        let (family, at) = match way {
            Way::Tcp => (
                Family::start(directory, &program, |command| {
                    serve(command);
                    command.args(["-b", "127.0.0.1:0"]);
                }),
                At::Nowhere,
            ),
            Way::Unix => {
                let path = directory.path().join("socket");
                let family = Family::start(directory, &program, |command| {
                    serve(command);
                    command.arg("-b").arg(format!("unix:{}", path.display()));
                });
                (family, At::Unix(path))
            }
            Way::Fd => {
                let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
                let address = bound.local_addr().expect("it is bound");
                let passed: std::os::fd::OwnedFd = bound.try_clone().expect("it can be duplicated").into();
                listener = Some(bound);
                let family = Family::start(directory, &program, |command| {
                    serve(command);
                    command.args(["--fd", "0"]).stdin(passed);
                });
                (family, At::Tcp(address))
            }
            Way::Activated => {
                let address = own_address();
                let family = Family::start(directory, "systemd-socket-activate", |command| {
                    command.args(["-l", &address.to_string(), "--fdname=hospital", "-E", MARK]).arg(&program);
                    serve(command);
                });
                within(PATIENCE, "it listens", || family.text("stderr").contains("Listening on"));
                // The connection that activates it may close without sending anything.
                let _ = std::net::TcpStream::connect(address).expect("systemd-socket-activate listens");
                (family, At::Tcp(address))
            }
            Way::Circus => {
                let Circus { family, at } = Circus::start_with(directory, &program, &flags.join(" "));
                (family, at)
            }
        };
        let mut site = Site { family, at, way, program, _listener: listener };
        within(PATIENCE, "it says that it serves", || site.said().contains("..."));
        if let At::Nowhere = site.at {
            site.at = At::announced(&site.said());
        }
        site.family.new_master(&[], WORKERS);
        site
    }

    /// The one master, as soon as there is one and it has all its workers.
    #[track_caller]
    pub(crate) fn master(&self) -> i32 {
        self.family.new_master(&[], WORKERS)
    }

    /// Its log.
    pub(crate) fn log(&self) -> String {
        self.family.text(if self.way == Way::Circus { "err.log" } else { "stderr" })
    }

    fn said(&self) -> String {
        self.family.text(if self.way == Way::Circus { "out.log" } else { "stdout" })
    }

    /// How often the log says this.
    pub(crate) fn logged(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    /// Waits until the log says this once more than before `cause`.
    #[track_caller]
    pub(crate) fn logs_after(&self, text: &str, cause: impl FnOnce()) {
        let before = self.logged(text);
        cause();
        within(PATIENCE, &format!("the log says {text:?} again"), || self.logged(text) > before);
    }

    /// The generations that all workers have belonged to, one after the other.
    pub(crate) fn generations(&self) -> Vec<u32> {
        let log = self.log();
        let settled = log.lines().filter_map(|line| line.split_once("all workers are of generation ")?.1.parse().ok());
        settled.collect()
    }

    /// Makes it reload, and waits until it has.
    #[track_caller]
    pub(crate) fn reload(&self) {
        let master = self.master();
        self.logs_after("reloaded: all workers", || send(master, Signal::SIGHUP));
    }

    /// Makes it upgrade, and waits until the new master is alone; returns its pid.
    #[track_caller]
    pub(crate) fn upgrade(&self) -> i32 {
        let old = self.master();
        send(old, Signal::SIGUSR2);
        self.family.new_master(&[old], WORKERS)
    }

    /// Makes the next reload find this env-file.
    pub(crate) fn write_env(&self, text: &str) {
        std::fs::write(self.family.path("env"), text).expect("the directory is ours");
    }

    /// Makes the next reload find a good env-file.
    pub(crate) fn mend_env(&self) {
        self.write_env(GOOD);
    }

    /// Replaces the program by another one, or removes it.
    pub(crate) fn replace_program(&self, by: Option<&Path>) {
        let new = self.program.with_extension("new");
        let replaced = match by {
            None => std::fs::remove_file(&self.program),
            Some(by) => std::fs::hard_link(by, &new)
                .or_else(|_| std::os::unix::fs::symlink(by, &new))
                .and_then(|()| std::fs::rename(&new, &self.program)),
        };
        replaced.expect("the directory is ours");
        // Renaming a file over another name of the same file leaves both names (rename(2)).
        let _ = std::fs::remove_file(&new);
    }

    /// Restores the program.
    pub(crate) fn mend_program(&self) {
        self.replace_program(Some(Path::new(HOSPITAL)));
    }

    /// A program that ignores its arguments: a shell script.
    pub(crate) fn script(&self, text: &str) -> PathBuf {
        let path = self.family.path("script");
        write_program(&path, &format!("#!/bin/sh\n{text}\n"));
        path
    }

    /// Clients of all kinds at work.
    #[track_caller]
    pub(crate) fn load(&self, each: usize) -> Load {
        let shape = Shape { close: each, keep_alive: each, slow_body: each, patience: PATIENCE, ..Shape::default() };
        self.load_of(shape)
    }

    #[track_caller]
    pub(crate) fn load_of(&self, shape: Shape) -> Load {
        let load = Load::start(&self.at, shape);
        load.wait_for_answers(100);
        load
    }

    /// What a master holds: descriptors, and anonymous memory in KiB.
    #[track_caller]
    pub(crate) fn belongings(&self) -> (usize, u64) {
        let master = self.master();
        (processes::descriptors(master).len(), processes::number(master, "RssAnon"))
    }

    /// Waits until there is one master with its workers, and no other process: no orphan, no zombie.
    #[track_caller]
    pub(crate) fn expect_tidy(&self) {
        let parents = |master| match self.way {
            Way::Circus => vec![self.family.head(), master],
            Way::Tcp | Way::Unix | Way::Fd | Way::Activated => vec![master],
        };
        within(PATIENCE, "only a master with its workers is left", || {
            let [master] = self.family.masters()[..] else { return false };
            let mut expected = parents(master);
            expected.extend(self.family.workers_of(master));
            expected.sort_unstable();
            let zombies = processes::all().filter(|&pid| processes::state(pid) == Some('Z'));
            let ours = zombies.filter(|&pid| processes::parent(pid).is_some_and(|parent| expected.contains(&parent)));
            self.family.workers_of(master).len() == WORKERS && self.family.members() == expected && ours.count() == 0
        });
    }
}
