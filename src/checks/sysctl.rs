//! `sysctl:net.ipv4.ip_forward#value=1`: a parameter of the kernel is as expected.

use std::io;
use std::path::{Path, PathBuf};

use super::support::options::whole;
use super::support::pattern::Pattern;
use super::support::thresholds::Range;
use super::{Action, Kind, Opt, Options, Runs, Value};
use crate::model::check::{Deadline, Finding, Reason, Result};
use crate::model::control::Control;
use crate::model::perfdata::Perfdata;

pub(super) const KIND: Kind = Kind {
    scheme: "sysctl",
    port: None,
    options: &[
        Opt::new("value", Value::Text, "The value that it has to have").or_empty(),
        Opt::new("match", Value::Pattern, "What the value has to match"),
        Opt::new("min", Value::Number, "The value has to be at least this"),
        Opt::new("max", Value::Number, "The value has to be at most this"),
        Opt::new("warn_min", Value::Number, "If the value is less than this, it warns"),
        Opt::new("warn_max", Value::Number, "If the value is more than this, it warns"),
    ],
    runs: Runs::OnThread,
    controls: Control::HOST,
    title: "The kernel's {target} is as it should be",
    passes: "a parameter of the kernel has a value",
    notices: &["gone", "starved"],
    examples: &["sysctl:vm.swappiness#max=60"],
    build,
};

const ROOT: &str = "/proc/sys";

/// What a parameter must be like; at least one of them is set.
struct Expected {
    value: Option<String>,
    content: Option<Pattern>,
    range: Range<i64>,
}

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let path = path(target).ok_or("the target is not a parameter of the kernel, as in sysctl:vm.swappiness")?;
    let expected = Expected {
        value: options.take("value")?.map(|value| joined(&value)),
        content: options.parse("match", str::parse)?,
        range: Range::take(options, whole)?,
    };
    if expected.value.is_none() && expected.content.is_none() && expected.range.is_open() {
        return Err("say what it has to be, as in sysctl:vm.swappiness#max=60: by value, match, min or max".to_owned());
    }
    let name = target.to_owned();
    Ok(Box::new(move |deadline| match read(&path) {
        Ok(value) => Finding {
            perfdata: value.parse().map(|number| Perfdata::new("value", number, "")).into_iter().collect(),
            ..Finding::from(expected.verdict(&name, &value, deadline))
        },
        Err(reason) => Finding::from(Err(reason)),
    }))
}

/// Where a parameter stands. As with sysctl(8), whichever of `.` and `/` comes first separates, and the other one stands for it in
/// a name, such as that of the interface `eth0.7`.
fn path(target: &str) -> Option<PathBuf> {
    let separator = target.find(['.', '/']).map_or('.', |at| if target[at..].starts_with('.') { '.' } else { '/' });
    let parts: Vec<_> = match separator {
        '.' => target.split('.').map(|part| part.replace('/', ".")).collect(),
        _ => target.split('/').map(str::to_owned).collect(),
    };
    let is_name = |part: &String| !part.is_empty() && part != "." && part != ".." && !part.contains(['/', '\0']);
    parts.iter().all(is_name).then(|| parts.iter().fold(PathBuf::from(ROOT), |path, part| path.join(part)))
}

fn read(path: &Path) -> Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(joined(&text)),
        // Each network namespace has only some of them.
        Err(error) if error.kind() == io::ErrorKind::NotFound && Path::new(ROOT).is_dir() => Err(Reason::Error(
            format!("there is no {}: its module may not be loaded, or it may belong to the host alone", path.display()),
        )),
        Err(error) => Err(Reason::Error(format!("cannot read {}: {error}", path.display()))),
    }
}

