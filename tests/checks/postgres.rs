//! The kind `postgres`, against a real server on loopback.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::kinds_net::{Server, start};
use super::protocols::{Keys, PASSWORD, assert_examples, assert_found, assert_stopped, found, signal};
use crate::harness::drill::assert_sound;
use crate::harness::family::PATIENCE;
use crate::harness::within;
use hospital::model::check::Status::{Error, Fail, Pass};
use nix::sys::signal::Signal;
use nix::unistd::User;

#[test]
#[ignore = "needs root, postgres"]
fn postgres_is_well_frozen_stopped_or_not_what_it_should_be() {
    let nobody = User::from_name("nobody").expect("users can be looked up").expect("there is nobody");
    let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
    let folder = tempfile::tempdir().expect("a folder for the test");
    let secret = folder.path().join("password");
    fs::write(&secret, PASSWORD).expect("there is room");
    let keys = Keys::new();
    for path in [folder.path(), &secret, keys.folder.path(), keys.key.as_ref()] {
        chown(path, Some(uid), Some(gid)).expect("we are root");
    }
    let programs =
        fs::read_dir("/usr/lib/postgresql").expect("it is installed").last().expect("a version").expect("readable");
    let program = |name: &str| {
        let mut command = Command::new(programs.path().join("bin").join(name));
        command.uid(uid).gid(gid).current_dir(folder.path());
        command
    };
    let data = folder.path().join("data");
    let mut initdb = program("initdb");
    initdb.args(["--auth=scram-sha-256", "--username=anna", "--no-sync", "--encoding=UTF8", "--locale=C"]);
    initdb.arg(format!("--pwfile={}", secret.display())).arg("--pgdata").arg(&data);
    let made = initdb.output().expect("it is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (postgres, port) = start(|port| {
        let mut postgres = program("postgres");
        postgres.args(["-k", "", "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-p"]).arg(port.to_string());
        postgres.arg("-D").arg(&data).args(["-c", "ssl=on"]);
        postgres.arg("-c").arg(format!("ssl_cert_file={}", keys.cert));
        postgres.arg("-c").arg(format!("ssl_key_file={}", keys.key));
        postgres
    });
    // It accepts before it answers.
    let at = format!("postgres://anna:{PASSWORD}@127.0.0.1:{port}/postgres");
    within(PATIENCE, "it answers", || found(std::slice::from_ref(&at))[0].0 == Pass);
    assert_sound(&[], &[format!("{at}#timeout=2s")]);
    assert_found(
        &at,
        &[
            ("#role=primary&lag=1s", Pass, ""),
            ("#role=replica", Fail, "it is a primary, and has to be a replica"),
            ("#query=select%2041%2B1&equals=42&match=^4&min=42&max=42", Pass, ""),
            ("#query=select%201&min=2", Fail, "at least 2, and gives 1"),
            ("#query=select%20null&min=2", Fail, "gives NULL"),
            ("#query=select%201%20where%20false", Fail, "gives no row"),
            ("#query=select%20generate_series(1,1000000)&equals=1", Pass, ""),
            ("#query=select%20repeat('x',1000000)&match=x", Error, "longer than 256 KiB"),
            ("#query=select%20'\\x00ff'::bytea&equals=\\x00ff", Pass, ""),
            ("#query=selekt", Error, "(42601)"),
            ("#query=select%20pg_sleep(60)&timeout=2s", Fail, "nothing came in time"),
            ("#query=copy%20(select%201)%20to%20stdout", Error, "a COPY"),
        ],
    );
    // It gives no row, and is carried out.
    assert_found(&at, &[("#query=create%20database%20shop", Fail, "gives no row")]);
    assert_examples("postgres", &[("anna@localhost", format!("anna:{PASSWORD}@127.0.0.1:{port}"))]);
    assert_found(
        "postgres://",
        &[
            (&format!("anna:wrong@127.0.0.1:{port}/postgres"), Error, "(28P01)"),
            (&format!("anna@127.0.0.1:{port}/postgres"), Error, "it wants a password"),
            (&format!("anna:{PASSWORD}@127.0.0.1:{port}/nowhere"), Error, "(3D000)"),
        ],
    );
    let ca = &keys.ca;
    assert_found(
        &format!("{at}#tls&ca={ca}"),
        &[
            ("&query=select%20ssl%20from%20pg_stat_ssl%20where%20pid%3Dpg_backend_pid()&equals=t", Pass, ""),
            ("&servername=other.example", Fail, "not valid for name"),
            ("&query=select%20pg_sleep(60)&timeout=2s", Fail, "nothing came in time"),
        ],
    );
    assert_found(
        "cert:",
        &[
            (&format!("127.0.0.1:{port}#starttls=postgres&days=1&ca={ca}"), Pass, ""),
            (&format!("127.0.0.1:{port}#starttls=postgres&ca={ca}"), Fail, "it has to last for 14 more days"),
        ],
    );
    assert_found(&at, &[("#tls", Fail, "nobody that is trusted"), ("#tls&insecure", Pass, "")]);
    signal(&postgres, Signal::SIGSTOP);
    assert_found(
        &at,
        &[("#timeout=2s", Fail, "nothing came in time"), ("#tls&insecure&timeout=2s", Fail, "nothing came in time")],
    );
    signal(&postgres, Signal::SIGCONT);
    end(postgres, &data);
    assert_stopped(&at);
}

/// Ends a PostgreSQL with all of its processes.
fn end(mut postgres: Server, data: &Path) {
    signal(&postgres, Signal::SIGINT); // a fast shutdown
    postgres.0.wait().expect("it is our child");
    assert!(!data.join("postmaster.pid").exists(), "it ended by itself");
}
