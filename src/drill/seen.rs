//! What a run was seen to do, and what of that it looks at: a check claims nothing about what only its interpreter needs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What a run did, as its system calls told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trace {
    /// Peers to which it was connected.
    pub(crate) streams: BTreeSet<SocketAddr>,
    /// Peers that refused it.
    pub(crate) refused: BTreeSet<SocketAddr>,
    /// Peers from which a datagram came.
    pub(crate) datagrams: BTreeSet<SocketAddr>,
    /// Peers to which it sent datagrams, whether or not one came back.
    pub(crate) sent: BTreeSet<SocketAddr>,
    /// Unix sockets to which it was connected.
    pub(crate) locals: BTreeSet<PathBuf>,
    /// Whether it sent packets of its own making, as ping does.
    pub(crate) pings: bool,
    /// Whether it asked the kernel about network interfaces, addresses and routes.
    pub(crate) interfaces: bool,
    /// What it found by its path.
    pub(crate) files: BTreeSet<PathBuf>,
    /// Of these, what it opened, and the folders that it listed.
    pub(crate) opened: BTreeSet<PathBuf>,
    pub(crate) listed: BTreeSet<PathBuf>,
    /// Whether it read each of them, to look at what stands there.
    pub(crate) reads_all: bool,
    /// Whether it reads JSON with code of its own: who takes it apart minds its form, and may mind nothing else.
    pub(crate) takes_apart: bool,
    /// Whether it lists a folder to look for certain files, as code of its own does, or a program whose exit code does not tell
    /// whether there are any.
    pub(crate) sifts: bool,
    /// The words of its code and of the commands that it runs.
    pub(crate) words: BTreeSet<String>,
    /// What it looked for and did not find.
    pub(crate) absent: BTreeSet<PathBuf>,
    /// What it would have read, and did not find: that it asked whether it is there is not said.
    pub(crate) unread: BTreeSet<PathBuf>,
    /// How many of the programs that it ran ended badly.
    pub(crate) failures: usize,
    /// File systems whose room it asked for.
    pub(crate) measured: BTreeSet<PathBuf>,
    /// Whether it looked at processes that it did not start.
    pub(crate) processes: bool,
    /// Programs that it ran, besides the check itself and the tools of a shell.
    pub(crate) programs: BTreeSet<PathBuf>,
    /// What it wrote to, made or removed.
    pub(crate) written: BTreeSet<PathBuf>,
    /// The first thing that it said to a peer which changes something there.
    pub(crate) changes: Option<String>,
    /// Whether it spoke HTTP in plain text, and TLS.
    pub(crate) speaks_http: bool,
    pub(crate) speaks_tls: bool,
    /// Whether a program was given what came from a peer, to look at.
    pub(crate) passes_on: bool,
    /// The answers of HTTP servers in plain text, by port.
    pub(crate) answers: BTreeMap<u16, Vec<u8>>,
    /// Modules that it loaded, besides those that come with their interpreter.
    pub(crate) libraries: BTreeSet<PathBuf>,
    /// Code of it that does nothing but load modules.
    pub(crate) loads: Option<PathBuf>,
    /// A program that follows processes, as strace does, and cannot while it is followed itself.
    pub(crate) follows: Option<PathBuf>,
    /// A program that runs with other rights, which it does not have while it is followed.
    pub(crate) changes_rights: Option<PathBuf>,
}

/// The port of name servers.
pub(crate) const DNS: u16 = 53;

impl Trace {
    /// The peers by stream that a run is about: a name server only helps to find them, unless there is nothing else.
    pub(crate) fn talks(&self) -> bool {
        !self.streams.is_empty()
            || !self.datagrams.is_empty()
            || self.pings
            || self.locals.iter().any(|path| !helps(path))
    }

    /// Whether it talks to more than name servers.
    pub(crate) fn talks_beyond_names(&self) -> bool {
        let is_beyond = |peer: &SocketAddr| peer.port() != DNS;
        self.streams.iter().chain(&self.datagrams).any(is_beyond) || self.pings || self.talks_locally()
    }

    /// Whether it talks to a unix socket that does more than help the C library.
    pub(crate) fn talks_locally(&self) -> bool {
        self.locals.iter().any(|path| !helps(path))
    }

    /// Whether all that it tried to talk to refused it.
    pub(crate) fn only_was_refused(&self) -> bool {
        !self.talks() && !self.refused.is_empty()
    }

    /// Whether it looks at anything of this host.
    pub(crate) fn looks(&self) -> bool {
        !self.files.is_empty() || !self.measured.is_empty() || self.processes || !self.programs.is_empty()
    }

    /// Where it is told how much of something is used up, or who is there.
    pub(crate) fn gauges(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.iter().chain(&self.unread).filter(|path| is_gauge(path))
    }

