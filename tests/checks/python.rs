//! Checks in Python, run by the binary with the Python of this machine.

use crate::harness::once;
use crate::harness::programs::with;
use crate::harness::python::{hospital, modules, write};
use crate::harness::{eventually, write_program};
use serde_json::Value;
use tempfile::TempDir;

/// Each check by the last part of its id: its status and its context.
fn found(report: &Value) -> Vec<(String, String, String)> {
    let text = |detail: &Value, key: &str| detail[key].as_str().unwrap_or_default().to_owned();
    let details = report["details"].as_array().expect("a report has details");
    let last = |id: String| id.rsplit('.').next().unwrap_or_default().to_owned();
    details.iter().map(|one| (last(text(one, "id")), text(one, "status"), text(one, "context"))).collect()
}

#[track_caller]
fn assert_found(report: &Value, expected: &[(&str, &str, &str)]) {
    let found = found(report);
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((id, status, context), (name, was, said)) in found.iter().zip(expected) {
        assert_eq!((id.as_str(), status.as_str()), (*name, *was), "{context}");
        assert!(context.contains(said), "{id}: {context}");
    }
}

#[test]
#[ignore = "needs python3"]
fn each_part_of_a_test_is_a_detail_of_its_own() {
    let folder = modules(&[(
        "shop.py",
        "from hospital import HealthCheck, warn\n\
         class Shop(HealthCheck):\n\
         \x20   def test_shelves(self):\n        '''Shelves.'''\n        for shelf in range(4):\n            with self.subTest(shelf=shelf):\n\
         \x20               if shelf == 1: self.fail('it is empty')\n                if shelf == 2: self.skipTest('not here')\n\
         \x20               if shelf == 3: warn('it is dusty')\n        raise OSError('the door is shut')\n\
         \x20   def test_nowhere(self):\n        '''Nowhere.'''\n        with self.subTest('all'): self.skipTest('not here')\n\
         \x20   def test_many(self):\n        '''Many.'''\n        for n in range(3000):\n            with self.subTest(n=n): self.assertTrue(n % 2, 'x' * 5000)\n",
    )]);
    let details = |report: &Value| {
        let text = |detail: &Value, key: &str| detail[key].as_str().unwrap_or_default().to_owned();
        let first = |text: String| text.lines().next().unwrap_or_default().to_owned();
        let detail = |detail: &Value| (text(detail, "test"), text(detail, "status"), first(text(detail, "context")));
        report["details"].as_array().into_iter().flatten().map(detail).collect::<Vec<_>>()
    };
    let report = check(&folder, &["shop.Shop.test_nowhere", "shop.Shop.test_shelves"]);
    let expected = [
        ("Nowhere. [all]", "skip", "not here"),
        ("Shelves. (shelf=0)", "pass", ""),
        ("Shelves. (shelf=1)", "fail", "it is empty"),
        ("Shelves. (shelf=2)", "skip", "not here"),
        ("Shelves. (shelf=3)", "warn", "it is dusty"),
        ("Shelves.", "error", "OSError: the door is shut"),
    ];
    let expected = expected.map(|(test, status, context)| (test.to_owned(), status.to_owned(), context.to_owned()));
    assert_eq!(details(&report), expected);
    assert_eq!((&report["summary"]["total"], &report["summary"]["skip"]), (&6.into(), &2.into()));
    assert_eq!(report["details"][5]["id"], "shop.Shop.test_shelves");
    let text = hospital("check", &folder, &["shop.Shop.test_nowhere", "shop.Shop.test_shelves"]).stderr;
    assert!(text.contains("(shelf=1): it is empty\n(shelf=2): not here\n(shelf=3): it is dusty\nOSError: "), "{text}");
    assert!(text.contains("\nRan 2 tests in "), "{text}");

    let many = details(&check(&folder, &["shop.Shop.test_many"]));
    assert_eq!(many.len(), 501);
    assert_eq!((many[500].0.as_str(), many[500].1.as_str()), ("Many. (and 2500 more)", "fail"));
}

