//! Checks in Python behind the endpoint: the zygote of a generation, its reload, its death.

use std::time::Duration;

use crate::harness::programs::with;
use crate::harness::python::{modules, serve, write};
use crate::harness::{Launch, Server, Signal, eventually, get, processes, send, within};

/// A module whose one check passes, or fails and says this.
fn module(says: Option<&str>) -> String {
    let body = says.map_or_else(|| "pass".to_owned(), |why| format!("assert False, {why:?}"));
    format!("import os\nfrom hospital import healthcheck\n@healthcheck\ndef state():\n    {body}\n")
}

fn zygotes(server: &Server) -> Vec<i32> {
    let is_zygote = |pid: &i32| processes::name(*pid) == "hospital:python";
    processes::children(server.master()).into_iter().filter(is_zygote).collect()
}

fn says(server: &Server, text: &str) -> bool {
    get(&server.at, "/").body.contains(text)
}

#[test]
#[ignore = "needs python3"]
fn all_workers_ask_one_interpreter_that_ends_with_them() {
    let folder = modules(&[("shop.py", &module(None))]);
    let mut server = serve(&folder, "shop").args(["-w", "3"]).start();
    for _ in 0..10 {
        let answer = get(&server.at, "/shop.state");
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let [zygote] = zygotes(&server)[..] else { panic!("there is one: {:?}", zygotes(&server)) };
    assert_eq!(server.workers().len(), 3);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    eventually("it ends", || !processes::is_alive(zygote));
}

#[test]
#[ignore = "needs python3"]
fn a_reload_reads_the_code_anew_and_a_broken_one_keeps_the_old() {
    let folder = modules(&[("shop.py", &module(None))]);
    let server = serve(&folder, "shop").start();
    let first = zygotes(&server);
    write(folder.path(), "shop.py", &module(Some("the second edition")));
    assert!(!says(&server, "second edition"), "it is imported once");
    server.signal(Signal::SIGHUP);
    eventually("the new code is in use", || says(&server, "the second edition"));
    eventually("the old one ends", || zygotes(&server).len() == 1 && zygotes(&server) != first);
    write(folder.path(), "shop.py", "import no_such_module\n");
    server.signal(Signal::SIGHUP);
    server.logs("reload refused, the old configuration goes on serving: HEALTHCHECKS names \"shop\", but importing 'shop' failed: ");
    assert!(says(&server, "the second edition"));
    assert_eq!(zygotes(&server).len(), 1);
}

#[test]
#[ignore = "needs python3"]
fn a_reload_names_the_one_of_several_modules_that_is_wrong_and_once() {
    let folder = modules(&[("one.py", &module(None)), ("two.py", &module(None)), ("three.py", &module(None))]);
    let server = serve(&folder, "one two three").start();
    write(folder.path(), "two.py", "import os\nos._exit(0)\n");
    server.signal(Signal::SIGHUP);
    server.logs("reload refused, the old configuration goes on serving: ");
    assert!(server.stderr().contains(" ended while it imported \"two\": exit status: 0"), "{}", server.stderr());
    write(folder.path(), "two.py", "import no_such_module\n");
    server.signal(Signal::SIGHUP);
    let told = || server.stderr().matches("No module named 'no_such_module'").count();
    eventually("it is refused", || server.stderr().matches("reload refused").count() == 2);
    assert_eq!(told(), 1, "{}", server.stderr());
    assert_eq!(get(&server.at, "/").status, 200);
}

#[test]
#[ignore = "needs python3"]
fn an_interpreter_that_is_killed_is_replaced() {
    let folder = modules(&[("shop.py", &module(None))]);
    let server = serve(&folder, "shop").args(["-w", "2"]).start();
    let first = zygotes(&server);
    send(first[0], Signal::SIGKILL);
    eventually("there is another", || zygotes(&server).first().is_some_and(|pid| *pid != first[0]));
    server.logs("signal: 9 (SIGKILL): its checks are errors until another has imported them");
    eventually("the checks pass again", || get(&server.at, "/").status == 200);
}

#[test]
#[ignore = "needs python3"]
fn a_virtual_environment_that_is_moved_away_is_missed_only_by_what_needs_it() {
    let folder = modules(&[("shop.py", &module(None))]);
    let program = folder.path().join("python");
    crate::harness::write_program(&program, "#!/bin/sh\nexec python3 \"$@\"\n");
    let path = program.to_str().expect("a plain path").to_owned();
    let server = Launch::serve(["--python", &path]).env("HEALTHCHECKS", "shop").current_dir(folder.path()).start();
    std::fs::rename(&program, folder.path().join("moved")).expect("the folder is ours");
    assert_eq!(get(&server.at, "/").status, 200, "it is imported");
    server.signal(Signal::SIGHUP);
    server.logs(
        "reload refused, the old configuration goes on serving: HEALTHCHECKS names \"shop\", but --python names ",
    );
    assert_eq!(get(&server.at, "/").status, 200);
    send(zygotes(&server)[0], Signal::SIGKILL);
    server.logs("python cannot be started: No such file or directory");
    eventually("that is told", || says(&server, "python cannot be started: No such file or directory"));
    std::fs::rename(folder.path().join("moved"), &program).expect("the folder is ours");
    within(Duration::from_secs(60), "it comes back", || get(&server.at, "/").status == 200);
}

#[test]
#[ignore = "needs root, /usr/bin/python3"]
fn checks_are_imported_and_run_as_the_user_of_the_workers() {
    let who = "import os, time\nfrom hospital import healthcheck\nwho = os.getresuid() + os.getresgid() + tuple(os.getgroups())\n\
               @healthcheck\ndef user():\n    assert os.environ['HOME'] == '/nonexistent'\n    assert {*who, *os.getresuid(), *os.getresgid(), *os.getgroups()} == {65534}, who\n\
               @healthcheck\ndef rights():\n    with open('/proc/self/status') as file: assert 'CapEff:\\t0000000000000000' in file.read()\n\
               @healthcheck(timeout=1)\ndef hangs():\n    time.sleep(1000)\n";
    let folder = modules(&[("shop.py", who), ("home", "#!/bin/sh\n[ $HOME = /nonexistent ] && [ $USER = nobody ]\n")]);
    for path in [folder.path(), &folder.path().join("home")] {
        let for_all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, for_all).expect("they are ours");
    }
    let server = Launch::serve(["--python", "/usr/bin/python3", "--user", "65534", "--group", "65534"])
        .env("HEALTHCHECKS", "shop exec:./home")
        .current_dir(folder.path())
        .start();
    let check = || {
        eventually("this host is not too busy to start them", || {
            let report = get(&server.at, "/").json();
            let context = report["details"][2]["context"].as_str().unwrap_or_default();
            if context.starts_with("not started in 1s: this host is busy") {
                return false;
            }
            assert_eq!(report["summary"]["pass"], 3, "{report}");
            assert!(context.starts_with("timed out after 1s"), "{report}");
            true
        });
    };
    check();
    let first = zygotes(&server);
    send(first[0], Signal::SIGKILL);
    eventually("there is another", || zygotes(&server).first().is_some_and(|pid| *pid != first[0]));
    check();
}

