//! What systemd says of a unit, by `systemctl show`.

use std::time::Duration;

use super::{Restarts, Seen};
use crate::checks::support::program::ask;
use crate::model::check::{Deadline, Reason, Result};
use crate::os::clock;

const PROPERTIES: &str =
    "--property=LoadState,LoadError,ActiveState,SubState,Result,UnitFileState,NRestarts,StateChangeTimestampMonotonic";

pub(super) fn see(name: &str, deadline: Deadline) -> Result<Seen> {
    let said = ask(&["/usr/bin/systemctl", "/bin/systemctl"], &["show", PROPERTIES, "--", name], deadline)?;
    // Without D-Bus it ends with 1. In a chroot it says nothing, and ends with 0.
    if said.code != 0 || !said.stdout.contains("ActiveState=") {
        let why = said.stderr.trim();
        let why = if why.is_empty() { "systemctl tells nothing" } else { why };
        return Err(Reason::Error(format!("cannot ask systemd for the service {name}: {why}")));
    }
    understand(&said.stdout, clock::awake())
        .ok_or_else(|| Reason::Error(format!("cannot understand what systemd says of the service {name}")))
}

/// Reads the properties. Source of their values: org.freedesktop.systemd1(5).
fn understand(text: &str, now: Duration) -> Option<Seen> {
    let of = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default();
    let (active, sub, load) = (of("ActiveState"), of("SubState"), of("LoadState"));
    let is_active = match active {
        "active" | "reloading" | "refreshing" => true,
        "inactive" | "failed" | "activating" | "deactivating" | "maintenance" => false,
        _ => return None,
    };
    let told = match (load, of("Result")) {
        ("not-found", _) if !is_active => "a name that systemd has no unit for".to_owned(),
        ("masked", _) if !is_active => "one that is masked".to_owned(),
        ("error" | "bad-setting", _) if !is_active => format!("a unit that cannot be loaded: {}", of("LoadError")),
        (_, "" | "success") => format!("{active} ({sub})"),
        (_, result) => format!("{active} ({sub}, after {result})"),
    };
    let since =
        of("StateChangeTimestampMonotonic").parse().ok().filter(|micros| *micros > 0).map(Duration::from_micros);
    Some(Seen {
        told,
        is_active,
        // Between two starts it is "activating": it has failed, and shall be started again.
        has_failed: active == "failed" || sub == "auto-restart" || (load != "loaded" && !is_active),
        enabled: Some(enabled(of("UnitFileState"))),
        age: since.map(|since| now.saturating_sub(since)),
        restarts: of("NRestarts").parse().map_or(Restarts::Uncounted, Restarts::InAll),
    })
}

fn enabled(state: &str) -> std::result::Result<bool, String> {
    match state {
        "enabled" | "alias" | "generated" => Ok(true),
        "disabled" | "enabled-runtime" | "linked" | "linked-runtime" | "masked" | "masked-runtime" => Ok(false),
        "" => Err("it has no unit file".to_owned()),
        state => Err(format!("it is {state}: whatever wants it starts it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn of(load: &str, active: &str, sub: &str, rest: &str) -> Seen {
        let text = format!("LoadState={load}\nActiveState={active}\nSubState={sub}\n{rest}\n");
        understand(&text, NOW).expect("it is well formed")
    }

    #[test]
    fn each_state_of_a_unit_is_one_in_which_it_runs_or_does_not() {
        let seen = of(
            "loaded",
            "active",
            "running",
            "NRestarts=2\nUnitFileState=enabled\nStateChangeTimestampMonotonic=40000000",
        );
        let expected = Seen {
            told: "active (running)".into(),
            is_active: true,
            has_failed: false,
            enabled: Some(Ok(true)),
            age: Some(Duration::from_secs(60)),
            restarts: Restarts::InAll(2),
        };
        assert_eq!(seen, expected);
        for (load, active, sub, rest, is_active, has_failed, told) in [
            ("loaded", "reloading", "reload", "", true, false, "reloading (reload)"),
            ("loaded", "active", "exited", "Result=success", true, false, "active (exited)"),
            ("loaded", "inactive", "dead", "Result=success", false, false, "inactive (dead)"),
            ("loaded", "failed", "failed", "Result=oom-kill", false, true, "failed (failed, after oom-kill)"),
            (
                "loaded",
                "activating",
                "auto-restart",
                "Result=exit-code",
                false,
                true,
                "activating (auto-restart, after exit-code)",
            ),
            ("loaded", "activating", "start", "", false, false, "activating (start)"),
            ("not-found", "inactive", "dead", "", false, true, "a name that systemd has no unit for"),
            ("not-found", "active", "running", "", true, false, "active (running)"),
            ("masked", "inactive", "dead", "", false, true, "one that is masked"),
        ] {
            let seen = of(load, active, sub, rest);
            assert_eq!((seen.is_active, seen.has_failed, &*seen.told), (is_active, has_failed, told));
        }
        assert_eq!(understand("ActiveState=on\n", NOW), None);
        assert_eq!(understand("", NOW), None);
    }

    #[test]
    fn what_is_started_by_others_may_be_started_or_not() {
        for (state, is) in [("enabled", Some(true)), ("disabled", Some(false)), ("enabled-runtime", Some(false))] {
            assert_eq!(enabled(state).ok(), is);
        }
        for state in ["", "static", "indirect", "transient"] {
            assert!(enabled(state).is_err(), "{state}");
        }
    }
}
