//! The kinds that use the network, against real servers on loopback.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::drill::assert_sound;
use crate::harness::family::PATIENCE;
use crate::harness::{Launch, get};
use hospital::collect::collect;
use hospital::model::check::Status;
use hospital::model::report::Report;
use hospital::round::Runner;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
#[ignore = "needs redis-server"]
fn redis_answers_by_tcp_and_by_unix_socket() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let socket = folder.path().join("redis.sock");
    let (_redis, port) = start(|port| {
        let mut redis = Command::new("redis-server");
        redis.args(["--bind", "127.0.0.1", "--save", "", "--requirepass", "hunter2"]);
        redis.arg("--port").arg(port.to_string()).arg("--unixsocket").arg(&socket).current_dir(folder.path());
        redis
    });
    let socket = socket.display();
    let report = run(&[
        format!("ping=tcp://127.0.0.1:{port}#send=AUTH%20hunter2%0D%0APING%0D%0A&match=[%2B]PONG"),
        format!("socket=unix:{socket}#send=PING%0D%0A&match=NOAUTH"),
        format!("wrong=tcp://127.0.0.1:{port}#send=PING%0D%0A&match=[%2B]PONG&timeout=2s"),
        format!("tcp://127.0.0.1:{port}"),
    ]);
    assert_eq!(statuses(&report), [Status::Pass, Status::Pass, Status::Fail, Status::Pass], "{report:#?}");
    let context = report.outcomes[2].finding.context.as_deref().expect("a failure says why");
    assert!(context.contains("got \"-NOAUTH Authentication required.\\r\\n\""), "{context}");
}

#[test]
#[ignore = "needs dnsmasq"]
fn dnsmasq_is_asked() {
    let (_dnsmasq, port) = start(|port| {
        let mut dnsmasq = Command::new("dnsmasq");
        dnsmasq.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
        ]);
        dnsmasq.args(["--listen-address=127.0.0.1", "--user=root", "--pid-file=", "--local=/test/"]);
        dnsmasq.args(["--host-record=shop.test,192.0.2.7,2001:db8::7", "--mx-host=shop.test,mail.test,10"]);
        let long = "x".repeat(200);
        dnsmasq.args((0..8).map(|number| format!("--txt-record=long.test,{number}{long}")));
        dnsmasq.arg(format!("--port={port}"));
        dnsmasq
    });
    let report = run(&[
        format!("dns:shop.test#server=127.0.0.1:{port}&address=192.0.2.7&address=2001:db8::7"),
        format!("mx=dns:shop.test#server=127.0.0.1:{port}&type=MX"),
        format!("long=dns:long.test#server=127.0.0.1:{port}&type=TXT"),
        format!("other=dns:other.test#server=127.0.0.1:{port}"),
        format!("wrong=dns:shop.test#server=127.0.0.1:{port}&type=A&address=192.0.2.8"),
    ]);
    assert_eq!(
        statuses(&report),
        [Status::Pass, Status::Pass, Status::Pass, Status::Fail, Status::Fail],
        "the long answer comes by TCP: {report:#?}"
    );
    assert!(report.outcomes[3].finding.context.as_deref().is_some_and(|context| context.contains("NXDOMAIN")));
}

#[test]
#[ignore = "needs nginx"]
fn nginx_shows_a_certificate_that_ends_in_two_days() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = |name: &str| folder.path().join(name).to_str().expect("a plain path").to_owned();
    let (authority, certificate, key) = certificate_for_days(2);
    for (name, text) in [("ca.pem", &authority), ("cert.pem", &certificate), ("key.pem", &key)] {
        fs::write(path(name), text).expect("the folder is ours");
    }
    let (_nginx, port) = start(|port| {
        let folder = folder.path().display();
        let configuration = format!(
            "daemon off; master_process off; pid {folder}/pid; error_log {folder}/log; events {{}}\n\
             http {{ access_log off; server {{ listen 127.0.0.1:{port} ssl;\n\
             ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;\n\
             location / {{ default_type application/json; return 200 '{{\"status\": \"pass\"}}'; }} }} }}\n"
        );
        fs::write(path("nginx.conf"), configuration).expect("the folder is ours");
        let mut nginx = Command::new("nginx");
        nginx.args(["-c", &path("nginx.conf"), "-e", &path("log"), "-p", &path("")]);
        nginx
    });
    let ca = path("ca.pem");
    assert_sound(&[], &[format!("https://127.0.0.1:{port}/#ca={ca}&json=/status=pass&timeout=2s")]);
    let report = run(&[
        format!("page=https://127.0.0.1:{port}/#ca={ca}&json=/status=pass&slow=4s"),
        format!("stranger=https://127.0.0.1:{port}/"),
        format!("cert=cert:127.0.0.1:{port}#ca={ca}"),
        format!("soon=cert:127.0.0.1:{port}#ca={ca}&days=1&servername=localhost"),
    ]);
    // On a system without any authority, the stranger is an error.
    let [page, stranger, cert, soon] = statuses(&report)[..] else { panic!("there are four: {report:#?}") };
    assert_eq!([page, cert, soon], [Status::Pass, Status::Fail, Status::Pass], "{report:#?}");
    assert!(stranger.is_bad(), "{report:#?}");
    let context = report.outcomes[2].finding.context.as_deref().expect("a failure says why");
    assert!(context.contains("it has to last for 14 more days, and CN=shop ends in 2 days, at "), "{context}");
}

