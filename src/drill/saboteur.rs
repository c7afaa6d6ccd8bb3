//! Follows a run under sabotage: refuses, diverts and forges what the sabotage is about, and keeps the run from touching
//! anything outside.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::seen::{self, Trace};
use super::tasks::{Counted, Tasks};
use crate::model::sabotage::{Clock, Gone, Sabotage, Starved};
use crate::os::calls::{Access, Call, Denial, ForgedReply, Peer, StatOf, What};
use crate::os::task::Task;
use crate::os::tracer::{Follower, Then};
use crate::os::vdso;

/// Who answers in place of unix sockets.
pub(super) const IMPOSTOR: &str = "hospital-drill-impostor";

/// How old an old file is, in seconds.
const OLD: u64 = 366 * 24 * 3600;

/// The user whom the kernel shows in place of one that a user namespace does not know.
const UNKNOWN_USER: u32 = 65534;

pub(super) struct Saboteur<'a> {
    sabotage: Sabotage,
    seen: &'a Trace,
    tasks: Tasks,
    others: OtherNames,
    /// Terminals that were there before.
    terminals: HashSet<PathBuf>,
    has_started: bool,
    /// Whether other users than our own have no name.
    forgets_users: bool,
    /// Folders that may be written to, since nothing of that lasts.
    writable: Vec<PathBuf>,
    /// What stands in place of files and folders.
    leads: HashMap<PathBuf, PathBuf>,
    bound: HashSet<PathBuf>,
    /// Whether it tried to talk to somebody over a network, and to make anew what it looks at: that is its own memory of an
    /// answer.
    pub(super) attempted: bool,
    pub(super) renewed: HashSet<PathBuf>,
    /// How many of the programs that it ran ended badly.
    pub(super) failures: usize,
}

