//! Programs in front of services that ask whether they are well: HAProxy, nginx, keepalived, with the files that
//! `deploy/` ships.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::harness::family::{Family, PATIENCE, deployed, own_address};
use crate::harness::load::{Load, Shape};
use crate::harness::{At, Launch, Server, Signal, eventually, get, processes, send, within};

// --- HAProxy -----------------------------------------------------------------------------------------

#[test]
#[ignore = "needs haproxy"]
fn haproxy_sees_what_the_checks_find() {
    let directory = tempfile::tempdir().expect("there is room");
    let flag = directory.path().join("flag");
    std::fs::write(&flag, "").expect("the directory is ours");
    let server = Launch::serve([""; 0]).env("HEALTHCHECKS", &format!("flag=file:{}", flag.display())).start();
    // Nobody listens at the second address.
    let haproxy = HaProxy::start([server_address(&server), own_address(), server_address(&server)]);
    let both = |found: &str| haproxy.says("shop", "one", found) && haproxy.says("shop-in-short", "one", found);
    haproxy.family.within_patience("it is up", || both("UP L7OK/200"));
    haproxy.family.within_patience("it is down", || haproxy.says("shop", "two", "DOWN L4CON/"));
    std::fs::remove_file(&flag).expect("it is there");
    haproxy.family.within_patience("it is down", || both("DOWN L7STS/500"));
    std::fs::write(&flag, "").expect("the directory is ours");
    haproxy.family.within_patience("it is up again", || both("UP L7OK/200"));
}

#[test]
#[ignore = "needs haproxy"]
fn haproxy_takes_a_server_out_before_it_stops() {
    let server = || Launch::binding(["-b", "127.0.0.1:0", "-w", "2", "--drain-delay", "5s"]).start();
    let (mut leaves, stays) = (server(), server());
    let haproxy = HaProxy::start([server_address(&leaves), server_address(&stays), own_address()]);
    haproxy.family.within_patience("both are up", || {
        ["one", "two"].into_iter().all(|name| haproxy.says("shop", name, "UP L7OK/200"))
    });
    let load = Load::start(&haproxy.at, Shape { patience: PATIENCE, ..Shape::default() });
    load.wait_for_answers(100);
    leaves.signal(Signal::SIGTERM);
    haproxy.family.within_patience("it is taken out", || haproxy.says("shop", "one", "DOWN L7STS/503"));
    assert!(processes::is_alive(leaves.master()), "it still answers whoever asks");
    assert_eq!(leaves.wait(), Some(0));
    load.wait_for_answers(100);
    load.stop().assert_nothing_lost();
}

#[test]
#[ignore = "needs haproxy"]
fn haproxy_says_for_whom_it_asks() {
    for option in ["send-proxy check-send-proxy", "send-proxy-v2 check-send-proxy"] {
        let server = Launch::serve(["--proxy-protocol", "on", "--access-logfile", "-"]).start();
        let unused = || (own_address(), "");
        let haproxy = HaProxy::speaking([(server_address(&server), option), unused(), unused()]);
        haproxy.family.within_patience("it is up", || haproxy.says("shop", "one", "UP L7OK/200"));
        let At::Tcp(front) = haproxy.at else { unreachable!("it takes requests by TCP") };
        // HAProxy itself connects from 127.0.0.1.
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--interface", "127.0.0.9", &format!("http://{front}/livez")]);
        let output = curl.output().expect("curl is installed");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "livez check passed\n", "{option}");
        eventually("both peers are logged", || {
            ["127.0.0.9 - - ", "127.0.0.1 - - "].iter().all(|peer| server.stdout().contains(peer))
        });
    }
}

/// A HAProxy with the file that `deploy/` ships.
struct HaProxy {
    family: Family,
    /// Where it takes requests.
    at: At,
}

impl HaProxy {
    /// With these servers: `one` and `two` of the backend `shop`, and that of `shop-in-short`. Each answers its own
    /// checks.
    #[track_caller]
    fn start(servers: [SocketAddr; 3]) -> HaProxy {
        HaProxy::speaking(servers.map(|address| (address, "")))
    }