fn check(folder: &TempDir, args: &[&str]) -> Value {
    let run = hospital("check", folder, &[&["--format", "json", "-v"], args].concat());
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", run.stdout, run.stderr))
}

/// A refusal: exit code 2, and one line.
#[track_caller]
fn refused(folder: &TempDir, args: &[&str]) -> String {
    let run = hospital("list", folder, args);
    assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
    let line = run.stderr.lines().last().unwrap_or_default().to_owned();
    assert!(line.starts_with("hospital: "), "{}", run.stderr);
    line
}

#[test]
#[ignore = "needs python3"]
fn all_that_unittest_has_is_collected_and_reported() {
    let folder = modules(&[
        ("shop/__init__.py", ""),
        (
            "shop/healthchecks.py",
            "import unittest\nfrom hospital import HealthCheck, healthcheck, warn\n\
             def setUpModule():\n    global module\n    module = 'up'\n\
             @healthcheck\nclass Orders(unittest.TestCase):\n\
             \x20   timeout = 2\n    tags = ['readiness']\n\
             \x20   @classmethod\n    def setUpClass(cls):\n        cls.ready = module\n\
             \x20   def test_a_fixture(self):\n        '''Fixtures run.\n\n        Twice.'''\n        self.assertEqual(self.ready, 'up')\n\
             \x20   def test_b_fails(self):\n        self.assertEqual(1, 2, 'rows')\n\
             \x20   def test_c_errs(self):\n        {}['x']\n\
             \x20   def test_d_skips(self):\n        self.skipTest('not here')\n\
             \x20   @unittest.expectedFailure\n    def test_e_expected(self):\n        self.fail('known')\n\
             \x20   @unittest.expectedFailure\n    def test_f_unexpected(self):\n        pass\n\
             \x20   def test_g_parts(self):\n        for part in 'ab':\n            with self.subTest('part', name=part):\n                self.assertEqual(part, 'a')\n\
             \x20   def test_h_warns(self):\n        warn('90 % full')\n\
             class Plain(unittest.TestCase):\n    @healthcheck\n    def test_marked(self):\n        pass\n    def test_other(self):\n        self.fail('never run')\n\
             class Async(HealthCheck, unittest.IsolatedAsyncioTestCase):\n    async def test_waits(self):\n        pass\n\
             class Broken(HealthCheck):\n    @classmethod\n    def setUpClass(cls):\n        raise OSError('no database')\n    def test_it(self):\n        pass\n\
             @healthcheck\ndef function():\n    '''A function.'''\n    assert module == 'up'\n\
             @healthcheck\nasync def coroutine():\n    assert False, 'it was awaited'\n",
        ),
        ("shop/broken.py", "import no_such_module\n"),
        ("setup.py", "raise SystemExit('it is not to be imported')\n"),
    ]);
    let list = hospital("list", &folder, &["shop"]);
    for row in [
        "shop.healthchecks.Orders.test_a_fixture     Fixtures run.  ",
        "  python  readiness  2s  ",
        "A function.  ",
        "test_marked (shop.healthchecks.Plain.test_marked)  ",
    ] {
        assert!(list.stdout.contains(row), "{row}: {}{}", list.stdout, list.stderr);
    }
    assert!(!list.stdout.contains("test_other"), "{}", list.stdout);
    assert_found(
        &check(&folder, &["shop"]),
        &[
            (
                "broken",
                "error",
                "shop.broken cannot be imported: ModuleNotFoundError: No module named 'no_such_module'",
            ),
            ("test_waits", "pass", ""),
            ("test_it", "error", "setUpClass (shop.healthchecks.Broken): OSError: no database"),
            ("test_a_fixture", "pass", ""),
            ("test_b_fails", "fail", "1 != 2 : rows\n\nTraceback (most recent call last):\n"),
            ("test_c_errs", "error", "KeyError: 'x'\n\nTraceback"),
            ("test_d_skips", "skip", "not here"),
            ("test_e_expected", "expected_failure", "known"),
            ("test_f_unexpected", "unexpected_success", "it passed"),
            ("test_g_parts", "pass", ""),
            ("test_g_parts", "fail", "'b' != 'a'"),
            ("test_h_warns", "warn", "90 % full"),
            ("test_marked", "pass", ""),
            ("function", "pass", ""),
            ("coroutine", "fail", "it was awaited"),
        ],
    );
}

