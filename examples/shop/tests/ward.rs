//! Healthchecks that are functions in Rust, under sabotage: those that cannot fail are found.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;

/// Speaks HTTP, at a port of its own.
fn peer() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            thread::spawn(move || {
                let _ = client.read(&mut [0; 1024]);
                let _ = client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nready");
            });
        }
    });
    port
}

#[test]
#[ignore = "needs root"]
fn functions_that_cannot_fail_are_found_and_no_other_is_accused() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    fs::write(folder.path().join("log"), "all is well\n").expect("the folder is ours");
    let output = Command::new(env!("CARGO_BIN_EXE_ward"))
        .args(["drill", "--format", "json", "ward"])
        .env_remove("HEALTHCHECKS")
        .env("WARD_PEER", format!("127.0.0.1:{}", peer()))
        .env("WARD_FOLDER", folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("cargo built the ward");
    let json: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let checks = json["checks"].as_array().expect("it is a list");
    assert_eq!(checks.len(), 13);
    for check in checks {
        let is_vacuous = check["id"].as_str().is_some_and(|id| id.contains("vacuous"));
        let is_accused = ["fooled", "cannot_fail"].iter().any(|verdict| check["verdict"] == *verdict);
        assert!(is_vacuous == is_accused && (is_accused || check["verdict"] == "sound"), "{check:#}");
    }
}