    /// The files that are neither the kernel's nor part of a measurement.
    pub(crate) fn plain_files(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.iter().filter(move |path| !is_of_the_kernel(path) && !self.measured.contains(*path))
    }

    /// Whether all that it looks at is what the kernel tells: that is always there, and never empty.
    pub(crate) fn asks_only_the_kernel(&self) -> bool {
        let is_all = !self.opened.is_empty() && self.files.iter().all(|path| is_of_the_kernel(path) || is_gauge(path));
        is_all && self.measured.is_empty() && !self.processes && !self.interfaces && self.programs.is_empty()
    }

    /// The ports at which somebody has to listen in place of its peers.
    pub(crate) fn ports(&self) -> BTreeSet<(u16, bool)> {
        let streams = self.streams.iter().chain(&self.refused).map(|peer| (peer.port(), true));
        streams.chain(self.datagrams.iter().map(|peer| (peer.port(), false))).collect()
    }
}

/// Whether a unix socket belongs to the services behind the C library: names, users, the log. Whoever uses them does not
/// know it.
pub(crate) fn helps(path: &Path) -> bool {
    const HELPERS: [&str; 8] = [
        "/dev/log",
        "/run/nscd",
        "/run/systemd/journal",
        "/run/systemd/resolve",
        "/run/systemd/userdb",
        "/var/lib/sss",
        "/var/run/nscd",
        "/run/avahi-daemon",
    ];
    HELPERS.iter().any(|helper| path.starts_with(helper))
}

/// Whether it is the kernel that tells what stands there.
pub(crate) fn is_of_the_kernel(path: &Path) -> bool {
    ["/proc", "/sys"].iter().any(|mount| path.starts_with(mount))
}

/// Whether nothing but figures matters there: how much of something is used up, or left, or how many are there.
pub(crate) fn is_gauge(path: &Path) -> bool {
    const GAUGES: [&str; 7] =
        ["/proc/loadavg", "/proc/meminfo", "/proc/stat", "/proc/uptime", "/proc/vmstat", "/run/utmp", "/var/run/utmp"];
    let is_pressure = path.starts_with("/proc/pressure") || path.extension().is_some_and(|it| it == "pressure");
    is_pressure || GAUGES.iter().any(|gauge| path == Path::new(gauge))
}

/// Whether a path is called what programs call their memory of answers.
pub(crate) fn is_cache(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.contains("cache"))
}

/// Whether a path is one that every program may need to run at all: libraries, modules, the terminal. Without it the
/// program would break, which tells nothing about the check.
pub(crate) fn is_needed_to_run(path: &Path) -> bool {
    const FOLDERS: [&str; 12] = [
        "/lib",
        "/lib32",
        "/lib64",
        "/usr/lib",
        "/usr/lib32",
        "/usr/lib64",
        "/usr/local/lib",
        "/usr/share/locale",
        "/usr/share/zoneinfo",
        "/usr/share/perl",
        "/usr/share/perl5",
        "/nix/store",
    ];
    const ENDINGS: [&str; 20] = [
        "py", "pyc", "pyd", "pth", "pm", "pl", "rb", "js", "mjs", "node", "php", "jar", "lua", "sh", "bash", "so",
        "mo", "a", "zip", "cfg",
    ];
    // By these, Python finds out where it is installed.
    const NAMES: [&str; 4] = ["openssl.cnf", "Setup.local", "pybuilddir.txt", "pyvenv.cfg"];
    let is_module = path.components().any(|part| {
        let part = part.as_os_str().to_str().unwrap_or_default();
        part.starts_with("python3") || ["site-packages", "dist-packages", "node_modules", "gems"].contains(&part)
    });
    let is_library = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.contains(".so."));
    is_plain_device(path)
        || FOLDERS.iter().any(|folder| path.starts_with(folder))
        || ENDINGS.iter().any(|ending| path.extension().is_some_and(|extension| extension == *ending))
        || is_module
        || is_library
        || path.file_name().is_some_and(|name| NAMES.iter().any(|needed| name == *needed))
        || path.starts_with("/etc/ld.so.cache")
        || path.starts_with("/etc/ld.so.preload")
        || path.starts_with("/etc/localtime")
        || path.starts_with("/etc/timezone")
}

