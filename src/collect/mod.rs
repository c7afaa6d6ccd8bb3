//! Names → suite: the grammar of HEALTHCHECKS and the command line.
//!
//! A name is, in the order in which this is tried: the dotted path of registered checks; `scheme:target` of a built-in
//! kind; the path of a folder or file; a dotted name in Python, where one is set.

mod file;
mod folder;
mod python;
mod refresher;
mod sources;
mod spec;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::checks::support::ownership::{self, Distrust};
use crate::checks::support::secrets::{self, Secrets};
use crate::checks::{Options, Runs};
use crate::error::Error;
use crate::functions::registry;
use crate::model::check::{Check, Code};
use crate::model::id;
use crate::model::needs::Fault;
use crate::model::schedule;
use crate::model::suite::Suite;
use crate::model::text;
use crate::os::stamp::Stamp;
use crate::os::walk::Place;
use spec::Spec;
#[doc(hidden)]
pub use spec::without_secrets;
pub(crate) use spec::{COMMON, PYTHON};

#[cfg(feature = "tower")]
pub(crate) use refresher::maintained;
pub use refresher::{FileState, RefreshNumber, Refresher};
pub use sources::Sources;
pub(crate) use sources::Surroundings;

/// Where to look for checks without names.
const UNNAMED: [&str; 2] = ["./healthchecks.toml", "./healthchecks"];

/// Collects the checks that these names select; without names, those in `./healthchecks.toml` and `./healthchecks/`.
/// `origin` says where the names were given, for error messages.
///
/// Overlapping dotted paths collect a check once. A name that collects nothing is an error, so that a typing error
/// never leads to a passing report.
///
/// # Errors
///
/// [`Error::Usage`] when a name cannot be understood or collects nothing, or two checks have the same id;
/// [`Error::Unsafe`] when others may write to a folder, file or executable.
pub fn collect<S: AsRef<str>>(names: &[S], origin: &str) -> Result<Suite, Error> {
    Sources::read(names, origin).map(|sources| sources.suite().clone())
}

/// Collects the checks of a TOML file with this content. Not part of the public interface.
///
/// # Errors
///
/// Those of [`collect`].
#[doc(hidden)]
pub fn in_file(text: &str) -> Result<Suite, Error> {
    let surroundings = Surroundings::default();
    let mut collector = Collector::new(&surroundings, "the file");
    file::collect(Path::new("checks.toml"), text, &mut collector)?;
    collector.secrets.complete();
    without_fault(unique(collector.found)?)
}

/// A check, and where it was found.
#[derive(Debug)]
struct CollectedCheck {
    check: Check,
    /// The name, or the place in a file, that it came from.
    from: String,
    /// Whether it is a registered check, or a test in Python, without changes.
    registered: bool,
}

/// What is gathered while names are read.
struct Collector<'a> {
    surroundings: &'a Surroundings,
    origin: &'a str,
    found: Vec<CollectedCheck>,
    stamps: Vec<Stamp>,
    notes: Vec<String>,
    /// Those of all checks, and of the environment.
    secrets: Secrets,
    /// The dotted names that have collected registered checks.
    compiled_in: Vec<String>,
}

/// What the names came to.
struct Collected {
    suite: Result<Suite, Error>,
    /// Those of all files that were looked at, even if reading failed.
    stamps: Vec<Stamp>,
    /// A line for each thing that was left out, or looks like a mistake.
    notes: Vec<String>,
}

