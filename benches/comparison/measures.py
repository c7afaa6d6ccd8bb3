"""What is measured, one function for each. It takes our server and a number of rounds, and yields figures."""

import contextlib
import dataclasses
import re
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from .figures import OURS, Figure, Target
from .kernel import cpu_time, pss, settled, wake_ups
from .servers import (
    CHAUSSETTE, CLOSED, CLOSING_REQUEST, DEADLINE, GUNICORN, KEPT, LIMIT, NGINX, REQUEST, ROOT, TARGET,
    ask, connect, load, running, time_to_start,
)

SLEEP = "exec:/bin/sleep#args=0.05"  # a check of 50 ms
MODES = {"keep-alive": KEPT, "close": CLOSED}


def in_turn(subjects, rounds, measure):
    """Measures every subject in every round, reversing the order each time, so that none always goes first."""
    values = {subject: [] for subject in subjects}
    for turn in range(rounds):
        for subject in subjects if turn % 2 == 0 else subjects[::-1]:
            values[subject].append(measure(subject))
    return values


def by_name(values):
    return {server.name: column for server, column in values.items()}


def startup(ours, rounds):
    """From exec to the first 200, with 4 workers."""
    servers = [ours, LIMIT, NGINX, GUNICORN]
    values = by_name(in_turn(servers, rounds or 31, lambda server: time_to_start(server, workers=4) / 1e6))
    yield Figure("exec to first 200, `-w 4`", "ms", values, [Target(1.5, "the limit"), Target(0.3, "nginx")])


def cpu(ours, rounds):
    """CPU time of the whole tree for each request, with 1 worker and 16 connections. A single thread of load leaves the
    server a core to itself."""
    targets = {
        "keep-alive": [Target(1.10, "the limit"), Target(0.95, "nginx")],
        "close": [Target(1.10, "the limit"), Target(0.80, "nginx")],
    }
    for mode, options in MODES.items():
        costs = loaded([ours, LIMIT, NGINX, GUNICORN, CHAUSSETTE], rounds or 6, lambda process: cost(process, options))
        yield Figure(f"CPU per request, {mode}", "µs", costs, targets[mode])


def loaded(servers, rounds, measure):
    """Measures servers that run side by side, loading one at a time."""
    with contextlib.ExitStack() as stack:
        processes = {server: stack.enter_context(running(server, workers=1)) for server in servers}
        for process in processes.values():
            measure(process)  # warms caches and buffers; not counted
        return by_name(in_turn(servers, rounds, lambda server: measure(processes[server])))


def cost(process, options):
    """CPU time per request in µs, in a slice of load."""
    before = cpu_time(process.pid)
    requests = load(process.port, 1, options)
    return (cpu_time(process.pid) - before) / requests / 1e3


def many(ours, rounds):
    """The extra cost when 16 workers wait on a listener instead of one, with a connection for each request."""
    with contextlib.ExitStack() as stack:
        processes = {workers: stack.enter_context(running(ours, workers)) for workers in (1, 16)}

        def slice_of_load(workers):
            return cost(processes[workers], CLOSED)

        for workers in processes:
            slice_of_load(workers)
        values = in_turn([1, 16], rounds or 8, slice_of_load)
    beside = "`-w 1`"
    yield Figure("CPU per request, close, `-w 16`", "µs", {OURS: values[16], beside: values[1]}, [Target(1.5, beside)])


