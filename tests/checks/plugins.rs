//! Debian's Nagios plugins as `plugin` checks: what they decide, what they print, and their figures.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use hospital::model::check::{Finding, Status};

const PLUGINS: &str = "/usr/lib/nagios/plugins";

/// The finding of a check of this plugin.
fn found(plugin: &str, options: &str) -> Finding {
    let suite =
        hospital::collect(&[format!("plugin:{PLUGINS}/{plugin}#timeout=10s&{options}")]).expect("it is installed");
    let mut report = hospital::run(suite, Duration::from_secs(10));
    report.outcomes.remove(0).finding
}

fn says(finding: &Finding, status: Status, text: &str) {
    let context = finding.context.as_deref().unwrap_or_default();
    assert!(finding.status == status && context.contains(text), "{text:?} should be in {finding:?}");
}

fn figure(finding: &Finding, label: &str) -> (f64, String) {
    let figure = finding.perfdata.iter().find(|figure| figure.label == label);
    let figure = figure.unwrap_or_else(|| panic!("no {label} in {finding:?}"));
    (figure.value, figure.unit.clone())
}

/// A web server for one request on a port of its own.
fn answer_once() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a plugin connects");
        client.set_read_timeout(Some(Duration::from_secs(10))).expect("it is not zero");
        let _ = client.read(&mut [0; 1024]);
        let _ = client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n");
    });
    port
}

/// A port on which nobody listens while its holder lives: it is bound.
fn closed() -> (socket2::Socket, u16) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("sockets can be had");
    let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into()).expect("a port is free");
    let port = socket.local_addr().ok().and_then(|at| at.as_socket()).expect("it is bound").port();
    (socket, port)
}

#[test]
#[ignore = "needs check_load"]
fn check_load_decides_by_its_thresholds() {
    let well = found("check_load", "args=-w,9999\\,9999\\,9999,-c,9999\\,9999\\,9999");
    says(&well, Status::Pass, "LOAD OK - ");
    let (load, unit) = figure(&well, "load1");
    assert!(load >= 0.0 && unit.is_empty());
    assert_eq!(well.perfdata.len(), 3);
    // Above every threshold: even an idle host has a load of 0.
    says(&found("check_load", "args=-w,0,-c,9999&warning=fail"), Status::Fail, "LOAD WARNING - ");
    says(&found("check_load", "args=-w,0,-c,9999"), Status::Warn, "LOAD WARNING - ");
    says(&found("check_load", "args=-w,0,-c,0"), Status::Fail, "LOAD CRITICAL - ");
}

#[test]
#[ignore = "needs check_load"]
fn check_disk_measures_the_root_file_system() {
    let well = found("check_disk", "args=-w,0%25,-c,0%25,-p,/");
    says(&well, Status::Pass, "DISK OK - free space: / ");
    let (used, unit) = figure(&well, "/");
    assert!(used > 0.0 && unit == "B");
    let ours = hospital::run(hospital::collect(&["disk:/"]).expect("it is built in"), Duration::from_secs(10));
    let ours = &ours.outcomes[0].finding;
    let total: f64 = figure(ours, "total").0;
    assert!((total - figure(ours, "free").0 - used).abs() < total / 100.0, "{used} of {ours:?}");
    says(&found("check_disk", "args=-w,100%25,-c,100%25,-p,/"), Status::Fail, "DISK CRITICAL");
    says(
        &found("check_disk", "args=-w,10%25,-c,5%25,-p,/no/such/folder"),
        Status::Fail,
        "DISK CRITICAL - /no/such/folder",
    );
}

#[test]
#[ignore = "needs check_load"]
fn check_http_and_check_tcp_time_their_connections() {
    let http = found("check_http", &format!("args=-H,127.0.0.1,-p,{}", answer_once()));
    says(&http, Status::Pass, "HTTP OK: HTTP/1.1 200 OK");
    let (time, unit) = figure(&http, "time");
    assert!(time > 0.0 && unit == "s");
    assert_eq!(figure(&http, "size").1, "B");

    let tcp = found("check_tcp", &format!("args=-H,127.0.0.1,-p,{}", answer_once()));
    says(&tcp, Status::Pass, "TCP OK - ");
    assert_eq!(figure(&tcp, "time").1, "s");

    let (_holder, port) = closed();
    says(&found("check_tcp", &format!("args=-H,127.0.0.1,-p,{port}")), Status::Fail, "Connection refused");
}

#[test]
#[ignore = "needs check_load"]
fn wrong_arguments_of_a_plugin_are_an_error() {
    says(&found("check_load", "args=-w,many"), Status::Error, "Warning threshold must be float");
}
