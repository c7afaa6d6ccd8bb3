//! `hospital drill`, with checks that can fail and such as cannot, and with the host as it was before.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;
use std::thread;

#[cfg(all(feature = "dns", feature = "tls"))]
use crate::harness::drill::assert_sound;
use crate::harness::once::{self, Run, hospital};
use crate::harness::{Server, Signal, eventually, get, send};
use serde_json::Value;
use tempfile::TempDir;

/// Peers to look at: one that speaks HTTP, one that speaks like Redis, on a port and at a unix socket.
pub(super) struct Peers {
    pub(super) http: u16,
    pub(super) redis: u16,
    pub(super) folder: TempDir,
}

impl Peers {
    pub(super) fn start() -> Peers {
        let folder = tempfile::tempdir().expect("a folder for the test");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let http = serve(|mut stream| {
            let mut head = BufReader::new(stream.try_clone().expect("it is open")).lines();
            while head.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let body = r#"{"status": "ok"}"#;
            let answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).unwrap_or_default();
        });
        let redis = serve(|stream| pong(stream.try_clone().expect("it is open"), stream));
        let unix = UnixListener::bind(folder.path().join("redis.sock")).expect("the folder is ours");
        thread::spawn(move || {
            for stream in unix.incoming().flatten() {
                thread::spawn(move || pong(stream.try_clone().expect("it is open"), stream));
            }
        });
        Peers { http, redis, folder }
    }

    /// A file with this content.
    pub(super) fn file(&self, name: &str, text: &str, mode: u32) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("the folder is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        path.display().to_string()
    }

    /// A folder of scripts, in which `HTTP` and `REDIS` stand for the ports and `HERE` for the folder.
    fn scripts(&self, name: &str, scripts: &[(&str, &str)]) -> String {
        let folder = self.folder.path().join(name);
        fs::create_dir(&folder).expect("the folder is ours");
        for (script, text) in scripts {
            let text = text.replace("HTTP", &self.http.to_string()).replace("REDIS", &self.redis.to_string());
            let text = text.replace("HERE", &self.folder.path().display().to_string());
            self.file(&format!("{name}/{script}"), &text, 0o755);
        }
        folder.display().to_string()
    }
}

fn serve(answer: impl Fn(TcpStream) + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || answer(stream));
        }
    });
    port
}

fn pong(from: impl Read, mut to: impl Write) {
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        if line == "PING" && to.write_all(b"+PONG\r\n").is_err() {
            return;
        }
    }
}

#[track_caller]
fn drill(args: &[&str]) -> (Run, Vec<Value>) {
    let mut command = hospital("drill");
    command.args(["--format", "json"]).args(args).env("DRILLED_URL", "postgres://db/shop");
    let run = once::run(command);
    let json: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}{}", run.stdout, run.stderr));
    let checks = json["checks"].as_array().expect("it is a list").clone();
    (run, checks)
}

/// The checks whose verdict is not this one.
fn others<'a>(checks: &'a [Value], verdicts: &[&str]) -> Vec<&'a Value> {
    checks.iter().filter(|check| !verdicts.contains(&check["verdict"].as_str().expect("it is text"))).collect()
}

/// In a shell: how a request is made without curl.
const GET: &str = "exec 3<>/dev/tcp/127.0.0.1/HTTP || exit 2\nprintf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3\n";

