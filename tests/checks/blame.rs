//! Whose fault it is, and what a transcript says of it: faults of both sides, and of what lies between.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::harness::cgroup::Cgroup;
use crate::harness::{HOSPITAL, Launch, alone, get, once};

/// Two hosts: we are 10.9.0.1, and a peer, on which commands run by `peer`, is 10.9.0.2 and 10.9.0.3. Its server answers HTTP at port
/// 80 with what is in the file `answer`, the same by TLS at port 443 with the certificate in `cert.pem`, and knows one name: it has the address
/// in the file `dns`, and none at 10.9.0.3. Our own files of names are `resolv` and `hosts`.
const WORLD: &str = r#"
ip link set lo up
ip link add v0 type veth peer name v1
unshare --net sleep 600 & PEER=$!
# What is served under strace is its child, which it does not take along.
trap 'kill -9 $PEER $SERVER $(cat /proc/$MASTER/task/*/children 2> /dev/null) $MASTER $LISTENER' EXIT
while [ "$(readlink /proc/$PEER/ns/net)" = "$(readlink /proc/$$/ns/net)" ]; do :; done
ip link set v1 netns $PEER
ip addr add 10.9.0.1/24 dev v0
ip link set v0 up
peer() { nsenter -t $PEER -n "$@"; }
peer sh -c 'ip link set lo up; ip addr add 10.9.0.2/24 dev v1; ip addr add 10.9.0.3/24 dev v1; ip link set v1 up'
echo '200 hello' > answer
echo 10.9.0.2 > dns
printf 'nameserver 10.9.0.2\noptions timeout:1 attempts:1\n' > resolv
printf '127.0.0.1 localhost\n10.9.0.2 known.example\n' > hosts
mount --bind resolv /etc/resolv.conf
mount --bind hosts /etc/hosts
mkfifo up
nsenter -t $PEER -n python3 -c '
import http.server, socket, ssl, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, body = open("answer").read().split(" ", 1)
        self.send_response(int(status))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())
    def log_message(self, *_): pass
class Tls(http.server.ThreadingHTTPServer):
    def get_request(self):
        client, address = super().get_request()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain("cert.pem")
        return context.wrap_socket(client, server_side=True), address
    def handle_error(self, *_): pass
def names(ours, known):
    ours = (ours, 53)
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(ours)
    while True:
        asked, client = server.recvfrom(512)
        end = asked.index(b"\0", 12) + 5
        is_v4 = asked[end - 4:end - 2] == b"\0\1"
        told = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton(open("dns").read().strip()) if known and is_v4 else b""
        flags = b"\x81\x80" if known else b"\x81\x83"
        counts = b"\0\1" + (b"\0\1" if told else b"\0\0") + b"\0\0\0\0"
        server.sendto(asked[:2] + flags + counts + asked[12:end] + told, client)