#[test]
#[ignore = "needs python3"]
fn a_module_a_class_a_method_a_function_and_a_folder_are_named() {
    let text = "from hospital import HealthCheck, healthcheck\nclass Db(HealthCheck):\n    def test_up(self):\n        pass\n    \
                def test_new(self):\n        pass\n@healthcheck\ndef ready():\n    pass\n";
    let folder = modules(&[("shop/__init__.py", ""), ("shop/checks.py", text), ("more/other.py", text)]);
    for (name, ids) in [
        ("shop", &["test_new", "test_up", "ready"][..]),
        ("shop.checks", &["test_new", "test_up", "ready"]),
        ("shop::checks", &["test_new", "test_up", "ready"]),
        ("python:shop.checks.Db", &["test_new", "test_up"]),
        ("shop.checks.Db.test_up", &["test_up"]),
        ("python:shop.checks.ready", &["ready"]),
        ("python:./more", &["test_new", "test_up", "ready"]),
    ] {
        let found: Vec<_> = found(&check(&folder, &[name])).into_iter().map(|(id, ..)| id).collect();
        assert_eq!(found, ids, "{name}");
    }
    let both = check(&folder, &["shop.checks", "shop.checks.Db", "python:./more"]);
    assert_eq!(found(&both).len(), 6, "a check that two names collect is one");
    let labelled =
        check(&folder, &["db=python:shop.checks.Db.test_up#timeout=7s&tag=x&title=The%20database&memory=1GiB"]);
    assert_eq!(
        (labelled["details"][0]["id"].as_str(), labelled["details"][0]["test"].as_str()),
        (Some("db"), Some("The database"))
    );
    write(
        folder.path(),
        "c.toml",
        "[[check]]\nuse = 'python:shop.checks.ready'\nname = 'ready'\nmemory = '1GiB'\n[[check]]\nuse = 'shop.checks.Db'\ntags = ['y']\n",
    );
    let listed = hospital("list", &folder, &["-v", "./c.toml"]).stdout;
    assert!(listed.contains("memory=1 GiB") && listed.contains("shop.checks.Db.test_up"), "{listed}");
}

#[test]
#[ignore = "needs python3"]
fn what_dies_hangs_or_leaks_costs_its_own_check_and_leaves_nothing() {
    let folder = modules(&[(
        "wild.py",
        "import ctypes, os, signal, socket, subprocess, sys, threading, time\nfrom hospital import healthcheck\nkept = []\n\
         @healthcheck\ndef segfaults():\n    ctypes.string_at(0)\n\
         @healthcheck\ndef exits():\n    os._exit(3)\n\
         @healthcheck\ndef raises():\n    sys.exit(4)\n\
         @healthcheck\ndef loops():\n    subprocess.Popen(['sleep', '98761'], start_new_session=True)\n    while True: pass\nloops.timeout = 1\n\
         @healthcheck\ndef stops():\n    os.kill(os.getpid(), signal.SIGSTOP)\nstops.timeout = 1\n\
         @healthcheck\ndef leaks_a_thread():\n    threading.Thread(target=time.sleep, args=(1000,), name='lost').start()\n\
         @healthcheck\ndef leaks_a_child():\n    subprocess.Popen(['sleep', '98762'], start_new_session=True)\n\
         @healthcheck\ndef leaks_an_orphan():\n    subprocess.run(['sh', '-c', 'setsid sleep 98763 >/dev/null 2>&1 &'])\n\
         @healthcheck\ndef leaks_a_socket():\n    kept.append(socket.socket())\n\
         @healthcheck\ndef eats():\n    bytearray(600 << 20)\n",
    )]);
    let report = check(&folder, &["python:wild#memory=200MiB"]);
    assert_found(
        &report,
        &[
            ("segfaults", "error", "the check was killed by SIGSEGV"),
            ("exits", "error", "the check ended its process with exit code 3"),
            ("raises", "error", "SystemExit: 4"),
            ("loops", "error", "timed out after 1s"),
            ("stops", "error", "timed out after 1s"),
            ("leaks_a_thread", "error", "it leaves the thread 'lost' running"),
            ("leaks_a_child", "error", "(sleep) running"),
            ("leaks_an_orphan", "error", "(sleep) running"),
            ("leaks_a_socket", "pass", ""),
            ("eats", "error", "MemoryError"),
        ],
    );
    eventually("nothing is left", || ["98761", "98762", "98763"].into_iter().all(|word| with(word) == 0));
}

