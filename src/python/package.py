"""What healthchecks need of the package `hospital` where it is not installed: marks, and a status of their own."""

import unittest


def is_healthcheck(thing):
    return getattr(thing, "is_healthcheck", None) is True


def healthcheck(thing=None, *, timeout=None, tags=None):
    """Marks a class, a method or a function as a healthcheck; plain, or with options."""

    def mark(thing):
        thing.is_healthcheck = True
        if timeout is not None:
            thing.timeout = timeout
        if tags is not None:
            thing.tags = list(tags)
        return thing

    return mark if thing is None else mark(thing)


@healthcheck
class HealthCheck(unittest.TestCase):
    pass


class HealthCheckWarning(Exception):
    """Nothing is wrong yet, but somebody should look."""

    is_healthcheck_warning = True


def warn(message):
    """Ends the check with a warning."""
    raise HealthCheckWarning(message)