impl<'a> Collector<'a> {
    fn new(surroundings: &'a Surroundings, origin: &'a str) -> Collector<'a> {
        let secrets = Secrets::of_environment(&surroundings.environment);
        Collector {
            surroundings,
            origin,
            found: Vec::new(),
            stamps: Vec::new(),
            notes: Vec::new(),
            secrets,
            compiled_in: Vec::new(),
        }
    }

    fn read(surroundings: &'a Surroundings, names: &[String], origin: &'a str) -> Collected {
        let mut collector = Collector::new(surroundings, origin);
        let result = collector.add_all(names);
        collector.note_namesakes();
        let Collector { mut found, stamps, notes, mut secrets, .. } = collector;
        let hidden = Secrets::default().within(&mut secrets);
        if !secrets.is_empty() {
            // A function of the program may come across any of them, and knows none.
            for CollectedCheck { check, .. } in found.iter_mut().filter(|it| it.check.code == Code::Function) {
                let hidden = hidden.clone();
                *check = check.clone().masked(move |text| hidden.scrub_cut(text));
            }
        }
        secrets.complete();
        let notes = notes.iter().map(|note| text::line(note).into_owned()).collect();
        Collected { suite: result.and_then(|()| unique(found)).and_then(without_fault), stamps, notes }
    }

    fn add_all(&mut self, names: &[String]) -> Result<(), Error> {
        if !names.is_empty() {
            return names.iter().try_for_each(|name| self.add(name));
        }
        let there: Vec<_> = UNNAMED.into_iter().filter(|path| Path::new(path).exists()).collect();
        if there.is_empty() {
            return Err(Error::Usage(format!(
                "there is nothing to check: set HEALTHCHECKS or name checks, as in \
                 HEALTHCHECKS=hospital.healthchecks.predictable; {} would do as well, and is not here",
                UNNAMED.join(" or ")
            )));
        }
        there.into_iter().try_for_each(|path| self.add(path))
    }

    fn add(&mut self, name: &str) -> Result<(), Error> {
        let registered: Vec<_> = registry::at(name, &self.surroundings.own).collect();
        if let Some(id) = first_twice(registered.iter().map(|check| check.id.as_str())) {
            return Err(Error::Usage(format!(
                "two functions are healthchecks with the id {id:?}: rename one, or compile its module once"
            )));
        }
        if !registered.is_empty() {
            let found = |check| CollectedCheck { check, from: name.to_owned(), registered: true };
            self.found.extend(registered.into_iter().map(found));
            self.compiled_in.push(name.to_owned());
            return Ok(());
        }
        let unclear = |why| Error::Usage(format!("{}: {why}", self.origin));
        match Spec::parse(name).map_err(unclear)? {
            Some(spec) if spec.is_of_python() => {
                let Spec { label, target, options, .. } = spec;
                self.add_python(name, &target, label.as_deref(), options)
            }
            Some(spec) => self.add_spec(spec),
            None if is_path(name) => self.add_path(name),
            None if is_host_and_port(name) => {
                Err(self.wrong(name, &format!("a port is checked by tcp: write tcp://{name}")))
            }
            None if id::is_dotted(name) && self.surroundings.python.is_set() => {
                self.add_python(name, name, None, Options::default())
            }
            None if id::is_dotted(name) => Err(self.wrong(
                name,
                &format!("no check is registered there (known: {})", registry::known(&self.surroundings.own)),
            )),
            None => {
                let why = format!(
                    "it is neither a dotted path, nor [label=]scheme:target (schemes: {}), nor a path that begins with / or ./",
                    spec::schemes()
                );
                Err(self.wrong(secrets::quotable(name), &why))
            }
        }
    }

    fn add_python(&mut self, name: &str, target: &str, label: Option<&str>, options: Options) -> Result<(), Error> {
        let found = python::collect(&self.surroundings.python, target, label, options, &mut self.secrets);
        let found = found.map_err(|refusal| refusal.error(|why| self.wrong(name, why)))?;
        self.notes.extend(found.notes);
        let registered = found.are_unchanged;
        let checks = found.checks.into_iter();
        self.found.extend(checks.map(|check| CollectedCheck { check, from: name.to_owned(), registered }));
        Ok(())
    }

    /// A name that means one thing here, and another in Python. No Python is started to find out.
    fn note_namesakes(&mut self) {
        // What we ship ourselves is the same in both.
        let names = self.compiled_in.iter().map(|name| id::dotted(name)).filter(|name| !id::is_at(name, "hospital"));
        for name in names.filter(|name| self.surroundings.python.is_started() && self.surroundings.python.has(name)) {
            self.notes.push(format!(
                "{name} is compiled in, and there is such a module in Python: the compiled-in checks are used, \
                 and python:{name} names the others"
            ));
        }
    }

    fn add_spec(&mut self, spec: Spec) -> Result<(), Error> {
        let from = spec.shown();
        verify_program(&spec)?;
        let named = spec.quotable();
        let (check, notes) = self.build(spec).map_err(|error| self.wrong(&named, &error))?;
        self.notes.extend(notes.iter().map(|note| format!("{from}: {note}")));
        self.found.push(CollectedCheck { check, from, registered: false });
        Ok(())
    }

    /// Builds a check, which finds what is kept for it in the state dir.
    fn build(&mut self, mut spec: Spec) -> Result<(Check, Vec<String>), String> {
        spec.options.keep_in(self.surroundings.state.clone());
        spec.build(&mut self.secrets)
    }

    fn add_path(&mut self, name: &str) -> Result<(), Error> {
        let path = Path::new(name);
        let before = self.found.len();
        match self.look(path) {
            Ok(place) => folder::collect(path, &place, self)?,
            Err(distrust) => {
                return Err(distrust.error(path.display(), |error| match error.kind() {
                    io::ErrorKind::NotFound => self.wrong(secrets::quotable(name), "there is no such file or folder"),
                    _ => self.wrong(secrets::quotable(name), &format!("it cannot be looked at: {error}")),
                }));
            }
        }
        if self.found.len() > before {
            return Ok(());
        }
        Err(self.wrong(
            name,
            "it holds no check: a folder needs *.toml files with [[check]] tables, \
             or executables with names of letters, digits, '_' and '-' alone",
        ))
    }

    /// Goes to a file, and remembers its state.
    fn look(&mut self, path: &Path) -> Result<Place, Distrust> {
        self.stamps.push(Stamp::take(path).0);
        ownership::reach(path)
    }

    fn leave_out(&mut self, path: &Path, why: &str) {
        self.notes.push(format!("{} is not a check: {why}", path.display()));
    }

    fn wrong(&self, name: &str, why: &str) -> Error {
        Error::Usage(format!("{} names {name:?}, but {why}", self.origin))
    }
}

