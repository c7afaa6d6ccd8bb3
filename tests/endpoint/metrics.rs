//! `/metrics` from outside: the same figures from every worker, whatever happens to some of them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::harness::family::Family;
use crate::harness::metrics::{Samples, gated, open, samples, scrape, shows};
use crate::harness::*;

/// Counters must grow or stay the same.
#[track_caller]
fn assert_nothing_went_back(before: &Samples, after: &Samples) {
    for (series, count) in before.iter().filter(|(series, _)| series.contains("_total{")) {
        assert!(after.get(series).is_some_and(|now| now >= count), "{series} was {count}: {after:?}");
    }
}

const CHECKS: &str = r#"hospital_requests_total{route="checks",code="2xx"}"#;
const PREDICTABLE: &str = r#"{check="hospital.healthchecks.predictable.collected"}"#;

#[test]
fn every_worker_gives_the_same_figures_while_all_of_them_run_checks() {
    let launch = Launch::serve(["-w", "4", "--request-timeout", "60s"]);
    let gate = launch.path("gate");
    let server = launch.env("HEALTHCHECKS", &gated(&gate)).start();
    let mut clients = Vec::new();
    for busy in 1..=4 {
        // Busy workers leave the next client to the free ones.
        let mut client = Client::to(&server.at);
        client.ask("/");
        clients.push(client);
        shows(&server, r#"hospital_workers{state="busy"}"#, f64::from(busy));
    }
    assert!(!scrape(&server).keys().any(|series| series.starts_with("hospital_check_")), "none has run yet");
    open(&gate);
    clients.iter_mut().for_each(|client| assert_eq!(client.answer().status, 200));
    shows(&server, r#"hospital_workers{state="idle"}"#, 4.0);

    let mut answers = Vec::new();
    let mut pids = BTreeSet::new();
    for client in &mut clients {
        client.ask("/metrics");
        let answer = client.answer();
        let id = answer.header("x-request-id").and_then(|id| id.split_once('-'));
        pids.insert(id.expect("it names the worker").0.to_owned());
        let mut samples = samples(&answer.body);
        // Each answer is counted, including this one.
        samples.remove(r#"hospital_requests_total{route="metrics",code="2xx"}"#).expect("that is counted");
        answers.push(samples);
    }
    assert_eq!(pids.len(), 4, "each answered one: {pids:?}");
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    assert_eq!(answers[0][CHECKS], 4.0);
    assert_eq!(answers[0][r#"hospital_rounds_total{outcome="pass"}"#], 4.0);
    assert_eq!(answers[0][r#"hospital_check_success{check="gated"}"#], 1.0);
}

#[test]
fn a_check_has_its_status_its_duration_and_its_time() {
    let launch = Launch::serve([""; 0]);
    let marker = launch.path("sick");
    let script = format!("sleep%200.02;%20test%20!%20-e%20{}%20||%20exit%202", marker.display());
    let server = launch.env("HEALTHCHECKS", &format!("db=exec:/bin/sh#args=-c&args={script}")).start();
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let began = now();
    assert_eq!(get(&server.at, "/").status, 200);
    let well = scrape(&server);
    assert_eq!(well[r#"hospital_check_success{check="db"}"#], 1.0);
    assert_eq!(well[r#"hospital_check_status{check="db",status="pass"}"#], 1.0);
    let seconds = well[r#"hospital_check_duration_seconds{check="db"}"#];
    assert!((0.02..5.0).contains(&seconds), "{seconds}");
    let ran = well[r#"hospital_check_last_run_timestamp_seconds{check="db"}"#];
    assert!((began - 0.001..=now()).contains(&ran), "{ran}, begun {began}");

    open(&marker);
    assert_eq!(get(&server.at, "/").status, 500);
    let sick = scrape(&server);
    assert_eq!(sick[r#"hospital_check_success{check="db"}"#], 0.0);
    assert_eq!(sick[r#"hospital_check_status{check="db",status="pass"}"#], 0.0);
    let statuses = sick.iter().filter(|(series, is)| series.starts_with("hospital_check_status{") && **is == 1.0);
    assert_eq!(statuses.count(), 1, "{sick:?}");
    assert!(sick[r#"hospital_check_last_run_timestamp_seconds{check="db"}"#] > ran);
    assert_eq!(sick[r#"hospital_rounds_total{outcome="pass"}"#], 1.0);
    assert_eq!(sick[r#"hospital_rounds_total{outcome="fail"}"#], 1.0);
    assert_eq!(sick[r#"hospital_requests_total{route="checks",code="5xx"}"#], 1.0);
}

#[test]
fn a_quick_check_did_not_run_until_the_slowest_of_its_round_was_over() {
    let launch = Launch::serve([""; 0]);
    let (began, gate) = (launch.path("began"), launch.path("gate"));
    let script = format!("touch%20{};%20until%20test%20-e%20{};%20do%20:;%20done", began.display(), gate.display());
    let checks = format!("hospital.healthchecks.predictable.collected slow=exec:/bin/sh#args=-c&args={script}");
    let server = launch.env("HEALTHCHECKS", &checks).start();
    let mut client = Client::to(&server.at);
    client.ask("/");
    eventually("the slow one has begun", || began.exists());
    let since = Instant::now();
    eventually("it has run for a while", || since.elapsed() > Duration::from_millis(50));
    let held = since.elapsed().as_secs_f64();
    open(&gate);
    assert_eq!(client.answer().status, 200);
    let figures = scrape(&server);
    let ran = |id| figures[&format!("hospital_check_last_run_timestamp_seconds{{check=\"{id}\"}}")];
    let between = ran("slow") - ran("hospital.healthchecks.predictable.collected");
    assert!(between > held - 0.002, "{between} s, and was held for {held} s");
}

#[test]
fn requests_are_counted_by_what_they_ask_for_and_how_they_are_answered() {
    let server = Server::start(["-w", "2"]);
    for path in ["/", "/", "/nothing", "/livez", "/readyz", "/%ff", "/?format=yaml"] {
        get(&server.at, path);
    }
    let mut client = Client::to(&server.at);
    client.send("BREW / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.answer().status, 501);
    let counts: Vec<_> = scrape(&server)
        .into_iter()
        .filter(|(series, count)| series.starts_with("hospital_requests_total{") && *count > 0.0)
        .map(|(series, count)| format!("{} {count}", series.trim_start_matches("hospital_requests_total")))
        .collect();
    assert_eq!(
        counts,
        [
            r#"{route="checks",code="2xx"} 2"#,
            r#"{route="checks",code="4xx"} 2"#,
            r#"{route="livez",code="2xx"} 1"#,
            r#"{route="other",code="4xx"} 1"#,
            r#"{route="other",code="5xx"} 1"#,
            r#"{route="readyz",code="2xx"} 1"#,
        ]
    );
}

#[test]
fn nothing_that_is_counted_goes_back_when_workers_die_or_are_replaced() {
    let server = Server::start(["-w", "3"]);
    let restarts = |cause| format!("hospital_worker_restarts_total{{cause=\"{cause}\"}}");
    let mut before = scrape(&server);
    let mut asked = 0;
    let mut go_on = |series: &str, count: f64| {
        for _ in 0..20 {
            assert_eq!(get(&server.at, "/").status, 200);
            asked += 1;
        }
        shows(&server, series, count);
        shows(&server, r#"hospital_workers{state="idle"}"#, 3.0);
        eventually("those that were replaced are gone", || server.workers().len() == 3);
        let after = scrape(&server);
        assert_nothing_went_back(&before, &after);
        assert_eq!(after[CHECKS], f64::from(asked));
        assert_eq!(after[r#"hospital_rounds_total{outcome="pass"}"#], f64::from(asked));
        before = after;
    };
    go_on(&restarts("crash"), 0.0);
    server.workers().into_iter().for_each(|pid| send(pid, Signal::SIGKILL));
    go_on(&restarts("crash"), 3.0);
    server.signal(Signal::SIGHUP);
    server.logs("all workers are of generation 1");
    go_on(&restarts("reload"), 3.0);
    send(server.workers()[1], Signal::SIGABRT);
    go_on(&restarts("crash"), 4.0);
    server.signal(Signal::SIGHUP);
    server.logs("all workers are of generation 2");
    go_on("hospital_generation", 2.0);
    assert_eq!(before[&restarts("reload")], 6.0);
    assert_eq!(before[&format!("hospital_check_success{PREDICTABLE}")], 1.0);
}

#[test]
fn workers_that_retire_are_told_from_those_that_die() {
    let server = Server::start(["-w", "2", "--max-requests", "5"]);
    for _ in 0..30 {
        assert_eq!(get(&server.at, "/").status, 200);
    }
    let retired = r#"hospital_worker_restarts_total{cause="retired"}"#;
    eventually("most have retired", || scrape(&server)[retired] >= 5.0);
    let after = scrape(&server);
    assert_eq!(after[CHECKS], 30.0, "what they have answered is counted on");
    assert_eq!(after[r#"hospital_worker_restarts_total{cause="crash"}"#], 0.0);
}

#[test]
#[ignore = "needs strace"]
fn a_worker_that_hangs_is_counted_and_its_counts_are_kept() {
    let server = Server::start(["-w", "1", "--timeout", "1"]);
    assert_eq!(get(&server.at, "/").status, 200);
    let before = scrape(&server);
    let victim = server.workers()[0];
    let inject = "inject=sendto:delay_enter=100000000";
    let strace = Family::start(tempfile::tempdir().expect("there is room"), "strace", |command| {
        command.args(["-qq", "-o", "/dev/null", "-e", "trace=sendto", "-e", inject, "-p", &victim.to_string()]);
    });
    eventually("it is traced", || processes::status(victim, "TracerPid") == strace.head().to_string());
    let mut first = Client::to(&server.at);
    first.ask("/");
    server.logs("hangs: aborting it");
    let after = scrape(&server);
    assert_nothing_went_back(&before, &after);
    assert_eq!(after[r#"hospital_worker_restarts_total{cause="hang"}"#], 1.0);
    assert_eq!(after[r#"hospital_workers{state="aborting"}"#], 1.0);
    drop(strace);
    shows(&server, r#"hospital_workers{state="aborting"}"#, 0.0);
    assert_eq!(scrape(&server)[r#"hospital_worker_restarts_total{cause="crash"}"#], 0.0, "it is counted once");
}

#[test]
fn what_a_killed_worker_was_writing_is_not_believed() {
    // Figures mixed from two runs would show two different numbers.
    let figures: Vec<_> = (0..30).map(|n| format!("figure{n}=$$")).collect();
    let plugin = format!("plugin=plugin:/bin/sh#args=-c&args=echo%20\"OK|{}\"", figures.join("%20"));
    let server = Launch::serve(["-w", "4"]).env("HEALTHCHECKS", &plugin).start();
    let load = load::Load::start(&server.at, load::Shape::default());
    let (mut seen, mut before) = (BTreeSet::new(), scrape(&server));
    // Few enough that the delays before their successors stay short.
    for _ in 0..15 {
        load.wait_for_answers(30);
        if let Some(&worker) = server.workers().first() {
            send(worker, Signal::SIGKILL);
        }
        let after = loop {
            // A connection that a worker was handling is lost with it.
            if let Ok(answer) = try_get(&server.at, "/metrics") {
                break samples(&answer.body);
            }
        };
        let values: Vec<_> = after.iter().filter(|(series, _)| series.contains("_perfdata{")).collect();
        assert!(values.is_empty() || values.len() == 30, "{values:?}");
        assert!(values.windows(2).all(|pair| pair[0].1 == pair[1].1), "two runs are mixed: {values:?}");
        seen.extend(values.first().map(|(_, value)| **value as u64));
        assert_nothing_went_back(&before, &after);
        before = after;
    }
    load.stop();
    assert!(seen.len() > 5, "the figures are of {} runs", seen.len());
}

#[test]
fn what_is_no_longer_configured_disappears() {
    let launch = Launch::serve([""; 0]);
    let (file, env) = (launch.path("checks.toml"), launch.path("env"));
    let check = |name: &str| format!("[[check]]\nname = '{name}'\nuse = 'memory:#available=0%'\n");
    std::fs::write(&file, check("one") + &check("two")).expect("the directory is ours");
    let names = |more: &str| format!("HEALTHCHECKS=\"{} {more}\"\n", file.display());
    std::fs::write(&env, names("hospital.healthchecks.predictable.collected")).expect("the directory is ours");
    let server = launch.args(["--env-file".as_ref(), env.as_os_str()]).start();
    let shown = || {
        let samples = scrape(&server);
        let ids = samples.keys().filter_map(|series| series.strip_prefix("hospital_check_success{check=\""));
        ids.map(|id| id.trim_end_matches("\"}").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(shown(), [""; 0], "nothing has run yet");
    get(&server.at, "/one");
    assert_eq!(shown(), ["one"]);
    get(&server.at, "/");
    assert_eq!(shown(), ["hospital.healthchecks.predictable.collected", "one", "two"]);

    std::fs::write(&file, check("two")).expect("the directory is ours");
    eventually("a check leaves with its file's change", || {
        shown() == ["hospital.healthchecks.predictable.collected", "two"]
    });
    std::fs::write(&env, names("")).expect("the directory is ours");
    server.signal(Signal::SIGHUP);
    server.logs("all workers are of generation 1");
    // The last old worker may take one more connection before its TERM arrives.
    eventually("what is left is shown again without having run in the new workers", || shown() == ["two"]);
}

#[test]
fn a_refused_reload_is_seen_until_a_good_one_comes() {
    let launch = Launch::serve([""; 0]);
    let env = launch.path("env");
    std::fs::write(&env, "").expect("the directory is ours");
    let server = launch.args(["--env-file".as_ref(), env.as_os_str()]).start();
    let (successful, when) =
        ("hospital_config_last_reload_successful", "hospital_config_last_reload_success_timestamp_seconds");
    let first = scrape(&server);
    assert_eq!(first[successful], 1.0);
    std::fs::write(&env, "HEALTHCHECKS=missing\n").expect("the directory is ours");
    server.signal(Signal::SIGHUP);
    shows(&server, successful, 0.0);
    let refused = scrape(&server);
    assert_eq!((refused[when], refused["hospital_generation"]), (first[when], 0.0));
    std::fs::write(&env, "").expect("the directory is ours");
    server.signal(Signal::SIGHUP);
    shows(&server, successful, 1.0);
    let good = scrape(&server);
    assert!(good[when] > first[when]);
    assert_eq!(good["hospital_generation"], 1.0);
}

#[test]
fn strangers_see_numbers_instead_of_names() {
    let token = tempfile::NamedTempFile::new().expect("there is room");
    std::fs::write(token.path(), "s3cret\n").expect("it is ours");
    let checks = "secret-db=plugin:/bin/echo#args=OK|users=5 hospital.healthchecks.predictable.collected";
    let token_file = token.path().to_str().expect("a plain path");
    for (args, field, open) in [
        (&["--details", "never"][..], "", false),
        (&["--details", "token", "--token-file", token_file], "", false),
        (&["--details", "token", "--token-file", token_file], "Authorization: Bearer s3cret\r\n", true),
    ] {
        let server = Launch::serve(args).env("HEALTHCHECKS", checks).start();
        get(&server.at, "/hospital.healthchecks.predictable");
        for accept in ["text/plain", "application/openmetrics-text"] {
            let mut client = Client::to(&server.at);
            client.send(format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n{field}\r\n"));
            let body = client.answer().body;
            let second = if open { "hospital.healthchecks.predictable.collected" } else { "check-2" };
            assert!(body.contains(&format!("hospital_check_success{{check=\"{second}\"}} 1")), "{args:?}: {body}");
        }
        get(&server.at, "/");
        let mut client = Client::to(&server.at);
        client.send(format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{field}\r\n"));
        let body = client.answer().body;
        assert_eq!(body.contains("secret-db"), open, "{args:?}: {body}");
        assert_eq!(body.contains("users"), open, "{args:?}: {body}");
        assert!(open || body.contains(r#"hospital_check_status{check="check-1",status="pass"} 1"#), "{body}");
    }
}

#[test]
fn the_exposition_is_chosen_and_always_200() {
    let checks = "down=file:/does/not/exist";
    let server = Launch::serve(["--prefix", "/health"]).env("HEALTHCHECKS", checks).start();
    assert_eq!(get(&server.at, "/health/").status, 500);
    let (text, open) =
        ("text/plain; version=0.0.4; charset=utf-8", "application/openmetrics-text; version=1.0.0; charset=utf-8");
    for (path, accept, expected) in [
        ("/health/metrics", "*/*", text),
        ("/health/metrics", "image/png", text),
        ("/health/metrics", "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", open),
        ("/health/metrics?format=openmetrics", "text/plain", open),
        ("/health/metrics?format=prometheus", "application/openmetrics-text", text),
        ("/health/metrics?format=json", "*/*", text),
    ] {
        for method in ["GET", "HEAD", "OPTIONS"] {
            let mut client = Client::to(&server.at);
            client.send(format!("{method} {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n"));
            let answer = if method == "HEAD" { client.answer_to_head() } else { client.answer() };
            assert_eq!((answer.status, answer.header("content-type")), (200, Some(expected)), "{method} {path}");
            assert_eq!((answer.header("vary"), answer.header("cache-control")), (Some("Accept"), Some("no-store")));
            assert!(method == "HEAD" || answer.body.contains(r#"hospital_check_success{check="down"} 0"#));
            assert_eq!(answer.body.ends_with("# EOF\n"), method != "HEAD" && expected == open, "{path}");
        }
    }
    assert_eq!(get(&server.at, "/metrics").status, 404, "only under the prefix");
}
