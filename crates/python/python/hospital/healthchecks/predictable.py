"""Healthchecks whose result is known beforehand: they show that collecting, running and reporting work."""
import unittest

from hospital.core import healthcheck


@healthcheck
class ForeverPassingHealthCheck(unittest.TestCase):
    """A healthcheck that always passes.

    If it is not collected, the setup is at fault: most likely the names in ``HEALTHCHECKS``.
    """

    def test_true(self) -> None:
        """Health checks are collected."""
        self.assertTrue(True)


@healthcheck
class ForeverSkippedHealthCheck(unittest.TestCase):
    """A healthcheck that is always skipped."""

    def test_skip(self) -> None:
        """Health checks can be skipped."""
        self.skipTest('This healthcheck is always skipped, just to make sure healthchecks can be skipped.')
