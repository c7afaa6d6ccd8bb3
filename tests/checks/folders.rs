//! Folders and files of checks, as the binary reads them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::harness::once::{Run, hospital, run};
use crate::harness::{Server, eventually, get, write_program};

#[test]
fn a_change_is_served_without_a_reload_and_a_broken_one_is_an_error_beside_the_old_checks() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let file = folder.path().join("checks.toml");
    write(&file, "first");
    let server = serve(&folder.path().display().to_string());
    assert!(body(&server).contains("\"first\""));

    write(&file, "second");
    eventually("the change is seen", || {
        let body = body(&server);
        body.contains("\"second\"") && !body.contains("\"first\"")
    });

    fs::write(&file, "[[check]]\nuse = 'tpc://db:1'\n").expect("the folder is ours");
    eventually("the fault is seen, beside the old checks", || {
        let answer = get(&server.at, "/");
        let is_named = answer.body.contains("checks.toml:2:7: there is no kind of check");
        assert!(!is_named || answer.status == 500 && answer.body.contains("\"second\""), "{}", answer.body);
        is_named
    });

    write(&file, "third");
    eventually("the change is seen", || {
        let body = body(&server);
        let is_seen = body.contains("\"third\"");
        assert!(!is_seen || !body.contains("tpc") && !body.contains("\"second\""), "{body}");
        is_seen
    });
}

#[test]
fn a_slip_in_a_file_publishes_the_password_neither_at_the_endpoint_nor_in_the_log() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let file = folder.path().join("checks.toml");
    write(&file, "first");
    let server = serve(&folder.path().display().to_string());
    for slip in [
        "use = ' http://user:hunter2@shop/'",
        "use = 'http:/user:hunter2@shop/'",
        "use = http://user:hunter2@shop/",
        "use = 'http://shop/'\nhaeder = 'X-Token: hunter2'\n'hunter2 x' = 1",
        "use = 'http://shop/'\nstatus = 'hunter2'",
    ] {
        fs::write(&file, format!("[[check]]\n{slip}\n")).expect("the folder is ours");
        eventually("the fault is seen", || {
            let answer = get(&server.at, "/");
            assert!(!answer.body.contains("hunter2"), "{}", answer.body);
            answer.body.contains("the last change is not in use")
        });
        write(&file, "mended");
        eventually("it is mended", || !body(&server).contains("the last change is not in use"));
    }
    assert!(!server.stderr().contains("hunter2"), "{}", server.stderr());
}

#[test]
fn a_new_check_is_there_at_the_next_request() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    write(&folder.path().join("a.toml"), "first");
    let server = serve(&folder.path().display().to_string());
    assert!(body(&server).contains("\"first\""));
    write(&folder.path().join("b.toml"), "second");
    assert!(body(&server).contains("\"second\""));
}

#[test]
fn a_program_that_others_may_change_by_now_is_not_run() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let (program, trace) = (folder.path().join("program"), folder.path().join("trace"));
    write_program(&program, &format!("#!/bin/sh\necho run >> {}\n", trace.display()));
    let server = serve(&format!("exec:{}", program.display()));
    assert_eq!(get(&server.at, "/").status, 200);
    let runs = || fs::read_to_string(&trace).expect("it has run").lines().count();
    let before = runs();
    // Only root refuses this: other users trust their own files, whatever their modes.
    fs::set_permissions(&program, fs::Permissions::from_mode(0o777)).expect("it is ours");
    let body = body(&server);
    if nix::unistd::Uid::effective().is_root() {
        assert!(body.contains("is not run, because others may write to it"), "{body}");
        assert_eq!(runs(), before);
    }
}

#[test]
fn without_names_the_checks_of_the_current_folder_are_taken() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let Run { code, stderr: text, .. } = check_config(folder.path(), None);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("set HEALTHCHECKS") && text.contains("./healthchecks.toml"), "{text}");

    write(&folder.path().join("healthchecks.toml"), "one");
    assert_eq!(check_config(folder.path(), None).code, Some(0));
    fs::create_dir(folder.path().join("healthchecks")).expect("the folder is ours");
    write(&folder.path().join("healthchecks/a.toml"), "one");
    let text = check_config(folder.path(), None).stderr;
    assert!(text.contains("two checks have the id \"one\""), "both are taken: {text}");
}

