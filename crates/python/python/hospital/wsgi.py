"""Collect healthchecks, and run them for each request: ``python -m hospital.wsgi NAME…``, or in a WSGI server.

`application` is the endpoint for WSGI servers. It collects what HEALTHCHECKS names.
"""
from __future__ import annotations

import argparse
import json
import sys
import traceback
import unittest
import unittest.case
import unittest.suite
from collections import Counter
from socketserver import ThreadingMixIn
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, TextIO, Tuple
from wsgiref.simple_server import WSGIServer, make_server

from hospital import _tests
from hospital.cli import (
    HEALTHCHECKS,
    HealthCheckProgram,
    base_parser,
    exits_refused,
    import_from_working_directory,
    refuse_unknown_names,
)
from hospital.core import WarningReason
from hospital.loading import NotFound

DEFAULT_PORT = 1515


class STATUS:
    """What was found."""

    PASS = 'pass'
    WARN = 'warn'
    SKIP = 'skip'
    FAIL = 'fail'
    ERROR = 'error'
    EXPECTED_FAILURE = 'expected_failure'
    UNEXPECTED_SUCCESS = 'unexpected_success'


class HealthCheckResult(unittest.TestResult):
    """What each healthcheck found, in the order in which they ran.

    A test with subtests counts as these, and not as itself too, unless something else is the matter with it.
    """

    def __init__(self) -> None:
        super().__init__()
        #: The tests that passed.
        self.successes: List[Any] = []
        #: Of each test its status, the test, and its reason or exception, if there is one.
        self.results: List[Tuple[str, Any, Any]] = []
        self._has_subtests: Any = None

    def addSuccess(self, test: Any) -> None:
        super().addSuccess(test)
        if test is not self._has_subtests:
            self._add_success(test)

    def _add_success(self, test: Any) -> None:
        self.successes.append(test)
        self.results.append((STATUS.PASS, test, None))

    def addError(self, test: Any, err: Any) -> None:
        super().addError(test, err)
        self.results.append((STATUS.ERROR, test, err))

    def addSkip(self, test: Any, reason: str) -> None:
        if isinstance(reason, WarningReason):
            self.results.append((STATUS.WARN, test, reason))
        else:
            super().addSkip(test, reason)
            self.results.append((STATUS.SKIP, test, reason))
        if isinstance(test, unittest.case._SubTest):
            self._has_subtests = test.test_case

    def addFailure(self, test: Any, err: Any) -> None:
        super().addFailure(test, err)
        self.results.append((STATUS.FAIL, test, err))

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        self._has_subtests = test
        if err is None:
            self._add_success(subtest)
        else:
            status = STATUS.FAIL if issubclass(err[0], test.failureException) else STATUS.ERROR
            self.results.append((status, subtest, err))

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        super().addExpectedFailure(test, err)
        self.results.append((STATUS.EXPECTED_FAILURE, test, err))

    def addUnexpectedSuccess(self, test: Any) -> None:
        super().addUnexpectedSuccess(test)
        self.results.append((STATUS.UNEXPECTED_SUCCESS, test, None))


class HealthCheckRunner:
    """Runs a suite, and writes nothing."""

    def __init__(self, result_class: Any = HealthCheckResult, failfast: bool = False) -> None:
        self.result_class = result_class
        self.failfast = failfast

    def run(self, suite: unittest.TestSuite) -> Any:
        """Run the suite, and return its result."""
        result = self.result_class()
        result.failfast = self.failfast
        try:
            suite.run(result)
        except KeyboardInterrupt:
            raise
        except BaseException:
            # unittest lets an exit through in the fixtures of classes and modules.
            result.addError(unittest.suite._ErrorHolder('a fixture of a class or a module exits'), sys.exc_info())
        return result


