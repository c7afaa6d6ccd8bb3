//! `pressure:memory#some=10%`: tasks do not wait too long for memory, CPU or I/O (pressure stall information).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::support::thresholds::{self, Good};
use super::{Action, Kind, Opt, Options, Runs, Value};
use crate::model::amount::percentage;
use crate::model::check::{Finding, Reason, Result};
use crate::model::control::Control;
use crate::model::perfdata::Perfdata;
use crate::os::cgroup;

pub(super) const KIND: Kind = Kind {
    scheme: "pressure",
    port: None,
    options: &[
        Opt::new("some", Value::Share, "For so much of the time some task may wait, unless full is given").or("10%"),
        Opt::new("warn_some", Value::Share, "Above this share of some, it warns"),
        Opt::new("warn_full", Value::Share, "Above this share of full, it warns"),
        Opt::new("full", Value::Share, "For so much of the time all tasks may wait"),
        Opt::new("window", Value::Word(&["10s", "60s", "300s"]), "The time that is looked at").or("60s"),
        Opt::new(
            "cgroup",
            Value::Text,
            "The control group that is meant: own, or a path as in /system.slice/nginx.service",
        ),
    ],
    // The kernel adds up the figures of a group's tasks when they are read.
    runs: Runs::OnThread,
    controls: Control::HOST,
    title: "Tasks do not wait too long for {target}",
    passes: "tasks do not wait too long for cpu, memory, io or irq",
    notices: &["gone", "full", "starved"],
    examples: &["pressure:memory#some=10%", "pressure:io#full=5%&cgroup=own"],
    build,
};

/// What may be short, by the names of the kernel.
const RESOURCES: [&str; 4] = ["cpu", "memory", "io", "irq"];

/// The times over which the kernel averages.
const WINDOWS: [&str; 3] = ["10s", "60s", "300s"];

/// The most of the time that may be lost.
#[derive(Clone, Copy)]
struct Limits {
    /// While some task waits.
    some: Option<f64>,
    /// While all that could run wait.
    full: Option<f64>,
}

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let Some(resource) = RESOURCES.into_iter().find(|resource| *resource == target) else {
        return Err(format!("the target is not one of {}, as in pressure:memory", RESOURCES.join(", ")));
    };
    let full = options.parse("full", percentage)?;
    // For interrupts only `full` is measured.
    let some = match full {
        None if resource != "irq" => Some(options.parse_or("some", "10%", percentage)?),
        None | Some(_) => options.parse("some", percentage)?,
    };
    let limits = Limits { some, full };
    let milder =
        Limits { some: options.parse("warn_some", percentage)?, full: options.parse("warn_full", percentage)? };
    let told = |share: &f64| format!("{share}%");
    thresholds::verify(Good::Below, "some", some.as_ref().map(|it| (it, told(it))), milder.some.as_ref())?;
    thresholds::verify(Good::Below, "full", full.as_ref().map(|it| (it, told(it))), milder.full.as_ref())?;
    let window = options.parse_or("window", "60s", |text| {
        WINDOWS.into_iter().find(|window| *window == text).ok_or("write 10s, 60s or 300s")
    })?;
    let group = options.parse("cgroup", Group::parse)?;
    match (resource, &group) {
        ("irq", _) if some.is_some() || full.is_none() => {
            return Err("the kernel measures only `full` for irq: write pressure:irq#full=1%".to_owned());
        }
        ("cpu", None) if full.is_some() => {
            return Err("the kernel measures only `some` for the cpu of the whole host".to_owned());
        }
        _ => {}
    }
    Ok(Box::new(move |_| {
        let found = file(resource, group.as_ref()).and_then(|file| {
            let text = fs::read_to_string(&file).map_err(|error| cannot(&file, &error))?;
            let average = window.trim_end_matches('s');
            let shares = Shares { some: share(&text, "some", average), full: share(&text, "full", average) };
            Ok((file, shares))
        });
        match found {
            Ok((file, shares)) => {
                let verdict = |limits| shares.verdict(limits, resource, window, &file);
                let finding = Finding { perfdata: shares.perfdata(), ..Finding::from(verdict(limits)) };
                thresholds::judged(finding, || verdict(milder))
            }
            Err(reason) => Finding::from(Err(reason)),
        }
    }))
}

/// Whose tasks are meant, instead of all of the host.
enum Group {
    /// Those of our own control group.
    Ours,
    /// Those of the group at this path in the tree.
    At(PathBuf),
}

impl Group {
    fn parse(text: &str) -> std::result::Result<Group, &'static str> {
        match text {
            "" | "own" => Ok(Group::Ours),
            path if path.starts_with('/') && !path.split('/').any(|part| part == "..") => {
                Ok(Group::At(path.trim_start_matches('/').into()))
            }
            _ => Err("write own, or the path of a control group, as in /system.slice/nginx.service"),
        }
    }
}

fn file(resource: &str, group: Option<&Group>) -> Result<PathBuf> {
    let name = format!("{resource}.pressure");
    match group {
        None => Ok(Path::new("/proc/pressure").join(resource)),
        Some(Group::At(path)) => Ok(mount().join(path).join(name)),
        Some(Group::Ours) => {
            let membership = cgroup::membership()
                .map_err(|error| Reason::Error(format!("cannot read which control group is ours: {error}")))?;
            let path = membership.lines().find_map(|line| line.strip_prefix("0::/"));
            let path = path.ok_or_else(|| Reason::Error("we are in no control group of version 2".to_owned()))?;
            Ok(mount().join(path).join(name))
        }
    }
}

