//! Answers requests as the daemon does, without any server.

use std::ops::ControlFlow::{Break, Continue};
use std::sync::Arc;
use std::time::Duration;

use hospital::collect::{FileState, Sources};
use hospital::endpoint::{Endpoint, EndpointSettings, Findings, Reply, Request, Unobserved};

fn main() -> Result<(), hospital::error::Error> {
    let sources = Sources::read(&["hospital.healthchecks.predictable"], "the program")?;
    let mut endpoint = Endpoint::new(Arc::new(FileState::of(&sources)), EndpointSettings::default(), Unobserved);

    let reply = answer(&mut endpoint, &Request::new("GET", "/", [("Accept", "application/json")]));
    assert_eq!((reply.status, reply.fields[0].1.as_ref()), (200, "application/json; charset=utf-8"));
    assert!(String::from_utf8_lossy(&reply.body).contains(r#""status": "pass""#));

    for (method, target, status) in [("HEAD", "/livez", 200), ("GET", "/no.such.check", 404), ("POST", "/", 405)] {
        assert_eq!(answer(&mut endpoint, &Request::new(method, target, [])).status, status, "{method} {target}");
    }
    Ok(())
}

/// A reply is there at once, or there are checks to run for it.
fn answer(endpoint: &mut Endpoint, request: &Request<'_>) -> Reply {
    let checks = match endpoint.ask(request) {
        Continue(checks) => checks,
        Break(reply) => return reply.clone(),
    };
    let limit = checks.limit().unwrap_or(Duration::from_secs(10));
    let report = hospital::run(checks.suite().clone(), limit);
    endpoint.report(&checks, &Findings::from(&report)).clone()
}