#[test]
#[ignore = "takes long, needs root"]
fn sound_checks_are_sound() {
    let peers = Peers::start();
    let get = |rest: &str| format!("#!/bin/bash\n{GET}{rest}");
    let folder = peers.scripts(
        "sound",
        &[
            ("status", &get("read -t 2 -r line <&3 || exit 2\n[[ $line == *' 200 '* ]]")),
            ("body", &get("timeout 2 cat <&3 | grep -q '\"status\": \"ok\"'")),
            ("redis", "#!/bin/bash\nexec 3<>/dev/tcp/127.0.0.1/REDIS || exit 2\nprintf 'PING\\r\\n' >&3\nread -t 2 -r line <&3 || exit 2\n[[ $line == +PONG* ]]"),
            ("closed", "#!/bin/bash\n! (exec 3<>/dev/tcp/127.0.0.1/1) 2>/dev/null"),
            ("grep", "#!/bin/sh\ngrep -q ^root: /etc/passwd"),
            ("sed", "#!/bin/sh\nsed --quiet --expression=/^root:/p /etc/passwd | grep -q ."),
            ("its-own-folder", "#!/bin/sh\nls HERE | grep -q ^log$"),
            ("log", "#!/bin/sh\n[ -r HERE/log ] || exit 2\nif grep -q ERROR HERE/log; then exit 2; fi"),
            ("room", "#!/bin/sh\nuse=$(df -P / | awk 'NR==2 {sub(\"%\", \"\", $5); print $5}')\n[ -n \"$use\" ] && [ \"$use\" -lt 100 ]"),
            ("temporary", "#!/bin/sh\nt=$(mktemp) || exit 2\ntrap 'rm -f \"$t\"' EXIT\ncat /etc/passwd >\"$t\" && grep -q ^root: \"$t\""),
            ("maintenance", "#!/bin/sh\n[ ! -e HERE/maintenance ]"),
            ("load", "#!/bin/sh\nread one rest </proc/loadavg || exit 2\n[ \"${one%.*}\" -lt 10000 ]"),
            // Opened to be read and written.
            ("update", "#!/bin/bash\nexec 3<>HERE/log || exit 2\ngrep -q well <&3"),
            ("probe", "#!/bin/sh\nt=$(mktemp -p HERE) || exit 2\ntrap 'rm -f \"$t\"' EXIT\necho probe >\"$t\""),
            ("program", "#!/bin/sh\ncommand -v cat >/dev/null || exit 2"),
            ("host", "#!/bin/sh\n[ \"$(uname -n)\" = \"$(cat HERE/name)\" ]"),
            ("user", "#!/bin/sh\n[ \"$(id -u)\" -eq 0 ]"),
            ("descriptors", "#!/bin/bash\n[ \"$(ulimit -n)\" = unlimited ] || [ \"$(ulimit -n)\" -gt 128 ]"),
            ("variable", "#!/bin/sh\nset -u\n[ -n \"$DRILLED_URL\" ]"),
        ],
    );
    peers.file("log", "all is well\n", 0o644);
    peers.file("name", &fs::read_to_string("/proc/sys/kernel/hostname").expect("it has one"), 0o644);
    let (http, redis, here) = (peers.http, peers.redis, peers.folder.path().display().to_string());
    let kinds = [
        format!("http=http://127.0.0.1:{http}/"),
        format!("json=http://127.0.0.1:{http}/#json=/status=ok"),
        format!("tcp=tcp://127.0.0.1:{redis}#send=PING%0D%0A&match=PONG"),
        format!("unix=unix:{here}/redis.sock#send=PING%0D%0A&match=PONG"),
        "ping=ping:127.0.0.1".to_owned(),
        "dns=dns:localhost".to_owned(),
        "disk=disk:/#free=1MB".to_owned(),
        "file=file:/etc/passwd#match=^root:&min_size=1".to_owned(),
        format!("absent=file:{here}/maintenance#absent"),
        format!("age=file:{here}/log#max_age=10d"),
        "loadavg=load:#max=100".to_owned(),
        "memory=memory:#available=1MB".to_owned(),
        "process=process:hospital".to_owned(),
        "none=process:no-such-program#max=0".to_owned(),
        format!("accepted=tcp://127.0.0.1:{redis}#drill_allow=rubbish:%20it%20says%20nothing"),
    ];
    let names: Vec<&str> = kinds.iter().map(String::as_str).chain([folder.as_str()]).collect();
    let (run, checks) = drill(&names);
    let wrong = others(&checks, &["sound"]);
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!((run.code, checks.len()), (Some(0), kinds.len() + 19));
    // What lies with this host is never blamed on others.
    for check in checks
        .iter()
        .filter(|check| check["id"].as_str().is_some_and(|id| ["http", "tcp", "unix", "file"].contains(&id)))
    {
        let trials = check["trials"].as_array().expect("it is a list");
        for trial in trials.iter().filter(|trial| trial["sabotage"] == "starved") {
            let may_pass = trial["does"].as_str().is_some_and(|does| does.starts_with("the clock"));
            assert!(trial["status"] == "error" || may_pass && trial["status"] == "pass", "{check:#}");
        }
    }
}

