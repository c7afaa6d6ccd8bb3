"""A plugin of nose: what a healthcheck returns counts as it does elsewhere."""
from __future__ import annotations

import functools
from typing import Any

from hospital._tests import heed_call, heeded, is_marked
from hospital.core import is_healthcheck


class HealthChecks:
    """It is always on: nose itself passes a check of which nothing has run."""

    name = 'healthchecks'
    enabled = True
    score = 1

    def addOptions(self, parser: Any, env: Any) -> None:
        """There are none."""

    def configure(self, options: Any, config: Any) -> None:
        """Nor is there anything to configure."""

    def prepareTestCase(self, test: Any) -> None:
        """Called with each test before it runs; `test.test` is that of unittest, or what nose makes of a function."""
        inner = test.test
        function = getattr(inner, 'test', None)
        if is_healthcheck(function):
            inner.runTest = functools.partial(heed_call, functools.partial(function, *inner.arg), inner.id())
        elif is_marked(inner):
            heeded(inner)