impl<'a> Saboteur<'a> {
    pub(super) fn new(sabotage: Sabotage, seen: &'a Trace, counted: Counted) -> Saboteur<'a> {
        Saboteur {
            sabotage,
            seen,
            tasks: Tasks::new(counted),
            others: OtherNames::of(seen),
            terminals: std::fs::read_dir("/dev/pts")
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .collect(),
            has_started: false,
            forgets_users: false,
            writable: Vec::new(),
            leads: HashMap::new(),
            bound: HashSet::new(),
            attempted: false,
            renewed: HashSet::new(),
            failures: 0,
        }
    }

    /// Says how the run is confined.
    pub(super) fn confined(&mut self, forgets_users: bool, writable: Vec<PathBuf>, leads: HashMap<PathBuf, PathBuf>) {
        (self.forgets_users, self.writable, self.leads) = (forgets_users, writable, leads);
    }

    /// What it makes, its terminal, and what the kernel shows of its own processes.
    fn may_write(&self, task: &Task, path: &Path) -> bool {
        const OWN: [&str; 2] = ["/proc/self", "/proc/thread-self"];
        let is_own = |path: &Path| {
            self.writable.iter().any(|folder| path.starts_with(folder))
            || (seen::is_plain_device(path) && !self.terminals.contains(path) && path != Path::new("/dev/console"))
            || OWN.iter().any(|own| path.starts_with(own))
            || seen::process_of(path).is_some_and(|pid| !self.tasks.is_foreign(pid))
                // It has a descriptor of it, as the kernel shows it there.
                || path.as_os_str().as_bytes().ends_with(b" (deleted)")
        };
        is_own(path) && is_own(&task.real(path))
    }

    fn has_no_room_for(&self, path: &Path) -> bool {
        let is_near = |written: &PathBuf| written == path || written.parent() == path.parent();
        self.sabotage == Sabotage::Full && self.seen.written.iter().any(is_near) && !path.starts_with("/dev")
    }

    /// Whether a path is among those that the sabotage is about.
    fn is_target(&self, path: &Path) -> bool {
        self.seen.files.contains(path)
            || self.seen.measured.contains(path)
            || self.seen.programs.contains(path)
            || self.others.contain(path)
    }

    fn is_gone(&self, task: &Task, path: &Path) -> bool {
        match self.sabotage {
            // What it has made anew is there.
            Sabotage::Gone(Gone::Missing) => {
                self.is_target(path) && !self.renewed.contains(path)
                    || seen::process_of(path).is_some_and(|pid| self.tasks.is_foreign(pid))
            }
            // A name may be known without a name server, too.
            Sabotage::Refused | Sabotage::BlackHole => {
                !self.seen.talks_beyond_names() && path == Path::new("/etc/hosts")
            }
            Sabotage::Gone(Gone::Files) => self.seen.plain_files().any(|file| file == path),
            Sabotage::Gone(Gone::AllProcesses) => {
                seen::process_of(path).is_some_and(|pid| pid != task.tid && pid != task.process())
            }
            Sabotage::Gone(Gone::Processes) => seen::process_of(path).is_some_and(|pid| self.tasks.is_foreign(pid)),
            _ => false,
        }
    }

    fn clock(&self) -> Option<Clock> {
        match self.sabotage {
            Sabotage::Starved(Starved::Clock(clock)) => Some(clock),
            _ => None,
        }
    }

    fn hides_processes(&self) -> bool {
        matches!(self.sabotage, Sabotage::Gone(Gone::Missing | Gone::Processes | Gone::AllProcesses))
    }

    /// Where it is led to instead.
    fn lead(&self, path: &Path) -> Option<PathBuf> {
        match self.sabotage {
            Sabotage::Gone(Gone::Back) => self.seen.absent.contains(path).then(|| PathBuf::from("/")),
            // What it has made anew is its own.
            _ => self.leads.get(path).filter(|_| !self.renewed.contains(path)).cloned(),
        }
    }

    fn opens(&self, task: &Task, path: &Path) -> Then {
        match self.sabotage {
            Sabotage::Gone(Gone::Unreadable) if self.seen.opened.contains(path) => Then::Refuse(Denial::Forbidden),
            Sabotage::Starved(why) if self.seen.opened.contains(path) => refused(why),
            _ if self.is_gone(task, path) => Then::Refuse(Denial::Missing),
            _ => self.lead(path).map_or(Then::Run, Then::Lead),
        }
    }

    fn connects_locally(&self, task: &Task, path: &Path) -> Then {
        if self.bound.contains(&task.real(path)) {
            return Then::Run;
        }
        match self.sabotage {
            Sabotage::BlackHole | Sabotage::Rubbish(_) | Sabotage::Stranger(_) if !seen::helps(path) => {
                Then::Divert(IMPOSTOR)
            }
            _ => Then::Refuse(Denial::Refused),
        }
    }
}

/// The same files and programs by other names: `/bin` leads to `/usr/bin`, and whoever looks for a program is content with any
/// folder of `PATH`.
struct OtherNames {
    names: HashSet<OsString>,
    files: HashSet<PathBuf>,
    searched: Vec<PathBuf>,
    programs: HashSet<OsString>,
}

impl OtherNames {
    fn of(seen: &Trace) -> OtherNames {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let searched: Vec<_> = std::env::split_paths(&path).collect();
        let all = || seen.files.iter().chain(&seen.programs);
        let is_program = |path: &&PathBuf| path.parent().is_some_and(|folder| searched.iter().any(|it| it == folder));
        let name = |path: &PathBuf| path.file_name().map(OsString::from);
        OtherNames {
            names: all().filter_map(name).collect(),
            files: all().filter_map(|path| path.canonicalize().ok()).collect(),
            programs: all().filter(is_program).filter_map(name).collect(),
            searched,
        }
    }

    fn contain(&self, path: &Path) -> bool {
        let Some(name) = path.file_name().filter(|name| self.names.contains(*name)) else { return false };
        let is_searched = || path.parent().is_some_and(|folder| self.searched.iter().any(|it| it == folder));
        self.programs.contains(name) && is_searched()
            || path.canonicalize().is_ok_and(|path| self.files.contains(&path))
    }
}

fn refused(why: Starved) -> Then {
    match why {
        Starved::Descriptors => Then::Refuse(Denial::NoDescriptor),
        Starved::Memory => Then::Refuse(Denial::NoMemory),
        Starved::Clock(_) => Then::Run,
    }
}

impl Follower for Saboteur<'_> {
    fn starts(&mut self, task: &Task, is_program: bool) {
        let is_first = !self.has_started;
        self.has_started = true;
        self.tasks.starts(task, is_program);
        if self.clock().is_some() && (is_program || is_first) {
            // Where that fails, the clock goes right, and nobody is accused.
            let _ = vdso::ask_the_kernel(task);
        }
    }

    fn ends(&mut self, task: &Task, is_well: bool) {
        self.failures += usize::from(!is_well && self.tasks.fails(task));
    }

