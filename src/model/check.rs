//! One healthcheck: what it verifies, what a run of it may find, and how long it may take.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize, Serializer};

use super::blame::Blame;
use super::control::Control;
use super::panics;
use super::perfdata::Perfdata;
use super::schedule::Schedule;
use super::silence::Silence;
use super::text;
use super::transcript::{self, Transcript};

/// How long a check may take unless it says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest context that an outcome keeps, in bytes.
pub const CONTEXT_LIMIT: usize = 8 * 1024;

/// The result of a check, in the words of Python's `unittest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// It decided, and all is well.
    Pass,
    /// It decided, and all is well still, but somebody should look.
    Warn,
    /// It decided, and something is wrong.
    Fail,
    /// It could not decide.
    Error,
    /// It does not apply here and now.
    Skip,
    /// It failed, as it was expected to.
    ExpectedFailure,
    /// It passed, though it was expected to fail.
    UnexpectedSuccess,
}

impl Status {
    /// All statuses, in the order of their numbers.
    pub const ALL: [Status; 7] = [
        Status::Pass,
        Status::Warn,
        Status::Fail,
        Status::Error,
        Status::Skip,
        Status::ExpectedFailure,
        Status::UnexpectedSuccess,
    ];

    /// Whether a report with this outcome in it fails.
    pub fn is_bad(self) -> bool {
        match self {
            Status::Fail | Status::Error | Status::UnexpectedSuccess => true,
            Status::Pass | Status::Warn | Status::Skip | Status::ExpectedFailure => false,
        }
    }

    /// Its name in every format: `pass`, `fail`, `expected_failure`, …
    pub fn word(self) -> &'static str {
        match self {
            Status::Pass => "pass",
            Status::Warn => "warn",
            Status::Fail => "fail",
            Status::Error => "error",
            Status::Skip => "skip",
            Status::ExpectedFailure => "expected_failure",
            Status::UnexpectedSuccess => "unexpected_success",
        }
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// What a healthy answer of the check is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expect {
    /// It passes.
    #[default]
    Success,
    /// It fails: for what is known to be broken, or must not exist.
    Failure,
}

/// What a bad finding of the check counts as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Severity {
    /// What it is: the report fails.
    #[default]
    Fail,
    /// A warning: for what somebody should look at, but nobody be woken for.
    Warn,
}

/// Why a check did not simply pass.
///
/// Through `?`, any [`std::error::Error`] that may go to other threads, a box of one, `anyhow::Error` and text become a
/// [`Reason::Error`]: the check could not decide. What may not go to other threads, such as the error of a poisoned lock,
/// is made text first: `lock().map_err(|error| error.to_string())?`.
///
/// A reason is not a [`std::error::Error`] itself, because then it could not be made from every other one. Where a function
/// returns another error, use its text: `assert_tcp("db:5432").map_err(anyhow::Error::msg)?`.
///
/// ```
/// use hospital::Reason;
///
/// fn stock() -> hospital::Result {
///     let items: u32 = "7".parse().map_err(|error| format!("items: {error}"))?;
///     hospital::ensure!(items < limit()?);
///     Ok(())
/// }
///
/// fn limit() -> anyhow::Result<u32> {
///     Ok("twelve".parse()?)
/// }
///
/// assert_eq!(stock(), Err(Reason::Error("invalid digit found in string".into())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It decided, and the answer is no.
    Fail(String),
    /// It could not decide.
    Error(String),
    /// It does not apply.
    Skip(String),
    /// It passes still, but somebody should look.
    Warn(String),
}

impl Reason {
    /// The same reason in the words of someone who knows more of the matter.
    pub(crate) fn told(self, words: impl FnOnce(String) -> String) -> Reason {
        match self {
            Reason::Fail(why) => Reason::Fail(words(why)),
            Reason::Error(why) => Reason::Error(words(why)),
            Reason::Skip(why) => Reason::Skip(words(why)),
            Reason::Warn(why) => Reason::Warn(words(why)),
        }
    }

