//! The page, in a real browser: in light and dark mode, on a phone and on a desktop, with and without its script.
//!
//! The pictures are kept in `target/page`, to be looked at.

use std::fs;
use std::path::Path;

use crate::harness::browser::Browser;
use crate::harness::family::python_program;
use crate::harness::{At, DEADLINE, Launch, Server, Signal, get, send, within};
use serde_json::json;

/// The backgrounds in src/render/templates/report.css.
const DAY: &str = "f7f7f5";
const NIGHT: &str = "131316";

/// A suite whose statuses a test determines: each check passes while its file exists.
struct Site {
    server: Server,
}

impl Site {
    /// `count` checks, of which the first is named `site.0` and tagged `even`.
    fn of(count: usize, args: &[&str]) -> Site {
        let launch = Launch::serve(["-w", "1"]).args(args);
        let names: Vec<_> = (0..count)
            .map(|number| {
                let tag = ["even", "odd"][number % 2];
                let path = launch.path(&number.to_string());
                fs::write(&path, "").expect("the directory is ours");
                format!("site.{number}=file:{}#title=Number%20{number}%20is%20there.&tag={tag}", path.display())
            })
            .collect();
        Site { server: launch.env("HEALTHCHECKS", &names.join(" ")).start() }
    }

    fn breaks(&self, number: usize) {
        fs::remove_file(self.server.path(&number.to_string())).expect("it was there");
    }

    fn url(&self, path: &str) -> String {
        let At::Tcp(address) = self.server.at else { panic!("{:?} has no URL", self.server.at) };
        format!("http://{address}{path}")
    }
}

/// The ids of the visible checks, from the top.
fn visible(browser: &Browser) -> Vec<String> {
    let ids = browser.run(
        "return [...document.querySelectorAll('.check')].filter(check => check.offsetHeight > 0).map(check => check.dataset.id)",
    );
    serde_json::from_value(ids).expect("it is a list of names")
}

#[test]
#[ignore = "needs chromium, chromedriver"]
fn it_is_readable_on_every_screen() {
    let (well, ill, large) = (Site::of(3, &[]), Site::of(8, &[]), Site::of(200, &[]));
    for number in [2, 5] {
        ill.breaks(number);
    }
    for number in [17, 60, 142] {
        large.breaks(number);
    }
    let browser = Browser::start();
    for (name, site, count, verdict) in [
        ("pass", &well, 3, "14702f 74d68a"),
        ("fail", &ill, 8, "b3261e ff8e84"),
        ("large", &large, 200, "b3261e ff8e84"),
    ] {
        let verdict: Vec<_> = verdict.split(' ').collect();
        for (width, scheme, ground, verdict) in [
            (320, "light", DAY, verdict[0]),
            (320, "dark", NIGHT, verdict[1]),
            (1280, "light", DAY, verdict[0]),
            (1280, "dark", NIGHT, verdict[1]),
        ] {
            let what = format!("{name}-{width}-{scheme}");
            browser.screen(width, 900, scheme);
            browser.open(&site.url("/"));
            assert_eq!(visible(&browser).len(), count, "{what}");
            let overflow = browser.run("return document.documentElement.scrollWidth - innerWidth");
            assert_eq!(overflow, json!(0), "{what}: it has to be scrolled sideways");
            let picture = browser.picture();
            keep(&what, &picture.png);
            assert_eq!((picture.width, picture.height), (width, 900), "{what}");
            assert!(picture.share(ground) > 0.15, "{what}: the ground is no ground");
            assert!(picture.share(verdict) > 0.001, "{what}: the verdict has no colour");
            assert_silent(&browser, &what);
        }
    }
}

/// Where the pictures are kept.
fn keep(name: &str, png: &[u8]) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in target").join("page");
    fs::create_dir_all(&folder).expect("target is ours");
    fs::write(folder.join(format!("{name}.png")), png).expect("target is ours");
}

/// The console shows no refusal by the policy and no error, except that the report does not pass.
#[track_caller]
fn assert_silent(browser: &Browser, what: &str) {
    let told: Vec<_> = browser.console().into_iter().filter(|line| !line.contains("status of 500")).collect();
    assert_eq!(told, [""; 0], "{what}");
}

#[test]
#[ignore = "needs chromium, chromedriver, Python's axe_core_python"]
fn an_accessibility_checker_finds_no_fault() {
    let axe = axe();
    let (ill, hidden) = (Site::of(8, &[]), Site::of(8, &["--details", "never"]));
    let browser = Browser::start();
    for (site, what) in [(&ill, "fail"), (&hidden, "hidden")] {
        site.breaks(3);
        for (width, scheme) in [(320, "light"), (1280, "dark")] {
            browser.screen(width, 900, scheme);
            browser.open(&site.url("/?tag=odd"));
            browser.run(&axe);
            let found = browser.run_async(
                "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']}).then(arguments[0], arguments[0])",
            );
            assert!(found["passes"].as_array().is_some_and(|passes| passes.len() > 10), "it looked: {found}");
            let violations: Vec<_> = found["violations"].as_array().into_iter().flatten().collect();
            assert!(violations.is_empty(), "{what} at {width}: {violations:#?}");
        }
    }
}

