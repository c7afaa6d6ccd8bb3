//! Which tasks of a run belong to the check, and which to us who run it.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::seen;
use crate::model::check::{Check, Code};
use crate::os::task::Task;

/// What of a run the check does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// All of it: it is a function, or a built-in kind, in our own process.
    All,
    /// What programs do.
    Programs,
    /// What an interpreter's children do: it imports all checks first, which is no business of one of them.
    Forks,
}

impl Counted {
    pub(super) fn of(check: &Check) -> Counted {
        match check.code {
            Code::Program if check.begins_late => Counted::Forks,
            Code::Program => Counted::Programs,
            Code::Function | Code::BuiltIn | Code::BuiltInAndProgram => Counted::All,
        }
    }
}

/// Which tasks belong to the check, and which to us who run it.
pub(super) struct Tasks {
    counted: Counted,
    /// The interpreter that forks for each run of a check, and its threads.
    interpreter: HashSet<i32>,
    ours: Option<PathBuf>,
    seen: HashSet<i32>,
    programs: HashMap<i32, PathBuf>,
    /// Tasks whose bad end is a failure of their program: no part of a shell, whose end is that of another, and nobody who
    /// tells a number, and ends badly if that is 0.
    failing: HashSet<i32>,
}

impl Tasks {
    pub(super) fn new(counted: Counted) -> Tasks {
        Tasks {
            counted,
            interpreter: HashSet::new(),
            ours: std::env::current_exe().ok(),
            seen: HashSet::new(),
            programs: HashMap::new(),
            failing: HashSet::new(),
        }
    }

    pub(super) fn counted(&self) -> Counted {
        self.counted
    }

    /// Takes note of a new task, or of a program. Returns the program.
    pub(super) fn starts(&mut self, task: &Task, is_program: bool) -> Option<&Path> {
        self.seen.insert(task.tid);
        if self.counted == Counted::Forks {
            let is_first = is_program && self.interpreter.is_empty();
            if is_first || (!is_program && self.interpreter.contains(&task.process())) {
                self.interpreter.insert(task.tid);
            }
        }
        let program = task.link("exe")?;
        if is_program && !seen::counts_lines(&program, &task.line()) {
            self.failing.insert(task.tid);
        }
        if is_program || Some(&program) != self.ours.as_ref() {
            self.programs.insert(task.tid, program);
        }
        self.programs.get(&task.tid).map(PathBuf::as_path)
    }

    /// Whether it is a process that the check did not start.
    pub(super) fn is_foreign(&self, pid: i32) -> bool {
        pid > 0 && !self.seen.contains(&pid)
    }

    /// The program that a task runs, if it is not ours.
    pub(super) fn program(&self, task: &Task) -> Option<&PathBuf> {
        self.programs.get(&task.tid)
    }

    /// Whether a program of the check that ends badly has failed by that.
    pub(super) fn fails(&self, task: &Task) -> bool {
        self.failing.contains(&task.tid)
    }

    /// Whether what a task does is done by the check.
    pub(super) fn counts(&self, task: &Task) -> bool {
        match self.counted {
            Counted::All => true,
            Counted::Programs => self.programs.contains_key(&task.tid),
            Counted::Forks => self.programs.contains_key(&task.tid) && !self.interpreter.contains(&task.tid),
        }
    }

    /// Whether a path says something about the check when this task looks at it.
    pub(super) fn is_claim(&self, task: &Task, path: &Path) -> bool {
        match self.programs.get(&task.tid) {
            Some(program) => path != program && !seen::is_needed_to_run(path),
            None => !seen::is_plain_device(path) && !seen::is_python(path),
        }
    }
}