/// The kinds that need no peer but what every host has.
#[cfg(all(feature = "dns", feature = "tls"))]
#[test]
#[ignore = "takes long, needs root"]
fn the_kinds_of_this_host_notice_what_their_rows_say() {
    let peers = Peers::start();
    let certificate = peers.file("cert.pem", &crate::checks::kinds_net::certificate_for_days(90).1, 0o644);
    let state = peers.folder.path().join("state");
    fs::create_dir(&state).expect("the folder is ours");
    let state = state.to_str().expect("a plain path");
    let mut beat = hospital("beat");
    assert_eq!(
        once::run({
            beat.args(["--state-dir", state, "backup"]);
            beat
        })
        .code,
        Some(0)
    );
    let (http, redis, here) = (peers.http, peers.redis, peers.folder.path().display());
    let names = [
        format!("tcp://127.0.0.1:{redis}#send=PING%0D%0A&match=PONG&timeout=2s"),
        format!("unix:{here}/redis.sock#send=PING%0D%0A&match=PONG&timeout=2s"),
        format!("http://127.0.0.1:{http}/#json=/status=ok&timeout=2s"),
        "ping:127.0.0.1#timeout=2s".to_owned(),
        "dns:localhost".to_owned(),
        "disk:/#free=1MB".to_owned(),
        "file:/etc/passwd#match=^root:".to_owned(),
        "load:#max=100".to_owned(),
        "memory:#available=1MB".to_owned(),
        "process:hospital".to_owned(),
        "beat:backup#within=26h".to_owned(),
        "package:dash".to_owned(),
        format!("certificate:{certificate}#days=30"),
        "mount:/".to_owned(),
        format!("port:{http}"),
        "pressure:memory#some=99%25".to_owned(),
        "user:root#uid=0".to_owned(),
        "group:adm".to_owned(),
        "interface:lo".to_owned(),
        "sysctl:vm.swappiness#max=200".to_owned(),
    ];
    assert_sound(&["--state-dir", state], &names);
}