#[test]
fn a_wrong_name_is_one_line_and_exit_2() {
    for (names, expected) in [
        (
            "tpc://db:1",
            "HEALTHCHECKS names \"tpc://db:1\", but there is no kind of check \"tpc\": do you mean \"tcp\"? (known: tcp, ",
        ),
        ("tcp://db:1#tiemout=1", "HEALTHCHECKS names \"tcp://db:1\", but the kind \"tcp\" has no option \"tiemout\""),
        ("db=tcp://a:1 db=tcp://b:1", "two checks have the id \"db\": tcp://a:1 and tcp://b:1"),
        ("/no/such", "HEALTHCHECKS names \"/no/such\", but there is no such file or folder"),
        ("tcp://user:hunter2@db", "HEALTHCHECKS names \"tcp://***@db\", but "),
        ("http//user:hunter2@db", "HEALTHCHECKS names \"…\", but "),
        ("http:/user:hunter2@db", "HEALTHCHECKS names \"http:…\", but "),
    ] {
        let Run { code, stderr: text, .. } = check_config(Path::new("/"), Some(names));
        assert_eq!(code, Some(2), "{text}");
        assert!(text.starts_with(&format!("hospital: {expected}")) && text.lines().count() == 1, "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_folder_that_others_may_write_to_is_refused_with_exit_5() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    write(&folder.path().join("a.toml"), "one");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).expect("the folder is ours");
    let Run { code, stderr: text, .. } = check_config(Path::new("/"), folder.path().to_str());
    assert_eq!(code, Some(5), "{text}");
    assert!(text.contains("others may write to it (its mode is 1777)"), "{text}");
}

/// A file with one check with this title; nobody listens on its port.
fn write(file: &Path, title: &str) {
    let text = format!("[[check]]\nname = '{title}'\nuse = 'tcp://127.0.0.1:1'\ntitle = '{title}'\n");
    // Atomically, as a careful program does: a reader sees either the old file or the new one.
    let new = file.with_extension("new");
    fs::write(&new, text).and_then(|()| fs::rename(&new, file)).expect("the folder is ours");
}

fn check_config(folder: &Path, names: Option<&str>) -> Run {
    let mut command = hospital("serve");
    command.arg("--check-config").current_dir(folder).envs(names.map(|names| ("HEALTHCHECKS", names)));
    run(command)
}

fn serve(name: &str) -> Server {
    Server::start(["-w", "1", name])
}

fn body(server: &Server) -> String {
    get(&server.at, "/").body
}

#[test]
fn what_a_folder_leaves_out_is_named_once_in_the_log_and_in_the_list() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    write(&folder.path().join("good.toml"), "good");
    for (name, mode) in [("backup.sh", 0o755), ("README", 0o644), (".hidden", 0o755)] {
        let path = folder.path().join(name);
        fs::write(&path, "#!/bin/sh\n").expect("the folder is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
    }
    std::os::unix::fs::symlink("nowhere", folder.path().join("dangling")).expect("the folder is ours");
    let expected = [
        ("README", "it is not executable (chmod +x)"),
        ("backup.sh", "its name has more than letters, digits, '_' and '-' before .toml or the end"),
        ("dangling", "it is a link to nothing"),
    ]
    .map(|(name, why)| format!("{} is not a check: {why}", folder.path().join(name).display()));

    let list = |flags: &[&str]| {
        crate::harness::once::run({
            let mut command = crate::harness::once::hospital("list");
            command.args(flags).arg(folder.path());
            command
        })
    };
    let listed = list(&[]);
    let below: Vec<_> = listed.stdout.split("\n\n").nth(1).unwrap_or_default().lines().collect();
    assert_eq!((listed.code, below), (Some(0), expected.iter().map(String::as_str).collect()), "{}", listed.stdout);
    let json = list(&["--json"]);
    assert!(serde_json::from_str::<serde_json::Value>(&json.stdout).is_ok(), "{}", json.stdout);
    assert_eq!(json.stderr.lines().collect::<Vec<_>>(), expected);

    let server =
        crate::harness::Launch::serve(["-w", "2"]).env("HEALTHCHECKS", &folder.path().display().to_string()).start();
    for _ in 0..5 {
        assert_eq!(crate::harness::get(&server.at, "/").status, 500, "nothing listens there");
    }
    for line in &expected {
        assert_eq!(server.stderr().matches(line.as_str()).count(), 1, "{}", server.stderr());
    }
}

#[test]
fn what_was_new_at_the_start_has_not_changed() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    write(&folder.path().join("a.toml"), "first");
    let server =
        crate::harness::Launch::serve(["-w", "1"]).env("HEALTHCHECKS", &folder.path().display().to_string()).start();
    crate::harness::get(&server.at, "/");
    assert!(!server.stderr().contains("have changed"), "{}", server.stderr());
    write(&folder.path().join("b.toml"), "second");
    crate::harness::get(&server.at, "/");
    server.logs("have changed");
}

#[test]
fn a_folder_that_all_may_write_to_is_read_where_nobody_can() {
    // As a ConfigMap's volume: links with all modes, in a folder with all modes, on a read-only file system.
    let script = r#"
        cd "$1" && mount -t tmpfs -o mode=0777 tmpfs "$1" && cd "$1" && mkdir ..v1 && ln -s ..v1 ..data
        printf "[[check]]\nname = 'volume'\nuse = 'file:/'\n" >..v1/a.toml && ln -s ..data/a.toml a.toml
        "$2" list "$1"; echo "writable: $?"
        mount -o remount,ro "$1" && "$2" list "$1"; echo "read-only: $?""#;
    let folder = tempfile::tempdir().expect("a folder for the test");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
    command.arg(folder.path()).arg(crate::harness::HOSPITAL);
    let run = crate::harness::once::run(command);
    assert!(run.stdout.contains("writable: 5") && run.stdout.contains("read-only: 0"), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("volume"), "{}", run.stdout);
}
