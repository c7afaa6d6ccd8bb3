"""From names to tests: modules, packages, classes, methods, functions and folders.

What counts is what unittest's own loader takes, as far as it is a healthcheck: the classes of tests in a module's namespace,
defined there or imported. The functions there count likewise. What `load_tests` says of classes counts, and that of a package decides for its modules,
too. In one discovery, a class or function that is found in several modules counts once.
"""
from __future__ import annotations

import contextlib
import copy
import importlib
import os
import pkgutil
import re
import sys
import unittest
import unittest.loader
from types import ModuleType
from typing import Any, Callable, Iterable, Iterator, List, NoReturn, Optional, Sequence, Set, Tuple

from hospital._tests import heed_call, heeded, is_marked
from hospital.core import is_healthcheck

#: What does something when it is imported, and holds no healthchecks.
_NOT_BY_CHANCE = ('__main__.py', 'conftest.py', 'setup.py')

#: How the name of a check begins that the command line `hospital` knows, maybe with a label: `db=tcp://db:5432`.
_SCHEME = re.compile(r'([\w.-]+=)?[a-z]+:')


def is_package(module: ModuleType) -> bool:
    """Return True if module object is a package.

    >>> import hospital
    >>> is_package(hospital)
    True
    >>> import hospital.api
    >>> is_package(hospital.api)
    False

    """
    return hasattr(module, '__path__')


class HealthCheckFunction(unittest.FunctionTestCase):
    """The test that a function is, if it is marked as a healthcheck."""

    def __init__(self, function: Callable[[], Any], module: Optional[str] = None, name: Optional[str] = None) -> None:
        """`module` and `name` say where it was found."""
        super().__init__(function)
        self.is_healthcheck = True  # Not of the class, which itself is not to be collected.
        self._function = function
        # Where it is at home, unless a decorator has taken the place of what it decorates, and has another name.
        home, own = getattr(function, '__module__', None), getattr(function, '__qualname__', None)
        is_at_home = own and getattr(sys.modules.get(home or ''), own, None) is function
        self._module, self._name = (home, own) if is_at_home else (module or home, name or own)

    def id(self) -> str:
        return f'{self._module}.{self._name}'

    __str__ = id

    def shortDescription(self) -> Optional[str]:
        return (self._function.__doc__ or '').strip().split('\n')[0].strip() or None

    def runTest(self) -> None:
        heed_call(self._function, self.id())


class NotCollected(unittest.TestCase):
    """Stands in a suite for what could not be collected. Running it is an error: without it, an empty suite would pass."""

    def __init__(self, name: str, why: BaseException) -> None:
        super().__init__()
        self.is_healthcheck = True
        self._name = name
        #: What running it raises.
        self.why = why

    def id(self) -> str:
        return self._name

    def __str__(self) -> str:
        return self._name

    def shortDescription(self) -> None:
        return None

    def runTest(self) -> NoReturn:
        raise self.why