servers = [http.server.ThreadingHTTPServer(("10.9.0.2", 80), Handler), Tls(("10.9.0.2", 443), Handler)]
loops = [server.serve_forever for server in servers]
loops += [lambda: names("10.9.0.2", True), lambda: names("10.9.0.3", False)]
threads = [threading.Thread(target=loop) for loop in loops]
for thread in threads: thread.start()
open("up", "w").close()' 2>/dev/null & SERVER=$!
read -r up < up || true
# Before anybody counts them.
lose() { nft "table netdev t { chain c { type filter hook ingress device $1 priority 0; $2 drop; }; }"; }
filter() { nft "table ip t { chain c { type filter hook $1 priority 0; $2; }; }"; }
# A certificate of the server, signed by a new authority of this name, which is in ca-NAME.pem.
issue() {
    new='openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
    $new -x509 -days 30 -subj "/CN=$1" -keyout ca.key -out "ca-$1.pem"
    $new -subj /CN=shop -keyout key.pem -out shop.csr
    echo subjectAltName=IP:10.9.0.2 > names
    openssl x509 -req -days 30 -in shop.csr -CA "ca-$1.pem" -CAkey ca.key -CAcreateserial -extfile names -out leaf.pem
    cat leaf.pem key.pem > cert.pem
} 2> /dev/null
# A service whose checks are well, if it is started as it is here or by `$START`.
serve() {
    printf "HEALTHCHECKS='%s'\n" "$*" > env
    $START "$0" serve -w 1 -b "unix:$PWD/socket" --env-file env > log 2>&1 & MASTER=$!
    for n in $(seq 200); do
        if curl -fs --unix-socket socket 'http://x/?verbose=2' > well; then return; fi
        sleep 0.05
    done
    curl -s --unix-socket socket 'http://x/?verbose=2' >&2
    cat log >&2
    exit 1
}
family() { cat /proc/$MASTER/task/*/children; }
# From now on, calls of the service end so.
inject() {
    strace -f -o /dev/null $(for pid in $(family); do echo "-p $pid"; done) -e "trace=$1" -e "inject=$1:error=$2" 2> strace &
    until grep -q attached strace; do sleep 0.01; done
}
# What the service finds now, and why.
ask() {
    for path in '?verbose=2' "$@"; do curl -s --unix-socket socket "http://x/$path"; done
}
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

/// What a check has to be after a fault: its id, status and blame, and the fields of which `why` has to name one.
type Told = (&'static str, &'static str, &'static str, &'static [&'static str]);

/// A class of faults, one of them, the checks of a service, which are well, what is done then, and what is found.
struct Turn {
    class: &'static str,
    checks: &'static str,
    fault: &'static str,
    told: &'static [Told],
}

const fn turn(class: &'static str, checks: &'static str, fault: &'static str, told: &'static [Told]) -> Turn {
    Turn { class, checks, fault, told }
}

const TURNS: &[Turn] = &[
    turn("port closed", "a=tcp://10.9.0.2:80", "kill -9 $SERVER; wait $SERVER", &[("a", "fail", "theirs", &["errno"])]),
    turn(
        "answer",
        "a=http://10.9.0.2/ b=http://10.9.0.2/#match=hello c=http://10.9.0.2/#match=hello&status=200-599",
        "echo '500 sorry' > answer",
        &[
            ("a", "fail", "theirs", &["status"]),
            ("b", "fail", "theirs", &["status"]),
            ("c", "fail", "theirs", &["body"]),
        ],
    ),
    turn(
        "server frozen",
        "a=http://10.9.0.2/#timeout=2s",
        "kill -STOP $SERVER",
        &[("a", "fail", "theirs", &["errno", "status"])],
    ),
    turn(
        "their firewall rejects",
        "a=tcp://10.9.0.2:80",
        "nft() { peer /usr/sbin/nft \"$@\"; }; filter input 'tcp dport 80 reject'",
        &[("a", "fail", "theirs", &["errno"])],
    ),
    turn(
        "their firewall drops",
        "a=tcp://10.9.0.2:443#timeout=2s b=tcp://10.9.0.2:80",
        "nft() { peer /usr/sbin/nft \"$@\"; }; filter input 'tcp dport 443 drop'",
        &[("a", "fail", "theirs", &["errno"]), ("b", "pass", "", &[])],
    ),
    turn(
        "nothing comes back",
        "a=tcp://10.9.0.2:80#timeout=2s b=dns:shop.example#server=10.9.0.2&timeout=2s",
        "nft() { peer /usr/sbin/nft \"$@\"; }; filter input 'ip protocol != icmp drop'",
        &[("a", "fail", "path", &["errno"]), ("b", "fail", "path", &["errno"])],
    ),
    turn(
        "cable",
        "a=tcp://10.9.0.2:80 b=ping:10.9.0.3#timeout=2s",
        "peer ip link set v1 down",
        &[("a", "fail", "path", &["errno"]), ("b", "fail", "path", &["errno"])],
    ),
    turn("cable", "a=tcp://10.9.0.2:80", "ip link set v0 down", &[("a", "error", "ours", &["errno"])]),
    turn(
        "our firewall drops",
        "a=tcp://10.9.0.2:80#timeout=2s",
        "filter output 'tcp dport 80 drop'",
        &[("a", "error", "ours", &["errno"])],
    ),
    turn(
        "our firewall rejects",
        "a=tcp://10.9.0.2:80 b=http://10.9.0.2/",
        "filter output 'tcp dport 80 reject'",
        &[("a", "error", "ours", &["errno"]), ("b", "error", "ours", &["errno"])],
    ),
    turn(
        "our firewall rejects",
        "a=tcp://10.9.0.2:80 b=http://10.9.0.2/ c=tcp://10.9.0.2:443",
        "filter output 'tcp dport 80 reject with tcp reset'",
        &[("a", "error", "ours", &["errno"]), ("b", "error", "ours", &["errno"]), ("c", "pass", "", &[])],
    ),
    turn(
        "our firewall resets",
        "a=http://10.9.0.2/ b=ping:10.9.0.2",
        "filter output 'tcp dport 80 ct state established reject with tcp reset'",
        &[("a", "error", "ours", &["errno"]), ("b", "pass", "", &[])],
    ),
    turn(
        "their firewall resets",
        "a=http://10.9.0.2/ b=ping:10.9.0.2",
        "nft() { peer /usr/sbin/nft \"$@\"; }; filter input 'tcp dport 80 ct state established reject with tcp reset'",
        &[("a", "fail", "theirs", &["errno"]), ("b", "pass", "", &[])],
    ),
    turn(
        "large packets are lost",
        "a=http://10.9.0.2/#timeout=3s b=ping:10.9.0.2",
        // Five of them, and a small one behind, which is sent again.
        "{ printf '200 '; head -c 7380 /dev/zero | tr '\\0' x; } > answer; lose v0 'ip length > 1000'",
        &[("a", "fail", "path", &["lost"]), ("b", "pass", "", &[])],
    ),
    turn(
        "large packets are lost",
        "a=http://10.9.0.2/#timeout=3s&header=X-Large:%20$(head -c 3000 /dev/zero | tr '\\0' x) b=ping:10.9.0.2",
        "nft() { peer /usr/sbin/nft \"$@\"; }; lose v1 'ip length > 1000'",
        &[("a", "fail", "path", &["lost"]), ("b", "pass", "", &[])],
    ),
    turn(
        "our firewall drops what comes",
        "a=tcp://10.9.0.2:443#timeout=2s b=tcp://10.9.0.2:80",
        "filter input 'tcp sport 443 drop'",
        &[("a", "fail", "path", &["errno", "our.drops"]), ("b", "pass", "", &[])],
    ),
    turn(
        "our firewall drops what comes",
        "a=tcp://10.9.0.2:80#timeout=2s b=ping:10.9.0.2",
        "filter input 'tcp sport 80 reject with tcp reset'",
        &[("a", "fail", "path", &["errno", "our.drops"]), ("b", "pass", "", &[])],
    ),
    turn(
        "our firewall drops datagrams",
        "a=dns:shop.example#server=10.9.0.2 b=ping:10.9.0.2",
        "filter output 'ip protocol != tcp drop'",
        &[("a", "error", "ours", &["errno"]), ("b", "error", "ours", &["errno"])],
    ),
    turn(
        "our route",
        "a=tcp://10.9.0.2:80 b=ping:10.9.0.2 c=dns:shop.example#server=10.9.0.2 d=ping:10.9.0.3",
        "ip route add unreachable 10.9.0.2; ip route add prohibit 10.9.0.3",
        &[
            ("a", "error", "ours", &["errno"]),
            ("b", "error", "ours", &["errno"]),
            ("c", "error", "ours", &["errno"]),
            ("d", "error", "ours", &["errno"]),
        ],
    ),
    turn(
        "loopback down",
        "a=ping:127.0.0.1#timeout=2s b=tcp://10.9.0.2:443 c=tcp://10.9.0.2:80",
        "ip link set lo down; peer /usr/sbin/nft 'table ip t { chain c { type filter hook input priority 0; tcp dport 443 reject; }; }'",
        &[("a", "error", "ours", &["errno"]), ("b", "error", "ours", &["errno"]), ("c", "pass", "", &[])],
    ),
    turn(
        "resolver dead",
        "a=tcp://shop.example:80 b=dns:shop.example",
        "printf 'nameserver 10.9.0.77\\noptions timeout:1 attempts:1\\n' > resolv",
        &[("a", "error", "ours", &["errno", "resolver"]), ("b", "error", "ours", &["errno", "resolver"])],
    ),
    turn(
        "resolver points elsewhere",
        "a=tcp://shop.example:80",
        "printf 'nameserver 10.9.0.3\\noptions timeout:1 attempts:1\\n' > resolv",
        &[("a", "error", "ours", &["resolver"])],
    ),
    turn(
        "names here",
        "a=tcp://known.example:80",
        "printf '127.0.0.1 localhost\\n10.9.0.3 known.example\\n' > hosts",
        &[("a", "fail", "ours", &["resolved"])],
    ),
    turn(
        "DNS answers changed",
        "a=tcp://shop.example:80",
        "echo 10.9.0.3 > dns",
        &[("a", "fail", "theirs", &["resolved"])],
    ),
    turn(
        "another issuer",
        "a=https://10.9.0.2/#ca=$PWD/ca-one.pem",
        "issue two",
        &[("a", "fail", "theirs", &["issuer"])],
    ),
    turn(
        "our authorities",
        "a=https://10.9.0.2/#ca=$PWD/ca-one.pem",
        "cp cert.pem kept.pem; issue two; mv ca-two.pem ca-one.pem; cp kept.pem cert.pem",
        &[("a", "fail", "ours", &["our.change"])],
    ),
    turn(
        "our configuration",
        "a=tcp://10.9.0.2:80 b=http://10.9.0.2/#status=200 c=tcp://10.9.0.2:443",
        "sed -i 's/:80/:81/; s/=200/=201/' env; kill -HUP $MASTER
         for n in $(seq 200); do grep -q 'all workers are of generation 1' log && break; sleep 0.05; done",
        &[
            ("a", "fail", "ours", &["our definition"]),
            ("b", "fail", "ours", &["our definition"]),
            ("c", "pass", "", &[]),
        ],
    ),
    turn(
        "their server and our configuration",
        "a=http://10.9.0.2/#status=200 b=tcp://10.9.0.2:80",
        "echo '500 sorry' > answer; sed -i 's/=200/=200\\&match=hello/' env; kill -HUP $MASTER
         for n in $(seq 200); do grep -q 'all workers are of generation 1' log && break; sleep 0.05; done",
        &[("a", "fail", "theirs", &["status"]), ("b", "pass", "", &[])],
    ),
    turn(
        "clock stepped",
        "a=https://10.9.0.2/#ca=$PWD/ca-one.pem b=tcp://10.9.0.2:80",
        "echo +400d > clock",
        &[("a", "error", "ours", &["our.clock"]), ("b", "pass", "", &[])],
    ),
    turn("EMFILE", "a=tcp://10.9.0.2:80", "inject socket EMFILE", &[("a", "error", "ours", &["errno"])]),
    turn("ENOMEM", "a=tcp://10.9.0.2:80", "inject socket ENOMEM", &[("a", "error", "ours", &["errno"])]),
    turn("EPERM", "a=tcp://10.9.0.2:80", "inject connect EPERM", &[("a", "error", "ours", &["errno"])]),
    turn(
        "no CPU",
        // Longer than the periods in which time is given: before the end of one, nobody counts that there was none left.
        "a=http://10.9.0.2/#timeout=110ms",
        "for pid in $(family); do echo $pid > $QUOTA/cgroup.procs; done
         for n in $(seq 20); do curl -s --unix-socket socket 'http://x/a?verbose' | grep -q ours && break; done",
        &[("a", "error", "ours", &["our.throttled", "our.wait_ms", "errno"])],
    ),
    turn(
        "no tasks",
        "a=exec:$PWD/program b=tcp://10.9.0.2:80",
        "for pid in $(family); do echo $pid > $TASKS/cgroup.procs; done
         echo $(($(cat $TASKS/pids.current) + 1)) > $TASKS/pids.max
         printf '#!/bin/sh\n/bin/true; exit 3\n' > new; chmod +x new; mv new program",
        &[("a", "error", "ours", &["exit"]), ("b", "pass", "", &[])],
    ),
    turn(
        "ulimit -u",
        "a=exec:$PWD/program",
        "printf '#!/bin/sh\n/bin/true; exit 3\n' > nproc; chmod +x nproc; mv nproc program",
        &[("a", "error", "ours", &["exit"])],
    ),
    turn(
        "files and programs",
        "a=disk:$PWD/m#free=50% b=file:$PWD/log#match=ready c=exec:$PWD/program d=file:$PWD/gone e=exec:$PWD/killed f=unix:$PWD/listening",
        "head -c 2M /dev/zero > m/x 2> /dev/null; mv log log.1; echo > log; mv gone gone.1
         cp /bin/false new; mv new program; printf '#!/bin/sh\\nkill -9 $$\\n' > new; chmod +x new; mv new killed; rm listening",
        &[
            ("a", "fail", "theirs", &["perfdata.free"]),
            ("b", "fail", "theirs", &["file"]),
            ("c", "fail", "theirs", &["program"]),
            ("d", "fail", "theirs", &["errno"]),
            ("e", "error", "", &["signal"]),
            ("f", "fail", "theirs", &["errno"]),
        ],
    ),
];

/// What has to be there before the checks are well.
const BEFORE: &str = r#"
case "$CHECKS" in *ca-one.pem*) issue one ;; esac
case "$CHECKS" in *program*)
    mkdir m; mount -t tmpfs -o size=1m none m
    echo ready > log; echo ready > gone; cp /bin/true program; cp /bin/true killed
    python3 -c 'import socket; s = socket.socket(socket.AF_UNIX); s.bind("listening"); s.listen(); s.settimeout(60)
while True: s.accept()' & LISTENER=$!
    until [ -S listening ]; do sleep 0.01; done
esac
# Root has no such limit. The master, the reaper, the worker, its thread and the program, which may start no other.
case "$FAULT" in *nproc*)
    chown -R 61234 .
    START="prlimit --nproc=5 setpriv --reuid=61234 --regid=61234 --clear-groups"
esac
case "$FAULT" in *clock*)
    echo +0d > clock
    PRELOADED=$(faketime -f +0d printenv LD_PRELOAD)
    START="strace -f --seccomp-bpf -qq -o /dev/null -e trace=adjtimex -e inject=adjtimex:error=EPERM
        env LD_PRELOAD=$PRELOADED FAKETIME_TIMESTAMP_FILE=$PWD/clock FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1"
esac
"#;

/// Makes each fault beside a service that was well, in namespaces of their own, some at once, and asks whose fault it is and why.
#[test]
#[ignore = "needs root, python3, nft, curl, strace, openssl, faketime"]
fn whose_fault_it_is_and_what_has_changed_is_told_of_faults_of_both_sides_and_of_what_lies_between() {
    let _alone = alone();
    let group = Cgroup::new("cpu", "/sys/fs/cgroup");
    match group.is_v2 {
        true => group.set("cpu.max", "1000 100000"),
        false => group.set("cpu.cfs_quota_us", "1000"),
    }
    let tasks = Cgroup::new("pids", "/sys/fs/cgroup");
    let paths = [&group, &tasks].map(|group| group.path.display().to_string());
    let next = AtomicUsize::new(0);
    let work = || {
        let turns = std::iter::from_fn(|| TURNS.get(next.fetch_add(1, Ordering::Relaxed)));
        turns.map(|turn| (turn, turned(turn, &paths))).collect::<Vec<_>>()
    };
    let mut results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("it does not panic")).collect()
    });
    // Where there was no CPU for us, that is what is told: it is tried again while nothing else of this test runs.
    for (turn, values) in results.iter_mut().filter(|(turn, values)| is_starved(turn, values)) {
        *values = turned(turn, &paths);
    }
    results.retain(|(turn, values)| !is_starved(turn, values));
    let (mut all, mut blamed, mut named, mut wrong) = (0, 0, 0, Vec::new());
    for (turn, values) in &results {
        for &(id, status, blame, fields) in turn.told.iter().filter(|(.., fields)| !fields.is_empty()) {
            let (is, changed) = values.as_ref().map(|values| of(values, id)).unwrap_or_default();
            let is_named = fields.iter().any(|field| changed.iter().any(|it| it == field));
            let is_blamed = is == (status.to_owned(), blame.to_owned());
            (all, blamed, named) = (all + 1, blamed + u32::from(is_blamed), named + u32::from(is_named));
            if !is_blamed || !is_named {
                let first = values.iter().flatten().map(|why| &why["first_bad"]).find(|first| first.is_object());
                wrong.push(format!("{}: {id}: {is:?}, changed {changed:?}: {first:?}", turn.class));
            }
        }
        let others = turn.told.iter().filter(|(.., fields)| fields.is_empty());
        for (id, status, ..) in others {
            let (is, _) = values.as_ref().map(|values| of(values, id)).unwrap_or_default();
            if is.0 != *status {
                wrong.push(format!("{}: {id}: {is:?}", turn.class));
            }
        }
        if let Err(said) = values {
            wrong.push(format!("{}: {said}", turn.class));
        }
    }
    let classes: BTreeSet<_> = results.iter().map(|(turn, _)| turn.class).collect();
    println!(
        "{all} faults of {} classes: {blamed} blamed as they should be, {named} whose field is named",
        classes.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(all >= 24 && classes.len() >= 12);
}

/// Whether this host had no CPU time for what is not about CPU time, as under a crowd of other tests; then nobody else is blamed.
fn is_starved(turn: &Turn, values: &Result<Vec<Value>, String>) -> bool {
    let told = values
        .as_ref()
        .map(|values| values[1..].iter().map(|why| &why["first_bad"]).collect())
        .unwrap_or_else(|_| Vec::new());
    let is = |first: &&Value| {
        let context = first["context"].as_str().unwrap_or_default();
        ["CPU", "stopped meanwhile", "timed out after"].iter().any(|part| context.contains(part))
            && first["blame"] != "theirs"
    };
    turn.class != "no CPU" && told.iter().any(is)
}

/// What a service tells after a fault: its report, and why its checks fail, in their order.
fn turned(turn: &Turn, [quota, tasks]: &[String; 2]) -> Result<Vec<Value>, String> {
    let folder = tempfile::tempdir().expect("there is room");
    let Turn { checks, fault, told, .. } = turn;
    let ids: Vec<_> = told.iter().map(|(id, ..)| format!("why/{id}")).collect();
    let script = format!("CHECKS=\"{checks}\"\n{WORLD}\n{BEFORE}\nserve \"$CHECKS\"\n{fault}\nask {}\n", ids.join(" "));
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "sh", "-c", &script, HOSPITAL]).current_dir(folder.path());
    command.env("QUOTA", quota).env("TASKS", tasks).env("FAULT", fault);
    let run = once::run(command);
    let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(&run.stdout).into_iter().collect();
    values.ok().filter(|values| values.len() == told.len() + 1).ok_or_else(|| run.stdout + &run.stderr)
}

/// Status and blame of the first bad run of a check, if there is one, and the fields that have changed.
fn of(values: &[Value], id: &str) -> ((String, String), Vec<String>) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let why = values.iter().skip(1).find(|why| why["id"] == id);
    // What comes and goes, as for want of a CPU, may be well by now.
    let first = why.map(|why| &why["first_bad"]).filter(|first| first.is_object());
    let is = first.or_else(|| values[0]["details"].as_array()?.iter().find(|detail| detail["id"] == id));
    let is = is.map(|it| (text(&it["status"]), text(&it["blame"])));
    let changed = why.and_then(|why| why["changed"].as_array()).into_iter().flatten();
    (is.unwrap_or_default(), changed.map(|change| text(&change["field"])).collect())
}

#[test]
#[ignore = "needs root, python3, nft, strace, openssl, faketime"]
fn a_clock_that_was_months_ahead_before_we_began_blames_nobody() {
    let prelude = format!(
        r#"{WORLD}
issue one
PRELOADED=$(faketime -f +0d printenv LD_PRELOAD)
ahead() {{
    strace -f --seccomp-bpf -qq -o /dev/null -e trace=adjtimex -e inject=adjtimex:error=EPERM \
        env LD_PRELOAD=$PRELOADED FAKETIME=+60d FAKETIME_DONT_FAKE_MONOTONIC=1 \
        "$0" check --format json -vv "a=https://10.9.0.2/#ca=$PWD/ca-one.pem" b=tcp://10.9.0.2:80
}}
mkdir -p class/rtc/rtc0
"#
    );
    let hardware = "date +%s > class/rtc/rtc0/since_epoch; mount --bind class /sys/class; ahead";
    let faults = [
        ("its hardware says so", hardware, &[("a", "error", "ours"), ("b", "pass", "")][..]),
        // Then there is nothing to doubt it by.
        ("no hardware clock", "mount --bind class /sys/class; ahead", &[("a", "fail", "theirs")]),
    ];
    expect(&prelude, &faults);
}

#[test]
#[ignore = "needs root, strace"]
fn an_error_of_this_host_blames_nobody_else() {
    expect(
        r#"under() { calls=$1; error=$2; shift 2; strace -f -qq -o /dev/null -e trace=$calls -e inject=$calls:error=$error "$0" check --format json -v "$@"; }"#,
        &[
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