    /// The check could not decide, because of this error and its chain of sources.
    pub(crate) fn because(error: &dyn Error) -> Reason {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Reason::Error(text)
    }
}

// Not `E: Error`: `anyhow::Error`, `Box<dyn Error + Send + Sync>` and `String` are none, yet all of them become this box.
#[diagnostic::do_not_recommend]
impl<'a, E: Into<Box<dyn Error + Send + Sync + 'a>>> From<E> for Reason {
    fn from(error: E) -> Reason {
        Reason::because(&*error.into())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Reason::Fail(why) | Reason::Error(why) | Reason::Skip(why) | Reason::Warn(why)) = self;
        f.write_str(why)
    }
}

/// What a healthcheck function returns: `Ok(())`, or the [`Reason`] why not.
pub type Result<T = (), E = Reason> = std::result::Result<T, E>;

/// What one run of a check found, before its expectation is applied.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Finding {
    /// `Pass`, `Warn`, `Fail`, `Error` or `Skip`.
    pub status: Status,
    /// What the check has to say, if anything.
    pub context: Option<String>,
    /// Figures that the check measured on the way.
    pub perfdata: Vec<Perfdata>,
    /// Whose fault it is, if it is bad and that is known.
    pub blame: Option<Blame>,
    /// What the run did, if it noted anything.
    pub transcript: Option<Box<Transcript>>,
    /// What each part of it has found, if it tells that of parts, such as the subtests of a test in Python.
    pub parts: Vec<Part>,
}

/// What a part of a check has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What distinguishes it, in one line that follows the title of the check. Empty: all that belongs to no part.
    pub title: String,
    /// One of those of a [`Finding`].
    pub status: Status,
    /// What it has to say, if anything.
    pub context: Option<String>,
}

impl Finding {
    /// The check passed and has nothing to say.
    pub const PASS: Finding = Finding {
        status: Status::Pass,
        context: None,
        perfdata: Vec::new(),
        blame: None,
        transcript: None,
        parts: Vec::new(),
    };

    /// The check ended with this status and has this to say.
    pub fn new(status: Status, context: impl Into<String>) -> Finding {
        Finding { status, context: Some(context.into()), ..Finding::PASS }
    }

    /// The check decided that something is wrong, for this reason.
    pub fn fail(context: impl Into<String>) -> Finding {
        Finding::new(Status::Fail, context)
    }

    /// The check passes still, but somebody should look, for this reason.
    pub fn warn(context: impl Into<String>) -> Finding {
        Finding::new(Status::Warn, context)
    }

    /// The check could not decide, for this reason.
    pub fn error(context: impl Into<String>) -> Finding {
        Finding::new(Status::Error, context)
    }

    /// The finding after the expectation, which is one of the whole, is applied; the context is cut to [`CONTEXT_LIMIT`], and
    /// what a terminal would obey is escaped in it.
    pub fn judged(mut self, expect: Expect) -> Finding {
        if expect == Expect::Failure {
            self.parts.clear();
        }
        self.status = match (expect, self.status) {
            (Expect::Failure, Status::Fail) => Status::ExpectedFailure,
            // A warning is not the failure that was expected.
            (Expect::Failure, Status::Pass | Status::Warn) => Status::UnexpectedSuccess,
            (Expect::Success | Expect::Failure, status) => status,
        };
        let shown = |context: String| bounded(text::lines(&context).into_owned());
        self.context = self.context.map(shown);
        for part in &mut self.parts {
            part.title = text::line(&part.title).into_owned();
            part.context = part.context.take().map(shown);
        }
        for figure in &mut self.perfdata {
            figure.label = text::line(&figure.label).into_owned();
            figure.unit = text::line(&figure.unit).into_owned();
        }
        self
    }
}

