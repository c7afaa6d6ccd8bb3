//! The access log: one line for each answer, in order, and without anything that does not belong there.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use crate::harness::load::{Load, Shape};
use crate::harness::*;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

/// A server with an access log in its directory.
#[track_caller]
fn logging(args: &[&str]) -> Server {
    let launch = Launch::serve(["-w", "1"]);
    let log = launch.path("access").display().to_string();
    launch.args(["--access-logfile", &log]).args(args).start()
}

fn read(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Sends bytes on a connection of their own, and reads the answer to them.
#[track_caller]
fn exchange(server: &Server, bytes: impl AsRef<[u8]>) -> Answer {
    let mut client = Client::to(&server.at);
    // Bytes that arrive too late may find the connection closed; the answer comes all the same.
    let _ = client.try_send(bytes);
    client.answer()
}

/// The parts of a combined line.
#[derive(Debug)]
struct Combined {
    client: String,
    request: String,
    status: u16,
    bytes: usize,
    referer: String,
    agent: String,
    id: String,
}

#[track_caller]
fn combined(line: &str) -> Combined {
    let form = r#"^(\S+) - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "([^"]*)" (\d{3}) (\d+) "([^"]*)" "([^"]*)" (\d+-\d+) \d+\.\d{6}$"#;
    let parts = regex_lite::Regex::new(form).expect("it is well formed").captures(line);
    let parts = parts.unwrap_or_else(|| panic!("this is not a line: {line:?}"));
    let part = |index: usize| parts[index].to_owned();
    Combined {
        client: part(1),
        request: part(2),
        status: part(3).parse().expect("it is a number"),
        bytes: part(4).parse().expect("it is a number"),
        referer: part(5),
        agent: part(6),
        id: part(7),
    }
}

#[test]
fn each_answer_is_a_line_those_to_what_is_no_request_too() {
    let server = logging(&["--header-timeout", "200ms", "--limit-request-line", "100"]);
    let kept = "Host: x\r\n\r\n";
    let long = "a".repeat(200);
    let cases = [
        ("GET /", 200, format!("GET / HTTP/1.1\r\n{kept}")),
        ("HEAD /", 200, format!("HEAD / HTTP/1.1\r\n{kept}")),
        ("OPTIONS *", 200, format!("OPTIONS * HTTP/1.1\r\n{kept}")),
        ("GET /livez", 200, format!("GET /livez HTTP/1.1\r\n{kept}")),
        ("GET /readyz?verbose", 200, format!("GET /readyz?verbose HTTP/1.1\r\n{kept}")),
        ("GET /nothing", 404, format!("GET /nothing HTTP/1.1\r\n{kept}")),
        ("POST /", 405, format!("POST / HTTP/1.1\r\n{kept}")),
        ("GET /?format=nothing", 400, format!("GET /?format=nothing HTTP/1.1\r\n{kept}")),
        ("GET /", 406, format!("GET / HTTP/1.1\r\nAccept: image/png\r\n{kept}")),
        ("GET /", 400, "GET / HTTP/1.1\r\n\r\n".to_owned()),
        ("GET /slow", 408, "GET /slow HTTP/1.1\r\nHost: x\r\n".to_owned()),
        (&*format!("GET /{long}"), 414, format!("GET /{long} HTTP/1.1\r\n{kept}")),
        ("GET /", 431, format!("GET / HTTP/1.1\r\n{}{kept}", "A: b\r\n".repeat(200))),
        ("BREW /", 501, format!("BREW / HTTP/1.1\r\n{kept}")),
        ("-", 400, "\x16\x03\x01\x02\r\n\r\n".to_owned()),
    ];
    for (index, (request, status, bytes)) in cases.iter().enumerate() {
        let mut client = Client::to(&server.at);
        let _ = client.try_send(bytes);
        let head = request.starts_with("HEAD");
        let answer = if head { client.answer_to_head() } else { client.answer() };
        let lines = read(&server.path("access"));
        assert_eq!(lines.len(), index + 1, "one line for each: {lines:#?}");
        let line = combined(&lines[index]);
        let shown = if *request == "-" { "-".to_owned() } else { format!("{request} HTTP/1.1") };
        assert_eq!((line.request.as_str(), line.status), (shown.as_str(), *status), "{line:?}");
        assert_eq!((line.client.as_str(), line.status), ("127.0.0.1", answer.status));
        assert_eq!(line.bytes, answer.body.len(), "{line:?}");
        assert_eq!(Some(line.id.as_str()), answer.header("x-request-id"));
        assert_eq!((line.referer.as_str(), line.agent.as_str()), ("-", "-"));
    }
}

#[test]
fn pipelined_requests_have_their_lines_in_order() {
    let server = logging(&[]);
    let mut client = Client::to(&server.at);
    let requests: String =
        (0..50).map(|n| format!("GET /?tag={n} HTTP/1.1\r\nHost: x\r\nUser-Agent: {n}\r\n\r\n")).collect();
    client.send(requests);
    (0..50).for_each(|_| drop(client.answer()));
    for (index, line) in read(&server.path("access")).iter().enumerate() {
        let line = combined(line);
        assert_eq!((line.request, line.agent), (format!("GET /?tag={index} HTTP/1.1"), index.to_string()));
    }
    assert_eq!(read(&server.path("access")).len(), 50);
}

#[test]
fn in_json_each_line_is_an_object() {
    let server = logging(&["--access-logformat", "json"]);
    let answer = exchange(&server, "GET /?verbose HTTP/1.1\r\nHost: x\r\nUser-Agent: a \"b\" é\r\n\r\n");
    let refused = exchange(&server, "\x16\x03\x01\r\n\r\n");
    let lines = read(&server.path("access"));
    let objects: Vec<serde_json::Value> =
        lines.iter().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    let [first, second] = &objects[..] else { panic!("there are two: {lines:?}") };
    assert_eq!((first["client"].as_str(), first["method"].as_str()), (Some("127.0.0.1"), Some("GET")));
    assert_eq!((first["target"].as_str(), first["protocol"].as_str()), (Some("/?verbose"), Some("HTTP/1.1")));
    assert_eq!((first["status"].as_u64(), first["bytes"].as_u64()), (Some(200), Some(answer.body.len() as u64)));
    assert_eq!(first["user_agent"].as_str(), Some("a \"b\" é"));
    assert_eq!(first["request_id"].as_str(), answer.header("x-request-id"));
    assert!(first["seconds"].as_f64().is_some_and(|seconds| (0.0..10.0).contains(&seconds)));
    assert!(first["time"].as_str().is_some_and(|time| humantime::parse_rfc3339(time).is_ok()), "{first}");
    assert!(first["referer"].is_null() && second["method"].is_null() && second["target"].is_null(), "{second}");
    assert_eq!(second["status"].as_u64(), Some(refused.status.into()));
}

#[test]
fn nothing_that_a_client_sends_begins_a_line_or_a_field() {
    for format in ["combined", "json"] {
        let server = logging(&["--access-logformat", format]);
        let forged = "\" 200 1 \"-\" \"-\" 1-1 0.0\r\n1.2.3.4 - - [x] \"GET /forged HTTP/1.1";
        for request in [
            format!("GET /x HTTP/1.1\r\nHost: x\r\nUser-Agent: {}\r\n\r\n", forged.replace("\r\n", "\u{85}\u{2028}")),
            format!("GET /x HTTP/1.1\r\nHost: x\r\nUser-Agent: a\r\n b{forged}\r\n\r\n"),
            "GET /x HTTP/1.1\r\nHost: x\r\nUser-Agent: a\rb\x1b[2J\x00\r\n\r\n".to_owned(),
            "GET /x\"%0a\\ HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            format!("GET /x HTTP/1.1\r\nHost: x\r\nReferer: {}\r\n\r\n", "\"".repeat(4000)),
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "\u{fc}".repeat(1500)),
        ] {
            exchange(&server, request);
        }
        let text = std::fs::read(server.path("access")).expect("there is one");
        assert!(text.iter().all(|byte| (b' '..=b'~').contains(byte) || *byte == b'\n'), "it is ASCII");
        let lines = read(&server.path("access"));
        assert_eq!(lines.len(), 6, "{lines:#?}");
        for line in lines {
            assert!(line.len() < 4096, "{} bytes", line.len());
            match format {
                "json" => drop(serde_json::from_str::<serde_json::Value>(&line).expect("it is JSON")),
                _ => drop(combined(&line)),
            }
        }
    }
}

