"""The marker `healthcheck` of pytest: ``pytest -m healthcheck`` runs healthchecks, ``-m 'not healthcheck'`` leaves them out."""
from __future__ import annotations

from typing import Any, List

import pytest

from hospital.core import is_healthcheck


def pytest_configure(config: pytest.Config) -> None:
    register_healthcheck_marker(config)


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