#[test]
#[ignore = "takes long, needs root"]
fn checks_that_cannot_fail_are_found() {
    let peers = Peers::start();
    let get = |rest: &str| format!("#!/bin/bash\n{GET}{rest}");
    let scripts = [
        ("always", "#!/bin/sh\necho fine"),
        ("or-true", &get("grep -q ok <&3").replace("|| exit 2", "|| true").replace("<&3", "<&3 || true")),
        ("swallowed", &format!("#!/bin/bash\n(\n{GET}) 2>/dev/null\necho checked")),
        ("anything", &get("cat <&3 | grep -q ''")),
        (
            "itself",
            "#!/bin/bash\nget() { (exec 3<>/dev/tcp/127.0.0.1/HTTP && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3) 2>/dev/null; }\n[ \"$(get)\" = \"$(get)\" ]",
        ),
        (
            "cached",
            &format!("#!/bin/bash\nif [ ! -s HERE/cache ]; then\n{GET}cat <&3 >HERE/cache\nfi\ngrep -q ok HERE/cache"),
        ),
        ("database-answers", "#!/bin/bash\nexec 3<>/dev/tcp/127.0.0.1/REDIS || exit 2"),
        ("finds-itself", "#!/bin/sh\nps ax | grep -q importantd"),
        ("room-or-not", "#!/bin/sh\ndf / >/dev/null"),
        ("file-or-not", "#!/bin/sh\ngrep -q root /etc/passwd || echo 'not there'"),
        ("background", "#!/bin/sh\ngrep -q root /etc/passwd &"),
        ("last-command", "#!/bin/sh\ntest -s HERE/log\necho checked"),
        // Its own script is not what it looks at.
        ("awk", "#!/usr/bin/awk -f\nBEGIN { exit 0 }"),
        ("no-program", "#!/bin/sh\ncommand -v cat >/dev/null || echo 'no cat'"),
        ("becomes-another", "#!/bin/sh\nexec /bin/true"),
        ("fire-and-forget", "#!/bin/bash\necho checks:1 >/dev/udp/127.0.0.1/REDIS"),
        ("pidfile-or-itself", "#!/bin/bash\npid=$(cat HERE/pid 2>/dev/null)\nkill -0 \"${pid:-$$}\""),
    ];
    let folder = peers.scripts("vacuous", &scripts);
    peers.file("pid", &std::process::id().to_string(), 0o644);
    peers.file("log", "all is well\n", 0o644);
    let port = format!("database=tcp://127.0.0.1:{}", peers.redis);
    let match_all = format!("match-all=http://127.0.0.1:{}/#match=.*", peers.http);
    // Limits that nothing can exceed.
    let limits = ["load:#max=1000", "memory:#available=0%25", "pressure:memory#some=100%25"];
    let (run, checks) = drill(&[&["true=exec:/bin/true", &port, &match_all, &folder], &limits[..]].concat());
    let missed = others(&checks, &["fooled", "cannot_fail"]);
    assert!(missed.is_empty(), "{missed:#?}");
    let expected = scripts.len() + 3 + limits.len();
    assert_eq!((run.code, checks.len()), (Some(1), expected));
    assert!(checks.iter().all(|check| check["why"].as_str().is_some_and(|why| why.len() > 20)), "{checks:#?}");
}

/// Its modules are parts of it, and not what it looks at.
#[test]
#[ignore = "needs root, python3"]
fn functions_in_python_that_cannot_fail_are_found() {
    let peers = Peers::start();
    fs::create_dir(peers.folder.path().join("shop")).expect("the folder is ours");
    // What it reads when it is imported is no business of each of its tests.
    peers.file("shop/settings.json", "{}", 0o644);
    let tests = "import socket, pathlib\nSETTINGS = (pathlib.Path(__file__).parent / 'settings.json').read_text()\nfrom unittest import expectedFailure\nfrom hospital import HealthCheck\nfrom shop import stock\n\n\
                 class Shop(HealthCheck):\n    def test_nothing(self):\n        self.assertTrue(stock.ANY)\n\
                 \x20   @expectedFailure\n    def test_never(self):\n        self.fail()\n\
                 \x20   @expectedFailure\n    def test_closed(self):\n        socket.create_connection(('127.0.0.1', 1), 2)\n";
    for (name, text) in [("__init__", ""), ("stock", "ANY = 1\n"), ("healthchecks", tests)] {
        peers.file(&format!("shop/{name}.py"), text, 0o644);
    }
    let mut command = hospital("drill");
    command
        .args(["--format", "json", "--python", "/usr/bin/python3", "shop.healthchecks"])
        .current_dir(peers.folder.path());
    let run = once::run(command);
    let json: Value = serde_json::from_str(&run.stdout).expect(&run.stderr);
    let verdicts: Vec<_> = json["checks"].as_array().expect("it is a list").iter().map(|it| &it["verdict"]).collect();
    assert_eq!(verdicts, ["sound", "cannot_fail", "cannot_fail"], "{json:#}");
}

