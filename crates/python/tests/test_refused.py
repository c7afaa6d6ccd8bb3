"""What is odd is an error with a line that says why, whoever runs it: a test for each, named after what its user saw."""
import signal
import subprocess
import sys

import pytest

import hospital
from hospital import _mount, _text
from hospital.wsgi import HealthCheckApp

ODD = '''
    class Odd(unittest.TestCase):
        @healthcheck
        def test_false(self):
            return False

    @healthcheck
    class Others(unittest.TestCase):
        def test_generator(self):
            yield
        async def test_async(self):
            pass
        def test_good(self):
            pass

    @healthcheck
    def test_function_false():
        return False

    @healthcheck
    async def test_function_async():
        assert False, 'it was awaited'
'''


def test_pytest_passed_a_check_of_which_nothing_has_run(module, shell):
    text = ODD + '''
    @healthcheck
    def test_function_generator():
        yield

    @healthcheck
    async def good():
        pass
    '''
    name = module(text)
    told = shell('pytest', '-q', f'{name}.py')
    assert '6 failed, 2 passed' in told.stdout, told.stdout + told.stderr
    assert 'AssertionError: it was awaited' in told.stdout


def test_nose_passed_a_check_of_which_nothing_has_run(module, shell):
    name = module(
        ODD
        + '''
    @healthcheck
    def test_wants_more():
        raise TypeError("lookup() missing 1 required positional argument: 'name'")
    '''
    )
    told = shell('nosetests', '--all-modules', '--attr=is_healthcheck', name)
    assert 'Ran 7 tests' in told.stderr, told.stderr
    # That it is not called with enough is no reason to skip it.
    assert 'FAILED (errors=3, failures=3)' in told.stderr


@pytest.mark.parametrize(
    'text',
    [
        'import os; os._exit(0)',
        'class Odd(BaseException): pass\nraise Odd()',
        '@healthcheck\nclass Odd(unittest.TestCase):\n    def __init__(self, *name): raise SystemExit(0)\n    def test_it(self): pass',
        '@healthcheck\nclass Odd(unittest.TestCase):\n    def test_it(self): __import__("os")._exit(0)',
        '@healthcheck\nclass Odd(unittest.TestCase):\n    @classmethod\n    def setUpClass(cls): __import__("os")._exit(0)\n    def test_it(self): pass',
    ],
)
def test_a_module_that_exits_ended_the_command_line_with_0_or_a_traceback(module, shell, text):
    good = module('@healthcheck\ndef good(): pass')
    told = shell('python', '-m', 'hospital.cli', module(text), good)
    assert told.returncode == 1, told.stderr
    assert '\nFAILED (errors=1)\n' in told.stderr
    assert 'Ran ' in told.stderr


def test_a_method_of_a_class_that_cannot_be_made_spoils_no_other(module, ask):
    name = module(
        '@healthcheck\nclass Odd(unittest.TestCase):\n    def __init__(self, *name): raise OSError("no way")\n    def test_it(self): pass'
    )
    answer = ask(HealthCheckApp(discover=[f'{name}.Odd.test_it', 'hospital.healthchecks.predictable']))
    assert answer.found[f'{name}.Odd.test_it'] == 'error'
    assert answer.found['Health checks are collected.'] == 'pass'


def test_an_interrupt_ended_in_a_traceback(module, shell, tmp_path):
    told = shell('python', '-m', 'hospital.cli', module('raise KeyboardInterrupt', 'interrupts'))
    where = tmp_path / 'interrupts.py'
    assert (told.returncode, told.stderr) == (130, f'python -m hospital.cli: interrupted ({where}:4)\n')


def test_a_fork_in_a_check_exits_as_ever(module, shell):
    name = module(
        '''
        import multiprocessing
        @healthcheck
        def forks():
            child = multiprocessing.get_context('fork').Process(target=print)
            child.start()
            child.join()
            assert child.exitcode == 0
        '''
    )
    told = shell('python', '-m', 'hospital.cli', name)
    assert told.returncode == 0, told.stderr


