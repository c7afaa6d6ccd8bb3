//! Follows a good run, and learns what it looks at.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::seen::{self, Trace};
use super::tasks::{Counted, Tasks};
use super::{substitute, writing};
use crate::os::calls::{Access, Call, ForgedReply, Peer, StatOf, What};
use crate::os::task::{Descriptor, Flow, Task};
use crate::os::tracer::{Follower, Then};
use crate::os::{descriptors, filesystem};

/// How much of an answer is kept.
const MOST_KEPT: usize = 64 * 1024;

pub(super) struct Learner {
    tasks: Tasks,
    seen: Trace,
    /// Files that are parts of the check: its programs and scripts.
    own: HashSet<PathBuf>,
    /// What an interpreter has read of it. It may look at each folder on the way there, which says nothing.
    sources: HashSet<PathBuf>,
    /// What programs were told to do, by their command lines and scripts.
    code: Vec<String>,
    /// Files that were read to look at them, and those that its own code has read.
    read: HashSet<PathBuf>,
    read_by_itself: HashSet<PathBuf>,
    /// Where the check writes to for whoever asks it.
    output: Option<PathBuf>,
    /// Folders that a program has listed: more than a way.
    listed: HashSet<PathBuf>,
    /// What each task has asked about last, and the folders that Python has listed to import from: it asks first.
    asked: HashMap<i32, PathBuf>,
    imported: HashSet<PathBuf>,
    /// The script that the check is, until an interpreter opens it: what is done before that finds the interpreter.
    script: Option<PathBuf>,
    /// The process that the check began as. A program that it becomes is the check, and none that it runs.
    first: Option<i32>,
    /// Folders of interpreters that are found by scripts, such as those of pyenv.
    roots: HashSet<PathBuf>,
    /// Addresses at which the check itself listens.
    bound: HashSet<PathBuf>,
    bound_ports: HashSet<u16>,
    /// The sockets of streams, and whom they talk to.
    sockets: HashMap<String, SocketAddr>,
    /// Those of datagrams, and whom they were used to ask.
    questions: HashMap<String, SocketAddr>,
    /// Sockets that have been spoken to.
    spoken: HashMap<String, Vec<u8>>,
    /// What came from peers.
    heard: Vec<u8>,
    /// Pipes through which the head of an answer of HTTP goes: who reads that looks at the status.
    heads: HashSet<String>,
    /// Files and folders that were not there before.
    made: Vec<PathBuf>,
}

impl Learner {
    pub(super) fn new(counted: Counted) -> Learner {
        Learner {
            tasks: Tasks::new(counted),
            seen: Trace::default(),
            own: HashSet::new(),
            sources: HashSet::new(),
            code: Vec::new(),
            read: HashSet::new(),
            read_by_itself: HashSet::new(),
            output: None,
            listed: HashSet::new(),
            asked: HashMap::new(),
            imported: HashSet::new(),
            script: None,
            first: None,
            roots: HashSet::new(),
            bound: HashSet::new(),
            bound_ports: HashSet::new(),
            sockets: HashMap::new(),
            questions: HashMap::new(),
            spoken: HashMap::new(),
            heard: Vec::new(),
            heads: HashSet::new(),
            made: Vec::new(),
        }
    }

