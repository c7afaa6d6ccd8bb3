//! Settings from every source, and the messages when one of them is wrong.

use std::collections::BTreeMap;
use std::path::Path;

use crate::harness::once::{Run, hospital, run};
use crate::harness::*;

/// `hospital serve --print-config`: each variable with its value and its source.
#[track_caller]
fn settings(launch: Launch) -> BTreeMap<String, (String, String)> {
    let printed = launch.args(["--print-config"]).printed();
    let lines: Vec<_> = printed.lines().collect();
    let read = |pair: &[&str]| {
        let source = pair[0].strip_prefix("# from ").expect("the source stands first");
        let (variable, value) = pair[1].split_once('=').expect("it is a line of an env-file");
        (variable.to_owned(), (value[1..value.len() - 1].to_owned(), source.to_owned()))
    };
    lines.chunks(2).map(read).collect()
}

#[track_caller]
fn assert_set(launch: Launch, variable: &str, value: &str, source: &str) {
    let found = settings(launch).remove(variable);
    assert_eq!(found, Some((value.to_owned(), source.to_owned())), "{variable}");
}

/// The boot ends with code 2 and one line that contains each of the words.
#[track_caller]
fn assert_refused(launch: Launch, words: &[&str]) {
    let (code, stderr) = launch.refused();
    assert_eq!(code, 2, "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("hospital: "), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is missing: {stderr}");
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("the directory is ours");
}

fn serve(args: &[&str]) -> Launch {
    Launch::binding(args)
}

#[test]
fn a_misspelt_setting_in_the_environment_fails_check_config_with_the_right_name() {
    let check = |name| serve(&["--check-config", "hospital.healthchecks"]).env(name, "4");
    assert_refused(check("HOSPITAL_WORKER"), &["HOSPITAL_WORKER is not a setting", "HOSPITAL_WORKERS is"]);
    assert_refused(check("HOSPITAL_LIMIT_REQUEST_FIELD_SIZES"), &["(HOSPITAL_LIMIT_REQUEST_FIELD_SIZE is)"]);
    assert_refused(check("HOSPITAL_ZZZZ"), &["HOSPITAL_ZZZZ is not a setting: see"]);
    assert!(check("HOSPITAL_WORKERS").printed().contains("good"));
}

#[test]
fn a_variable_overrides_a_default() {
    let workers = |launch, value, source| assert_set(launch, "HOSPITAL_WORKERS", value, source);
    workers(serve(&[]), "1", "default");
    workers(serve(&[]).env("HOSPITAL_WORKERS", "2"), "2", "HOSPITAL_WORKERS in the environment");
}

#[test]
fn an_env_file_is_overridden_by_env_and_that_by_a_flag() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("env");
    write(&path, "# ours\nexport HOSPITAL_WORKERS='3'\nHEALTHCHECKS=\"hospital.healthchecks\"\n");
    let file = path.display().to_string();
    let launch = |args: &[&str]| serve(&["--env-file", &file]).env("HOSPITAL_WORKERS", "2").args(args);

    for (args, value, source) in [
        (&[][..], "3", "HOSPITAL_WORKERS in --env-file"),
        (&["--env", "HOSPITAL_WORKERS=4"], "4", "HOSPITAL_WORKERS in --env"),
        (&["--env", "HOSPITAL_WORKERS=4", "-w", "5"], "5", "--workers"),
    ] {
        assert_set(launch(args), "HOSPITAL_WORKERS", value, source);
    }
    assert_set(launch(&[]), "HEALTHCHECKS", "hospital.healthchecks", "HEALTHCHECKS");
    assert_set(launch(&["hospital"]), "HEALTHCHECKS", "hospital", "the command line");
    let named = serve(&[]).env("HOSPITAL_ENV_FILE", &file);
    assert_set(named, "HOSPITAL_WORKERS", "3", "HOSPITAL_WORKERS in --env-file");
}

