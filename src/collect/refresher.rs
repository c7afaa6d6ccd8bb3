//! The thread that looks at the files of checks, so that a mount that does not answer holds up nobody else.
//!
//! Whoever answers requests asks for a look when a request has arrived, goes on with other things, and takes the answer
//! once woken, or does without it when the time of the request is over:
//!
//! ```text
//!     request ── ask() ──→ RefreshNumber        thread: look, read again what has changed
//!     woken   ── state(number) ──→ the files as they were after the request came
//!     late    ── overdue(waited) ──→ the files as they were last seen, and a check that is an error
//! ```

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use super::Suite;
use super::sources::{Sources, with_error};
use crate::model::drills::Drills;
use crate::model::duration;
use crate::os::filesystem::read_file;
use crate::os::signals;
use crate::state;

/// The files of checks, as they were when they were looked at.
#[derive(Clone, Debug)]
pub struct FileState {
    /// What they collect. The very same suite as before, if they have not changed.
    pub suite: Suite,
    /// See [`Sources::edition`].
    pub edition: Option<u64>,
    /// What the file of maintenance says, if there is one.
    pub maintenance: Option<String>,
    /// The silences in force, for people; the checks of the suite have theirs.
    pub silences: Arc<[String]>,
    /// What is known of drills.
    pub(crate) drills: Arc<Drills>,
}

impl FileState {
    /// What was read when these were read, before any look for maintenance.
    pub fn of(sources: &Sources) -> FileState {
        FileState {
            suite: sources.suite().clone(),
            edition: sources.edition(),
            maintenance: None,
            silences: sources.silences(),
            drills: sources.drills(),
        }
    }
}

/// Which look at the files a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefreshNumber(u64);

/// Looks at the files when asked to. Nothing here waits for them but its thread.
pub struct Refresher {
    shared: Arc<Watched>,
}

struct Watched {
    looks: Mutex<Looks>,
    changed: Condvar,
}

struct Looks {
    asked: RefreshNumber,
    /// The last that has ended. `None`: there is no thread, since there is nothing to look at.
    ended: Option<RefreshNumber>,
    state: Arc<FileState>,
    /// What is said while a look does not end: the same to all, so that they share rounds.
    overdue: Option<Arc<FileState>>,
    closed: bool,
}

impl Refresher {
    /// Starts a thread for the files of these checks, and for the file that says that there is maintenance; none if there
    /// are no files. `wake` is called on that thread after each look.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn start(
        mut sources: Sources,
        maintenance_file: Option<PathBuf>,
        wake: impl Fn() + Send + 'static,
    ) -> io::Result<Refresher> {
        let state = FileState::of(&sources);
        if !sources.names_files() && maintenance_file.is_none() {
            return Ok(Refresher::without_files(state));
        }
        let look = move || {
            sources.refresh_if_changed();
            FileState { maintenance: maintenance_file.as_deref().and_then(maintained), ..FileState::of(&sources) }
        };
        Refresher::looking(state, look, wake)
    }

    fn without_files(state: FileState) -> Refresher {
        let (asked, state) = (RefreshNumber(0), Arc::new(state));
        let looks = Looks { asked, ended: None, state, overdue: None, closed: false };
        Refresher { shared: Arc::new(Watched { looks: Mutex::new(looks), changed: Condvar::new() }) }
    }

    fn looking(
        state: FileState,
        mut look: impl FnMut() -> FileState + Send + 'static,
        wake: impl Fn() + Send + 'static,
    ) -> io::Result<Refresher> {
        let refresher = Refresher::without_files(state);
        refresher.shared.lock().ended = Some(RefreshNumber(0));
        let shared = refresher.shared.clone();
        std::thread::Builder::new().name("files".to_owned()).spawn(move || {
            while let Some(number) = shared.next() {
                let state = signals::undisturbed(&mut look);
                shared.end(number, state);
                wake();
            }
        })?;
        Ok(refresher)
    }

    /// Asks for a look that begins after this call. While one is under way, all who ask share the next.
    pub fn ask(&self) -> RefreshNumber {
        let mut looks = self.shared.lock();
        if looks.ended.is_some() {
            looks.asked.0 += 1;
            self.shared.changed.notify_one();
        }
        looks.asked
    }

    /// The files as that look or a later one found them; `None` until it has ended.
    pub fn state(&self, number: RefreshNumber) -> Option<Arc<FileState>> {
        let looks = self.shared.lock();
        looks.ended.is_none_or(|ended| ended >= number).then(|| looks.state.clone())
    }

    /// What holds when a look has not ended and the time for it is over: the files as they were last seen, with one more
    /// check that is an error and says how long was waited. Maintenance that was seen goes on; that none was seen excuses
    /// nobody, as the error fails /readyz all the same.
    pub fn overdue(&self, waited: Duration) -> Arc<FileState> {
        let mut looks = self.shared.lock();
        let Looks { state, overdue, .. } = &mut *looks;
        let last = || {
            let why = format!(
                "the files of healthchecks and of maintenance could not be looked at in {}: what they last said is in use",
                duration::spoken(waited)
            );
            Arc::new(FileState { suite: with_error(&state.suite, why), edition: None, ..(**state).clone() })
        };
        let overdue = overdue.get_or_insert_with(last);
        // What cannot be looked at ends all the same.
        if overdue.suite.has_silences()
            && let Some(suite) = overdue.suite.without_ended(&state::now())
        {
            *overdue = Arc::new(FileState { suite, ..(**overdue).clone() });
        }
        overdue.clone()
    }
}