    /// Removes what the run has made and had no time to remove, after an interruption.
    pub(super) fn tidy_up(&mut self) {
        for path in self.made.drain(..).rev() {
            // What is not empty, or not there any more, is no concern of ours.
            let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path));
        }
    }

    pub(super) fn into_seen(self) -> Trace {
        let Learner { mut seen, own, sources, code, read, read_by_itself, listed, .. } = self;
        let (bound, bound_ports, roots, made) = (self.bound, self.bound_ports, self.roots, self.made);
        let is_own = |path: &PathBuf| own.contains(path);
        let is_way = |path: &PathBuf| !listed.contains(path) && sources.iter().any(|source| source.starts_with(path));
        let is_rooted = |path: &PathBuf| roots.iter().any(|root| path.starts_with(root));
        seen.files.retain(|path| !is_own(path) && !is_way(path) && !is_rooted(path));
        seen.opened.retain(|path| !is_own(path) && !is_rooted(path));
        let is_in = |set: &HashSet<PathBuf>, path: &PathBuf| {
            set.contains(path) || path.canonicalize().is_ok_and(|real| set.contains(&real))
        };
        let is_read = |path: &PathBuf| is_in(&read, path) || read.iter().any(|file| file.starts_with(path));
        let json: Vec<_> = seen.opened.iter().filter(|path| substitute::is_json(path)).collect();
        seen.takes_apart = !json.is_empty();
        // Whether something is JSON may be all that another program is asked.
        let is_asked = json.iter().all(|path| is_in(&read_by_itself, path));
        // Of a function that is compiled, nobody knows what it looks for.
        let is_known = self.tasks.counted() != Counted::All;
        seen.reads_all = is_known && is_asked && !seen.opened.is_empty() && seen.files.iter().all(is_read);
        seen.listed = listed.into_iter().filter(|path| seen.files.contains(path)).collect();
        let sources: Vec<_> = sources.iter().filter_map(|path| seen::source_of(path)).collect();
        let sources = sources.iter().filter_map(|path| std::fs::read_to_string(path).ok());
        let code: Vec<_> = code.into_iter().chain(sources).collect();
        seen.words = substitute::words(code.iter().map(String::as_str));
        seen.programs.retain(|path| !seen::is_tool(path) && !is_rooted(path));
        seen.absent.retain(|path| !made.contains(path) && !seen.written.contains(path));
        seen.locals.retain(|path| !bound.contains(path));
        seen.streams.retain(|peer| !(peer.ip().is_loopback() && bound_ports.contains(&peer.port())));
        // Shells look for a program in one folder of PATH after the other. The same name elsewhere is another matter.
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let is_searched = |path: &PathBuf| std::env::split_paths(&folders).any(|folder| path.parent() == Some(&folder));
        let is_named = |path: &PathBuf| own.iter().any(|program| program.file_name() == path.file_name());
        seen.absent.retain(|path| !(is_named(path) && is_searched(path)));
        seen.unread.retain(|path| !seen.absent.contains(path) && !seen.files.contains(path));
        if !seen.talks() && !seen.looks() {
            // It may only tell somebody something: then that is all it could notice.
            seen.datagrams = seen.sent.clone();
        }
        seen
    }

    /// The check itself begins: what was done before that found its interpreter.
    fn begin(&mut self) {
        self.script = None;
        let before = std::mem::take(&mut self.seen);
        (self.seen.failures, self.seen.changes) = (before.failures, before.changes);
        (self.seen.changes_rights, self.seen.follows) = (before.changes_rights, before.follows);
        self.seen.loads = before.loads;
    }

    /// A program was started by this path.
    fn executed(&mut self, task: &Task, path: &Path) {
        self.own.insert(path.to_owned());
        let is_script = {
            let mut head = [0; 2];
            let read = std::fs::File::open(path).and_then(|mut file| io::Read::read(&mut file, &mut head));
            read.is_ok_and(|length| head[..length] == *b"#!")
        };
        if is_script && seen::is_interpreter(path) {
            let root = path.parent().and_then(Path::parent);
            let usual = ["/", "/usr", "/usr/local"].map(Path::new);
            self.roots.extend(root.filter(|root| !usual.contains(root)).map(Path::to_owned));
        }
        match self.first {
            None if self.tasks.counted() != Counted::All => {
                self.first = Some(task.tid);
                self.script = path.canonicalize().ok().filter(|_| is_script);
            }
            Some(first) if first == task.tid => {}
            None | Some(_) => _ = self.seen.programs.insert(path.to_owned()),
        }
    }

    /// Something may be made there.
    fn makes(&mut self, paths: &[PathBuf]) -> Then {
        let missing =
            |path: &&PathBuf| path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        self.made.extend(paths.iter().filter(missing).cloned());
        Then::Watch
    }

    fn found(&mut self, task: &Task, path: &Path, is_opened: bool) {
        if is_opened && self.script.as_ref().is_some_and(|script| path.canonicalize().is_ok_and(|it| it == *script)) {
            return self.begin();
        }
        if is_opened && seen::is_library(path) {
            self.seen.libraries.insert(path.to_owned());
        }
        if let Some(pid) = seen::process_of(path) {
            self.seen.processes |= self.tasks.is_foreign(pid);
            return;
        }
        if seen::is_python(path) {
            self.sources.insert(path.to_owned());
        }
        let is_listed = is_opened && path.is_dir() && self.is_listing(task, path);
        // Where a program is started says nothing. A shell looks whether `PWD` is that place, and it need not be.
        let is_here = !is_listed
            && self.tasks.program(task).is_some()
            && (task.link("cwd").is_some_and(|here| here == path)
                || task.variable("PWD").is_some_and(|named| named == *path));
        if is_here || !self.tasks.is_claim(task, path) || self.seen.written.contains(path) {
            return;
        }
        self.seen.files.insert(path.to_owned());
        if is_opened && path.is_file() {
            self.seen.opened.insert(path.to_owned());
        }
        if is_listed {
            self.seen.sifts |= self.tasks.program(task).is_some_and(|program| is_its_own(task, program));
            self.listed.insert(path.to_owned());
        }
    }

    /// Whether a folder is opened to be looked at. To import a module, Python lists its folder, once, and asks about it right
    /// before; `find` opens the place that it returns to.
    fn is_listing(&mut self, task: &Task, path: &Path) -> bool {
        let Some(program) = self.tasks.program(task) else { return true };
        match seen::is_named_python(program) {
            true => {
                self.asked.get(&task.tid).is_none_or(|asked| asked != path) || !self.imported.insert(path.to_owned())
            }
            false => !program.ends_with("find") || task.link("cwd").is_none_or(|here| here != path),
        }
    }

    /// Code that is given on the command line, and does nothing but load modules.
    fn learn_code(&mut self, program: &Path, line: &[String]) {
        let is_code = |text: &&String| text.starts_with('-') && !text.starts_with("--") && text.ends_with(['c', 'e']);
        let place = line.iter().position(|text| is_code(&text));
        let code = place.and_then(|place| line.get(place + 1)).map(String::as_str).unwrap_or_default();
        if seen::is_interpreter(program) && seen::only_loads(code) {
            self.seen.loads = Some(PathBuf::from(code.trim()));
        }
    }

    /// The first file that an interpreter is given is its script, or that after `-f`.
    fn learn_script(&mut self, task: &Task, program: &Path) {
        self.own.insert(program.to_owned());
        let is_by_option = seen::takes_script_by_option(program);
        if !seen::is_interpreter(program) && !is_by_option {
            return;
        }
        let mut arguments = task.line().into_iter().skip(1).filter(|text| !text.is_empty());
        let here = task.link("cwd");
        let is_file = |text: &String| here.as_ref().is_some_and(|here| here.join(text).is_file());
        let is_option = |text: &String| text.starts_with('-') && !text.starts_with("--") && text.ends_with('f');
        let script = match is_by_option {
            true => arguments.find(is_option).and_then(|_| arguments.next()),
            // What an option is given comes before it, but code takes its place.
            false => arguments.take_while(|text| !seen::gives_code(program, text)).find(|text| is_file(text)),
        };
        if let (Some(script), Some(here)) = (script, here.as_ref()) {
            let path = here.join(script);
            if path.is_file() {
                let code = std::fs::read_to_string(&path).unwrap_or_default();
                if seen::only_loads(&code) {
                    self.seen.loads = Some(path.clone());
                }
                self.code.push(code);
                self.sources.extend(path.canonicalize().ok());
                self.sources.insert(path.clone());
            }
            self.own.extend(path.canonicalize().ok());
            self.own.insert(path);
        }
    }

    /// A file is read. Who copies it to where nobody looks at it may only want to know that it can be read.
    fn read(&mut self, task: &Task, path: PathBuf) {
        let program = self.tasks.program(task).cloned();
        let is_shown = || {
            let output = task.link("fd/1");
            output.as_deref() == Some(Path::new("/dev/null")) || output == self.output
        };
        if program.as_deref().is_some_and(|program| seen::copies(program) && is_shown()) {
            return;
        }
        if program.as_deref().is_none_or(|program| is_its_own(task, program)) {
            self.read_by_itself.insert(path.clone());
        }
        self.read.insert(path);
    }

    fn said(&mut self, socket: String, bytes: &[u8]) {
        let begins = bytes.len().min(512);
        if writing::is_http(bytes) {
            self.seen.speaks_http = true;
        }
        // A handshake: RFC 8446, 5.1.
        if matches!(bytes, [0x16, 0x03, ..]) && !self.spoken.contains_key(&socket) {
            self.seen.speaks_tls = true;
        }
        if self.seen.changes.is_none() {
            self.seen.changes = writing::what_it_changes(bytes);
        }
        self.spoken.entry(socket).or_default().extend_from_slice(&bytes[..begins]);
    }

    fn heard(&mut self, task: &Task, fd: i32, socket: &str, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match task.flow(fd) {
            Some(Flow::Datagram) => {
                self.seen.datagrams.extend(task.peer(fd).or_else(|| self.questions.get(socket).copied()));
            }
            Some(Flow::Stream) => {
                if let Some(peer) = self.sockets.get(socket) {
                    let answer = self.seen.answers.entry(peer.port()).or_default();
                    let room = MOST_KEPT.saturating_sub(answer.len());
                    answer.extend_from_slice(&bytes[..room.min(bytes.len())]);
                }
                let room = MOST_KEPT.saturating_sub(self.heard.len());
                self.heard.extend_from_slice(&bytes[..room.min(bytes.len())]);
            }
            Some(Flow::Raw | Flow::Kernel) | None => {}
        }
    }

    /// A program reads what another has written: was it what came from a peer?
    fn passed(&mut self, task: &Task, pipe: String, bytes: &[u8]) {
        if bytes.starts_with(b"HTTP/") {
            self.heads.insert(pipe);
            return;
        }
        if self.heads.contains(&pipe) {
            return;
        }
        let is_filter = self.tasks.program(task).is_some_and(|program| !seen::is_shell(program));
        let part = &bytes[..bytes.len().min(64)];
        if is_filter && part.len() >= 4 && self.heard.windows(part.len()).any(|window| window == part) {
            self.seen.passes_on = true;
        }
    }
}

