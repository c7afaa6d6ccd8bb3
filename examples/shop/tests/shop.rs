//! The shop as its owner runs it: served, and under `cargo test`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// How long an answer may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn its_healthchecks_are_served_by_their_dotted_path() {
    let shop = Shop::open("shop.healthchecks", &[]);
    let (head, report) = shop.get("/");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(report["status"], "pass");
    assert_eq!(
        told(&report),
        [
            ("Orders are still taken by fax.", "expected_failure"),
            ("The payment provider can be reached.", "skip"),
            ("Orders are priced.", "pass"),
            ("There is something to sell.", "pass"),
        ]
    );
    let (head, report) = shop.get("/shop.healthchecks.stock");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(report["details"], json!([{ "test": "There is something to sell.", "status": "pass" }]));
}

#[test]
fn what_is_not_well_is_told_with_its_reason() {
    let variables = [("SHOP_STOCK", "0"), ("SHOP_DISCOUNT", "101"), ("SHOP_FAX", "+44 1632 960000")];
    let mut shop = Shop::open("shop::healthchecks", &variables);
    let (head, report) = shop.get("/");
    assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
    assert_eq!(
        told(&report),
        [
            ("Orders are still taken by fax.", "unexpected_success"),
            ("The payment provider can be reached.", "skip"),
            ("Orders are priced.", "fail"),
            ("There is something to sell.", "fail"),
        ]
    );
    assert_eq!(report["details"][3]["context"], "expected something to sell, got 0 items");
    let panic = report["details"][2]["context"].as_str().expect("a panic has a context");
    assert!(panic.starts_with("a discount of 101 % (at "), "{panic}");
    assert!(panic.contains("main.rs:"), "{panic}");

    let log = shop.close();
    assert!(!log.contains("panicked at"), "a panic that is contained is no noise in the log: {log}");
}

#[test]
fn the_command_line_tells_a_skip_as_unittest_does() {
    let run = with_shop_variables(&mut Command::new(env!("CARGO_BIN_EXE_shop")), &[])
        .args(["check", "-v", "shop.healthchecks"])
        .output()
        .expect("cargo built the shop");
    let told = String::from_utf8_lossy(&run.stderr);
    let skip = "shop.healthchecks.payment\nThe payment provider can be reached. ... \
                skipped 'no provider is configured: set SHOP_PAYMENT=HOST:PORT'\n";
    assert!(told.contains(skip), "{told}");
    assert!(told.ends_with("\n\nOK (skipped=1, expected failures=1)\n"), "{told}");
    assert!(run.status.success());
}

#[test]
fn what_it_cannot_tell_is_an_error() {
    let (_, report) = Shop::open("shop.healthchecks.stock", &[("SHOP_STOCK", "many")]).get("/");
    assert_eq!(report["details"][0]["status"], "error");
    assert_eq!(report["details"][0]["context"], "invalid digit found in string");
}

#[test]
fn a_plain_test_run_skips_the_healthchecks() {
    let run = cargo_test(&[], &[]);
    assert_eq!(
        results(&run),
        [
            ("healthchecks::healthcheck_fax", "ignored"),
            ("healthchecks::healthcheck_payment", "ignored"),
            ("healthchecks::healthcheck_prices", "ignored"),
            ("healthchecks::healthcheck_stock", "ignored"),
            ("tests::a_discount_is_taken_off", "ignored"),
            ("tests::an_order_costs_the_sum_of_its_items", "ok"),
        ]
    );
    assert!(run.status.success());
}

#[test]
fn one_filter_runs_the_healthchecks_alone() {
    let run = cargo_test(&["--ignored", "healthcheck"], &[]);
    assert_eq!(
        results(&run),
        [
            ("healthchecks::healthcheck_fax", "ok"),
            ("healthchecks::healthcheck_payment", "ok"),
            ("healthchecks::healthcheck_prices", "ok"),
            ("healthchecks::healthcheck_stock", "ok"),
        ]
    );
    assert!(run.status.success());
}