impl Drop for Refresher {
    /// A thread that a mount holds up stays behind.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
    }
}

impl fmt::Debug for Refresher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let looks = self.shared.lock();
        f.debug_struct("Refresher").field("asked", &looks.asked).field("ended", &looks.ended).finish()
    }
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, Looks> {
        // No file is looked at under the lock, so nothing is half done even if a thread died holding it.
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is one more look to take; `None` at the end.
    fn next(&self) -> Option<RefreshNumber> {
        let idle = |looks: &mut Looks| !looks.closed && looks.ended == Some(looks.asked);
        let looks = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        (!looks.closed).then_some(looks.asked)
    }

    fn end(&self, number: RefreshNumber, state: FileState) {
        let mut looks = self.lock();
        looks.ended = Some(number);
        looks.state = Arc::new(state);
        looks.overdue = None;
    }
}

/// The content of the `--maintenance-file`, if it exists.
pub(crate) fn maintained(file: &Path) -> Option<String> {
    let text = match read_file(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        // It exists, readable or not.
        read => read.unwrap_or_default(),
    };
    let reason = text.lines().next().unwrap_or_default().trim();
    Some(if reason.is_empty() { "maintenance".to_owned() } else { crate::model::text::line(reason).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::{Deadline, Status};
    use std::fs::{self, File};
    use std::path::Path;
    use std::process::Command;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Instant;

    use nix::sched::{CloneFlags, unshare};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn ids(state: &FileState) -> Vec<&str> {
        state.suite.checks().iter().map(|check| check.id.as_str()).collect()
    }

    fn error(state: &FileState) -> String {
        let check = state.suite.checks().iter().find(|check| check.id == "hospital.sources").expect("there is one");
        let finding = check.run(Deadline::at(Instant::now()));
        assert_eq!(finding.status, Status::Error);
        finding.context.unwrap_or_default()
    }

    fn write(path: &Path, name: &str) {
        fs::write(path, format!("[[check]]\nname = '{name}'\nuse = 'tcp://db:1'\n")).expect("the folder is ours");
    }

    fn sources(path: &Path) -> Sources {
        Sources::read(&[path.to_str().expect("a plain path")], "HEALTHCHECKS").expect("it is good")
    }

    /// A refresher that takes what it sees from a channel, as from a mount, and the channels on which it began and ended.
    fn slow() -> (Refresher, Sender<&'static str>, Receiver<()>, Receiver<()>) {
        let (answer, answers) = channel();
        let (begin, begun) = channel();
        let (wake, woken) = channel();
        let state = |text: &str| FileState {
            suite: Suite::default(),
            edition: Some(1),
            maintenance: Some(text.into()),
            silences: Arc::default(),
            drills: Arc::default(),
        };
        let look = move || {
            begin.send(()).expect("the test goes on");
            state(answers.recv().expect("the test goes on"))
        };
        let refresher = Refresher::looking(state("start"), look, move || _ = wake.send(())).expect("it starts");
        (refresher, answer, begun, woken)
    }

    fn says(refresher: &Refresher, number: RefreshNumber) -> Option<String> {
        refresher.state(number)?.maintenance.clone()
    }

    #[test]
    fn an_answer_is_of_a_look_that_began_after_it_was_asked_for() {
        let (refresher, answer, begun, woken) = slow();
        let first = refresher.ask();
        begun.recv_timeout(PATIENCE).expect("it looks");
        let (second, third) = (refresher.ask(), refresher.ask());
        assert_eq!(says(&refresher, first), None);
        answer.send("one").expect("it waits");
        woken.recv_timeout(PATIENCE).expect("it tells");
        assert_eq!((says(&refresher, first), says(&refresher, second)), (Some("one".into()), None));

        begun.recv_timeout(PATIENCE).expect("it looks again, once for both");
        answer.send("two").expect("it waits");
        woken.recv_timeout(PATIENCE).expect("it tells");
        for number in [first, second, third] {
            assert_eq!(says(&refresher, number), Some("two".into()));
        }
        assert!(begun.try_recv().is_err(), "nobody has asked again");
    }

    #[test]
    fn what_does_not_answer_is_an_error_with_what_was_seen_last() {
        let (refresher, answer, begun, woken) = slow();
        let number = refresher.ask();
        begun.recv_timeout(PATIENCE).expect("it looks");
        let overdue = refresher.overdue(Duration::from_secs(5));
        assert_eq!((overdue.maintenance.as_deref(), overdue.edition), (Some("start"), None));
        assert!(error(&overdue).contains("could not be looked at in 5s"), "{}", error(&overdue));
        assert!(overdue.suite.is(&refresher.overdue(Duration::from_secs(6)).suite), "all share one");

        answer.send("again").expect("it waits");
        woken.recv_timeout(PATIENCE).expect("it tells");
        assert_eq!(says(&refresher, number), Some("again".into()));
    }

    #[test]
    fn without_files_the_answer_is_there_at_once() {
        let sources = Sources::read(&["hospital"], "HEALTHCHECKS").expect("it is registered");
        let refresher = Refresher::start(sources, None, || panic!("there is no thread")).expect("none starts");
        let (first, second) = (refresher.ask(), refresher.ask());
        let state = |number| refresher.state(number).expect("there is nothing to wait for");
        assert!(state(first).suite.is(&state(second).suite));
    }

    #[test]
    fn a_change_is_in_the_answer_and_no_change_is_the_same_suite() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let file = folder.path().join("a.toml");
        write(&file, "one");
        let (wake, woken) = channel();
        let refresher = Refresher::start(sources(&file), None, move || _ = wake.send(())).expect("it starts");
        let look = || loop {
            let number = refresher.ask();
            woken.recv_timeout(PATIENCE).expect("it tells");
            let state = refresher.state(number).expect("it has ended");
            // Until then it may change again and look the same.
            if state.edition.is_some() {
                break state;
            }
        };
        let before = look();
        assert_eq!(ids(&before), ["one"]);
        assert!(look().suite.is(&before.suite));
        write(&file, "two");
        assert_eq!(ids(&look()), ["two"]);
    }

    #[test]
    #[ignore = "needs root"]
    fn a_mount_that_does_not_answer_holds_up_nobody() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let file = folder.path().join("a.toml");
        write(&file, "one");
        let sources = sources(&file);
        // Nobody reads from this descriptor what the kernel asks the file system.
        let silent = File::options().read(true).write(true).open("/dev/fuse").expect("the kernel has FUSE");
        let mount = || {
            unshare(CloneFlags::CLONE_NEWNS).expect("we are root");
            let run =
                |command: &mut Command| assert!(command.status().expect("it is installed").success(), "{command:?}");
            run(Command::new("mount").args(["--make-rprivate", "/"]));
            let options = "fd=0,rootmode=40000,user_id=0,group_id=0";
            let stdin = silent.try_clone().expect("it is open");
            run(Command::new("mount").args(["-i", "-t", "fuse", "-o", options, "x"]).arg(folder.path()).stdin(stdin));
            let (wake, woken) = channel();
            // Its thread sees what this one does.
            let refresher = Refresher::start(sources, None, move || _ = wake.send(())).expect("it starts");
            (refresher, woken)
        };
        let (refresher, woken) = std::thread::scope(|scope| scope.spawn(mount).join().expect("it is mounted"));

        let began = Instant::now();
        let number = refresher.ask();
        assert!(woken.recv_timeout(Duration::from_millis(200)).is_err(), "the mount answers");
        assert!(refresher.state(number).is_none());
        assert_eq!(ids(&refresher.overdue(Duration::from_millis(200))), ["one", "hospital.sources"]);
        assert!(began.elapsed() < Duration::from_secs(5));

        // The kernel gives up on a file system whose last descriptor is closed.
        drop(silent);
        woken.recv_timeout(PATIENCE).expect("it tells");
        let state = refresher.state(number).expect("it has ended");
        assert_eq!(ids(&state), ["one", "hospital.sources"], "it is gone, which is an error of another text");
    }
}
