"""Collect healthchecks, and run them in a shell: ``python -m hospital.cli NAME…``."""
from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import unittest
from typing import Any, Callable, Iterable, Iterator, List, NoReturn, Optional, Sequence, TextIO, Type

from hospital import _tests, _text
from hospital.core import WarningReason
from hospital.loading import HealthCheckLoader, NotCollected, NotFound

#: The names to collect when none are given: those in the environment, else the working directory.
HEALTHCHECKS: List[str] = os.environ.get('HEALTHCHECKS', '').split() or [os.path.abspath(os.getcwd())]


def base_parser(program: Optional[str]) -> argparse.ArgumentParser:
    """Return the parser of what all command lines have in common."""
    parser = argparse.ArgumentParser(prog=program, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        'healthchecks',
        nargs='*',
        help='What to collect: dotted names of modules, packages, classes, methods or functions, or folders. '
        'By default what HEALTHCHECKS in the environment names, else the working directory.',
    )
    return parser


def cli_parser(program: Optional[str]) -> argparse.ArgumentParser:
    """Return the parser of `hospital.cli`."""
    parser = base_parser(program)
    parser.add_argument('-v', '--verbose', action='store_true', default=False, help='Verbose output.')
    return parser


class HealthCheckTextResult(unittest.TextTestResult):
    """unittest's result, and the checks that warn."""

    def __init__(self, stream: Any, descriptions: bool, verbosity: int, **kwargs: Any) -> None:
        super().__init__(stream, descriptions, verbosity, **kwargs)
        #: The tests that warn, and why.
        self.warned: List[Any] = []

    def getDescription(self, test: unittest.TestCase) -> str:
        title = self.descriptions and test.shortDescription()
        return '\n'.join(map(_text.line, [str(test), title] if title else [str(test)]))

    def printErrorList(self, flavour: str, errors: Iterable[Any]) -> None:
        super().printErrorList(flavour, [(test, _text.lines(why)) for test, why in errors])

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        if not isinstance(reason, WarningReason):
            return super().addSkip(test, reason)
        self.warned.append((test, f'{reason}\n'))
        self.stream.write('WARN\n' if self.showAll else 'w')
        self.stream.flush()

    def printErrors(self) -> None:
        super().printErrors()
        self.printErrorList('WARN', self.warned)


class HealthCheckTextRunner(unittest.TextTestRunner):
    """unittest's runner, whose last line counts the checks that warn, too."""

    def __init__(self, stream: Any = None, *args: Any, **kwargs: Any) -> None:
        self._verdict = _Verdict(stream or sys.stderr)
        super().__init__(self._verdict, *args, **kwargs)

    def _makeResult(self) -> Any:
        result = super()._makeResult()
        self._verdict.warned = getattr(result, 'warned', [])
        return result