def test_titles_and_messages_controlled_the_terminal(module, shell):
    name = module(
        '''
        @healthcheck
        def odd():
            "Title \\x1b[2J and \\u202e more."
            assert False, 'message \\x1b]0;x\\x07 \\udc80\\nsecond line'
        @healthcheck
        def warns():
            hospital.warn('warning \\x9b')
        '''
    )
    told = shell('python', '-m', 'hospital.cli', '-v', name)
    assert not set(told.stderr) & set('\x1b\x07\x9b\u202e'), ascii(told.stderr)
    assert 'Title \\u001b[2J and \\u202e more. ... FAIL' in told.stderr
    assert 'message \\u001b]0;x\\u0007 \\udc80\nsecond line' in told.stderr
    assert _text.line('a\nb\tc größe') == 'a\\nb\\tc größe'


def test_half_a_character_left_a_mount_without_an_answer(module, ask):
    name = module(
        '''
        @healthcheck
        def odd():
            "Title \\udc80."
            assert False, 'message \\ud800'
        class Parts(hospital.HealthCheck):
            def test_it(self):
                with self.subTest('\\udc80'):
                    self.fail('\\udc81')
        '''
    )
    for app in (HealthCheckApp(discover=[name]), _mount.Application([name])):
        report = ask(app, SCRIPT_NAME='', PATH_INFO='/').report
        details = {detail['test']: (detail['status'], detail['context'].splitlines()[0]) for detail in report['details']}
        assert details['Title ?.'] == ('fail', 'message ?')
        assert [found for test, found in details.items() if test.endswith('[?]')] == [('fail', '?')]


@pytest.mark.parametrize('timeout', ['2s', b'2', -1, 0, float('nan'), float('inf'), True, [1]])
def test_an_odd_timeout_counted_as_none(timeout, module, ask):
    with pytest.raises(TypeError, match='a timeout is a positive number of seconds, or a timedelta: not '):
        hospital.healthcheck(timeout=timeout)
    name = module(f'nan, inf = float("nan"), float("inf")\n@healthcheck\ndef odd(): "Odd."\nodd.timeout = {timeout!r}')
    detail = ask(_mount.Application([name]), SCRIPT_NAME='', PATH_INFO='/').report['details'][0]
    why = f'{name}.odd: a timeout is a positive number of seconds, or a timedelta: not {timeout!r}'
    assert detail == {'test': 'Odd.', 'status': 'error', 'context': why}


@pytest.mark.parametrize('tags', [b'x', [1, 2], [None], 5, {'a': 1}, ['']])
def test_odd_tags_counted_as_words(tags):
    with pytest.raises(TypeError, match='tags are a list of words: not '):
        hospital.healthcheck(tags=tags)


def test_tags_may_be_whatever_yields_words():
    for tags in (['a', 'b'], ('a', 'b'), iter('ab')):
        assert hospital.healthcheck(tags=tags)(lambda: None).tags == ['a', 'b']
    assert hospital.healthcheck(tags='ab')(lambda: None).tags == ['ab']


@pytest.mark.parametrize('names', [5, {'shop': 1}, [5], b'shop', [None]])
def test_names_of_a_wrong_type_ended_in_a_traceback_of_ours(names):
    with pytest.raises(ValueError, match='HEALTHCHECKS names checks in a text or a list of texts: not '):
        _mount.Application(names)


def test_one_wrong_name_of_several_is_named_with_its_reason(module, shell):
    good = module('@healthcheck\ndef good(): pass')
    told = shell('python', '-m', 'hospital.cli', good, f'{good}.goood', 'no_such_shop')
    assert told.returncode == 2
    assert told.stderr == (
        f'python -m hospital.cli: {good}.goood: {good} has no goood; it has good\n'
        'python -m hospital.cli: no_such_shop: there is no module no_such_shop on the path of this Python\n'
    )


@pytest.mark.skipif(sys.version_info < (3, 11), reason='it knows no safe path')
def test_with_a_safe_path_modules_are_found_in_the_working_directory_last(module, shell):
    name = module('import json\n@healthcheck\ndef ok(): json.dumps({})', 'shop')
    module('raise OSError("of the folder")', 'json')
    told = shell('python', '-m', 'hospital.cli', name, PYTHONSAFEPATH='1')
    assert told.returncode == 0, told.stderr


def test_a_real_interrupt_ends_the_command_line(module, tmp_path):
    name = module('import sys, time\n@healthcheck\ndef waits():\n    print("waits", flush=True)\n    time.sleep(1000)')
    command = [sys.executable, '-m', 'hospital.cli', name]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout.readline() == 'waits\n'
        program.send_signal(signal.SIGINT)
        assert 'interrupted (' in program.communicate(timeout=60)[1]
    assert program.returncode == 130