#[test]
#[ignore = "needs python3"]
fn a_test_of_which_nothing_has_run_does_not_pass() {
    let folder = modules(&[(
        "odd.py",
        "import os, unittest\nfrom hospital import HealthCheck, healthcheck\nclass Odd(HealthCheck):\n\
         \x20   def test_a(self):\n        yield 1\n\
         \x20   async def test_b(self):\n        self.fail('never awaited')\n\
         \x20   def test_c(self):\n        return 1 == 2\n\
         \x20   def test_d(self):\n        class Odd(AssertionError):\n            def __str__(self): return self.no\n        raise Odd\n\
         \x20   def test_e(self):\n        os.closerange(3, 65536)\n\
         \x20   async def test_f(self):\n        yield 1\n\
         class Plain(unittest.TestCase):\n    @healthcheck\n    @staticmethod\n    def test_g():\n        assert False, 'it is collected'\n\
         class Waits(HealthCheck, unittest.IsolatedAsyncioTestCase):\n    async def test_h(self):\n        yield 1\n\
         \x20   async def test_i(self):\n        pass\n",
    )]);
    assert_found(
        &check(&folder, &["odd"]),
        &[
            ("test_a", "error", "TypeError: odd.Odd.test_a is a generator, so nothing of it has run"),
            ("test_b", "error", "TypeError: odd.Odd.test_b is async, so nothing of it has run: its class has to be"),
            ("test_c", "fail", "it returned False"),
            ("test_d", "fail", "its message cannot be made"),
            ("test_e", "error", "the check closes descriptors that it has not opened"),
            ("test_f", "error", "is a generator, so nothing of it has run"),
            ("test_g", "fail", "it is collected"),
            ("test_h", "error", "is a generator, so nothing of it has run"),
            ("test_i", "pass", ""),
        ],
    );
}

#[test]
#[ignore = "needs python3"]
fn what_is_marked_is_run_or_is_an_error() {
    let folder = modules(&[(
        "shop.py",
        "import unittest\nfrom hospital import healthcheck\n\
         for good in (True, False):\n    def test_it(self, good=good): assert good\n    globals()[f'Is{good}'] = healthcheck(type('Is', (unittest.TestCase,), {'test_it': test_it}))\n\
         class Calls:\n    def __call__(self): assert 0, 'it was called'\n\
         calls = healthcheck(Calls())\n\
         class Oddly(unittest.TestCase):\n    @healthcheck\n    def looks(self): assert 0, 'it looked'\n\
         @healthcheck\nclass Unmade(unittest.TestCase):\n    def __init__(self, name): raise OSError('not today')\n    def test_x(self): pass\n\
         @healthcheck\nclass Plain:\n    def test_x(self): pass\n\
         class Half:\n    @healthcheck\n    def test_x(self): pass\n\
         @healthcheck\nclass Mixed:\n    def test_x(self): pass\n\
         class Whole(Mixed, unittest.TestCase): pass\n",
    )]);
    let report = check(&folder, &["shop"]);
    let found: Vec<_> = report["details"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| {
            let text = |key: &str| one[key].as_str().unwrap_or_default();
            (text("id"), text("status"), text("context").lines().next().unwrap_or_default())
        })
        .collect();
    let expected = [
        ("shop.IsFalse.test_it", "fail", "AssertionError"),
        ("shop.IsTrue.test_it", "pass", ""),
        ("shop.Oddly.looks", "fail", "it looked"),
        ("shop.Unmade", "error", "shop.Unmade cannot be made: OSError: not today"),
        ("shop.Whole.test_x", "pass", ""),
        ("shop.calls", "fail", "it was called"),
        (
            "shop.Plain",
            "error",
            "shop.Plain is marked as a healthcheck, but is no unittest.TestCase: nothing of it has run",
        ),
        (
            "shop.Half",
            "error",
            "shop.Half is marked as a healthcheck, but is no unittest.TestCase: nothing of it has run",
        ),
    ];
    assert_eq!(found, expected);
    for (id, status, _) in expected {
        let alone = check(&folder, &[id]);
        assert_eq!(alone["details"][0]["status"], status, "{alone}");
    }
}