/// A pidfd is a way to a process, too, and so are its limits, and the signals of a descriptor.
#[test]
#[ignore = "needs root, python3"]
fn a_drill_lets_no_check_reach_what_it_has_not_started() {
    let peers = Peers::start();
    let mut other = std::process::Command::new("sleep").arg("60").spawn().expect("it can be started");
    peers.file("state", "good\n", 0o644);
    let script = "#!/usr/bin/python3\nimport ctypes, fcntl, os, resource, signal, socket, sys\none, two = socket.socketpair()\ntry:\n    good = 'good' in open('HERE/state').read()\nexcept OSError:\n    good = False\n\
         for attack in () if good else (\n\
         \x20   lambda: signal.pidfd_send_signal(os.pidfd_open(PID), signal.SIGTERM),\n\
         \x20   lambda: ctypes.CDLL(None).syscall(234, PID, PID, 15),\n\
         \x20   lambda: os.setpriority(os.PRIO_PROCESS, PID, 7),\n\
         \x20   lambda: resource.prlimit(PID, resource.RLIMIT_NOFILE, (99, 99)),\n\
         \x20   lambda: (fcntl.fcntl(one, fcntl.F_SETOWN, PID), fcntl.fcntl(one, 10, 15), fcntl.fcntl(one, fcntl.F_SETFL, os.O_ASYNC), two.send(b'x')),\n\
         ):\n    try:\n        attack()\n    except OSError:\n        pass\n\
         sys.exit(0 if good else 2)\n";
    let script = script.replace("PID", &other.id().to_string());
    let limits = |id: u32| fs::read_to_string(format!("/proc/{id}/limits")).expect("it runs");
    let priority = |id: u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).expect("it runs");
        stat.split(' ').nth(18).map(str::to_owned)
    };
    let before = (limits(other.id()), priority(other.id()));
    let folder = peers.scripts("repair", &[("repair", &script)]);
    let (_, checks) = drill(&[&folder]);
    let is_alive = other.try_wait().expect("it is ours").is_none();
    let after = (limits(other.id()), priority(other.id()));
    other.kill().expect("it is ours");
    other.wait().expect("it is ours");
    assert!(is_alive && after == before, "{checks:#?}");
    assert_eq!(checks[0]["verdict"], "sound", "{checks:#?}");
}

#[test]
#[ignore = "needs root, python3"]
fn a_check_of_the_clock_is_asked_about_the_clock() {
    let peers = Peers::start();
    let now = std::time::UNIX_EPOCH.elapsed().expect("it is later").as_secs();
    let is_now = |time: &str| format!("[ $(({time} - {now})) -lt 1800 ] && [ $(({time} - {now})) -gt -1800 ]");
    let folder = peers.scripts(
        "clock",
        &[
            ("bash", &format!("#!/bin/bash\nprintf -v now '%(%s)T' -1\n{}", is_now("now"))),
            ("date", &format!("#!/bin/sh\nnow=$(date +%s)\n{}", is_now("now"))),
            // For three years.
            ("expiry", &format!("#!/bin/sh\n[ $(($(date +%s) - {now})) -lt 94608000 ]")),
            ("perl", &format!("#!/usr/bin/perl\nexit(abs(time() - {now}) < 1800 ? 0 : 2)")),
            ("python", &format!("#!/usr/bin/env python3\nimport time\nassert abs(time.time() - {now}) < 1800")),
            ("vacuous", "#!/bin/sh\n[ \"$(date +%Y)\" -gt 1969 ]"),
        ],
    );
    let (_, checks) = drill(&[&folder]);
    assert_eq!(others(&checks, &["sound"]).iter().map(|check| &check["id"]).collect::<Vec<_>>(), ["vacuous"]);
    assert!(
        checks
            .iter()
            .filter(|check| check["id"] != "vacuous")
            .all(|check| check["noticed"][0] == "starved" || check["id"] == "python")
    );
}

