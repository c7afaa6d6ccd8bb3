//! Servers that never come to an end, at each stage of each protocol: no check passes, none is late, and all of them together take
//! little memory.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use super::protocols::PASSWORD;
use crate::harness::once::hospital;
use serde_json::Value;

/// How much memory all of them may take, in KiB. Each server could fill that by itself.
const MOST_MEMORY: u64 = 128 * 1024;

/// What comes too late, compared with checks of a silent peer in the same round.
const MOST_LATE: f64 = 0.05;

/// The checks, `AT` being where the server is; what it says first, and what it goes on to say.
fn stages() -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let mut all = Vec::new();
    let mut add = |kind: &str, rest: &str, said: &[&[u8]], endless: &[&[u8]]| {
        // At each stage, and what belongs to none of them.
        let junk = format!("x {PASSWORD} ");
        for stage in 0..=said.len() {
            for unit in endless.iter().copied().chain([junk.as_bytes(), b"\r\n", b"\0"]) {
                let account =
                    if ["grpc", "memcached"].contains(&kind) { String::new() } else { format!("anna:{PASSWORD}@") };
                let name = format!("{kind}://{account}AT{rest}");
                all.push((name, said[..stage].concat(), unit.to_vec()));
            }
        }
    };
    add("smtp", "", &[b"220 x\r\n", b"250 AUTH PLAIN\r\n", b"235 x\r\n"], &[b"220-x\r\n", b"250-x\r\n"]);
    add("imap", "", &[b"* OK x\r\n", b"* CAPABILITY\r\na OK x\r\n", b"b OK x\r\n"], &[b"* OK x\r\n", b"* "]);
    add("pop3", "", &[b"+OK x\r\n", b"+OK x\r\n", b"+OK x\r\n"], &[b"+OK"]);
    const HEARTBEAT: &[u8] = b"\x08\0\0\0\0\0\0\xce";
    let start = b"\x01\0\0\0\0\0\x1c\0\x0a\0\x0a\0\x09\0\0\0\0\0\0\0\x05PLAIN\0\0\0\x05en_US\xce";
    let tune = b"\x01\0\0\0\0\0\x0c\0\x0a\0\x1e\0\0\0\0\0\0\0\0\xce";
    let open = b"\x01\0\0\0\0\0\x05\0\x0a\0\x29\0\xce";
    add("amqp", "/shop#queue=orders", &[start, tune, open], &[HEARTBEAT, b"\x01\0\0\0\x01\xff\xff"]);
    add("memcached", "", &[], &[b"STAT a 1\r\n", b"STAT "]);
    add("redis", "", &[b"+OK\r\n"], &[b"*1000000\r\n", b"$1000000\r\n", b"+"]);
    if cfg!(feature = "ldap") {
        let (bound, entry) =
            (b"\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\0\x04\0\x04\0", b"\x30\x09\x02\x01\x03\x64\x04\x04\0\x30\0");
        let refers: &[u8] = b"\x30\x05\x02\x01\x03\x73\0";
        add("ldap", "#base=dc=shop&max=2147483646", &[bound], &[entry, refers, b"\x30\x83\xff\xff\xff"]);
    }
    if cfg!(feature = "postgres") {
        add(
            "postgres",
            "/shop",
            &[b"R\0\0\0\x08\0\0\0\0", b"Z\0\0\0\x05I"],
            &[b"S\0\0\0\x08a\0b\0", b"D\0\0\0\x06\0\0"],
        );
    }
    if cfg!(feature = "mysql") {
        let said: &[&[u8]] = &[
            b"\x0a8.0\0\x07\0\0\0abcdefgh\0\0\x82\x2d\x02\0\x08\0\x15",
            &[0; 10],
            b"ijklmnopqrst\0mysql_native_password\0",
        ];
        let said = said.concat();
        let greeting = [&[said.len() as u8, 0, 0, 0], said.as_slice()].concat();
        let ok = b"\x07\0\0\x02\0\0\0\x02\0\0\0";
        add("mysql", "/shop", &[&greeting, ok], &[b"\xff\xff\xff\x01", b"\x01\0\0\x01\x01"]);
    }
    if cfg!(feature = "grpc") {
        let (settings, head) = (b"\0\0\0\x04\0\0\0\0\0", b"\0\0\x01\x01\x04\0\0\0\x01\x88");
        let ping = b"\0\0\x08\x06\0\0\0\0\0\0\0\0\0\0\0\0\0";
        let more = b"\0\0\x04\x09\0\0\0\0\x01\0\x01a\0";
        add(
            "grpc",
            "",
            &[settings, head],
            &[settings, ping, more, b"\0\0\x04\0\0\0\0\0\x01abcd", b"\0\0\x01\x01\0\0\0\0\x01\x88"],
        );
    }
    all
}

