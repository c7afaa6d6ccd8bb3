//! Whose fault it is, and what a transcript says of it: faults of both sides, and of what lies between.

use std::io::{Read, Write};
use std::process::Command;

use serde_json::Value;

use crate::harness::cgroup::Cgroup;
use crate::harness::{HOSPITAL, Launch, get, once};

/// Two hosts: we are 10.9.0.1, and a peer, on which commands run by `peer`, is 10.9.0.2 and 10.9.0.3. Its server at port 80 answers
/// `/200` with that status and so on.
const NETWORK: &str = r#"
ip link set lo up
ip link add v0 type veth peer name v1
unshare --net sleep 600 & PEER=$!
trap 'kill $PEER' EXIT
while [ "$(readlink /proc/$PEER/ns/net)" = "$(readlink /proc/$$/ns/net)" ]; do :; done
ip link set v1 netns $PEER
ip addr add 10.9.0.1/24 dev v0
ip link set v0 up
peer() { nsenter -t $PEER -n "$@"; }
peer sh -c 'ip link set lo up; ip addr add 10.9.0.2/24 dev v1; ip addr add 10.9.0.3/24 dev v1; ip link set v1 up'
mkfifo up
nsenter -t $PEER -n python3 -c '
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(self.path[1:4]))
        self.end_headers()
        self.wfile.write(b"hello")
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("10.9.0.2", 80), Handler)
open("up", "w").close()
server.serve_forever()' 2>/dev/null & SERVER=$!
trap 'kill -9 $PEER $SERVER' EXIT
read -r up < up || true
filter() { nft "table ip t { chain c { type filter hook $1 priority 0; $2; }; }"; }
"#;

/// A fault, how it is made before `check` runs, and what is found: the ids of the checks, their status and who is to blame.
type Fault = (&'static str, &'static str, &'static [(&'static str, &'static str, &'static str)]);

