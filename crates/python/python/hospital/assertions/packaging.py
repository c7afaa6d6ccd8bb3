"""Assertions about Python distributions."""
from __future__ import annotations

from typing import Any, Optional

from hospital.utils.packaging import get_metadata, python_runtime_version, supports_python_version


def assert_supported_python_version(distribution: Any, version: Optional[str] = None, msg: Optional[str] = None) -> None:
    """Assert that `distribution` claims to support Python `version`, by default the running one.

    >>> from importlib.metadata import distribution
    >>> from hospital import assert_supported_python_version
    >>> assert_supported_python_version(distribution('pip'), '2.6')
    Traceback (most recent call last):
        ...
    AssertionError: the distribution pip does not claim support of Python version 2.6

    """
    if version is None:
        version = python_runtime_version()
    if not supports_python_version(distribution, version):
        name = get_metadata(distribution).get('Name', [str(distribution)])[0]
        raise AssertionError(msg or f'the distribution {name} does not claim support of Python version {version}')
