"""The marker `healthcheck` of pytest: ``pytest -m healthcheck`` runs healthchecks, ``-m 'not healthcheck'`` leaves them out.

What a healthcheck returns counts as it does elsewhere: pytest itself passes one of which nothing has run.
"""
from __future__ import annotations

import functools
import inspect
import unittest
from typing import Any, List, Optional

import pytest

from hospital._tests import heed_call, heeded
from hospital.core import is_healthcheck


def pytest_configure(config: pytest.Config) -> None:
    register_healthcheck_marker(config)


def pytest_pycollect_makeitem(collector: Any, name: str, obj: Any) -> Optional[pytest.Item]:
    """Collect functions that are healthchecks, whatever they are called. pytest would not run a generator."""
    is_ours = isinstance(collector, pytest.Module) and inspect.isfunction(obj) and is_healthcheck(obj)
    if not is_ours or (collector.funcnamefilter(name) and not inspect.isgeneratorfunction(obj)):
        return None
    return pytest.Function.from_parent(collector, name=name)


@pytest.hookimpl(tryfirst=True)  # `-m` selects by the markers that are there by then.
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: List[Any]) -> None:
    """Mark what is a healthcheck."""
    for item in items:
        if _is_ours(item):
            item.add_marker('healthcheck')


def _is_ours(item: Any) -> bool:
    # Other items, such as those of doctests, have neither.
    return is_healthcheck(getattr(item, 'cls', None)) or is_healthcheck(getattr(item, 'function', None))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: Any) -> None:
    """Heed what a test of unittest returns."""
    test = getattr(item, '_testcase', None) or getattr(item, 'instance', None)
    if isinstance(test, unittest.TestCase) and _is_ours(item):
        heeded(test)


def pytest_pyfunc_call(pyfuncitem: Any) -> Optional[bool]:
    """Call a function, which may be `async`, and heed what it returns."""
    if not _is_ours(pyfuncitem):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    heed_call(functools.partial(pyfuncitem.obj, **arguments), pyfuncitem.nodeid)
    return True


def register_healthcheck_marker(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line('markers', 'healthcheck: this test is a healthcheck, about the world and not about the code.')
