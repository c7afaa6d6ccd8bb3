//! Healthchecks as people write them, some of which cannot fail: to test that a drill finds these.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;
use std::{env, fs, io};

use hospital::healthcheck;

fn main() -> ExitCode {
    hospital::main()
}

fn peer() -> String {
    env::var("WARD_PEER").unwrap_or_default()
}

fn place(name: &str) -> PathBuf {
    env::var_os("WARD_FOLDER").map(PathBuf::from).unwrap_or_default().join(name)
}

fn get() -> io::Result<String> {
    let mut stream = TcpStream::connect(peer())?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: ward\r\nConnection: close\r\n\r\n")?;
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

#[healthcheck(timeout = "3s")]
fn status() -> hospital::Result {
    let answer = get()?;
    hospital::ensure!(answer.starts_with("HTTP/1.1 200 "), "got {answer}");
    Ok(())
}

#[healthcheck(timeout = "3s")]
fn body() -> hospital::Result {
    hospital::ensure!(get()?.ends_with("ready"));
    Ok(())
}

#[healthcheck]
fn log() -> hospital::Result {
    hospital::ensure!(fs::read_to_string(place("log"))?.contains("well"));
    Ok(())
}

#[healthcheck]
fn no_errors() -> hospital::Result {
    hospital::ensure!(!fs::read_to_string(place("log"))?.contains("Traceback"));
    Ok(())
}

#[healthcheck]
fn readable() -> hospital::Result {
    fs::File::open(place("log"))?;
    Ok(())
}

#[healthcheck]
fn folder() -> hospital::Result {
    hospital::ensure!(fs::read_dir(place(""))?.count() > 0);
    Ok(())
}

#[healthcheck]
fn account() -> hospital::Result {
    let grep = Command::new("grep").args(["-q", "^root:", "/etc/passwd"]).status()?;
    hospital::ensure!(grep.success());
    Ok(())
}

#[healthcheck]
fn vacuous_nothing() {}

#[healthcheck(timeout = "3s")]
fn vacuous_swallowed() {
    let _ = get();
}

#[healthcheck(timeout = "3s")]
fn vacuous_connected() -> hospital::Result {
    TcpStream::connect(peer())?;
    Ok(())
}

#[healthcheck]
fn vacuous_default() {
    assert!(!fs::read_to_string(place("log")).unwrap_or_default().contains("ERROR"));
}

#[healthcheck]
fn vacuous_itself() {
    let log = || fs::read_to_string(place("log")).ok();
    assert_eq!(log(), log());
}

#[healthcheck(timeout = "3s")]
fn vacuous_empty() -> hospital::Result {
    hospital::ensure!(get()?.contains(""));
    Ok(())
}
