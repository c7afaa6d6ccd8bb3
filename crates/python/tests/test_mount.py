"""The endpoint in a process of ours: what it collects, how it runs it, and what it is told by settings."""
import asyncio
import os
import re
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from conftest import BIN

import hospital
from hospital import _mount, asgi

#: How long anything may take that must happen.
PATIENCE = 60


@pytest.fixture
def ask(ask):
    """Asks an application at the root of its server, unless the request is for another path."""
    return lambda app, **environ: ask(app, **{'SCRIPT_NAME': '', 'PATH_INFO': '/', **environ})


@pytest.fixture
def mounted():
    """An application for these names."""
    return lambda *names, **settings: _mount.Application(names, **settings)


@pytest.fixture
def variable(monkeypatch):
    """Sets a variable of the environment."""
    return monkeypatch.setenv


def test_each_shape_of_unittest_has_its_status(ask, mounted, module):
    name = module(
        '''
        class Shop(hospital.HealthCheck):
            def test_good(self): """Orders are taken."""
            def test_bad(self): self.fail('shut')
            def test_unable(self): raise OSError('no route')
            def test_skipped(self): self.skipTest('no printer')
            def test_warns(self): hospital.warn('soon')
            @unittest.expectedFailure
            def test_expected(self): self.fail('as ever')
            @unittest.expectedFailure
            def test_unexpected(self): pass
            def test_exits(self): raise SystemExit(3)
        class Async(unittest.IsolatedAsyncioTestCase):
            is_healthcheck = True
            async def test_awaits(self): """It is awaited."""
        @healthcheck
        def prices(): """Prices are known."""
        @healthcheck
        async def rates(): """Rates are known."""
        '''
    )
    answer = ask(mounted(name))
    found = {title.split(' (')[0]: status for title, status in answer.found.items()}
    assert answer.status == 500
    assert found == {
        'Orders are taken.': 'pass',
        'test_bad': 'fail',
        'test_unable': 'error',
        'test_skipped': 'skip',
        'test_warns': 'warn',
        'test_expected': 'expected_failure',
        'test_unexpected': 'unexpected_success',
        'test_exits': 'error',
        'It is awaited.': 'pass',
        'Prices are known.': 'pass',
        'Rates are known.': 'pass',
    }
    (unable,) = [each for each in answer.report['details'] if each['test'].startswith('test_unable')]
    assert unable['context'].startswith('OSError: no route\n\nTraceback (most recent call last):\n')
    assert f'in test_unable\n' in unable['context'] and '_mount.py' not in unable['context']


def test_a_name_takes_options(ask, mounted, module):
    name = module(
        '''
        import time
        class Shop(hospital.HealthCheck):
            def test_slow(self): time.sleep(30)
        @healthcheck
        def quick(): """It is quick."""
        '''
    )
    app = mounted(f'python:{name}.Shop#timeout=50ms&tag=slow', f'quick=python:{name}.quick#title=Quick', 'hospital.healthchecks')
    answer = ask(app, QUERY_STRING='tag=slow')
    assert answer.status == 500 and answer.report['details'][0]['context'] == 'timed out after 50ms'
    assert ask(app, PATH_INFO='/quick').found == {'Quick': 'pass'}
    (refused,) = ask(mounted(f'python:{name}#memory=1GiB')).report['details']
    assert refused['status'] == 'error' and 'option memory: it limits a process, and here no check has one' in refused['context']


def test_a_stuck_check_is_not_started_again_and_others_are_answered(ask, mounted, module):
    name = module(
        '''
        import time
        STARTED = []
        class Shop(hospital.HealthCheck):
            timeout = 0.1
            def test_endless(self):
                STARTED.append(1)
                while True: time.sleep(0.01)
            def test_good(self): """It is good."""
        '''
    )
    app = mounted(name)
    assert {'timed out after 100ms'} == contexts(ask(app))
    (still,) = contexts(ask(app))
    assert still.startswith('still running after ')
    assert ask(app, PATH_INFO=f'/{name}.Shop.test_good').status == 200
    assert len(sys.modules[name].STARTED) == 1


