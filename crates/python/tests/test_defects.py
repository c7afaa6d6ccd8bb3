"""The known defects of hospital 0.9 stay dead: a test for each, named after what its user saw."""
import http.server
import pathlib
import subprocess
import sys
import threading

import pytest

import hospital
from hospital import _mount
from hospital.cli import HealthCheckProgram
from hospital.loading import HealthCheckLoader
from hospital.wsgi import HealthCheckApp, wsgi_parser

PACKAGE = pathlib.Path(hospital.__file__).parent


def test_the_body_was_text_so_that_servers_answered_500_or_nothing(ask):
    answer = ask(HealthCheckApp(discover=['hospital.healthchecks.predictable']))
    assert isinstance(answer.body, bytes)
    assert int(answer.headers['Content-Length']) == len(answer.body)
    assert answer.status == 200


def test_an_unexpected_success_raised_instead_of_being_reported(ask, module):
    name = module(
        '''
        @healthcheck
        class Broken(unittest.TestCase):
            @unittest.expectedFailure
            def test_mended(self):
                """It is mended."""

            @unittest.expectedFailure
            def test_broken(self):
                """It is broken."""
                self.fail()
        '''
    )
    answer = ask(HealthCheckApp(discover=[name]))
    assert answer.status == 500
    assert answer.found == {'It is mended.': 'unexpected_success', 'It is broken.': 'expected_failure'}
    assert answer.report['summary']['unexpected_success'] == 1


