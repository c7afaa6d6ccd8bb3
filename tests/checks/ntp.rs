//! The kind `ntp`, against a real server on loopback.

use std::fs;
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::kinds_net::Server;
use super::protocols::{assert_found, assert_stopped, found, signal};
use crate::harness::drill::assert_sound;
use hospital::model::check::Status::{Fail, Pass};
use nix::sys::signal::Signal;

#[test]
#[ignore = "needs root, chronyd"]
fn ntp_is_well_not_set_frozen_or_stopped() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    // It leaves the clock alone (-x), and takes its own for true if it is `local`.
    let start = |name: &str, lines: &str| {
        let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        let conf = folder.path().join(name);
        let text = format!(
            "port {port}\nbindaddress 127.0.0.1\nallow 127.0.0.1\ncmdport 0\nbindcmdaddress /\npidfile {}\n{lines}\n",
            folder.path().join(format!("{name}.pid")).display()
        );
        fs::write(&conf, text).expect("there is room");
        let mut chronyd = Command::new("chronyd");
        chronyd.args(["-x", "-d", "-u", "root", "-f"]).arg(&conf).stdout(Stdio::null()).stderr(Stdio::null());
        (Server(chronyd.spawn().expect("it is installed")), format!("ntp://127.0.0.1:{port}"))
    };
    let (local, at) = start("local", "local stratum 5");
    let (_unset, unset) = start("unset", "");
    let deadline = Instant::now() + Duration::from_secs(30);
    while found(std::slice::from_ref(&at))[0].0 != Pass {
        assert!(Instant::now() < deadline, "{:?}", found(std::slice::from_ref(&at)));
        thread::yield_now();
    }
    assert_found(&at, &[("", Pass, ""), ("#offset=4s&warn_offset=3s", Pass, "")]);
    while !found(std::slice::from_ref(&unset))[0].1.contains("says that its clock is not set") {
        assert!(Instant::now() < deadline, "{:?}", found(std::slice::from_ref(&unset)));
        thread::yield_now();
    }
    assert_sound(&[], &[format!("{at}#timeout=2s")]);
    signal(&local, Signal::SIGSTOP);
    assert_found(&at, &[("#timeout=2s", Fail, "nothing came in time")]);
    signal(&local, Signal::SIGCONT);
    drop(local);
    assert_stopped(&at);
}