impl From<()> for Finding {
    fn from((): ()) -> Finding {
        Finding::PASS
    }
}

impl<E: Into<Reason>> From<std::result::Result<(), E>> for Finding {
    fn from(result: std::result::Result<(), E>) -> Finding {
        let (status, context) = match result.map_err(Into::into) {
            Ok(()) => return Finding::PASS,
            Err(Reason::Fail(context)) => (Status::Fail, context),
            Err(Reason::Error(context)) => (Status::Error, context),
            Err(Reason::Skip(context)) => (Status::Skip, context),
            Err(Reason::Warn(context)) => (Status::Warn, context),
        };
        Finding::new(status, context)
    }
}

/// The moment by which a run of a check has to be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline at that moment.
    pub fn at(moment: Instant) -> Deadline {
        Deadline(moment)
    }

    /// The moment itself.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// How much time is left at `now`; zero once the deadline has passed.
    pub fn remaining(self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }
}

/// The code of a check: called once a round, with the moment by which it has to return.
pub type Action = Box<dyn Fn(Deadline) -> Finding + Send + Sync>;

/// What a run of a check calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// A function of the application, which may do anything.
    Function,
    /// A built-in kind.
    BuiltIn,
    /// A built-in kind that starts a program, which is the check.
    Program,
    /// A built-in kind that may ask a program.
    BuiltInAndProgram,
}

impl Code {
    /// Whether it may start a program.
    pub(crate) fn may_start_programs(self) -> bool {
        matches!(self, Code::Program | Code::BuiltInAndProgram)
    }
}