class HealthCheckLoader(unittest.TestLoader):
    """A loader that loads healthchecks, and nothing else."""

    #: In a discovery, the classes and functions that have been found so far.
    _found: Optional[Set[Any]] = None

    def is_healthcheck(self, value: Any) -> bool:
        """Return True if `value` is a healthcheck, as `hospital.is_healthcheck` says."""
        return is_healthcheck(value)

    def filter_suite(self, suite: Any) -> Any:
        """Return a copy of the suite where only healthchecks remain, beside what could not be loaded."""
        if not isinstance(suite, unittest.TestSuite):
            return heeded(suite) if self._stays(suite) else self.suiteClass()
        kept = copy.copy(suite)  # It may be of a class of its own.
        kept._tests = []
        kept.addTests(self.filter_suite(test) for test in suite if self._stays(test))
        return kept

    def _stays(self, test: Any) -> bool:
        if isinstance(test, unittest.TestSuite) or self.is_healthcheck(test):
            return True
        # unittest defines with its loader what stands for modules that cannot be imported or skip themselves.
        return is_marked(test) or type(test).__module__ == unittest.loader.__name__

    def loadTestsFromTestCase(self, testCaseClass: Any) -> Any:
        """Load the healthchecks of a class of tests."""
        methods = [getattr(testCaseClass, name, None) for name in self.getTestCaseNames(testCaseClass)]
        if not any(map(self.is_healthcheck, [testCaseClass, *methods])):
            # Nor are tests made of it, for which it may want more than the name of a method.
            return self.suiteClass()
        try:
            tests = super().loadTestsFromTestCase(testCaseClass)
        except BaseException as error:
            name = f'{testCaseClass.__module__}.{testCaseClass.__qualname__}'
            tests = self._not_collected(name, f'no tests can be made of {name}', error)
        return self.filter_suite(tests)

    def loadTestsFromModule(self, module: ModuleType, *args: Any, **kwargs: Any) -> Any:
        """Load the healthchecks of a module: its classes, or what its `load_tests` makes of these, and its functions."""
        load_tests = getattr(module, 'load_tests', None)
        # Not `vars`: a module may have a `__dir__` and a `__getattr__` of its own. Classes first, as unittest has them.
        values = [(name, getattr(module, name, None)) for name in dir(module)]
        classes: List[Tuple[Any, Any]] = [(value, self.loadTestsFromTestCase(value)) for _, value in values if _is_class_of_tests(value)]
        functions: List[Tuple[Any, Any]] = [
            (value, HealthCheckFunction(value, module.__name__, name)) for name, value in values if self._is_function(value)
        ]
        if not load_tests:
            return self.filter_suite(self.suiteClass(self._new(classes + functions)))
        try:
            tests = load_tests(self, self.suiteClass(test for _, test in classes), kwargs.get('pattern'))
        except BaseException as error:
            tests = self._not_collected(module.__name__, f'load_tests of {module.__name__} fails', error)
        return self.filter_suite(self.suiteClass([tests, *self._new(functions)]))

    def _new(self, tests: Iterable[Tuple[Any, Any]]) -> Iterator[Any]:
        """The tests of the classes and functions that this discovery has not found before."""
        for value, test in tests:
            if self._found is None:
                yield test
            elif value not in self._found:
                self._found.add(value)
                yield test

    def _is_function(self, value: Any) -> bool:
        others = (type, unittest.TestCase, unittest.TestSuite, unittest.TestLoader)
        return callable(value) and not isinstance(value, others) and self.is_healthcheck(value)

    def loadTestsFromName(self, name: str, module: Optional[ModuleType] = None) -> Any:
        """Load the healthchecks at a dotted name: those of a module or a class, a method or a function."""
        if module is None:
            try:
                parent, value = _find(name)
            except BaseException as error:
                return self._not_collected(name, f'{name} cannot be loaded', error)
            if self._is_function(value) and not isinstance(parent, type):
                return self.suiteClass([HealthCheckFunction(value, parent.__name__, name.rpartition('.')[2])])
        try:
            return self.filter_suite(super().loadTestsFromName(name, module))
        except BaseException as error:
            return self._not_collected(name, f'no test can be made of {name}', error)

    def loadTestsFromNames(self, names: Sequence[str], module: Optional[ModuleType] = None) -> Any:
        """Load the healthchecks at dotted names."""
        return self.filter_suite(super().loadTestsFromNames(names, module))

    def loadTestsFromPackage(self, package: ModuleType) -> Any:
        """Load the healthchecks of a package and, unless its `load_tests` decides, of what is in it."""
        with self._each_once():
            suites = [self.loadTestsFromModule(package)]
            if not hasattr(package, 'load_tests'):
                modules = pkgutil.iter_modules(package.__path__, f'{package.__name__}.')
                names = [module.name for module in modules if not module.name.endswith('.__main__')]
                suites.extend(map(self._load_module, names))
            return self.suiteClass(suites)

    def _load_module(self, name: str) -> Any:
        try:
            module = importlib.import_module(name)
        except BaseException as error:
            return self._not_collected(name, f'{name} cannot be imported', error)
        return self.loadTestsFromPackage(module) if is_package(module) else self.loadTestsFromModule(module)

    def _not_collected(self, name: str, what: str, error: BaseException) -> Any:
        if isinstance(error, KeyboardInterrupt):
            # Somebody wants an end of it all.
            raise error
        if not isinstance(error, unittest.SkipTest):  # As a module does that is not meant for this machine.
            why = ImportError(f'{what}: {type(error).__name__}: {error}')
            why.__cause__ = error
            error = why
        return self.suiteClass([NotCollected(name, error)])

    def discover(self, start_dir: str, pattern: str = '*', top_level_dir: Optional[str] = None) -> Any:
        """Discover the healthchecks at a dotted name or in a folder.

        In a folder, each module is imported whose file matches `pattern`, but for `setup.py`, `conftest.py` and `__main__.py`.

        Raises `ImportError` if there is no such name, nor folder. What cannot be imported because it is broken is in the
        suite instead, as an error.
        """
        with self._each_once():
            if _SCHEME.match(start_dir):
                raise NotFound('it is of a kind that is built in: `hospital check` and `hospital serve` know those')
            if start_dir.startswith('.') or os.sep in start_dir or os.path.isfile(start_dir):
                return self._discover_path(start_dir, pattern, top_level_dir)
            try:
                _, value = _find(start_dir)
            except NotFound:
                if os.path.isdir(start_dir):
                    return self._discover_path(start_dir, pattern, top_level_dir)
                raise
            except BaseException as error:
                return self._not_collected(start_dir, f'{start_dir} cannot be imported', error)
            if not isinstance(value, ModuleType):
                return self.loadTestsFromName(start_dir)
            return self.loadTestsFromPackage(value) if is_package(value) else self.loadTestsFromModule(value)

    def _discover_path(self, path: str, pattern: str, top_level_dir: Optional[str]) -> Any:
        path = os.path.abspath(path)
        if os.path.isfile(path):
            path, pattern = os.path.split(path)
        elif not os.path.isdir(path):
            raise NotFound(f'there is no file or folder {path}')
        elif top_level_dir is None and pattern == '*' and os.path.isfile(os.path.join(path, '__init__.py')):
            return self._discover_package(path)
        self._top_level_dir = None  # That of an earlier discovery would count here too.
        return super().discover(path, pattern, top_level_dir)

    def _discover_package(self, path: str) -> Any:
        """A folder in a package: its modules are imported by their whole names, or they could not import one another."""
        above = path
        names: List[str] = []
        while os.path.isfile(os.path.join(above, '__init__.py')):
            above, name = os.path.split(above)
            names.insert(0, name)
        if above not in sys.path:
            sys.path.insert(0, above)
        return self._load_module('.'.join(names))

    def _match_path(self, path: str, full_path: str, pattern: str) -> bool:
        """Called by unittest with each file that it finds."""
        return path == pattern or (path not in _NOT_BY_CHANCE and super()._match_path(path, full_path, pattern))

    @contextlib.contextmanager
    def _each_once(self) -> Iterator[None]:
        outer = self._found
        self._found = set() if outer is None else outer
        try:
            yield
        finally:
            self._found = outer