def contexts(answer):
    return {detail['context'] for detail in answer.report['details'] if 'context' in detail}


def test_fixtures_of_a_class_are_not_shared_by_two_threads(ask, mounted, module):
    tests = '\n'.join(f'    def test_{n}(self): time.sleep(0.01); self.assertEqual(self.users, 1)' for n in range(8))
    name = module(
        'import time\n'
        'USERS = []\n'
        'def setUpModule(): USERS.append(1)\n'
        'def tearDownModule(): USERS.pop()\n'
        'class Shop(hospital.HealthCheck):\n'
        '    @classmethod\n'
        '    def setUpClass(cls): cls.users = len(USERS)\n' + tests + '\n'
    )
    answer = ask(mounted(name))
    assert (answer.status, answer.report['summary']['pass']) == (200, 8), answer.body


def test_what_cannot_be_imported_is_an_error_until_it_can(ask, mounted, module, tmp_path):
    package = module('@healthcheck\ndef good(): """It is good."""', 'heals.good').partition('.')[0]
    module('import nothing_there\n', 'heals.broken')
    app = mounted(package, 'heals_later')
    answer = ask(app)
    assert answer.status == 500
    assert answer.found == {
        'It is good.': 'pass', 'heals.broken can be imported': 'error', 'heals_later can be imported': 'error'
    }
    assert "No module named 'nothing_there'" in answer.body.decode()
    # Nobody restarts anything.
    module('@healthcheck\ndef mended(): """It is mended."""', 'heals.broken')
    module('@healthcheck\ndef late(): """It is there."""', 'heals_later')
    until(lambda: ask(app).status == 200)
    assert ask(app).found == {'It is good.': 'pass', 'It is mended.': 'pass', 'It is there.': 'pass'}


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, 'it does not happen'
        time.sleep(0.01)


@pytest.mark.parametrize('text, told', [
    ('raise SystemExit(3)', 'sys.exit'),
    ('import sys; sys.exit("no")', 'sys.exit'),
    ('1/0', 'ZeroDivisionError'),
    ('def test_nothing(): pass', 'holds no healthcheck'),
    ('def (', 'SyntaxError'),
])
def test_a_module_that_is_of_no_use_is_an_error_that_says_why(ask, mounted, module, text, told):
    answer = ask(mounted(module(text), 'hospital.healthchecks'))
    assert answer.status == 500 and told in answer.body.decode(), answer.body
    assert 'pass' in answer.found.values(), 'nothing else is lost'


def test_an_import_that_hangs_holds_up_nobody_for_long(ask, mounted, module, monkeypatch):
    name = module('import threading\nthreading.Event().wait()\n')
    monkeypatch.setattr(_mount, 'IMPORT_LIMIT', 0.1)
    monkeypatch.setattr(_mount, 'PATIENCE', 0.1)
    app = mounted(name, 'hospital.healthchecks')
    answer = ask(app)
    assert answer.status == 500 and contexts(answer) >= {f'importing {name} takes long, and goes on'}
    assert ask(app, PATH_INFO='/livez').body == b'livez check passed\n'


def test_settings_are_those_of_the_daemon(ask, module, variable, tmp_path):
    token = tmp_path / 'token'
    token.write_text('s3cret\n')
    token.chmod(0o600)
    maintenance = tmp_path / 'maintenance'
    variable('HEALTHCHECKS', module('@healthcheck\ndef down(): assert False, "no route"'))
    for name, value in [('DETAILS', 'token'), ('TOKEN_FILE', token), ('FAIL_STATUS', 503), ('CACHE', '1h'),
                        ('MAINTENANCE_FILE', maintenance)]:
        variable(f'HOSPITAL_{name}', str(value))
    app = _mount.Application()
    stranger = ask(app)
    assert stranger.status == 503 and b'no route' not in stranger.body
    trusted = ask(app, HTTP_AUTHORIZATION='Bearer s3cret')
    assert b'no route' in trusted.body and int(headers(trusted)['age']) >= 0
    assert ask(app, HTTP_AUTHORIZATION='Bearer other').status == 401
    maintenance.write_text('moving house\n')
    readiness = ask(app, PATH_INFO='/readyz')
    assert (readiness.status, readiness.body) == (503, b'readyz check failed: moving house\n')