/// dash looks at what `PWD` names when it starts.
#[test]
#[ignore = "needs root"]
fn a_check_is_not_accused_for_the_place_where_its_shell_believes_to_be() {
    let peers = Peers::start();
    let now = std::time::UNIX_EPOCH.elapsed().expect("it is later").as_secs();
    let folder =
        peers.scripts("place", &[("expiry", &format!("#!/bin/sh\n[ $(($(date +%s) - {now})) -lt 94608000 ]"))]);
    let mut command = hospital("drill");
    command.args(["--format", "json", &folder]).env("PWD", "/usr");
    let run = once::run(command);
    assert!(run.stdout.contains(r#""verdict": "sound""#), "{}{}", run.stdout, run.stderr);
}

#[test]
#[ignore = "takes long, needs root"]
fn a_user_other_than_root_finds_the_same() {
    let peers = Peers::start();
    let file = peers.file("log", "all is well\n", 0o644);
    let program = peers.folder.path().join("hospital");
    // Not by us: a program that another test starts meanwhile would have it open for writing.
    let copied = std::process::Command::new("install").arg(crate::harness::HOSPITAL).arg(&program).status();
    assert!(copied.expect("install can be started").success());
    let mut command = std::process::Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args(["drill", "--format", "json"]);
    command.args([
        &format!("file=file:{file}#match=well&owner=root"),
        "true=exec:/bin/true",
        "grep=exec:/bin/grep#args=-q,root,/etc/passwd",
    ]);
    command.arg(format!("http=http://127.0.0.1:{}/#json=/status=ok", peers.http)).current_dir("/");
    let run = once::run(command);
    let json: Value = serde_json::from_str(&run.stdout).expect(&run.stderr);
    let verdicts: Vec<_> =
        json["checks"].as_array().expect("it is a list").iter().map(|check| &check["verdict"]).collect();
    assert_eq!(verdicts, ["sound", "cannot_fail", "sound", "sound"], "{json:#}");
}

#[test]
#[ignore = "needs root"]
fn what_changes_something_elsewhere_is_not_drilled_unless_that_is_asked_for() {
    let peers = Peers::start();
    let post = format!("post=http://127.0.0.1:{}/#method=POST", peers.http);
    let (run, checks) = drill(&[&post]);
    assert_eq!((run.code, checks[0]["verdict"].as_str()), (Some(1), Some("not_drilled")), "{checks:#?}");
    assert!(checks[0]["why"].as_str().is_some_and(|why| why.contains("POST") && why.contains("--even-writing")));
    let (run, checks) = drill(&[&post, "--even-writing"]);
    assert_eq!((run.code, checks[0]["verdict"].as_str()), (Some(0), Some("sound")), "{checks:#?}");
}

#[test]
#[ignore = "needs root"]
fn what_was_not_well_to_begin_with_is_unwell() {
    let (run, checks) = drill(&["tcp://127.0.0.1:1"]);
    assert_eq!(run.code, Some(1));
    assert_eq!(checks[0]["verdict"], "unwell");
}

#[test]
#[ignore = "needs root"]
fn what_expects_a_failure_has_to_notice_a_success() {
    let verdicts = [
        ("closed=tcp://127.0.0.1:1#expect=failure", "sound"),
        ("missing=file:/etc/no-such-file#expect=failure", "sound"),
        ("unknown=tcp://127.0.0.1:1#match=~no-such-answer~&expect=failure", "not_drilled"),
        ("other=file:/etc/passwd#match=no-such-line&expect=failure", "not_drilled"),
        ("never=exec:/bin/false#expect=failure", "cannot_fail"),
    ];
    let (_, checks) = drill(&verdicts.map(|(name, _)| name));
    let found: Vec<_> = checks.iter().map(|check| check["verdict"].as_str().expect("it is text")).collect();
    assert_eq!(found, verdicts.map(|(_, verdict)| verdict), "{checks:#?}");
}

#[test]
#[ignore = "needs root, unshare"]
fn without_namespaces_or_proc_it_says_what_would_allow_them() {
    let no_namespaces =
        "echo 0 >/proc/sys/user/max_user_namespaces && echo 0 >/proc/sys/user/max_net_namespaces && exec \"$@\"";
    for (flag, script, said) in [
        ("-Ur", no_namespaces, "max_user_namespaces"),
        ("-m", "mount --bind /mnt /proc && exec \"$@\"", "mount -t proc"),
        // That of others.
        ("-pf", "\"$@\"", "mount -t proc"),
    ] {
        let mut command = std::process::Command::new("unshare");
        command.args([flag, "sh", "-c", script, "sh", crate::harness::HOSPITAL]);
        command.args(["drill", "--format", "json", "exec:/bin/true"]);
        let run = once::run(command);
        let json: Value = serde_json::from_str(&run.stdout).expect(&run.stderr);
        let check = &json["checks"][0];
        assert_eq!((run.code, check["verdict"].as_str()), (Some(1), Some("not_drilled")), "{json:#}");
        assert!(check["why"].as_str().is_some_and(|why| why.contains(said)), "{json:#}");
    }
}

/// Runs a program to which calls with these numbers are denied (seccomp(2)), as they are to one in a container.
const DENY: &str = "
import ctypes, os, struct, sys
calls = [int(number) for number in sys.argv[1].split(',')]
filter = [(0x20, 0, 0, 0)]
filter += [(0x15, len(calls) - place, 0, number) for place, number in enumerate(calls)]
filter += [(0x06, 0, 0, 0x7fff0000), (0x06, 0, 0, 0x00050001)]
code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *step) for step in filter))
program = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', len(filter), ctypes.addressof(code)))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.c_void_p(ctypes.addressof(program)), 0, 0) == 0
os.execv(sys.argv[2], sys.argv[2:])
";

