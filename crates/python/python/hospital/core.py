"""What a healthcheck is, and how it warns."""
from __future__ import annotations

import unittest
from typing import Any, NoReturn, TypeVar

_Test = TypeVar('_Test')


def is_healthcheck(obj: Any) -> bool:
    """Return `True` if `obj` is a healthcheck.

    >>> from hospital import healthcheck, is_healthcheck
    >>> @healthcheck
    ... def test_dummy():
    ...     pass
    >>> is_healthcheck(test_dummy)
    True

    """
    try:
        return obj.is_healthcheck is True
    except Exception:  # A proxy that stands for nothing now, such as Flask's `request`, raises errors of its own.
        return False


def healthcheck(test: _Test) -> _Test:
    """Make `test` a healthcheck, and return it: a function, a class of tests, or a method of one.

    >>> import unittest
    >>> from hospital import healthcheck, is_healthcheck
    >>> @healthcheck
    ... class DummyTestCase(unittest.TestCase):
    ...     pass
    >>> is_healthcheck(DummyTestCase)
    True

    """
    setattr(test, 'is_healthcheck', True)
    return test


@healthcheck
class HealthCheck(unittest.TestCase):
    """A `unittest.TestCase` that is a healthcheck, as are the classes that inherit from it."""


class WarningReason(str):
    """Why a check warns. It distinguishes a warning from a skipped test where a result is told the reason alone."""


class Warn(unittest.SkipTest):
    """Raised by `warn`.

    Test runners know nothing of warnings. To them it is a skipped test with a reason, which is not a failure either.
    """

    def __str__(self) -> str:
        return WarningReason(super().__str__())


def warn(reason: str) -> NoReturn:
    """End a check that passes for now, though somebody should look: its status is `warn`.

    >>> import hospital
    >>> hospital.warn('the certificate ends in 9 days')
    Traceback (most recent call last):
        ...
    hospital.core.Warn: the certificate ends in 9 days

    """
    raise Warn(reason)
