"""``manage.py healthcheck``: run healthchecks in a shell, with the settings of the project."""

import os
import sys

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from hospital import _command
from hospital._mount import words

#: Those of ``hospital check``, but for ``-v``, which Django has: ``-v 2`` names each check.
FLAGS = {
    '--tag': {'action': 'append', 'help': 'Only those with this tag; repeatable'},
    '--exclude': {'action': 'append', 'help': 'Not those at or under this name; repeatable'},
    '--format': {'help': 'Write the report in this format, instead of the one for people'},
    '--timeout': {'help': 'Give no check more time than this'},
    '--jobs': {'help': 'Run at most this many checks at once'},
}


class Command(BaseCommand):
    """Runs healthchecks, each in a process of its own. The exit codes are those of ``hospital check``."""

    help = 'Run the healthchecks of the project once and report.'
    requires_system_checks = []

    def add_arguments(self, parser):
        """Declare the arguments."""
        parser.add_argument('names', nargs='*', help='The checks; those of the setting or variable HEALTHCHECKS, unless given')
        parser.add_argument('--failfast', action='store_true', help='Stop at the first check that is not well')
        for flag, options in FLAGS.items():
            parser.add_argument(flag, **options)

    def handle(self, *, names, verbosity, failfast, **options):
        """Run them."""
        given = [['-v'] if verbosity > 1 else [], ['--failfast'] if failfast else []]
        for flag in FLAGS:
            value = options[flag.strip('-')] or []
            given.append([f'{flag}={each}' for each in ([value] if isinstance(value, str) else value)])
        names = names or getattr(settings, 'HEALTHCHECKS', [])
        try:
            names = words(names)
        except ValueError as error:
            raise CommandError(error, returncode=2) from None
        # The checks find what this process finds.
        os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))
        code = _command.main(['hospital', 'check', *sum(given, []), '--', *names])
        if code:
            sys.exit(code)
