//! The endpoint as its clients see it: requests and answers.

use crate::harness::*;

const KEPT: &str = "Host: localhost\r\n\r\n";

/// Sends bytes on a connection of their own, and reads the answer to them.
#[track_caller]
fn exchange(server: &Server, bytes: impl AsRef<[u8]>) -> (Answer, Client) {
    let mut client = Client::to(&server.at);
    // Bytes that arrive too late may find the connection closed; the answer comes all the same.
    let _ = client.try_send(bytes);
    let answer = client.answer();
    (answer, client)
}

#[test]
fn a_report_that_passes_is_200_with_the_json_of_the_manual() {
    let server = Server::start(["-w", "2"]);
    let answer = get(&server.at, "/");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(
        answer.body,
        r#"{
    "status": "pass",
    "details": [
        {
            "test": "Health checks are collected.",
            "status": "pass"
        }
    ],
    "summary": {
        "skip": 0,
        "pass": 1,
        "expected_failure": 0,
        "error": 0,
        "fail": 0,
        "total": 1,
        "unexpected_success": 0
    }
}
"#
    );
}

#[test]
fn a_trailing_slash_names_the_same_check_and_an_odd_accept_field_is_not_refused() {
    let server = Launch::serve(["-w", "1"]).env("HEALTHCHECKS", "db=file:/ file:/ other=file:/etc").start();
    for (path, total) in [("/db", 1), ("/db/", 1), ("/file:/", 1), ("//", 3), ("/readyz/", 0), ("/livez/", 0)] {
        let answer = get(&server.at, path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert!(total == 0 || answer.body.contains(&format!("\"total\": {total},")), "{path}: {}", answer.body);
    }
    assert_eq!(get(&server.at, "/nowhere/").status, 404);
    for accept in ["Accept:", "Accept: *", "Accept: application/json; version=1"] {
        let (answer, _) = exchange(&server, format!("GET /db HTTP/1.1\r\n{accept}\r\n{KEPT}"));
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json; charset=utf-8")));
    }
}

#[test]
fn a_check_that_is_called_like_a_path_of_the_endpoint_is_refused_at_boot_in_one_line() {
    let (code, error) = Launch::serve(["--check-config"]).env("HEALTHCHECKS", "metrics=file:/").refused();
    assert_eq!(code, 2, "{error}");
    assert!(error.lines().count() == 1 && error.contains("/metrics"), "{error}");
}

#[test]
fn a_browser_can_sign_in_and_a_wrong_token_is_401_and_logged_once() {
    let launch = Launch::serve(["-w", "1", "--details", "token"]).env("HEALTHCHECKS", "db=file:/");
    let token = launch.path("token");
    std::fs::write(&token, "s3cret\n").expect("the directory is ours");
    let server = launch.args(["--token-file".as_ref(), token.as_os_str()]).start();
    let ask = |path: &str, fields: &str| {
        exchange(&server, format!("GET {path} HTTP/1.1\r\nAccept: text/html\r\n{fields}{KEPT}")).0
    };
    let page = ask("/", "");
    assert!(page.status == 200 && page.body.contains(r#"href="?signin">Sign in"#), "{}", page.body);
    let challenge = ask("/?signin", "");
    let schemes: Vec<_> = challenge.headers.iter().filter(|(name, _)| name == "www-authenticate").collect();
    assert_eq!((challenge.status, schemes.len()), (401, 2), "{schemes:?}");
    assert!(schemes[0].1.starts_with("Basic realm=") && schemes[1].1.starts_with("Bearer realm="), "{schemes:?}");
    // "admin:s3cret", as a browser sends it.
    let page = ask("/?signin", "Authorization: Basic YWRtaW46czNjcmV0\r\n");
    assert!(page.status == 200 && page.body.contains("<code>db</code>") && !page.body.contains("Sign in"));
    for path in ["/", "/db", "/readyz", "/metrics"] {
        let answer = ask(path, "Authorization: Bearer wrong\r\n");
        assert_eq!(answer.status, 401, "{path}: {}", answer.body);
    }
    assert_eq!(ask("/livez", "Authorization: Bearer wrong\r\n").status, 200, "it is the same for everybody");
    server.logs("a client with a wrong token got 401");
    assert_eq!(server.stderr().matches("wrong token").count(), 1);
}

#[test]
fn who_asks_the_same_again_is_told_what_is_true_now() {
    let launch = Launch::serve(["-w", "1"]);
    let flag = launch.path("flag");
    let server = launch.env("HEALTHCHECKS", &format!("flag=file:{}", flag.display())).start();
    let (mut kept, mut told) = (Client::to(&server.at), Vec::new());
    for there in [false, false, true, true, false] {
        if there { std::fs::write(&flag, "") } else { std::fs::remove_file(&flag).or(Ok(())) }.expect("it is ours");
        for between in ["/", "/livez", "/", "/flag?verbose", "/nowhere", "/"] {
            kept.ask(between);
            let answer = kept.answer();
            if between == "/" {
                assert_eq!(answer.status, if there { 200 } else { 500 });
                assert_eq!(answer.body.contains("\"pass\": 1"), there, "{}", answer.body);
                told.push(answer.body);
            }
        }
    }
    told.dedup();
    assert_eq!(told.len(), 3, "what has not changed is told in the same words");
}

#[test]
fn a_part_of_the_suite_is_asked_for_by_a_dotted_prefix() {
    let server = Server::start::<_, &str>([]);
    for path in [
        "/hospital",
        "/hospital.healthchecks",
        "/hospital.healthchecks.predictable",
        "/hospital.healthchecks.predictable.collected",
        "/hospital.healthchecks.predictable?verbose",
        "/readyz",
    ] {
        let answer = get(&server.at, path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    }
    for path in ["/hospital.health", "/ospital", "/favicon.ico", "/hospital.healthchecks.predictable.collected.x"] {
        let answer = get(&server.at, path);
        assert_is_error(&answer, 404, path);
        assert!(answer.body.contains("hospital.healthchecks.predictable"), "it names what there is: {}", answer.body);
    }
    assert_eq!(get(&server.at, "/livez").body, "livez check passed\n");
}

#[test]
fn a_connection_is_kept_in_http_1_1_until_one_side_says_close() {
    let server = Server::start::<_, &str>([]);
    let mut client = Client::to(&server.at);
    for _ in 0..3 {
        client.ask("/");
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("connection")), (200, None));
    }
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: foo, Close\r\n\r\n");
    assert_eq!(client.answer().header("connection"), Some("close"));
    assert!(client.is_closed());
}

#[test]
fn a_connection_is_closed_in_http_1_0_unless_the_client_asks_to_keep_it() {
    let server = Server::start::<_, &str>([]);
    let (answer, mut client) = exchange(&server, "GET / HTTP/1.0\r\n\r\n");
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(client.is_closed());

    let kept = "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
    let (answer, mut client) = exchange(&server, kept);
    assert_eq!((answer.status, answer.header("connection")), (200, Some("keep-alive")));
    client.send(kept);
    assert_eq!(client.answer().status, 200);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let server = Server::start(["--keep-alive", "50ms"]);
    let mut client = Client::to(&server.at);
    client.ask("/");
    assert_eq!(client.answer().status, 200);
    assert!(client.is_closed());
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start::<_, &str>([]);
    let paths = ["/livez", "/", "/nothing", "/readyz"];
    let requests: String = (0..200).map(|n| format!("GET {} HTTP/1.1\r\n{KEPT}", paths[n % 4])).collect();
    let mut client = Client::to(&server.at);
    client.send(requests);
    for n in 0..200 {
        let answer = client.answer();
        let (status, start) = [(200, "livez"), (200, "{"), (404, "{"), (200, "readyz")][n % 4];
        assert_eq!(answer.status, status, "answer {n}");
        assert!(answer.body.starts_with(start), "answer {n}: {}", answer.body);
    }
}

#[test]
fn a_request_that_comes_while_another_waits_for_its_round_gets_its_own_answer() {
    let directory = tempfile::tempdir().expect("there is room");
    let (began, gate) = (directory.path().join("began"), directory.path().join("gate"));
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).expect("the directory is ours");
    let script = format!("echo%20>>{}%3B%20read%20line%20<{}", began.display(), gate.display());
    let checks = format!("gated=exec:/bin/sh#args=-c&args={script} other=exec:/bin/true");
    let server = Launch::serve([""; 0]).env("HEALTHCHECKS", &checks).start();
    let mut client = Client::to(&server.at);
    client.no_delay();
    // A kept connection is watched.
    client.ask("/livez");
    assert_eq!(client.answer().status, 200);
    client.ask("/gated?verbose");
    eventually("its round begins", || began.exists());
    client.ask("/other?verbose");
    // By the time the worker answers this, it has looked at that connection.
    assert_eq!(get(&server.at, "/livez").status, 200);
    std::fs::write(&gate, "\n").expect("the check reads it");
    std::fs::remove_file(&gate).expect("the directory is ours");
    std::fs::write(&gate, "\n").expect("the directory is ours");
    for id in ["gated", "other"] {
        assert_eq!(client.answer().json()["details"][0]["id"], id);
    }
}

#[test]
fn nothing_behind_a_close_is_answered() {
    let server = Server::start::<_, &str>([]);
    let close = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let (answer, mut client) = exchange(&server, format!("{close}GET /livez HTTP/1.1\r\n{KEPT}"));
    assert_eq!(answer.status, 200);
    assert!(client.try_answer().is_err());
}

#[test]
fn head_is_answered_as_get_without_the_body() {
    let server = Server::start::<_, &str>([]);
    let expected = get(&server.at, "/");
    let mut client = Client::to(&server.at);
    for _ in 0..2 {
        client.send(format!("HEAD / HTTP/1.1\r\n{KEPT}"));
        let answer = client.answer_to_head();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-length"), expected.header("content-length"));
    }
    client.ask("/");
    assert_eq!(client.answer().body, expected.body, "a body would have come before this");
}

#[test]
fn options_runs_the_checks_as_haproxy_expects() {
    let server = Server::start::<_, &str>([]);
    for request in ["OPTIONS / HTTP/1.0\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let (answer, _) = exchange(&server, request);
        assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("pass")), "{request}");
    }
}

