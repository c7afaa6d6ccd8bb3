//! The kinds `grpc` and `grpcs`, against a real server on loopback.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::kinds_net::{certificate_for_days, start};
use super::protocols::{assert_examples, assert_found, assert_stopped, signal};
use crate::harness::drill::assert_sound;
use crate::harness::family::python_program;
use hospital::model::check::Status::{Error, Fail, Pass};
use nix::sys::signal::Signal;

#[test]
#[ignore = "needs Python's grpc_health"]
fn grpc_is_serving_or_not_frozen_or_stopped() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (authority, certificate, key) = certificate_for_days(30);
    for (name, text) in [("ca.pem", authority), ("cert.pem", certificate), ("key.pem", key)] {
        fs::write(path(name), text).expect("there is room");
    }
    let server = |port: u16, socket: &str, files: &[String]| {
        let mut python = Command::new(python_program("python"));
        python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checks/serving.py"));
        python.args([format!("127.0.0.1:{port}"), path(socket)]).args(files);
        python
    };
    let (grpc, port) = start(|port| server(port, "plain.sock", &[]));
    let (_secured, tls_port) = start(|port| server(port, "secured.sock", &[path("cert.pem"), path("key.pem")]));
    let at = format!("grpc://127.0.0.1:{port}");
    assert_found(
        &at,
        &[
            ("", Pass, ""),
            ("#service=shop.Orders", Pass, ""),
            ("#service=shop.Broken", Fail, "shop.Broken at "),
            ("#service=shop.Broken", Fail, "it says NOT_SERVING"),
            ("#service=shop.Nothing", Error, "it knows no such service: status 5"),
        ],
    );
    let ca = path("ca.pem");
    assert_examples("grpc", &[("localhost:50051", format!("127.0.0.1:{port}"))]);
    assert_examples("grpcs", &[("localhost:50051", format!("127.0.0.1:{tls_port}#ca={ca}"))]);
    assert_found(
        "grpc",
        &[
            (&format!("://shop#socket={}", path("plain.sock")), Pass, ""),
            (&format!("s://127.0.0.1:{tls_port}#ca={ca}&service=shop.Orders"), Pass, ""),
            (&format!("s://127.0.0.1:{tls_port}"), Fail, "signed by nobody that is trusted"),
            (&format!("s://127.0.0.1:{port}#ca={ca}"), Fail, ""),
            (&format!("://127.0.0.1:{tls_port}"), Fail, ""),
        ],
    );
    assert_sound(
        &[],
        &[
            format!("{at}#service=shop.Orders&timeout=2s"),
            format!("grpcs://127.0.0.1:{tls_port}#ca={ca}&service=shop.Orders&timeout=2s"),
        ],
    );
    signal(&grpc, Signal::SIGSTOP);
    assert_found(&at, &[("#timeout=2s", Fail, "nothing came in time")]);
    signal(&grpc, Signal::SIGCONT);
    drop(grpc);
    assert_stopped(&at);
}
