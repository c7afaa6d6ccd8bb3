//! `service:nginx#enabled&restarts=0&within=1h`: a service runs, as the one says that looks after it.
//!
//! Asked is who runs here: systemd, by its own `systemctl`; OpenRC, by its `rc-service`; runit or s6, by the folder in which they
//! supervise a service.

mod openrc;
mod supervised;
mod systemd;

use std::path::Path;
use std::time::Duration;

use super::support::thresholds::{self, Good};
use super::{Action, Kind, Opt, Options, Runs, Value};
use crate::model::check::{Deadline, Finding, Reason, Result};
use crate::model::control::Control;
use crate::model::duration;
use crate::model::perfdata::Perfdata;

pub(super) const KIND: Kind = Kind {
    scheme: "service",
    port: None,
    options: &[
        Opt::new("state", Value::Word(&["active", "not-failed"]), "What it has to be").or("active"),
        Opt::new("enabled", Value::Flag, "It has to start with the host"),
        Opt::new("restarts", Value::Number, "So often it may have been restarted without anybody's doing"),
        Opt::new("warn_restarts", Value::Number, "If it has been restarted more often than this, it warns"),
        Opt::new("within", Value::Time, "Only restarts in this time count"),
        Opt::new(
            "manager",
            Value::Word(&["systemd", "openrc", "runit", "s6"]),
            "Who looks after it; by default, whoever runs here",
        ),
    ],
    runs: Runs::ByProgram,
    controls: Control::LOCAL,
    title: "The service {target} runs",
    passes: "a service of systemd, OpenRC, runit or s6 is active",
    notices: &["refused", "black_hole", "rubbish", "gone", "starved"],
    examples: &["service:nginx#enabled&restarts=0&within=1h"],
    build,
};

/// What a service must be like.
struct Expected {
    state: State,
    enabled: bool,
    /// So often it may have been started again, in the last time or in all.
    restarts: Option<(u64, Option<Duration>)>,
    warn_restarts: Option<(u64, Option<Duration>)>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Active,
    NotFailed,
}

impl State {
    fn parse(text: &str) -> std::result::Result<State, &'static str> {
        match text {
            "active" => Ok(State::Active),
            "not-failed" => Ok(State::NotFailed),
            _ => Err("write active or not-failed"),
        }
    }
}

/// Who looks after services.
#[derive(Clone, Copy, PartialEq)]
enum Manager {
    Systemd,
    OpenRc,
    /// runit or s6.
    Supervisor,
}

impl Manager {
    fn parse(text: &str) -> std::result::Result<Manager, &'static str> {
        match text {
            "systemd" => Ok(Manager::Systemd),
            "openrc" => Ok(Manager::OpenRc),
            "runit" | "s6" => Ok(Manager::Supervisor),
            _ => Err("write systemd, openrc, runit or s6"),
        }
    }

    /// The one that runs here.
    fn found() -> Option<Manager> {
        if Path::new("/run/systemd/system").is_dir() {
            return Some(Manager::Systemd);
        }
        if Path::new("/run/openrc/softlevel").exists() {
            return Some(Manager::OpenRc);
        }
        supervised::FOLDERS.iter().any(|folder| Path::new(folder).is_dir()).then_some(Manager::Supervisor)
    }
}

/// What is known of a service.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// What it is: `active (running)`.
    told: String,
    is_active: bool,
    /// Whether it has ended otherwise than it should.
    has_failed: bool,
    /// Whether it will be started with the host. The error says why that cannot be told.
    enabled: Option<std::result::Result<bool, String>>,
    /// For how long it has been what it is.
    age: Option<Duration>,
    restarts: Restarts,
}