    /// The same, with options for each server.
    #[track_caller]
    fn speaking([one, two, short]: [(SocketAddr, &str); 3]) -> HaProxy {
        let directory = tempfile::tempdir().expect("there is room");
        let (config, socket, front) =
            (directory.path().join("haproxy.cfg"), directory.path().join("admin.sock"), own_address());
        let with_check =
            |(address, options): (SocketAddr, &str)| format!("{address} check port {} {options}", address.port());
        let text = deployed(
            "haproxy/haproxy.cfg",
            &[
                ("/run/haproxy/admin.sock", &socket.display().to_string()),
                ("bind 127.0.0.1:8080", &format!("bind {front}")),
                ("127.0.0.1:8081 check port 1515", &with_check(one)),
                ("127.0.0.1:8082 check port 1516", &with_check(two)),
                ("127.0.0.1:8083 check port 1517", &with_check(short)),
            ],
        );
        std::fs::write(&config, text).expect("the directory is ours");
        let family = Family::start(directory, "haproxy", |command| {
            command.args(["-db", "-f"]).arg(&config);
        });
        family.within_patience("HAProxy listens", || socket.exists());
        HaProxy { family, at: At::Tcp(front) }
    }

    /// Whether its statistics show a server in this state, for example `UP L7OK/200`.
    fn says(&self, backend: &str, server: &str, found: &str) -> bool {
        let mut socket = UnixStream::connect(self.family.path("admin.sock")).expect("HAProxy listens");
        socket.write_all(b"show stat\n").expect("HAProxy reads");
        let mut text = String::new();
        socket.read_to_string(&mut text).expect("HAProxy answers");
        let mut lines = text.trim_start_matches("# ").lines().map(|line| line.split(',').collect::<Vec<_>>());
        let names = lines.next().expect("there is a head");
        let rows = lines.map(|values| names.iter().copied().zip(values).collect::<BTreeMap<_, _>>());
        let mut ours = rows.filter(|row| row.get("pxname") == Some(&backend) && row.get("svname") == Some(&server));
        ours.any(|row| format!("{} {}/{}", row["status"], row["check_status"], row["check_code"]) == found)
    }
}

// --- nginx -------------------------------------------------------------------------------------------

#[test]
#[ignore = "needs nginx"]
fn nginx_has_an_answer_whatever_becomes_of_the_workers_behind_it() {
    const WORKERS: usize = 3;
    let server = Launch::binding(["-b", "127.0.0.1:0", "-w", "3", "--prefix", "/healthchecks"]).start();
    let nginx = Nginx::start(server_address(&server));
    assert_eq!(get(&nginx.at, "/healthchecks").json()["status"], "pass");
    assert_eq!(get(&nginx.at, "/healthchecks/livez").body, "livez check passed\n");
    let shape = Shape { patience: PATIENCE, path: "/healthchecks", ..Shape::default() };
    let load = Load::start(&nginx.at, shape);
    load.wait_for_answers(100);
    let renewed = |before: &[i32]| {
        let now = server.workers();
        now.len() == WORKERS && now.iter().all(|pid| !before.contains(pid))
    };
    for _ in 0..3 {
        let before = server.workers();
        server.signal(Signal::SIGHUP);
        within(PATIENCE, "every worker is replaced", || renewed(&before));
        load.wait_for_answers(100);
    }
    for _ in 0..5 {
        let victim = server.workers()[0];
        send(victim, Signal::SIGKILL);
        within(PATIENCE, "it is replaced", || {
            let now = server.workers();
            now.len() == WORKERS && !now.contains(&victim)
        });
        load.wait_for_answers(50);
    }
    load.stop().assert_nothing_lost();
}