#[test]
#[ignore = "needs python3"]
fn a_check_that_kills_the_interpreter_does_not_spoil_the_others() {
    let text = "import ctypes, os\nfrom hospital import healthcheck\nkill = ctypes.CDLL(None).kill\nzygote = os.getpid()\n\
                @healthcheck\ndef kills():\n    kill(zygote, 9)\n    os.abort()\n\
                for number in range(20):\n    exec(f'@healthcheck\\ndef good_{number}():\\n    pass')\n";
    let folder = modules(&[("wild.py", text)]);
    let report = check(&folder, &["python:wild#timeout=60s"]);
    assert_eq!((&report["summary"]["pass"], &report["summary"]["error"]), (&20.into(), &1.into()), "{report}");
}

#[test]
#[ignore = "needs python3"]
fn what_cannot_be_imported_is_refused_with_a_line() {
    let checks = "from hospital import healthcheck\n@healthcheck\ndef ok():\n    pass\n";
    let folder = modules(&[
        ("good.py", checks),
        ("broken.py", "import no_such_module\n"),
        ("wrong.py", "def f(:\n"),
        ("leaves.py", "import sys\nsys.exit(3)\n"),
        ("vanishes.py", "import os\nos._exit(7)\n"),
        ("closes.py", "import os\nos.closerange(3, 4096)\n"),
        ("nothing.py", "import unittest\nclass T(unittest.TestCase):\n    def test_it(self):\n        pass\n"),
        ("needs.py", "import os\nos.environ['SHOP_DATABASE']\n"),
        ("a/same.py", checks),
        ("b/same.py", checks),
    ]);
    for (names, why) in [
        ("no_such", "names \"no_such\", but there is no module 'no_such'"),
        ("python:", "but '' is no name of a module: write it as shop.healthchecks"),
        ("python:good..ok", "but 'good..ok' is no name of a module: "),
        ("good.missing", "names \"good.missing\", but 'good' has no 'missing'"),
        ("python:./no_such", "but there is no folder './no_such'"),
        ("broken", "but importing 'broken' failed: ModuleNotFoundError: No module named 'no_such_module' ("),
        ("wrong", "but importing 'wrong' failed: SyntaxError: invalid syntax (wrong.py, line 1)"),
        ("leaves", "but leaves calls sys.exit(3) when it is imported: guard that by if __name__ == '__main__'"),
        ("vanishes", "python3 ended while it imported \"vanishes\": exit status: 7"),
        ("closes", "had to end while it imported \"closes\": a module closes descriptors that it has not opened"),
        ("nothing", "but 'nothing' holds no healthcheck: mark classes, methods or functions with @healthcheck"),
        ("needs", "but importing 'needs' failed: KeyError: 'SHOP_DATABASE' ("),
        (
            "python:good#tiemout=1",
            "but the kind \"python\" has no option \"tiemout\": do you mean \"timeout\"? (known: timeout, ",
        ),
        ("python:good#memory=much", "but option memory: write a size as 5GiB"),
        ("python:good#memory=0", "but option memory: 0 B is less than any check needs: write it as 200MiB"),
        ("python:good#memory=200", "but option memory: 200 B is less than any check needs"),
        ("ok=python:./a python:./a#title=Good python:./b", "but two modules are called 'same': "),
    ] {
        let line = refused(&folder, &names.split(' ').collect::<Vec<_>>());
        assert!(line.contains(why), "{names}: {line}");
    }
    let listed = hospital("list", &folder, &["--env-file", "shop.env", "needs"]);
    assert_eq!(listed.code, Some(2), "{}", listed.stderr);
    write(folder.path(), "shop.env", "SHOP_DATABASE=here\n");
    write(folder.path(), "needs.py", &format!("import os\nos.environ['SHOP_DATABASE']\n{checks}"));
    let listed = hospital("list", &folder, &["--env-file", "shop.env", "needs"]);
    assert!(listed.stdout.contains("needs.ok"), "{}", listed.stderr);
}