class NotFound(ImportError):
    """There is nothing of that name."""


def _is_class_of_tests(value: Any) -> bool:
    bases = (unittest.TestCase, unittest.FunctionTestCase, unittest.IsolatedAsyncioTestCase)
    return isinstance(value, type) and issubclass(value, unittest.TestCase) and value not in bases


def _find(name: str) -> Tuple[Any, Any]:
    """What is at a dotted name, and what that is an attribute of."""
    parts = name.split('.')
    if not all(map(str.isidentifier, parts)):
        raise NotFound(f'{name!r} is neither a dotted name, nor a folder')
    parent: Any = None
    for count in range(len(parts), 0, -1):
        prefix = '.'.join(parts[:count])
        try:
            value: Any = importlib.import_module(prefix)
        except ModuleNotFoundError as error:
            # It is there, and what it imports is not.
            if error.name is None or not f'{prefix}.'.startswith(f'{error.name}.'):
                raise
        else:
            break
    else:
        raise NotFound(f'there is no module {parts[0]} on the path of this Python')
    for part in parts[count:]:
        parent = value
        try:
            value = getattr(parent, part)
        except AttributeError:
            raise NotFound(f'{prefix} has no {part}{_known(parent)}') from None
        prefix = f'{prefix}.{part}'
    return parent, value


def _known(parent: Any) -> str:
    """The names in a module or class that may have been meant."""

    def may_be_meant(name: str) -> bool:
        value = getattr(parent, name, None)
        return _is_class_of_tests(value) or is_healthcheck(value) or (isinstance(parent, type) and name.startswith('test'))

    names: List[str] = [name for name in dir(parent) if may_be_meant(name)]
    if isinstance(parent, ModuleType) and is_package(parent):
        names.extend(module.name for module in pkgutil.iter_modules(parent.__path__))
    return f'; it has {", ".join(sorted(set(names)))}' if names else ''