/// Whether a file is a module that somebody has installed, and whose absence would break what needs it.
pub(crate) fn is_library(path: &Path) -> bool {
    const FOLDERS: [&str; 4] = ["site-packages", "dist-packages", "node_modules", "gems"];
    const ENDINGS: [&str; 9] = ["py", "pyc", "so", "pm", "js", "mjs", "cjs", "node", "rb"];
    let parts: Vec<_> = path.components().filter_map(|part| part.as_os_str().to_str()).collect();
    let of_perl = path.starts_with("/usr/share/perl5") || parts.windows(2).any(|two| two == ["lib", "perl5"]);
    let place = parts.iter().position(|part| FOLDERS.contains(part));
    // What an interpreter itself has there begins so.
    let is_private = place.is_some_and(|place| parts.get(place + 1).is_none_or(|name| name.starts_with('_')));
    let is_module = path.extension().is_some_and(|it| ENDINGS.iter().any(|ending| it == *ending));
    is_module && (of_perl || place.is_some()) && !is_private
}

/// Whether code does nothing but load modules: whether they are there is all that it can tell.
pub(crate) fn only_loads(code: &str) -> bool {
    const LOADING: [&str; 5] = ["import ", "from ", "use ", "require ", "require("];
    let statements = code.split(['\n', ';']).map(str::trim);
    let mut statements = statements.filter(|text| !text.is_empty() && !text.starts_with('#'));
    // What only says how to read the rest.
    let is_pragma = |text: &str| {
        ["use strict", "use warnings", "use utf8", "use v5", "use 5"].iter().any(|it| text.starts_with(it))
    };
    let mut loads = false;
    statements.all(|text| {
        loads |= !is_pragma(text);
        // What is done with a module is more.
        let is_call = text.contains('(') && !(text.starts_with("require(") && text.find(')') == Some(text.len() - 1));
        LOADING.iter().any(|word| text.starts_with(word)) && !is_call
    }) && loads
}

/// Whether a program is Python.
pub(crate) fn is_named_python(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("python"))
}

/// Whether a path is a part of a program in Python.
pub(crate) fn is_python(path: &Path) -> bool {
    let is_source =
        path.extension().is_some_and(|extension| extension == "py" || extension == "pyc" || extension == "pyd");
    is_source || path.file_name().is_some_and(|name| name == "__pycache__")
}

/// The file that somebody has written, of what Python has loaded, if it does not come with it.
pub(crate) fn source_of(path: &Path) -> Option<PathBuf> {
    let is_plain = !is_library(path) && !["/usr/lib", "/usr/local/lib"].iter().any(|folder| path.starts_with(folder));
    let is_compiled = path.extension().is_some_and(|extension| extension == "pyc");
    let source = || match is_compiled {
        true => {
            let name = path.file_name()?.to_str()?.split('.').next()?;
            Some(path.parent()?.parent()?.join(format!("{name}.py")))
        }
        false => Some(path.to_owned()),
    };
    is_plain.then(source).flatten()
}

/// Whether a path is part of every process: devices without a device, its own descriptors.
pub(crate) fn is_plain_device(path: &Path) -> bool {
    const DEVICES: [&str; 13] = [
        "/dev/null",
        "/dev/zero",
        "/dev/full",
        "/dev/random",
        "/dev/urandom",
        "/dev/tty",
        "/dev/ptmx",
        "/dev/pts",
        "/dev/fd",
        "/dev/stdin",
        "/dev/stdout",
        "/dev/stderr",
        "/dev/console",
    ];
    // What these tell is not about the process alone.
    const OF_THE_HOST: [&str; 4] = ["mountinfo", "mounts", "mountstats", "net"];
    path.parent().is_none()
        || ["/dev", "/proc"].iter().any(|mount| path == Path::new(mount))
        || DEVICES.iter().any(|device| path.starts_with(device))
        || ["/proc/self", "/proc/thread-self"]
            .iter()
            .any(|own| path.strip_prefix(own).is_ok_and(|rest| !OF_THE_HOST.iter().any(|part| rest.starts_with(part))))
}

/// The number of the process whose entry in /proc this is.
pub(crate) fn process_of(path: &Path) -> Option<i32> {
    path.strip_prefix("/proc").ok()?.components().next()?.as_os_str().to_str()?.parse().ok()
}

