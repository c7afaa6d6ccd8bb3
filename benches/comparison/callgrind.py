"""Instructions in user space per request, counted by valgrind's callgrind."""

import collections
import re
import tempfile
from pathlib import Path

from .servers import REQUEST, connect, running

# Two runs that differ only in their length: the difference is the cost of the requests.
SHORT, LONG = 100, 600


def per_request(server):
    """How many instructions a request on a kept connection takes, by object and function."""
    short, long = (of_worker(server, requests) for requests in (SHORT, LONG))
    counts = {function: (count - short[function]) / (LONG - SHORT) for function, count in long.items()}
    return {function: count for function, count in counts.items() if count > 0}


def of_worker(server, requests):
    """The instructions of the only worker from its start to its end, by object and function."""
    with tempfile.TemporaryDirectory() as directory:
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={directory}/%p", "--compress-strings=no"]
        with running(server, workers=1, under=valgrind) as process:
            worker = process.worker()
            with connect(process.port) as client:
                for _ in range(requests):
                    client.sendall(REQUEST)
                    head, _, body = client.recv(65536).partition(b"\r\n\r\n")
                    # Over loopback, an answer that is written at once arrives in one piece.
                    length = int(re.search(rb"\r\nContent-Length: (\d+)", head)[1])
                    assert head.startswith(b"HTTP/1.1 200 ") and len(body) == length, head
        return parse((Path(directory) / str(worker)).read_text())


def parse(profile):
    """The self cost of each function: the lines below its `fn=`, except those announced by `calls=`."""
    costs = collections.Counter()
    thing, function, callee = "", "", False
    for line in profile.splitlines():
        if line.startswith("ob="):
            thing = line[3:].rsplit("/", 1)[-1]
        elif line.startswith("fn="):
            function = line[3:]
        elif line.startswith("calls="):
            callee = True
        elif re.match(r"[+\-*\d]", line):
            if not callee:
                costs[thing, function] += int(line.split()[1])
            callee = False
    return costs
