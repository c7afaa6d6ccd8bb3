//! What is remembered of checks: why one fails, from the running service and from what it has left.

use std::fs;
use std::path::Path;

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
        let refused = told("why", state.path(), &["db"]);
        assert!(refused.code == Some(2) && refused.stderr.contains("not told to strangers"), "{}", refused.stderr);
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

fn sha256(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
