"""Healthchecks of installed Python distributions."""
from __future__ import annotations

import unittest
from importlib.metadata import Distribution, distribution
from typing import Optional

from hospital.assertions.packaging import assert_supported_python_version
from hospital.core import healthcheck


@healthcheck
class DistributionHealthCheck(unittest.TestCase):
    """A distribution fits its environment.

    Inherit from it, and set `distribution_name`.
    """

    #: The name of the distribution.
    distribution_name: str = 'hospital'

    #: The distribution, once `setUp` has looked it up.
    distribution: Optional[Distribution] = None

    def get_distribution(self) -> Distribution:
        """Return the installed distribution named `distribution_name`."""
        return distribution(self.distribution_name)

    def setUp(self) -> None:
        """Look up the distribution."""
        self.distribution = self.get_distribution()

    def test_python_version(self) -> None:
        """The distribution supports the Python version it runs on."""
        assert_supported_python_version(self.distribution)