#[test]
#[ignore = "needs nginx"]
fn nginx_passes_on_what_the_checks_found() {
    let launch = Launch::binding(["-b", "127.0.0.1:0", "--prefix", "/healthchecks"]);
    let server = launch.env("HEALTHCHECKS", "gone=file:/no/such/file").start();
    let nginx = Nginx::start(server_address(&server));
    let answer = get(&nginx.at, "/healthchecks");
    assert_eq!((answer.status, answer.json()["status"].as_str()), (500, Some("fail")), "{}", answer.body);
}

/// An nginx with the file that `deploy/` ships.
struct Nginx {
    /// Its processes end when this is dropped.
    _family: Family,
    at: At,
}

impl Nginx {
    #[track_caller]
    fn start(upstream: SocketAddr) -> Nginx {
        let directory = tempfile::tempdir().expect("there is room");
        let (path, front) = (directory.path().display().to_string(), own_address());
        let site = deployed("nginx/hospital.conf", &[("listen 127.0.0.1:8080;", &format!("listen {front};"))]);
        assert_eq!(site.matches("server 127.0.0.1:1515 ").count(), 3, "{site}");
        let site = site.replace("127.0.0.1:1515", &upstream.to_string());
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {path}/{kind};\n"))
            .concat();
        let config = format!(
            "user root;\ndaemon off;\npid {path}/pid;\nerror_log {path}/error.log;\nevents {{}}\n\
             http {{\naccess_log off;\n{temporary}{site}}}\n"
        );
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, config).expect("the directory is ours");
        let family = Family::start(directory, "nginx", |command| {
            command.arg("-e").arg(format!("{path}/error.log")).arg("-c").arg(&file);
        });
        family.within_patience("nginx listens", || std::net::TcpStream::connect(front).is_ok());
        Nginx { _family: family, at: At::Tcp(front) }
    }
}

// --- keepalived --------------------------------------------------------------------------------------

#[test]
#[ignore = "needs keepalived"]
fn keepalived_has_nothing_to_complain_of() {
    let file = deployed("keepalived/keepalived.conf", &[]);
    assert_eq!(complaints(&file), "");
    let broken = deployed("keepalived/keepalived.conf", &[("advert_int", "advert_ant")]);
    assert!(complaints(&broken).contains("advert_ant"), "it does read the file");
}

/// What keepalived reports about a file, on a host of its own with one interface.
fn complaints(file: &str) -> String {
    let directory = tempfile::tempdir().expect("there is room");
    let (config, said) = (directory.path().join("keepalived.conf"), directory.path().join("said"));
    std::fs::write(&config, file).expect("the directory is ours");
    let script = "ip link add eth0 type veth peer name eth1 && exec keepalived --config-test=\"$1\" --use-file \"$2\"";
    let mut family = Family::start(directory, "unshare", |command| {
        command.args(["--net", "sh", "-c", script, "sh"]).arg(&said).arg(&config);
    });
    // It ends by sending itself a TERM, whatever it has found.
    family.wait();
    family.expect_extinct();
    family.text("stderr") + &family.text("said")
}

#[test]
#[ignore = "needs curl"]
fn the_script_of_keepalived_finds_what_the_checks_find() {
    let directory = tempfile::tempdir().expect("there is room");
    let flag = directory.path().join("flag");
    let server = Launch::serve([""; 0]).env("HEALTHCHECKS", &format!("flag=file:{}", flag.display())).start();
    let address = server_address(&server).to_string();
    let file = deployed("keepalived/keepalived.conf", &[("127.0.0.1:1515", &address)]);
    let script = file.lines().find_map(|line| line.trim().strip_prefix("script \"")?.strip_suffix('"'));
    // As keepalived does: split into words, without a shell.
    let words: Vec<_> = script.expect("the file has a script").split(' ').collect();
    let is_well = || Command::new(words[0]).args(&words[1..]).status().expect("curl is installed").success();
    assert!(!is_well());
    std::fs::write(&flag, "").expect("the directory is ours");
    assert!(is_well());
    drop(server);
    eventually("it is gone", || !is_well());
}

fn server_address(server: &Server) -> SocketAddr {
    let At::Tcp(address) = server.at else { panic!("it serves {:?}", server.at) };
    address
}