#[test]
#[ignore = "needs python3"]
fn a_worker_that_is_killed_leaves_no_run() {
    let folder = modules(&[(
        "slow.py",
        "import subprocess\nfrom hospital import healthcheck\n@healthcheck\ndef slow():\n    subprocess.run(['sleep', '98764'])\n",
    )]);
    let server = serve(&folder, "python:slow#timeout=60s").args(["--request-timeout", "60"]).start();
    let mut client = crate::harness::Client::to(&server.at);
    client.ask("/");
    let runs = || crate::harness::programs::with("98764");
    eventually("it runs", || runs() > 0);
    send(server.workers()[0], Signal::SIGKILL);
    eventually("nothing of it is left", || runs() == 0);
}

#[test]
#[ignore = "needs python3"]
fn a_name_in_a_file_that_is_new_needs_a_reload() {
    let folder =
        modules(&[("shop.py", &module(None)), ("more.py", &module(None)), ("c.toml", "[[check]]\nuse = 'shop'\n")]);
    let server = serve(&folder, "./c.toml").start();
    assert_eq!(get(&server.at, "/").status, 200);
    write(folder.path(), "c.toml", "[[check]]\nuse = 'shop'\n[[check]]\nuse = 'more'\n");
    eventually("that is told", || says(&server, "reload hospital (HUP) to use this name"));
    server.signal(Signal::SIGHUP);
    eventually("it is there", || get(&server.at, "/more.state").status == 200);
}

#[test]
#[ignore = "needs python3"]
fn the_master_goes_on_while_a_reload_imports() {
    let folder = modules(&[("shop.py", &module(None)), ("names", "HEALTHCHECKS='shop'\nHOSPITAL_PYTHON=python3\n")]);
    let server = Launch::serve(["--env-file", "names"]).current_dir(folder.path()).start();
    let waits = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\n";
    let goes_on = |status: u16, edition: &str| {
        server.signal(Signal::SIGHUP);
        eventually("it imports", || zygotes(&server).len() == 2);
        let worker = server.workers()[0];
        send(worker, Signal::SIGKILL);
        eventually("another takes its place", || server.workers().first().is_some_and(|pid| *pid != worker));
        assert_eq!(get(&server.at, "/").status, status);
        write(folder.path(), "go", "");
        eventually("the new code is in use", || says(&server, edition));
        eventually("the old one has gone", || zygotes(&server).len() == 1);
        std::fs::remove_file(folder.path().join("go")).expect("it is there");
    };
    write(folder.path(), "shop.py", &format!("{waits}{}", module(Some("the second edition"))));
    goes_on(200, "the second edition");
    // A name that was not there before, for an interpreter with another environment.
    write(folder.path(), "more.py", &format!("{waits}{}", module(Some("one more"))));
    write(folder.path(), "names", "HEALTHCHECKS='more'\nHOSPITAL_PYTHON=python3\nSHOP=another\n");
    goes_on(500, "one more");
}

