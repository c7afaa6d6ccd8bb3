use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use http_body_util::BodyExt;
use tower_service::Service as _;

use super::*;
use crate::endpoint::Disclosure;
use crate::model::check::{Check, Finding};
use crate::model::suite::Suite;

fn suite(checks: impl IntoIterator<Item = Check>) -> Suite {
    checks.into_iter().map(Arc::new).collect()
}

fn mounted(checks: impl IntoIterator<Item = Check>) -> Service {
    Service::new(suite(checks), EndpointSettings::default()).expect("a thread can be started")
}

fn get(service: &Service, target: &str, fields: &[(&str, &str)]) -> (u16, Response<Full<Bytes>>, String) {
    let request = fields.iter().fold(Request::get(target), |request, (name, value)| request.header(*name, *value));
    answered(service.clone().call(request.body(()).expect("it is a request")))
}

fn answered(future: ResponseFuture) -> (u16, Response<Full<Bytes>>, String) {
    let response = pollster::block_on(future).expect("it is infallible");
    let body = pollster::block_on(response.body().clone().collect()).expect("it is in memory").to_bytes();
    (response.status().as_u16(), response, String::from_utf8_lossy(&body).into_owned())
}

/// A check that waits until it is released, and counts its runs.
fn gated(id: &str) -> (Check, mpsc::Sender<()>, Arc<AtomicUsize>) {
    let (release, gate) = mpsc::channel::<()>();
    let (gate, runs) = (Mutex::new(gate), Arc::new(AtomicUsize::new(0)));
    let counted = runs.clone();
    let check = Check::new(id, move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        // It is over, too, when the test is.
        let _ = gate.lock().expect("one thread runs it").recv();
        Finding::PASS
    });
    (check, release, runs)
}

fn counting(id: &str) -> (Check, Arc<AtomicUsize>) {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let check = Check::new(id, move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Finding::PASS
    });
    (check, runs)
}

