//! `beat:backup#within=26h`: a job has said in time that it is done, by `hospital beat backup`.

use std::time::Duration;

use super::support::thresholds::{self, Good};
use super::{Action, Kind, Opt, Options, Runs, Value};
use crate::model::check::Finding;
use crate::model::clocks::{self, Clocks};
use crate::model::control::Control;
use crate::model::duration;
use crate::model::perfdata::Perfdata;
use crate::model::transcript::{Field, note};
use crate::state::{self, Beat};

pub(super) const KIND: Kind = Kind {
    scheme: "beat",
    port: None,
    options: &[
        Opt::new("within", Value::Time, "The last beat has to be this new").or("26h"),
        Opt::new("warn_within", Value::Time, "If the last beat is older than this, it warns"),
    ],
    // The state dir may be on a network file system.
    runs: Runs::OnThread,
    // Not that of the clock: what decides is the time since the boot.
    controls: &[Control::Descriptor, Control::File],
    title: "{target} is done in time",
    passes: "a job has said in time that it is done",
    notices: &["gone", "starved"],
    examples: &["beat:backup#within=26h"],
    build,
};

fn build(target: &str, options: &mut Options) -> Result<Action, String> {
    if !state::is_name(target) {
        return Err("the target is not the name of a beat: write letters, digits, '_', '-' and '.'".to_owned());
    }
    let within = options.parse_or("within", "26h", duration::parse_some)?;
    let warn = options.parse("warn_within", duration::parse_some)?;
    thresholds::verify(Good::Below, "within", Some((&within, duration::spoken(within))), warn.as_ref())?;
    let state = options.state_dir()?;
    let name = target.to_owned();
    Ok(Box::new(move |_deadline| {
        let Some(state) = &state else { return Finding::error("there is no state dir") };
        match state.beat(&name) {
            Ok(Some(beat)) => find(&name, &beat, within, warn, &state::now()),
            Ok(None) => {
                Finding::fail(format!("no beat yet: `hospital beat {name}` has to run in each {}", said(within)))
            }
            Err(why) => Finding::error(why),
        }
    }))
}

fn find(name: &str, beat: &Beat, within: Duration, warn: Option<Duration>, now: &Clocks) -> Finding {
    let told = told(beat);
    let age = match now.since(&beat.when) {
        Ok(age) => age,
        Err(ahead) => {
            let ahead = said(ahead);
            return Finding::error(format!(
                "by this host's clock, {name} will beat in {ahead}: set the clock ({told})"
            ));
        }
    };
    note(Field::AgeS, age.as_secs());
    let perfdata = [("age", Some(age.as_secs_f64()), "s"), ("duration", beat.seconds, "s")]
        .into_iter()
        .chain([("code", beat.code.map(f64::from), "")])
        .filter_map(|(label, value, unit)| Some(Perfdata::new(label, value?, unit)))
        .collect();
    let late = |limit| format!("expected a beat in the last {}, got {told}", said(limit));
    let finding = match (&beat.fail, warn) {
        (Some(why), _) => Finding::fail(format!("{why} ({told})")),
        (None, _) if age > within => Finding::fail(late(within)),
        (None, Some(warn)) if age > warn => Finding::warn(late(warn)),
        (None, _) => Finding { context: Some(told), ..Finding::PASS },
    };
    Finding { perfdata, ..finding }
}

/// What says the same until the next beat.
fn told(beat: &Beat) -> String {
    let code = beat.code.map(|code| format!(", exit code {code}")).unwrap_or_default();
    let seconds = beat.seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let took = seconds.map(|took| format!(" after {}", duration::spoken(took))).unwrap_or_default();
    format!("the last at {} by {}{code}{took}", clocks::spoken(beat.when.at), beat.by)
}

fn said(duration: Duration) -> String {
    duration::spoken(Duration::from_secs(duration.as_secs().max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::Status;
    use std::time::UNIX_EPOCH;

    const HOUR: u64 = 3600;

    fn moment(hour: u64, boot: &str, up: u64) -> Clocks {
        let at = UNIX_EPOCH + Duration::from_secs(500_000 * HOUR + hour * HOUR);
        Clocks { at, boot: boot.to_owned(), up: Duration::from_secs(up * HOUR) }
    }

    fn found(fail: Option<&str>, now: &Clocks) -> Finding {
        let fail = fail.map(str::to_owned);
        let beat = Beat { when: moment(0, "a", 10), by: "backup".to_owned(), fail, code: None, seconds: Some(90.0) };
        find("night", &beat, Duration::from_secs(26 * HOUR), Some(Duration::from_secs(25 * HOUR)), now)
    }

    #[test]
    fn it_passes_until_its_time_is_over_whatever_the_clock_is_set_to() {
        for wall in [0, 20, 100, 100_000] {
            let finding = found(None, &moment(wall, "a", 35));
            assert_eq!(finding.status, Status::Pass, "{finding:?}");
            let finding = found(None, &moment(wall, "a", 36));
            assert_eq!(finding.status, Status::Warn, "{finding:?}");
            let finding = found(None, &moment(wall, "a", 37));
            assert_eq!(finding.status, Status::Fail, "{finding:?}");
        }
    }

    #[test]
    fn over_a_reboot_the_clock_tells_and_one_that_is_behind_is_an_error() {
        assert_eq!(found(None, &moment(26, "b", 0)).status, Status::Warn);
        assert_eq!(found(None, &moment(27, "b", 0)).status, Status::Fail);
        let now = Clocks { at: UNIX_EPOCH, ..moment(0, "b", 0) };
        let finding = found(None, &now);
        assert_eq!(finding.status, Status::Error);
        assert!(finding.context.is_some_and(|told| told.contains("set the clock")));
    }

    #[test]
    fn what_a_job_says_is_told_with_its_figures() {
        let finding = found(Some("no tape"), &moment(1, "a", 11));
        assert_eq!(finding.status, Status::Fail);
        let told = "no tape (the last at 2027-01-15T08:00:00Z by backup after 1m 30s)";
        assert_eq!(finding.context.as_deref(), Some(told));
        let labels: Vec<_> = finding.perfdata.iter().map(|figure| figure.label.as_str()).collect();
        assert_eq!(labels, ["age", "duration"]);
    }

    #[test]
    fn a_wrong_target_or_option_is_refused() {
        for (target, options, expected) in [
            ("../x", &[][..], "the target is not the name of a beat"),
            ("", &[], "the target is not the name of a beat"),
            ("night", &[("within", "soon")], "option within: write a time"),
            ("night", &[("within", "0")], "option within: it has to be longer than 0"),
            ("night", &[("warn_within", "26h")], "option warn_within: it has to be less than within=1day 2h"),
        ] {
            let refused = build(target, &mut Options::of(options)).err().expect(target);
            assert!(refused.starts_with(expected), "{refused}");
        }
    }
}