#[test]
#[ignore = "needs root"]
fn loopback_answers_a_ping() {
    let report = run(&["ping:127.0.0.1#count=3&loss=0%25".to_owned(), "ping:::1".to_owned()]);
    assert_eq!(statuses(&report), [Status::Pass, Status::Pass], "{report:#?}");
}

#[test]
fn a_silent_peer_is_a_failure_in_each_kind_each_time() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let [path, ca] = ["silent.sock", "ca.pem"].map(|name| folder.path().join(name));
    // The kernel accepts, and nobody ever says anything.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let _silent_local = UnixListener::bind(&path).expect("the folder is ours");
    let silent_udp = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("it is bound");
    let server = silent_udp.local_addr().expect("it is bound");
    fs::write(&ca, certificate_for_days(30).0).expect("the folder is ours");
    let (path, ca) = (path.display(), ca.display());
    // With the default timeout, and all at once, so that the host is busy.
    let each = |number: usize| {
        [
            format!("tcp{number}=tcp://{address}#match=x"),
            format!("unix{number}=unix:{path}#match=x"),
            format!("http{number}=http://{address}/"),
            format!("https{number}=https://{address}/#ca={ca}"),
            format!("cert{number}=cert:{address}#ca={ca}"),
            format!("dns{number}=dns:shop.test#server={server}"),
            format!("redis{number}=redis://{address}"),
            format!("rediss{number}=rediss://{address}#ca={ca}"),
            format!("mysql{number}=mysql://{address}"),
            format!("amqp{number}=amqp://{address}"),
            format!("amqps{number}=amqps://{address}#ca={ca}"),
            format!("postgres{number}=postgres://{address}#tls&ca={ca}"),
            format!("smtp{number}=smtp://{address}"),
            format!("ntp{number}=ntp://{server}"),
            format!("imap{number}=imap://{address}#starttls&ca={ca}"),
            format!("pop3s{number}=pop3s://{address}#ca={ca}"),
            format!("ldap{number}=ldap://{address}#starttls&ca={ca}"),
            format!("grpc{number}=grpc://{address}"),
            format!("memcached{number}=memcached://{address}"),
        ]
    };
    let is_here = |name: &String| {
        let is_left_out = |(scheme, is_here): &(&str, bool)| !is_here && name.contains(scheme);
        let featured = [
            ("=mysql:", cfg!(feature = "mysql")),
            ("=postgres:", cfg!(feature = "postgres")),
            ("=ldap:", cfg!(feature = "ldap")),
            ("=grpc:", cfg!(feature = "grpc")),
        ];
        !featured.iter().any(is_left_out)
    };
    for outcome in run(&(0..8).flat_map(each).filter(is_here).collect::<Vec<_>>()).outcomes {
        assert_eq!(outcome.finding.status, Status::Fail, "{outcome:?}");
        let context = outcome.finding.context.expect("a failure says why");
        assert!(context.contains("nothing came in time"), "{context}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_connection_to_itself_is_no_connection() {
    // With one port to connect from, it is the one that is connected to.
    let script = "ip link set lo up; echo 40000 40000 >/proc/sys/net/ipv4/ip_local_port_range; exec \"$@\"";
    for target in ["tcp://127.0.0.1:40000#send=me&match=me", "tcp://0.0.0.0:40000", "tcp://[::1]:40000"] {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-ec", script, "sh", env!("CARGO_BIN_EXE_hospital"), "check", target]);
        let output = command.output().expect("unshare is there");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && text.contains("connection refused"), "{target}: {text}");
    }
}

#[test]
fn a_mail_server_is_known_by_its_banner() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    // As in RFC 5321: the server speaks first, and again when it is greeted.
    let server = thread::spawn(move || {
        for _ in 0..2 {
            let (mut client, _) = listener.accept()?;
            client.write_all(b"220 mail.example ESMTP\r\n")?;
            let mut line = String::new();
            if BufReader::new(client.try_clone()?).read_line(&mut line)? > 0 && line.starts_with("EHLO ") {
                client.write_all(b"250-mail.example\r\n250 STARTTLS\r\n")?;
            }
        }
        Ok::<(), std::io::Error>(())
    });
    for name in [
        format!("tcp://{address}#match=^220 .*ESMTP"),
        format!("tcp://{address}#send=EHLO%20me%0D%0A&match=250.STARTTLS"),
    ] {
        assert_eq!(statuses(&run(&[name])), [Status::Pass]);
    }
    server.join().expect("it does not panic").expect("both clients were served");
}

