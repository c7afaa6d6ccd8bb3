//! Common clients: curl, as the manual of Python's hospital and scripts use it, wrk and h2load.

use std::process::Command;

use crate::harness::{At, HOSPITAL, Launch, Server, eventually, processes};

#[test]
#[ignore = "needs curl"]
fn the_manuals_curl_command_prints_the_head() {
    let server = Server::start([""; 0]);
    let head = curl(&["-X", "GET", "-I", &url(&server, "/")]);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("\r\nContent-Type: application/json; charset=utf-8\r\n"), "{head}");
    assert!(head.contains("\r\nContent-Length: "), "{head}");
}

#[test]
#[ignore = "needs curl"]
fn curl_reads_the_report() {
    let server = Server::start([""; 0]);
    for options in [&["--http1.1"][..], &["--http1.0"], &["--http2"], &["--compressed"]] {
        let report = curl(&[options, &[&url(&server, "/")]].concat());
        let report: serde_json::Value = serde_json::from_str(&report).expect("the report is JSON");
        assert_eq!(report["status"], "pass", "{options:?}");
    }
}

#[test]
#[ignore = "needs curl"]
fn curl_reaches_a_unix_socket() {
    let launch = Launch::binding([""; 0]);
    let path = launch.path("socket").display().to_string();
    let _server = launch.args(["-b", &format!("unix:{path}")]).start();
    let code = curl(&["--unix-socket", &path, "-o", "/dev/null", "-w", "%{http_code}", "http://localhost/"]);
    assert_eq!(code, "200");
}

#[test]
#[ignore = "needs curl"]
fn curl_keeps_its_connection_for_the_next_request() {
    let server = Server::start([""; 0]);
    let (root, live) = (url(&server, "/"), url(&server, "/livez"));
    let written = curl(&["-w", "%{num_connects} ", &root, &live, "-o", "/dev/null", "-o", "/dev/null"]);
    assert_eq!(written, "1 0 ");
}

#[test]
#[ignore = "needs curl"]
fn a_body_that_curl_wants_to_be_asked_for_is_refused_at_once() {
    let server = Server::start([""; 0]);
    // With more than a mebibyte, curl sends `Expect: 100-continue`.
    let options = ["-w", "%{http_code} %{size_upload}", "-o", "/dev/null", "--data-binary"];
    let written = curl(&[&options[..], &[&format!("@{HOSPITAL}"), &url(&server, "/")]].concat());
    assert_eq!(written, "405 0");
}

#[test]
#[ignore = "needs curl"]
fn curls_exit_code_tells_a_report_that_does_not_pass() {
    let server = Launch::serve([""; 0]).env("HEALTHCHECKS", "tcp://127.0.0.1:1#timeout=1s").start();
    let output = run("curl", &["--silent", "--fail", &url(&server, "/")]);
    assert_eq!(output.status.code(), Some(22), "as `curl --fail` does for 400 and above");
}

#[test]
#[ignore = "needs wrk"]
fn wrk_finds_no_error_on_kept_connections() {
    let server = Server::start(["-w", "2"]);
    let before = server.workers();
    let open: usize = before.iter().map(|&pid| processes::sockets(pid)).sum();
    let output = run("wrk", &["--threads", "2", "--connections", "64", "--duration", "1s", &url(&server, "/")]);
    let said = String::from_utf8_lossy(&output.stdout);
    // It reports errors only when there are any.
    assert!(output.status.success() && !said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
    let requests = said.lines().find_map(|line| line.trim().split_once(" requests in "));
    let requests: u32 = requests.expect("wrk says how many").0.parse().expect("that is a number");
    assert!(requests >= 64, "{said}");
    assert_eq!(server.workers(), before, "the same workers have served them all");
    let now_open = || before.iter().map(|&pid| processes::sockets(pid)).sum::<usize>();
    eventually("the workers let go of the connections", || now_open() == open);
}

#[test]
#[ignore = "needs h2load"]
fn h2load_finds_no_error_on_kept_and_pipelining_connections() {
    let server = Server::start(["-w", "2"]);
    for pipelined in ["1", "10"] {
        let options = ["--h1", "--requests", "5000", "--clients", "64", "--max-concurrent-streams", pipelined];
        let output = run("h2load", &[&options[..], &[&url(&server, "/")]].concat());
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("5000 succeeded, 0 failed, 0 errored, 0 timeout"), "{said}");
        assert!(said.contains("status codes: 5000 2xx, 0 3xx, 0 4xx, 0 5xx"), "{said}");
    }
}

/// What curl prints; it must succeed.
#[track_caller]
fn curl(args: &[&str]) -> String {
    let output = run("curl", &[&["--silent", "--show-error", "--max-time", "10"], args].concat());
    assert!(output.status.success(), "curl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it is text")
}

#[track_caller]
fn run(program: &str, args: &[&str]) -> std::process::Output {
    Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn url(server: &Server, path: &str) -> String {
    let At::Tcp(address) = server.at else { panic!("{:?} has no URL", server.at) };
    format!("http://{address}{path}")
}
