//! The program, asked from outside while it serves and while it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

struct Shop {
    process: Child,
    address: String,
}

impl Shop {
    fn start() -> Shop {
        let mut process = Command::new(env!("CARGO_BIN_EXE_axum-shop"))
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("cargo has built it");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("it is piped")).read_line(&mut line).expect("it says where it is");
        let address = line.trim().strip_prefix("listening on ").expect("it listens").to_owned();
        Shop { process, address }
    }

    /// The response to a request for a path, head and body.
    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n").expect("it reads");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("it answers");
        response
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn assert_answer(response: &str, status: &str, part: &str) {
    assert!(response.starts_with(&format!("HTTP/1.1 {status}")) && response.contains(part), "{response}");
}

#[test]
fn its_health_is_under_a_path_of_the_application() {
    let shop = Shop::start();
    assert_answer(&shop.get("/"), "200", "thank you");
    for path in ["/healthchecks", "/healthchecks/", "/healthchecks/shop.pool"] {
        assert_answer(&shop.get(path), "200", "A connection is free.");
    }
    assert_answer(&shop.get("/healthchecks/livez"), "200", "livez check passed");
    assert_answer(&shop.get("/healthchecks/metrics"), "200", r#"hospital_check_success{check="shop.pool"} 1"#);
    assert_answer(&shop.get("/healthchecks/no.such"), "404", "known: shop.pool, axum_shop.loopback");
}

#[test]
fn a_check_sees_what_the_application_has() {
    let shop = Shop::start();
    shop.get("/leak");
    assert_answer(&shop.get("/healthchecks"), "500", "all connections are in use");
    assert_answer(&shop.get("/healthchecks/axum_shop"), "200", "The loopback interface takes connections.");
}

#[test]
fn it_is_not_ready_while_it_ends_and_ends_well() {
    let mut shop = Shop::start();
    assert_answer(&shop.get("/healthchecks/readyz"), "200", "readyz check passed");
    let killed = Command::new("kill").arg(shop.process.id().to_string()).status().expect("kill is there");
    assert!(killed.success());
    // The signal is handled when the runtime comes to it, and connections are accepted for a while after that.
    while !shop.get("/healthchecks/readyz").contains("draining") {}
    assert!(shop.process.wait().expect("it is ours").success());
}