#[test]
fn what_may_be_a_secret_is_not_logged() {
    let server = logging(&[]);
    for request in [
        "GET /?token=s3cret HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /?s3cret&verbose HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\r\n\r\n",
        "GET http://me:s3cret@host/ HTTP/1.1\r\nHost: x\r\nCookie: s3cret\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nReferer: http://me:s3cret@a/b?s3cret\r\n\r\n",
        "Authorization: Bearer s3cret\r\n\r\n",
        "GET / HTTP/1.1\nAuthorization: Bearer s3cret\n\n",
    ] {
        exchange(&server, request);
    }
    let lines = read(&server.path("access"));
    assert_eq!(lines.len(), 6);
    assert!(!lines.concat().contains("s3cret") && !server.stderr().contains("s3cret"), "{lines:#?}");
    assert_eq!(combined(&lines[0]).request, "GET /?*** HTTP/1.1");
    assert_eq!(combined(&lines[1]).request, "GET /?***&verbose HTTP/1.1");
    assert_eq!(combined(&lines[2]).request, "GET http://host/ HTTP/1.1");
    assert_eq!(combined(&lines[3]).referer, "http://a/b");
}

#[test]
fn a_log_that_is_rotated_loses_no_line() {
    let launch = Launch::serve(["-w", "3"]);
    let log = launch.path("access").display().to_string();
    let server = launch.args(["--access-logfile", &log]).start();
    let load = Load::start(&server.at, Shape::default());
    let mut rotated = Vec::new();
    for number in 0..5 {
        load.wait_for_answers(50);
        let old = server.path(&format!("access.{number}"));
        std::fs::rename(server.path("access"), &old).expect("it is there");
        rotated.push(old);
        server.signal(Signal::SIGUSR1);
        eventually("it is opened anew", || !read(&server.path("access")).is_empty());
    }
    let tally = load.stop();
    tally.assert_nothing_lost();
    rotated.push(server.path("access"));
    let lines: Vec<_> = rotated.iter().flat_map(|path| read(path)).collect();
    assert_eq!(lines.len(), tally.count(load::Verdict::Ok));
    assert!(lines.iter().all(|line| combined(line).status == 200));
}