#[test]
#[ignore = "needs chromium, chromedriver"]
fn without_its_script_it_is_complete() {
    let site = Site::of(6, &[]);
    site.breaks(4);
    let browser = Browser::start();
    browser.devtools("Emulation.setScriptExecutionDisabled", json!({"value": true}));
    browser.open(&site.url("/"));
    assert_eq!(visible(&browser), ["site.4", "site.0", "site.1", "site.2", "site.3", "site.5"]);
    for of_the_script in ["#search", "#repeat", "#stale"] {
        assert_eq!(browser.run(&format!("return document.querySelector('{of_the_script}').offsetHeight")), json!(0));
    }
    browser.click("#show-fail");
    assert_eq!(visible(&browser), ["site.4"]);
    browser.click("#show-pass");
    assert_eq!(visible(&browser).len(), 5);
    browser.click("#tags li:last-child a");
    assert_eq!(visible(&browser), ["site.1", "site.3", "site.5"]);
    browser.click("#tags a[aria-current]");
    assert_eq!(visible(&browser).len(), 6);
    browser.click("#again");
    assert_eq!(visible(&browser).len(), 6);
    assert_silent(&browser, "without its script");
}

#[test]
#[ignore = "needs chromium, chromedriver"]
fn it_renews_itself_and_keeps_the_place_the_focus_and_the_filter() {
    let site = Site::of(200, &[]);
    site.breaks(150);
    let browser = Browser::start();
    browser.screen(1000, 700, "light");
    before_the_page(&browser, HURRY);
    browser.open(&site.url("/?tag=even"));
    assert_eq!(visible(&browser).len(), 100);

    browser.click("#wanted");
    browser.press("number 1");
    browser.click("#show-pass");
    let shown = visible(&browser);
    assert_eq!(shown.len(), 54, "of the even ones 1x and 1xx, but not 150: {shown:?}");
    browser.run(
        "document.getElementById('wanted').focus({preventScroll: true}); scrollTo(0, 2000); window.unloaded = false",
    );
    browser.run("document.querySelector('[data-id=\"site.190\"]').marked = true");
    let place = browser.run("return document.querySelector('[data-id=\"site.190\"]').getBoundingClientRect().top");

    site.breaks(198);
    renewed(&browser, "1 fails more", "fail: 98 of 100 healthchecks pass");
    assert_eq!(visible(&browser).len(), 53);
    let after = "return [document.activeElement.id, document.getElementById('wanted').value, window.unloaded, \
                 document.querySelector('[data-id=\"site.190\"]').marked, \
                 document.querySelector('[data-id=\"site.190\"]').getBoundingClientRect().top, \
                 document.getElementById('news').textContent]";
    let news = "✗ fail: 98 of 100 healthchecks pass";
    assert_eq!(browser.run(after), json!(["wanted", "number 1", false, true, place, news]));

    // The status that is filtered for may have no checks any more.
    for number in (0..200).step_by(2) {
        let _ = fs::remove_file(site.server.path(&number.to_string()));
    }
    renewed(&browser, "all fail", "fail: 0 of 100 healthchecks pass");
    assert_eq!(visible(&browser).len(), 55, "the filter by a status that no check has is given up");
    let icon = browser.run("return document.querySelector('link[rel=icon]').href");
    assert!(icon.as_str().is_some_and(|icon| icon.contains("d6362c")), "{icon}");
    assert_silent(&browser, "renewed");
}

#[test]
#[ignore = "needs chromium, chromedriver"]
fn it_says_that_it_is_out_of_date_and_recovers() {
    let site = Site::of(2, &[]);
    let browser = Browser::start();
    before_the_page(&browser, HURRY);
    before_the_page(
        &browser,
        "const after = AbortSignal.timeout; AbortSignal.timeout = (wait) => after.call(AbortSignal, wait / 100);",
    );
    browser.open(&site.url("/"));
    let stale = "return document.getElementById('stale').hidden ? '' : document.getElementById('stale').innerText";
    assert_eq!(browser.run(stale), json!(""));

    // The kernel accepts the connection, but nobody answers.
    send(site.server.master(), Signal::SIGSTOP);
    for worker in site.server.workers() {
        send(worker, Signal::SIGKILL);
    }
    within(DEADLINE, "it says that it is out of date", || {
        browser.run("return document.title.split(' on ')[0]") == json!("out of date: pass: 2 of 2 healthchecks pass")
    });
    let said = browser.run(stale);
    assert!(said.as_str().is_some_and(|said| said.contains("out of date: it was found at 2")), "{said}");

    send(site.server.master(), Signal::SIGCONT);
    renewed(&browser, "it is up to date again", "pass: 2 of 2 healthchecks pass");
    assert_eq!(browser.run(stale), json!(""));
}

