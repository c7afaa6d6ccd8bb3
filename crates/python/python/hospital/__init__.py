"""Write healthchecks as you write tests, and run them in a shell, in a test runner or behind an HTTP endpoint."""
from importlib import metadata as _metadata
from typing import Any as _Any

from hospital.api import *  # noqa: F403
from hospital.api import __all__ as __all__

try:
    #: The version of the package.
    __version__: str = _metadata.version('hospital')
except _metadata.PackageNotFoundError:
    # A checkout that is on the path, but not installed.
    __version__ = '0+unknown'


def load_tests(loader: _Any, tests: _Any, pattern: _Any) -> _Any:
    """Of the modules of this package, `healthchecks` alone holds any; others want what may not be installed, such as Django."""
    from hospital.healthchecks import packaging, predictable

    return loader.suiteClass(map(loader.loadTestsFromModule, (packaging, predictable)))
