"""The marker `healthcheck` of pytest: ``pytest -m healthcheck`` runs healthchecks, ``-m 'not healthcheck'`` leaves them out."""
from __future__ import annotations

import inspect
from typing import Any, List, Optional

import pytest

from hospital.core import is_healthcheck


def pytest_configure(config: pytest.Config) -> None:
    register_healthcheck_marker(config)


def pytest_pycollect_makeitem(collector: Any, name: str, obj: Any) -> Optional[pytest.Item]:
    """Collect functions that are healthchecks, whatever they are called."""
    is_ours = isinstance(collector, pytest.Module) and inspect.isfunction(obj) and is_healthcheck(obj)
    if not is_ours or collector.funcnamefilter(name):
        return None
    return pytest.Function.from_parent(collector, name=name)


@pytest.hookimpl(tryfirst=True)  # `-m` selects by the markers that are there by then.
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: List[Any]) -> None:
    """Mark what is a healthcheck."""
    for item in items:
        # Other items, such as those of doctests, have neither.
        if is_healthcheck(getattr(item, 'cls', None)) or is_healthcheck(getattr(item, 'function', None)):
            item.add_marker('healthcheck')


def register_healthcheck_marker(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line('markers', 'healthcheck: this test is a healthcheck, about the world and not about the code.')
