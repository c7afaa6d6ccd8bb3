"""What a healthcheck is, and how it warns."""
from __future__ import annotations

import unittest
from datetime import timedelta
from typing import Any, Callable, Iterable, Iterator, NoReturn, TypeVar, Union, overload

from hospital import _tests

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


@overload
def healthcheck(test: _Test) -> _Test: ...
@overload
def healthcheck(*, timeout: Union[float, timedelta, None] = ..., tags: Iterable[str] = ...) -> Callable[[_Test], _Test]: ...
def healthcheck(test: Any = None, *, timeout: Any = None, tags: Any = None) -> Any:
    """Make `test` a healthcheck, and return it: a function, a class of tests, or a method of one.

    >>> import unittest
    >>> from hospital import healthcheck, is_healthcheck
    >>> @healthcheck
    ... class DummyTestCase(unittest.TestCase):
    ...     pass
    >>> is_healthcheck(DummyTestCase)
    True

    The endpoint also knows how long it may take, in seconds or as a `timedelta`, and its tags. A method's own count more than
    those of its class.

    >>> @healthcheck(timeout=2, tags=['readiness'])
    ... def test_database():
    ...     pass
    >>> is_healthcheck(test_database)
    True

    """
    # Whoever collects it would refuse these, too, and does not know the line.
    _tests.seconds(timeout)
    tags = tags if tags is None else _tests.words(list(tags) if isinstance(tags, Iterator) else tags)

    def mark(test: Any) -> Any:
        if isinstance(test, (staticmethod, classmethod)):
            # Of these, the function is what is found.
            mark(test.__func__)
            return test
        setattr(test, 'is_healthcheck', True)
        if timeout is not None:
            test.timeout = timeout
        if tags is not None:
            test.tags = tags
        return test

    return mark if test is None else mark(test)


@healthcheck
class HealthCheck(unittest.TestCase):
    """A `unittest.TestCase` that is a healthcheck, as are the classes that inherit from it."""


class WarningReason(str):
    """Why a check warns. It distinguishes a warning from a skipped test where a result is told the reason alone."""

    is_healthcheck_warning = True


class Warn(unittest.SkipTest):
    """Raised by `warn`.

    Test runners know nothing of warnings. To them it is a skipped test with a reason, which is not a failure either.
    """

    is_healthcheck_warning = True

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
