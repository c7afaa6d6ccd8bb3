"""Whoever used hospital 0.9 finds everything again: each name, and each parameter in its place."""
import pathlib
import re

import api

BEFORE = dict(
    line.split(' ', 1) for line in pathlib.Path(__file__).with_name('api-0.9.txt').read_text().splitlines() if line
)
#: What stands for the current standard error, of which 0.9 took what it was at import; and an empty list that nobody can fill.
SAME_DEFAULT = {'stream=...': 'stream=None', '=[]': '=()'}


def test_each_name_of_0_9_is_there_and_takes_the_same():
    now = api.api()
    wrong = {name: (what, now.get(name)) for name, what in BEFORE.items() if not is_as_before(name, what, now.get(name))}
    assert not wrong
    assert len(BEFORE) > 130


def is_as_before(name, what, now):
    if name.endswith('__version__'):
        return bool(now)
    if name.endswith('.application'):  # Whatever serves WSGI.
        return callable(__import__('hospital.wsgi').wsgi.application)
    for before, same in SAME_DEFAULT.items():
        what = what.replace(before, same)
    if now is None or not what.startswith('('):
        return now == what
    # There may be more parameters, after those of before and with defaults.
    more = now[len(what) - 1 :].strip(', )')
    return now.startswith(what[:-1]) and all(re.search('[=*]', parameter) for parameter in more.split(', ') if parameter)