#[cfg(target_arch = "x86_64")]
#[test]
#[ignore = "needs root, python3"]
fn what_is_denied_a_drill_is_said_and_blamed_on_no_check() {
    for (calls, said) in [
        ("272", "there can be no namespaces here"),
        ("101", "it cannot be followed"),
        ("317", "its calls cannot be stopped at"),
        ("165", "its files cannot be put aside"),
        ("434,438", "it cannot be followed (pidfd_getfd"),
        ("126", "its rights cannot be dropped"),
    ] {
        let mut command = std::process::Command::new("python3");
        command.args(["-c", DENY, calls, crate::harness::HOSPITAL, "drill", "--format", "json"]);
        command.arg("file:/etc/passwd#match=^root:");
        let run = once::run(command);
        let json: Value = serde_json::from_str(&run.stdout).expect(&run.stderr);
        let check = &json["checks"][0];
        let why = check["why"].as_str().expect("it is text");
        assert!(check["verdict"] == "not_drilled" && why.starts_with(said), "{calls}: {check:#}");
    }
    // What only keeps it apart from its terminal is not needed.
    let mut command = std::process::Command::new("python3");
    command.args(["-c", DENY, "112", crate::harness::HOSPITAL, "drill", "file:/etc/passwd#match=^root:"]);
    assert_eq!(once::run(command).code, Some(0));
}

#[test]
#[ignore = "needs strace"]
fn who_follows_or_is_followed_already_is_not_drilled() {
    let peers = Peers::start();
    let script = "#!/bin/sh\nexec strace -f -o /dev/null -e trace=openat grep -q root /etc/passwd";
    let (_, checks) = drill(&[&peers.scripts("follows", &[("traced", script)])]);
    let why = checks[0]["why"].as_str().expect("it is text");
    assert!(checks[0]["verdict"] == "not_drilled" && why.contains("strace"), "{checks:#?}");
    let mut command = std::process::Command::new("strace");
    command.args([
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=none",
        crate::harness::HOSPITAL,
        "drill",
        "--format",
        "json",
        "exec:/bin/true",
    ]);
    let run = once::run(command);
    let json: Value = serde_json::from_str(&run.stdout).expect(&run.stderr);
    assert_eq!(json["checks"][0]["verdict"], "not_drilled", "{json:#}");
}

