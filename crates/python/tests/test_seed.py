"""The manual page of hospital 0.9 whose commands the project was founded on: they work as they stand there."""
import json
import re
import select
import subprocess
import time
import urllib.request

import pytest
from conftest import BIN

PREDICTABLE = 'hospital.healthchecks.predictable'
#: What the page shows of the JSON.
PAGE = '''{
    "status": "pass",
    "details": [
        {
            "test": "Health checks are collected.",
            "status": "pass"
        }
    ],
    "summary": {
        "skip": 0,
        "pass": 1,
        "expected_failure": 0,
        "error": 0,
        "fail": 0,
        "total": 1,
        "unexpected_success": 0
    }
}'''


def ran(text, count, ending):
    """Whether a runner says so in the style of the page: a line of marks, a rule, the count, and how it ended."""
    return re.fullmatch(rf'[.sS]*\n-+\nRan {count} tests? in [\d.]+s\n\n{re.escape(ending)}\n', text)


def test_python_m_hospital_cli(shell):
    told = shell('python', '-m', 'hospital.cli', PREDICTABLE)
    assert (told.returncode, told.stdout) == (0, '')
    assert ran(told.stderr, 2, 'OK (skipped=1)'), told.stderr
    told = shell('python', '-m', 'hospital.cli', f'{PREDICTABLE}.ForeverPassingHealthCheck')
    assert ran(told.stderr, 1, 'OK'), told.stderr


def test_python_m_hospital_cli_takes_the_names_from_the_environment(shell):
    told = shell('python', '-m', 'hospital.cli', HEALTHCHECKS=f'{PREDICTABLE} hospital.healthchecks.packaging')
    assert ran(told.stderr, 3, 'OK (skipped=1)'), told.stderr


@pytest.mark.parametrize('program', ['hospital.cli', 'hospital.wsgi'])
def test_help_has_the_usage_and_the_options(shell, program):
    told = shell('python', '-m', program, '--help')
    assert told.returncode == 0
    assert f'usage: python -m {program} [-h]' in told.stdout


def test_nosetests_with_and_without_healthchecks(shell):
    told = shell('nosetests', '--all-modules', '--attr=is_healthcheck', PREDICTABLE)
    assert told.returncode == 0
    assert ran(told.stderr, 2, 'OK (SKIP=1)'), told.stderr
    told = shell('nosetests', '--all-modules', '--attr=!is_healthcheck', 'hospital.healthchecks')
    assert told.returncode == 0
    assert ran(told.stderr, 0, 'OK'), told.stderr


def test_pytest_m_healthcheck(shell):
    told = shell('pytest', '-m', 'healthcheck', '--pyargs', PREDICTABLE)
    assert told.returncode == 0 and '1 passed, 1 skipped' in told.stdout, told.stdout
    told = shell('pytest', '-m', 'not healthcheck', '--pyargs', PREDICTABLE)
    assert '2 deselected' in told.stdout, told.stdout
    assert 'healthcheck: this test is a healthcheck' in shell('pytest', '--markers').stdout


@pytest.fixture
def serve(tmp_path):
    """Starts a server, and returns its address once it has said it."""
    started = []

    def serve(words, pattern, **environment):
        words = [BIN / words[0], *words[1:]]
        server = subprocess.Popen(
            words, cwd=tmp_path, env={'PATH': str(BIN), 'PYTHONWARNINGS': 'ignore', **environment},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        started.append(server)
        until, said = time.monotonic() + 60, []
        while True:
            ready, _, _ = select.select([server.stdout], [], [], max(0, until - time.monotonic()))
            said.append(server.stdout.readline() if ready else '')
            assert said[-1], f'{words} says {"".join(said)}'
            found = re.search(pattern, said[-1])
            if found:
                return f'http://127.0.0.1:{found[1]}/'

    yield serve
    for server in started:
        server.terminate()
        server.wait()
        server.stdout.close()


def test_python_m_hospital_wsgi_serves_what_the_page_shows(serve):
    words = ['python', '-m', 'hospital.wsgi', f'{PREDICTABLE}.ForeverPassingHealthCheck', '--port', '0']
    address = serve(words, r'^Serving on 0\.0\.0\.0 port (\d+)\.\.\.$')
    with urllib.request.urlopen(address, timeout=60) as answer:
        assert answer.status == 200
        assert answer.headers['Content-Type'] == 'application/json; charset=utf-8'
        body = answer.read()
    assert body.decode().strip() == PAGE
    assert json.loads(body)['summary']['total'] == 1
    # As in `curl -X GET -I`, of which the answer to HEAD is the honest form.
    head = urllib.request.Request(address, method='HEAD')
    with urllib.request.urlopen(head, timeout=60) as answer:
        assert int(answer.headers['Content-Length']) == len(body)


def test_a_port_that_is_taken_is_said_in_a_line(serve, shell):
    address = serve(['python', '-m', 'hospital.wsgi', PREDICTABLE, '--port', '0'], r'port (\d+)')
    port = address.rsplit(':', 1)[1].strip('/')
    told = shell('python', '-m', 'hospital.wsgi', PREDICTABLE, '--port', port)
    assert told.returncode == 4
    assert told.stderr == f'python -m hospital.wsgi: cannot serve on port {port}: Address already in use\n'
