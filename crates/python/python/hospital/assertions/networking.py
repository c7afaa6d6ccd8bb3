"""Assertions about hosts."""
from __future__ import annotations

from typing import Optional

from hospital.utils.networking import ping


def assert_ping(host: str, timeout: float = 1, msg: Optional[str] = None) -> None:
    """Assert that `host` answers a ping within `timeout` seconds.

    >>> from hospital import assert_ping
    >>> assert_ping('localhost')

    """
    if not ping(host, timeout):
        raise AssertionError(msg or f'Failed to ping {host} within {timeout} s.')