/// How often it was started again without anybody's doing.
#[derive(Debug, Default, PartialEq)]
enum Restarts {
    /// Nobody counts.
    #[default]
    Uncounted,
    /// So often since somebody started it.
    InAll(u64),
    /// So long ago each, of the last `most`.
    Each { ago: Vec<Duration>, most: usize },
}

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let is_known = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@+".contains(c);
    let is_folder = target.starts_with('/');
    if target.is_empty() || target.starts_with('-') || !(is_folder || target.chars().all(is_known)) {
        return Err("the target is not the name of a service, as in service:nginx".to_owned());
    }
    let manager = options.parse("manager", Manager::parse)?;
    if is_folder && manager.is_some_and(|manager| manager != Manager::Supervisor) {
        return Err("only runit and s6 have a folder for a service: give its name".to_owned());
    }
    let (restarts, warn_restarts): (Option<u64>, _) = (options.whole("restarts")?, options.whole("warn_restarts")?);
    let hard = restarts.as_ref().map(|it| (it, it.to_string()));
    thresholds::verify(Good::Below, "restarts", hard, warn_restarts.as_ref())?;
    let within = options.parse("within", duration::parse_some)?;
    if within.is_some() && restarts.or(warn_restarts).is_none() {
        return Err("within is the time for restarts: give both".to_owned());
    }
    let expected = Expected {
        state: options.parse_or("state", "active", State::parse)?,
        enabled: options.flag("enabled")?,
        restarts: restarts.map(|most| (most, within)),
        warn_restarts: warn_restarts.map(|most| (most, within)),
    };
    let name = target.to_owned();
    let manager = if is_folder { Some(Manager::Supervisor) } else { manager };
    Ok(Box::new(move |deadline| match see(&name, manager, deadline) {
        Ok(seen) => {
            let finding = Finding { perfdata: seen.perfdata(), ..Finding::from(expected.verdict(&name, &seen)) };
            let milder = |(most, within)| seen.restarted(&name, most, within);
            thresholds::judged(finding, || expected.warn_restarts.map_or(Ok(()), milder))
        }
        Err(reason) => Finding::from(Err(reason)),
    }))
}

fn see(name: &str, manager: Option<Manager>, deadline: Deadline) -> Result<Seen> {
    match manager.or_else(Manager::found) {
        Some(Manager::Systemd) => systemd::see(name, deadline),
        Some(Manager::OpenRc) => openrc::see(name, deadline),
        Some(Manager::Supervisor) => supervised::see(name),
        None => Err(Reason::Error(format!(
            "cannot look at the service {name}: neither systemd, OpenRC, runit nor s6 runs where hospital can see it"
        ))),
    }
}

impl Expected {
    fn verdict(&self, name: &str, seen: &Seen) -> Result {
        let is_well = match self.state {
            State::Active => seen.is_active,
            State::NotFailed => !seen.has_failed,
        };
        if !is_well {
            let expected = if self.state == State::Active { "to be active" } else { "not to have failed" };
            return Err(Reason::Fail(format!("expected the service {name} {expected}, got {}", seen.told)));
        }
        if self.enabled {
            match &seen.enabled {
                Some(Ok(true)) => {}
                Some(Ok(false)) => {
                    return Err(Reason::Fail(format!(
                        "expected the service {name} to be started with the host, and it is not"
                    )));
                }
                Some(Err(why)) => {
                    return Err(Reason::Error(format!(
                        "whether {name} is started with the host cannot be told: {why}"
                    )));
                }
                None => {
                    return Err(Reason::Error(format!("whether {name} is started with the host is not known here")));
                }
            }
        }
        match self.restarts {
            Some((most, within)) => seen.restarted(name, most, within),
            None => Ok(()),
        }
    }
}

impl Seen {
    /// Whether it was started again at most so often.
    fn restarted(&self, name: &str, most: u64, within: Option<Duration>) -> Result {
        let spoken = duration::spoken;
        let expected = format!("expected at most {most} restarts of {name}");
        let last = || self.age.map(|age| format!(", the last {} ago", spoken(age))).unwrap_or_default();
        match (&self.restarts, within) {
            (Restarts::InAll(count), _) if *count <= most => Ok(()),
            // Its last start is older.
            (_, Some(time)) if self.is_active && self.age.is_some_and(|age| age > time) => Ok(()),
            (Restarts::InAll(count), None) => {
                Err(Reason::Fail(format!("{expected} since somebody started it, got {count}{}", last())))
            }
            // Any start by hand sets the counter to 0.
            (Restarts::InAll(_), Some(time)) if most == 0 => {
                Err(Reason::Fail(format!("{expected} in {}, got one{}", spoken(time), last())))
            }
            (Restarts::InAll(count), Some(time)) => Err(Reason::Error(format!(
                "{expected} in {}, got {count} since somebody started it{}: how many of them are that new, systemd does not tell",
                spoken(time),
                last()
            ))),
            (Restarts::Each { ago, most: kept }, Some(time)) => {
                let count = ago.iter().filter(|ago| **ago <= time).count();
                match count as u64 <= most {
                    true if count < *kept => Ok(()),
                    true => Err(Reason::Error(format!("{expected}, and only the last {kept} are kept"))),
                    false => Err(Reason::Fail(format!("{expected} in {}, got {count}", spoken(time)))),
                }
            }
            (Restarts::Each { .. }, None) => Err(Reason::Error(format!("{expected}: in which time, says within=1h"))),
            (Restarts::Uncounted, _) => {
                Err(Reason::Error(format!("{expected}, and whoever looks after it does not count them")))
            }
        }
    }

