use super::*;
use crate::model::check::Status;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn found(target: &str, pairs: &[(&str, &str)]) -> Finding {
    let action = build(target, &mut Options::of(pairs)).expect("it is well formed");
    action(Deadline::at(Instant::now() + Duration::from_secs(60)))
}

fn says(finding: &Finding, status: Status, text: &str) {
    let context = finding.context.as_deref().unwrap_or_default();
    assert!(finding.status == status && context.contains(text), "{text:?} should be in {finding:?}");
}

/// A process that has no end of its own.
struct Running(Child);

impl Running {
    fn start(line: &[&str]) -> Running {
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).stdin(Stdio::piped());
        // The file may still be open for writing in a child that another test is forking.
        loop {
            match command.spawn() {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                spawned => break Running(spawned.expect("it can be run")),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process with a name that nothing else has: a copy of `sleep` under another name.
struct Sleeper {
    child: Running,
    folder: tempfile::TempDir,
    name: String,
}

impl Sleeper {
    fn start() -> Sleeper {
        let folder = tempfile::tempdir().expect("there is room");
        let name = format!("sleeper-of-process-{}", folder.path().file_name().expect("it has one").display());
        let path = folder.path().join(&name);
        fs::copy("/bin/sleep", &path).expect("coreutils are there");
        let child = Running::start(&[&path.display().to_string(), "60"]);
        Sleeper { child, folder, name }
    }

    fn pidfile(&self, text: &str) -> String {
        let path = self.folder.path().join("x.pid");
        fs::write(&path, text).expect("there is room");
        path.display().to_string()
    }
}

#[test]
fn a_program_is_known_by_its_name_its_path_and_what_it_calls_itself() {
    for (path, name) in [
        ("nginx", "nginx"),
        ("/usr/sbin/nginx", "nginx"),
        ("/usr/sbin/nginx", "/usr/sbin/nginx"),
        ("nginx: master process /usr/sbin/nginx", "nginx"),
        ("/opt/my shop/bin/shop", "shop"),
        ("puma 5.6.4 (tcp://0.0.0.0:3000) [app]", "puma"),
    ] {
        assert!(names(path, name), "{path} {name}");
    }
    for (path, name) in [
        ("nginx-debug", "nginx"),
        ("/opt/nginx", "/usr/sbin/nginx"),
        ("/nginx/x", "nginx"),
        ("puma 5.6.4 [app]", "[app]"),
    ] {
        assert!(!names(path, name), "{path} {name}");
    }
}

#[test]
fn arguments_and_the_control_group_tell_processes_of_one_program_apart() {
    let sleeper = Sleeper::start();
    assert_eq!(found(&sleeper.name, &[("args", " 6[01]$")]).status, Status::Pass);
    says(&found(&sleeper.name, &[("args", "^worker")]), Status::Fail, "with arguments that match \"^worker\", got 0");
    let pid = i32::try_from(sleeper.child.0.id()).expect("pids are small");
    let groups = procfs::control_groups(pid).expect("it is ours");
    if let Some(group) = groups.iter().find(|group| group.len() > 1) {
        assert_eq!(found(&sleeper.name, &[("cgroup", group)]).status, Status::Pass);
        assert_eq!(found("", &[("cgroup", group), ("min", "2")]).status, Status::Pass);
    }
    let other = found(&sleeper.name, &[("cgroup", "/no/such")]);
    says(&other, Status::Fail, "in the control group /no/such, got 0");
}

#[test]
fn who_asks_for_arguments_is_not_found_by_them() {
    let pattern: Pattern = "worker".parse().expect("it is one");
    let deadline = Deadline::at(Instant::now() + Duration::from_secs(60));
    let has = |line: &[&str]| {
        let line: Vec<_> = line.iter().map(|&word| word.to_owned()).collect();
        has_arguments(&line, &pattern, deadline)
    };
    assert_eq!(has(&["python3", "worker.py"]), Ok(true));
    assert_eq!(has(&["sh", "-c", "hospital check 'process:sh#args=worker'"]), Ok(false));
    assert_eq!(has(&[]), Ok(false), "a thread of the kernel");
    let error = build("", &mut Options::of(&[("args", "worker")])).err().unwrap_or_default();
    assert!(error.starts_with("name the program too"), "{error}");
}

#[test]
fn running_processes_are_counted_within_bounds() {
    let sleeper = Sleeper::start();
    let found_one = found(&sleeper.name, &[]);
    assert_eq!((found_one.status, found_one.context), (Status::Pass, None));
    assert_eq!(found_one.perfdata, [Perfdata::new("processes", 1.0, "")]);
    let path = sleeper.folder.path().join(&sleeper.name).display().to_string();
    assert_eq!(found(&path, &[("max", "1")]).status, Status::Pass);
    says(&found(&sleeper.name, &[("min", "2")]), Status::Fail, "expected at least 2 running processes called");
    says(&found(&sleeper.name, &[("max", "0")]), Status::Fail, "expected 0 running processes");
    says(&found("no-such-program", &[("max", "4")]), Status::Fail, "expected 1 to 4 running processes");
    assert_eq!(found("no-such-program", &[("max", "0")]).status, Status::Pass);
}

#[test]
fn a_script_is_found_by_its_name_whatever_runs_it() {
    let folder = tempfile::tempdir().expect("there is room");
    let name = format!("script-of-process-{}.sh", folder.path().file_name().expect("it has one").display());
    let path = folder.path().join(&name).display().to_string();
    let script = |text: &str| {
        fs::write(&path, text).expect("there is room");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    };
    // Each waits for a line that never comes.
    let waits = "read line; :";
    script(&format!("#!/bin/sh\n{waits}\n"));
    // What was started runs its program a moment later, and what env runs is another one then.
    let is_found_in_time = |line: &[&str]| {
        let began = Instant::now();
        while found(&name, &[]).status != Status::Pass {
            assert!(began.elapsed() < Duration::from_secs(20), "{line:?}");
        }
    };
    for line in [vec!["sh", &path], vec!["sh", "-e", &path], vec!["env", "sh", &path], vec![&path]] {
        let _running = Running::start(&line);
        is_found_in_time(&line);
        assert_eq!(found(&path, &[("max", "1")]).status, Status::Pass, "{line:?}");
    }
    let code = format!("{waits} {path}");
    let _mentioned = Running::start(&["sh", "-c", &code, &path]);
    assert_eq!(found(&name, &[("max", "0")]).status, Status::Pass);
    script("#!/usr/bin/awk -f\nBEGIN { getline }\n");
    let _running = Running::start(&[&path]);
    is_found_in_time(&[&path]);
}

#[test]
fn a_program_that_was_started_by_another_path_is_found_by_its_own() {
    let sleeper = Sleeper::start();
    let path = |name: &str| sleeper.folder.path().join(name).display().to_string();
    symlink(".", path("link")).expect("the folder is ours");
    symlink(&sleeper.name, path("other")).expect("the folder is ours");
    says(&found(&path(&format!("link/{}", sleeper.name)), &[("max", "0")]), Status::Fail, "got 1 in /proc");
    // Like /bin/sleep of busybox: what was not started by the link is another program.
    assert_eq!(found(&path("other"), &[("max", "0")]).status, Status::Pass);
    let _other = Running::start(&[&path("link/other"), "60"]);
    says(&found(&path("other"), &[("max", "0")]), Status::Fail, "got 1 in /proc");
}

#[test]
fn a_script_that_was_started_by_a_relative_path_is_found_by_its_whole_path() {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("my.sh").display().to_string();
    fs::write(&path, "read line; :\n").expect("there is room");
    let shell = Command::new("sh").arg("./my.sh").current_dir(&folder).stdin(Stdio::piped()).spawn();
    let _running = Running(shell.expect("it can be run"));
    says(&found(&path, &[("max", "0")]), Status::Fail, "got 1 in /proc");
}

#[test]
fn a_relative_script_that_has_left_its_folder_decides_nothing() {
    let folder = tempfile::tempdir().expect("there is room");
    let name = format!("leaver-of-process-{}.sh", folder.path().file_name().expect("it has one").display());
    let path = folder.path().join(&name).display().to_string();
    fs::write(&path, "cd /; read line; :\n").expect("there is room");
    let shell = Command::new("sh").arg(&name).current_dir(&folder).stdin(Stdio::piped()).spawn();
    let _running = Running(shell.expect("it can be run"));
    let began = Instant::now();
    while found(&path, &[("max", "0")]).status != Status::Error {
        assert!(began.elapsed() < Duration::from_secs(20));
    }
    assert_eq!(found("/no/such/program", &[("max", "0")]).status, Status::Pass);
}

#[test]
fn a_pidfile_names_a_living_process() {
    let sleeper = Sleeper::start();
    let pidfile = sleeper.pidfile(&format!("{}\n", sleeper.child.0.id()));
    assert_eq!(found("", &[("pidfile", &pidfile)]).status, Status::Pass);
    assert_eq!(found(&sleeper.name, &[("pidfile", &pidfile)]).status, Status::Pass);
    says(&found("nginx", &[("pidfile", &pidfile)]), Status::Fail, "of nginx, got ");
}

#[test]
fn a_zombie_is_not_alive() {
    let mut sleeper = Sleeper::start();
    let pid = sleeper.child.0.id();
    let pidfile = sleeper.pidfile(&pid.to_string());
    sleeper.child.0.kill().expect("it is ours");
    let state = || Stat::of(i32::try_from(pid).expect("pids are small"));
    while !state().expect("nobody has reaped it").is_dead() {
        std::thread::yield_now();
    }
    says(&found("", &[("pidfile", &pidfile)]), Status::Fail, "which is dead and not reaped");
    says(&found(&sleeper.name, &[]), Status::Fail, "got 0 in /proc");
}

#[test]
fn a_pidfile_of_nothing_is_a_failure_that_says_what_it_holds() {
    let sleeper = Sleeper::start();
    for (text, message) in [
        ("", "got \"\", which is not a pid"),
        ("-1", "got \"-1\", which is not a pid"),
        ("soon\n", "got \"soon\", which is not a pid"),
        ("2147483647", "got 2147483647, and there is none"),
    ] {
        says(&found("", &[("pidfile", &sleeper.pidfile(text))]), Status::Fail, message);
    }
    says(&found("", &[("pidfile", "/no/such.pid")]), Status::Fail, "No such file");
    says(&found("", &[("pidfile", "/proc")]), Status::Error, "cannot read /proc");
}

#[test]
fn what_may_not_be_seen_decides_nothing() {
    let wanted = Wanted { name: Some("x".into()), args: None, cgroup: None };
    let verdict = |seen, unseen, min, max| match (Counted { seen, unseen }).verdict(&wanted, min, max) {
        Ok(()) => "pass",
        Err(Reason::Fail(_)) => "fail",
        Err(_) => "error",
    };
    for (seen, unseen, min, max, expected) in [
        (1, usize::MAX, 1, None, "pass"),
        (0, usize::MAX, 1, None, "error"),
        (0, 1, 0, Some(0), "error"),
        (1, 1, 0, Some(0), "fail"),
        (1, 1, 3, None, "fail"),
        (1, 1, 2, None, "error"),
        (1, 1, 1, Some(2), "pass"),
        (1, 2, 1, Some(2), "error"),
    ] {
        assert_eq!(verdict(seen, unseen, min, max), expected, "{seen} {unseen} {min} {max:?}");
    }
}

#[test]
fn a_thread_in_a_pidfile_is_not_a_process() {
    let (tell, told) = std::sync::mpsc::channel();
    let (_hold, held) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        let link = fs::read_link("/proc/thread-self").expect("/proc is mounted");
        tell.send(link.file_name().expect("it has one").display().to_string()).expect("it is awaited");
        let _ = held.recv();
    });
    let folder = tempfile::tempdir().expect("there is room");
    let pidfile = folder.path().join("x.pid").display().to_string();
    fs::write(&pidfile, told.recv().expect("it is told")).expect("there is room");
    says(&found("", &[("pidfile", &pidfile)]), Status::Fail, "which is a thread of process ");
}

#[test]
fn a_pidfile_of_somebody_elses_making_is_not_read_for_ever() {
    let folder = tempfile::tempdir().expect("there is room");
    let fifo = folder.path().join("fifo").display().to_string();
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("coreutils are there").success());
    let sparse = folder.path().join("sparse").display().to_string();
    fs::File::create(&sparse).and_then(|file| file.set_len(6 << 30)).expect("it takes no room");
    says(&found("", &[("pidfile", &fifo)]), Status::Error, "it is not a regular file");
    says(&found("", &[("pidfile", "/dev/zero")]), Status::Error, "it is not a regular file");
    says(&found("", &[("pidfile", &sparse)]), Status::Error, "it is larger than 1 MiB");
}

#[test]
fn wrong_options_are_refused() {
    assert!(build("", &mut Options::of(&[])).is_err());
    assert!(build("x", &mut Options::of(&[("min", "two")])).is_err());
    assert!(build("x", &mut Options::of(&[("min", "2"), ("max", "1")])).is_err());
    assert!(build("x", &mut Options::of(&[("pidfile", "/x"), ("min", "1")])).is_err());
}
