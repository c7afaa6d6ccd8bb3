"""What the kernel reports about a process and all its descendants."""

import re
import time
from pathlib import Path


def tree(pid):
    """The process and all its descendants."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from tree(int(child))


def threads(pid):
    for process in tree(pid):
        yield from Path(f"/proc/{process}/task").iterdir()


def cpu_time(pid):
    """User and system time, in ns. From schedstat, because the times in stat are in whole clock ticks."""
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads(pid))


def pss(pid):
    """Memory in KiB; a page that n processes share counts 1/n in each."""
    rollups = (Path(f"/proc/{process}/smaps_rollup").read_text() for process in tree(pid))
    return sum(int(re.search(r"^Pss:\s+(\d+)", rollup, re.M)[1]) for rollup in rollups)


def wake_ups(pid):
    """How often threads of the tree went to sleep, which is how often they were woken."""
    statuses = ((thread / "status").read_text() for thread in threads(pid))
    return sum(int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.M)[1]) for status in statuses)


def settled(value, deadline=10):
    """The value once it has stopped changing: workers may still be starting after the first answer."""
    give_up = time.monotonic() + deadline
    before = value()
    while time.monotonic() < give_up:
        time.sleep(0.3)
        now = value()
        if now == before:
            break
        before = now
    return before
