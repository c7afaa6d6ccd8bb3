//! A program that adds checks of its own, settings and a hook to the command line and daemon.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

struct Kiosk {
    process: Child,
    address: String,
}

impl Kiosk {
    fn serve(variables: &[(&str, &str)]) -> Kiosk {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let process = kiosk(&["serve", "--fd", "0", "-w", "2"], variables)
            .stdin(OwnedFd::from(listener))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cargo built the kiosk");
        Kiosk { process, address }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("somebody listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: kiosk\r\nConnection: close\r\n\r\n").expect("it takes a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    /// Its log until it ends.
    fn log(&mut self) -> String {
        let mut log = String::new();
        let mut stderr = self.process.stderr.take().expect("it is read once");
        stderr.read_to_string(&mut log).expect("the log is UTF-8");
        log
    }

    /// Its log, after it was told to end.
    fn close(mut self) -> String {
        let told = Command::new("kill").arg(self.process.id().to_string()).status().expect("kill is there");
        assert!(told.success());
        self.log()
    }
}

impl Drop for Kiosk {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn kiosk(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiosk"));
    command.args(arguments).env_remove("HEALTHCHECKS").envs(variables.iter().copied());
    command
}

/// The exit code, and what it has printed and complained of.
fn run(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = kiosk(arguments, variables).stdin(Stdio::null()).output().expect("cargo built the kiosk");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("it is UTF-8"))
}

#[test]
fn what_a_hook_has_made_is_there_in_each_process_that_runs_checks() {
    let (code, told) = run(&["check", "-v"], &[]);
    assert!(code == Some(0) && told.contains("kiosk.clerk"), "{told}");
    let kiosk = Kiosk::serve(&[]);
    for _ in 0..10 {
        let answer = kiosk.get("/");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("kiosk.clerk"), "{answer}");
    }
    let log = kiosk.close();
    assert!(!log.contains("threads"), "{log}");
}

#[test]
fn a_thread_from_before_the_fork_is_warned_of_and_missed() {
    let kiosk = Kiosk::serve(&[("KIOSK_HIRES_EARLY", "")]);
    let answer = kiosk.get("/?verbose");
    assert!(answer.starts_with("HTTP/1.1 503 "), "the program's setting of --fail-status: {answer}");
    let log = kiosk.close();
    assert!(log.contains("the program has 2 threads before"), "{log}");
}

#[test]
fn a_hook_that_fails_keeps_checks_from_running() {
    let closed = [("KIOSK_IS_CLOSED", "")];
    let (code, told) = run(&["check"], &closed);
    assert_eq!((code, told.as_str()), (Some(3), "hospital: the program cannot run its checks: nobody is here\n"));
    let mut kiosk = Kiosk::serve(&closed);
    let log = kiosk.log();
    assert!(log.contains("nobody is here"), "{log}");
    assert_eq!(kiosk.process.wait().expect("it is ours").code(), Some(3), "{log}");
}

#[test]
fn a_setting_from_code_gives_way_to_the_environment_and_to_flags() {
    for (arguments, variables, line, value) in [
        (&["serve", "--print-config"][..], &[][..], "HOSPITAL_FAIL_STATUS in the program", "503"),
        (
            &["serve", "--print-config"],
            &[("HOSPITAL_FAIL_STATUS", "500")],
            "HOSPITAL_FAIL_STATUS in the environment",
            "500",
        ),
        (&["serve", "--print-config", "--fail-status", "501"], &[], "--fail-status", "501"),
    ] {
        let (_, told) = run(arguments, variables);
        assert!(told.contains(&format!("# from {line}\nHOSPITAL_FAIL_STATUS=\"{value}\"\n")), "{told}");
    }
}

#[test]
fn a_check_of_the_program_is_named_like_any_other() {
    for names in ["kiosk", "kiosk.clerk", "kiosk::clerk"] {
        let (code, told) = run(&["list", names, "predictable=file:/"], &[]);
        assert!(code == Some(0) && told.contains("kiosk.clerk") && told.contains("predictable"), "{told}");
    }
    let (code, told) = run(&["list", "kiosk.boss"], &[]);
    assert!(code == Some(2) && told.contains("no check is registered there (known: ") && told.contains("kiosk.clerk"));
}
