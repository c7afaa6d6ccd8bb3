"""The command line: what the scripts ``hospital``, ``hospital-cli`` and ``hospital-serve`` call."""

import os
import signal
import sys
import threading

from hospital import __version__, _native


def main(argv=None):
    """Run the command line with these arguments, or those of the process, and return its exit code."""
    if sys.executable:
        # Checks in Python run in this interpreter, unless another is asked for.
        os.environ.setdefault('HOSPITAL_PYTHON', sys.executable)
    is_main = threading.current_thread() is threading.main_thread()
    # Python's own handler only notes the signal, and nobody would look at the note.
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL) if is_main else None
    try:
        return _native.main(list(sys.argv if argv is None else argv), again(), __version__)
    finally:
        if handler:
            signal.signal(signal.SIGINT, handler)


def again():
    """Return the command line that starts this process anew, as an upgrade does."""
    if not sys.executable:
        return []
    given = getattr(sys, 'orig_argv', None)
    if given is None:
        # Python 3.9.
        with open('/proc/self/cmdline', 'rb') as file:
            given = [os.fsdecode(argument) for argument in file.read().split(b'\0')[:-1]]
    return [sys.executable, *given[1:]]
