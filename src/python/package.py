"""What healthchecks import of the package `hospital`, where that is not installed: marks, and a status of its own."""

import unittest


def is_healthcheck(obj):
    return getattr(obj, "is_healthcheck", None) is True


def healthcheck(test=None, *, timeout=None, tags=None):
    def mark(test):
        if isinstance(test, (staticmethod, classmethod)):
            # Of these, the function is what is found.
            mark(test.__func__)
            return test
        test.is_healthcheck = True
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
    """Distinguishes a warning from a skipped test where a result is told the reason alone."""

    is_healthcheck_warning = True


class Warn(unittest.SkipTest):
    def __str__(self):
        return WarningReason(super().__str__())


def warn(reason):
    """Ends a check that passes for now, though somebody should look."""
    raise Warn(reason)