/// Refuses a program that others may change.
fn verify_program(spec: &Spec) -> Result<(), Error> {
    if spec.known_kind().is_none_or(|kind| kind.runs != Runs::AsProgram) {
        return Ok(());
    }
    let target = spec.plain_target();
    let path = Path::new(&target);
    match ownership::open(path) {
        Err(Distrust::Unsafe(why)) => Err(ownership::refusal(path.display(), &why)),
        // A kind refuses what is not there.
        Ok(_) | Err(Distrust::Unseen(_)) => Ok(()),
    }
}

/// The first id that appears for the second time.
fn first_twice<'a>(mut ids: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = HashSet::new();
    ids.find(|id| !seen.insert(*id))
}

/// Whether a name that is nothing else is meant as a path.
fn is_path(name: &str) -> bool {
    ["/", "./", "../"].iter().any(|start| name.starts_with(start)) || name.ends_with(".toml")
}

/// Whether a name that has no scheme ends like an address: `127.0.0.1:8081`.
fn is_host_and_port(name: &str) -> bool {
    let parts = name.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.ends_with(':'));
    secrets::quotable(name) == name && parts.is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

/// The checks, if their ids are unique and the endpoint can be asked for each. A registered check that several paths
/// collect is one check.
fn unique(found: Vec<CollectedCheck>) -> Result<Suite, Error> {
    let mut first: HashMap<String, (String, Option<&str>)> = HashMap::new();
    for CollectedCheck { check, from, registered } in &found {
        if id::RESERVED.contains(&check.id.as_str()) {
            return Err(Error::Usage(format!(
                "{from}: a check cannot be called {0:?}, as /{0} is a path of the endpoint itself: give it another name",
                check.id
            )));
        }
        // The same check again, by another name.
        let kind = registered.then_some(check.kind);
        match first.insert(check.id.clone(), (from.clone(), kind)) {
            Some((before, former)) if kind.is_none() || former != kind => {
                return Err(Error::Usage(format!(
                    "two checks have the id {:?}: {before} and {from}: \
                     give one another label, as in other=scheme:target, or another name in its file",
                    check.id
                )));
            }
            Some(_) | None => {}
        }
    }
    let scheduled = found.iter().filter(|found| found.check.schedule.is_some()).count();
    if scheduled > schedule::MOST {
        let most = schedule::MOST;
        return Err(Error::Usage(format!(
            "{scheduled} checks have a schedule (every), and {most} can: let the others run in each round"
        )));
    }
    Ok(found
        .into_iter()
        .map(|CollectedCheck { check, from, .. }| Arc::new(Check { origin: text::line(&from).into_owned(), ..check }))
        .collect())
}