#[test]
fn an_env_file_behind_a_minus_need_not_be_there_but_has_to_be_good() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("env");
    let optional = || serve(&[&format!("--env-file=-{}", path.display())]);
    assert_set(optional(), "HOSPITAL_WORKERS", "1", "default");
    write(&path, "HOSPITAL_WORKERS=3\n");
    assert_set(optional(), "HOSPITAL_WORKERS", "3", "HOSPITAL_WORKERS in --env-file");
    write(&path, "HOSPITAL_WORKERS\n");
    assert_refused(optional(), &["--env-file", "line 1", "NAME=VALUE"]);
}

#[test]
fn the_variables_of_hosting_platforms_are_read() {
    let platform = || serve(&[]).env("WEB_CONCURRENCY", "3").env("PORT", "8080");
    assert_set(platform(), "HOSPITAL_WORKERS", "3", "WEB_CONCURRENCY in the environment");
    assert_set(platform(), "HOSPITAL_PORT", "8080", "PORT in the environment");
    let ours = || platform().env("HOSPITAL_WORKERS", "4").env("HOSPITAL_PORT", "9090");
    assert_set(ours(), "HOSPITAL_WORKERS", "4", "HOSPITAL_WORKERS in the environment");
    assert_set(ours(), "HOSPITAL_PORT", "9090", "HOSPITAL_PORT in the environment");
}

#[test]
fn what_kubernetes_says_of_a_service_named_hospital_is_no_setting() {
    let launch = serve(&[])
        .env("HOSPITAL_PORT", "tcp://10.0.0.1:1515")
        .env("HOSPITAL_SERVICE_HOST", "10.0.0.1")
        .env("HOSPITAL_PORT_1515_TCP", "tcp://10.0.0.1:1515");
    assert_set(launch, "HOSPITAL_PORT", "1515", "default");
}

#[test]
fn names_of_variables_are_told_apart_by_case() {
    let launch = || serve(&[]).env("Healthchecks", "nonsense").env("port", "88").env("PORT", "99");
    assert_set(launch(), "HOSPITAL_PORT", "99", "PORT in the environment");
    assert_set(launch(), "HEALTHCHECKS", "hospital.healthchecks.predictable.collected", "HEALTHCHECKS");
}

#[test]
fn of_a_name_that_an_env_file_has_twice_the_last_one_counts() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("env");
    write(&path, "PORT=1\nPORT=2\nHEALTHCHECKS=a\nHEALTHCHECKS=b\n");
    let file = path.display().to_string();
    assert_set(serve(&["--env-file", &file]), "HOSPITAL_PORT", "2", "PORT in --env-file");
    assert_set(serve(&["--env-file", &file]), "HEALTHCHECKS", "b", "HEALTHCHECKS");
}

#[test]
fn what_is_printed_can_be_read_again_and_shows_no_secret() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("env");
    let launch = || {
        serve(&[
            "-n",
            "my \"name",
            "-e",
            "TOKEN=s3cret",
            "-w",
            "3",
            "tcp://user:s3cret@127.0.0.1:1",
            "exec:/bin/true#env=DB_PASSWORD=s3cret",
            "--print-config",
        ])
    };
    let printed = launch().printed();
    assert!(!printed.contains("s3cret"), "{printed}");
    write(&path, &printed);
    let file = path.display().to_string();
    assert_set(serve(&["--env-file", &file]), "HOSPITAL_NAME", "my \"name", "HOSPITAL_NAME in --env-file");
    assert_set(serve(&["--env-file", &file]), "HOSPITAL_WORKERS", "3", "HOSPITAL_WORKERS in --env-file");
}

#[test]
fn an_env_file_that_could_not_be_read_again_is_refused_at_once() {
    let directory = tempfile::tempdir().expect("there is room");
    let fifo = directory.path().join("fifo").display().to_string();
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo is there");
    assert!(made.success());
    assert_refused(serve(&["--env-file", &fifo]), &["--env-file", &fifo, "not a regular file"]);
}