    fn enters(&mut self, task: &Task, call: &Call) -> Then {
        if let What::Open { path, access } = &call.what
            && self.seen.files.contains(path)
        {
            let is_made = match access {
                Access::Update { makes } => *makes && self.is_gone(task, path) && self.may_write(task, path),
                Access::Read | Access::Write => false,
            };
            if is_made || *access == Access::Write {
                self.renewed.insert(path.clone());
            }
            if is_made {
                return Then::Empty;
            }
        }
        match &call.what {
            What::Open { path, access } if access.changes() && self.has_no_room_for(path) => {
                return Then::Refuse(Denial::NoRoom);
            }
            // Nothing of what is outside is touched, whoever does it.
            What::Open { path, access } if access.changes() && !self.may_write(task, path) => {
                return Then::Refuse(Denial::ReadOnly);
            }
            What::Influence { pid } if *pid < 0 || self.tasks.is_foreign(*pid) => {
                return Then::Refuse(Denial::NotPermitted);
            }
            What::Follow { pid } if self.tasks.is_foreign(*pid) => return Then::Refuse(Denial::NotPermitted),
            What::Change { paths } if !paths.iter().all(|path| self.may_write(task, path)) => {
                return Then::Refuse(Denial::ReadOnly);
            }
            What::Signal { pid, signal } if *signal != 0 && *pid != 0 => {
                // Of a group, its leader tells.
                return match self.tasks.is_foreign(pid.abs()) || *pid == -1 {
                    true => Then::Refuse(Denial::NotPermitted),
                    false => Then::Run,
                };
            }
            What::Time => return Then::Watch,
            What::Identity if self.tasks.counts(task) => return Then::Watch,
            What::Connect { to: Peer::Path(path), .. } => return self.connects_locally(task, path),
            What::Send { to: Some(Peer::Path(path)), .. } if !self.bound.contains(&task.real(path)) => {
                return Then::Refuse(Denial::Refused);
            }
            What::Bind { to: Peer::Path(path) } => {
                self.bound.insert(task.real(path));
                return if self.may_write(task, path) { Then::Run } else { Then::Refuse(Denial::ReadOnly) };
            }
            _ => {}
        }
        let sees_owner = matches!(&call.what, What::Stat { .. }) && self.forgets_users;
        if !self.tasks.counts(task) {
            return if sees_owner { Then::Watch } else { Then::Run };
        }
        match &call.what {
            What::Open { path, .. } => self.opens(task, path),
            What::Look { path } | What::Stat { of: StatOf::Path(path) } if let Some(place) = self.lead(path) => {
                Then::Lead(place)
            }
            What::Look { path } | What::Execute { path } if self.is_gone(task, path) => Then::Refuse(Denial::Missing),
            What::Stat { of: StatOf::Path(path) } if self.is_gone(task, path) => Then::Refuse(Denial::Missing),
            What::Measure { path } => match self.sabotage {
                Sabotage::Full => Then::Watch,
                _ if self.is_gone(task, path) => Then::Refuse(Denial::Missing),
                _ => Then::Run,
            },
            What::Stat { .. } if sees_owner || self.sabotage == Sabotage::Gone(Gone::Old) => Then::Watch,
            What::Socket { .. } => match self.sabotage {
                Sabotage::Starved(why) => refused(why),
                _ => Then::Run,
            },
            What::Connect { to: Peer::Internet(_), .. } => {
                self.attempted = true;
                Then::Run
            }
            What::Signal { pid, .. } if self.hides_processes() && self.tasks.is_foreign(*pid) => {
                Then::Refuse(Denial::NoProcess)
            }
            _ => Then::Run,
        }
    }

    fn leaves(&mut self, task: &Task, call: &Call, result: io::Result<i64>) -> Option<ForgedReply> {
        result.ok()?;
        match &call.what {
            What::Measure { .. } => Some(ForgedReply::Full),
            What::Time => self.clock().map(|clock| ForgedReply::Later(clock.offset())),
            What::Identity => Some(ForgedReply::Stranger),
            What::Stat { of } => {
                let (path, seen) = match of {
                    StatOf::Path(path) => (format!("/proc/{}/root{}", task.tid, path.display()), Some(path.clone())),
                    StatOf::Descriptor(fd) => {
                        let link = format!("fd/{fd}");
                        (format!("/proc/{}/{link}", task.tid), task.link(&link))
                    }
                };
                if self.sabotage == Sabotage::Gone(Gone::Old) && seen.is_some_and(|path| self.is_target(&path)) {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                    return Some(ForgedReply::Changed(i64::try_from(now - OLD).unwrap_or_default()));
                }
                if self.forgets_users && call.owner(task) == Some(UNKNOWN_USER) {
                    let metadata = std::fs::metadata(&path).ok()?;
                    return Some(ForgedReply::Owner { user: metadata.uid(), group: metadata.gid() });
                }
                None
            }
            _ => None,
        }
    }
}