/// A server for one client, which hears something and then this without end, a piece after each pause.
fn talks(said: Vec<u8>, unit: &[u8], piece: usize, pause: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let endless = unit.repeat(piece.div_ceil(unit.len()));
    thread::spawn(move || {
        let (mut client, _): (TcpStream, _) = listener.accept()?;
        client.write_all(&said)?;
        loop {
            client.write_all(&endless)?;
            thread::sleep(pause);
        }
        #[expect(unreachable_code, reason = "it ends with an error, once its client has left")]
        Ok::<_, std::io::Error>(())
    });
    address
}

/// One that answers each packet with these, of the length of an answer.
fn floods() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("it is bound");
    thread::spawn(move || {
        let mut packet = [0; 48];
        while let Ok((_, client)) = socket.recv_from(&mut packet) {
            for number in 0..=255 {
                packet[0] = 0x24;
                packet[24] ^= number;
                let _ = socket.send_to(&packet, client);
            }
        }
    });
    address
}

/// Runs these checks, and tells what was found, and the memory that it took.
fn run(names: &[String]) -> (Value, String, u64) {
    let mut command = hospital("check");
    command.args(["-v", "--format", "json"]).args(names).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("it is built");
    let pid = child.id();
    let output = thread::spawn(move || child.wait_with_output());
    let mut most = 0;
    while !output.is_finished() {
        most = most.max(peak(pid).unwrap_or_default());
        thread::sleep(Duration::from_millis(10));
    }
    let output = output.join().expect("it does not panic").expect("it is our child");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    (report, said, most)
}

/// The most memory that a process had, in KiB, unless it has ended.
fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok())
}

fn checks(report: &Value) -> Vec<Value> {
    report["details"].as_array().expect("there are some").clone()
}

#[test]
fn a_server_without_end_is_no_pass_and_takes_little_memory() {
    let stages = stages();
    assert!(stages.len() > 60, "{}", stages.len());
    let mut names: Vec<_> = (0..)
        .zip(&stages)
        .map(|(number, (name, said, unit))| {
            let server = talks(said.clone(), unit, 64 * 1024, Duration::ZERO);
            let (name, options) = name.split_once('#').unwrap_or((name, ""));
            format!("c{number}={}#timeout=1s&{options}", name.replace("AT", &server.to_string()))
                .trim_end_matches('&')
                .to_owned()
        })
        .collect();
    names.push(format!("ntp=ntp://{}#timeout=1s", floods()));
    let (report, said, memory) = run(&names);
    for check in checks(&report) {
        let status = check["status"].as_str().unwrap_or_default();
        assert!(["fail", "error"].contains(&status), "{check:#}");
    }
    assert!(!said.contains(PASSWORD) && !said.contains("panicked"), "{said}");
    assert!((1..MOST_MEMORY).contains(&memory), "{memory} KiB");
}

#[test]
fn a_server_that_says_little_at_a_time_makes_no_check_late() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent = listener.local_addr().expect("it is bound");
    let late = || {
        let dripping = (0..).zip(stages()).map(|(number, (name, said, unit))| {
            let server = talks(said, &unit, 1, Duration::from_millis(5));
            let (name, options) = name.split_once('#').unwrap_or((&name, ""));
            format!("c{number}={}#timeout=1s&{options}", name.replace("AT", &server.to_string()))
                .trim_end_matches('&')
                .to_owned()
        });
        let controls = (0..20).map(|number| format!("control{number}=tcp://{silent}#match=x&timeout=1s"));
        let (report, said, _) = run(&controls.chain(dripping).collect::<Vec<_>>());
        let seconds = |check: &Value| check["seconds"].as_f64().expect("it took some time");
        let (controls, others): (Vec<_>, Vec<_>) = checks(&report)
            .into_iter()
            .partition(|check| check["id"].as_str().is_some_and(|id| id.starts_with("control")));
        assert_eq!(controls.len(), 20, "{said}");
        let most = controls.iter().map(seconds).fold(0.0, f64::max);
        others.into_iter().filter(|check| seconds(check) > most + MOST_LATE).collect::<Vec<_>>()
    };
    // On a machine under load, any may be late once.
    assert!((0..5).any(|_| late().is_empty()), "{:#?}", late());
}
