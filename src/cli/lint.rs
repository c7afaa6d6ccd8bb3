//! What needs no drill to be seen: checks that cannot mean what they say. Nothing is run.

use std::net::IpAddr;
use std::time::Duration;

use crate::checks::{BUILTINS, Kind};
use crate::model::check::{Check, Code, Expect};
use crate::model::duration;
use crate::model::host;
use crate::model::suite::Suite;

/// The tag of checks of this very process, whose failure ends it.
const LIVENESS: &str = "liveness";

/// Something that is wrong with a check.
#[derive(Debug, PartialEq, serde::Serialize)]
pub(super) struct Lint<'a> {
    pub(super) id: &'a str,
    /// What, and what to do.
    pub(super) why: String,
}

/// What is wrong with these checks, where a round takes `round` at most.
pub(super) fn lint(suite: &Suite, round: Duration) -> Vec<Lint<'_>> {
    let checks = suite.checks();
    let mut found = Vec::new();
    for (place, check) in checks.iter().enumerate() {
        let mut tell = |why: String| found.push(Lint { id: &check.id, why });
        let option = |name: &str| check.options.iter().any(|(option, _)| option == name);
        let has = |name: &str| BUILTINS.iter().any(|kind| kind.scheme == check.kind && kind.option(name).is_some());
        if has("send") && has("match") && !option("match") {
            tell("it passes for anything that listens: say with match= what has to come".to_owned());
        }
        if is_remote(check) && check.tags.iter().any(|tag| tag == LIVENESS) {
            tell(format!(
                "with the tag {LIVENESS} a failure of another host restarts this one: tag it readiness instead"
            ));
        }
        if option("insecure") {
            tell("insecure takes anybody's certificate: name the authority with ca=".to_owned());
        }
        if check.expect == Expect::Failure && ["match", "json"].into_iter().any(option) {
            tell(
                "expect=failure is content with any failure, so what match= says does not matter: leave one out"
                    .to_owned(),
            );
        }
        if check.timeout > round {
            let (timeout, round) = (duration::spoken(check.timeout), duration::spoken(round));
            tell(format!("its timeout of {timeout} is longer than a round, which takes {round} at most"));
        }
        let is_same = |other: &&std::sync::Arc<Check>| {
            !check.target.is_empty()
                && (other.kind, &other.target, &other.options, other.expect)
                    == (check.kind, &check.target, &check.options, check.expect)
        };
        if let Some(same) = checks[..place].iter().find(is_same) {
            tell(format!("it looks at the same as {}: leave one out", same.id));
        }
    }
    found
}

/// Whether it looks at another host, or what may be one.
fn is_remote(check: &Check) -> bool {
    let connects =
        |kind: &&Kind| kind.scheme == check.kind && kind.notices.iter().any(|noticed| noticed.starts_with("refused"));
    // A program of this host may be asked instead of a peer.
    if check.code != Code::BuiltIn || !BUILTINS.iter().any(|kind| connects(&kind)) {
        return false;
    }
    let target = check.target.strip_prefix("//").unwrap_or(&check.target);
    let authority = target.split(['/', '?']).next().unwrap_or_default();
    // A path or an abstract name is a socket of this host.
    let is_socket = authority.is_empty() || authority.starts_with('@');
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = host::split(host).map_or(host, |(host, _)| host);
    let is_this_host = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    !is_socket && !is_this_host
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lints(names: &[&str]) -> Vec<(String, String)> {
        let suite = crate::collect(names).expect("they are good");
        let found = lint(&suite, Duration::from_secs(10));
        found.into_iter().map(|lint| (lint.id.to_owned(), lint.why)).collect()
    }

    #[test]
    fn what_is_well_is_not_named() {
        for name in [
            "tcp://db:22#match=^SSH-",
            "file:/etc/passwd#tag=liveness",
            "http://shop/#tag=readiness",
            "tcp://db:1#match=x&timeout=10s",
            "closed=tcp://db:1#match=x",
            "hospital.healthchecks.predictable.collected",
            "load:",
            "unix:/run/x.sock#match=x&tag=liveness",
            "unix:@x#match=x&tag=liveness",
            "http://localhost:8080/#tag=liveness",
            "http://127.0.0.1/#tag=liveness",
            "redis://user:secret@[::1]:6379#tag=liveness",
            "disk:/#tag=liveness",
            "service:cron#tag=liveness",
            "exec:/bin/true#tag=liveness",
        ] {
            assert_eq!(lints(&[name]), [], "{name}");
        }
        assert_eq!(lints(&["http://shop/", "https://shop/", "other=http://shop/x"]), []);
    }

    #[test]
    fn what_cannot_mean_what_it_says_is_named() {
        for (name, said) in [
            ("tcp://db:5432", "match="),
            ("unix:/run/x.sock", "match="),
            ("http://shop/#tag=liveness", "readiness"),
            ("ping:shop#tag=liveness", "readiness"),
            ("dns:shop#tag=liveness", "readiness"),
            ("cert:shop:443#tag=liveness", "readiness"),
            ("redis://:secret@shop#tag=liveness", "readiness"),
            ("postgres://anna@localhost.shop/x#tag=liveness", "readiness"),
            ("https://shop/#insecure", "ca="),
            ("tcp://db:1#match=x&expect=failure", "leave one out"),
            ("http://shop/#timeout=1m", "longer than a round"),
        ] {
            let found = lints(&[name]);
            assert!(found.len() == 1 && found[0].1.contains(said), "{name}: {found:?}");
        }
        let found = lints(&["a=http://shop/", "b=http://shop/"]);
        assert!(found.len() == 1 && found[0].0 == "b" && found[0].1.contains("the same as a"), "{found:?}");
    }
}