#[test]
#[ignore = "needs python3"]
fn what_a_module_does_when_it_is_imported_is_undone_or_told() {
    let checks = "from hospital import healthcheck\n@healthcheck\ndef ok():\n    pass\n";
    let folder = modules(&[
        (
            "closes.py",
            &format!("import os\nfor fd in 3, 4, 5: \n    try: os.close(fd)\n    except OSError: pass\n{checks}"),
        ),
        ("prints.py", &format!("import os\nprint('hello')\nos.write(1, b'hello')\n{checks}")),
        ("moves.py", &format!("import os\nos.chdir('/')\n{checks}")),
        ("forks.py", &format!("import os, time\nif os.fork() == 0:\n    time.sleep(5)\n{checks}")),
        ("starts.py", &format!("import subprocess\nsubprocess.Popen(['sleep', '5'])\n{checks}")),
        (
            "threads.py",
            &format!(
                "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True, name='beat').start()\n{checks}"
            ),
        ),
        ("handles.py", &format!("import signal\nsignal.signal(signal.SIGTERM, lambda *_: exit(9))\n{checks}")),
    ]);
    for (name, note) in [
        ("closes", ""),
        ("prints", ""),
        ("moves", "moves changes the directory to / when it is imported: that was undone"),
        ("forks", "forks starts a process when it is imported, which stays: hospital:python"),
        ("starts", "starts starts a process when it is imported, which stays: sleep, pid "),
        ("threads", "after importing threads, Python has 1 other thread (beat), and a check has none of them"),
        ("handles", ""),
    ] {
        let listed = hospital("list", &folder, &[name]);
        assert!(listed.code == Some(0) && listed.stdout.contains(note), "{name}: {}{}", listed.stdout, listed.stderr);
        assert_eq!(listed.stdout.lines().count(), if note.is_empty() { 2 } else { 4 }, "{}", listed.stdout);
        assert_found(&check(&folder, &[name]), &[("ok", "pass", "")]);
    }
}

#[test]
#[ignore = "needs python3"]
fn an_interpreter_that_will_not_do_is_refused_with_a_line() {
    let folder = modules(&[("good.py", "from hospital import healthcheck\n@healthcheck\ndef ok():\n    pass\n")]);
    let old = "#!/bin/sh\nexec python3 -c 'import os; os.write(4, b\"3.6.9\"); import time; time.sleep(60)'\n";
    let loud = "#!/bin/sh\necho hello\necho hello >&2\nexec python3 \"$@\"\n";
    for (name, program, why) in [
        ("missing", None, "/missing, but that cannot be run: No such file or directory"),
        ("old", Some(old), "/old, but that is Python 3.6.9: 3.9 or newer is needed"),
        ("ends", Some("#!/bin/sh\nexit 3\n"), "/ends ended at its start: exit status: 3: is it a Python?"),
        ("loud", Some(loud), ""),
    ] {
        let path = folder.path().join(name);
        if let Some(text) = program {
            write_program(&path, text);
        }
        let listed = hospital("list", &folder, &["--python", path.to_str().expect("a plain path"), "good"]);
        let is_good = why.is_empty();
        assert_eq!(listed.code, Some(if is_good { 0 } else { 2 }), "{name}: {}", listed.stderr);
        let line = if is_good { listed.stdout.clone() } else { listed.stderr.clone() };
        assert!(line.contains(why), "{name}: {line}");
        assert!(is_good || listed.stderr.lines().count() == 1, "{}", listed.stderr);
        assert!(!is_good || !listed.stdout.contains("hello"), "{}", listed.stdout);
    }
    let path = folder.path().join("loud");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("it is ours");
    let listed = hospital("list", &folder, &["--python", path.to_str().expect("a plain path"), "good"]);
    assert_eq!(listed.code, Some(5), "{}", listed.stderr);
    let mut without = once::hospital("list");
    without.current_dir(folder.path()).arg("python:good");
    let without = once::run(without);
    assert!(without.code == Some(2) && without.stderr.contains("no Python is set"), "{}", without.stderr);
}

