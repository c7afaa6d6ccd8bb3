//! The kind `mysql`, against a real MariaDB and a replica of it on loopback.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::kinds_net::start;
use super::protocols::{Keys, PASSWORD, assert_examples, assert_found, assert_stopped, found, signal};
use crate::harness::drill::assert_sound;
use crate::harness::family::PATIENCE;
use crate::harness::within;
use hospital::model::check::Status::{self, Error, Fail, Pass};
use nix::sys::signal::Signal;
use nix::unistd::User;

#[test]
#[ignore = "needs root, mariadbd"]
fn mariadb_is_well_frozen_stopped_or_not_what_it_should_be() {
    let nobody = User::from_name("nobody").expect("users can be looked up").expect("there is nobody");
    let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
    let keys = Keys::new();
    let folder = keys.folder.path();
    let program = |name: &str, data: &str| {
        let mut command = Command::new(name);
        command.arg("--no-defaults").arg(format!("--datadir={}", folder.join(data).display()));
        command.uid(uid).gid(gid).current_dir(folder);
        command
    };
    let statements = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).expect("there is room");
        format!("--init-file={}", path.display())
    };
    let users = statements(
        "users.sql",
        &format!(
            "INSTALL SONAME 'auth_ed25519';\n\
             CREATE USER anna@'%' IDENTIFIED BY '{PASSWORD}';\n\
             GRANT SLAVE MONITOR, REPLICATION SLAVE ADMIN, REPLICATION SLAVE ON *.* TO anna@'%';\n\
             CREATE DATABASE shop;\n\
             GRANT SELECT ON shop.* TO anna@'%';\n\
             CREATE USER edda@'%' IDENTIFIED VIA ed25519 USING PASSWORD('{PASSWORD}');\n"
        ),
    );
    for entry in fs::read_dir(folder).expect("it is ours").flatten().map(|entry| entry.path()).chain([folder.into()]) {
        chown(entry, Some(uid), Some(gid)).expect("we are root");
    }
    let mut install = program("mariadb-install-db", "primary");
    let made = install.args(["--skip-test-db", "--innodb-log-file-size=4M"]).output().expect("it is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut copy = Command::new("cp");
    copy.args(["-a", "primary", "replica"]).current_dir(folder);
    assert!(copy.status().expect("it is installed").success());
    let server = |number: u8, data: &str, port: u16, init: &str| {
        let mut server = program("mariadbd", data);
        server.args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--innodb-log-file-size=4M"]);
        server.args(["--innodb-flush-log-at-trx-commit=0", "--plugin-maturity=beta", init]);
        server.arg(format!("--port={port}")).arg(format!("--server-id={number}"));
        server.arg(format!("--socket={}/{data}.sock", folder.display()));
        server.arg(format!("--ssl-cert={}", keys.cert)).arg(format!("--ssl-key={}", keys.key));
        server
    };
    let (primary, port) = start(|port| {
        let mut primary = server(1, "primary", port, &users);
        primary.arg("--log-bin=binlog");
        primary
    });
    let follow = statements(
        "follow.sql",
        &format!(
            "INSTALL SONAME 'auth_ed25519';\n\
             CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, MASTER_USER='anna', \
             MASTER_PASSWORD='{PASSWORD}', MASTER_CONNECT_RETRY=1;\n\
             START SLAVE;\n"
        ),
    );
    let (replica, other) = start(|port| server(2, "replica", port, &follow));
    let [at, there] = [port, other].map(|port| format!("mysql://anna:{PASSWORD}@127.0.0.1:{port}/"));
    becomes(&there, "#role=replica&lag=1m", Pass);

    assert_sound(&[], &[format!("{at}#timeout=2s")]);
    assert_found(
        &at,
        &[
            ("", Pass, ""),
            ("mysql", Error, "(1044, 42000)"),
            ("#role=primary&lag=1s", Pass, ""),
            ("#role=replica", Fail, "it is a primary, and has to be a replica"),
            ("#query=select%2041%2B1&equals=42&match=^4&min=42&max=42", Pass, ""),
            ("#query=select%201&min=2", Fail, "at least 2, and gives 1"),
            ("#query=select%20null&min=2", Fail, "gives NULL"),
            ("#query=select%201%20from%20dual%20where%20false", Fail, "gives no row"),
            ("shop#query=select%20seq%20from%20seq_1_to_1000000&equals=1", Pass, ""),
            ("#query=select%20repeat('x',1000000)&match=x", Error, "more than 256 KiB"),
            ("#query=select%20x'00ff'&match=x", Fail, "gives \"\\0\u{fffd}\""),
            ("#query=selekt", Error, "(1064, 42000)"),
            ("#query=select%20sleep(60)&timeout=2s", Fail, "nothing came in time"),
        ],
    );
    assert_examples("mysql", &[("anna@localhost", format!("anna:{PASSWORD}@127.0.0.1:{port}"))]);
    // What has not been answered in time does not go on in the server.
    let busy =
        "#query=select%20count(*)%20from%20information_schema.processlist%20where%20info%20like%20'select%20sleep%25'";
    becomes(&at, &format!("{busy}&equals=0"), Pass);
    let ca = &keys.ca;
    assert_found(
        "mysql://",
        &[
            (&format!("anna:wrong@127.0.0.1:{port}"), Error, "(1045, 28000)"),
            (&format!("anna@127.0.0.1:{port}"), Error, "(1045, 28000)"),
            (&format!("edda:{PASSWORD}@127.0.0.1:{port}"), Pass, ""),
            (&format!("edda:wrong@127.0.0.1:{port}"), Error, "(1045, 28000)"),
            (&format!("edda:{PASSWORD}@127.0.0.1:{port}#lag=1s"), Error, "(1227, 42000)"),
            (&format!("anna:{PASSWORD}@127.0.0.1:{port}/nowhere"), Error, "(104"),
            (&format!("edda:{PASSWORD}@127.0.0.1:{port}#tls&ca={ca}&servername=localhost"), Pass, ""),
        ],
    );
    assert_found(
        "cert:",
        &[
            (&format!("127.0.0.1:{port}#starttls=mysql&days=1&ca={ca}"), Pass, ""),
            (&format!("127.0.0.1:{port}#starttls=mysql&ca={ca}"), Fail, "it has to last for 14 more days"),
        ],
    );
    assert_found(
        &format!("{at}#tls"),
        &[
            (&format!("&ca={ca}&query=show%20status%20like%20'Ssl_version'&match=Ssl"), Pass, ""),
            (&format!("&ca={ca}&servername=other.example"), Fail, "not valid for name"),
            ("", Fail, "nobody that is trusted"),
            ("&insecure", Pass, ""),
        ],
    );

    assert_found(
        &there,
        &[("#role=primary", Fail, "it is a replica"), ("#query=stop%20slave%20sql_thread", Fail, "no row")],
    );
    becomes(&there, "#lag=1m", Fail);
    assert_found(&there, &[("#role=replica", Fail, "it does not apply what its primary writes"), ("", Pass, "")]);
    drop(replica);

    signal(&primary, Signal::SIGSTOP);
    assert_found(
        &at,
        &[("#timeout=2s", Fail, "nothing came in time"), ("#tls&insecure&timeout=2s", Fail, "nothing came in time")],
    );
    signal(&primary, Signal::SIGCONT);
    drop(primary);
    assert_stopped(&at);
}

/// Waits until a check of the server ends like this.
#[track_caller]
fn becomes(server: &str, options: &str, wanted: Status) {
    let name = [format!("{server}{options}")];
    within(PATIENCE, &format!("{options} is {wanted:?}"), || found(&name)[0].0 == wanted);
}