/// One thing to verify.
///
/// ```
/// use std::time::Duration;
/// use hospital::model::check::{Check, Finding};
///
/// let check = Check::new("shop.door", |_deadline| Finding::fail("it is locked"))
///     .title("The door is open.")
///     .tags(["readiness"])
///     .timeout(Duration::from_secs(1));
/// assert_eq!(check.title, "The door is open.");
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Check {
    /// Its name: a dotted path, a label, or what it was collected from; unique in a suite.
    pub id: String,
    /// What it verifies, in one line for people.
    pub title: String,
    /// Words to select it by, for example `readiness`.
    pub tags: Vec<String>,
    /// How long one run may take.
    pub timeout: Duration,
    /// What a healthy answer is.
    pub expect: Expect,
    /// For so long at most, what it finds wrong does not count until it has passed for the first time.
    pub grace: Option<Duration>,
    /// What a bad finding counts as.
    pub on_fail: Severity,
    /// The checks without which it is not run: their ids, or paths that they are under.
    pub needs: Vec<String>,
    /// Whether a warning of it makes its report fail.
    pub strict: bool,
    /// The silence in force: what it finds is shown and does not count.
    pub(crate) silence: Option<Arc<Silence>>,
    /// When it runs on its own; `None`: in each round.
    pub schedule: Option<Schedule>,
    /// Differs between checks that are called the same and verify different things.
    pub(crate) definition: u64,
    /// Whether it may block. If not, it runs in the worker's loop, without a thread.
    pub blocking: bool,
    /// Whether a run has to wait for a process before it can begin, and tells when it has.
    pub(crate) begins_late: bool,
    /// Its kind: `function`, or a scheme such as `tcp`.
    pub kind: &'static str,
    /// What a run of it calls.
    pub code: Code,
    /// What has to work on our side for a finding of it to say anything.
    pub controls: &'static [Control],
    /// What its kind was told, with the defaults of what it was not told; nothing in it is secret.
    pub options: Vec<(String, String)>,
    /// The files of ours that its kind was told to read on the way to what it looks at, such as those of `ca`.
    pub(crate) files: Vec<PathBuf>,
    /// What its kind looks at, without secrets; empty for a function.
    pub target: String,
    /// The name, or the place in a file, that it was collected from; empty until it is collected.
    pub origin: String,
    /// The sabotages of a drill that it need not notice, each with the reason, if one is given.
    pub drill_allow: Vec<(&'static str, String)>,
    /// What to call.
    pub(crate) action: Arc<dyn Fn(Deadline) -> Finding + Send + Sync>,
}

impl Check {
    /// Whether its timeout does not count, if a round takes so long at most. On a schedule it runs in no round.
    pub(crate) fn is_cut_short(&self, round: Duration) -> bool {
        self.timeout > round && self.schedule.is_none()
    }

    /// A check with this id that calls a function, and the defaults for everything else. The function is given the
    /// moment by which it has to return, and returns what [`#[healthcheck]`](crate::healthcheck) takes, or a [`Finding`].
    pub fn new<F: Into<Finding>>(
        id: impl Into<String>,
        action: impl Fn(Deadline) -> F + Send + Sync + 'static,
    ) -> Check {
        let id = text::line(&id.into()).into_owned();
        Check {
            title: id.clone(),
            id,
            tags: Vec::new(),
            timeout: DEFAULT_TIMEOUT,
            expect: Expect::Success,
            grace: None,
            schedule: None,
            definition: 0,
            on_fail: Severity::Fail,
            needs: Vec::new(),
            strict: false,
            silence: None,
            blocking: true,
            begins_late: false,
            kind: "function",
            code: Code::Function,
            controls: Control::HOST,
            options: Vec::new(),
            files: Vec::new(),
            target: String::new(),
            origin: String::new(),
            drill_allow: Vec::new(),
            action: Arc::new(move |deadline| action(deadline).into()),
        }
    }

    /// The same check, whose texts are what `mask` makes of them, even those of a panic. A text may have been cut off.
    pub(crate) fn masked(self, mask: impl Fn(&str) -> String + Send + Sync + 'static) -> Check {
        let action = self.action;
        let masked = move |deadline| {
            let mut found =
                panics::contain(|| action(deadline)).unwrap_or_else(|told| Finding::new(Status::Fail, told));
            found.context = found.context.map(|context| mask(&context));
            for part in &mut found.parts {
                part.title = mask(&part.title);
                part.context = part.context.take().map(|context| mask(&context));
            }
            found.transcript = transcript::take(|text| mask(&text)).or(found.transcript);
            found
        };
        Check { action: Arc::new(masked), ..self }
    }

    /// The same check with this title.
    pub fn title(self, title: impl Into<String>) -> Check {
        Check { title: text::line(&title.into()).into_owned(), ..self }
    }

    /// The same check with these tags and no others.
    pub fn tags<T: Into<String>>(self, tags: impl IntoIterator<Item = T>) -> Check {
        Check { tags: tags.into_iter().map(Into::into).collect(), ..self }
    }

    /// The same check, which may take this long.
    pub fn timeout(self, timeout: Duration) -> Check {
        Check { timeout, ..self }
    }

    /// The same check, of which this is a healthy answer.
    pub fn expect(self, expect: Expect) -> Check {
        Check { expect, ..self }
    }

    /// The same check. A daemon runs it on this schedule, once for all its workers, instead of in each round.
    pub fn schedule(self, schedule: Schedule) -> Check {
        Check { schedule: Some(schedule), ..self }
    }

    /// The same check. Until it has passed for the first time, and for this long at most, what it finds wrong is a
    /// `skip`.
    pub fn grace(self, grace: Duration) -> Check {
        Check { grace: Some(grace), ..self }
    }

    /// The same check, of which a bad finding counts as this.
    pub fn on_fail(self, on_fail: Severity) -> Check {
        Check { on_fail, ..self }
    }

    /// The same check, which is run only if these are not bad: ids of other checks, or paths that they are under.
    pub fn needs<N: Into<String>>(self, needs: impl IntoIterator<Item = N>) -> Check {
        Check { needs: needs.into_iter().map(Into::into).collect(), ..self }
    }

    /// The same check, which never waits: it needs no thread.
    pub fn in_place(self) -> Check {
        Check { blocking: false, ..self }
    }

    /// Runs the check and judges what it found. A panic is contained and counts as `fail`, as in a test; its context is
    /// the message, and the file and line.
    pub fn run(&self, deadline: Deadline) -> Finding {
        transcript::open();
        let mut found =
            panics::contain(|| (self.action)(deadline)).unwrap_or_else(|told| Finding::new(Status::Fail, told));
        // Whoever knows secrets has taken the notes and hidden those.
        if self.code == Code::Function
            && let Some(noted) = transcript::take(|value| value)
        {
            found.transcript = Some(noted);
        }
        transcript::close();
        let mut found = found.judged(self.expect);
        let Finding { perfdata, transcript, .. } = &mut found;
        if !perfdata.is_empty() {
            let transcript = transcript.get_or_insert_default();
            perfdata.iter().for_each(|Perfdata { label, value, unit }| {
                transcript.add_figure(label, format_args!("{value}{unit}"));
            });
        }
        found
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("id", &self.id).field("title", &self.title).finish_non_exhaustive()
    }
}

fn bounded(mut context: String) -> String {
    if context.len() > CONTEXT_LIMIT {
        let total = context.len();
        context.truncate(context.floor_char_boundary(CONTEXT_LIMIT));
        context.push_str(&format!("… ({total} bytes in all)"));
    }
    context
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expect: Expect, action: impl Fn(Deadline) -> Finding + Send + Sync + 'static) -> Check {
        Check { expect, ..Check::new("t", action) }
    }

    fn run(check: Check) -> Finding {
        check.run(Deadline::at(Instant::now() + check.timeout))
    }

    #[test]
    fn a_panic_is_a_failure_with_its_message_and_place() {
        let found = run(check(Expect::Success, |_| panic!("got {}", 7)));
        assert_eq!(found.status, Status::Fail);
        let context = found.context.expect("a panic has a context");
        assert!(context.starts_with(&format!("got 7 (at {}:", file!())), "{context}");
    }

    #[test]
    fn an_expected_failure_is_well_and_an_unexpected_success_is_not() {
        let failing = run(check(Expect::Failure, |_| Finding::fail("no")));
        assert_eq!(failing.status, Status::ExpectedFailure);
        assert!(!failing.status.is_bad());
        let passing = run(check(Expect::Failure, |_| Finding::PASS));
        assert_eq!(passing.status, Status::UnexpectedSuccess);
        assert!(passing.status.is_bad());
    }

    #[test]
    fn what_could_not_be_decided_is_no_expected_failure() {
        let found = run(check(Expect::Failure, |_| Finding::error("no route")));
        assert_eq!(found.status, Status::Error);
    }

    #[test]
    fn an_error_becomes_a_reason_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot connect")]
        struct Outer(#[source] std::fmt::Error);
        let reason = Reason::from(Outer(std::fmt::Error));
        let told = Reason::Error(format!("cannot connect: {}", std::fmt::Error));
        assert_eq!(reason, told);
        assert_eq!(Reason::from(anyhow::Error::from(Outer(std::fmt::Error))), told);
        assert_eq!(Reason::from(Box::<dyn Error + Send + Sync>::from(Outer(std::fmt::Error))), told);
        assert_eq!(Reason::from("no route"), Reason::Error("no route".into()));
        assert_eq!(Reason::from("no route".to_owned()).to_string(), "no route");
    }

    #[test]
    fn a_long_context_is_cut_at_a_character_and_says_so() {
        let found = run(check(Expect::Success, |_| Finding::error("é".repeat(CONTEXT_LIMIT))));
        let context = found.context.expect("an error has a context");
        assert!(context.len() < CONTEXT_LIMIT + 40);
        assert!(context.ends_with("… (16384 bytes in all)"), "{}", &context[context.len() - 40..]);
    }
}