def headers(answer):
    return {name.lower(): value for name, value in answer.headers.items()}


@pytest.mark.parametrize('settings, told', [
    ({'fail_status': 200}, '--fail-status'),
    ({'cache': 'long'}, '--cache'),
    ({'details': 'token'}, '--token-file'),
    ({'nonsense': 1}, '--nonsense'),
    ({'prefix': 'health'}, '--prefix'),
])
def test_a_setting_that_is_wrong_is_refused_before_anything_is_served(mounted, settings, told):
    with pytest.raises(ValueError, match=told) as refused:
        mounted('hospital', **settings)
    assert '\n' not in str(refused.value)


def test_names_that_cannot_be_collected_are_an_error_until_they_can(ask, mounted, tmp_path):
    file = tmp_path / 'checks.toml'
    file.write_text("[[check]]\nname = 'root'\nuse = 'fiel:/'\n")
    app = mounted(str(file))
    answer = ask(app)
    assert (answer.status, answer.found) == (500, {'Healthchecks can be collected': 'error'})
    assert 'there is no kind of check "fiel"' in contexts(answer).pop()
    assert ask(app, PATH_INFO='/livez').status == 200
    file.write_text("[[check]]\nname = 'root'\nuse = 'file:/'\n")
    until(lambda: ask(app, PATH_INFO='/root').status == 200)


def test_no_names_at_all_are_refused(mounted):
    with pytest.raises(ValueError, match='nothing to check'):
        mounted()


@pytest.mark.parametrize('environ, status', [
    ({'PATH_INFO': '/metrics'}, 200),
    ({'PATH_INFO': '/livez'}, 200),
    ({'PATH_INFO': ''}, 200),
    ({'PATH_INFO': '/nothing'}, 404),
    ({'PATH_INFO': '/n\xc3\xa4 ?#%'}, 404),
    ({'QUERY_STRING': 'format=nonsense'}, 400),
    ({'HTTP_ACCEPT': 'image/png'}, 406),
    ({'REQUEST_METHOD': 'POST'}, 405),
    ({'REQUEST_METHOD': 'HEAD'}, 200),
])
def test_paths_and_methods_are_those_of_the_daemon(ask, mounted, environ, status):
    answer = ask(mounted('hospital.healthchecks'), **environ)
    assert answer.status == status, answer.body