/// Makes each fault in namespaces of its own, all at once.
#[track_caller]
fn expect(prelude: &str, faults: &[Fault]) {
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            faults.iter().map(|fault| scope.spawn(move || (fault, found(prelude, fault.1)))).collect();
        let results = threads.into_iter().map(|thread| thread.join().expect("it does not panic"));
        results
            .filter_map(|((name, _, expected), found)| differs(&found, expected).map(|it| format!("{name}: {it}")))
            .collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What `check` reports in JSON at the end of the script.
fn found(prelude: &str, script: &str) -> String {
    let folder = tempfile::tempdir().expect("there is room");
    let mut command = Command::new("unshare");
    let script = format!("check() {{ \"$0\" check --format json -vv \"$@\"; }}\n{prelude}\n{script}\n");
    command.args(["--net", "--mount", "sh", "-c", &script, HOSPITAL]).current_dir(folder.path());
    let run = once::run(command);
    if run.stdout.is_empty() { run.stderr } else { run.stdout }
}

fn differs(found: &str, expected: &[(&str, &str, &str)]) -> Option<String> {
    let Ok(report) = serde_json::from_str::<Value>(found) else { return Some(found.to_owned()) };
    let of = |id: &str| report["details"].as_array()?.iter().find(|detail| detail["id"] == *id);
    let is = |&(id, status, blame): &(&str, &str, &str)| {
        of(id).is_some_and(|detail| detail["status"] == status && detail["blame"].as_str().unwrap_or_default() == blame)
    };
    (!expected.iter().all(is)).then(|| found.to_owned())
}

#[test]
#[ignore = "needs root, python3, nft"]
fn who_does_not_answer_is_told_from_what_lies_between_and_from_ourselves() {
    expect(
        NETWORK,
        &[
            ("port closed", "check a=tcp://10.9.0.2:81", &[("a", "fail", "theirs")]),
            ("500", "check a=http://10.9.0.2/500", &[("a", "fail", "theirs")]),
            ("other body", "check a=http://10.9.0.2/200#match=bye", &[("a", "fail", "theirs")]),
            (
                "server frozen",
                "kill -STOP $SERVER; check 'a=http://10.9.0.2/200#timeout=1s'",
                &[("a", "fail", "theirs")],
            ),
            (
                "their firewall rejects",
                "peer sh -c \"$(command -v nft) 'table ip t { chain c { type filter hook input priority 0; tcp dport 80 reject; }; }'\"
                 check a=tcp://10.9.0.2:80",
                &[("a", "fail", "theirs")],
            ),
            (
                "their firewall drops, and another port answers",
                "nft() { peer nft \"$@\"; }; filter input 'tcp dport 81 drop'
                 check 'a=tcp://10.9.0.2:81#timeout=1s' b=tcp://10.9.0.2:80",
                &[("a", "fail", "theirs"), ("b", "pass", "")],
            ),
            (
                "everything there drops",
                "nft() { peer nft \"$@\"; }; filter input 'ip protocol != icmp drop'
                 check 'a=tcp://10.9.0.2:80#timeout=1s' 'b=dns:shop.example#server=10.9.0.3&timeout=1s'",
                &[("a", "fail", "path"), ("b", "fail", "path")],
            ),
            (
                "their cable is out",
                "peer ip link set v1 down; check a=tcp://10.9.0.2:80 'b=ping:10.9.0.3#timeout=1s'",
                &[("a", "fail", "path"), ("b", "fail", "path")],
            ),
            (
                "our firewall drops",
                "filter output 'tcp dport 80 drop'; check 'a=tcp://10.9.0.2:80#timeout=2s'",
                &[("a", "error", "ours")],
            ),
            (
                "our firewall rejects",
                "filter output 'tcp dport 80 reject'; check a=tcp://10.9.0.2:80",
                &[("a", "error", "ours")],
            ),
            (
                "our firewall resets what we send",
                "filter output 'tcp dport 80 reject with tcp reset'
                 check a=tcp://10.9.0.2:80 b=http://10.9.0.2/200 c=tcp://10.9.0.2:81",
                &[("a", "error", "ours"), ("b", "error", "ours"), ("c", "fail", "theirs")],
            ),
            (
                "our firewall drops what comes, and another port answers",
                "filter input 'tcp sport 81 drop'
                 check 'a=tcp://10.9.0.2:81#timeout=1s' b=tcp://10.9.0.2:80",
                &[("a", "fail", "path"), ("b", "pass", "")],
            ),
            (
                "our firewall resets what comes, and another port answers",
                "filter input 'tcp sport 80 reject with tcp reset'
                 check 'a=tcp://10.9.0.2:80#timeout=1s' 'b=dns:shop.example#server=10.9.0.3&timeout=1s' c=ping:10.9.0.2",
                &[("a", "fail", "path"), ("c", "pass", "")],
            ),
            (
                "our route is away",
                "ip route add unreachable 10.9.0.2; ip route add prohibit 10.9.0.3
                 check a=tcp://10.9.0.2:80 b=tcp://10.9.0.3:80 c=ping:10.9.0.2 d=dns:shop.example#server=10.9.0.2",
                &[("a", "error", "ours"), ("b", "error", "ours"), ("c", "error", "ours"), ("d", "error", "ours")],
            ),
            (
                "our firewall drops datagrams",
                "filter output 'ip protocol != tcp drop'
                 check a=dns:shop.example#server=10.9.0.2 b=ping:10.9.0.2",
                &[("a", "error", "ours"), ("b", "error", "ours")],
            ),
            ("our cable is out", "ip link set v0 down; check a=tcp://10.9.0.2:80", &[("a", "error", "ours")]),
            (
                "loopback is down",
                "ip link set lo down; check 'a=tcp://127.0.0.1:80#timeout=1s' b=tcp://10.9.0.2:81 c=tcp://10.9.0.2:80",
                &[("a", "error", "ours"), ("b", "error", "ours"), ("c", "pass", "")],
            ),
            (
                "no name server answers",
                "printf 'nameserver 10.9.0.77\\noptions timeout:1 attempts:1\\n' > resolv
                 mount --bind resolv /etc/resolv.conf
                 check a=tcp://shop.example:80 b=dns:shop.example",
                &[("a", "error", "ours"), ("b", "error", "ours")],
            ),
        ],
    );
}

#[test]
#[ignore = "needs root, strace"]
fn an_error_of_this_host_blames_nobody_else() {
    expect(
        r#"under() { calls=$1; error=$2; shift 2; strace -f -qq -o /dev/null -e trace=$calls -e inject=$calls:error=$error "$0" check --format json -v "$@"; }"#,
        &[
            ("no descriptor", "under socket EMFILE a=tcp://127.0.0.1:1", &[("a", "error", "ours")]),
            ("no memory", "under socket ENOMEM a=tcp://127.0.0.1:1", &[("a", "error", "ours")]),
            ("forbidden to connect", "under connect EPERM a=tcp://127.0.0.1:1", &[("a", "error", "ours")]),
            (
                "no descriptor for a file",
                "strace -f -qq -o /dev/null -P /etc/hostname -e trace=openat -e inject=openat:error=EMFILE \
                 \"$0\" check --format json -v a=file:/etc/hostname#match=x",
                &[("a", "error", "ours")],
            ),
            ("no thread", "under clone,clone3 EAGAIN:when=2+ a=exec:/bin/true", &[("a", "error", "ours")]),
            (
                "forbidden to run a program",
                "cp /bin/true program
                 strace -f -qq -o /dev/null -P $PWD/program -e trace=execve -e inject=execve:error=EPERM \
                 \"$0\" check --format json -v a=exec:$PWD/program",
                &[("a", "error", "ours")],
            ),
        ],
    );
}

#[test]
#[ignore = "needs root"]
fn what_this_host_shows_to_be_wrong_is_no_fault_of_hospital() {
    expect(
        "",
        &[
            (
                "disk full",
                "mkdir m; mount -t tmpfs -o size=1m none m; head -c 2M /dev/zero > m/x 2>/dev/null
                 check a=disk:$PWD/m#free=50%",
                &[("a", "fail", "theirs")],
            ),
            ("file gone", "check a=file:$PWD/log", &[("a", "fail", "theirs")]),
            ("another program", "cp /bin/false program; check a=exec:$PWD/program", &[("a", "fail", "theirs")]),
            ("socket gone", "check a=unix:$PWD/socket", &[("a", "fail", "theirs")]),
        ],
    );
}

#[test]
#[ignore = "needs root"]
fn what_came_too_late_is_no_fault_of_others_where_we_had_no_cpu() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let _ = client.and_then(|mut client| {
                let _ = client.read(&mut [0; 4096])?;
                client.write_all(b"HTTP/1.0 200 OK\r\n\r\n")
            });
        }
    });
    let checks =
        format!("a=http://{at}/#slow=1ms&timeout=500ms b=http://{at}/#timeout=100ms c=tcp://{at}#timeout=50ms");
    let server =
        Launch::serve(["-w", "1", "--timeout", "5m", "--request-timeout", "30s"]).env("HEALTHCHECKS", &checks).start();
    let group = Cgroup::new("cpu", "/sys/fs/cgroup");
    match group.is_v2 {
        true => group.set("cpu.max", "1000 100000"),
        false => group.set("cpu.cfs_quota_us", "1000"),
    }
    server.workers().into_iter().for_each(|worker| group.take(worker));
    let mut undecided = 0;
    for _ in 0..4 {
        let report: Value = serde_json::from_str(&get(&server.at, "/?verbose").body).expect("it is JSON");
        let details = report["details"].as_array().expect("there are three").clone();
        assert!(details.iter().all(|detail| detail["blame"] != "theirs"), "{report}");
        undecided += details.iter().filter(|detail| detail["blame"] == "ours").count();
    }
    assert!(undecided > 0, "with so little CPU nothing is answered within a millisecond");
}
