"""What is said to and heard from other hosts."""
from __future__ import annotations

import subprocess

#: What the system's program says when it got no answer. It exits with other codes when it could not ask.
_NO_ANSWER = 1


def ping(host: str, timeout: float = 30) -> bool:
    """Return `True` if `host` answers a ping within `timeout` seconds.

    Raises `NotImplementedError` if there is no program `ping`, and `OSError` if it could not ask: because the name
    cannot be looked up, or because it may not.
    """
    command = ['ping', '-c', '1', '-q', '-W', str(timeout), '--', host]
    try:
        # Looking up the name takes time too, which the program does not count.
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout + 1)
    except subprocess.TimeoutExpired:
        return False
    except OSError as error:
        raise NotImplementedError("Couldn't run `ping` command.") from error
    if ended.returncode not in (0, _NO_ANSWER):
        raise OSError(ended.stderr.decode(errors='replace').strip() or f'ping exits with {ended.returncode}')
    return ended.returncode == 0