#[test]
#[ignore = "needs python3"]
fn an_active_virtual_environment_changes_nothing_until_a_name_needs_it() {
    let folder = modules(&[("good.py", "from hospital import healthcheck\n@healthcheck\ndef ok():\n    pass\n")]);
    let list = |venv: &str, name: &str| {
        let mut command = once::hospital("list");
        command.current_dir(folder.path()).env("VIRTUAL_ENV", venv).arg(name);
        once::run(command)
    };
    assert_eq!(list("/no/such", once::PREDICTABLE).code, Some(0));
    let refused = list("/no/such", "good").stderr;
    assert!(refused.contains("VIRTUAL_ENV names /no/such/bin/python, but that cannot be run: "), "{refused}");
    let bin = folder.path().join("bin");
    std::fs::create_dir(&bin).expect("the folder is ours");
    write_program(&bin.join("python"), "#!/bin/sh\nexec python3 \"$@\"\n");
    let listed = list(folder.path().to_str().expect("a plain path"), "good");
    assert!(listed.stdout.contains("good.ok"), "{}", listed.stderr);
}

#[test]
#[ignore = "needs python3"]
fn a_name_of_a_file_that_is_no_text_does_not_turn_a_failure_into_an_error() {
    let folder = modules(&[(
        "names.py",
        "import os\nfrom hospital import healthcheck\n@healthcheck\ndef odd():\n    assert False, os.fsdecode(b'left: \\xff')\n",
    )]);
    assert_found(&check(&folder, &["names"]), &[("odd", "fail", "left: ?")]);
}

#[test]
#[ignore = "needs python3"]
fn a_fork_that_returns_from_a_check_does_not_pass_in_its_place() {
    let folder = modules(&[(
        "forks.py",
        "import os\nfrom hospital import healthcheck\n@healthcheck\ndef twice():\n    child = os.fork()\n    if child == 0:\n        \
         return\n    os.waitpid(child, 0)\n    assert False, 'of the check itself'\n",
    )]);
    assert_found(&check(&folder, &["forks"]), &[("twice", "fail", "of the check itself")]);
}

#[test]
#[ignore = "needs python3"]
fn a_process_that_a_module_starts_does_not_outlive_the_interpreter() {
    let folder = modules(&[(
        "starts.py",
        "import subprocess\nfrom hospital import healthcheck\nsubprocess.Popen(['sleep', '98765'])\n@healthcheck\ndef ok():\n    pass\n",
    )]);
    assert_found(&check(&folder, &["starts"]), &[("ok", "pass", "")]);
    eventually("it has ended", || with("98765") == 0);
}

#[test]
#[ignore = "needs python3"]
fn a_module_that_takes_poll_out_of_select_does_not_end_the_interpreter() {
    let folder = modules(&[(
        "green.py",
        "import select\nfrom hospital import healthcheck\ndel select.poll\n@healthcheck\ndef ok():\n    pass\n",
    )]);
    assert_found(&check(&folder, &["green"]), &[("ok", "pass", "")]);
}