#[test]
fn it_answers_as_the_daemon_does() {
    let service = mounted([
        Check::new("shop.db", |_| Finding::PASS).tags(["readiness"]),
        Check::new("shop.mail", |_| Finding::fail("no route")),
        Check::new("shop.disk", |_| Finding::PASS).in_place(),
    ]);
    for (target, status, part) in [
        ("/", 500, r#""context": "no route""#),
        ("/shop.db", 200, r#""status": "pass""#),
        ("/shop.disk?verbose", 200, r#""id": "shop.disk""#),
        ("/?exclude=shop.mail", 200, r#""status": "pass""#),
        ("/?format=prometheus", 200, "hospital_check_success"),
        ("/livez", 200, "livez check passed"),
        ("/readyz", 200, "readyz check passed"),
        ("/shop.no", 404, "known: shop.db, shop.mail, shop.disk"),
        ("http://shop.example/shop.db?format=tap", 200, "ok 1"),
    ] {
        let (got, _, body) = get(&service, target, &[]);
        assert_eq!(got, status, "{target}: {body}");
        assert!(body.contains(part), "{target}: {body}");
    }
    let (_, page, body) = get(&service, "/", &[("Accept", "text/html")]);
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert!(body.contains("no route"), "{body}");
    let (_, _, metrics) = get(&service, "/metrics", &[]);
    assert!(metrics.contains(r#"hospital_check_success{check="shop.mail"} 0"#), "{metrics}");
    assert!(metrics.contains(r#"hospital_requests_total{route="livez",code="2xx"} 1"#), "{metrics}");
    let (status, refused, _) = answered(service.clone().call(Request::post("/").body(()).expect("it is a request")));
    assert_eq!((status, refused.headers()["allow"].as_bytes()), (405, &b"GET, HEAD, OPTIONS"[..]));
}

#[test]
fn it_answers_under_the_prefix_that_a_server_leaves_in_the_path() {
    let settings = EndpointSettings { prefix: "/healthchecks".to_owned(), ..EndpointSettings::default() };
    let service = Service::new(suite([Check::new("db", |_| Finding::PASS)]), settings).expect("a thread starts");
    for (target, status) in [("/healthchecks", 200), ("/healthchecks/db", 200), ("/db", 404)] {
        assert_eq!(get(&service, target, &[]).0, status, "{target}");
    }
}

#[test]
fn details_are_for_those_who_have_the_token() {
    let settings =
        EndpointSettings { disclosure: Disclosure::Token("s3cret".to_owned()), ..EndpointSettings::default() };
    let checks = suite([Check::new("db", |_| Finding::fail("no route"))]);
    let service = Service::new(checks, settings).expect("a thread starts");
    assert!(!get(&service, "/", &[]).2.contains("no route"));
    assert!(get(&service, "/", &[("Authorization", "Bearer s3cret")]).2.contains("no route"));
    let (status, refused, _) = get(&service, "/", &[("Authorization", "Bearer other")]);
    assert!(status == 401 && refused.headers().contains_key("www-authenticate"), "{refused:?}");
}

#[test]
fn a_file_of_checks_that_has_changed_is_in_the_next_answer() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let file = folder.path().join("checks.toml");
    let write = |name: &str| {
        std::fs::write(&file, format!("[[check]]\nname = '{name}'\nuse = 'file:/'\n")).expect("the folder is ours");
    };
    write("one");
    let sources = Sources::read(&[file.to_str().expect("a plain path")], "the test").expect("it is good");
    let service = Service::new(sources, EndpointSettings::default()).expect("a thread starts");
    assert_eq!((get(&service, "/one", &[]).0, get(&service, "/two", &[]).0), (200, 404));
    write("two");
    assert_eq!((get(&service, "/one", &[]).0, get(&service, "/two", &[]).0), (404, 200));
    write("");
    let (status, _, body) = get(&service, "/", &[]);
    assert!(status == 500 && body.contains("the last change is not in use"), "{body}");
}

#[test]
fn requests_that_come_during_a_round_share_the_next_one() {
    let (check, release, runs) = gated("slow");
    let service = mounted([check]);
    let ask = || service.clone().call(Request::get("/").body(()).expect("it is a request"));
    let all: Vec<_> = (0..50).map(|_| ask()).collect();
    release.send(()).and_then(|()| release.send(())).expect("the service has the check");
    for future in all {
        assert_eq!(answered(future).0, 200);
    }
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}

#[test]
fn a_check_that_is_stuck_is_late_and_not_started_again() {
    let (check, _release, runs) = gated("slow");
    let service = mounted([check.timeout(Duration::from_millis(10))]);
    let (status, _, late) = get(&service, "/", &[]);
    assert!(status == 500 && late.contains("timed out after 10ms"), "{late}");
    let (status, _, still) = get(&service, "/", &[]);
    assert!(status == 500 && still.contains("still running after"), "{still}");
    // On a busy machine, its thread may not have begun yet.
    assert!(runs.load(Ordering::SeqCst) <= 1);
}

#[test]
fn a_round_ends_at_the_limit() {
    let (check, _release, _) = gated("slow");
    let limit = Duration::from_millis(10);
    let service = Service::within(limit, suite([check]), EndpointSettings::default()).expect("a thread starts");
    assert_eq!(get(&service, "/", &[]).0, 500);
}

#[test]
fn who_is_in_a_hurry_is_answered_before_the_round_is_over() {
    let (check, _release, _) = gated("slow");
    let service = mounted([check.timeout(Duration::from_secs(60))]);
    let (status, _, body) = get(&service, "/", &[("X-Prometheus-Scrape-Timeout-Seconds", "0.1")]);
    assert!(status == 500 && body.contains("timed out after"), "{body}");
}

#[test]
fn a_report_that_is_young_enough_answers_all_parts_and_tells_its_age() {
    let ((db, db_runs), (mail, mail_runs)) = (counting("db"), counting("mail"));
    let settings = EndpointSettings { lifetime: Duration::from_secs(3600), ..EndpointSettings::default() };
    let service = Service::new(suite([db, mail]), settings).expect("a thread starts");
    for target in ["/db", "/", "/mail", "/db?format=nagios"] {
        let (status, response, body) = get(&service, target, &[]);
        assert_eq!(status, 200, "{target}: {body}");
        assert_eq!(response.headers()["cache-control"], "max-age=3600", "{target}");
        assert!(response.headers().contains_key("age"), "{target}");
    }
    assert_eq!((db_runs.load(Ordering::SeqCst), mail_runs.load(Ordering::SeqCst)), (1, 1));
}

#[test]
fn without_a_lifetime_each_answer_is_from_a_round_of_its_own() {
    let (check, runs) = counting("db");
    let service = mounted([check]);
    for _ in 0..3 {
        assert_eq!(get(&service, "/", &[]).1.headers()["cache-control"], "no-store");
    }
    assert_eq!(runs.load(Ordering::SeqCst), 3);
}

#[test]
fn a_service_that_is_used_up_by_its_only_request_answers_it() {
    let mut service = mounted([Check::new("db", |_| Finding::PASS)]);
    let future = service.call(Request::get("/").body(()).expect("it is a request"));
    drop(service);
    assert_eq!(answered(future).0, 200);
}

#[test]
fn a_program_that_ends_is_not_ready() {
    let service = mounted([Check::new("db", |_| Finding::PASS)]);
    assert_eq!(get(&service, "/readyz", &[]).0, 200);
    service.drain();
    let (status, _, body) = get(&service, "/readyz", &[]);
    assert_eq!((status, body.as_str()), (503, "readyz check failed: draining\n"));
    assert_eq!(get(&service, "/", &[]).0, 200);
}