#[test]
fn a_healthcheck_that_is_not_well_fails_as_a_test_and_says_why() {
    let run = cargo_test(&["--ignored", "healthcheck"], &[("SHOP_STOCK", "0"), ("SHOP_FAX", "yes")]);
    assert_eq!(
        results(&run),
        [
            ("healthchecks::healthcheck_fax", "FAILED"),
            ("healthchecks::healthcheck_payment", "ok"),
            ("healthchecks::healthcheck_prices", "ok"),
            ("healthchecks::healthcheck_stock", "FAILED"),
        ]
    );
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(told.contains("fail: There is something to sell. expected something to sell, got 0 items"), "{told}");
    assert!(told.contains("unexpected_success: Orders are still taken by fax."), "{told}");
    assert!(told.contains("src/healthchecks.rs:"), "the place of the healthcheck is named: {told}");
}

/// How nextest finds the tests and those that it may skip; its `test(healthcheck)` then matches a part of the name.
#[test]
fn nextest_is_told_which_tests_are_healthchecks() {
    let listed = |arguments: &[&str]| {
        let run = cargo_test(&[arguments, &["--list", "--format", "terse"]].concat(), &[]);
        let text = String::from_utf8(run.stdout).expect("names are UTF-8");
        text.lines().filter(|name| name.contains("healthcheck")).map(str::to_owned).collect::<Vec<_>>()
    };
    let ignored = listed(&["--ignored"]);
    assert_eq!(ignored.len(), 4, "{ignored:?}");
    assert_eq!(listed(&[]), ignored, "each healthcheck is ignored");
}

/// The shop's daemon, on a socket of this test.
struct Shop {
    process: Child,
    address: String,
}

impl Shop {
    /// Starts it with these checks and variables. The listener is already bound, so the first request waits for it.
    fn open(names: &str, variables: &[(&str, &str)]) -> Shop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let process = with_shop_variables(&mut Command::new(env!("CARGO_BIN_EXE_shop")), variables)
            .args(["serve", "--fd", "0"])
            .env("HEALTHCHECKS", names)
            .stdin(OwnedFd::from(listener))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cargo built the shop");
        Shop { process, address }
    }

    /// The head and the report of an answer.
    fn get(&self, path: &str) -> (String, Value) {
        let mut stream = TcpStream::connect(&self.address).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n").expect("it takes a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers in time");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        (head.to_owned(), serde_json::from_str(body).expect("the body is JSON"))
    }

    /// Ends it and returns its log. The workers end with their master, so the log has an end.
    fn close(&mut self) -> String {
        self.process.kill().expect("it is our child");
        let mut log = String::new();
        let mut stderr = self.process.stderr.take().expect("it is closed once");
        stderr.read_to_string(&mut log).expect("the log is UTF-8");
        log
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // It may have ended already, which is fine.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `cargo test` of the shop's own tests, with the features of the whole workspace: so nothing has to be rebuilt.
fn cargo_test(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    with_shop_variables(&mut Command::new(cargo), variables)
        .args(["test", "--offline", "--locked", "--workspace", "--bin", "shop", "--"])
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .expect("whoever runs this test has cargo")
}

/// What libtest reports for each test, in the order of their names.
fn results(run: &Output) -> Vec<(&str, &str)> {
    let text = std::str::from_utf8(&run.stdout).expect("names are UTF-8");
    let mut results: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "))
        .map(|(name, result)| (name, result.split(',').next().unwrap_or(result)))
        .collect();
    results.sort();
    assert!(!results.is_empty(), "no test ran: {}", String::from_utf8_lossy(&run.stderr));
    results
}

/// The titles and statuses of a report.
fn told(report: &Value) -> Vec<(&str, &str)> {
    let details = report["details"].as_array().expect("a report has details");
    details.iter().filter_map(|detail| Some((detail["test"].as_str()?, detail["status"].as_str()?))).collect()
}

/// Sets these of the shop's variables, and removes any that the caller happens to have.
fn with_shop_variables<'a>(command: &'a mut Command, variables: &[(&str, &str)]) -> &'a mut Command {
    for name in ["SHOP_STOCK", "SHOP_DISCOUNT", "SHOP_PAYMENT", "SHOP_FAX"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied())
}