#[test]
#[ignore = "needs chromium, chromedriver"]
fn it_renews_itself_only_while_somebody_wants_it() {
    let site = Site::of(1, &[]);
    let browser = Browser::start();
    before_the_page(&browser, HURRY);
    before_the_page(
        &browser,
        "const ask = fetch; window.asked = 0; window.fetch = (...all) => { asked += 1; return ask(...all); };",
    );
    browser.open(&site.url("/"));
    let asked = || browser.run("return asked").as_u64().expect("it is a number");
    within(DEADLINE, "it renews itself", || asked() > 1);
    browser.click("#repeats");
    // Requests in progress may finish.
    let settled = browser.run_async("setTimeout(() => arguments[0](asked), 30_000)");
    browser.run_async("setTimeout(arguments[0], 60_000)");
    assert_eq!(json!(asked()), settled);
    browser.click("#again");
    within(DEADLINE, "it renews itself when told to", || json!(asked()) != settled);
}

/// Makes all waits a hundred times shorter.
const HURRY: &str = "const real = setTimeout; window.setTimeout = (task, wait) => real(task, wait / 100);";

/// Runs a script in each page before the page's own.
#[track_caller]
fn before_the_page(browser: &Browser, script: &str) {
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script }));
}

/// Waits until the page gets this title by itself.
#[track_caller]
fn renewed(browser: &Browser, what: &str, title: &str) {
    within(DEADLINE, what, || browser.run("return document.title.split(' on ')[0]") == json!(title));
}

#[test]
fn strangers_get_a_page_of_counts() {
    let site = Site::of(3, &["--details", "never"]);
    site.breaks(1);
    let answer = get(&site.server.at, "/?format=html");
    assert_eq!(answer.status, 500);
    assert!(answer.body.contains("2 of 3 healthchecks pass"), "{}", answer.body);
    for hidden in ["site", "Number", "even", "since", "took"] {
        let body = answer.body.split_once("<body>").expect("it has a body").1;
        assert!(!body.contains(hidden), "{hidden}: {body}");
    }
}

#[test]
fn since_when_is_what_it_was_after_a_reload() {
    let site = Site::of(1, &[]);
    let times = || {
        let page = get(&site.server.at, "/?format=html").body;
        let times = page.split("datetime=\"").skip(1).filter_map(|rest| rest.split_once('"'));
        let [since, at] = times.map(|(time, _)| time.to_owned()).collect::<Vec<_>>().try_into().expect("there are two");
        (since, at)
    };
    let (since, _) = times();
    within(DEADLINE, "time passes", || times().1 > since);
    let workers = site.server.workers();
    site.server.signal(Signal::SIGHUP);
    within(DEADLINE, "the worker is another", || site.server.workers().iter().all(|pid| !workers.contains(pid)));
    assert_eq!(times().0, since);
}

#[test]
fn only_the_page_has_a_policy() {
    let site = Site::of(1, &[]);
    let page = get(&site.server.at, "/?format=html");
    let policy = page.header("content-security-policy").expect("the page has one");
    for rule in ["default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'", "'sha256-"] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(get(&site.server.at, "/").header("content-security-policy"), None);
}

/// axe-core, as its Python package ships it.
fn axe() -> String {
    let libraries = fs::read_dir(python_program("../lib")).expect("it is a virtual environment");
    let script = libraries
        .flatten()
        .map(|python| python.path().join("site-packages/axe_core_python/axe.min.js"))
        .find_map(|path| fs::read_to_string(path).ok());
    script.expect("axe-core is installed")
}

#[test]
fn the_page_says_that_there_is_maintenance_and_why() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let file = folder.path().join("maintenance");
    let path = file.to_str().expect("a plain path");
    for cache in ["0", "1h"] {
        let server = Server::start(["--maintenance-file", path, "--cache", cache]);
        let says = || {
            get(&server.at, "/?format=html")
                .body
                .contains("In maintenance, so this host takes no requests: disk &#38; fan")
        };
        assert!(!says());
        std::fs::write(&file, "disk & fan\n").expect("the folder is ours");
        assert!(says());
        std::fs::remove_file(&file).expect("the folder is ours");
        assert!(!says());
    }
}