#[test]
fn what_fails_has_the_status_that_was_chosen_whatever_the_method() {
    // Nobody listens there: the port was just released.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = free.local_addr().expect("it is bound").port();
    drop(free);
    let names = format!("hospital.healthchecks.predictable.collected tcp://127.0.0.1:{port}");
    for (args, status) in [(&[][..], 500), (&["--fail-status", "503"], 503)] {
        let server = Launch::serve(args).env("HEALTHCHECKS", &names).start();
        let answer = get(&server.at, "/");
        assert_eq!(answer.status, status, "{}", answer.body);
        let json = answer.json();
        assert_eq!(json["status"], "fail");
        assert_eq!((json["summary"]["pass"].as_u64(), json["summary"]["total"].as_u64()), (Some(1), Some(2)));
        let (answer, _) = exchange(&server, "OPTIONS / HTTP/1.0\r\n\r\n");
        assert_eq!(answer.status, status);
        let mut client = Client::to(&server.at);
        client.send(format!("HEAD / HTTP/1.1\r\n{KEPT}"));
        assert_eq!(client.answer_to_head().status, status);
        assert_eq!(get(&server.at, "/hospital.healthchecks.predictable").status, 200, "that part passes");
    }
}

#[test]
fn other_methods_are_not_allowed() {
    let server = Server::start::<_, &str>([]);
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "QUERY"] {
        let (answer, mut client) = exchange(&server, format!("{method} / HTTP/1.1\r\n{KEPT}"));
        assert_is_error(&answer, 405, method);
        assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"), "{method}");
        client.ask("/livez");
        assert_eq!(client.answer().status, 200, "{method}: the connection goes on");
    }
}

