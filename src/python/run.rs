//! One run of a test: asked for, waited for, and ended with all that it has started.

use std::io;
use std::os::fd::AsFd;
use std::path::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{CLOSED, HostedInterpreter, Zygote};
use crate::checks::support::program;
use crate::model::beginning;
use crate::model::blame::Blame;
use crate::model::check::{Code, Deadline, Finding, Part, Status};
use crate::model::duration;
use crate::os::packets::{Incoming, Packets};
use crate::os::tree::{self, MARKER, Mark};

/// How often a run is asked for whose zygote dies before it has begun.
const ATTEMPTS: usize = 3;

/// Runs tests.
#[derive(Clone)]
pub(crate) enum TestRunner {
    InForks(Forks),
    Here(Arc<dyn HostedInterpreter>),
}

/// Runs them in forks of a zygote.
#[derive(Clone)]
pub(crate) struct Forks {
    requests: Arc<Packets>,
    zygote: Arc<Zygote>,
}

#[derive(Serialize)]
struct Request<'a> {
    run: &'a str,
    mark: u64,
    variable: &'a str,
    marker: &'a str,
    memory: Option<u64>,
}

/// What comes back: from the run its pid and its finding, from the zygote how it died.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Said {
    /// Before the finding: what the parts of the test have found.
    Parts {
        parts: Vec<Part>,
    },
    Found {
        status: Status,
        #[serde(default)]
        message: String,
        #[serde(default)]
        trace: String,
    },
    Ended {
        ended: HowEnded,
        pid: i32,
    },
    Began {
        pid: i32,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum HowEnded {
    Exit(i32),
    Signal(String),
}

impl TestRunner {
    pub(super) fn in_forks(requests: Arc<Packets>, zygote: Arc<Zygote>) -> TestRunner {
        TestRunner::InForks(Forks { requests, zygote })
    }

    /// What a run of a test calls.
    pub(crate) fn code(&self) -> Code {
        match self {
            TestRunner::InForks(_) => Code::Program,
            TestRunner::Here(_) => Code::Function,
        }
    }

    /// Whether a run has to wait for a process.
    pub(crate) fn begins_late(&self) -> bool {
        matches!(self, TestRunner::InForks(_))
    }

    /// Runs a test, which may use this much memory more than what is imported, unless that is in our own process.
    pub(crate) fn run(&self, test: &str, memory: Option<u64>, deadline: Deadline) -> Finding {
        match self {
            TestRunner::InForks(forks) => forks.run(test, memory, deadline),
            TestRunner::Here(interpreter) => interpreter.run(test),
        }
    }
}

impl Forks {
    fn run(&self, test: &str, memory: Option<u64>, deadline: Deadline) -> Finding {
        let limit = deadline.remaining(Instant::now());
        let until = deadline.instant() - program::time_to_kill(limit);
        for _ in 0..ATTEMPTS {
            match self.follow(test, memory, limit, until) {
                Ok(Some(finding)) => return finding,
                Ok(None) => {}
                Err(error) => return Finding::error(format!("{} cannot be asked: {error}", self.path())),
            }
        }
        self.killed()
    }

    /// What a run found; `None` if the zygote died before it had begun.
    fn follow(&self, test: &str, memory: Option<u64>, limit: Duration, until: Instant) -> io::Result<Option<Finding>> {
        let mark = Mark::new()?;
        let (ours, theirs) = Packets::pair()?;
        let request = Request { run: test, mark: mark.number(), variable: MARKER, marker: &mark.value(), memory };
        let request = serde_json::to_vec(&request).expect("text can be written");
        match self.requests.send(&request, Some(theirs.as_fd()), until) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(Some(self.late(None, limit, limit))),
            sent => sent?,
        }
        drop(theirs);
        let asked = Instant::now();
        let (mut running, mut waited, mut parts) = (None, Duration::ZERO, Vec::new());
        loop {
            // One that has begun does not need the zygote any more.
            let own = self.zygote.own().filter(|_| running.is_none());
            let received = match &own {
                Some(process) => ours.receive_from(process, until)?,
                None => ours.receive(until)?,
            };
            let packet = match received {
                Incoming::Packet(packet) => packet,
                Incoming::End => match own.filter(|process| process.has_ended()) {
                    Some(process) => match self.zygote.replace(&process) {
                        Ok(()) => continue,
                        Err(why) => return Ok(Some(Finding::error(why))),
                    },
                    None => {
                        tree::kill_marked(mark);
                        return Ok(running.map(|_| self.killed()));
                    }
                },
                Incoming::Nothing => {
                    // Nobody reaps it before our socket is closed.
                    let spared = running.map(|pid| tree::kill(pid, mark)).unwrap_or_default();
                    let mut late = self.late(running, waited, limit);
                    if let (Some(context), false) = (&mut late.context, spared.is_empty()) {
                        context.push_str(&format!(" (its processes {spared:?} may not be killed by this user)"));
                    }
                    return Ok(Some(late));
                }
            };
            match serde_json::from_slice(&packet).map_err(io::Error::other)? {
                Said::Began { pid } => {
                    beginning::tell();
                    (running, waited) = (Some(pid), asked.elapsed());
                }
                Said::Parts { parts: more } => parts.extend(more),
                // Our socket is closed by that, and the zygote kills what is left.
                Said::Found { status, message, trace } => return Ok(Some(finding(status, message, &trace, parts))),
                Said::Ended { ended, pid } => {
                    // What it has started may have left its group, and its marks tell.
                    let _ = tree::kill(pid, mark);
                    return Ok(Some(Finding::error(match ended {
                        HowEnded::Exit(CLOSED) => "the check closes descriptors that it has not opened".to_owned(),
                        HowEnded::Exit(code) => format!("the check ended its process with exit code {code}"),
                        HowEnded::Signal(name) => format!("the check was killed by {name}"),
                    })));
                }
            }
        }
    }

    fn path(&self) -> Display<'_> {
        self.zygote.interpreter.path.display()
    }

    fn killed(&self) -> Finding {
        Finding::error(format!("{} was killed while the check ran", self.path()))
    }

    /// `waited`: how long it took until a process was there for it. That is our time, and not that of the check.
    fn late(&self, running: Option<i32>, waited: Duration, limit: Duration) -> Finding {
        let (path, spoken) = (self.path(), program::spoken(limit));
        let ours = |why: String| Finding { blame: Some(Blame::Ours), ..Finding::error(why) };
        match running {
            None => ours(format!(
                "not started in {spoken}: this host is busy, or {path} is stopped, or still imports after it was killed"
            )),
            Some(_) if waited > limit / 4 => ours(format!(
                "timed out after {spoken}, of which it waited {} for its process: this host is busy",
                duration::spoken(waited)
            )),
            Some(_) => Finding::error(format!("timed out after {spoken} and was killed")),
        }
    }
}

impl Said {
    /// What is said in the place of an interpreter that cannot be asked.
    pub(super) fn error(message: &str) -> Said {
        Said::Found { status: Status::Error, message: message.to_owned(), trace: String::new() }
    }
}

fn finding(status: Status, message: String, trace: &str, parts: Vec<Part>) -> Finding {
    let context = match (message.as_str(), trace.trim_end()) {
        ("", "") => None,
        (_, "") => Some(message),
        (_, trace) => Some(format!("{message}\n\n{trace}")),
    };
    Finding { status, context, parts, ..Finding::PASS }
}