#[test]
#[ignore = "needs python3"]
fn a_check_that_stops_or_kills_its_parent_is_one_error() {
    let text = "import os\nfrom hospital import healthcheck\n\
                @healthcheck(timeout=1)\ndef stops():\n    os.kill(os.getppid(), 19)\n\
                @healthcheck\ndef kills():\n    os.kill(os.getppid(), 9)\n\
                @healthcheck\ndef kills_all():\n    os.kill(-1, 9)\n\
                @healthcheck\ndef kills_its_group():\n    os.killpg(0, 9)\n\
                @healthcheck\ndef looks():\n    os.kill(os.getppid(), 0)\n\
                for number in range(5):\n    exec(f'@healthcheck\\ndef good_{number}():\\n    pass')\n";
    let folder = modules(&[("wild.py", text)]);
    let report = check(&folder, &["wild", "-j", "1"]);
    let refused =
        |signal| format!("RuntimeError: it sends signal {signal} to the interpreter of all checks, or to hospital");
    let (stopped, killed) = (refused(19), refused(9));
    let mut expected =
        vec![("stops", "error", stopped.as_str()), ("kills", "error", &killed), ("kills_all", "error", &killed)];
    expected.extend([("kills_its_group", "error", "the check was killed by SIGKILL"), ("looks", "pass", "")]);
    expected.extend(["good_0", "good_1", "good_2", "good_3", "good_4"].map(|good| (good, "pass", "")));
    assert_found(&report, &expected);
}

#[test]
#[ignore = "needs python3"]
fn a_timeout_or_tags_that_are_none_are_an_error_and_no_default() {
    let text = "import datetime\nfrom hospital import HealthCheck\n\
                for name, timeout in dict(text='2s', raw=b'2', less=-1, none=0, nan=float('nan'), yes=True).items():\n\
                \x20   exec(f'def test(self): \\\'\\\'\\\'A title.\\\'\\\'\\\'')\n    test.timeout = timeout\n\
                \x20   globals()[name] = type(name, (HealthCheck,), {'test_it': test, '__module__': __name__})\n\
                class Tags(HealthCheck):\n    tags = [1, 2]\n    def test_it(self): pass\n\
                class Good(HealthCheck):\n    tags = 'readiness'\n    timeout = datetime.timedelta(seconds=3)\n    def test_it(self): pass\n";
    let folder = modules(&[("odd.py", text)]);
    let report = check(&folder, &["odd"]);
    let found = found(&report);
    let said = |word: &str| found.iter().filter(|(_, status, said)| status == "error" && said.contains(word)).count();
    assert_eq!(said(": a timeout is a positive number of seconds, or a timedelta: not "), 6, "{found:?}");
    assert_eq!(said("odd.Tags.test_it: tags are a list of words: not [1, 2]"), 1, "{found:?}");
    assert_eq!(report["summary"]["pass"], 1, "{found:?}");
    let list = hospital("list", &folder, &["odd.Good"]).stdout;
    assert!(list.contains("  readiness  3s  "), "{list}");
}

#[test]
#[ignore = "needs python3"]
fn hundreds_of_checks_at_once_do_not_time_out_while_they_wait_for_a_process() {
    let text = "from hospital import healthcheck\n\
                for number in range(300):\n    exec(f'@healthcheck\\ndef good_{number}():\\n    pass')\n";
    let folder = modules(&[("many.py", text)]);
    let report = check(&folder, &["many"]);
    assert_eq!(report["summary"]["pass"], 300, "{}", report["summary"]);
}

#[test]
#[ignore = "needs python3"]
fn what_a_module_has_started_ends_with_an_interpreter_that_ends_while_it_imports() {
    let text = "import os, subprocess\nsubprocess.Popen(['sleep', '98766'], start_new_session=True)\nos._exit(0)\n";
    let folder = modules(&[("starts.py", text)]);
    assert!(refused(&folder, &["starts"]).contains("ended while it imported \"starts\": exit status: 0"));
    eventually("it has ended", || with("98766") == 0);
}

#[test]
#[ignore = "needs python3"]
fn with_a_safe_path_modules_are_found_in_the_working_directory_last() {
    let text = "import json\nfrom hospital import healthcheck\n@healthcheck\ndef ok():\n    json.dumps({})\n";
    let folder = modules(&[("shop.py", text), ("json.py", "raise OSError('of the folder')\n")]);
    let mut command = once::hospital("check");
    command.args(["shop", "--python", "python3"]).current_dir(folder.path()).env("PYTHONSAFEPATH", "1");
    let run = once::run(command);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}