#[test]
fn the_largest_number_of_requests_is_never_reached() {
    let most = u64::MAX.to_string();
    for jitter in ["5", &most] {
        let server = Server::start(["-w", "1", "--max-requests", &most, "--max-requests-jitter", jitter]);
        let worker = server.workers();
        for _ in 0..8 {
            assert_eq!(get(&server.at, "/livez").status, 200);
        }
        assert_eq!(server.workers(), worker, "{}", server.stderr());
    }
}

#[test]
fn a_time_in_which_nothing_could_be_done_is_refused() {
    for flag in ["--request-timeout", "--header-timeout"] {
        assert_refused(serve(&[flag, "0"]), &[flag, "longer than 0"]);
    }
}

#[test]
fn a_good_configuration_can_be_checked_without_starting() {
    // A port that is taken does not matter: nothing is bound.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let printed = serve(&["--check-config", "--host", "127.0.0.1", "--port", &port]).printed();
    assert_eq!(printed, "the configuration is good\n");
    assert_refused(serve(&["--check-config", "nope"]), &["nope"]);
}

#[test]
fn a_bad_flag_is_named() {
    for (args, words) in [
        (&["-w", "0"][..], &["--workers", "1..=256"][..]),
        (&["-w", "many"], &["--workers"]),
        (&["-w", "-1"], &["-1"]),
        (&["-w"], &["--workers"]),
        (&["-t", "soon"], &["--timeout", "30s"]),
        (&["--graceful-timeout=-1s"], &["--graceful-timeout"]),
        (&["--keep-alive", "1e300"], &["--keep-alive"]),
        (&["-m", "9"], &["--umask", "octal"]),
        (&["-m", "1777"], &["--umask", "octal"]),
        (&["--port", "65536"], &["--port"]),
        (&["-b", "::1"], &["--bind", "brackets"]),
        (&["-b", ""], &["--bind", "HOST:PORT"]),
        (&["--fd=-1"], &["--fd"]),
        (&["--fd", "web"], &["--fd"]),
        (&["--fail-status", "200"], &["--fail-status", "400..=599"]),
        (&["--log-level", "loud"], &["--log-level", "warning"]),
        (&["--log-format", "xml"], &["--log-format", "json"]),
        (&["-e", "1X=2"], &["--env", "NAME=VALUE"]),
        (&["-u", "no-such-user"], &["--user", "no-such-user", "getent"]),
        (&["-g", "no-such-group"], &["--group", "no-such-group", "getent"]),
        (&["--chdir", "/no/such/place"], &["--chdir", "/no/such/place"]),
        (&["--env-file", "/no/such/file"], &["--env-file", "/no/such/file"]),
        (&["--env-file", "/"], &["--env-file", "/", "not a regular file"]),
        (&["--error-logfile", "/no/such/file"], &["--error-logfile", "/no/such/file"]),
        (&["--worker", "2"], &["--worker", "--workers"]),
        (&["--limit-request-fields", "0"], &["--limit-request-fields"]),
    ] {
        assert_refused(serve(args), words);
    }
}

#[test]
fn a_bad_variable_is_named() {
    for (variable, value, word) in [
        ("WEB_CONCURRENCY", "", "whole number"),
        ("WEB_CONCURRENCY", "many", "whole number"),
        ("PORT", "http", "whole number"),
        ("HOSPITAL_WORKERS", "0", "1..=256"),
        ("HOSPITAL_TIMEOUT", "soon", "30s"),
        ("HOSPITAL_UMASK", "rwx", "octal"),
        ("HOSPITAL_PORT", "udp://10.0.0.1:1", "whole number"),
        ("HOSPITAL_FAIL_STATUS", "42", "400..=599"),
        ("HOSPITAL_LOG_LEVEL", "loud", "warning"),
    ] {
        let launch = serve(&[]).env(variable, value);
        assert_refused(launch, &[&format!("{variable}: "), word]);
    }
    assert_refused(serve(&[]).env("HOSPITAL_USER", "no-such-user"), &["no-such-user"]);
    // This number means "no change" to the kernel.
    for flag in ["--user", "--group"] {
        assert_refused(serve(&[flag, "4294967295"]), &[flag, "4294967295", "there is no such"]);
    }
    assert_refused(serve(&[]).env("HOSPITAL_ENV_FILE", "/no/such/file"), &["/no/such/file"]);
}