/// Several numbers are separated by tabs, which nobody writes.
fn joined(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Expected {
    fn verdict(&self, name: &str, value: &str, deadline: Deadline) -> Result {
        let mut wrong = Vec::new();
        if let Some(expected) = self.value.as_ref().filter(|expected| *expected != value) {
            wrong.push(format!("{expected:?}"));
        }
        if let Some(pattern) = &self.content
            && !pattern.is_in(value.as_bytes(), deadline)?
        {
            wrong.push(format!("a match of {:?}", pattern.as_str()));
        }
        let mut mild = Vec::new();
        if !self.range.is_open() {
            let not_one =
                |_| Reason::Error(format!("{name} is {value:?}, which is not one number: min and max are for one"));
            let number: i64 = value.parse().map_err(not_one)?;
            wrong.extend(self.range.exceeded(number));
            mild.extend(self.range.mildly_exceeded(number));
        }
        let told = |wrong: Vec<String>| format!("expected {name} to be {}, got {value:?}", wrong.join(" and "));
        match (wrong.is_empty(), mild.is_empty()) {
            (false, _) => Err(Reason::Fail(told(wrong))),
            (true, false) => Err(Reason::Warn(told(mild))),
            (true, true) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::Status;
    use std::time::{Duration, Instant};

    fn found(target: &str, pairs: &[(&str, &str)]) -> Finding {
        let action = build(target, &mut Options::of(pairs)).expect("it is well formed");
        action(Deadline::at(Instant::now() + Duration::from_secs(60)))
    }

    #[test]
    fn a_parameter_is_compared_as_text_and_as_a_number() {
        assert_eq!(found("kernel.ostype", &[("value", "Linux"), ("match", "^L")]).status, Status::Pass);
        let number = found("kernel.pid_max", &[("min", "301")]);
        assert_eq!((number.status, number.perfdata.len()), (Status::Pass, 1));
        let finding = found("kernel/ostype", &[("value", "Minix"), ("match", "^M")]);
        let context = "expected kernel/ostype to be \"Minix\" and a match of \"^M\", got \"Linux\"";
        assert_eq!((finding.status, finding.context.as_deref()), (Status::Fail, Some(context)));
        assert_eq!(found("kernel.pid_max", &[("max", "5")]).status, Status::Fail);
        assert_eq!(found("kernel.ostype", &[("max", "5")]).status, Status::Error);
        assert_eq!(found("kernel.ostype", &[("warn_max", "5")]).status, Status::Error);
        let finding = found("kernel.pid_max", &[("min", "2"), ("warn_max", "5")]);
        assert_eq!(finding.status, Status::Warn, "{finding:?}");
    }

    #[test]
    fn one_that_is_not_there_is_an_error() {
        let finding = found("net.no.such", &[("value", "1")]);
        let context = finding.context.unwrap_or_default();
        assert!(finding.status == Status::Error && context.contains("there is no /proc/sys/net/no/such"), "{context}");
    }

    #[test]
    fn whichever_separator_comes_first_separates() {
        let path = |target| path(target).map(|path| path.display().to_string());
        assert_eq!(path("net.ipv4.conf.eth0/7.mtu").as_deref(), Some("/proc/sys/net/ipv4/conf/eth0.7/mtu"));
        assert_eq!(path("net/ipv4/conf/eth0.7/mtu").as_deref(), Some("/proc/sys/net/ipv4/conf/eth0.7/mtu"));
        for target in ["", ".", "../../etc/passwd", "net/../../etc/passwd", "/etc/passwd", "net..ipv4", "a.//.b"] {
            assert_eq!(path(target), None, "{target}");
        }
    }

    #[test]
    fn wrong_options_are_refused() {
        for (pairs, text) in [
            (&[][..], "say what it has to be"),
            (&[("min", "many")][..], "option min: write a whole number"),
            (&[("min", "2"), ("max", "1")][..], "no number is at least 2"),
            (&[("min", "2"), ("warn_max", "1")][..], "no number is at least 2"),
            (&[("max", "60"), ("warn_max", "60")][..], "option warn_max: it has to be less than max=60"),
            (&[("min", "60"), ("warn_min", "50")][..], "option warn_min: it has to be more than min=60"),
            (&[("match", "(")][..], "option match: "),
        ] {
            let error = build("vm.swappiness", &mut Options::of(pairs)).err().unwrap_or_default();
            assert!(error.starts_with(text), "{error}");
        }
    }
}