/// Whether what a program does is said by code of the check itself, and is no command of a shell.
fn is_its_own(task: &Task, program: &Path) -> bool {
    let runs_module = || task.line().iter().any(|text| text == "-m");
    seen::is_interpreter(program) && !seen::is_shell(program) && !runs_module()
}

impl Follower for Learner {
    fn starts(&mut self, task: &Task, is_program: bool) {
        let program = self.tasks.starts(task, is_program).map(Path::to_owned);
        if let Some(program) = program.filter(|_| is_program) {
            if filesystem::changes_rights(&program) {
                self.seen.changes_rights = Some(program.clone());
            }
            let line = task.line();
            self.learn_script(task, &program);
            self.learn_code(&program, &line);
            self.seen.sifts |= seen::sifts(&program, &line);
            self.code.extend(line);
            if self.output.is_none() {
                self.output = task.link("fd/1");
            }
        }
    }

    fn ends(&mut self, task: &Task, is_well: bool) {
        self.seen.failures += usize::from(!is_well && self.tasks.fails(task));
    }

    fn enters(&mut self, task: &Task, call: &Call) -> Then {
        if !self.tasks.counts(task) {
            if let What::Open { path, .. } = &call.what
                && seen::is_python(path)
            {
                self.sources.insert(path.clone());
            }
            return if matches!(call.what, What::Execute { .. }) { Then::Watch } else { Then::Run };
        }
        match &call.what {
            What::Follow { pid } => {
                if *pid == 0 || self.tasks.program(task).is_some() {
                    self.seen.follows = self.tasks.program(task).cloned();
                }
                Then::Run
            }
            What::Influence { pid } => {
                if *pid < 0 || self.tasks.is_foreign(*pid) {
                    self.seen.changes = Some(format!("it changes how process {pid} runs"));
                }
                Then::Run
            }
            What::Signal { pid, signal } => {
                if self.tasks.is_foreign(*pid) {
                    match signal {
                        0 => return Then::Watch,
                        _ => self.seen.changes = Some(format!("it sends signal {signal} to process {pid}")),
                    }
                }
                Then::Run
            }
            What::Socket { .. } => Then::Run,
            What::Send { fd, to, bytes } => {
                if let Descriptor::Socket(socket) = task.descriptor(*fd) {
                    match (task.flow(*fd), to) {
                        (Some(Flow::Kernel), _) => {
                            self.seen.interfaces = true;
                            return Then::Run;
                        }
                        (Some(Flow::Raw), _) => self.seen.pings = true,
                        (_, Some(Peer::Path(path))) => _ = self.seen.locals.insert(path.clone()),
                        (Some(Flow::Datagram), to) => {
                            let to = match to {
                                Some(Peer::Internet(peer)) => Some(*peer),
                                Some(Peer::Path(_) | Peer::Other) | None => task.peer(*fd),
                            };
                            if let Some(peer) = to {
                                self.questions.insert(socket.clone(), peer);
                                self.seen.sent.extend(Some(peer).filter(|peer| peer.port() != seen::DNS));
                            }
                        }
                        _ => {}
                    }
                    self.said(socket, bytes);
                }
                Then::Run
            }
            What::Bind { to: Peer::Path(path) } => {
                self.bound.insert(path.clone());
                Then::Run
            }
            What::Bind { to: Peer::Internet(address) } => {
                self.bound_ports.insert(address.port());
                Then::Run
            }
            What::Bind { to: Peer::Other } => Then::Run,
            What::Open { path, access } if access.changes() => self.makes(std::slice::from_ref(path)),
            What::Change { paths } => self.makes(paths),
            _ => Then::Watch,
        }
    }

