//! Readers of `/metrics`: promtool, the reference parser of OpenMetrics, Prometheus itself; and scrapers that say how
//! long they wait.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::family::{self, Family, deployed};
use crate::harness::metrics::{gated, open, scrape, shows};
use crate::harness::*;

// --- a scraper that says how long it waits ---------------------------------------------------------

#[test]
fn a_scraper_is_answered_before_it_leaves_and_the_round_goes_on_for_the_others() {
    let launch = Launch::serve(["-w", "1", "--request-timeout", "60s"]);
    let gate = launch.path("gate");
    let checks = format!("hospital.healthchecks.predictable.collected {}", gated(&gate));
    let server = launch.env("HEALTHCHECKS", &checks).start();
    let mut patient = Client::to(&server.at);
    patient.ask("/");
    shows(&server, r#"hospital_workers{state="busy"}"#, 1.0);

    // Their own round has not begun when they must be answered.
    let asked = Instant::now();
    let paths = ["/?format=json", "/gated", "/readyz?verbose"];
    let mut scrapers = paths.map(|path| {
        let mut scraper = Client::to(&server.at);
        let field = "X-Prometheus-Scrape-Timeout-Seconds: 3.000000";
        scraper.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n"));
        scraper
    });
    for (scraper, path) in scrapers.iter_mut().zip(paths) {
        let answer = scraper.answer();
        let took = asked.elapsed();
        assert!((Duration::from_millis(2700)..Duration::from_secs(3)).contains(&took), "{path}: {took:?}");
        assert_eq!(answer.status, 500, "{path}: {}", answer.body);
        assert!(path.contains("readyz") || answer.body.contains("timed out after 2s 7"), "{path}: {}", answer.body);
    }
    open(&gate);
    let answer = patient.answer();
    assert_eq!((answer.status, answer.json()["summary"]["pass"].as_u64()), (200, Some(2)), "{}", answer.body);
    let after = scrape(&server);
    assert_eq!(after[r#"hospital_check_success{check="gated"}"#], 1.0, "what counts is what the round found");
    assert_eq!(after[r#"hospital_rounds_total{outcome="fail"}"#], 0.0);
}

#[test]
fn a_scraper_hears_what_its_round_knows_by_then() {
    for cache in ["0s", "5s"] {
        let launch = Launch::serve(["-w", "1", "--request-timeout", "60s", "--cache", cache]);
        let gate = launch.path("gate");
        let checks = format!("hospital.healthchecks.predictable.collected {}", gated(&gate));
        let server = launch.env("HEALTHCHECKS", &checks).start();
        let mut scraper = Client::to(&server.at);
        scraper.send("GET /?verbose HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: 1\r\n\r\n");
        let answer = scraper.answer();
        let details = &answer.json()["details"];
        assert_eq!(details[0]["status"], "pass", "{details}");
        assert_eq!(details[1]["status"], "error", "{details}");
        let context = details[1]["context"].as_str().unwrap_or_default();
        assert!(context.starts_with("timed out after "), "{details}");
        assert!(!scrape(&server).contains_key(r#"hospital_check_success{check="gated"}"#), "the round goes on");
        open(&gate);
        shows(&server, r#"hospital_check_success{check="gated"}"#, 1.0);
    }
}

// --- the readers -----------------------------------------------------------------------------------

/// What both formats must escape or keep: quotes, backslashes and figures of every size.
fn hostile() -> Launch {
    let launch = Launch::serve(["-w", "2"]);
    let file = launch.path("checks.toml");
    let check = r#"
        [[check]]
        name = 'disk'
        use = 'plugin:/bin/sh'
        args = ['-c', '''echo "OK|'C:\\ \"free\"'=5.5% load=1e-7;;;0 size=3000000000B load=2"''']
    "#;
    std::fs::write(&file, check).expect("the directory is ours");
    launch.env("HEALTHCHECKS", &format!("{} hospital.healthchecks.predictable.collected {DOWN}", file.display()))
}

/// A check that fails and has the worst possible id.
const DOWN: &str = r#"file:/does/"not"\exist{}"#;

/// Runs a program on a text; returns whether it succeeds, and its output.
fn fed(program: impl AsRef<OsStr>, args: &[&str], text: &str) -> (bool, String) {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it is installed");
    let mut input = child.stdin.take().expect("it is piped");
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
#[ignore = "needs promtool"]
fn promtool_has_no_complaint() {
    let server = hostile().start();
    for path in ["/livez", "/"] {
        get(&server.at, path);
        let text = get(&server.at, "/metrics").body;
        assert_eq!(fed("promtool", &["check", "metrics"], &text), (true, String::new()), "{text}");
    }
}

#[test]
#[ignore = "needs Python's prometheus_client"]
fn openmetrics_is_read_by_its_reference_parser() {
    const PARSE: &str = "
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
families = text_string_to_metric_families(sys.stdin.read())
print(json.dumps([[f.name, f.type, [[s.labels, s.value] for s in f.samples]] for f in families]))";
    let server = hostile().start();
    get(&server.at, "/");
    let text = get(&server.at, "/metrics?format=openmetrics").body;
    let (well, said) = fed(family::python_program("python"), &["-c", PARSE], &text);
    assert!(well, "{said}\n{text}");
    type Family = (String, String, Vec<(BTreeMap<String, String>, f64)>);
    let families: Vec<Family> = serde_json::from_str(&said).expect("it prints JSON");
    let find = |name: &str| {
        let found = families.iter().find(|family| family.0 == name);
        found.unwrap_or_else(|| panic!("no {name} in {said}"))
    };
    for (name, kind) in [
        ("hospital_check_success", "gauge"),
        ("hospital_requests", "counter"),
        ("hospital_worker_restarts", "counter"),
        ("hospital_build", "info"),
    ] {
        assert_eq!(find(name).1, kind, "{name}");
    }
    let ids: Vec<_> = find("hospital_check_success").2.iter().map(|(labels, _)| labels["check"].as_str()).collect();
    assert_eq!(ids, ["disk", "hospital.healthchecks.predictable.collected", DOWN]);
    let figures = &find("hospital_check_perfdata").2;
    let labels = [("check", "disk"), ("label", r#"C:\ "free""#), ("unit", "%")];
    assert_eq!(figures[0].0, labels.map(|(label, text)| (label.to_owned(), text.to_owned())).into());
    assert_eq!(figures.iter().map(|(_, value)| *value).collect::<Vec<_>>(), [5.5, 1e-7, 3e9]);
    let read: usize = families.iter().map(|family| family.2.len()).sum();
    assert_eq!(read, text.lines().filter(|line| !line.starts_with('#')).count(), "every sample was read");
}

#[test]
#[ignore = "needs prometheus"]
fn a_real_prometheus_scrapes_and_knows_what_is_down() {
    let launch = hostile().args(["--details", "token"]);
    let token = launch.path("token");
    std::fs::write(&token, "s3cret").expect("the directory is ours");
    let server = launch.args(["--token-file".as_ref(), token.as_os_str()]).start();
    let At::Tcp(target) = server.at else { panic!("it is served over TCP") };
    assert_eq!(get(&server.at, "/").status, 500);
    let directory = tempfile::tempdir().expect("there is room");
    let at_home = r#"static_configs:
      - targets: ["127.0.0.1:1515"]"#;
    let here = format!("static_configs: [{{targets: ['{target}']}}]");
    let locked = "    # authorization:\n    #   credentials_file: /etc/prometheus/hospital-token\n";
    let unlocked = format!("    authorization: {{credentials_file: {}}}\n", token.display());
    let hurry = "scrape_interval: 200ms\n  scrape_timeout: 200ms";
    let configuration = deployed(
        "prometheus/prometheus.yml",
        &[
            (&format!("job_name: hospital\n    {at_home}"), &format!("job_name: hospital\n    {here}")),
            (&format!("scrape_timeout: 10s\n    {at_home}"), &format!("scrape_timeout: 1s\n    {here}")),
            ("scrape_interval: 15s", hurry),
            ("evaluation_interval: 15s", "evaluation_interval: 200ms"),
            ("scrape_interval: 1m", "scrape_interval: 1s"),
            (locked, &unlocked),
        ],
    );
    std::fs::write(directory.path().join("prometheus.yml"), configuration).expect("the directory is ours");
    let rules = deployed("prometheus/hospital.rules.yml", &[]);
    std::fs::write(directory.path().join("hospital.rules.yml"), rules).expect("the directory is ours");
    let prometheus = Family::start(directory, "prometheus", |command| {
        command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:0"]);
    });
    let mut at = At::Nowhere;
    prometheus.within_patience("it says where it listens", || {
        let log = prometheus.text("stderr");
        let line = log.lines().find(|line| line.contains("msg=\"Listening on\""));
        let address = line.and_then(|line| line.split("address=").nth(1)?.parse().ok());
        at = address.map_or(At::Nowhere, At::Tcp);
        address.is_some()
    });
    prometheus.within_patience("it is ready", || try_get(&at, "/-/ready").is_ok_and(|answer| answer.status == 200));
    // Each result as its labels and its value.
    let query = |query: &str| {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = try_get(&at, &format!("/api/v1/query?query={encoded}")).expect("it answers").json();
        let results = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        results.into_iter().map(|found| (found["metric"].clone(), found["value"][1].clone())).collect::<Vec<_>>()
    };
    prometheus.within_patience("both jobs scrape", || query("up == 1").len() == 2);
    let down = query("hospital_check_success == 0");
    assert_eq!(down.iter().map(|(labels, _)| &labels["check"]).collect::<Vec<_>>(), [DOWN]);
    let free = query(r#"hospital_check_perfdata{unit="%"}"#);
    assert_eq!((free[0].0["check"].as_str(), free[0].1.as_str()), (Some("disk"), Some("5.5")));
    assert_eq!(query("hospital_build_info")[0].0["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(query("time() - hospital_config_last_reload_success_timestamp_seconds < 60").len(), 1);
    let failed = r#"hospital_requests_total{route="checks",code="5xx"}"#;
    assert_eq!(query(failed)[0].1, "1", "the job that runs the checks gets 200 whatever is down");
    let alerts = || try_get(&at, "/api/v1/alerts").expect("it answers").json()["data"]["alerts"].clone();
    prometheus.within_patience("the rules tell of it", || alerts()[0]["labels"]["alertname"] == "HealthcheckBad");
    assert_eq!(alerts()[0]["labels"]["check"], DOWN);
    assert_eq!(alerts().as_array().map(Vec::len), Some(1), "and of nothing else");

    get(&server.at, "/");
    prometheus.within_patience("the next scrape shows it", || query(failed)[0].1 == "2");
    server.workers().into_iter().for_each(|pid| send(pid, Signal::SIGKILL));
    let crashes = r#"hospital_worker_restarts_total{cause="crash"}"#;
    prometheus.within_patience("it goes on after all workers died", || query(crashes)[0].1 == "2");
    assert_eq!(query(failed)[0].1, "2");
}
