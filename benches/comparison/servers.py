"""The servers in the comparison: how each is installed, started, and ended."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from .kernel import tree

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
VENV = TARGET / "peers-venv"
DEADLINE = 20  # seconds; no wait is longer

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
CLOSING_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


# ---- the servers ----


@dataclass(frozen=True, eq=False)
class Server:
    """`command` returns its arguments, given a port, a number of workers and an empty directory."""

    name: str
    command: Callable
    checks: str = "hospital.healthchecks.predictable.collected"


def hospital(binary):
    return Server("hospital", lambda port, workers, _: [binary, "serve", "-w", workers, "-b", f"127.0.0.1:{port}"])


def from_template(template):
    """The server in our place that `--ours` names: a binary, or a command that contains {port} and {workers}."""
    if "{port}" not in template:
        return hospital(template)
    return Server("hospital", lambda port, workers, _: shlex.split(template.format(port=port, workers=workers)))


LIMIT = Server("the limit", lambda port, workers, _: [TARGET / "prefork", port, workers])


def nginx_command(port, workers, directory):
    body = Path(TARGET / "answer.json").read_text().replace("\\", "\\\\").replace('"', '\\"')
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {directory}/{kind};" for kind in kinds)
    (directory / "nginx.conf").write_text(
        f"daemon off; pid {directory}/pid; worker_processes {workers};\n"
        "events { worker_connections 1024; }\n"
        f"http {{ access_log off; {temporary} keepalive_requests 100000000;\n"
        '    default_type "application/json; charset=utf-8";\n'
        f'    server {{ listen 127.0.0.1:{port}; location / {{ return 200 "{body}"; }} }}\n'
        "}\n"
    )
    return ["nginx", "-p", directory, "-c", directory / "nginx.conf", "-e", "stderr"]


NGINX = Server("nginx", nginx_command)

# The Python project of the same name, behind the two servers that mostly run it. Its application returns str where
# Python 3 wants bytes, which wsgi.py fixes.
GUNICORN = Server(
    "gunicorn",
    lambda port, workers, _: [VENV / "bin/gunicorn", "--workers", workers, "--bind", f"127.0.0.1:{port}",
                              "--log-level", "error", "wsgi:application"],
)
CHAUSSETTE = Server(
    "chaussette",
    lambda port, workers, _: [VENV / "bin/chaussette", "--host", "127.0.0.1", "--port", port,
                              "--log-level", "error", "wsgi.application"],
)


# ---- installing them ----


def install():
    """Builds the limit and installs the others: Debian packages as root, Python packages in an environment of ours."""
    TARGET.mkdir(exist_ok=True)
    packages = {"cc": "gcc libc6-dev", "wrk": "wrk", "nginx": "nginx-light", "strace": "strace"}
    if missing := [package for program, package in packages.items() if not shutil.which(program)]:
        if os.geteuid():
            sys.exit(f"not there, and only root can install them: {' '.join(missing)}")
        quietly("apt-get", "update", "-qq")
        quietly("apt-get", "install", "-qq", "--no-install-recommends", *" ".join(missing).split())
    for program in ("prefork", "start"):
        quietly("cc", "-O2", "-o", TARGET / program, HERE / f"{program}.c")

    pins = ROOT / "tests/requirements.txt"
    stamp = VENV / "requirements.txt"  # written last: it shows that the installation is complete
    if not stamp.exists() or stamp.read_bytes() != pins.read_bytes():
        python = next(python for python in (sys.executable, "/usr/bin/python3") if has_venv(python))
        quietly(python, "-m", "venv", "--clear", VENV)
        wanted = ["gunicorn", "chaussette", "hospital", "setuptools"]
        quietly(VENV / "bin/pip", "install", "--disable-pip-version-check", "--constraint", pins, *wanted)
        shutil.copy(pins, stamp)


def has_venv(python):
    return subprocess.run([python, "-c", "import venv, ensurepip"], capture_output=True).returncode == 0


def quietly(*command):
    """Runs a command; shows its output only if it fails."""
    command = list(map(str, command))
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{shlex.join(command)} failed:\n{done.stdout}")
    return done.stdout


def record_answer(server):
    """Saves the body of our answer, for nginx to serve."""
    with running(server, workers=1) as process:
        answer = ask(process.port)
    (TARGET / "answer.json").write_bytes(answer.split(b"\r\n\r\n", 1)[1])


# ---- a running server ----


@dataclass(frozen=True)
class Running:
    pid: int
    port: int

    def worker(self):
        """The pid of our only worker, which is identified by its name."""
        (worker,) = (pid for pid in tree(self.pid) if re.search(r":w\d+$", Path(f"/proc/{pid}/comm").read_text().strip()))
        return worker


@contextlib.contextmanager
def running(server, workers, under=()):
    """Starts a server on a fresh port, waits for its first 200, and ends its whole process group afterwards."""
    with prepared(server, workers) as (port, command, options):
        command = [*map(str, under), *command]
        process = subprocess.Popen(command, **options, stdout=options["stderr"], start_new_session=True)
        try:
            wait_for_200(port, process)
            yield Running(process.pid, port)
        finally:
            stop(process)


def time_to_start(server, workers):
    """Starts a server and ends it again; returns the time from its exec to its first 200, in ns."""
    with prepared(server, workers) as (port, command, options):
        done = subprocess.run([TARGET / "start", str(port), *command], **options, stdout=subprocess.PIPE)
        if done.returncode:
            raise ServerFailed("did not start and end as it should")
        return int(done.stdout)


@contextlib.contextmanager
def prepared(server, workers):
    """A fresh port, the command that serves there, and further arguments for its process. Shows its log on failure."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile() as log:
        command = [*map(str, server.command(port, workers, Path(directory)))]
        ours = {"HEALTHCHECKS": server.checks, "PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            yield port, command, {"env": os.environ | ours, "stdin": subprocess.DEVNULL, "stderr": log}
        except ServerFailed as failure:
            log.seek(0)
            sys.exit(f"{server.name}: {failure}: {shlex.join(command)}\n{log.read().decode(errors='replace')}")


class ServerFailed(Exception):
    pass


def wait_for_200(port, process):
    """Connects repeatedly until the answer is a 200."""
    give_up = time.monotonic() + DEADLINE
    while time.monotonic() < give_up:
        with contextlib.suppress(OSError):
            # Python's servers speak HTTP/1.0.
            if re.match(rb"HTTP/1.[01] 200 ", ask(port)):
                return
        if process.poll() is not None:
            raise ServerFailed(f"exited with {process.returncode}")
        time.sleep(0.001)
    raise ServerFailed(f"no 200 within {DEADLINE} s")


def connect(port):
    return socket.create_connection(("127.0.0.1", port), DEADLINE)


def ask(port, request=CLOSING_REQUEST):
    """The whole answer to one request on a connection of its own."""
    with connect(port) as client:
        client.sendall(request)
        answer = b""
        while part := client.recv(65536):
            answer += part
        return answer


def stop(process):
    for order in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, order)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=DEADLINE)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# ---- load ----


KEPT, CLOSED = [], ["-H", "Connection: close"]


def load(port, seconds, options):
    """Loads a server from 16 connections; returns the number of requests, all with good answers."""
    shape = ["-t1", "-c16", f"-d{seconds}s", "--timeout", f"{DEADLINE}s"]
    command = ["wrk", *shape, *options, f"http://127.0.0.1:{port}/"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 3 * DEADLINE).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        sys.exit(f"not every request was answered well:\n{output}")
    return int(re.search(r"(\d+) requests in ", output)[1])