    fn leaves(&mut self, task: &Task, call: &Call, result: io::Result<i64>) -> Option<ForgedReply> {
        let is_done = result.is_ok();
        let is_missing = result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        match &call.what {
            What::Open { path, access } if is_done => {
                if matches!(access, Access::Update { .. }) && !self.made.contains(path) {
                    self.found(task, path, true);
                }
                if access.changes() {
                    if self.tasks.is_claim(task, path) {
                        self.seen.written.insert(path.clone());
                    }
                } else {
                    self.found(task, path, true);
                    // The same file by its own name, if links led to it.
                    let own = result.ok().and_then(|fd| task.link(&format!("fd/{fd}")));
                    if let Some(own) =
                        own.filter(|own| own != path && own.is_absolute() && self.tasks.is_claim(task, path))
                    {
                        self.found(task, &own, true);
                    }
                }
            }
            What::Open { path, .. } | What::Look { path } | What::Stat { of: StatOf::Path(path) }
                if is_missing && self.tasks.is_claim(task, path) && seen::process_of(path).is_none() =>
            {
                // What a program asks about by itself its user may not know.
                let is_asked = |program: &PathBuf| seen::is_tool(program);
                let is_read = self
                    .tasks
                    .program(task)
                    .is_some_and(|program| matches!(call.what, What::Open { .. }) || !is_asked(program));
                if is_read { &mut self.seen.unread } else { &mut self.seen.absent }.insert(path.clone());
            }
            What::Look { path } | What::Stat { of: StatOf::Path(path) } if is_done => {
                if matches!(call.what, What::Stat { .. }) {
                    self.asked.insert(task.tid, path.clone());
                }
                self.found(task, path, false);
            }
            What::Measure { path } if is_done && filesystem::has_room_of_its_own(path) => {
                self.seen.measured.insert(path.clone());
            }
            What::Change { paths } if is_done => self.seen.written.extend(paths.iter().cloned()),
            What::Execute { path } if is_done => self.executed(task, path),
            What::Connect { fd, to } => {
                let begun = result.as_ref().err().is_none_or(descriptors::is_connecting);
                match to {
                    Peer::Internet(peer) if task.flow(*fd) == Some(Flow::Stream) => {
                        if begun {
                            if let Descriptor::Socket(socket) = task.descriptor(*fd) {
                                self.sockets.insert(socket, *peer);
                            }
                            self.seen.streams.insert(*peer);
                        } else {
                            self.seen.refused.insert(*peer);
                        }
                    }
                    Peer::Path(path) if begun => {
                        self.seen.locals.insert(path.clone());
                    }
                    Peer::Internet(_) | Peer::Path(_) | Peer::Other => {}
                }
            }
            What::SocketError { fd } if is_done && call.socket_error(task) != 0 => {
                if let Descriptor::Socket(socket) = task.descriptor(*fd)
                    && let Some(peer) = self.sockets.remove(&socket)
                    && !self.sockets.values().any(|other| *other == peer)
                {
                    self.seen.streams.remove(&peer);
                    self.seen.refused.insert(peer);
                }
            }
            What::Receive { fd } => {
                let Ok(length) = result else { return None };
                match task.descriptor(*fd) {
                    Descriptor::Socket(socket) => self.heard(task, *fd, &socket, &call.received(task, length)),
                    Descriptor::Pipe(pipe) if !self.seen.passes_on && !self.heard.is_empty() => {
                        self.passed(task, pipe, &call.received(task, length));
                    }
                    Descriptor::File(path) if length > 0 => self.read(task, task.own(path)),
                    Descriptor::Pipe(_) | Descriptor::File(_) | Descriptor::Other => {}
                }
            }
            What::Signal { .. } if is_done => self.seen.processes = true,
            _ => {}
        }
        None
    }
}
