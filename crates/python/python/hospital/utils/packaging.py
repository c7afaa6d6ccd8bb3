"""What the metadata of an installed distribution say.

A distribution is what `importlib.metadata.distribution` returns, or `pkg_resources.get_distribution` where that still
exists.
"""
from __future__ import annotations

import email.parser
import re
import sys
from typing import Any, Dict, Iterable, List, Tuple

_VERSION = re.compile(r'Programming Language :: Python :: (\d+(?:\.\d+)*)')


def get_metadata(distribution: Any) -> Dict[str, List[str]]:
    """Return the metadata of `distribution`: each field with its values.

    >>> from importlib.metadata import distribution
    >>> get_metadata(distribution('pip'))['Name']
    ['pip']

    """
    metadata: Dict[str, List[str]] = {}
    for field, value in _fields(distribution):
        metadata.setdefault(field, []).append(value)
    return metadata


def _fields(distribution: Any) -> Iterable[Tuple[str, str]]:
    if not hasattr(distribution, 'get_metadata'):
        return [(field, str(value)) for field, value in distribution.metadata.items()]
    # An egg has PKG-INFO, a wheel has METADATA.
    for name in ('PKG-INFO', 'METADATA'):
        if distribution.has_metadata(name):
            return email.parser.Parser().parsestr(distribution.get_metadata(name)).items()
    raise FileNotFoundError(f'{distribution} has neither PKG-INFO nor METADATA')


def get_classifiers(distribution: Any) -> List[str]:
    """Return the sorted classifiers of `distribution`."""
    return sorted(get_metadata(distribution).get('Classifier', []))


def get_supported_python_versions(distribution: Any) -> List[str]:
    """Return the Python versions that the classifiers of `distribution` name, oldest first."""
    found = map(_VERSION.fullmatch, get_classifiers(distribution))
    versions = [match.group(1) for match in found if match]
    return sorted(versions, key=lambda version: [int(number) for number in version.split('.')])


def python_runtime_version() -> str:
    """Return the version of the running Python, such as `3.11`."""
    return '{}.{}'.format(*sys.version_info[:2])


def supports_python_version(distribution: Any, version: str) -> bool:
    """Return `True` if `distribution` claims to support Python `version`, such as `3.11`."""
    return version in get_supported_python_versions(distribution)