/// The suite, if each check in it can be run.
fn without_fault(suite: Suite) -> Result<Suite, Error> {
    let Some((check, fault)) = suite.fault() else { return Ok(suite) };
    let Check { id, origin, .. } = check;
    let why = match fault {
        Fault::Missing(name) => {
            let name = secrets::quotable(name);
            format!("needs {name:?}, but no check is collected there (known: {})", suite.known())
        }
        Fault::Itself(_) | Fault::Circle(_) | Fault::Excluded(_) => format!("{fault}: leave one of these needs out"),
    };
    Err(Error::Usage(format!("{origin}: the check {id:?} {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::{Deadline, Finding};
    use crate::model::transcript;

    const PREDICTABLE: &str = "hospital.healthchecks.predictable";

    fn ids(suite: &Suite) -> Vec<&str> {
        suite.checks().iter().map(|check| check.id.as_str()).collect()
    }

    #[test]
    fn a_dotted_path_collects_what_is_at_and_under_it() {
        let both = ["hospital.healthchecks.predictable.collected", "hospital.healthchecks.predictable.skipped"];
        for (name, expected) in [(PREDICTABLE, &both[..]), ("hospital", &both), (both[0], &both[..1])] {
            let suite = collect(&[name], "HEALTHCHECKS").expect("it is registered");
            assert_eq!(ids(&suite), expected, "{name}");
        }
    }

    #[test]
    fn what_a_function_says_holds_no_secret_of_the_environment_nor_of_other_checks() {
        let says = |id: &str, action: fn() -> Finding| Check::new(id, move |_| action());
        let own = vec![
            says("shop.db", || Finding::fail("no access with hunter2-db")),
            says("shop.mail", || panic!("no access with aHVudGVyMi11cmw=")),
            says("shop.note", || {
                transcript::note(transcript::Field::Server, "hunter2-db");
                Finding::PASS
            }),
        ];
        let environment = vec![("DB_PASSWORD".to_owned(), "hunter2-db".to_owned())];
        let names = ["shop", "http://anna:hunter2-url@db/"].map(str::to_owned).to_vec();
        let surroundings = Surroundings { own, environment, ..Surroundings::default() };
        let sources = Sources::read_in(surroundings, names, "HEALTHCHECKS").expect("they are good");
        let deadline = || Deadline::at(std::time::Instant::now() + std::time::Duration::from_secs(5));
        let found: Vec<_> = sources.suite().checks()[..3].iter().map(|check| check.run(deadline())).collect();
        assert_eq!(found[0].context.as_deref(), Some("no access with ***"));
        assert!(found[1].context.as_deref().is_some_and(|told| told.starts_with("no access with *** (at ")));
        let noted = found[2].transcript.as_ref().expect("it was noted");
        assert_eq!(noted.values(transcript::Field::Server).collect::<Vec<_>>(), ["***"]);
    }

    #[test]
    fn rust_paths_are_dotted_paths() {
        assert!(collect(&["hospital::healthchecks::predictable"], "HEALTHCHECKS").is_ok());
    }

    #[test]
    fn a_check_that_is_called_like_a_path_of_the_endpoint_is_refused() {
        for label in id::RESERVED {
            let error = collect(&[format!("{label}=memory:")], "HEALTHCHECKS").expect_err(label).to_string();
            assert!(error.contains(&format!("{label:?}")) && !error.contains('\n'), "{error}");
        }
        assert!(collect(&["readyz2=memory:"], "HEALTHCHECKS").is_ok());
    }

    #[test]
    fn an_id_that_two_functions_have_is_found() {
        assert_eq!(first_twice(["a", "b", "a", "b"].into_iter()), Some("a"));
        assert_eq!(first_twice(["a", "b"].into_iter()), None);
    }

    #[test]
    fn half_a_name_is_not_a_prefix() {
        let error = collect(&["hospital.health"], "HEALTHCHECKS").expect_err("no such path");
        assert_eq!(
            error.to_string(),
            "HEALTHCHECKS names \"hospital.health\", but no check is registered there \
             (known: hospital.healthchecks.predictable.collected, hospital.healthchecks.predictable.skipped)"
        );
        assert_eq!(error.code(), 2);
    }

    #[test]
    fn overlapping_names_collect_a_check_once() {
        let suite = collect(&["hospital", PREDICTABLE], "HEALTHCHECKS").expect("both are registered");
        assert_eq!(suite.checks().len(), 2);
    }

    #[test]
    fn a_part_of_a_suite_is_selected_by_path() {
        let suite = collect(&["hospital"], "HEALTHCHECKS").expect("it is registered");
        assert_eq!(suite.at(PREDICTABLE).checks().len(), 2);
        assert_eq!(suite.at("hospital.healthchecks.predictable.skipped").checks().len(), 1);
        assert_eq!(suite.at("hospital.nothing").checks().len(), 0);
    }

    #[test]
    fn a_part_with_an_ipv6_address_is_selected_as_it_is_written() {
        let suite = collect(&["tcp://[::1]:80"], "HEALTHCHECKS").expect("it is good");
        assert_eq!(suite.at("tcp://[::1]:80").checks().len(), 1);
    }

    #[test]
    fn two_checks_with_one_id_are_refused_by_name() {
        let error = collect(&["db=tcp://a:1", "db=tcp://b:1"], "HEALTHCHECKS").expect_err("one id");
        assert!(error.to_string().starts_with("two checks have the id \"db\": tcp://a:1 and tcp://b:1: "), "{error}");
        assert_eq!(error.code(), 2);
        assert!(collect(&["tcp://a:1", "tcp://a:1"], "HEALTHCHECKS").is_err(), "a slip of the pen");
    }

    #[test]
    fn a_name_that_is_nothing_is_an_error_with_the_name() {
        for (name, expected) in [
            ("tpc://db:1", "HEALTHCHECKS names \"tpc://db:1\", but there is no kind of check \"tpc\": do you mean"),
            ("/no/such", "HEALTHCHECKS names \"/no/such\", but there is no such file or folder"),
            ("no-such.toml", "HEALTHCHECKS names \"no-such.toml\", but there is no such file or folder"),
            ("shop.db", "HEALTHCHECKS names \"shop.db\", but no check is registered there (known: hospital."),
            ("", "HEALTHCHECKS names \"\", but it is neither a dotted path, nor [label=]scheme:target (schemes: tcp, "),
            ("db=shop.db", "HEALTHCHECKS names \"…\", but it is neither a dotted path"),
            ("tcp://u:hunter2@db", "HEALTHCHECKS names \"tcp://***@db\", but "),
            ("http:/u:hunter2@db/", "HEALTHCHECKS names \"http:…\", but "),
            ("htp://u:hunter2@db/", "HEALTHCHECKS names \"htp://***@db/\", but there is no kind of check \"htp\""),
            ("1u:hunter2@db:80", "HEALTHCHECKS names \"…\", but "),
            ("//u:hunter2@db/", "HEALTHCHECKS names \"…\", but there is no such file or folder"),
            ("tcp://db:1#to:hunter2", "HEALTHCHECKS names \"tcp://db:1\", but the kind \"tcp\" has no option \"…\""),
            (
                "tcp://db:1#send=a&hunter2",
                "HEALTHCHECKS names \"tcp://db:1\", but the kind \"tcp\" has no option \"…\"",
            ),
            ("tcp://db:1#timeout=hunter2", "HEALTHCHECKS names \"tcp://db:1\", but option timeout: write a time"),
            ("disk:hunter2@x", "HEALTHCHECKS names \"disk:…\", but the target is not an absolute path"),
            ("tcp://u:hunter2/x@db:1", "HEALTHCHECKS: a user or password holds a '/'"),
        ] {
            let error = collect(&[name], "HEALTHCHECKS").expect_err(name).to_string();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_long_list_is_cut_to_one_readable_line() {
        let text = crate::model::id::listed((0..1000).map(|n| format!("check.{n}")));
        assert!(text.ends_with("check.19, and 980 more"), "{text}");
    }
}