def test_a_request_to_each_thread_shares_rounds(ask, mounted, module):
    name = module(
        '''
        import time
        RUNS = []
        @healthcheck
        def slow():
            RUNS.append(1)
            time.sleep(0.2)
        '''
    )
    app = mounted(name)
    ask(app)
    before = len(sys.modules[name].RUNS)
    threads = [threading.Thread(target=ask, args=[app]) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(sys.modules[name].RUNS) - before <= 5


def test_the_log_is_the_logger_hospital(ask, mounted, module, caplog):
    caplog.set_level('INFO', 'hospital')
    name = module('@healthcheck\ndef down(): assert False, "no route"')
    ask(mounted(name))
    assert any(f'{name}.down' in each.getMessage() and 'no route' in each.getMessage() for each in caplog.records)


def test_each_process_has_an_endpoint_of_its_own(ask, mounted, module):
    name = module('import os\n@healthcheck\ndef pid(): hospital.warn(str(os.getpid()))')
    app = mounted(name)
    here = contexts(ask(app))
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, ' '.join(contexts(ask(app))).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        assert {told.read()} == {str(pid)} != here
    os.waitpid(pid, 0)


@pytest.mark.parametrize('check', ['while True: pass', 'import time; time.sleep(3600)'])
def test_a_program_ends_though_a_check_does_not(tmp_path, check):
    (tmp_path / 'stuck.py').write_text(f'import hospital\n@hospital.healthcheck\ndef stuck():\n    {check}\n')
    program = textwrap.dedent('''
        from hospital.wsgi import application
        body = application({'REQUEST_METHOD': 'GET'}, lambda *_: None)
        print('timed out' in body[0].decode())
    ''')
    environment = {**os.environ, 'HEALTHCHECKS': 'python:stuck#timeout=100ms'}
    told = subprocess.run(
        [BIN / 'python', '-c', program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (told.returncode, told.stdout) == (0, 'True\n'), told.stderr


def test_an_upgrade_starts_the_interpreter_again(shell):
    again = shell('python', '-c', 'import hospital._command as c; print(c.again())', 'x')
    assert again.stdout.strip().endswith("'-c', 'import hospital._command as c; print(c.again())', 'x']"), again


@pytest.mark.parametrize('words', [['hospital'], ['python', '-m', 'hospital']])
def test_the_command_line_is_that_of_the_binary(shell, module, tmp_path, words):
    module('@healthcheck\ndef good(): """It is good."""', 'shopping')
    told = shell(*words, 'check', '--format=text', 'shopping', 'hospital.healthchecks')
    assert told.returncode == 0 and told.stdout.startswith('pass: It is good. ['), told
    told = shell(*words, 'check', 'shopping.nothing')
    assert told.returncode == 2 and told.stderr.count('\n') == 1, told
    told = shell(*words, '--version').stdout
    assert re.fullmatch(r'hospital \d+\.\d+\.\d+ \(Python package (.*)\)\n', told).group(1) == hospital.__version__


def test_a_program_that_ends_is_not_ready(ask, mounted):
    app = mounted('hospital.healthchecks')
    assert ask(app, PATH_INFO='/readyz').status == 200
    app.mount.drain()
    assert ask(app, PATH_INFO='/readyz').body == b'readyz check failed: draining\n'
    assert ask(app).status == 200


async def asked(app, path='/', root='', method='GET', **headers):
    """What an ASGI application answers: its status and body."""
    sent = []

    async def receive():
        return {'type': 'http.request', 'body': b'', 'more_body': False}

    async def send(message):
        sent.append(message)

    fields = [(name.replace('_', '-').encode(), value.encode()) for name, value in headers.items()]
    path, _, query = path.partition('?')
    scope = {'type': 'http', 'method': method, 'path': path, 'query_string': query.encode(), 'root_path': root, 'headers': fields}
    await app(scope, receive, send)
    start, body = sent
    assert dict(start['headers'])[b'content-length'].isdigit()
    return start['status'], body['body'].decode()


def test_asgi_answers_many_at_once_and_never_blocks_the_loop(module):
    name = module(
        '''
        import threading
        OPEN = threading.Event()
        @healthcheck
        def waits(): OPEN.wait()
        '''
    )

    async def main():
        app = asgi.Application([name, 'hospital.healthchecks'])
        assert (await asked(app, '/livez'))[1] == 'livez check passed\n'
        waiting = [asyncio.ensure_future(asked(app, f'/{name}')) for _ in range(50)]
        # All of them wait for a check that this very loop lets go on.
        assert (await asked(app, '/livez'))[0] == 200
        sys.modules[name].OPEN.set()
        assert {status for status, _ in await asyncio.gather(*waiting)} == {200}

    asyncio.run(main())


def test_asgi_reads_heads_as_the_daemon_does(mounted):
    async def main():
        app = asgi.Application(['hospital.healthchecks'])
        assert (await asked(app, '/health/livez', root='/health'))[0] == 200
        assert (await asked(app, '/health', root='/health', method='HEAD')) == (200, '')
        assert (await asked(app, '/', accept='text/plain'))[1].startswith('pass: ')
        assert (await asked(app, '/', accept='image/png'))[0] == 406
        assert (await asked(app, '/', method='POST'))[0] == 405

    asyncio.run(main())


def test_asgi_takes_part_in_the_life_of_a_server():
    async def main():
        sent, told = [], iter(['lifespan.startup', 'lifespan.shutdown'])

        async def receive():
            return {'type': next(told)}

        async def send(message):
            sent.append(message['type'])

        await asgi.application({'type': 'lifespan'}, receive, send)
        assert sent == ['lifespan.startup.complete', 'lifespan.shutdown.complete']

    asyncio.run(main())
