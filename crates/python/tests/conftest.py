"""What the tests have in common: modules of healthchecks, a shell, and the report of an application."""
import importlib
import itertools
import json
import os
import pathlib
import subprocess
import sys
import textwrap

import pytest

#: Where the programs are that were installed with the package.
BIN = pathlib.Path(sys.executable).parent
_numbers = itertools.count()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Makes a module, or one in a package, and returns its name; no two tests have the same."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(text, name=None):
        name = name or f'checks{next(_numbers)}'
        path = tmp_path.joinpath(*name.split('.')).with_suffix('.py')
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in itertools.takewhile(lambda folder: folder != tmp_path, path.parents):
            folder.joinpath('__init__.py').touch()
        path.write_text('import unittest\nimport hospital\nfrom hospital import healthcheck\n' + textwrap.dedent(text))
        importlib.invalidate_caches()
        return name

    return make


@pytest.fixture
def shell(tmp_path):
    """Runs a program in an empty folder, as a user who has just installed the package."""

    def run(*words, **environment):
        words = [BIN / words[0] if (BIN / words[0]).exists() else words[0], *words[1:]]
        unset = ('HEALTHCHECKS', 'PYTHONPATH', 'PYTEST_ADDOPTS')
        env = {name: value for name, value in os.environ.items() if name not in unset}
        env.update({'PYTHONWARNINGS': 'ignore', **environment})
        return subprocess.run(words, cwd=tmp_path, env=env, text=True, capture_output=True, timeout=120)

    return run


@pytest.fixture
def ask():
    """Asks a WSGI application, as a server does that checks what it is given."""
    from wsgiref.validate import validator
    from wsgiref.util import setup_testing_defaults

    def ask(app, **environ):
        setup_testing_defaults(environ)
        environ.setdefault('QUERY_STRING', '')
        told = {}

        def start_response(status, headers, exc_info=None):
            told.update(status=int(status.split()[0]), headers=dict(headers))
            return lambda data: None

        answer = validator(app)(environ, start_response)
        body = b''.join(answer)
        answer.close()
        return Answer(told['status'], told['headers'], body)

    return ask


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def report(self):
        return json.loads(self.body)

    @property
    def found(self):
        """The status of each test by its title."""
        return {detail['test']: detail['status'] for detail in self.report['details']}