/// Whether a program is a plain tool of the shell, which tells nothing by being there.
pub(crate) fn is_tool(path: &Path) -> bool {
    const TOOLS: [&str; 90] = [
        "[",
        "arch",
        "ash",
        "awk",
        "base64",
        "basename",
        "bash",
        "bc",
        "busybox",
        "cat",
        "chmod",
        "chown",
        "cksum",
        "cmp",
        "comm",
        "cp",
        "cut",
        "dash",
        "date",
        "dd",
        "df",
        "diff",
        "dirname",
        "du",
        "echo",
        "egrep",
        "env",
        "expr",
        "false",
        "fgrep",
        "find",
        "findmnt",
        "flock",
        "fold",
        "free",
        "gawk",
        "getent",
        "grep",
        "head",
        "hostname",
        "id",
        "jq",
        "ksh",
        "ln",
        "ls",
        "lsblk",
        "lscpu",
        "lsmod",
        "mawk",
        "md5sum",
        "mkdir",
        "mktemp",
        "mount",
        "mv",
        "nice",
        "nproc",
        "od",
        "perl",
        "pgrep",
        "pidof",
        "printf",
        "ps",
        "pwd",
        "readlink",
        "realpath",
        "rm",
        "sed",
        "seq",
        "sh",
        "sha256sum",
        "sleep",
        "sort",
        "stat",
        "swapon",
        "tail",
        "tee",
        "test",
        "timeout",
        "touch",
        "tr",
        "true",
        "uname",
        "uniq",
        "uptime",
        "users",
        "vmstat",
        "w",
        "wc",
        "who",
        "xargs",
    ];
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    TOOLS.contains(&name) || is_interpreter(path)
}

/// Whether a program tells how many lines match, which may be none.
pub(crate) fn counts_lines(program: &Path, line: &[String]) -> bool {
    let is_grep = program.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with("grep"));
    let counts =
        |text: &String| text == "--count" || text.starts_with('-') && !text.starts_with("--") && text.contains('c');
    is_grep && line.iter().skip(1).any(counts)
}

/// Whether a program looks for certain files, and ends well whether there are any or not.
pub(crate) fn sifts(program: &Path, line: &[String]) -> bool {
    const TESTS: [&str; 16] = [
        "amin", "anewer", "atime", "cmin", "cnewer", "ctime", "empty", "iname", "mmin", "mtime", "name", "newer",
        "path", "perm", "size", "user",
    ];
    let is_test = |text: &String| text.strip_prefix('-').is_some_and(|text| TESTS.contains(&text));
    program.file_name().is_some_and(|name| name == "find") && line.iter().any(is_test)
}

/// Whether a program only copies what it reads: where nobody reads that, it may only want to know that it can be read.
pub(crate) fn copies(program: &Path) -> bool {
    const NAMES: [&str; 12] =
        ["cat", "cp", "dd", "head", "hexdump", "md5sum", "od", "sha1sum", "sha256sum", "strings", "tac", "tail"];
    program.file_name().and_then(|name| name.to_str()).is_some_and(|name| NAMES.contains(&name))
}

/// Whether a program runs scripts: the first file that it is given is part of the check.
pub(crate) fn is_interpreter(path: &Path) -> bool {
    const NAMES: [&str; 14] =
        ["sh", "ash", "bash", "dash", "ksh", "zsh", "python", "pypy", "perl", "ruby", "node", "php", "expect", "tclsh"];
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    NAMES.contains(&name) || name == "lua"
}

/// Whether with this option an interpreter is given code, or the name of a module, instead of a script.
pub(crate) fn gives_code(program: &Path, option: &str) -> bool {
    let ends: &[char] = if is_shell(program) {
        &['c']
    } else if is_named_python(program) {
        &['c', 'm']
    } else {
        &['c', 'e', 'E', 'r']
    };
    option.starts_with('-') && !option.starts_with("--") && option.ends_with(ends)
}

/// Whether a program is given its script after `-f`, and what is to be looked at as it is.
pub(crate) fn takes_script_by_option(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ["awk", "gawk", "mawk", "nawk", "original-awk", "sed", "make"].contains(&name)
}

/// Whether a program only passes a text on, or runs commands: what it is given it does not look at.
pub(crate) fn is_shell(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ["sh", "ash", "bash", "dash", "ksh", "zsh", "cat", "tee", "curl", "wget", "logger"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_that_only_loads_is_told_from_code_that_does_something() {
        for code in [
            "import ssl, json",
            "import ssl; from os import path",
            "use strict;\nuse DBI;",
            "require('pg')",
            "#!/x\nimport jwt\n",
        ] {
            assert!(only_loads(code), "{code}");
        }
        for code in [
            "",
            "use strict; use warnings;",
            "import sys; sys.exit(0)",
            "require('fs').readFile('x', f)",
            "print('ok')",
        ] {
            assert!(!only_loads(code), "{code}");
        }
    }

    #[test]
    fn a_module_that_somebody_has_installed_is_a_library() {
        let is = |path: &str| is_library(Path::new(path));
        assert!(is("/usr/lib/python3/dist-packages/yaml/__init__.py") && is("/usr/share/perl5/DBI.pm"));
        assert!(is("/srv/node_modules/pg/index.js"));
        assert!(!is("/usr/lib/python3.11/json/__init__.py") && !is("/x/site-packages/_distutils_hack/__init__.py"));
        assert!(!is("/x/site-packages/extra.pth") && !is("/etc/passwd"));
    }
}