#[test]
fn the_lines_of_an_upgrade_and_a_reload_go_to_the_same_file() {
    let launch = Launch::binding(["-b", "127.0.0.1:0", "--pid"]);
    let (pid, log) = (launch.path("pid"), launch.path("access").display().to_string());
    let mut server = launch.args([pid.as_os_str()]).args(["--access-logfile", &log]).start();
    assert_eq!(get(&server.at, "/?tag=before").status, 404);
    server.signal(Signal::SIGHUP);
    server.logs("reloaded: all workers");
    assert_eq!(get(&server.at, "/?tag=reloaded").status, 404);
    server.signal(Signal::SIGUSR2);
    assert_eq!(server.wait(), Some(0));
    assert_eq!(get(&server.at, "/?tag=upgraded").status, 404);
    let requests: Vec<_> = read(&server.path("access")).iter().map(|line| combined(line).request).collect();
    assert_eq!(requests, ["before", "reloaded", "upgraded"].map(|tag| format!("GET /?tag={tag} HTTP/1.1")));
    let heir = std::fs::read_to_string(pid).expect("it has one").trim().parse().expect("it is a pid");
    send(heir, Signal::SIGTERM);
    eventually("the new master ends", || !processes::is_alive(heir));
}

#[test]
fn an_access_log_on_a_full_disk_stops_nothing() {
    let server = Server::start(["-w", "2", "--access-logfile", "/dev/full"]);
    let load = Load::start(&server.at, Shape::default());
    load.wait_for_answers(100);
    load.stop().assert_nothing_lost();
    assert!(!server.stderr().contains("ERROR"), "{}", server.stderr());
}

