//! Kinds that look at this host, where namespaces and users decide what can be seen.

use std::process::Command;

use crate::harness::once::{Run, run};

/// `hospital check --format text NAME` under another program.
#[track_caller]
fn check_under(program: &[&str], name: &str) -> Run {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).args([env!("CARGO_BIN_EXE_hospital"), "check", name]);
    run(command)
}

#[track_caller]
fn is(run: &Run, status: &str, text: &str) {
    let code = if status == "pass" { 0 } else { 1 };
    let told = format!("{}{}", run.stdout, run.stderr);
    assert!(run.code == Some(code) && (code == 0 || told.contains(&format!("\n{status}: "))), "{told}");
    assert!(told.contains(text), "{told}");
}

#[test]
#[ignore = "needs root"]
fn nothing_is_decided_of_the_ports_and_interfaces_of_another_network_namespace() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = format!("port:{}", listener.local_addr().expect("it is bound").port());
    is(&check_under(&["env"], &port), "pass", "");
    is(&check_under(&["unshare", "--net"], &port), "ERROR", "whose ports we cannot see");
    is(&check_under(&["unshare", "--net"], "interface:no-such"), "ERROR", "whose interfaces we cannot see");
    // In a namespace of its own even the loopback interface is off.
    is(&check_under(&["unshare", "--net"], "interface:lo"), "FAIL", "it is switched off");
    drop(listener);
    is(&check_under(&["env"], &port), "FAIL", "and nobody does in the");
}

#[test]
#[ignore = "needs root"]
fn another_user_does_not_see_whose_a_socket_is() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let name = format!("port:{port}#process=no-such-program");
    is(&check_under(&["setpriv", "--reuid=65534", "--clear-groups"], &name), "ERROR", "only root may see");
    let ours = std::env::current_exe().expect("/proc is mounted");
    is(&check_under(&["env"], &format!("port:{port}#process={}", ours.display())), "pass", "");
}

#[test]
#[ignore = "needs root"]
fn a_mount_is_judged_by_its_file_system_and_by_what_others_see_of_it() {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().display();
    let name = format!("mount:{path}#type=tmpfs&option=noexec&rw");
    let after = |script: &str, name: &str| {
        let script = format!("{script}; exec \"$@\"");
        check_under(&["unshare", "--mount", "sh", "-ec", &script, "sh"], name)
    };
    let mount = format!("mount -t tmpfs -o noexec none {path}");
    is(&after(&mount, &name), "pass", "");
    is(&after(&format!("{mount}; mount -o remount,ro {path}"), &name), "FAIL", "got a file system that is read-only");
    // Process 1 has nothing mounted there.
    is(&after(&format!("{mount}; mount -o remount,bind,ro {path}"), &name), "FAIL", "got a mount that is read-only");
    is(&after("true", &name), "FAIL", "and none is");
    is(&after("mount -o remount,bind,ro /", "mount:/#rw"), "pass", "");
}