class HealthCheckApp(HealthCheckProgram):
    """A WSGI application that collects and runs healthchecks for each request, whatever its path."""

    def default_result_class(self) -> Any:
        return HealthCheckResult

    def default_runner(
        self,
        verbosity: int = 1,
        failfast: bool = False,
        result_class: Any = unittest.TextTestResult,
        stream: Optional[TextIO] = None,
    ) -> Any:
        return HealthCheckRunner(result_class=result_class, failfast=failfast)

    def passed(self, result: Any) -> bool:
        """Return whether nothing failed, erred, or passed unexpectedly."""
        return not (result.errors or result.failures or result.unexpectedSuccesses)

    def title(self, result: Any) -> str:
        """Return 'pass' or 'fail'."""
        return STATUS.PASS if self.passed(result) else STATUS.FAIL

    def summary(self, result: Any) -> Dict[str, int]:
        """Return how many results there are of each status, and in total."""
        count = Counter(status for status, _, _ in result.results)
        summary = {
            STATUS.SKIP: count[STATUS.SKIP],
            STATUS.PASS: count[STATUS.PASS],
            STATUS.EXPECTED_FAILURE: count[STATUS.EXPECTED_FAILURE],
            STATUS.ERROR: count[STATUS.ERROR],
            STATUS.FAIL: count[STATUS.FAIL],
            # Not `testsRun`: a fixture that fails is a result, and so is each subtest.
            'total': len(result.results),
            STATUS.UNEXPECTED_SUCCESS: count[STATUS.UNEXPECTED_SUCCESS],
        }
        if count[STATUS.WARN]:
            summary[STATUS.WARN] = count[STATUS.WARN]
        return summary

    def get_test_title(self, test: Any) -> str:
        """Return the first line of the docstring, else the name of the test."""
        if isinstance(test, unittest.case._SubTest):
            # They all have the docstring of their test.
            return f'{self.get_test_title(test.test_case)} {_tests.clean(test._subDescription())}'
        return _tests.clean(test.shortDescription() or str(test))

    def details(self, result: Any) -> Iterator[Dict[str, str]]:
        """Generate the result of each test."""
        for status, test, found in result.results:
            detail = {'test': self.get_test_title(test), 'status': status}
            if found is not None:
                detail['context'] = _tests.clean(_context(found))
            yield detail

    def __call__(  # type: ignore[override]
        self, environ: Dict[str, Any], start_response: Any
    ) -> Iterable[bytes]:
        method = environ.get('REQUEST_METHOD', 'GET')
        if method not in ('GET', 'HEAD'):
            start_response('405 Method Not Allowed', [('Allow', 'GET, HEAD'), ('Content-Type', 'text/plain')])
            return [b'ask with GET or HEAD\n']
        result = self.run_tests(self.load_tests())
        report = {
            'status': self.title(result),
            'details': list(self.details(result)),
            'summary': self.summary(result),
        }
        body = json.dumps(report, indent=4).encode()
        headers = [
            ('Content-Type', 'application/json; charset=utf-8'),
            ('Content-Length', str(len(body))),
            ('Cache-Control', 'no-store'),
        ]
        start_response('200 OK' if self.passed(result) else '500 Internal Server Error', headers)
        return [] if method == 'HEAD' else [body]


def _context(found: Any) -> str:
    """Why a test has its status, in one paragraph: the reason, or what its exception says, but not its traceback."""
    if not isinstance(found, tuple):
        return str(found)
    kind, value, trace = found
    text = str(value).strip()
    if not issubclass(kind, (AssertionError, NotFound)):
        text = ''.join(traceback.format_exception_only(kind, value)).strip()
    elif not text:
        # Of a bare `assert` the source says more than the exception.
        frames = traceback.extract_tb(trace)
        text = (frames and frames[-1].line) or kind.__name__
    lines = text.splitlines()
    if 'Traceback (most recent call last):' in lines:
        # unittest says like this what cannot be imported.
        text = f'{lines[0]}: {lines[-1]}'
    return text


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f'{port} is not a port: they go from 0 to 65535')
    return port


def wsgi_parser(program: Optional[str] = None) -> argparse.ArgumentParser:
    """Return the parser of `hospital.wsgi`."""
    parser = base_parser(program)
    parser.add_argument(
        '--port', nargs='?', type=_port, const=DEFAULT_PORT, default=DEFAULT_PORT, help='Port for webserver.'
    )
    return parser


def __getattr__(name: str) -> Any:
    """Make `application` when somebody wants it: that may refuse what HEALTHCHECKS names."""
    if name != 'application':
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    globals()[name] = made = _application()
    return made


def _application() -> Any:
    try:
        from hospital import _native  # noqa: F401
    except ImportError:
        # A checkout without the compiled part.
        return HealthCheckApp(discover=HEALTHCHECKS)
    from hospital._mount import application

    return application


class _Server(ThreadingMixIn, WSGIServer):
    """Answers others while a client is slow, or a check."""

    daemon_threads = True


def main(program: Optional[str] = None, args: Optional[Sequence[str]] = None) -> None:
    """Serve healthchecks, until interrupted."""
    parser = wsgi_parser(program)
    arguments = parser.parse_args(args)
    import_from_working_directory()
    app = HealthCheckApp(discover=arguments.healthchecks or HEALTHCHECKS)
    with exits_refused():
        _serve(parser, app, arguments.port)


def _serve(parser: argparse.ArgumentParser, app: HealthCheckApp, port: int) -> None:
    try:
        refuse_unknown_names(parser, app.load_tests())
    except KeyboardInterrupt as error:
        parser.exit(130, f'{parser.prog}: interrupted{_tests.place(error)}\n')
    try:
        httpd = make_server('', port, app, server_class=_Server)
    except OSError as error:
        parser.exit(4, f'{parser.prog}: cannot serve on port {port}: {error.strerror}\n')
    ip, port = httpd.socket.getsockname()[:2]
    print(f'Serving on {ip} port {port}...', flush=True)
    try:
        httpd.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        httpd.server_close()


if __name__ == '__main__':
    main('python -m hospital.wsgi')
