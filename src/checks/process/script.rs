//! The script that a process runs, told from its command line.

use super::base;

/// Interpreters that run the same way.
struct Interpreter {
    names: &'static [&'static str],
    /// The options that have them run no script: but code, a module, or what stands in standard input.
    instead: &'static [char],
    /// The options whose value is the next argument.
    valued: &'static [char],
}

const INTERPRETERS: [Interpreter; 7] = [
    Interpreter { names: &["sh", "ash", "bash", "dash", "ksh", "zsh"], instead: &['c', 's'], valued: &['o', 'O'] },
    Interpreter { names: &["python", "pypy"], instead: &['c', 'm'], valued: &['W', 'X'] },
    Interpreter { names: &["perl"], instead: &['e', 'E'], valued: &['I'] },
    Interpreter { names: &["ruby"], instead: &['e'], valued: &['I', 'r'] },
    Interpreter { names: &["node", "nodejs"], instead: &['e', 'p'], valued: &['r'] },
    Interpreter { names: &["php"], instead: &['r'], valued: &['c', 'd'] },
    Interpreter { names: &["lua"], instead: &[], valued: &['e', 'l'] },
];

/// As many bytes as the kernel keeps of what a process is called.
const LONGEST_CALLED: usize = 15;

/// The script of a process with these arguments, which is called so, and whose file is `program` if that is known.
pub(super) fn of<'a>(called: &str, arguments: &'a [String], program: Option<&str>) -> Option<&'a str> {
    let (first, rest) = arguments.split_first()?;
    let behind_options = rest.iter().find(|argument| !argument.starts_with('-'));
    // So the kernel calls it that was started as a file, and has given that file to what stands behind its `#!`.
    let by_kernel = |script: &&String| is_called_by_kernel(called, script);
    match behind_options.filter(by_kernel) {
        Some(script) => Some(script),
        None => family(first).or_else(|| family(program?))?.script(rest),
    }
}

/// Whether the kernel would call a process so that was started from this file.
pub(super) fn is_called_by_kernel(called: &str, path: &str) -> bool {
    let name = base(path).as_bytes();
    called.as_bytes() == &name[..name.len().min(LONGEST_CALLED)]
}

/// The family of an interpreter of any version, as in `/usr/bin/python3.11`.
fn family(path: &str) -> Option<&'static Interpreter> {
    // A login shell has a `-` before its name.
    let name = base(path).trim_start_matches('-').trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    INTERPRETERS.iter().find(|family| family.names.contains(&name))
}

impl Interpreter {
    /// The first argument that is neither an option nor the value of one.
    fn script<'a>(&self, arguments: &'a [String]) -> Option<&'a str> {
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.strip_prefix('-') {
                None => return Some(argument),
                Some(long) if long.starts_with('-') => {}
                Some(letters) if letters.ends_with(self.instead) => return None,
                Some(letters) if letters.ends_with(self.valued) => drop(arguments.next()),
                Some(_) => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(called: &str, line: &str) -> Option<String> {
        let arguments: Vec<_> = line.split(' ').map(str::to_owned).collect();
        of(called, &arguments, None).map(str::to_owned)
    }

    #[test]
    fn the_script_of_an_interpreter_is_behind_its_options() {
        for line in [
            "python3 /srv/worker.py --once",
            "/opt/venv/bin/python3.11 -u -X dev -W error /srv/worker.py",
            "/bin/sh -e /srv/worker.py",
            "-bash --norc -o pipefail /srv/worker.py x.py",
            "perl5.36 -w -I lib /srv/worker.py",
            "node --inspect -r dotenv/config /srv/worker.py",
            "php -d memory_limit=1G -f /srv/worker.py",
            "lua5.4 -e x=1 /srv/worker.py",
        ] {
            assert_eq!(script("", line).as_deref(), Some("/srv/worker.py"), "{line}");
        }
    }

    #[test]
    fn what_only_mentions_a_script_does_not_run_it() {
        for line in [
            "vim /srv/worker.py",
            "grep -r /srv/worker.py",
            "sh -c /srv/worker.py",
            "bash -ec /srv/worker.py",
            "bash -s /srv/worker.py",
            "python3 -m pytest /srv/worker.py",
            "perl -pe 1 /srv/worker.py",
            "python3",
            "pythonic /srv/worker.py",
        ] {
            assert_eq!(script("vim", line), None, "{line}");
        }
    }

    #[test]
    fn what_was_started_by_name_is_that_script_whatever_runs_it() {
        let line = "/usr/bin/awk -f /srv/a-worker-with-a-long-name.awk";
        assert_eq!(script("a-worker-with-a", line).as_deref(), Some("/srv/a-worker-with-a-long-name.awk"));
        assert_eq!(script("awk", line), None);
        let line = "/usr/bin/perl -I/srv/e /srv/x";
        assert_eq!(script("x", line).as_deref(), Some("/srv/x"));
        assert_eq!(of("sh", &["busybox".into(), "/srv/x".into()], Some("/bin/sh")), Some("/srv/x"));
        assert_eq!(of("x", &[], None), None);
    }
}