#[test]
fn a_smuggled_second_request_is_never_answered() {
    let server = Server::start::<_, &str>([]);
    let inner = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    for outer in [
        format!("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: {}\r\n\r\n", inner.len()),
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", inner.len()),
        "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
    ] {
        let (answer, mut client) = exchange(&server, format!("{outer}{inner}"));
        assert_eq!(answer.header("connection"), Some("close"), "{outer}");
        assert!(client.is_closed(), "{outer}");
    }
}

#[test]
fn a_get_with_a_body_is_answered_and_the_connection_closed() {
    let server = Server::start::<_, &str>([]);
    let body = "x".repeat(100_000);
    for request in [
        format!("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        format!(
            "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        ),
    ] {
        let (answer, mut client) = exchange(&server, &request);
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        assert!(client.is_closed(), "and in order, without a reset");
    }
    let (_, mut client) = exchange(&server, "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    client.ask("/livez");
    assert_eq!(client.answer().status, 200, "an empty body is none");
}

#[test]
fn a_target_in_absolute_form_is_read_as_its_path() {
    let server = Server::start::<_, &str>([]);
    let (answer, _) = exchange(&server, "GET http://other.example:80/livez HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((answer.status, answer.body.as_str()), (200, "livez check passed\n"));
}

#[test]
fn a_request_that_comes_byte_by_byte_is_answered() {
    let server = Server::start::<_, &str>([]);
    let mut client = Client::to(&server.at);
    client.no_delay();
    for byte in "GET /livez HTTP/1.1\r\nHost: localhost\r\nUser-Agent: slow\r\n\r\n".bytes() {
        client.send([byte]);
    }
    assert_eq!(client.answer().status, 200);
}

#[test]
fn a_head_that_never_ends_is_told_so_in_time() {
    let server = Server::start(["--header-timeout", "300ms"]);
    let (answer, mut client) = exchange(&server, "GET / HTTP/1.1\r\nHost: localhost\r\n");
    assert_is_error(&answer, 408, "half a head");
    assert!(client.is_closed());

    // An occasional byte does not buy more time: what counts is when the head began.
    let mut client = Client::to(&server.at);
    client.send("GET / HTTP/1.1\r\n");
    let started = std::time::Instant::now();
    client.patience(std::time::Duration::from_millis(20));
    let answer = loop {
        let _ = client.try_send("A: b\r\n");
        if let Ok(answer) = client.try_answer() {
            break answer;
        }
        assert!(started.elapsed() < DEADLINE, "it is never answered");
    };
    assert_is_error(&answer, 408, "a drop at a time");
}

#[test]
fn the_limits_of_a_request_can_be_set() {
    let server = Server::start([
        "--limit-request-line",
        "100",
        "--limit-request-fields",
        "3",
        "--limit-request-field_size",
        "100",
    ]);
    for (status, request) in [
        (200, format!("GET /?{} HTTP/1.1\r\nA: b\r\nA: b\r\n{KEPT}", "a".repeat(80))),
        (414, format!("GET /?{} HTTP/1.1\r\n{KEPT}", "a".repeat(100))),
        (431, format!("GET / HTTP/1.1\r\nA: b\r\nA: b\r\nA: b\r\n{KEPT}")),
        (431, format!("GET / HTTP/1.1\r\nA: {}\r\n{KEPT}", "b".repeat(100))),
    ] {
        let (answer, _) = exchange(&server, &request);
        assert_eq!(answer.status, status, "{request}");
    }
}

#[test]
fn a_client_that_sends_no_more_still_gets_its_answer() {
    let server = Server::start::<_, &str>([]);
    let mut client = Client::to(&server.at);
    client.send(format!("GET /livez HTTP/1.1\r\n{KEPT}").repeat(3));
    client.stream().shut_writing();
    for _ in 0..3 {
        assert_eq!(client.answer().status, 200);
    }
    assert!(client.is_closed());
}

#[test]
fn a_query_that_selects_no_check_is_no_green_report() {
    let server = Server::start(["-w", "1"]);
    for path in ["/?tag=readines", "/?exclude=hospital", "/readyz?tag=nothing"] {
        assert_eq!(get(&server.at, path).status, 404, "{path}");
    }
    assert_eq!(get(&server.at, "/?exclude=nothing").status, 200);
}

#[test]
fn a_maintenance_file_that_cannot_be_read_is_maintenance_all_the_same() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("maintenance");
    let server = Server::start(["--maintenance-file".as_ref(), path.as_os_str()]);
    assert_eq!(get(&server.at, "/readyz").status, 200);
    std::fs::write(&path, b"\xff\xfe").expect("the directory is ours");
    assert_eq!(get(&server.at, "/readyz").status, 503);
    std::fs::write(&path, "back at five\nor so\n").expect("the directory is ours");
    let answer = get(&server.at, "/readyz");
    assert_eq!((answer.status, answer.body.as_str()), (503, "readyz check failed: back at five\n"));
    std::fs::remove_file(&path).expect("it is there");
    assert_eq!(get(&server.at, "/readyz").status, 200);
}

#[test]
fn maintenance_leaves_a_line_in_the_log_as_it_begins_and_as_it_ends() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("maintenance");
    let server = Server::start(["-w".as_ref(), "2".as_ref(), "--maintenance-file".as_ref(), path.as_os_str()]);
    for (round, reason) in ["back at five\nor so\n", "again\x1b[2J"].into_iter().enumerate() {
        assert_eq!(get(&server.at, "/readyz").status, 200);
        std::fs::write(&path, reason).expect("the directory is ours");
        for _ in 0..20 {
            assert_eq!(get(&server.at, "/readyz").status, 503);
            assert!(get(&server.at, "/?format=tap").body.contains("\n# in maintenance: "), "every format says so");
            assert!(get(&server.at, "/metrics").body.contains("\nhospital_maintenance 1\n"));
        }
        std::fs::remove_file(&path).expect("it is there");
        for _ in 0..20 {
            assert_eq!(get(&server.at, "/").json()["maintenance"], serde_json::Value::Null);
            assert_eq!(get(&server.at, "/readyz").status, 200);
            assert!(get(&server.at, "/metrics").body.contains("\nhospital_maintenance 0\n"));
        }
        let log = server.stderr();
        let told = |text: &str| log.lines().filter(|line| line.contains(text)).count();
        assert_eq!(told("maintenance begins, /readyz fails: "), round + 1, "once for both workers: {log}");
        assert_eq!(told("maintenance ends, "), round + 1, "once for both workers: {log}");
        assert!(log.contains("maintenance begins, /readyz fails: back at five\n"), "{log}");
        assert!(!log.contains('\x1b'), "{log}");
    }
}