    fn perfdata(&self) -> Vec<Perfdata> {
        let age = self.age.filter(|_| self.is_active);
        let mut figures: Vec<_> = age.map(|age| Perfdata::new("uptime", age.as_secs_f64(), "s")).into_iter().collect();
        if let Restarts::InAll(count) = self.restarts {
            figures.push(Perfdata::new("restarts", count as f64, ""));
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn seen(age: Duration, restarts: Restarts) -> Seen {
        Seen { told: "active (running)".into(), is_active: true, age: Some(age), restarts, ..Seen::default() }
    }

    #[test]
    fn what_is_not_active_fails_unless_it_only_must_not_have_failed() {
        let verdict = |state, is_active, has_failed| {
            let expected = Expected { state, enabled: false, restarts: None, warn_restarts: None };
            expected.verdict("x", &Seen { told: "inactive (dead)".into(), is_active, has_failed, ..Seen::default() })
        };
        assert_eq!(verdict(State::Active, true, false), Ok(()));
        let fail = Reason::Fail("expected the service x to be active, got inactive (dead)".into());
        assert_eq!(verdict(State::Active, false, false), Err(fail));
        assert_eq!(verdict(State::NotFailed, false, false), Ok(()));
        assert!(verdict(State::NotFailed, false, true).is_err());
    }

    #[test]
    fn restarts_are_judged_only_where_they_are_known() {
        let is = |seen: Seen, most, within| match seen.restarted("x", most, within) {
            Ok(()) => "pass",
            Err(Reason::Fail(_)) => "fail",
            Err(_) => "error",
        };
        let (minute, day) = (HOUR / 60, HOUR * 24);
        assert_eq!(is(seen(minute, Restarts::InAll(3)), 3, None), "pass");
        assert_eq!(is(seen(minute, Restarts::InAll(4)), 3, None), "fail");
        assert_eq!(is(seen(minute, Restarts::InAll(3)), 3, Some(HOUR)), "pass");
        assert_eq!(is(seen(day, Restarts::InAll(9)), 3, Some(HOUR)), "pass");
        assert_eq!(is(seen(minute, Restarts::InAll(9)), 3, Some(HOUR)), "error");
        assert_eq!(is(seen(minute, Restarts::InAll(9)), 0, Some(HOUR)), "fail");
        let each = |most| Restarts::Each { ago: vec![minute, minute, day], most };
        assert_eq!(is(seen(minute, each(100)), 2, Some(HOUR)), "pass");
        assert_eq!(is(seen(minute, each(100)), 1, Some(HOUR)), "fail");
        assert_eq!(is(seen(minute, each(2)), 2, Some(HOUR)), "error");
        assert_eq!(is(seen(minute, each(100)), 2, None), "error");
        assert_eq!(is(seen(minute, Restarts::Uncounted), 0, Some(HOUR)), "error");
        assert_eq!(is(seen(day, Restarts::Uncounted), 0, Some(HOUR)), "pass");
    }

    #[test]
    fn what_starts_it_with_the_host_is_said_or_is_an_error() {
        let expected = Expected { state: State::Active, enabled: true, restarts: None, warn_restarts: None };
        let verdict = |enabled| expected.verdict("x", &Seen { enabled, ..seen(HOUR, Restarts::Uncounted) });
        assert_eq!(verdict(Some(Ok(true))), Ok(()));
        assert!(matches!(verdict(Some(Ok(false))), Err(Reason::Fail(_))));
        assert!(matches!(verdict(Some(Err("it is static".into()))), Err(Reason::Error(_))));
        assert!(matches!(verdict(None), Err(Reason::Error(_))));
    }

    #[test]
    fn wrong_options_are_refused() {
        for (target, pairs, text) in [
            ("", &[][..], "the target is not the name of a service"),
            ("-H", &[][..], "the target is not the name of a service"),
            ("ngin*", &[][..], "the target is not the name of a service"),
            ("x", &[("state", "up")][..], "option state: write active or not-failed"),
            ("x", &[("manager", "sysv")][..], "option manager: write systemd, openrc, runit or s6"),
            ("x", &[("restarts", "few")][..], "option restarts: write a whole number"),
            ("x", &[("restarts", "1"), ("warn_restarts", "2")][..], "option warn_restarts: it has to be less"),
            ("x", &[("within", "1h")][..], "within is the time for restarts: give both"),
            ("x", &[("restarts", "1"), ("within", "0")][..], "option within: it has to be longer than 0"),
            ("/etc/service/x", &[("manager", "systemd")][..], "only runit and s6 have a folder"),
        ] {
            let error = build(target, &mut Options::of(pairs)).err().unwrap_or_default();
            assert!(error.starts_with(text), "{error}");
        }
    }
}
