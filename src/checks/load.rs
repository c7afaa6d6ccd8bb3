//! `load:#max=1.5`: the load average of the last minute, per core, is not above a limit.

use std::fs;
use std::thread::available_parallelism;

use super::support::thresholds::{self, Good};
use super::{Action, Kind, Opt, Options, Runs, Value, nothing_behind};
use crate::model::check::{Finding, Reason, Result};
use crate::model::control::Control;
use crate::model::perfdata::Perfdata;

pub(super) const KIND: Kind = Kind {
    scheme: "load",
    port: None,
    options: &[
        Opt::new("max", Value::Number, "The load average per core may be so high").or("1.5"),
        Opt::new("warn_max", Value::Number, "Above this, it warns"),
    ],
    runs: Runs::Inline,
    controls: Control::HOST,
    title: "The load of this host is bearable",
    passes: "the load average per core is not above a limit",
    notices: &["gone", "full", "starved"],
    examples: &["load:#max=2"],
    build,
};

const AVERAGES: &str = "/proc/loadavg";
const ONLINE: &str = "/sys/devices/system/cpu/online";

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    nothing_behind("load", target)?;
    let max = options.parse_or("max", "1.5", limit)?;
    let warn = options.parse("warn_max", limit)?;
    thresholds::verify(Good::Below, "max", Some((&max, max.to_string())), warn.as_ref())?;
    Ok(Box::new(move |_| match Load::now() {
        Ok(load) => {
            let finding = Finding { perfdata: load.perfdata(), ..Finding::from(load.verdict(max)) };
            thresholds::judged(finding, || warn.map_or(Ok(()), |max| load.verdict(max)))
        }
        Err(reason) => Finding::from(Err(reason)),
    }))
}

/// Asserts that the load average of the last minute, divided by the number of cores, is not above `max`.
///
/// # Errors
///
/// `Fail` when it is, `Error` when it cannot be read.
#[must_use = "the finding is in the result: return it, or write `?` behind it"]
pub fn assert_load(max: f64) -> Result {
    Load::now()?.verdict(max)
}

fn limit(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(max) if max > 0.0 && f64::is_finite(max) => Ok(max),
        Ok(_) | Err(_) => Err("write a load per core, as in 1.5".to_owned()),
    }
}

/// How busy the host is: runnable and uninterruptible tasks, averaged over 1, 5 and 15 minutes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Load {
    averages: [f64; 3],
    cores: usize,
}

impl Load {
    fn now() -> Result<Load> {
        let text = fs::read_to_string(AVERAGES).map_err(|error| Reason::Error(format!("{AVERAGES}: {error}")))?;
        let averages =
            averages(&text).ok_or_else(|| Reason::Error(format!("{AVERAGES} holds no load averages: {text:?}")))?;
        // Cores of the host, like the averages. The fallback counts those that this process may use.
        let cores = fs::read_to_string(ONLINE).ok().and_then(|text| cores(&text));
        Ok(Load { averages, cores: cores.or_else(|| available_parallelism().ok().map(Into::into)).unwrap_or(1) })
    }

    fn per_core(&self) -> f64 {
        self.averages[0] / self.cores as f64
    }

    fn verdict(&self, max: f64) -> Result {
        if self.per_core() <= max {
            return Ok(());
        }
        let Load { averages: [one, five, fifteen], cores } = self;
        Err(Reason::Fail(format!(
            "expected a load of at most {max} per core, got {:.2}: {AVERAGES} says {one} {five} {fifteen}, on {cores} cores",
            self.per_core()
        )))
    }

    fn perfdata(&self) -> Vec<Perfdata> {
        let [one, five, fifteen] = self.averages;
        vec![
            Perfdata::new("load1", one, ""),
            Perfdata::new("load5", five, ""),
            Perfdata::new("load15", fifteen, ""),
            Perfdata::new("cores", self.cores as f64, ""),
        ]
    }
}

fn averages(text: &str) -> Option<[f64; 3]> {
    let mut words = text.split_whitespace().map_while(|word| word.parse().ok());
    Some([words.next()?, words.next()?, words.next()?])
}

/// Counts the processors in a list such as `0-3,8`.
fn cores(list: &str) -> Option<usize> {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    list.trim().split(',').map(range).try_fold(0, |sum: usize, count| sum.checked_add(count?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::{Deadline, Status};
    use std::time::Instant;

    #[test]
    fn averages_and_cores_are_read_as_the_kernel_writes_them() {
        assert_eq!(averages("3.10 2.05 0.99 2/345 6789\n"), Some([3.1, 2.05, 0.99]));
        assert_eq!(averages("3.10 2.05\n"), None);
        assert_eq!(averages(""), None);
        for (list, count) in
            [("0\n", Some(1)), ("0-3\n", Some(4)), ("0-1,4,6-7", Some(5)), ("", None), ("3-1", None), ("a", None)]
        {
            assert_eq!(cores(list), count, "{list}");
        }
    }

    #[test]
    fn the_limit_is_per_core() {
        let load = Load { averages: [3.1, 2.0, 1.0], cores: 2 };
        assert_eq!(load.verdict(1.55), Ok(()));
        assert_eq!(
            load.verdict(1.5),
            Err(Reason::Fail(
                "expected a load of at most 1.5 per core, got 1.55: /proc/loadavg says 3.1 2 1, on 2 cores".into()
            ))
        );
    }

    #[test]
    fn the_load_of_this_host_is_found_with_its_figures() {
        let action = build("", &mut Options::new(vec![("max".into(), "100000".into())])).expect("it is well formed");
        let found = action(Deadline::at(Instant::now()));
        assert_eq!((found.status, found.context), (Status::Pass, None));
        let labels: Vec<_> = found.perfdata.iter().map(|figure| figure.label.as_str()).collect();
        assert_eq!(labels, ["load1", "load5", "load15", "cores"]);
        assert!(found.perfdata[3].value >= 1.0);
    }

    #[test]
    fn a_wrong_target_or_limit_is_refused() {
        assert!(build("db", &mut Options::default()).is_err());
        for max in ["", "0", "-1", "inf", "NaN", "many"] {
            assert!(build("", &mut Options::new(vec![("max".into(), max.into())])).is_err(), "{max}");
        }
    }
}
