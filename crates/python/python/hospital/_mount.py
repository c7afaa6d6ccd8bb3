"""The endpoint in an application's own process: ``hospital.wsgi`` and ``hospital.asgi`` answer with it."""

import collections
import contextlib
import functools
import importlib
import logging
import os
import sys
import time
import unittest
from http.client import responses
from urllib.parse import quote_from_bytes

from hospital import _native, _tests, _threads

# What need not be quoted in a path.
SAFE = "/:@!$&'()*+,;=-._~"
# How long the import of a name may hold up the requests that need it.
IMPORT_LIMIT = 10
# How long one that goes on may hold up a request: less than the timeout of a check.
PATIENCE = 4
# What cannot be imported is tried again after so many times the time that the last attempt took.
RETRY = 10
_tests.OURS += (__file__,)
CLASS_FIXTURES = ('setUpClass', 'tearDownClass')


class Application:
    """A WSGI application. Its arguments are those of :class:`Mount`."""

    def __init__(self, names=None, **settings):
        self.mount = Mount(names, **settings)

    def __call__(self, environ, start_response):
        """Answer a request."""
        method = environ['REQUEST_METHOD']
        fields = [(name[5:].replace('_', '-'), value) for name, value in environ.items() if name.startswith('HTTP_')]
        asked = method, target(environ), fields
        status, fields, body = _threads.apart(lambda: self.mount.endpoint()(*asked))
        fields.append(('Content-Length', str(len(body))))
        start_response(f'{status} {responses.get(status, "Unknown")}', fields)
        return [] if method == 'HEAD' else [body]


def target(environ):
    """Return the target of a request, whose path WSGI has decoded."""
    path = quote_from_bytes((environ.get('PATH_INFO') or '/').encode('latin-1'), SAFE)
    query = environ.get('QUERY_STRING')
    return f'{path}?{query}' if query else path


def words(names):
    """Return names as a list: text has them with spaces between, as in HEALTHCHECKS."""
    if isinstance(names, str):
        return names.split()
    if not isinstance(names, (list, tuple, set, frozenset)) or not all(isinstance(name, str) for name in names):
        raise ValueError(f'HEALTHCHECKS names checks in a text or a list of texts: not {names!r}')
    return list(names)


class Mount:
    """The endpoint for these names, or those in HEALTHCHECKS, with the settings of ``hospital serve`` as keywords.

    It has threads, so each process makes its own when its first request arrives: a server may fork until then.
    """

    def __init__(self, names=None, **settings):
        settings = [f'--{name.replace("_", "-")}={value}' for name, value in settings.items()]
        if names is None:
            names = []
        elif not names:
            raise ValueError('there is nothing to check: no names are given')
        # What is wrong with the settings is said before anything is served.
        self._plan = _native.Plan([*settings, '--', *words(names)])
        self._plan_of_refusal = _native.Plan([*settings, '--', f'python:{Refusal.NAME}'])
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self):
        self._lock = _threads.lock()
        self._made = None

    def made(self):
        """Return the endpoint of this process, or None if it has yet to be made."""
        made = self._made
        return made and not made[0].is_outdated and made[1] or None

    def endpoint(self):
        """Return the endpoint of this process. To make it, modules are imported, for a limited time."""
        endpoint = self.made()
        if endpoint:
            return endpoint
        with self._lock:
            if not self.made():
                tests = Tests()
                try:
                    self._made = tests, _native.Endpoint(self._plan, tests)
                except ValueError as error:
                    logging.getLogger('hospital').error('%s', error)
                    refusal = Refusal(error)
                    self._made = refusal, _native.Endpoint(self._plan_of_refusal, refusal)
            return self._made[1]

    def drain(self):
        """Make `/readyz` fail from now on: the program is about to end."""
        _threads.apart(self.endpoint).drain()