#[test]
fn a_bad_line_of_an_env_file_is_named_but_not_shown() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("env");
    let file = path.display().to_string();
    for text in ["A=1\ns3cret\n", "A=1\nB=\"s3cret\n", "A=1\nB-C=s3cret\n"] {
        write(&path, text);
        let (code, stderr) = refused(&["--env-file", &file], &[]);
        assert_eq!((code, stderr.lines().count()), (2, 1), "{stderr}");
        assert!(stderr.contains(&file) && stderr.contains("line 2"), "{stderr}");
        assert!(!stderr.contains("s3cret"), "{stderr}");
    }
    write(&path, "A=1\nHOSPITAL_WORKERS=many\n");
    assert_refused(serve(&["--env-file", &file]), &["HOSPITAL_WORKERS: "]);
}

#[test]
fn a_slip_beside_a_password_publishes_it_nowhere() {
    for name in [
        "http:/user:hunter2@shop/",
        "htp://user:hunter2@shop/",
        "//user:hunter2@shop/",
        "http://shop/#haeder=X-Token:%20hunter2",
        "http://shop/#X-Token:%20hunter2",
        "http://shop/#header=X-Token:abc&hunter2secret",
        "http://shop/#timeout=hunter2",
        "db=://user:hunter2@shop/",
    ] {
        let printed = serve(&["--print-config", name]).printed();
        assert!(printed.contains("HEALTHCHECKS=") && !printed.contains("hunter2"), "{printed}");
        let (code, stderr) = serve(&["--check-config", name]).refused();
        assert!(code == 2 && !stderr.contains("hunter2"), "{stderr}");
    }
    for args in [
        &["-e", "PASSWORD:hunter2"][..],
        &["-e", "hunter2"],
        &["--pasword=hunter2"],
        &["--bind", "http://user:hunter2@shop/"],
    ] {
        let (code, stderr) = serve(args).refused();
        assert!(code == 2 && !stderr.contains("hunter2"), "{stderr}");
    }
    let Run { code, stderr, .. } = run(hospital("http://user:hunter2@shop/"));
    assert!(code == Some(2) && !stderr.contains("hunter2"), "{stderr}");
}

#[test]
fn a_name_that_collects_nothing_is_an_error_that_says_what_is_known() {
    let known = "hospital.healthchecks.predictable";
    for names in ["shop.ping", "hospital shop.ping", "hospital.healthcheck"] {
        let name = names.rsplit(' ').next().expect("there is one");
        let launch = serve(&[]).env("HEALTHCHECKS", names);
        assert_refused(launch, &["HEALTHCHECKS", name, known]);
    }
    assert_refused(serve(&["shop.ping"]), &["the command line", "shop.ping", known]);
}

#[test]
fn nothing_to_check_is_an_error_that_says_what_to_set() {
    for launch in [serve(&[]).without("HEALTHCHECKS"), serve(&[]).env("HEALTHCHECKS", " \t")] {
        let empty = tempfile::tempdir().expect("there is room");
        assert_refused(launch.current_dir(empty.path()), &["HEALTHCHECKS"]);
    }
}

#[test]
fn a_variable_that_looks_like_a_setting_is_warned_about() {
    let server = Launch::serve::<_, &str>([]).env("HOSPITAL_WROKERS", "2").start();
    let stderr = server.stderr();
    let warning = stderr.lines().find(|line| line.contains("HOSPITAL_WROKERS")).expect("it is named");
    assert!(warning.contains("WARN"), "{warning}");
}

