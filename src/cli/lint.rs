//! What needs no drill to be seen: checks that cannot mean what they say. Nothing is run.

use std::net::IpAddr;
use std::time::Duration;

use crate::checks::support::pattern::Pattern;
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
        let value =
            |name: &str| check.options.iter().find(|(option, _)| option == name).map(|(_, value)| value.as_str());
        let is_accepted = |word: &str| check.drill_allow.iter().any(|(allowed, _)| *allowed == word);
        let has = |name: &str| BUILTINS.iter().any(|kind| kind.scheme == check.kind && kind.option(name).is_some());
        if has("send") && value("match").is_none() && has("match") && !is_accepted("rubbish") {
            tell("it passes for anything that listens: say with match= what has to come".to_owned());
        }
        let is_anything = |text: &str| text.parse().is_ok_and(|pattern: Pattern| pattern.is_in_anything());
        if value("match").is_some_and(is_anything) && !["rubbish", "stranger", "gone"].into_iter().any(is_accepted) {
            tell("what match= says is in anything, and in nothing, too: say what has to come".to_owned());
        }
        if let Some((word, _)) = check.drill_allow.iter().find(|(_, reason)| reason.is_empty()) {
            tell(format!("drill_allow={word} does not say why: write drill_allow={word}: and the reason"));
        }
        if is_remote(check) && check.tags.iter().any(|tag| tag == LIVENESS) {
            tell(format!(
                "with the tag {LIVENESS} a failure of another host restarts this one: tag it readiness instead"
            ));
        }
        if value("insecure").is_some_and(|value| value != "false") && !is_accepted("stranger") {
            tell("insecure takes anybody's certificate: name the authority with ca=".to_owned());
        }
        if check.expect == Expect::Failure && value("match").is_some() {
            tell(
                "expect=failure is content with any failure, so what match= says does not matter: leave one out"
                    .to_owned(),
            );
        }
        if check.is_cut_short(round) {
            let (timeout, round) = (duration::spoken(check.timeout), duration::spoken(round));
            tell(format!("its timeout of {timeout} is longer than a round, which takes {round} at most"));
        }
        let is_same = |other: &&std::sync::Arc<Check>| {
            !check.target.is_empty()
                && (other.kind, plain(other), sorted(other), other.expect)
                    == (check.kind, plain(check), sorted(check), check.expect)
        };
        if let Some(same) = checks[..place].iter().find(is_same) {
            tell(format!("it looks at the same as {}: leave one out", same.id));
        }
    }
    found
}

/// Its target in one spelling.
fn plain(check: &Check) -> String {
    let target = &check.target;
    let (authority, path) = match target.strip_prefix("//").unwrap_or(target) {
        // A path of this host.
        path if path.starts_with('/') => ("", path),
        rest => rest.find(['/', '?']).map_or((rest, ""), |place| rest.split_at(place)),
    };
    let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(user, host)| (user, host));
    let kind = BUILTINS.iter().find(|kind| kind.scheme == check.kind);
    let port = kind.and_then(|kind| kind.port).map_or_else(String::new, |port| format!(":{port}"));
    let host = if kind.is_some_and(connects) { host.to_ascii_lowercase() } else { host.to_owned() };
    let host = host.strip_suffix(&port).unwrap_or(&host).trim_end_matches('.');
    let (path, query) = path.split_once('?').map_or((path, ""), |(path, query)| (path, query));
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    // Whether a path of a URL ends with a slash may matter to its server.
    let end = if !host.is_empty() && !parts.is_empty() && path.ends_with('/') { "/" } else { "" };
    format!("{user}@{host}/{}{end}?{query}", parts.join("/"))
}

/// Its options, in whatever order they were written.
fn sorted(check: &Check) -> Vec<&(String, String)> {
    let mut options: Vec<_> = check.options.iter().filter(|(_, value)| value != "false").collect();
    options.sort();
    options
}

fn connects(kind: &Kind) -> bool {
    kind.notices.iter().any(|noticed| noticed.starts_with("refused"))
}

/// Whether it looks at another host, or what may be one.
fn is_remote(check: &Check) -> bool {
    let is_connected = BUILTINS.iter().any(|kind| kind.scheme == check.kind && connects(kind));
    let has_socket = check.options.iter().any(|(option, _)| option == "socket");
    // A program of this host may be asked instead of a peer.
    if check.code != Code::BuiltIn || !is_connected || has_socket {
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
            "http://shop/#socket=/run/shop.sock&tag=liveness",
            "http://shop/#timeout=60s&every=10m",
            "http://shop/#expect=failure&json=/status=down",
            "https://shop/#insecure=false",
            "https://shop/#insecure&drill_allow=stranger:%20it%20signs%20its%20own",
            "tcp://db:5432#drill_allow=rubbish:%20it%20says%20nothing",
            "tcp://db:22#match=^SSH-.*",
            "empty=tcp://db:22#match=^$",
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
            ("tcp://db:1#match=", "in anything"),
            ("http://shop/#match=.*", "in anything"),
            ("file:/etc/passwd#match=(x|)", "in anything"),
            ("tcp://db:5432#drill_allow=rubbish", "the reason"),
        ] {
            let found = lints(&[name]);
            assert!(found.len() == 1 && found[0].1.contains(said), "{name}: {found:?}");
        }
        for (one, other) in [
            ("http://shop/", "http://shop/"),
            ("http://shop/", "http://SHOP:80"),
            ("https://shop./x//y", "https://shop:443/x/y"),
            ("http://shop/#slow=1s&redirects=3", "http://shop/#redirects=3&slow=1s"),
            ("redis://cache", "redis://cache:6379/"),
            ("disk:/var/", "disk:/var"),
            ("tcp://db:1#match=x", "tcp:db:1#match=x"),
            ("https://shop/", "https://shop/#insecure=false"),
        ] {
            let found = lints(&[&format!("a={one}"), &format!("b={other}")]);
            assert!(
                found.len() == 1 && found[0].0 == "b" && found[0].1.contains("the same as a"),
                "{other}: {found:?}"
            );
        }
        for (one, other) in [
            ("http://shop/x", "http://shop/x/"),
            ("http://shop/x", "http://shop/X"),
            ("http://shop/?a", "http://shop/?b"),
            ("http://shop/", "http://shop:8080/"),
            ("file:/etc/Passwd", "file:/etc/passwd"),
        ] {
            assert_eq!(lints(&[&format!("a={one}"), &format!("b={other}")]), [], "{other}");
        }
    }
}