#[test]
#[ignore = "needs root"]
fn a_resolver_that_hangs_costs_an_http_check_one_thread() {
    // The system's resolver reads the file of hosts first, and a pipe without a writer lets nobody open it.
    let script = "mount -t tmpfs none /mnt && mkfifo /mnt/hosts && mount --bind /mnt/hosts /etc/hosts && exec \"$@\"";
    let server = Launch::under("unshare", ["--mount", "sh", "-c", script, "sh"])
        .args(["-b", "127.0.0.1:0", "-w", "1", "http://shop.example/#timeout=100ms"])
        .start();
    let threads = || fs::read_dir(format!("/proc/{}/task", server.workers()[0])).expect("the worker lives").count();
    let answer = || get(&server.at, "/?format=text").body;
    let first = answer();
    assert!(first.starts_with("error: ") && first.contains("timed out after 100ms"), "{first}");
    let before = threads();
    for _ in 0..10 {
        let answer = answer();
        assert!(answer.contains("still running"), "{answer}");
    }
    assert_eq!(threads(), before);
}

/// What is found where this host has the time to find it. Of one under load, hospital says that it decides nothing.
pub(super) fn run(names: &[String]) -> Report {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let suite = collect(names, "the test").expect("the names are good");
        let began = Instant::now();
        let report = Runner::run(suite, Duration::from_secs(10));
        // No check takes longer than it may. All run at once: a machine under load starts them late.
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        let had_no_time = |why: &str| {
            let is_ours = why.contains("CPU (it was ") || why.contains("we were stopped meanwhile (it was ");
            why.starts_with("timed out after ") || why.starts_with("not decided: ") && is_ours
        };
        let starved = report
            .outcomes
            .iter()
            .filter_map(|outcome| outcome.finding.context.as_deref())
            .find(|why| had_no_time(why));
        match starved {
            Some(_) if Instant::now() < deadline => {}
            Some(_) | None => return report,
        }
    }
}

pub(super) fn statuses(report: &Report) -> Vec<Status> {
    report.outcomes.iter().map(|outcome| outcome.finding.status).collect()
}

/// A server that ends with the test.
pub(super) struct Server(pub(super) Child);

impl Drop for Server {
    fn drop(&mut self) {
        // KILL would leave the children of the server behind. A test may have stopped it.
        for signal in [Signal::SIGTERM, Signal::SIGCONT] {
            let _ = kill(Pid::from_raw(self.0.id() as i32), signal);
        }
        let _ = self.0.wait();
    }
}

/// Starts a server that can only be given a port, and waits until it accepts. If another process takes the port first,
/// the server ends and is started again on another port.
pub(super) fn start(command: impl Fn(u16) -> Command) -> (Server, u16) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let mut command = command(free.port());
        let log = tempfile::tempfile().expect("a file for the log");
        let error = log.try_clone().expect("a descriptor can be duplicated");
        let child = command.stdin(Stdio::null()).stdout(log).stderr(error).spawn();
        let mut server = Server(child.unwrap_or_else(|error| panic!("{command:?}: {error}")));
        while server.0.try_wait().expect("it is our child").is_none() {
            // Where nobody listens yet, the kernel may connect us to ourselves.
            if TcpStream::connect(free).is_ok_and(|stream| stream.local_addr().is_ok_and(|own| own != free)) {
                return (server, free.port());
            }
            assert!(Instant::now() < deadline, "{command:?} does not accept");
            // It needs the processor more than we do.
            thread::sleep(Duration::from_millis(5));
        }
        assert!(Instant::now() < deadline, "{command:?} ends at once");
    }
}

/// An authority, a certificate signed by it and the key of that, in PEM, valid for this many days.
pub(crate) fn certificate_for_days(days: i64) -> (String, String, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names are good names");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).expect("it can sign").pem();
    let issuer = rcgen::Issuer::new(params, key);

    let names = ["localhost", "127.0.0.1"].map(str::to_owned);
    let mut params = rcgen::CertificateParams::new(names).expect("they are names");
    let now = time::OffsetDateTime::from(std::time::SystemTime::now());
    params.not_before = now - time::Duration::days(1);
    params.not_after = now + time::Duration::days(days) + time::Duration::hours(1);
    params.distinguished_name.push(rcgen::DnType::CommonName, "shop");
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, &issuer).expect("the authority can sign").pem();
    (authority, certificate, key.serialize_pem())
}
