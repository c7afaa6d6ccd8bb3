"""The daemon and the mounts collect what the API of 0.9 collects: one rule, in two pieces of code."""
import importlib.util
import pathlib
import unittest

import pytest

from hospital.loading import HealthCheckLoader

FILE = pathlib.Path(__file__).parents[3] / 'src/python/tests.py'
spec = importlib.util.spec_from_file_location('hospital_helper', FILE)
helper = importlib.util.module_from_spec(spec)
spec.loader.exec_module(helper)

CHECKS = '''
@healthcheck
class Marked(unittest.TestCase):
    def test_one(self): pass
    def test_two(self): pass
class Heir(Marked): pass
class Half(unittest.TestCase):
    @healthcheck
    def test_marked(self): pass
    def test_not(self): pass
@healthcheck
class Waits(unittest.IsolatedAsyncioTestCase):
    async def test_it(self): pass
@healthcheck
def function(): pass
def plain(): pass
'''
FORGETFUL = '''
def forgetful(function):
    def wrapper(): return function()
    return wrapper
'''
LAYOUTS = {
    'a module': {'{0}': CHECKS},
    'what is imported': {'{0}_other': CHECKS, '{0}': 'from {0}_other import *\nfrom hospital.healthchecks.predictable import *'},
    'decorated functions': {
        '{0}_other': FORGETFUL,
        '{0}': 'from {0}_other import forgetful\n@healthcheck\n@forgetful\ndef a(): pass\n@healthcheck\n@forgetful\ndef b(): pass',
    },
    'a package': {'{0}.one': CHECKS, '{0}.deep.two': CHECKS, '{0}.__init__': 'from {0}.one import *\n' + CHECKS},
    'what is broken': {
        '{0}.missing': 'import no_such_module',
        '{0}.exits': 'import sys; sys.exit(0)',
        '{0}.wrong': 'def broken(:',
        '{0}.skips': 'raise unittest.SkipTest("not here")',
        '{0}.__main__': 'raise SystemExit("it was run")',
    },
    'a class that is no healthcheck, and wants more than the name of a method': {
        '{0}': CHECKS + 'class Helper(unittest.TestCase):\n    def __init__(self, shop, street): pass\n    def test_it(self): pass',
    },
    'load_tests': {
        '{0}': CHECKS + 'def load_tests(loader, tests, pattern): return unittest.TestSuite([Marked("test_two")])',
    },
    'load_tests of a package': {
        '{0}.one': CHECKS,
        '{0}.__init__': CHECKS + 'def load_tests(loader, tests, pattern): return tests',
    },
}


def ids(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from ids(test)
        else:
            yield test.id()


def both(name):
    """What either collects: the ids, in order."""
    return sorted(ids(HealthCheckLoader().discover(name))), sorted(check.id for check in helper.find(name))


@pytest.mark.parametrize('layout', LAYOUTS)
def test_both_collect_the_same(module, layout):
    name = module('', None)
    for path, text in LAYOUTS[layout].items():
        module(text.replace('{0}', f'r{name}'), path.format(f'r{name}'))
    ours, theirs = both(f'r{name}')
    assert ours == theirs
    assert len(ours) > 1


@pytest.mark.parametrize('below', ['', '.Marked', '.Marked.test_one', '.function', '.Half', '.Heir.test_two'])
def test_both_know_the_same_names(module, below):
    ours, theirs = both(module(CHECKS) + below)
    assert ours == theirs
    assert ours


def test_both_leave_the_same_alone_in_a_folder(module, tmp_path, monkeypatch):
    module(CHECKS, 'checks_in_a_folder')
    module(CHECKS, 'package_in_a_folder.deep.checks')
    for name in ('setup', 'conftest', '__main__', 'package_in_a_folder.__main__'):
        module('raise SystemExit("it was run")', name)
    (tmp_path / '__init__.py').unlink(missing_ok=True)
    installed = tmp_path / 'venv/lib/python3/site-packages/lib'
    installed.mkdir(parents=True)
    (installed / '__init__.py').write_text('raise SystemExit("it was run")')
    monkeypatch.chdir(tmp_path)
    ours, theirs = both(f'{tmp_path}')
    assert ours == theirs
    assert len(ours) == 14