class _Verdict:
    """A stream in which `OK` is followed by how many checks warn: unittest's runner writes that line itself."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._follows = False
        self.warned: List[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> Any:
        warnings = f'warnings={len(self.warned)}'
        if self._follows and self.warned:
            # What else there is to count, or the end of the line.
            text = f'{text[:-1]}, {warnings})' if text.startswith(' (') else f' ({warnings}){text}'
        # Newer ones of Python colour it.
        self._follows = re.sub(r'\x1b\[[\d;]*m', '', text) in ('OK', 'FAILED')
        return self._stream.write(text)


class FixtureExits(RuntimeError):
    """A fixture ends the program, or would."""


class ProcessExit(RuntimeError):
    """What `os._exit` raises within `exits_refused`."""


@contextlib.contextmanager
def exits_refused() -> Iterator[None]:
    """Meanwhile `os._exit` is an error of whoever calls it: it would end the program, and with the code 0 as if all were well."""
    exit_now, pid = os._exit, os.getpid()

    def refuse(code: int) -> NoReturn:
        if os.getpid() != pid:
            # That of a fork is its own.
            exit_now(code)
        raise ProcessExit(f'it calls os._exit({code})')

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = exit_now


class HealthCheckProgram:
    """Collects healthchecks, and runs them in a shell.

    `discover` has dotted names and folders, `names` has dotted names, `modules` has modules, and `test_cases` has classes.
    """

    def __init__(
        self,
        discover: Iterable[str] = (),
        names: Iterable[str] = (),
        modules: Iterable[Any] = (),
        test_cases: Iterable[Type[unittest.TestCase]] = (),
        runner: Any = None,
        loader: Optional[unittest.TestLoader] = None,
        result_class: Any = None,
        verbosity: int = 1,
        failfast: bool = False,
        stream: Optional[TextIO] = None,
    ) -> None:
        self.discover = list(discover)
        self.names = list(names)
        self.modules = list(modules)
        self.test_cases = list(test_cases)
        self.verbosity = verbosity
        self.failfast = failfast
        self.result_class = result_class or self.default_result_class()
        self.loader = loader or self.default_loader()
        self.runner = runner or self.default_runner(
            verbosity=self.verbosity, failfast=self.failfast, result_class=self.result_class, stream=stream
        )

    def default_loader(self) -> unittest.TestLoader:
        """Return the loader to use where none is given."""
        return HealthCheckLoader()

    def default_runner(
        self,
        verbosity: int = 1,
        failfast: bool = False,
        result_class: Any = unittest.TextTestResult,
        stream: Optional[TextIO] = None,
    ) -> Any:
        """Return the runner to use where none is given."""
        return HealthCheckTextRunner(verbosity=verbosity, failfast=failfast, resultclass=result_class, stream=stream)

    def default_result_class(self) -> Any:
        """Return the class of results to use where none is given."""
        return HealthCheckTextResult

    def load_tests(self) -> unittest.TestSuite:
        """Return the suite of what was named. What collects nothing is an error in it."""
        loader = self.loader
        suite = loader.suiteClass()
        for start_dir in self.discover:
            suite.addTest(self._load(start_dir, lambda: loader.discover(start_dir, pattern='*')))
        for name in self.names:
            suite.addTest(self._load(name, lambda: loader.loadTestsFromNames([name])))
        for module in self.modules:
            suite.addTest(self._load(module.__name__, lambda: loader.loadTestsFromModule(module)))
        for case in self.test_cases:
            suite.addTest(self._load(case.__qualname__, lambda: loader.loadTestsFromTestCase(case)))
        if not (self.discover or self.names or self.modules or self.test_cases):
            suite.addTest(NotCollected('hospital', NotFound('no healthchecks are named')))
        return suite

    def _load(self, name: str, load: Callable[[], unittest.TestSuite]) -> unittest.TestSuite:
        try:
            suite = load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return unittest.TestSuite([NotCollected(name, error)])
        if not suite.countTestCases():
            why = NotFound(f'there is no healthcheck in {name}: mark what is one with @healthcheck')
            return unittest.TestSuite([NotCollected(name, why)])
        return suite

    def run_tests(self, test_suite: unittest.TestSuite) -> Any:
        """Run the suite, and return its result."""
        try:
            return self.runner.run(test_suite)
        except (Exception, KeyboardInterrupt):
            raise
        except BaseException as end:
            # unittest lets it through in the fixtures of classes and modules, and the code of an exit may be 0.
            raise FixtureExits(f'a fixture of a class or a module exits the program: {end!r}{_tests.place(end)}') from end

    def __call__(self) -> Any:
        """Collect and run, and return the result."""
        return self.run_tests(self.load_tests())


def import_from_working_directory() -> None:
    """Let modules in the working directory be imported, as `python -m` does: a script has its own folder on the path."""
    with contextlib.suppress(OSError):  # It may be gone.
        folder = os.getcwd()
        if folder not in sys.path and '' not in sys.path:
            # With PYTHONSAFEPATH, what is there takes the place of nothing that is installed.
            sys.path.insert(len(sys.path) if getattr(sys.flags, 'safe_path', False) else 0, folder)


def refuse_unknown_names(parser: argparse.ArgumentParser, suite: unittest.TestSuite) -> None:
    """Exit with 2 and a line for each name that collected nothing."""
    unknown = [test for test in _flat(suite) if isinstance(test, NotCollected) and isinstance(test.why, NotFound)]
    if unknown:
        parser.exit(2, ''.join(_text.line(f'{parser.prog}: {test}: {test.why}') + '\n' for test in unknown))


def _flat(suite: unittest.TestSuite) -> Iterator[Any]:
    for test in suite:
        yield from _flat(test) if isinstance(test, unittest.TestSuite) else (test,)


def main(program: Optional[str] = None, args: Optional[Sequence[str]] = None, stream: Optional[TextIO] = None) -> NoReturn:
    """Collect and run healthchecks, write the report, and exit: 0 if all is well, 1 if not, 2 for a name of nothing."""
    parser = cli_parser(program)
    arguments = parser.parse_args(args)
    import_from_working_directory()
    app = HealthCheckProgram(
        discover=arguments.healthchecks or HEALTHCHECKS, stream=stream, verbosity=2 if arguments.verbose else 1
    )
    try:
        with exits_refused():
            suite = app.load_tests()
            refuse_unknown_names(parser, suite)
            result = app.run_tests(suite)
    except FixtureExits as error:
        parser.exit(1, f'{parser.prog}: {error}\n')
    except KeyboardInterrupt as error:
        # A module may raise it, too.
        parser.exit(130, f'{parser.prog}: interrupted{_tests.place(error)}\n')
    sys.exit(0 if result.wasSuccessful() else 1)


if __name__ == '__main__':
    main('python -m hospital.cli')