def livez(ours, rounds):
    """The slowest /livez while one of two workers is always busy with a check of 50 ms."""

    def slowest(_, seconds=3):
        with running(dataclasses.replace(ours, checks=SLEEP), workers=2) as process:
            end = time.monotonic() + seconds
            asker = threading.Thread(target=ask_until, args=(process.port, end))
            asker.start()
            times = []
            while time.monotonic() < end:
                began = time.monotonic()
                answer = ask(process.port, b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                times.append((time.monotonic() - began) * 1e3)
                assert answer.startswith(b"HTTP/1.1 200 "), answer
                time.sleep(0.003)
            asker.join()
        return max(times)

    values = by_name(in_turn([ours], rounds or 4, slowest))
    yield Figure("slowest `/livez` beside checks of 50 ms, `-w 2`, one of them free", "ms", values, [Target(10)])


def ask_until(port, end):
    while time.monotonic() < end:
        ask(port)


def memory(ours, rounds):
    """Proportional set size of the tree after 10,000 requests. One server at a time: equal binaries would share."""

    def settled_pss(server):
        with running(server, workers=4) as process:
            answered = 0
            while answered < 10_000:
                answered += load(process.port, 1, CLOSED)
            return settled(lambda: pss(process.pid)) / 1024

    values = by_name(in_turn([ours, LIMIT, NGINX, GUNICORN], rounds or 4, settled_pss))
    yield Figure("PSS of the tree, `-w 4`, after 10,000 requests", "MiB", values, [Target(2.5)])


def idle(ours, rounds):
    """Wake-ups of the idle tree. All servers are measured at the same time, since they do nothing."""
    seconds, values = 20, {}
    with contextlib.ExitStack() as stack:
        processes = {s.name: stack.enter_context(running(s, workers=4)) for s in (ours, LIMIT, NGINX, GUNICORN)}
        for process in processes.values():
            settled(lambda pid=process.pid: wake_ups(pid))
        for _ in range(rounds or 1):
            before = {name: wake_ups(process.pid) for name, process in processes.items()}
            time.sleep(seconds)
            for name, process in processes.items():
                values.setdefault(name, []).append((wake_ups(process.pid) - before[name]) / seconds)
    yield Figure("wake-ups a second, idle, `-w 4`", "", values, [Target(0.2)])


def calls(ours, _rounds):
    """System calls for each request, 16 at once, as counted by strace. One wait serves several events, so its share is
    reported separately."""
    times, at_once = 100, 16
    for mode, most in (("keep-alive", 2), ("close", 4)):
        with running(ours, workers=1) as process, contextlib.ExitStack() as stack:
            kept = [stack.enter_context(connect(process.port)) for _ in range(at_once)] if mode == "keep-alive" else []
            ask_all(kept)  # so that accepting is not counted
            with traced(process.worker()) as counts:
                for _ in range(times):
                    ask_all(kept or [connect(process.port) for _ in range(at_once)], close=not kept)
        shares = {name: count / (times * at_once) for name, count in counts.items()}
        waits = sum(shares.pop(name, 0) for name in ("epoll_wait", "epoll_pwait"))
        # Calls made once a second, or only once, do not belong to a request.
        named = ", ".join(sorted(name for name, share in shares.items() if share > 0.05))
        title = f"system calls per request, {mode}: {named}, and {waits:.2f} × the wait"
        yield Figure(title, "", {OURS: [round(sum(shares.values()), 1)]}, [Target(most)])


def ask_all(clients, close=False):
    """Sends a request on each connection, and then reads the answers."""
    for client in clients:
        client.sendall(CLOSING_REQUEST if close else REQUEST)
    for client in clients:
        answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        if close:
            client.close()


@contextlib.contextmanager
def traced(pid):
    """Counts the system calls of a process, in a table that is filled at the end."""
    counts = {}
    with tempfile.NamedTemporaryFile("r") as table:
        command = ["strace", "-c", "-f", "-U", "name,calls", "-o", table.name, "-p", str(pid)]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        tracer.stderr.readline()  # it reports that it is attached
        yield counts
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=DEADLINE)
        counts |= {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table.read(), re.M)}
        counts.pop("total")


def rounds(_ours, _rounds):
    """The results of the micro-benchmarks of rounds, one ratio each."""
    names = {
        "100 checks of 50 ms": "100 checks of 50 ms, warm, beside 50 ms",
        "1000 tcp checks on loopback": "1,000 tcp checks on loopback, beside one thread's non-blocking connects",
        "1 to 10000 inline checks": "how cost grows from 1 to 10,000 inline checks, beside rendering alone",
    }
    benches = (["--bench", "growth"], ["--bench", "rounds", "--", "100 checks of 50 ms|1000 tcp"])
    printed = ""
    for arguments in benches:
        # It exits with 1 when a ratio exceeds its target, which our table shows as well.
        command = ["cargo", "bench", "--quiet", "--locked", *arguments]
        printed += subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout
    for name, title in names.items():
        ratio, target = re.search(rf"^{name}: .*ratio ([\d.]+), target at most ([\d.]+)", printed, re.M).groups()
        yield Figure(title, "×", {OURS: [float(ratio)]}, [Target(float(target))])


def size(ours, _rounds):
    """The binary with its default features."""
    yield Figure("binary, default features", "MiB", {OURS: [mebibytes(binary_of(ours))]}, [Target(6)])


def slim(_ours, _rounds):
    """The binary without TLS and built for size, which needs a build of its own."""
    command = ["cargo", "build", "--profile", "small", "--locked", "--no-default-features", "--features", "dns,http"]
    subprocess.run([*command, "--target-dir", TARGET / "without-tls"], cwd=ROOT, check=True)
    size = mebibytes(TARGET / "without-tls/small/hospital")
    yield Figure("binary, without TLS, `--profile small`", "MiB", {OURS: [size]}, [Target(2.5)])


def binary_of(ours):
    return Path(ours.command(0, 1, None)[0])


def mebibytes(path):
    return path.stat().st_size / (1 << 20)


MEASURES = {measure.__name__: measure for measure in
            (size, calls, startup, cpu, many, livez, memory, idle, rounds, slim)}
# Left out of a plain run: it takes minutes to build.
SLOW = {"slim"}