class Tests:
    """The tests in Python of one endpoint: the native part asks it for those at a name, and to run one."""

    def __init__(self):
        #: Whether something can be imported by now that could not be before.
        self.is_outdated = False
        self._checks = {}
        self._locks = collections.defaultdict(_threads.lock)

    def collect(self, name):
        """Return the checks at a name, each as ``(id, title, timeout, tags)``."""
        attempt = Import(functools.partial(find, name))
        if not attempt.is_over(IMPORT_LIMIT):
            checks = [_tests.broken(name, _tests.Refused('importing it takes long'))]
        elif attempt.error:
            checks = [_tests.broken(name, attempt.error)]
        else:
            checks = attempt.found
        for check in checks:
            # A name, or a module of a package whose others can be imported.
            is_name = checks is not attempt.found and not isinstance(check.error, unittest.SkipTest)
            if is_name or isinstance(check.error, _tests.NotImported):
                check.test = Later(
                    check.id,
                    attempt if is_name else Import(functools.partial(importlib.import_module, check.id)),
                    self,
                )
            self._checks[check.id] = check
        return [(_tests.clean(check.id), check.title, check.timeout, check.tags) for check in checks]

    def run(self, id, reply):
        """Run a test on a thread of its own, which replies with its status and what there is to say."""
        _threads.start(self._run, self._checks[id].test, reply, name=f'healthcheck {id}')

    def _run(self, test, reply):
        try:
            with contextlib.ExitStack() as held:
                for owner in owners_of_fixtures(test):
                    held.enter_context(self._locks[owner])
                found = run(test)
        except BaseException as error:
            # Whatever it is, somebody waits for an answer.
            found = 'error', repr(error)
        reply(*found)
        database = sys.modules.get('django.db')
        if database:
            # The connections of this thread, which ends.
            database.connections.close_all()


class Refusal:
    """In the place of tests, where nothing can be collected: one that is an error. Soon after, it is tried again."""

    NAME = 'hospital.sources'

    def __init__(self, error):
        self._error = str(error)
        self._again = time.monotonic() + 1

    @property
    def is_outdated(self):
        """Whether it is to be tried again."""
        return time.monotonic() >= self._again

    def collect(self, name):
        """Return the one."""
        return [(name, 'Healthchecks can be collected', None, [])]

    def run(self, id, reply):
        """Say what is wrong."""
        reply('error', self._error)


class Later(unittest.TestCase):
    """Stands for what cannot be imported: an error, until it can be."""

    def __init__(self, name, attempt, tests):
        super().__init__()
        self.name, self.attempt, self.tests = name, attempt, tests

    def id(self):
        """Return the name."""
        return self.name

    def runTest(self):
        """Try again, unless that was done just now."""
        if self.attempt.is_to_be_repeated():
            self.attempt = Import(self.attempt.load)
        if not self.attempt.is_over(PATIENCE):
            raise _tests.Refused(f'importing {self.name} takes long, and goes on')
        if self.attempt.error:
            raise self.attempt.error.with_traceback(self.attempt.trace)
        self.tests.is_outdated = True
        raise _tests.Refused(f'{self.name} could not be imported before, and can be now: the next answer has its checks')


class Import:
    """An attempt to import something, on a thread, as it may take its time."""

    def __init__(self, load):
        self.load = load
        self.found = self.error = self.trace = None
        self.again = 0
        self._over = _threads.End()
        _threads.start(self._try, name='healthchecks import')

    def _try(self):
        began = time.monotonic()
        try:
            self.found = self.load()
        except BaseException as error:
            # SystemExit, too, is one of the module's.
            self.error, self.trace = error, error.__traceback__
        now = time.monotonic()
        self.again = now + RETRY * (now - began)
        self._over.come()

    def is_over(self, limit):
        """Wait for its end so many seconds."""
        return self._over.wait(limit)

    def is_to_be_repeated(self):
        """Return whether it has failed, a while ago."""
        return self._over.has_come() and self.error is not None and time.monotonic() >= self.again


def find(name):
    """Return the healthchecks at a name. Django has to be told of its settings before its models are imported."""
    if os.environ.get('DJANGO_SETTINGS_MODULE'):
        import django.apps

        if not django.apps.apps.apps_ready:
            django.setup()
    if os.getcwd() not in sys.path:
        # Programs such as chaussette do not put it there.
        sys.path.append(os.getcwd())
    return _tests.find(name)


def owners_of_fixtures(test):
    """Return the module and class whose fixtures a test has: no two tests may use them at once."""
    cls = type(test)
    module = sys.modules.get(cls.__module__)
    owners = [module] if hasattr(module, 'setUpModule') or hasattr(module, 'tearDownModule') else []
    is_own = [getattr(cls, name).__func__ is not getattr(unittest.TestCase, name).__func__ for name in CLASS_FIXTURES]
    return [*owners, cls] if any(is_own) else owners


def run(test):
    """Run a test with the fixtures of its class and module, and return its status, what there is to say, and its parts."""
    result = _tests.Result()
    unittest.TestSuite([test]).run(result)
    found = result.sum()
    context = '\n\n'.join(filter(None, (found.get('message'), found.get('trace')))) or None
    return found['status'], context, [(part['title'], part['status'], part['context']) for part in found.get('parts', [])]


application = Application()