/// Where version 2 is mounted: beside version 1, it is in a folder of its own.
fn mount() -> PathBuf {
    let beside = Path::new(cgroup::MOUNT).join("unified");
    if beside.is_dir() { beside } else { PathBuf::from(cgroup::MOUNT) }
}

fn cannot(file: &Path, error: &io::Error) -> Reason {
    let why = match error.kind() {
        io::ErrorKind::NotFound => {
            "there is none: the kernel does not measure it, or the group does not exist".to_owned()
        }
        io::ErrorKind::Unsupported => "the kernel was started without it: boot with psi=1".to_owned(),
        _ => error.to_string(),
    };
    Reason::Error(format!("cannot read {}: {why}", file.display()))
}

/// A figure of `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, in per cent.
fn share(text: &str, who: &str, average: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(who)?.strip_prefix(' '))?;
    let field =
        line.split(' ').find_map(|field| field.strip_prefix("avg")?.strip_prefix(average)?.strip_prefix('='))?;
    field.parse().ok()
}

/// Of the last time, how much was lost, in per cent; `None` where the kernel does not tell.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Shares {
    some: Option<f64>,
    full: Option<f64>,
}

impl Shares {
    fn perfdata(self) -> Vec<Perfdata> {
        let figures = [("some", self.some), ("full", self.full)];
        figures.into_iter().filter_map(|(name, share)| Some(Perfdata::new(name, share?, "%"))).collect()
    }

    fn verdict(self, limits: Limits, resource: &str, window: &str, file: &Path) -> Result {
        let mut wrong = Vec::new();
        for (name, who, limit, share) in
            [("some", "some task", limits.some, self.some), ("full", "all tasks", limits.full, self.full)]
        {
            let Some(limit) = limit else { continue };
            let unknown = || Reason::Error(format!("{} does not tell {name} for {window}", file.display()));
            let share = share.ok_or_else(unknown)?;
            if share > limit {
                wrong.push(format!("expected {who} to wait for {resource} at most {limit}% of the time, got {share}%"));
            }
        }
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(Reason::Fail(format!("{} in the last {window} ({})", wrong.join(", and "), file.display()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::{Deadline, Status};
    use std::time::Instant;

    const TEXT: &str =
        "some avg10=1.50 avg60=20.25 avg300=3.00 total=987\nfull avg10=0.00 avg60=5.00 avg300=0.10 total=1\n";

    fn shares(window: &str) -> Shares {
        Shares { some: share(TEXT, "some", window), full: share(TEXT, "full", window) }
    }

    #[test]
    fn each_figure_is_read_from_its_line_and_its_time() {
        assert_eq!(shares("10"), Shares { some: Some(1.5), full: Some(0.0) });
        assert_eq!(shares("60"), Shares { some: Some(20.25), full: Some(5.0) });
        assert_eq!(shares("300"), Shares { some: Some(3.0), full: Some(0.1) });
        assert_eq!(share("full avg10=1.0\n", "some", "10"), None);
        assert_eq!(share("", "some", "10"), None);
    }

    #[test]
    fn what_waits_longer_than_allowed_fails_and_what_is_not_told_is_an_error() {
        let verdict = |shares: Shares, some, full| {
            shares.verdict(Limits { some, full }, "memory", "60s", Path::new("/proc/pressure/memory"))
        };
        assert_eq!(verdict(shares("60"), Some(20.25), Some(5.0)), Ok(()));
        let context = "expected some task to wait for memory at most 10% of the time, got 20.25%, and expected all tasks to \
                       wait for memory at most 1% of the time, got 5% in the last 60s (/proc/pressure/memory)";
        assert_eq!(verdict(shares("60"), Some(10.0), Some(1.0)), Err(Reason::Fail(context.into())));
        let untold = Shares { some: Some(0.0), full: None };
        assert!(matches!(verdict(untold, None, Some(1.0)), Err(Reason::Error(_))));
    }

    #[test]
    fn a_kernel_or_group_that_does_not_measure_it_is_an_error() {
        let action = build("io", &mut Options::of(&[("cgroup", "/no/such/group")])).expect("it is well formed");
        let finding = action(Deadline::at(Instant::now()));
        assert_eq!(finding.status, Status::Error);
        assert!(finding.context.is_some_and(|context| context.contains("no/such/group/io.pressure: there is none")));
    }

    #[test]
    fn wrong_options_are_refused() {
        for (target, pairs, text) in [
            ("disk", &[][..], "the target is not one of cpu, memory, io, irq"),
            ("memory", &[("some", "10")][..], "option some: write a percentage from 0% to 100%"),
            ("memory", &[("full", "110%")][..], "option full: write a percentage from 0% to 100%"),
            ("memory", &[("window", "1m")][..], "option window: write 10s, 60s or 300s"),
            ("memory", &[("cgroup", "x")][..], "option cgroup: write own, or the path"),
            ("memory", &[("cgroup", "/../x")][..], "option cgroup: write own, or the path"),
            ("cpu", &[("full", "1%")][..], "the kernel measures only `some` for the cpu"),
            ("irq", &[][..], "the kernel measures only `full` for irq"),
            ("irq", &[("some", "1%"), ("full", "1%")][..], "the kernel measures only `full` for irq"),
        ] {
            let error = build(target, &mut Options::of(pairs)).err().unwrap_or_default();
            assert!(error.starts_with(text), "{error}");
        }
        assert!(build("cpu", &mut Options::of(&[("full", "1%"), ("cgroup", "own")])).is_ok());
    }
}
