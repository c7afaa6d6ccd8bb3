//! What a check could not find out satisfies nobody: no `expect=failure`, no `absent`, no `max=0`.
//!
//! One table with an error for each kind, injected into its own system calls.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::harness::HOSPITAL;
use crate::harness::once::run;
use hospital::checks::BUILTINS;
use serde_json::Value;

/// A kind, what makes it err, and names of checks that a mere failure would make well.
struct Row {
    kind: &'static str,
    /// The flags of strace; none where the target errs by itself.
    injected: Vec<&'static str>,
    names: Vec<String>,
}

fn row(kind: &'static str, injected: &[&'static str], names: &[&str]) -> Row {
    Row { kind, injected: injected.to_vec(), names: names.iter().map(|&name| name.to_owned()).collect() }
}

#[test]
#[ignore = "needs strace"]
fn an_error_of_ours_satisfies_nobody() {
    let folder = tempfile::tempdir().expect("there is room");
    let socket = folder.path().join("s");
    let _listens = UnixListener::bind(&socket).expect("it is new");
    let sockets = ["-e", "inject=socket:error=EMFILE"];
    let authorities =
        ["-P", "/etc/ssl/certs/ca-certificates.crt", "-P", "/etc/ssl/certs", "-e", "inject=openat,statx:error=EACCES"];
    let emfile = "inject=openat,openat2:error=EMFILE";
    let beats = folder.path().join("beats");
    std::fs::create_dir(&beats).expect("there is room");
    std::fs::write(beats.join("backup"), "").expect("there is room");
    // Anybody could have written it.
    std::fs::set_permissions(beats.join("backup"), std::fs::Permissions::from_mode(0o666)).expect("it is ours");
    let plain = |name: &str| format!("{name}#expect=failure");
    let rows = [
        row("tcp", &sockets, &["tcp://shop.invalid:1#expect=failure"]),
        row("unix", &["-e", "inject=connect:error=EACCES"], &[&plain(&format!("unix:{}", socket.display()))]),
        row("http", &[], &[&format!("http://{}/#json=/status=pass&expect=failure", too_long())]),
        row("https", &sockets, &["https://127.0.0.1:1/#expect=failure"]),
        row("tls", &sockets, &["tls://127.0.0.1:1#expect=failure"]),
        row("dns", &sockets, &["dns:shop.invalid#server=ns.invalid&expect=failure"]),
        row("ping", &["-e", "inject=socket:error=EACCES"], &["ping:127.0.0.1#expect=failure"]),
        row("cert", &authorities, &["cert:127.0.0.1:1#expect=failure"]),
        row("redis", &sockets, &["redis://127.0.0.1:1#expect=failure"]),
        row("rediss", &sockets, &["rediss://127.0.0.1:1#expect=failure"]),
        row("postgres", &sockets, &["postgres://127.0.0.1:1#expect=failure"]),
        row("memcached", &sockets, &["memcached://127.0.0.1:1#expect=failure"]),
        row("mysql", &sockets, &["mysql://127.0.0.1:1#expect=failure"]),
        row("amqp", &sockets, &["amqp://127.0.0.1:1#expect=failure"]),
        row("amqps", &sockets, &["amqps://127.0.0.1:1#expect=failure"]),
        row("grpc", &sockets, &["grpc://127.0.0.1:1#expect=failure"]),
        row("grpcs", &sockets, &["grpcs://127.0.0.1:1#expect=failure"]),
        row("ntp", &sockets, &["ntp://127.0.0.1:1#expect=failure"]),
        row("smtp", &sockets, &["smtp://127.0.0.1:1#expect=failure"]),
        row("smtps", &sockets, &["smtps://127.0.0.1:1#expect=failure"]),
        row("imap", &sockets, &["imap://127.0.0.1:1#expect=failure"]),
        row("imaps", &sockets, &["imaps://127.0.0.1:1#expect=failure"]),
        row("pop3", &sockets, &["pop3://127.0.0.1:1#expect=failure"]),
        row("pop3s", &sockets, &["pop3s://127.0.0.1:1#expect=failure"]),
        row("ldap", &sockets, &["ldap://127.0.0.1:1#expect=failure"]),
        row("ldaps", &sockets, &["ldaps://127.0.0.1:1#expect=failure"]),
        row("exec", &[], &["exec:/bin/sh#args=-c&args=exec%20/no/such&expect=failure"]),
        row("plugin", &[], &["plugin:/bin/sh#args=-c&args=exit%203&expect=failure"]),
        row("disk", &["-e", "inject=statfs:error=EIO"], &["disk:/#expect=failure"]),
        row(
            "file",
            &["-P", "/etc/hostname", "-e", "inject=statx,newfstatat,openat:error=EIO"],
            &["file:/etc/hostname#expect=failure", "absent=file:/etc/hostname#absent"],
        ),
        row("load", &["-P", "/proc/loadavg", "-e", "inject=openat:error=EMFILE"], &["load:#expect=failure"]),
        row("memory", &["-P", "/proc/meminfo", "-e", "inject=openat:error=EMFILE"], &["memory:#expect=failure"]),
        row(
            "process",
            &["-P", "/proc", "-e", "inject=openat:error=EMFILE"],
            &["process:no-such-program#expect=failure", "none=process:no-such-program#max=0"],
        ),
        row(
            "process",
            &["-P", "/proc/1/cmdline", "-e", "inject=openat:error=EIO"],
            &["process:no-such-program#expect=failure", "none=process:no-such-program#max=0"],
        ),
        row("service", &[], &["service:no-such#manager=systemd&expect=failure"]),
        row("mount", &["-P", "/proc/self/mountinfo", "-e", emfile], &["mount:/proc#expect=failure"]),
        row("port", &["-P", "/proc/self/net/tcp", "-e", emfile], &["port:1#expect=failure"]),
        row("pressure", &["-P", "/proc/pressure/memory", "-e", emfile], &["pressure:memory#expect=failure"]),
        row("certificate", &authorities, &["certificate:/etc/ssl/certs/ca-certificates.crt#expect=failure"]),
        row("user", &["-P", "/etc/passwd", "-e", emfile], &["user:no-such-user#expect=failure"]),
        row("group", &["-P", "/etc/group", "-e", emfile], &["group:no-such-group#expect=failure"]),
        row("interface", &sockets, &["interface:no-such#expect=failure"]),
        row(
            "sysctl",
            &["-P", "/proc/sys/kernel/ostype", "-e", emfile],
            &["sysctl:kernel.ostype#value=x&expect=failure"],
        ),
        row("package", &["-P", "/var/lib/dpkg/status", "-e", emfile], &["package:no-such-package#expect=failure"]),
        row("beat", &[], &["beat:backup#within=1h&expect=failure"]),
        row("memory", &["-P", "/proc/self/cgroup", "-e", "inject=openat:error=EIO"], &["memory:#expect=failure"]),
    ];
    for kind in BUILTINS {
        assert!(rows.iter().any(|row| row.kind == kind.scheme), "there is no error for the kind {}", kind.scheme);
    }
    let is_built_in = |row: &&Row| BUILTINS.iter().any(|kind| kind.scheme == row.kind);
    let wrong: Vec<String> = rows.iter().filter(is_built_in).flat_map(|row| satisfied(row, folder.path())).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The address of a server whose one answer is longer than what is read of it.
fn too_long() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let at = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("there is a client");
        let _ = client.read(&mut [0; 4096]);
        let _ = client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n");
        let _ = client.write_all(&[b' '; 3_000_000]);
    });
    at
}

/// What is said of the checks of a row that are anything but errors.
fn satisfied(row: &Row, state_dir: &Path) -> Vec<String> {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null"]).args(&row.injected).arg(HOSPITAL);
    if row.injected.is_empty() {
        command = Command::new(HOSPITAL);
    }
    command.args(["check", "--format", "json", "-v", "--state-dir"]).arg(state_dir).args(&row.names);
    let ran = run(command);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}: {}", row.kind, ran.stderr));
    let details = report["details"].as_array().expect("there are details");
    assert_eq!(details.len(), row.names.len());
    let satisfied = details.iter().filter(|detail| detail["status"] != "error");
    satisfied.map(|detail| format!("{}: {} {}", detail["id"], detail["status"], detail["context"])).collect()
}