@pytest.fixture
def site():
    """A server whose path is the status of its answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(int(self.path.strip('/').partition('?')[0]))
            self.send_header('Content-Length', '0')
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


@pytest.mark.parametrize('status', [200, 204, 401, 404, 500, 503])
def test_status_codes_above_256_were_never_the_expected_one(site, status):
    hospital.assert_http_response(f'{site}/{status}', status, timeout=10)
    other = int('600') if status == 500 else int('500')
    with pytest.raises(AssertionError, match=f'returned {status} status code. Expected {other}.'):
        hospital.assert_http_response(f'{site}/{status}', other, timeout=10)


def test_the_metadata_of_wheels_were_not_found(monkeypatch):
    from importlib.metadata import distribution

    from hospital.utils import packaging

    pytest_itself = distribution('pytest')  # It was installed from a wheel.
    assert packaging.get_metadata(pytest_itself)['Name'] == ['pytest']
    assert packaging.python_runtime_version() in packaging.get_supported_python_versions(pytest_itself)
    assert packaging.supports_python_version(pytest_itself, '2.6') is False
    hospital.assert_supported_python_version(pytest_itself)
    with pytest.raises(AssertionError, match='pytest does not claim support of Python version 2.6'):
        hospital.assert_supported_python_version(pytest_itself, '2.6')
    # Nor is pkg_resources needed, which setuptools no longer has.
    assert 'pkg_resources' not in sys.modules

    class Egg:
        """As pkg_resources has them."""

        def has_metadata(self, name):
            return name == 'METADATA'

        def get_metadata(self, name):
            return 'Name: egg\nClassifier: Programming Language :: Python :: 3.9\n\nText'

    assert packaging.get_supported_python_versions(Egg()) == ['3.9']


def test_submodules_that_cannot_be_imported_were_left_out(ask, module):
    module('@healthcheck\ndef good():\n    """Good."""\n', 'shop1.checks.good')
    module('import no_such_module\n', 'shop1.checks.bad')
    module('import sys\nsys.exit(0)\n', 'shop1.checks.ends')
    module('def broken(:\n', 'shop1.checks.no_python')
    answer = ask(HealthCheckApp(discover=['shop1']))
    assert answer.status == 500
    assert answer.found == {
        'Good.': 'pass',
        'shop1.checks.bad': 'error',
        'shop1.checks.ends': 'error',
        'shop1.checks.no_python': 'error',
    }
    told = {detail['test']: detail.get('context') for detail in answer.report['details']}
    assert told['shop1.checks.bad'] == (
        "ImportError: shop1.checks.bad cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"
    )


@pytest.mark.parametrize('where', ['class', 'module'])
def test_a_module_that_imports_what_is_missing_was_taken_for_one_that_is_not_there(ask, module, where):
    name = module('import no_such_module\n')
    answer = ask(HealthCheckApp(discover=[f'{name}.Database' if where == 'class' else name]))
    assert 'no_such_module' in answer.report['details'][0]['context']


@pytest.mark.parametrize('text', ['', 'class Plain(unittest.TestCase):\n    def test_it(self): pass\n'])
def test_collecting_nothing_was_green(ask, module, shell, text):
    name = module(text)
    answer = ask(HealthCheckApp(discover=[name, 'hospital.healthchecks.predictable']))
    assert answer.status == 500
    why = f'there is no healthcheck in {name}: mark what is one with @healthcheck'
    assert answer.report['details'][0] == {'test': name, 'status': 'error', 'context': why}
    assert ask(HealthCheckApp()).status == 500

    told = shell('python', '-m', 'hospital.cli', name)
    assert (told.returncode, told.stdout) == (2, '')
    assert told.stderr == f'python -m hospital.cli: {name}: {why}\n'


def test_a_name_of_nothing_ended_in_a_traceback(module, shell):
    name = module('@healthcheck\nclass Database(unittest.TestCase):\n    def test_orders(self): pass\n')
    for wrong, why in [
        (f'{name}.Databse', f'{name} has no Databse; it has Database'),
        (f'{name}.Database.test_order', f'{name}.Database has no test_order; it has test_orders'),
        ('no_such_shop.checks', 'there is no module no_such_shop on the path of this Python'),
        ('/no/such/folder', 'there is no file or folder /no/such/folder'),
        ('no-such-folder', "'no-such-folder' is neither a dotted name, nor a folder"),
        ('shop..checks', "'shop..checks' is neither a dotted name, nor a folder"),
        ('', "'' is neither a dotted name, nor a folder"),
        ('tcp://db:5432', 'it is of a kind that is built in: `hospital check` and `hospital serve` know those'),
    ]:
        for program in ('hospital.cli', 'hospital.wsgi'):
            told = shell('python', '-m', program, wrong)
            assert (told.returncode, told.stderr) == (2, f'python -m {program}: {wrong}: {why}\n')


def test_marked_functions_were_not_collected(ask, module):
    name = module(
        '''
        @healthcheck
        def database():
            """The database answers.

            More of it.
            """

        @healthcheck
        def orders():
            assert False, 'no orders'

        @healthcheck
        async def waits():
            raise OSError('nobody is there')

        @healthcheck
        def says_no():
            return False

        @healthcheck
        def generates():
            yield

        @healthcheck
        def bare():
            assert 1 == 2

        def plain():
            raise AssertionError
        '''
    )
    answer = ask(HealthCheckApp(discover=[name]))
    told = {detail['test']: (detail['status'], detail.get('context')) for detail in answer.report['details']}
    assert told == {
        'The database answers.': ('pass', None),
        f'{name}.orders': ('fail', 'no orders'),
        f'{name}.waits': ('error', 'OSError: nobody is there'),
        f'{name}.says_no': ('fail', 'it returned False'),
        f'{name}.generates': ('error', f'TypeError: {name}.generates is a generator, so nothing of it has run'),
        f'{name}.bare': ('fail', 'assert 1 == 2'),
    }
    assert list(ask(HealthCheckApp(discover=[f'{name}.database'])).found) == ['The database answers.']
    assert list(ask(HealthCheckApp(names=[f'{name}.orders'])).found) == [f'{name}.orders']


def test_a_decorated_function_is_known_by_its_own_name(ask, module):
    module('def forgetful(function):\n    def wrapper():\n        return function()\n    return wrapper\n', 'decorators')
    name = module(
        '''
        from decorators import forgetful

        @healthcheck
        @forgetful
        def database():
            pass

        @healthcheck
        @forgetful
        def orders():
            pass
        '''
    )
    assert set(ask(HealthCheckApp(discover=[name])).found) == {f'{name}.database', f'{name}.orders'}


def test_marked_methods_of_unmarked_classes_were_not_collected(ask, module):
    name = module(
        '''
        class Shop(unittest.TestCase):
            @healthcheck
            def test_open(self):
                """The shop is open."""

            def test_code(self):
                """This is no healthcheck."""
        '''
    )
    for discover in (name, f'{name}.Shop', f'{name}.Shop.test_open'):
        assert ask(HealthCheckApp(discover=[discover])).found == {'The shop is open.': 'pass'}


def test_subtests_were_lost(ask, module):
    name = module(
        '''
        @healthcheck
        class Shops(unittest.TestCase):
            def test_all(self):
                """Each shop is open."""
                for shop in ('north', 'south', 'west', 'east'):
                    with self.subTest(shop=shop):
                        if shop == 'west':
                            raise OSError('no answer')
                        if shop == 'east':
                            self.skipTest('it is Sunday there')
                        self.assertNotEqual(shop, 'south')

            def test_some(self):
                """Some are."""
                with self.subTest(shop='north'):
                    pass
        '''
    )
    for app in (HealthCheckApp(discover=[name]), _mount.Application([name])):
        answer = ask(app, SCRIPT_NAME='', PATH_INFO='/')
        assert answer.status == 500
        assert answer.found == {
            "Each shop is open. (shop='north')": 'pass',
            "Each shop is open. (shop='south')": 'fail',
            "Each shop is open. (shop='west')": 'error',
            "Each shop is open. (shop='east')": 'skip',
            "Some are. (shop='north')": 'pass',
        }
        summary = answer.report['summary']
        assert (summary['total'], summary['pass'], summary['fail'], summary['error'], summary['skip']) == (5, 2, 1, 1, 1)


def test_a_test_of_which_nothing_has_run_passed(ask, module):
    name = module(
        '''
        class Odd(hospital.HealthCheck):
            def test_generator(self):
                """It yields."""
                yield
            async def test_async(self):
                """It is async."""
            def test_false(self):
                """It returns False."""
                return 1 == 2
        '''
    )
    for app in (HealthCheckApp(discover=[name]), _mount.Application([name])):
        found = ask(app, SCRIPT_NAME='', PATH_INFO='/').found
        assert found == {'It yields.': 'error', 'It is async.': 'error', 'It returns False.': 'fail'}


def test_fixtures_that_fail_were_not_counted(ask, module):
    name = module(
        '''
        @healthcheck
        class Sure(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                raise OSError('no database')

            def test_it(self):
                """It is there."""

        @healthcheck
        class Tidy(unittest.TestCase):
            @classmethod
            def tearDownClass(cls):
                raise OSError('no broom')

            def test_it(self):
                """It is tidy."""
        '''
    )
    answer = ask(HealthCheckApp(discover=[name]))
    assert answer.status == 500
    assert answer.found == {
        f'setUpClass ({name}.Sure)': 'error',
        'It is tidy.': 'pass',
        f'tearDownClass ({name}.Tidy)': 'error',
    }
    assert answer.report['summary']['total'] == 3


def test_a_fixture_that_exits_ended_the_program_as_if_all_were_well(ask, module, shell):
    text = '''
        @healthcheck
        class Exits(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                raise SystemExit(0)

            def test_it(self):
                pass
        '''
    name = module(text)
    assert ask(HealthCheckApp(discover=[name])).status == 500
    assert shell('python', '-m', 'hospital.cli', name).returncode == 1


def test_a_folder_by_its_relative_path_ended_in_a_traceback(ask, module, tmp_path, monkeypatch):
    module('@healthcheck\ndef one():\n    """One."""\n', 'folder.checks_one')
    (tmp_path / 'folder/__init__.py').unlink()
    monkeypatch.chdir(tmp_path)
    for name in ('./folder', 'folder', str(tmp_path / 'folder'), 'folder/checks_one.py'):
        assert ask(HealthCheckApp(discover=[name])).found == {'One.': 'pass'}, name
    # Two at once: unittest would look for the second in the first.
    module('@healthcheck\ndef two():\n    """Two."""\n', 'other.checks_two')
    assert set(ask(HealthCheckApp(discover=['./folder', './other'])).found) == {'One.', 'Two.'}


def test_a_dotted_class_or_method_was_taken_for_a_folder(ask):
    name = 'hospital.healthchecks.predictable.ForeverPassingHealthCheck'
    for discover in (name, f'{name}.test_true'):
        answer = ask(HealthCheckApp(discover=[discover]))
        assert answer.found == {'Health checks are collected.': 'pass'}


def test_scripts_did_not_find_modules_in_the_working_directory(module, shell):
    name = module('@healthcheck\ndef here():\n    """It is here."""\n')
    script = 'import sys; sys.path = [p for p in sys.path if p]; from hospital.cli import main; main(args=sys.argv[1:])'
    told = shell('python', '-c', script, name)
    assert told.returncode == 0, told.stderr
    assert 'Ran 1 test' in told.stderr


def test_setup_py_was_run_by_chance(module, shell, tmp_path):
    module('@healthcheck\ndef one():\n    """One."""\n', 'checks')
    for name in ('setup', 'conftest', 'checks_too/__main__', 'shop/__main__'):
        path = tmp_path / f'{name}.py'
        path.parent.mkdir(exist_ok=True)
        path.write_text('open("was-run", "w"); raise SystemExit("it was run")')
        if path.parent != tmp_path:
            (path.parent / '__init__.py').touch()
    # By default everything in the working directory is collected.
    told = shell('python', '-m', 'hospital.cli', '-v')
    assert told.returncode == 0, told.stderr
    assert 'Ran 1 test' in told.stderr
    assert not (tmp_path / 'was-run').exists()


def test_virtual_environments_are_not_walked_into(module, shell, tmp_path):
    module('@healthcheck\ndef one():\n    """One."""\n', 'checks')
    installed = tmp_path / 'venv/lib/python3/site-packages/lib'
    installed.mkdir(parents=True)
    (tmp_path / 'venv/pyvenv.cfg').touch()
    (installed / '__init__.py').write_text('raise SystemExit("it was run")')
    assert 'Ran 1 test' in shell('python', '-m', 'hospital.cli').stderr


def test_items_of_doctest_broke_the_plugin_of_pytest(shell, tmp_path):
    (tmp_path / 'test_shop.py').write_text(
        '"""\n>>> 1 + 1\n2\n"""\n'
        'import unittest\nimport hospital\n'
        'def test_code(): pass\n'
        '@hospital.healthcheck\ndef world(): pass\n'
        'class Shop(unittest.TestCase):\n'
        '    @hospital.healthcheck\n    def test_open(self): pass\n'
        '    def test_code(self): pass\n'
    )
    for words, count in [((), '5 passed'), (('-m', 'healthcheck'), '2 passed'), (('-m', 'not healthcheck'), '3 passed')]:
        told = shell('pytest', '--doctest-modules', '--strict-markers', *words, 'test_shop.py')
        assert count in told.stdout, told.stdout + told.stderr
        assert told.returncode == 0


def test_each_import_warned_of_a_syntax():
    command = [sys.executable, '-W', 'error', '-m', 'compileall', '-f', '-q', str(PACKAGE)]
    assert subprocess.run(command, capture_output=True, text=True).stdout == ''


def test_failfast_did_nothing(ask, module):
    name = module(
        '''
        @healthcheck
        class Two(unittest.TestCase):
            def test_1(self):
                self.fail()

            def test_2(self):
                self.fail()
        '''
    )
    assert len(ask(HealthCheckApp(discover=[name], failfast=True)).found) == 1
    assert len(ask(HealthCheckApp(discover=[name])).found) == 2


def test_the_flag_port_without_a_value_ended_in_a_traceback():
    for words, port in [([], 1515), (['--port'], 1515), (['--port', '0'], 0)]:
        assert wsgi_parser().parse_args(words).port == port
    with pytest.raises(SystemExit) as end:
        wsgi_parser().parse_args(['--port', '65536'])
    assert end.value.code == 2


# Beyond those that were known.


def test_modules_and_classes_that_were_given_were_not_collected():
    from hospital.healthchecks import predictable

    suite = HealthCheckProgram(modules=[predictable]).load_tests()
    assert suite.countTestCases() == 2
    suite = HealthCheckProgram(test_cases=[predictable.ForeverPassingHealthCheck]).load_tests()
    assert suite.countTestCases() == 1


def test_the_healthchecks_of_a_package_itself_were_not_collected(ask, module, tmp_path):
    module('@healthcheck\nclass One(unittest.TestCase):\n    def test_it(self):\n        """One."""\n', 'shop2.one')
    # What one module imports from another counts once; what comes from elsewhere counts too.
    (tmp_path / 'shop2/__init__.py').write_text(
        'import hospital\n'
        'from shop2.one import *\n'
        'from hospital.healthchecks.predictable import ForeverSkippedHealthCheck\n'
        '@hospital.healthcheck\ndef itself():\n    """The package itself."""\n'
    )
    suite = HealthCheckLoader().discover('shop2')
    assert suite.countTestCases() == 3
    assert set(ask(HealthCheckApp(discover=['shop2'])).found) == {
        'One.',
        'Health checks can be skipped.',
        'The package itself.',
    }


def test_load_tests_has_the_last_word_on_classes(ask, module):
    name = module(
        '''
        @healthcheck
        def one():
            """One."""

        @healthcheck
        class Each(unittest.TestCase):
            def __init__(self, shop='none'):
                super().__init__('test_open')
                self.shop = shop

            def test_open(self):
                pass

            def shortDescription(self):
                return f'{self.shop} is open.'

        def load_tests(loader, tests, pattern):
            return unittest.TestSuite([Each('North'), Each('South')])
        '''
    )
    assert set(ask(HealthCheckApp(discover=[name])).found) == {'North is open.', 'South is open.', 'One.'}
    name = module('def load_tests(loader, tests, pattern):\n    raise OSError("no list of shops")\n')
    answer = ask(HealthCheckApp(discover=[name]))
    assert 'OSError: no list of shops' in answer.report['details'][0]['context']


def test_a_class_of_which_no_test_can_be_made_spoils_no_other(ask, module):
    text = '''
        class Helper(unittest.TestCase):
            def __init__(self, shop, street):
                super().__init__('test_open')
            def test_open(self): pass

        @healthcheck
        class Odd(unittest.TestCase):
            def __init__(self, shop, street):
                super().__init__('test_open')
            def test_open(self): pass

        @healthcheck
        def good():
            """Good."""
        '''
    name = module(text)
    assert ask(HealthCheckApp(discover=[name])).found == {'Good.': 'pass', f'{name}.Odd': 'error'}
    names = {detail['test'] for detail in ask(HealthCheckApp(discover=['hospital'])).report['details']}
    assert len(names) == 3 and 'Health checks are collected.' in names


def test_a_module_that_skips_itself_is_skipped(ask, module):
    module('raise unittest.SkipTest("not on this machine")\n', 'shop3.special')
    answer = ask(HealthCheckApp(discover=['shop3']))
    assert answer.status == 200
    assert answer.report['details'] == [
        {'test': 'shop3.special', 'status': 'skip', 'context': 'not on this machine'}
    ]


def test_a_check_that_warns_passes_and_says_so(ask, module, shell):
    name = module(
        '''
        @healthcheck
        def certificate():
            """The certificate is good."""
            hospital.warn('it ends in 9 days')
        '''
    )
    answer = ask(HealthCheckApp(discover=[name]))
    assert answer.status == 200
    assert answer.report['status'] == 'pass'
    assert answer.report['details'] == [
        {'test': 'The certificate is good.', 'status': 'warn', 'context': 'it ends in 9 days'}
    ]
    assert answer.report['summary']['warn'] == 1
    assert 'warn' not in ask(HealthCheckApp(discover=['hospital.healthchecks.predictable'])).report['summary']

    told = shell('python', '-m', 'hospital.cli', name)
    assert told.returncode == 0
    assert told.stderr.startswith('w\n')
    assert 'WARN: ' in told.stderr and 'it ends in 9 days' in told.stderr
    assert told.stderr.endswith('\nOK (warnings=1)\n')
    told = shell('python', '-m', 'hospital.cli', name, 'hospital.healthchecks', module('@healthcheck\ndef down(): assert False'))
    assert told.stderr.endswith('\nFAILED (failures=1, skipped=1, warnings=1)\n')


def test_what_a_check_may_take_and_its_tags_are_kept():
    @hospital.healthcheck(timeout=2, tags=['readiness'])
    def check():
        pass

    assert hospital.is_healthcheck(check)
    assert (check.timeout, check.tags) == (2, ['readiness'])
    with pytest.raises(TypeError, match="a timeout is a positive number of seconds, or a timedelta: not '2s'"):
        hospital.healthcheck(timeout='2s')


def test_only_the_other_side_is_blamed(site):
    with pytest.raises(AssertionError, match='Failed to fetch URL'):
        hospital.assert_http_response('http://127.0.0.1:1/')
    with pytest.raises(OSError):
        hospital.assert_http_response('http://no-such-host.invalid/')
    for url in ('ftp://127.0.0.1/', 'file:///etc/passwd', 'shop/ping'):
        with pytest.raises(ValueError, match='is not a URL, as in'):
            hospital.assert_http_response(url)


def test_secrets_in_a_url_are_kept_out_of_the_message(site):
    url = site.replace('//', '//shop:hunter2@') + '/200?token=hunter2'
    with pytest.raises(AssertionError) as told:
        hospital.assert_http_response(url, 500, timeout=10)
    assert 'hunter2' not in str(told.value)
    hospital.assert_http_response(url, 200, timeout=10)


def test_a_ping_that_could_not_be_sent_is_no_failure(monkeypatch, tmp_path):
    program = tmp_path / 'ping'
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(NotImplementedError):
        hospital.assert_ping('shop')
    for code, expected in [(0, None), (1, AssertionError), (2, OSError)]:
        program.write_text(f'#!/bin/sh\necho "ping: cannot" >&2\nexit {code}\n')
        program.chmod(0o755)
        if expected:
            with pytest.raises(expected):
                hospital.assert_ping('shop')
        else:
            hospital.assert_ping('shop')


def test_head_has_the_length_and_no_body(ask):
    app = HealthCheckApp(discover=['hospital.healthchecks.predictable'])
    answer = ask(app, REQUEST_METHOD='HEAD')
    assert (answer.status, answer.body) == (200, b'')
    assert answer.headers['Content-Length'] == ask(app).headers['Content-Length']
    assert ask(app, REQUEST_METHOD='DELETE').status == 405
