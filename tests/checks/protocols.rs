//! The kinds that speak a protocol of their own, against real servers on loopback.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::kinds_net::{Server, certificate_for_days, run, start, statuses};
use crate::harness::drill::assert_sound;
use crate::harness::family::PATIENCE;
use crate::harness::within;
use hospital::checks::BUILTINS;
use hospital::model::check::Status::{Error, Fail, Pass};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A password that must not be in anything that we print.
pub(super) const PASSWORD: &str = "hunter2hunter2";

/// Runs these checks; none says the password.
#[track_caller]
pub(super) fn found(names: &[String]) -> Vec<(hospital::model::check::Status, String)> {
    let report = run(names);
    let said = format!("{report:?}");
    assert!(!said.contains(PASSWORD), "{said}");
    let contexts = report.outcomes.iter().map(|outcome| outcome.finding.context.clone().unwrap_or_default());
    statuses(&report).into_iter().zip(contexts).collect()
}

#[track_caller]
pub(super) fn assert_found(server: &str, expected: &[(&str, hospital::model::check::Status, &str)]) {
    let names: Vec<_> = (0..).zip(expected).map(|(number, (rest, ..))| format!("c{number}={server}{rest}")).collect();
    for ((status, context), (rest, wanted, text)) in found(&names).into_iter().zip(expected) {
        assert!(status == *wanted && context.contains(text), "{rest}: {status:?}: {context}");
    }
}

/// Nobody is there any more. A connection that comes while the last process of the server ends is reset.
#[track_caller]
pub(super) fn assert_stopped(check: &str) {
    within(PATIENCE, "nobody listens", || {
        let (status, context) = found(&[check.to_owned()]).remove(0);
        assert!(status == Fail, "{check}: {status:?}: {context}");
        context.contains("Connection refused")
    });
}

/// The examples that `hospital explain` shows of a kind pass, where what is in them is replaced by what is here.
#[track_caller]
pub(super) fn assert_examples(kind: &str, replaced: &[(&str, String)]) {
    let kind = BUILTINS.iter().find(|row| row.scheme == kind).expect("there is such a kind");
    let here = |name: &str| replaced.iter().fold(name.to_owned(), |name, (what, by)| name.replace(what, by));
    let names = (0..).zip(kind.examples).map(|(number, example)| format!("c{number}={}", here(example)));
    for (name, (status, context)) in kind.examples.iter().zip(found(&names.collect::<Vec<_>>())) {
        assert!(status == Pass, "{name}: {status:?}: {context}");
    }
}

/// What a server shows with TLS, and who vouches for that, in files.
pub(super) struct Keys {
    pub(super) folder: tempfile::TempDir,
    pub(super) ca: String,
    pub(super) cert: String,
    pub(super) key: String,
}

impl Keys {
    pub(super) fn new() -> Keys {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let (ca, cert, key) = certificate_for_days(2);
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("there is room");
            path.display().to_string()
        };
        let (ca, cert, key) = (write("ca.pem", &ca), write("cert.pem", &cert), write("key.pem", &key));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("it is ours");
        Keys { folder, ca, cert, key }
    }
}

pub(super) fn signal(server: &Server, signal: Signal) {
    kill(Pid::from_raw(server.0.id() as i32), signal).expect("it runs");
}