/// A server whose env-file can be rewritten.
struct Reloadable {
    server: Server,
    file: std::path::PathBuf,
}

impl Reloadable {
    #[track_caller]
    fn start(text: &str) -> Reloadable {
        let launch = Launch::serve::<_, &str>([]);
        let file = launch.path("env");
        write(&file, text);
        let server = launch.args([std::ffi::OsStr::new("--env-file"), file.as_os_str()]).start();
        Reloadable { server, file }
    }

    fn reload(&self, text: &str) {
        write(&self.file, text);
        self.server.signal(Signal::SIGHUP);
    }
}

#[test]
fn a_reload_reads_the_env_file_again() {
    let long = format!("/livez?{}", "x".repeat(200));
    let reloadable = Reloadable::start("HOSPITAL_LIMIT_REQUEST_LINE=100\n");
    let server = &reloadable.server;
    let before = server.workers();
    assert_eq!((before.len(), get(&server.at, &long).status), (1, 414));

    reloadable.reload("HOSPITAL_WORKERS=3\nHOSPITAL_LIMIT_REQUEST_LINE=1000\n");
    server.logs("reloaded");
    eventually("the old worker is gone", || !processes::is_alive(before[0]));
    assert_eq!((server.workers().len(), get(&server.at, &long).status), (3, 200));

    reloadable.reload("");
    eventually("the defaults are back", || server.workers().len() == 1);
}

#[test]
fn a_bad_reload_keeps_the_old_configuration_and_says_why() {
    let reloadable = Reloadable::start("HOSPITAL_WORKERS=2\n");
    let server = &reloadable.server;
    let before = server.workers();
    for (text, word) in [
        ("HOSPITAL_WORKERS=many\n", "HOSPITAL_WORKERS: "),
        ("s3cret\n", "line 1"),
        ("HEALTHCHECKS=shop.ping\n", "shop.ping"),
        ("HEALTHCHECKS=\n", "HEALTHCHECKS"),
        ("HOSPITAL_USER=no-such-user\n", "no-such-user"),
    ] {
        let refusals = || server.stderr().matches("reload refused").count();
        let count = refusals();
        reloadable.reload(text);
        eventually("it is refused", || refusals() > count);
        let stderr = server.stderr();
        let line = stderr.lines().rfind(|line| line.contains("reload refused")).expect("it was just counted");
        assert!(line.contains(word) && line.contains("ERROR"), "{line}");
        assert!(!stderr.contains("s3cret"), "{stderr}");
        assert_eq!(server.workers(), before, "nobody was replaced");
        assert_eq!(get(&server.at, "/").status, 200);
    }
    std::fs::remove_file(&reloadable.file).expect("it is there");
    server.signal(Signal::SIGHUP);
    server.logs("cannot be read");
    assert_eq!(server.workers(), before);

    reloadable.reload("HOSPITAL_WORKERS=1\n");
    eventually("a good one is taken after all", || server.workers().len() == 1);
}

#[test]
fn an_env_file_is_the_same_one_at_a_reload_whatever_the_directory_is_now() {
    let directory = tempfile::tempdir().expect("there is room");
    write(&directory.path().join("env"), "HOSPITAL_WORKERS=2\n");
    let server = Launch::serve(["--env-file", "env", "--chdir", "/"]).current_dir(directory.path()).start();
    assert_eq!(server.workers().len(), 2);
    write(&directory.path().join("env"), "HOSPITAL_WORKERS=3\n");
    server.signal(Signal::SIGHUP);
    eventually("it is read again", || server.workers().len() == 3);
}

#[test]
fn a_token_file_that_protects_nothing_is_refused() {
    for details in ["always", "never"] {
        let (code, stderr) = refused(&["-b", "127.0.0.1:0", "--details", details, "--token-file", "token"], &[]);
        assert_eq!((code, stderr.lines().count()), (2, 1), "{stderr}");
        assert!(stderr.contains("--details token"), "{stderr}");
    }
}