#[test]
fn a_log_at_its_size_limit_stops_nothing() {
    const LIMIT: u64 = 4096;
    let launch = Launch::under("prlimit", [format!("--fsize={LIMIT}")]);
    let [log, access] = ["log", "access"].map(|name| launch.path(name).display().to_string());
    let args = ["-b", "127.0.0.1:0", "-w", "2", "--error-logfile", &log, "--access-logfile", &access];
    let mut server = launch.args(args).start();
    let workers = server.workers();
    let length = |path: &str| std::fs::metadata(path).expect("it is there").len();
    let load = Load::start(&server.at, Shape::default());
    load.wait_for_answers(200);
    assert_eq!((length(&access), server.workers()), (LIMIT, workers));
    eventually("the log of a master that reloads is full, too", || {
        let before = server.workers();
        server.signal(Signal::SIGHUP);
        eventually("it reloads", || server.workers().len() == 2 && server.workers() != before);
        length(&log) == LIMIT
    });
    load.wait_for_answers(20);
    load.stop().assert_nothing_lost();

    // There is room again.
    for path in [&log, &access] {
        File::options().write(true).open(path).and_then(|file| file.set_len(0)).expect("it is ours");
    }
    assert_eq!(get(&server.at, "/").status, 200);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    let said = std::fs::read_to_string(&log).expect("it is there");
    assert!(
        said.contains("lines of this log were lost") && said.contains("lines of the access log were lost"),
        "{said}"
    );
}

#[test]
fn an_access_log_that_nobody_reads_stops_nothing_and_its_lost_lines_are_counted_in_the_other_log() {
    let launch = Launch::script(r#"exec "$@" >"$PIPE""#, ["-w", "1", "--fd", "0", "--access-logfile", "-"]);
    let pipe = launch.path("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).expect("the directory is ours");
    let mut reader =
        File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&pipe).expect("it is there");
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let server = launch.on(listener).env("PIPE", &pipe.display().to_string()).spawn();
    assert_eq!(get(&server.at, "/").status, 200);
    fcntl(&reader, FcntlArg::F_SETPIPE_SZ(4096)).expect("a pipe can be made smaller");
    let load = Load::start(&server.at, Shape::default());
    load.wait_for_answers(200);
    load.stop().assert_nothing_lost();
    let mut text = vec![0; 64 * 1024];
    let count = reader.read(&mut text).expect("there is something");
    let text = String::from_utf8_lossy(&text[..count]).into_owned();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("Serving on ")).collect();
    assert!(text.ends_with('\n') && lines.len() > 5, "only whole lines: {text}");
    lines.into_iter().for_each(|line| drop(combined(line)));
    assert_eq!(get(&server.at, "/").status, 200);
    server.logs("lines of the access log were lost");
}

#[test]
fn the_clients_of_a_unix_socket_have_no_address() {
    let launch = Launch::binding(["-w", "1", "--access-logfile"]);
    let (log, address) = (launch.path("access"), format!("unix:{}", launch.path("socket").display()));
    let server = launch.args([log.as_os_str()]).args(["-b", &address]).start();
    assert_eq!(get(&server.at, "/").status, 200);
    assert_eq!(combined(&read(&server.path("access"))[0]).client, "-");
}

#[test]
fn one_that_cannot_be_opened_is_refused_and_one_that_changes_is_reported() {
    let (code, said) = refused(&["-b", "127.0.0.1:0", "--access-logfile", "/nowhere/access"], &[]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--access-logfile /nowhere/access cannot be opened: No such file"), "{said}");

    let launch = Launch::serve(["-w", "1"]);
    let env = launch.path("env");
    std::fs::write(&env, "").expect("the directory is ours");
    let server = launch.args(["--env-file".as_ref(), env.as_os_str()]).start();
    std::fs::write(&env, "HOSPITAL_ACCESS_LOGFILE=/dev/null\n").expect("the directory is ours");
    server.signal(Signal::SIGHUP);
    server.logs("changed from the access log none to the access log /dev/null: that takes a restart");
}

#[test]
fn how_long_an_answer_took_is_in_its_line() {
    let server = logging(&["exec:/bin/sleep#args=0.3"]);
    assert_eq!(get(&server.at, "/").status, 200);
    let line = &read(&server.path("access"))[0];
    let seconds: f64 = line.rsplit(' ').next().and_then(|word| word.parse().ok()).expect("it ends with a number");
    let took = Duration::from_secs_f64(seconds);
    assert!(took >= Duration::from_millis(300) && took < DEADLINE, "{line}");
}