#[test]
#[ignore = "takes long, needs python3"]
fn a_module_that_hangs_when_it_is_imported_is_refused_with_a_line() {
    let folder = modules(&[("shop.py", &module(None))]);
    let server = serve(&folder, "shop").start();
    let hangs = "import subprocess, time\nsubprocess.Popen(['sleep', '98767'])\ntime.sleep(1000)\n";
    write(folder.path(), "shop.py", hangs);
    let started = Launch::binding(["--port", "0", "--python", "python3", "shop"]).current_dir(folder.path()).spawn();
    server.signal(Signal::SIGHUP);
    within(Duration::from_secs(60), "the reload is refused", || {
        server
            .stderr()
            .contains("reload refused, the old configuration goes on serving: importing \"shop\" takes longer than 30s")
    });
    let why = "the command line names \"shop\", but importing it takes longer than 30s";
    within(Duration::from_secs(60), "the start is refused", || started.stderr().contains(why));
    eventually("what it has started has ended", || with("98767") == 0);
    assert_eq!(get(&server.at, "/").status, 200);
}

#[test]
#[ignore = "needs python3"]
fn checks_that_leak_leave_memory_descriptors_and_processes_as_they_were() {
    let leaks = "import socket, threading, time\nfrom hospital import healthcheck\nkept = []\n\
                 def leaks():\n    kept.append((bytearray(1 << 20), socket.socket()))\n\
                 \x20   threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n\
                 for number in range(20):\n    exec(f'@healthcheck\\ndef leaks_{number}():\\n    leaks()')\n";
    let folder = modules(&[("leaky.py", leaks)]);
    let server = serve(&folder, "leaky").start();
    let round = || assert_eq!(get(&server.at, "/").status, 200, "{}", get(&server.at, "/").body);
    let (zygote, worker) = (zygotes(&server)[0], server.workers()[0]);
    let descriptors = || [zygote, worker].map(|pid| processes::descriptors(pid).len());
    let memory = || [zygote, worker].map(|pid| processes::number(pid, "VmRSS"));
    let before = descriptors();
    let settled =
        || eventually("all runs are over", || processes::children(zygote).is_empty() && descriptors() == before);
    (0..5).for_each(|_| round());
    settled();
    let memory_before = memory();
    (0..20).for_each(|_| round());
    settled();
    for (now, then) in memory().into_iter().zip(memory_before) {
        assert!(now < then + 4096, "{then} kB became {now} kB");
    }
}

/// A Django project, whose settings are found by `DJANGO_SETTINGS_MODULE`.
const SETTINGS: &str = "SECRET_KEY = 'x'\nINSTALLED_APPS = ['django.contrib.contenttypes', 'shop']\nUSE_TZ = True\n\
                        DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}}\n";

fn django(names: &str, more: &[(&str, &str)]) -> (tempfile::TempDir, Launch) {
    let folder = modules(&[("site_settings.py", SETTINGS), ("shop/__init__.py", "")]);
    more.iter().for_each(|(name, text)| write(folder.path(), name, text));
    let python = crate::harness::family::python_program("python");
    let launch = Launch::serve(["--python", python.to_str().expect("a plain path")])
        .env("HEALTHCHECKS", names)
        .env("DJANGO_SETTINGS_MODULE", "site_settings")
        .current_dir(folder.path());
    (folder, launch)
}

#[test]
#[ignore = "needs Python's django"]
fn django_is_set_up_before_its_models_are_imported() {
    let models = "from django.db import models\nclass Order(models.Model):\n    name = models.TextField()\n";
    let checks = "from django.db import connection\nfrom hospital import healthcheck\nfrom shop.models import Order\n\
                  @healthcheck\ndef database():\n    with connection.cursor() as cursor:\n        cursor.execute('select 1')\n\
                  @healthcheck\ndef model():\n    assert Order._meta.app_label == 'shop'\n";
    let (_folder, launch) =
        django("shop.healthchecks", &[("shop/models.py", models), ("shop/healthchecks.py", checks)]);
    let server = launch.start();
    let answer = get(&server.at, "/");
    assert!(answer.status == 200 && answer.json()["summary"]["pass"] == 2, "{}", answer.body);
}