#[test]
#[ignore = "needs redis-server"]
fn redis_is_well_frozen_stopped_or_not_what_it_should_be() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let redis = |port: u16| {
        let mut redis = Command::new("redis-server");
        redis.args(["--bind", "127.0.0.1", "--save", "", "--requirepass", PASSWORD, "--masterauth", PASSWORD]);
        redis.args(["--maxmemory", "1gb", "--repl-diskless-sync-delay", "0"]);
        redis.arg("--port").arg(port.to_string()).current_dir(folder.path());
        redis
    };
    let (primary, port) = start(redis);
    let (_replica, replica) = start(|own| {
        let mut replica = redis(own);
        replica.arg("--replicaof").arg(format!("127.0.0.1 {port}"));
        replica
    });
    let secret = folder.path().join("password");
    fs::write(&secret, PASSWORD).expect("there is room");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let at = |port| format!("redis://:{PASSWORD}@127.0.0.1:{port}");
    // They need a moment to find each other.
    let follows = [format!("{}#role=replica", at(replica)), format!("{}#replicas=1&lag=1m", at(port))];
    within(PATIENCE, "they find each other", || found(&follows).iter().all(|(status, _)| *status == Pass));
    assert_found(
        &at(port),
        &[
            ("", Pass, ""),
            ("#role=primary&replicas=1&lag=1m&max_memory=90%25", Pass, ""),
            ("#role=replica", Fail, "it is a primary, and has to be a replica"),
            ("#replicas=2", Fail, "at least 2 replicas"),
            ("#max_memory=1kB", Fail, "less than"),
        ],
    );
    assert_examples("redis", &[(":secret@localhost", format!(":{PASSWORD}@127.0.0.1:{port}"))]);
    assert_found(&at(replica), &[("#lag=1m", Pass, ""), ("#role=primary", Fail, "it is a replica")]);
    assert_found(
        "redis://",
        &[
            (&format!("127.0.0.1:{port}"), Error, "give a password"),
            (&format!(":wrong@127.0.0.1:{port}"), Error, "WRONGPASS"),
        ],
    );
    assert_sound(&[], &[format!("{}#timeout=2s", at(port))]);
    signal(&primary, Signal::SIGSTOP);
    assert_found(&at(port), &[("#timeout=2s", Fail, "nothing came in time")]);
    signal(&primary, Signal::SIGCONT);
    drop(primary);
    assert_found(&at(port), &[("", Fail, "Connection refused")]);
}

#[test]
#[ignore = "needs redis-server"]
fn redis_with_tls_is_who_it_says_and_may_want_to_know_us() {
    let keys = Keys::new();
    let (_redis, port) = start(|port| {
        let mut redis = Command::new("redis-server");
        redis.args(["--bind", "127.0.0.1", "--save", "", "--requirepass", PASSWORD, "--port", "0"]);
        redis.arg("--tls-port").arg(port.to_string()).current_dir(keys.folder.path());
        redis.args(["--tls-cert-file", &keys.cert, "--tls-key-file", &keys.key, "--tls-ca-cert-file", &keys.ca]);
        redis
    });
    let at = format!("rediss://:{PASSWORD}@127.0.0.1:{port}#ca={}", keys.ca);
    let own = format!("&client_cert={}&client_key={}", keys.cert, keys.key);
    assert_found(
        &at,
        &[
            (&own, Pass, ""),
            (&format!("{own}&role=primary&servername=localhost"), Pass, ""),
            (&format!("{own}&servername=other.example"), Fail, "not valid for name"),
            ("", Error, "the server demands a certificate of the client"),
        ],
    );
    assert_sound(&[], &[format!("{at}{own}&timeout=2s")]);
    assert_found(
        "",
        &[
            (&format!("rediss://:{PASSWORD}@127.0.0.1:{port}"), Fail, "nobody that is trusted"),
            (&format!("redis://:{PASSWORD}@127.0.0.1:{port}"), Fail, ""),
            (&format!("rediss://:wrong@127.0.0.1:{port}#insecure{own}"), Error, "WRONGPASS"),
        ],
    );
}

#[test]
#[ignore = "needs memcached"]
fn memcached_is_well_frozen_or_stopped() {
    let (memcached, port) = start(|port| {
        let mut memcached = Command::new("memcached");
        memcached.args(["-l", "127.0.0.1", "-u", "nobody", "-p"]).arg(port.to_string());
        memcached
    });
    let at = format!("memcached://127.0.0.1:{port}");
    assert_found(
        &at,
        &[
            ("", Pass, ""),
            ("#max_connections=1000&max_memory=90%25", Pass, ""),
            ("#max_connections=0", Fail, "at most 0 clients"),
        ],
    );
    assert_examples("memcached", &[("localhost", format!("127.0.0.1:{port}"))]);
    assert_sound(&[], &[format!("{at}#timeout=2s")]);
    signal(&memcached, Signal::SIGSTOP);
    assert_found(&at, &[("#timeout=2s", Fail, "nothing came in time")]);
    signal(&memcached, Signal::SIGCONT);
    drop(memcached);
    assert_found(&at, &[("", Fail, "Connection refused")]);
}
