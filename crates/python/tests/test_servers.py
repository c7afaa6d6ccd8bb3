"""The endpoint in other programs: in each server of the seed's page, as it is written there, and in today's frameworks."""
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from conftest import BIN
from test_seed import PAGE

PREDICTABLE = 'hospital.healthchecks.predictable'
PASSING = f'{PREDICTABLE}.ForeverPassingHealthCheck'
#: The page's, as a text file.
BODY = PAGE + '\n'
#: How long anything may take that must happen.
PATIENCE = 60


class Server:
    """A server on a socket that the test has made, with whatever it has started."""

    def __init__(self, folder, words, listener, environment):
        self.log = folder / 'server.log'
        self.address = 'http://127.0.0.1:%d' % listener.getsockname()[1] if listener else None
        env = {name: value for name, value in os.environ.items() if not name.startswith(('HOSPITAL_', 'HEALTHCHECKS'))}
        with self.log.open('w') as log:
            self.process = subprocess.Popen(
                [BIN / words[0], *words[1:]],
                cwd=folder,
                env={**env, 'PATH': f'{BIN}:{env["PATH"]}', 'PYTHONWARNINGS': 'ignore', **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()] if listener else [],
                start_new_session=True,
            )

    def get(self, path='/', method='GET', **headers):
        """The status, header fields and body of the answer."""
        request = urllib.request.Request(self.address + path, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read().decode()
        except OSError as error:
            pytest.fail(f'{error}\n{self.log.read_text()}', pytrace=False)

    def until(self, condition):
        """Waits for what must happen."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline or self.process.poll() is not None:
                pytest.fail(f'it does not happen\n{self.log.read_text()}', pytrace=False)
            time.sleep(0.01)

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


@pytest.fixture
def serve(tmp_path):
    """Starts a program: `{fd}` in its words is the number of a listening socket."""
    servers = []

    def serve(*words, listens=True, **environment):
        listener = socket.create_server(('127.0.0.1', 0)) if listens else None
        words = [word.replace('{fd}', str(listener.fileno())) if listens else word for word in words]
        server = Server(tmp_path, words, listener, environment)
        servers.append(server)
        if listener:
            listener.close()
        return server

    yield serve
    for server in servers:
        server.end()


@pytest.fixture
def write(tmp_path):
    """Writes a file of the program."""

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


GUNICORN = ('gunicorn', '--bind', 'fd://{fd}')

# --- the seed's page -----------------------------------------------------------------------------------


@pytest.mark.parametrize('flags', [[], ['--preload'], ['--threads', '4']])
def test_gunicorn_with_4_workers(serve, flags):
    server = serve(*GUNICORN, *flags, '-w', '4', 'hospital.wsgi:application', HEALTHCHECKS=PREDICTABLE)
    status, headers, body = server.get()
    assert (status, headers['Content-Type']) == (200, 'application/json; charset=utf-8')
    assert json.loads(body)['status'] == 'pass'
    status, headers, nothing = server.get(method='HEAD')
    assert (status, nothing, int(headers['Content-Length'])) == (200, '', len(body))


GREENLETS = [
    (*GUNICORN, '-k', 'gevent', '-w', '1', 'hospital.wsgi:application'),
    ('python', '-c', 'import eventlet, socket\neventlet.monkey_patch()\nfrom eventlet import wsgi\nfrom hospital.wsgi import application\n'
     'wsgi.server(socket.socket(fileno={fd}), application)'),
]


@pytest.mark.parametrize('words', GREENLETS, ids=['gevent', 'eventlet'])
def test_where_threads_are_greenlets_a_check_that_waits_is_waited_for_and_holds_up_nobody(serve, write, words):
    write(
        'shop.py',
        'import os, socket, time, hospital\n@hospital.healthcheck\ndef waits():\n    time.sleep(0.05)\n    one, other = socket.socketpair()\n'
        '    one.settimeout(0.05)\n    try: one.recv(1)\n    except OSError: pass\n'
        '@hospital.healthcheck(timeout=50)\ndef goes_on():\n    while not os.path.exists("go"): time.sleep(0.01)\n',
    )
    server = serve(*words, HEALTHCHECKS='shop', PYTHONPATH='.')
    assert server.get('/shop.waits')[0] == 200
    with contextlib.closing(socket.create_connection(server.address[7:].split(':'))) as waiting:
        waiting.sendall(b'GET /shop.goes_on HTTP/1.0\r\n\r\n')
        assert server.get('/livez')[0] == 200
        write('go', '')
        waiting.settimeout(PATIENCE)
        assert b' 200 OK\r\n' in waiting.makefile('rb').readline()


def test_the_body_is_that_of_the_page(serve):
    server = serve(*GUNICORN, 'hospital.wsgi:application', HEALTHCHECKS=PASSING)
    assert server.get()[2] == BODY


def test_chaussette(serve):
    server = serve('chaussette', '--fd', '{fd}', 'hospital.wsgi.application', HEALTHCHECKS=PASSING)
    status, headers, body = server.get()
    assert (status, headers['Content-Type'], body) == (200, 'application/json; charset=utf-8', BODY)


SEED_INI = '''
[watcher:yourproject-healthchecks]
# Service command.
cmd = bin/chaussette --fd $(circus.sockets.yourproject-healthchecks) hospital.wsgi.application
numprocesses = 1
use_sockets = True
copy_env = True
working_dir = path/to/your-virtualenv
# Stdout logs.
stdout_stream.class = FileStream
stdout_stream.filename = /var/log/chaussette/wsgi_healthchecks_out.log
stdout_stream.time_format = [%Y/%m/%d | %H:%M:%S]
# Stderr logs.
stderr_stream.class = FileStream
stderr_stream.filename = /var/log/chaussette/wsgi_healthchecks_err.log
stderr_stream.time_format = [%Y/%m/%d | %H:%M:%S]

[socket:yourproject-healthchecks]
host = 127.0.0.1
port = 2014

[env:yourproject-healthchecks]
HEALTHCHECKS = hospital.healthchecks.predictable
'''


@pytest.mark.parametrize(
    'command',
    [
        'bin/chaussette --fd $(circus.sockets.yourproject-healthchecks) hospital.wsgi.application',
        'bin/hospital serve --fd $(circus.sockets.yourproject-healthchecks)',
    ],
)
def test_circus(serve, write, tmp_path, command):
    ini = SEED_INI.replace('bin/chaussette --fd $(circus.sockets.yourproject-healthchecks) hospital.wsgi.application', command)
    for old, new in [
        ('path/to/your-virtualenv', str(BIN.parent)),
        ('/var/log/chaussette', str(tmp_path)),
        ('port = 2014', 'port = 0'),  # circus takes a free port
    ]:
        assert old in ini
        ini = ini.replace(old, new)
    endpoint = f'ipc://{tmp_path}/endpoint'
    own = f'[circus]\ncheck_delay = 1\nendpoint = {endpoint}\npubsub_endpoint = ipc://{tmp_path}/pubsub\n'
    write('circus.ini', own + ini)
    circus = serve('circusd', str(tmp_path / 'circus.ini'), listens=False)
    control = [BIN / 'circusctl', '--endpoint', endpoint, '--timeout', '5', 'listsockets']
    said = []

    def is_listening():
        said[:] = [subprocess.run(control, capture_output=True, text=True).stdout]
        return re.search(r"'port': (\d+)|\bport=(\d+)|:(\d+)\b", said[0])

    circus.until(is_listening)
    found = is_listening()
    circus.address = 'http://127.0.0.1:' + next(filter(None, found.groups()))
    status, headers, body = circus.get()
    assert (status, headers['Content-Type']) == (200, 'application/json; charset=utf-8'), body
    assert json.loads(body)['status'] == 'pass'


# --- frameworks of today -------------------------------------------------------------------------------

DJANGO = '''
import sys

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import include, path, re_path

settings.configure(
    ALLOWED_HOSTS=['*'], DEBUG=False, ROOT_URLCONF='site_urls', SECRET_KEY='x', USE_TZ=True,
    DATABASES={'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}},
    INSTALLED_APPS=['hospital.django'],
)
application = get_wsgi_application()
'''


def test_django_by_a_pattern_as_on_the_page(serve, write):
    write('site_wsgi.py', DJANGO)
    write(
        'site_urls.py',
        'from django.urls import re_path\n'
        'from hospital.django import make_wsgi_view\n'
        'from hospital.wsgi import HealthCheckApp\n'
        'import hospital.wsgi\n'
        f'discovered = HealthCheckApp(discover=["{PASSING}"])\n'
        'urlpatterns = [\n'
        "    re_path(r'^healthchecks(/.*)$', make_wsgi_view(discovered)),\n"
        "    re_path(r'^endpoint(/.*)$', make_wsgi_view(hospital.wsgi.application)),\n"
        ']\n',
    )
    server = serve(*GUNICORN, 'site_wsgi:application', HEALTHCHECKS=PASSING)
    status, headers, body = server.get('/healthchecks/')
    assert (status, headers['Content-Type'], body.strip()) == (200, 'application/json; charset=utf-8', PAGE)
    assert server.get('/endpoint/')[2] == BODY
    assert server.get(f'/endpoint/{PASSING}?format=text')[2].startswith('pass: Health checks are collected. [')
    status, headers, body = server.get('/endpoint/nothing')
    assert (status, headers['Content-Type']) == (404, 'application/json; charset=utf-8')
    assert server.get('/elsewhere')[0] == 404


def test_django_by_include(serve, write):
    write('site_wsgi.py', DJANGO)
    write(
        'site_urls.py',
        'from django.urls import include, path\n'
        "urlpatterns = [path('healthchecks/', include('hospital.django.urls'))]\n",
    )
    write(
        'shop.py',
        'import hospital\n'
        'from django.db import connection\n'
        'class Database(hospital.HealthCheck):\n'
        '    def test_query(self):\n'
        '        """The database answers."""\n'
        '        with connection.cursor() as cursor:\n'
        "            cursor.execute('select 1')\n",
    )
    server = serve(*GUNICORN, '--preload', 'site_wsgi:application', HEALTHCHECKS=f'shop {PASSING}')
    status, _, body = server.get('/healthchecks/shop')
    assert (status, json.loads(body)['details']) == (200, [{'test': 'The database answers.', 'status': 'pass'}]), body
    assert server.get('/healthchecks/livez')[2] == 'livez check passed\n'
    assert server.get('/healthchecks/metrics')[0] == 200
    status, headers, nothing = server.get('/healthchecks/', method='HEAD')
    assert (status, nothing) == (200, '') and int(headers['Content-Length']) > 0
    assert server.get('/healthchecks/', method='POST')[0] == 405


def test_checks_of_django_health_check_as_they_are(serve, write):
    write('site_wsgi.py', DJANGO)
    write(
        'site_urls.py',
        'from django.urls import include, path\n'
        "urlpatterns = [path('healthchecks/', include('hospital.django.urls'))]\n",
    )
    write(
        'theirs.py',
        'from health_check.base import HealthCheck\n'
        'from health_check.exceptions import ServiceUnavailable, ServiceWarning\n'
        'class Down(HealthCheck):\n'
        '    def run(self):\n'
        "        raise ServiceUnavailable('no route')\n"
        'class Slow(HealthCheck):\n'
        '    async def run(self):\n'
        "        raise ServiceWarning('it is slow')\n",
    )
    server = serve(
        *GUNICORN, 'site_wsgi:application', HEALTHCHECKS='python:health_check.checks.Database python:theirs#tag=theirs'
    )
    status, _, body = server.get('/healthchecks/')
    found = [(detail['status'], detail.get('context', '').splitlines()[:1]) for detail in json.loads(body)['details']]
    assert status == 500
    assert [status for status, _ in found] == ['pass', 'fail', 'warn'], body
    assert 'no route' in found[1][1][0] and 'it is slow' in found[2][1][0]


def test_manage_py_healthcheck(write, shell):
    write('site_settings.py', "INSTALLED_APPS = ['hospital.django']\nSECRET_KEY = 'x'\nUSE_TZ = True\n")
    write('shop.py', 'import hospital\nclass Shop(hospital.HealthCheck):\n    def test_open(self):\n        self.fail("shut")\n')
    manage = ('python', '-m', 'django', 'healthcheck')
    settings = {'DJANGO_SETTINGS_MODULE': 'site_settings', 'PYTHONPATH': '.', 'PYTHONWARNINGS': 'ignore'}
    told = shell(*manage, '-v2', PASSING, **settings)
    assert (told.returncode, 'Ran 1 test in' in told.stderr, 'OK' in told.stderr) == (0, True, True), told
    told = shell(*manage, HEALTHCHECKS='shop', **settings)
    assert told.returncode == 1 and 'shut' in told.stderr + told.stdout, told
    told = shell(*manage, 'shop', '--format=nagios', **settings)
    assert told.returncode == 2 and told.stdout.startswith('HOSPITAL CRITICAL - 1 of 1 '), told
    told = shell(*manage, 'no.such', **settings)
    assert told.returncode == 2 and "no.such" in told.stderr and told.stderr.count('\n') == 1, told
    write('site_settings.py', "INSTALLED_APPS = ['hospital.django']\nSECRET_KEY = 'x'\nHEALTHCHECKS = {'shop': 1}\n")
    told = shell(*manage, **settings)
    assert told.returncode == 2, told
    assert told.stderr == "CommandError: HEALTHCHECKS names checks in a text or a list of texts: not {'shop': 1}\n"


def test_flask(serve, write):
    write(
        'shop_app.py',
        'import flask, hospital.wsgi\n'
        'from werkzeug.middleware.dispatcher import DispatcherMiddleware\n'
        'app = flask.Flask(__name__)\n'
        "app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {'/healthchecks': hospital.wsgi.application})\n",
    )
    server = serve(*GUNICORN, 'shop_app:app', HEALTHCHECKS=PASSING)
    for path in ('/healthchecks', '/healthchecks/'):
        status, _, body = server.get(path)
        assert (status, body) == (200, BODY), path
    assert server.get('/')[0] == 404


def test_uvicorn(serve):
    server = serve('uvicorn', '--fd', '{fd}', 'hospital.asgi:application', HEALTHCHECKS=PASSING)
    status, headers, body = server.get()
    assert (status, headers['Content-Type'], body) == (200, 'application/json; charset=utf-8', BODY)
    status, headers, nothing = server.get(method='HEAD')
    assert (status, nothing, int(headers['Content-Length'])) == (200, '', len(body))


def test_starlette_under_a_prefix(serve, write):
    write(
        'shop_app.py',
        'from starlette.applications import Starlette\n'
        'from starlette.routing import Mount\n'
        'import hospital.asgi\n'
        "app = Starlette(routes=[Mount('/healthchecks', app=hospital.asgi.application)])\n",
    )
    server = serve('uvicorn', '--fd', '{fd}', 'shop_app:app', HEALTHCHECKS=PASSING)
    assert server.get('/healthchecks/')[2] == BODY
    assert server.get(f'/healthchecks/{PASSING}?format=text')[2].startswith('pass: Health checks are collected. [')
    assert server.get('/')[0] == 404
