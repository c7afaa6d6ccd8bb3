"""What docs/PYTHON.md and docs/MIGRATING.md show of Python is what happens.

The blocks of a page are played in one folder. One in Python behind a line that ends in "In `FILE`:" is that file. Those marked
`console python` are sessions in the shell: `…` stands for any part of a line or, alone, for any number of lines, and seconds
may differ. The tests of the binary play the others.
"""
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest
from conftest import BIN

DOCS = pathlib.Path(__file__).parents[3] / 'docs'
BLOCK = re.compile(r'(?:In `(?P<file>[^`]+)`:\n\n)?^```(?P<language>python|console python)\n(?P<text>.*?)^```$', re.M | re.S)


@pytest.mark.parametrize('page', ['PYTHON.md', 'MIGRATING.md'])
def test_what_the_page_shows_is_what_happens(page, tmp_path):
    session = Session(tmp_path)
    try:
        blocks = list(BLOCK.finditer((DOCS / page).read_text()))
        assert len(blocks) >= 2
        for block in blocks:
            if block['language'] == 'console python':
                session.play(block['text'])
            elif block['file']:
                path = tmp_path / block['file']
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block['text'])
            else:
                compile(block['text'], page, 'exec')
    finally:
        session.end()


class Session:
    def __init__(self, folder):
        self.folder, self.server, self.address = folder, None, None
        self.environment = {**os.environ, 'PATH': f'{BIN}:{os.environ["PATH"]}', 'PYTHONWARNINGS': 'ignore', 'PORT': '0'}
        self.environment['HOSPITAL_HOST'] = '127.0.0.1'
        for name in ('HEALTHCHECKS', 'PYTHONPATH', 'PYTEST_ADDOPTS', 'HOSPITAL_PYTHON'):
            self.environment.pop(name, None)

    def play(self, block):
        for step in ('\n' + block).split('\n$ ')[1:]:
            line, *shown = step.split('\n')
            while shown and shown[0].startswith('> '):
                line += '\n' + shown.pop(0)[2:]
            serves = re.search(r'hospital(\.wsgi| serve) ', line) and '-config' not in line
            told = self.serve(line) if serves else self.run(line)
            expected = '\n'.join(shown).strip()
            if not pattern(expected).fullmatch(told.strip()):
                pytest.fail(f'$ {line}\n{expected}\n\nbut this happens:\n{told}', pytrace=False)

    def run(self, line):
        if self.address:
            line = line.replace('localhost:1515', self.address)
        ended = subprocess.run(
            ['/bin/sh', '-c', f'exec 2>&1\n{line}'],
            cwd=self.folder, env=self.environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=120,
        )
        return ended.stdout

    def serve(self, line):
        """Starts a server on a free port, whose address takes the place of the one that is shown."""
        self.end()
        line = line.replace('hospital.wsgi ', 'hospital.wsgi --port 0 ')
        said = self.folder / 'said'
        with said.open('w') as file:
            self.server = subprocess.Popen(
                ['/bin/sh', '-c', line], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=file, stderr=subprocess.DEVNULL, start_new_session=True,
            )
        until = time.monotonic() + 60
        while '...' not in said.read_text():
            assert self.server.poll() is None and time.monotonic() < until, said.read_text()
            time.sleep(0.05)
        ip, port = re.search(r'Serving on (\S+) port (\d+)', said.read_text()).groups()
        self.address = f'127.0.0.1:{port}'
        return said.read_text().replace(f'{ip} port {port}', '0.0.0.0 port 1515')

    def end(self):
        if self.server:
            os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait()
            self.server = None


def pattern(shown):
    """The shown output as an expression."""
    lines = []
    for line in shown.split('\n'):
        if line == '…':
            lines.append(r'(?:.*\n)*?')
        else:
            line = re.escape(line).replace('…', '.*')
            lines.append(re.sub(r'\d+\\\.\d{3}s', r'\\d+\\.\\d{3}s', line) + r'\n')
    return re.compile(''.join(lines).removesuffix(r'\n') + r'\n*')
