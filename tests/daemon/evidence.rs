//! What is remembered of checks: why one fails, from the running service and from what it has left.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use crate::harness::once::{Run, hospital, run};
use crate::harness::*;

fn told(verb: &str, state: &Path, args: &[&str]) -> Run {
    let mut command = hospital(verb);
    command.env("HOSPITAL_STATE_DIR", state).args(args);
    run(command)
}

/// A service with two checks of one file, which is there, and its state dir.
fn launch(args: &[&str]) -> (Launch, std::path::PathBuf, tempfile::TempDir) {
    let state = tempfile::tempdir().expect("a folder for the test");
    let launch = Launch::serve(["-w", "2", "--state-dir", state.path().to_str().expect("a plain path")]).args(args);
    let file = launch.path("file");
    fs::write(&file, "").expect("the folder is ours");
    let launch = launch.env("HEALTHCHECKS", &format!("db=file:{0} shop=file:{0}#every=1h&tag=x", file.display()));
    (launch, file, state)
}

fn says_where_it_serves(state: &tempfile::TempDir) {
    let file = state.path().join("history/server");
    eventually("it says where it serves", || file.exists());
}

#[test]
fn why_tells_since_when_a_check_fails_and_what_else_happened_while_it_runs_and_after_its_end() {
    let (launch, file, state) = launch(&[]);
    let mut server = launch.start();
    says_where_it_serves(&state);
    let never = told("why", state.path(), &["db"]);
    let text = "db: it has not run yet, as far as is remembered\n";
    assert!(never.stdout.starts_with(text), "{}{}", never.stdout, never.stderr);
    assert_eq!(get(&server.at, "/db").status, 200);
    let well = told("why", state.path(), &["db"]).stdout;
    assert!(well.starts_with("db: well since 2") && well.contains("it was never seen bad"), "{well}");
    server.signal(Signal::SIGHUP);
    server.logs("all workers are of generation 1");
    eventually("those before are gone", || server.workers().len() == 2);
    fs::remove_file(&file).expect("it is ours");
    assert_eq!(get(&server.at, "/db").status, 500);
    let running = told("why", state.path(), &["db"]);
    for part in [
        "db: failing since 2",
        " 1 bad run; last good 2",
        "  result: pass → fail: expected a file at ",
        "  our configuration: generation 0 → generation 1\n",
        "reloaded: generation 1\n",
    ] {
        assert!(running.stdout.contains(part), "{part} is not in {}{}", running.stdout, running.stderr);
    }
    let status = told("status", state.path(), &[]);
    assert!(status.stdout.contains("\n    failing since 2"), "{}", status.stdout);
    assert_eq!(status.code, Some(1));
    let unknown = told("why", state.path(), &["nothing"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("no check is collected at \"nothing\" (known: db, shop)"), "{}", unknown.stderr);

    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    let left = told("why", state.path(), &["db"]);
    let is_the_same = |text: &str| text.contains("result: pass → fail: expected a file at");
    assert!(left.code == Some(0) && is_the_same(&left.stdout), "{}{}", left.stdout, left.stderr);
    assert!(left.stderr.contains("no server answers at http://127.0.0.1:"), "{}", left.stderr);
    let unknown = told("why", state.path(), &["nothing"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("remembers nothing of \"nothing\" (known: db"), "{}", unknown.stderr);
    assert_eq!(told("status", state.path(), &[]).code, Some(2));
}

#[test]
fn what_is_remembered_survives_a_restart_an_upgrade_and_a_kill() {
    let (launch, file, state) = launch(&[]);
    let mut server = launch.start();
    get(&server.at, "/db");
    fs::remove_file(&file).expect("it is ours");
    get(&server.at, "/db");
    let first = get(&server.at, "/why/db").json()["first_bad"].clone();
    assert_eq!(first["status"], "fail", "{first}");
    eventually("the change is in its file", || {
        let names = fs::read_dir(state.path().join("history")).into_iter().flatten().flatten();
        // One whose name begins with a dot is still being written.
        let names = names.filter(|name| !name.file_name().to_string_lossy().starts_with('.'));
        names.filter_map(|name| fs::read_to_string(name.path()).ok()).any(|text| text.contains("\"first_bad\""))
    });
    server.signal(Signal::SIGKILL);
    server.wait();
    let names = format!("db=file:{}", file.display());
    let state = state.path().to_str().expect("a plain path");
    let server = Server::start(["-w", "2", "--state-dir", state, &names]);
    get(&server.at, "/db");
    let why = get(&server.at, "/why/db").json();
    assert_eq!((&why["first_bad"], &why["bad_runs"]), (&first, &2.into()), "{why}");
    let page = get(&server.at, "/?format=html").body;
    let first_second = first["at"].as_str().and_then(|at| at.split('.').next()).expect("it is a time");
    assert!(page.contains(&format!("since <time datetime=\"{first_second}")), "{first_second} is not in {page}");
    let started =
        why["around"].as_array().into_iter().flatten().filter(|it| it["what"].to_string().contains("started"));
    assert!(started.count() >= 1, "{why}");
    server.signal(Signal::SIGUSR2);
    server.logs("the new master");
    let why = || get(&server.at, "/why/db").json();
    eventually("the new master answers", || why()["around"].to_string().contains("upgraded"));
    assert_eq!(why()["first_bad"], first);
}

#[test]
fn since_when_is_the_same_everywhere_whatever_a_finding_counts_as_and_after_a_restart() {
    let (launch, file, state) = launch(&[]);
    let checks =
        format!("warned=file:{0}#on_fail=warn often=file:{0}#every=300ms&timeout=200ms&fall=1000", file.display());
    let mut server = launch.env("HEALTHCHECKS", &checks).start();
    get(&server.at, "/");
    fs::remove_file(&file).expect("it is ours");
    get(&server.at, "/");
    let why = |server: &Server, id: &str| get(&server.at, &format!("/why/{id}")).json();
    eventually("the scheduled one fails", || why(&server, "often")["state"] == "would_fail");
    let since = ["warned", "often"].map(|id| why(&server, id)["since"].clone());
    server.signal(Signal::SIGTERM);
    server.wait();
    let dir = state.path().to_str().expect("a plain path");
    let server = Launch::serve(["-w", "2", "--state-dir", dir]).env("HEALTHCHECKS", &checks).start();
    get(&server.at, "/");
    eventually("the scheduled one has run", || why(&server, "often")["status"].is_string());
    let (page, metrics) = (get(&server.at, "/?format=html").body, get(&server.at, "/metrics").body);
    for (id, since) in ["warned", "often"].into_iter().zip(since) {
        assert_eq!(why(&server, id)["since"], since, "{id}");
        let since = since.as_str().expect("it is a time");
        let text = format!("failing since <time datetime=\"{since}\">");
        assert!(page.contains(&text), "{id}: {text} is not in {page}");
        let second = humantime::parse_rfc3339(since).expect("it is a time").duration_since(SystemTime::UNIX_EPOCH);
        let sample = format!("since_timestamp_seconds{{check=\"{id}\"}} {}", second.expect("it is").as_secs());
        assert!(metrics.contains(&sample), "{sample} is not in {metrics}");
    }
}

#[test]
#[ignore = "needs faketime"]
fn a_clock_that_is_set_back_and_ahead_invents_no_episode_and_loses_none() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let (state, file) = (folder.path().join("state"), folder.path().join("file"));
    fs::create_dir(&state).expect("the folder is ours");
    let start = || {
        let state = state.to_str().expect("a plain path");
        let launch = Launch::with_a_clock(["-b", "127.0.0.1:0", "-w", "2", "--state-dir", state]);
        launch.env("HEALTHCHECKS", &format!("db=file:{}", file.display())).start()
    };
    let mut server = start();
    let mut episodes = 0;
    // What the clock is set to, whether the file is there, and whether the service is started anew before that.
    for (clock, is_there, restarts) in [
        ("+0d", true, false),
        ("-1h", true, false),
        ("-1h", false, false),
        ("+1h", false, false),
        ("-2d", true, false),
        ("-9d", true, true),
        ("-9d", false, false),
        ("-20d", false, true),
        ("-20d", true, false),
        ("+400d", false, true),
    ] {
        if restarts {
            server.signal(Signal::SIGTERM);
            assert_eq!(server.wait(), Some(0));
            server = start();
        }
        server.set_clock(clock);
        match is_there {
            true => fs::write(&file, "").expect("the folder is ours"),
            false => fs::remove_file(&file).unwrap_or_default(),
        }
        let was_bad = get(&server.at, "/why/db").json()["state"] == "failing";
        assert_eq!(get(&server.at, "/db").status == 200, is_there, "{clock}");
        episodes += usize::from(!is_there && !was_bad);
        let history = get(&server.at, "/history/db").json();
        let told = history["episodes"].as_array().expect("there is a list");
        assert_eq!(told.len(), episodes, "{clock}: {history:#}");
        let open = told.iter().filter(|episode| episode["to"].is_null()).count();
        assert_eq!(open, usize::from(!is_there), "{clock}: {history:#}");
        let times = told.iter().flat_map(|episode| [&episode["from"], &episode["to"]]).filter_map(|at| at.as_str());
        assert!(times.is_sorted(), "{clock}: {history:#}");
        let why = get(&server.at, "/why/db").json();
        assert_eq!(why["state"] == "well", is_there, "{clock}: {why:#}");
        assert!(is_there || why["good"]["at"].as_str() <= why["first_bad"]["at"].as_str(), "{clock}: {why:#}");
    }
    assert_eq!(episodes, 3);
}

#[test]
fn strangers_are_not_told_why() {
    for (args, code) in [(vec!["--details", "never"], 403), (vec!["--details", "token", "--token-file"], 401)] {
        let token = tempfile::NamedTempFile::new().expect("a file for the test");
        fs::write(token.path(), "s3cret").expect("it is ours");
        let path = token.path().to_str().expect("a plain path");
        let args: Vec<&str> = args.iter().copied().chain((code == 401).then_some(path)).collect();
        let (launch, _, state) = launch(&args);
        let server = launch.start();
        says_where_it_serves(&state);
        get(&server.at, "/db");
        for path in ["/why/db", "/why/nothing", "/history/db", "/history/nothing", "/why"] {
            let answer = get(&server.at, path);
            assert_eq!(answer.status, code, "{path}");
            assert!(!answer.body.contains("db"), "{}", answer.body);
        }
        // Whoever may read the files is no stranger.
        let mut left = told("why", state.path(), &["db"]);
        eventually("its file is written", || {
            left = told("why", state.path(), &["db"]);
            left.code == Some(0)
        });
        assert!(left.stdout.starts_with("db: well since"), "{}", left.stdout);
        assert!(left.stderr.contains("not told to strangers: this is what it has written"), "{}", left.stderr);
        let status = told("status", state.path(), &[]).stdout;
        let is_anonymous = |text: &str| !text.contains("db") && text.contains("check 1 [check-1]");
        // Its checks are well: there is nothing to ask why.
        assert!(is_anonymous(&status), "{status}");
        if code == 401 {
            let told = told("why", state.path(), &["db", "--token-file", path]);
            assert!(told.stdout.starts_with("db: well since"), "{}{}", told.stdout, told.stderr);
        }
    }
}

#[test]
fn without_a_state_dir_the_running_service_remembers_all_the_same() {
    let server = Server::start(["-w", "2", "db=file:/no/such", "hospital.healthchecks.predictable"]);
    get(&server.at, "/");
    let At::Tcp(address) = server.at else { panic!("{:?} has no URL", server.at) };
    let mut command = hospital("why");
    command.args(["--url", &format!("http://{address}"), "db"]);
    let told = run(command).stdout;
    assert!(told.contains("it was never seen good") && told.contains("fail: expected a file"), "{told}");
    for (path, status) in [("/why/hospital.healthchecks.predictable", 404), ("/why", 404), ("/why/db?format=tap", 400)]
    {
        assert_eq!(get(&server.at, path).status, status, "{path}");
    }
    let history = get(&server.at, "/history/db").json();
    assert_eq!(history["episodes"][0]["status"], "fail", "{history}");
    assert_eq!(history["day"].as_array().map(Vec::len), Some(96));
    let page = get(&server.at, "/why/db?format=html");
    assert!(page.body.contains("<title>db: fail</title>"), "{}", page.body);
    assert!(get(&server.at, "/?format=html").body.contains("<a href=\"/why/db\""));
}

#[test]
fn what_is_not_run_is_not_called_well_nor_what_does_not_fail_yet_failing() {
    let (launch, file, state) = launch(&[]);
    let checks = format!(
        "db=file:{0} shop=exec:/bin/true#needs=db often=file:{0}#every=300ms&timeout=200ms&fall=1000 quiet=file:/no/such",
        file.display()
    );
    let server = launch.env("HEALTHCHECKS", &checks).start();
    says_where_it_serves(&state);
    let silenced = told("silence", state.path(), &["quiet", "30m", "upgrade"]);
    assert_eq!(silenced.code, Some(0), "{}", silenced.stderr);
    eventually("the scheduled one has run", || get(&server.at, "/").status == 200);
    let headline = |id: &str| get(&server.at, &format!("/why/{id}")).json()["headline"].to_string();
    assert!(headline("quiet").contains("failing since") && headline("quiet").contains("; silenced until "));
    fs::remove_file(&file).expect("it is ours");
    get(&server.at, "/");
    let why = get(&server.at, "/why/shop").json();
    assert_eq!((&why["state"], &why["blocked_by"][0]), (&"blocked".into(), &"db".into()), "{why}");
    assert!(headline("shop").contains("blocked by db, so it is not run; its last runs found it well since"));
    eventually("a scheduled run is bad", || headline("often").contains("it would fail: "));
    assert!(headline("often").contains(" of 1000 failures in a row"), "{}", headline("often"));
    let status = told("status", state.path(), &[]);
    assert!(status.stdout.contains("\n    blocked by db, so it is not run"), "{}", status.stdout);
    assert!(status.stdout.contains(": 2 of 4 checks are bad, and 1 more that are silenced\n"), "{}", status.stdout);
    assert_eq!(status.stdout.matches("silenced until").count(), 1, "{}", status.stdout);
}

#[test]
fn who_gets_no_answer_is_told_what_is_in_the_files_and_other_servers_are_not_believed() {
    let (launch, _, state) = launch(&[]);
    let server = launch.start();
    get(&server.at, "/db");
    eventually("its file is written", || told("why", state.path(), &["db"]).stdout.starts_with("db: well since"));
    let history = state.path().join("history");
    eventually("and that it was so", || fs::read_dir(&history).is_ok_and(|files| files.count() > 3));
    let all: Vec<i32> = std::iter::once(server.master()).chain(server.workers()).collect();
    all.iter().for_each(|&pid| send(pid, Signal::SIGSTOP));
    let (why, status) = (told("why", state.path(), &["db"]), told("status", state.path(), &[]));
    all.iter().for_each(|&pid| send(pid, Signal::SIGCONT));
    assert!(why.code == Some(0) && why.stdout.starts_with("db: well since"), "{}{}", why.stdout, why.stderr);
    assert!(why.stderr.contains("nothing came within 2s: this is what it has written to "), "{}", why.stderr);
    assert!(status.code == Some(2) && status.stdout.starts_with("db: well since"), "{}", status.stdout);

    let other = Fickle::start();
    for verb in ["why", "status"] {
        let mut command = hospital(verb);
        command.args((verb == "why").then_some("db")).args(["--url", &format!("http://127.0.0.1:{}", other.port)]);
        let told = run(command);
        let expected =
            format!("hospital: what answers at http://127.0.0.1:{} is not hospital: it says 200\n", other.port);
        assert_eq!((told.code, told.stderr, told.stdout), (Some(2), expected, String::new()));
    }
}

#[test]
fn what_cannot_be_believed_is_begun_anew_and_said() {
    let (launch, _, state) = launch(&[]);
    let mut server = launch.start();
    get(&server.at, "/db");
    server.signal(Signal::SIGTERM);
    server.wait();
    let history = state.path().join("history");
    let files: Vec<_> = fs::read_dir(&history).expect("it is there").flatten().map(|entry| entry.path()).collect();
    let of_db = files.iter().find(|path| fs::read_to_string(path).is_ok_and(|text| text.contains("\"id\":\"db\"")));
    let of_db = of_db.expect("it was kept");
    let good = fs::read(of_db).expect("it is ours");
    let newer = String::from_utf8_lossy(&good).replace("\"version\":1", "\"version\":2");
    let line = newer.lines().next().expect("there is one");
    let hash = sha256(line);
    let cases: [(Vec<u8>, &str); 4] = [
        (good[..good.len() / 2].to_vec(), "is damaged: what it remembered is begun anew"),
        (Vec::new(), "is damaged"),
        (vec![0xff; 70_000], "is damaged"),
        (format!("{line}\n{hash}\n").into_bytes(), "is from a newer version of hospital"),
    ];
    for (content, why) in cases {
        fs::write(of_db, &content).expect("it is ours");
        let mut server = Server::start(["--state-dir", state.path().to_str().expect("a plain path"), "db=file:/"]);
        server.logs(why);
        assert_eq!(get(&server.at, "/why/db").json()["state"], "unknown");
        server.signal(Signal::SIGTERM);
        server.wait();
    }
}

/// A web server that answers otherwise once it is told to.
struct Fickle {
    port: u16,
    is_bad: Arc<AtomicBool>,
}

impl Fickle {
    fn start() -> Fickle {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let port = listener.local_addr().expect("it is bound").port();
        let is_bad = Arc::new(AtomicBool::new(false));
        let bad = is_bad.clone();
        std::thread::spawn(move || {
            let mut frozen = Vec::new();
            for stream in listener.incoming().flatten() {
                let mut head = [0; 4096];
                let length = (&stream).read(&mut head).unwrap_or_default();
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let (mut status, mut server, mut body, mut more) = ("200 OK", "shop/1.0", "ready".to_owned(), "");
                match (&*path, bad.load(Ordering::SeqCst)) {
                    ("/status", true) => status = "500 Internal Server Error",
                    ("/sorry", true) => (status, body) = ("500 Internal Server Error", "sorry".to_owned()),
                    ("/body", true) => body = "sorry".to_owned(),
                    ("/server", true) => (server, body) = ("shop/2.0", "sorry".to_owned()),
                    ("/moved", true) => (status, more) = ("302 Found", "Location: /login\r\n"),
                    ("/size", true) => body = "x".repeat(10_000),
                    ("/frozen", true) => {
                        frozen.push(stream);
                        continue;
                    }
                    ("/slow", true) => std::thread::sleep(Duration::from_millis(700)),
                    _ => {}
                }
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\nServer: {server}\r\n{more}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                let _ = (&stream).write_all(answer.as_bytes());
            }
        });
        Fickle { port, is_bad }
    }
}

/// Puts a program in place of the one at a path, if there is one: another file, as a package manager does.
fn replace_program(path: &Path, script: &str) {
    let new = path.with_extension("new");
    fs::write(&new, format!("#!/bin/sh\n{script}\n")).expect("the folder is ours");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("it is ours");
    fs::rename(&new, path).expect("the folder is ours");
}

#[test]
fn why_names_the_field_that_a_fault_has_changed() {
    let web = Fickle::start();
    let closed = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let port = closed.local_addr().expect("it is bound").port();
    let launch = Launch::serve(["-w", "1"]);
    let path = |name: &str| launch.path(name);
    let shown = |name: &str| launch.path(name).display().to_string();
    for name in ["gone", "rotated", "emptied"] {
        fs::write(path(name), "ready\n".repeat(100)).expect("the folder is ours");
    }
    let socket = UnixListener::bind(path("socket")).expect("the folder is ours");
    for name in ["exit", "killed", "plugin", "replaced"] {
        replace_program(&path(name), "exit 0");
    }
    let url = |name: &str| format!("{name}=http://127.0.0.1:{}/{name}", web.port);
    // Each check with what is done to it, and the field that this changes.
    let faults: Vec<(String, &str)> = vec![
        (url("status"), "status"),
        (url("sorry"), "body"),
        (url("body") + "#match=ready", "body"),
        (url("server") + "#match=ready", "server"),
        (url("moved"), "location"),
        (url("size") + "#match=ready", "size"),
        (url("frozen") + "#timeout=2s", "status"),
        (url("slow") + "#slow=500ms", "first_byte_ms"),
        (format!("port=tcp://127.0.0.1:{port}"), "errno"),
        (format!("socket=unix:{}", shown("socket")), "errno"),
        (format!("gone=file:{}", shown("gone")), "errno"),
        (format!("rotated=file:{}#match=ready", shown("rotated")), "file"),
        (format!("emptied=file:{}#min_size=1", shown("emptied")), "size"),
        (format!("exit=exec:{}", shown("exit")), "exit"),
        (format!("killed=exec:{}", shown("killed")), "signal"),
        (format!("plugin=plugin:{}", shown("plugin")), "exit"),
        (format!("replaced=exec:{}", shown("replaced")), "program"),
    ];
    let names: Vec<_> = faults.iter().map(|(name, _)| name.as_str()).collect();
    let file = shown("env");
    let suite = |names: &str| fs::write(&file, format!("HEALTHCHECKS='{names}'\n")).expect("the folder is ours");
    suite(&names.join(" "));
    let (gone, socket_file) = (path("gone"), path("socket"));
    let (exit, killed, plugin, replaced) = (path("exit"), path("killed"), path("plugin"), path("replaced"));
    let (rotated, emptied) = (path("rotated"), path("emptied"));
    let server = launch.args(["--env-file", &file]).start();
    let well = get(&server.at, "/?verbose");
    assert_eq!(well.status, 200, "{}", well.body);

    web.is_bad.store(true, Ordering::SeqCst);
    drop((closed, socket));
    for path in [&gone, &socket_file] {
        fs::remove_file(path).expect("it is ours");
    }
    fs::write(rotated.with_extension("new"), "").expect("the folder is ours");
    fs::rename(rotated.with_extension("new"), &rotated).expect("the folder is ours");
    fs::write(&emptied, "").expect("it is ours");
    replace_program(&exit, "exit 3");
    replace_program(&killed, "kill -9 $$");
    replace_program(&plugin, "echo 'CRITICAL - no'; exit 2");
    replace_program(&replaced, "exit 1");
    assert_eq!(get(&server.at, "/").status, 500);
    for (name, field) in &faults {
        let id = name.split('=').next().unwrap_or_default();
        let why = get(&server.at, &format!("/why/{id}")).json();
        let changed: Vec<_> = why["changed"].as_array().into_iter().flatten().map(|it| it["field"].as_str()).collect();
        assert_eq!(why["state"], "failing", "{id}: {why}");
        assert!(changed.contains(&Some(field)), "{id}: {field} is not in {changed:?}: {why:#}");
        assert_ne!(why["first_bad"]["blame"], "ours", "{id}: {why:#}");
    }
}

#[test]
fn where_nothing_can_be_written_it_is_said_and_the_running_service_remembers() {
    let (launch, file, state) = launch(&[]);
    fs::write(state.path().join("history"), "in the way").expect("it is ours");
    let server = launch.start();
    get(&server.at, "/db");
    server.logs("what checks find is kept in memory only: ");
    assert_eq!(get(&server.at, "/why/db").json()["state"], "well");
    fs::remove_file(state.path().join("history")).expect("it is ours");
    fs::remove_file(file).expect("it is ours");
    get(&server.at, "/db");
    server.logs("what checks find is kept there again");
    says_where_it_serves(&state);
}

fn sha256(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
