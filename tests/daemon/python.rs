//! Checks in Python behind the endpoint: the zygote of a generation, its reload, its death.

use std::time::Duration;

use crate::harness::python::{modules, serve, write};
use crate::harness::{Launch, Server, Signal, eventually, get, processes, send};

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
    eventually("that is told", || get(&server.at, "/").body.contains("\"error\""));
    std::fs::rename(folder.path().join("moved"), &program).expect("the folder is ours");
    crate::harness::within(Duration::from_secs(60), "it comes back", || get(&server.at, "/").status == 200);
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
fn code_that_is_broken_when_the_interpreter_is_started_again_is_told_as_such() {
    let folder = modules(&[("shop.py", &module(None))]);
    let server = serve(&folder, "shop").start();
    write(folder.path(), "shop.py", "import no_such_module\n");
    send(zygotes(&server)[0], Signal::SIGKILL);
    eventually("it says why", || says(&server, "was started again, and importing 'shop' failed: ModuleNotFoundError"));
}