#[test]
#[ignore = "needs Python's django"]
fn settings_of_django_that_are_missing_are_named() {
    let (_folder, launch) = django("shop", &[]);
    let (code, line) = launch.env("DJANGO_SETTINGS_MODULE", "no_settings").refused();
    let why = "django.setup() with DJANGO_SETTINGS_MODULE=no_settings failed: ModuleNotFoundError: No module named 'no_settings'";
    assert!(code == 2 && line.contains(why), "{line}");
}

#[test]
#[ignore = "needs Python's health_check"]
fn checks_of_django_health_check_run_as_they_are() {
    let own = "import dataclasses\nfrom health_check.base import HealthCheck\n\
               from health_check.exceptions import ServiceUnavailable, ServiceWarning\n\
               @dataclasses.dataclass\nclass Full(HealthCheck):\n    '''The disk has room.'''\n    async def run(self):\n        raise ServiceWarning('90 % full')\n\
               @dataclasses.dataclass\nclass Gone(HealthCheck):\n    def run(self):\n        raise ServiceUnavailable('no answer')\n\
               @dataclasses.dataclass\nclass Needs(HealthCheck):\n    url: str\n    def run(self):\n        pass\n";
    let names = "python:health_check.checks.Database python:health_check.checks.Cache python:own";
    let (_folder, launch) = django(names, &[("own.py", own)]);
    let server = launch.spawn();
    // It imports all that this package can check.
    within(Duration::from_secs(60), "it serves", || server.stdout().contains("Serving on "));
    let report = get(&server.at, "/?verbose").json();
    let found: Vec<_> = report["details"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| {
            let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
            (text("id"), text("status"), text("context").lines().next().unwrap_or_default().to_owned())
        })
        .collect();
    let expected = [
        ("health_check.checks.Database", "pass", ""),
        ("health_check.checks.Cache", "pass", ""),
        ("own.Full", "warn", "Warning: 90 % full"),
        ("own.Gone", "fail", "Unavailable: no answer"),
    ];
    assert_eq!(found, expected.map(|(id, status, context)| (id.to_owned(), status.to_owned(), context.to_owned())));
}

#[test]
#[ignore = "needs python3"]
fn code_that_is_broken_when_the_interpreter_is_started_again_is_told_as_such() {
    let folder = modules(&[("shop.py", &module(None))]);
    let server = serve(&folder, "shop").start();
    write(folder.path(), "shop.py", "import no_such_module\n");
    send(zygotes(&server)[0], Signal::SIGKILL);
    eventually("it says why", || says(&server, "was started again, and importing 'shop' failed: ModuleNotFoundError"));
    write(folder.path(), "shop.py", "import no_other_module\n");
    eventually("it is tried again", || says(&server, "No module named 'no_other_module'"));
    write(folder.path(), "shop.py", &module(None));
    within(Duration::from_secs(60), "it comes back", || get(&server.at, "/").status == 200);
}

#[test]
#[ignore = "needs python3"]
fn a_submodule_that_is_broken_when_the_interpreter_is_started_again_costs_its_own_checks_until_it_is_mended() {
    let folder = modules(&[("shop/__init__.py", ""), ("shop/db.py", &module(None)), ("shop/mail.py", &module(None))]);
    let server = serve(&folder, "shop").start();
    write(folder.path(), "shop/mail.py", "import no_such_module\n");
    send(zygotes(&server)[0], Signal::SIGKILL);
    eventually("it says why", || {
        says(&server, "was started again, and shop.mail cannot be imported: ModuleNotFoundError")
    });
    assert_eq!(get(&server.at, "/shop.db.state").status, 200);
    write(folder.path(), "shop/mail.py", &module(None));
    within(Duration::from_secs(60), "it comes back", || get(&server.at, "/").status == 200);
}

#[test]
#[ignore = "needs python3"]
fn an_interpreter_that_is_killed_each_time_answers_in_the_meantime() {
    let kills = "import ctypes, os\nfrom hospital import healthcheck\nkill = ctypes.CDLL(None).kill\n@healthcheck\ndef kills():\n    kill(os.getppid(), 9)\n";
    let folder = modules(&[("shop.py", &module(None)), ("kills.py", kills)]);
    let server = serve(&folder, "shop kills").start();
    let told = "Python ended (signal: 9 (SIGKILL)), and is started again after ";
    within(Duration::from_secs(60), "it is told", || {
        get(&server.at, "/kills");
        says(&server, told)
    });
    within(Duration::from_secs(60), "it comes back", || get(&server.at, "/shop").status == 200);
}