#[test]
fn what_a_drill_may_accept_is_known() {
    let mut command = hospital("drill");
    command.arg("tcp://127.0.0.1:1#drill_allow=ghosts");
    let run = once::run(command);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("refused, black_hole, rubbish, stranger, gone, full, starved"), "{}", run.stderr);
}

/// What a drill could leave behind: processes of these checks, mounts, routes, files.
fn traces(folder: &Path, word: &str) -> (BTreeSet<String>, String, String, BTreeSet<String>) {
    let names = |path: &Path| -> BTreeSet<String> {
        fs::read_dir(path).expect("it is a folder").flatten().map(|entry| entry.path().display().to_string()).collect()
    };
    let line = |process: &String| fs::read(format!("{process}/cmdline")).unwrap_or_default();
    let is_ours = |process: &String| String::from_utf8_lossy(&line(process)).contains(word);
    let processes = names(Path::new("/proc")).into_iter().filter(is_ours).collect();
    let read = |path: &str| fs::read_to_string(path).expect("it can be read");
    (processes, read("/proc/self/mounts"), read("/proc/net/route"), names(folder))
}

#[test]
#[ignore = "takes long, needs root"]
fn a_drill_that_is_interrupted_at_any_moment_leaves_nothing() {
    let peers = Peers::start();
    let temporary = tempfile::tempdir().expect("a folder for the test");
    let script = format!(
        "#!/bin/sh\nt=$(mktemp -p {}) || exit 2\ntrap 'rm -f \"$t\"' EXIT\nsleep 0.05\ncat /etc/passwd >\"$t\" && grep -q root \"$t\"",
        temporary.path().display()
    );
    let folder = peers.scripts(
        "interrupted",
        &[
            ("temporary", &script),
            // clone(2) with CLONE_UNTRACED, so that no tracer would follow.
            ("escapes", "#!/bin/sh\nperl -e 'exec(\"sleep\", 60) if syscall(56, 0x800000 | 17, 0, 0, 0, 0) == 0'\ngrep -q root /etc/passwd"),
            ("daemon", "#!/bin/sh\nsetsid sleep 60 >/dev/null 2>&1 </dev/null &\ngrep -q root /etc/passwd"),
        ],
    );
    let http = format!("http=http://127.0.0.1:{}/#json=/status=ok", peers.http);
    let before = traces(temporary.path(), &folder);
    assert_eq!(before.0, BTreeSet::new());
    for (round, signal) in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL].into_iter().cycle().take(30).enumerate() {
        let mut command = hospital("drill");
        let mut child =
            command.args([&folder, &http]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        // Not a wait for anything: each round is interrupted somewhere else.
        thread::sleep(std::time::Duration::from_millis(round as u64 * 17));
        send(child.id() as i32, signal);
        child.wait().expect("it is our child");
        eventually("nothing is left", || traces(temporary.path(), &folder) == before);
    }
}

#[test]
#[ignore = "needs root"]
fn the_page_says_when_its_checks_were_drilled_and_how_many_were_sound() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let state = folder.path().to_str().expect("a plain path");
    let names = ["accounts=file:/etc/passwd#match=^root:", "always=exec:/bin/true"];
    let (run, _) = drill(&[&["--state-dir", state], &names[..]].concat());
    assert_eq!(run.code, Some(1));
    let server = Server::start([&["--state-dir", state], &names[..], &["load:"]].concat());
    let said = |path: &str| get(&server.at, path).body.contains("drilled just now: 1 of 2 sound, 1 never drilled");
    assert!(said("/?format=html"));
    assert!(!get(&server.at, "/load:?format=html").body.contains("drilled"));
}
